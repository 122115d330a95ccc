//! The local Hugging Face cache: which models are there, and where. Contacts no host.
//!
//! Layout: `models--ORG--NAME/refs/REVISION` holds the commit's name, `snapshots/COMMIT/` the files, mostly as links into
//! `blobs/`. Names that people or files give become parts of a path only where they are plain names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

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

/// What the environment says about where things are. Variables that are empty count as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `HF_HUB_CACHE`: the cache itself.
    pub hub_cache: Option<PathBuf>,
    /// `HF_HOME`: the folder that holds `hub`.
    pub hf_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`: the folder that holds `huggingface/hub`.
    pub xdg_cache_home: Option<PathBuf>,
    /// The person's home folder.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            hub_cache: variable("HF_HUB_CACHE"),
            hf_home: variable("HF_HOME"),
            xdg_cache_home: variable("XDG_CACHE_HOME"),
            home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
        }
    }

    /// The cache folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
    /// `~/.cache/huggingface/hub`. It need not exist.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        if let Some(cache) = &self.hub_cache {
            return Some(self.expand(cache));
        }
        if let Some(hf_home) = &self.hf_home {
            return Some(self.expand(hf_home).join("hub"));
        }
        let cache = match (&self.xdg_cache_home, &self.home) {
            (Some(cache), _) => self.expand(cache),
            (None, Some(home)) => home.join(".cache"),
            (None, None) => return None,
        };
        Some(cache.join("huggingface").join("hub"))
    }

    /// The path that a person's words stand for; see [`resolve`].
    pub fn resolve(&self, spec: &str) -> PathBuf {
        // A folder's name may end in a space; only what a person typed around a path is trimmed.
        let as_it_is = self.expand(Path::new(spec));
        if as_it_is.exists() {
            return as_it_is;
        }
        let path = self.expand(Path::new(spec.trim()));
        if path.exists() {
            return path;
        }
        self.find_in_cache(spec.trim()).unwrap_or(path)
    }

    /// `org/name[@revision]` → the snapshot's folder, where the cache has it.
    fn find_in_cache(&self, spec: &str) -> Option<PathBuf> {
        let (id, revision) = match spec.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (spec, None),
        };
        let parts: Vec<&str> = id.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_hub_name(part)) {
            return None;
        }
        let repo = self.cache_dir()?.join(format!("models--{}", parts.join("--")));
        match (revision, snapshot(&repo).ok()?) {
            (Some(revision), _) => snapshot_of_revision(&repo, revision),
            (None, Snapshot::Found(path)) => Some(path),
            // Opening the repository itself says what to choose from.
            (None, Snapshot::Ambiguous(_)) => Some(repo),
        }
    }

    /// What a file in `folder` means by a model; see [`beside`].
    pub fn beside(&self, spec: &str, folder: &Path) -> String {
        let path = Path::new(spec);
        if path.is_absolute() || path.starts_with("~") {
            return spec.to_owned();
        }
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let beside = absolute(&folder.join(path));
        let text = |path: &Path| path.to_str().map_or_else(|| spec.to_owned(), str::to_owned);
        let cached = self.find_in_cache(spec);
        if beside.exists() || !(is_hub_id(spec) || cached.is_some()) {
            return text(&beside);
        }
        // As an id it would be taken for the folder of that name that happens to be where the program runs.
        if path.exists() { text(&cached.unwrap_or(beside)) } else { spec.to_owned() }
    }

    /// `~` and `~/…` with the home folder in place.
    fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

/// The cache folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
/// `~/.cache/huggingface/hub`.
pub fn cache_dir() -> Option<PathBuf> {
    Environment::of_process().cache_dir()
}

/// Models in `cache` that hold safetensors weights, by id.
pub fn cached_models(cache: &Path) -> Vec<CachedModel> {
    let Ok(entries) = std::fs::read_dir(cache) else { return Vec::new() };
    let mut models: Vec<CachedModel> = entries.filter_map(|entry| cached_model(&entry.ok()?.path())).collect();
    models.sort_by_cached_key(|model| (model.id.to_lowercase(), model.id.clone()));
    models
}

fn cached_model(repo: &Path) -> Option<CachedModel> {
    let id = repo.file_name()?.to_str()?.strip_prefix("models--")?.replacen("--", "/", 1);
    let Ok(Snapshot::Found(path)) = snapshot(repo) else { return None };
    let mut bytes = 0;
    for entry in std::fs::read_dir(&path).ok()? {
        let file = entry.ok()?.path();
        let name = file.file_name()?.to_string_lossy();
        // An adapter is no model that could be opened.
        if name.ends_with(".safetensors") && name != "adapter_model.safetensors" {
            // A link to a blob that is still being downloaded, or was deleted, leads nowhere.
            bytes += std::fs::metadata(&file).ok()?.len();
        }
    }
    (bytes > 0).then_some(CachedModel { id, path, bytes })
}

/// The path that a person's words stand for: `~/…` expanded, `org/name[@revision]` found in the local Hub cache when no
/// such path exists, anything else as it is.
pub fn resolve(spec: &str) -> PathBuf {
    Environment::of_process().resolve(spec)
}

/// What a recipe should say for what a person said: an absolute path, so that it holds from any folder, or the name of a
/// model in the Hub cache as it is.
pub fn lasting(spec: &str) -> String {
    let environment = Environment::of_process();
    if environment.find_in_cache(spec.trim()).is_some() && !environment.expand(Path::new(spec.trim())).exists() {
        return spec.trim().to_owned();
    }
    let path = environment.resolve(spec);
    // Without a working directory there is nothing better than what was said.
    std::path::absolute(&path).ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| spec.to_owned())
}

/// What a file in `folder` means by a model: what lies there, else the name of a model on the Hub as it is, else a path from
/// `folder`, whether something is there or not. The folder that the program runs in does not count.
pub fn beside(spec: &str, folder: &Path) -> String {
    Environment::of_process().beside(spec, folder)
}

/// How a file in `folder`, which is absolute, names a model: by a relative path what lies in that folder, or below it; by an
/// absolute path what lies elsewhere; and by its name a model on the Hub.
pub fn named_from(spec: &str, folder: &Path) -> String {
    let path = Path::new(spec);
    if path.starts_with("~") || (is_hub_id(spec) && !path.exists()) {
        return spec.to_owned();
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Ok(below) = absolute.strip_prefix(folder) else {
        return absolute.to_str().map_or_else(|| spec.to_owned(), str::to_owned);
    };
    // Slashes on every system, and a dot in front, so that it is never taken for a name on the Hub.
    let mut relative = ".".to_owned();
    for part in below.components() {
        relative.push('/');
        relative.push_str(&part.as_os_str().to_string_lossy());
    }
    relative
}

/// Whether it could be `org/name[@revision]` of a model on the Hub.
pub fn is_hub_id(spec: &str) -> bool {
    let id = spec.split_once('@').map_or(spec, |(id, _)| id);
    let parts: Vec<&str> = id.split('/').collect();
    parts.len() == 2 && parts.iter().all(|part| is_hub_name(part))
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
    if let Some(main) = snapshot_of_revision(repo, "main") {
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

/// The snapshot of a branch, tag or commit.
fn snapshot_of_revision(repo: &Path, revision: &str) -> Option<PathBuf> {
    if !is_plain_name(revision) {
        return None;
    }
    let snapshots = repo.join("snapshots");
    let commit = read_short(&repo.join("refs").join(revision)).unwrap_or_else(|| revision.to_owned());
    // The commit is a file's content: only a plain name may become part of a path.
    let path = snapshots.join(Some(commit.trim()).filter(|commit| is_plain_name(commit))?);
    path.is_dir().then_some(path)
}

/// A name as the Hub allows it for an organisation or a model.
fn is_hub_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    is_plain_name(name) && name.bytes().all(allowed) && !name.contains("--") && !name.contains("..")
}

/// Whether it is one component of a path, and neither `.` nor `..`.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.contains(['\\', '\0'])
}

/// The text of a small file, at most 4 KiB of it.
fn read_short(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn path(text: &str) -> Option<PathBuf> {
        Some(PathBuf::from(text))
    }

    /// A cache with one model whose main is `abc`, beside an older `def`.
    fn cache() -> (TempDir, Environment) {
        let home = TempDir::new().unwrap();
        let repo = home.path().join(".cache/huggingface/hub/models--org--some-model");
        for commit in ["abc", "def"] {
            fs::create_dir_all(repo.join("snapshots").join(commit)).unwrap();
            fs::write(repo.join("snapshots").join(commit).join("model.safetensors"), [0; 10]).unwrap();
        }
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), "abc\n").unwrap();
        let environment = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
        (home, environment)
    }

    #[test]
    fn the_cache_is_where_the_variables_say_in_their_order() {
        let mut environment = Environment {
            hub_cache: path("/cache"),
            hf_home: path("~/hf"),
            xdg_cache_home: path("/xdg"),
            home: path("/home/me"),
        };
        assert_eq!(environment.cache_dir(), path("/cache"));
        environment.hub_cache = None;
        assert_eq!(environment.cache_dir(), path("/home/me/hf/hub"));
        environment.hf_home = None;
        assert_eq!(environment.cache_dir(), path("/xdg/huggingface/hub"));
        environment.xdg_cache_home = None;
        assert_eq!(environment.cache_dir(), path("/home/me/.cache/huggingface/hub"));
        assert_eq!(Environment::default().cache_dir(), None);
    }

    #[test]
    fn a_home_folder_a_model_and_a_revision_are_resolved() {
        let (home, environment) = cache();
        let repo = environment.cache_dir().unwrap().join("models--org--some-model");
        assert_eq!(environment.resolve("~/x"), home.path().join("x"));
        assert_eq!(environment.resolve(" org/some-model "), repo.join("snapshots/abc"));
        assert_eq!(environment.resolve("org/some-model@main"), repo.join("snapshots/abc"));
        assert_eq!(environment.resolve("org/some-model@def"), repo.join("snapshots/def"));
        assert_eq!(environment.resolve("org/some-model@xyz"), PathBuf::from("org/some-model@xyz"));
        assert_eq!(environment.resolve("org/other"), PathBuf::from("org/other"));
    }

    #[test]
    fn names_that_lead_elsewhere_stay_what_they_are() {
        let (_home, environment) = cache();
        let repo = environment.cache_dir().unwrap().join("models--org--some-model");
        for spec in
            ["../x/y", "org/..", "org/some-model/../..", "org/some-model@../../..", "org/some-model@/etc", "a/b/c", ""]
        {
            assert_eq!(environment.resolve(spec), PathBuf::from(spec), "{spec}");
        }
        // A reference that names a path is not followed.
        fs::write(repo.join("refs/main"), "../../../../..").unwrap();
        assert_eq!(environment.resolve("org/some-model"), repo);
    }

    #[test]
    fn the_cache_lists_models_that_can_be_opened() {
        let (_home, environment) = cache();
        let cache = environment.cache_dir().unwrap();
        for (repo, file) in
            [("models--org--adapter", "adapter_model.safetensors"), ("models--a--pickle", "pytorch_model.bin")]
        {
            fs::create_dir_all(cache.join(repo).join("snapshots/one")).unwrap();
            fs::write(cache.join(repo).join("snapshots/one").join(file), [0; 10]).unwrap();
        }
        fs::create_dir_all(cache.join("datasets--org--d/snapshots/one")).unwrap();
        fs::create_dir_all(cache.join("models--empty")).unwrap();
        let path = cache.join("models--org--some-model/snapshots/abc");
        assert_eq!(cached_models(&cache), [CachedModel { id: "org/some-model".to_owned(), path, bytes: 10 }]);
        assert!(cached_models(&cache.join("nothing")).is_empty());
    }

    proptest! {
        #[test]
        fn no_words_lead_out_of_the_cache(spec in "[a./@~\\\\-]{0,12}") {
            let environment = Environment { hub_cache: path("/no/such/cache"), ..Environment::default() };
            prop_assert_eq!(environment.resolve(&spec), PathBuf::from(spec.trim()));
        }
    }
}
