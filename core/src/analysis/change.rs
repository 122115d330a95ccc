//! Closed forms: what a merge would do at any scaling, from inner products alone.

use super::gram::{Gram, cosine, quotient};

/// The change that a merge intends on a set of tensors, θ_enh − target = c·v with each tensor's own coefficient c.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// ‖target‖².
    pub target_sq: f64,
    /// ‖c·v‖².
    pub change_sq: f64,
    /// ⟨target, c·v⟩.
    pub target_change: f64,
}

impl Change {
    /// Adds up tensors, each with its coefficient.
    pub fn of<'a>(tensors: impl IntoIterator<Item = (&'a Gram, f32)>) -> Self {
        tensors.into_iter().fold(Self::default(), |sum, (gram, coefficient)| {
            let c = f64::from(coefficient);
            Self {
                target_sq: sum.target_sq + gram.target_target(),
                change_sq: sum.change_sq + c * c * gram.v_v,
                target_change: sum.target_change + c * gram.target_v(),
            }
        })
    }

    /// ‖θ_enh − target‖.
    pub fn norm(&self) -> f64 {
        self.change_sq.sqrt()
    }

    /// ‖θ_enh − target‖ ∕ ‖target‖; NaN when the target is all zeros, or the square of either leaves the range of f64.
    pub fn relative(&self) -> f64 {
        quotient(self.change_sq, self.target_sq)
    }

    /// cos(θ_enh, target); NaN when either is zero, or the square of either leaves the range of f64.
    pub fn cos_target(&self) -> f64 {
        let merged_sq = (self.target_sq + 2.0 * self.target_change + self.change_sq).max(0.0);
        cosine(self.target_sq + self.target_change, self.target_sq, merged_sq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_angle_at_w_one_is_45_degrees() {
        // pre = (1, 0), v = (0, 1), target = pre.
        let gram = Gram { pre_pre: 1.0, v_v: 1.0, ..Gram::default() };
        let change = Change::of([(&gram, 1.0)]);
        assert_eq!((change.norm(), change.relative()), (1.0, 1.0));
        assert!((change.cos_target() - 0.5_f64.sqrt()).abs() < 1e-15);
        let none = Change::of([(&gram, 0.0)]);
        assert_eq!((none.norm(), none.cos_target()), (0.0, 1.0));
    }

    #[test]
    fn a_target_of_zeros_has_no_relative_change_and_no_angle() {
        let gram = Gram { pre_pre: 1.0, pre_u: -1.0, u_u: 1.0, v_v: 1.0, ..Gram::default() };
        let change = Change::of([(&gram, 0.5)]);
        assert!(change.relative().is_nan() && change.cos_target().is_nan());
    }
}
