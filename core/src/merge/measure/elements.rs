//! The elements of vectors as a merge sees them: with the control and the working precision of the recipe.

use super::super::plan::PlannedTensor;
use super::super::weights::{Range, RangeBuffers, Weights};
use super::{Measured, Spot};
use crate::method::mix::{ElementControl, KeepRule, VectorBytes, decode_vector, magnitude_keys, odds_of_rows};
use crate::numeric::{BLOCK, StochasticKey, round_bf16};
use crate::recipe::{ControlKind, Recipe, Rounding};
use crate::stream::StreamError;

/// Decodes the vectors of ranges that were read.
#[derive(Clone, Copy)]
pub(in super::super) struct Elements<'a> {
    pub weights: Weights<'a>,
    pub recipe: &'a Recipe,
    pub measured: &'a Measured,
}

impl<'a> Elements<'a> {
    /// What the recipe's control does to a vector's elements.
    pub(in super::super) fn control(&self, tensor: usize, vector: usize) -> Option<ElementControl> {
        let control = self.recipe.vectors().nth(vector)?.control?;
        let key = self.key(control.kind.label(), control.seed, tensor, vector);
        let spot = Spot { tensor, vector: Some(vector) };
        match control.kind {
            ControlKind::ShuffleSigns => Some(ElementControl::Signs(key)),
            ControlKind::PermuteLayers => None,
            ControlKind::Noise => {
                let deviation = self.measured.deviations.get(&spot).copied().unwrap_or(0.0);
                Some(ElementControl::Noise { key, deviation })
            }
        }
    }

    /// What a vector draws from in a tensor, for one purpose.
    pub(in super::super) fn key(&self, purpose: &str, seed: u64, tensor: usize, vector: usize) -> StochasticKey {
        let name = &self.planned(tensor).output.name;
        StochasticKey::new(seed, &format!("{purpose} {vector} {name}"))
    }

    fn planned(&self, tensor: usize) -> &'a PlannedTensor {
        &self.weights.plan.tensors[tensor]
    }

    /// One vector in a range that was read.
    pub(super) fn of<'b>(&self, buffers: &'b RangeBuffers, range: Range, vector: usize) -> RangeElements<'b> {
        RangeElements {
            bytes: self.weights.vector(range, &self.planned(range.tensor).sources[vector], buffers),
            control: self.control(range.tensor, vector),
            rounding: self.recipe.output.rounding,
            range,
        }
    }

    /// A value that is stored between two steps of the recipe's mode.
    pub(in super::super) fn stored(&self, value: f64) -> f64 {
        match self.recipe.output.rounding {
            Rounding::Nearest | Rounding::Stochastic => value,
            Rounding::MergekitF32 => f64::from(value as f32),
            Rounding::MergekitBf16 => f64::from(round_bf16(value as f32)),
        }
    }
}

/// One vector in a range that was read; zeros where it does not reach.
pub(super) struct RangeElements<'b> {
    bytes: Option<VectorBytes<'b>>,
    control: Option<ElementControl>,
    rounding: Rounding,
    range: Range,
}

impl RangeElements<'_> {
    /// Up to [`BLOCK`] elements from `from` on, counted in the range.
    pub(super) fn decode(&self, from: usize, values: &mut [f64]) {
        let Some(bytes) = &self.bytes else { return values.fill(0.0) };
        decode_vector(bytes, self.rounding, from, values);
        if let Some(control) = &self.control {
            control.apply(self.range.first + from as u64, values);
        }
    }

    /// Calls `take` with the index in the tensor of each block's first element and the block's values.
    pub(super) fn blocks(&self, mut take: impl FnMut(u64, &mut [f64])) {
        let mut values = [0.0; BLOCK];
        let count = self.range.count as usize;
        for from in (0..count).step_by(BLOCK) {
            let values = &mut values[..BLOCK.min(count - from)];
            self.decode(from, values);
            take(self.range.first + from as u64, values);
        }
    }
}

/// The probabilities with which a vector's elements in `range` are kept, where they go by rank in a row; empty for other
/// rules. Where the range does not end with its rows, the rows that it touches are read into `rows`.
pub(in super::super) fn odds_of(
    elements: &Elements<'_>,
    vector: usize,
    rule: &KeepRule,
    range: Range,
    read: &RangeBuffers,
    rows: &mut RangeBuffers,
) -> Result<Vec<f32>, StreamError> {
    let KeepRule::RankedRandom { least, most, row, .. } = *rule else { return Ok(Vec::new()) };
    let row = row.max(1) as u64;
    let first = range.first / row * row;
    let end = (range.first + range.count).div_ceil(row) * row;
    let whole = Range { tensor: range.tensor, first, count: end - first };
    let buffers = if whole == range {
        read
    } else {
        let spot = Spot { tensor: range.tensor, vector: Some(vector) };
        elements.weights.read(whole, elements.weights.reads(spot), rows)?;
        rows
    };
    let mut keys: Vec<u32> = Vec::with_capacity(whole.count as usize);
    let vector = elements.of(buffers, whole, vector);
    vector.blocks(|_, values| {
        let seen = keys.len();
        keys.resize(seen + values.len(), 0);
        magnitude_keys(values, &mut keys[seen..]);
    });
    let mut odds = Vec::new();
    odds_of_rows(&keys, row as usize, (least, most), &mut odds);
    odds.truncate((range.first + range.count - first) as usize);
    odds.drain(..(range.first - first) as usize);
    Ok(odds)
}
