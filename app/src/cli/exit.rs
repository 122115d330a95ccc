//! How a run ends, as the number that scripts see.

use std::process::ExitCode;

use anyhow::Error;
use mergescope_core::adapter::AdapterError;
use mergescope_core::analysis::{LayerProductsError, SpectrumError, VectorsError};
use mergescope_core::engine::EngineError;
use mergescope_core::evaluate::sweep::SweepError;
use mergescope_core::hub::HubError;
use mergescope_core::merge::MergeError;
use mergescope_core::preflight::PreflightError;
use mergescope_core::progress::Cancelled;
use mergescope_core::stream::StreamError;

/// Flags that do not go together, which clap cannot tell. Else wrong usage is clap's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for was done.
    Done,
    /// It could not be done; the reason is on stderr.
    Failed,
    /// The flags do not go together. Clap ends the program with the same code.
    WrongUsage,
    /// Preflight found that the models do not fit together.
    Unfit,
    /// Some parts of a merge are not written yet, and nothing was changed.
    Incomplete,
    /// The person stopped it, and nothing is left behind.
    Cancelled,
}

/// The codes in words, for `--help`.
pub const HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the models do not fit together, 4 parts of the merge are missing, 130 cancelled";

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUsage => 2,
            Self::Unfit => 3,
            Self::Incomplete => 4,
            // As a shell shows a process that SIGINT ended: 128 + 2.
            Self::Cancelled => 130,
        }
    }

    /// How a run that gave `error` ended.
    pub fn of(error: &Error) -> Self {
        let cancelled = error.is::<Cancelled>()
            || error.downcast_ref().is_some_and(MergeError::is_cancelled)
            || error.downcast_ref().is_some_and(AdapterError::is_cancelled)
            || error.downcast_ref().is_some_and(EngineError::is_cancelled)
            || error.downcast_ref().is_some_and(SweepError::is_cancelled)
            || error.downcast_ref().is_some_and(HubError::is_cancelled)
            || matches!(error.downcast_ref(), Some(StreamError::Cancelled(_)))
            || matches!(error.downcast_ref(), Some(PreflightError::Cancelled(_)))
            || matches!(error.downcast_ref(), Some(LayerProductsError::Stream(StreamError::Cancelled(_))))
            || matches!(error.downcast_ref(), Some(SpectrumError::Stream(StreamError::Cancelled(_))))
            || matches!(error.downcast_ref(), Some(VectorsError::Stream(StreamError::Cancelled(_))));
        match error.downcast_ref() {
            _ if cancelled => Self::Cancelled,
            _ if error.is::<Usage>() => Self::WrongUsage,
            Some(MergeError::Unfit { .. }) => Self::Unfit,
            Some(MergeError::PartsMissing { .. } | MergeError::NoParts { .. }) => Self::Incomplete,
            _ if matches!(error.downcast_ref(), Some(EngineError::Merge(MergeError::Unfit { .. }))) => Self::Unfit,
            _ if matches!(
                error.downcast_ref(),
                Some(SweepError::Engine(EngineError::Merge(MergeError::Unfit { .. })))
            ) =>
            {
                Self::Unfit
            }
            _ if matches!(error.downcast_ref(), Some(AdapterError::Merge(MergeError::Unfit { .. }))) => Self::Unfit,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_being_cancelled_is_told_from_failing() {
        let errors = [
            Error::from(Cancelled),
            StreamError::from(Cancelled).into(),
            PreflightError::from(Cancelled).into(),
            MergeError::from(Cancelled).into(),
            HubError::from(Cancelled).into(),
            AdapterError::from(MergeError::from(Cancelled)).into(),
            LayerProductsError::from(StreamError::from(Cancelled)).into(),
            SpectrumError::from(StreamError::from(Cancelled)).into(),
            VectorsError::from(StreamError::from(Cancelled)).into(),
        ];
        assert!(errors.iter().all(|error| Exit::of(error) == Exit::Cancelled));
        assert_eq!(Exit::of(&MergeError::Unfit { findings: Vec::new() }.into()), Exit::Unfit);
        assert_eq!(Exit::of(&Usage("both".to_owned()).into()), Exit::WrongUsage);
        assert_eq!(Exit::of(&Error::msg("the disk is gone")), Exit::Failed);
    }
}
