//! A vector as a folder of its own: v = post − pre, to be shared, and to stand in for pre and post.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::card::{CARD_FILE, files_table};
use super::measure::Measured;
use super::output::Sidecars;
use super::verify::{self, Verify};
use super::weights::Weights;
use super::{ChangeSums, FileReport, MergeError, Plan, PlanError, PlannedTensor, TensorReport, output, plan, run};
use crate::alignment::{Models, VectorPair};
use crate::checkpoint::{Checkpoint, CheckpointKind, OutputTensor, VECTOR_STEM, WeightFiles, dtype_label};
use crate::hub;
use crate::preflight::preflight;
use crate::progress::Control;
use crate::recipe::{OutputDtype, OutputSpec, Recipe};
use crate::stream::Resources;

/// The file beside a saved vector's weights that says where it comes from.
pub const VECTOR_FILE: &str = "vector.toml";

/// Where a saved vector comes from: what [`VECTOR_FILE`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The model before fine-tuning.
    pub pre: String,
    /// The model after fine-tuning.
    pub post: String,
    /// [`Checkpoint::fingerprint`] of pre.
    pub pre_fingerprint: String,
    /// [`Checkpoint::fingerprint`] of post.
    pub post_fingerprint: String,
    /// The version of Mergescope that wrote it.
    pub written_by: String,
}

/// What was saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedVector {
    /// The folder.
    pub output: PathBuf,
    /// Where it comes from.
    pub provenance: Provenance,
    /// v tensor by tensor: v itself against v as it was written.
    pub tensors: Vec<TensorReport>,
    /// Tensors that v has no part of, since they are no floats or one of the models lacks them.
    pub left_out: Vec<String>,
    /// Bytes of the weight files.
    pub bytes_written: u64,
    /// All files, read back and found to be what was meant.
    pub files: Vec<FileReport>,
    /// How long it took.
    pub elapsed: Duration,
}

impl SavedVector {
    /// v against what was written, over all tensors.
    pub fn total(&self) -> ChangeSums {
        self.tensors.iter().map(|tensor| &tensor.change).sum()
    }

    /// ‖written − v‖ ∕ ‖v‖; see [`ChangeSums::relative_error`].
    pub fn relative_error(&self) -> f64 {
        self.total().relative_error()
    }
}

/// Writes v = post − pre to the folder `output`, which must not exist: `vector.safetensors`, or shards with an index, the
/// `config.json` of post, and [`VECTOR_FILE`].
///
/// Each element is computed in f64 and rounded once to `dtype`. [`OutputDtype::Target`] writes f32, which holds every
/// difference of two bf16 or f16 numbers to 24 bits.
///
/// # Errors
///
/// Those of [`merge`](super::merge): whatever the reason, the folder does not exist and the models are unchanged.
pub fn save_vector(
    pair: &VectorPair,
    names: [&str; 2],
    dtype: OutputDtype,
    output: &Path,
    resources: &Resources,
    control: &Control,
) -> Result<SavedVector, MergeError> {
    let began = Instant::now();
    let (models, recipe) = into_nothing(pair, names, dtype);
    let place = output::check(output, &models)?;
    let (plan, left_out) = moving(plan(&models, &recipe)?, &recipe);
    let preflight = preflight(&models.triple(0), control)?;
    if !preflight.passes() {
        return Err(MergeError::Unfit { findings: preflight.findings });
    }
    let inputs = super::check_inputs(&recipe, &models, control)?;
    let provenance = Provenance {
        pre: hub::lasting(names[0]),
        post: hub::lasting(names[1]),
        pre_fingerprint: inputs.pre,
        post_fingerprint: inputs.post,
        written_by: format!("Mergescope {}", env!("CARGO_PKG_VERSION")),
    };

    let config = Sidecars::open_only(&pair.post, "config.json")?;
    let staging = place.stage()?;
    staging.place().check_space(plan.bytes() + config.bytes)?;
    // As it is: it says what the vector's models are, not what its weights are written in.
    let as_it_is = Recipe { output: OutputSpec::default(), ..recipe.clone() };
    let mut files = config.copy(&pair.post, &as_it_is, staging.path(), control)?.files;
    let weights = Weights::new(&models, &plan, &recipe, resources.read_path, control);
    let written = run::write_weights(weights, &recipe, &Measured::default(), staging.path(), resources, None)?;
    super::check_unchanged(&models)?;
    if let Some(index) = &plan.files.index {
        files.push(staging.write(&format!("{VECTOR_STEM}.safetensors.index.json"), index)?);
    }
    // Strings in one table, which always have a TOML form.
    files.push(staging.write(VECTOR_FILE, &toml::to_string_pretty(&provenance).unwrap_or_default())?);
    let meant = [written.sums.meant(&plan)];
    let read = verify::sync_and_read_back(staging.path(), &meant, &files, Verify::Memory, resources, control)?;
    let mut saved = SavedVector {
        output: output.to_owned(),
        provenance,
        tensors: written.tensors,
        left_out,
        bytes_written: plan.bytes(),
        files: read.files,
        elapsed: began.elapsed(),
    };
    let card = staging.write(CARD_FILE, &card(&saved, pair))?;
    saved.files.push(verify::small_file(staging.path(), &card, Verify::Memory)?);
    staging.commit(control)?;
    saved.elapsed = began.elapsed();
    Ok(saved)
}

/// Bytes of weights that [`save_vector`] would write.
pub fn vector_bytes(pair: &VectorPair, dtype: OutputDtype) -> Result<u64, PlanError> {
    let (models, recipe) = into_nothing(pair, ["pre", "post"], dtype);
    Ok(moving(plan(&models, &recipe)?, &recipe).0.bytes())
}

/// 0 + 1·(post − pre): a merge into nothing.
fn into_nothing(pair: &VectorPair, names: [&str; 2], dtype: OutputDtype) -> (Models, Recipe) {
    let dtype = if dtype == OutputDtype::Target { OutputDtype::F32 } else { dtype };
    let mut recipe = Recipe::new(names[0], names[1], "");
    recipe.vector.w = 1.0;
    recipe.output = OutputSpec { dtype, ..OutputSpec::default() };
    let nothing = Arc::new(Checkpoint::zeros_like(&pair.post));
    (Models { target: nothing, vectors: vec![pair.clone()] }, recipe)
}

/// The part of a plan that v moves, and the names of the rest.
fn moving(plan: Plan, recipe: &Recipe) -> (Plan, Vec<String>) {
    let (moved, rest): (Vec<PlannedTensor>, Vec<PlannedTensor>) =
        plan.tensors.into_iter().partition(|tensor| tensor.moves());
    let outputs: Vec<OutputTensor> = moved.iter().map(|tensor| tensor.output.clone()).collect();
    let files = WeightFiles::plan(VECTOR_STEM, &outputs, recipe.output.shard_bytes);
    (Plan { tensors: moved, files }, rest.into_iter().map(|tensor| tensor.output.name).collect())
}

/// `README.md` with the front matter that the Hub reads.
fn card(saved: &SavedVector, pair: &VectorPair) -> String {
    let [pre, post] = [&pair.pre, &pair.post].map(|model| model.label());
    let total = saved.total();
    let mut dtypes: Vec<String> = saved.tensors.iter().map(|tensor| dtype_label(tensor.dtype)).collect();
    dtypes.dedup();
    let mut card = String::from("---\nbase_model:\n");
    for name in [&post, &pre] {
        // As JSON, a name is a quoted YAML scalar whatever it holds.
        let _ = writeln!(card, "  - {}", serde_json::Value::from(name.as_str()));
    }
    let _ = write!(
        card,
        "tags:\n  - mergescope\n  - task-vector\n---\n\n\
         # {post} − {pre}\n\n\
         A task vector: the weights of {post} minus those of {pre} (arXiv 2212.04089, 2509.01363). It is no model and answers \
         nothing.\nAdded to a model of the same shape it carries over what the tuning from {pre} to {post} taught:\n\n\
         ```sh\nmergescope merge --vector THIS_FOLDER --target MODEL -w 0.5 --out NEW_FOLDER\n```\n\n\
         | | |\n|---|---|\n\
         | Norm ‖v‖ | {:.6} |\n\
         | Error of writing it, ‖written − v‖ ∕ ‖v‖ | {} |\n\
         | Tensors | {} |\n\
         | Dtype | {} |\n\
         | Written by | {} |\n",
        total.intended(),
        error_text(saved.relative_error()),
        saved.tensors.len(),
        dtypes.join(", "),
        saved.provenance.written_by,
    );
    if !saved.left_out.is_empty() {
        let _ = writeln!(card, "\nTensors that are no floats are left out: {}.", saved.left_out.len());
    }
    card.push_str(&files_table(&saved.files));
    card.push_str("\nThe licences of both models apply.\n");
    card
}

/// Smaller errors are lost in the sums that they are worked out from.
const LEAST_ERROR: f64 = 1e-7;

fn error_text(error: f64) -> String {
    if error < LEAST_ERROR { format!("below {LEAST_ERROR:.0e}") } else { format!("{error:.1e}") }
}

/// Where a saved vector comes from, as far as it says so.
pub fn provenance(vector: &Checkpoint) -> Option<Provenance> {
    if vector.kind() != CheckpointKind::Vector {
        return None;
    }
    let path = vector.sidecar(VECTOR_FILE).ok()?;
    let bytes = std::fs::metadata(&path).ok()?.len();
    if bytes > MAX_PROVENANCE_BYTES {
        return None;
    }
    toml::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// A larger file is no provenance.
const MAX_PROVENANCE_BYTES: u64 = 1 << 20;
