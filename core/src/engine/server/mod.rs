//! Models that a server runs: any with an OpenAI-compatible API, such as vLLM, SGLang, llama.cpp's and Ollama.
//!
//! What a person says is a [`ServerSpec`]; [`Server`] is the engine. Text goes to `/v1/completions`, a conversation to
//! `/v1/chat/completions`, both streamed. How w reaches the server is a [`Delivery`].
//!
//! It tells no log-likelihoods: not all servers give the probabilities of a text that they are given, and those that do
//! draw the line between prompt and continuation each in its own way.
//!
//! A server is not trusted: what it sends is bounded, nothing of it is run, and what it says is shown short and in one line.
//! Nothing that goes wrong on the way is ever taken for an answer: it is tried again, and at last it is the request's error.

mod address;
mod answer;
mod body;
mod client;
mod delivery;
mod paths;
mod retry;
mod run;
mod spec;
mod sse;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use address::{KeyVariable, KeyVariableError, ServerUrl, ServerUrlError};
pub use spec::{Delivery, MAX_CONCURRENCY, MAX_RETRIES, MAX_TIMEOUT_SECS, PathMapping, ServerSpec, ServerSpecError};

use body::Served;
use client::{Call, Client, Failure, Limits};
use retry::{PATIENCE, Retry};
use run::Run;

use super::{Engine, EngineError, Event, ModelChoice, Request};
use crate::numeric::StochasticKey;
use crate::progress::{Cancelled, Control};
use crate::recipe::Recipe;

/// Longest wait for an answer to a question about the server itself.
const QUESTION_IDLE: Duration = Duration::from_secs(30);

/// As long as leaving may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Longest name of a model, in bytes; llama.cpp gives a path.
const MAX_NAME_BYTES: usize = 4096;

/// Names that are shown when one is not among them.
const NAMES_SHOWN: usize = 10;

/// Writes, or finds, what a server reads from its disk for a recipe, and gives its folder on this machine: a merged model for
/// [`Delivery::Sglang`], an adapter of w·v for [`Delivery::VllmLora`]. Never called for the other deliveries, nor by vLLM's at
/// w = 0.
pub type Prepare = Box<dyn FnMut(&Recipe, &Control) -> Result<PathBuf, EngineError> + Send>;

/// An engine that asks a server.
///
/// [`Completion::tokens`](super::Completion::tokens) and `prompt_tokens` are the server's own counts. From a server that sends
/// none, `tokens` is the number of pieces that held text, which most send one for each token, and `prompt_tokens` is 0. While
/// an answer is under way, its tokens are always that number of pieces.
///
/// Dropping it, or loading another model, frees vLLM of the adapter that was loaded. SGLang keeps the weights that it got last.
pub struct Server {
    spec: ServerSpec,
    client: Client,
    /// The model's name on the server.
    model: String,
    /// What is evaluated: its target is what the server was started with, its vector what llama.cpp's adapter holds.
    recipe: Recipe,
    prepare: Prepare,
    served: Option<Served>,
    /// The adapter that vLLM was given.
    adapter: Option<String>,
    adapters_loaded: u64,
}

/// `GET /v1/models`.
#[derive(Deserialize)]
struct Models {
    data: Option<Vec<ModelEntry>>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

impl Server {
    /// Finds the server and the model's name on it.
    ///
    /// `recipe` is what is evaluated. With an adapter, its target is what the server must have been started with, and with
    /// llama.cpp its vector what the adapter there holds.
    ///
    /// # Errors
    /// When the spec makes no sense, the variable of the key is not set, the server does not answer, or it has no such model.
    pub fn connect(spec: ServerSpec, recipe: Recipe, prepare: Prepare, control: &Control) -> Result<Self, EngineError> {
        spec.check().map_err(|error| EngineError::caused("the server's settings make no sense", error))?;
        let limits = Limits { connect: Duration::from_secs(spec.connect_timeout_secs), idle: QUESTION_IDLE };
        let client = Client::new(spec.url.clone(), spec.key_env.as_ref(), limits)?;
        let model = spec.model.clone().unwrap_or_default();
        let mut server = Self { spec, client, model, recipe, prepare, served: None, adapter: None, adapters_loaded: 0 };
        server.model = server.find_model(control)?;
        Ok(server)
    }

    /// The name that requests give.
    fn find_model(&self, control: &Control) -> Result<String, EngineError> {
        let names = self.list_models(control)?;
        let Some(wanted) = &self.spec.model else {
            return names.into_iter().next().ok_or_else(|| {
                EngineError::failed(format!(
                    "{} has no model; give it one, or name one under model",
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
    fn list_models(&self, control: &Control) -> Result<Vec<String>, EngineError> {
        let models: Models = self.question("/v1/models", control)?;
        let is_name = |name: &String| name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
        Ok(models.data.unwrap_or_default().into_iter().map(|entry| entry.id).filter(is_name).collect())
    }

    /// Asks something about the server itself, again where that may help.
    fn question<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &'static str,
        control: &Control,
    ) -> Result<T, EngineError> {
        let (retry, listening) = (self.retry(), control.clone());
        let answer = attended(&self.client.renewed(self.limits(QUESTION_IDLE)), control, move |client| {
            let key = StochasticKey::new(0, path);
            retry.run(key, 0, &listening, || client.json(&Call::Get(path)))
        })?;
        answer.map_err(EngineError::failed)
    }

    /// Has the server change something. Not tried again: whether the first time did anything is not known.
    fn change<T: Send + 'static>(
        &self,
        path: &'static str,
        body: &Value,
        control: &Control,
        send: fn(&Client, &Call) -> Result<T, Failure>,
    ) -> Result<T, EngineError> {
        let body = body.clone();
        let limits = self.limits(Duration::from_secs(self.spec.load_timeout_secs));
        let changed =
            attended(&self.client.renewed(limits), control, move |client| send(client, &Call::Post(path, &body)))?;
        changed.map_err(|failure| EngineError::failed(failure.message))
    }

    fn limits(&self, idle: Duration) -> Limits {
        Limits { connect: Duration::from_secs(self.spec.connect_timeout_secs), idle }
    }

    fn retry(&self) -> Retry {
        Retry { retries: self.spec.retries, backoff: Duration::from_millis(self.spec.backoff_ms) }
    }
}

impl Engine for Server {
    fn identity(&self) -> String {
        // An adapter is an approximation: what it answers is not what the merge would.
        let by = match self.spec.delivery {
            Delivery::AsLoaded | Delivery::Sglang => "",
            Delivery::VllmLora => ", adapter in vLLM",
            Delivery::LlamaCppLora => ", adapter in llama.cpp",
        };
        format!("server {}/{}{by}", self.spec.url.host(), self.model)
    }

    fn load(&mut self, model: &ModelChoice, control: &Control) -> Result<(), EngineError> {
        control.check()?;
        self.served = None;
        self.served = Some(self.deliver(model, control)?);
        Ok(())
    }

    fn generate(
        &mut self,
        requests: &[Request],
        control: &Control,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let served = self.served.clone().ok_or(EngineError::NothingLoaded)?;
        let run = Run {
            client: self.client.renewed(self.limits(Duration::from_secs(self.spec.idle_timeout_secs))),
            served,
            requests: requests.to_vec(),
            concurrency: self.spec.concurrency,
            retry: self.retry(),
            control: control.clone(),
        };
        run.answer(on_event)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(name) = self.adapter.take() {
            let client = self.client.renewed(Limits { connect: FAREWELL, idle: FAREWELL });
            // Nobody is left to hear that it failed, and all that it costs is the server's memory.
            let _farewell = client.send(&Call::Post("/v1/unload_lora_adapter", &json!({ "lora_name": name })));
        }
    }
}

/// Does `work`, which waits for the server, on a thread of its own, so that it can be cancelled while it waits.
fn attended<T: Send + 'static>(
    client: &Client,
    control: &Control,
    work: impl FnOnce(&Client) -> T + Send + 'static,
) -> Result<T, EngineError> {
    let (sender, result) = bounded(1);
    let working = client.clone();
    thread::Builder::new()
        .name("server question".to_owned())
        // Nobody waits for the result of work that was cancelled.
        .spawn(move || drop(sender.send(work(&working))))
        .map_err(|error| EngineError::caused("no thread could be started to ask the server", error))?;
    loop {
        if control.is_cancelled() {
            client.shut_down();
            return Err(Cancelled.into());
        }
        match result.recv_timeout(PATIENCE) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(EngineError::failed(
                    "a thread that asked the server ended early; this is a fault of the program",
                ));
            }
        }
    }
}
