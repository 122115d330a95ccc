//! Exact ranks without holding a tensor: one pass counts magnitudes by their upper bits, a second one the lower bits of those
//! that fall where a rank ends, and a third, over one unit, finds the element among equals.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::super::MergeError;
use super::super::weights::{Range, RangeBuffers, Weights};
use super::elements::RangeElements;
use super::gram::variance_key;
use super::pass::pass;
use super::{Elements, Measured, Ranks, Spot};
use crate::method::mix::{Cut, Equals, magnitude_key};
use crate::numeric::BLOCK;
use crate::recipe::{Recipe, Sparsify};
use crate::stream::{Resources, StreamError};

/// Bits of a key that the first pass leaves to the second.
const LOW_BITS: u32 = 16;
/// Upper halves that occur: keys have 31 bits.
const BUCKETS: usize = 1 << (31 - LOW_BITS);
/// Lower halves.
const FINE: usize = 1 << LOW_BITS;

/// Where a rank ends among the upper halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// The upper half of the last element's key.
    high: u32,
    /// How many of the elements with that upper half are within the rank: 1 or more.
    rest: u64,
}

/// Lower halves, and how many elements have each.
type Counts = Vec<(u16, u32)>;

/// What one unit has in the two buckets.
struct UnitCounts {
    range: Range,
    counts: Ranks<Counts>,
}

/// One counter for each upper half, and one for the elements that are not zero.
struct Coarse {
    buckets: Vec<u64>,
    nonzero: u64,
}

impl Default for Coarse {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], nonzero: 0 }
    }
}

/// The ends of the ranks that hold these many elements, of each spot. For all vectors together the order is by the variance
/// between them, and the rank holds the recipe's share of the elements where it is not zero.
pub(super) fn cuts(
    weights: Weights<'_>,
    recipe: &Recipe,
    measured: &Measured,
    wanted: &[(Spot, Ranks<Option<u64>>)],
    resources: &Resources,
) -> Result<HashMap<Spot, Ranks<Option<Cut>>>, MergeError> {
    let spots: Vec<Spot> = wanted.iter().map(|(spot, _)| *spot).collect();
    let sizes: HashMap<Spot, Ranks<Option<u64>>> = wanted.iter().copied().collect();
    let keys = Keys { elements: Elements { weights, recipe, measured } };

    // Added to by every unit of a spot and taken out by its last: only tensors at hand have counters.
    let coarse: Mutex<HashMap<Spot, Coarse>> = Mutex::default();
    let buckets: Mutex<HashMap<Spot, Ranks<Option<Bucket>>>> = Mutex::default();
    pass(
        weights,
        &spots,
        resources,
        |local: &mut Vec<u32>, buffers, spot, range| {
            local.clear();
            local.resize(BUCKETS, 0);
            let mut nonzero = 0;
            keys.of(buffers, spot, range, |_, key| {
                local[(key >> LOW_BITS) as usize] += 1;
                nonzero += u64::from(key > 0);
            });
            let mut coarse = coarse.lock().unwrap_or_else(PoisonError::into_inner);
            let total = coarse.entry(spot).or_default();
            total.nonzero += nonzero;
            for (total, count) in total.buckets.iter_mut().zip(local.iter()) {
                *total += u64::from(*count);
            }
            Ok(())
        },
        |spot, _| {
            let counts = coarse.lock().unwrap_or_else(PoisonError::into_inner).remove(&spot).unwrap_or_default();
            let mut size = sizes.get(&spot).copied().unwrap_or_default();
            if spot.vector.is_none() {
                // As mergekit counts them, in f32.
                size.within = Some((recipe.method.select_topk() as f32 * counts.nonzero as f32) as u64);
            }
            let find = |size: Option<u64>| size.and_then(|size| last_bucket(&counts.buckets, size));
            let found = Ranks { within: find(size.within), beyond: find(size.beyond) };
            buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, found);
            Ok(())
        },
    )?;

    let buckets = buckets.into_inner().unwrap_or_else(PoisonError::into_inner);
    let cuts: Mutex<HashMap<Spot, Ranks<Option<Cut>>>> = Mutex::default();
    pass(
        weights,
        &spots,
        resources,
        |local: &mut [Vec<u32>; 2], buffers, spot, range| {
            let wanted = buckets.get(&spot).copied().unwrap_or_default();
            for fine in local.iter_mut() {
                fine.clear();
                fine.resize(FINE, 0);
            }
            let [within, beyond] = local;
            let high = |bucket: Option<Bucket>| bucket.map_or(u32::MAX, |bucket| bucket.high);
            let (high_within, high_beyond) = (high(wanted.within), high(wanted.beyond));
            keys.of(buffers, spot, range, |_, key| {
                let (upper, lower) = (key >> LOW_BITS, key as usize & (FINE - 1));
                within[lower] += u32::from(upper == high_within);
                beyond[lower] += u32::from(upper == high_beyond);
            });
            Ok(UnitCounts { range, counts: Ranks { within: sparse(within), beyond: sparse(beyond) } })
        },
        |spot, units| {
            let units: Vec<UnitCounts> = units.collect();
            let wanted = buckets.get(&spot).copied().unwrap_or_default();
            let cut = |bucket: Option<Bucket>, pick: fn(&UnitCounts) -> &Counts| {
                bucket.map(|bucket| keys.cut(spot, bucket, &units, pick)).transpose()
            };
            let found = Ranks {
                within: cut(wanted.within, |unit| &unit.counts.within)?,
                beyond: cut(wanted.beyond, |unit| &unit.counts.beyond)?,
            };
            cuts.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, found);
            Ok(())
        },
    )?;
    Ok(cuts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Walks from the largest keys down to where `size` elements are counted.
fn last_bucket(counts: &[u64], size: u64) -> Option<Bucket> {
    let mut above = 0;
    for (high, count) in counts.iter().enumerate().rev() {
        if above + count >= size {
            return Some(Bucket { high: high as u32, rest: size - above });
        }
        above += count;
    }
    None
}

/// The counters that are not zero.
fn sparse(counts: &[u32]) -> Counts {
    let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    used.map(|(low, count)| (low as u16, *count)).collect()
}

/// What elements are ranked by, as a merge sees it.
struct Keys<'a> {
    elements: Elements<'a>,
}

impl Keys<'_> {
    /// Calls `take` with the index and the key of each element of a range that was read.
    fn of(&self, buffers: &RangeBuffers, spot: Spot, range: Range, mut take: impl FnMut(u64, u32)) {
        if let Some(vector) = spot.vector {
            self.elements.of(buffers, range, vector).blocks(|first, values| {
                for (element, value) in (first..).zip(values.iter()) {
                    take(element, magnitude_key(*value));
                }
            });
            return;
        }
        let vectors = self.elements.weights.models.vectors.len();
        let readers: Vec<RangeElements<'_>> =
            (0..vectors).map(|vector| self.elements.of(buffers, range, vector)).collect();
        let mut blocks = vec![[0.0; BLOCK]; vectors];
        let count = range.count as usize;
        for from in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - from);
            for (block, reader) in blocks.iter_mut().zip(&readers) {
                reader.decode(from, &mut block[..length]);
            }
            for (i, element) in (range.first + from as u64..).take(length).enumerate() {
                take(element, variance_key(&self.elements, &blocks, i));
            }
        }
    }

    /// The exact end of a rank that ends in `bucket`.
    fn cut(
        &self,
        spot: Spot,
        bucket: Bucket,
        units: &[UnitCounts],
        counts: fn(&UnitCounts) -> &Counts,
    ) -> Result<Cut, StreamError> {
        let equals = self.equals(spot);
        // The index with which all equals are within.
        let every = match equals {
            Equals::LowFirst => u64::MAX,
            Equals::HighFirst => 0,
        };
        if bucket.rest == 0 {
            // A rank without elements: nothing is larger than the largest key.
            return Ok(Cut { key: u32::MAX, element: 0, equals });
        }
        let mut fine = vec![0_u64; FINE];
        for (low, count) in units.iter().flat_map(counts) {
            fine[usize::from(*low)] += u64::from(*count);
        }
        let Some(Bucket { high: low, rest: mut left }) = last_bucket(&fine, bucket.rest) else {
            // Not so: the bucket was found by counting these very elements.
            return Ok(Cut { key: bucket.high << LOW_BITS, element: every, equals });
        };
        let key = bucket.high << LOW_BITS | low;
        if left == fine[low as usize] || key == 0 {
            // Every equal is within. It makes no difference which zeros are.
            return Ok(Cut { key, element: every, equals });
        }
        // Equals are counted off from the side that comes first.
        let mut order: Vec<&UnitCounts> = units.iter().collect();
        if equals == Equals::HighFirst {
            order.reverse();
        }
        for unit in order {
            let at = counts(unit).binary_search_by_key(&(low as u16), |(low, _)| *low);
            let here = at.map_or(0, |at| u64::from(counts(unit)[at].1));
            if left <= here {
                let nth = if equals == Equals::LowFirst { left } else { here - left + 1 };
                return Ok(Cut { key, element: self.nth_equal(spot, unit.range, key, nth)?, equals });
            }
            left -= here;
        }
        Ok(Cut { key, element: every, equals })
    }

    /// Which of equals come first in the order of a spot.
    fn equals(&self, spot: Spot) -> Equals {
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
        self.of(&buffers, spot, range, |element, other| {
            seen += u64::from(other == key);
            if other == key && seen == nth {
                found = element;
            }
        });
        Ok(found)
    }
}
