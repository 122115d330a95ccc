//! Files in the page cache, and out of it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Whether files can be put out of the page cache here.
pub const CAN_EVICT: bool = cfg!(target_os = "linux");

/// Puts files out of the page cache, so that they are read from the disk the next time. Some file systems (those in memory)
/// keep them all the same.
///
/// # Errors
/// When a file cannot be opened, synced or advised on.
#[cfg(target_os = "linux")]
pub fn evict(files: &[PathBuf]) -> anyhow::Result<()> {
    use rustix::fs::{Advice, fadvise};
    for path in files {
        let told = |path: &Path| format!("cannot put {} out of the cache", path.display());
        let file = File::open(path).with_context(|| told(path))?;
        // Only what is on the disk can go.
        file.sync_all().with_context(|| told(path))?;
        fadvise(&file, 0, None, Advice::DontNeed).with_context(|| told(path))?;
    }
    Ok(())
}

/// Not here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn evict(_files: &[PathBuf]) -> anyhow::Result<()> {
    anyhow::bail!("files can be put out of the page cache on Linux alone; leave --cold out")
}

/// Reads files once, so that they are in the page cache as far as they fit.
///
/// # Errors
/// When one cannot be read.
pub fn warm(files: &[PathBuf]) -> anyhow::Result<()> {
    for path in files {
        let read = |path: &Path| std::io::copy(&mut File::open(path)?, &mut std::io::sink());
        read(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(())
}
