//! A PyTorch checkpoint (`pytorch_model.bin`), read for what it says and where its tensors lie. Nothing of it is executed.
//!
//! Such a file is a zip archive ([`archive`]) with a pickle in it ([`machine`]) that describes tensors, and an entry for each
//! storage, the bytes that tensors are views of. Entries are stored as they are, so that every contiguous tensor is a range
//! of the file and is read like one of a safetensors file. Tensors may share a storage, as tied weights do.

mod archive;
mod machine;

use std::collections::{HashMap, HashSet};
use std::io;

use super::header::{Dtype, HeaderTensor, LFS_POINTER, MAX_RANK, byte_count};
use super::rows::RowOrder;
use super::shard::ReadAt;
use archive::Archive;
use machine::{Machine, Tensor, Value};

/// Longest pickle that is read, in bytes; that of 100,000 tensors has about 20 MB.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

/// How many names are listed in words.
const NAMED: usize = 3;

/// Why a PyTorch checkpoint was refused.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// A Git LFS pointer lies in the file's place.
    #[error("it is a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`")]
    LfsPointer,
    /// It was written by PyTorch before 1.6, or with `_use_new_zipfile_serialization=False`.
    #[error(
        "it has the format that PyTorch wrote before 1.6, which cannot be read piece by piece; write it anew (Python: `torch.save(torch.load(FILE, weights_only=True), NEW_FILE)`)"
    )]
    Legacy,
    /// It is something else.
    #[error("it is no PyTorch checkpoint, which begins as a zip archive does")]
    NotTorch,
    /// The archive is damaged.
    #[error("its zip archive is damaged ({what}); download it again")]
    Archive {
        /// In what way.
        what: &'static str,
    },
    /// An entry is compressed or encrypted.
    #[error(
        "its entry `{entry}` is compressed, so that tensors cannot be read where they lie; PyTorch compresses nothing: write it anew (Python: `torch.save(torch.load(FILE, weights_only=True), NEW_FILE)`)"
    )]
    Compressed {
        /// The entry.
        entry: String,
    },
    /// The archive has no pickle, or several.
    #[error("it is a zip archive with {found} files named data.pkl, where a PyTorch checkpoint has one")]
    NoPickle {
        /// How many there are.
        found: usize,
    },
    /// Numbers have their highest byte first.
    #[error("it was written on a big-endian machine; write it anew on another")]
    BigEndian,
    /// The pickle is larger than any state dict's.
    #[error("its pickle has {what}")]
    TooLong {
        /// What there is too much of.
        what: &'static str,
    },
    /// The pickle asks for something that state dicts have no need of.
    #[error(
        "its pickle asks for `{module}.{name}`, which no dictionary of tensors needs; it is refused, and nothing of it was run. Take the safetensors checkpoint, or a file that holds the weights alone"
    )]
    Global {
        /// The Python module.
        module: String,
        /// The name in it.
        name: String,
    },
    /// The pickle has an instruction that state dicts have no need of.
    #[error(
        "its pickle has an instruction (0x{instruction:02x} at byte {at}) that no dictionary of tensors needs when saved as PyTorch does by default; it is refused, and nothing of it was run"
    )]
    Instruction {
        /// The instruction.
        instruction: u8,
        /// Where it stands in the pickle.
        at: usize,
    },
    /// An instruction finds something else than it needs.
    #[error("its pickle makes no sense at byte {at}; download it again")]
    Malformed {
        /// Where the instruction stands in the pickle.
        at: usize,
    },
    /// Elements of a tensor are not what the file says they are.
    #[error(
        "it holds a tensor that is to be conjugated or negated when it is used; save it with `.resolve_conj().resolve_neg()`"
    )]
    Lazy,
    /// It holds something else than a dictionary of tensors.
    #[error("it holds no dictionary of tensors; a checkpoint is what `torch.save(model.state_dict(), FILE)` writes")]
    NotAStateDict,
    /// The dictionary holds something else than tensors.
    #[error("it holds more than tensors ({}); take a file that holds the weights alone", names.join(", "))]
    NotTensors {
        /// The first keys of such entries.
        names: Vec<String>,
    },
    /// A name occurs twice.
    #[error("it names tensor `{name}` twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Dimensions and strides are no such thing, or too many.
    #[error("tensor `{name}` has no shape that makes sense; at most {MAX_RANK} dimensions are allowed")]
    Shape {
        /// Its name.
        name: String,
    },
    /// Elements do not lie one after another.
    #[error(
        "tensor `{name}` of shape {shape:?} is a view whose elements do not lie one after another (strides {stride:?}); save it with `.contiguous()`"
    )]
    NotContiguous {
        /// Its name.
        name: String,
        /// Its dimensions.
        shape: Box<[u64]>,
        /// Elements from one index to the next, for each dimension.
        stride: Box<[u64]>,
    },
    /// A tensor's bytes are not in the archive.
    #[error("the bytes of tensor `{name}` are missing (`{entry}`); download it again")]
    MissingStorage {
        /// Its name.
        name: String,
        /// The entry that should hold them.
        entry: String,
    },
    /// A storage is not as long as it should be, or a tensor reaches beyond it.
    #[error("tensor `{name}` needs {needed} bytes of `{entry}`, which has {found}; download it again")]
    StorageSize {
        /// Its name.
        name: String,
        /// The entry that holds its bytes.
        entry: String,
        /// Bytes that it should have at least.
        needed: u64,
        /// Bytes that it has.
        found: u64,
    },
}

impl PickleError {
    fn global(module: &str, name: &str) -> Self {
        Self::Global { module: shortened(module), name: shortened(name) }
    }
}

/// Text of a file as it may stand in a message.
fn shortened(text: &str) -> String {
    const CHARS: usize = 80;
    text.chars().take(CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Reads which tensors a PyTorch checkpoint of `file_bytes` bytes holds and where each lies, in the order of their ranges.
///
/// `read_at(offset, buffer)` fills `buffer` from the file at `offset`. Of a dictionary with an entry `state_dict`, as
/// trainers save it, that entry is meant.
///
/// # Errors
///
/// [`PickleError`]: whatever is not a dictionary of contiguous tensors, stored uncompressed, is refused.
pub fn read_pickle(
    file_bytes: u64,
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Vec<HeaderTensor>, PickleError> {
    let read_at: &mut ReadAt<'_> = &mut read_at;
    let mut head = [0; 16];
    let head = &mut head[..file_bytes.min(16) as usize];
    read_at(0, head)?;
    match head {
        _ if head.starts_with(b"PK\x03\x04") => {}
        _ if head.starts_with(LFS_POINTER) => return Err(PickleError::LfsPointer),
        // PROTO 2, LONG1 of 10 bytes: PyTorch's magic number.
        _ if head.starts_with(b"\x80\x02\x8a\x0a") => return Err(PickleError::Legacy),
        _ => return Err(PickleError::NotTorch),
    }
    let archive = Archive::read(file_bytes, read_at)?;
    let folders: Vec<String> =
        archive.names().filter_map(|name| name.strip_suffix("/data.pkl")).map(str::to_owned).collect();
    let [folder] = folders.as_slice() else { return Err(PickleError::NoPickle { found: folders.len() }) };
    if let Some((start, 3)) = archive.place(&format!("{folder}/byteorder"), read_at)? {
        let mut order = [0; 3];
        read_at(start, &mut order)?;
        if &order == b"big" {
            return Err(PickleError::BigEndian);
        }
    }
    let place = archive.place(&format!("{folder}/data.pkl"), read_at)?;
    let Some((start, bytes)) = place else { return Err(PickleError::NoPickle { found: 0 }) };
    if bytes > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLong { what: "more bytes than that of 200,000 tensors" });
    }
    let mut pickle = vec![0; bytes as usize];
    read_at(start, &mut pickle)?;

    let (machine, value) = machine::run(&pickle)?;
    let named = state_dict(&machine, value)?;
    let storages = Storages { machine: &machine, archive: &archive, folder };
    let mut places = HashMap::new();
    let mut tensors: Vec<HeaderTensor> = named
        .into_iter()
        .map(|(name, tensor)| storages.locate(name, tensor, &mut places, read_at))
        .collect::<Result<_, _>>()?;
    tensors.sort_by_key(|tensor| tensor.offset);
    Ok(tensors)
}

/// How many tensors a pickle without its archive describes, for [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn tensors_of_pickle(pickle: &[u8]) -> Result<usize, PickleError> {
    let (machine, value) = machine::run(pickle)?;
    let named = state_dict(&machine, value)?;
    Ok(named.iter().filter(|(_, tensor)| machine.layout(tensor, MAX_RANK).is_some()).count())
}

/// The names and tensors of the dictionary that a pickle describes.
fn state_dict<'m>(machine: &'m Machine<'_>, value: Value<'_>) -> Result<Vec<(&'m str, &'m Tensor)>, PickleError> {
    let Value::Dict(mut dict) = value else { return Err(PickleError::NotAStateDict) };
    let nested = machine.dict(dict).iter().rev().find_map(|entry| match *entry {
        (Value::Text("state_dict"), Value::Dict(nested)) => Some(nested),
        _ => None,
    });
    dict = nested.unwrap_or(dict);
    let mut named: Vec<(&str, &Tensor)> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut others: Vec<String> = Vec::new();
    for entry in machine.dict(dict) {
        match *entry {
            // A name may be used any number of times for a few bytes each: the first repetition ends the work.
            (Value::Text(name), Value::Tensor(_)) if !seen.insert(name) => {
                return Err(PickleError::Duplicate { name: shortened(name) });
            }
            (Value::Text(name), Value::Tensor(tensor)) => named.push((name, &machine.tensors[tensor])),
            (Value::Text(name), _) if others.len() < NAMED => others.push(shortened(name)),
            _ if others.is_empty() => others.push("keys that are no names".to_owned()),
            _ => {}
        }
    }
    if !others.is_empty() {
        return Err(PickleError::NotTensors { names: others });
    }
    if named.is_empty() { Err(PickleError::NotAStateDict) } else { Ok(named) }
}

/// Where an entry's bytes begin, and how many there are.
type Place = (u64, u64);

/// What is needed to find the bytes of a tensor.
struct Storages<'a> {
    machine: &'a Machine<'a>,
    archive: &'a Archive,
    folder: &'a str,
}

impl<'a> Storages<'a> {
    fn locate(
        &self,
        name: &str,
        tensor: &Tensor,
        places: &mut HashMap<&'a str, Option<Place>>,
        read_at: &mut ReadAt<'_>,
    ) -> Result<HeaderTensor, PickleError> {
        let (name, dtype) = (name.to_owned(), tensor.dtype);
        let Some((shape, stride)) = self.machine.layout(tensor, MAX_RANK) else {
            return Err(PickleError::Shape { name });
        };
        let width = bytes_of(dtype);
        let Some(bytes) = byte_count(dtype, &shape) else { return Err(PickleError::Shape { name }) };
        if !is_contiguous(&shape, &stride) {
            return Err(PickleError::NotContiguous { name, shape: shape.into(), stride: stride.into() });
        }

        let storage = &self.machine.storages[tensor.storage];
        let entry = format!("{}/data/{}", self.folder, storage.key);
        let place = match places.get(storage.key) {
            Some(place) => *place,
            None => {
                let place = self.archive.place(&entry, read_at)?;
                places.insert(storage.key, place);
                place
            }
        };
        let Some((start, found)) = place else { return Err(PickleError::MissingStorage { name, entry }) };
        let declared = storage.elements.saturating_mul(storage.dtype.map_or(1, bytes_of));
        let end = tensor.offset.saturating_mul(width).saturating_add(bytes);
        // An empty tensor needs no byte, wherever it says it begins.
        let end = if bytes == 0 { 0 } else { end };
        let needed = declared.max(end);
        if needed > found {
            return Err(PickleError::StorageSize { name, entry, needed, found });
        }
        let offset = if bytes == 0 { start } else { start + tensor.offset * width };
        Ok(HeaderTensor { name, dtype, shape, offset, bytes, rows: RowOrder::AsNamed })
    }
}

/// Bytes of an element; no dtype that a pickle can name is narrower than one.
fn bytes_of(dtype: Dtype) -> u64 {
    dtype.bitsize() as u64 / 8
}

/// Whether elements in row-major order lie one after another. A dimension of one index has no step.
fn is_contiguous(shape: &[u64], stride: &[u64]) -> bool {
    let mut expected = 1_u64;
    let dims = shape.iter().zip(stride).rev();
    shape.contains(&0)
        || dims.filter(|(dim, _)| **dim != 1).all(|(dim, stride)| {
            let fits = *stride == expected;
            expected = expected.saturating_mul(*dim);
            fits
        })
}
