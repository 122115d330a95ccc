//! Several comparisons at once.

/// Holm's adjustment (1979): p-values that may each be held against α although several were tried, in the order given.
///
/// The smallest of m is multiplied by m, the next by m − 1 and so on; none may come out below one that was smaller, nor
/// above 1. A NaN counts as 1.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let value = |index: usize| if p[index].is_nan() { 1.0 } else { p[index].clamp(0.0, 1.0) };
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        least = least.max(value(index) * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        }
    }

    #[test]
    fn values_are_those_of_r() {
        // p.adjust(p, "holm")
        close(&holm(&[0.01, 0.02, 0.03, 0.04, 0.05]), &[0.05, 0.08, 0.09, 0.09, 0.09]);
        close(&holm(&[0.04, 0.001, 0.3, 0.02]), &[0.08, 0.004, 0.3, 0.06]);
        close(&holm(&[0.5, 0.9]), &[1.0, 1.0]);
        close(&holm(&[0.03]), &[0.03]);
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn adjusted_values_keep_the_order_and_never_fall(p in prop::collection::vec(0.0..=1.0_f64, 0..20)) {
            let adjusted = holm(&p);
            for i in 0..p.len() {
                prop_assert!(adjusted[i] >= p[i] && adjusted[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }

    #[test]
    fn nan_counts_as_no_evidence() {
        close(&holm(&[f64::NAN, 0.01]), &[1.0, 0.02]);
    }
}
