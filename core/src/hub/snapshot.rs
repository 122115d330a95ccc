//! Files that are all there, made into a snapshot: `snapshots/COMMIT` appears whole, then `refs/REVISION` names it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::download::{Download, RemoteFile};
use super::error::HubError;
use super::lock;

/// Makes the snapshot and its reference.
pub(super) fn publish(download: &Download, stopped: impl Fn() -> bool) -> Result<PathBuf, HubError> {
    let (repo, commit) = (download.repo(), download.commit.as_str());
    let _lock = lock::acquire(&download.cache, &download.name.folder(), commit, stopped)?;
    let snapshot = download.snapshot();
    if snapshot.is_dir() {
        // Another program may have made it, with fewer files.
        fill(&snapshot, &repo, &download.files)?;
    } else {
        let growing = repo.join(format!(".{commit}.incomplete"));
        fill(&growing, &repo, &download.files)?;
        make(repo.join("snapshots"))?;
        fs::rename(&growing, &snapshot).map_err(|source| HubError::Io { path: snapshot.clone(), source })?;
    }
    let revision = download.name.revision_or_main();
    if revision != commit {
        let reference = repo.join("refs").join(revision);
        make(reference.parent().unwrap_or(&repo).to_owned())?;
        let growing = repo.join(format!(".{commit}.ref"));
        fs::write(&growing, commit)
            .and_then(|()| fs::rename(&growing, &reference))
            .map_err(|source| HubError::Io { path: reference, source })?;
    }
    Ok(snapshot)
}

fn make(folder: PathBuf) -> Result<(), HubError> {
    fs::create_dir_all(&folder).map_err(|source| HubError::Io { path: folder, source })
}

/// Puts the files that are missing into a snapshot's folder.
fn fill(folder: &Path, repo: &Path, files: &[RemoteFile]) -> Result<(), HubError> {
    for file in files {
        let path = folder.join(&file.path);
        if !is_there(&path, file) {
            make(path.parent().unwrap_or(folder).to_owned())?;
            place(&path, repo, file).map_err(|source| HubError::Io { path, source })?;
        }
    }
    Ok(())
}

/// Whether a snapshot has a file: by a link to its blob, or as a file where there are no links.
pub(super) fn is_there(path: &Path, file: &RemoteFile) -> bool {
    let leads_to_blob = fs::read_link(path).map_or(true, |to| to.file_name().is_some_and(|name| name == file.etag()));
    leads_to_blob && fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.bytes)
}

/// Links to the blob from where it is looked for, so that the cache can be moved; where there are no links, another name for
/// the same bytes has to do, or a copy.
fn place(path: &Path, repo: &Path, file: &RemoteFile) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        fs::remove_file(path)?;
    }
    let blob = repo.join("blobs").join(file.etag());
    // From `snapshots/COMMIT`, and from below it.
    let up = "../".repeat(2 + file.path.matches('/').count());
    if link(&format!("{up}blobs/{}", file.etag()), path).is_ok() || fs::hard_link(&blob, path).is_ok() {
        return Ok(());
    }
    fs::copy(&blob, path).map(drop)
}

#[cfg(unix)]
fn link(to: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(windows)]
fn link(to: &str, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to.replace('/', "\\"), path)
}

#[cfg(not(any(unix, windows)))]
fn link(_to: &str, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
