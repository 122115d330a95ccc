//! Reading back what was written: each byte is held against what was meant.
//!
//! What was meant is known from the checksum that each unit had when it was made, also of what an earlier run made, and of
//! headers byte for byte. Units are read once, by all workers.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::journal::Checksum;
use super::make::Unit;
use super::output::{Syncing, WrittenFile};
use super::parts::Part;
use super::plan::Plan;
use super::report::FileReport;
use super::{MergeError, own_file};
use crate::open_files::OpenFiles;
use crate::positional::read_exact_at;
use crate::progress::{Control, Stage};
use crate::stream::{self, Resources};

/// Whether the files of the output are read back before it appears, and from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// They are not: the hashes in report and card are of what was meant.
    None,
    /// As the system holds them, while they are on their way to the disk: from memory as far as they fit.
    #[default]
    Memory,
    /// From the disk, once they have reached it. Where the system cannot be told to forget what it holds, as [`Self::Memory`].
    Disk,
}

impl Verify {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::None, Self::Memory, Self::Disk];

    /// Its name on the command line and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    /// What reports of versions say that read nothing back.
    pub(super) fn none() -> Self {
        Self::None
    }
}

/// Weight files as they were meant.
pub(super) struct Meant<'a> {
    pub plan: &'a Plan,
    pub units: &'a [Unit],
    /// One for each unit.
    pub checksums: &'a [Checksum],
    /// The BLAKE3 of each file.
    pub hashes: &'a [Hash],
    /// The part of a merge that wrote them, where there are several.
    pub part: Option<Part>,
}

/// A weight file that is read back.
struct Opened {
    path: PathBuf,
    /// Which it is of those that are open.
    number: usize,
}

/// A stretch of a weight file that one worker reads.
#[derive(Clone, Copy)]
struct Piece {
    meant: usize,
    file: usize,
    /// `None` for the header.
    unit: Option<usize>,
}

/// The files, and what was done to be sure of them.
pub(super) struct ReadBack {
    /// Every file in the order given, weights first, as it was meant.
    pub files: Vec<FileReport>,
    /// From where they were read back.
    pub from: Verify,
}

/// Has all of `folder` reach the disk, and reads back the weight files in it and the small files beside them, once they are there
/// ([`Verify::Disk`]) or meanwhile ([`Verify::Memory`]); with [`Verify::None`] does neither, and only tells what they should be.
///
/// # Errors
/// When something is not as it was meant, cannot be read or written, or it is cancelled.
pub(super) fn sync_and_read_back(
    folder: &Path,
    meant: &[Meant<'_>],
    small: &[WrittenFile],
    verify: Verify,
    resources: &Resources,
    control: &Control,
) -> Result<ReadBack, MergeError> {
    let read_back = || read_back(folder, meant, small, verify, resources, control);
    match verify {
        Verify::None => Ok(ReadBack { files: as_meant(meant, small), from: Verify::None }),
        Verify::Memory => {
            // While the disk takes it in, the processor has time to look at it.
            let syncing = Syncing::begin(vec![folder.to_owned()])?;
            let found = read_back()?;
            control.begin(Stage::Syncing, 0);
            syncing.wait(control)?;
            Ok(found)
        }
        Verify::Disk => {
            control.begin(Stage::Syncing, 0);
            Syncing::begin(vec![folder.to_owned()])?.wait(control)?;
            read_back()
        }
    }
}

/// The same, as [`Verify::Memory`], of files that were each written in one go.
///
/// # Errors
/// When something is not as it was meant, cannot be read or written, or it is cancelled.
pub(crate) fn sync_and_read_back_files(
    folder: &Path,
    files: &[WrittenFile],
    resources: &Resources,
    control: &Control,
) -> Result<Vec<FileReport>, MergeError> {
    Ok(sync_and_read_back(folder, &[], files, Verify::Memory, resources, control)?.files)
}

/// Reads back the weight files in `folder`, and the small files beside them.
///
/// # Errors
/// When something is not as it was meant, cannot be read, or it is cancelled.
fn read_back(
    folder: &Path,
    meant: &[Meant<'_>],
    small: &[WrittenFile],
    verify: Verify,
    resources: &Resources,
    control: &Control,
) -> Result<ReadBack, MergeError> {
    let small_bytes: u64 = small.iter().map(|file| file.bytes).sum();
    let bytes = meant.iter().map(|meant| meant.plan.bytes()).sum::<u64>() + small_bytes;
    control.begin(Stage::Verifying, bytes);
    let mut from = verify;
    let open = OpenFiles::default();
    let mut number = 0_usize..;
    let mut opened: Vec<Vec<Opened>> = Vec::with_capacity(meant.len());
    for meant in meant {
        let files = meant.plan.files.files.iter().map(|planned| {
            let path = folder.join(&planned.name);
            let damaged = |range| damaged(&path, "the file", range, meant.part);
            let file = match own_file::open(File::options().read(true), &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(0..planned.bytes)),
                other => other.map_err(|source| unreadable(&path, source))?,
            };
            let length = file.metadata().map_err(|source| unreadable(&path, source))?.len();
            if length > planned.bytes {
                return Err(damaged(planned.bytes..length));
            }
            if verify == Verify::Disk && !forget(&file) {
                from = Verify::Memory;
            }
            // There is always a next one.
            let number = number.next().unwrap_or_default();
            Ok(Opened { path, number })
        });
        opened.push(files.collect::<Result<_, _>>()?);
    }

    let mut pieces = Vec::new();
    for (position, meant) in meant.iter().enumerate() {
        let headers = 0..meant.plan.files.files.len();
        pieces.extend(headers.map(|file| Piece { meant: position, file, unit: None }));
        pieces.extend(meant.units.iter().enumerate().map(|(unit, of)| {
            let file = meant.plan.files.slots[of.tensor].file;
            Piece { meant: position, file, unit: Some(unit) }
        }));
    }
    stream::run(pieces.len(), resources.threads, control, Vec::new, |buffer, index| {
        let piece = pieces[index];
        check(&meant[piece.meant], piece, &opened[piece.meant][piece.file], &open, buffer, control)
    })?;

    for written in small {
        control.check()?;
        small_file(folder, written, verify)?;
        control.advance(written.bytes, None);
    }
    Ok(ReadBack { files: as_meant(meant, small), from })
}

/// The files in the order given, with the hashes of what was meant.
fn as_meant(meant: &[Meant<'_>], small: &[WrittenFile]) -> Vec<FileReport> {
    let weights = meant.iter().flat_map(|meant| meant.plan.files.files.iter().zip(meant.hashes));
    let weights = weights.map(|(planned, hash)| FileReport::new(&planned.name, planned.bytes, *hash));
    weights.chain(small.iter().map(WrittenFile::report)).collect()
}

/// Holds one piece against what was meant.
fn check(
    meant: &Meant<'_>,
    piece: Piece,
    opened: &Opened,
    open: &OpenFiles,
    buffer: &mut Vec<u8>,
    control: &Control,
) -> Result<(), MergeError> {
    let planned = &meant.plan.files.files[piece.file];
    let (range, of_tensor, layer) = match piece.unit {
        None => (0..planned.header.len() as u64, None, None),
        Some(unit) => {
            let unit = &meant.units[unit];
            let tensor = &meant.plan.tensors[unit.tensor];
            let (first, length) = unit.bytes_of(tensor);
            let start = meant.plan.files.slots[unit.tensor].offset + first;
            (start..start + length, Some((tensor.output.name.as_str(), first)), tensor.place.layer)
        }
    };
    let length = range.end - range.start;
    let wrong = || match of_tensor {
        Some((name, first)) => damaged(&opened.path, &format!("tensor `{name}`"), first..first + length, meant.part),
        None => damaged(&opened.path, "the header", range.clone(), meant.part),
    };
    let file = open
        .get(opened.number, || own_file::open(File::options().read(true), &opened.path))
        .map_err(|source| unreadable(&opened.path, source))?;
    let bytes = stream::sized(buffer, length);
    read_exact_at(&file, range.start, bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong(),
        _ => unreadable(&opened.path, error),
    })?;
    let fits = match piece.unit {
        None => *bytes == *planned.header,
        Some(unit) => meant.checksums[unit] == Checksum::of(bytes),
    };
    if !fits {
        return Err(wrong());
    }
    control.advance(length, layer);
    Ok(())
}

/// Reads back a file that was written in one go.
pub(crate) fn small_file(folder: &Path, written: &WrittenFile, verify: Verify) -> Result<FileReport, MergeError> {
    let path = folder.join(&written.name);
    let read = || -> io::Result<blake3::Hasher> {
        let file = own_file::open(File::options().read(true), &path)?;
        if verify == Verify::Disk {
            forget(&file);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok(hasher)
    };
    let hasher = read().map_err(|source| unreadable(&path, source))?;
    if hasher.finalize() != written.hash {
        return Err(damaged(&path, "the file", 0..written.bytes.max(hasher.count()), None));
    }
    Ok(written.report())
}

fn damaged(path: &Path, what: &str, range: Range<u64>, part: Option<Part>) -> MergeError {
    MergeError::Damaged { path: path.to_owned(), what: what.to_owned(), range, part }
}

fn unreadable(path: &Path, source: io::Error) -> MergeError {
    MergeError::ReadBack { path: path.to_owned(), source }
}

/// Has the system forget what it holds of a file that has reached the disk, so that it is read from there; whether it was told.
#[cfg(target_os = "linux")]
fn forget(file: &File) -> bool {
    use rustix::fs::{Advice, fadvise};
    fadvise(file, 0, None, Advice::DontNeed).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn forget(_file: &File) -> bool {
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use std::fs;

    use super::*;
    use crate::checkpoint::{Dtype, OutputTensor, WeightFiles};
    use crate::layout;
    use crate::merge::make;
    use crate::merge::output::write_file;
    use crate::merge::plan::{PlannedTensor, Segment, Source};
    use crate::progress::Control;

    /// Three tensors in two files, in units of 8,192 bytes, as a merge leaves them.
    struct Scene {
        folder: tempfile::TempDir,
        plan: Plan,
        units: Vec<Unit>,
        checksums: Vec<Checksum>,
        hashes: Vec<Hash>,
        small: Vec<WrittenFile>,
    }

    const FIRST: &str = "model-00001-of-00002.safetensors";
    const SECOND: &str = "model-00002-of-00002.safetensors";

    impl Scene {
        fn new() -> Self {
            let sizes = [("a", 20_000), ("b", 100_001), ("c", 30_000)];
            let outputs =
                sizes.map(|(name, size)| OutputTensor { name: name.to_owned(), dtype: Dtype::U8, shape: vec![size] });
            let tensors = outputs.clone().map(|output| PlannedTensor {
                place: layout::place(&output.name),
                segments: vec![Segment { first: 0, count: output.shape[0], source: Source::Bytes }],
                output,
                coefficients: vec![0.0],
                moving_elements: 0,
                sources: vec![None],
                reads: Vec::new(),
            });
            let plan = Plan { tensors: tensors.to_vec(), files: WeightFiles::plan("model", &outputs, 125_000) };
            let folder = tempfile::tempdir().unwrap();
            let mut checksums = Vec::new();
            let mut contents: Vec<Vec<u8>> = plan.files.files.iter().map(|file| file.header.clone()).collect();
            let units = make::units(&plan, 8192);
            for (position, unit) in units.iter().enumerate() {
                let (first, length) = unit.bytes_of(&plan.tensors[unit.tensor]);
                let bytes: Vec<u8> = (first..first + length).map(|byte| (byte * 31 + position as u64) as u8).collect();
                checksums.push(Checksum::of(&bytes));
                contents[plan.files.slots[unit.tensor].file].extend(bytes);
            }
            for (file, bytes) in plan.files.files.iter().zip(&contents) {
                fs::write(folder.path().join(&file.name), bytes).unwrap();
            }
            let hashes = contents.iter().map(|bytes| blake3::hash(bytes)).collect();
            let small = vec![write_file(folder.path(), "config.json", "{}").unwrap()];
            Self { folder, plan, units, checksums, hashes, small }
        }

        fn meant(&self) -> [Meant<'_>; 1] {
            let Self { plan, units, checksums, hashes, .. } = self;
            [Meant { plan, units, checksums, hashes, part: None }]
        }

        fn read_back(&self, verify: Verify, threads: usize) -> Result<ReadBack, MergeError> {
            let resources = Resources { threads, ..Resources::default() };
            read_back(self.folder.path(), &self.meant(), &self.small, verify, &resources, &Control::new())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Changes the bytes of a file, and gives the error that comes of it.
        fn damaged(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (PathBuf, String, Range<u64>) {
            let whole = fs::read(self.path(name)).unwrap();
            let mut bytes = whole.clone();
            change(&mut bytes);
            fs::write(self.path(name), bytes).unwrap();
            let error = self.read_back(Verify::Memory, 2).err().unwrap();
            fs::write(self.path(name), whole).unwrap();
            let words = error.to_string();
            assert!(words.contains(name) && words.contains("the disk or the memory lost it"), "{words}");
            match error {
                MergeError::Damaged { path, what, range, .. } => (path, what, range),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_is_as_it_was_meant_has_its_hashes_whatever_the_threads() {
        let scene = Scene::new();
        for (verify, threads) in [(Verify::Memory, 1), (Verify::Memory, 5), (Verify::Disk, 2)] {
            let found = scene.read_back(verify, threads).unwrap();
            let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, [FIRST, SECOND, "config.json"]);
            for file in found.files {
                let bytes = fs::read(scene.path(&file.name)).unwrap();
                assert_eq!(file.blake3, blake3::hash(&bytes).to_hex().as_str(), "{}", file.name);
                assert_eq!(file.bytes, bytes.len() as u64);
            }
        }
    }

    #[test]
    fn every_byte_counts_and_the_error_says_where() {
        let scene = Scene::new();
        let header = scene.plan.files.files[0].header.len();
        let (path, what, range) = scene.damaged(FIRST, |bytes| bytes[header + 20_000 + 9_000] ^= 1);
        assert_eq!((path, what.as_str(), range), (scene.path(FIRST), "tensor `b`", 8192..16_384));
        let (_, what, range) = scene.damaged(SECOND, |bytes| *bytes.last_mut().unwrap() ^= 0x80);
        assert_eq!((what.as_str(), range), ("tensor `c`", 24_576..30_000));
        let (_, what, range) = scene.damaged(FIRST, |bytes| bytes[header - 1] = b'\n');
        assert_eq!((what.as_str(), range), ("the header", 0..header as u64));
        let (path, what, _) = scene.damaged("config.json", |bytes| bytes[1] = b']');
        assert_eq!((path, what.as_str()), (scene.path("config.json"), "the file"));
        // And at every length of what comes before it in its chunk, its unit, its file.
        let length = fs::read(scene.path(FIRST)).unwrap().len();
        for at in (0..length).step_by(1_777) {
            scene.damaged(FIRST, |bytes| bytes[at] ^= 0x10);
        }
    }

    #[test]
    fn files_that_are_short_long_or_gone_are_found() {
        let scene = Scene::new();
        let (_, what, range) = scene.damaged(SECOND, |bytes| bytes.truncate(bytes.len() - 1));
        assert_eq!((what.as_str(), range.end), ("tensor `c`", 30_000));
        let (_, what, _) = scene.damaged(FIRST, |bytes| bytes.truncate(20));
        assert!(what == "the header" || what.starts_with("tensor"), "{what}");
        let whole = scene.plan.files.files[1].bytes;
        let (_, what, range) = scene.damaged(SECOND, |bytes| bytes.push(0));
        assert_eq!((what.as_str(), range), ("the file", whole..whole + 1));
        scene.damaged("config.json", |bytes| bytes.push(b' '));
        fs::remove_file(scene.path(SECOND)).unwrap();
        assert!(matches!(scene.read_back(Verify::Memory, 1), Err(MergeError::Damaged { .. })));
    }

    #[test]
    fn it_can_be_cancelled() {
        let scene = Scene::new();
        let (meant, resources) = (scene.meant(), Resources::default());
        let control = Control::new();
        control.cancel();
        let ended = read_back(scene.folder.path(), &meant, &scene.small, Verify::Memory, &resources, &control);
        assert!(ended.err().is_some_and(|error| error.is_cancelled()));
    }
}
