//! What a merge refuses, in which words, and that a refused or cancelled merge leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mergescope_core::alignment::Models;
use mergescope_core::checkpoint::Dtype;
use mergescope_core::error::chain;
use mergescope_core::merge::{MergeError, MergeReport, check_output, merge, plan};
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;
use support::{Folders, Model, Size, Tensor, related};

struct Scene {
    folders: Folders,
    recipe: Recipe,
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Scene {
    fn new(pre: &Model, post: &Model, target: &Model) -> Self {
        let folders = Folders::write(pre, post, target);
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
        let before = files(folders.dir.path());
        Self { folders, recipe, before }
    }

    fn ordinary() -> Self {
        let (pre, post, target) = related(Size::default(), Dtype::BF16);
        Self::new(&pre, &post, &target)
    }

    fn output(&self) -> PathBuf {
        self.folders.dir.path().join("merged")
    }

    fn merge(&self) -> Result<MergeReport, MergeError> {
        self.merge_to(&self.output(), &Control::new())
    }

    fn merge_to(&self, output: &Path, control: &Control) -> Result<MergeReport, MergeError> {
        merge(&self.recipe, output, &Resources::default(), control)
    }

    /// The merge's message, after checking that the disk is as it was.
    fn refused(&self) -> String {
        let error = self.merge().expect_err("the merge is refused");
        self.nothing_changed();
        chain(&error)
    }

    fn nothing_changed(&self) {
        assert!(files(self.folders.dir.path()) == self.before, "inputs are unchanged and nothing is left behind");
    }
}

/// Every file below `folder` with its bytes, and every empty folder.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
            found.push((path, Vec::new()));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` in: {message}");
    }
}

#[test]
fn w_that_is_no_number() {
    let mut scene = Scene::ordinary();
    scene.recipe.vector.w = f64::NAN;
    says(&scene.refused(), &["w is NaN", "must be a finite number"]);
}

#[test]
fn a_model_that_is_not_there() {
    let mut scene = Scene::ordinary();
    scene.recipe.vector.post = "/no/such/model".to_owned();
    says(&scene.refused(), &["post cannot be opened", "/no/such/model does not exist"]);
}

#[test]
fn an_output_that_exists_even_as_an_empty_folder_or_a_file() {
    let mut scene = Scene::ordinary();
    fs::create_dir(scene.output()).unwrap();
    scene.before = files(scene.folders.dir.path());
    says(&scene.refused(), &["merged already exists", "choose a new folder name"]);

    fs::remove_dir(scene.output()).unwrap();
    fs::write(scene.output(), "mine").unwrap();
    scene.before = files(scene.folders.dir.path());
    says(&scene.refused(), &["already exists"]);
}

#[test]
fn an_output_inside_an_input() {
    let scene = Scene::ordinary();
    for (role, output) in [("target", scene.folders.target().join("merged")), ("pre", scene.folders.pre().join("x"))] {
        let error = scene.merge_to(&output, &Control::new()).unwrap_err();
        says(&chain(&error), &["lies inside", role, "choose a folder outside"]);
    }
    let around = scene.folders.post().join("..").join("post").join("merged");
    let error = scene.merge_to(&around, &Control::new()).unwrap_err();
    says(&chain(&error), &["lies inside post"]);
    scene.nothing_changed();
}

#[cfg(unix)]
#[test]
fn an_output_inside_an_input_by_way_of_a_link() {
    let scene = Scene::ordinary();
    let link = scene.folders.dir.path().join("link");
    std::os::unix::fs::symlink(scene.folders.target(), &link).unwrap();
    let error = scene.merge_to(&link.join("merged"), &Control::new()).unwrap_err();
    says(&chain(&error), &["lies inside target"]);
}

#[test]
fn an_output_with_nowhere_to_be() {
    let scene = Scene::ordinary();
    let error = scene.merge_to(&scene.folders.dir.path().join("a").join("b"), &Control::new()).unwrap_err();
    says(&chain(&error), &["/a does not exist", "create it first"]);
    let error = scene.merge_to(&scene.folders.dir.path().join(".."), &Control::new()).unwrap_err();
    says(&chain(&error), &["cannot name an output folder"]);
    scene.nothing_changed();
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written() {
    // Refused to everyone, root included: no folder can be made in the kernel's own file system.
    let scene = Scene::ordinary();
    let error = scene.merge_to(Path::new("/proc/merged"), &Control::new()).unwrap_err();
    says(&chain(&error), &["nothing can be written to /proc", "choose a place you may write to"]);
    scene.nothing_changed();
}

#[test]
fn shapes_that_differ_and_tensors_that_are_missing() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let wide = Model::qwen2(Size { ffn: 64, ..Size::default() }, Dtype::BF16, 3);
    says(&Scene::new(&pre, &wide, &target).refused(), &["do not fit together", "shape"]);

    let without = post.without_tensor("model.layers.1.mlp.up_proj.weight");
    says(&Scene::new(&pre, &without, &target).refused(), &["do not fit together", "model.layers.1.mlp.up_proj.weight"]);
}

#[test]
fn nan_and_infinity_in_any_input_by_name_unless_allowed() {
    let name = "model.layers.1.mlp.down_proj.weight";
    for role in 0..3 {
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            let (pre, post, target) = related(Size::default(), Dtype::BF16);
            let mut models = [pre, post, target];
            let tensor = models[role].tensor_mut(name);
            let mut values = support::decode(Dtype::BF16, &tensor.bytes);
            let last = values.len() - 1;
            values[last] = bad;
            tensor.bytes = support::encode(Dtype::BF16, &values);
            let mut scene = Scene::new(&models[0], &models[1], &models[2]);
            says(&scene.refused(), &[name, ["pre", "post", "target"][role], "model.safetensors", "NaN or infinity"]);

            scene.recipe.output.allow_nonfinite = true;
            let report = scene.merge().unwrap();
            assert!(report.total().cosine() > 0.9, "the one bad element is left out of the report");
        }
    }
}

#[test]
fn nan_in_a_tensor_that_is_only_copied() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let target = target.with_tensor(Tensor::of("extra.weight", Dtype::F32, &[2], &[1.0, f32::NAN]));
    says(&Scene::new(&pre, &post, &target).refused(), &["`extra.weight` of target", "NaN or infinity"]);
}

#[test]
fn a_cancelled_merge_leaves_nothing_behind_and_stops_at_once() {
    let size = Size { hidden: 512, ffn: 2048, vocab: 2000, layers: 4, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let scene = Scene::new(&pre, &post, &target);
    let control = Control::new();
    let resources = Resources { threads: 1, memory_bytes: 1 << 20, unit_bytes: 64 << 10, ..Resources::default() };
    let result = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let result = merge(&scene.recipe, &scene.output(), &resources, &control);
            (result, Instant::now())
        });
        while control.snapshot().stage != Stage::Merging || control.snapshot().done_bytes == 0 {
            std::thread::yield_now();
        }
        let asked = Instant::now();
        control.cancel();
        let (result, ended) = worker.join().unwrap();
        assert!(ended - asked < Duration::from_millis(200), "stopped after {:?}", ended - asked);
        result
    });
    assert!(result.unwrap_err().is_cancelled());
    scene.nothing_changed();
}

#[test]
fn a_merge_cancelled_while_syncing_leaves_nothing_behind() {
    let scene = Scene::ordinary();
    let control = Control::new();
    let observed = Control::with_observer({
        let control = control.clone();
        move |progress| {
            if progress.stage == Stage::Syncing {
                control.cancel();
            }
        }
    });
    // The observed control only watches; cancelling it from its own observer is what a person's click amounts to.
    let cancelling = std::thread::scope(|scope| {
        let worker = scope.spawn(|| scene.merge_to(&scene.output(), &observed));
        while !control.is_cancelled() && !worker.is_finished() {
            std::thread::yield_now();
        }
        observed.cancel();
        worker.join().unwrap()
    });
    // The sync of so small a model may already be over: then the output is complete, never half there.
    match cancelling {
        Ok(_) => assert!(scene.output().join("mergescope.toml").exists()),
        Err(error) => {
            assert!(error.is_cancelled());
            scene.nothing_changed();
        }
    }
}

/// The hidden names that a merge works under, seen while it runs: its staging folder and its lock.
fn hidden_names(scene: &Scene) -> (PathBuf, PathBuf) {
    let root = scene.folders.dir.path().to_owned();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let control = Control::with_observer({
        let seen = seen.clone();
        move |progress| {
            if progress.stage == Stage::Merging {
                let names = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
                seen.lock().unwrap().extend(names);
            }
        }
    });
    scene.merge_to(&scene.output(), &control).unwrap();
    fs::remove_dir_all(scene.output()).unwrap();
    scene.nothing_changed();
    let seen = seen.lock().unwrap();
    let ends = |end: &str| seen.iter().find(|path| path.to_str().unwrap().ends_with(end)).unwrap().clone();
    (ends(".mergescope-partial"), ends(".mergescope-lock"))
}

#[test]
fn what_a_dead_merge_left_is_removed() {
    let scene = Scene::ordinary();
    let (folder, lock) = hidden_names(&scene);
    fs::write(&lock, "").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.safetensors"), "half").unwrap();
    scene.merge().unwrap();
    assert!(!folder.exists() && !lock.exists());
    assert!(scene.output().join("model.safetensors").metadata().unwrap().len() > 1000);
}

#[test]
fn a_second_merge_to_the_same_output() {
    let mut scene = Scene::ordinary();
    let (folder, lock) = hidden_names(&scene);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.safetensors"), "of the living").unwrap();
    let held = fs::File::create(&lock).unwrap();
    held.try_lock().unwrap();
    scene.before = files(scene.folders.dir.path());
    says(&scene.refused(), &["another run is writing to", "merged"]);
}

#[test]
fn of_merges_that_begin_at_once_one_is_whole_and_the_others_leave_no_trace() {
    let scene = Scene::ordinary();
    for _ in 0..20 {
        let results: Vec<_> = std::thread::scope(|scope| {
            let merges: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.merge())).collect();
            merges.into_iter().map(|merge| merge.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        for error in results.into_iter().filter_map(Result::err) {
            assert!(matches!(error, MergeError::Busy { .. } | MergeError::OutputExists { .. }), "{error}");
        }
        let names = ["README.md", "config.json", "mergescope-report.json", "mergescope.toml", "model.safetensors"];
        assert_eq!(
            files(&scene.output())
                .iter()
                .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
                .collect::<Vec<_>>(),
            names
        );
        fs::remove_dir_all(scene.output()).unwrap();
        scene.nothing_changed();
    }
}

#[test]
fn a_disk_without_room() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let scene = Scene::new(&pre, &post, &target);
    let mut plan = plan(&Models::from(&scene.folders.open()), &scene.recipe).unwrap();
    check_output(&scene.output(), &Models::from(&scene.folders.open()), &plan).unwrap();
    plan.files.files[0].bytes = u64::MAX / 2;
    let message = chain(&check_output(&scene.output(), &Models::from(&scene.folders.open()), &plan).unwrap_err());
    says(&message, &["bytes free but the output needs", "free some space"]);
}

#[cfg(unix)]
#[test]
fn a_file_of_the_target_that_leads_out_or_nowhere_before_any_work() {
    for (leads_to, words) in
        [("/etc/hostname", "leads out of the model folder"), ("gone.json", "which is missing; download it again")]
    {
        let (pre, post, target) = related(Size::default(), Dtype::BF16);
        let mut scene = Scene::new(&pre, &post, &target);
        let link = scene.folders.target().join("generation_config.json");
        std::os::unix::fs::symlink(leads_to, &link).unwrap();
        let message = chain(&scene.merge().unwrap_err());
        says(&message, &["a file of the target cannot be carried over", "generation_config.json", words]);
        let open = scene.folders.open();
        let plan = plan(&Models::from(&open), &scene.recipe).unwrap();
        assert!(check_output(&scene.output(), &Models::from(&open), &plan).is_err(), "a dry run says so too");
        fs::remove_file(link).unwrap();
        scene.before = files(scene.folders.dir.path());
        scene.nothing_changed();
    }
}

#[test]
fn an_input_that_changes_during_the_merge() {
    let scene = Scene::ordinary();
    let path = scene.folders.post().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let control = Control::with_observer(move |progress| {
        if progress.stage == Stage::Merging && progress.done_bytes == 0 {
            // The same size: only the time of change tells.
            std::thread::sleep(Duration::from_millis(20));
            fs::write(&path, &whole).unwrap();
        }
    });
    let message = chain(&scene.merge_to(&scene.output(), &control).unwrap_err());
    says(&message, &["of post changed", "nothing was written"]);
    scene.nothing_changed();
}

#[test]
fn a_model_that_changed_after_it_was_opened() {
    let scene = Scene::ordinary();
    let open = scene.folders.open();
    let tensor = &open.target.tensors()[0];
    let path = scene.folders.target().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut buffer = vec![0; tensor.bytes as usize];
    let message = chain(&open.target.read(tensor, 0, &mut buffer).unwrap_err());
    says(&message, &["model.safetensors", "changed after it was opened"]);
}
