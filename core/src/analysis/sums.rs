//! What is counted and summed over the elements of a tensor, and adds up over any set of tensors.

use serde::{Deserialize, Serialize};

use super::gram::{Gram, LEAST_SQUARE, OutOfRange};

/// Sums over the elements that take part, of one tensor or of many.
///
/// Everything a chart shows of a cell, a layer, a part or the whole vector is a quotient of these: aggregates are added
/// up, never read from the weights again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Elements that take part; those in [`Sums::nonfinite`] among them.
    pub elements: u64,
    /// Inner products.
    pub gram: Gram,
    /// Σ v.
    pub sum: f64,
    /// max |v|.
    pub max_abs: f64,
    /// Elements in which v is exactly zero.
    pub zeros: u64,
    /// Elements in which v and target − pre point the same way; neither is zero.
    pub same_sign: u64,
    /// Elements in which v and target − pre point opposite ways.
    pub opposite_sign: u64,
    /// Elements that are NaN or infinite in pre, post and target.
    pub nonfinite: [u64; 3],
    /// Elements that are NaN or infinite in any of the three; they are left out of all sums and other counts.
    ///
    /// What does not read the target ([`LayerProducts`](super::LayerProducts), [`Spectrum`](super::Spectrum) and
    /// [`VectorComparison`](super::VectorComparison)) cannot leave out an element for what the target holds there; each
    /// counts for itself what it left out.
    pub left_out: u64,
}

impl Sums {
    /// ‖v‖ ∕ √elements: the root mean square of an element of v; NaN without elements.
    pub fn rms(&self) -> f64 {
        (self.gram.v_v / self.finite() as f64).sqrt()
    }

    /// Mean of v; NaN without elements.
    pub fn mean(&self) -> f64 {
        self.sum / self.finite() as f64
    }

    /// Share of elements in which v is exactly zero, 0 to 1; NaN without elements.
    pub fn zero_share(&self) -> f64 {
        self.zeros as f64 / self.finite() as f64
    }

    /// Of the elements that both v and target − pre move, the share that they move the same way, 0 to 1.
    ///
    /// NaN when there are none. Two vectors that have nothing to do with each other come to about a half.
    pub fn sign_agreement(&self) -> f64 {
        self.same_sign as f64 / (self.same_sign + self.opposite_sign) as f64
    }

    /// Puts the target in the place of a pre that is all zeros, as that of a saved vector: v is then measured against the
    /// target, and what compares it with target − pre has nothing to compare.
    pub(super) fn measure_against_target(&mut self) {
        self.gram = Gram { pre_pre: self.gram.u_u, pre_v: self.gram.v_u, v_v: self.gram.v_v, ..Gram::default() };
        (self.same_sign, self.opposite_sign) = (0, 0);
    }

    /// Elements in which v is not zero: the updates that a merge makes at any w but 0.
    pub fn updates(&self) -> u64 {
        self.finite() - self.zeros
    }

    /// Elements that are finite in all three models.
    pub fn finite(&self) -> u64 {
        self.elements - self.left_out
    }

    /// Why [`Gram::norm`] and what follows from it are not those of v; `None` where they are.
    ///
    /// All counts are right whatever the range.
    pub fn out_of_range(&self) -> Option<OutOfRange> {
        if !self.gram.is_finite() {
            Some(OutOfRange::Large)
        } else if self.updates() > 0 && self.gram.v_v < LEAST_SQUARE {
            Some(OutOfRange::Small)
        } else {
            None
        }
    }

    /// Adds the sums of other elements.
    pub fn add(&mut self, other: &Self) {
        self.elements += other.elements;
        self.gram.add(&other.gram);
        self.sum += other.sum;
        self.max_abs = self.max_abs.max(other.max_abs);
        self.zeros += other.zeros;
        self.same_sign += other.same_sign;
        self.opposite_sign += other.opposite_sign;
        for (count, other) in self.nonfinite.iter_mut().zip(other.nonfinite) {
            *count += other;
        }
        self.left_out += other.left_out;
    }
}

impl<'a> std::iter::Sum<&'a Self> for Sums {
    fn sum<I: Iterator<Item = &'a Self>>(sums: I) -> Self {
        sums.fold(Self::default(), |mut total, sums| {
            total.add(sums);
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_elements_give_no_numbers_rather_than_wrong_ones() {
        let none = Sums::default();
        for value in [none.rms(), none.mean(), none.zero_share(), none.sign_agreement(), none.gram.relative_norm()] {
            assert!(value.is_nan());
        }
    }

    #[test]
    fn a_vector_whose_squares_leave_f64_is_no_zero_vector() {
        let of = |zeros, v_v, pre_pre| {
            let gram = Gram { v_v, pre_pre, u_u: 1.0, v_u: 0.0, ..Gram::default() };
            Sums { elements: 4, zeros, gram, ..Sums::default() }
        };
        assert_eq!(of(4, 0.0, 1.0).out_of_range(), None, "a zero vector");
        assert_eq!(of(3, 1e-200, 1.0).out_of_range(), None);
        for v_v in [0.0, 1e-310] {
            let sums = of(3, v_v, 1.0);
            assert_eq!(sums.out_of_range(), Some(OutOfRange::Small));
            assert!(sums.gram.cos_vector_target().is_nan());
        }
        for sums in [of(0, f64::INFINITY, 1.0), of(0, 1.0, f64::INFINITY)] {
            assert_eq!(sums.out_of_range(), Some(OutOfRange::Large));
            assert!(sums.gram.relative_norm().is_nan(), "neither 0 nor infinite");
        }
        assert!(of(0, f64::INFINITY, 1.0).gram.cos_vector_target().is_nan());
    }

    #[test]
    fn shares_are_of_the_elements_they_speak_of() {
        let sums = Sums {
            elements: 11,
            left_out: 1,
            zeros: 4,
            same_sign: 3,
            opposite_sign: 1,
            gram: Gram { v_v: 40.0, ..Gram::default() },
            sum: 5.0,
            ..Sums::default()
        };
        assert_eq!((sums.zero_share(), sums.updates(), sums.sign_agreement()), (0.4, 6, 0.75));
        assert_eq!((sums.rms(), sums.mean()), (2.0, 0.5));
        let twice: Sums = [sums, sums].iter().sum();
        assert_eq!((twice.zero_share(), twice.updates(), twice.rms()), (0.4, 12, 2.0));
    }
}
