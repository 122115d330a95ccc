//! How a unit of the output is made: one range of each model, read and combined into a worker's buffers.

use super::MergeError;
use std::collections::HashMap;
use std::ops::Range;

use super::measure::{Elements, Measured, odds_of};
use super::mixes::mix_of;
use super::plan::{Plan, PlannedTensor, Segment, Source};
use super::weights::{self, RangeBuffers, Weights};
use crate::alignment::element_bytes;
use crate::checkpoint::{TensorInfo, takes_part};
use crate::method::mix::{Base, Mix, MixBuffers, MixStretch, VectorBytes, mix};
use crate::method::{Leaf, Stretch, combine};
use crate::numeric::{StochasticKey, first_nonfinite};
use crate::recipe::Recipe;
use crate::stream::{self, StreamError};

/// A piece of one segment, small enough for a worker's buffers.
pub(super) struct Unit {
    pub tensor: usize,
    pub segment: Segment,
}

#[derive(Default)]
pub(super) struct Buffers {
    read: RangeBuffers,
    rows: RangeBuffers,
    out: Vec<u8>,
    /// What the unit that was made last did, stretch by stretch.
    pub leaves: Vec<Leaf>,
    mix: MixBuffers,
}

impl Buffers {
    /// Room for the `length` bytes of a unit; after it was made, what it is made of.
    pub fn output(&mut self, length: u64) -> &mut [u8] {
        stream::sized(&mut self.out, length)
    }
}

/// Makes units, the same bytes wherever they go.
pub(super) struct Maker<'a> {
    pub weights: Weights<'a>,
    elements: Elements<'a>,
    recipe: &'a Recipe,
    /// How each tensor is made; empty where all of them are target + w·v.
    mixes: HashMap<usize, Mix>,
}

/// Cuts a tensor of the plan into units of at most `elements`, in the order of the output.
pub(super) fn units_of(planned: &PlannedTensor, tensor: usize, elements: u64) -> impl Iterator<Item = Unit> {
    let width = element_bytes(planned.output.dtype).max(1);
    planned.segments.iter().flat_map(move |segment| {
        let step = if segment.source == Source::Bytes { elements * width } else { elements };
        let ranges = stream::cut(segment.first, segment.count, step);
        ranges.map(move |(first, count)| Unit { tensor, segment: Segment { first, count, ..*segment } })
    })
}

/// How many [`units`] there are, without making them.
pub(super) fn count_units(plan: &Plan, elements: u64) -> u64 {
    let count = |planned: &PlannedTensor| {
        let width = element_bytes(planned.output.dtype).max(1);
        let step = |segment: &Segment| if segment.source == Source::Bytes { elements * width } else { elements };
        planned.segments.iter().map(|segment| segment.count.div_ceil(step(segment))).sum::<u64>()
    };
    plan.tensors.iter().map(count).sum()
}

/// Cuts all tensors into units of at most `elements`, in the order of the output.
pub(super) fn units(plan: &Plan, elements: u64) -> Vec<Unit> {
    let tensors = plan.tensors.iter().enumerate();
    tensors.flat_map(|(tensor, planned)| units_of(planned, tensor, elements)).collect()
}

impl Unit {
    /// Where its bytes begin in the tensor as it is written, and how many there are.
    pub fn bytes_of(&self, planned: &PlannedTensor) -> (u64, u64) {
        let Segment { first, count, source } = self.segment;
        let width = if source == Source::Bytes { 1 } else { element_bytes(planned.output.dtype) };
        (first * width, count * width)
    }
}

impl<'a> Maker<'a> {
    /// Makes those of the plan's `tensors`.
    pub fn new(weights: Weights<'a>, recipe: &'a Recipe, measured: &'a Measured, tensors: Range<usize>) -> Self {
        let elements = Elements { weights, recipe, measured };
        let mixes = match recipe.is_plain() {
            true => HashMap::new(),
            false => tensors.map(|tensor| (tensor, mix_of(&elements, tensor))).collect(),
        };
        Self { weights, elements, recipe, mixes }
    }

    /// Whether leaves hold the whole change for their vector, which coefficients have gone into already.
    pub fn mixes(&self) -> bool {
        !self.mixes.is_empty()
    }

    /// Makes a unit; its bytes lie in the buffers ([`Buffers::output`]), and what it did in `leaves`.
    pub fn make(&self, unit: &Unit, buffers: &mut Buffers) -> Result<(), MergeError> {
        let planned = &self.weights.plan.tensors[unit.tensor];
        let target = self.weights.tensor(planned, 0);
        let Segment { first, count, source } = unit.segment;
        buffers.leaves.clear();
        match source {
            Source::Bytes => {
                let bytes = stream::sized(&mut buffers.out, count);
                let model = &self.weights.models.target;
                model.read_by(self.weights.read_path, target, first, bytes).map_err(StreamError::from)?;
                let refuse = takes_part(target.dtype) && !self.recipe.output.allow_nonfinite;
                if refuse && first_nonfinite(target.dtype, bytes).is_some() {
                    return Err(self.nonfinite(planned, 0));
                }
                Ok(())
            }
            Source::Converted | Source::Moved => self.combine(planned, target, unit, buffers),
        }
    }

    /// Combines a stretch of floats into `buffers.out` and `buffers.leaves`.
    fn combine(
        &self,
        planned: &PlannedTensor,
        target: &TensorInfo,
        unit: &Unit,
        buffers: &mut Buffers,
    ) -> Result<(), MergeError> {
        let Segment { first, count, source } = unit.segment;
        let range = weights::Range { tensor: unit.tensor, first, count };
        let moved = source == Source::Moved;
        let reaching = || planned.sources.iter().flatten().filter(|source| moved && source.reaches(range));
        let mut reads: Vec<usize> = reaching().flat_map(|source| source.reads()).chain([0]).collect();
        reads.sort_unstable();
        reads.dedup();
        let Buffers { read, rows, out, leaves, mix: mix_buffers, .. } = buffers;
        self.weights.read(range, reads.iter().copied(), read)?;

        let target_bytes = self.weights.bytes(range, 0, read);
        let out = stream::sized(out, count * element_bytes(planned.output.dtype));
        let key = StochasticKey::new(self.recipe.output.seed, &target.name);
        let mut vectors: Vec<Option<VectorBytes<'_>>> = match moved {
            true => planned.sources.iter().map(|source| self.weights.vector(range, source, read)).collect(),
            false => Vec::new(),
        };
        match (self.mixes.get(&unit.tensor), vectors.first()) {
            (Some(recipe), Some(_)) => {
                let base = match recipe.base {
                    Base::Target => Some(target_bytes),
                    Base::Read(read_of) => Some(self.weights.bytes(range, read_of, read)),
                    Base::Zeros => None,
                };
                if recipe.adds_target {
                    vectors.insert(0, Some(VectorBytes { pre: base, post: target_bytes }));
                }
                if recipe.whole {
                    vectors.iter_mut().flatten().for_each(|vector| vector.pre = None);
                }
                let skipped = usize::from(recipe.adds_target);
                let mut odds = vec![Vec::new(); skipped];
                for (vector, ingredient) in recipe.ingredients.iter().skip(skipped).enumerate() {
                    odds.push(match (ingredient, vectors[skipped + vector]) {
                        (Some(found), Some(_)) => odds_of(&self.elements, vector, &found.keep.rule, range, read, rows)?,
                        _ => Vec::new(),
                    });
                }
                let stretch = MixStretch {
                    mix: recipe,
                    base,
                    target: target_bytes,
                    vectors: &vectors,
                    odds: &odds,
                    out_dtype: planned.output.dtype,
                    rounding: self.recipe.output.rounding,
                    key,
                    first_element: first,
                };
                mix(&stretch, mix_buffers, out, leaves);
            }
            (_, vector) => {
                let zeros;
                let vector = match vector.copied().flatten() {
                    Some(VectorBytes { pre: Some(pre), post }) => {
                        Some([(pre.dtype, pre.bytes), (post.dtype, post.bytes)])
                    }
                    Some(VectorBytes { pre: None, post }) => {
                        zeros = vec![0; post.bytes.len()];
                        Some([(post.dtype, zeros.as_slice()), (post.dtype, post.bytes)])
                    }
                    None => None,
                };
                let stretch = Stretch {
                    vector,
                    target: (target_bytes.dtype, target_bytes.bytes),
                    out_dtype: planned.output.dtype,
                    coefficient: planned.coefficients.first().copied().unwrap_or(0.0),
                    rounding: self.recipe.output.rounding,
                    key,
                    first_element: first,
                };
                combine(&stretch, out, leaves);
            }
        }

        if !self.recipe.output.allow_nonfinite && leaves.iter().any(|leaf| leaf.nonfinite != [0; 3]) {
            let nonfinite = |read_of: &usize| {
                let found = self.weights.bytes(range, *read_of, read);
                first_nonfinite(found.dtype, found.bytes).is_some()
            };
            // In the order in which models are asked for: the vectors' first, the target last.
            let order = reaching().flat_map(|source| source.reads()).chain([0]).collect::<Vec<_>>();
            if let Some(found) = order.iter().find(|read_of| nonfinite(read_of)) {
                return Err(self.nonfinite(planned, *found));
            }
        }
        Ok(())
    }

    fn nonfinite(&self, planned: &PlannedTensor, read: usize) -> MergeError {
        let model = planned.reads[read].model;
        let tensor = self.weights.tensor(planned, read);
        let path = self.weights.models.get(model).path_of(tensor).to_owned();
        MergeError::NonFinite { model, tensor: tensor.name.clone(), path }
    }
}
