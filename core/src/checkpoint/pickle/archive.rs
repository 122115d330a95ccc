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

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of the directory; sizes and offsets that do not fit go into a zip64 field.
    fn central(name: &str, bytes: u64, header: u64, method: u16) -> Vec<u8> {
        let narrow = |value: u64| u32::try_from(value).unwrap_or(IN_ZIP64);
        let wide: Vec<u8> = [bytes, bytes, header]
            .into_iter()
            .filter(|value| narrow(*value) == IN_ZIP64)
            .flat_map(u64::to_le_bytes)
            .collect();
        // Behind a field of another kind.
        let extra = match wide.len() as u16 {
            0 => Vec::new(),
            length => [&[0x46, 0x42, 1, 0, 9, 1, 0], &length.to_le_bytes()[..], &wide].concat(),
        };
        let mut entry = [&CENTRAL[..], &[0; 6], &method.to_le_bytes(), &[0; 8]].concat();
        entry.extend(narrow(bytes).to_le_bytes());
        entry.extend(narrow(bytes).to_le_bytes());
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend((extra.len() as u16).to_le_bytes());
        entry.extend([0; 10]);
        entry.extend(narrow(header).to_le_bytes());
        [entry, name.as_bytes().to_vec(), extra].concat()
    }

    fn local(name: &str, padding: u16) -> Vec<u8> {
        let fixed = [&LOCAL[..], &[0; 22], &(name.len() as u16).to_le_bytes(), &padding.to_le_bytes()].concat();
        [fixed, name.as_bytes().to_vec(), vec![0; padding.into()]].concat()
    }

    /// The archive's end for a directory of `count` entries and `bytes` at `start`, with a zip64 record where it is needed.
    fn end(count: u64, bytes: u64, start: u64) -> Vec<u8> {
        let mut end = Vec::new();
        if start >= u64::from(IN_ZIP64) {
            end = [&END64[..], &[0; 28]].concat();
            [count, bytes, start].iter().for_each(|value| end.extend(value.to_le_bytes()));
            end.extend([&LOCATOR64[..], &[0; 4], &(start + bytes).to_le_bytes(), &[0; 4]].concat());
        }
        end.extend([&END[..], &[0; 6], &(count as u16).to_le_bytes(), &(bytes as u32).to_le_bytes()].concat());
        end.extend(u32::try_from(start).unwrap_or(IN_ZIP64).to_le_bytes());
        end.extend([0; 2]);
        end
    }

    /// A file of which only some stretches are there.
    struct Sparse(Vec<(u64, Vec<u8>)>);

    impl Sparse {
        fn bytes(&self) -> u64 {
            self.0.iter().map(|(at, bytes)| at + bytes.len() as u64).max().unwrap_or(0)
        }

        fn open(&self) -> Result<Archive, PickleError> {
            Archive::read(self.bytes(), &mut |at, buffer| self.read(at, buffer))
        }

        fn place(&self, name: &str) -> Result<Option<(u64, u64)>, PickleError> {
            self.open()?.place(name, &mut |at, buffer| self.read(at, buffer))
        }

        fn read(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            let inside = |(start, bytes): &&(u64, Vec<u8>)| {
                *start <= at && at + buffer.len() as u64 <= start + bytes.len() as u64
            };
            let (start, bytes) = self.0.iter().find(inside).expect("only what is there is read");
            let from = (at - start) as usize;
            buffer.copy_from_slice(&bytes[from..from + buffer.len()]);
            Ok(())
        }
    }

    /// An archive with an entry `a` at 0 and an entry `b` of `bytes` at `at`.
    fn archive(at: u64, bytes: u64) -> Sparse {
        let start = at + 100 + bytes;
        let directory = [central("x/a", 4, 0, 0), central("x/b", bytes, at, 0)].concat();
        let end = end(2, directory.len() as u64, start);
        Sparse(vec![
            (0, [local("x/a", 20), vec![7; 4]].concat()),
            (at, local("x/b", 64)),
            (start, [directory, end].concat()),
        ])
    }

    #[test]
    fn entries_are_found_below_and_beyond_four_gibibytes() {
        for (at, bytes) in [(1000, 5000), (5 << 30, 5000), (1000, 5 << 30), (6 << 30, 5 << 30)] {
            let archive = archive(at, bytes);
            assert_eq!(archive.place("x/a").unwrap(), Some((30 + 3 + 20, 4)));
            assert_eq!(archive.place("x/b").unwrap(), Some((at + 30 + 3 + 64, bytes)), "at {at}");
            assert_eq!(archive.place("x/c").unwrap(), None);
        }
    }

    #[test]
    fn what_does_not_add_up_is_damaged() {
        let spoilt = |change: fn(&mut Vec<u8>)| {
            let mut archive = archive(5 << 30, 5000);
            change(&mut archive.0[2].1);
            archive.open().expect_err("it is refused").to_string()
        };
        assert!(spoilt(|end| end.truncate(end.len() - 1)).contains("the archive's end is missing"));
        // The count, size and start in the zip64 record, counted from the end.
        for (from_end, words) in
            [(66, "ends too early"), (58, "larger than that of any model"), (50, "outside of the file")]
        {
            let message = match from_end {
                66 => spoilt(|end| set(end, 66)),
                58 => spoilt(|end| set(end, 58)),
                _ => spoilt(|end| set(end, 50)),
            };
            assert!(message.contains(words), "{message}");
        }
        // The first entry's signature.
        assert!(spoilt(|end| end[0] = 0).contains("something else than entries"));
    }

    /// Sets the eight bytes that begin so many before the end to a number that is far too large.
    fn set(end: &mut [u8], from_end: usize) {
        let at = end.len() - from_end;
        end[at..at + 8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    }

    #[test]
    fn compressed_entries_and_two_of_one_name_are_refused() {
        let with = |entries: Vec<u8>, count| {
            let end = end(count, entries.len() as u64, 100);
            Sparse(vec![(0, local("x/a", 67)), (100, [entries, end].concat())])
        };
        let deflated = with(central("x/a", 4, 0, 8), 1);
        assert!(deflated.place("x/a").unwrap_err().to_string().contains("its entry `x/a` is compressed"));
        let twice = with([central("x/a", 0, 0, 0), central("x/a", 0, 0, 0)].concat(), 2);
        assert!(twice.open().unwrap_err().to_string().contains("two entries have one name"));
        let beyond = with(central("x/a", 1, 0, 0), 1);
        assert!(beyond.place("x/a").unwrap_err().to_string().contains("lies outside of the file"));
    }
}
