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

mod answer;
mod body;
mod client;
mod delivery;
mod key;
mod link;
mod paths;
mod run;
mod spec;
mod sse;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

pub use key::{KeyVariable, KeyVariableError};
pub use spec::{Delivery, MAX_CONCURRENCY, MAX_RETRIES, MAX_TIMEOUT_SECS, PathMapping, ServerSpec, ServerSpecError};

use body::Served;
use client::Call;
use link::Link;
use run::Run;

use super::{Engine, EngineError, Event, ModelChoice, Request};
use crate::http::Limits;
pub use crate::http::{ServerUrl, ServerUrlError};
use crate::progress::Control;
use crate::recipe::Recipe;

/// As long as leaving may take.
const FAREWELL: Duration = Duration::from_secs(2);

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
    link: Link,
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

impl Server {
    /// Finds the server and the model's name on it.
    ///
    /// `recipe` is what is evaluated. With an adapter, its target is what the server must have been started with, and with
    /// llama.cpp its vector what the adapter there holds.
    ///
    /// # Errors
    /// When the spec makes no sense, the variable of the key is not set, the server does not answer, or it has no such model.
    pub fn connect(spec: ServerSpec, recipe: Recipe, prepare: Prepare, control: &Control) -> Result<Self, EngineError> {
        let link = Link::new(spec)?;
        let model = link.find_model(control)?;
        Ok(Self { link, model, recipe, prepare, served: None, adapter: None, adapters_loaded: 0 })
    }
}

/// The names of the models that a server has, for a person to choose from.
///
/// # Errors
/// As for [`Server::connect`], but for a name that the server does not have.
pub fn model_names(spec: ServerSpec, control: &Control) -> Result<Vec<String>, EngineError> {
    // Somebody waits for it, and can ask again.
    Link::new(ServerSpec { retries: 0, ..spec })?.models(control)
}

impl Engine for Server {
    fn identity(&self) -> String {
        self.link.spec.identity(&self.model)
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
            client: self.link.patient(self.link.spec.idle_timeout_secs),
            served,
            requests: requests.to_vec(),
            concurrency: self.link.spec.concurrency,
            patience: Duration::from_secs(self.link.spec.idle_timeout_secs),
            retry: self.link.retry(),
            control: control.clone(),
        };
        run.answer(on_event)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(name) = self.adapter.take() {
            let client = self.link.client.renewed(Limits { connect: FAREWELL, idle: FAREWELL });
            // Nobody is left to hear that it failed, and all that it costs is the server's memory.
            let _farewell = client.send(&Call::Post("/v1/unload_lora_adapter", &json!({ "lora_name": name })));
        }
    }
}
