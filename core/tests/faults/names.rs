//! Names that people give to folders, and some that nobody should.

use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::alignment::VectorPair;
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::merge::{convert, merge, save_vector};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, Recipe};
use std::sync::Arc;

use crate::scene::{Scene, WEIGHTS, hidden, resources};
use crate::support::read_model;

fn everywhere() -> Vec<String> {
    let names = [
        "with spaces",
        " at both ends",
        "a+b",
        "東京モデル",
        "ﾊﾟ",
        "🙂",
        "-w",
        "--out",
        "it's",
        "100%",
        "a=b",
        "$HOME",
        "~",
        "...",
    ];
    let mut names: Vec<String> = names.map(str::to_owned).to_vec();
    // As long as file systems allow: 255 bytes, here of one, three and four bytes a character.
    names.extend(["n".repeat(255), "長".repeat(85), "🙂".repeat(63)]);
    if cfg!(unix) {
        names.extend(["new\nline", "quo\"te", "back\\slash", "a:b", "tab\t", "\u{1b}[31m", "*?"].map(str::to_owned));
    }
    names
}

#[test]
fn models_outputs_and_recipes_of_any_name() {
    let scene = Scene::new();
    let mut whole = None;
    for name in everywhere() {
        let room = scene.root().join("room");
        fs::create_dir(&room).unwrap();
        // A model of that name, an output of that name in another folder of that name, and the recipe that lies in it.
        let model = room.join(&name);
        fs::rename(scene.folders.target(), &model).unwrap();
        let recipe = Recipe { target: model.to_str().unwrap().to_owned(), ..scene.recipe.clone() };
        let place = scene.root().join("place").join(&name);
        fs::create_dir_all(&place).unwrap();
        let output = place.join(&name);
        merge(&recipe, &output, &resources(), &Control::new()).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let written = read_model(&output);
        assert!(whole.get_or_insert_with(|| written.clone()) == &written, "{name:?}");
        assert_eq!(hidden(&place).iter().filter(|hidden| **hidden != name).count(), 0, "{name:?}");

        let again = Recipe::read(&output.join("mergescope.toml")).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(PathBuf::from(&again.target).canonicalize().unwrap(), model.canonicalize().unwrap(), "{name:?}");
        let second = place.join("again");
        merge(&again, &second, &resources(), &Control::new()).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(read_model(&second), written, "{name:?}");
        fs::rename(&model, scene.folders.target()).unwrap();
        fs::remove_dir_all(room).unwrap();
        fs::remove_dir_all(scene.root().join("place")).unwrap();
    }
}

#[test]
fn conversions_and_vectors_of_any_name() {
    let scene = Scene::new();
    let open = scene.folders.open();
    let pair = VectorPair { pre: open.pre.clone(), post: open.post.clone() };
    for name in everywhere() {
        let place = scene.root().join("place");
        fs::create_dir(&place).unwrap();
        let output = place.join(&name);
        convert(&open.target, &output, 1 << 30, &resources(), &Control::new()).unwrap();
        let again = Arc::new(Checkpoint::open(&output).unwrap());
        convert(&again, &place.join("again"), 1 << 30, &resources(), &Control::new()).unwrap();
        assert_eq!(read_model(&place.join("again")), read_model(&scene.folders.target()));
        fs::remove_dir_all(&output).unwrap();
        save_vector(
            &pair,
            [&scene.recipe.vector.pre, &scene.recipe.vector.post],
            OutputDtype::F32,
            &output,
            &resources(),
            &Control::new(),
        )
        .unwrap();
        Checkpoint::open(&output).unwrap();
        fs::remove_dir_all(place).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_whose_name_is_no_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let scene = Scene::new();
    let output = scene.root().join(OsStr::from_bytes(b"caf\xe9"));
    scene.merge_to(&output, &Control::new()).unwrap();
    assert!(output.join(WEIGHTS).exists());
    assert_eq!(hidden(scene.root()), [""; 0]);
}

/// The deepest folder below `root` whose path is at most `bytes` long, and exactly so if that can be.
#[cfg(target_os = "linux")]
fn deep(root: &Path, bytes: usize) -> PathBuf {
    let mut path = root.to_owned();
    while path.as_os_str().len() + 2 <= bytes {
        let room = bytes - path.as_os_str().len() - 1;
        // Never a rest of one byte, for which there would be no room for a slash and a name.
        let length = if room > 255 { room.min(255) - usize::from(room == 256) } else { room };
        path.push("d".repeat(length));
    }
    path
}

#[cfg(target_os = "linux")]
#[test]
fn paths_as_long_as_the_system_allows_are_merged_and_longer_ones_told() {
    // Linux takes 4,096 bytes, the closing zero among them.
    const LONGEST: usize = 4095;
    let mut scene = Scene::new();
    let root = scene.root().canonicalize().unwrap();
    let model = deep(&root, LONGEST - "/model.safetensors".len());
    fs::create_dir_all(model.parent().unwrap()).unwrap();
    fs::rename(scene.folders.post(), &model).unwrap();
    model.to_str().unwrap().clone_into(&mut scene.recipe.vector.post);
    let output = scene.root().join("merged");
    scene.merge_to(&output, &Control::new()).unwrap();
    let again = Recipe::read(&output.join("mergescope.toml")).unwrap();
    assert_eq!(again.vector.post, scene.recipe.vector.post);

    let room = |left: usize| {
        let place = deep(&root.join("place"), LONGEST - left);
        fs::create_dir_all(&place).unwrap();
        let result = scene.merge_to(&place.join("out"), &Control::new());
        let left = fs::read_dir(&place).unwrap().count();
        fs::remove_dir_all(root.join("place")).unwrap();
        (result, left)
    };
    room(100).0.unwrap();
    // The folder in which the output grows has a longer name than the output, and files in it.
    for left in [60, 50, 40, 20, 4] {
        let (result, names) = room(left);
        let error = mergescope_core::error::chain(&result.unwrap_err());
        assert!(error.contains("File name too long") && error.contains("choose a shorter path"), "{left}: {error}");
        assert_eq!(names, 0, "{left}: nothing is left behind");
    }
}
