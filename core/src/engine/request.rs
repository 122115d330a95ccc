//! What is asked of an engine, and what comes back.

use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Who says a message of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl ChatRole {
    /// Its name in chat templates and in the API of servers.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

/// What a model is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prompt {
    /// Text that is continued as it stands, after what the tokenizer puts before any text.
    Raw(String),
    /// A conversation that the model's chat template turns into text, up to where the assistant begins.
    Chat(Vec<Message>),
}

/// How the next token is chosen.
///
/// Temperature 0 is greedy: the likeliest token, of equals the one with the smallest id. Else the steps are those of
/// transformers, in its order: repetition penalty, temperature, top-k, top-p.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Logits are divided by this; 0 is greedy.
    pub temperature: f64,
    /// The likeliest tokens are kept until their probabilities reach this sum; 1 keeps all.
    pub top_p: f64,
    /// So many of the likeliest tokens are kept; 0 keeps all.
    pub top_k: usize,
    /// Logits of tokens that occurred are divided (if positive) or multiplied by this; 1 changes nothing (arXiv 1909.05858).
    pub repetition_penalty: f64,
    /// What is drawn at random follows from this alone. Samples of one question differ in it.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// The day on which all questions of evaluations are asked, so that the same sweep has the same prompts tomorrow: the one that
/// the template of Llama 3.1 takes where nobody tells it the date.
pub const EVALUATION_DAY: Date = jiff::civil::date(2024, 7, 26);

/// One thing to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the model is given.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// After so many tokens the answer is cut off.
    pub max_tokens: usize,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
    /// What a chat template that asks for today's date is told; `None`: the date. Servers put their templates to work
    /// themselves, and take the date.
    pub day: Option<Date>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, or a stop string came.
    Stop,
    /// It reached the most tokens it may have, or the longest context that the model has.
    Length,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What the model said, without special tokens and without the stop string.
    pub text: String,
    /// Tokens that the model made, the one that ended the answer included.
    pub tokens: usize,
    /// Tokens that it was given.
    pub prompt_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
    /// From the start of the request to its end; requests that are answered together share this time.
    pub elapsed: Duration,
}

/// Why one request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// What happened and what to do, for people. Holds no secret.
    pub message: String,
    /// Whether the same request may succeed another time, with nothing changed.
    pub passes: bool,
}

impl RequestError {
    /// What would fail again.
    pub fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), passes: false }
    }
}

/// Something that became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of an answer.
    Text {
        /// Position of the request.
        request: usize,
        /// What came after all that came before.
        text: String,
        /// Tokens of the answer so far.
        tokens: usize,
    },
    /// An answer that was lost on its way begins anew: what [`Event::Text`] said of this request is void.
    Restarted {
        /// Position of the request.
        request: usize,
    },
    /// An answer is complete, or will not come.
    Finished {
        /// Position of the request.
        request: usize,
        /// The answer.
        result: Result<Completion, RequestError>,
    },
}
