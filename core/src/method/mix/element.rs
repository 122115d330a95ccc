//! A vector's elements: post − pre, or what a control puts in their place.

use super::steps::Steps;
use crate::checkpoint::Dtype;
use crate::numeric::{BLOCK, StochasticKey, decode};

/// Elements of one model as they are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    /// Their dtype.
    pub dtype: Dtype,
    /// Their bytes.
    pub bytes: &'a [u8],
}

impl Bytes<'_> {
    /// Decodes up to [`BLOCK`] elements from `from` on.
    #[inline(always)]
    pub(crate) fn decode(&self, from: usize, out: &mut [f64]) {
        let width = self.dtype.bitsize() / 8;
        decode(self.dtype, &self.bytes[from * width..][..out.len() * width], out);
    }

    /// Turns `finite` false where an element is not.
    pub(super) fn mark_nonfinite(&self, from: usize, finite: &mut [bool]) {
        let mut values = [0.0; BLOCK];
        let values = &mut values[..finite.len()];
        self.decode(from, values);
        for (finite, value) in finite.iter_mut().zip(values) {
            *finite &= value.is_finite();
        }
    }
}

/// Elements of the two models that make a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VectorBytes<'a> {
    /// Before fine-tuning; `None` for zeros.
    pub pre: Option<Bytes<'a>>,
    /// After fine-tuning.
    pub post: Bytes<'a>,
}

impl VectorBytes<'_> {
    /// Decodes up to [`BLOCK`] elements of post − pre from `from` on; tells whether pre and post are finite there.
    #[inline(always)]
    pub(super) fn decode(&self, steps: impl Steps, from: usize, out: &mut [f64]) -> bool {
        self.post.decode(from, out);
        let mut finite = all_finite(out);
        out.iter_mut().for_each(|value| *value = steps.to(*value));
        if let Some(bytes) = self.pre {
            let mut pre = [0.0; BLOCK];
            let pre = &mut pre[..out.len()];
            bytes.decode(from, pre);
            finite &= all_finite(pre);
            for (out, pre) in out.iter_mut().zip(pre) {
                *out = steps.to(*out - steps.to(*pre));
            }
        }
        finite
    }

    /// Turns `finite` false where pre or post is not.
    pub(super) fn mark_nonfinite(&self, from: usize, finite: &mut [bool]) {
        [Some(self.post), self.pre].into_iter().flatten().for_each(|bytes| bytes.mark_nonfinite(from, finite));
    }
}

/// Whether all are finite; without a branch, so that it is done for several at once.
#[inline(always)]
pub(super) fn all_finite(values: &[f64]) -> bool {
    let exponent = f64::INFINITY.to_bits();
    let found = values.iter().fold(0, |found, value| found | u64::from(value.to_bits() & exponent == exponent));
    found == 0
}

/// What is put in the place of a vector's elements, so that a gain can be told from chance.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ElementControl {
    /// Each keeps its size and gets a random sign.
    Signs(StochasticKey),
    /// Gaussian noise.
    Noise {
        /// What it is drawn from.
        key: StochasticKey,
        /// Its standard deviation.
        deviation: f64,
    },
}

impl ElementControl {
    /// Applies it to the elements from `first` on.
    #[inline(always)]
    pub(crate) fn apply(&self, first: u64, values: &mut [f64]) {
        match *self {
            Self::Signs(key) => {
                for (element, value) in (first..).zip(values) {
                    // The highest bit is a fair coin.
                    *value = if key.bits(element) >> 63 == 0 { *value } else { -*value };
                }
            }
            Self::Noise { key, deviation } => {
                for (element, value) in (first..).zip(values) {
                    *value = deviation * standard_normal(key, element);
                }
            }
        }
    }
}

/// A draw from the standard normal distribution, a pure function of key and element (Box and Muller, "A note on the
/// generation of random normal deviates", 1958). libm gives the same bits on every system.
pub(crate) fn standard_normal(key: StochasticKey, element: u64) -> f64 {
    let [radius, angle] = [2 * element, 2 * element + 1].map(|draw| key.uniform(draw));
    // 1 − u lies in (0, 1], whose logarithm is finite.
    libm::sqrt(-2.0 * libm::log(1.0 - radius)) * libm::cos(std::f64::consts::TAU * angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_standard_normal() {
        let key = StochasticKey::new(5, "noise");
        let count = 200_000_u64;
        let draws: Vec<f64> = (0..count).map(|element| standard_normal(key, element)).collect();
        let moment = |power: i32| draws.iter().map(|draw| draw.powi(power)).sum::<f64>() / count as f64;
        // Five standard errors: √(1 ∕ n), √(2 ∕ n), √(15 ∕ n) and √(96 ∕ n).
        let error = |variance: f64| 5.0 * (variance / count as f64).sqrt();
        assert!(moment(1).abs() < error(1.0));
        assert!((moment(2) - 1.0).abs() < error(2.0));
        assert!(moment(3).abs() < error(15.0));
        assert!((moment(4) - 3.0).abs() < error(96.0));
    }

    #[test]
    fn shuffled_signs_keep_every_size_and_turn_about_half() {
        let values: Vec<f64> = (1..=BLOCK).map(|value| value as f64).collect();
        let mut turned = values.clone();
        ElementControl::Signs(StochasticKey::new(1, "signs")).apply(77, &mut turned);
        assert!(turned.iter().zip(&values).all(|(a, b)| a.abs() == *b));
        let negative = turned.iter().filter(|value| **value < 0.0).count();
        // Five standard errors of a fair coin thrown 512 times.
        assert!(negative.abs_diff(BLOCK / 2) < 57, "{negative}");
    }
}
