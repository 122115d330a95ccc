//! A model written anew as safetensors in the Hub's layout, its weights bit for bit: a merge that moves nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::card::CARD_FILE;
use super::measure::Measured;
use super::output::{Copied, Sidecars};
use super::verify::{self, Verify};
use super::weights::Weights;
use super::{FileReport, MergeError, output, plan, run};
use crate::alignment::{Models, VectorPair};
use crate::checkpoint::{Checkpoint, OpenError};
use crate::progress::Control;
use crate::recipe::{OutputSpec, Recipe};
use crate::stream::Resources;

/// A larger `README.md` is no model card.
const MAX_CARD_BYTES: u64 = 16 << 20;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The folder.
    pub output: PathBuf,
    /// Number of tensors.
    pub tensors: usize,
    /// The weight files by name.
    pub weight_files: Vec<String>,
    /// Bytes of them.
    pub bytes_written: u64,
    /// All files, read back and found to be what was meant.
    pub files: Vec<FileReport>,
    /// Whether a `config.json` came with the model; a lone weight file has none.
    pub has_config: bool,
    /// Files too large to be a tokenizer or config, and subfolders, which were left out.
    pub left_out: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Writes `model` to the folder `output`, which must not exist: every tensor with its name, dtype, shape and bytes, in files
/// of at most `shard_bytes`, with the model's other files and its `README.md` beside them.
///
/// # Errors
///
/// Those of [`merge`](super::merge), where `target` is the model: whatever the reason, the folder does not exist and the
/// model is unchanged.
pub fn convert(
    model: &Arc<Checkpoint>,
    output: &Path,
    shard_bytes: u64,
    resources: &Resources,
    control: &Control,
) -> Result<Converted, MergeError> {
    let began = Instant::now();
    let pair = VectorPair { pre: model.clone(), post: model.clone() };
    let models = Models { target: model.clone(), vectors: vec![pair] };
    let mut recipe = Recipe::new("", "", "");
    // At w = 0 every tensor is the target's bytes, whatever they mean: a conversion judges no weights.
    recipe.vector.w = 0.0;
    recipe.output = OutputSpec { shard_bytes, allow_nonfinite: true, ..OutputSpec::default() };

    let place = output::check(output, &models)?;
    let sidecars = Sidecars::open(model)?;
    let card = model_card(model)?;
    let plan = plan(&models, &recipe)?;
    let staging = place.stage()?;
    staging.place().check_space(plan.bytes() + sidecars.bytes)?;
    let Copied { mut files, left_out } = sidecars.copy(model, &recipe, staging.path(), control)?;
    if let Some(card) = card {
        files.push(staging.write(CARD_FILE, &card)?);
    }
    let weights = Weights::new(&models, &plan, &recipe, resources.read_path, control);
    let written = run::write_weights(weights, &recipe, &Measured::default(), staging.path(), resources, None)?;
    super::check_unchanged(&models)?;
    if let Some(index) = &plan.files.index {
        files.push(staging.write("model.safetensors.index.json", index)?);
    }
    let meant = [written.sums.meant(&plan)];
    let read = verify::sync_and_read_back(staging.path(), &meant, &files, Verify::Memory, resources, control)?;
    staging.commit(control)?;
    Ok(Converted {
        output: output.to_owned(),
        tensors: plan.tensors.len(),
        weight_files: plan.files.files.iter().map(|file| file.name.clone()).collect(),
        bytes_written: plan.bytes(),
        files: read.files,
        has_config: model.config().is_some(),
        left_out,
        elapsed: began.elapsed(),
    })
}

/// The model's `README.md`, which says whose it is and under which licence.
fn model_card(model: &Checkpoint) -> Result<Option<String>, MergeError> {
    if model.is_single_file() || !model.root().join(CARD_FILE).is_file() {
        return Ok(None);
    }
    let path = model.sidecar(CARD_FILE).map_err(MergeError::Sidecar)?;
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_CARD_BYTES).read_to_end(&mut bytes))
        .map_err(|source| MergeError::Sidecar(OpenError::Io { path, source }))?;
    Ok(String::from_utf8(bytes).ok())
}
