//! Random draws that depend on a seed, a purpose and a question's id alone.

use crate::numeric::StochasticKey;

/// A sequence of draws.
pub(super) struct Draw {
    key: StochasticKey,
    drawn: u64,
}

impl Draw {
    /// The sequence of one question for one purpose.
    pub(super) fn new(seed: u64, purpose: &str, id: &str) -> Self {
        Self { key: StochasticKey::new(seed, &format!("{purpose}\n{id}")), drawn: 0 }
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        self.key.bits(self.drawn - 1)
    }

    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        self.drawn += 1;
        self.key.uniform(self.drawn - 1)
    }

    /// A whole number below `count`, 0 where that is 0. Lemire's multiplication without rejection: the bias is below
    /// count / 2⁶⁴.
    pub(super) fn below(&mut self, count: usize) -> usize {
        // The high half of a product of a u64 with a usize is less than the usize.
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// A whole number from `low` to `high`, both included; `low` where there is none between.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = i128::from(high) - i128::from(low) + 1;
        if span <= 1 {
            return low;
        }
        let offset = (u128::from(self.next()) * span.unsigned_abs()) >> 64;
        // low + offset ≤ high.
        i64::try_from(i128::from(low) + offset as i128).unwrap_or(low)
    }

    /// Puts items into a random order (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_reach_all_of_it() {
        let mut draw = Draw::new(1, "test", "a");
        let mut seen = [0; 5];
        for _ in 0..500 {
            seen[draw.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 60), "{seen:?}");
        assert_eq!(draw.below(0), 0);
        let mut ends = [false; 2];
        for _ in 0..200 {
            let value = draw.between(-3, 3);
            assert!((-3..=3).contains(&value));
            ends[0] |= value == -3;
            ends[1] |= value == 3;
        }
        assert_eq!(ends, [true; 2]);
        assert_eq!(draw.between(7, 2), 7);
        draw.between(i64::MIN, i64::MAX);
    }

    #[test]
    fn a_sequence_follows_from_seed_purpose_and_id() {
        let of = |seed, purpose, id| {
            let mut items: Vec<u32> = (0..20).collect();
            Draw::new(seed, purpose, id).shuffle(&mut items);
            items
        };
        assert_eq!(of(1, "p", "a"), of(1, "p", "a"));
        for other in [of(2, "p", "a"), of(1, "q", "a"), of(1, "p", "b")] {
            assert_ne!(of(1, "p", "a"), other);
        }
    }
}
