//! Which weight files are whose.

use super::Part;
use crate::checkpoint::{Slot, WeightFiles};
use crate::merge::plan::Plan;

/// What one part writes.
pub(super) struct Share {
    pub part: Part,
    /// The plan of its files alone.
    pub plan: Plan,
    /// For each tensor of that, its position in the whole plan.
    pub tensors: Vec<usize>,
}

impl Share {
    /// The share of a part, the same on every machine.
    pub fn of(whole: &Plan, part: Part) -> Self {
        let bytes: Vec<u64> = whole.files.files.iter().map(|file| file.bytes).collect();
        let owners = divided(&bytes, part.of() as usize);
        let own = |file: &usize| owners[*file] == part.number() as usize - 1;
        let files: Vec<usize> = (0..bytes.len()).filter(own).collect();
        let tensors: Vec<usize> =
            (0..whole.tensors.len()).filter(|tensor| own(&whole.files.slots[*tensor].file)).collect();
        let slot = |tensor: &usize| {
            let slot = whole.files.slots[*tensor];
            // Files are in ascending order, and that of an own tensor is among them.
            Slot { file: files.partition_point(|file| *file < slot.file), ..slot }
        };
        let slots = tensors.iter().map(slot).collect();
        let plan = Plan {
            tensors: tensors.iter().map(|tensor| whole.tensors[*tensor].clone()).collect(),
            files: WeightFiles {
                files: files.iter().map(|file| whole.files.files[*file].clone()).collect(),
                slots,
                index: None,
            },
        };
        Self { part, plan, tensors }
    }
}

/// For each file, which of `parts` writes it: the largest first, each to the part that has the least (Graham 1969, the rule
/// of the longest processing time: no part gets more than 4/3 of what the best division would give it).
fn divided(bytes: &[u64], parts: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..bytes.len()).collect();
    order.sort_by_key(|file| (std::cmp::Reverse(bytes[*file]), *file));
    let mut loads = vec![0_u64; parts];
    let mut owners = vec![0; bytes.len()];
    for file in order {
        // The first of those that have the least.
        let least = loads.iter().enumerate().min_by_key(|(part, load)| (**load, *part)).map_or(0, |(part, _)| part);
        owners[file] = least;
        loads[least] = loads[least].saturating_add(bytes[file]);
    }
    owners
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_go_where_there_is_least() {
        assert_eq!(divided(&[5, 5, 5, 5], 2), [0, 1, 0, 1]);
        assert_eq!(divided(&[1, 9, 1, 1], 2), [1, 0, 1, 1]);
        assert_eq!(divided(&[7], 3), [0], "parts without files");
        assert_eq!(divided(&[], 2), [0_usize; 0]);
    }

    proptest! {
        #[test]
        fn no_part_has_much_more_than_its_share(bytes in proptest::collection::vec(1_u64..1_000, 1..60), parts in 1_usize..20) {
            let owners = divided(&bytes, parts);
            let mut loads = vec![0; parts];
            for (owner, bytes) in owners.iter().zip(&bytes) {
                loads[*owner] += bytes;
            }
            let most = loads.into_iter().max().unwrap_or(0);
            let least_possible = (bytes.iter().sum::<u64>().div_ceil(parts as u64)).max(bytes.iter().copied().max().unwrap_or(0));
            prop_assert!(most <= 2 * least_possible);
        }
    }
}
