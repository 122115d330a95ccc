//! Exact ranks without holding a tensor: one pass counts magnitudes by their upper bits, a second one the lower bits of those
//! that fall where a rank ends, and a look at one unit finds the element among equals. Which unit that is, the second pass
//! knows where few different magnitudes fall there, as with 16-bit weights; otherwise a third one counts the equals.

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

/// Entries of [`Counts`] that are kept unit by unit for one spot at hand, 8 bytes each. A spot with more is read once more
/// where equals have to be told apart.
const MOST_ENTRIES: usize = 1 << 16;

/// Lower halves, and how many elements have each.
type Counts = Vec<(u16, u32)>;

/// What one unit has in the two buckets.
struct UnitCounts {
    range: Range,
    counts: [Counts; 2],
}

/// Counters of one spot for the lower halves in its two buckets.
#[derive(Default)]
struct Fine {
    totals: [Vec<u64>; 2],
    units: Vec<UnitCounts>,
    entries: usize,
}

impl Fine {
    fn add(&mut self, unit: UnitCounts) {
        for (totals, counts) in self.totals.iter_mut().zip(&unit.counts) {
            if totals.is_empty() && !counts.is_empty() {
                totals.resize(FINE, 0);
            }
            for (low, count) in counts {
                totals[usize::from(*low)] += u64::from(*count);
            }
        }
        self.entries += unit.counts.iter().map(Vec::len).sum::<usize>();
        if self.entries > MOST_ENTRIES {
            self.units = Vec::new();
        } else {
            self.units.push(unit);
        }
    }
}

/// The end of a rank among equals of which not all are within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    /// The key of the equals.
    key: u32,
    /// How many of them are within: 1 or more.
    left: u64,
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
                let share = recipe.method.select_topk();
                size.within = Some(match recipe.output.rounding.is_single() {
                    true => (share * counts.nonzero as f64) as u64,
                    // As mergekit counts them, in f32.
                    false => (share as f32 * counts.nonzero as f32) as u64,
                });
            }
            let find = |size: Option<u64>| size.and_then(|size| last_bucket(&counts.buckets, size));
            let found = Ranks { within: find(size.within), beyond: find(size.beyond) };
            buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, found);
            Ok(())
        },
    )?;

    let buckets = buckets.into_inner().unwrap_or_else(PoisonError::into_inner);
    let fine: Mutex<HashMap<Spot, Fine>> = Mutex::default();
    let cuts: Mutex<HashMap<Spot, Ranks<Option<Cut>>>> = Mutex::default();
    let splits: Mutex<HashMap<Spot, [Option<Split>; 2]>> = Mutex::default();
    pass(
        weights,
        &spots,
        resources,
        |local: &mut [Vec<u32>; 2], buffers, spot, range| {
            let wanted = buckets.get(&spot).copied().unwrap_or_default().both();
            for (fine, bucket) in local.iter_mut().zip(wanted) {
                fine.clear();
                fine.resize(if bucket.is_some() { FINE } else { 0 }, 0);
            }
            let high = wanted.map(|bucket| bucket.map_or(u32::MAX, |bucket| bucket.high));
            keys.of(buffers, spot, range, |_, key| {
                for (fine, high) in local.iter_mut().zip(high) {
                    if key >> LOW_BITS == high {
                        fine[key as usize & (FINE - 1)] += 1;
                    }
                }
            });
            let counts = local.each_ref().map(|fine| sparse(fine));
            let mut fine = fine.lock().unwrap_or_else(PoisonError::into_inner);
            fine.entry(spot).or_default().add(UnitCounts { range, counts });
            Ok(())
        },
        |spot, _| {
            let Fine { totals, mut units, entries } =
                fine.lock().unwrap_or_else(PoisonError::into_inner).remove(&spot).unwrap_or_default();
            units.sort_by_key(|unit| unit.range.first);
            let equals = keys.equals(spot);
            let (mut found, mut open) = ([None; 2], [None; 2]);
            for (rank, bucket) in buckets.get(&spot).copied().unwrap_or_default().both().into_iter().enumerate() {
                let Some(bucket) = bucket else { continue };
                found[rank] = Some(match end(bucket, &totals[rank], equals) {
                    Ok(cut) => cut,
                    Err(split) if entries > MOST_ENTRIES => {
                        open[rank] = Some(split);
                        continue;
                    }
                    Err(split) => {
                        let counts = units.iter().map(|unit| (unit.range, count_of(&unit.counts[rank], split.key)));
                        keys.split(spot, split, equals, counts)?
                    }
                });
            }
            if open != [None; 2] {
                splits.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, open);
            }
            let [within, beyond] = found;
            cuts.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, Ranks { within, beyond });
            Ok(())
        },
    )?;

    let splits = splits.into_inner().unwrap_or_else(PoisonError::into_inner);
    let open: Vec<Spot> = spots.into_iter().filter(|spot| splits.contains_key(spot)).collect();
    if !open.is_empty() {
        pass(
            weights,
            &open,
            resources,
            |(): &mut (), buffers, spot, range| {
                let key = splits[&spot].map(|split| split.map_or(u32::MAX, |split| split.key));
                let mut counts = [0_u64; 2];
                keys.of(buffers, spot, range, |_, other| {
                    for (count, key) in counts.iter_mut().zip(key) {
                        *count += u64::from(other == key);
                    }
                });
                Ok((range, counts))
            },
            |spot, units| {
                let units: Vec<(Range, [u64; 2])> = units.collect();
                let mut found = [None; 2];
                for (rank, split) in splits[&spot].into_iter().enumerate() {
                    let Some(split) = split else { continue };
                    let counts = units.iter().map(|(range, counts)| (*range, counts[rank]));
                    found[rank] = Some(keys.split(spot, split, keys.equals(spot), counts)?);
                }
                let [within, beyond] = found;
                let mut cuts = cuts.lock().unwrap_or_else(PoisonError::into_inner);
                let ranks = cuts.entry(spot).or_default();
                ranks.within = within.or(ranks.within);
                ranks.beyond = beyond.or(ranks.beyond);
                Ok(())
            },
        )?;
    }
    Ok(cuts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The end of a rank that ends in `bucket`; a [`Split`] where that is among equals.
fn end(bucket: Bucket, totals: &[u64], equals: Equals) -> Result<Cut, Split> {
    // The index with which all equals are within.
    let every = match equals {
        Equals::LowFirst => u64::MAX,
        Equals::HighFirst => 0,
    };
    if bucket.rest == 0 {
        // A rank without elements: nothing is larger than the largest key.
        return Ok(Cut { key: u32::MAX, element: 0, equals });
    }
    let Some(Bucket { high: low, rest: left }) = last_bucket(totals, bucket.rest) else {
        // Not so: the bucket was found by counting these very elements.
        return Ok(Cut { key: bucket.high << LOW_BITS, element: every, equals });
    };
    let key = bucket.high << LOW_BITS | low;
    if left == totals[low as usize] { Ok(Cut { key, element: every, equals }) } else { Err(Split { key, left }) }
}

/// How many elements a unit has of that key.
fn count_of(counts: &Counts, key: u32) -> u64 {
    let low = (key as usize & (FINE - 1)) as u16;
    counts.binary_search_by_key(&low, |(low, _)| *low).map_or(0, |at| u64::from(counts[at].1))
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
            for (i, element) in (range.first + from as u64..).take(length).enumerate() {
                take(element, variance_key(&self.elements, blocks.iter().map(|block| block[i])));
            }
        }
    }

    /// The element at which a rank ends among equals, of which each unit has so many.
    fn split(
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
