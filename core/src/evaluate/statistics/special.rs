//! The functions that tests and intervals rest on.

use std::f64::consts::{LN_2, SQRT_2};

/// The z of which a standard normal variable stays below with probability `p`; infinite at 0 and 1.
///
/// By bisection on the complementary error function, which loses no digits in the tails.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    // Below −38.6 the probability is no normal f64.
    bisect(-40.0, 0.0, |z| 0.5 * libm::erfc(-z / SQRT_2) >= p)
}

/// The border between where `is_above` is false (from `low` on) and where it is true (up to `high`).
pub(super) fn bisect(mut low: f64, mut high: f64, is_above: impl Fn(f64) -> bool) -> f64 {
    // Halving 200 times leaves no f64 between the two, whatever their exponents.
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if is_above(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    low + (high - low) / 2.0
}

/// ln C(n, k), for k ≤ n.
pub(super) fn ln_choose(n: u64, k: u64) -> f64 {
    let ln_factorial = |n: u64| libm::lgamma(n as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// ln P(X = k) for X ~ Binomial(n, p), with 0 < p < 1.
pub(super) fn ln_binomial(k: u64, n: u64, p: f64) -> f64 {
    ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * libm::log1p(-p)
}

/// P(X ≤ k) for X ~ Binomial(n, ½), with k ≤ n/2.
///
/// Summed from the largest term down, each from the one before, so that nothing overflows.
pub(super) fn fair_coin_tail(k: u64, n: u64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for i in (1..=k).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    (ln_choose(n, k) - n as f64 * LN_2 + f64::ln(sum)).exp()
}

/// The regularised incomplete beta function I_x(a, b), for a, b > 0 and 0 ≤ x ≤ 1.
///
/// By its continued fraction (DLMF 8.17.22) with the modified method of Lentz, on the side where that converges fast.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let ln_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = (a * x.ln() + b * libm::log1p(-x) - ln_beta).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    // It takes about √max(a, b) steps.
    for m in 1..100_000_u32 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + coefficient * d);
            c = away_from_zero(1.0 + coefficient / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-10 * expected.abs().max(1e-300), "{found} for {expected}");
    }

    #[test]
    fn normal_quantiles_are_those_of_scipy() {
        for (p, z) in [
            (0.975, 1.959963984540054),
            (0.995, 2.5758293035489004),
            (0.9, 1.2815515655446004),
            (0.999_999, 4.753424308817087),
            (1e-10, -6.361340902404056),
        ] {
            close(normal_quantile(p), z);
        }
        assert!(normal_quantile(0.5).abs() < 1e-12);
        assert_eq!((normal_quantile(0.0), normal_quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn the_incomplete_beta_function_is_that_of_scipy() {
        for (a, b, x, expected) in [
            (2.5, 3.5, 0.3, 0.29675298929566646),
            (1000.0, 2000.0, 0.34, 0.7812150911606441),
            (0.5, 0.5, 0.1, 0.20483276469913345),
            (1.0, 30.0, 0.1, 0.9576088417247838),
            (50001.0, 50000.0, 0.5, 0.4987384368929022),
        ] {
            close(incomplete_beta(a, b, x), expected);
        }
        assert_eq!((incomplete_beta(2.0, 3.0, 0.0), incomplete_beta(2.0, 3.0, 1.0)), (0.0, 1.0));
    }

    #[test]
    fn tails_of_a_fair_coin_are_sums_of_its_probabilities() {
        for n in 1..40_u64 {
            let mut sum = 0.0;
            for k in 0..=n / 2 {
                sum += ln_binomial(k, n, 0.5).exp();
                close(fair_coin_tail(k, n), sum);
            }
        }
    }
}
