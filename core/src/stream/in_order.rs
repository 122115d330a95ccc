//! A sum over a tensor's units, taken in order while they come in any order.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Adds up what units found in the order of their elements, so that the sum does not depend on which worker was faster.
///
/// Holds what came too early: about one unit for each worker, since units are claimed in order.
#[derive(Debug)]
pub(crate) struct InOrder<T, S> {
    state: Mutex<State<T, S>>,
}

#[derive(Debug)]
struct State<T, S> {
    /// The element from which on nothing is added yet.
    next: u64,
    /// First element → elements, and what was found in them.
    early: BTreeMap<u64, (u64, T)>,
    sum: S,
}

impl<T, S> InOrder<T, S> {
    /// Begins with `sum` at element 0.
    pub(crate) fn new(sum: S) -> Self {
        Self { state: Mutex::new(State { next: 0, early: BTreeMap::new(), sum }) }
    }

    /// Takes what was found in `count` elements from `first` on, and calls `add` for all that is now in order.
    pub(crate) fn add(&self, first: u64, count: u64, found: T, mut add: impl FnMut(&mut S, T)) {
        let mut state = self.lock();
        state.early.insert(first, (count, found));
        let state = &mut *state;
        while let Some((count, found)) = state.early.remove(&state.next) {
            add(&mut state.sum, found);
            state.next += count;
        }
    }

    /// The sum of all that was in order.
    pub(crate) fn finish(self) -> S {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).sum
    }

    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_early_waits_for_its_turn() {
        let letters = InOrder::new(String::new());
        for (first, found) in [(4, 'c'), (0, 'a'), (6, 'd'), (2, 'b')] {
            letters.add(first, 2, found, String::push);
        }
        assert_eq!(letters.finish(), "abcd");
    }
}
