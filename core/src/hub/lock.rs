//! Locks between programs that fill the same cache, where `huggingface_hub` has its own: `.locks/models--ORG--NAME/ETAG.lock`,
//! locked as a whole file.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;

use super::error::HubError;
use crate::http::PATIENCE;
use crate::progress::Cancelled;

/// Held until it is dropped.
pub(super) struct Lock {
    _file: File,
}

/// Waits until nobody else holds the lock of `etag`; an error once it is `stopped`.
pub(super) fn acquire(cache: &Path, repo: &str, etag: &str, stopped: impl Fn() -> bool) -> Result<Lock, HubError> {
    let folder = cache.join(".locks").join(repo);
    fs::create_dir_all(&folder).map_err(|source| HubError::Io { path: folder.clone(), source })?;
    let path = folder.join(format!("{etag}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| HubError::Io { path, source })?;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if stopped() => return Err(Cancelled.into()),
            Err(TryLockError::WouldBlock) => thread::sleep(PATIENCE),
            // A file system without locks: two at once would download twice, and the hash tells whether they disturbed each other.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(Lock { _file: file }),
        }
    }
}
