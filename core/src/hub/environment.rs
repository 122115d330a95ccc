//! What the environment says about where things are.

use std::path::{Path, PathBuf};

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

    /// The cache folder: `HF_HUB_CACHE`, else `hub` in [`Self::hf_home_dir`]. It need not exist.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        match &self.hub_cache {
            Some(cache) => Some(self.expand(cache)),
            None => Some(self.hf_home_dir()?.join("hub")),
        }
    }

    /// The folder of all that belongs to the Hub, its token too: `HF_HOME`, else `XDG_CACHE_HOME/huggingface`, else
    /// `~/.cache/huggingface`.
    pub fn hf_home_dir(&self) -> Option<PathBuf> {
        if let Some(hf_home) = &self.hf_home {
            return Some(self.expand(hf_home));
        }
        let cache = match (&self.xdg_cache_home, &self.home) {
            (Some(cache), _) => self.expand(cache),
            (None, Some(home)) => home.join(".cache"),
            (None, None) => return None,
        };
        Some(cache.join("huggingface"))
    }

    /// `~` and `~/…` with the home folder in place.
    pub(super) fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_variables_say_in_their_order() {
        let path = |text: &str| Some(PathBuf::from(text));
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
        assert_eq!(environment.hf_home_dir(), path("/home/me/.cache/huggingface"));
        assert_eq!(Environment::default().cache_dir(), None);
    }
}
