//! Where a merged model goes: the folder offered, whether it can be used, and the room on its disk.

use std::path::{Path, PathBuf};

use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::recipe::Recipe;

use super::engine::Engine;
use crate::{demo, format};

/// The folder offered at first: beside the target, unless that is no place to write to.
pub fn default_parent(target: Option<&Checkpoint>) -> PathBuf {
    let beside = target.and_then(|target| {
        let root = target.root();
        // The Hub cache belongs to the Hub's own tools.
        let in_cache = root.components().any(|part| part.as_os_str().to_string_lossy().starts_with("models--"));
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty() && !in_cache)?;
        let parent = parent.canonicalize().ok()?;
        // The demo's models are part of the program.
        let in_demo = demo::folder().and_then(|demo| demo.canonicalize().ok()).is_some_and(|demo| demo == parent);
        (!in_demo).then_some(parent)
    });
    beside.or_else(std::env::home_dir).or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| PathBuf::from("/"))
}

/// A name that is free in `parent`, made of the target's and of what is done: `qwen2.5-0.5b-w0.50`, `qwen2.5-0.5b-ties`.
pub fn default_name(target: Option<&Checkpoint>, recipe: &Recipe, parent: &Path) -> String {
    let stem = target.map_or_else(|| "merged".to_owned(), stem);
    // A file name keeps the plain hyphen: − is for reading.
    let what = match recipe.is_plain() {
        true => format!("w{}", format::w_in_name(recipe.vector.w)),
        false => recipe.method.name.label().replace('_', "-"),
    };
    // What looks like the real thing in a list of folders would be taken for it.
    let control = recipe.vectors().find_map(|vector| vector.control);
    let control = control.map_or_else(String::new, |control| format!("-control-{}", control.kind.label()));
    free_name(format!("{stem}-{what}{control}"), parent)
}

/// `base`, or with a number at its end where that is taken in `parent`.
pub fn free_name(base: String, parent: &Path) -> String {
    let taken = |name: &String| parent.join(name).exists();
    if !taken(&base) {
        return base;
    }
    (2..1000).map(|number| format!("{base}-{number}")).find(|name| !taken(name)).unwrap_or(base)
}

/// The last part of a model's name, without what makes it a file.
pub fn stem(model: &Checkpoint) -> String {
    let label = model.label();
    let short = label.rsplit('/').next().unwrap_or(&label);
    short.strip_suffix(".safetensors").unwrap_or(short).to_owned()
}

/// Why nothing can be written to `parent`/`name`; `None` when it looks possible.
pub fn obstacle(parent: &Path, name: &str, inputs: &[&Path]) -> Option<String> {
    if name.trim().is_empty() {
        return Some("Give the folder a name".to_owned());
    }
    if matches!(name, "." | "..") {
        return Some(format!("{name} is no name for a new folder"));
    }
    if name.contains(['/', '\\']) {
        return Some("A name has no / or \\ in it: choose the folder above".to_owned());
    }
    if !parent.is_dir() {
        return Some(format!("{} is not a folder", format::path(parent)));
    }
    let output = parent.join(name);
    if output.exists() {
        return Some(format!("{} exists already: choose another name", format::path(&output)));
    }
    let real_parent = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
    let inside = inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| real_parent.starts_with(input)));
    inside.then(|| "This lies inside one of the models: choose another folder".to_owned())
}

/// Free space by folder, asked for again only when the folder changes or [`FreeSpace::forget`] is called.
#[derive(Default)]
pub struct FreeSpace {
    known: Option<(PathBuf, Option<u64>)>,
}

impl FreeSpace {
    /// Free bytes on the disk of `folder`.
    pub fn of(&mut self, folder: &Path, engine: &dyn Engine) -> Option<u64> {
        match &self.known {
            Some((known, bytes)) if known == folder => *bytes,
            _ => {
                let bytes = engine.free_bytes(folder);
                self.known = Some((folder.to_owned(), bytes));
                bytes
            }
        }
    }

    /// Something was written: ask again.
    pub fn forget(&mut self) {
        self.known = None;
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::recipe::{ControlKind, ControlSpec, Method};

    use super::super::engine::CoreEngine;
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_used_is_said_before_anything_is_read() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        std::fs::create_dir(&model).unwrap();
        let inputs = [model.as_path()];
        assert_eq!(obstacle(root.path(), "new", &inputs), None);
        assert!(obstacle(root.path(), "model", &inputs).unwrap().contains("exists already"));
        assert!(obstacle(&model, "new", &inputs).unwrap().contains("inside one of the models"));
        assert!(obstacle(root.path(), "a/b", &inputs).unwrap().contains("A name has no /"));
        assert!(obstacle(root.path(), " ", &inputs).unwrap().contains("Give the folder a name"));
        assert!(obstacle(&root.path().join("gone"), "new", &inputs).unwrap().contains("is not a folder"));
    }

    #[test]
    fn names_that_are_taken_get_a_number() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::new("a", "b", "c");
        recipe.vector.w = -0.5;
        assert_eq!(default_name(None, &recipe, root.path()), "merged-w-0.50");
        std::fs::create_dir(root.path().join("merged-w-0.50")).unwrap();
        assert_eq!(default_name(None, &recipe, root.path()), "merged-w-0.50-2");
        recipe.method.name = Method::DareTies;
        recipe.vector.control = Some(ControlSpec { kind: ControlKind::Noise, seed: 0 });
        assert_eq!(default_name(None, &recipe, root.path()), "merged-dare-ties-control-noise");
    }

    #[test]
    fn free_space_is_that_of_the_nearest_folder_there_is() {
        let root = tempfile::tempdir().unwrap();
        assert!(CoreEngine.free_bytes(&root.path().join("not/yet/there")).is_some());
    }
}
