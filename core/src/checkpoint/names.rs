//! Tensors by name.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::TensorInfo;

/// Finds a tensor in a list by its name, without a second copy of the names.
#[derive(Clone)]
pub(super) struct Names {
    positions: HashTable<usize>,
    /// Keyed at random, since names come from strangers.
    hasher: RandomState,
}

impl Names {
    /// Of tensors whose names differ.
    pub(super) fn new(tensors: &[TensorInfo]) -> Self {
        let hasher = RandomState::new();
        let hash = |&position: &usize| hasher.hash_one(tensors[position].name.as_str());
        let mut positions = HashTable::with_capacity(tensors.len());
        for position in 0..tensors.len() {
            positions.insert_unique(hash(&position), position, hash);
        }
        Self { positions, hasher }
    }

    /// Where in `tensors`, the list that this was made of, the one of that name is.
    pub(super) fn position(&self, name: &str, tensors: &[TensorInfo]) -> Option<usize> {
        let is_it = |&position: &usize| tensors[position].name == name;
        self.positions.find(self.hasher.hash_one(name), is_it).copied()
    }
}
