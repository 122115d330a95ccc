//! From a sum in f64 to an element of the output type, rounded once.

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::{BLOCK, float8, value_of_bits};
use crate::checkpoint::Dtype;

/// f64 → f32 by rounding to odd: the last bit of an inexact result is set.
///
/// A second rounding to nearest, into a format at least two bits shorter, then gives what one rounding from f64 would
/// have given (Boldo and Melquiond, "When double rounding is odd", 2005). Overflow becomes the largest finite f32, whose
/// last bit is set too.
#[inline(always)]
pub(crate) fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let inexact = u32::from(back != value);
    let away = u32::from(back.abs() > value.abs());
    f32::from_bits((nearest.to_bits() - (inexact & away)) | inexact)
}

/// f32 → bits of the nearest bf16, ties to even, where it is no NaN.
#[inline(always)]
fn bf16_bits_from_number(value: f32) -> u16 {
    (rounded_in_place(value) >> 16) as u16
}

/// f32 → bits of the nearest bf16, ties to even, as an f32 where it is no NaN.
#[inline(always)]
pub(crate) fn rounded_in_place(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000
}

/// f32 → bits of the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits_from_f32(value: f32) -> u16 {
    let quiet = (value.to_bits() >> 16) as u16 | 0x40;
    if value.is_nan() { quiet } else { bf16_bits_from_number(value) }
}

/// f64 → bits of the nearest bf16, ties to even, rounded once.
#[inline(always)]
fn bf16_bits_from_f64(value: f64) -> u16 {
    bf16_bits_from_f32(round_to_odd(value))
}

/// f32 → the nearest bf16, ties to even, as f32.
#[inline(always)]
pub(crate) fn round_bf16(value: f32) -> f32 {
    f32::from_bits(u32::from(bf16_bits_from_f32(value)) << 16)
}

/// Rounds `sums` to the nearest elements of `dtype`, ties to even.
///
/// Writes their bytes to `out` and their values to `written`; gives back how many were held at the largest finite value
/// of a type without infinity.
#[inline(always)]
pub(crate) fn round_nearest(dtype: Dtype, sums: &[f64], out: &mut [u8], written: &mut [f64]) -> u64 {
    let mut clipped = 0;
    match dtype {
        Dtype::F64 => {
            for ((sum, out), written) in sums.iter().zip(out.as_chunks_mut().0).zip(written) {
                *out = sum.to_le_bytes();
                *written = *sum;
            }
        }
        Dtype::F32 => {
            for ((sum, out), written) in sums.iter().zip(out.as_chunks_mut().0).zip(written) {
                let value = *sum as f32;
                *out = value.to_le_bytes();
                *written = f64::from(value);
            }
        }
        Dtype::BF16 => {
            for ((sum, out), written) in sums.iter().zip(out.as_chunks_mut().0).zip(written) {
                let bits = bf16_bits_from_f64(*sum);
                *out = bits.to_le_bytes();
                *written = f64::from(f32::from_bits(u32::from(bits) << 16));
            }
        }
        Dtype::F16 => {
            let count = sums.len();
            let mut odd = [0.0_f32; BLOCK];
            let mut halves = [f16::ZERO; BLOCK];
            for (odd, sum) in odd.iter_mut().zip(sums) {
                *odd = round_to_odd(*sum);
            }
            halves[..count].convert_from_f32_slice(&odd[..count]);
            halves[..count].convert_to_f32_slice(&mut odd[..count]);
            for ((half, out), (value, written)) in halves.iter().zip(out.as_chunks_mut().0).zip(odd.iter().zip(written))
            {
                *out = half.to_le_bytes();
                *written = f64::from(*value);
            }
        }
        _ => {
            for ((sum, out), written) in sums.iter().zip(out).zip(written) {
                let (code, held) = float8::encode(dtype, round_to_odd(*sum));
                *out = code;
                *written = f64::from(float8::table(dtype)[usize::from(code)]);
                clipped += u64::from(held);
            }
        }
    }
    clipped
}

/// How far it is from `value` to the point halfway between what `dtype` rounds it to and the next element above it, or
/// below it (a negative distance); and whether a sum exactly there is still rounded to what `value` is rounded to (ties go
/// to even).
///
/// A distance and not the point, which f64 does not hold where it is the output type. Infinite where sums are held at the
/// largest finite value of a type without infinity.
pub(crate) fn flip_distance(dtype: Dtype, value: f64, up: bool) -> (f64, bool) {
    let (bits, rounded) = if dtype == Dtype::BF16 {
        // The one that is asked for by the million.
        let bits = bf16_bits_from_f64(value);
        (u64::from(bits), value_of_bits(dtype, bits))
    } else {
        let (mut bytes, mut rounded) = ([0; 8], [0.0]);
        round_nearest(dtype, &[value], &mut bytes[..dtype.bitsize() / 8], &mut rounded);
        (u64::from_le_bytes(bytes), rounded[0])
    };
    let sign = 1 << (dtype.bitsize() - 1);
    let magnitude = bits & (sign - 1);
    // Codes count magnitudes; below zero they count the other way.
    let outward = (bits & sign == 0) == up;
    let neighbour = match (outward, magnitude) {
        (true, _) => value_of(dtype, bits + 1),
        (false, 0) => value_of(dtype, (bits ^ sign) + 1),
        (false, _) => value_of(dtype, bits - 1),
    };
    let stays = magnitude & 1 == 0;
    if neighbour.is_nan() {
        return (if up { f64::INFINITY } else { f64::NEG_INFINITY }, true);
    }
    // Overflow begins as far beyond the largest value as the middle to a next one would be.
    if neighbour.is_infinite() {
        return ((rounded - value) + (rounded - value_of(dtype, bits - 1)) / 2.0, stays);
    }
    if rounded.is_infinite() {
        return ((neighbour - value) + (neighbour - value_of(dtype, bits - 2)) / 2.0, stays);
    }
    ((rounded - value) + (neighbour - rounded) / 2.0, stays)
}

/// The value of an element's bits.
fn value_of(dtype: Dtype, bits: u64) -> f64 {
    match dtype {
        Dtype::F64 => f64::from_bits(bits),
        Dtype::F32 => f64::from(f32::from_bits(bits as u32)),
        _ => value_of_bits(dtype, bits as u16),
    }
}

/// What stochastic rounding draws from: the element's index decides, not the order of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StochasticKey(u64);

impl StochasticKey {
    /// A key for one tensor of one seed.
    pub(crate) fn new(seed: u64, tensor: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(tensor.as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(key))
    }

    /// Uniform in [0, 1), a pure function of key and element.
    #[inline(always)]
    pub(crate) fn uniform(self, element: u64) -> f64 {
        self.draw(element) as f64 * (-53_f64).exp2()
    }

    /// [`Self::uniform`] times 2⁵³: a whole number.
    #[inline(always)]
    pub(crate) fn draw(self, element: u64) -> u64 {
        self.bits(element) >> 11
    }

    /// Random bits, a pure function of key and element: the output function of SplitMix64 (Steele, Lea and Flood, "Fast
    /// splittable pseudorandom number generators", 2014) at that position of its sequence.
    #[inline(always)]
    pub(crate) fn bits(self, element: u64) -> u64 {
        let mut z = self.0.wrapping_add(element.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// As [`round_nearest`], but an inexact sum goes to one of its two neighbours at random, with the probability that keeps
/// the mean. Types of 32 and 64 bits round to nearest: there is nothing to save there.
///
/// `first_element` is the index in the tensor of the first sum.
pub(crate) fn round_stochastic(
    dtype: Dtype,
    key: StochasticKey,
    first_element: u64,
    sums: &[f64],
    out: &mut [u8],
    written: &mut [f64],
) -> u64 {
    let clipped = round_nearest(dtype, sums, out, written);
    let width = dtype.bitsize() / 8;
    if width > 2 {
        return clipped;
    }
    for (i, ((sum, raw), written)) in sums.iter().zip(out.chunks_exact_mut(width)).zip(written).enumerate() {
        if *written == *sum || !written.is_finite() {
            continue;
        }
        let bits = raw.iter().rev().fold(0_u16, |bits, byte| bits << 8 | u16::from(*byte));
        // In these formats the next magnitude is the next code, zero's neighbours included.
        let (toward_zero, away) = if written.abs() > sum.abs() { (bits - 1, bits) } else { (bits, bits + 1) };
        let (low, high) = (value_of_bits(dtype, toward_zero), value_of_bits(dtype, away));
        if !high.is_finite() {
            continue;
        }
        let up = key.uniform(first_element + i as u64) < (sum - low) / (high - low);
        let (bits, value) = if up { (away, high) } else { (toward_zero, low) };
        raw.copy_from_slice(&bits.to_le_bytes()[..width]);
        *written = value;
    }
    clipped
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    const SMALL: [Dtype; 4] = [Dtype::BF16, Dtype::F16, Dtype::F8_E4M3, Dtype::F8_E5M2];

    fn nearest(dtype: Dtype, sum: f64) -> f64 {
        let (mut out, mut written) = ([0; 8], [0.0]);
        round_nearest(dtype, &[sum], &mut out[..dtype.bitsize() / 8], &mut written);
        written[0]
    }

    /// All finite values of a type, ascending.
    fn values(dtype: Dtype) -> Vec<f64> {
        let codes = 1_u32 << dtype.bitsize();
        let mut values: Vec<f64> =
            (0..codes).map(|bits| value_of_bits(dtype, bits as u16)).filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn midpoints_go_to_even_and_a_hair_beside_them_does_not() {
        for dtype in SMALL {
            for pair in values(dtype).windows(2).filter(|pair| pair[0] != pair[1]) {
                let (low, high) = (pair[0], pair[1]);
                let middle = (low + high) / 2.0;
                assert_eq!(nearest(dtype, middle.next_down()), low, "{dtype} just under {middle}");
                assert_eq!(nearest(dtype, middle.next_up()), high, "{dtype} just over {middle}");
                let tie = nearest(dtype, middle);
                assert!(tie == low || tie == high);
                assert_eq!(nearest(dtype, low), low);
            }
        }
        // One tie by hand: 1 + 2⁻⁸ lies between 1 (even) and 1 + 2⁻⁷ (odd).
        assert_eq!(nearest(Dtype::BF16, 1.0 + 0.5 / 128.0), 1.0);
        assert_eq!(nearest(Dtype::BF16, 1.0 + 1.5 / 128.0), 1.0 + 2.0 / 128.0);
    }

    #[test]
    fn sums_flip_to_the_neighbour_beyond_the_flip_point() {
        for dtype in SMALL {
            for &value in &values(dtype) {
                for up in [true, false] {
                    let (distance, stays) = flip_distance(dtype, value, up);
                    let point = value + distance;
                    let (before, after) =
                        if up { (point.next_down(), point.next_up()) } else { (point.next_up(), point.next_down()) };
                    assert_eq!(nearest(dtype, before), value, "{dtype}: {before} is still {value}");
                    assert_eq!(
                        nearest(dtype, point) == value,
                        stays || point.is_infinite(),
                        "{dtype}: {point} from {value}"
                    );
                    assert!(point.is_infinite() || nearest(dtype, after) != value, "{dtype}: {after} is not {value}");
                }
            }
        }
        assert_eq!(flip_distance(Dtype::F32, 1.0, true), ((-24_f64).exp2(), true));
        assert_eq!(flip_distance(Dtype::F64, 1.0, false), (-(-54_f64).exp2(), true));
        assert_eq!(flip_distance(Dtype::F64, 1.0, true), ((-53_f64).exp2(), true));
        // Back from infinity: a sum of 65,520 is the first that is written so.
        assert_eq!(flip_distance(Dtype::F16, 70_000.0, false), (-4_480.0, true));
        assert_eq!(flip_distance(Dtype::F16, -70_000.0, true), (4_480.0, true));
    }

    #[test]
    fn overflow_is_infinite_where_the_type_has_infinity() {
        assert_eq!(nearest(Dtype::BF16, 3.4e38), f64::INFINITY);
        assert_eq!(nearest(Dtype::BF16, 1e300), f64::INFINITY);
        assert_eq!(nearest(Dtype::F16, -65520.0), f64::NEG_INFINITY);
        assert_eq!(nearest(Dtype::F16, 65519.9), 65504.0);
        assert_eq!(nearest(Dtype::F8_E4M3, 1e300), 448.0);
        assert!(nearest(Dtype::BF16, f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn agrees_with_the_half_crate_on_f32(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(nearest(Dtype::BF16, f64::from(value)), bf16::from_f32(value).to_f64());
            prop_assert_eq!(nearest(Dtype::F16, f64::from(value)), f16::from_f32(value).to_f64());
        }

        #[test]
        fn stochastic_rounding_gives_a_neighbour(value in -500.0_f64..500.0, element in any::<u32>(), seed in any::<u64>()) {
            for dtype in SMALL {
                let (mut out, mut written) = ([0; 2], [0.0]);
                let width = dtype.bitsize() / 8;
                let key = StochasticKey::new(seed, "t");
                round_stochastic(dtype, key, u64::from(element), &[value], &mut out[..width], &mut written);
                let nearest = nearest(dtype, value);
                let step = (written[0] - nearest).abs();
                prop_assert!(step == 0.0 || (written[0] - value) * (nearest - value) < 0.0, "{written:?} for {value}");
            }
        }
    }

    #[test]
    fn stochastic_rounding_keeps_the_mean() {
        let count = 40_000;
        for dtype in SMALL {
            // A quarter of the way between two neighbours of 1.
            let step = values(dtype).iter().find(|value| **value > 1.0).unwrap() - 1.0;
            let sums = vec![1.0 + step / 4.0; count];
            let (mut total, mut out, mut written) = (0.0, [0; BLOCK * 2], [0.0; BLOCK]);
            for (block, sums) in sums.chunks(BLOCK).enumerate() {
                let key = StochasticKey::new(7, "tensor");
                let written = &mut written[..sums.len()];
                let out = &mut out[..sums.len() * dtype.bitsize() / 8];
                round_stochastic(dtype, key, (block * BLOCK) as u64, sums, out, written);
                total += written.iter().map(|value| (value - 1.0) / step).sum::<f64>();
            }
            // Standard error of a share of 1/4: √(0.1875 ∕ 40,000) = 0.0022; five of them.
            let share = total / count as f64;
            assert!((share - 0.25).abs() < 0.011, "{dtype}: {share}");
        }
    }

    #[test]
    fn stochastic_rounding_leaves_exact_values_alone() {
        for dtype in SMALL {
            for value in values(dtype) {
                let (mut out, mut written) = ([0; 2], [0.0]);
                round_stochastic(dtype, StochasticKey(3), 0, &[value], &mut out[..dtype.bitsize() / 8], &mut written);
                assert_eq!(written[0], value);
            }
        }
    }
}
