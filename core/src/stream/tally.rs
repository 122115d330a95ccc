//! Partial results of a tensor's units, put back in order.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Collects what the units of one tensor found and hands it out in the order of the elements once all are done, so that
/// sums do not depend on which worker was faster.
#[derive(Debug)]
pub(crate) struct Tally<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    open_units: usize,
    parts: Vec<(u64, Vec<T>)>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { open_units: 0, parts: Vec::new() }) }
    }
}

impl<T> Tally<T> {
    /// Expects one more unit.
    pub(crate) fn expect_unit(&self) {
        self.lock().open_units += 1;
    }

    /// Takes the parts of the unit that begins at element `first`; gives all parts in order when it was the last one.
    pub(crate) fn add(&self, first: u64, parts: Vec<T>) -> Option<impl Iterator<Item = T> + use<T>> {
        let mut state = self.lock();
        state.parts.push((first, parts));
        state.open_units -= 1;
        (state.open_units == 0).then(|| {
            let mut parts = mem::take(&mut state.parts);
            parts.sort_by_key(|(first, _)| *first);
            parts.into_iter().flat_map(|(_, parts)| parts)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_the_order_of_the_elements() {
        let tally = Tally::default();
        for _ in 0..3 {
            tally.expect_unit();
        }
        assert!(tally.add(20, vec!['e']).is_none());
        assert!(tally.add(0, vec!['a', 'b']).is_none());
        let all: String = tally.add(10, vec!['c', 'd']).expect("the last unit").collect();
        assert_eq!(all, "abcde");
    }
}
