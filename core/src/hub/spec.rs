//! What the words of a person or a file stand for: a path, or a model in the cache.

use std::path::{Path, PathBuf};

use super::cache;
use super::environment::Environment;
use super::name::{HubName, is_hub_id};

impl Environment {
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
        cache::find(&self.cache_dir()?, &HubName::parse_cached(spec)?)
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

    /// The model that could be downloaded; see [`absent`].
    pub fn absent(&self, spec: &str) -> Option<HubName> {
        let name = HubName::parse(spec).ok()?;
        let is_here = self.expand(Path::new(spec.trim())).exists() || self.find_in_cache(spec.trim()).is_some();
        (!is_here).then_some(name)
    }

    /// What a recipe should say for what a person said; see [`lasting`].
    pub fn lasting(&self, spec: &str) -> String {
        if self.find_in_cache(spec.trim()).is_some() && !self.expand(Path::new(spec.trim())).exists() {
            return spec.trim().to_owned();
        }
        let path = self.resolve(spec);
        // Without a working directory there is nothing better than what was said.
        std::path::absolute(&path)
            .ok()
            .and_then(|path| path.to_str().map(str::to_owned))
            .unwrap_or_else(|| spec.to_owned())
    }
}

/// The path that a person's words stand for: `~/…` expanded, `org/name[@revision]` found in the local Hub cache when no
/// such path exists, anything else as it is.
pub fn resolve(spec: &str) -> PathBuf {
    Environment::of_process().resolve(spec)
}

/// What a recipe should say for what a person said: an absolute path, so that it holds from any folder, or the name of a
/// model in the Hub cache as it is, with its revision.
pub fn lasting(spec: &str) -> String {
    Environment::of_process().lasting(spec)
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

/// What to do about a model that is not here, in a few words: for one on the Hub, the command that downloads it.
pub(crate) fn how_to_get(spec: &str) -> String {
    match HubName::parse(spec) {
        Ok(name) => format!("download it with `mergescope download {name}`"),
        Err(_) => "download it".to_owned(),
    }
}

/// The model on the Hub that a person's words stand for, where they stand for no path and the cache does not have it: what
/// could be downloaded.
pub fn absent(spec: &str) -> Option<HubName> {
    Environment::of_process().absent(spec)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// A cache with one model whose main is `abc`, beside an older `def` that a tag and a pull request name.
    pub(in super::super) fn cache() -> (TempDir, Environment) {
        let home = TempDir::new().unwrap();
        let repo = home.path().join(".cache/huggingface/hub/models--org--some-model");
        for commit in ["abc", "def"] {
            fs::create_dir_all(repo.join("snapshots").join(commit)).unwrap();
            fs::write(repo.join("snapshots").join(commit).join("model.safetensors"), [0; 10]).unwrap();
        }
        fs::create_dir_all(repo.join("refs/refs/pr")).unwrap();
        fs::write(repo.join("refs/main"), "abc\n").unwrap();
        fs::write(repo.join("refs/v1.0"), "def").unwrap();
        fs::write(repo.join("refs/refs/pr/3"), "def").unwrap();
        let environment = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
        (home, environment)
    }

    #[test]
    fn a_home_folder_a_model_and_a_revision_are_resolved() {
        let (home, environment) = cache();
        let repo = environment.cache_dir().unwrap().join("models--org--some-model");
        assert_eq!(environment.resolve("~/x"), home.path().join("x"));
        assert_eq!(environment.resolve(" org/some-model "), repo.join("snapshots/abc"));
        assert_eq!(environment.resolve("org/some-model@main"), repo.join("snapshots/abc"));
        for revision in ["def", "v1.0", "refs/pr/3"] {
            let found = environment.resolve(&format!("org/some-model@{revision}"));
            assert_eq!(found, repo.join("snapshots/def"), "{revision}");
        }
        assert_eq!(environment.resolve("org/some-model@xyz"), PathBuf::from("org/some-model@xyz"));
        assert_eq!(environment.resolve("org/other"), PathBuf::from("org/other"));
    }

    #[test]
    fn a_revision_stays_in_what_a_recipe_says() {
        let (_home, environment) = cache();
        assert_eq!(environment.lasting(" org/some-model@v1.0 "), "org/some-model@v1.0");
        let folder = std::env::temp_dir();
        for spec in ["org/some-model@v1.0", "org/other@refs/pr/1"] {
            assert_eq!(environment.beside(spec, &folder), spec);
            assert_eq!(named_from(spec, &folder), spec);
        }
        // What cannot be a revision is a path.
        assert!(Path::new(&environment.beside("org/other@../x", &folder)).is_absolute());
    }

    #[test]
    fn what_is_neither_here_nor_a_path_could_be_downloaded() {
        let (_home, environment) = cache();
        let absent = |spec| environment.absent(spec).map(|name| name.to_string());
        assert_eq!(absent(" org/other@v1 ").as_deref(), Some("org/other@v1"));
        assert_eq!(absent("org/some-model@v2").as_deref(), Some("org/some-model@v2"));
        for spec in ["org/some-model", "org/some-model@v1.0", "/models/x", "src/hub", "gpt2", ""] {
            assert_eq!(absent(spec), None, "{spec}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_stay_what_they_are() {
        let (_home, environment) = cache();
        let repo = environment.cache_dir().unwrap().join("models--org--some-model");
        for spec in [
            "../x/y",
            "org/..",
            "org/some-model/../..",
            "org/some-model@../../..",
            "org/some-model@/etc",
            "org/some-model@main/../main",
            "a/b/c",
            "",
        ] {
            assert_eq!(environment.resolve(spec), PathBuf::from(spec), "{spec}");
        }
        // A reference that names a path is not followed: the commit is not here.
        fs::write(repo.join("refs/main"), "../../../../..").unwrap();
        assert_eq!(environment.resolve("org/some-model"), PathBuf::from("org/some-model"));
    }

    proptest! {
        #[test]
        fn no_words_lead_out_of_the_cache(spec in "[a./@~\\\\-]{0,12}") {
            let cache = Some(PathBuf::from("/no/such/cache"));
            let environment = Environment { hub_cache: cache, ..Environment::default() };
            prop_assert_eq!(environment.resolve(&spec), PathBuf::from(spec.trim()));
        }
    }
}
