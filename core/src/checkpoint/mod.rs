//! A model folder, opened: its config, its tensors over all shards, and their bytes by range. Read only, never trusted.

mod config;
mod error;
mod format;
mod gguf;
mod header;
mod index;
mod locate;
mod names;
mod pickle;
mod rows;
mod shard;
mod writer;

use std::cmp::Ordering;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use config::{Config, ConfigError};
pub use error::{OpenError, ReadError};
pub use gguf::{GgufError, read_gguf};
pub use header::{HeaderError, HeaderTensor, MAX_HEADER_BYTES, byte_count, read_header};
pub use pickle::{PickleError, read_pickle};
pub use rows::RowOrder;
pub use safetensors::Dtype;
pub use shard::ReadPath;
pub use writer::{OutputTensor, Slot, WeightFile, WeightFiles};

use crate::open_files::OpenFiles;
pub(crate) use index::Index;
pub(crate) use locate::{MODEL_STEM, VECTOR_STEM};
use names::Names;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use pickle::tensors_of_pickle;
use shard::{FileState, Shard};

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// Element type as stored.
    pub dtype: Dtype,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<u64>,
    /// Length in bytes.
    pub bytes: u64,
    shard: usize,
    offset: u64,
    rows: RowOrder,
}

impl TensorInfo {
    /// Number of elements: the product of the dimensions, 1 for a scalar.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Number of elements in one row: the product of all dimensions but the first.
    pub fn row_elements(&self) -> u64 {
        // A first dimension of 0 lets a header declare any others.
        self.shape.iter().skip(1).copied().fold(1, u64::saturating_mul)
    }
}

/// A model folder (or a single weight file), opened.
///
/// Opening reads headers and `config.json` only. Tensors are in natural name order: layer 2 before layer 10.
pub struct Checkpoint {
    root: PathBuf,
    shards: Vec<Shard>,
    /// Those of the shards that are open.
    files: OpenFiles,
    tensors: Vec<TensorInfo>,
    names: Names,
    config: Option<Config>,
    single_file: bool,
    kind: CheckpointKind,
}

/// What the weights of a checkpoint are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// A model's.
    Model,
    /// A saved vector, post − pre.
    Vector,
    /// All zero, and in no file: what a saved vector has for pre.
    Zeros,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Checkpoint({}, {} tensors)", self.root.display(), self.tensors.len())
    }
}

impl Checkpoint {
    /// Opens a model folder in Hugging Face layout, a weight file (`.safetensors`, PyTorch's `.bin`, `.gguf` in floats), or a
    /// repository or snapshot in the Hub cache.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let located = locate::locate(path)?;
        let root = located.root;
        let config = if located.single_file { None } else { read_config(&root)? };

        // At the same time: headers of tens of thousands of tensors take a while.
        let read = |name: &String| {
            let path = locate::contained(&root, name)?;
            let io = |source| OpenError::Io { path: path.clone(), source };
            let file = File::open(&path).map_err(io)?;
            let header = located.format.read(&path, &file)?;
            Ok((Shard::new(path.clone(), &file).map_err(io)?, header))
        };
        let headers: Vec<Result<_, OpenError>> = located.shards.par_iter().map(read).collect();

        let mut index = located.index;
        let mut shards = Vec::with_capacity(headers.len());
        let mut tensors = Vec::with_capacity(headers.iter().flatten().map(|(_, header)| header.len()).sum());
        for (position, (name, read)) in located.shards.iter().zip(headers).enumerate() {
            // In their order, so that the first that cannot be read is the one that is named.
            let (shard, header) = read?;
            shards.push(shard);
            for HeaderTensor { name: tensor, dtype, shape, offset, bytes, rows } in header {
                if index.as_mut().is_none_or(|index| index.takes(&tensor, name)) {
                    tensors.push(TensorInfo { name: tensor, dtype, shape, bytes, shard: position, offset, rows });
                }
            }
        }
        if let Some((tensor, shard)) = index.as_ref().and_then(Index::missing) {
            return Err(OpenError::NotInShard { folder: root, tensor: tensor.clone(), shard: shard.clone() });
        }
        // Stable: of a tensor that lies in several files, and that the index does not know, the first counts.
        tensors.sort_by(|a, b| natural_cmp(&a.name, &b.name));
        tensors.dedup_by(|later, first| later.name == first.name);
        locate::refuse_quantised(&root, config.as_ref(), &tensors)?;
        let names = Names::new(&tensors);

        let kind = if located.is_vector { CheckpointKind::Vector } else { CheckpointKind::Model };
        let files = OpenFiles::default();
        Ok(Self { root, shards, files, tensors, names, config, single_file: located.single_file, kind })
    }

    /// The same tensors, all of them zero.
    pub fn zeros_like(other: &Self) -> Self {
        Self {
            root: other.root.clone(),
            shards: Vec::new(),
            files: OpenFiles::default(),
            tensors: other.tensors.clone(),
            names: other.names.clone(),
            config: other.config.clone(),
            single_file: other.single_file,
            kind: CheckpointKind::Zeros,
        }
    }

    /// What its weights are.
    pub fn kind(&self) -> CheckpointKind {
        self.kind
    }

    /// The model folder; of a single file, the folder that holds it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is a lone weight file rather than a model folder.
    pub fn is_single_file(&self) -> bool {
        self.single_file
    }

    /// A short name: `org/name` in the Hub cache, else the last part of the path.
    pub fn label(&self) -> String {
        if self.kind == CheckpointKind::Zeros {
            return "zeros".to_owned();
        }
        let path = if self.single_file { self.shards[0].path() } else { &self.root };
        let hub = path.ancestors().filter_map(|part| part.file_name()?.to_str()?.strip_prefix("models--")).next();
        if let Some(repo) = hub {
            return repo.replacen("--", "/", 1);
        }
        let real = path.canonicalize();
        let named = real.as_deref().unwrap_or(path).file_name().unwrap_or(path.as_os_str());
        named.to_string_lossy().into_owned()
    }

    /// The weight files.
    pub fn shard_paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(Shard::path)
    }

    /// All tensors, in natural name order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.position(name).map(|position| &self.tensors[position])
    }

    /// Where in [`Checkpoint::tensors`] the tensor of that name is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.position(name, &self.tensors)
    }

    /// Like [`Checkpoint::position`], but looks at `guess` first: models of one architecture have most tensors in the same
    /// place.
    pub(crate) fn position_near(&self, guess: usize, name: &str) -> Option<usize> {
        let guessed = self.tensors.get(guess).is_some_and(|tensor| tensor.name == name);
        if guessed { Some(guess) } else { self.position(name) }
    }

    /// `config.json`, if there is one.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Bytes of all tensors.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// Number of elements of all tensors: the parameter count.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(TensorInfo::elements).sum()
    }

    /// The dtypes that occur and the bytes of each, largest share first.
    pub fn dtypes(&self) -> Vec<(Dtype, u64)> {
        let mut shares: Vec<(Dtype, u64)> = Vec::new();
        for tensor in &self.tensors {
            match shares.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype) {
                Some((_, bytes)) => *bytes += tensor.bytes,
                None => shares.push((tensor.dtype, tensor.bytes)),
            }
        }
        shares.sort_by_key(|&(dtype, bytes)| (std::cmp::Reverse(bytes), dtype));
        shares
    }

    /// Files beside the weights that a merged model takes over (tokenizer, configs, licence), by name.
    ///
    /// A lone weight file has none.
    pub fn sidecars(&self) -> Result<Vec<String>, OpenError> {
        if self.single_file { Ok(Vec::new()) } else { locate::sidecars(&self.root) }
    }

    /// Subfolders that are not taken over (hidden ones aside), by name. A lone weight file has none.
    pub fn other_folders(&self) -> Result<Vec<String>, OpenError> {
        if self.single_file { Ok(Vec::new()) } else { locate::other_folders(&self.root) }
    }

    /// The path of a file beside the weights, refused if it leaves the folder.
    pub fn sidecar(&self, name: &str) -> Result<PathBuf, OpenError> {
        locate::contained(&self.root, name)
    }

    /// Fills `buffer` with the bytes of `tensor` from `byte_offset` on, by positional reads.
    pub fn read(&self, tensor: &TensorInfo, byte_offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.read_by(ReadPath::Positional, tensor, byte_offset, buffer)
    }

    /// Fills `buffer` with the bytes of `tensor` from `byte_offset` on, read the given way.
    pub fn read_by(
        &self,
        read_path: ReadPath,
        tensor: &TensorInfo,
        byte_offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        let Some(shard) = self.shards.get(tensor.shard) else {
            // Zeros alone have no shards.
            buffer.fill(0);
            return Ok(());
        };
        debug_assert!(byte_offset + buffer.len() as u64 <= tensor.bytes, "range inside `{}`", tensor.name);
        let row_bytes = tensor.bytes.checked_div(tensor.shape.first().copied().unwrap_or(1)).unwrap_or(0);
        let failed = |source| ReadError { path: shard.path().to_owned(), tensor: tensor.name.clone(), source };
        let file = shard.opened(read_path, &self.files, tensor.shard).map_err(failed)?;
        let mut rest = buffer;
        for (offset, count) in tensor.rows.stretches(row_bytes, byte_offset, rest.len() as u64) {
            // Stretches make up the buffer, so that each is no longer than what is left of it.
            let (stretch, after) = rest.split_at_mut(count as usize);
            rest = after;
            file.read_exact_at(tensor.offset + offset, stretch).map_err(failed)?;
        }
        Ok(())
    }

    /// The first weight file that is no longer as it was when it was opened, going by size and time of change.
    pub fn changed_shard(&self) -> Option<&Path> {
        self.shards.iter().find(|shard| shard.has_changed()).map(Shard::path)
    }

    /// The state of each weight file when it was opened.
    pub(crate) fn file_states(&self) -> impl Iterator<Item = FileState> {
        self.shards.iter().map(Shard::state)
    }

    /// The path of each weight file, in the order of [`Checkpoint::file_states`].
    pub(crate) fn weight_paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(Shard::path)
    }

    /// What decides the bytes of a tensor as long as nobody writes to its file: where it lies, and the state of the file when
    /// it was opened.
    pub(crate) fn identity(&self, tensor: &TensorInfo) -> blake3::Hash {
        let state = self.shards.get(tensor.shard).map(|shard| shard.state().to_bytes());
        let mut hasher = blake3::Hasher::new();
        let (path, dtype) = (self.path_of(tensor), tensor.dtype.to_string());
        for field in [path.as_os_str().as_encoded_bytes(), tensor.name.as_bytes(), dtype.as_bytes()] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        hasher.update(&state.unwrap_or_default());
        hasher.finalize()
    }

    /// The weight file that holds `tensor`; of zeros, the folder of what they were made for.
    pub fn path_of(&self, tensor: &TensorInfo) -> &Path {
        self.shards.get(tensor.shard).map_or(&self.root, Shard::path)
    }

    /// 32 bytes, as hex, that identify the weights: blake3 over every tensor's name, dtype and shape and up to three
    /// stretches of its bytes (first, middle and last 256).
    ///
    /// It does not depend on how the tensors are spread over shards. It tells models apart; it does not prove that no
    /// byte between the stretches differs. `go_on` is asked before each tensor; its error ends the work.
    pub fn fingerprint<E: From<ReadError>>(&self, mut go_on: impl FnMut() -> Result<(), E>) -> Result<String, E> {
        const STRETCH_BYTES: u64 = 256;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = [0; STRETCH_BYTES as usize];
        for tensor in &self.tensors {
            go_on()?;
            let shape: Vec<u8> = tensor.shape.iter().flat_map(|dim| dim.to_le_bytes()).collect();
            for field in [tensor.name.as_bytes(), tensor.dtype.to_string().as_bytes(), &shape] {
                hasher.update(&(field.len() as u64).to_le_bytes());
                hasher.update(field);
            }
            let length = tensor.bytes.min(STRETCH_BYTES);
            let last = tensor.bytes - length;
            let mut starts = [0, last / 2, last].to_vec();
            starts.dedup();
            for start in starts {
                let stretch = &mut buffer[..length as usize];
                self.read(tensor, start, stretch)?;
                hasher.update(stretch);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn read_config(root: &Path) -> Result<Option<Config>, OpenError> {
    if root.join("config.json").symlink_metadata().is_err() {
        return Ok(None);
    }
    let path = locate::contained(root, "config.json")?;
    Config::read(&path).map(Some).map_err(|source| OpenError::Config { path, source })
}

/// Compares names with runs of digits taken as numbers, so that layer 2 comes before layer 10.
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    // What both begin with decides nothing, but a number that it ends in may go on.
    let (a_bytes, b_bytes) = (a.as_bytes(), b.as_bytes());
    let same = a_bytes.iter().zip(b_bytes).take_while(|(x, y)| x == y).count();
    let number = a_bytes[..same].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut left, mut right) = (&a_bytes[same - number..], &b_bytes[same - number..]);
    while let (Some(x), Some(y)) = (left.first(), right.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number_a, number_b) = (take_digits(&mut left), take_digits(&mut right));
            // Without leading zeros the longer run is the larger number.
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
        } else if x == y {
            left = &left[1..];
            right = &right[1..];
        } else {
            return x.cmp(y);
        }
    }
    // Names that differ by leading zeros alone still get one fixed order.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    *text = rest;
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    &digits[zeros..]
}

/// Whether elements of this dtype take part in arithmetic: F64, F32, F16, BF16, F8_E4M3, F8_E5M2.
///
/// Integers, booleans and the packed or scale-only floats are carried over from the target.
pub fn takes_part(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8_E4M3 | Dtype::F8_E5M2)
}

/// The dtype as people write it: `bf16`, `f32`, `f8_e4m3`.
pub fn dtype_label(dtype: Dtype) -> String {
    dtype.to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layers_sort_by_number() {
        let mut names = ["l.10.b", "l.2.b", "l.100.a", "l.2.a", "l.1.z", "embed", "l.12.a", "l.02.a", "l.1"];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(names, ["embed", "l.1", "l.1.z", "l.02.a", "l.2.a", "l.2.b", "l.10.b", "l.12.a", "l.100.a"]);
    }

    proptest! {
        #[test]
        fn natural_order_is_total(a in "[a0-2.]{0,6}", b in "[a0-2.]{0,6}", c in "[a0-2.]{0,6}") {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            prop_assert_eq!(natural_cmp(&a, &b).is_eq(), a == b);
            if natural_cmp(&a, &b).is_le() && natural_cmp(&b, &c).is_le() {
                prop_assert!(natural_cmp(&a, &c).is_le());
            }
        }
    }
}
