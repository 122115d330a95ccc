//! The folder in which steps write, beside the models.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// Its name.
const NAME: &str = "mergescope-bench-scratch";
/// The file in it that says whose it is, locked while a benchmark runs.
const MARK: &str = "made-by-mergescope-bench";

/// A folder of this benchmark's own, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Workplace {
    folder: PathBuf,
    lock: Option<File>,
}

impl Workplace {
    /// Makes it in `parent`; one that a killed benchmark left there is removed first.
    ///
    /// # Errors
    /// When something else has its name, another benchmark is at work in it, or nothing can be written there.
    pub fn make(parent: &Path) -> anyhow::Result<Self> {
        let folder = parent.join(NAME);
        let mark = folder.join(MARK);
        if fs::symlink_metadata(&folder).is_ok() {
            ensure!(
                mark.is_file(),
                "{} is there already, and not from this benchmark; choose another --dir",
                folder.display()
            );
            let lock = File::options().write(true).open(&mark);
            let lock = lock.with_context(|| format!("cannot open {}", mark.display()))?;
            if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
                bail!("another benchmark runs in {}; wait for it, or choose another --dir", parent.display());
            }
            drop(lock);
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = File::create_new(&mark).with_context(|| format!("cannot make {}", mark.display()))?;
        // A file system without locks cannot tell two benchmarks apart: they would be in each other's way anyhow.
        let _ = lock.try_lock();
        Ok(Self { folder, lock: Some(lock) })
    }

    /// Where a step may make a folder.
    pub fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Removes what a step made, what it left unfinished included.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        let failed = || format!("cannot clear {}", self.folder.display());
        for entry in fs::read_dir(&self.folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if entry.file_name() == MARK {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.with_context(failed)?;
        }
        Ok(())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // Closed before it is removed, since Windows keeps a file that is open. What cannot be removed is named like what it is.
        self.lock = None;
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_cleared_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let place = Workplace::make(parent.path()).unwrap();
        fs::create_dir_all(place.output().join("inner")).unwrap();
        fs::write(parent.path().join(NAME).join(".output-partial"), "left").unwrap();
        place.clear().unwrap();
        assert_eq!(fs::read_dir(parent.path().join(NAME)).unwrap().count(), 1);
        drop(place);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_benchmark_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let mut killed = Workplace::make(parent.path()).unwrap();
        fs::create_dir(killed.output()).unwrap();
        let busy = Workplace::make(parent.path()).unwrap_err().to_string();
        assert!(busy.contains("another benchmark runs in"), "{busy}");
        assert!(killed.output().exists());
        // As a process that is killed: the lock goes, the folder stays.
        killed.lock = None;
        let next = Workplace::make(parent.path()).unwrap();
        assert!(!next.output().exists());
        drop(next);

        let own = parent.path().join(NAME);
        fs::create_dir(&own).unwrap();
        fs::write(own.join("thesis.txt"), "precious").unwrap();
        let refused = Workplace::make(parent.path()).unwrap_err().to_string();
        assert!(refused.contains("not from this benchmark"), "{refused}");
        assert!(own.join("thesis.txt").exists());
        std::mem::forget(killed);
    }
}
