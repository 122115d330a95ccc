//! The two 8-bit floats that models are stored in: E4M3 without infinities and E5M2 (arXiv 2209.05433).

use std::sync::LazyLock;

use crate::checkpoint::Dtype;

/// Exponent bits, mantissa bits and whether the top exponent is kept for infinities.
struct Format {
    mantissa_bits: u32,
    bias: i32,
    has_infinity: bool,
}

const E4M3: Format = Format { mantissa_bits: 3, bias: 7, has_infinity: false };
const E5M2: Format = Format { mantissa_bits: 2, bias: 15, has_infinity: true };

static E4M3_TABLE: LazyLock<[f32; 256]> = LazyLock::new(|| E4M3.table());
static E5M2_TABLE: LazyLock<[f32; 256]> = LazyLock::new(|| E5M2.table());

/// The value of each of the 256 codes.
pub(super) fn table(dtype: Dtype) -> &'static [f32; 256] {
    if dtype == Dtype::F8_E5M2 { &E5M2_TABLE } else { &E4M3_TABLE }
}

/// The nearest code, ties to even, and whether the value was held at the largest one (E4M3 has no infinity to go to).
pub(super) fn encode(dtype: Dtype, value: f32) -> (u8, bool) {
    if dtype == Dtype::F8_E5M2 { E5M2.encode(value) } else { E4M3.encode(value) }
}

impl Format {
    fn table(&self) -> [f32; 256] {
        std::array::from_fn(|code| self.value(code as u8))
    }

    fn value(&self, code: u8) -> f32 {
        let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
        let mantissa_mask = (1 << self.mantissa_bits) - 1;
        let exponent = i32::from((code & 0x7f) >> self.mantissa_bits);
        let mantissa = f32::from(code & mantissa_mask) / (1 << self.mantissa_bits) as f32;
        let top_exponent = 0x7f >> self.mantissa_bits;
        if self.has_infinity && exponent == top_exponent {
            return if mantissa == 0.0 { sign * f32::INFINITY } else { f32::NAN };
        }
        if !self.has_infinity && code & 0x7f == 0x7f {
            return f32::NAN;
        }
        let (significand, scale) = if exponent == 0 { (mantissa, 1) } else { (1.0 + mantissa, exponent) };
        sign * significand * 2.0_f32.powi(scale - self.bias)
    }

    /// Code of the largest finite value.
    fn max_code(&self) -> u8 {
        if self.has_infinity { 0x7f - (1 << self.mantissa_bits) } else { 0x7e }
    }

    fn encode(&self, value: f32) -> (u8, bool) {
        let sign = if value.is_sign_negative() { 0x80 } else { 0 };
        if value.is_nan() {
            return (sign | 0x7f, false);
        }
        let magnitude = f64::from(value.abs());
        let smallest_exponent = 1 - self.bias;
        let max = f64::from(self.value(self.max_code()));
        // Half a step above the largest finite value is where rounding to nearest leaves the format.
        let top_step = 2.0_f64.powi((max.log2().floor() as i32) - self.mantissa_bits as i32);
        if magnitude >= max + top_step / 2.0 {
            let code = if self.has_infinity { self.max_code() + 1 } else { self.max_code() };
            return (sign | code, !self.has_infinity);
        }
        // Counted in steps of its binade, a value rounds as an integer does; a carry moves on into the next binade's codes.
        let exponent = if magnitude == 0.0 { smallest_exponent } else { exponent_of(magnitude).max(smallest_exponent) };
        let steps = (magnitude / 2.0_f64.powi(exponent - self.mantissa_bits as i32)).round_ties_even() as u32;
        let binade = ((exponent - smallest_exponent) as u32) << self.mantissa_bits;
        (sign | (binade + steps) as u8, false)
    }
}

/// floor(log2) of a positive f64 that came from an f32, and so is normal.
fn exponent_of(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_published_values() {
        // arXiv 2209.05433, table 1.
        for (code, value) in [(0x7e, 448.0), (0x08, 0.015_625), (0x01, 0.001_953_125), (0x38, 1.0), (0xb8, -1.0)] {
            assert_eq!(E4M3.value(code), value);
        }
        for (code, value) in [(0x7b, 57344.0), (0x04, 6.103_515_6e-5), (0x01, 1.525_878_9e-5), (0x3c, 1.0)] {
            assert_eq!(E5M2.value(code), value);
        }
        assert!(E4M3.value(0x7f).is_nan() && E5M2.value(0x7f).is_nan() && E5M2.value(0x7c) == f32::INFINITY);
    }

    #[test]
    fn every_finite_code_encodes_to_itself() {
        for format in [E4M3, E5M2] {
            for code in 0..=u8::MAX {
                let value = format.value(code);
                if value.is_finite() {
                    assert_eq!(format.encode(value), (code, false));
                }
            }
        }
    }

    #[test]
    fn values_between_codes_go_to_the_nearest_and_ties_to_even() {
        for format in [E4M3, E5M2] {
            for code in 0..format.max_code() {
                let (low, high) = (format.value(code), format.value(code + 1));
                let middle = (low + high) / 2.0;
                let even = if code % 2 == 0 { code } else { code + 1 };
                assert_eq!(format.encode(middle).0, even, "{middle}");
                assert_eq!(format.encode(middle.next_down()).0, code);
                assert_eq!(format.encode(middle.next_up()).0, code + 1);
            }
        }
    }

    #[test]
    fn too_large_values_saturate_in_e4m3_and_overflow_in_e5m2() {
        assert_eq!(E4M3.encode(464.0), (0x7e, true));
        assert_eq!(E4M3.encode(463.9), (0x7e, false));
        assert_eq!(E4M3.encode(-1e30), (0xfe, true));
        assert_eq!(E5M2.encode(61440.0), (0x7c, false));
        assert_eq!(E5M2.encode(61439.0), (0x7b, false));
    }
}
