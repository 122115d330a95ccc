//! What follows from singular values alone: ranks and shares of energy.

use super::{Bounds, Spectrum};

impl Spectrum {
    /// Whether v moves nothing here: there is no direction to speak of, and every rank is 0.
    ///
    /// Never since its squares are too small to be told from 0: such a matrix has no spectrum.
    pub fn is_zero(&self) -> bool {
        self.energy == 0.0
    }

    /// Share of ‖v‖² that the best approximation of that rank keeps (Eckart and Young 1936), 0 to 1.
    ///
    /// `None` where so many singular values are not known, and for a zero vector, of which nothing can be kept.
    pub fn energy_kept(&self, rank: usize) -> Option<f64> {
        let known = self.singular_values.len();
        if self.energy <= 0.0 || (rank > known && !self.complete) {
            return None;
        }
        let kept: f64 = self.singular_values[..rank.min(known)].iter().map(|value| value * value).sum();
        Some((kept / self.energy).min(1.0))
    }

    /// The lowest rank whose best approximation keeps that share (0 to 1) of ‖v‖²: 0 for a zero vector
    /// ([`Spectrum::is_zero`]), and 1 for a matrix of one row, one column or one element.
    ///
    /// `None` where it takes more singular values than are known.
    pub fn rank_for(&self, share: f64) -> Option<usize> {
        // Squares of rounded numbers need not add up to the last bit.
        let wanted = share * self.energy * (1.0 - 1e-12);
        let mut kept = 0.0;
        if kept >= wanted {
            return Some(0);
        }
        self.singular_values
            .iter()
            .position(|value| {
                kept += value * value;
                kept >= wanted
            })
            .map(|last| last + 1)
            .or(self.complete.then_some(self.singular_values.len()))
    }

    /// Singular values that are zero neither to rounding nor within [`Spectrum::error`]: the rank where `complete`, else
    /// the rank that is known so far.
    pub fn rank(&self) -> usize {
        rank(&self.singular_values, self.error, self.rows as usize, self.cols as usize)
    }
}

/// Values above max(rows, cols) · ε · σ₁, the usual threshold of numerical rank, and above `error`.
pub(super) fn rank(values: &[f64], error: f64, rows: usize, cols: usize) -> usize {
    let largest = values.first().copied().unwrap_or(0.0);
    let threshold = (rows.max(cols) as f64 * f64::EPSILON * largest).max(error);
    values.iter().filter(|&&value| value > threshold).count()
}

/// ‖v‖² ∕ σ₁².
pub(super) fn stable_rank(values: &[f64], energy: f64) -> f64 {
    match values.first() {
        Some(&largest) if largest > 0.0 => energy / (largest * largest),
        _ => 0.0,
    }
}

/// The effective rank N = exp(H), H = −Σ p ln p, p = σ ∕ Σσ, of `places` singular values of which the first are known.
///
/// The others, x, have Σx² = rest = ‖v‖² − Σσ² and none is above σ_k, the last known. With S = Σσ + Σx:
/// - H ≥ ln S − (Σ σ ln σ + Σx · ln σ_k) ∕ S, since x ≤ σ_k. That rises with Σx, which is at least rest ∕ σ_k: the rest
///   bunched at σ_k gives the lower bound.
/// - H ≤ −Σ p ln r for any distribution r (Gibbs). With r that of the rest spread evenly over all places left, each then
///   x̄ ≤ σ_k, this rises with Σx too, which is at most places · x̄: the even spread gives the upper bound.
pub(super) fn effective_rank(values: &[f64], energy: f64, places: usize, complete: bool) -> Bounds {
    let (largest, last) = match (values.first(), values.last()) {
        (Some(&largest), Some(&last)) if largest > 0.0 => (largest, last / largest),
        _ => return Bounds::default(),
    };
    // In units of σ₁, lest squares or logarithms leave the range of f64.
    let sigma = || values.iter().map(|value| value / largest).filter(|&value| value > 0.0);
    let rest = energy / (largest * largest) - sigma().map(|value| value * value).sum::<f64>();
    let left = places.saturating_sub(values.len()) as f64;
    // exp(H) with `count` more values x.
    let rank = |count: f64, x: f64| {
        let (mut sum, mut weighted): (f64, f64) = (sigma().sum(), sigma().map(|value| value * value.ln()).sum());
        if count > 0.0 && x > 0.0 {
            sum += count * x;
            weighted += count * x * x.ln();
        }
        (sum.ln() - weighted / sum).exp()
    };
    if complete || left == 0.0 || rest <= 0.0 {
        let exact = rank(0.0, 0.0);
        return Bounds { low: exact, high: exact };
    }
    let bunched = if last > 0.0 { rank((rest / (last * last)).min(left), last) } else { rank(0.0, 0.0) };
    let even = rank(left, (rest / left).sqrt());
    Bounds { low: bunched.min(even), high: even }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{found} is not {expected}");
    }

    #[test]
    fn equal_values_have_as_much_effective_rank_as_there_are() {
        let known = effective_rank(&[3.0; 40], 360.0, 40, true);
        close(known.low, 40.0);
        close(known.high, 40.0);
        close(stable_rank(&[3.0; 40], 360.0), 40.0);
        // Of 40 equal ones, 10 known: bunched or even, the rest is 30 more of the same.
        let some = effective_rank(&[3.0; 10], 360.0, 40, false);
        close(some.low, 40.0);
        close(some.high, 40.0);
    }

    #[test]
    fn two_values_have_the_entropy_of_a_coin() {
        // p = (3/4, 1/4).
        let entropy = -(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
        close(effective_rank(&[6.0, 2.0], 40.0, 2, true).low, entropy.exp());
    }

    #[test]
    fn bounds_hold_the_truth_whatever_the_unknown_values_are() {
        for decay in [0.5_f64, 0.9, 0.99, 0.999, 1.0] {
            let all: Vec<f64> = (0..300).map(|i| decay.powi(i)).collect();
            let energy = all.iter().map(|value| value * value).sum();
            let truth = effective_rank(&all, energy, 300, true).low;
            for known in [1, 7, 64, 299] {
                let Bounds { low, high } = effective_rank(&all[..known], energy, 300, false);
                assert!(
                    low <= truth * (1.0 + 1e-9) && truth <= high * (1.0 + 1e-9),
                    "{decay} {known}: {low} {truth} {high}"
                );
            }
        }
    }

    #[test]
    fn nothing_has_rank_zero() {
        assert_eq!(effective_rank(&[0.0; 5], 0.0, 5, true), Bounds::default());
        assert_eq!((rank(&[0.0; 5], 0.0, 5, 5), stable_rank(&[0.0; 5], 0.0)), (0, 0.0));
    }
}
