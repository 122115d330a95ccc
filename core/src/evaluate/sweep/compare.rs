//! One arm against another on the same questions.

use serde::Serialize;

use crate::evaluate::statistics::{
    Attempts, Confidence, Interval, Paired, Share, fisher_exact, holm, paired_bootstrap, unpaired_interval,
};
use crate::numeric::StochasticKey;

/// Sign flips that stand for all where there are more.
const FLIPS: u64 = 10_000;
/// Questions that differ of which all sign flips are counted.
const COUNTED: usize = 16;

/// How an arm does against w = 0, asked in the same way in the same condition: on the questions that both answered, or by their
/// counts where nothing else is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Against {
    /// How it was found.
    pub test: Test,
    /// Questions that both answered; of counts, answers of the arm.
    pub questions: u64,
    /// Questions that it does better on; `None` where they are not known one by one.
    pub gained: Option<u64>,
    /// Questions that it does worse on; `None` likewise.
    pub lost: Option<u64>,
    /// Its share of right answers less the other's, from −1 to 1.
    pub difference: f64,
    /// 95 % interval of the difference.
    pub interval: Interval,
    /// How likely so uneven a result is by luck, two-sided.
    pub p: f64,
    /// The same by Holm's adjustment for all values of w that were tried; `None` outside the grid.
    pub p_holm: Option<f64>,
}

/// How p and the interval of a difference are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// One answer to each question: McNemar's exact test and Tango's interval.
    #[serde(rename = "mcnemar")]
    McNemar,
    /// Several: a sign-flip permutation test and a bootstrap, both over questions.
    Permutation,
    /// Counts alone: Fisher's exact test and Newcombe's interval. It cannot see which questions moved, and needs more of them
    /// to show the same.
    Fisher,
}

/// The w that does best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// The scaling coefficient; of those that do equally well, the one nearest to 0.
    pub w: f64,
    /// Whether it was chosen on questions that are not reported on. If not, its result is a little flattering.
    pub held_out: bool,
}

impl Against {
    /// Compares question by question: whether each sample is right, of the first and of the second arm.
    pub(super) fn of(pairs: &[(Vec<bool>, Vec<bool>)]) -> Option<Self> {
        let answered: Vec<(Attempts, Attempts)> = pairs
            .iter()
            .map(|(a, b)| (Attempts::of(a.iter().copied()), Attempts::of(b.iter().copied())))
            .filter(|(a, b)| a.samples > 0 && b.samples > 0)
            .collect();
        let once = answered.iter().all(|(a, b)| a.samples == 1 && b.samples == 1);
        let differences: Vec<f64> =
            answered.iter().map(|(a, b)| b.share().unwrap_or(0.0) - a.share().unwrap_or(0.0)).collect();
        let count = |holds: fn(&f64) -> bool| differences.iter().filter(|value| holds(value)).count() as u64;
        let (gained, lost) = (count(|value| *value > 0.0), count(|value| *value < 0.0));
        let (test, difference, interval, p) = if once {
            let paired = Paired::of(answered.iter().map(|(a, b)| (a.right > 0, b.right > 0)));
            (Test::McNemar, paired.difference()?, paired.interval(Confidence::P95)?, paired.p()?)
        } else {
            let mean = differences.iter().sum::<f64>() / differences.len() as f64;
            let interval = paired_bootstrap(&answered, Confidence::P95, 0)?;
            (Test::Permutation, mean, interval, sign_flips(&differences))
        };
        let questions = answered.len() as u64;
        Some(Self { test, questions, gained: Some(gained), lost: Some(lost), difference, interval, p, p_holm: None })
    }

    /// Compares `to` with `from`, of which only the counts are known.
    pub(super) fn of_counts(from: Share, to: Share) -> Option<Self> {
        Some(Self {
            test: Test::Fisher,
            questions: to.n,
            gained: None,
            lost: None,
            difference: to.value()? - from.value()?,
            interval: unpaired_interval(from, to, Confidence::P95)?,
            p: fisher_exact(from, to)?,
            p_holm: None,
        })
    }
}

/// Corrects what was tried together, by Holm's adjustment.
pub(super) fn correct(tried: &mut [&mut Against]) {
    let adjusted = holm(&tried.iter().map(|against| against.p).collect::<Vec<_>>());
    for (against, p) in tried.iter_mut().zip(adjusted) {
        against.p_holm = Some(p);
    }
}

/// How likely a sum of differences at least as far from 0 is, if each could as well have the other sign (Fisher's
/// randomisation test). All flips are counted where few questions differ, else [`FLIPS`] of them are drawn.
fn sign_flips(differences: &[f64]) -> f64 {
    let moved: Vec<f64> = differences.iter().copied().filter(|value| *value != 0.0).collect();
    let observed = moved.iter().sum::<f64>().abs() - 1e-9;
    let extreme = |sign: &dyn Fn(usize) -> bool| {
        let sum: f64 = moved.iter().enumerate().map(|(at, value)| if sign(at) { *value } else { -value }).sum();
        sum.abs() >= observed
    };
    if moved.len() <= COUNTED {
        let all = 1_u64 << moved.len();
        let found = (0..all).filter(|flips| extreme(&|at| flips >> at & 1 == 1)).count();
        return found as f64 / all as f64;
    }
    let key = StochasticKey::new(0, "sign flips");
    let width = moved.len() as u64;
    let found = (0..FLIPS).filter(|flip| extreme(&|at| key.bits(flip * width + at as u64) >> 63 == 1)).count();
    // The observed signs are one of the possible ones.
    (found + 1) as f64 / (FLIPS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_each_is_mcnemars_test() {
        let pairs: Vec<_> = (0..30).map(|at| (vec![at < 9], vec![at < 14])).collect();
        let against = Against::of(&pairs).unwrap();
        assert_eq!((against.questions, against.gained, against.lost), (30, Some(5), Some(0)));
        assert!((against.p - 2.0 / 32.0).abs() < 1e-12, "{}", against.p);
        assert!((against.difference - 5.0 / 30.0).abs() < 1e-12);
    }

    #[test]
    fn several_answers_count_by_question() {
        // Four samples of 12 questions, each one better by one sample.
        let pairs: Vec<_> =
            (0..12).map(|_| (vec![true, false, false, false], vec![true, true, false, false])).collect();
        let against = Against::of(&pairs).unwrap();
        assert!((against.difference - 0.25).abs() < 1e-12);
        assert!((against.p - 2.0 / 4096.0).abs() < 1e-12, "all signs alike, either way: {}", against.p);
        // As if they were 48 independent answers it would be far smaller.
        assert_eq!((against.test, against.gained), (Test::Permutation, Some(12)));
    }

    #[test]
    fn drawn_flips_agree_with_counted_ones() {
        let differences: Vec<f64> = (0..17).map(|at| if at < 13 { 0.5 } else { -0.25 }).collect();
        let drawn = sign_flips(&differences);
        // Counted by hand: the same sum over all 2¹⁷ signs.
        let all = 1_u64 << 17;
        let observed: f64 = differences.iter().sum();
        let found = (0..all)
            .filter(|flips| {
                let sum: f64 =
                    differences.iter().enumerate().map(|(at, v)| if flips >> at & 1 == 1 { *v } else { -v }).sum();
                sum.abs() >= observed - 1e-9
            })
            .count();
        let exact = found as f64 / all as f64;
        assert!((drawn - exact).abs() < 0.003, "{drawn} against {exact}");
    }

    #[test]
    fn nothing_in_common_is_no_comparison() {
        assert_eq!(Against::of(&[(vec![], vec![true]), (vec![true], vec![])]), None);
    }
}
