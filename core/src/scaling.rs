//! How much of the vector each tensor gets.

use crate::layout::Place;

/// The scaling coefficient of every tensor: w, the same for all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    w: f32,
}

/// w is not a number that can scale anything.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("w is {w}; it must be a finite number, for example 0.5")]
pub struct ScalingError {
    /// What was given.
    pub w: f64,
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
        for w in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39] {
            let message = Scaling::new(w).expect_err("not finite").to_string();
            assert!(message.contains("must be a finite number"), "{message}");
        }
        assert!(Scaling::new(-1.0).is_ok());
    }
}
