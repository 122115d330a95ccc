//! Several vectors against each other: every two of them, over all tensors, by part and by layer.

use std::collections::BTreeSet;

use mergescope_core::analysis::{PairSums, VectorComparison};
use mergescope_core::layout::{Part, Place};

use crate::report::Figure;

/// Two vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The first, by its position.
    pub a: usize,
    /// The second, behind it.
    pub b: usize,
    /// Over all tensors.
    pub all: PairSums,
    /// Over the tensors of each part that occurs, in the order of [`Part::ALL`].
    pub parts: Vec<(Part, PairSums)>,
    /// Over the tensors of each layer, ascending.
    pub layers: Vec<(u32, PairSums)>,
}

impl Pair {
    /// Every two vectors: 0 and 1, 0 and 2, …, 1 and 2, ….
    pub fn of(comparison: &VectorComparison) -> Vec<Self> {
        let places = || comparison.tensors.iter().map(|tensor| tensor.place);
        let layers: BTreeSet<u32> = places().filter_map(|place| place.layer).collect();
        let parts: Vec<Part> = Part::ALL.into_iter().filter(|&part| places().any(|place| place.part == part)).collect();
        let pair = |a, b| {
            let sums = |pick: &dyn Fn(Place) -> bool| comparison.sums(a, b, pick);
            Self {
                a,
                b,
                all: sums(&|_| true),
                parts: parts.iter().map(|&part| (part, sums(&|place| place.part == part))).collect(),
                layers: layers.iter().map(|&layer| (layer, sums(&|place| place.layer == Some(layer)))).collect(),
            }
        };
        let count = comparison.vectors;
        (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).map(|(a, b)| pair(a, b)).collect()
    }
}

/// What is told of two vectors: key, label and number.
pub fn figures(sums: &PairSums) -> [(&'static str, &'static str, Figure); 3] {
    [
        ("cosine", "Cosine", Figure::cosine(sums.cosine())),
        ("sign_conflict_share", "Sign conflicts", Figure::Share(sums.sign_conflict_share())),
        ("support_overlap", "Support overlap", Figure::Share(sums.support_overlap())),
    ]
}

/// Which of several have the lowest and the highest cosine; `None` when there are not two of them that have one.
pub fn cosine_range<T: Copy>(of: &[(T, PairSums)]) -> Option<[(T, f64); 2]> {
    let cosines = || of.iter().map(|(what, sums)| (*what, sums.cosine())).filter(|(_, cosine)| !cosine.is_nan());
    let low = cosines().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let high = cosines().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (cosines().count() > 1).then_some([low, high])
}

#[cfg(test)]
mod tests {
    use mergescope_core::analysis::TensorComparison;

    use super::*;

    fn sums(product: f64) -> PairSums {
        PairSums { product, left_sq: 1.0, right_sq: 1.0, both_moved: 4, opposed: 1, ..PairSums::default() }
    }

    #[test]
    fn every_two_vectors_are_told_apart_by_part_and_by_layer() {
        let tensor = |layer, part, products: [f64; 3]| TensorComparison {
            name: String::new(),
            place: Place { layer, part, expert: None },
            shape: vec![4],
            left_out: 0,
            pairs: products.map(sums).to_vec(),
        };
        let comparison = VectorComparison {
            vectors: 3,
            tensors: vec![
                tensor(None, Part::Embed, [0.875, 0.0, 0.0]),
                tensor(Some(2), Part::Up, [0.5, 0.25, -1.0]),
                tensor(Some(2), Part::Q, [0.125, 0.5, 0.0]),
                tensor(Some(7), Part::Up, [0.25, 0.0, 0.0]),
            ],
            left_out: Vec::new(),
            bytes_read: 0,
            elapsed: Default::default(),
        };
        let pairs = Pair::of(&comparison);
        assert_eq!(pairs.iter().map(|pair| (pair.a, pair.b)).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
        let products =
            |of: &[(Part, PairSums)]| of.iter().map(|(part, sums)| (*part, sums.product)).collect::<Vec<_>>();
        assert_eq!(products(&pairs[0].parts), [(Part::Q, 0.125), (Part::Up, 0.75), (Part::Embed, 0.875)]);
        assert_eq!(pairs[0].layers.iter().map(|(layer, _)| *layer).collect::<Vec<_>>(), [2, 7]);
        assert_eq!(pairs[2].layers[0].1.product, -1.0);
        assert_eq!((pairs[1].all.both_moved, pairs[1].all.product), (16, 0.75));
        assert_eq!(cosine_range(&pairs[0].parts), Some([(Part::Q, 0.125), (Part::Embed, 0.875)]));
    }

    #[test]
    fn one_number_is_no_range() {
        assert_eq!(cosine_range(&[(1, sums(0.5)), (2, PairSums::default())]), None);
    }
}
