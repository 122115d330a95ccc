//! A value that a job makes, and how far the job is.

use mergescope_core::progress::Progress;

use super::jobs::{JobError, JobId, Outcome};

/// A value that a job makes.
#[derive(Debug, Default)]
pub enum Stage<T> {
    /// It cannot be made yet, or nobody asked for it.
    #[default]
    Waiting,
    /// A job is making it.
    Running(JobId, Option<Progress>),
    /// Here it is.
    Done(T),
    /// It could not be made, and why.
    Failed(String),
}

impl<T> Stage<T> {
    /// The value, when it is there.
    pub fn done(&self) -> Option<&T> {
        match self {
            Self::Done(value) => Some(value),
            _ => None,
        }
    }

    /// The job that is making it.
    pub(super) fn job(&self) -> Option<JobId> {
        match self {
            Self::Running(id, _) => Some(*id),
            _ => None,
        }
    }

    /// Takes a report of progress if it is about this value.
    pub(super) fn on_progress(&mut self, id: JobId, progress: Progress) -> bool {
        match self {
            Self::Running(running, latest) if *running == id => {
                *latest = Some(progress);
                true
            }
            _ => false,
        }
    }

    /// Takes the end of its job; `pick` finds the value in what was made.
    pub(super) fn finish(&mut self, result: Result<Outcome, JobError>, pick: impl FnOnce(Outcome) -> Option<T>) {
        *self = match result {
            Ok(outcome) => pick(outcome).map_or(Self::Waiting, Self::Done),
            Err(JobError::Cancelled | JobError::Refused(_)) => Self::Waiting,
            Err(JobError::Failed(message)) => Self::Failed(message),
        };
    }
}
