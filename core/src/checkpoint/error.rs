//! Why a path is no checkpoint that can be opened, and why its bytes could not be read.

use std::io;
use std::path::{Path, PathBuf};

use super::{ConfigError, GgufError, HeaderError, PickleError};
use crate::hub;

fn not_found(path: &Path) -> String {
    match path.to_str() {
        Some("") => "no model is named; say its folder, or its name on the Hub".to_owned(),
        Some(name) if hub::is_hub_id(name) => format!(
            "{name} is no folder here, and no model in the local Hugging Face cache; {}, or give its folder",
            hub::how_to_get(name)
        ),
        _ => format!("{} does not exist; check the path", path.display()),
    }
}

/// Why a path cannot be opened as a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("{}", not_found(path))]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder without any weights.
    #[error("{} holds no weights ({files} files); a model folder has model.safetensors, or model.safetensors.index.json with its shards, or the same as pytorch_model.bin", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// Files found there.
        files: usize,
    },
    /// Some other file.
    #[error("{} is not a checkpoint; choose a model folder, or a .safetensors, .bin or .gguf file", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// A pipe, device or socket.
    #[error("{} is neither a file nor a folder; choose a model folder, or a .safetensors, .bin or .gguf file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// One shard of several was chosen.
    #[error("{} is one shard of several; choose its folder {}", path.display(), folder.display())]
    ShardOfSeveral {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// Several weight files, and no index that says how they belong together.
    #[error("{} holds {} but no {index}; download the index too, or choose one file", path.display(), found.join(", "))]
    NoIndex {
        /// The folder.
        path: PathBuf,
        /// The weight files there.
        found: Vec<String>,
        /// The name that the index would have.
        index: String,
    },
    /// Several files that are models by themselves.
    #[error("{} holds {}; choose one of these files", path.display(), found.join(", "))]
    SeveralModels {
        /// The folder.
        path: PathBuf,
        /// The files.
        found: Vec<String>,
    },
    /// A whole model in one file, and an index that says that it lies in others.
    #[error("{} holds a whole model in `{single}`, and another in the files that `{index}` names; loaders differ in which they take: choose one of these two files", path.display())]
    TwoModels {
        /// The folder.
        path: PathBuf,
        /// The file that is a model.
        single: String,
        /// The index of the other.
        index: String,
    },
    /// A llama.cpp file is refused.
    #[error("{} is refused", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: GgufError,
    },
    /// A PyTorch checkpoint is refused.
    #[error("{} is refused", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PickleError,
    },
    /// Weights stored as codes.
    #[error("{} is quantised ({method}): its numbers are codes and cannot be added; take the unquantised checkpoint", path.display())]
    Quantised {
        /// The folder.
        path: PathBuf,
        /// What quantised it.
        method: String,
    },
    /// An adapter, not a model.
    #[error("{} is a LoRA adapter, not a whole model; merge it into its base model first (PEFT: `merge_and_unload()`), then use the result", path.display())]
    Lora {
        /// The folder.
        path: PathBuf,
    },
    /// A Hub cache folder with no main revision and several others.
    #[error("{} has {count} downloaded revisions and none is main; choose a folder under its snapshots", path.display())]
    Revisions {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// A name in the folder leads out of it.
    #[error("`{name}` leads out of the model folder {}; refused, since a model may only name its own files. If you made that link, put the file itself in its place, or open the folder it leads to", folder.display())]
    Escapes {
        /// The model folder.
        folder: PathBuf,
        /// The name, as found in the index or in the folder.
        name: String,
    },
    /// The index names a file that is not there.
    #[error("{} should hold `{name}`, which is missing; download it again", folder.display())]
    MissingShard {
        /// The model folder.
        folder: PathBuf,
        /// The file's name.
        name: String,
    },
    /// The index is absurdly large.
    #[error("{} is larger than an index can be", path.display())]
    IndexTooLarge {
        /// The index.
        path: PathBuf,
    },
    /// The index cannot be parsed.
    #[error("{} is not a valid index", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The index names no tensor.
    #[error("{} names no tensor", path.display())]
    EmptyIndex {
        /// The index.
        path: PathBuf,
    },
    /// The index places a tensor in a shard that does not have it.
    #[error("the index of {} places tensor `{tensor}` in `{shard}`, which does not hold it; download the model again", folder.display())]
    NotInShard {
        /// The model folder.
        folder: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A weight file's header is refused.
    #[error("{} is refused", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HeaderError,
    },
    /// `config.json` is refused.
    #[error("{} is refused", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
}

/// Bytes of a tensor could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read tensor `{tensor}` from {}", path.display())]
pub struct ReadError {
    /// The weight file.
    pub path: PathBuf,
    /// The tensor.
    pub tensor: String,
    /// What the system said.
    pub source: io::Error,
}
