//! What elements are ranked by, as a merge sees it.

use super::super::super::weights::{Range, RangeBuffers};
use super::super::elements::RangeElements;
use super::super::gram::variance_key;
use super::super::{Elements, Spot};
use super::counts::Split;
use crate::method::mix::{Cut, Equals, magnitude_keys};
use crate::numeric::BLOCK;
use crate::recipe::Sparsify;
use crate::stream::{self, StreamError};

/// Stretches that are read of a spot to tell where its ranks may end, and elements of each.
const STRETCHES: u64 = 64;
const STRETCH: u64 = 1024;

/// The keys of elements: by magnitude for one vector, by the variance between them for all.
pub(super) struct Keys<'a> {
    pub elements: Elements<'a>,
}

impl Keys<'_> {
    /// Calls `take` with the index of the first element of each block of a range that was read, and the block's keys.
    pub(super) fn blocks(&self, buffers: &RangeBuffers, spot: Spot, range: Range, mut take: impl FnMut(u64, &[u32])) {
        let mut keys = [0; BLOCK];
        if let Some(vector) = spot.vector {
            self.elements.of(buffers, range, vector).blocks(|first, values| {
                let keys = &mut keys[..values.len()];
                magnitude_keys(values, keys);
                take(first, keys);
            });
            return;
        }
        let sources = self.elements.weights.plan.tensors[spot.tensor].sources.iter().enumerate();
        let readers: Vec<RangeElements<'_>> = sources
            .filter(|(_, source)| source.is_some())
            .map(|(vector, _)| self.elements.of(buffers, range, vector))
            .collect();
        let mut blocks = vec![[0.0; BLOCK]; readers.len()];
        let count = range.count as usize;
        for from in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - from);
            for (block, reader) in blocks.iter_mut().zip(&readers) {
                reader.decode(from, &mut block[..length]);
            }
            for (i, key) in keys[..length].iter_mut().enumerate() {
                *key = variance_key(&self.elements, blocks.iter().map(|block| block[i]));
            }
            take(range.first + from as u64, &keys[..length]);
        }
    }

    /// The keys of elements from all over a spot.
    pub(super) fn sample(&self, spot: Spot) -> Result<Vec<u32>, StreamError> {
        let weights = self.elements.weights;
        let elements = weights.elements(spot);
        let mut buffers = RangeBuffers::default();
        let mut sample = Vec::new();
        for (first, count) in stream::cut(0, elements, elements.div_ceil(STRETCHES).max(STRETCH)) {
            let range = Range { tensor: spot.tensor, first, count: count.min(STRETCH) };
            weights.read(range, weights.reads(spot), &mut buffers)?;
            self.blocks(&buffers, spot, range, |_, keys| sample.extend(keys));
        }
        Ok(sample)
    }

    /// The element at which a rank ends among equals, of which each unit has so many.
    pub(super) fn split(
        &self,
        spot: Spot,
        Split { key, mut left }: Split,
        equals: Equals,
        units: impl Iterator<Item = (Range, u64)>,
    ) -> Result<Cut, StreamError> {
        // Equals are counted off from the side that comes first.
        let mut order: Vec<(Range, u64)> = units.collect();
        if equals == Equals::HighFirst {
            order.reverse();
        }
        for (range, here) in order {
            if left <= here {
                let nth = if equals == Equals::LowFirst { left } else { here - left + 1 };
                return Ok(Cut { key, element: self.nth_equal(spot, range, key, nth)?, equals });
            }
            left -= here;
        }
        // Not so: `left` is less than what all units have together.
        Ok(Cut { key, element: 0, equals })
    }

    /// Which of equals come first in the order of a spot.
    pub(super) fn equals(&self, spot: Spot) -> Equals {
        let recipe = self.elements.recipe;
        let spec = spot.vector.and_then(|vector| recipe.vectors().nth(vector));
        match spec.map(|spec| recipe.method.rule_of(spec).sparsify) {
            Some(Sparsify::Breadcrumbs) => Equals::HighFirst,
            _ => Equals::LowFirst,
        }
    }

    /// The index of the nth element, from 1, of a range that has that key.
    fn nth_equal(&self, spot: Spot, range: Range, key: u32, nth: u64) -> Result<u64, StreamError> {
        let weights = self.elements.weights;
        let mut buffers = RangeBuffers::default();
        weights.read(range, weights.reads(spot), &mut buffers)?;
        let (mut seen, mut found) = (0, range.first);
        self.blocks(&buffers, spot, range, |first, keys| {
            for (element, other) in (first..).zip(keys) {
                seen += u64::from(*other == key);
                if *other == key && seen == nth {
                    found = element;
                }
            }
        });
        Ok(found)
    }
}
