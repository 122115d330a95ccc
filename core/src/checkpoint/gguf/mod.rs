//! A GGUF file of plain floats, read as the model of transformers that it was made from.
//!
//! llama.cpp renames tensors, reverses dimensions and, for Llama and Mistral, puts the rows of queries and keys into another
//! order; all of that can be undone exactly, and is ([`names`], [`RowOrder`]). Norms come as f32 whatever they were. There
//! is neither a `config.json` nor a tokenizer in the form that others load: such a file is a lone weight file.

mod header;
mod names;

use std::io;

use super::header::{Dtype, HeaderTensor, byte_count};
use super::rows::RowOrder;
use super::shard::ReadAt;
use header::{RawTensor, Settings};
use names::{Architecture, Meaning, meaning};

/// Why a GGUF file was refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It does not begin as such a file does.
    #[error("it is no GGUF file; download it again")]
    NotGguf,
    /// Numbers have their highest byte first.
    #[error("it was written for big-endian machines; take one for others")]
    BigEndian,
    /// The format's version is not known.
    #[error("it has version {version} of GGUF; versions 2 and 3 are read")]
    Version {
        /// The version.
        version: u32,
    },
    /// The header does not end within the file, or within what a header may have.
    #[error("its header does not end where it should: the file is truncated; download it again")]
    Truncated,
    /// The header makes no sense.
    #[error("its header makes no sense at byte {at}; download it again")]
    Malformed {
        /// Where.
        at: u64,
    },
    /// A name occurs twice.
    #[error("it names tensor `{name}` twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Weights are codes.
    #[error(
        "tensor `{tensor}` is quantised ({kind}): its numbers are codes and cannot be added; take a file in F16, BF16 or F32, or the original safetensors checkpoint"
    )]
    Quantised {
        /// The first such tensor.
        tensor: String,
        /// Its type, as ggml calls it.
        kind: String,
    },
    /// The model is spread over several files.
    #[error(
        "it is one of {files} files of a model; put them together first (llama.cpp: `llama-gguf-split --merge`), or take the original safetensors checkpoint"
    )]
    Split {
        /// How many there are.
        files: u64,
    },
    /// Names are known for other architectures alone.
    #[error(
        "its architecture is `{architecture}`; tensors are known by name for llama, qwen2 and qwen3. Take the original safetensors checkpoint"
    )]
    Architecture {
        /// The architecture, as the file says.
        architecture: String,
    },
    /// A tensor is not known.
    #[error(
        "tensor `{tensor}` is none that a dense {architecture} model has; take the original safetensors checkpoint"
    )]
    UnknownTensor {
        /// The tensor.
        tensor: String,
        /// The architecture.
        architecture: String,
    },
    /// The rows of queries or keys cannot be put back into order.
    #[error(
        "the rows of `{tensor}` of shape {shape:?} cannot be put back into transformers' order, since they are not those of {} heads; take the original safetensors checkpoint", heads.map_or("a known number of".to_owned(), |heads| heads.to_string())
    )]
    Heads {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        shape: Vec<u64>,
        /// Heads that the file tells of, if it does for all layers alike.
        heads: Option<u64>,
    },
    /// A tensor reaches beyond the file.
    #[error("tensor `{tensor}` does not lie within the file: it is truncated; download it again")]
    Outside {
        /// The tensor.
        tensor: String,
    },
}

/// Reads which tensors a GGUF file of `file_bytes` bytes holds, by transformers' names, in the order of their ranges.
///
/// `read_at(offset, buffer)` fills `buffer` from the file at `offset`.
///
/// # Errors
///
/// [`GgufError`]: quantised files, and those whose tensors cannot be told for certain, are refused.
pub fn read_gguf(
    file_bytes: u64,
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Vec<HeaderTensor>, GgufError> {
    let read_at: &mut ReadAt<'_> = &mut read_at;
    let header = header::read(file_bytes, read_at)?;
    // Told before anything else: it is what most such files are.
    if let Some(tensor) = header.tensors.iter().find(|tensor| dtype(tensor.kind).is_none()) {
        return Err(GgufError::Quantised { tensor: tensor.name.clone(), kind: kind_name(tensor.kind) });
    }
    if let Some(files) = header.settings.files.filter(|files| *files > 1) {
        return Err(GgufError::Split { files });
    }
    let name = header.settings.architecture.clone().unwrap_or_default();
    let Some(architecture) = Architecture::find(&name) else {
        return Err(GgufError::Architecture { architecture: name });
    };
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for raw in header.tensors {
        let Some(meaning) = meaning(architecture, &raw.name) else {
            return Err(GgufError::UnknownTensor { tensor: raw.name, architecture: name });
        };
        tensors.extend(placed(raw, meaning, &header.settings, header.data_start, file_bytes)?);
    }
    tensors.sort_by_key(|tensor| tensor.offset);
    Ok(tensors)
}

/// A tensor by its true name, shape and order; `None` where it is none of a checkpoint's.
fn placed(
    raw: RawTensor,
    meaning: Meaning,
    settings: &Settings,
    data_start: u64,
    file_bytes: u64,
) -> Result<Option<HeaderTensor>, GgufError> {
    let shape: Vec<u64> = raw.dims.iter().rev().copied().collect();
    let outside = || GgufError::Outside { tensor: raw.name.clone() };
    let dtype = dtype(raw.kind).ok_or_else(outside)?;
    let bytes = byte_count(dtype, &shape).ok_or_else(outside)?;
    let offset = data_start.checked_add(raw.offset).ok_or_else(outside)?;
    if offset.checked_add(bytes).is_none_or(|end| end > file_bytes) {
        return Err(outside());
    }
    let (name, heads) = match meaning {
        Meaning::Derived => return Ok(None),
        Meaning::Tensor(name) => {
            return Ok(Some(HeaderTensor { name, dtype, shape, offset, bytes, rows: RowOrder::AsNamed }));
        }
        Meaning::Queries(name) => (name, settings.heads),
        Meaning::Keys(name) => (name, settings.kv_heads.or(settings.heads)),
    };
    let heads = heads.filter(|_| !settings.heads_by_layer);
    let head_rows = heads.filter(|heads| *heads > 0).and_then(|heads| {
        let rows = *shape.first()?;
        let head_rows = rows / heads;
        (head_rows > 0 && head_rows * heads == rows && head_rows.is_multiple_of(2)).then_some(head_rows)
    });
    match head_rows {
        Some(head_rows) => {
            Ok(Some(HeaderTensor { name, dtype, shape, offset, bytes, rows: RowOrder::Interleaved { head_rows } }))
        }
        None => Err(GgufError::Heads { tensor: raw.name, shape, heads }),
    }
}

/// The dtype of one of ggml's types, where it is one number an element.
fn dtype(kind: u32) -> Option<Dtype> {
    match kind {
        0 => Some(Dtype::F32),
        1 => Some(Dtype::F16),
        24 => Some(Dtype::I8),
        25 => Some(Dtype::I16),
        26 => Some(Dtype::I32),
        27 => Some(Dtype::I64),
        28 => Some(Dtype::F64),
        30 => Some(Dtype::BF16),
        _ => None,
    }
}

/// What ggml calls its types of codes (`ggml.h`).
fn kind_name(kind: u32) -> String {
    let name = match kind {
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        other => return format!("ggml type {other}"),
    };
    name.to_owned()
}
