//! What a person types for a server, and the settings that it comes to.

use std::path::{Path, PathBuf};

use mergescope_core::engine::server::{Delivery, KeyVariable, PathMapping, ServerSpec, ServerUrl};
use mergescope_core::hub;

use super::settings::{AnswererSettings, ServerSettings};
use crate::format;

/// Fields as they are being typed. What stands in them may be a secret by mistake: it is never stored or logged.
pub struct ServerDraft {
    /// Its address.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable that holds the key.
    pub key_env: String,
    /// How w gets there.
    pub delivery: Delivery,
    /// The w that is loaded there.
    pub loaded_w: f64,
    /// The number of llama.cpp's adapter.
    pub lora_id: u32,
    /// Where merges and adapters are written.
    pub folder: String,
    /// The same folder as the server sees it; empty where it is the same.
    pub there: String,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Longest wait for the next byte, in seconds.
    pub idle_secs: u64,
    /// Everything else, as it was.
    rest: Option<ServerSpec>,
}

impl ServerDraft {
    /// What was set up last, or a start; `data` is where this program keeps its own.
    pub fn new(settings: &AnswererSettings, data: Option<&Path>) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let known = settings.server.as_ref();
        let spec = known.map(|server| server.spec.clone());
        let default_folder = || data.map(|data| text(&data.join("served"))).unwrap_or_default();
        let of_spec = |pick: fn(&ServerSpec) -> String| spec.as_ref().map(pick).unwrap_or_default();
        Self {
            url: of_spec(|spec| spec.url.to_string()),
            model: of_spec(|spec| spec.model.clone().unwrap_or_default()),
            key_env: of_spec(|spec| spec.key_env.as_ref().map_or_else(String::new, |key| key.name().to_owned())),
            delivery: spec.as_ref().map_or(Delivery::AsLoaded, |spec| spec.delivery),
            loaded_w: known.map_or(0.0, |server| server.loaded_w),
            lora_id: spec.as_ref().map_or(0, |spec| spec.lora_id),
            folder: known.map_or_else(default_folder, |server| text(&server.folder)),
            there: of_spec(|spec| spec.paths.first().map(|mapping| mapping.server.clone()).unwrap_or_default()),
            concurrency: spec.as_ref().map_or(8, |spec| spec.concurrency),
            idle_secs: spec.as_ref().map_or(600, |spec| spec.idle_timeout_secs),
            rest: spec,
        }
    }

    /// Whether a folder for merges or adapters is needed.
    pub fn writes(&self) -> bool {
        matches!(self.delivery, Delivery::Sglang | Delivery::VllmLora)
    }

    /// What can be asked for its models, or why not. The words repeat nothing of the fields that may hold a secret.
    pub fn spec(&self) -> Result<ServerSpec, String> {
        if self.url.trim().is_empty() {
            return Err("Type the server's address first, such as localhost:8000".to_owned());
        }
        let words = |error: &dyn std::error::Error| format::sentence(&error.to_string());
        let url = ServerUrl::parse(&self.url).map_err(|error| words(&error))?;
        let mut spec = ServerSpec::new(url);
        if let Some(rest) = &self.rest {
            (spec.connect_timeout_secs, spec.load_timeout_secs) = (rest.connect_timeout_secs, rest.load_timeout_secs);
            (spec.retries, spec.backoff_ms) = (rest.retries, rest.backoff_ms);
        }
        if !self.key_env.trim().is_empty() {
            spec.key_env = Some(KeyVariable::parse(&self.key_env).map_err(|error| words(&error))?);
        }
        (spec.delivery, spec.lora_id) = (self.delivery, self.lora_id);
        (spec.concurrency, spec.idle_timeout_secs) = (self.concurrency, self.idle_secs);
        let model = self.model.trim();
        spec.model = (!model.is_empty()).then(|| model.to_owned());
        if self.writes() && !self.there.trim().is_empty() {
            spec.paths = vec![PathMapping { local: self.folder(), server: self.there.trim().to_owned() }];
        }
        Ok(spec)
    }

    /// The settings, or what is still missing.
    pub fn settings(&self) -> Result<ServerSettings, String> {
        let spec = self.spec()?;
        if spec.model.is_none() {
            return Err("Name the model as the server does, or let its models be listed".to_owned());
        }
        let folder = self.folder();
        if self.writes() && !folder.is_absolute() {
            return Err("Say in which folder merges are written for the server, from the root on".to_owned());
        }
        spec.check().map_err(|error| format::sentence(&error.to_string()))?;
        Ok(ServerSettings { spec, loaded_w: self.loaded_w, folder })
    }

    /// The folder on this machine.
    pub fn folder(&self) -> PathBuf {
        hub::resolve(self.folder.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> ServerDraft {
        let mut draft = ServerDraft::new(&AnswererSettings::default(), Some(Path::new("/data")));
        (draft.url, draft.model) = ("http://host:1/v1".to_owned(), "m".to_owned());
        draft
    }

    #[test]
    fn what_is_typed_becomes_settings_and_comes_back() {
        let mut draft = draft();
        (draft.delivery, draft.there) = (Delivery::Sglang, "/mnt/served".to_owned());
        (draft.key_env, draft.concurrency) = ("MY_KEY".to_owned(), 3);
        let server = draft.settings().unwrap();
        assert_eq!(server.folder, Path::new("/data/served"));
        assert_eq!(server.spec.paths[0].server, "/mnt/served");
        let settings = AnswererSettings { server: Some(server.clone()), ..AnswererSettings::default() };
        assert_eq!(ServerDraft::new(&settings, None).settings().unwrap(), server);
    }

    #[test]
    fn what_is_missing_is_said_and_secrets_are_not_repeated() {
        let refused = |change: fn(&mut ServerDraft)| {
            let mut draft = draft();
            change(&mut draft);
            draft.settings().unwrap_err()
        };
        assert!(refused(|draft| draft.url.clear()).contains("such as localhost:8000"));
        assert!(refused(|draft| draft.model = " ".to_owned()).starts_with("Name the model"));
        let no_folder = refused(|draft| (draft.delivery, draft.folder) = (Delivery::VllmLora, String::new()));
        assert!(no_folder.contains("which folder"), "{no_folder}");
        for secret in
            [refused(|draft| draft.key_env = "sk-abc".into()), refused(|d| d.url = "http://u:sk-abc@h".into())]
        {
            assert!(!secret.contains("sk-abc"), "{secret}");
        }
    }
}
