//! Two models on the same questions.

use serde::{Deserialize, Serialize};

use super::interval::{Confidence, Interval, Share};
use super::special::{bisect, fair_coin_tail};

/// How the answers of two models to the same questions compare, one answer each. The first is usually the target, the second
/// the merged model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Paired {
    /// Both are right.
    pub both: u64,
    /// Only the second is.
    pub gained: u64,
    /// Only the first is.
    pub lost: u64,
    /// Neither is.
    pub neither: u64,
}

impl Paired {
    /// Counts pairs: whether the first and the second model is right.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut paired = Self::default();
        for pair in pairs {
            let count = match pair {
                (true, true) => &mut paired.both,
                (false, true) => &mut paired.gained,
                (true, false) => &mut paired.lost,
                (false, false) => &mut paired.neither,
            };
            *count += 1;
        }
        paired
    }

    /// How many questions there are.
    pub fn n(self) -> u64 {
        self.both + self.gained + self.lost + self.neither
    }

    /// The first model's share.
    pub fn first(self) -> Share {
        Share { right: self.both + self.lost, n: self.n() }
    }

    /// The second model's share.
    pub fn second(self) -> Share {
        Share { right: self.both + self.gained, n: self.n() }
    }

    /// The second model's share less the first's, from −1 to 1; `None` of no questions.
    pub fn difference(self) -> Option<f64> {
        (self.n() > 0).then(|| (self.gained as f64 - self.lost as f64) / self.n() as f64)
    }

    /// McNemar's exact test, two-sided: how likely a split of gained and lost at least as uneven as this one is, if each
    /// question that only one model gets right could be either's. 1 where they differ on none; `None` of no questions.
    pub fn p(self) -> Option<f64> {
        let (fewer, differing) = (self.gained.min(self.lost), self.gained + self.lost);
        match self.n() {
            0 => None,
            // Also 0 = 0, and the one case in which both tails have the middle.
            _ if self.gained == self.lost => Some(1.0),
            _ => Some((2.0 * fair_coin_tail(fewer, differing)).min(1.0)),
        }
    }

    /// Tango's score interval of the difference (1998): the differences that a score test would not reject. At a difference of
    /// 0 that test is McNemar's, without its exactness; so now and then, close to the border, the two disagree.
    pub fn interval(self, confidence: Confidence) -> Option<Interval> {
        let difference = self.difference()?;
        let z = confidence.z();
        let low = bisect(-1.0, difference, |delta| self.score(delta) <= z);
        let high = bisect(difference, 1.0, |delta| self.score(delta) < -z);
        Some(Interval {
            low: if difference <= -1.0 { -1.0 } else { low },
            high: if difference >= 1.0 { 1.0 } else { high },
        })
    }

    /// How many standard deviations the difference lies above `delta`, if that is the true one (Tango 1998, eq. 5).
    fn score(self, delta: f64) -> f64 {
        let (n, gained, lost) = (self.n() as f64, self.gained as f64, self.lost as f64);
        // The likeliest share of lost questions, given delta, is the root of a·q² + b·q + c.
        let a = 2.0 * n;
        let b = -gained - lost + (2.0 * n - gained + lost) * delta;
        let c = -lost * delta * (1.0 - delta);
        let share = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
        let above = gained - lost - n * delta;
        let variance = n * (2.0 * share + delta * (1.0 - delta));
        if above == 0.0 { 0.0 } else { above / variance.max(0.0).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(gained: u64, lost: u64, n: u64) -> Paired {
        Paired { gained, lost, both: 0, neither: n - gained - lost }
    }

    #[test]
    fn the_test_is_that_of_scipy() {
        for (gained, lost, expected) in [
            (1, 9, 0.021484375),
            (10, 3, 0.09228515625),
            (0, 5, 0.0625),
            (121, 59, 4.4344492637551645e-06),
            (50_500, 49_500, 0.0015823598788515154),
            (300, 200, 8.940066542253288e-06),
            (1, 0, 1.0),
        ] {
            let p = paired(gained, lost, gained + lost).p().unwrap();
            assert!((p / expected - 1.0).abs() < 1e-9, "{p} for {expected}");
        }
    }

    #[test]
    fn the_test_is_the_count_of_all_ways_to_toss_coins() {
        for n in 0..=14_u32 {
            for gained in 0..=n {
                let fewer = gained.min(n - gained);
                let as_uneven = (0..1_u32 << n).filter(|tosses| {
                    let heads = tosses.count_ones();
                    heads.min(n - heads) <= fewer
                });
                let expected = as_uneven.count() as f64 / f64::from(1_u32 << n);
                let found = paired(gained.into(), (n - gained).into(), 20).p().unwrap();
                assert!((found - expected).abs() < 1e-12, "{gained} of {n}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn many_questions_overflow_nothing() {
        let p = paired(100_000, 0, 100_000).p().unwrap();
        assert!((0.0..1e-300).contains(&p));
        let p = paired(50_001, 50_000, 200_000).p().unwrap();
        assert!(p > 0.99 && p <= 1.0);
    }

    #[test]
    fn intervals_are_tangos() {
        // Airway hyper-responsiveness before and after a transplant (Bentur 2009): Fagerland, Lydersen and Laake (2014) give
        // −0.517 to −0.026. The others were computed by root finding in scipy.
        for (gained, lost, n, low, high) in [
            (1, 7, 21, -0.5172322764212649, -0.026003032480949203),
            (40, 20, 160, 0.03086453313308736, 0.21806424416682058),
            (12, 2, 50, 0.06111240618634396, 0.34470874828214343),
            (6, 16, 161, -0.12402343246406897, -0.005433395731855453),
        ] {
            let found = paired(gained, lost, n).interval(Confidence::P95).unwrap();
            assert!((found.low - low).abs() < 1e-9 && (found.high - high).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn borders_hold_and_of_nothing_nothing_is_said() {
        let nothing = Paired::default();
        assert_eq!((nothing.difference(), nothing.p(), nothing.interval(Confidence::P95)), (None, None, None));
        let same = paired(0, 0, 30);
        assert_eq!((same.difference(), same.p()), (Some(0.0), Some(1.0)));
        let interval = same.interval(Confidence::P95).unwrap();
        assert!(interval.low < -0.1 && interval.low > -0.12 && (interval.low + interval.high).abs() < 1e-12);
        for (all, border) in [(paired(30, 0, 30), 1.0), (paired(0, 30, 30), -1.0)] {
            let interval = all.interval(Confidence::P95).unwrap();
            assert_eq!(if border > 0.0 { interval.high } else { interval.low }, border);
            assert!(interval.low < interval.high && interval.low >= -1.0 && interval.high <= 1.0);
        }
    }

    #[test]
    fn pairs_are_counted_and_shares_follow() {
        let paired = Paired::of([(true, true), (false, true), (false, true), (true, false), (false, false)]);
        assert_eq!(paired, Paired { both: 1, gained: 2, lost: 1, neither: 1 });
        assert_eq!((paired.first(), paired.second()), (Share { right: 2, n: 5 }, Share { right: 3, n: 5 }));
        assert_eq!(paired.difference(), Some(0.2));
    }
}
