//! How large a difference must be for so many questions to show it.

use serde::{Deserialize, Serialize};

use super::special::{fair_coin_tail, incomplete_beta, ln_binomial};

/// A comparison of two models on the same questions, before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDesign {
    /// How many questions both answer, once each.
    pub questions: u64,
    /// The first model's share of right answers.
    pub baseline: f64,
    /// The share of all questions that only the first model gets right. It is what has to be assumed, and decides much: at a
    /// gain of 10 points, losing 2 % and gaining 12 % shows sooner than losing 10 % and gaining 20 %.
    pub lost: f64,
    /// How many comparisons there are. Each is planned at `alpha` over this, the strictest step of Holm's adjustment.
    pub comparisons: u32,
    /// How often a difference may be seen that is none, such as 0.05.
    pub alpha: f64,
    /// How often a difference that there is should be seen, such as 0.8.
    pub power: f64,
}

impl PairedDesign {
    /// 0.05 and 0.8, as is usual; one comparison.
    pub fn usual(questions: u64, baseline: f64, lost: f64) -> Self {
        Self { questions, baseline, lost, comparisons: 1, alpha: 0.05, power: 0.8 }
    }

    /// The smallest gain (the second model's share less the first's) that McNemar's exact test shows with the power wanted, to
    /// a hundredth of a point; `None` where not even the largest possible gain would show.
    ///
    /// The power is exact, see [`mcnemar_power`]; the assumption is in [`PairedDesign::lost`]. Where nothing is known of it,
    /// the formula of Connor (Biometrics 1987) needs the same assumption.
    pub fn minimum_detectable_gain(&self) -> Option<f64> {
        if !(0.0..=1.0).contains(&self.baseline) {
            return None;
        }
        let alpha = self.alpha / f64::from(self.comparisons.max(1));
        let lost = self.lost.clamp(0.0, self.baseline);
        let most = 1.0 - self.baseline - lost;
        let shows = |gain: f64| mcnemar_power(self.questions, lost + gain, lost, alpha) >= self.power;
        if !(most > 0.0 && shows(most)) {
            return None;
        }
        let (mut low, mut high) = (0.0, most);
        while high - low > 1e-4 {
            let middle = (low + high) / 2.0;
            if shows(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}

/// How often McNemar's exact two-sided test at `alpha` shows that the second model is better, with `questions` of which it
/// gains a share and loses a share on average.
///
/// Exact: summed over how many questions the models may differ on, d ~ Binomial(questions, gained + lost), and over how many
/// of those are lost, Binomial(d, lost ∕ (gained + lost)). What lies 10 standard deviations off is left out. Shares that are
/// none give 0.
pub fn mcnemar_power(questions: u64, gained: f64, lost: f64, alpha: f64) -> f64 {
    let differing = gained + lost;
    if !(gained >= 0.0 && lost >= 0.0 && differing > 0.0 && differing <= 1.0 + 1e-12) {
        return 0.0;
    }
    let mean = questions as f64 * differing;
    let reach = 10.0 * (mean * (1.0 - differing).max(0.0)).sqrt() + 10.0;
    let first = (mean - reach).max(1.0).floor() as u64;
    let last = ((mean + reach).ceil() as u64).min(questions);
    let mut power = 0.0;
    // The most lost questions with which the test still rejects never fall with d.
    let mut most_lost: Option<u64> = None;
    for d in first..=last {
        loop {
            let next = most_lost.map_or(0, |most| most + 1);
            if 2 * next >= d || 2.0 * fair_coin_tail(next, d) > alpha {
                break;
            }
            most_lost = Some(next);
        }
        let Some(most_lost) = most_lost else { continue };
        let weight = match differing < 1.0 {
            true => ln_binomial(d, questions, differing).exp(),
            false => f64::from(u8::from(d == questions)),
        };
        // P(X ≤ k) = I_{1−p}(d − k, k + 1) for X ~ Binomial(d, p).
        power += weight * incomplete_beta((d - most_lost) as f64, most_lost as f64 + 1.0, gained / differing);
    }
    power.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::Paired;
    use super::*;
    use crate::numeric::StochasticKey;

    #[test]
    fn the_power_is_that_of_enumerating_all_outcomes() {
        // By brute force with scipy's binom.
        for (questions, gained, lost, alpha, expected) in [
            (30, 0.3, 0.05, 0.05, 0.5699226047901458),
            (250, 0.1, 0.05, 0.05, 0.4736529585308107),
            (250, 0.15, 0.05, 0.05 / 9.0, 0.7741586274216912),
            (100, 0.2, 0.0, 0.05, 0.9999813199336873),
        ] {
            let found = mcnemar_power(questions, gained, lost, alpha);
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
    }

    #[test]
    fn a_gain_of_that_size_shows_that_often_in_a_simulation() {
        let design = PairedDesign { comparisons: 3, ..PairedDesign::usual(120, 0.3, 0.05) };
        let gain = design.minimum_detectable_gain().unwrap();
        let (trials, mut shown) = (4_000_u64, 0);
        for trial in 0..trials {
            let key = StochasticKey::new(trial, "power");
            let paired = Paired::of((0..design.questions).map(|question| match key.uniform(question) {
                draw if draw < design.lost => (true, false),
                draw if draw < 2.0 * design.lost + gain => (false, true),
                _ => (false, false),
            }));
            shown += u64::from(paired.gained > paired.lost && paired.p().unwrap() <= 0.05 / 3.0);
        }
        // The standard deviation of a share of 0.8 of 4,000 is 0.0063; four of them, and a hundredth of a point of gain.
        let share = shown as f64 / trials as f64;
        assert!((share - 0.8).abs() < 0.027, "{share} at a gain of {gain}");
    }

    #[test]
    fn more_questions_show_smaller_gains() {
        let gain = |questions| PairedDesign::usual(questions, 0.2, 0.05).minimum_detectable_gain();
        assert_eq!(gain(0), None);
        assert_eq!(gain(4), None);
        let gains = [30, 100, 250, 1319, 100_000].map(|questions| gain(questions).unwrap());
        assert!(gains.is_sorted_by(|a, b| a > b), "{gains:?}");
        // 30 questions show no gain below a quarter of them; GSM8K shows about 3 points.
        assert!(gains[0] > 0.25 && (0.02..0.04).contains(&gains[3]), "{gains:?}");
        let strict = PairedDesign { comparisons: 9, ..PairedDesign::usual(250, 0.2, 0.05) };
        assert!(strict.minimum_detectable_gain().unwrap() > gains[2]);
    }

    #[test]
    fn nothing_shows_where_nothing_can_be_gained() {
        assert_eq!(PairedDesign::usual(1000, 1.0, 0.0).minimum_detectable_gain(), None);
        assert_eq!(PairedDesign::usual(1000, f64::NAN, 0.0).minimum_detectable_gain(), None);
        for (gained, lost) in [(0.0, 0.0), (f64::NAN, 0.1), (-0.1, 0.2), (0.8, 0.8)] {
            assert_eq!(mcnemar_power(100, gained, lost, 0.05), 0.0);
        }
        assert!(mcnemar_power(100, 1.0, 0.0, 0.05) > 0.999_999);
    }
}
