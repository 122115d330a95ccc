//! Why a sweep cannot be run.

use crate::alignment::OpenModelError;
use crate::engine::EngineError;
use crate::evaluate::log::LogError;
use crate::evaluate::questions::perturb::RateError;
use crate::evaluate::questions::{QuestionsError, SplitError, TemplateError};
use crate::merge::MergeError;
use crate::progress::Cancelled;

/// Why a sweep cannot be opened, or ended early. What was answered until then is in the log.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The questions cannot be read.
    #[error(transparent)]
    Questions(#[from] QuestionsError),
    /// The prompt template does not fit them.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// They cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// They cannot be changed so.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// Choices that do not go together; the message says what to change.
    #[error("{0}")]
    Spec(String),
    /// A model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenModelError),
    /// The models cannot be merged so.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The engine cannot go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Answers cannot be kept.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl SweepError {
    /// Whether the person stopped it, which is no failure.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_cancelled(),
            Self::Merge(error) => error.is_cancelled(),
            _ => false,
        }
    }
}

impl From<Cancelled> for SweepError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Engine(cancelled.into())
    }
}
