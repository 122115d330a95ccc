//! BLAKE3 of a file whose parts are hashed in any order, by several workers.
//!
//! BLAKE3 is a binary tree over chunks of 1,024 bytes (section 2.1 of its paper): every left subtree is full, so that each
//! aligned power of two of chunks is a node of it. A part gives the nodes that its chunks make up; neighbours are joined as they
//! come, and what is left at the end are the full subtrees of the file's length, which are joined from the right. A chunk that is
//! cut waits until all of it was seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{CHUNK_LEN, Hash, Hasher};

const CHUNK: u64 = CHUNK_LEN as u64;

/// The hash of a file of known length that is seen part by part, each byte once.
pub(super) struct TreeHash {
    bytes: u64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// By their first chunk, nodes that await their neighbour: how many chunks they hold, and their value.
    nodes: BTreeMap<u64, (u64, ChainingValue)>,
    /// By their number, chunks of which only some bytes were seen: how many, and all of them in their place.
    cut: BTreeMap<u64, (usize, Box<[u8; CHUNK_LEN]>)>,
    /// The hash of a file that is one chunk, which is its own root.
    only: Option<Hash>,
}

impl TreeHash {
    /// Of a file of that many bytes, none of which were seen.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, found: Mutex::default() }
    }

    fn chunks(&self) -> u64 {
        self.bytes.div_ceil(CHUNK).max(1)
    }

    /// Adds what the file has from `offset` on, none of which was added before.
    pub fn add(&self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        // Whole chunks in the middle, of which only the file's last may be short.
        let first = offset.next_multiple_of(CHUNK).min(end);
        let last = if end == self.bytes { end } else { (end / CHUNK * CHUNK).max(first) };
        let (head, rest) = bytes.split_at((first - offset) as usize);
        let (whole, tail) = rest.split_at((last - first) as usize);
        self.add_cut(offset, head);
        self.add_whole(first, whole);
        self.add_cut(last, tail);
    }

    /// Adds a part of one chunk, and the chunk once it is whole.
    fn add_cut(&self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (chunk, within) = (offset / CHUNK, (offset % CHUNK) as usize);
        let length = CHUNK.min(self.bytes.saturating_sub(chunk * CHUNK)) as usize;
        let whole = {
            let mut found = self.lock();
            let (seen, content) = found.cut.entry(chunk).or_insert_with(|| (0, Box::new([0; CHUNK_LEN])));
            content[within..][..bytes.len()].copy_from_slice(bytes);
            *seen += bytes.len();
            if *seen >= length { found.cut.remove(&chunk) } else { None }
        };
        if let Some((_, content)) = whole {
            self.add_whole(chunk * CHUNK, &content[..length]);
        }
    }

    /// Adds whole chunks, the first of which begins at `offset`.
    fn add_whole(&self, offset: u64, bytes: &[u8]) {
        let chunks = self.chunks();
        if chunks == 1 && !bytes.is_empty() {
            self.lock().only = Some(blake3::hash(bytes));
            return;
        }
        let (mut first, mut rest) = (offset / CHUNK, bytes);
        let end = first + (bytes.len() as u64).div_ceil(CHUNK);
        while first < end {
            let count = node_at(first, end - first, chunks);
            let length = rest.len().min((count * CHUNK) as usize);
            let (node, after) = rest.split_at(length);
            let value = Hasher::new().set_input_offset(first * CHUNK).update(node).finalize_non_root();
            self.join(first, count, value);
            (first, rest) = (first + count, after);
        }
    }

    /// Joins a node with its neighbours as far as they are there. The whole file is no node: its root is another value.
    fn join(&self, mut first: u64, mut count: u64, mut value: ChainingValue) {
        let mut found = self.lock();
        while 2 * count < self.chunks() {
            let other = first ^ count;
            let Some((_, neighbour)) = found.nodes.get(&other).filter(|(chunks, _)| *chunks == count).copied() else {
                break;
            };
            found.nodes.remove(&other);
            let (left, right) = if other < first { (neighbour, value) } else { (value, neighbour) };
            value = merge_subtrees_non_root(&left, &right, Mode::Hash);
            (first, count) = (first & !count, 2 * count);
        }
        found.nodes.insert(first, (count, value));
    }

    /// The hash, once every byte was added.
    pub fn finish(self) -> Option<Hash> {
        let chunks = self.chunks();
        let Found { nodes, only, .. } = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut next = 0;
        for (first, (count, _)) in &nodes {
            if *first != next {
                return None;
            }
            next += count;
        }
        if chunks == 1 || next != chunks {
            return only;
        }
        let mut values = nodes.into_values().map(|(_, value)| value);
        let (first, mut right) = (values.next()?, values.next_back()?);
        while let Some(left) = values.next_back() {
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        Some(merge_subtrees_root(&first, &right, Mode::Hash))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chunks of the largest node that begins at `first` and has at most `most` of them, in a file of `chunks`.
fn node_at(first: u64, most: u64, chunks: u64) -> u64 {
    let aligned = if first == 0 { u64::MAX } else { 1 << first.trailing_zeros() };
    // The whole file is none.
    let most = most.min(aligned).min(chunks - 1);
    1 << most.ilog2()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a hash that is not there has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hashes `bytes` in parts that end at `cuts`, in the order of `order`.
    fn hashed(bytes: &[u8], cuts: &[usize], order: &[usize]) -> Option<Hash> {
        let mut ends: Vec<u64> = cuts.iter().map(|cut| (cut % (bytes.len() + 1)) as u64).collect();
        ends.extend([0, bytes.len() as u64]);
        ends.sort_unstable();
        let mut parts: Vec<_> = ends.windows(2).map(|pair| pair[0]..pair[1]).collect();
        for (position, other) in order.iter().enumerate() {
            let count = parts.len();
            parts.swap(position % count, other % count);
        }
        let tree = TreeHash::new(bytes.len() as u64);
        for part in parts {
            tree.add(part.start, &bytes[part.start as usize..part.end as usize]);
        }
        tree.finish()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn it_is_the_hash_of_the_file_at_every_shape_of_the_tree() {
        for chunks in 0..20 {
            for extra in [0, 1, 1023] {
                let bytes = noise(chunks * CHUNK_LEN + extra);
                if bytes.is_empty() {
                    continue;
                }
                for cuts in [
                    vec![],
                    vec![bytes.len() / 2],
                    (0..bytes.len()).step_by(700).collect(),
                    (0..bytes.len()).step_by(67).collect(),
                ] {
                    assert_eq!(hashed(&bytes, &cuts, &[]), Some(blake3::hash(&bytes)), "{chunks} chunks and {extra}");
                }
            }
        }
    }

    #[test]
    fn without_all_bytes_there_is_no_hash() {
        let bytes = noise(5000);
        for hole in [2048..3072, 0..1, 1023..1024, 2000..2001, 4999..5000] {
            let tree = TreeHash::new(5000);
            tree.add(0, &bytes[..hole.start]);
            tree.add(hole.end as u64, &bytes[hole.end..]);
            assert_eq!(tree.finish(), None, "{hole:?}");
        }
        assert_eq!(TreeHash::new(10).finish(), None);
        let tree = TreeHash::new(10);
        tree.add(3, &bytes[3..10]);
        assert_eq!(tree.finish(), None);
    }

    proptest! {
        #[test]
        fn neither_cuts_nor_order_change_it(length in 1_usize..200_000, cuts in proptest::collection::vec(any::<usize>(), 0..40), order in proptest::collection::vec(any::<usize>(), 0..40)) {
            let bytes = noise(length);
            prop_assert_eq!(hashed(&bytes, &cuts, &order), Some(blake3::hash(&bytes)));
        }
    }
}
