//! What is known of one vector of the recipe: whether its models fit, and what was measured of it.

use std::sync::Arc;

use mergescope_core::alignment::{Role, Triple};
use mergescope_core::preflight::Preflight;
use mergescope_core::progress::Progress;
use mergescope_core::recipe::{OutputSpec, VectorSpec};

use super::details::Details;
use super::jobs::{Job, JobError, JobId, Jobs, Outcome};
use super::measured::Measured;
use super::stage::Stage;

/// Pre, post and target as the recipe names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names([String; 3]);

impl Names {
    /// Those of a vector.
    pub fn new(vector: &VectorSpec, target: &str) -> Self {
        Self([vector.pre.clone(), vector.post.clone(), target.to_owned()])
    }
}

/// What is known of one vector.
#[derive(Default)]
pub struct VectorWork {
    /// Which vector it is about.
    pub names: Names,
    /// Its models, once all of them are open.
    pub triple: Option<Triple>,
    /// Whether they fit.
    pub preflight: Stage<Preflight>,
    /// The vector, measured.
    pub vector: Stage<Measured>,
    /// What is worked out of it afterwards.
    pub details: Details,
}

impl VectorWork {
    /// Nothing is known yet.
    pub fn new(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// Takes the models as they are now; when they are others, what was known is forgotten and they are compared.
    pub fn follow_models(&mut self, triple: Option<Triple>, jobs: &mut Jobs) -> bool {
        let same = |a: &Triple, b: &Triple| Role::ALL.into_iter().all(|role| Arc::ptr_eq(a.get(role), b.get(role)));
        let is_same = match (&self.triple, &triple) {
            (None, None) => true,
            (Some(known), Some(now)) => same(known, now),
            _ => false,
        };
        if is_same {
            return false;
        }
        self.cancel(jobs);
        self.details.forget(jobs);
        (self.preflight, self.vector) = (Stage::Waiting, Stage::Waiting);
        if let Some(triple) = &triple {
            self.preflight = Stage::Running(jobs.start(Job::Preflight { triple: triple.clone() }), None);
        }
        self.triple = triple;
        true
    }

    /// Measures the vector, unless that is done, being done or in vain.
    pub fn measure(&mut self, jobs: &mut Jobs) {
        let passed = self.preflight.done().filter(|preflight| preflight.passes());
        if let (Stage::Waiting, Some(preflight), Some(triple)) = (&self.vector, passed, &self.triple) {
            let job = Job::Measure { triple: triple.clone(), alignment: preflight.alignment.clone() };
            self.vector = Stage::Running(jobs.start(job), None);
        }
    }

    /// Prepares the preview of rounding again when the output is to be written otherwise.
    pub fn follow_output(&mut self, jobs: &mut Jobs, output: &OutputSpec) {
        if let Stage::Done(measured) = &self.vector {
            self.details.follow_output(jobs, &measured.analysis, output);
        }
    }

    /// Compares v between the layers, unless that is done or being done.
    pub fn compare_layers(&mut self, jobs: &mut Jobs) {
        if let (Stage::Done(_), Stage::Done(preflight), Some(triple)) = (&self.vector, &self.preflight, &self.triple) {
            self.details.compare_layers(jobs, triple.clone(), preflight.alignment.clone());
        }
    }

    /// Measures the singular values of one tensor, unless that is done or being done.
    pub fn measure_spectrum(&mut self, jobs: &mut Jobs, name: &str) {
        if let (Stage::Done(preflight), Some(triple)) = (&self.preflight, &self.triple) {
            self.details.measure_spectrum(jobs, triple.clone(), preflight.alignment.clone(), name);
        }
    }

    /// Cancels everything that is under way.
    pub fn cancel(&self, jobs: &Jobs) {
        let jobs_of_it = [self.preflight.job(), self.vector.job()].into_iter().flatten().chain(self.details.jobs());
        for id in jobs_of_it {
            jobs.cancel(id);
        }
    }

    /// Whether a job is about this vector.
    pub fn is_about(&self, id: JobId) -> bool {
        [self.preflight.job(), self.vector.job()].contains(&Some(id)) || self.details.is_about(id)
    }

    /// Takes a report of progress if it is about this vector.
    pub fn on_progress(&mut self, id: JobId, progress: Progress) -> bool {
        self.preflight.on_progress(id, progress)
            || self.vector.on_progress(id, progress)
            || self.details.on_progress(id, progress)
    }

    /// Takes the end of a job that is about this vector.
    pub fn on_finished(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        if self.preflight.job() == Some(id) {
            self.preflight.finish(result, |outcome| match outcome {
                Outcome::Checked(preflight) => Some(preflight),
                _ => None,
            });
        } else if self.vector.job() == Some(id) {
            self.vector.finish(result, |outcome| match outcome {
                Outcome::Measured(measured) => Some(*measured),
                _ => None,
            });
        } else {
            self.details.on_finished(id, result);
        }
    }
}
