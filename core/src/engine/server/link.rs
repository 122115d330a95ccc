//! A server that questions about itself can be asked: which models it has, and what it is to change.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Call, Client};
use super::spec::ServerSpec;
use crate::engine::EngineError;
use crate::http::{self, Failure, Limits, Retry, Unattended};
use crate::numeric::StochasticKey;
use crate::progress::Control;

/// Longest wait for an answer to a question about the server itself.
const QUESTION_IDLE: Duration = Duration::from_secs(30);

/// Longest name of a model, in bytes; llama.cpp gives a path.
const MAX_NAME_BYTES: usize = 4096;

/// Most models that are listed; servers that route to others have hundreds.
const MAX_MODELS: usize = 10_000;

/// Names that are shown when one is not among them.
const NAMES_SHOWN: usize = 10;

/// `GET /v1/models`.
#[derive(Deserialize)]
struct Models {
    data: Option<Vec<ModelEntry>>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

/// A server, and how it is reached.
pub(super) struct Link {
    pub spec: ServerSpec,
    pub client: Client,
}

impl Link {
    /// Checks what the spec says. Nobody is contacted.
    pub fn new(spec: ServerSpec) -> Result<Self, EngineError> {
        spec.check().map_err(|error| EngineError::caused("the server's settings make no sense", error))?;
        let limits = Limits { connect: Duration::from_secs(spec.connect_timeout_secs), idle: QUESTION_IDLE };
        let client = Client::new(spec.url.clone(), spec.key_env.as_ref(), limits)?;
        Ok(Self { spec, client })
    }

    /// The name that requests give.
    pub fn find_model(&self, control: &Control) -> Result<String, EngineError> {
        let names = self.models(control)?;
        let Some(wanted) = &self.spec.model else {
            return names.into_iter().next().ok_or_else(|| {
                EngineError::failed(format!(
                    "{} has no model; give it one, or name the one to ask",
                    self.spec.url.host()
                ))
            });
        };
        // Ollama lists the tag that it takes for granted.
        let is_wanted = |name: &String| name == wanted || name.strip_suffix(":latest") == Some(wanted);
        if names.iter().any(is_wanted) {
            return Ok(wanted.clone());
        }
        let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| self.client.clean(name)).collect();
        if names.len() > NAMES_SHOWN {
            shown.push("…".to_owned());
        }
        let has = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
        Err(EngineError::failed(format!("{} has no model {wanted}; it has: {has}", self.spec.url.host())))
    }

    /// The names of the models that the server has.
    pub fn models(&self, control: &Control) -> Result<Vec<String>, EngineError> {
        let models: Models = self.question("/v1/models", control)?;
        let is_name = |name: &String| name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
        Ok(models.data.unwrap_or_default().into_iter().map(|entry| entry.id).filter(is_name).take(MAX_MODELS).collect())
    }

    /// Asks something about the server itself, again where that may help.
    pub fn question<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &'static str,
        control: &Control,
    ) -> Result<T, EngineError> {
        let (retry, listening) = (self.retry(), control.clone());
        let answer = attended(&self.client.renewed(self.limits(QUESTION_IDLE)), control, move |client| {
            let key = StochasticKey::new(0, path);
            retry.run(|tries| key.uniform(tries.into()), || listening.is_cancelled(), || client.json(&Call::Get(path)))
        })?;
        answer.map_err(|gave_up| EngineError::failed(gave_up.message()))
    }

    /// Has the server change something. Not tried again: whether the first time did anything is not known.
    pub fn change<T: Send + 'static>(
        &self,
        path: &'static str,
        body: &Value,
        control: &Control,
        send: fn(&Client, &Call) -> Result<T, Failure>,
    ) -> Result<T, EngineError> {
        let body = body.clone();
        let client = self.patient(self.spec.load_timeout_secs);
        let changed = attended(&client, control, move |client| send(client, &Call::Post(path, &body)))?;
        changed.map_err(|failure| EngineError::failed(failure.error))
    }

    /// Connections that wait so many seconds for the next byte.
    pub fn patient(&self, idle_secs: u64) -> Client {
        self.client.renewed(self.limits(Duration::from_secs(idle_secs)))
    }

    fn limits(&self, idle: Duration) -> Limits {
        Limits { connect: Duration::from_secs(self.spec.connect_timeout_secs), idle }
    }

    pub fn retry(&self) -> Retry {
        Retry { retries: self.spec.retries, backoff: Duration::from_millis(self.spec.backoff_ms) }
    }
}

/// Does `work`, which waits for the server, so that it can be cancelled while it waits.
fn attended<T: Send + 'static>(
    client: &Client,
    control: &Control,
    work: impl FnOnce(&Client) -> T + Send + 'static,
) -> Result<T, EngineError> {
    let working = client.clone();
    http::attended(client.agent(), control, move || work(&working)).map_err(|error| match error {
        Unattended::Cancelled(cancelled) => cancelled.into(),
        Unattended::Thread(source) => EngineError::caused("no thread could be started to ask the server", source),
        ended @ Unattended::Ended => EngineError::failed(ended.to_string()),
    })
}
