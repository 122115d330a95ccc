//! What is counted and summed over the elements of a tensor, and adds up over any set of tensors.

use serde::{Deserialize, Serialize};

use super::gram::Gram;

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

    /// Elements in which v is not zero: the updates that a merge makes at any w but 0.
    pub fn updates(&self) -> u64 {
        self.finite() - self.zeros
    }

    /// Elements that are finite in all three models.
    pub fn finite(&self) -> u64 {
        self.elements - self.left_out
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
