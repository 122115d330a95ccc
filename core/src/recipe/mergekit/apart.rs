//! How far mergekit's rounding and ours lie apart, in words.
//!
//! Measured with one to three vectors of 0.1 %, 1 % and 20 % of the weights' size, models in bf16 and float32, and |w| from 0.2
//! to 1.3: the numbers are what the worst of these came to. Where numbers as large as the weights cancel, what mergekit's steps have
//! rounded away is more than the last bit of the little that is left.

/// What mergekit's steps are held against the exact result, rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// base + Σ w·(model − base), in float32.
    Added,
    /// Σ w·model, in float32.
    Linear,
    /// Those of another method.
    Other,
}

/// How many elements of a file differ, of 16 bits each or of 32.
pub(super) fn apart(steps: Steps, sixteen_bits: bool) -> &'static str {
    match (steps, sixteen_bits) {
        (Steps::Added, true) => "up to 2 elements in 1,000 differ by a last bit",
        (Steps::Added, false) => {
            "up to 3 elements in 10 differ, fewer the shorter the vectors are, most by a last bit and those near zero by more"
        }
        (Steps::Linear, true) => "up to 3 elements in 100 differ by a last bit",
        (Steps::Linear, false) => {
            "up to two thirds of the elements differ, most by a last bit and those near zero by more"
        }
        (Steps::Other, _) => "elements may differ by a last bit, and those near zero by more",
    }
}
