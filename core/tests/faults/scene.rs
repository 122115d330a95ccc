//! A merge of a megabyte in many units, and a hand that interferes in the middle of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mergescope_core::checkpoint::Dtype;
use mergescope_core::error::chain;
use mergescope_core::merge::{MergeError, MergeReport, merge};
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;

use crate::support::{Folders, Size, related};

pub const WEIGHTS: &str = "model.safetensors";

/// Bytes of each model, a little less than there are.
pub const MODEL_BYTES: u64 = 1_000_000;

pub struct Scene {
    pub folders: Folders,
    pub recipe: Recipe,
}

impl Scene {
    pub fn new() -> Self {
        Self::in_shards(1)
    }

    /// Pre and post in that many files.
    pub fn in_shards(shards: usize) -> Self {
        let size = Size { hidden: 128, ffn: 512, vocab: 500, ..Size::default() };
        let (pre, post, target) = related(size, Dtype::BF16);
        let target = target.with_file("tokenizer.json", "{}");
        let folders = Folders::write(&pre.with_shards(shards), &post.with_shards(shards), &target);
        assert!(folders.open().target.total_bytes() > MODEL_BYTES);
        let name = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut recipe = Recipe::new(name(folders.pre()), name(folders.post()), name(folders.target()));
        recipe.vector.w = 0.5;
        Self { folders, recipe }
    }

    pub fn root(&self) -> &Path {
        self.folders.dir.path()
    }

    pub fn merge_to(&self, output: &Path, control: &Control) -> Result<MergeReport, MergeError> {
        merge(&self.recipe, output, &resources(), control)
    }

    /// Merges to `output`, does `act` when the first unit is written, and gives the message with which the merge ends.
    /// The output is absent, beside it lies what lay there before and `act` left there, and the inputs are as `act` left them.
    #[track_caller]
    pub fn fails_after(&self, output: &Path, act: impl FnOnce() + Send + 'static) -> String {
        let after = Arc::new(Mutex::new(None));
        let control = midway({
            let (after, root) = (after.clone(), self.root().to_owned());
            move || {
                act();
                *after.lock().unwrap() = Some(models(&root));
            }
        });
        let error = self.merge_to(output, &control).expect_err("the merge fails");
        assert_eq!(Some(models(self.root())), *after.lock().unwrap(), "the models are as they were left");
        assert!(fs::symlink_metadata(output).is_err(), "there is no output");
        assert_eq!(hidden(output.parent().unwrap()), [""; 0], "nothing is left behind");
        chain(&error)
    }
}

/// One worker, so that what happens between two units is certain.
pub fn resources() -> Resources {
    Resources { threads: 1, memory_bytes: 1 << 20, unit_bytes: 16 << 10, ..Resources::default() }
}

/// A control under which `act` is done once, when the first unit of a merge is written and most are not.
pub fn midway(act: impl FnOnce() + Send + 'static) -> Control {
    let act = Mutex::new(Some(act));
    Control::with_observer(move |progress| {
        if progress.stage != Stage::Merging {
        } else if progress.done_bytes == 0 {
            // Then the first unit is reported, however long ago the last report was.
            std::thread::sleep(Duration::from_millis(50));
        } else if let Some(act) = act.lock().unwrap().take() {
            assert!(progress.fraction() < 0.1, "most is not yet written");
            act();
        }
    })
}

/// All files of the three models.
pub fn models(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for role in ["pre", "post", "target"] {
        for entry in fs::read_dir(root.join(role)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// Names in a folder that begin with a dot.
pub fn hidden(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with('.')).collect()
}

#[track_caller]
pub fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` in: {message}");
    }
}
