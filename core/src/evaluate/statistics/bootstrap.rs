//! The difference of two averages, where each question has several samples.

use super::interval::{Confidence, Interval};
use super::samples::Attempts;
use crate::numeric::StochasticKey;

/// How many times questions are drawn anew.
pub const RESAMPLES: usize = 10_000;

/// The percentile interval of the difference of two models' averages (avg@k, the second less the first), by drawing questions
/// with replacement [`RESAMPLES`] times (Efron and Tibshirani 1993, chapter 13).
///
/// A question is drawn with all its samples of both models, so that neither pairing nor clusters are broken. The same seed
/// gives the same interval anywhere. Questions that one of the models has no sample of are left out; `None` where none is
/// left.
pub fn paired_bootstrap(questions: &[(Attempts, Attempts)], confidence: Confidence, seed: u64) -> Option<Interval> {
    let differences: Vec<f64> =
        questions.iter().filter_map(|(first, second)| Some(second.share()? - first.share()?)).collect();
    if differences.is_empty() {
        return None;
    }
    let n = differences.len();
    let key = StochasticKey::new(seed, "paired bootstrap");
    let mut draws: Vec<f64> = (0..RESAMPLES)
        .map(|resample| {
            let first = (resample * n) as u64;
            // The upper half of a 128-bit product is uniform below n, but for a part in 2⁶⁴ ∕ n.
            let drawn = |counter: u64| ((u128::from(key.bits(first + counter)) * n as u128) >> 64) as usize;
            (0..n as u64).map(|counter| differences[drawn(counter)]).sum::<f64>() / n as f64
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    // The (B + 1)·α/2-th from either end.
    let from_end = ((RESAMPLES + 1) as f64 * confidence.tail()).floor() as usize;
    let from_end = from_end.saturating_sub(1).min(RESAMPLES / 2 - 1);
    Some(Interval { low: draws[from_end], high: draws[RESAMPLES - 1 - from_end] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(right: bool) -> Attempts {
        Attempts::of([right])
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_on_any_machine() {
        let questions: Vec<_> = (0..30).map(|index| (one(index % 7 == 0), one(index % 3 == 0))).collect();
        let interval = |seed| paired_bootstrap(&questions, Confidence::P95, seed).unwrap();
        assert_eq!(interval(1), interval(1));
        assert_eq!(interval(1), Interval { low: -1.0 / 30.0, high: 11.0 / 30.0 });
    }

    #[test]
    fn it_agrees_with_tangos_interval_where_both_hold() {
        let counts = [((true, true), 400), ((false, true), 200), ((true, false), 100), ((false, false), 300)];
        let pairs: Vec<(bool, bool)> = counts.iter().flat_map(|(pair, count)| vec![*pair; *count]).collect();
        let questions: Vec<_> = pairs.iter().map(|(first, second)| (one(*first), one(*second))).collect();
        let found = paired_bootstrap(&questions, Confidence::P95, 0).unwrap();
        let tango = super::super::Paired::of(pairs).interval(Confidence::P95).unwrap();
        assert!(
            (found.low - tango.low).abs() < 0.003 && (found.high - tango.high).abs() < 0.003,
            "{found:?} {tango:?}"
        );
    }

    #[test]
    fn it_covers_the_true_difference_about_as_often_as_it_says() {
        // 100 questions with two samples of each model; how hard a question is varies, and both models share it.
        let (trials, mut covered) = (200_u64, 0);
        for trial in 0..trials {
            let key = StochasticKey::new(trial, "coverage");
            let questions: Vec<_> = (0..100_u64)
                .map(|question| {
                    let ease = key.uniform(question * 8) * 0.8;
                    let answers = |from: u64, bonus: f64| {
                        Attempts::of((0..2).map(|sample| key.uniform(question * 8 + from + sample) < ease + bonus))
                    };
                    (answers(1, 0.0), answers(3, 0.15))
                })
                .collect();
            let found = paired_bootstrap(&questions, Confidence::P95, trial).unwrap();
            covered += u64::from((found.low..=found.high).contains(&0.15));
        }
        // 95 % of 200 is 190; its standard deviation is 3.1.
        assert!((178..=200).contains(&covered), "{covered} of {trials}");
    }

    #[test]
    fn borders_hold_and_of_nothing_nothing_is_said() {
        assert_eq!(paired_bootstrap(&[], Confidence::P95, 0), None);
        assert_eq!(paired_bootstrap(&[(one(true), Attempts::default())], Confidence::P95, 0), None);
        let all = [(one(false), one(true)); 30];
        assert_eq!(paired_bootstrap(&all, Confidence::P95, 0), Some(Interval { low: 1.0, high: 1.0 }));
        let nearly_all = Confidence::new(1.0 - 1e-9).unwrap();
        assert!(paired_bootstrap(&all, nearly_all, 0).is_some());
        let hardly_any = Confidence::new(1e-9).unwrap();
        assert!(paired_bootstrap(&all, hardly_any, 0).is_some());
    }
}
