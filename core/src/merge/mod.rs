//! From a recipe to a model folder: plan, run, commit.

mod card;
pub(crate) mod output;
mod plan;
mod report;
mod run;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::alignment::{OpenTripleError, Role, Triple};
use crate::checkpoint::OpenError;
use crate::hub;
use crate::preflight::{Finding, PreflightError, Severity, preflight};
use crate::progress::{Cancelled, Control};
use crate::recipe::{Fingerprints, Recipe, VectorSpec};
use crate::scaling::ScalingError;
use crate::stream::{Resources, StreamError};

use output::Sidecars;

pub use crate::method::ChangeSums;
pub use plan::{Plan, plan};
pub use report::{LayerChange, MergeReport, RECIPE_FILE, REPORT_FILE, TensorReport};

/// Why no merge was made. Whatever the reason, the output folder does not exist and the inputs are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// w cannot scale anything.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// One of the three models cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenTripleError),
    /// The models do not fit together.
    #[error("the three models do not fit together: {}", .findings.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| format!("{} ({}) {}", finding.title, finding.detail, finding.action)).collect::<Vec<_>>().join("; "))]
    Unfit {
        /// What preflight found.
        findings: Vec<Finding>,
    },
    /// The weights could not be sampled.
    #[error(transparent)]
    Preflight(PreflightError),
    /// An input is not the one that the recipe was made with.
    #[error("{role} is not the model that this recipe was made with (its fingerprint differs); choose that model again, or remove the [inputs] table from the recipe to use this one", role = role.label())]
    OtherInput {
        /// Which of the three.
        role: Role,
    },
    /// Something is already there.
    #[error("{} already exists; choose a new folder name: nothing is ever overwritten", path.display())]
    OutputExists {
        /// The output folder.
        path: PathBuf,
    },
    /// The output would lie in a model's folder.
    #[error("{} lies inside {} ({}); choose a folder outside the three models, which are never changed", path.display(), role.label(), input.display())]
    OutputInsideInput {
        /// The output folder.
        path: PathBuf,
        /// The model it would lie in.
        role: Role,
        /// That model's folder.
        input: PathBuf,
    },
    /// The path has no last part that could be a folder's name.
    #[error("{} cannot name an output folder; give a path that ends in a new folder's name", path.display())]
    OutputName {
        /// The path.
        path: PathBuf,
    },
    /// The folder in which the output should be made is not there.
    #[error("the folder {} does not exist; create it first, or choose another place for the output", path.display())]
    NoParent {
        /// The missing folder.
        path: PathBuf,
    },
    /// The output cannot be created.
    #[error("nothing can be written to {}; choose a place you may write to", path.display())]
    Unwritable {
        /// The folder that refused.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another merge writes to the same output.
    #[error("another run is writing to {}; wait for it, or choose another name", path.display())]
    Busy {
        /// The output folder.
        path: PathBuf,
    },
    /// The disk is too small.
    #[error("{} has {available_bytes} bytes free but the output needs {needed_bytes}; free some space or choose another disk", path.display())]
    DiskFull {
        /// Where the output should be made.
        path: PathBuf,
        /// Size of the output.
        needed_bytes: u64,
        /// Free space.
        available_bytes: u64,
    },
    /// A write failed.
    #[error("cannot write {}, so all of it was undone", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A weight file changed while it was read.
    #[error("{} of {} changed while it was read, so the result would be of two models; nothing was written. Try again once nobody writes to it", path.display(), role.label())]
    InputChanged {
        /// The model.
        role: Role,
        /// The weight file.
        path: PathBuf,
    },
    /// A file beside the target's weights cannot be carried over.
    #[error("a file of the target cannot be carried over")]
    Sidecar(#[source] OpenError),
    /// An input holds NaN or infinity.
    #[error("tensor `{tensor}` of {role} ({}) holds NaN or infinity: the file may be damaged; download it again, or allow such values", path.display(), role = role.label())]
    NonFinite {
        /// The model.
        role: Role,
        /// The tensor, as that model names it.
        tensor: String,
        /// The weight file.
        path: PathBuf,
    },
    /// The pass over the weights ended early.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl From<Cancelled> for MergeError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Stream(cancelled.into())
    }
}

impl From<PreflightError> for MergeError {
    fn from(error: PreflightError) -> Self {
        match error {
            PreflightError::Cancelled(cancelled) => cancelled.into(),
            other => Self::Preflight(other),
        }
    }
}

impl MergeError {
    /// Whether the person cancelled it, which is no failure.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Stream(StreamError::Cancelled(_)))
    }
}

/// Runs the recipe: reads its three models and writes a fourth to the folder `output`, which must not exist.
///
/// The weights are the same for the same inputs and recipe, whatever the resources. Work happens in a hidden folder
/// beside `output` that is synced and then renamed, so that `output` is either absent or complete.
pub fn merge(
    recipe: &Recipe,
    output: &Path,
    resources: &Resources,
    control: &Control,
) -> Result<MergeReport, MergeError> {
    let began = Instant::now();
    let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
    let place = output::check(output, &triple)?;
    let sidecars = Sidecars::open(&triple)?;
    let plan = plan(&triple, recipe)?;

    let preflight = preflight(&triple, control)?;
    if !preflight.passes() {
        return Err(MergeError::Unfit { findings: preflight.findings });
    }
    let recipe = lasting(recipe, &triple, control)?;

    let staging = place.stage()?;
    staging.place().check_space(plan.bytes() + sidecars.bytes)?;
    let left_out = sidecars.copy(&triple, &recipe, staging.path(), control)?;
    let tensors = run::write_weights(&triple, &plan, &recipe, staging.path(), resources, control)?;
    check_unchanged(&triple)?;
    let mut report = MergeReport {
        recipe,
        output: output.to_owned(),
        tensors,
        bytes_written: plan.bytes(),
        left_out,
        elapsed: began.elapsed(),
    };
    if let Some(index) = &plan.files.index {
        staging.write("model.safetensors.index.json", index)?;
    }
    staging.write(RECIPE_FILE, &card::recipe_file(&report.recipe))?;
    staging.write("README.md", &card::model_card(&triple, &report))?;
    staging.write(REPORT_FILE, &report.to_json())?;
    staging.commit(control)?;
    report.elapsed = began.elapsed();
    Ok(report)
}

/// The recipe as it is written beside what it made: models by names that hold from anywhere, with their fingerprints.
pub(crate) fn lasting(recipe: &Recipe, triple: &Triple, control: &Control) -> Result<Recipe, MergeError> {
    Ok(Recipe {
        vector: VectorSpec {
            pre: hub::lasting(&recipe.vector.pre),
            post: hub::lasting(&recipe.vector.post),
            ..recipe.vector.clone()
        },
        target: hub::lasting(&recipe.target),
        inputs: Some(check_inputs(recipe, triple, control)?),
        ..recipe.clone()
    })
}

/// Refuses models with a weight file that is no longer what it was when it was opened.
pub(crate) fn check_unchanged(triple: &Triple) -> Result<(), MergeError> {
    for role in Role::ALL {
        if let Some(path) = triple.get(role).changed_shard() {
            return Err(MergeError::InputChanged { role, path: path.to_owned() });
        }
    }
    Ok(())
}

/// Refuses an output folder that [`merge`] would refuse, as far as that can be told without writing: one that exists, lies
/// inside an input, has nowhere to be, or needs more than the disk has free. The target's other files are opened too.
pub fn check_output(output: &Path, triple: &Triple, plan: &Plan) -> Result<(), MergeError> {
    let place = output::check(output, triple)?;
    let sidecars = Sidecars::open(triple)?;
    place.check_space(plan.bytes() + sidecars.bytes)
}

/// The fingerprints of the three models, refused if the recipe was made with others.
pub fn check_inputs(recipe: &Recipe, triple: &Triple, control: &Control) -> Result<Fingerprints, MergeError> {
    let of = |role| triple.get(role).fingerprint(|| control.check().map_err(StreamError::from));
    let found = Fingerprints { pre: of(Role::Pre)?, post: of(Role::Post)?, target: of(Role::Target)? };
    let differs = |expected: &Fingerprints| Role::ALL.into_iter().find(|role| expected.get(*role) != found.get(*role));
    match recipe.inputs.as_ref().and_then(differs) {
        Some(role) => Err(MergeError::OtherInput { role }),
        None => Ok(found),
    }
}
