//! Recipes as files: what is wrong is said with its place, paths are the file's, and saving leaves the old file or the new one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot write its files has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::recipe::file::{FileFormat, Opened};
use mergescope_core::recipe::{Method, Recipe, RecipeError, VectorSpec};

const HEAD: &str = "version = 1\ntarget = \"t\"\n";

fn message(text: &str) -> String {
    mergescope_core::error::chain(&Recipe::from_toml(text, Path::new("r.toml")).expect_err("no sound recipe"))
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_to_do() {
    let vector = |inside: &str| format!("{HEAD}[vector]\npost = \"p\"\nw = 1\n{inside}");
    let cases = [
        (
            "version = 1\ntargt = \"t\"\n".to_owned(),
            "the recipe r.toml is not valid: line 2, column 1: `targt` is no known key; did you mean `target`? (here may stand ",
        ),
        (vector("densty = 0.2\n"), "line 6, column 1: `densty` is no known key; did you mean `density`?"),
        (
            vector("[vector.scaling.factors]\natention = 1\n"),
            "line 7, column 1: `atention` is no known key; did you mean `attention`?",
        ),
        (
            vector("[vector.scaling]\ncurve = { kind = \"linaer\", first = 1, last = 2 }\n"),
            "`linaer` is none of the choices; did you mean `linear`?",
        ),
        (
            vector("[vector.scaling]\ncurve = { kind = \"linear\", frst = 1, last = 2 }\n"),
            "line 7, column 28: `frst` is no known key; did you mean `first`? (here may stand `first`, `last`)",
        ),
        (
            format!("{HEAD}[method]\nname = \"tise\"\n[vector]\npost = \"p\"\nw = 1\n"),
            "line 4, column 8: `tise` is none of the choices; did you mean `ties`?",
        ),
        (
            format!("{HEAD}[vector]\npost = \"p\"\nw = \"much\"\n"),
            "line 5, column 5: `w` is a number, such as 0.5, and here is the text \"much\"",
        ),
        (format!("{HEAD}[vector]\npost = \"p\"\n"), "`w` is missing; add `w = 0.5`"),
        (HEAD.to_owned(), "`vector` is missing; add a [vector] table with post, pre and w"),
        (vector("w = 2\n"), "line 6, column 1: this key is there twice; keep one of them"),
        (
            vector("[output]\nseed = -1\n"),
            "line 7, column 8: `seed` is a whole number that is not negative, and here is the number `-1`",
        ),
        (vector("[output]\nallow_nonfinite = 1\n"), "`allow_nonfinite` is true or false, and here is the number `1`"),
        (
            format!("{HEAD}vector = 1\n"),
            "`vector` is a [vector] table, or several [[vector]] tables, and here is the number `1`",
        ),
        (format!("{HEAD}vector = []\n"), "there is no vector; add a [vector] table with post, pre and w"),
        ("target = \"t\"\n".to_owned(), "`version` is missing; add `version = 1` at the top"),
        ("version = 0\n".to_owned(), "there is no version 0; write version = 1"),
        (
            "version = \"1\"\n".to_owned(),
            "line 1, column 11: `version` is a whole number that is not negative, and here is the text \"1\"",
        ),
        ("version = 1\ntarget = \n".to_owned(), "line 2, column 10"),
        (
            vector("[vector.scaling.keep]\nlayers = [[0]]\n"),
            "line 7, column 11: `layers` is a list of ranges, each [FIRST, LAST], and here is one of another length",
        ),
        (
            "merge_method: slerp\nmodels: []\n".to_owned(),
            "this is a merge file of mergekit and no recipe; give it a name that ends in .yaml",
        ),
    ];
    for (text, words) in cases {
        let message = message(&text);
        assert!(message.contains(words), "{message}\ndoes not say\n{words}\nof\n{text}");
    }
}

#[test]
fn what_is_wrong_inside_a_curve_is_said_at_its_key() {
    let curve = |inside: &str| {
        let text = format!("{HEAD}[vector]\npost = \"p\"\nw = 1\n[vector.scaling.curve]\n{inside}");
        let message = message(&text);
        message.split_once("is not valid: ").expect("a place").1.to_owned()
    };
    for (inside, words) in [
        ("kind = \"lines\"\nalpa = 1\nbeta = 1\n", "line 8, column 1: `alpa` is no known key; did you mean `alpha`?"),
        (
            "kind = \"layers\"\nvalues = \"x\"\n",
            "line 8, column 10: `values` is a list in brackets, and here is the text \"x\"",
        ),
        (
            "kind = \"layers\"\nvalues = [1, \"x\"]\n",
            "line 8, column 14: `values` is a number, such as 0.5, and here is",
        ),
        (
            "kind = \"step\"\nat = -1\nbefore = 0\nafter = 1\n",
            "line 8, column 6: `at` is a whole number that is not negative, and here is the number `-1`",
        ),
        (
            "kind = \"points\"\npoints = [{ layer = 0, vaule = 1 }]\n",
            "line 8, column 24: `vaule` is no known key; did you mean `value`?",
        ),
        ("kind = \"flat\"\nfirst = 1\n", "line 8, column 1: `first` is no known key (here may stand `kind` alone)"),
        ("kind = \"lines\"\nalpha = 1\n", "line 6, column 1: `beta` is missing; add `beta = …`"),
        ("first = 1\n", "line 6, column 1: `kind` is missing; add `kind = "),
    ] {
        let found = curve(inside);
        assert!(found.starts_with(words), "{found}\ndoes not say\n{words}");
    }
    let second = "[[vector]]\npost = \"p\"\nw = 1\n[[vector]]\npost = \"q\"\nw = 1\n[vector.scaling.curve]\nkind = \"step\"\nat = 1.5\nbefore = 0\nafter = 0";
    assert!(
        message(&format!("{HEAD}{second}")).contains("line 11, column 6: `at` is"),
        "{}",
        message(&format!("{HEAD}{second}"))
    );
}

#[test]
fn numbers_that_nothing_could_be_done_with_are_refused() {
    let output = |inside: &str| message(&format!("{HEAD}[vector]\npost = \"p\"\nw = 1\n[output]\n{inside}"));
    let message = output("shard_bytes = 0\n");
    assert!(message.contains("line 7, column 15: a weight file of 0 bytes holds nothing"), "{message}");
    let message = output("seed = 99999999999999999999\n");
    assert!(
        message.contains("and here is the number `99999999999999999999`") && !message.contains("i128"),
        "{message}"
    );
}

#[test]
fn a_newer_version_is_told_from_a_typo() {
    let message = message("version = 2\ntarget = \"t\"\nsomething_new = true\n");
    assert_eq!(
        message,
        "the recipe r.toml has version 2; this version of Mergescope reads version 1: update Mergescope"
    );
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let text = format!(
        "{HEAD}[method]\nname = \"ties\"\n[[vector]]\npre = \"t\"\npost = \"p\"\nw = 1\n[[vector]]\npre = \"t\"\npost = \"q\"\nw = 1\ndensity = 1.5\n"
    );
    let recipe = Recipe::from_toml(&text, Path::new("r.toml")).unwrap();
    let message = recipe.check_method().unwrap_err().to_string();
    assert!(message.starts_with("density of vector 2 is 1.5; it is the share that is kept, from 0 to 1"), "{message}");
}

/// A folder with the recipe and two of its models.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for model in ["models/pre", "models/post", "org/name"] {
        fs::create_dir_all(folder.path().join(model)).unwrap();
    }
    let path = folder.path().join("recipe.toml");
    (folder, path)
}

#[test]
fn a_folder_with_a_recipe_and_its_models_can_be_moved() {
    let (folder, path) = folder();
    let inside = |model: &str| folder.path().join(model).to_str().unwrap().to_owned();
    let mut recipe = Recipe::new(inside("models/pre"), inside("models/post"), "/elsewhere/target");
    recipe.others.push(VectorSpec::new("", "some-org/some-model@main"));
    recipe.save(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for line in [
        "pre = \"./models/pre\"",
        "post = \"./models/post\"",
        "target = \"/elsewhere/target\"",
        "post = \"some-org/some-model@main\"",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(Recipe::read(&path).unwrap(), recipe);
    let moved = folder.path().with_extension("moved");
    fs::rename(folder.path(), &moved).unwrap();
    let read = Recipe::read(&moved.join("recipe.toml")).unwrap();
    fs::remove_dir_all(&moved).unwrap();
    assert_eq!(read.vector.pre, moved.join("models/pre").to_str().unwrap());
    assert_eq!(read.others[0].post, "some-org/some-model@main");
}

#[test]
fn a_relative_path_is_the_files_whether_it_exists_or_not() {
    let (folder, path) = folder();
    let read = |target: &str| {
        fs::write(&path, format!("version = 1\ntarget = \"{target}\"\n[vector]\npost = \"models/post\"\nw = 1\n"))
            .unwrap();
        Recipe::read(&path).unwrap().target
    };
    let inside = |model: &str| folder.path().join(model).to_str().unwrap().to_owned();
    assert_eq!(read("org/name"), inside("org/name"), "a folder comes before a name on the Hub");
    assert_eq!(read("org/other"), "org/other");
    assert_eq!(read("./org/other"), inside("org/other"));
    assert_eq!(read("models/sub/none"), inside("models/sub/none"));
    assert_eq!(read("/absolute"), "/absolute");
    // Tests run in the package's folder, which has one of this name: it is not what the file means.
    assert!(Path::new("src/recipe").exists());
    assert_eq!(read("src/recipe"), inside("src/recipe"));
}

#[test]
fn saving_replaces_the_file_whole_and_leaves_nothing_beside_it() {
    let (folder, path) = folder();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::write(&path, "the old one, which is much longer than what comes now\n".repeat(100)).unwrap();
    let recipe = Recipe::new("/a", "/b", "/c");
    recipe.save(&path).unwrap();
    assert_eq!(Recipe::read(&path).unwrap(), recipe);
    assert_eq!(names(), ["models", "org", "recipe.toml"]);
    let message = mergescope_core::error::chain(&recipe.save(&folder.path().join("none/recipe.toml")).unwrap_err());
    assert!(message.starts_with("cannot write the recipe ") && message.contains("none/recipe.toml"), "{message}");
}

#[test]
fn a_file_is_known_by_its_ending_or_by_what_it_says() {
    let (folder, _) = folder();
    let yaml = "base_model: /a\nmerge_method: task_arithmetic\nmodels: [{model: /b, parameters: {weight: 0.5}}]\ndtype: float32\n";
    for name in ["merge.yaml", "merge.YML", "mergekit_config"] {
        let path = folder.path().join(name);
        fs::write(&path, yaml).unwrap();
        let Opened { recipe, format, .. } = Recipe::open(&path).unwrap();
        assert_eq!((format, recipe.method.name, recipe.vector.w), (FileFormat::Mergekit, Method::TaskArithmetic, 0.5));
    }
    let path = folder.path().join("lossy.yaml");
    fs::write(&path, format!("{yaml}chat_template: chatml\n")).unwrap();
    let error = Recipe::read(&path).unwrap_err();
    assert!(matches!(&error, RecipeError::NotCarried { not_carried, .. } if not_carried.len() == 1), "{error}");
    assert!(
        error.to_string().contains("line 5, column 16: `chat_template`: ") && error.to_string().contains("--lossy"),
        "{error}"
    );
    fs::write(&path, "merge_method: tise\nmodels: [{model: a}]").unwrap();
    let message = mergescope_core::error::chain(&Recipe::read(&path).unwrap_err());
    assert!(message.contains("lossy.yaml cannot be read: line 1, column 15: `tise` is no merge method"), "{message}");
}

#[test]
fn what_is_no_recipe_at_all_is_refused() {
    let (folder, path) = folder();
    let message = |path: &Path| mergescope_core::error::chain(&Recipe::read(path).unwrap_err());
    assert!(message(&path).contains("cannot read the recipe"));
    assert!(message(folder.path()).contains("it is not a file"));
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(message(&path).contains("too many for a recipe"));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(message(&path).contains("cannot read the recipe"));
}

#[test]
fn the_recipes_of_the_papers_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/recipes");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 3);
    for path in paths {
        let recipe = Recipe::read(&path).unwrap();
        recipe.check_method().unwrap();
        let models = [&recipe.target, &recipe.vector.pre, &recipe.vector.post];
        assert!(models.iter().all(|model| mergescope_core::hub::is_hub_id(model)), "{models:?}");
        assert_eq!((recipe.vector.w, recipe.method.name), (1.0, Method::TaskArithmetic));
    }
}
