//! What answers a prompt: the decoder that is part of this program, or a server that somebody runs.
//!
//! Both are an [`Engine`]: told which weights are meant, then given requests. Whoever asks need not know which it is.

mod decoder;
mod embedded;
mod request;
pub mod server;

use std::fmt;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use decoder::DecoderConfig;
pub use decoder::Precision;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use embedded::render_chat_template;
pub use embedded::{Accelerator, EmbeddedEngine, EmbeddedOptions, has_chat_template, text_fingerprint};
pub use request::{
    ChatRole, Completion, EVALUATION_DAY, Event, Finish, Message, Prompt, Request, RequestError, Sampling,
};

use crate::merge::MergeError;
use crate::progress::{Cancelled, Control};
use crate::recipe::Recipe;
use crate::stream::StreamError;

/// The weights that should answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelChoice {
    /// A model as it stands: a path, or `org/name` in the local Hub cache.
    Alone(String),
    /// What the recipe would write, w included.
    Merged(Box<Recipe>),
}

/// Something that answers prompts.
pub trait Engine: Send {
    /// What numbers depend on beside the weights, for the key of a sample: which engine, in which number format. Holds no
    /// secret.
    fn identity(&self) -> String;

    /// Makes `model` the one that answers from now on.
    ///
    /// # Errors
    /// When the model cannot be loaded; another may then be loaded, but requests are refused until one is.
    fn load(&mut self, model: &ModelChoice, control: &Control) -> Result<(), EngineError>;

    /// Answers all `requests` and says what becomes of each, in whatever order they come to their ends.
    ///
    /// Each request gets exactly one [`Event::Finished`], unless the whole run ends early.
    ///
    /// # Errors
    /// When nothing more can be answered: cancelled, no model loaded, out of memory. What goes wrong with one request alone
    /// is that request's [`RequestError`], never an error here, so that the others are still answered.
    fn generate(
        &mut self,
        requests: &[Request],
        control: &Control,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError>;

    /// Whether conversations can be had: false only where the model that is loaded has no chat template.
    fn chats(&self) -> bool {
        true
    }

    /// The sum of natural log probabilities of each of `continuations` after `prompt`, with its number of tokens; `None`
    /// from an engine that cannot tell. A chat template is told [`EVALUATION_DAY`].
    ///
    /// # Errors
    /// As for [`Engine::generate`].
    fn log_likelihoods(
        &mut self,
        prompt: &Prompt,
        continuations: &[String],
        control: &Control,
    ) -> Result<Option<Vec<LogLikelihood>>, EngineError> {
        let _ = (prompt, continuations);
        control.check()?;
        Ok(None)
    }
}

/// How likely a continuation is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLikelihood {
    /// ln p of all its tokens together.
    pub sum: f64,
    /// How many tokens it has.
    pub tokens: usize,
}

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The weights that were asked for cannot be merged.
    #[error(transparent)]
    Merge(MergeError),
    /// Requests came before a model.
    #[error("no model is loaded")]
    NothingLoaded,
    /// Anything else; the message says what to do.
    #[error("{message}")]
    Failed {
        /// What happened and what to do, for people.
        message: String,
        /// What caused it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl EngineError {
    /// A failure that is told by its message alone.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed { message: message.to_string(), source: None }
    }

    /// A failure with what caused it.
    pub fn caused(message: impl fmt::Display, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { message: message.to_string(), source: Some(source.into()) }
    }

    /// Whether the person cancelled it, which is no failure.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}

impl From<MergeError> for EngineError {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Stream(StreamError::Cancelled(cancelled)) => cancelled.into(),
            error => Self::Merge(error),
        }
    }
}
