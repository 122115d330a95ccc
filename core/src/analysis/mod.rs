//! What a vector looks like.
//!
//! [`measure`] reads the three models once and keeps a few dozen numbers, a histogram and a small sample of each tensor.
//! All else follows from those without touching a weight again: aggregates ([`Overview`]), norms and cosines at any w
//! ([`Change`]), what rounding would leave ([`RoundingPreview`]).
//!
//! On request, [`spectrum`] reads one matrix for its singular values, and [`compare_vectors`] reads several vectors to
//! say how they lie to each other.

mod cache;
mod change;
mod excerpt;
mod gram;
mod groups;
mod histogram;
mod layer_products;
mod measure;
mod rounding;
mod sample;
mod spectrum;
mod stack;
mod sums;
mod survival_curve;
mod unit;
mod vectors;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Dtype;
use crate::layout::Place;

pub use cache::AnalysisCache;
pub use change::Change;
pub use gram::{Gram, OutOfRange};
pub use groups::{Cell, Group, GroupSums, Overview, Row, expert_cells};
pub use histogram::{Bin, LogHistogram};
pub use layer_products::{LayerProducts, LayerProductsError, MAX_LAYERS, layer_products};
pub use measure::measure;
pub use rounding::{Estimate, RoundedEffect, RoundingPreview};
pub use sample::{FULL_SAMPLE, Sample};
pub(crate) use spectrum::Matrix;
pub use spectrum::{Bounds, Overlap, Spectrum, SpectrumError, SpectrumOptions, spectrum, spectrum_with};
pub use sums::Sums;
#[cfg(feature = "benching")]
pub(crate) use unit::{JointCounts, measure_leaves};
pub use vectors::{Absence, LeftOut, PairSums, TensorComparison, VectorComparison, VectorsError, compare_vectors};

/// One tensor of the vector; of a stack of experts [experts, a, b] one expert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorAnalysis {
    /// Name in the target; `NAME[3]` for expert 3 of a stack.
    pub name: String,
    /// Layer, part and expert.
    pub place: Place,
    /// Element type in the target.
    pub dtype: Dtype,
    /// Shape in the target; [a, b] for an expert of a stack.
    pub shape: Vec<u64>,
    /// Sums over its elements.
    pub sums: Sums,
    /// Magnitudes of v.
    pub vector_histogram: LogHistogram,
    /// Magnitudes of pre.
    pub pre_histogram: LogHistogram,
    /// Some of its updates, for previews of rounding.
    pub sample: Sample,
}

impl TensorAnalysis {
    /// The name of the tensor in the target that holds it: `NAME` of `NAME[3]`.
    pub fn stored_name(&self) -> &str {
        match stack::split(&self.name) {
            // A tensor of a single expert has its number within its name, and one of no expert has none.
            Some((stored, expert)) if self.place.expert.map(u64::from) == Some(expert) => stored,
            _ => &self.name,
        }
    }
}

/// The measured vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VectorAnalysis {
    /// Tensors that move, in natural name order; the experts of a stack, one after another, in its place.
    ///
    /// Stacks of more experts than any model has are not divided, nor is a stack one of whose experts would bear the name
    /// of another tensor: every name is there once.
    pub tensors: Vec<TensorAnalysis>,
    /// Whether the target stands for pre in all sums, since there is none: the vector was saved, and is not the difference of
    /// two models at hand.
    pub against_target: bool,
    /// Bytes read.
    pub bytes_read: u64,
    /// Time taken.
    pub elapsed: Duration,
    /// Whether it was measured earlier and kept on disk; the two above speak of then.
    pub cached: bool,
}

impl VectorAnalysis {
    /// Sums over all tensors.
    pub fn total(&self) -> Sums {
        self.tensors.iter().map(|tensor| &tensor.sums).sum()
    }

    /// What relative norms are relative to: `‖pre‖`, or `‖target‖` where there is no pre.
    pub fn reference(&self) -> &'static str {
        if self.against_target { "‖target‖" } else { "‖pre‖" }
    }

    /// Where what is called `name` stands among the tensors: `NAME[3]` is the stack `NAME` where that was not divided.
    pub fn position(&self, name: &str) -> Option<usize> {
        let find = |name: &str| self.tensors.iter().position(|tensor| tensor.name == name);
        find(name).or_else(|| find(stack::split(name)?.0))
    }

    /// One more than the highest layer.
    pub fn layers(&self) -> u32 {
        self.tensors.iter().filter_map(|tensor| tensor.place.layer).max().map_or(0, |last| last + 1)
    }
}
