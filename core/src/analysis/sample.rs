//! A fixed sample of each tensor's updates, on which rounding is previewed at any w.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Dtype;
use crate::layout::Part;
use crate::method::LEAF;
use crate::numeric::{StochasticKey, element};

/// Updates that make a share of a tensor good to ±1 point at 95 %: 1.96² · ¼ ∕ 0.01², the worst case being a half.
pub const FULL_SAMPLE: u64 = 9_604;

/// Updates sampled over all tensors, about at most: 144 MB, or twice as much where models are in f64.
///
/// Experts have smaller samples for it where there are thousands of them: a cell of the charts takes hundreds of their
/// tensors together. All others are sampled in full up to 800 tensors, and have two thirds of this to themselves.
const BUDGET: u64 = 12_000_000;

/// Updates kept of one tensor, however many there are.
const LEAST_SAMPLE: u64 = 256;

/// How many updates to keep of each tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleSizes {
    expert: u64,
    other: u64,
}

impl SampleSizes {
    /// For as many tensors of experts and as many others.
    pub(super) fn new(experts: u64, others: u64) -> Self {
        let share = |budget: u64, tensors: u64| (budget / tensors.max(1)).clamp(LEAST_SAMPLE, FULL_SAMPLE);
        let other = share(if experts == 0 { BUDGET } else { BUDGET * 2 / 3 }, others);
        Self { expert: share(BUDGET.saturating_sub(other * others), experts), other }
    }

    /// Those of a tensor of that part.
    pub(super) fn of(&self, part: Part) -> u64 {
        if part == Part::Expert { self.expert } else { self.other }
    }
}

/// Updates that are looked at for each one that is kept. Leaves in which v is mostly zero then still give their share.
const OVERSAMPLING: u64 = 4;

/// Decides which elements are drawn; any number would do, but always the same.
const SEED: u64 = 0x6d65_7267_6573_636f;

/// pre, post and target of some updates, exactly: a mode that rounds on the way needs all three.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Updates {
    /// Numbers that f32 holds, as those of nearly all models are.
    Narrow(Vec<[f32; 3]>),
    /// Numbers of models in f64.
    Wide(Vec<[f64; 3]>),
}

impl Default for Updates {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl Updates {
    fn new(updates: Vec<[f64; 3]>) -> Self {
        let narrow = updates.as_flattened().iter().all(|&value| f64::from(value as f32) == value);
        if narrow {
            Self::Narrow(updates.iter().map(|update| update.map(|value| value as f32)).collect())
        } else {
            Self::Wide(updates)
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow(updates) => updates.len(),
            Self::Wide(updates) => updates.len(),
        }
    }
}

/// Updates of one tensor (elements in which v is not zero), all equally likely to be among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub(super) updates: Updates,
    /// Whether these are all updates of the tensor.
    pub(super) complete: bool,
}

impl Sample {
    /// Updates sampled.
    pub fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether there are none: v is zero.
    pub fn is_empty(&self) -> bool {
        self.updates.len() == 0
    }

    /// Whether these are all updates of the tensor, so that what is found among them is a count and no estimate.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

/// How the updates of one tensor are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    key: StochasticKey,
    /// Updates to keep of the tensor.
    keep: u64,
    /// Updates to draw of each leaf.
    draw: u64,
}

/// What was drawn of one leaf.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawn {
    /// Updates that the leaf has.
    updates: u64,
    /// pre, post and target of some of them in random order, or of all.
    drawn: Vec<[f64; 3]>,
}

impl Sampler {
    /// For a tensor of `elements` of which `keep` updates are wanted.
    pub(super) fn new(name: &str, elements: u64, keep: u64) -> Self {
        let leaves = elements.div_ceil(LEAF as u64).max(1);
        Self { key: StochasticKey::new(SEED, name), keep, draw: (OVERSAMPLING * keep).div_ceil(leaves) }
    }

    /// Draws from the leaf that begins at element `first` of the tensor.
    ///
    /// `bytes` hold its `count` elements of pre, post and target, `updates` of which are finite and have a v other than
    /// zero. What is drawn depends on the leaf alone.
    pub(super) fn draw(&self, dtypes: [Dtype; 3], bytes: [&[u8]; 3], first: u64, count: usize, updates: u64) -> Drawn {
        // What fine-tuning left alone need not be searched.
        if updates == 0 {
            return Drawn::default();
        }
        // Asked for by the million, nearly always of this dtype.
        let is_bf16 = dtypes == [Dtype::BF16; 3];
        let update = |index: usize| -> Option<[f64; 3]> {
            let values: [f64; 3] = std::array::from_fn(|role| match is_bf16 {
                true => element(Dtype::BF16, bytes[role], index),
                false => element(dtypes[role], bytes[role], index),
            });
            let [pre, post, target] = values;
            let v = post - pre;
            (v != 0.0 && v.is_finite() && target.is_finite()).then_some(values)
        };
        let leaf = first / LEAF as u64;
        let random = |number: u64, below: u64| {
            let bits = u128::from(self.key.bits((leaf << 32) | number));
            ((bits * u128::from(below)) >> 64) as u64
        };
        let mut drawn = Vec::with_capacity(self.draw.min(updates) as usize);
        if self.draw >= updates {
            drawn.extend((0..count).filter_map(update).take(updates as usize));
            for position in 0..drawn.len() {
                let other = position as u64 + random(position as u64, (drawn.len() - position) as u64);
                drawn.swap(position, other as usize);
            }
        } else {
            // On average as many tries as there are elements, at most: less than looking at all of them.
            let indices = (0..=u64::from(u32::MAX)).map(|number| random(number, count as u64) as usize);
            drawn.extend(indices.filter_map(update).take(self.draw as usize));
        }
        Drawn { updates, drawn }
    }

    /// The sample of a tensor, from what was drawn of all its leaves in order: of each as much as it has of the updates.
    pub(super) fn thin(&self, leaves: &[Drawn]) -> Sample {
        let updates: u64 = leaves.iter().map(|leaf| leaf.updates).sum();
        let most = leaves.iter().map(|leaf| leaf.updates).max().unwrap_or(0);
        if updates == 0 {
            return Sample { updates: Updates::default(), complete: true };
        }
        // No leaf can give more than was drawn of it.
        let at_most = if self.draw >= most { updates } else { self.draw * updates / most };
        let keep = self.keep.min(at_most);
        let until = |seen: u64| (u128::from(seen) * u128::from(keep) / u128::from(updates)) as usize;
        let mut drawn = Vec::with_capacity(keep as usize);
        let mut seen = 0;
        for leaf in leaves {
            let count = until(seen + leaf.updates) - until(seen);
            drawn.extend(&leaf.drawn[..count.min(leaf.drawn.len())]);
            seen += leaf.updates;
        }
        Sample { complete: drawn.len() as u64 == updates, updates: Updates::new(drawn) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws from a tensor of f32 in which v of element i is `v(i)` and the target is i.
    fn sample(elements: usize, v: impl Fn(usize) -> f32) -> Sample {
        let sampler = Sampler::new("t", elements as u64, FULL_SAMPLE);
        let mut leaves = Vec::new();
        for first in (0..elements).step_by(LEAF) {
            let count = LEAF.min(elements - first);
            let bytes = |value: &dyn Fn(usize) -> f32| -> Vec<u8> {
                (first..first + count).flat_map(|index| value(index).to_le_bytes()).collect()
            };
            let (pre, post, target) = (bytes(&|_| 0.0), bytes(&v), bytes(&|index| index as f32));
            let updates = (first..first + count).filter(|&index| v(index) != 0.0).count();
            leaves.push(sampler.draw([Dtype::F32; 3], [&pre, &post, &target], first as u64, count, updates as u64));
        }
        sampler.thin(&leaves)
    }

    /// The targets of a sample: the indices of its elements.
    fn targets(sample: &Sample) -> Vec<usize> {
        match &sample.updates {
            Updates::Narrow(updates) => updates.iter().map(|[.., target]| *target as usize).collect(),
            Updates::Wide(updates) => updates.iter().map(|[.., target]| *target as usize).collect(),
        }
    }

    #[test]
    fn a_small_tensor_is_taken_whole() {
        let sample = sample(9_000, |index| if index % 3 == 0 { 1.0 } else { 0.0 });
        assert!(sample.is_complete());
        let mut targets = targets(&sample);
        targets.sort_unstable();
        assert_eq!(targets, (0..9_000).step_by(3).collect::<Vec<_>>());
    }

    #[test]
    fn a_sparse_vector_still_fills_the_sample() {
        let sample = sample(40 * LEAF, |index| if index.is_multiple_of(20) { 1.0 } else { 0.0 });
        assert_eq!((sample.len() as u64, sample.is_complete()), (FULL_SAMPLE, false));
        assert!(targets(&sample).iter().all(|index| index.is_multiple_of(20)));
    }

    #[test]
    fn every_region_gets_its_share_of_the_sample() {
        // Three quarters of all updates lie in the last fifth.
        let size = 50 * LEAF;
        let sample = sample(size, |index| if index % 12 == 0 || index > size * 4 / 5 { 1.0 } else { 0.0 });
        let late = targets(&sample).iter().filter(|index| **index > size * 4 / 5).count() as f64;
        let expected = 0.2 / (0.2 + 0.8 / 12.0);
        assert!((late / sample.len() as f64 - expected).abs() < 0.01, "{late} of {}", sample.len());
    }

    #[test]
    fn experts_share_what_the_others_leave_of_the_budget() {
        let sizes = |experts, others| {
            let sizes = SampleSizes::new(experts, others);
            (sizes.of(Part::Expert), sizes.of(Part::Q))
        };
        assert_eq!(sizes(0, 290), (FULL_SAMPLE, FULL_SAMPLE));
        // Qwen3-30B-A3B: 48 layers of 128 experts.
        let (expert, other) = sizes(48 * 128 * 3, 435);
        assert_eq!(other, FULL_SAMPLE, "a tensor that is a cell of its own is good to a point");
        assert!(expert * 128 * 3 > FULL_SAMPLE, "and so is a layer's cell of experts");
        assert!(expert * 48 * 128 * 3 + other * 435 <= BUDGET);
        assert_eq!(sizes(10_000_000, 10_000_000), (LEAST_SAMPLE, LEAST_SAMPLE));
    }

    #[test]
    fn a_tensor_without_updates_has_an_empty_sample() {
        let sample = sample(3 * LEAF, |_| 0.0);
        assert!(sample.is_empty() && sample.is_complete());
    }

    #[test]
    fn numbers_are_kept_exactly_in_as_few_bits_as_hold_them() {
        let (narrow, wide) = ([0.1_f32, 1.0, -3.5].map(f64::from), [0.1, 1e300, 1e-300]);
        assert_eq!(Updates::new(vec![narrow]), Updates::Narrow(vec![[0.1, 1.0, -3.5]]));
        assert_eq!(Updates::new(vec![narrow, wide]), Updates::Wide(vec![narrow, wide]));
    }
}
