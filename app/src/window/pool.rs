//! The models that a recipe names, each opened once however many places it has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mergescope_core::checkpoint::Checkpoint;

use super::engine::Engine;
use super::jobs::{Job, JobError, JobId, Jobs, Outcome};
use super::slot::{self, Absent, SlotState};

/// A model that was named.
pub struct Named {
    /// How far it is.
    pub state: SlotState,
    /// One line about it.
    pub summary: String,
    /// Its short name, once it is open.
    pub label: Option<String>,
    /// Where it is on the Hub, and not here.
    pub absent: Option<Absent>,
    /// Where it is, whatever it was called.
    place: Option<PathBuf>,
}

/// Models by the words that name them.
#[derive(Default)]
pub struct Pool {
    models: BTreeMap<String, Named>,
}

impl Pool {
    /// Opens what is new among the models named, and forgets those that are named no more.
    pub fn follow<'a>(&mut self, named: impl Iterator<Item = &'a str> + Clone, jobs: &mut Jobs) {
        self.models.retain(|known, model| {
            let stays = named.clone().any(|spec| spec == known);
            if let SlotState::Opening(id) = model.state
                && !stays
            {
                jobs.cancel(id);
            }
            stays
        });
        for spec in named.filter(|spec| !spec.is_empty()) {
            if !self.models.contains_key(spec) {
                let state = SlotState::Opening(jobs.start(Job::Open { spec: spec.to_owned() }));
                let named = Named { state, summary: String::new(), label: None, absent: None, place: None };
                self.models.insert(spec.to_owned(), named);
            }
        }
    }

    /// What is known of a model; `None` for no name.
    pub fn get(&self, spec: &str) -> Option<&Named> {
        self.models.get(spec)
    }

    /// The model, once it is open.
    pub fn open(&self, spec: &str) -> Option<&Arc<Checkpoint>> {
        match &self.get(spec)?.state {
            SlotState::Ready(checkpoint) => Some(checkpoint),
            _ => None,
        }
    }

    /// Forgets a model, so that it is opened again.
    pub fn forget(&mut self, spec: &str) {
        self.models.remove(spec);
    }

    /// A model could not be downloaded, and why.
    pub fn not_downloaded(&mut self, spec: &str, why_not: String) {
        if let Some(absent) = self.models.get_mut(spec).and_then(|named| named.absent.as_mut()) {
            absent.why_not = Some(why_not);
        }
    }

    /// Takes the end of a job that opened a model; gives its name when it is open.
    pub fn on_finished(&mut self, id: JobId, result: Result<Outcome, JobError>, engine: &dyn Engine) -> Option<String> {
        let is_it = |model: &Named| matches!(model.state, SlotState::Opening(job) if job == id);
        let spec = self.models.iter().find(|(_, model)| is_it(model)).map(|(spec, _)| spec.clone())?;
        let state = match result {
            Ok(Outcome::Opened { place, model }) => return Some(self.on_opened(spec, place, model)),
            Ok(_) | Err(JobError::Cancelled | JobError::Refused(_)) => SlotState::Empty,
            Err(JobError::Failed(message)) => SlotState::Failed(message),
        };
        if let Some(named) = self.models.get_mut(&spec) {
            let name = matches!(state, SlotState::Failed(_)).then(|| engine.absent(&spec)).flatten();
            named.absent = name.map(|name| Absent { name, why_not: None });
            named.state = state;
        }
        None
    }

    fn on_opened(&mut self, spec: String, place: PathBuf, model: Checkpoint) -> String {
        let summary = slot::summary(&model);
        let label = Some(model.label());
        // By another name it may be open already: then it is the same model, and is read once.
        let same = self.models.values().find(|other| other.place.as_ref() == Some(&place));
        let state = match same.map(|same| same.state.clone()) {
            Some(ready @ SlotState::Ready(_)) => ready,
            _ => SlotState::Ready(Arc::new(model)),
        };
        self.models.insert(spec.clone(), Named { state, summary, label, absent: None, place: Some(place) });
        spec
    }
}
