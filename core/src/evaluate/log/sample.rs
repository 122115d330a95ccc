//! One generation as the log keeps it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::SampleKey;
use crate::engine::{Finish, LogLikelihood, Prompt};

/// One generation. Names are those of lm-eval's `--log_samples` where the two say the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What it depends on. It comes first, so that the beginning of a line tells what the file is.
    pub key: SampleKey,
    /// Which series it belongs to, in words: "target", "w = 0.5", "sign-shuffled control".
    pub arm: String,
    /// The scaling coefficient, where the arm has one.
    pub w: Option<f64>,
    /// The question, by a name that does not depend on the order of the file.
    pub question_id: String,
    /// "plain", or what was done to the question.
    pub condition: String,
    /// Which of several samples of the question it is, from 0.
    pub sample: u32,
    /// Position of the question in its file, from 0.
    pub doc_id: u64,
    /// The question's record as it stands in its file.
    pub doc: Value,
    /// The right answer.
    pub target: String,
    /// What the model was given.
    pub arguments: Prompt,
    /// What it said, as a list of lists as in lm-eval: `[[text]]`; `[]` where there is an error.
    pub resps: Vec<Vec<String>>,
    /// What a filter found in it when it was written; for readers of lm-eval's logs. Grades are worked out anew from `resps`.
    #[serde(default)]
    pub filtered_resps: Vec<String>,
    /// Tokens that it was given.
    pub prompt_tokens: usize,
    /// Tokens that it made.
    pub tokens: usize,
    /// Why it ended; `None` where there is an error.
    pub finish: Option<Finish>,
    /// Why there is no text; such a sample counts as not done, and is tried again.
    pub error: Option<String>,
    /// Whether that may pass with nothing changed, as a server that was busy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error_passes: bool,
    /// Seconds from the start of the request to its end.
    pub elapsed_s: f64,
    /// [`Engine::identity`](crate::engine::Engine::identity).
    pub engine: String,
    /// Of each choice, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_likelihoods: Option<Vec<LoggedLikelihood>>,
}

impl Sample {
    /// What the model said; `None` where there is an error.
    pub fn text(&self) -> Option<&str> {
        match self.error {
            Some(_) => None,
            None => Some(self.resps.first()?.first()?),
        }
    }
}

/// How likely a choice is, as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedLikelihood {
    /// ln p of all its tokens together; `None` where it is not finite, for which JSON has no word.
    pub sum: Option<f64>,
    /// How many tokens it has.
    pub tokens: usize,
}

impl From<LogLikelihood> for LoggedLikelihood {
    fn from(likelihood: LogLikelihood) -> Self {
        Self { sum: Some(likelihood.sum).filter(|sum| sum.is_finite()), tokens: likelihood.tokens }
    }
}
