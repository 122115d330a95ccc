//! The formats of weight files, and the one way their headers are read.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::OpenError;
use super::gguf::read_gguf;
use super::header::{HeaderTensor, read_header};
use super::pickle::read_pickle;
use crate::positional::read_exact_at;

/// A format whose tensors are ranges of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Safetensors,
    /// PyTorch's own: a zip archive with a pickle.
    Pickle,
    /// llama.cpp's, as far as it holds plain floats.
    Gguf,
}

impl Format {
    /// The format that a file's name tells of.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match Path::new(name).extension()?.to_str()? {
            "safetensors" => Some(Self::Safetensors),
            "bin" | "pt" | "pth" | "ckpt" => Some(Self::Pickle),
            "gguf" => Some(Self::Gguf),
            _ => None,
        }
    }

    /// The format of a file: GGUF by what it begins with, else by its name.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let mut head = [0; 4];
        let is_gguf = File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && &head == b"GGUF";
        if is_gguf { Some(Self::Gguf) } else { Self::of_name(path.file_name()?.to_str()?) }
    }

    /// Reads which tensors `file` holds.
    pub(super) fn read(self, path: &Path, file: &File) -> Result<Vec<HeaderTensor>, OpenError> {
        let path = || path.to_owned();
        let file_bytes = file.metadata().map_err(|source| OpenError::Io { path: path(), source })?.len();
        let read_at = |offset, buffer: &mut [u8]| read_exact_at(file, offset, buffer);
        match self {
            Self::Safetensors => {
                read_header(file_bytes, read_at).map_err(|source| OpenError::Header { path: path(), source })
            }
            Self::Pickle => {
                read_pickle(file_bytes, read_at).map_err(|source| OpenError::Pickle { path: path(), source })
            }
            Self::Gguf => read_gguf(file_bytes, read_at).map_err(|source| OpenError::Gguf { path: path(), source }),
        }
    }
}
