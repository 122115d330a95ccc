//! A merge that was interrupted, at the next start of the window.

use std::path::{Path, PathBuf};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use mergescope::window::App;
use mergescope::window::session::End;
use mergescope_core::merge::partials;

use super::common::{Shape, Triple, setup, wait, wait_for_label};
use super::written;

/// What the window remembers, in memory.
#[derive(Default)]
struct Memory(std::collections::BTreeMap<String, String>);

impl eframe::Storage for Memory {
    fn get_string(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }
    fn set_string(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
    fn remove_string(&mut self, key: &str) {
        self.0.remove(key);
    }
    fn flush(&mut self) {}
}

/// A window that last wrote into `folder`, and one that starts there again.
fn window_that_wrote_into(folder: &Path) -> Harness<'static, App> {
    // As the window itself stores it.
    let mut storage = Memory::default();
    eframe::Storage::set_string(&mut storage, "mergescope", format!("(output_parent: Some({:?}))", folder));
    Harness::builder()
        .with_size([1280.0, 800.0])
        .with_max_steps(40)
        .build_eframe(move |context| App::new(&context.egui_ctx, Some(&storage), setup()))
}

/// Leaves a merge behind that the program was killed in.
fn interrupted(triple: &Triple) -> PathBuf {
    let folder = triple.root.path().canonicalize().unwrap();
    loop {
        let args = ["merge", "--memory", "1KiB", "-w", "0.25", "--out", "merged", "--anew"];
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mergescope"));
        command.args(args).current_dir(&folder).env("XDG_DATA_HOME", folder.join("data"));
        for role in ["pre", "post", "target"] {
            command.arg(format!("--{role}")).arg(triple.path(role));
        }
        let nowhere = std::process::Stdio::null;
        let mut child = command.stdout(nowhere()).stderr(nowhere()).spawn().unwrap();
        let has_some = || partials(&folder).unwrap().iter().any(|partial| partial.done_bytes > 0);
        while child.try_wait().unwrap().is_none() && !has_some() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if !folder.join("merged").exists() && has_some() {
            return folder;
        }
        drop(std::fs::remove_dir_all(folder.join("merged")));
    }
}

/// Large enough to be killed in.
const LARGER: Shape = Shape { layers: 6, hidden: 128, inner: 512, vocabulary: 4096 };

#[test]
fn a_merge_that_was_interrupted_is_offered_at_the_next_start_and_goes_on() {
    let triple = Triple::new(LARGER);
    let folder = interrupted(&triple);
    let mut harness = window_that_wrote_into(&folder);
    wait_for_label(&mut harness, "A merge was interrupted");
    harness.get_by_label("Go on").click();
    harness.run_steps(2);
    wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(End::Merged(_))));
    assert!(written(&harness).unwrap().report.resumed_bytes > 0);
    assert_eq!(harness.state().session().recipe.vector.w, 0.25, "the recipe is that of the merge");
    assert!(harness.query_all_by_label_contains("were there already").count() > 0);
    assert!(folder.join("merged/model.safetensors").is_file() && partials(&folder).unwrap().is_empty());
}

#[test]
fn a_merge_that_was_interrupted_can_be_left_or_removed() {
    let triple = Triple::new(LARGER);
    let folder = interrupted(&triple);
    let mut harness = window_that_wrote_into(&folder);
    wait_for_label(&mut harness, "A merge was interrupted");
    harness.get_by_label("Later").click();
    harness.run_steps(3);
    assert_eq!(partials(&folder).unwrap().len(), 1);
    let mut harness = window_that_wrote_into(&folder);
    wait_for_label(&mut harness, "A merge was interrupted");
    harness.get_by_label("Remove what is there").click();
    wait_for_label(&mut harness, "What was there of merged is removed");
    assert!(partials(&folder).unwrap().is_empty() && !folder.join("merged").exists());
}
