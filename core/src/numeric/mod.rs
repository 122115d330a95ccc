//! Elements as numbers and back: exact decoding, correct rounding.

mod float8;
mod halves;
mod isa;
mod lanes;
mod round;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::checkpoint::Dtype;

pub(crate) use halves::{decode_bf16_halves, encode_bf16_halves};
pub(crate) use isa::dispatch;
pub(crate) use lanes::{Factor, LANES, ONE, add_and_compare, add_products, add_products_beside};
pub(crate) use round::{
    StochasticKey, flip_distance, round_bf16, round_nearest, round_stochastic, round_to_odd, rounded_in_place,
};

/// Elements handled at once: small enough that a handful of f64 copies stay in the first-level cache.
pub(crate) const BLOCK: usize = 512;

/// A block of numbers that begins with a cache line, so that no register is loaded from two of them.
///
/// It is a line longer than its numbers: of two that lie side by side, those with the same index differ in the last twelve bits of
/// their address, by which processors tell whether a load has to wait for a store.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Row<T> {
    values: [T; BLOCK],
    apart: [u8; 64],
}

impl<T: Copy + Default> Default for Row<T> {
    #[inline(always)]
    fn default() -> Self {
        Self { values: [T::default(); BLOCK], apart: [0; 64] }
    }
}

impl<T> std::ops::Deref for Row<T> {
    type Target = [T; BLOCK];

    #[inline(always)]
    fn deref(&self) -> &[T; BLOCK] {
        &self.values
    }
}

impl<T> std::ops::DerefMut for Row<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T; BLOCK] {
        &mut self.values
    }
}

/// Decodes up to [`BLOCK`] elements of a dtype that takes part in arithmetic; exact for every one of them.
#[inline(always)]
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f64]) {
    match dtype {
        Dtype::F64 => {
            for (out, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f64::from_le_bytes(*raw);
            }
        }
        Dtype::F32 => {
            for (out, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f64::from(f32::from_le_bytes(*raw));
            }
        }
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => {
            let table = float8::table(dtype);
            for (out, &code) in out.iter_mut().zip(bytes) {
                *out = f64::from(table[usize::from(code)]);
            }
        }
        _ => {
            let mut narrow = [0.0; BLOCK];
            let count = out.len().min(BLOCK);
            decode_narrow(dtype, bytes, &mut narrow[..count]);
            for (out, value) in out.iter_mut().zip(narrow) {
                *out = f64::from(value);
            }
        }
    }
}

/// Whether f32 holds every value of the dtype with 13 bits to spare, which the fast path of task arithmetic rests on.
pub(crate) fn is_narrow(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F8_E4M3 | Dtype::F8_E5M2)
}

/// Decodes up to [`BLOCK`] elements of a narrow dtype; exact.
#[inline(always)]
pub(crate) fn decode_narrow(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::BF16 => {
            for (out, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*raw)) << 16);
            }
        }
        Dtype::F16 => {
            let mut halves = [f16::ZERO; BLOCK];
            let count = out.len().min(BLOCK);
            for (half, raw) in halves[..count].iter_mut().zip(bytes.as_chunks().0) {
                *half = f16::from_le_bytes(*raw);
            }
            halves[..count].convert_to_f32_slice(&mut out[..count]);
        }
        _ => {
            debug_assert!(is_narrow(dtype), "{dtype} is no narrow float");
            let table = float8::table(dtype);
            for (out, &code) in out.iter_mut().zip(bytes) {
                *out = table[usize::from(code)];
            }
        }
    }
}

/// One element of a dtype that takes part in arithmetic; exact.
#[inline(always)]
pub(crate) fn element(dtype: Dtype, bytes: &[u8], index: usize) -> f64 {
    let width = dtype.bitsize() / 8;
    let raw = &bytes[index * width..][..width];
    match *raw {
        [code] => value_of_bits(dtype, u16::from(code)),
        [low, high] => value_of_bits(dtype, u16::from_le_bytes([low, high])),
        _ => {
            let mut out = [0.0];
            decode(dtype, raw, &mut out);
            out[0]
        }
    }
}

/// The value of an element's bits; only for the 8 and 16 bit floats.
#[inline(always)]
fn value_of_bits(dtype: Dtype, bits: u16) -> f64 {
    match dtype {
        // Half of an f32. The half crate's conversion looks out for NaN, which costs as much as the rest.
        Dtype::BF16 => f64::from(f32::from_bits(u32::from(bits) << 16)),
        Dtype::F16 => f16::from_bits(bits).to_f64(),
        _ => f64::from(float8::table(dtype)[usize::from(bits & 0xff)]),
    }
}

/// The index of the first NaN or infinity among elements of a float dtype.
pub(crate) fn first_nonfinite(dtype: Dtype, bytes: &[u8]) -> Option<usize> {
    let width = dtype.bitsize() / 8;
    let mut values = [0.0; BLOCK];
    for (block, bytes) in bytes.chunks(BLOCK * width).enumerate() {
        let values = &mut values[..bytes.len() / width];
        decode(dtype, bytes, values);
        // One flag for the block, since a search for the place would not be vectorised.
        if values.iter().fold(false, |found, value| found | !value.is_finite()) {
            return values.iter().position(|value| !value.is_finite()).map(|at| block * BLOCK + at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_element_decodes_exactly() {
        for bits in 0..=u16::MAX {
            for dtype in [Dtype::BF16, Dtype::F16] {
                let mut out = [0.0];
                decode(dtype, &bits.to_le_bytes(), &mut out);
                let expected = value_of_bits(dtype, bits);
                assert!(out[0] == expected || out[0].is_nan() && expected.is_nan(), "{dtype} {bits:#06x}");
                let alone = element(dtype, &[0, 0, bits as u8, (bits >> 8) as u8], 1);
                assert!(alone == expected || alone.is_nan() && expected.is_nan(), "{dtype} {bits:#06x}");
            }
        }
    }

    #[test]
    fn the_first_nan_or_infinity_is_found_wherever_it_is() {
        for at in [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 7] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![1.0_f32; 4 * BLOCK];
                values[at] = bad;
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                assert_eq!(first_nonfinite(Dtype::F32, &bytes), Some(at));
            }
        }
        assert_eq!(first_nonfinite(Dtype::BF16, &[0x7f; 64]), None);
    }
}
