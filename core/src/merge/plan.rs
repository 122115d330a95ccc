//! What a merge will write and from what, known from headers alone.

use super::fit;
use super::permute::Permutation;
use crate::alignment::{Alignment, ModelId, Models, Participation, Role};
use crate::checkpoint::{CheckpointKind, Dtype, MODEL_STEM, OutputTensor, TensorInfo, WeightFiles, takes_part};
use crate::layout::{self, Place};
use crate::recipe::{Combination, ControlKind, MethodError, Recipe};
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
    /// Its scaling coefficient in each vector; 0 where that one does not move it.
    pub coefficients: Vec<f32>,
    /// Elements that some vector moves, from the first on.
    pub moving_elements: u64,
    /// Where each vector's part comes from; `None` where it has none.
    pub(super) sources: Vec<Option<VectorSource>>,
    /// The tensors that are read, each once; the target's comes first.
    pub(super) reads: Vec<Read>,
    pub(super) segments: Vec<Segment>,
}

/// A tensor that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Of which model.
    pub model: ModelId,
    /// Its position there.
    pub tensor: usize,
}

/// What one vector adds to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VectorSource {
    /// Position in [`PlannedTensor::reads`]; `None` for zeros.
    pub pre: Option<usize>,
    /// Position in [`PlannedTensor::reads`].
    pub post: usize,
    /// Elements that it moves, from the first on.
    pub elements: u64,
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
    /// The target and those vectors that reach to its end.
    Moved,
    /// The target's floats in another dtype.
    Converted,
    /// The target's bytes.
    Bytes,
}

impl PlannedTensor {
    /// Whether some vector moves it.
    pub fn moves(&self) -> bool {
        self.sources.iter().any(Option::is_some)
    }
}

impl Plan {
    /// Bytes of all weight files.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }
}

/// Why nothing can be planned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A coefficient is none.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// A coefficient of a further vector is none.
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
}

/// Plans the output of `recipe`: every tensor, its dtype and its place in the weight files. Reads no weights.
///
/// Tensors that cannot be aligned are planned as the target's; [`preflight`](crate::preflight::preflight) finds them.
pub fn plan(models: &Models, recipe: &Recipe) -> Result<Plan, PlanError> {
    fit::check(recipe, models)?;
    let vectors = models.vectors.len();
    let alignments: Vec<Alignment> = (0..vectors).map(|vector| Alignment::new(&models.triple(vector))).collect();
    let layers = alignments.iter().map(Alignment::layers).max().unwrap_or(0);
    let scalings: Vec<Scaling> = recipe
        .vectors()
        .enumerate()
        .map(|(position, vector)| {
            let w = if recipe.method.name.uses_w() { vector.w } else { 1.0 };
            Scaling::new(w, &vector.scaling, layers).map_err(|source| match position {
                0 => PlanError::Scaling(source),
                vector => PlanError::OtherScaling { vector, source },
            })
        })
        .collect::<Result<_, _>>()?;
    let permutations: Vec<Option<Permutation>> = recipe
        .vectors()
        .map(|vector| {
            let control = vector.control.filter(|control| control.kind == ControlKind::PermuteLayers)?;
            Some(Permutation::new(models.target.tensors(), control.seed))
        })
        .collect();

    let mut tensors = Vec::with_capacity(models.target.tensors().len());
    for (position, target) in models.target.tensors().iter().enumerate() {
        let place = layout::place(&target.name);
        let dtype = if takes_part(target.dtype) { recipe.output.dtype.written(target.dtype) } else { target.dtype };
        let output = OutputTensor { name: target.name.clone(), dtype, shape: target.shape.clone() };

        let mut reads = vec![Read { model: ModelId { vector: 0, role: Role::Target }, tensor: position }];
        let mut sources = Vec::with_capacity(vectors);
        let mut coefficients = Vec::with_capacity(vectors);
        for (vector, (alignment, scaling)) in alignments.iter().zip(&scalings).enumerate() {
            let from = permutations[vector].as_ref().map_or(position, |permutation| permutation.source_of(position));
            let source = match alignment.tensors[from].participation {
                Participation::Moves { pre, post, shared_elements } => {
                    let pre = (models.vectors[vector].pre.kind() != CheckpointKind::Zeros)
                        .then(|| reading(models, &mut reads, ModelId { vector, role: Role::Pre }, pre));
                    let post = reading(models, &mut reads, ModelId { vector, role: Role::Post }, post);
                    Some(VectorSource { pre, post, elements: shared_elements })
                }
                _ => None,
            };
            // Where the weights follow from the vectors, the first one's scaling is that of the whole change.
            let scaling = if recipe.method.name.uses_w() { scaling } else { &scalings[0] };
            coefficients.push(if source.is_some() { scaling.coefficient(&target.name, place) } else { 0.0 });
            sources.push(source);
        }
        if recipe.method.name.compares() {
            let shared = sources.iter().flatten().map(|source| source.elements).min().unwrap_or(0);
            sources.iter_mut().flatten().for_each(|source| source.elements = shared);
        }
        if stays(recipe, &coefficients) {
            sources.fill(None);
            reads.truncate(1);
        }
        check_average(recipe, &target.name, &coefficients)?;
        let segments = segments(target, dtype, &sources);
        let moving_elements = sources.iter().flatten().map(|source| source.elements).max().unwrap_or(0);
        tensors.push(PlannedTensor { output, place, coefficients, moving_elements, sources, reads, segments });
    }
    let outputs: Vec<OutputTensor> = tensors.iter().map(|tensor| tensor.output.clone()).collect();
    Ok(Plan { tensors, files: WeightFiles::plan(MODEL_STEM, &outputs, recipe.output.shard_bytes) })
}

/// Whether coefficients of zero leave a tensor the target's, so that it need not be computed.
fn stays(recipe: &Recipe, coefficients: &[f32]) -> bool {
    // mergekit computes base + (target − base) even at weight 0, which need not give the target back.
    recipe.output.rounding.is_single() && coefficients.iter().all(|coefficient| *coefficient == 0.0)
}

/// Refuses an average that would be divided by zero.
fn check_average(recipe: &Recipe, tensor: &str, coefficients: &[f32]) -> Result<(), MethodError> {
    let averages = recipe.method.name.combination() == Combination::Average && recipe.method.normalize();
    let sum: f64 = coefficients.iter().copied().map(f64::from).sum();
    if averages && sum == 0.0 && coefficients.iter().any(|coefficient| *coefficient != 0.0) {
        let message = format!(
            "the weights of linear add up to 0 in tensor `{tensor}`, and it divides by their sum; change one, or set normalize = false"
        );
        return Err(MethodError::Kind(message));
    }
    Ok(())
}

/// The position of a tensor among those that are read; a tensor of the same checkpoint is read once.
fn reading(models: &Models, reads: &mut Vec<Read>, model: ModelId, tensor: usize) -> usize {
    let checkpoint = models.get(model);
    let same = |read: &Read| read.tensor == tensor && std::sync::Arc::ptr_eq(models.get(read.model), checkpoint);
    reads.iter().position(same).unwrap_or_else(|| {
        reads.push(Read { model, tensor });
        reads.len() - 1
    })
}

/// Cuts a tensor where vectors end: each reaches to the end of a moved segment, or ends before it begins.
fn segments(target: &TensorInfo, dtype: Dtype, sources: &[Option<VectorSource>]) -> Vec<Segment> {
    let mut ends: Vec<u64> = sources.iter().flatten().map(|source| source.elements).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut segments = Vec::new();
    let mut first = 0;
    for end in ends {
        segments.push(Segment { first, count: end - first, source: Source::Moved });
        first = end;
    }
    let rest = if dtype == target.dtype {
        let width = target.bytes.checked_div(target.elements()).unwrap_or(0);
        // Types narrower than a byte never move, so that their segment is the whole tensor.
        let moved_bytes = first * width;
        Segment { first: moved_bytes, count: target.bytes - moved_bytes, source: Source::Bytes }
    } else {
        Segment { first, count: target.elements() - first, source: Source::Converted }
    };
    segments.push(rest);
    segments.retain(|segment| segment.count > 0);
    segments
}
