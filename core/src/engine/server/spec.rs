//! What a person says about a server: where it is, how it is asked, and how w reaches it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::key::KeyVariable;
use crate::http::ServerUrl;

/// Most requests that are under way at once.
pub const MAX_CONCURRENCY: usize = 256;

/// Most times that one request is sent again.
pub const MAX_RETRIES: u32 = 20;

/// Longest time limit, in seconds: one day.
pub const MAX_TIMEOUT_SECS: u64 = 86_400;

/// A server with an OpenAI-compatible API: vLLM, SGLang, llama.cpp's or Ollama.
///
/// Holds no secret: the key stands in an environment variable, of which only the name is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// Where it is.
    pub url: ServerUrl,
    /// The model's name there; without one, the first that the server lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The environment variable that holds the key, for a server that wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<KeyVariable>,
    /// How w reaches it.
    #[serde(default)]
    pub delivery: Delivery,
    /// The number that llama.cpp gave the adapter: its position among the `--lora` options, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lora_id: u32,
    /// Where the server finds folders of this machine. Without any, it is told the paths as they are here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathMapping>,
    /// So many requests are under way at once, 1 to [`MAX_CONCURRENCY`].
    #[serde(default = "eight")]
    pub concurrency: usize,
    /// Longest wait for a connection, in seconds.
    #[serde(default = "ten")]
    pub connect_timeout_secs: u64,
    /// Longest wait for the next part of an answer, in seconds; signs of life alone are none. A server that is busy with others
    /// says nothing for a while.
    #[serde(default = "ten_minutes")]
    pub idle_timeout_secs: u64,
    /// Longest wait until the server has taken new weights, in seconds.
    #[serde(default = "half_an_hour")]
    pub load_timeout_secs: u64,
    /// How often a request is sent again, at most [`MAX_RETRIES`] times.
    #[serde(default = "five")]
    pub retries: u32,
    /// Wait before a request is sent again for the first time, in milliseconds; it doubles each time, up to half a minute.
    #[serde(default = "half_a_second")]
    pub backoff_ms: u64,
}

fn is_zero(id: &u32) -> bool {
    *id == 0
}

fn eight() -> usize {
    8
}

fn ten() -> u64 {
    10
}

fn ten_minutes() -> u64 {
    600
}

fn half_an_hour() -> u64 {
    1800
}

fn five() -> u32 {
    5
}

fn half_a_second() -> u64 {
    500
}

impl ServerSpec {
    /// A server that has been given its model by the person, with everything else at its default.
    pub fn new(url: ServerUrl) -> Self {
        Self {
            url,
            model: None,
            key_env: None,
            delivery: Delivery::default(),
            lora_id: 0,
            paths: Vec::new(),
            concurrency: eight(),
            connect_timeout_secs: ten(),
            idle_timeout_secs: ten_minutes(),
            load_timeout_secs: half_an_hour(),
            retries: five(),
            backoff_ms: half_a_second(),
        }
    }

    /// What numbers depend on beside the weights, where the model has that name on the server; see
    /// [`Engine::identity`](crate::engine::Engine::identity).
    pub fn identity(&self, model: &str) -> String {
        // An adapter is an approximation: what it answers is not what the merge would.
        let by = match self.delivery {
            Delivery::Sglang => "",
            // Whoever loaded it may have taken something else for it.
            Delivery::AsLoaded => ", as loaded",
            Delivery::VllmLora => ", adapter in vLLM",
            Delivery::LlamaCppLora => ", adapter in llama.cpp",
        };
        format!("server {} {model}{by}", self.url)
    }

    /// Refuses numbers that no run could keep to.
    ///
    /// # Errors
    /// Names the field, what it says and what it may say.
    pub fn check(&self) -> Result<(), ServerSpecError> {
        let within = |field, found: u64, least, most| {
            let fits = (least..=most).contains(&found);
            if fits { Ok(()) } else { Err(ServerSpecError::OutOfRange { field, found, least, most }) }
        };
        within("concurrency", self.concurrency as u64, 1, MAX_CONCURRENCY as u64)?;
        within("connect_timeout_secs", self.connect_timeout_secs, 1, MAX_TIMEOUT_SECS)?;
        within("idle_timeout_secs", self.idle_timeout_secs, 1, MAX_TIMEOUT_SECS)?;
        within("load_timeout_secs", self.load_timeout_secs, 1, MAX_TIMEOUT_SECS)?;
        within("retries", u64::from(self.retries), 0, u64::from(MAX_RETRIES))?;
        within("backoff_ms", self.backoff_ms, 1, 60_000)?;
        if self.model.as_deref().is_some_and(|model| model.trim().is_empty()) {
            return Err(ServerSpecError::EmptyModel);
        }
        match self.paths.iter().find(|mapping| !mapping.local.is_absolute() || mapping.server.is_empty()) {
            Some(mapping) => Err(ServerSpecError::Mapping { local: mapping.local.clone() }),
            None => Ok(()),
        }
    }
}

/// How a choice of w reaches a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Not at all: whoever runs the server has loaded the model that is meant, whichever that is.
    #[default]
    AsLoaded,
    /// SGLang reads a merged model for each w from its disk (`POST /update_weights_from_disk`).
    Sglang,
    /// vLLM reads an adapter for each w from its disk (`POST /v1/load_lora_adapter`). It must have been started with
    /// `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`.
    VllmLora,
    /// llama.cpp was started with an adapter of v (`--lora`), which each request scales by w. The adapter's alpha must be its
    /// rank, as in those that are exported here.
    LlamaCppLora,
}

impl Delivery {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 4] = [Self::AsLoaded, Self::Sglang, Self::VllmLora, Self::LlamaCppLora];

    /// As written in a file.
    pub fn label(self) -> &'static str {
        match self {
            Self::AsLoaded => "as_loaded",
            Self::Sglang => "sglang",
            Self::VllmLora => "vllm_lora",
            Self::LlamaCppLora => "llama_cpp_lora",
        }
    }
}

/// Where a server finds what this machine has in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathMapping {
    /// A folder here, as an absolute path.
    pub local: PathBuf,
    /// The same folder as the server sees it.
    pub server: String,
}

/// Why a server cannot be asked in the way that is said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerSpecError {
    /// A number is too small or too large.
    #[error("{field} is {found}; it must be from {least} to {most}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What it says.
        found: u64,
        /// The least it may say.
        least: u64,
        /// The most it may say.
        most: u64,
    },
    /// The model has an empty name.
    #[error("model is empty; name the model as the server does, or leave the key out for the first one that it lists")]
    EmptyModel,
    /// One side of a mapping leads nowhere.
    #[error("paths: {} must be an absolute path here, with the server's path for it under `server`", local.display())]
    Mapping {
        /// The local side.
        local: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_is_enough_and_a_long_one_comes_back_as_it_was() {
        let short: ServerSpec = toml::from_str("url = 'localhost:8000/v1'").unwrap();
        assert_eq!(short, ServerSpec::new(ServerUrl::parse("http://localhost:8000").unwrap()));
        let long = "url = 'http://host:1'\nmodel = 'm'\nkey_env = 'KEY'\ndelivery = 'llama_cpp_lora'\nlora_id = 2\n\
            concurrency = 3\nretries = 0\nbackoff_ms = 10\npaths = [{ local = '/a', server = '/b' }]";
        let long: ServerSpec = toml::from_str(long).unwrap();
        assert_eq!((long.delivery, long.lora_id, long.retries), (Delivery::LlamaCppLora, 2, 0));
        assert_eq!(toml::from_str::<ServerSpec>(&toml::to_string(&long).unwrap()).unwrap(), long);
        for delivery in Delivery::ALL {
            assert_eq!(serde_json::to_value(delivery).unwrap(), delivery.label());
        }
        let unknown = toml::from_str::<ServerSpec>("url = 'host'\napi_key = 'sk-1'").unwrap_err();
        assert!(unknown.message().contains("unknown field `api_key`"), "{unknown}");
    }

    #[test]
    fn numbers_and_names_that_make_no_sense_are_refused() {
        let spec = || ServerSpec::new(ServerUrl::parse("host").unwrap());
        let refused = |spec: ServerSpec| spec.check().unwrap_err().to_string();
        assert_eq!(spec().check(), Ok(()));
        assert_eq!(refused(ServerSpec { concurrency: 0, ..spec() }), "concurrency is 0; it must be from 1 to 256");
        assert!(refused(ServerSpec { idle_timeout_secs: u64::MAX, ..spec() }).contains("from 1 to 86400"));
        assert!(refused(ServerSpec { retries: 99, ..spec() }).contains("from 0 to 20"));
        assert!(refused(ServerSpec { model: Some(" ".to_owned()), ..spec() }).starts_with("model is empty"));
        let mapping = PathMapping { local: "relative".into(), server: "/x".to_owned() };
        assert!(refused(ServerSpec { paths: vec![mapping], ..spec() }).contains("absolute path"));
    }
}
