//! What mergekit takes a parameter to be for a tensor.
//!
//! It looks at the model, then the slice, then the whole file. In a list the first entry counts whose filter is part of the
//! tensor's name; where none is, the next level does. A list of numbers is a gradient over the layers of the slice: at t =
//! layer ∕ (n − 1) for n layers, and t = 1 in a slice of one, straight between its points. Embeddings have the first value of
//! the first slice, the final norm and the head the first value of the last slice (measured with mergekit 0.1.5).

use crate::layout::{Part, Place};

/// A parameter of one model over the whole output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// By slice, from the first layer on; one where the file has no slices.
    pub(super) slices: Vec<SliceWeights>,
}

/// A parameter within a slice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SliceWeights {
    /// How many layers the slice has; `None` where nobody knows, and there is one slice.
    pub(super) layers: Option<u32>,
    /// By precedence; ends with the first entry that has no filter.
    pub(super) entries: Vec<Weighted>,
}

/// What a filter's tensors get.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weighted {
    /// Part of the tensor's name; `None` matches all.
    pub(super) filter: Option<String>,
    /// One value, or the points of a gradient.
    pub(super) points: Vec<f64>,
}

impl Weighted {
    pub(super) fn matches(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }
}

impl Weights {
    /// Without slices.
    pub(super) fn whole(layers: Option<u32>, entries: Vec<Weighted>) -> Self {
        Self { slices: vec![SliceWeights { layers, entries }] }
    }

    /// All layers together, where they are known.
    pub(super) fn layers(&self) -> Option<u32> {
        self.slices.iter().map(|slice| slice.layers).sum()
    }

    /// The value, where it is the same for all tensors.
    pub(super) fn only_value(&self) -> Option<f64> {
        let mut points = self.slices.iter().flat_map(|slice| slice.entries.iter().flat_map(|entry| &entry.points));
        let first = *points.next()?;
        let covers = self.slices.iter().all(|slice| slice.entries.last().is_some_and(|entry| entry.filter.is_none()));
        (covers && points.all(|value| *value == first)).then_some(first)
    }

    /// Whether it is the other's negative everywhere.
    pub(super) fn is_negative_of(&self, other: &Self) -> bool {
        let mut negative = other.clone();
        for slice in &mut negative.slices {
            for entry in &mut slice.entries {
                entry.points.iter_mut().for_each(|value| *value = -*value);
            }
        }
        *self == negative
    }

    /// The value for a tensor; `None` where no filter matches, or a layer's cannot be told.
    pub(super) fn of(&self, name: &str, place: Place) -> Option<f64> {
        let Some(layer) = place.layer else {
            let slice = if place.part == Part::Embed { self.slices.first() } else { self.slices.last() };
            return slice?.entry(name)?.points.first().copied();
        };
        let mut first = 0;
        for slice in &self.slices {
            let Some(layers) = slice.layers else {
                let points = &slice.entry(name)?.points;
                return (points.len() == 1).then_some(points[0]);
            };
            if layer < first + layers {
                return Some(gradient(&slice.entry(name)?.points, layer - first, layers));
            }
            first += layers;
        }
        None
    }
}

impl SliceWeights {
    fn entry(&self, name: &str) -> Option<&Weighted> {
        self.entries.iter().find(|entry| entry.matches(name))
    }
}

/// The value at a layer of a slice of `layers`.
pub(super) fn gradient(points: &[f64], layer: u32, layers: u32) -> f64 {
    let last = points.len() - 1;
    // A point for each layer, which no rounding of t may miss.
    if points.len() == layers as usize {
        return points[layer as usize];
    }
    let t = if layers > 1 { f64::from(layer) / f64::from(layers - 1) } else { 1.0 };
    let at = t * last as f64;
    let before = (at.floor() as usize).min(last);
    let after = (before + 1).min(last);
    let share = at - before as f64;
    (1.0 - share) * points[before] + share * points[after]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::place;

    #[track_caller]
    fn close(found: &[f64], expected: &[f64]) {
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near && found.len() == expected.len(), "{found:?} and not {expected:?}");
    }

    /// The numbers are those that mergekit 0.1.5 gave for a model of four layers.
    #[test]
    fn a_gradient_is_mergekits() {
        let of = |points: &[f64], layers| (0..layers).map(|layer| gradient(points, layer, layers)).collect::<Vec<_>>();
        close(&of(&[0.1, 0.8, 0.4], 4), &[0.1, 0.566667, 0.666667, 0.4]);
        close(&of(&[0.1, 0.8, 0.4, 0.7], 4), &[0.1, 0.8, 0.4, 0.7]);
        close(&of(&[0.3], 4), &[0.3; 4]);
        close(&of(&[0.2, 0.6], 1), &[0.6]);
    }

    #[test]
    fn what_lies_outside_the_layers_has_the_first_value_of_its_slice() {
        let slice = |points: &[f64]| SliceWeights {
            layers: Some(2),
            entries: vec![Weighted { filter: None, points: points.to_vec() }],
        };
        let weights = Weights { slices: vec![slice(&[0.1, 0.3]), slice(&[0.5, 0.9])] };
        let of = |name: &str| weights.of(name, place(name)).expect("a value");
        close(&["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"].map(of), &[0.1, 0.5, 0.5]);
        let layers = [0, 1, 2, 3].map(|layer| of(&format!("model.layers.{layer}.mlp.up_proj.weight")));
        close(&layers, &[0.1, 0.3, 0.5, 0.9]);
        assert_eq!(weights.of("model.layers.4.x", place("model.layers.4.x")), None);
    }
}
