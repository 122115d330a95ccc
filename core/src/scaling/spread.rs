//! The coefficients of several tensors taken together.

use serde::Serialize;

/// How w is spread over some tensors: what the w that is really applied has to be held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest coefficient.
    pub least: f32,
    /// The largest.
    pub most: f32,
    /// Σ c·‖v‖² ∕ Σ‖v‖² over tensors with the coefficients c: the projection of the intended change on v.
    pub mean: f64,
    /// √(Σ c²·‖v‖² ∕ Σ‖v‖²): the size of the intended change in units of ‖v‖.
    pub root_mean_square: f64,
}

impl Spread {
    /// Of tensors with these coefficients and ‖v‖²; `None` when v is zero in all of them.
    pub fn of(tensors: impl IntoIterator<Item = (f32, f64)>) -> Option<Self> {
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        let (mut sum, mut squares, mut total) = (0.0, 0.0, 0.0);
        for (coefficient, vector_sq) in tensors.into_iter().filter(|(_, vector_sq)| *vector_sq > 0.0) {
            let c = f64::from(coefficient);
            (least, most) = (least.min(coefficient), most.max(coefficient));
            (sum, squares, total) = (sum + c * vector_sq, squares + c * c * vector_sq, total + vector_sq);
        }
        // The mean of one number is that number, to the bit.
        let mean = if least == most { f64::from(least) } else { sum / total };
        let found = Self { least, most, mean, root_mean_square: (squares / total).sqrt() };
        (total > 0.0).then_some(found)
    }

    /// Whether not all tensors have the same coefficient.
    pub fn differs(&self) -> bool {
        self.least != self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_weighs_each_coefficient_by_how_long_v_is_there() {
        let spread = Spread::of([(0.5, 3.0), (-0.5, 1.0), (9.0, 0.0)]).expect("v is not zero");
        assert_eq!((spread.least, spread.most, spread.mean, spread.root_mean_square), (-0.5, 0.5, 0.25, 0.5));
        assert!(spread.differs());
    }

    #[test]
    fn one_coefficient_is_its_own_mean() {
        let spread = Spread::of([(0.3, 0.1), (0.3, 0.7)]).expect("v is not zero");
        assert_eq!((spread.mean, spread.differs()), (f64::from(0.3_f32), false));
        assert_eq!(Spread::of([(0.3, 0.0)]), None);
    }
}
