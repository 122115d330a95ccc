//! Several samples of each question.

use serde::{Deserialize, Serialize};

use super::interval::{Confidence, Interval, wilson};

/// How a model did on one question that it answered several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempts {
    /// Right answers, at most `samples`.
    pub right: u32,
    /// All answers.
    pub samples: u32,
}

impl Attempts {
    /// Counts answers.
    pub fn of(answers: impl IntoIterator<Item = bool>) -> Self {
        let mut attempts = Self::default();
        for is_right in answers {
            attempts.right += u32::from(is_right);
            attempts.samples += 1;
        }
        attempts
    }

    /// The share of right answers; `None` of none.
    pub fn share(self) -> Option<f64> {
        (self.samples > 0).then(|| f64::from(self.right.min(self.samples)) / f64::from(self.samples))
    }

    /// How likely at least one of k of the answers, drawn without replacement, is right: 1 − C(n − c, k) / C(n, k), the
    /// unbiased estimator of arXiv 2107.03374. `None` for k = 0 or more than there are.
    pub fn pass_at(self, k: u32) -> Option<f64> {
        if k == 0 || k > self.samples {
            return None;
        }
        let wrong = self.samples - self.right.min(self.samples);
        if wrong < k {
            return Some(1.0);
        }
        // As a product, since the binomial coefficients overflow.
        let none: f64 = (wrong + 1..=self.samples).map(|i| 1.0 - f64::from(k) / f64::from(i)).product();
        Some(1.0 - none)
    }
}

/// pass@k: the mean of [`Attempts::pass_at`] over questions. `None` of no questions, or where one has fewer than k samples.
pub fn pass_at_k(questions: &[Attempts], k: u32) -> Option<f64> {
    let sum = questions.iter().map(|attempts| attempts.pass_at(k)).sum::<Option<f64>>()?;
    (!questions.is_empty()).then(|| sum / questions.len() as f64)
}

/// avg@k: the mean over questions of each one's share of right answers, and how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// Questions with at least one sample; they weigh the same.
    pub questions: usize,
    /// Samples of all questions.
    pub samples: usize,
    /// avg@k.
    pub mean: f64,
    /// Standard deviation between runs, where the first samples of all questions are one run, the second another: how much the
    /// result of a whole run varies by sampling alone. `None` unless every question has the same number of samples, two
    /// at least.
    pub sd_between_runs: Option<f64>,
    /// Standard error of the mean with questions as clusters, √(Σ(m_q − m)² / (Q(Q − 1))): samples of one question are not
    /// independent, so k samples of 30 questions are not 30·k questions. `None` of fewer than two questions.
    pub standard_error: Option<f64>,
    /// Wilson's interval with the number of independent answers that the standard error stands for, m(1 − m)/SE² (Korn and
    /// Graubard 1998; Franco et al. 2019), held between the number of questions and that of samples. With one sample of each
    /// question it is Wilson's interval of the share.
    pub interval: Interval,
}

impl Average {
    /// The average over questions, given for each whether its samples are right, in the order of sampling. `None` where none
    /// has a sample.
    pub fn of(questions: &[Vec<bool>], confidence: Confidence) -> Option<Self> {
        let shares: Vec<f64> =
            questions.iter().filter_map(|answers| Attempts::of(answers.iter().copied()).share()).collect();
        if shares.is_empty() {
            return None;
        }
        let samples = questions.iter().map(Vec::len).sum();
        let count = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let standard_error = deviation(&shares, mean).map(|deviation| deviation / count.sqrt());
        // Sampling error of the same number of independent answers.
        let independent = match standard_error {
            Some(error) if error > 0.0 => (mean * (1.0 - mean) / (error * error)).clamp(count, samples as f64),
            // All shares are the same: of 0 or 1 nothing tells how alike the samples of a question are, so that each counts as one.
            _ if mean <= 0.0 || mean >= 1.0 => count,
            Some(_) => samples as f64,
            None => count,
        };
        Some(Self {
            questions: shares.len(),
            samples,
            mean,
            sd_between_runs: sd_between_runs(questions),
            standard_error,
            interval: wilson(mean, independent, confidence),
        })
    }
}

/// Standard deviation of a sample, over n − 1; `None` of fewer than two.
fn deviation(values: &[f64], mean: f64) -> Option<f64> {
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

fn sd_between_runs(questions: &[Vec<bool>]) -> Option<f64> {
    let runs = questions.first()?.len();
    if questions.iter().any(|answers| answers.len() != runs) {
        return None;
    }
    let accuracy = |run: usize| questions.iter().filter(|answers| answers[run]).count() as f64 / questions.len() as f64;
    let accuracies: Vec<f64> = (0..runs).map(accuracy).collect();
    deviation(&accuracies, accuracies.iter().sum::<f64>() / runs as f64)
}

#[cfg(test)]
mod tests {
    use super::super::interval::Share;
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn pass_at_k_is_the_share_of_draws_with_a_right_answer() {
        for samples in 1..=8_u32 {
            for right in 0..=samples {
                for k in 1..=samples {
                    // The first `right` of the answers are the right ones.
                    let draws: Vec<u32> = (0..1_u32 << samples).filter(|draw| draw.count_ones() == k).collect();
                    let hits = draws.iter().filter(|draw| **draw & ((1 << right) - 1) != 0).count();
                    let found = Attempts { right, samples }.pass_at(k).unwrap();
                    close(found, hits as f64 / draws.len() as f64);
                }
            }
        }
    }

    #[test]
    fn pass_at_k_of_many_samples_overflows_nothing() {
        let attempts = Attempts { right: 1, samples: 100_000 };
        close(attempts.pass_at(50_000).unwrap(), 0.5);
        close(attempts.pass_at(1).unwrap(), 1e-5);
    }

    #[test]
    fn pass_at_more_than_there_are_is_not_known() {
        assert_eq!(Attempts { right: 1, samples: 4 }.pass_at(5), None);
        assert_eq!(Attempts { right: 1, samples: 4 }.pass_at(0), None);
        assert_eq!(pass_at_k(&[], 1), None);
        let questions = [Attempts { right: 1, samples: 2 }, Attempts { right: 0, samples: 1 }];
        assert_eq!(pass_at_k(&questions, 2), None);
        assert_eq!(pass_at_k(&questions, 1), Some(0.25));
    }

    #[test]
    fn with_one_sample_each_the_average_is_a_share_with_wilsons_interval() {
        let questions: Vec<Vec<bool>> = (0..30).map(|index| vec![index < 4]).collect();
        let average = Average::of(&questions, Confidence::P95).unwrap();
        let wilson = Share { right: 4, n: 30 }.wilson(Confidence::P95).unwrap();
        close(average.mean, 4.0 / 30.0);
        close(average.interval.low, wilson.low);
        close(average.interval.high, wilson.high);
        assert_eq!(average.sd_between_runs, None);
    }

    #[test]
    fn samples_that_repeat_each_other_add_no_certainty() {
        let once: Vec<Vec<bool>> = (0..30).map(|index| vec![index < 12]).collect();
        let eight: Vec<Vec<bool>> = (0..30).map(|index| vec![index < 12; 8]).collect();
        let (once, eight) =
            (Average::of(&once, Confidence::P95).unwrap(), Average::of(&eight, Confidence::P95).unwrap());
        close(eight.interval.low, once.interval.low);
        close(eight.standard_error.unwrap(), once.standard_error.unwrap());
        close(eight.sd_between_runs.unwrap(), 0.0);
    }

    #[test]
    fn samples_that_differ_add_certainty() {
        // Every question is right in half of its samples, so that no question is harder than another.
        let questions: Vec<Vec<bool>> = (0..30).map(|_| (0..8).map(|sample| sample % 2 == 0).collect()).collect();
        let average = Average::of(&questions, Confidence::P95).unwrap();
        let wilson = Share { right: 120, n: 240 }.wilson(Confidence::P95).unwrap();
        close(average.interval.low, wilson.low);
        // Runs alternate between all right and all wrong: √(8 · 0.25 / 7).
        close(average.sd_between_runs.unwrap(), (2.0_f64 / 7.0).sqrt());
    }

    #[test]
    fn borders_hold_and_of_nothing_nothing_is_said() {
        assert_eq!(Average::of(&[], Confidence::P95), None);
        assert_eq!(Average::of(&[vec![], vec![]], Confidence::P95), None);
        for is_right in [true, false] {
            let average = Average::of(&vec![vec![is_right; 4]; 10], Confidence::P95).unwrap();
            let wilson = Share { right: if is_right { 10 } else { 0 }, n: 10 }.wilson(Confidence::P95).unwrap();
            assert_eq!(average.interval, wilson);
        }
        let one = Average::of(&[vec![true, false]], Confidence::P95).unwrap();
        assert_eq!((one.standard_error, one.mean), (None, 0.5));
        assert!(one.interval.low > 0.0 && one.interval.high < 1.0);
    }
}
