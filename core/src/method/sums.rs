//! What a merge did to the weights, as sums that add up over elements, tensors and layers.

use serde::{Deserialize, Serialize};

/// Elements summed in one go, counted from the start of a tensor.
///
/// Sums are taken leaf by leaf and leaves are added in order, so that the result does not depend on how a tensor was cut
/// into units. Units are whole numbers of leaves.
pub(crate) const LEAF: usize = 8192;

/// Intended (w·v) against written (θ_enh − target) change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeSums {
    /// ‖w·v‖².
    pub intended_sq: f64,
    /// ‖θ_enh − target‖².
    pub written_sq: f64,
    /// ⟨w·v, θ_enh − target⟩.
    pub intended_written: f64,
    /// ‖v‖².
    pub vector_sq: f64,
    /// ⟨v, θ_enh − target⟩.
    pub vector_written: f64,
    /// Elements in which w·v is not zero.
    pub updates: u64,
    /// Of these, elements that are written as they would be at w = 0: rounding undid the update.
    pub lost: u64,
    /// Elements with finite inputs whose output is infinite or NaN.
    pub overflowed: u64,
    /// Sums held at the largest value of an output type without infinity.
    pub clipped: u64,
}

impl ChangeSums {
    /// ‖w·v‖.
    pub fn intended(&self) -> f64 {
        self.intended_sq.sqrt()
    }

    /// ‖θ_enh − target‖.
    pub fn written(&self) -> f64 {
        self.written_sq.sqrt()
    }

    /// Projection of the written change on v, ⟨v, θ_enh − target⟩ ∕ ‖v‖²: the w that was really applied.
    ///
    /// NaN for a zero vector.
    pub fn effective_w(&self) -> f64 {
        if self.vector_sq > 0.0 { self.vector_written / self.vector_sq } else { f64::NAN }
    }

    /// Share of non-zero updates that rounding undid, 0 to 1; NaN when there are none.
    pub fn lost_share(&self) -> f64 {
        if self.updates > 0 { self.lost as f64 / self.updates as f64 } else { f64::NAN }
    }

    /// Cosine of intended and written change, −1 to 1; NaN when either is zero.
    pub fn cosine(&self) -> f64 {
        let product = self.intended_sq.sqrt() * self.written_sq.sqrt();
        if product > 0.0 { (self.intended_written / product).clamp(-1.0, 1.0) } else { f64::NAN }
    }

    /// ‖written − intended‖ ∕ ‖intended‖, from sums, in which what is below 1e-7 is lost; 0 where nothing was intended.
    pub fn relative_error(&self) -> f64 {
        let error_sq = (self.intended_sq - 2.0 * self.intended_written + self.written_sq).max(0.0);
        if self.intended_sq > 0.0 { (error_sq / self.intended_sq).sqrt() } else { 0.0 }
    }

    /// Adds the sums of other elements.
    pub fn add(&mut self, other: &Self) {
        self.intended_sq += other.intended_sq;
        self.written_sq += other.written_sq;
        self.intended_written += other.intended_written;
        self.vector_sq += other.vector_sq;
        self.vector_written += other.vector_written;
        self.updates += other.updates;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
        self.clipped += other.clipped;
    }

    /// Adds what one leaf of a tensor with this coefficient did.
    pub(crate) fn add_leaf(&mut self, leaf: &Leaf, coefficient: f32) {
        let c = f64::from(coefficient);
        self.add(&Self {
            intended_sq: c * c * leaf.vector_sq,
            written_sq: leaf.written_sq,
            intended_written: c * leaf.vector_written,
            vector_sq: leaf.vector_sq,
            vector_written: leaf.vector_written,
            updates: leaf.updates,
            lost: leaf.lost,
            overflowed: leaf.overflowed,
            clipped: leaf.clipped,
        });
    }
}

impl<'a> std::iter::Sum<&'a Self> for ChangeSums {
    fn sum<I: Iterator<Item = &'a Self>>(sums: I) -> Self {
        sums.fold(Self::default(), |mut total, sums| {
            total.add(sums);
            total
        })
    }
}

/// What happened in up to [`LEAF`] elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    pub vector_sq: f64,
    pub vector_written: f64,
    pub written_sq: f64,
    pub updates: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub clipped: u64,
    /// Elements that are NaN or infinite in pre, post and target.
    pub nonfinite: [u64; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moved_gives_no_number_rather_than_a_wrong_one() {
        let sums = ChangeSums::default();
        assert!(sums.effective_w().is_nan() && sums.lost_share().is_nan() && sums.cosine().is_nan());
        assert_eq!((sums.intended(), sums.written()), (0.0, 0.0));
    }

    #[test]
    fn a_faithful_write_has_effective_w_equal_to_w() {
        let leaf =
            Leaf { vector_sq: 4.0, vector_written: 2.0, written_sq: 1.0, updates: 10, lost: 1, ..Leaf::default() };
        let mut sums = ChangeSums::default();
        sums.add_leaf(&leaf, 0.5);
        assert_eq!((sums.effective_w(), sums.cosine(), sums.lost_share()), (0.5, 1.0, 0.1));
        assert_eq!((sums.intended(), sums.written()), (1.0, 1.0));
    }
}
