//! The output folder: where it may be, the staging folder beside it, and the step that makes it appear whole.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::report::FileReport;
use super::{MergeError, own_file};
use crate::alignment::Models;
use crate::checkpoint::{Checkpoint, OpenError};
use crate::progress::{Control, Stage};
use crate::recipe::{OutputDtype, Recipe};
use crate::stream::StreamError;

/// Larger files beside the weights are no part of a tokenizer or config, and stay behind.
const MAX_SIDECAR_BYTES: u64 = 256 << 20;

/// What the names of staging folders and of their locks end with.
pub(super) const STAGING_SUFFIX: &str = ".mergescope-partial";
pub(super) const LOCK_SUFFIX: &str = ".mergescope-lock";
/// What the names of the folders end with that the parts of a merge share.
pub(super) const PARTS_SUFFIX: &str = ".mergescope-parts";

/// Bytes of the output's name that a staging folder's name repeats: file systems allow 255 in all.
const NAME_BYTES: usize = 100;

/// How often a wait looks for cancellation.
const POLL: Duration = Duration::from_millis(20);

/// A place where an output folder may be made.
#[derive(Debug)]
pub(crate) struct OutputPlace {
    parent: PathBuf,
    output: PathBuf,
    /// What the names of all staging folders for this output begin with.
    prefix: String,
}

/// Refuses an output that exists, lies in a model's folder or has nowhere to be.
pub(crate) fn check(output: &Path, models: &Models) -> Result<OutputPlace, MergeError> {
    let path = output.to_owned();
    let Some(name) = output.file_name() else { return Err(MergeError::OutputName { path }) };
    if fs::symlink_metadata(output).is_ok() {
        return Err(MergeError::OutputExists { path });
    }
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => MergeError::NoParent { path: parent.to_owned() },
        _ => MergeError::Unwritable { path: parent.to_owned(), source },
    })?;
    for id in models.ids() {
        let model = models.get(id);
        let Ok(root) = model.root().canonicalize() else { continue };
        // A lone weight file owns its folder no more than its neighbours do.
        if !model.is_single_file() && parent.starts_with(&root) {
            return Err(MergeError::OutputInsideInput { path, model: id, input: model.root().to_owned() });
        }
    }
    let shown = name.to_string_lossy();
    let shown = &shown[..shown.floor_char_boundary(NAME_BYTES)];
    let hash = blake3::hash(name.as_encoded_bytes()).to_hex();
    let prefix = format!(".{shown}.{}-", &hash[..8]);
    Ok(OutputPlace { output: parent.join(name), prefix, parent })
}

impl OutputPlace {
    /// The folder that the output will be.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    /// The folder that the parts of a merge to this output share, which is known by `identity`.
    pub(super) fn parts_folder(&self, identity: &[u8; 32]) -> PathBuf {
        let known = blake3::Hash::from_bytes(*identity).to_hex();
        self.parent.join(format!("{}{}{PARTS_SUFFIX}", self.prefix, &known[..16]))
    }

    /// All folders that parts of merges to this output share.
    pub(super) fn parts_folders(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.parent) else { return Vec::new() };
        let is_one = |name: &str| name.starts_with(&self.prefix) && name.ends_with(PARTS_SUFFIX);
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
            .map(|entry| entry.path())
            .collect()
    }

    /// Refuses an output that the disk has no room for.
    pub(crate) fn check_space(&self, needed_bytes: u64) -> Result<(), MergeError> {
        // A file system that does not tell is tried.
        match fs4::available_space(&self.parent) {
            Ok(available_bytes) if available_bytes < needed_bytes => {
                Err(MergeError::DiskFull { path: self.parent.clone(), needed_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Syncs everything in `folder` to the disk and renames it into place.
    pub(super) fn commit(&self, folder: &Path, control: &Control) -> Result<(), MergeError> {
        control.begin(Stage::Syncing, 0);
        Syncing::begin(vec![folder.to_owned()])?.wait(control)?;
        let exists = || MergeError::OutputExists { path: self.output.clone() };
        if fs::symlink_metadata(&self.output).is_ok() {
            return Err(exists());
        }
        // A folder with something in it is never replaced by a rename, so that of two merges the first one stays.
        fs::rename(folder, &self.output).map_err(|source| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => exists(),
            _ => MergeError::Write { path: self.output.clone(), source },
        })?;
        // The output is whole; whether its name has reached the disk too changes nothing for the reader.
        let _ = sync_directory(&self.parent);
        Ok(())
    }

    /// Creates a staging folder of this merge's own, after removing what dead merges to the same output left.
    ///
    /// Each has a random name and a lock file beside it that is held while the merge lives. Two merges that begin at the
    /// same moment may not see each other: then both work, and the one that ends first has the output.
    pub(crate) fn stage(self) -> Result<Staging, MergeError> {
        for dead in self.dead()? {
            dead.remove();
        }
        self.stage_anew()
    }

    /// Takes over the folder of a dead merge, with all that is in it, if `adopt` finds there what can be gone on with; the others
    /// are removed. Gives the place back where there is none, and removes nothing.
    pub(crate) fn adopt<T>(self, adopt: impl Fn(&Path) -> Option<T>) -> Result<Result<(Staging, T), Self>, MergeError> {
        let (mut adopted, mut others) = (None, Vec::new());
        for dead in self.dead()? {
            match adopted.is_none().then(|| adopt(&dead.folder)).flatten() {
                Some(found) => adopted = Some((dead, found)),
                None => others.push(dead),
            }
        }
        let Some((Dead { folder, lock_path, lock }, found)) = adopted else { return Ok(Err(self)) };
        others.into_iter().for_each(Dead::remove);
        Ok(Ok((Staging { place: self, folder, lock_path, lock: Some(lock), committed: false }, found)))
    }

    fn stage_anew(self) -> Result<Staging, MergeError> {
        let unwritable = |source| MergeError::Unwritable { path: self.parent.clone(), source };
        loop {
            let id = RandomState::new().hash_one(std::process::id()) as u32;
            let name = format!("{}{id:08x}", self.prefix);
            let lock_path = self.parent.join(format!("{name}{LOCK_SUFFIX}"));
            let folder = self.parent.join(format!("{name}{STAGING_SUFFIX}"));
            let lock = match File::create_new(&lock_path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(unwritable(error)),
            };
            // Another merge that looks for dead ones may hold the lock for a moment, and will remove it.
            if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
                continue;
            }
            // From here on whatever was made is removed again, unless it is committed.
            let staging = Staging { place: self, folder, lock_path, lock: Some(lock), committed: false };
            fs::create_dir(&staging.folder)
                .map_err(|source| MergeError::Unwritable { path: staging.place.parent.clone(), source })?;
            return Ok(staging);
        }
    }

    /// What merges to this output left that no longer live, each with its lock; refuses while one lives.
    fn dead(&self) -> Result<Vec<Dead>, MergeError> {
        let mut dead = Vec::new();
        // A folder that cannot be listed cannot be written to either, which is told next.
        let Ok(entries) = fs::read_dir(&self.parent) else { return Ok(dead) };
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().and_then(|name| name.strip_suffix(LOCK_SUFFIX)) else { continue };
            if !name.starts_with(&self.prefix) {
                continue;
            }
            let Ok(lock) = File::options().write(true).open(entry.path()) else { continue };
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(MergeError::Busy { path: self.output.clone() }),
                // A file system without locks cannot tell the living from the dead: nothing is removed.
                Err(TryLockError::Error(_)) => {}
                Ok(()) => {
                    let folder = self.parent.join(format!("{name}{STAGING_SUFFIX}"));
                    dead.push(Dead { folder, lock_path: entry.path(), lock });
                }
            }
        }
        Ok(dead)
    }
}

/// What a merge left that no longer lives.
struct Dead {
    folder: PathBuf,
    lock_path: PathBuf,
    /// Held, so that nobody else takes it.
    lock: File,
}

impl Dead {
    /// What cannot be removed only takes room: every merge has a folder of its own.
    fn remove(self) {
        let _ = fs::remove_dir_all(&self.folder);
        // Closed before it is removed, since Windows keeps a file that is open.
        drop(self.lock);
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// The folder in which the output grows. Dropped before [`Staging::commit`], it is removed with all that is in it.
#[derive(Debug)]
pub(crate) struct Staging {
    place: OutputPlace,
    folder: PathBuf,
    lock_path: PathBuf,
    lock: Option<File>,
    committed: bool,
}

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Removes what is not among `kept`, of a folder that was taken over.
    pub(crate) fn keep_only(&self, kept: &[&str]) -> Result<(), MergeError> {
        keep_only(&self.folder, kept)
    }

    /// Where the output will be.
    pub(crate) fn place(&self) -> &OutputPlace {
        &self.place
    }

    /// Writes a small file.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<WrittenFile, MergeError> {
        write_file(self.path(), name, text)
    }

    /// Syncs everything to the disk and renames the folder into place.
    pub(crate) fn commit(mut self, control: &Control) -> Result<(), MergeError> {
        self.place.commit(self.path(), control)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is removed by the next merge to this output.
            let _ = fs::remove_dir_all(self.path());
        }
        // Closed before it is removed, since Windows keeps a file that is open.
        self.lock = None;
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Removes what is not among `kept` from a folder, and what is no plain file.
pub(super) fn keep_only(folder: &Path, kept: &[&str]) -> Result<(), MergeError> {
    let failed = |source| MergeError::Write { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(|name| kept.contains(&name)) {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|source| MergeError::Write { path, source })?;
    }
    Ok(())
}

/// A file beside the weights, as it was meant.
#[derive(Debug)]
pub(crate) struct WrittenFile {
    /// Its name in the folder.
    pub name: String,
    pub bytes: u64,
    /// BLAKE3 of what was meant.
    pub hash: blake3::Hash,
}

impl WrittenFile {
    /// As reports tell of it.
    pub fn report(&self) -> FileReport {
        FileReport::new(&self.name, self.bytes, self.hash)
    }
}

/// Writes a small file.
pub(super) fn write_file(folder: &Path, name: &str, text: &str) -> Result<WrittenFile, MergeError> {
    let path = folder.join(name);
    let file = own_file::open(File::options().write(true).create(true).truncate(true), &path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| MergeError::Write { path, source })?;
    Ok(WrittenFile { name: name.to_owned(), bytes: text.len() as u64, hash: blake3::hash(text.as_bytes()) })
}

/// Files, and folders with all their files, on their way to the disk on a thread of its own, so that a cancelled wait returns
/// at once.
pub(super) struct Syncing {
    receiver: Receiver<Result<(), MergeError>>,
}

impl Syncing {
    /// Begins with `paths`, which nobody writes to any more.
    pub fn begin(paths: Vec<PathBuf>) -> Result<Self, MergeError> {
        let (sender, receiver) = sync_channel(1);
        thread::Builder::new()
            .name("mergescope-sync".to_owned())
            .spawn(move || {
                let sync = |path: PathBuf| sync_all(&path).map_err(|source| MergeError::Write { path, source });
                // Nobody listens any more once the wait was cancelled.
                let _ = sender.send(paths.into_iter().try_for_each(sync));
            })
            .map_err(StreamError::Spawn)?;
        Ok(Self { receiver })
    }

    /// Waits until all of it has reached the disk.
    pub fn wait(self, control: &Control) -> Result<(), MergeError> {
        loop {
            match self.receiver.recv_timeout(POLL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => control.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    let message = "syncing ended without a result".to_owned();
                    return Err(StreamError::Panicked { message }.into());
                }
            }
        }
    }
}

/// Syncs a file, or a folder and all that is in it.
fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() { sync_files(path) } else { File::options().write(true).open(path)?.sync_all() }
}

fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        sync_all(&entry?.path())?;
    }
    sync_directory(folder)
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// The target's files beside the weights, found and opened before any work is done.
pub(crate) struct Sidecars {
    files: Vec<(String, File)>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files too large to be a tokenizer or config, and subfolders.
    pub left_out: Vec<String>,
}

impl Sidecars {
    /// Opens all of them; refuses one that leads out of the folder, leads nowhere or cannot be read.
    pub(crate) fn open(target: &Checkpoint) -> Result<Self, MergeError> {
        let mut left_out = target.other_folders().map_err(MergeError::Sidecar)?;
        let (mut files, mut bytes) = (Vec::new(), 0);
        for name in target.sidecars().map_err(MergeError::Sidecar)? {
            let path = target.sidecar(&name).map_err(MergeError::Sidecar)?;
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            let (size, file) =
                opened.map_err(|source| MergeError::Sidecar(OpenError::Io { path: path.clone(), source }))?;
            if size > MAX_SIDECAR_BYTES {
                left_out.push(name);
            } else {
                bytes += size;
                files.push((name, file));
            }
        }
        Ok(Self { files, bytes, left_out })
    }

    /// Opens one file alone; none where there is no such file.
    pub(super) fn open_only(model: &Checkpoint, wanted: &str) -> Result<Self, MergeError> {
        let mut all = Self::open(model)?;
        all.files.retain(|(name, _)| name == wanted);
        all.left_out.clear();
        all.bytes = 0;
        for (_, file) in &all.files {
            all.bytes += file.metadata().map_or(0, |metadata| metadata.len());
        }
        Ok(all)
    }

    /// Copies them into `staging`. Where the output has another dtype than the target, `config.json` says so.
    pub(crate) fn copy(
        self,
        target: &Checkpoint,
        recipe: &Recipe,
        staging: &Path,
        control: &Control,
    ) -> Result<Copied, MergeError> {
        let mut copied = Copied { files: Vec::with_capacity(self.files.len()), left_out: self.left_out };
        for (name, file) in self.files {
            control.check()?;
            let to = staging.join(&name);
            let write = |source| MergeError::Write { path: to.clone(), source };
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(write)?;
            }
            match target.config() {
                Some(config) if name == "config.json" && recipe.output.dtype != OutputDtype::Target => {
                    let text = format!("{:#}\n", with_dtype(config.value(), recipe.output.dtype));
                    copied.files.push(write_file(staging, &name, &text)?);
                }
                // Contents only: a read-only blob of the Hub cache becomes a file like any other.
                _ => {
                    let mut copy = File::create_new(&to).map_err(write)?;
                    let from = file.take(MAX_SIDECAR_BYTES);
                    let mut read = Hashed { from, hasher: blake3::Hasher::new(), has_failed: false };
                    let bytes = io::copy(&mut read, &mut copy).map_err(|source| match read.has_failed {
                        true => MergeError::Sidecar(OpenError::Io { path: target.root().join(&name), source }),
                        false => write(source),
                    })?;
                    copied.files.push(WrittenFile { name, bytes, hash: read.hasher.finalize() });
                }
            }
        }
        Ok(copied)
    }
}

/// What was carried over.
pub(crate) struct Copied {
    /// The files as they were meant.
    pub(super) files: Vec<WrittenFile>,
    /// Files too large to be a tokenizer or config, and subfolders.
    pub left_out: Vec<String>,
}

/// Hashes what is read.
struct Hashed<R> {
    from: R,
    hasher: blake3::Hasher,
    /// Whether an error was of reading.
    has_failed: bool,
}

impl<R: io::Read> io::Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer).inspect_err(|error| {
            self.has_failed = error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// The config with its dtype (`torch_dtype`, or `dtype` since transformers 5) set to what was written.
fn with_dtype(config: &Value, dtype: OutputDtype) -> Value {
    let name = match dtype {
        OutputDtype::Bf16 => "bfloat16",
        OutputDtype::F16 => "float16",
        OutputDtype::F32 => "float32",
        OutputDtype::Target => return config.clone(),
    };
    let mut config = config.clone();
    let mut set = |path: &str| {
        if let Some(object) = config.pointer_mut(path).and_then(Value::as_object_mut) {
            for key in ["torch_dtype", "dtype"] {
                if let Some(value) = object.get_mut(key) {
                    *value = Value::from(name);
                }
            }
        }
    };
    set("");
    set("/text_config");
    if config.get("torch_dtype").is_none() && config.get("dtype").is_none() {
        config["torch_dtype"] = Value::from(name);
    }
    config
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_config_tells_the_dtype_that_was_written() {
        let old = json!({ "torch_dtype": "bfloat16", "text_config": { "dtype": "bfloat16" } });
        let new = json!({ "torch_dtype": "float32", "text_config": { "dtype": "float32" } });
        assert_eq!(with_dtype(&old, OutputDtype::F32), new);
        assert_eq!(with_dtype(&json!({ "a": 1 }), OutputDtype::F16), json!({ "a": 1, "torch_dtype": "float16" }));
        assert_eq!(with_dtype(&old, OutputDtype::Target), old);
    }
}
