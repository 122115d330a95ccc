//! What can be written now, and why not; the work under way, and its end.

use std::path::PathBuf;

use mergescope_core::alignment::{Role, VectorPair};
use mergescope_core::checkpoint::CheckpointKind;
use mergescope_core::merge::MergeReport;
use mergescope_core::preflight::Preflight;
use mergescope_core::recipe::{OutputSpec, Recipe};
use mergescope_core::scaling::Scaling;

use super::jobs::{Job, JobError, JobId, Outcome};
use super::plans::Planned;
use super::session::Session;
use super::slot::SlotState;
use super::stage::Stage;
use super::vectors::PreNeed;
use super::work::{End, Product, Work, Writing, Written, WrittenAdapter};
use crate::format;
use crate::past::PastMerge;

/// Why there is no adapter of several vectors, a method or a control.
const COMBINED: &str =
    "An adapter holds one vector as it is: this recipe has several, a method or a control. Merge it instead";

impl Session {
    /// Why no merge can be started now; `None` when it can.
    pub fn merge_obstacle(&self) -> Option<String> {
        self.busy()
            .or_else(|| self.missing_model())
            .or_else(|| self.recipe.check_method().err().map(|error| error.to_string()))
            .or_else(|| self.misfit())
            .or_else(|| self.scaling_error())
            .or_else(|| self.misuse())
    }

    /// Why no adapter can be exported now; `None` when it can.
    pub fn adapter_obstacle(&self) -> Option<String> {
        let is_combined = !self.recipe.is_plain() || self.recipe.vector.control.is_some();
        self.busy()
            .or_else(|| is_combined.then(|| COMBINED.to_owned()))
            .or_else(|| self.missing_model())
            .or_else(|| self.misfit())
            .or_else(|| self.scaling_error())
    }

    /// Why the vector that is shown cannot be saved now; `None` when it can. It needs no target.
    pub fn vector_obstacle(&self) -> Option<String> {
        let post = self.pool.open(self.spec(Role::Post));
        if self.busy().is_none() && post.is_some_and(|post| post.kind() == CheckpointKind::Vector) {
            return Some("This is a saved vector already: copy its folder to pass it on".to_owned());
        }
        let missing =
            || [Role::Pre, Role::Post].into_iter().find_map(|role| self.why_not_open(role, self.spec(role), ""));
        self.busy().or_else(missing)
    }

    /// Why models that fit cannot be merged: a saved vector in the wrong place, a method that wants others.
    pub fn misuse(&self) -> Option<String> {
        self.plans.get(&self.recipe)?.as_ref().err().cloned()
    }

    fn busy(&self) -> Option<String> {
        self.writing.as_ref().map(|writing| writing.product.under_way().to_owned())
    }

    /// The first model that is not open, in words.
    fn missing_model(&self) -> Option<String> {
        let several = self.work.len() > 1;
        let vectors = self.recipe.vectors().enumerate().flat_map(|(number, vector)| {
            let pre = (!vector.pre.is_empty() || self.pre_need(number) == PreNeed::Needed)
                .then_some((Role::Pre, &vector.pre));
            pre.into_iter().chain([(Role::Post, &vector.post)]).map(move |(role, spec)| (role, spec, Some(number)))
        });
        vectors.chain([(Role::Target, &self.recipe.target, None)]).find_map(|(role, spec, number)| {
            let of = number.filter(|_| several).map(|number| format!(" of vector {}", number + 1));
            self.why_not_open(role, spec, &of.unwrap_or_default())
        })
    }

    /// Why a model is not open, in words; `None` when it is.
    fn why_not_open(&self, role: Role, spec: &str, of: &str) -> Option<String> {
        let name = format!("{} model{of}", role.label());
        match self.pool.get(spec).map(|named| &named.state) {
            _ if self.downloads.of(spec).is_some() => Some(format!("The {name} is being downloaded")),
            None | Some(SlotState::Empty) => Some(format!("Choose the {name} first")),
            Some(SlotState::Opening(_)) => Some(format!("The {name} is being opened")),
            Some(SlotState::Failed(_)) => Some(format!("The {name} could not be opened: see its field")),
            Some(SlotState::Ready(_)) => None,
        }
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

    /// Pre and post of the vector that is shown, once they are open.
    pub fn shown_pair(&self) -> Option<VectorPair> {
        let open = |role| self.pool.open(self.spec(role)).cloned();
        Some(VectorPair { pre: open(Role::Pre)?, post: open(Role::Post)? })
    }

    /// Starts what a dialog asks for. What it chose becomes part of the recipe.
    pub fn start(&mut self, work: Work) {
        match work {
            Work::Merge { output, spec } => {
                self.recipe.output = spec;
                if self.merge_obstacle().is_none() {
                    let recipe = Box::new(self.recipe.clone());
                    self.begin(Product::Merge, Job::Merge { recipe, output });
                }
            }
            Work::Adapter { output, spec, dtype } => {
                self.recipe.adapter = Some(spec);
                self.recipe.output.dtype = dtype;
                if self.adapter_obstacle().is_none() {
                    let recipe = Box::new(self.recipe.clone());
                    self.begin(Product::Adapter, Job::ExportAdapter { recipe, output });
                }
            }
            Work::Vector { output, dtype } => {
                let names = [Role::Pre, Role::Post].map(|role| self.spec(role).to_owned());
                if let (None, Some(pair)) = (self.vector_obstacle(), self.shown_pair()) {
                    self.begin(Product::Vector, Job::SaveVector { pair, names, dtype, output });
                }
            }
        }
    }

    /// Takes the recipe of a merge that was interrupted, and goes on with it.
    pub fn go_on(&mut self, recipe: Recipe, output: PathBuf) {
        if let Some(obstacle) = self.busy() {
            return self.fail(obstacle);
        }
        // Fingerprints belong to that merge, and not to the choices in the window.
        self.set_recipe(Recipe { inputs: None, ..recipe.clone() });
        self.begin(Product::Merge, Job::Merge { recipe: Box::new(recipe), output });
    }

    fn begin(&mut self, product: Product, job: Job) {
        let layers = self.layers().unwrap_or(0);
        let id = self.jobs.start(job);
        self.writing = Some(Writing { id, product, progress: None, layers, cancelling: false });
        self.notice = None;
    }

    /// Asks the work under way to stop.
    pub fn cancel_writing(&mut self) {
        if let Some(writing) = &mut self.writing {
            writing.cancelling = true;
            self.jobs.cancel(writing.id);
        }
    }

    /// Whether something was written, or failed to be, since the last call.
    pub fn take_just_ended(&mut self) -> bool {
        std::mem::take(&mut self.just_ended)
    }

    /// Shows what a merge of the past wrote.
    pub fn show_report(&mut self, report: MergeReport) {
        let id = self.jobs.next_id();
        self.end = Some(End::Merged(Box::new(Written::new(id, report))));
    }

    /// Puts a merge among those of the past.
    fn remember(&mut self, report: &MergeReport) {
        let Some(past) = self.jobs.engine().past() else { return };
        if let Err(error) = past.add(&PastMerge::new(report)) {
            let file = format::path(past.file());
            self.fail(format!("Merged, but not among the merges of the past: cannot write {file}: {error}"));
        }
    }

    /// Takes the end of the work under way.
    pub(super) fn on_writing_ended(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        let Some(Writing { product, .. }) = self.writing.take() else { return };
        self.just_ended = true;
        let end = match result {
            Ok(Outcome::Merged(report)) => {
                self.say(format!("Written to {}", format::path(&report.output)));
                self.remember(&report);
                End::Merged(Box::new(Written::new(id, *report)))
            }
            Ok(Outcome::Exported(report)) => {
                self.say(format!("Adapter written to {}", format::path(&report.output)));
                End::Exported(Box::new(WrittenAdapter::new(*report)))
            }
            Ok(Outcome::SavedVector(saved)) => {
                self.say(format!("Vector saved in {}", format::path(&saved.output)));
                End::Saved(saved)
            }
            Ok(_) | Err(JobError::Cancelled) => {
                self.just_ended = false;
                let work = format::sentence(product.work());
                self.say(format!("{work} cancelled: nothing was written"));
                // What was written earlier is still there to be looked at.
                if self.end.is_some() {
                    return;
                }
                End::Cancelled(product)
            }
            Err(JobError::Refused(findings)) => End::Refused(product, findings),
            Err(JobError::Failed(message)) => {
                self.fail(format!("The {} failed: see Results", product.work()));
                End::Failed(product, message)
            }
        };
        self.end = Some(end);
    }
}
