//! Volumes that fill up, are read-only or are unplugged: a file system in memory, where the test may mount one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mergescope_core::error::chain;
use mergescope_core::merge::MergeError;
use mergescope_core::progress::Control;

use crate::scene::{MODEL_BYTES, Scene, hidden, midway, says};

/// A volume of its own, taken away with this value.
struct Volume {
    at: PathBuf,
}

impl Volume {
    /// `None` where mounting is not allowed: only root may.
    fn mount(at: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", &size, "mergescope-test"]).arg(&at).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Self { at });
        }
        #[expect(clippy::print_stderr, reason = "whoever reads the run should know")]
        {
            eprintln!("no volume can be mounted here");
        }
        None
    }

    fn unplug(at: &Path) {
        assert!(Command::new("umount").arg("-l").arg(at).status().unwrap().success());
    }

    fn make_read_only(at: &Path) {
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(at).status().unwrap().success());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Some tests have unplugged it already.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

#[test]
fn a_volume_without_room_is_refused_before_anything_is_read() {
    let scene = Scene::new();
    let Some(volume) = Volume::mount(scene.root().join("volume"), MODEL_BYTES / 2) else { return };
    let control = midway(|| panic!("nothing is merged"));
    let error = scene.merge_to(&volume.at.join("merged"), &control).unwrap_err();
    assert!(matches!(error, MergeError::DiskFull { .. }), "{error}");
    says(&chain(&error), &["volume has", "bytes free but the output needs", "free some space or choose another disk"]);
    assert_eq!(fs::read_dir(&volume.at).unwrap().count(), 0);
}

#[test]
fn a_volume_that_others_fill_during_the_merge() {
    let scene = Scene::new();
    let Some(volume) = Volume::mount(scene.root().join("volume"), 4 * MODEL_BYTES) else { return };
    let message = scene.fails_after(&volume.at.join("merged"), {
        let at = volume.at.clone();
        move || {
            // Until the last page is taken.
            fs::write(at.join("of others"), vec![1; 4 * MODEL_BYTES as usize]).unwrap_err();
        }
    });
    says(&message, &["cannot write", "all of it was undone", "No space left", "free some space"]);
    fs::remove_file(volume.at.join("of others")).unwrap();
    scene.merge_to(&volume.at.join("merged"), &Control::new()).unwrap();
}

#[test]
fn a_volume_that_is_read_only() {
    let scene = Scene::new();
    let Some(volume) = Volume::mount(scene.root().join("volume"), 4 * MODEL_BYTES) else { return };
    Volume::make_read_only(&volume.at);
    let error = scene.merge_to(&volume.at.join("merged"), &Control::new()).unwrap_err();
    says(&chain(&error), &["nothing can be written to", "volume", "choose a place you may write to", "Read-only"]);
}

#[test]
fn a_volume_that_is_unplugged_during_the_merge() {
    let scene = Scene::new();
    let Some(volume) = Volume::mount(scene.root().join("volume"), 4 * MODEL_BYTES) else { return };
    let message = scene.fails_after(&volume.at.join("merged"), {
        let at = volume.at.clone();
        move || Volume::unplug(&at)
    });
    says(&message, &["cannot write", "volume", "all of it was undone"]);
    assert_eq!(fs::read_dir(&volume.at).unwrap().count(), 0, "nothing was written beneath the volume");
}

#[test]
fn a_model_whose_volume_is_unplugged_during_the_merge() {
    let mut scene = Scene::in_shards(30);
    let Some(volume) = Volume::mount(scene.root().join("volume"), 4 * MODEL_BYTES) else { return };
    let post = volume.at.join("post");
    fs::create_dir(&post).unwrap();
    for entry in fs::read_dir(scene.folders.post()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, post.join(path.file_name().unwrap())).unwrap();
    }
    post.to_str().unwrap().clone_into(&mut scene.recipe.vector.post);
    let message = scene.fails_after(&scene.root().join("merged"), {
        let at = volume.at.clone();
        move || Volume::unplug(&at)
    });
    says(&message, &["cannot read tensor `", post.to_str().unwrap(), "No such file"]);
    assert_eq!(hidden(scene.root()), [""; 0]);
}
