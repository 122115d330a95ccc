//! The output folder: where it may be, the staging folder beside it, and the step that makes it appear whole.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::MergeError;
use crate::alignment::{Role, Triple};
use crate::progress::{Control, Stage};
use crate::recipe::{OutputDtype, Recipe};
use crate::stream::StreamError;

/// Larger files beside the weights are no part of a tokenizer or config, and stay behind.
const MAX_SIDECAR_BYTES: u64 = 256 << 20;

/// Held while a merge runs, so that a second one to the same output is refused.
const LOCK_FILE: &str = ".lock";

/// How often a wait looks for cancellation.
const POLL: Duration = Duration::from_millis(20);

/// A place where an output folder may be made.
#[derive(Debug)]
pub(super) struct OutputPlace {
    parent: PathBuf,
    output: PathBuf,
    staging: PathBuf,
}

/// Refuses an output that exists, lies in a model's folder or has nowhere to be.
pub(super) fn check(output: &Path, triple: &Triple) -> Result<OutputPlace, MergeError> {
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
    for role in Role::ALL {
        let model = triple.get(role);
        let Ok(root) = model.root().canonicalize() else { continue };
        // A lone weight file owns its folder no more than its neighbours do.
        if !model.is_single_file() && parent.starts_with(&root) {
            return Err(MergeError::OutputInsideInput { path, role, input: model.root().to_owned() });
        }
    }
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".mergescope-partial");
    Ok(OutputPlace { output: parent.join(name), staging: parent.join(hidden), parent })
}

impl OutputPlace {
    /// Refuses an output that the disk has no room for.
    pub(super) fn check_space(&self, needed_bytes: u64) -> Result<(), MergeError> {
        // A file system that does not tell is tried.
        match fs4::available_space(&self.parent) {
            Ok(available_bytes) if available_bytes < needed_bytes => {
                Err(MergeError::DiskFull { path: self.parent.clone(), needed_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Creates the staging folder. One that a dead process left behind is replaced.
    pub(super) fn stage(self) -> Result<Staging, MergeError> {
        let unwritable = |source| MergeError::Unwritable { path: self.parent.clone(), source };
        if self.staging.exists() {
            let leftover = File::options().write(true).open(self.staging.join(LOCK_FILE));
            if leftover.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
                return Err(MergeError::Busy { path: self.output });
            }
            fs::remove_dir_all(&self.staging).map_err(unwritable)?;
        }
        fs::create_dir(&self.staging).map_err(unwritable)?;
        let mut staging = Staging { place: self, lock: None, committed: false };
        let lock = File::create(staging.path().join(LOCK_FILE)).and_then(|lock| {
            lock.try_lock()?;
            Ok(lock)
        });
        match lock {
            Ok(lock) => staging.lock = Some(lock),
            Err(source) => {
                return Err(MergeError::Unwritable { path: staging.place.parent.clone(), source });
            }
        }
        Ok(staging)
    }
}

/// The folder in which the output grows. Dropped before [`Staging::commit`], it is removed with all that is in it.
#[derive(Debug)]
pub(super) struct Staging {
    place: OutputPlace,
    lock: Option<File>,
    committed: bool,
}

impl Staging {
    pub(super) fn path(&self) -> &Path {
        &self.place.staging
    }

    /// Where the output will be.
    pub(super) fn place(&self) -> &OutputPlace {
        &self.place
    }

    /// Writes a small file.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), MergeError> {
        let path = self.path().join(name);
        fs::write(&path, text).map_err(|source| MergeError::Write { path, source })
    }

    /// Syncs everything to the disk and renames the folder into place.
    pub(super) fn commit(mut self, control: &Control) -> Result<(), MergeError> {
        control.begin(Stage::Syncing, 0);
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| MergeError::Write { path, source }
        };
        // An unlocked, unheld file: a folder with an open one cannot be renamed on Windows.
        self.lock = None;
        let lock = self.path().join(LOCK_FILE);
        fs::remove_file(&lock).map_err(write(&lock))?;
        sync_folder(self.path(), control)?;
        if fs::symlink_metadata(&self.place.output).is_ok() {
            return Err(MergeError::OutputExists { path: self.place.output.clone() });
        }
        fs::rename(self.path(), &self.place.output).map_err(write(&self.place.output))?;
        self.committed = true;
        // The output is whole; whether its name has reached the disk too changes nothing for the reader.
        let _ = sync_directory(&self.place.parent);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.lock = None;
        if !self.committed {
            // What cannot be removed now is removed by the next merge to this output.
            let _ = fs::remove_dir_all(self.path());
        }
    }
}

/// Syncs all files of a folder on a thread of its own, so that a cancelled wait returns at once.
fn sync_folder(folder: &Path, control: &Control) -> Result<(), MergeError> {
    let (sender, receiver) = sync_channel(1);
    let path = folder.to_owned();
    thread::Builder::new()
        .name("mergescope-sync".to_owned())
        .spawn(move || {
            // Nobody listens any more once the wait was cancelled.
            let _ = sender.send(sync_files(&path).map_err(|source| MergeError::Write { path, source }));
        })
        .map_err(StreamError::Spawn)?;
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => control.check()?,
            Err(RecvTimeoutError::Disconnected) => {
                let message = "syncing ended without a result".to_owned();
                return Err(StreamError::Panicked { message }.into());
            }
        }
    }
}

fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::options().write(true).open(entry?.path())?.sync_all()?;
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

/// Copies the target's files beside the weights; gives the names of those too large to be a tokenizer or config.
///
/// Where the output has another dtype than the target, `config.json` says so.
pub(super) fn carry_over(triple: &Triple, recipe: &Recipe, staging: &Path) -> Result<Vec<String>, MergeError> {
    let target = &triple.target;
    let mut left_out = Vec::new();
    for name in target.sidecars().map_err(MergeError::Sidecar)? {
        let from = target.sidecar(&name).map_err(MergeError::Sidecar)?;
        let to = staging.join(&name);
        let write = |source| MergeError::Write { path: to.clone(), source };
        let read = |source| MergeError::Sidecar(crate::checkpoint::OpenError::Io { path: from.clone(), source });
        let file = File::open(&from).map_err(read)?;
        if file.metadata().map_err(read)?.len() > MAX_SIDECAR_BYTES {
            left_out.push(name);
            continue;
        }
        match target.config() {
            Some(config) if name == "config.json" && recipe.output.dtype != OutputDtype::Target => {
                let text = format!("{:#}\n", with_dtype(config.value(), recipe.output.dtype));
                fs::write(&to, text).map_err(write)?;
            }
            // Contents only: a read-only blob of the Hub cache becomes a file like any other.
            _ => {
                let mut copy = File::create_new(&to).map_err(write)?;
                io::copy(&mut file.take(MAX_SIDECAR_BYTES), &mut copy).map_err(write)?;
            }
        }
    }
    Ok(left_out)
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
