//! Exact ranks without holding a tensor: one pass counts magnitudes by their upper bits, a second one the lower bits of those
//! that fall where a rank ends, and a third, over one unit, finds the element among equals.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::super::MergeError;
use super::super::weights::{Range, RangeBuffers, Weights};
use super::{Ranks, Spot, element_control, pass, rounding_of, ties};
use crate::method::mix::{Cut, Ties, decode_vector, magnitude_key};
use crate::numeric::BLOCK;
use crate::recipe::Recipe;
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

/// One counter for each upper half.
struct Coarse(Vec<u64>);

impl Default for Coarse {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

/// The ends of the ranks that hold these many elements, of each spot.
pub(super) fn cuts(
    weights: Weights<'_>,
    recipe: &Recipe,
    deviations: &HashMap<Spot, f64>,
    wanted: &[(Spot, Ranks<Option<u64>>)],
    resources: &Resources,
) -> Result<HashMap<Spot, Ranks<Option<Cut>>>, MergeError> {
    let spots: Vec<Spot> = wanted.iter().map(|(spot, _)| *spot).collect();
    let sizes: HashMap<Spot, Ranks<Option<u64>>> = wanted.iter().copied().collect();
    let ties_of: Vec<Ties> = recipe.vectors().map(|vector| ties(&recipe.method.rule_of(vector))).collect();
    let keys = Keys { weights, recipe, deviations };

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
            keys.of(buffers, spot, range, |_, key| local[(key >> LOW_BITS) as usize] += 1);
            let mut coarse = coarse.lock().unwrap_or_else(PoisonError::into_inner);
            for (total, count) in coarse.entry(spot).or_default().0.iter_mut().zip(local.iter()) {
                *total += u64::from(*count);
            }
        },
        |spot, _| {
            let counts = coarse.lock().unwrap_or_else(PoisonError::into_inner).remove(&spot).unwrap_or_default();
            let find = |size: Option<u64>| size.and_then(|size| last_bucket(&counts.0, size));
            let size = sizes.get(&spot).copied().unwrap_or_default();
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
            UnitCounts { range, counts: Ranks { within: sparse(within), beyond: sparse(beyond) } }
        },
        |spot, units| {
            let units: Vec<UnitCounts> = units.collect();
            let wanted = buckets.get(&spot).copied().unwrap_or_default();
            let ties = ties_of[spot.vector];
            let cut = |bucket: Option<Bucket>, pick: fn(&UnitCounts) -> &Counts| {
                bucket.map(|bucket| keys.cut(spot, bucket, &units, pick, ties)).transpose()
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

/// The keys of a vector's elements, as a merge sees them.
struct Keys<'a> {
    weights: Weights<'a>,
    recipe: &'a Recipe,
    deviations: &'a HashMap<Spot, f64>,
}

impl Keys<'_> {
    /// Calls `take` with the index and the key of each element of a range that was read.
    fn of(&self, buffers: &RangeBuffers, spot: Spot, range: Range, mut take: impl FnMut(u64, u32)) {
        let planned = &self.weights.plan.tensors[spot.tensor];
        let Some(vector) = self.weights.vector(range, &planned.sources[spot.vector], buffers) else { return };
        let control = element_control(self.recipe, planned, spot, self.deviations);
        let mut values = [0.0; BLOCK];
        let count = range.count as usize;
        for from in (0..count).step_by(BLOCK) {
            let values = &mut values[..BLOCK.min(count - from)];
            decode_vector(&vector, rounding_of(self.recipe), from, values);
            let first = range.first + from as u64;
            if let Some(control) = &control {
                control.apply(first, values);
            }
            for (element, value) in (first..).zip(values.iter()) {
                take(element, magnitude_key(*value));
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
        ties: Ties,
    ) -> Result<Cut, StreamError> {
        let mut fine = vec![0_u64; FINE];
        for (low, count) in units.iter().flat_map(counts) {
            fine[usize::from(*low)] += u64::from(*count);
        }
        let Some(Bucket { high: low, rest: among_equals }) = last_bucket(&fine, bucket.rest) else {
            // The bucket was found by counting these elements.
            return Ok(Cut { key: bucket.high << LOW_BITS, element: 0, ties });
        };
        let key = bucket.high << LOW_BITS | low;
        let all = match ties {
            Ties::LowFirst => u64::MAX,
            Ties::HighFirst => 0,
        };
        if among_equals == fine[low as usize] || key == 0 {
            // Every equal is within. It makes no difference which zeros are.
            return Ok(Cut { key, element: all, ties });
        }
        let in_unit = |unit: &UnitCounts| {
            let of = counts(unit).binary_search_by_key(&(low as u16), |(low, _)| *low);
            of.map_or(0, |at| u64::from(counts(unit)[at].1))
        };
        let mut left = among_equals;
        let ordered: Box<dyn Iterator<Item = &UnitCounts>> = match ties {
            Ties::LowFirst => Box::new(units.iter()),
            Ties::HighFirst => Box::new(units.iter().rev()),
        };
        for unit in ordered {
            let here = in_unit(unit);
            if left > here {
                left -= here;
                continue;
            }
            let nth = match ties {
                Ties::LowFirst => left,
                Ties::HighFirst => here - left + 1,
            };
            return Ok(Cut { key, element: self.nth_equal(spot, unit.range, key, nth)?, ties });
        }
        Ok(Cut { key, element: all, ties })
    }

    /// The index of the nth element, from 1, of a range that has that key.
    fn nth_equal(&self, spot: Spot, range: Range, key: u32, nth: u64) -> Result<u64, StreamError> {
        let planned = &self.weights.plan.tensors[spot.tensor];
        let mut buffers = RangeBuffers::default();
        let reads = planned.sources[spot.vector].iter().flat_map(|source| source.reads());
        self.weights.read(range, reads, &mut buffers)?;
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
