//! Merge files of mergekit 0.1.5: read as recipes, and written from them.
//!
//! What both can say is carried over: the methods of [`Method`](super::Method) but `trim`, weights with gradients and filters,
//! slices that follow each other. What cannot be is a [`NotCarried`] in a list, never silence: the model would be another. What
//! is carried over but for the rounding of a last bit, or was read in one of several ways, is said in a note. Mixtures whose
//! experts are tensors of their own are others to mergekit (`experts`): filters are translated, and what goes by a whole tensor
//! is not carried over.
//!
//! | mergekit | recipe |
//! |---|---|
//! | model − base_model | post − pre |
//! | `weight` of a model, or `t` of slerp, by tensor | w × scaling |
//! | filter | pattern `*filter*` |
//! | gradient | curve, and patterns for what lies outside the layers: it has the gradient's first value |
//! | `dtype: float32`, `bfloat16` | rounding `mergekit-f32`, `mergekit-bf16` |
//! | `out_dtype` | output dtype |

mod apart;
mod compile;
mod experts;
mod export;
mod filters;
mod globs;
mod import;
mod schema;
mod weights;
mod yaml;

use std::fmt;
use std::path::Path;

use crate::checkpoint::{Checkpoint, Dtype};
use crate::hub;
use crate::layout::place;

pub use export::{Exported, export};
pub use import::{Imported, import};
pub(crate) use yaml::MAX_BYTES;
use yaml::Spot;

/// Something that the other format has no word for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCarried {
    /// Where it stands: a line and column, or a recipe's key.
    pub place: String,
    /// What it is.
    pub what: String,
    /// Why it cannot be carried over, and what to do.
    pub why: String,
}

impl fmt::Display for NotCarried {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}: {}", self.place, self.what, self.why)
    }
}

/// Why there is no recipe, or no merge file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .spot.map_or_else(String::new, |spot| format!("{spot}: ")))]
pub struct MergekitError {
    spot: Option<Spot>,
    message: String,
}

impl MergekitError {
    fn at(spot: Spot, message: impl Into<String>) -> Self {
        Self { spot: Some(spot), message: message.into() }
    }

    fn anywhere(message: impl Into<String>) -> Self {
        Self { spot: None, message: message.into() }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// What the headers of a model say: as much as gradients and filters need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// How many layers it has.
    pub layers: u32,
    /// The names of its tensors. Empty where only the number of layers is known.
    pub tensors: Vec<String>,
    /// The element type of its weights; `None` where there are several.
    pub dtype: Option<Dtype>,
}

impl ModelFacts {
    /// What is known when only the number of layers is.
    pub fn of_layers(layers: u32) -> Self {
        Self { layers, ..Self::default() }
    }

    /// Of an opened model.
    pub fn of(model: &Checkpoint) -> Self {
        let tensors: Vec<String> = model.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        let layers = tensors.iter().filter_map(|name| place(name).layer).max().map_or(0, |last| last + 1);
        let mut dtypes = model.dtypes().into_iter().map(|(dtype, _)| dtype);
        let dtype = match (dtypes.next(), dtypes.next()) {
            (Some(dtype), None) => Some(dtype),
            _ => None,
        };
        Self { layers, tensors, dtype }
    }
}

/// What is known of a model: looks into its headers where it is a folder or in the Hub cache.
pub fn at_hand(model: &str) -> Option<ModelFacts> {
    let path = hub::resolve(model);
    // What is wrong with a model is said when it is merged.
    Path::exists(&path).then(|| Checkpoint::open(&path).ok())?.map(|model| ModelFacts::of(&model))
}
