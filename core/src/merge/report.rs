//! What a merge wrote, tensor by tensor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ChangeSums;
use super::plan::PlannedTensor;
use super::verify::Verify;
use crate::checkpoint::Dtype;
use crate::layout::Place;
use crate::recipe::Recipe;
use crate::scaling::Spread;

/// The recipe with its inputs' fingerprints, beside the merged model.
pub const RECIPE_FILE: &str = "mergescope.toml";

/// The report as JSON, beside the merged model.
pub const REPORT_FILE: &str = "mergescope-report.json";

/// What was written for one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Name.
    pub name: String,
    /// Layer and part.
    #[serde(flatten)]
    pub place: Place,
    /// Element type written.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Vec<u64>,
    /// Its scaling coefficient, in the first vector; 0 for a tensor that is the target's.
    pub coefficient: f32,
    /// Those of further vectors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_coefficients: Vec<f32>,
    /// Intended against written.
    pub change: ChangeSums,
}

/// A file of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of what was meant to be written, which is what was read back where anything was; in hexadecimal digits.
    pub blake3: String,
}

impl FileReport {
    pub(super) fn new(name: &str, bytes: u64, hash: blake3::Hash) -> Self {
        Self { name: name.to_owned(), bytes, blake3: hash.to_hex().to_string() }
    }
}

/// What a merge wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    /// The recipe as run, with the fingerprints of its inputs.
    pub recipe: Recipe,
    /// The folder written.
    #[serde(serialize_with = "lossy_path")]
    pub output: PathBuf,
    /// Every tensor of the output in natural name order.
    pub tensors: Vec<TensorReport>,
    /// Bytes of the weight files.
    pub bytes_written: u64,
    /// Of these, what an earlier run had written that was interrupted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed_bytes: u64,
    /// The files of the output but for the report itself, in name order; empty in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileReport>,
    /// From where they were read back and found to be what was meant.
    #[serde(default = "Verify::none")]
    pub verified: Verify,
    /// Files and subfolders of the target that were not carried over.
    pub left_out: Vec<String>,
    /// Time from opening the models to the committed output.
    #[serde(with = "secs", rename = "elapsed_secs")]
    pub elapsed: Duration,
    /// Whether it was there before, so that there was nothing to do.
    #[serde(skip)]
    pub was_done: bool,
}

impl TensorReport {
    /// Of a tensor that was written as planned.
    pub(super) fn new(planned: &PlannedTensor, change: ChangeSums) -> Self {
        Self {
            name: planned.output.name.clone(),
            place: planned.place,
            dtype: planned.output.dtype,
            shape: planned.output.shape.clone(),
            coefficient: planned.coefficients.first().copied().unwrap_or(0.0),
            other_coefficients: planned.coefficients.iter().skip(1).copied().collect(),
            change,
        }
    }
}

/// The change of one layer, or of everything beside the layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerChange {
    /// Zero-based layer; `None` for embeddings, head and final norm together.
    pub layer: Option<u32>,
    /// Sums over its tensors.
    pub change: ChangeSums,
    /// The coefficients of those that were moved, which the effective w is to be held against; `None` when none was.
    pub asked: Option<Spread>,
}

impl MergeReport {
    /// The coefficients of the tensors that were moved; `None` when none was, and where there is no one w since there are
    /// several vectors or a method.
    pub fn asked(&self) -> Option<Spread> {
        self.recipe.is_plain().then(|| spread(self.tensors.iter())).flatten()
    }

    /// Sums over all tensors.
    pub fn total(&self) -> ChangeSums {
        self.tensors.iter().map(|tensor| &tensor.change).sum()
    }

    /// Sums per layer, ascending, then those of the tensors beside the layers.
    pub fn layers(&self) -> Vec<LayerChange> {
        let mut layers: BTreeMap<(bool, Option<u32>), Vec<&TensorReport>> = BTreeMap::new();
        for tensor in &self.tensors {
            let layer = tensor.place.layer;
            layers.entry((layer.is_none(), layer)).or_default().push(tensor);
        }
        let plain = self.recipe.is_plain();
        let sums = |((_, layer), tensors): (_, Vec<&TensorReport>)| LayerChange {
            layer,
            change: tensors.iter().map(|tensor| &tensor.change).sum(),
            asked: plain.then(|| spread(tensors.into_iter())).flatten(),
        };
        layers.into_iter().map(sums).collect()
    }

    /// The report as indented JSON.
    pub fn to_json(&self) -> String {
        // Strings, finite numbers and lists of them: all of it has a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn spread<'a>(tensors: impl Iterator<Item = &'a TensorReport>) -> Option<Spread> {
    Spread::of(tensors.map(|tensor| (tensor.coefficient, tensor.change.vector_sq)))
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// A path as text; a name that is not Unicode loses what JSON cannot hold.
fn lossy_path<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// A [`Duration`] as seconds.
mod secs {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(elapsed.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
