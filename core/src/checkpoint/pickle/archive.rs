//! The zip archive that `torch.save` writes: which entries it has, and where the bytes of each lie in the file.
//!
//! Only what PyTorch (1.6 and newer) writes is read: one directory at the very end, entries stored as they are. Limits:
//! the directory has at most [`MAX_DIRECTORY_BYTES`] and lies within the file, and so does every entry. Format: PKWARE's
//! APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (its end, and that of zip64).

use std::collections::HashMap;

use super::super::shard::ReadAt;
use super::PickleError;

/// Longest directory that is read, in bytes; 100,000 tensors need about 10 MB.
pub(super) const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";

const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const LOCATOR64_BYTES: u64 = 20;

/// A 32-bit field of this value has its true one in the zip64 part.
const IN_ZIP64: u32 = u32::MAX;
/// The kind of extra field that holds it.
const ZIP64_EXTRA: u16 = 1;

/// An entry as the directory lists it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its local header begins.
    header: u64,
    bytes: u64,
    /// Neither compressed nor encrypted.
    stored: bool,
}

/// An archive's entries.
#[derive(Debug)]
pub(super) struct Archive {
    entries: HashMap<String, Entry>,
    /// Where the directory begins: entries end before it.
    directory: u64,
}

impl Archive {
    /// Reads the directory of a file of `file_bytes` bytes.
    pub(super) fn read(file_bytes: u64, read_at: &mut ReadAt<'_>) -> Result<Self, PickleError> {
        let Some(end) = file_bytes.checked_sub(END_BYTES) else { return Err(damaged("it is too short")) };
        let mut record = [0; END_BYTES as usize];
        read_at(end, &mut record)?;
        // PyTorch writes no comment, so that the record is the last thing in the file.
        if record[..4] != END || u16_at(&record, 20) != 0 {
            return Err(damaged("the archive's end is missing: the file is truncated"));
        }
        let (count, bytes, start) = match (u32_at(&record, 12), u32_at(&record, 16), u16_at(&record, 10)) {
            (bytes, start, count) if bytes != IN_ZIP64 && start != IN_ZIP64 && count != u16::MAX => {
                (u64::from(count), u64::from(bytes), u64::from(start))
            }
            _ => end64(end, read_at)?,
        };
        if bytes > MAX_DIRECTORY_BYTES {
            return Err(damaged("its directory is larger than that of any model"));
        }
        if start.checked_add(bytes).is_none_or(|past| past > end) {
            return Err(damaged("its directory lies outside of the file"));
        }
        let mut directory = vec![0; bytes as usize];
        read_at(start, &mut directory)?;
        Ok(Self { entries: entries(&directory, count)?, directory: start })
    }

    /// The names of all entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the bytes of an entry lie, as offset and length; `None` where there is no such entry.
    pub(super) fn place(&self, name: &str, read_at: &mut ReadAt<'_>) -> Result<Option<(u64, u64)>, PickleError> {
        let Some(&Entry { header, bytes, stored }) = self.entries.get(name) else { return Ok(None) };
        if !stored {
            return Err(PickleError::Compressed { entry: name.to_owned() });
        }
        let outside = || damaged("an entry lies outside of the file");
        // Inside the file, since the directory is.
        if header.checked_add(LOCAL_BYTES).is_none_or(|past| past > self.directory) {
            return Err(outside());
        }
        let mut local = [0; LOCAL_BYTES as usize];
        read_at(header, &mut local)?;
        if local[..4] != LOCAL {
            return Err(damaged("an entry does not begin where the directory says"));
        }
        // The lengths of its name and of its padding, which is PyTorch's own.
        let start = header + LOCAL_BYTES + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
        if start.checked_add(bytes).is_none_or(|past| past > self.directory) {
            return Err(outside());
        }
        Ok(Some((start, bytes)))
    }
}

/// Number of entries, bytes and start of the directory, as the zip64 record before the end at `end` says.
fn end64(end: u64, read_at: &mut ReadAt<'_>) -> Result<(u64, u64, u64), PickleError> {
    let missing = || damaged("its zip64 record is missing");
    let mut locator = [0; LOCATOR64_BYTES as usize];
    read_at(end.checked_sub(LOCATOR64_BYTES).ok_or_else(missing)?, &mut locator)?;
    let at = u64_at(&locator, 8);
    if locator[..4] != LOCATOR64 || at.checked_add(END64_BYTES).is_none_or(|past| past > end) {
        return Err(missing());
    }
    let mut record = [0; END64_BYTES as usize];
    read_at(at, &mut record)?;
    if record[..4] != END64 {
        return Err(missing());
    }
    Ok((u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48)))
}

fn entries(mut directory: &[u8], count: u64) -> Result<HashMap<String, Entry>, PickleError> {
    // Room for no more than can be there, whatever the count says.
    let mut entries = HashMap::with_capacity((count as usize).min(directory.len() / CENTRAL_BYTES));
    for _ in 0..count {
        let cut_off = || damaged("its directory ends too early");
        let (fixed, rest) = directory.split_at_checked(CENTRAL_BYTES).ok_or_else(cut_off)?;
        if fixed[..4] != CENTRAL {
            return Err(damaged("its directory holds something else than entries"));
        }
        let (name, rest) = rest.split_at_checked(u16_at(fixed, 28).into()).ok_or_else(cut_off)?;
        let (extra, rest) = rest.split_at_checked(u16_at(fixed, 30).into()).ok_or_else(cut_off)?;
        let (_comment, rest) = rest.split_at_checked(u16_at(fixed, 32).into()).ok_or_else(cut_off)?;
        directory = rest;

        let mut wide = zip64_extra(extra).unwrap_or_default().as_chunks::<8>().0.iter();
        let mut field = |offset| match u32_at(fixed, offset) {
            // In this order, and only those that do not fit.
            IN_ZIP64 => wide.next().map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(cut_off),
            narrow => Ok(u64::from(narrow)),
        };
        let (bytes, packed, header) = (field(24)?, field(20)?, field(42)?);
        let encrypted = u16_at(fixed, 8) & 1 == 1;
        let stored = u16_at(fixed, 10) == 0 && !encrypted && packed == bytes;
        let name = std::str::from_utf8(name).map_err(|_| damaged("the name of an entry is no text"))?;
        if entries.insert(name.to_owned(), Entry { header, bytes, stored }).is_some() {
            return Err(damaged("two entries have one name"));
        }
    }
    Ok(entries)
}

/// The zip64 part of an entry's extra fields.
fn zip64_extra(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (head, rest) = extra.split_at_checked(4)?;
        let (body, rest) = rest.split_at_checked(u16_at(head, 2).into())?;
        if u16_at(head, 0) == ZIP64_EXTRA {
            return Some(body);
        }
        extra = rest;
    }
}

fn damaged(what: &'static str) -> PickleError {
    PickleError::Archive { what }
}

// Offsets are constants that lie inside records of fixed size.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
