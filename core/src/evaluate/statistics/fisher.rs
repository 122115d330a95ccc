//! Two shares that are not of the same questions, or of which only the counts are published.

use super::interval::Share;
use super::special::ln_choose;

/// Fisher's exact test, two-sided: the probability, given the margins, of a table that is at most as likely as this one.
///
/// For published counts. Where both models answered the same questions one by one, [`Paired`](super::Paired) sees more.
/// `None` where one of them is of nothing.
pub fn fisher_exact(a: Share, b: Share) -> Option<f64> {
    if a.n == 0 || b.n == 0 || a.right > a.n || b.right > b.n {
        return None;
    }
    let right = a.right + b.right;
    let ln_of = |in_a: u64| ln_choose(a.n, in_a) + ln_choose(b.n, right - in_a) - ln_choose(a.n + b.n, right);
    let observed = ln_of(a.right);
    // Tables as likely as this one count, also where rounding puts them a little above: as in R's fisher.test.
    let most = observed + 1e-7;
    let p: f64 = (right.saturating_sub(b.n)..=right.min(a.n)).map(ln_of).filter(|ln| *ln <= most).map(f64::exp).sum();
    Some(p.min(1.0))
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
    fn the_order_does_not_matter_and_borders_hold() {
        assert_eq!(p(3, 10, 7, 12), p(7, 12, 3, 10));
        assert_eq!([p(0, 30, 0, 30), p(30, 30, 30, 30)].map(|p| (p * 1e9).round()), [1e9, 1e9]);
        assert_eq!(fisher_exact(Share::default(), Share { right: 1, n: 2 }), None);
    }
}
