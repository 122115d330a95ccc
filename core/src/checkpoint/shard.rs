//! One weight file, read by byte range.
//!
//! Two ways to read: positional reads (default; a file that shrinks gives an error) and a memory map (a file that shrinks
//! while it is read ends the process, so it is only for files that nobody touches).

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use memmap2::Mmap;

use crate::open_files::OpenFiles;
use crate::positional::read_exact_at;

/// Fills a buffer from a file at an offset.
pub(super) type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// How bytes of weights are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadPath {
    /// `pread` into a buffer.
    #[default]
    Positional,
    /// Copied out of a memory map.
    Mapped,
}

/// Size and time of last change, to notice a file that changed after its header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// What tells one state of a file from another: size, time of last change, and where the system says it, inode and time of
/// the last change of the inode, which no copying with times preserved sets back.
///
/// Stricter than [`Stamp`]: a file that was merely renamed or linked has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileState {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: Option<(u64, i64, i64)>,
}

impl From<&Metadata> for FileState {
    fn from(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt as _;
            Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let inode = None;
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), inode }
    }
}

impl FileState {
    /// As bytes, for a hash.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let (bytes, modified_nanos) = self.everywhere();
        let (inode, secs, nanos) = self.inode.unwrap_or_default();
        let mut bytes = bytes.to_le_bytes().to_vec();
        bytes.extend(modified_nanos.to_le_bytes());
        bytes.extend([inode.to_le_bytes(), secs.to_le_bytes(), nanos.to_le_bytes()].as_flattened());
        bytes
    }

    /// The part of it that is the same on every machine that sees the file: its size, and the time of its last change in
    /// nanoseconds since 1970.
    pub(crate) fn everywhere(self) -> (u64, u128) {
        let since = self.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        (self.bytes, since.as_nanos())
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// A weight file of a checkpoint. Opened when it is read from, so that headers alone cost no file handle.
pub(super) struct Shard {
    path: PathBuf,
    stamp: Stamp,
    state: FileState,
    map: OnceLock<Mmap>,
}

/// A weight file that can be read from.
pub(super) enum Opened<'a> {
    File(Arc<File>),
    Map(&'a Mmap),
}

impl Shard {
    /// A shard whose header was read from `file`.
    pub(super) fn new(path: PathBuf, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (stamp, state) = (Stamp::from(&metadata), FileState::from(&metadata));
        Ok(Self { path, stamp, state, map: OnceLock::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, as file `number` of the checkpoint's.
    pub(super) fn opened(&self, read_path: ReadPath, files: &OpenFiles, number: usize) -> io::Result<Opened<'_>> {
        match read_path {
            ReadPath::Positional => files.get(number, || self.open()).map(Opened::File),
            ReadPath::Mapped => self.map().map(Opened::Map),
        }
    }

    /// Its state when its header was read.
    pub(super) fn state(&self) -> FileState {
        self.state
    }

    /// Whether the file at the path is no longer the one whose header was read.
    pub(super) fn has_changed(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |metadata| Stamp::from(&metadata) != self.stamp)
    }

    fn open(&self) -> io::Result<File> {
        let unchanged = |metadata: Metadata| match Stamp::from(&metadata) == self.stamp {
            true => Ok(()),
            false => Err(io::Error::other("the file changed after it was opened; open the model again")),
        };
        // Looked at first: a pipe that has taken its place would be waited for without end.
        unchanged(std::fs::metadata(&self.path)?)?;
        let file = File::open(&self.path)?;
        unchanged(file.metadata()?)?;
        Ok(file)
    }

    fn map(&self) -> io::Result<&Mmap> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        // A map needs no handle once it is made.
        let map = map(&self.open()?)?;
        Ok(self.map.get_or_init(|| map))
    }
}

impl Opened<'_> {
    /// Fills `buffer` from `offset` of the file.
    pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let filled = match self {
            Self::File(file) => read_exact_at(file, offset, buffer),
            Self::Map(map) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let bytes = map.get(start..).and_then(|tail| tail.get(..buffer.len()));
                bytes.map(|bytes| buffer.copy_from_slice(bytes)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        };
        // Headers were held against the size of the file.
        filled.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(
                error.kind(),
                "the file became shorter after it was opened; open the model again once it is whole",
            ),
            _ => error,
        })
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe by nature; this is the one place that does")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private to the shard and only copied from. Another process that shrinks the file can still
    // end this one with SIGBUS; that is why positional reads are the default and the docs of `ReadPath` say so.
    unsafe { Mmap::map(file) }
}
