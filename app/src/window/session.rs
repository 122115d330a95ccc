//! What the window knows and does, without drawing: the recipe, its models, the checks and the merge.
//!
//! Everything follows from the recipe. When it names another model, the jobs that are out of date are cancelled and the
//! next ones start by themselves: open → preflight of every vector → measure the one that is shown. What people do to
//! vectors and the method is in `vectors`, what is written in `writing`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mergescope_core::alignment::{Models, Role, Triple, VectorPair};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::hub::CachedModel;
use mergescope_core::preflight::Preflight;
use mergescope_core::progress::Progress;
use mergescope_core::recipe::file::{self, FileFormat, RecipeError};
use mergescope_core::recipe::{Recipe, VectorSpec};

use super::details::Details;
use super::downloads::Downloads;
use super::history::History;
use super::jobs::{Event, JobError, JobId, Jobs, Outcome};
pub use super::measured::Measured;
use super::merge_file_dialog::MergeFileDialog;
use super::plans::Plans;
use super::pool::Pool;
pub use super::slot::{Slot, SlotState};
pub use super::stage::Stage;
use super::vector_work::{Names, VectorWork};
use super::vectors::PreNeed;
pub use super::work::{End, Product, Work, Writing, Written, WrittenAdapter};
use crate::bundled::BundledRecipe;
use crate::format;

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
    /// What is being written.
    pub writing: Option<Writing>,
    /// How the last work of that kind ended.
    pub end: Option<End>,
    /// Undo and redo.
    pub history: History,
    /// The recipe's file, once it has one.
    pub file: Option<PathBuf>,
    /// The recipe as it is in that file, or as it was at the start.
    saved: Recipe,
    /// Models used before, the latest first.
    pub recent: Vec<String>,
    /// Recipes and merge files that were opened or saved before, the latest first.
    pub recent_files: Vec<PathBuf>,
    /// Models in the Hub cache.
    pub cached: Vec<CachedModel>,
    /// Models on their way into it.
    pub downloads: Downloads,
    /// The latest news.
    pub notice: Option<Notice>,
    /// The work off this thread.
    pub jobs: Jobs,
    /// The models of all vectors.
    pub(super) pool: Pool,
    /// What is known of each vector, in the order of the recipe.
    pub(super) work: Vec<VectorWork>,
    pub(super) plans: Plans,
    /// Whether something was just written, so that the window shows its results.
    pub(super) just_ended: bool,
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
            writing: None,
            end: None,
            history: History::new(recipe.clone()),
            file: None,
            saved: recipe.clone(),
            recent: Vec::new(),
            recent_files: Vec::new(),
            cached: Vec::new(),
            downloads: Downloads::default(),
            notice: None,
            jobs,
            pool: Pool::default(),
            work: Vec::new(),
            plans: Plans::default(),
            just_ended: false,
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

    /// Reads a recipe. A merge file of mergekit of which something is lost, or has to be explained, comes back to be talked
    /// about before it is taken.
    pub fn open_recipe(&mut self, path: &Path) -> Result<Option<Box<MergeFileDialog>>, RecipeError> {
        let text = file::read_text(path)?;
        if file::format_of(path, &text) == FileFormat::Mergekit {
            return Ok(match MergeFileDialog::import(path, text) {
                Ok(recipe) => {
                    self.take_merge_file(path, recipe);
                    None
                }
                Err(talk) => Some(talk),
            });
        }
        let recipe = Recipe::read(path)?;
        self.saved = recipe.clone();
        self.file = Some(path.to_owned());
        self.set_recipe(recipe);
        self.say(format!("Opened {}", format::path(path)));
        self.remember_file(path);
        Ok(None)
    }

    /// Takes what a merge file was read as. The file itself is never written over.
    pub fn take_merge_file(&mut self, path: &Path, recipe: Recipe) {
        self.file = None;
        self.set_recipe(recipe);
        self.say(format!("Read {} as a recipe that is not saved yet", format::path(path)));
        self.remember_file(path);
    }

    /// Takes up the file of an earlier session. What is in it now tells what has changed since it was saved.
    pub fn reopen_file(&mut self, file: Option<PathBuf>) {
        let Some(path) = file else { return };
        if let Ok(saved) = Recipe::read(&path) {
            self.saved = saved;
            self.file = Some(path);
        }
    }

    /// Takes a recipe that comes with the program.
    pub fn take_bundled(&mut self, bundled: &BundledRecipe) {
        match bundled.recipe() {
            Ok(recipe) => {
                self.file = None;
                self.set_recipe(recipe);
                self.say(format!("{}: a recipe that is not saved yet; its models are named by Hub id", bundled.title));
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Puts a file in front of those opened or saved before.
    fn remember_file(&mut self, path: &Path) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        remember(&mut self.recent_files, path);
    }

    /// Writes the recipe to a file.
    pub fn save_recipe(&mut self, path: &Path) {
        match self.recipe.save(path) {
            Ok(()) => {
                self.saved = self.recipe.clone();
                self.file = Some(path.to_owned());
                self.say(format!("Saved {}", format::path(path)));
                self.remember_file(path);
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

    /// The models that are open.
    pub fn open_models(&self) -> impl Iterator<Item = &Checkpoint> {
        let named = self.recipe.vectors().flat_map(|vector| [&vector.pre, &vector.post]).chain([&self.recipe.target]);
        named.filter_map(|spec| self.pool.open(spec)).map(Arc::as_ref)
    }

    /// The target, once it is open.
    pub fn target(&self) -> Option<&Checkpoint> {
        self.pool.open(&self.recipe.target).map(Arc::as_ref)
    }

    /// Layers of the models, once they have been compared.
    pub fn layers(&self) -> Option<u32> {
        self.preflight().done().map(|preflight| preflight.alignment.layers())
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
            slot.absent = named.and_then(|named| named.absent.clone());
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
            Event::Picked { .. } | Event::News(..) | Event::Sweep(..) => return Some(event),
        }
        None
    }

    fn on_progress(&mut self, id: JobId, progress: Progress) {
        // What nobody takes belongs to a job that is out of date.
        let taken =
            self.downloads.on_progress(id, progress) || self.work.iter_mut().any(|work| work.on_progress(id, progress));
        if let Some(writing) = self.writing.as_mut().filter(|writing| !taken && writing.id == id) {
            writing.progress = Some(progress);
        }
    }

    fn on_finished(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        let Some(result) = self.on_download_ended(id, result) else { return };
        if self.writing.as_ref().is_some_and(|writing| writing.id == id) {
            self.on_writing_ended(id, result);
        } else if let Some(work) = self.work.iter_mut().find(|work| work.is_about(id)) {
            work.on_finished(id, result);
            self.follow_shown();
        } else {
            if let Some(spec) = self.pool.on_finished(id, result, self.jobs.engine()) {
                remember(&mut self.recent, spec);
            }
            self.follow_models();
        }
    }
}

/// Puts a model or file in front of those used before.
fn remember<T: PartialEq>(recent: &mut Vec<T>, spec: T) {
    recent.retain(|known| *known != spec);
    recent.insert(0, spec);
    recent.truncate(MAX_RECENT);
}
