//! From a recipe to a model folder: plan, run, commit.

pub(crate) mod card;
mod complete;
mod convert;
pub(crate) mod fit;
mod identity;
mod in_memory;
mod journal;
mod made;
mod make;
mod measure;
mod mixes;
pub(crate) mod output;
mod own_file;
mod parts;
mod permute;
mod plan;
mod report;
mod resume;
mod run;
mod saved;
mod tree_hash;
pub(crate) mod verify;
mod weights;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::alignment::{ModelId, Models, OpenModelError, Role};
use crate::checkpoint::{CheckpointKind, OpenError};
use crate::hub;
use crate::preflight::{Finding, PreflightError, Severity, preflight};
use crate::progress::{Cancelled, Control};
use crate::recipe::{Fingerprints, MethodError, PairFingerprints, Recipe};
use crate::scaling::ScalingError;
use crate::stream::{Resources, StreamError};

use complete::Complete;
use output::{Copied, Sidecars};
use weights::Weights;

pub use crate::method::ChangeSums;
pub use convert::{Converted, convert};
pub use in_memory::Merged;
pub use parts::{Part, PartError, PartReport, PartsThere, finish_parts, merge_part};
pub use plan::{Plan, PlanError, PlannedTensor, plan};
pub use report::{FileReport, LayerChange, MergeReport, RECIPE_FILE, REPORT_FILE, TensorReport};
pub use resume::{Partial, Resume, partials};
pub use saved::{Provenance, SavedVector, VECTOR_FILE, provenance, save_vector, vector_bytes};
pub use verify::Verify;

/// Why no merge was made. Whatever the reason, the output folder does not exist and the inputs are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// w cannot scale anything.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// w of a further vector cannot scale anything.
    #[error("vector {} cannot be scaled", vector + 1)]
    OtherScaling {
        /// The position of the vector.
        vector: usize,
        /// Why.
        source: ScalingError,
    },
    /// The method cannot be used so.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// One of the models cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenModelError),
    /// The models do not fit together.
    #[error("the models do not fit together: {}", .findings.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| format!("{} ({}) {}", finding.title, finding.detail, finding.action)).collect::<Vec<_>>().join("; "))]
    Unfit {
        /// What preflight found.
        findings: Vec<Finding>,
    },
    /// The weights could not be sampled.
    #[error(transparent)]
    Preflight(PreflightError),
    /// An input is not the one that the recipe was made with.
    #[error(
        "{model} is not the model that this recipe was made with (its fingerprint differs); choose that model again, or remove the [inputs] table from the recipe to use this one"
    )]
    OtherInput {
        /// Which.
        model: ModelId,
    },
    /// Something is already there.
    #[error("{} already exists; choose a new folder name: nothing is ever overwritten", path.display())]
    OutputExists {
        /// The output folder.
        path: PathBuf,
    },
    /// The output would lie in a model's folder.
    #[error("{} lies inside {model} ({}); choose a folder outside the models, which are never changed", path.display(), input.display())]
    OutputInsideInput {
        /// The output folder.
        path: PathBuf,
        /// The model it would lie in.
        model: ModelId,
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
    #[error("nothing can be written to {}; {}", path.display(), instead(source).unwrap_or("choose a place you may write to"))]
    Unwritable {
        /// The folder that refused.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no interrupted merge that could be gone on with.
    #[error("no interrupted merge of these models and choices to {} is there to go on with; begin it anew", path.display())]
    NothingToResume {
        /// The output folder.
        path: PathBuf,
    },
    /// Another merge writes to the same output.
    #[error("another run is writing to {}; wait for it, or choose another name", path.display())]
    Busy {
        /// The output folder.
        path: PathBuf,
    },
    /// The same part is being written.
    #[error("part {part} of {} is under way already; wait for it", path.display())]
    PartBusy {
        /// Which.
        part: Part,
        /// The output folder.
        path: PathBuf,
    },
    /// Parts of another number are there.
    #[error("{} was begun in {found} parts, not in {of}; go on with those, or remove them with `mergescope unfinished --remove` and begin anew", path.display())]
    OtherParts {
        /// The output folder.
        path: PathBuf,
        /// How many parts were asked for.
        of: u32,
        /// How many there are.
        found: u32,
    },
    /// There are no parts that could be put together.
    #[error("no part of this merge to {} is there; write them first, --part 1/N to --part N/N, with the same models and choices{}", path.display(), if *others { ". What is there is of another recipe, of models that have changed since, or of another version" } else { "" })]
    NoParts {
        /// The output folder.
        path: PathBuf,
        /// Whether there are parts of another merge to it.
        others: bool,
    },
    /// Some parts are not there yet.
    #[error("{} is not complete, and nothing was changed: {}; --finish again when {} written", path.display(), what_is_missing(missing, under_way), if *of == 1 { "the one part is".to_owned() } else { format!("all {of} parts are") })]
    PartsMissing {
        /// The output folder.
        path: PathBuf,
        /// How many parts there are to be.
        of: u32,
        /// The numbers of those that are not written.
        missing: Vec<u32>,
        /// The numbers of those that a process is at work on.
        under_way: Vec<u32>,
    },
    /// A part was made from weights that are others now.
    #[error("{} of {model} has changed since part {part} was made from it; run --part {part} again, then --finish. Where machines have copies of their own, these must keep the time of the last change (cp -p, rsync -t)", path.display())]
    PartOfOtherInputs {
        /// Which.
        part: Part,
        /// The model.
        model: ModelId,
        /// The weight file.
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
    #[error("cannot write {}, so all of it was undone{}", path.display(), instead(source).map(|what| format!("; {what}")).unwrap_or_default())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read back.
    #[error("{} was written but cannot be read back, so all of it was undone", path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What a merge left cannot be removed.
    #[error("cannot remove {}; who made it can, or who owns the folder that it is in", path.display())]
    Remove {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write failed in a folder that parts share.
    #[error("cannot write {}; what the parts wrote is kept, and the same command goes on with it", path.display())]
    PartsWrite {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that a part wrote cannot be read back.
    #[error("{} was written but cannot be read back; what the parts wrote is kept, and the same command tries again", path.display())]
    PartsReadBack {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is read back is not what was written.
    #[error("{}: what was read back of bytes {} to {} of {what} is not what was written: the disk or the memory lost it. {}", path.display(), range.start, range.end, after_damage(*part))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The tensor, or what else it is in the file.
        what: String,
        /// Bytes of that, within which something differs.
        range: Range<u64>,
        /// The part of a merge that wrote the file, where there are several.
        part: Option<Part>,
    },
    /// A weight file changed while it was read.
    #[error("{} of {model} changed while it was read, or went away; nothing was written, since the result would be of two models. Try again once it is there and nobody writes to it", path.display())]
    InputChanged {
        /// The model.
        model: ModelId,
        /// The weight file.
        path: PathBuf,
    },
    /// A file beside the target's weights cannot be carried over.
    #[error("a file of the target cannot be carried over")]
    Sidecar(#[source] OpenError),
    /// An input holds NaN or infinity.
    #[error("tensor `{tensor}` of {model} ({}) holds NaN or infinity: the file may be damaged; download it again, or allow such values", path.display())]
    NonFinite {
        /// The model.
        model: ModelId,
        /// The tensor, as that model names it.
        tensor: String,
        /// The weight file.
        path: PathBuf,
    },
    /// The pass over the weights ended early.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Which parts keep a merge from being put together.
fn what_is_missing(missing: &[u32], under_way: &[u32]) -> String {
    let of = |numbers: &[u32], are: &str| {
        let [part, is] = if numbers.len() == 1 { ["part", "is"] } else { ["parts", "are"] };
        (!numbers.is_empty()).then(|| format!("{part} {} {is} {are}", parts::numbers(numbers)))
    };
    let (lacking, busy) = (of(missing, "missing"), of(under_way, "under way"));
    lacking.into_iter().chain(busy).collect::<Vec<_>>().join(", ")
}

/// What is left after what was written was lost, and what to do.
fn after_damage(part: Option<Part>) -> String {
    match part {
        None => "Nothing was left behind. Merge again; if this comes again, test the memory and the disk, or write to another disk".to_owned(),
        Some(part) => format!(
            "Run --part {part} again, which makes that anew, then --finish; if this comes again, test the disk, and the memory of the machine that wrote it"
        ),
    }
}

/// What to do about an output that cannot be written, where the reason tells.
fn instead(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some space or choose another disk"),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Some("choose a place you may write to"),
        io::ErrorKind::InvalidFilename => Some("choose a shorter path"),
        io::ErrorKind::NotFound => {
            Some("is the folder, or the disk that it is on, still there? Else choose a place you may write to")
        }
        _ => None,
    }
}

impl From<Cancelled> for MergeError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Stream(cancelled.into())
    }
}

impl From<PlanError> for MergeError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Scaling(error) => Self::Scaling(error),
            PlanError::OtherScaling { vector, source } => Self::OtherScaling { vector, source },
            PlanError::Method(error) => Self::Method(error),
        }
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
/// beside `output` that is read back ([`Verify::Memory`]), synced and then renamed, so that `output` is either absent or complete.
/// Where the same merge was interrupted before, it goes on from there ([`Resume::IfPossible`]).
///
/// # Errors
/// Whatever the reason, nothing is left behind, and the inputs are unchanged.
pub fn merge(
    recipe: &Recipe,
    output: &Path,
    resources: &Resources,
    control: &Control,
) -> Result<MergeReport, MergeError> {
    merge_with(recipe, output, Resume::default(), resources, control)
}

/// What a merge does beside the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeOptions {
    /// What becomes of the same merge that was interrupted.
    pub resume: Resume,
    /// Whether what was written is read back.
    pub verify: Verify,
}

impl From<Resume> for MergeOptions {
    fn from(resume: Resume) -> Self {
        Self { resume, ..Self::default() }
    }
}

/// The same, with a choice of what becomes of an interrupted merge, and of what is read back.
///
/// # Errors
/// As for [`merge`].
pub fn merge_with(
    recipe: &Recipe,
    output: &Path,
    options: impl Into<MergeOptions>,
    resources: &Resources,
    control: &Control,
) -> Result<MergeReport, MergeError> {
    let began = Instant::now();
    let MergeOptions { resume, verify } = options.into();
    let models = open(recipe)?;
    let plan = plan(&models, recipe)?;
    let place = match output::check(output, &models) {
        // Whoever goes on with a merge may not know that it has ended.
        Err(error @ MergeError::OutputExists { .. }) if resume == Resume::Only => {
            return made::before(output, &plan, &lasting(recipe, &models, control)?).ok_or(error);
        }
        place => place?,
    };
    let sidecars = Sidecars::open(&models.target)?;
    refuse_unfit(&models, control)?;
    let recipe = lasting(recipe, &models, control)?;

    let weights = Weights::new(&models, &plan, &recipe, resources.read_path, control);
    let started = resume::start(place, weights, &recipe, resume, resources)?;
    let (staging, journal) = (started.staging, started.journal);
    staging.place().check_space((plan.bytes() + sidecars.bytes).saturating_sub(journal.earlier_bytes()))?;
    let Copied { files, left_out } = sidecars.copy(&models.target, &recipe, staging.path(), control)?;
    let measured = measure::measure(weights, &recipe, resources)?;
    let written = run::write_weights(weights, &recipe, &measured, staging.path(), resources, Some(&journal))?;
    check_unchanged(&models)?;
    let mut report = MergeReport {
        recipe,
        output: output.to_owned(),
        tensors: written.tensors,
        bytes_written: plan.bytes(),
        resumed_bytes: written.resumed_bytes,
        files: Vec::new(),
        verified: verify,
        left_out,
        elapsed: began.elapsed(),
        was_done: false,
    };
    let meant = [written.sums.meant(&plan)];
    let (folder, models, plan, meant) = (staging.path(), &models, &plan, meant.as_slice());
    Complete { folder, models, plan, meant, verify, resources, control }.run(&mut report, files, began)?;
    // Not before: a merge that is killed while it is read back has nothing to make again.
    let journal_path = journal.path().to_owned();
    journal.remove().map_err(|source| MergeError::Write { path: journal_path, source })?;
    staging.commit(control)?;
    report.elapsed = began.elapsed();
    Ok(report)
}

/// Refuses models that do not fit together.
fn refuse_unfit(models: &Models, control: &Control) -> Result<(), MergeError> {
    for vector in 0..models.vectors.len() {
        let preflight = preflight(&models.triple(vector), control)?.of_vector(vector);
        if !preflight.passes() {
            return Err(MergeError::Unfit { findings: preflight.findings });
        }
    }
    Ok(())
}

/// The recipe as it is written beside what it made: models by names that hold from anywhere, with their fingerprints.
pub(crate) fn lasting(recipe: &Recipe, models: &Models, control: &Control) -> Result<Recipe, MergeError> {
    let mut recipe = Recipe {
        target: hub::lasting(&recipe.target),
        inputs: Some(check_inputs(recipe, models, control)?),
        ..recipe.clone()
    };
    for vector in recipe.vectors_mut() {
        if !vector.stands_alone() {
            vector.pre = hub::lasting(&vector.pre);
        }
        vector.post = hub::lasting(&vector.post);
    }
    Ok(recipe)
}

/// Refuses models with a weight file that is no longer what it was when it was opened.
pub(crate) fn check_unchanged(models: &Models) -> Result<(), MergeError> {
    for model in models.ids() {
        if let Some(path) = models.get(model).changed_shard() {
            return Err(MergeError::InputChanged { model, path: path.to_owned() });
        }
    }
    Ok(())
}

/// Refuses an output folder that [`merge`] would refuse, as far as that can be told without writing: one that exists, lies
/// inside an input, has nowhere to be, or needs more than the disk has free. The target's other files are opened too.
pub fn check_output(output: &Path, models: &Models, plan: &Plan) -> Result<(), MergeError> {
    let place = output::check(output, models)?;
    let sidecars = Sidecars::open(&models.target)?;
    place.check_space(plan.bytes() + sidecars.bytes)
}

/// Opens the models of a recipe.
pub fn open(recipe: &Recipe) -> Result<Models, OpenModelError> {
    let vectors = recipe.vectors().map(|vector| (vector.pre.as_str(), vector.post.as_str()));
    Models::open(&recipe.target, vectors)
}

/// The fingerprints of the models, refused if the recipe was made with others.
pub fn check_inputs(recipe: &Recipe, models: &Models, control: &Control) -> Result<Fingerprints, MergeError> {
    let of = |model: ModelId| -> Result<String, StreamError> {
        let checkpoint = models.get(model);
        match checkpoint.kind() {
            CheckpointKind::Zeros => Ok(String::new()),
            _ => checkpoint.fingerprint(|| control.check().map_err(StreamError::from)),
        }
    };
    let pair = |vector| -> Result<PairFingerprints, StreamError> {
        let of_role = |role| of(ModelId { vector, role });
        Ok(PairFingerprints { pre: of_role(Role::Pre)?, post: of_role(Role::Post)? })
    };
    let PairFingerprints { pre, post } = pair(0)?;
    let others = (1..models.vectors.len()).map(pair).collect::<Result<_, _>>()?;
    let found = Fingerprints { pre, post, target: of(ModelId { vector: 0, role: Role::Target })?, others };
    let differs = |expected: &Fingerprints| models.ids().find(|model| expected.get(*model) != found.get(*model));
    match recipe.inputs.as_ref().and_then(differs) {
        Some(model) => Err(MergeError::OtherInput { model }),
        None => Ok(found),
    }
}
