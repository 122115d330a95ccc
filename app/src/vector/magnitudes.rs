//! How large the elements of a tensor are, and from which size on an output type sees them.

use mergescope_core::analysis::LogHistogram;
use mergescope_core::checkpoint::Dtype;

/// The shape of a histogram over log₁₀ of the magnitude: the middle of each bin, and elements per octave as a share of
/// all that are not zero.
pub fn density(histogram: &LogHistogram) -> Vec<(f64, f64)> {
    let total = histogram.total().max(1) as f64;
    histogram.bins().map(|bin| ((bin.low * bin.high).sqrt().log10(), bin.per_octave() / total)).collect()
}

/// The magnitude below which a share of the elements lies; `None` when nothing was counted.
pub fn quantile(histogram: &LogHistogram, share: f64) -> Option<f64> {
    let wanted = share * histogram.total() as f64;
    let mut seen = 0.0;
    for bin in histogram.bins() {
        let count = bin.count as f64;
        if count > 0.0 && seen + count >= wanted {
            return Some(bin.low * (bin.high / bin.low).powf((wanted - seen) / count));
        }
        seen += count;
    }
    None
}

/// Half the distance between neighbouring values of a type at a magnitude: the least change that rounding to nearest does
/// not undo there. `None` for a type whose spacing is not known.
pub fn half_step(dtype: Dtype, magnitude: f64) -> Option<f64> {
    // Bits of the significand after the point, and the exponent of the smallest normal number.
    let (bits, least_exponent) = match dtype {
        Dtype::BF16 => (7, -126),
        Dtype::F16 => (10, -14),
        Dtype::F32 => (23, -126),
        Dtype::F64 => (52, -1022),
        Dtype::F8_E4M3 => (3, -6),
        Dtype::F8_E5M2 => (2, -14),
        _ => return None,
    };
    let exponent = (magnitude.log2().floor() as i32).max(least_exponent);
    Some(f64::from(exponent - bits - 1).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_step_is_half_the_distance_to_the_next_value() {
        assert_eq!(half_step(Dtype::BF16, 1.0), Some(2_f64.powi(-8)));
        assert_eq!(half_step(Dtype::BF16, 0.02), Some(2_f64.powi(-14)));
        assert_eq!(half_step(Dtype::F16, 1e-7), Some(2_f64.powi(-25)));
        assert_eq!(half_step(Dtype::I32, 1.0), None);
    }

    #[test]
    fn quantiles_lie_between_the_edges_of_their_bin() {
        let histogram: LogHistogram =
            serde_json::from_value(serde_json::json!({ "first": 254, "counts": [4, 0, 4] })).unwrap();
        assert_eq!(quantile(&histogram, 0.5), Some(1.5));
        assert_eq!(quantile(&histogram, 1.0), Some(3.0));
        assert_eq!(quantile(&LogHistogram::default(), 0.5), None);
        let shares: f64 =
            density(&histogram).iter().zip([1.5_f64, 4.0 / 3.0, 1.5]).map(|((_, y), r)| y * r.log2()).sum();
        assert!((shares - 1.0).abs() < 1e-12);
    }
}
