//! The order in which a tensor's rows lie in its file.

/// How the rows of a tensor lie in its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// One after another.
    #[default]
    AsNamed,
    /// Row by row of both halves of each attention head in turn: llama.cpp's order for the queries and keys of Llama,
    /// where transformers has one half after the other.
    Interleaved {
        /// Rows of one head: an even number that divides the number of rows.
        head_rows: u64,
    },
}

impl RowOrder {
    /// Where row `row` lies, counted in rows.
    fn source(self, row: u64) -> u64 {
        match self {
            Self::AsNamed => row,
            Self::Interleaved { head_rows } => {
                let (head, in_head) = (row / head_rows, row % head_rows);
                let half = head_rows / 2;
                head * head_rows + 2 * (in_head % half) + in_head / half
            }
        }
    }

    /// The stretches of the file that make up `count` bytes of the tensor from `first` on, as offset and length in bytes,
    /// where a row has `row_bytes`.
    pub(super) fn stretches(self, row_bytes: u64, first: u64, count: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = first + count;
        let mut at = first;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (offset, length) = match self {
                Self::AsNamed => (at, end - at),
                Self::Interleaved { .. } => {
                    let (row, in_row) = (at / row_bytes, at % row_bytes);
                    (self.source(row) * row_bytes + in_row, (row_bytes - in_row).min(end - at))
                }
            };
            at += length;
            Some((offset, length))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_of_a_head_are_taken_apart() {
        let order = RowOrder::Interleaved { head_rows: 6 };
        // llama.cpp: a0 b0 a1 b1 a2 b2, where a and b are the halves.
        let rows: Vec<u64> = (0..12).map(|row| order.source(row)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    proptest! {
        /// Read in pieces of any size, a tensor is the same as read at once, and every byte is read.
        #[test]
        fn pieces_make_up_the_whole(
            half in 1_u64..4, heads in 1_u64..3, row_bytes in 1_u64..5, cuts in proptest::collection::vec(0_u64..100, 0..4)
        ) {
            let order = RowOrder::Interleaved { head_rows: 2 * half };
            let bytes = 2 * half * heads * row_bytes;
            let read = |first, count| order.stretches(row_bytes, first, count).flat_map(|(at, length)| at..at + length);
            let whole: Vec<u64> = read(0, bytes).collect();
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut % (bytes + 1)).chain([0, bytes]).collect();
            cuts.sort_unstable();
            let pieces: Vec<u64> = cuts.windows(2).flat_map(|cut| read(cut[0], cut[1] - cut[0])).collect();
            prop_assert_eq!(&pieces, &whole);
            let mut all = whole;
            all.sort_unstable();
            prop_assert_eq!(all, (0..bytes).collect::<Vec<_>>());
        }
    }
}
