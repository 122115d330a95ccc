//! Which elements of a vector are kept.

use super::steps::Steps;
use crate::numeric::StochasticKey;

/// Which elements of one vector's tensor are kept. What is not kept counts as zero.
#[derive(Clone, Debug)]
pub(crate) enum Keep {
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
        /// Whether what is kept is divided by it.
        rescale: bool,
        /// What is drawn from.
        key: StochasticKey,
    },
}

/// The end of a rank in an order by falling magnitude: an element is within it if its key is larger than this one's, or equal
/// and on the right side of this one's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// [`magnitude_key`] of the last element within.
    pub key: u32,
    /// Its index in the tensor.
    pub element: u64,
    /// Which of equals come first.
    pub ties: Ties,
}

/// Which of elements of equal magnitude come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ties {
    /// Those with a lower index.
    LowFirst,
    /// Those with a higher index.
    HighFirst,
}

impl Cut {
    /// Whether an element is within.
    #[inline(always)]
    pub(crate) fn contains(&self, key: u32, element: u64) -> bool {
        let tie = match self.ties {
            Ties::LowFirst => element <= self.element,
            Ties::HighFirst => element >= self.element,
        };
        key > self.key || (key == self.key && tie)
    }
}

/// A number that grows with the magnitude of a value as f32, below 2³¹; NaN is largest.
#[inline(always)]
pub(crate) fn magnitude_key(value: f64) -> u32 {
    (value as f32).to_bits() & 0x7fff_ffff
}

impl Keep {
    /// Puts zero for those elements, from `first` on, that are not kept; rescales the others where that is asked for.
    #[inline(always)]
    pub(super) fn apply(&self, steps: impl Steps, first: u64, values: &mut [f64]) {
        match self {
            Self::All => {}
            Self::Nothing => values.fill(0.0),
            Self::Ranked { within, beyond } => {
                for (element, value) in (first..).zip(values) {
                    let key = magnitude_key(*value);
                    let kept = within.is_none_or(|cut| cut.contains(key, element))
                        && !beyond.is_some_and(|cut| cut.contains(key, element));
                    *value = if kept { *value } else { 0.0 };
                }
            }
            Self::Random { probability, rescale, key } => {
                for (element, value) in (first..).zip(values) {
                    let kept = key.uniform(element) < *probability;
                    let scaled = if *rescale { steps.to(*value / probability) } else { *value };
                    *value = if kept { scaled } else { 0.0 };
                }
            }
        }
    }
}
