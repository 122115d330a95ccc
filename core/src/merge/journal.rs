//! The journal of a merge: what it writes, and which units of it are there, so that one that was interrupted goes on where it
//! was.
//!
//! It lies in the staging folder, or in that of a merge in parts, and is gone before the output appears. First comes a head, then a record for each unit, in the
//! order in which they were written; each has its length and a checksum in front, and where one does not fit, the journal ends:
//! that is what was being written when the machine stopped.
//!
//! A unit is believed to be there only when it has been read back and has the checksum of its record. A process that is killed
//! leaves nothing that is out of order; but after a power cut a record may be on the disk whose unit is not.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::own_file;
use crate::method::Leaf;
use crate::positional::read_exact_at;

/// Its name in the staging folder.
pub(super) const JOURNAL_FILE: &str = ".mergescope-journal";

/// How this version writes journals; others are not gone on with.
const FORMAT: u32 = 1;

/// Longest head or record. A record has 35 bytes or so for each 8,192 elements of its unit.
const MAX_BYTES: u32 = 16 << 20;

/// Length and checksum before a head or record.
const FRAME_BYTES: u64 = 12;

/// What is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    format: u32,
    /// A hash of everything that decides the bytes of the output, and where they go.
    pub identity: [u8; 32],
    /// Elements of a unit at most: units are the same as long as this is.
    pub unit_elements: u64,
    /// How many units there are.
    pub units: u64,
    /// Bytes of all weight files' tensors.
    pub bytes: u64,
    /// The folder that is to be, as text; a name that is not Unicode loses what text cannot hold.
    pub output: String,
    /// The recipe.
    pub recipe: String,
}

impl Head {
    /// A head of this version's format, of a merge whose units are not cut yet.
    pub fn new(identity: [u8; 32], output: &Path, recipe: String) -> Self {
        let output = output.to_string_lossy().into_owned();
        Self { format: FORMAT, identity, unit_elements: 0, units: 0, bytes: 0, output, recipe }
    }
}

/// What tells the bytes of a unit from others: against accidents, not against people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum {
    bytes: u64,
    hash: u128,
}

impl Checksum {
    /// Of those bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, hash: xxh3_128(bytes) }
    }
}

/// A unit that is written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    unit: u64,
    pub checksum: Checksum,
    /// What it did, stretch by stretch.
    pub leaves: Vec<Leaf>,
}

impl Record {
    /// Whether these are the bytes that were written.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.checksum == Checksum::of(bytes)
    }
}

/// Where a record lies in the journal, and how many bytes of output it speaks of.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    length: u32,
    bytes: u64,
}

/// A journal that is open.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Records are appended one by one.
    file: Mutex<File>,
    /// The same file, to read earlier records from.
    reader: File,
    head: Head,
    /// For each unit, its record of an earlier run.
    earlier: Vec<Option<Entry>>,
}

impl Journal {
    /// Begins a journal at that path, where there must be none.
    pub fn begin(path: &Path, head: Head) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.write_all(&framed(&head)?)?;
        let (earlier, reader) = (vec![None; units(&head)?], own_file::open(File::options().read(true), path)?);
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), reader, head, earlier })
    }

    /// Goes on with the journal that an earlier run left at that path; `None` where that wrote something else, or nothing can be
    /// read of it.
    pub fn go_on(path: &Path, identity: &[u8; 32]) -> io::Result<Option<Self>> {
        let mut file = own_file::open(File::options().read(true).write(true), path)?;
        let Some(read) = read(&mut file)? else { return Ok(None) };
        if read.head.identity != *identity {
            return Ok(None);
        }
        // What was cut off would hide all that comes after it.
        file.set_len(read.end)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(read.end))?;
        let mut earlier = vec![None; units(&read.head)?];
        for (unit, entry) in read.entries {
            if let Some(place) = usize::try_from(unit).ok().and_then(|unit| earlier.get_mut(unit)) {
                *place = Some(entry);
            }
        }
        let reader = own_file::open(File::options().read(true), path)?;
        Ok(Some(Self { path: path.to_owned(), file: Mutex::new(file), reader, head: read.head, earlier }))
    }

    /// What is being written.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The journal's own file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of output that an earlier run wrote, if all of them are still there.
    pub fn earlier_bytes(&self) -> u64 {
        self.earlier.iter().flatten().map(|entry| entry.bytes).sum()
    }

    /// What an earlier run wrote down of a unit; `None` where it wrote nothing, or nothing that can be read.
    pub fn earlier(&self, unit: usize) -> io::Result<Option<Record>> {
        let Some(Entry { offset, length, .. }) = self.earlier.get(unit).copied().flatten() else { return Ok(None) };
        let mut payload = vec![0; length as usize];
        read_exact_at(&self.reader, offset, &mut payload)?;
        Ok(postcard::from_bytes(&payload).ok())
    }

    /// Writes down that a unit is written.
    pub fn record(&self, unit: usize, checksum: Checksum, leaves: &[Leaf]) -> io::Result<()> {
        let record = Record { unit: unit as u64, checksum, leaves: leaves.to_vec() };
        let framed = framed(&record)?;
        // In one piece: a process that is killed between two would leave half a record.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&framed)
    }

    /// Removes it, since all is written.
    pub fn remove(self) -> io::Result<()> {
        // Closed first, since Windows keeps a file that is open.
        let Self { path, file, reader, .. } = self;
        drop((file, reader));
        fs::remove_file(path)
    }
}

/// What the journal at that path says: what is being written, and how many bytes of it are there.
pub(super) fn look(path: &Path) -> Option<(Head, u64)> {
    let mut file = own_file::open(File::options().read(true), path).ok()?;
    let read = read(&mut file).ok()??;
    let mut known = std::collections::HashSet::new();
    let bytes = read.entries.iter().filter(|(unit, _)| known.insert(*unit)).map(|(_, entry)| entry.bytes).sum();
    Some((read.head, bytes))
}

struct Contents {
    head: Head,
    entries: Vec<(u64, Entry)>,
    /// Where the last whole record ends.
    end: u64,
}

/// Reads all of it; `None` where not even the head is whole.
fn read(file: &mut File) -> io::Result<Option<Contents>> {
    let mut reader = io::BufReader::new(file);
    let Some((payload, mut end)) = frame(&mut reader, 0)? else { return Ok(None) };
    let Some(head) = parsed::<Head>(&payload).filter(|head| head.format == FORMAT) else { return Ok(None) };
    let mut entries = Vec::new();
    while let Some((payload, next)) = frame(&mut reader, end)? {
        let Some(record) = parsed::<Record>(&payload) else { break };
        let entry = Entry { offset: end + FRAME_BYTES, length: payload.len() as u32, bytes: record.checksum.bytes };
        entries.push((record.unit, entry));
        end = next;
    }
    Ok(Some(Contents { head, entries, end }))
}

/// The payload of the frame that begins at `start`, and where it ends; `None` where there is no whole one.
pub(super) fn frame(reader: &mut impl io::Read, start: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut front = [0; FRAME_BYTES as usize];
    if !filled(reader, &mut front)? {
        return Ok(None);
    }
    let [a, b, c, d, checksum @ ..] = front;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > MAX_BYTES {
        return Ok(None);
    }
    // As much as is there: a length that lies takes no memory.
    let mut payload = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut payload)?;
    let is_whole = payload.len() == length as usize && xxh3_64(&payload) == u64::from_le_bytes(checksum);
    Ok(is_whole.then_some((payload, start + FRAME_BYTES + u64::from(length))))
}

fn filled(reader: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

pub(super) fn parsed<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    postcard::from_bytes(payload).ok()
}

/// As a frame: its length and checksum, then what was serialised.
pub(super) fn framed<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let payload = postcard::to_allocvec(value).map_err(io::Error::other)?;
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::other("a record of the journal is too long"))?;
    let mut framed = length.to_le_bytes().to_vec();
    framed.extend(xxh3_64(&payload).to_le_bytes());
    framed.extend(payload);
    Ok(framed)
}

/// Units fit into memory: each has a place in the merge's own list.
fn units(head: &Head) -> io::Result<usize> {
    usize::try_from(head.units)
        .ok()
        .filter(|units| *units <= MAX_UNITS)
        .ok_or_else(|| io::Error::other("too many units"))
}

/// More units than any model has: 4 PB in units of 4 MiB.
const MAX_UNITS: usize = 1 << 30;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> Head {
        let head = Head::new([7; 32], Path::new("/merged"), "w = 0.5".to_owned());
        Head { unit_elements: 8192, units: 5, bytes: 50, ..head }
    }

    fn leaf(updates: u64) -> Leaf {
        Leaf { updates, vector_sq: 0.1, ..Leaf::default() }
    }

    fn written(folder: &Path) -> Vec<u8> {
        let journal = Journal::begin(&folder.join(JOURNAL_FILE), head()).unwrap();
        journal.record(3, Checksum::of(b"three"), &[leaf(1), leaf(2)]).unwrap();
        journal.record(0, Checksum::of(b"zero"), &[]).unwrap();
        fs::read(folder.join(JOURNAL_FILE)).unwrap()
    }

    #[test]
    fn what_was_written_down_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let journal = Journal::go_on(&folder.path().join(JOURNAL_FILE), &[7; 32]).unwrap().unwrap();
        let record = journal.earlier(3).unwrap().unwrap();
        assert_eq!(record.leaves, [leaf(1), leaf(2)]);
        assert!(record.fits(b"three") && !record.fits(b"thre") && !record.fits(b"threE"));
        assert_eq!(journal.earlier(1).unwrap(), None);
        assert_eq!((journal.earlier_bytes(), journal.head()), (9, &head()));
        journal.record(1, Checksum::of(b"one"), &[]).unwrap();
        drop(journal);
        assert_eq!(look(&folder.path().join(JOURNAL_FILE)).unwrap(), (head(), 12));
        assert!(Journal::go_on(&folder.path().join(JOURNAL_FILE), &[8; 32]).unwrap().is_none(), "another merge");
    }

    #[test]
    fn a_record_that_was_cut_off_is_as_if_it_had_never_been() {
        let folder = tempfile::tempdir().unwrap();
        let whole = written(folder.path());
        let path = folder.path().join(JOURNAL_FILE);
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let Some(journal) = Journal::go_on(&folder.path().join(JOURNAL_FILE), &[7; 32]).unwrap() else { continue };
            journal.record(4, Checksum::of(b"four"), &[]).unwrap();
            drop(journal);
            let journal = Journal::go_on(&folder.path().join(JOURNAL_FILE), &[7; 32]).unwrap().unwrap();
            assert!(journal.earlier(4).unwrap().unwrap().fits(b"four"), "cut after {length} bytes");
            assert!(journal.earlier(0).unwrap().is_none());
        }
    }

    proptest! {
        #[test]
        fn no_file_is_a_journal_by_chance(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200, flip in 1_u8..) {
            let folder = tempfile::tempdir().unwrap();
            let mut whole = written(folder.path());
            let path = folder.path().join(JOURNAL_FILE);
            fs::write(&path, &bytes).unwrap();
            prop_assert!(look(&folder.path().join(JOURNAL_FILE)).is_none());
            // One wrong byte loses the record that it is in and what comes after, and nothing else is read.
            let at = at % whole.len();
            whole[at] ^= flip;
            fs::write(&path, &whole).unwrap();
            if let Some((found, bytes)) = look(&folder.path().join(JOURNAL_FILE)) {
                prop_assert_eq!(found, head());
                prop_assert!(bytes < 9);
            }
        }
    }
}
