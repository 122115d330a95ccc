//! What the window knows and does, without drawing: the recipe, the three models, the checks and the merge.
//!
//! Everything follows from the recipe. When it names another model, the jobs that are out of date are cancelled and the
//! next ones start by themselves: open → preflight → measure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mergescope_core::alignment::{Role, Triple};
use mergescope_core::checkpoint::{Checkpoint, dtype_label};
use mergescope_core::hub::CachedModel;
use mergescope_core::merge::{ChangeSums, LayerChange, MergeReport, Plan};
use mergescope_core::preflight::{Finding, Preflight};
use mergescope_core::progress::Progress;
use mergescope_core::recipe::file::{FileFormat, Opened};
use mergescope_core::recipe::{OutputSpec, Recipe, RecipeError};
use mergescope_core::scaling::{Scaling, Spread};

use super::details::Details;
use super::history::History;
use super::jobs::{Event, Job, JobError, JobId, Jobs, Outcome};
pub use super::measured::Measured;
use super::slot;
pub use super::slot::{Slot, SlotState};
use crate::format;
use crate::past::PastMerge;

/// Paths that the menus remember.
const MAX_RECENT: usize = 12;
/// How long news without an error are shown, in seconds.
const NEWS_SECS: f64 = 8.0;

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

/// A merge that is under way.
pub struct RunningMerge {
    /// Its job.
    pub id: JobId,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Layers of the model that is written.
    pub layers: u32,
    /// Whether it was asked to stop.
    pub cancelling: bool,
}

/// A merge that was made, and its sums.
pub struct Written {
    /// Tells this merge from others of the session.
    pub id: JobId,
    /// Tensor by tensor.
    pub report: MergeReport,
    /// Layer by layer.
    pub layers: Vec<LayerChange>,
    /// Over all.
    pub total: ChangeSums,
    /// The coefficients that its effective w is to be held against; `None` when nothing was moved.
    pub asked: Option<Spread>,
    /// The target's short name.
    pub target: String,
    /// The type of most of what was written.
    pub dtype: String,
}

impl Written {
    /// Sums up a report.
    pub fn new(id: JobId, report: MergeReport) -> Self {
        let target = Path::new(&report.recipe.target).file_name();
        let target = target.map_or_else(|| report.recipe.target.clone(), |name| name.to_string_lossy().into_owned());
        let largest = report.tensors.iter().max_by_key(|tensor| tensor.shape.iter().product::<u64>());
        let dtype = largest.map(|tensor| dtype_label(tensor.dtype)).unwrap_or_default();
        Self { id, layers: report.layers(), total: report.total(), asked: report.asked(), target, dtype, report }
    }
}

/// How the last merge ended.
pub enum MergeEnd {
    /// A model was written.
    Written(Box<Written>),
    /// The models do not fit together.
    Refused(Vec<Finding>),
    /// It failed, and why.
    Failed(String),
    /// It was cancelled.
    Cancelled,
}

/// A line for the status bar: it goes when the next work begins, and by itself unless it is an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What happened.
    pub text: String,
    /// Whether it is an error.
    pub is_error: bool,
    /// When it was first shown, on the window's clock.
    since: Option<f64>,
}

/// The size of the output, for one recipe and one set of models.
struct PlanCache {
    output: OutputSpec,
    plan: Result<Plan, String>,
}

/// The state behind the window.
pub struct Session {
    /// What the person chose.
    pub recipe: Recipe,
    /// The three fields, in the order of [`Role::ALL`].
    pub slots: [Slot; 3],
    /// Whether the models fit.
    pub preflight: Stage<Preflight>,
    /// The vector, measured.
    pub vector: Stage<Measured>,
    /// What is worked out of it afterwards.
    pub details: Details,
    /// The merge under way.
    pub merge: Option<RunningMerge>,
    /// How the last merge ended.
    pub end: Option<MergeEnd>,
    /// Undo and redo.
    pub history: History,
    /// The recipe's file, once it has one.
    pub file: Option<PathBuf>,
    /// The recipe as it is in that file, or as it was at the start.
    saved: Recipe,
    /// Models used before, the latest first.
    pub recent: Vec<String>,
    /// Models in the Hub cache.
    pub cached: Vec<CachedModel>,
    /// The latest news.
    pub notice: Option<Notice>,
    /// The work off this thread.
    pub jobs: Jobs,
    plan: Option<PlanCache>,
    /// Whether a merge has just ended, so that the window shows its results.
    merge_just_ended: bool,
}

/// The position of a role in [`Session::slots`].
pub fn slot_index(role: Role) -> usize {
    match role {
        Role::Pre => 0,
        Role::Post => 1,
        Role::Target => 2,
    }
}

impl Session {
    /// A session that starts with `recipe` and opens its models at once.
    pub fn new(recipe: Recipe, jobs: Jobs) -> Self {
        let mut session = Self {
            slots: Default::default(),
            preflight: Stage::Waiting,
            vector: Stage::Waiting,
            details: Details::default(),
            merge: None,
            end: None,
            history: History::new(recipe.clone()),
            file: None,
            saved: recipe.clone(),
            recent: Vec::new(),
            cached: Vec::new(),
            notice: None,
            jobs,
            plan: None,
            merge_just_ended: false,
            recipe,
        };
        session.follow_recipe();
        session
    }

    /// The recipe's text for a role.
    pub fn spec(&self, role: Role) -> &str {
        match role {
            Role::Pre => &self.recipe.vector.pre,
            Role::Post => &self.recipe.vector.post,
            Role::Target => &self.recipe.target,
        }
    }

    /// The field of a role.
    pub fn slot(&self, role: Role) -> &Slot {
        &self.slots[slot_index(role)]
    }

    /// The field of a role, to change.
    pub fn slot_mut(&mut self, role: Role) -> &mut Slot {
        &mut self.slots[slot_index(role)]
    }

    /// Chooses a model.
    pub fn set_model(&mut self, role: Role, spec: &str) {
        let spec = spec.trim().trim_matches('"').to_owned();
        self.slot_mut(role).hint = None;
        if self.spec(role) != spec {
            // The fingerprints are those of the models chosen before.
            self.recipe.inputs = None;
        }
        match role {
            Role::Pre => self.recipe.vector.pre = spec,
            Role::Post => self.recipe.vector.post = spec,
            Role::Target => self.recipe.target = spec,
        }
        self.follow_recipe();
    }

    /// Opens a model again, for instance after it was downloaded.
    pub fn reopen(&mut self, role: Role) {
        self.slot_mut(role).spec.clear();
        self.slot_mut(role).state = SlotState::Empty;
        self.follow_recipe();
    }

    /// Takes another recipe as a whole.
    pub fn set_recipe(&mut self, recipe: Recipe) {
        self.recipe = recipe;
        self.follow_recipe();
    }

    /// Whether the recipe differs from its file, or from what the session started with.
    pub fn is_changed(&self) -> bool {
        self.recipe != self.saved
    }

    /// The recipe's name: its file's, or that it has none.
    pub fn recipe_name(&self) -> String {
        let name = self.file.as_deref().and_then(Path::file_name);
        name.map_or_else(|| "Unsaved recipe".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Reads a recipe file.
    pub fn open_recipe(&mut self, path: &Path) {
        match Recipe::open(path) {
            Ok(Opened { recipe, format: FileFormat::Toml, .. }) => {
                self.saved = recipe.clone();
                self.file = Some(path.to_owned());
                self.set_recipe(recipe);
                self.say(format!("Opened {}", format::path(path)));
            }
            Ok(Opened { recipe, format: FileFormat::Mergekit, .. }) => {
                // A merge file is read, never written over.
                self.file = None;
                self.set_recipe(recipe);
                self.say(format!("Read {} as a recipe that is not saved yet", format::path(path)));
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Writes the recipe to a file.
    pub fn save_recipe(&mut self, path: &Path) {
        match self.recipe.save(path) {
            Ok(()) => {
                self.saved = self.recipe.clone();
                self.file = Some(path.to_owned());
                self.say(format!("Saved {}", format::path(path)));
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Shows news.
    pub fn say(&mut self, text: String) {
        self.notice = Some(Notice { text, is_error: false, since: None });
    }

    /// Shows an error.
    pub fn fail(&mut self, text: String) {
        self.notice = Some(Notice { text, is_error: true, since: None });
    }

    /// Takes news away that were shown for long enough at `now`, in seconds; gives the time until then when there are
    /// any.
    pub fn follow_notice(&mut self, now: f64) -> Option<Duration> {
        let notice = self.notice.as_mut().filter(|notice| !notice.is_error)?;
        let left = *notice.since.get_or_insert(now) + NEWS_SECS - now;
        if left > 0.0 {
            return Some(Duration::from_secs_f64(left));
        }
        self.notice = None;
        None
    }

    fn complain(&mut self, error: &RecipeError) {
        self.fail(mergescope_core::error::chain(error));
    }

    /// Takes the last step back.
    pub fn undo(&mut self) {
        if let Some(recipe) = self.history.undo().cloned() {
            self.set_recipe(recipe);
        }
    }

    /// Makes a step again that was taken back.
    pub fn redo(&mut self) {
        if let Some(recipe) = self.history.redo().cloned() {
            self.set_recipe(recipe);
        }
    }

    /// The three models, once all are open.
    pub fn triple(&self) -> Option<Triple> {
        let model = |role| self.slot(role).checkpoint().cloned();
        Some(Triple { pre: model(Role::Pre)?, post: model(Role::Post)?, target: model(Role::Target)? })
    }

    /// Why no merge can be started now; `None` when it can.
    pub fn merge_obstacle(&self) -> Option<String> {
        if self.merge.is_some() {
            return Some("A merge is under way".to_owned());
        }
        for (role, slot) in Role::ALL.into_iter().zip(&self.slots) {
            match &slot.state {
                SlotState::Empty => return Some(format!("Choose the {} model first", role.label())),
                SlotState::Opening(_) => return Some(format!("The {} model is being opened", role.label())),
                SlotState::Failed(_) => {
                    return Some(format!("The {} model could not be opened: see its field", role.label()));
                }
                SlotState::Ready(_) => {}
            }
        }
        match &self.preflight {
            Stage::Done(preflight) if preflight.passes() => {
                let vector = &self.recipe.vector;
                let scaling = Scaling::new(vector.w, &vector.scaling, preflight.alignment.layers());
                scaling.err().map(|error| error.to_string())
            }
            Stage::Done(_) => Some("These three models do not fit together: see the findings".to_owned()),
            Stage::Failed(_) => Some("The models could not be compared: see the findings".to_owned()),
            Stage::Waiting | Stage::Running(..) => Some("The models are being compared".to_owned()),
        }
    }

    /// What `output` would write: bytes of weights, or why it cannot be planned. `None` until the models are open.
    pub fn planned_bytes(&mut self, output: &OutputSpec) -> Option<Result<u64, String>> {
        let triple = self.triple()?;
        if !self.preflight.done()?.passes() {
            return None;
        }
        if self.plan.as_ref().is_none_or(|cache| cache.output != *output) {
            let recipe = Recipe { output: output.clone(), ..self.recipe.clone() };
            let plan = self.jobs.engine().plan(&triple, &recipe);
            let plan = plan.map_err(|error| mergescope_core::error::chain(&error));
            self.plan = Some(PlanCache { output: output.clone(), plan });
        }
        let cache = self.plan.as_ref()?;
        Some(cache.plan.as_ref().map(Plan::bytes).map_err(Clone::clone))
    }

    /// Writes the merged model to `output`.
    pub fn start_merge(&mut self, output: PathBuf) {
        if self.merge_obstacle().is_some() {
            return;
        }
        let layers = self.preflight.done().map_or(0, |preflight| preflight.alignment.layers());
        let id = self.jobs.start(Job::Merge { recipe: Box::new(self.recipe.clone()), output });
        self.merge = Some(RunningMerge { id, progress: None, layers, cancelling: false });
        self.notice = None;
    }

    /// Asks the merge to stop.
    pub fn cancel_merge(&mut self) {
        if let Some(merge) = &mut self.merge {
            merge.cancelling = true;
            self.jobs.cancel(merge.id);
        }
    }

    /// Prepares the preview of rounding again when the output is to be written otherwise.
    pub fn follow_output(&mut self) {
        if let Stage::Done(measured) = &self.vector {
            self.details.follow_output(&mut self.jobs, &measured.analysis, &self.recipe.output);
        }
    }

    /// Compares v between the layers, unless that is done or being done.
    pub fn compare_layers(&mut self) {
        self.notice = None;
        self.begin_comparing();
    }

    fn begin_comparing(&mut self) {
        if let (Stage::Done(_), Stage::Done(preflight), Some(triple)) = (&self.vector, &self.preflight, self.triple()) {
            self.details.compare_layers(&mut self.jobs, triple, preflight.alignment.clone());
        }
    }

    /// Stops comparing the layers.
    pub fn stop_comparing(&mut self) {
        self.details.stop_comparing(&self.jobs);
    }

    /// Measures the singular values of one tensor, unless that is done or being done.
    pub fn measure_spectrum(&mut self, name: &str) {
        if let (Stage::Done(preflight), Some(triple)) = (&self.preflight, self.triple()) {
            self.notice = None;
            self.details.measure_spectrum(&mut self.jobs, triple, preflight.alignment.clone(), name);
        }
    }

    /// Stops measuring the singular values of one tensor.
    pub fn stop_spectrum(&mut self, name: &str) {
        self.details.stop_spectrum(&self.jobs, name);
    }

    /// Whether a merge ended since the last call.
    pub fn take_merge_ended(&mut self) -> bool {
        std::mem::take(&mut self.merge_just_ended)
    }

    /// Starts and cancels jobs so that they fit the recipe.
    fn follow_recipe(&mut self) {
        let mut changed = false;
        for role in Role::ALL {
            let spec = self.spec(role).to_owned();
            let slot = &mut self.slots[slot_index(role)];
            if slot.text.trim() != spec {
                slot.text.clone_from(&spec);
            }
            if slot.spec == spec && (spec.is_empty() || !matches!(slot.state, SlotState::Empty)) {
                continue;
            }
            changed = true;
            if let SlotState::Opening(id) = slot.state {
                self.jobs.cancel(id);
            }
            slot.spec.clone_from(&spec);
            slot.summary.clear();
            slot.state = if spec.is_empty() {
                SlotState::Empty
            } else {
                SlotState::Opening(self.jobs.start(Job::Open { role, spec }))
            };
        }
        if changed {
            // It was about other models.
            self.notice = None;
            for id in [self.preflight.job(), self.vector.job()].into_iter().flatten() {
                self.jobs.cancel(id);
            }
            self.preflight = Stage::Waiting;
            self.vector = Stage::Waiting;
            self.details.forget(&self.jobs);
            self.plan = None;
        }
    }

    /// Handles one event; those about files and dialogs are the window's.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Progress(id, progress) => self.on_progress(id, progress),
            Event::Finished(id, result) => self.on_finished(id, result),
            Event::Cached(models) => self.cached = models,
            Event::Saved(Ok(path)) => self.say(format!("Saved {}", format::path(&path))),
            Event::Saved(Err(message)) => self.fail(message),
            Event::Picked { .. } => return Some(event),
        }
        None
    }

    fn on_progress(&mut self, id: JobId, progress: Progress) {
        // What nobody takes belongs to a job that is out of date.
        let taken = self.preflight.on_progress(id, progress)
            || self.vector.on_progress(id, progress)
            || self.details.on_progress(id, progress);
        if let Some(merge) = self.merge.as_mut().filter(|merge| !taken && merge.id == id) {
            merge.progress = Some(progress);
        }
    }

    fn on_finished(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        if self.merge.as_ref().is_some_and(|merge| merge.id == id) {
            self.on_merge_ended(id, result);
        } else if self.preflight.job() == Some(id) {
            self.on_checked(result);
        } else if self.vector.job() == Some(id) {
            self.vector.finish(result, |outcome| match outcome {
                Outcome::Measured(measured) => Some(*measured),
                _ => None,
            });
            self.follow_output();
            self.begin_comparing();
        } else if self.details.is_about(id) {
            self.details.on_finished(id, result);
        } else {
            let opening = |slot: &Slot| matches!(slot.state, SlotState::Opening(job) if job == id);
            if let Some(position) = self.slots.iter().position(opening) {
                self.on_opened(position, result);
            }
        }
    }

    fn on_opened(&mut self, position: usize, result: Result<Outcome, JobError>) {
        let slot = &mut self.slots[position];
        slot.state = match result {
            Ok(Outcome::Opened(_, checkpoint)) => {
                slot.summary = slot::summary(&checkpoint);
                remember(&mut self.recent, slot.spec.clone());
                SlotState::Ready(Arc::<Checkpoint>::new(checkpoint))
            }
            Ok(_) | Err(JobError::Cancelled | JobError::Refused(_)) => SlotState::Empty,
            Err(JobError::Failed(message)) => SlotState::Failed(message),
        };
        if let Some(triple) = self.triple() {
            self.preflight = Stage::Running(self.jobs.start(Job::Preflight { triple }), None);
        }
    }

    fn on_checked(&mut self, result: Result<Outcome, JobError>) {
        self.preflight.finish(result, |outcome| match outcome {
            Outcome::Checked(preflight) => Some(preflight),
            _ => None,
        });
        let passed = self.preflight.done().filter(|preflight| preflight.passes());
        if let (Some(preflight), Some(triple)) = (passed, self.triple()) {
            let alignment = preflight.alignment.clone();
            self.vector = Stage::Running(self.jobs.start(Job::Measure { triple, alignment }), None);
        }
    }

    /// Puts a merge among those of the past.
    fn remember(&mut self, report: &MergeReport) {
        let Some(past) = self.jobs.engine().past() else { return };
        if let Err(error) = past.add(&PastMerge::new(report)) {
            let file = format::path(past.file());
            self.fail(format!("Merged, but not among the merges of the past: cannot write {file}: {error}"));
        }
    }

    fn on_merge_ended(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        self.merge = None;
        self.merge_just_ended = true;
        let end = match result {
            Ok(Outcome::Merged(report)) => {
                self.say(format!("Written to {}", format::path(&report.output)));
                self.remember(&report);
                MergeEnd::Written(Box::new(Written::new(id, *report)))
            }
            Ok(_) | Err(JobError::Cancelled) => {
                self.merge_just_ended = false;
                self.say("Merge cancelled: nothing was written".to_owned());
                // What an earlier merge wrote is still there to be looked at.
                if self.end.is_some() {
                    return;
                }
                MergeEnd::Cancelled
            }
            Err(JobError::Refused(findings)) => MergeEnd::Refused(findings),
            Err(JobError::Failed(message)) => {
                self.fail("The merge failed: see Results".to_owned());
                MergeEnd::Failed(message)
            }
        };
        self.end = Some(end);
    }
}

/// Puts a model in front of those used before.
fn remember(recent: &mut Vec<String>, spec: String) {
    recent.retain(|known| *known != spec);
    recent.insert(0, spec);
    recent.truncate(MAX_RECENT);
}
