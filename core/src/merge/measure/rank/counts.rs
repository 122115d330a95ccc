//! Counters of magnitudes, and where a rank ends among them.

use crate::method::mix::{Cut, Equals};

use super::super::super::weights::Range;

/// Bits of a key below those that the coarse counters go by.
const LOW_BITS: u32 = 16;
/// Upper halves that occur: keys have 31 bits.
const BUCKETS: usize = 1 << (31 - LOW_BITS);

/// Upper halves on either side of where a rank is expected to end: 1.6 % of the magnitude, and room for 2.6 MB of counters.
const MARGIN: u32 = 2;

/// Entries of [`Counts`] that are kept unit by unit for one spot at hand, 8 bytes each. A spot with more is read once more where
/// equals have to be told apart.
const MOST_ENTRIES: usize = 1 << 16;

/// Keys, ascending, and how many elements have each.
pub(super) type Counts = Vec<(u32, u32)>;

/// Where a rank ends among the upper halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// The upper half of the last element's key.
    pub high: u32,
    /// How many of the elements with that upper half are within the rank: 1 or more.
    pub rest: u64,
}

/// The end of a rank among equals of which not all are within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The key of the equals.
    pub key: u32,
    /// How many of them are within: 1 or more.
    pub left: u64,
}

/// One counter for each upper half, and one for the elements that are not zero.
pub(super) struct Coarse {
    buckets: Vec<u64>,
    pub nonzero: u64,
}

impl Default for Coarse {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], nonzero: 0 }
    }
}

impl Coarse {
    pub(super) fn clear(&mut self) {
        self.buckets.fill(0);
        self.nonzero = 0;
    }

    /// Counts elements.
    pub(super) fn count(&mut self, keys: &[u32]) {
        for key in keys {
            self.buckets[(key >> LOW_BITS) as usize & (BUCKETS - 1)] += 1;
        }
        self.nonzero += keys.iter().map(|key| u64::from(*key > 0)).sum::<u64>();
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, count)| *sum += count);
        self.nonzero += other.nonzero;
    }

    /// Walks from the largest keys down to where `size` elements are counted.
    pub(super) fn bucket(&self, size: u64) -> Option<Bucket> {
        last_bucket(&self.buckets, size)
    }
}

/// Walks from the last counter down to where `size` elements are counted.
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

/// Neighbouring upper halves whose lower halves are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    first: u32,
    count: u32,
}

impl Window {
    /// That upper half alone.
    pub(super) fn of(bucket: Bucket) -> Self {
        Self { first: bucket.high, count: 1 }
    }

    /// That of a key, and those around it.
    pub(super) fn around(key: u32) -> Self {
        let first = (key >> LOW_BITS).saturating_sub(MARGIN);
        let last = ((key >> LOW_BITS) + MARGIN).min(BUCKETS as u32 - 1);
        Self { first, count: last + 1 - first }
    }

    pub(super) fn contains(self, bucket: Bucket) -> bool {
        (self.first..self.first + self.count).contains(&bucket.high)
    }

    fn first_key(self) -> u32 {
        self.first << LOW_BITS
    }

    fn keys(self) -> u32 {
        self.count << LOW_BITS
    }

    /// Takes those keys that lie in it.
    pub(super) fn collect(self, keys: &[u32], found: &mut Vec<u32>) {
        let (first, count) = (self.first_key(), self.keys());
        found.extend(keys.iter().filter(|key| key.wrapping_sub(first) < count));
    }
}

/// Sorts keys, and counts the equal ones.
pub(super) fn counted(keys: &mut [u32]) -> Counts {
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b).map(|equals| (equals[0], equals.len() as u32)).collect()
}

/// What one unit has in the windows of the two ranks.
pub(super) struct UnitCounts {
    pub range: Range,
    pub counts: [Counts; 2],
}

impl UnitCounts {
    /// How many elements have that key.
    pub(super) fn of(&self, rank: usize, key: u32) -> u64 {
        let counts = &self.counts[rank];
        counts.binary_search_by_key(&key, |(key, _)| *key).map_or(0, |at| u64::from(counts[at].1))
    }
}

/// Counters of one spot for the lower halves in the windows of its two ranks.
pub(super) struct Fine {
    windows: [Option<Window>; 2],
    totals: [Vec<u64>; 2],
    units: Vec<UnitCounts>,
    entries: usize,
}

impl Fine {
    pub(super) fn new(windows: [Option<Window>; 2]) -> Self {
        let totals = windows.map(|window| vec![0; window.map_or(0, |window| window.keys() as usize)]);
        Self { windows, totals, units: Vec::new(), entries: 0 }
    }

    pub(super) fn add(&mut self, unit: UnitCounts) {
        for ((totals, counts), window) in self.totals.iter_mut().zip(&unit.counts).zip(self.windows) {
            let Some(window) = window else { continue };
            for (key, count) in counts {
                totals[(key - window.first_key()) as usize] += u64::from(*count);
            }
        }
        self.entries += unit.counts.iter().map(Vec::len).sum::<usize>();
        if self.entries > MOST_ENTRIES {
            self.units = Vec::new();
        } else {
            self.units.push(unit);
        }
    }

    /// What each unit has, in the order of the elements; `None` where that was too much to keep.
    pub(super) fn units(&mut self) -> Option<&[UnitCounts]> {
        self.units.sort_by_key(|unit| unit.range.first);
        (self.entries <= MOST_ENTRIES).then_some(&self.units)
    }

    /// Whether all was counted that it takes to tell where that rank ends.
    pub(super) fn covers(&self, rank: usize, bucket: Bucket) -> bool {
        bucket.rest == 0 || self.windows[rank].is_some_and(|window| window.contains(bucket))
    }

    /// The end of a rank that ends in `bucket`, which its window contains; a [`Split`] where that is among equals.
    pub(super) fn end(&self, rank: usize, bucket: Bucket, equals: Equals) -> Result<Cut, Split> {
        // The index with which all equals are within.
        let every = match equals {
            Equals::LowFirst => u64::MAX,
            Equals::HighFirst => 0,
        };
        if bucket.rest == 0 {
            // A rank without elements: nothing is larger than the largest key.
            return Ok(Cut { key: u32::MAX, element: 0, equals });
        }
        let first = self.windows[rank].map_or(0, |window| bucket.high - window.first);
        let totals = &self.totals[rank][(first as usize) << LOW_BITS..][..1 << LOW_BITS];
        let Some(Bucket { high: low, rest: left }) = last_bucket(totals, bucket.rest) else {
            // Not so: the bucket was found by counting these very elements.
            return Ok(Cut { key: bucket.high << LOW_BITS, element: every, equals });
        };
        let key = bucket.high << LOW_BITS | low;
        if left == totals[low as usize] { Ok(Cut { key, element: every, equals }) } else { Err(Split { key, left }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a rank's last element, found by sorting, and by counting in the window around another key.
    fn ends(keys: &[u32], size: u64, expected: u32) -> Option<(u32, Result<Cut, Split>)> {
        let mut coarse = Coarse::default();
        coarse.count(keys);
        let bucket = coarse.bucket(size)?;
        let window = Window::around(expected);
        let mut fine = Fine::new([Some(window), None]);
        let mut found = Vec::new();
        window.collect(keys, &mut found);
        let range = Range { tensor: 0, first: 0, count: keys.len() as u64 };
        fine.add(UnitCounts { range, counts: [counted(&mut found), Vec::new()] });
        let mut sorted = keys.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let last = sorted[size as usize - 1];
        fine.covers(0, bucket).then(|| (last, fine.end(0, bucket, Equals::LowFirst)))
    }

    #[test]
    fn a_rank_ends_where_sorting_says_it_does() {
        let keys: Vec<u32> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) + (40 << 16)).collect();
        for size in [1, 2, 77, 2500, 4999, 5000] {
            let mut sorted = keys.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let near = sorted[size as usize - 1].saturating_add(2 << 16);
            let (last, end) = ends(&keys, size, near).expect("two upper halves away is within the window");
            assert_eq!(end.map(|cut| cut.key).unwrap_or_else(|split| split.key), last, "{size}");
            assert_eq!(ends(&keys, size, near + (40 << 16)), None, "far away it is not");
        }
    }

    #[test]
    fn equals_of_which_not_all_are_within_are_split() {
        let keys = [7 << 16, 7 << 16, 7 << 16, 9 << 16];
        assert_eq!(ends(&keys, 3, 7 << 16), Some((7 << 16, Err(Split { key: 7 << 16, left: 2 }))));
        let whole = Cut { key: 7 << 16, element: u64::MAX, equals: Equals::LowFirst };
        assert_eq!(ends(&keys, 4, 7 << 16), Some((7 << 16, Ok(whole))));
    }

    #[test]
    fn windows_end_where_keys_do() {
        for key in [0, (1 << 31) - 1] {
            let window = Window::around(key);
            let mut found = Vec::new();
            window.collect(&[0, (1 << 31) - 1], &mut found);
            assert_eq!(found, [key]);
        }
    }
}
