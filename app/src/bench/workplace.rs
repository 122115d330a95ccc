//! The one folder that a benchmark reads and writes in: models by their shape, and what steps write.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File, TryLockError};
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// Its name in the folder that a person chose.
const NAME: &str = "mergescope-bench";
/// The file in it that says whose it is, locked while a benchmark runs.
const MARK: &str = "made-by-mergescope-bench";
/// Where steps write.
const SCRATCH: &str = "scratch";
/// Where models are until they are whole.
const MAKING: &str = "making";

/// A folder of this benchmark's own, in which nothing but what it made is ever removed: what steps wrote when this is dropped, and
/// the models too where nobody asked for them to stay.
#[derive(Debug)]
pub struct Workplace {
    folder: PathBuf,
    lock: Option<File>,
    stays: bool,
}

impl Workplace {
    /// Takes the one in `parent`, or makes both; what a killed benchmark left there unfinished is removed.
    ///
    /// # Errors
    /// When something else has its name, another benchmark is at work in it, or nothing can be written there.
    pub fn of(parent: &Path) -> anyhow::Result<Self> {
        ensure!(
            parent.to_str().is_some(),
            "{} is not UTF-8, in which recipes name models; choose another --dir",
            parent.display()
        );
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let folder = parent.join(NAME);
        let mark = folder.join(MARK);
        let lock = match fs::create_dir(&folder) {
            Ok(()) => File::create_new(&mark).with_context(|| format!("cannot make {}", mark.display()))?,
            Err(_) if fs::symlink_metadata(&folder).is_ok() => {
                // Links are followed nowhere: they lead to what is somebody else's.
                let is_own = fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir())
                    && fs::symlink_metadata(&mark).is_ok_and(|found| found.is_file());
                ensure!(
                    is_own,
                    "{} is there already, and not from this benchmark; choose another --dir",
                    folder.display()
                );
                let lock = File::options().write(true).open(&mark);
                lock.with_context(|| format!("cannot open {}", mark.display()))?
            }
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", folder.display())),
        };
        // A file system without locks cannot tell two benchmarks apart.
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            bail!("another benchmark runs in {}; wait for it, or choose another --dir", folder.display());
        }
        let place = Self { folder, lock: Some(lock), stays: true };
        place.clear()?;
        remove(&place.making())?;
        Ok(place)
    }

    /// Makes one among the temporary files, which goes with all that is in it.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn temporary() -> anyhow::Result<Self> {
        let id = RandomState::new().hash_one(std::process::id());
        let parent = env::temp_dir().join(format!("mergescope-bench-{id:016x}"));
        // Whoever else may write there cannot have made it before.
        fs::create_dir(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let mut place = Self::of(&parent).inspect_err(|_| drop(fs::remove_dir(&parent)))?;
        place.stays = false;
        Ok(place)
    }

    /// Its path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where models are once they are whole.
    pub fn models(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where models are until then.
    pub fn making(&self) -> PathBuf {
        self.folder.join(MAKING)
    }

    /// Where a step may make a folder.
    pub fn output(&self) -> PathBuf {
        self.folder.join(SCRATCH).join("output")
    }

    /// Removes what a step made, what it left unfinished included.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        let scratch = self.folder.join(SCRATCH);
        remove(&scratch)?;
        fs::create_dir(&scratch).with_context(|| format!("cannot make {}", scratch.display()))
    }
}

/// Removes a folder, if it is there; a link in its place is left alone.
fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
        }
        Ok(_) => bail!("{} is no folder; remove it, or choose another --dir", folder.display()),
        Err(_) => Ok(()),
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What cannot be removed is named like what it is, and removed the next time.
        drop(fs::remove_dir_all(self.folder.join(SCRATCH)));
        if self.stays {
            return;
        }
        // Closed before it is removed, since Windows keeps a file that is open.
        self.lock = None;
        drop(fs::remove_dir_all(&self.folder));
        if let Some(parent) = self.folder.parent() {
            drop(fs::remove_dir(parent));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_cleared_and_taken_again() {
        let parent = tempfile::tempdir().unwrap();
        let place = Workplace::of(parent.path()).unwrap();
        fs::create_dir_all(place.output().join("inner")).unwrap();
        fs::write(place.folder().join(SCRATCH).join(".output-partial"), "left").unwrap();
        place.clear().unwrap();
        assert_eq!(fs::read_dir(place.folder().join(SCRATCH)).unwrap().count(), 0);
        fs::create_dir(place.models("tiny")).unwrap();
        drop(place);
        let again = Workplace::of(parent.path()).unwrap();
        assert!(again.models("tiny").is_dir());
    }

    #[test]
    fn a_temporary_one_leaves_nothing() {
        let place = Workplace::temporary().unwrap();
        let parent = place.folder().parent().unwrap().to_owned();
        fs::create_dir_all(place.models("tiny")).unwrap();
        drop(place);
        assert!(!parent.exists());
    }

    #[test]
    fn what_a_killed_benchmark_left_is_removed_and_a_live_one_is_not_disturbed() {
        let parent = tempfile::tempdir().unwrap();
        let mut killed = Workplace::of(parent.path()).unwrap();
        fs::create_dir_all(killed.output()).unwrap();
        fs::create_dir(killed.making()).unwrap();
        let busy = Workplace::of(parent.path()).unwrap_err().to_string();
        assert!(busy.contains("another benchmark runs in"), "{busy}");
        assert!(killed.output().exists() && killed.making().exists());
        // As a process that is killed: the lock goes, the folder stays.
        killed.lock = None;
        let next = Workplace::of(parent.path()).unwrap();
        assert!(!next.output().exists() && !next.making().exists());
        std::mem::forget(killed);
    }

    #[test]
    fn what_is_somebody_elses_is_refused_and_stays() {
        let parent = tempfile::tempdir().unwrap();
        let own = parent.path().join(NAME);
        fs::create_dir(&own).unwrap();
        fs::write(own.join("thesis.txt"), "precious").unwrap();
        let refused = Workplace::of(parent.path()).unwrap_err().to_string();
        assert!(refused.contains("not from this benchmark"), "{refused}");
        assert!(own.join("thesis.txt").exists());

        #[cfg(unix)]
        for (link, to) in [(own.join(MARK), "thesis.txt"), (parent.path().join("other").join(NAME), "..")] {
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, &link).unwrap();
            let refused = Workplace::of(link.ancestors().nth(if link == own.join(MARK) { 2 } else { 1 }).unwrap());
            assert!(refused.unwrap_err().to_string().contains("not from this benchmark"));
            assert_eq!(fs::read_to_string(own.join("thesis.txt")).unwrap(), "precious");
        }
    }
}
