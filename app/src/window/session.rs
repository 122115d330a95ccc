//! What the window knows and does, without drawing: the recipe, its models, the checks and the merge.
//!
//! Everything follows from the recipe. When it names another model, the jobs that are out of date are cancelled and the
//! next ones start by themselves: open → preflight of every vector → measure the one that is shown. What people do to
//! vectors and the method is in `vectors`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mergescope_core::alignment::{Models, Role, Triple, VectorPair};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::hub::CachedModel;
use mergescope_core::merge::MergeReport;
use mergescope_core::preflight::Preflight;
use mergescope_core::progress::Progress;
use mergescope_core::recipe::file::{FileFormat, Opened};
use mergescope_core::recipe::{OutputSpec, Recipe, RecipeError, VectorSpec};
use mergescope_core::scaling::Scaling;

use super::details::Details;
use super::history::History;
use super::jobs::{Event, Job, JobError, JobId, Jobs, Outcome};
pub use super::measured::Measured;
pub use super::merge_end::{MergeEnd, RunningMerge, Written};
use super::plans::{Planned, Plans};
use super::pool::Pool;
pub use super::slot::{Slot, SlotState};
pub use super::stage::Stage;
use super::vector_work::{Names, VectorWork};
use super::vectors::PreNeed;
use crate::format;
use crate::past::PastMerge;

/// Paths that the menus remember.
const MAX_RECENT: usize = 12;
/// How long news without an error are shown, in seconds.
const NEWS_SECS: f64 = 8.0;

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

/// The state behind the window.
pub struct Session {
    /// What the person chose.
    pub recipe: Recipe,
    /// The position of the vector whose models are in the fields and whose charts are shown; never beyond the last.
    pub(super) shown: usize,
    /// The three fields, in the order of [`Role::ALL`].
    pub slots: [Slot; 3],
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
    /// The models of all vectors.
    pub(super) pool: Pool,
    /// What is known of each vector, in the order of the recipe.
    pub(super) work: Vec<VectorWork>,
    plans: Plans,
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
            shown: 0,
            slots: Default::default(),
            merge: None,
            end: None,
            history: History::new(recipe.clone()),
            file: None,
            saved: recipe.clone(),
            recent: Vec::new(),
            cached: Vec::new(),
            notice: None,
            jobs,
            pool: Pool::default(),
            work: Vec::new(),
            plans: Plans::default(),
            merge_just_ended: false,
            recipe,
        };
        session.follow_recipe();
        session
    }

    /// The recipe's text for a role.
    pub fn spec(&self, role: Role) -> &str {
        match role {
            Role::Pre => &self.shown_vector().pre,
            Role::Post => &self.shown_vector().post,
            Role::Target => &self.recipe.target,
        }
    }

    /// What is known of the vector that is shown.
    fn shown_work(&self) -> &VectorWork {
        &self.work[self.shown]
    }

    /// Whether the models of the vector that is shown fit.
    pub fn preflight(&self) -> &Stage<Preflight> {
        &self.shown_work().preflight
    }

    /// The vector that is shown, measured.
    pub fn vector(&self) -> &Stage<Measured> {
        &self.shown_work().vector
    }

    /// What is worked out of it afterwards.
    pub fn details(&self) -> &Details {
        &self.shown_work().details
    }

    /// Whether the models fit, vector by vector.
    pub fn preflights(&self) -> impl Iterator<Item = &Stage<Preflight>> {
        self.work.iter().map(|work| &work.preflight)
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
        let failed = matches!(self.preflight(), Stage::Failed(_)) || matches!(self.vector(), Stage::Failed(_));
        if self.spec(role) == spec && failed {
            return self.reopen(role);
        }
        if self.spec(role) != spec {
            // The fingerprints are those of the models chosen before.
            self.recipe.inputs = None;
        }
        self.slot_mut(role).text.clone_from(&spec);
        match role {
            Role::Pre => self.shown_vector_mut().pre = spec,
            Role::Post => self.shown_vector_mut().post = spec,
            Role::Target => self.recipe.target = spec,
        }
        self.follow_recipe();
    }

    /// Opens a model again, for instance after it was downloaded.
    pub fn reopen(&mut self, role: Role) {
        let spec = self.spec(role).to_owned();
        self.pool.forget(&spec);
        self.follow_recipe();
    }

    /// Takes another recipe as a whole.
    pub fn set_recipe(&mut self, recipe: Recipe) {
        self.shown = self.vector_to_show(&recipe);
        self.recipe = recipe;
        // What was typed and never taken goes with the recipe that it was typed for.
        self.slots.iter_mut().for_each(|slot| slot.text.clone_from(&slot.spec));
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

    /// The three models of the vector that is shown, once all are open.
    pub fn triple(&self) -> Option<Triple> {
        self.shown_work().triple.clone()
    }

    /// The models of all vectors, once all are open.
    pub fn models(&self) -> Option<Models> {
        let triples: Vec<&Triple> = self.work.iter().map(|work| work.triple.as_ref()).collect::<Option<_>>()?;
        let target = triples.first()?.target.clone();
        let pair = |triple: &&Triple| VectorPair { pre: triple.pre.clone(), post: triple.post.clone() };
        Some(Models { target, vectors: triples.iter().map(pair).collect() })
    }

    /// Layers of the models, once they have been compared.
    pub fn layers(&self) -> Option<u32> {
        self.preflight().done().map(|preflight| preflight.alignment.layers())
    }

    /// Why no merge can be started now; `None` when it can.
    pub fn merge_obstacle(&self) -> Option<String> {
        if self.merge.is_some() {
            return Some("A merge is under way".to_owned());
        }
        self.missing_model()
            .or_else(|| self.recipe.check_method().err().map(|error| error.to_string()))
            .or_else(|| self.misfit())
            .or_else(|| self.scaling_error())
            .or_else(|| self.plans.get(&self.recipe)?.as_ref().err().cloned())
    }

    /// The first model that is not open, in words.
    fn missing_model(&self) -> Option<String> {
        let several = self.work.len() > 1;
        let vectors = self.recipe.vectors().enumerate().flat_map(|(number, vector)| {
            let pre = (!vector.pre.is_empty() || self.pre_need(number) == PreNeed::Needed)
                .then_some((Role::Pre, &vector.pre));
            pre.into_iter().chain([(Role::Post, &vector.post)]).map(move |(role, spec)| (role, spec, Some(number)))
        });
        for (role, spec, number) in vectors.chain([(Role::Target, &self.recipe.target, None)]) {
            let mut name = format!("{} model", role.label());
            if let Some(number) = number.filter(|_| several) {
                name += &format!(" of vector {}", number + 1);
            }
            match self.pool.get(spec).map(|named| &named.state) {
                None | Some(SlotState::Empty) => return Some(format!("Choose the {name} first")),
                Some(SlotState::Opening(_)) => return Some(format!("The {name} is being opened")),
                Some(SlotState::Failed(_)) => return Some(format!("The {name} could not be opened: see its field")),
                Some(SlotState::Ready(_)) => {}
            }
        }
        None
    }

    /// Why the models cannot be merged, or not yet, going by the comparisons.
    fn misfit(&self) -> Option<String> {
        let several = self.work.len() > 1;
        let of = |number: usize| if several { format!(" of vector {}", number + 1) } else { String::new() };
        self.preflights().enumerate().find_map(|(number, preflight)| match preflight {
            Stage::Done(preflight) if preflight.passes() => None,
            Stage::Done(_) => Some(match several {
                false => "These three models do not fit together: see the findings".to_owned(),
                true => format!("The models{} do not fit together: see the findings", of(number)),
            }),
            Stage::Failed(_) => Some(format!("The models{} could not be compared: see the findings", of(number))),
            Stage::Waiting | Stage::Running(..) => Some("The models are being compared".to_owned()),
        })
    }

    /// Why w cannot be spread as some vector asks for.
    fn scaling_error(&self) -> Option<String> {
        self.recipe.vectors().zip(&self.work).enumerate().find_map(|(number, (vector, work))| {
            let layers = work.preflight.done().map_or(0, |preflight| preflight.alignment.layers());
            let error = Scaling::new(vector.w, &vector.scaling, layers).err()?;
            Some(if self.work.len() > 1 { format!("vector {}: {error}", number + 1) } else { error.to_string() })
        })
    }

    /// What `output` would write: bytes of weights, or why it cannot be planned. `None` until the models are open, and while
    /// something else stands in the way.
    pub fn planned_bytes(&mut self, output: &OutputSpec) -> Option<Planned> {
        let sound = self.work.iter().all(|work| work.preflight.done().is_some_and(Preflight::passes));
        if !sound {
            return None;
        }
        if let Err(error) = self.recipe.check_method() {
            return Some(Err(error.to_string()));
        }
        if let Some(error) = self.scaling_error() {
            return Some(Err(error));
        }
        let models = self.models()?;
        let recipe = Recipe { output: output.clone(), ..self.recipe.clone() };
        Some(self.plans.plan(&recipe, &models, self.jobs.engine()))
    }

    /// Writes the merged model to `output`.
    pub fn start_merge(&mut self, output: PathBuf) {
        if self.merge_obstacle().is_some() {
            return;
        }
        let layers = self.layers().unwrap_or(0);
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

    /// Follows what is chosen beside the models: how the output is written, and whether all of it goes together.
    pub fn follow_output(&mut self) {
        self.work[self.shown].follow_output(&mut self.jobs, &self.recipe.output);
        let output = self.recipe.output.clone();
        // Planned ahead: what it says is asked for where nothing may change.
        self.planned_bytes(&output);
    }

    /// Compares v between the layers, unless that is done or being done.
    pub fn compare_layers(&mut self) {
        self.notice = None;
        self.work[self.shown].compare_layers(&mut self.jobs);
    }

    /// Stops comparing the layers.
    pub fn stop_comparing(&mut self) {
        self.details().stop_comparing(&self.jobs);
    }

    /// Measures the singular values of one tensor, unless that is done or being done.
    pub fn measure_spectrum(&mut self, name: &str) {
        self.notice = None;
        self.work[self.shown].measure_spectrum(&mut self.jobs, name);
    }

    /// Stops measuring the singular values of one tensor.
    pub fn stop_spectrum(&mut self, name: &str) {
        self.details().stop_spectrum(&self.jobs, name);
    }

    /// Whether a merge ended since the last call.
    pub fn take_merge_ended(&mut self) -> bool {
        std::mem::take(&mut self.merge_just_ended)
    }

    /// Starts and cancels jobs so that they fit the recipe.
    pub(super) fn follow_recipe(&mut self) {
        self.shown = self.shown.min(self.recipe.others.len());
        let models = self.recipe.vectors().flat_map(|vector| [vector.pre.as_str(), vector.post.as_str()]);
        self.pool.follow(models.chain([self.recipe.target.as_str()]), &mut self.jobs);
        self.follow_models();
    }

    /// Takes the models as they are open now.
    pub(super) fn follow_models(&mut self) {
        self.follow_slots();
        // A vector keeps what is known of it when those before it come and go.
        let mut known = std::mem::take(&mut self.work);
        let mut changed = false;
        for vector in self.recipe.vectors() {
            let names = Names::new(vector, &self.recipe.target);
            let found = known.iter().position(|work| work.names == names);
            changed |= found != Some(0);
            self.work.push(found.map_or_else(|| VectorWork::new(names), |position| known.remove(position)));
        }
        changed |= !known.is_empty();
        known.iter().for_each(|work| work.cancel(&self.jobs));
        for number in 0..self.work.len() {
            let triple = self.triple_of(number);
            changed |= self.work[number].follow_models(triple, &mut self.jobs);
        }
        if changed {
            // It was about other models.
            self.notice = None;
            self.plans.forget();
        }
        self.follow_shown();
    }

    /// Works out what is shown of the vector in view.
    pub(super) fn follow_shown(&mut self) {
        let work = &mut self.work[self.shown];
        work.measure(&mut self.jobs);
        // One that failed or was stopped is compared again when that is asked for.
        if matches!(work.details.layer_products, Stage::Waiting) && !work.details.comparison_stopped {
            work.compare_layers(&mut self.jobs);
        }
        work.follow_output(&mut self.jobs, &self.recipe.output);
    }

    /// Puts the models of the vector in view into the fields.
    fn follow_slots(&mut self) {
        for role in Role::ALL {
            let spec = self.spec(role).to_owned();
            let slot = &mut self.slots[slot_index(role)];
            if slot.spec != spec {
                slot.text.clone_from(&spec);
                slot.hint = None;
            }
            let named = self.pool.get(&spec);
            slot.state = named.map_or(SlotState::Empty, |named| named.state.clone());
            slot.summary = named.map_or_else(String::new, |named| named.summary.clone());
            slot.spec = spec;
        }
    }

    /// The models of a vector, once those that it needs are open.
    fn triple_of(&self, number: usize) -> Option<Triple> {
        let vector: &VectorSpec = self.recipe.vectors().nth(number)?;
        let (post, target) = (self.pool.open(&vector.post)?.clone(), self.pool.open(&self.recipe.target)?.clone());
        let pre = if vector.pre.is_empty() {
            if self.pre_need(number) == PreNeed::Needed {
                return None;
            }
            let known = self.work.get(number).and_then(|work| work.triple.as_ref());
            let known = known.filter(|triple| Arc::ptr_eq(&triple.post, &post)).map(|triple| triple.pre.clone());
            known.unwrap_or_else(|| Arc::new(Checkpoint::zeros_like(&post)))
        } else {
            self.pool.open(&vector.pre)?.clone()
        };
        Some(Triple { pre, post, target })
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
        let taken = self.work.iter_mut().any(|work| work.on_progress(id, progress));
        if let Some(merge) = self.merge.as_mut().filter(|merge| !taken && merge.id == id) {
            merge.progress = Some(progress);
        }
    }

    fn on_finished(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        if self.merge.as_ref().is_some_and(|merge| merge.id == id) {
            self.on_merge_ended(id, result);
        } else if let Some(work) = self.work.iter_mut().find(|work| work.is_about(id)) {
            work.on_finished(id, result);
            self.follow_shown();
        } else {
            if let Some(spec) = self.pool.on_finished(id, result) {
                remember(&mut self.recent, spec);
            }
            self.follow_models();
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
