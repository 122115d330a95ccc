//! The share of updates that survives, of hundreds of tensors in one curve.

/// Steps of a curve: shares are read off it to a few thousandths of a per cent.
const STEPS: usize = 4096;

/// Survival of the updates of many tensors that share a coefficient, for one sign of it.
///
/// Looking up each tensor's own curve takes as many cache misses as there are tensors. This is their sum, drawn once.
#[derive(Clone, Debug)]
pub(super) struct SurvivalCurve {
    /// At entry i the largest |w| at which no more than i ∕ [`STEPS`] of the updates survive; ascending.
    last_lost: Vec<f32>,
    /// What the variance of a share p is, of p·(1 − p).
    spread: f64,
    /// Updates sampled, and tensors they are of.
    sampled: f64,
    tensors: f64,
}

/// The sampled updates of one tensor.
pub(super) struct Stratum<'a> {
    /// The largest |w| at which each is lost.
    pub(super) last_lost: &'a [f32],
    /// Updates that the tensor has.
    pub(super) updates: f64,
}

impl SurvivalCurve {
    /// Draws the curve; `None` when all updates were looked at, for then they can be counted.
    pub(super) fn new<'a>(strata: impl IntoIterator<Item = Stratum<'a>>) -> Option<Self> {
        let (mut updates, mut variance, mut tensors) = (0.0, 0.0, 0.0);
        let mut weighted: Vec<(f32, f32)> = Vec::new();
        for Stratum { last_lost, updates: count } in strata.into_iter().filter(|stratum| !stratum.last_lost.is_empty())
        {
            let sampled = last_lost.len() as f64;
            let weight = (count / sampled) as f32;
            weighted.extend(last_lost.iter().map(|&last_lost| (last_lost, weight)));
            updates += count;
            tensors += 1.0;
            if sampled < count {
                variance += count * count / sampled;
            }
        }
        if variance == 0.0 {
            return None;
        }
        weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = weighted.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut curve = Vec::with_capacity(STEPS + 1);
        let mut seen = 0.0;
        for &(last_lost, weight) in &weighted {
            // From here on more than the updates before it survive.
            while curve.len() as f64 <= seen / total * STEPS as f64 {
                curve.push(last_lost);
            }
            seen += f64::from(weight);
        }
        let last = weighted.last().map_or(0.0, |(last_lost, _)| *last_lost);
        curve.resize(STEPS + 1, last);
        let spread = variance / (updates * updates);
        Some(Self { last_lost: curve, spread, sampled: weighted.len() as f64, tensors })
    }

    /// The share that survives at |w|, 0 to 1, and how far it may be off at so many standard deviations.
    ///
    /// The variance is taken as if every tensor had the share of all. That is no less than the sum of their own variances
    /// when they are of one size, as experts are: p·(1 − p) is concave.
    pub(super) fn at(&self, magnitude: f32, deviations: f64) -> (f64, f64) {
        let below = self.last_lost.partition_point(|&last_lost| last_lost < magnitude);
        let share = match (below.checked_sub(1).map(|before| self.last_lost[before]), self.last_lost.get(below)) {
            (None, _) => 0.0,
            (Some(_), None) => 1.0,
            (Some(before), Some(&after)) => {
                let part = f64::from(magnitude - before) / f64::from(after - before);
                ((below - 1) as f64 + part) / STEPS as f64
            }
        };
        // Agresti and Coull's two added successes and failures for each tensor, as where they are looked up one by one.
        let held = (share * self.sampled + 2.0 * self.tensors) / (self.sampled + 4.0 * self.tensors);
        (share, deviations * (self.spread * held * (1.0 - held)).sqrt() + 0.5 / STEPS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_updates_within_a_step() {
        // Two tensors, one of which stands for three times as many updates.
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..10_000).map(|i| i as f32 / 1e4).collect(), (0..10_000).map(|i| 0.5 + i as f32 / 1e4).collect());
        let strata = [Stratum { last_lost: &a, updates: 3e6 }, Stratum { last_lost: &b, updates: 1e6 }];
        let curve = SurvivalCurve::new(strata).expect("there are updates");
        let below = |list: &[f32], w: f32| list.iter().filter(|&&last| last < w).count() as f64 / list.len() as f64;
        for step in 0..=160 {
            let w = step as f32 / 100.0 + 0.003;
            let expected = 0.75 * below(&a, w) + 0.25 * below(&b, w);
            let (share, margin) = curve.at(w, 2.0);
            assert!((share - expected).abs() <= 1.0 / STEPS as f64, "at {w} {share}, not {expected}");
            // Ten thousand of three million updates: at most 2·√(¼ ∕ 10,000), of three quarters of all.
            assert!(margin > 1e-4 && margin < 0.009, "{margin}");
        }
        assert_eq!((curve.at(0.0, 2.0).0, curve.at(9.0, 2.0).0), (0.0, 1.0));
    }

    #[test]
    fn updates_that_survive_together_are_a_step() {
        let same = vec![0.25_f32; 4];
        let curve = SurvivalCurve::new([Stratum { last_lost: &same, updates: 8.0 }]).expect("there are updates");
        assert_eq!((curve.at(0.25, 2.0).0, curve.at(0.25_f32.next_up(), 2.0).0), (0.0, 1.0));
    }

    #[test]
    fn what_can_be_counted_is_not_read_off_a_curve() {
        let all = Stratum { last_lost: &[0.1, 0.2], updates: 2.0 };
        let none = Stratum { last_lost: &[], updates: 0.0 };
        assert!(SurvivalCurve::new([all, none]).is_none());
    }
}
