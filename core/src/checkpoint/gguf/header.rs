//! The header of a GGUF file: the few of its settings that are needed, and its tensors as it names them.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little endian. Limits: the header
//! has at most [`MAX_HEADER_BYTES`] and lies within the file, and so does every tensor; names have at most
//! [`MAX_NAME_BYTES`]. Settings that are not needed, a vocabulary among them, are passed over and take no memory.

use std::collections::HashSet;

use super::super::header::MAX_HEADER_BYTES;
use super::super::shard::ReadAt;
use super::GgufError;

/// Longest key, text or name that is kept, in bytes.
const MAX_NAME_BYTES: u64 = 1024;

/// Most dimensions of a tensor: ggml's own limit.
const MAX_RANK: u32 = 4;

/// How deep lists of lists may go.
const MAX_DEPTH: u32 = 3;

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 64 << 10;

/// What is needed of the settings.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// `general.alignment`: every tensor begins at a multiple of it.
    pub alignment: Option<u64>,
    /// `split.count`: files that the model is spread over.
    pub files: Option<u64>,
    /// `ARCHITECTURE.attention.head_count`, where all layers have one.
    pub heads: Option<u64>,
    /// `ARCHITECTURE.attention.head_count_kv`, likewise.
    pub kv_heads: Option<u64>,
    /// Whether one of the two differs from layer to layer.
    pub heads_by_layer: bool,
}

/// A tensor as the file names it.
#[derive(Debug)]
pub(super) struct RawTensor {
    pub name: String,
    /// ggml's number of its type.
    pub kind: u32,
    /// Dimensions, the fastest first: the reverse of everyone else's.
    pub dims: Vec<u64>,
    /// From the start of the data.
    pub offset: u64,
}

/// A header, and where the data begins.
#[derive(Debug)]
pub(super) struct Header {
    pub settings: Settings,
    pub tensors: Vec<RawTensor>,
    pub data_start: u64,
}

/// Types of settings, by their number.
mod kind {
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;

    /// Bytes of a number of that type.
    pub fn bytes(kind: u32) -> Option<u64> {
        match kind {
            // u8, i8, bool.
            0 | 1 | 7 => Some(1),
            // u16, i16.
            2 | 3 => Some(2),
            // f32.
            U32 | I32 | 6 => Some(4),
            // f64.
            U64 | I64 | 12 => Some(8),
            _ => None,
        }
    }
}

/// Reads the header of a file of `file_bytes` bytes.
pub(super) fn read(file_bytes: u64, read_at: &mut ReadAt<'_>) -> Result<Header, GgufError> {
    let mut reader = Reader { read_at, end: file_bytes.min(MAX_HEADER_BYTES), at: 0, window: Vec::new(), window_at: 0 };
    if reader.array::<4>()? != *b"GGUF" {
        return Err(GgufError::NotGguf);
    }
    match reader.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() < 16 => return Err(GgufError::BigEndian),
        version => return Err(GgufError::Version { version }),
    }
    let (tensor_count, setting_count) = (reader.u64()?, reader.u64()?);
    let mut settings = Settings::default();
    for _ in 0..setting_count {
        reader.setting(&mut settings)?;
    }
    // No room is made ahead: each tensor must first be there, whatever the count says.
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..tensor_count {
        let tensor = reader.tensor()?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::Duplicate { name: tensor.name });
        }
        tensors.push(tensor);
    }
    let alignment = settings.alignment.unwrap_or(32);
    if alignment == 0 || alignment > WINDOW_BYTES {
        return Err(GgufError::Malformed { at: reader.at });
    }
    Ok(Header { settings, tensors, data_start: reader.at.next_multiple_of(alignment) })
}

/// The header's bytes, one after another.
struct Reader<'a, 'b> {
    read_at: &'a mut ReadAt<'b>,
    /// Where the header must have ended.
    end: u64,
    at: u64,
    window: Vec<u8>,
    /// Where the window begins in the file.
    window_at: u64,
}

impl Reader<'_, '_> {
    fn malformed<T>(&self) -> Result<T, GgufError> {
        Err(GgufError::Malformed { at: self.at })
    }

    fn skip(&mut self, count: u64) -> Result<(), GgufError> {
        match self.at.checked_add(count) {
            Some(at) if at <= self.end => {
                self.at = at;
                Ok(())
            }
            _ => Err(GgufError::Truncated),
        }
    }

    /// The next `count` bytes, at most as many as a window has.
    fn take(&mut self, count: u64) -> Result<&[u8], GgufError> {
        let from = self.at;
        self.skip(count)?;
        let window_end = self.window_at + self.window.len() as u64;
        if from < self.window_at || self.at > window_end {
            let length = WINDOW_BYTES.min(self.end - from);
            self.window.resize(length as usize, 0);
            self.window_at = from;
            (self.read_at)(from, &mut self.window)?;
        }
        let start = (from - self.window_at) as usize;
        self.window.get(start..start + count as usize).ok_or(GgufError::Truncated)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.take(N as u64)?.try_into().map_err(|_| GgufError::Truncated)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, GgufError> {
        let length = self.u64()?;
        if length > MAX_NAME_BYTES {
            return self.malformed();
        }
        let at = self.at;
        let text = std::str::from_utf8(self.take(length)?).map(str::to_owned);
        text.map_err(|_| GgufError::Malformed { at })
    }

    fn setting(&mut self, settings: &mut Settings) -> Result<(), GgufError> {
        let key = self.text()?;
        let kind = self.u32()?;
        let of_heads = match key.as_str() {
            "general.architecture" if kind == kind::TEXT => {
                settings.architecture = Some(self.text()?);
                return Ok(());
            }
            "general.alignment" => {
                settings.alignment = self.number(kind)?;
                return Ok(());
            }
            "split.count" => {
                settings.files = self.number(kind)?;
                return Ok(());
            }
            key if key.ends_with(".attention.head_count") => &mut settings.heads,
            key if key.ends_with(".attention.head_count_kv") => &mut settings.kv_heads,
            _ => return self.pass_over(kind, 0),
        };
        if kind == kind::LIST {
            settings.heads_by_layer = true;
            return self.pass_over(kind, 0);
        }
        *of_heads = self.number(kind)?;
        Ok(())
    }

    /// A whole number that is not negative; `None` where it is something else, which is passed over.
    fn number(&mut self, kind: u32) -> Result<Option<u64>, GgufError> {
        Ok(match kind {
            2 => Some(u16::from_le_bytes(self.array()?).into()),
            kind::U32 => Some(self.u32()?.into()),
            kind::I32 => u64::try_from(i32::from_le_bytes(self.array()?)).ok(),
            kind::U64 => Some(self.u64()?),
            kind::I64 => u64::try_from(i64::from_le_bytes(self.array()?)).ok(),
            other => {
                self.pass_over(other, 0)?;
                None
            }
        })
    }

    fn pass_over(&mut self, kind: u32, depth: u32) -> Result<(), GgufError> {
        match kind {
            kind::TEXT => {
                let length = self.u64()?;
                self.skip(length)
            }
            kind::LIST if depth < MAX_DEPTH => {
                let (of, count) = (self.u32()?, self.u64()?);
                match kind::bytes(of) {
                    Some(bytes) => self.skip(count.checked_mul(bytes).ok_or(GgufError::Truncated)?),
                    // Each item has a length of its own to read, so that the file's end is reached before long.
                    None => (0..count).try_for_each(|_| self.pass_over(of, depth + 1)),
                }
            }
            kind => match kind::bytes(kind) {
                Some(bytes) => self.skip(bytes),
                None => self.malformed(),
            },
        }
    }

    fn tensor(&mut self) -> Result<RawTensor, GgufError> {
        let name = self.text()?;
        let rank = self.u32()?;
        if rank > MAX_RANK {
            return self.malformed();
        }
        let dims = (0..rank).map(|_| self.u64()).collect::<Result<_, _>>()?;
        Ok(RawTensor { name, dims, kind: self.u32()?, offset: self.u64()? })
    }
}
