//! Folders that are taken away from under a merge.

use std::fs;

use crate::scene::{Scene, WEIGHTS, hidden, says};

#[cfg(unix)]
#[test]
fn a_folder_that_vanishes_under_the_merge() {
    let scene = Scene::new();
    let place = scene.root().join("place");
    fs::create_dir(&place).unwrap();
    let message = scene.fails_after(&place.join("merged"), {
        let place = place.clone();
        move || fs::remove_dir_all(place).unwrap()
    });
    says(&message, &["cannot write", place.to_str().unwrap(), "all of it was undone"]);
    assert!(!place.exists());
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_renamed_under_the_merge() {
    let scene = Scene::new();
    let (place, elsewhere) = (scene.root().join("place"), scene.root().join("elsewhere"));
    fs::create_dir(&place).unwrap();
    let message = scene.fails_after(&place.join("merged"), {
        let (place, elsewhere) = (place.clone(), elsewhere.clone());
        move || fs::rename(place, elsewhere).unwrap()
    });
    says(&message, &["cannot write", place.to_str().unwrap()]);
    // What cannot be found again is no output: it is hidden, and its weights are not called a model.
    assert!(hidden(&elsewhere).iter().all(|name| name.contains("mergescope-")));
    assert!(!elsewhere.join("merged").exists());
}

#[test]
fn something_that_takes_the_name_of_the_output_meanwhile_is_left_alone() {
    let scene = Scene::new();
    let output = scene.root().join("merged");
    let control = crate::scene::midway({
        let output = output.clone();
        move || {
            fs::create_dir(&output).unwrap();
            fs::write(output.join(WEIGHTS), "mine").unwrap();
        }
    });
    let error = scene.merge_to(&output, &control).unwrap_err();
    says(&error.to_string(), &["merged already exists", "nothing is ever overwritten"]);
    assert_eq!(fs::read(output.join(WEIGHTS)).unwrap(), b"mine");
    assert_eq!(hidden(scene.root()), [""; 0]);
}
