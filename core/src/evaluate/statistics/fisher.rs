//! Two shares that are not of the same questions, or of which only the counts are published.

use super::interval::{Confidence, Interval, Share};
use super::special::ln_choose;

/// Fisher's exact test, two-sided: the probability, given the margins, of a table that is at most as likely as this one.
///
/// For published counts. Where both models answered the same questions one by one, [`Paired`](super::Paired) sees more.
/// `None` where one of them is of nothing, or both together are more than fit 64 bits.
pub fn fisher_exact(a: Share, b: Share) -> Option<f64> {
    if a.n == 0 || b.n == 0 || a.right > a.n || b.right > b.n {
        return None;
    }
    let right = a.right.checked_add(b.right)?;
    let all = a.n.checked_add(b.n)?;
    // Right answers in `a` that the margins allow.
    let (least, most) = (right.saturating_sub(b.n), right.min(a.n));
    let ln_of = |in_a: u64| ln_choose(a.n, in_a) + ln_choose(b.n, right - in_a) - ln_choose(all, right);
    // Tables as likely as this one count, also where rounding puts them a little above: as in R's fisher.test.
    let observed = ln_of(a.right) + 1e-7;
    let mode = ((u128::from(a.n) + 1) * (u128::from(right) + 1) / (u128::from(all) + 2)) as u64;
    let mode = mode.clamp(least, most);
    if ln_of(mode) <= observed {
        return Some(1.0);
    }
    // Likelihoods fall on either side of the mode, so that each tail begins where they first are no more than the observed one.
    let first_of = |toward: u64| {
        let (mut inside, mut outside) = (mode, toward);
        if ln_of(outside) > observed {
            return None;
        }
        while inside.abs_diff(outside) > 1 {
            let middle = inside.midpoint(outside);
            if ln_of(middle) <= observed { outside = middle } else { inside = middle }
        }
        Some(outside)
    };
    // Each table from the one before: how likely one more, or one less, in `a` is.
    let more = |in_a: u64| {
        let (to, from) = ((a.n - in_a) as f64 * (right - in_a) as f64, (b.n + in_a + 1 - right) as f64);
        to / ((in_a + 1) as f64 * from)
    };
    let tail = |first: Option<u64>, ratios: &mut dyn Iterator<Item = f64>| {
        let Some(first) = first else { return 0.0 };
        let mut term = ln_of(first).exp();
        let mut sum = term;
        for ratio in ratios {
            term *= ratio;
            sum += term;
            if term <= sum * f64::EPSILON {
                break;
            }
        }
        sum
    };
    let (low, high) = (first_of(least), first_of(most));
    let p = tail(low, &mut (least..low.unwrap_or(least)).rev().map(|in_a| 1.0 / more(in_a)))
        + tail(high, &mut (high.unwrap_or(most)..most).map(more));
    Some(p.min(1.0))
}

/// The interval of b − a by squaring and adding Wilson's (Newcombe 1998, Statistics in Medicine 17:873, method 10), from −1 to 1.
///
/// `None` where one of them is of nothing.
pub fn unpaired_interval(a: Share, b: Share, confidence: Confidence) -> Option<Interval> {
    let (from, to) = (a.value()?, b.value()?);
    let (around_from, around_to) = (a.wilson(confidence)?, b.wilson(confidence)?);
    Some(Interval {
        low: to - from - (to - around_to.low).hypot(around_from.high - from),
        high: to - from + (around_to.high - to).hypot(from - around_from.low),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(right_a: u64, n_a: u64, right_b: u64, n_b: u64) -> f64 {
        fisher_exact(Share { right: right_a, n: n_a }, Share { right: right_b, n: n_b }).unwrap()
    }

    #[test]
    fn published_counts_have_their_known_values() {
        // arXiv 2508.02913: target and w = 1 in Japanese, in English, and the donor against w = 1.
        let rounded = [p(4, 30, 10, 30), p(7, 30, 16, 30), p(9, 30, 10, 30)].map(|p| format!("{p:.3}"));
        assert_eq!(rounded, ["0.125", "0.033", "1.000"]);
    }

    #[test]
    fn values_are_those_of_scipy() {
        for (found, expected) in [
            (p(4, 30, 10, 30), 0.12527840350750902),
            (p(7, 30, 16, 30), 0.032594202939933606),
            (p(8, 10, 1, 6), 0.034965034965034975),
            (p(3, 4, 1, 4), 0.48571428571428565),
            (p(500, 1319, 560, 1319), 0.019106658359448483),
            (p(0, 5, 5, 5), 0.007936507936507938),
        ] {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} for {expected}");
        }
    }

    #[test]
    fn every_small_table_has_the_sum_of_all_that_are_no_likelier() {
        let summed = |right_a: u64, n_a: u64, right_b: u64, n_b: u64| {
            let right = right_a + right_b;
            let ln = |in_a: u64| ln_choose(n_a, in_a) + ln_choose(n_b, right - in_a) - ln_choose(n_a + n_b, right);
            let all = right.saturating_sub(n_b)..=right.min(n_a);
            all.map(ln).filter(|found| *found <= ln(right_a) + 1e-7).map(f64::exp).sum::<f64>().min(1.0)
        };
        for (n_a, n_b) in [(1, 1), (1, 9), (7, 7), (12, 5), (30, 31)] {
            for right_a in 0..=n_a {
                for right_b in 0..=n_b {
                    let (found, expected) = (p(right_a, n_a, right_b, n_b), summed(right_a, n_a, right_b, n_b));
                    assert!((found / expected - 1.0).abs() < 1e-9, "{found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn tables_of_any_size_take_no_time_to_speak_of() {
        let began = std::time::Instant::now();
        let large = 4_000_000_000_000;
        assert!(p(large / 4, large, large / 4 + 1_000_000, large) > 0.01);
        assert!(p(large / 4, large, large / 2, large) < 1e-9);
        assert_eq!(fisher_exact(Share { right: 1, n: u64::MAX }, Share { right: 1, n: u64::MAX }), None);
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[test]
    fn intervals_are_those_that_newcombe_published() {
        // His examples (a), (c), (e) and (h): table II, row 10.
        let interval = |right_b, n_b, right_a, n_a| {
            let (a, b) = (Share { right: right_a, n: n_a }, Share { right: right_b, n: n_b });
            let found = unpaired_interval(a, b, Confidence::P95).unwrap();
            [found.low, found.high].map(|end| format!("{end:+.4}"))
        };
        assert_eq!(interval(56, 70, 48, 80), ["+0.0524", "+0.3339"]);
        assert_eq!(interval(6, 7, 2, 7), ["+0.0582", "+0.8062"]);
        assert_eq!(interval(0, 10, 0, 20), ["-0.1611", "+0.2775"]);
        assert_eq!(interval(10, 10, 0, 10), ["+0.6075", "+1.0000"]);
    }

    #[test]
    fn the_order_does_not_matter_and_borders_hold() {
        assert_eq!(p(3, 10, 7, 12), p(7, 12, 3, 10));
        assert_eq!([p(0, 30, 0, 30), p(30, 30, 30, 30)].map(|p| (p * 1e9).round()), [1e9, 1e9]);
        assert_eq!(fisher_exact(Share::default(), Share { right: 1, n: 2 }), None);
    }
}
