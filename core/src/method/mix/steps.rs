//! What each step of a mode is rounded to.

use crate::numeric::round_bf16;

/// The working precision of a mode.
///
/// The product, sum or quotient of two f32, computed in f64 and then rounded to f32, is what f32 arithmetic gives: f64 has
/// more than twice the digits (Figueroa, "When is double rounding innocuous?", 1995).
pub(super) trait Steps: Copy {
    /// Whether nothing is rounded before the output.
    const EXACT: bool;

    /// Rounds what is stored between two steps.
    fn to(self, value: f64) -> f64;

    /// Rounds what a sum holds while it is added up.
    fn accumulate(self, value: f64) -> f64;

    /// value·factor + sum, rounded once to what a sum holds.
    #[inline(always)]
    fn fused(self, value: f64, factor: f64, sum: f64) -> f64 {
        f64::from((value as f32).mul_add(factor as f32, sum as f32))
    }
}

/// f64 throughout.
#[derive(Clone, Copy)]
pub(super) struct ExactSteps;

/// mergekit with `dtype: float32`.
#[derive(Clone, Copy)]
pub(super) struct F32Steps;

/// mergekit with `dtype: bfloat16`: bf16 between the steps, sums in f32.
#[derive(Clone, Copy)]
pub(super) struct Bf16Steps;

impl Steps for ExactSteps {
    const EXACT: bool = true;

    #[inline(always)]
    fn to(self, value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn accumulate(self, value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn fused(self, value: f64, factor: f64, sum: f64) -> f64 {
        value * factor + sum
    }
}

impl Steps for F32Steps {
    const EXACT: bool = false;

    #[inline(always)]
    fn to(self, value: f64) -> f64 {
        f64::from(value as f32)
    }

    #[inline(always)]
    fn accumulate(self, value: f64) -> f64 {
        f64::from(value as f32)
    }
}

impl Steps for Bf16Steps {
    const EXACT: bool = false;

    #[inline(always)]
    fn to(self, value: f64) -> f64 {
        f64::from(round_bf16(value as f32))
    }

    #[inline(always)]
    fn accumulate(self, value: f64) -> f64 {
        f64::from(value as f32)
    }
}
