//! What a merge will write and from what, known from headers alone.

use crate::alignment::{Alignment, Participation, Triple};
use crate::checkpoint::{Dtype, OutputTensor, TensorInfo, WeightFiles, takes_part};
use crate::layout::Place;
use crate::recipe::Recipe;
use crate::scaling::{Scaling, ScalingError};

/// The output of a merge, planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every tensor of the output, in natural name order.
    pub tensors: Vec<PlannedTensor>,
    /// The weight files they go to.
    pub files: WeightFiles,
}

/// A tensor of the output and the stretches it is made of.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Name, dtype and shape as written.
    pub output: OutputTensor,
    /// Layer and part.
    pub place: Place,
    /// Its scaling coefficient; 0 when v does not move it.
    pub coefficient: f32,
    /// Elements that v moves, from the first on.
    pub moving_elements: u64,
    pub(super) segments: Vec<Segment>,
}

/// A stretch of a tensor that is made in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First element, counted in the tensor; for [`Source::Bytes`] the first byte.
    pub first: u64,
    /// Elements; for [`Source::Bytes`] bytes.
    pub count: u64,
    pub source: Source,
}

/// What a stretch is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// target + w·(post − pre); positions in the tensors of pre and post.
    Moved { pre: usize, post: usize },
    /// The target's floats in another dtype.
    Converted,
    /// The target's bytes.
    Bytes,
}

impl Plan {
    /// Bytes of all weight files.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }
}

/// Plans the output of `recipe`: every tensor, its dtype and its place in the weight files. Reads no weights.
///
/// Tensors that cannot be aligned are planned as the target's; [`preflight`](crate::preflight::preflight) finds them.
pub fn plan(triple: &Triple, recipe: &Recipe) -> Result<Plan, ScalingError> {
    let alignment = Alignment::new(triple);
    let scaling = Scaling::new(recipe.vector.w, &recipe.vector.scaling, alignment.layers())?;
    let mut tensors = Vec::with_capacity(alignment.tensors.len());
    for aligned in &alignment.tensors {
        let target = &triple.target.tensors()[aligned.target];
        let dtype = if takes_part(target.dtype) { recipe.output.dtype.written(target.dtype) } else { target.dtype };
        let output = OutputTensor { name: target.name.clone(), dtype, shape: target.shape.clone() };
        let coefficient = scaling.coefficient(&target.name, aligned.place);
        // mergekit computes base + (target − base) even at weight 0, which need not give the target back.
        let stays = coefficient == 0.0 && recipe.output.rounding.is_single();
        let (moving_elements, source) = match aligned.participation {
            Participation::Moves { pre, post, shared_elements } if !stays => {
                (shared_elements, Some(Source::Moved { pre, post }))
            }
            _ => (0, None),
        };
        let segments = segments(target, dtype, moving_elements, source);
        let coefficient = if source.is_some() { coefficient } else { 0.0 };
        tensors.push(PlannedTensor { output, place: aligned.place, coefficient, moving_elements, segments });
    }
    let outputs: Vec<OutputTensor> = tensors.iter().map(|tensor| tensor.output.clone()).collect();
    Ok(Plan { tensors, files: WeightFiles::plan(&outputs, recipe.output.shard_bytes) })
}

fn segments(target: &TensorInfo, dtype: Dtype, moving: u64, source: Option<Source>) -> Vec<Segment> {
    let moved = source.map(|source| Segment { first: 0, count: moving, source });
    let rest = target.elements() - moving;
    let kept = if dtype == target.dtype {
        let width = target.bytes.checked_div(target.elements()).unwrap_or(0);
        // Types narrower than a byte never move, so that their segment is the whole tensor.
        let first = moving * width;
        Segment { first, count: target.bytes - first, source: Source::Bytes }
    } else {
        Segment { first: moving, count: rest, source: Source::Converted }
    };
    moved.into_iter().chain([kept]).filter(|segment| segment.count > 0).collect()
}
