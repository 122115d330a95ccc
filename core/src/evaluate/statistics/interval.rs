//! A share of right answers, and between which values it may truly lie.

use serde::{Deserialize, Serialize};

use super::special::{bisect, incomplete_beta, normal_quantile};

/// How sure an interval is to hold the true value, strictly between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence(f64);

/// What is no level of confidence.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the level of confidence is {found}; it must lie between 0 and 1, for example 0.95")]
pub struct ConfidenceError {
    /// What was given.
    pub found: f64,
}

impl Confidence {
    /// 95 %.
    pub const P95: Self = Self(0.95);

    /// A level such as 0.99.
    ///
    /// # Errors
    /// When it is not strictly between 0 and 1.
    pub fn new(level: f64) -> Result<Self, ConfidenceError> {
        if level > 0.0 && level < 1.0 { Ok(Self(level)) } else { Err(ConfidenceError { found: level }) }
    }

    /// The level.
    pub fn level(self) -> f64 {
        self.0
    }

    /// Probability of each of the two tails.
    pub(super) fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// How many standard deviations a standard normal variable stays within.
    pub(super) fn z(self) -> f64 {
        -normal_quantile(self.tail())
    }
}

impl Default for Confidence {
    /// 95 %.
    fn default() -> Self {
        Self::P95
    }
}

impl TryFrom<f64> for Confidence {
    type Error = ConfidenceError;

    fn try_from(level: f64) -> Result<Self, ConfidenceError> {
        Self::new(level)
    }
}

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> Self {
        confidence.level()
    }
}

/// From one value to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Right ones, at most `n`.
    pub right: u64,
    /// All.
    pub n: u64,
}

impl Share {
    /// Right ones over all, from 0 to 1; `None` of none.
    pub fn value(self) -> Option<f64> {
        (self.n > 0).then(|| self.right.min(self.n) as f64 / self.n as f64)
    }

    /// Wilson's score interval (Wilson 1927): (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n). The usual one: its
    /// coverage is near the level on average.
    pub fn wilson(self, confidence: Confidence) -> Option<Interval> {
        Some(wilson(self.value()?, self.n as f64, confidence))
    }

    /// Clopper and Pearson's interval (1934), by inverting the exact binomial test: its coverage is never below the level,
    /// which makes it wide.
    pub fn clopper_pearson(self, confidence: Confidence) -> Option<Interval> {
        let value = self.value()?;
        let (right, wrong, tail) = (value * self.n as f64, (self.n - self.right.min(self.n)) as f64, confidence.tail());
        let right = right.round();
        // P(X ≥ k) = I_p(k, n − k + 1) and P(X ≤ k) = 1 − I_p(k + 1, n − k) = I_{1−p}(n − k, k + 1).
        let low = match right > 0.0 {
            true => bisect(0.0, value, |p| incomplete_beta(right, wrong + 1.0, p) >= tail),
            false => 0.0,
        };
        let high = match wrong > 0.0 {
            true => bisect(value, 1.0, |p| incomplete_beta(wrong, right + 1.0, 1.0 - p) <= tail),
            false => 1.0,
        };
        Some(Interval { low, high })
    }
}

/// Wilson's interval of a share among `n`, which need not be whole.
pub(super) fn wilson(share: f64, n: f64, confidence: Confidence) -> Interval {
    let z = confidence.z();
    let shrink = 1.0 + z * z / n;
    let middle = (share + z * z / (2.0 * n)) / shrink;
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt() / shrink;
    // At the borders the formula gives them but for rounding.
    Interval {
        low: if share <= 0.0 { 0.0 } else { (middle - half).max(0.0) },
        high: if share >= 1.0 { 1.0 } else { (middle + half).min(1.0) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: Option<Interval>, low: f64, high: f64) {
        let found = found.unwrap();
        assert!((found.low - low).abs() < 1e-10 && (found.high - high).abs() < 1e-10, "{found:?} for {low}..{high}");
    }

    #[test]
    fn wilson_intervals_are_those_of_statsmodels() {
        for (right, n, low, high) in [
            (4, 30, 0.05309655484054743, 0.296813266820363),
            (10, 30, 0.19230498083676129, 0.5121994835545616),
            (0, 30, 0.0, 0.1135133931739688),
            (30, 30, 0.8864866068260311, 1.0),
            (1, 10, 0.017876213095072924, 0.40415002679523854),
            (500, 1319, 0.3532795982803646, 0.40557283420660417),
            (0, 1, 0.0, 0.7934506856227627),
            (50_000, 100_000, 0.49690108435968966, 0.5030989156403103),
        ] {
            close(Share { right, n }.wilson(Confidence::P95), low, high);
        }
        let p99 = Confidence::new(0.99).unwrap();
        close(Share { right: 4, n: 30 }.wilson(p99), 0.040560899750674145, 0.35891877560927377);
    }

    #[test]
    fn clopper_pearson_intervals_are_those_of_statsmodels_and_of_the_paper() {
        for (right, n, low, high) in [
            (4, 30, 0.037553496338363315, 0.30721835027612676),
            (10, 30, 0.17287422152603915, 0.5281200447898806),
            (0, 30, 0.0, 0.1157033082220278),
            (30, 30, 0.8842966917779722, 1.0),
            (1, 10, 0.0025285785444617848, 0.4450161170281953),
            (500, 1319, 0.3528078318345262, 0.40588250141466553),
            (0, 1, 0.0, 0.975),
            (50_000, 100_000, 0.4968960624918004, 0.5031039375081996),
        ] {
            close(Share { right, n }.clopper_pearson(Confidence::P95), low, high);
        }
        // arXiv 2508.02913 reports 4 and 10 right of 30.
        let percent = |right| {
            let found = Share { right, n: 30 }.clopper_pearson(Confidence::P95).unwrap();
            format!("{:.1}–{:.1} %", 100.0 * found.low, 100.0 * found.high)
        };
        assert_eq!([percent(4), percent(10)], ["3.8–30.7 %", "17.3–52.8 %"]);
    }

    #[test]
    fn the_exact_interval_covers_at_least_as_often_as_it_says() {
        for n in [1_u64, 7, 30] {
            let intervals: Vec<Interval> =
                (0..=n).map(|right| Share { right, n }.clopper_pearson(Confidence::P95).unwrap()).collect();
            for step in 1..100 {
                let p = f64::from(step) / 100.0;
                let covered: f64 = (0..=n)
                    .filter(|right| (intervals[*right as usize].low..=intervals[*right as usize].high).contains(&p))
                    .map(|right| super::super::special::ln_binomial(right, n, p).exp())
                    .sum();
                assert!(covered >= 0.95 - 1e-9, "{covered} at {p} of {n}");
            }
        }
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        let nothing = Share::default();
        assert_eq!(nothing.value(), None);
        assert_eq!(nothing.wilson(Confidence::P95), None);
        assert_eq!(nothing.clopper_pearson(Confidence::P95), None);
    }

    #[test]
    fn a_level_lies_between_0_and_1() {
        for level in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert!(Confidence::new(level).unwrap_err().to_string().contains("for example 0.95"));
        }
        assert!(serde_json::from_str::<Confidence>("95").is_err());
        assert_eq!(serde_json::from_str::<Confidence>("0.9").unwrap().level(), 0.9);
    }
}
