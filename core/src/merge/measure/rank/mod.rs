//! Exact ranks without holding a tensor, in one pass as a rule: it counts magnitudes by their upper bits, and the lower bits of
//! those that lie near where a rank is expected to end, going by a sample. Where a rank ends elsewhere, a second pass over that
//! tensor counts there. A look at one unit finds the element among equals; which unit that is, the counts tell where few
//! different magnitudes fall there, as with 16-bit weights; otherwise one more pass counts the equals.

mod counts;
mod keys;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::MergeError;
use super::super::weights::{Range, RangeBuffers, Weights};
use super::pass::pass;
use super::{Elements, Measured, Ranks, Spot};
use crate::method::mix::Cut;
use crate::recipe::Recipe;
use crate::stream::{Resources, StreamError};
use counts::{Bucket, Coarse, Counts, Fine, Split, UnitCounts, Window, counted};
use keys::Keys;

/// What is known of a spot while its units are counted.
struct AtHand {
    coarse: Coarse,
    fine: Fine,
}

/// What a worker counts a unit with.
#[derive(Default)]
struct Scratch {
    coarse: Coarse,
    near: [Vec<u32>; 2],
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
    let search = Search {
        keys: Keys { elements: Elements { weights, recipe, measured } },
        sizes: wanted.iter().copied().collect(),
        cuts: Mutex::default(),
        splits: Mutex::default(),
    };

    // Added to by every unit of a spot and taken out by its last: only tensors at hand have counters.
    let at_hand: Mutex<HashMap<Spot, AtHand>> = Mutex::default();
    let missed: Mutex<HashMap<Spot, [Option<Bucket>; 2]>> = Mutex::default();
    let windows: Mutex<HashMap<Spot, [Option<Window>; 2]>> = Mutex::default();
    let step = weights.unit_elements(resources);
    pass(
        weights,
        &spots,
        resources,
        |Scratch { coarse, near }: &mut Scratch, buffers, spot, range| {
            coarse.clear();
            search.keys.blocks(buffers, spot, range, |_, keys| coarse.count(keys));
            let windows = if weights.elements(spot) <= step {
                search.buckets(spot, coarse).map(|bucket| bucket.map(Window::of))
            } else {
                let known = lock(&windows).get(&spot).copied();
                match known {
                    Some(known) => known,
                    // Two workers may find out at the same time, and find the same.
                    None => {
                        let expected = search.expected(spot)?;
                        lock(&windows).insert(spot, expected);
                        expected
                    }
                }
            };
            let counts = search.counts_in(windows, buffers, spot, range, near);
            let mut at_hand = lock(&at_hand);
            let spot_at_hand =
                at_hand.entry(spot).or_insert_with(|| AtHand { coarse: Coarse::default(), fine: Fine::new(windows) });
            spot_at_hand.coarse.add(coarse);
            spot_at_hand.fine.add(UnitCounts { range, counts });
            Ok(())
        },
        |spot, _| {
            lock(&windows).remove(&spot);
            let Some(AtHand { coarse, mut fine }) = lock(&at_hand).remove(&spot) else { return Ok(()) };
            let buckets = search.buckets(spot, &coarse);
            let mut elsewhere = [None; 2];
            for (rank, bucket) in buckets.into_iter().enumerate() {
                elsewhere[rank] = bucket.filter(|bucket| !fine.covers(rank, *bucket));
            }
            let covered = std::array::from_fn(|rank| buckets[rank].filter(|_| elsewhere[rank].is_none()));
            search.finish(spot, covered, &mut fine)?;
            if elsewhere != [None; 2] {
                lock(&missed).insert(spot, elsewhere);
            }
            Ok(())
        },
    )?;

    let missed = missed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let again: Vec<Spot> = spots.iter().filter(|spot| missed.contains_key(spot)).copied().collect();
    let fine: Mutex<HashMap<Spot, Fine>> = Mutex::default();
    if !again.is_empty() {
        pass(
            weights,
            &again,
            resources,
            |Scratch { near, .. }: &mut Scratch, buffers, spot, range| {
                let windows = missed[&spot].map(|bucket| bucket.map(Window::of));
                let counts = search.counts_in(windows, buffers, spot, range, near);
                let mut fine = lock(&fine);
                fine.entry(spot).or_insert_with(|| Fine::new(windows)).add(UnitCounts { range, counts });
                Ok(())
            },
            |spot, _| {
                let Some(mut fine) = lock(&fine).remove(&spot) else { return Ok(()) };
                search.finish(spot, missed[&spot], &mut fine)
            },
        )?;
    }

    let splits = lock(&search.splits).clone();
    let open: Vec<Spot> = spots.into_iter().filter(|spot| splits.contains_key(spot)).collect();
    if !open.is_empty() {
        pass(
            weights,
            &open,
            resources,
            |(): &mut (), buffers, spot, range| {
                let equals = splits[&spot].map(|split| split.map_or(u32::MAX, |split| split.key));
                let mut counts = [0_u64; 2];
                search.keys.blocks(buffers, spot, range, |_, keys| {
                    for (count, equal) in counts.iter_mut().zip(equals) {
                        *count += keys.iter().map(|key| u64::from(*key == equal)).sum::<u64>();
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
                    found[rank] = Some(search.keys.split(spot, split, search.keys.equals(spot), counts)?);
                }
                search.found(spot, found);
                Ok(())
            },
        )?;
    }
    Ok(search.cuts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is searched, and what was found.
struct Search<'a> {
    keys: Keys<'a>,
    sizes: HashMap<Spot, Ranks<Option<u64>>>,
    cuts: Mutex<HashMap<Spot, Ranks<Option<Cut>>>>,
    /// Ranks that end among equals whose units are not known.
    splits: Mutex<HashMap<Spot, [Option<Split>; 2]>>,
}

impl Search<'_> {
    /// How many elements the ranks of a spot hold, of which so many are not zero.
    fn sizes(&self, spot: Spot, nonzero: u64) -> [Option<u64>; 2] {
        let mut size = self.sizes.get(&spot).copied().unwrap_or_default();
        if spot.vector.is_none() {
            let recipe = self.keys.elements.recipe;
            let share = recipe.method.select_topk();
            size.within = Some(match recipe.output.rounding.is_single() {
                true => (share * nonzero as f64) as u64,
                // As mergekit counts them, in f32.
                false => (share as f32 * nonzero as f32) as u64,
            });
        }
        size.both()
    }

    /// Where the ranks end, all elements of the spot being counted.
    fn buckets(&self, spot: Spot, coarse: &Coarse) -> [Option<Bucket>; 2] {
        self.sizes(spot, coarse.nonzero).map(|size| size.and_then(|size| coarse.bucket(size)))
    }

    /// Where the ranks may end, going by a sample.
    fn expected(&self, spot: Spot) -> Result<[Option<Window>; 2], StreamError> {
        let mut sample = self.keys.sample(spot)?;
        let nonzero = sample.iter().filter(|key| **key > 0).count() as u64;
        // The sizes of ranks by variance are those of the sample already.
        let (elements, seen) = (self.keys.elements.weights.elements(spot), sample.len() as u64);
        let of = if spot.vector.is_none() { seen } else { elements };
        Ok(self.sizes(spot, nonzero).map(|size| {
            let last = (u128::from(size?) * u128::from(seen) / u128::from(of.max(1))) as usize;
            let last = last.min(sample.len().checked_sub(1)?);
            let (_, key, _) = sample.select_nth_unstable_by(last, |a, b| b.cmp(a));
            Some(Window::around(*key))
        }))
    }

    /// Counts the elements of a unit that lie in the windows, by key.
    fn counts_in(
        &self,
        windows: [Option<Window>; 2],
        buffers: &RangeBuffers,
        spot: Spot,
        range: Range,
        near: &mut [Vec<u32>; 2],
    ) -> [Counts; 2] {
        near.iter_mut().for_each(Vec::clear);
        self.keys.blocks(buffers, spot, range, |_, keys| {
            for (near, window) in near.iter_mut().zip(windows) {
                if let Some(window) = window {
                    window.collect(keys, near);
                }
            }
        });
        near.each_mut().map(|near| counted(near))
    }

    /// Takes in the ends of ranks whose buckets were counted.
    fn finish(&self, spot: Spot, buckets: [Option<Bucket>; 2], fine: &mut Fine) -> Result<(), StreamError> {
        let equals = self.keys.equals(spot);
        let (mut found, mut open) = ([None; 2], [None; 2]);
        for (rank, bucket) in buckets.into_iter().enumerate() {
            let Some(bucket) = bucket else { continue };
            match fine.end(rank, bucket, equals) {
                Ok(cut) => found[rank] = Some(cut),
                Err(split) => match fine.units() {
                    None => open[rank] = Some(split),
                    Some(units) => {
                        let counts = units.iter().map(|unit| (unit.range, unit.of(rank, split.key)));
                        found[rank] = Some(self.keys.split(spot, split, equals, counts)?);
                    }
                },
            }
        }
        self.found(spot, found);
        if open != [None; 2] {
            let mut splits = lock(&self.splits);
            let known = splits.entry(spot).or_default();
            *known = std::array::from_fn(|rank| open[rank].or(known[rank]));
        }
        Ok(())
    }

    fn found(&self, spot: Spot, [within, beyond]: [Option<Cut>; 2]) {
        let mut cuts = lock(&self.cuts);
        let ranks = cuts.entry(spot).or_default();
        ranks.within = within.or(ranks.within);
        ranks.beyond = beyond.or(ranks.beyond);
    }
}
