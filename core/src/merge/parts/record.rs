//! What a part leaves when it is written: the sums for the report, and checksums and hashes that its files are held against.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Part;
use crate::merge::journal::{self, Checksum};
use crate::merge::{ChangeSums, own_file};

/// How this version writes records; others are taken for missing.
const FORMAT: u32 = 2;

/// Sums or checksums in one frame.
const FRAME_ITEMS: usize = 1 << 16;

/// What every machine sees of a weight file that nobody writes to: its size, and when it was last changed. Numbers of inodes and
/// their times are left out, which a copy of the file does not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    bytes: u64,
    modified_nanos: u128,
}

impl From<(u64, u128)> for Seen {
    fn from((bytes, modified_nanos): (u64, u128)) -> Self {
        Self { bytes, modified_nanos }
    }
}

/// What was written, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub part: Part,
    /// That of the folder.
    pub identity: [u8; 32],
    /// Elements of a unit at most.
    pub unit_elements: u64,
    pub resumed_bytes: u64,
    /// How long it took.
    pub worked: Duration,
    /// The weight files that it was made from, model by model.
    pub seen: Vec<Vec<Seen>>,
    /// The BLAKE3 of each file of the part.
    pub hashes: Vec<[u8; 32]>,
}

/// The record of a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub head: Head,
    /// For each tensor of the part.
    pub changes: Vec<ChangeSums>,
    /// For each unit of the part.
    pub checksums: Vec<Checksum>,
}

/// A record of which the head was read.
struct Begun {
    reader: BufReader<File>,
    /// Where the next frame begins.
    at: u64,
    head: Head,
    /// How many tensors and units it tells of.
    counts: (u64, u64),
}

impl Record {
    /// Writes it to a new file, down to the disk.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create_new(path)?);
        let counts = (self.changes.len() as u64, self.checksums.len() as u64);
        file.write_all(&journal::framed(&(FORMAT, &self.head, counts))?)?;
        for changes in self.changes.chunks(FRAME_ITEMS) {
            file.write_all(&journal::framed(&changes)?)?;
        }
        for checksums in self.checksums.chunks(FRAME_ITEMS) {
            file.write_all(&journal::framed(&checksums)?)?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// The head of one of this version.
    pub fn head(path: &Path) -> Option<Head> {
        Self::begin(path).map(|begun| begun.head)
    }

    fn begin(path: &Path) -> Option<Begun> {
        let mut reader = BufReader::new(own_file::open(File::options().read(true), path).ok()?);
        let (payload, at) = journal::frame(&mut reader, 0).ok()??;
        // The version alone decides whether the rest can be understood.
        let (format, rest) = postcard::take_from_bytes::<u32>(&payload).ok()?;
        let (head, counts) = (format == FORMAT).then(|| journal::parsed(rest))??;
        Some(Begun { reader, at, head, counts })
    }

    /// Reads it; `None` where there is no whole one of this version with as many tensors as that. How many units there must
    /// be depends on its head, and is for `units` to say.
    pub fn read(path: &Path, tensors: usize, units: impl FnOnce(&Head) -> Option<u64>) -> Option<Self> {
        let Begun { mut reader, mut at, head, counts } = Self::begin(path)?;
        if counts.0 != tensors as u64 {
            return None;
        }
        let units = units(&head).filter(|units| counts.1 == *units).and_then(|units| usize::try_from(units).ok())?;
        let (mut changes, mut checksums) = (Vec::<ChangeSums>::new(), Vec::<Checksum>::new());
        // Every frame has something in it, so that this ends.
        while changes.len() < tensors {
            let (payload, next) = journal::frame(&mut reader, at).ok()??;
            changes.extend(journal::parsed::<Vec<ChangeSums>>(&payload).filter(|found| !found.is_empty())?);
            at = next;
        }
        while checksums.len() < units {
            let (payload, next) = journal::frame(&mut reader, at).ok()??;
            checksums.extend(journal::parsed::<Vec<Checksum>>(&payload).filter(|found| !found.is_empty())?);
            at = next;
        }
        (changes.len() == tensors && checksums.len() == units).then_some(Self { head, changes, checksums })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    fn record() -> Record {
        let head = Head {
            part: Part::new(2, 3).unwrap(),
            identity: [3; 32],
            unit_elements: 8192,
            resumed_bytes: 5,
            worked: Duration::from_millis(1500),
            seen: vec![vec![Seen::from((7, 8))], vec![]],
            hashes: vec![[9; 32]],
        };
        // NaN and −0 have bits of their own, which text would lose.
        let change = ChangeSums { intended_sq: 0.1, written_sq: -0.0, ..ChangeSums::default() };
        let checksums = (0..FRAME_ITEMS as u64 + 3).map(|unit| Checksum::of(&unit.to_le_bytes())).collect();
        Record { head, changes: vec![change; 2], checksums }
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let record = record();
        record.write(&path).unwrap();
        let units = record.checksums.len();
        assert_eq!(Record::read(&path, 2, |_| Some(units as u64)), Some(record.clone()));
        assert_eq!(Record::read(&path, 3, |_| Some(units as u64)), None, "of another plan");
        assert_eq!(Record::read(&path, 2, |_| Some(units as u64 - 1)), None, "cut in another way");
        assert_eq!(Record::read(&path, 2, |_| None), None);
        assert!(record.write(&path).is_err(), "it is not written twice");
    }

    #[test]
    fn half_a_record_or_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let record = record();
        record.write(&path).unwrap();
        let units = record.checksums.len();
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 1, 12, 40, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(Record::read(&path, 2, |_| Some(units as u64)), None, "cut at {at}");
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(Record::read(&path, 2, |_| Some(units as u64)), None, "damaged at {at}");
        }
    }
}
