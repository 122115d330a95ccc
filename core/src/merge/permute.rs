//! A vector with its layers permuted: each layer gets what belongs to another of the same shape.

use std::collections::{BTreeMap, HashMap};

use crate::checkpoint::TensorInfo;
use crate::layout;
use crate::numeric::StochasticKey;

/// For each tensor of the target, the tensor whose vector it gets.
#[derive(Debug)]
pub(super) struct Permutation {
    sources: Vec<usize>,
}

impl Permutation {
    /// Draws a permutation of the layers. Only layers that hold the same tensors change places, in one cycle through all of
    /// them, so that none stays where it is unless it is the only one of its shape. Tensors outside the layers stay.
    pub(super) fn new(tensors: &[TensorInfo], seed: u64) -> Self {
        let mut layers: BTreeMap<u32, BTreeMap<String, usize>> = BTreeMap::new();
        for (position, tensor) in tensors.iter().enumerate() {
            let layer = layout::place(&tensor.name).layer;
            if let (Some(layer), Some(key)) = (layer, layout::without_layer(&tensor.name)) {
                layers.entry(layer).or_default().insert(key, position);
            }
        }
        // What a layer is like, and the layers that are like it.
        let mut alike: HashMap<Vec<(&str, &[u64])>, Vec<u32>> = HashMap::new();
        for (layer, members) in &layers {
            let like = members.iter().map(|(key, &at)| (key.as_str(), tensors[at].shape.as_slice())).collect();
            alike.entry(like).or_default().push(*layer);
        }
        let mut from: HashMap<u32, u32> = HashMap::new();
        for group in alike.values() {
            let key = StochasticKey::new(seed, &format!("layers like {}", group[0]));
            from.extend(group.iter().copied().zip(one_cycle(group, key)));
        }

        let source = |(position, tensor): (usize, &TensorInfo)| {
            let found = || {
                let layer = from.get(&layout::place(&tensor.name).layer?)?;
                layers.get(layer)?.get(&layout::without_layer(&tensor.name)?).copied()
            };
            found().unwrap_or(position)
        };
        Self { sources: tensors.iter().enumerate().map(source).collect() }
    }

    /// Whether every tensor stays where it is, since no two layers are alike.
    pub(super) fn is_identity(&self) -> bool {
        self.sources.iter().enumerate().all(|(position, source)| position == *source)
    }

    /// The position of the tensor whose vector the tensor at `position` gets.
    pub(super) fn source_of(&self, position: usize) -> usize {
        self.sources[position]
    }
}

/// The items in an order that leaves none in its place: Sattolo's algorithm, which draws among all permutations of one
/// cycle with equal probability ("An algorithm to generate a random cyclic permutation", 1986).
fn one_cycle(items: &[u32], key: StochasticKey) -> Vec<u32> {
    let mut order = items.to_vec();
    for last in (1..order.len()).rev() {
        // The bias of a remainder is below 2⁻⁵⁰ for any number of layers.
        let other = (key.bits(last as u64) % last as u64) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_layer_stays_in_its_place_and_each_is_used_once() {
        for count in [2_u32, 3, 7, 48] {
            let items: Vec<u32> = (0..count).collect();
            let order = one_cycle(&items, StochasticKey::new(3, "x"));
            assert!(order.iter().zip(&items).all(|(a, b)| a != b));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, items);
        }
        assert_eq!(one_cycle(&[5], StochasticKey::new(3, "x")), [5]);
    }
}
