//! Files in folders that this program made. Others may be able to write there too: a link that they put in the place of a file is
//! not followed, wherever it leads.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file, or makes it where `options` say so.
///
/// # Errors
/// When something is there that is no plain file, and those of the system.
pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Looked at first: a pipe would be waited for without end.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("a link, or something else that is no plain file, is in its place; remove that"));
    }
    // It may have been put there since.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options.open(path)
}

/// Whether a folder is there, and no link to one.
pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// The size of a plain file; `None` where there is none.
pub(super) fn size(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|found| found.len())
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("precious"), "key").unwrap();
        std::os::unix::fs::symlink(path("precious"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        std::os::unix::fs::symlink(folder.path(), path("folder")).unwrap();
        for name in ["link", "dangling", "folder"] {
            let opened = open(File::options().write(true).create(true), &path(name));
            assert!(opened.unwrap_err().to_string().contains("no plain file"), "{name}");
            assert!(!is_folder(&path(name)) && size(&path(name)).is_none());
        }
        assert!(!path("nowhere").exists());
        open(File::options().write(true).create(true), &path("new")).unwrap();
        assert_eq!((size(&path("precious")), size(&path("new")), is_folder(folder.path())), (Some(3), Some(0), true));
    }
}
