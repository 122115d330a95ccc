//! The layout of the cache, and what is in it: `models--ORG--NAME/refs/REVISION` holds the commit's name,
//! `snapshots/COMMIT/` the files, mostly as links into `blobs/`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::name::{HubName, MAIN, is_plain};

/// A model in the local Hub cache that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// `org/name`.
    pub id: String,
    /// The snapshot's folder.
    pub path: PathBuf,
    /// Bytes of its weight files.
    pub bytes: u64,
}

/// Models in `cache` that hold weights as safetensors, or else as PyTorch's `.bin`, by id.
pub fn cached_models(cache: &Path) -> Vec<CachedModel> {
    let Ok(entries) = std::fs::read_dir(cache) else { return Vec::new() };
    let mut models: Vec<CachedModel> = entries.filter_map(|entry| cached_model(&entry.ok()?.path())).collect();
    models.sort_by_cached_key(|model| (model.id.to_lowercase(), model.id.clone()));
    models
}

fn cached_model(repo: &Path) -> Option<CachedModel> {
    let id = repo.file_name()?.to_str()?.strip_prefix("models--")?.replacen("--", "/", 1);
    let Ok(Snapshot::Found(path)) = snapshot(repo) else { return None };
    let (mut bytes, mut pickle_bytes) = (0, 0);
    for entry in std::fs::read_dir(&path).ok()? {
        let file = entry.ok()?.path();
        let name = file.file_name()?.to_string_lossy();
        // An adapter is no model that could be opened.
        if name.ends_with(".safetensors") && name != "adapter_model.safetensors" {
            // A link to a blob that is still being downloaded, or was deleted, leads nowhere.
            bytes += std::fs::metadata(&file).ok()?.len();
        } else if name.starts_with("pytorch_model") && name.ends_with(".bin") {
            pickle_bytes += std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        }
    }
    // Where both are there, the pickles are not read.
    let bytes = if bytes > 0 { bytes } else { pickle_bytes };
    (bytes > 0).then_some(CachedModel { id, path, bytes })
}

/// Which of a repository's snapshots is meant when none is named.
pub(crate) enum Snapshot {
    /// The one that `refs/main` names, or the only one.
    Found(PathBuf),
    /// None is main, and there are this many.
    Ambiguous(usize),
}

/// The snapshot that `models--ORG--NAME` stands for.
pub(crate) fn snapshot(repo: &Path) -> io::Result<Snapshot> {
    if let Some(main) = snapshot_of_revision(repo, MAIN) {
        return Ok(Snapshot::Found(main));
    }
    let mut revisions: Vec<PathBuf> = std::fs::read_dir(repo.join("snapshots"))?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir()))
        .collect();
    match revisions.len() {
        1 => Ok(Snapshot::Found(revisions.remove(0))),
        count => Ok(Snapshot::Ambiguous(count)),
    }
}

/// Where the cache has a model; its repository where none of several snapshots is main, so that opening it says what to
/// choose from.
pub(super) fn find(cache: &Path, name: &HubName) -> Option<PathBuf> {
    let repo = cache.join(name.folder());
    // One that main has moved on from is not what is asked for.
    let revision = name.revision().or_else(|| read_short(&repo.join("refs").join(MAIN)).map(|_| MAIN));
    match (revision, snapshot(&repo).ok()?) {
        (Some(revision), _) => snapshot_of_revision(&repo, revision),
        (None, Snapshot::Found(path)) => Some(path),
        (None, Snapshot::Ambiguous(_)) => Some(repo),
    }
}

/// The snapshot of a branch, tag or commit, whose name is one of a revision.
fn snapshot_of_revision(repo: &Path, revision: &str) -> Option<PathBuf> {
    let snapshots = repo.join("snapshots");
    let commit = read_short(&repo.join("refs").join(revision)).unwrap_or_else(|| revision.to_owned());
    // The commit is a file's content: only a plain name may become part of a path.
    let path = snapshots.join(Some(commit.trim()).filter(|commit| is_plain(commit))?);
    path.is_dir().then_some(path)
}

/// The text of a small file, at most 4 KiB of it.
pub(super) fn read_short(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::spec::tests::cache;
    use super::*;

    #[test]
    fn the_cache_lists_models_that_can_be_opened() {
        let (_home, environment) = cache();
        let cache = environment.cache_dir().unwrap();
        for (repo, file) in
            [("models--org--adapter", "adapter_model.safetensors"), ("models--org--pickle", "pytorch_model.bin")]
        {
            fs::create_dir_all(cache.join(repo).join("snapshots/one")).unwrap();
            fs::write(cache.join(repo).join("snapshots/one").join(file), [0; 10]).unwrap();
        }
        fs::create_dir_all(cache.join("datasets--org--d/snapshots/one")).unwrap();
        fs::create_dir_all(cache.join("models--empty")).unwrap();
        let model = |name: &str, commit: &str| CachedModel {
            id: format!("org/{name}"),
            path: cache.join(format!("models--org--{name}/snapshots/{commit}")),
            bytes: 10,
        };
        assert_eq!(cached_models(&cache), [model("pickle", "one"), model("some-model", "abc")]);
        assert!(cached_models(&cache.join("nothing")).is_empty());
    }

    #[test]
    fn a_main_that_is_not_in_the_cache_is_not_another_commit() {
        let (_home, environment) = cache();
        let cache = environment.cache_dir().unwrap();
        let name: HubName = "org/some-model".parse().unwrap();
        let found = find(&cache, &name).unwrap();
        assert!(found.ends_with("snapshots/abc"));
        let refs = cache.join(name.folder()).join("refs");
        fs::create_dir_all(&refs).unwrap();
        fs::write(refs.join("main"), "f".repeat(40)).unwrap();
        assert_eq!(find(&cache, &name), None);
        fs::remove_file(refs.join("main")).unwrap();
        let repo = cache.join(name.folder());
        assert_eq!(find(&cache, &name), Some(repo.clone()), "one of several, where nobody says which is main");
        for entry in fs::read_dir(repo.join("snapshots")).unwrap().map(|entry| entry.unwrap().path()) {
            if entry != found {
                fs::remove_dir_all(entry).unwrap();
            }
        }
        assert_eq!(find(&cache, &name), Some(found), "the only one");
    }
}
