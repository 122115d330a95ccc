//! How much of the vector each tensor gets.

use crate::layout::Place;

/// The scaling coefficient of every tensor: w, the same for all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    w: f32,
}

/// w is not a number that can scale anything.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{}", self.message())]
pub struct ScalingError {
    /// What was given.
    pub w: f64,
}

impl ScalingError {
    fn message(&self) -> String {
        let Self { w } = self;
        match w.is_finite() {
            // As a power of ten: spelled out it may have 300 digits.
            true => format!("w is {w:e}; it must be within ±3.4e38, the range of f32, for example 0.5"),
            false => format!("w is {w}; it must be a finite number, for example 0.5"),
        }
    }
}

impl Scaling {
    /// A global w, rounded once to f32, in which the merge computes.
    pub fn new(w: f64) -> Result<Self, ScalingError> {
        let rounded = w as f32;
        if rounded.is_finite() { Ok(Self { w: rounded }) } else { Err(ScalingError { w }) }
    }

    /// The coefficient of the tensor at `place`.
    pub fn coefficient(&self, _place: &Place) -> f32 {
        self.w
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w_must_be_finite_in_f32() {
        for w in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let message = Scaling::new(w).expect_err("not finite").to_string();
            assert!(message.contains("must be a finite number"), "{message}");
        }
        let message = Scaling::new(-1e300).expect_err("beyond f32").to_string();
        assert_eq!(message, "w is -1e300; it must be within ±3.4e38, the range of f32, for example 0.5");
        assert!(Scaling::new(-1.0).is_ok() && Scaling::new(3.4e38).is_ok());
    }
}
