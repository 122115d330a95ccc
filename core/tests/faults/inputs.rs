//! Models that change, shrink or vanish while they are read.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use mergescope_core::checkpoint::ReadPath;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::stream::Resources;

use crate::scene::{MODEL_BYTES, Scene, WEIGHTS, hidden, resources, says};
use crate::support::read_model;

#[test]
fn a_file_that_becomes_shorter_ends_the_merge_and_not_the_process() {
    let scene = Scene::new();
    let path = scene.folders.post().join(WEIGHTS);
    let message = scene.fails_after(&scene.root().join("merged"), {
        let path = path.clone();
        move || File::options().write(true).open(path).unwrap().set_len(MODEL_BYTES / 2).unwrap()
    });
    says(&message, &["cannot read tensor `", path.to_str().unwrap(), "became shorter", "open the model again"]);
    // A map would be SIGBUS: whoever wants one has to say so.
    assert_eq!(Resources::default().read_path, ReadPath::Positional);
}

#[test]
fn a_file_that_vanishes() {
    let scene = Scene::new();
    let path = scene.folders.pre().join(WEIGHTS);
    let message = scene.fails_after(&scene.root().join("merged"), {
        let path = path.clone();
        move || fs::remove_file(path).unwrap()
    });
    says(&message, &[path.to_str().unwrap(), "of pre changed while it was read", "nothing was written"]);
}

#[test]
fn a_model_that_vanishes_with_its_folder() {
    let scene = Scene::in_shards(30);
    let folder = scene.folders.post();
    let message = scene.fails_after(&scene.root().join("merged"), {
        let folder = folder.clone();
        move || fs::remove_dir_all(folder).unwrap()
    });
    says(&message, &["cannot read tensor `", folder.to_str().unwrap(), "-of-000"]);
}

#[test]
fn a_file_that_is_written_anew() {
    let scene = Scene::new();
    let path = scene.folders.target().join(WEIGHTS);
    let message = scene.fails_after(&scene.root().join("merged"), {
        let path = path.clone();
        move || {
            let whole = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, [whole, vec![0; 8]].concat()).unwrap();
        }
    });
    says(&message, &[path.to_str().unwrap(), "of target changed while it was read", "Try again"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_folder_in_the_place_of_a_file_that_was_not_read_yet() {
    for pipe in [true, false] {
        let scene = Scene::in_shards(30);
        let last = fs::read_dir(scene.folders.post()).unwrap().map(|entry| entry.unwrap().path()).max_by_key(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(".safetensors").then(|| name.to_owned())
        });
        let last = last.unwrap();
        let message = scene.fails_after(&scene.root().join("merged"), {
            let last = last.clone();
            move || {
                fs::remove_file(&last).unwrap();
                if pipe {
                    // Opened, it would be waited for without end.
                    assert!(std::process::Command::new("mkfifo").arg(&last).status().unwrap().success());
                } else {
                    fs::create_dir(&last).unwrap();
                }
            }
        });
        says(&message, &["cannot read tensor `", last.to_str().unwrap(), "changed after it was opened"]);
    }
}

#[test]
fn times_of_files_mean_nothing_as_long_as_they_stay() {
    let scene = Scene::new();
    let times = [
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - Duration::from_secs(400_000_000),
        SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32),
        SystemTime::now() + Duration::from_secs(40 * 365 * 24 * 3600),
    ];
    let mut whole = None;
    for time in times {
        for model in [scene.folders.pre(), scene.folders.post(), scene.folders.target()] {
            // Not every file system has every time.
            let _ = File::options().write(true).open(model.join(WEIGHTS)).unwrap().set_modified(time);
        }
        let output = scene.root().join("merged");
        merge(&scene.recipe, &output, &resources(), &Control::new()).unwrap();
        let written = read_model(&output);
        assert!(whole.replace(written.clone()).is_none_or(|whole| whole == written));
        fs::remove_dir_all(output).unwrap();
    }
    assert_eq!(hidden(scene.root()), [""; 0]);
}

#[test]
fn a_file_whose_time_goes_backwards_has_changed() {
    let scene = Scene::new();
    let path = scene.folders.post().join(WEIGHTS);
    let message = scene.fails_after(&scene.root().join("merged"), move || {
        // As after a clock was set back: earlier than when it was opened.
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    });
    says(&message, &["of post changed while it was read"]);
}
