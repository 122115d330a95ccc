//! Which files make up a checkpoint: the folder layouts that are read, and those that are recognised and refused.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::config::Config;
use super::format::Format;
use super::index::Index;
use super::{Dtype, OpenError, TensorInfo, dtype_label};
use crate::hub::{self, Snapshot};

/// Weight files and what else never travels with a merged model.
const WEIGHT_EXTENSIONS: [&str; 10] =
    ["safetensors", "bin", "pt", "pth", "ckpt", "gguf", "h5", "msgpack", "onnx", "ot"];

/// The files that make up a checkpoint.
pub(super) struct Located {
    /// The folder.
    pub root: PathBuf,
    /// Weight files as named in the folder, in name order.
    pub shards: Vec<String>,
    /// Which of them holds which tensor, when there is an index.
    pub index: Option<Index>,
    /// The format of all of them.
    pub format: Format,
    /// Whether only one file was asked for, rather than its folder.
    pub single_file: bool,
    /// Whether it is a saved vector rather than a model.
    pub is_vector: bool,
}

/// What the names of a saved vector's weight files begin with.
pub(crate) const VECTOR_STEM: &str = "vector";
/// What the names of a model's weight files begin with.
pub(crate) const MODEL_STEM: &str = "model";

/// Finds the weights that `path` stands for.
pub(super) fn locate(path: &Path) -> Result<Located, OpenError> {
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => OpenError::NotFound { path: path.to_owned() },
        _ => OpenError::Io { path: path.to_owned(), source },
    })?;
    if metadata.is_dir() {
        locate_in_folder(&resolve_hub_folder(path)?)
    } else if metadata.is_file() {
        locate_file(path)
    } else {
        Err(OpenError::NotAFile { path: path.to_owned() })
    }
}

fn locate_file(path: &Path) -> Result<Located, OpenError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let root = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let format = Format::of_file(path);
    for layout in LAYOUTS {
        let (single, index) = (layout.single(), layout.index());
        let has_index = root.join(&index).is_file();
        if name == index {
            return layout.indexed(&root);
        }
        // With its config a file stands for its folder; a saved vector always does.
        if name == single && (layout.is_vector || root.join("config.json").is_file()) {
            let indexed = if has_index { Some(layout.indexed(&root)?) } else { None };
            let indexed = indexed.filter(|located| located.shards.contains(&single));
            return Ok(indexed.unwrap_or_else(|| layout.located(&root, vec![single], None)));
        }
        if is_shard_name(name) && has_index && format == Some(layout.format) {
            return Err(OpenError::ShardOfSeveral { path: path.to_owned(), folder: root });
        }
    }
    match format {
        Some(format) => Ok(Located { single_file: true, ..Located::one(&root, name, format) }),
        None => Err(OpenError::NotACheckpoint { path: path.to_owned() }),
    }
}

/// Names under which the weights of a folder are found.
struct Layout {
    /// What they begin with.
    stem: &'static str,
    extension: &'static str,
    format: Format,
    is_vector: bool,
}

/// In the order in which they are looked for.
const LAYOUTS: [Layout; 4] = [
    Layout { stem: MODEL_STEM, extension: "safetensors", format: Format::Safetensors, is_vector: false },
    // Mistral's own, often beside the other.
    Layout { stem: "consolidated", extension: "safetensors", format: Format::Safetensors, is_vector: false },
    Layout { stem: VECTOR_STEM, extension: "safetensors", format: Format::Safetensors, is_vector: true },
    Layout { stem: "pytorch_model", extension: "bin", format: Format::Pickle, is_vector: false },
];

impl Layout {
    fn single(&self) -> String {
        format!("{}.{}", self.stem, self.extension)
    }

    fn index(&self) -> String {
        format!("{}.{}.index.json", self.stem, self.extension)
    }

    fn located(&self, root: &Path, shards: Vec<String>, index: Option<Index>) -> Located {
        let Self { format, is_vector, .. } = *self;
        Located { root: root.to_owned(), shards, index, format, single_file: false, is_vector }
    }

    fn indexed(&self, root: &Path) -> Result<Located, OpenError> {
        let index = Index::read(contained(root, &self.index())?)?;
        Ok(self.located(root, index.files(), Some(index)))
    }

    /// The weights in a folder of these files; `None` where none of them is there.
    fn find(&self, root: &Path, names: &[String]) -> Result<Option<Located>, OpenError> {
        let has = |name: &String| names.contains(name);
        let (single, index) = (self.single(), self.index());
        match (has(&single), has(&index)) {
            (false, false) => Ok(None),
            (false, true) => self.indexed(root).map(Some),
            (true, false) => Ok(Some(self.located(root, vec![single], None))),
            (true, true) => {
                let indexed = self.indexed(root)?;
                if indexed.shards.contains(&single) {
                    return Ok(Some(indexed));
                }
                // transformers takes the one file, others what the index names: no guess where both are there.
                if indexed.shards.iter().all(|shard| root.join(shard).is_file()) {
                    return Err(OpenError::TwoModels { path: root.to_owned(), single, index });
                }
                Ok(Some(self.located(root, vec![single], None)))
            }
        }
    }
}

impl Located {
    /// One file that is a whole model.
    fn one(root: &Path, name: &str, format: Format) -> Self {
        let shards = vec![name.to_owned()];
        Self { root: root.to_owned(), shards, index: None, format, single_file: false, is_vector: false }
    }
}

fn locate_in_folder(root: &Path) -> Result<Located, OpenError> {
    let names = file_names(root)?;
    let has = |name: &str| names.iter().any(|found| found == name);
    let is_adapter = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"].into_iter().any(has);
    for format in [Format::Safetensors, Format::Pickle, Format::Gguf] {
        for layout in LAYOUTS.iter().filter(|layout| layout.format == format) {
            if let Some(located) = layout.find(root, &names)? {
                return Ok(located);
            }
        }
        if is_adapter {
            return Err(OpenError::Lora { path: root.to_owned() });
        }
        let is_weights = |name: &&String| Format::of_name(name) == Some(format) && !is_training_state(name);
        let found: Vec<String> = names.iter().filter(is_weights).cloned().collect();
        match found.as_slice() {
            [] => {}
            // A part of a GGUF model says so itself.
            [name] if format == Format::Gguf || !is_shard_name(name) => return Ok(Located::one(root, name, format)),
            _ => {
                let path = root.to_owned();
                let Some(layout) = LAYOUTS.iter().find(|layout| layout.format == format) else {
                    return Err(OpenError::SeveralModels { path, found });
                };
                return Err(OpenError::NoIndex { path, found, index: layout.index() });
            }
        }
    }
    Err(OpenError::NoWeights { path: root.to_owned(), files: names.len() })
}

/// Whether a file is what a trainer leaves beside the weights (transformers, accelerate), as pickles that are no model.
fn is_training_state(name: &str) -> bool {
    ["training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states"]
        .iter()
        .any(|stem| name.starts_with(stem))
}

/// Turns the Hub cache's `models--ORG--NAME` into the snapshot that `refs/main`, or the only revision, names.
fn resolve_hub_folder(path: &Path) -> Result<PathBuf, OpenError> {
    let snapshots = path.join("snapshots");
    let is_repo = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("models--"));
    if !is_repo || !snapshots.is_dir() {
        return Ok(path.to_owned());
    }
    match hub::snapshot(path).map_err(|source| OpenError::Io { path: snapshots, source })? {
        Snapshot::Found(path) => Ok(path),
        Snapshot::Ambiguous(count) => Err(OpenError::Revisions { path: path.to_owned(), count }),
    }
}

/// Refuses `name` unless it is a plain relative path whose target lies in the model folder.
///
/// A link may lead out of a Hub snapshot into the `blobs` folder of the same repository: that is the cache's layout.
pub(super) fn contained(root: &Path, name: &str) -> Result<PathBuf, OpenError> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !plain || name.contains('\\') {
        return Err(OpenError::Escapes { folder: root.to_owned(), name: name.to_owned() });
    }
    let path = root.join(relative);
    let real = path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => OpenError::MissingShard { folder: root.to_owned(), name: name.to_owned() },
        _ => OpenError::Io { path: path.clone(), source },
    })?;
    let real_root = root.canonicalize().map_err(|source| OpenError::Io { path: root.to_owned(), source })?;
    let in_blobs = hub_blobs(&real_root).is_some_and(|blobs| real.starts_with(blobs));
    if !(real.starts_with(&real_root) || in_blobs) {
        return Err(OpenError::Escapes { folder: root.to_owned(), name: name.to_owned() });
    }
    // A pipe or device would be waited for without end.
    if real.is_file() { Ok(path) } else { Err(OpenError::NotAFile { path }) }
}

/// `…/models--ORG--NAME/snapshots/REV` → `…/models--ORG--NAME/blobs`.
fn hub_blobs(real_root: &Path) -> Option<PathBuf> {
    let snapshots = real_root.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let repo = snapshots.parent()?;
    repo.file_name()?.to_str()?.starts_with("models--").then(|| repo.join("blobs"))
}

/// The one subfolder that belongs to a model: transformers keeps further chat templates in it.
const TEMPLATE_FOLDER: &str = "additional_chat_templates";

/// Files of the folder that a merged model takes over: tokenizer, configs, licence, chat templates. Neither weights nor
/// their index, neither hidden files nor the `README.md`, which a merge writes anew.
pub(super) fn sidecars(root: &Path) -> Result<Vec<String>, OpenError> {
    let mut kept = Vec::new();
    for name in file_names(root)? {
        let weights = extension(&name).is_some_and(|extension| WEIGHT_EXTENSIONS.contains(&extension));
        let rewritten = name.ends_with(".index.json") || name.eq_ignore_ascii_case("readme.md");
        // What an earlier merge, by this tool or by mergekit, said about itself is not true of the next one.
        let provenance = matches!(name.as_str(), "mergescope.toml" | "mergescope-report.json" | "mergekit_config.yml");
        if !weights && !rewritten && !provenance && !name.starts_with('.') {
            contained(root, &name)?;
            kept.push(name);
        }
    }
    let templates = root.join(TEMPLATE_FOLDER);
    if templates.is_dir() {
        for name in file_names(&templates)? {
            let name = format!("{TEMPLATE_FOLDER}/{name}");
            contained(root, &name)?;
            kept.push(name);
        }
    }
    Ok(kept)
}

/// Subfolders that a merged model does not take over, hidden ones aside.
pub(super) fn other_folders(root: &Path) -> Result<Vec<String>, OpenError> {
    let io = |source| OpenError::Io { path: root.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') && name != TEMPLATE_FOLDER {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Refuses checkpoints whose weights are not plain numbers, going by config and by tensor names.
pub(super) fn refuse_quantised(root: &Path, config: Option<&Config>, tensors: &[TensorInfo]) -> Result<(), OpenError> {
    if let Some(method) = config.and_then(Config::quantisation) {
        let method = method.to_owned();
        return Err(OpenError::Quantised { path: root.to_owned(), method });
    }
    const MARKS: [(&str, &str); 10] = [
        (".qweight", "GPTQ or AWQ"),
        (".qzeros", "GPTQ or AWQ"),
        (".SCB", "bitsandbytes 8-bit"),
        (".weight.absmax", "bitsandbytes 4-bit"),
        (".weight.quant_map", "bitsandbytes 4-bit"),
        (".weight.quant_state.bitsandbytes__nf4", "bitsandbytes 4-bit"),
        (".weight.quant_state.bitsandbytes__fp4", "bitsandbytes 4-bit"),
        (".weight_packed", "compressed-tensors"),
        (".weight_scale_inv", "fp8 with block scales"),
        (".weight_scale", "fp8 or int8 with scales"),
    ];
    // 8-bit floats without a scale are plain numbers; with one beside them they mean something only together.
    let is_f8 = |tensor: &&TensorInfo| matches!(tensor.dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2);
    let module = |tensor: &'_ TensorInfo| tensor.name.rsplit_once('.').map(|(module, _)| module.to_owned());
    let in_f8: HashSet<String> = tensors.iter().filter(is_f8).filter_map(module).collect();
    for tensor in tensors {
        let name = &tensor.name;
        if let Some((_, method)) = MARKS.iter().find(|(mark, _)| name.ends_with(mark)) {
            return Err(OpenError::Quantised { path: root.to_owned(), method: (*method).to_owned() });
        }
        let own_name =
            name.rsplit_once('.').filter(|(module, _)| in_f8.contains(*module)).map(|(_, own_name)| own_name);
        if own_name.is_some_and(|own_name| own_name.contains("scale")) {
            return Err(OpenError::Quantised { path: root.to_owned(), method: format!("fp8 with scales, `{name}`") });
        }
        // No architecture has integer matrices for weights: they are packed codes, whatever the packer calls them.
        let integers =
            matches!(tensor.dtype, Dtype::U8 | Dtype::I8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32);
        // `_blocks` is MXFP4's word for them.
        if integers && tensor.shape.len() > 1 && (name.ends_with(".weight") || name.ends_with("_blocks")) {
            return Err(OpenError::Quantised {
                path: root.to_owned(),
                method: format!("`{name}` is packed in {}", dtype_label(tensor.dtype)),
            });
        }
        if name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight") {
            return Err(OpenError::Lora { path: root.to_owned() });
        }
    }
    Ok(())
}

fn file_names(root: &Path) -> Result<Vec<String>, OpenError> {
    let io = |source| OpenError::Io { path: root.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(io)? {
        let entry = entry.map_err(io)?;
        // Through links, as the Hub cache has them. One that leads nowhere is listed too: whoever needs it says that it is
        // missing, instead of doing without. A name that is not Unicode belongs to no model format.
        let is_file = entry.path().metadata().map_or(true, |metadata| metadata.is_file());
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn extension(name: &str) -> Option<&str> {
    Path::new(name).extension()?.to_str()
}

/// `model-00001-of-00004.safetensors`, by its middle.
fn is_shard_name(name: &str) -> bool {
    name.contains("-of-")
}
