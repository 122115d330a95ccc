//! Which elements of a vector are kept.

use std::ops::Range;

use super::steps::Steps;
use crate::numeric::StochasticKey;

/// Which elements of one vector's tensor are kept, and what those are multiplied by. What is not kept counts as zero.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// Which.
    pub rule: KeepRule,
    /// 1 unless what is kept is rescaled.
    pub scale: f64,
}

/// Which elements are kept.
#[derive(Clone, Debug)]
pub(crate) enum KeepRule {
    /// All of them.
    All,
    /// None.
    Nothing,
    /// Those among the first of an order by magnitude, but for those among the very first.
    Ranked {
        /// Kept are those within this cut; `None` for all.
        within: Option<Cut>,
        /// Dropped are those within this cut.
        beyond: Option<Cut>,
    },
    /// Each with the same probability.
    Random {
        /// That probability.
        probability: f64,
        /// What is drawn from.
        key: StochasticKey,
    },
    /// Each with a probability that grows evenly with its rank in its row, from the smallest to the largest magnitude.
    RankedRandom {
        /// Probability of the smallest.
        least: f64,
        /// Probability of the largest.
        most: f64,
        /// Elements of a row.
        row: usize,
        /// What is drawn from.
        key: StochasticKey,
    },
}

/// The end of a rank in an order by falling magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// [`magnitude_key`] of the last element within.
    pub key: u32,
    /// Its index in the tensor.
    pub element: u64,
    /// Which of equals come first.
    pub equals: Equals,
}

/// Which of equal magnitudes come first in an order by falling magnitude. mergekit sorts by falling magnitude to trim and by
/// rising magnitude for breadcrumbs, and a stable sort leaves equals in the order of their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equals {
    /// Those with a lower index.
    LowFirst,
    /// Those with a higher index.
    HighFirst,
}

impl Cut {
    /// Whether an element is within.
    #[inline(always)]
    pub(crate) fn contains(self, key: u32, element: u64) -> bool {
        let before = match self.equals {
            Equals::LowFirst => element <= self.element,
            Equals::HighFirst => element >= self.element,
        };
        key > self.key || (key == self.key && before)
    }

    /// The least key of those that are within, where that is the same for all elements of the range.
    fn threshold(self, range: &Range<u64>) -> Option<u32> {
        let equals_are_within = match self.equals {
            Equals::LowFirst if range.end <= self.element.saturating_add(1) => true,
            Equals::LowFirst if range.start > self.element => false,
            Equals::HighFirst if range.start >= self.element => true,
            Equals::HighFirst if range.end <= self.element => false,
            _ => return None,
        };
        // Keys are below 2³¹, but for that of a rank without elements.
        Some(self.key.saturating_add(u32::from(!equals_are_within)))
    }
}

/// A number that grows with the magnitude of a value as f32, below 2³¹; NaN is largest.
#[inline(always)]
pub(crate) fn magnitude_key(value: f64) -> u32 {
    (value as f32).to_bits() & 0x7fff_ffff
}

impl Keep {
    /// Everything as it is.
    pub(crate) const ALL: Self = Self { rule: KeepRule::All, scale: 1.0 };

    /// Puts zero for those elements, from `first` on, that are not kept, and scales the others. `odds` are the
    /// probabilities of these elements, where [`KeepRule::RankedRandom`] needs them.
    #[inline(always)]
    pub(super) fn apply(&self, steps: impl Steps, first: u64, odds: &[f32], values: &mut [f64]) {
        self.rule.apply(first, odds, values);
        if self.scale != 1.0 {
            let scale = steps.to(self.scale);
            values.iter_mut().for_each(|value| *value = steps.to(*value * scale));
        }
    }
}

impl KeepRule {
    /// Puts zero for those elements, from `first` on, that are not kept.
    #[inline(always)]
    pub(crate) fn apply(&self, first: u64, odds: &[f32], values: &mut [f64]) {
        match self {
            Self::All => {}
            Self::Nothing => values.fill(0.0),
            Self::Ranked { within, beyond } => {
                let range = first..first + values.len() as u64;
                let least = within.map_or(Some(0), |cut| cut.threshold(&range));
                let beyond_least = beyond.map_or(Some(u32::MAX), |cut| cut.threshold(&range));
                match (least, beyond_least) {
                    (Some(least), Some(beyond)) => {
                        for value in values {
                            let key = magnitude_key(*value);
                            *value = if (key >= least) & (key < beyond) { *value } else { 0.0 };
                        }
                    }
                    // A rank ends among equals, and just here.
                    _ => {
                        for (element, value) in range.zip(values) {
                            let key = magnitude_key(*value);
                            let kept = within.is_none_or(|cut| cut.contains(key, element))
                                && !beyond.is_some_and(|cut| cut.contains(key, element));
                            *value = if kept { *value } else { 0.0 };
                        }
                    }
                }
            }
            Self::Random { probability, key } => {
                let below = threshold(*probability);
                for (element, value) in (first..).zip(values) {
                    *value = if key.draw(element) < below { *value } else { 0.0 };
                }
            }
            Self::RankedRandom { key, .. } => {
                let count = values.len().min(odds.len());
                let (values, odds) = (&mut values[..count], &odds[..count]);
                for i in 0..count {
                    values[i] = if key.uniform(first + i as u64) < f64::from(odds[i]) { values[i] } else { 0.0 };
                }
            }
        }
    }
}

/// u · 2⁵³ for a uniform u is less than this where u is less than `probability`.
#[inline(always)]
fn threshold(probability: f64) -> u64 {
    // Multiplying by a power of two is exact, and so is this bound: u · 2⁵³ is a whole number.
    (probability * 53_f64.exp2()).ceil() as u64
}

/// The probabilities of the elements of whole rows, `keys` being those of their magnitudes: the smallest of a row has
/// `least`, the largest `most`, and of equals the one with the lower index the lower rank (DELLA: arXiv 2406.11617).
pub(crate) fn odds_of_rows(keys: &[u32], row: usize, (least, most): (f64, f64), odds: &mut Vec<f32>) {
    odds.clear();
    odds.resize(keys.len(), ((least + most) / 2.0) as f32);
    if row < 2 {
        return;
    }
    // Key above, index below. Digit by digit, which is stable and takes half as long as comparing rows of thousands.
    let mut order: Vec<u64> = Vec::with_capacity(row);
    for (keys, odds) in keys.chunks(row).zip(odds.chunks_mut(row)) {
        order.clear();
        order.extend((0_u64..).zip(keys).map(|(index, key)| u64::from(*key) << 32 | index));
        radsort::sort_by_key(&mut order, |packed| (packed >> 32) as u32);
        for (rank, packed) in order.iter().enumerate() {
            let index = (packed & 0xffff_ffff) as usize;
            odds[index] = (least + (most - least) * rank as f64 / (row - 1) as f64) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn odds_grow_along_the_order_that_comparing_gives(
            keys in proptest::collection::vec(prop_oneof![0_u32..5, any::<u32>(), 0x3f80_0000_u32..0x3f80_1000], 2..600),
        ) {
            let mut odds = Vec::new();
            odds_of_rows(&keys, keys.len(), (0.0, (keys.len() - 1) as f64), &mut odds);
            let mut expected: Vec<usize> = (0..keys.len()).collect();
            expected.sort_by_key(|index| (keys[*index], *index));
            let mut order: Vec<usize> = (0..keys.len()).collect();
            order.sort_by_key(|index| odds[*index] as usize);
            prop_assert_eq!(order, expected);
        }
    }
}
