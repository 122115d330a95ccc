//! A merge that was interrupted, by a kill or a power cut, goes on where it was and writes the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mergescope_core::checkpoint::Dtype;
use mergescope_core::merge::{MergeError, MergeReport, Resume, merge_with, partials};
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::{Method, Recipe};
use mergescope_core::stream::Resources;
use support::{Folders, Size, Written, read_model, related};

const WEIGHTS: &str = "model.safetensors";
const JOURNAL: &str = ".mergescope-journal";

/// Models of several megabytes, in units that are small beside them.
struct Scene {
    folders: Folders,
    recipe: Recipe,
}

impl Scene {
    fn new() -> Self {
        let size = Size { hidden: 256, ffn: 1024, vocab: 2000, layers: 3, ..Size::default() };
        let (pre, post, target) = related(size, Dtype::BF16);
        let folders = Folders::write(&pre, &post, &target);
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
        recipe.vector.w = 0.5;
        Self { folders, recipe }
    }

    fn root(&self) -> &Path {
        self.folders.dir.path()
    }

    fn output(&self) -> PathBuf {
        self.root().join("merged")
    }

    fn merge(&self, resume: Resume) -> Result<MergeReport, MergeError> {
        merge_with(&self.recipe, &self.output(), resume, &resources(), &Control::new())
    }

    /// What is written when nothing comes in between; the output is gone again.
    fn whole(&self) -> (MergeReport, Written) {
        let report = self.merge(Resume::Never).unwrap();
        let written = read_model(&self.output());
        fs::remove_dir_all(self.output()).unwrap();
        (report, written)
    }

    /// Leaves behind what a merge leaves that is killed when it has written about `share` of its bytes: its folder, as it was at
    /// that moment, and the lock that nobody holds.
    fn interrupt(&self, share: f32) -> PathBuf {
        let control = Control::new();
        std::thread::scope(|scope| {
            let worker =
                scope.spawn(|| merge_with(&self.recipe, &self.output(), Resume::Never, &resources(), &control));
            loop {
                let now = control.snapshot();
                if now.stage == Stage::Merging && now.total_bytes > 0 && now.fraction() >= share {
                    break;
                }
                assert!(!worker.is_finished(), "too fast to be interrupted");
                std::thread::yield_now();
            }
            let alive = partials(self.root()).unwrap().remove(0);
            assert!(alive.is_alive);
            let copy = self.root().join("copy");
            copy_folder(&alive.folder, &copy);
            control.cancel();
            assert!(worker.join().unwrap().unwrap_err().is_cancelled());
            // Under the name that it had, which is free now.
            fs::rename(&copy, &alive.folder).unwrap();
            fs::write(alive.folder.with_extension("mergescope-lock"), "").unwrap();
            alive.folder
        })
    }

    fn is_tidy(&self) -> bool {
        let names = fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().all(|name| !name.to_str().unwrap().contains("mergescope-"))
    }
}

fn resources() -> Resources {
    Resources { threads: 2, memory_bytes: 1 << 20, unit_bytes: 64 << 10, ..Resources::default() }
}

/// A copy of what is there now. The journal goes first: what it says is in the files that are copied after it.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let mut names: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_by_key(|name| name != JOURNAL);
    for name in names {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

fn same(report: &MergeReport, written: &Written, scene: &Scene, whole: &(MergeReport, Written)) {
    assert_eq!(*written, whole.1, "the same bytes");
    assert_eq!(report.tensors, whole.0.tensors, "the same sums, to the last bit");
    assert!(!report.files.is_empty() && report.files == whole.0.files, "the same hashes");
    assert!(!scene.output().join(JOURNAL).exists());
    assert!(scene.is_tidy());
}

#[test]
fn it_goes_on_from_where_it_was() {
    let scene = Scene::new();
    let whole = scene.whole();
    for share in [0.02, 0.5, 0.9] {
        scene.interrupt(share);
        let report = scene.merge(Resume::default()).unwrap();
        assert!(report.resumed_bytes > 0 && report.resumed_bytes < report.bytes_written, "{share}");
        same(&report, &read_model(&scene.output()), &scene, &whole);
        fs::remove_dir_all(scene.output()).unwrap();
    }
}

#[test]
fn methods_that_look_at_whole_tensors_go_on_too() {
    for method in [Method::Ties, Method::DareLinear, Method::Della] {
        let mut scene = Scene::new();
        scene.recipe.method.name = method;
        scene.recipe.method.density = Some(0.4);
        let whole = scene.whole();
        scene.interrupt(0.4);
        let report = scene.merge(Resume::Only).unwrap();
        assert!(report.resumed_bytes > 0, "{}", method.label());
        same(&report, &read_model(&scene.output()), &scene, &whole);
    }
}

#[test]
fn what_a_power_cut_took_back_is_written_again() {
    let scene = Scene::new();
    let whole = scene.whole();
    let dead = scene.interrupt(0.8);
    // A page of zeros in the place of weights that the journal speaks of.
    let path = dead.join(WEIGHTS);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 3;
    bytes[at..at + 4096].fill(0);
    fs::write(&path, bytes).unwrap();
    let report = scene.merge(Resume::Only).unwrap();
    assert!(report.resumed_bytes > 0);
    same(&report, &read_model(&scene.output()), &scene, &whole);
}

#[test]
fn files_that_are_missing_or_short_are_made_again() {
    let scene = Scene::new();
    let whole = scene.whole();
    for change in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "short").unwrap()] {
        let dead = scene.interrupt(0.5);
        change(&dead.join(WEIGHTS));
        // A folder in the place of a file, and files that do not belong there.
        fs::create_dir(dead.join("config.json.d")).unwrap();
        fs::write(dead.join("stray"), "x").unwrap();
        let report = scene.merge(Resume::Only).unwrap();
        assert_eq!(report.resumed_bytes, 0);
        same(&report, &read_model(&scene.output()), &scene, &whole);
        assert!(!scene.output().join("stray").exists());
        fs::remove_dir_all(scene.output()).unwrap();
    }
}

#[test]
fn a_damaged_journal_costs_work_and_nothing_else() {
    let scene = Scene::new();
    let whole = scene.whole();
    for at in [0.0, 0.1, 0.6, 0.99] {
        let dead = scene.interrupt(0.6);
        let path = dead.join(JOURNAL);
        let mut bytes = fs::read(&path).unwrap();
        let at = (bytes.len() as f64 * at) as usize;
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        let report = scene.merge(Resume::default()).unwrap();
        same(&report, &read_model(&scene.output()), &scene, &whole);
        fs::remove_dir_all(scene.output()).unwrap();
    }
}

#[test]
fn another_recipe_or_another_file_is_not_mixed_in() {
    let mut scene = Scene::new();
    scene.interrupt(0.5);
    scene.recipe.vector.w = 0.25;
    let refused = scene.merge(Resume::Only).unwrap_err();
    assert!(matches!(refused, MergeError::NothingToResume { .. }), "{refused}");
    assert_eq!(partials(scene.root()).unwrap().len(), 1, "what was asked for was not to begin anew");
    let report = scene.merge(Resume::default()).unwrap();
    assert_eq!(report.resumed_bytes, 0);
    assert!(scene.is_tidy());
    fs::remove_dir_all(scene.output()).unwrap();

    scene.interrupt(0.5);
    let weights = scene.folders.post().join(WEIGHTS);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&weights, fs::read(&weights).unwrap()).unwrap();
    let report = scene.merge(Resume::default()).unwrap();
    assert_eq!(report.resumed_bytes, 0, "the file may hold other weights now");
}

#[test]
fn it_can_be_begun_anew() {
    let scene = Scene::new();
    let whole = scene.whole();
    scene.interrupt(0.5);
    let report = scene.merge(Resume::Never).unwrap();
    assert_eq!(report.resumed_bytes, 0);
    same(&report, &read_model(&scene.output()), &scene, &whole);
}

#[test]
fn what_was_left_is_listed_and_removed() {
    let scene = Scene::new();
    scene.interrupt(0.5);
    let found = partials(scene.root()).unwrap();
    let [partial] = found.as_slice() else { panic!("one merge was interrupted: {found:?}") };
    assert_eq!(partial.output_name(), "merged");
    assert_eq!(partial.output.as_deref(), Some(scene.root().canonicalize().unwrap().join("merged").as_path()));
    assert!(!partial.is_alive && partial.done_bytes > 0 && partial.done_bytes < partial.total_bytes);
    let recipe = partial.recipe.as_ref().unwrap();
    assert_eq!((recipe.vector.w, &recipe.target), (0.5, &scene.recipe.target));
    partial.clone().remove().unwrap();
    assert!(scene.is_tidy());
}

#[test]
fn one_that_lives_is_not_removed() {
    let scene = Scene::new();
    let dead = scene.interrupt(0.5);
    let lock = dead.with_extension("mergescope-lock");
    let held = fs::File::options().write(true).open(&lock).unwrap();
    held.try_lock().unwrap();
    let partial = partials(scene.root()).unwrap().remove(0);
    assert!(partial.is_alive);
    assert!(matches!(partial.remove(), Err(MergeError::Busy { .. })));
    assert!(matches!(scene.merge(Resume::default()), Err(MergeError::Busy { .. })));
    assert!(dead.exists());
}
