//! The header of a safetensors file, read and checked before anything is allocated for tensors.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. Eight bytes hold the header's length N (little endian),
//! N bytes of JSON map each name to its dtype, shape and byte range, and the rest of the file is data. Limits held here:
//! N ≤ 100 MB and within the file; ranges start at 0, touch, do not overlap and end at the file's end; each range is as
//! long as shape × dtype says.

use std::collections::HashSet;
use std::fmt;
use std::io;

pub(super) use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::rows::RowOrder;

/// Bytes of the length that precedes the header.
const LENGTH_BYTES: u64 = 8;

/// Longest header accepted, in bytes: the safetensors crate's own limit.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// How a Git LFS pointer begins: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
pub(super) const LFS_POINTER: &[u8; LENGTH_BYTES as usize] = b"version ";

/// Most dimensions accepted for one tensor; checkpoints have at most five.
pub(super) const MAX_RANK: usize = 16;

/// One tensor as a header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTensor {
    /// Name, as written.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<u64>,
    /// Offset of the first byte from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// How its rows lie in these bytes.
    pub rows: RowOrder,
}

/// Why a header was refused.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// The file has no room for the header's length.
    #[error("it has {file_bytes} bytes, too few for a safetensors file; download it again")]
    TooShort {
        /// Size of the file.
        file_bytes: u64,
    },
    /// A Git LFS pointer lies in the file's place.
    #[error("it is a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`")]
    LfsPointer,
    /// The header's length passes the limit.
    #[error(
        "it declares a header of {header_bytes} bytes, more than the {MAX_HEADER_BYTES} allowed: not a safetensors file, or a damaged one"
    )]
    HeaderTooLong {
        /// The declared length.
        header_bytes: u64,
    },
    /// The header does not fit into the file.
    #[error(
        "its header should have {header_bytes} bytes but the file ends after {file_bytes}: the file is truncated; download it again"
    )]
    HeaderTruncated {
        /// The declared length.
        header_bytes: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// The header is not the JSON it should be.
    #[error("its header is not valid safetensors JSON")]
    Json(#[from] serde_json::Error),
    /// A name occurs twice.
    #[error("its header names tensor `{name}` twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A tensor has an absurd number of dimensions.
    #[error("tensor `{name}` has {rank} dimensions; at most {MAX_RANK} are allowed")]
    Rank {
        /// Its name.
        name: String,
        /// Its number of dimensions.
        rank: usize,
    },
    /// Shape times element size does not fit in 64 bits.
    #[error("tensor `{name}` has shape {shape:?}, whose size overflows")]
    Overflow {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// The byte range is not as long as shape and dtype say.
    #[error("tensor `{name}` of {dtype} {shape:?} needs {expected} bytes but its range holds {found}")]
    ByteCount {
        /// Its name.
        name: String,
        /// Its element type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<u64>,
        /// Bytes that shape × dtype need.
        expected: u64,
        /// Bytes between its two offsets.
        found: u64,
    },
    /// The range overlaps its predecessor, leaves a gap, or runs backwards.
    #[error(
        "tensor `{name}` begins at byte {found} of the data where {expected} was expected: ranges overlap or leave a gap"
    )]
    Offset {
        /// Its name.
        name: String,
        /// Where it should begin.
        expected: u64,
        /// Where it says it begins.
        found: u64,
    },
    /// The file is shorter or longer than its tensors.
    #[error("its tensors need {expected} bytes but the file has {found}: it is {}; download it again", if found < expected { "truncated" } else { "followed by bytes that belong to no tensor" })]
    FileSize {
        /// Bytes that header and tensors take.
        expected: u64,
        /// Size of the file.
        found: u64,
    },
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's entries in the order written, duplicates included.
struct RawHeader(Vec<(String, RawTensor)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object that maps tensor names to dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(RawHeader(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Reads and checks the header of a file of `file_bytes` bytes.
///
/// `read_at(offset, buffer)` fills `buffer` from the file at `offset`. The tensors come back in file order.
pub fn read_header(
    file_bytes: u64,
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Vec<HeaderTensor>, HeaderError> {
    if file_bytes < LENGTH_BYTES {
        return Err(HeaderError::TooShort { file_bytes });
    }
    let mut length = [0; LENGTH_BYTES as usize];
    read_at(0, &mut length)?;
    if &length == LFS_POINTER {
        return Err(HeaderError::LfsPointer);
    }
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES {
        return Err(HeaderError::HeaderTooLong { header_bytes });
    }
    if LENGTH_BYTES + header_bytes > file_bytes {
        return Err(HeaderError::HeaderTruncated { header_bytes, file_bytes });
    }
    let mut json = vec![0; header_bytes as usize];
    read_at(LENGTH_BYTES, &mut json)?;
    let RawHeader(entries) = serde_json::from_slice(&json)?;
    check(entries, LENGTH_BYTES + header_bytes, file_bytes)
}

fn check(
    mut entries: Vec<(String, RawTensor)>,
    data_start: u64,
    file_bytes: u64,
) -> Result<Vec<HeaderTensor>, HeaderError> {
    let mut names = HashSet::with_capacity(entries.len());
    if let Some((name, _)) = entries.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return Err(HeaderError::Duplicate { name: name.clone() });
    }

    entries.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut end = 0;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, RawTensor { dtype, shape, data_offsets: (from, to) }) in entries {
        if shape.len() > MAX_RANK {
            return Err(HeaderError::Rank { name, rank: shape.len() });
        }
        let Some(expected) = byte_count(dtype, &shape) else {
            return Err(HeaderError::Overflow { name, shape });
        };
        if from != end || to < from {
            return Err(HeaderError::Offset { name, expected: end, found: from });
        }
        if to - from != expected {
            return Err(HeaderError::ByteCount { name, dtype, shape, expected, found: to - from });
        }
        end = to;
        // A sum past 64 bits is also past the file's end, which is checked below.
        let offset = data_start.saturating_add(from);
        tensors.push(HeaderTensor { name, dtype, shape, offset, bytes: expected, rows: RowOrder::AsNamed });
    }
    let expected = data_start.saturating_add(end);
    if expected != file_bytes {
        return Err(HeaderError::FileSize { expected, found: file_bytes });
    }
    Ok(tensors)
}

/// Bytes of a tensor: the product of its dimensions times the dtype's bits, over eight.
///
/// `None` when that overflows 64 bits or is no whole number of bytes.
pub fn byte_count(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim))?;
    let bits = elements.checked_mul(dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;

    fn file(json: &str, data_bytes: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data_bytes, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<HeaderTensor>, HeaderError> {
        read_header(bytes.len() as u64, |offset, buffer| {
            let start = offset as usize;
            buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
            Ok(())
        })
    }

    fn message(bytes: &[u8]) -> String {
        read(bytes).expect_err("the header is bad").to_string()
    }

    #[test]
    fn reads_scalars_empty_tensors_and_metadata() {
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"dtype":"I64","shape":[0,7],"data_offsets":[16,16]}}"#;
        let tensors = read(&file(json, 16)).unwrap();
        let data_start = 8 + json.len() as u64;
        let seen: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.offset - data_start, t.bytes)).collect();
        assert_eq!(seen, [("a", 0, 4), ("b", 4, 12), ("c", 16, 0)]);
    }

    #[test]
    fn refuses_a_header_length_past_the_limit_before_allocating() {
        let bytes = (1_u64 << 60).to_le_bytes();
        assert!(message(&bytes).contains("declares a header of 1152921504606846976 bytes"));
    }

    #[test]
    fn a_git_lfs_pointer_says_what_to_do() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        assert!(message(pointer).contains("git lfs pull"));
    }

    #[test]
    fn refuses_a_truncated_file() {
        let whole = file(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 16);
        assert!(message(&whole[..whole.len() - 1]).contains("it is truncated"));
        assert!(message(&whole[..20]).contains("the file is truncated"));
        assert!(message(&whole[..5]).contains("too few for a safetensors file"));
    }

    #[test]
    fn refuses_overlaps_gaps_and_wrong_sizes() {
        let overlap = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
        assert!(message(&file(overlap, 6)).contains("`b` begins at byte 2 of the data where 4 was expected"));
        let gap = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}}"#;
        assert!(message(&file(gap, 5)).contains("overlap or leave a gap"));
        let size = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,15]}}"#;
        assert!(message(&file(size, 15)).contains("needs 16 bytes but its range holds 15"));
        let backwards = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[4,3]}}"#;
        assert!(read(&file(backwards, 4)).is_err());
    }

    #[test]
    fn refuses_sizes_that_overflow() {
        let json = r#"{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
        assert!(message(&file(json, 0)).contains("overflows"));
    }

    #[test]
    fn refuses_a_name_given_twice() {
        let json = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        assert!(message(&file(json, 2)).contains("names tensor `a` twice"));
    }

    proptest! {
        /// Any bytes: no panic, and nothing accepted that the safetensors crate refuses.
        #[test]
        fn agrees_with_the_safetensors_crate(
            ranges in proptest::collection::vec((0_u64..6, 0_u64..6, 0_u64..4), 0..4),
            extra in 0_usize..3,
            cut in 0_usize..4,
        ) {
            let entries: Vec<String> = ranges
                .iter()
                .enumerate()
                .map(|(i, (from, length, dim))| {
                    format!(r#""t{i}":{{"dtype":"U8","shape":[{dim}],"data_offsets":[{from},{}]}}"#, from + length)
                })
                .collect();
            let end = ranges.iter().map(|(from, length, _)| from + length).max().unwrap_or(0);
            let mut bytes = file(&format!("{{{}}}", entries.join(",")), end as usize + extra);
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            prop_assert_eq!(read(&bytes).is_ok(), SafeTensors::read_metadata(&bytes).is_ok());
        }

        #[test]
        fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn survives_any_json_shaped_header(text in r#"\{("[a-c]":\{"dtype":"(F32|BF16|X)","shape":\[[0-9]{0,20}\],"data_offsets":\[[0-9]{1,20},[0-9]{1,20}\]\},?){0,3}\}"#) {
            let _ = read(&file(&text, 8));
        }
    }
}
