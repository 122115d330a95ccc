//! The folder that the parts of a merge share.
//!
//! It lies beside the output that is to be. Its name follows from the output's and from what decides the bytes, as far as that
//! is the same on every machine, so that parts find one another and those of another merge do not mix in. In it are
//!
//! ```text
//! output/                 the weight files; renamed into place at the end
//! part-2-of-8.lock        held while the part is written
//! part-2-of-8.journal     what of it is written, so that it is gone on with
//! part-2-of-8.done        its record, once all of it is
//! finish.lock             held while the parts are put together
//! ```
//!
//! On a file system without locks the same part may be written twice at once: that costs time and changes nothing, since both
//! write the same bytes to the same places, and a record appears in one piece.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::record::{Head, Record};
use super::share::Share;
use super::{Part, PartsThere, io_write};
use crate::merge::output::OutputPlace;
use crate::merge::plan::Plan;
use crate::merge::resume::{Files, Partial};
use crate::merge::{MergeError, journal, made, make, own_file};
use crate::recipe::Recipe;

/// How long a lock is waited for. Whoever lists unfinished merges holds it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// Units have a few million elements; a record that says more is not believed.
const MAX_UNIT_ELEMENTS: u64 = 1 << 32;

const WEIGHTS: &str = "output";
const FINISH_LOCK: &str = "finish.lock";

/// What a part has a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Lock,
    Journal,
    Done,
}

impl Kind {
    fn extension(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Journal => "journal",
            Self::Done => "done",
        }
    }
}

/// The folder; it need not be there.
pub(super) struct PartsFolder {
    path: PathBuf,
    weights: PathBuf,
    output: PathBuf,
    identity: [u8; 32],
}

impl PartsFolder {
    /// The folder of a merge by `recipe`, which has the fingerprints of its inputs.
    pub fn of(place: &OutputPlace, plan: &Plan, recipe: &Recipe) -> Self {
        let identity = made::asked_for(plan, recipe);
        let path = place.parts_folder(&identity);
        Self { weights: path.join(WEIGHTS), path, output: place.output().to_owned(), identity }
    }

    /// What decides the bytes.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Where the weight files grow.
    pub fn weights(&self) -> &Path {
        &self.weights
    }

    /// A file of a part.
    pub fn file(&self, part: Part, kind: Kind) -> PathBuf {
        self.path.join(file_name(part, kind))
    }

    /// Makes it, unless it is there.
    pub fn make(&self) -> Result<(), MergeError> {
        for path in [&self.path, &self.weights] {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let path = self.output.parent().unwrap_or(&self.path).to_owned();
                    return Err(MergeError::Unwritable { path, source: error });
                }
                // Its name is no secret: where others may write, they may have put a link there.
                Err(_) if !own_file::is_folder(path) => {
                    let source = io::Error::other("it is a link, or no folder; remove it");
                    return Err(MergeError::Unwritable { path: path.clone(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        own_file::is_folder(&self.path)
    }

    /// The lock of a part, as long as the value lives; `None` where another process has it.
    pub fn lock(&self, part: Part) -> Result<Option<File>, MergeError> {
        let path = self.file(part, Kind::Lock);
        lock(&path, PATIENCE).map_err(io_write(&path))
    }

    /// The lock of the last step; `None` where another process has it.
    pub fn lock_all(&self) -> Result<Option<File>, MergeError> {
        let path = self.path.join(FINISH_LOCK);
        lock(&path, PATIENCE).map_err(io_write(&path))
    }

    /// How many parts there are to be; `None` where no part has begun.
    pub fn count(&self) -> Result<Option<u32>, MergeError> {
        let counts = counts(&self.path);
        match counts.first().zip(counts.last()) {
            None => Ok(None),
            Some((of, last)) if of == last => Ok(Some(*of)),
            Some((of, other)) => Err(self.other_parts(*of, *other)),
        }
    }

    /// Refuses to work beside parts of another number.
    pub fn check_count(&self, of: u32) -> Result<(), MergeError> {
        match counts(&self.path).into_iter().find(|other| *other != of) {
            Some(other) => Err(self.other_parts(of, other)),
            None => Ok(()),
        }
    }

    fn other_parts(&self, of: u32, found: u32) -> MergeError {
        MergeError::OtherParts { path: self.output.clone(), of, found }
    }

    /// What a part left that is written, with all its files in their lengths.
    pub fn record(&self, part: Part, share: &Share) -> Option<Record> {
        let units = |head: &Head| {
            let fits = head.part == part && head.identity == self.identity;
            let sane = (1..=MAX_UNIT_ELEMENTS).contains(&head.unit_elements);
            let whole = head.hashes.len() == share.plan.files.files.len();
            (fits && sane && whole).then(|| make::count_units(&share.plan, head.unit_elements))
        };
        let record = Record::read(&self.file(part, Kind::Done), share.tensors.len(), units)?;
        self.wrong_length(share).is_none().then_some(record)
    }

    /// The first file of a part that has not its length, and the bytes that are too few or too many.
    pub fn wrong_length(&self, share: &Share) -> Option<(PathBuf, Range<u64>)> {
        share.plan.files.files.iter().find_map(|file| {
            let path = self.weights.join(&file.name);
            let there = own_file::size(&path).unwrap_or(0);
            (there != file.bytes).then(|| (path, there.min(file.bytes)..there.max(file.bytes)))
        })
    }

    /// Whether a part left the record of this very merge.
    fn is_done(&self, part: Part) -> bool {
        let head = Record::head(&self.file(part, Kind::Done));
        head.is_some_and(|head| head.part == part && head.identity == self.identity)
    }

    /// Keeps the record of a part: it appears whole, whoever looks.
    pub fn keep(&self, record: &Record) -> Result<(), MergeError> {
        let path = self.file(record.head.part, Kind::Done);
        let id = RandomState::new().hash_one(std::process::id()) as u32;
        let aside = path.with_extension(format!("done-{id:08x}"));
        let kept = record.write(&aside).and_then(|()| fs::rename(&aside, &path));
        kept.inspect_err(|_| drop(fs::remove_file(&aside))).map_err(io_write(&path))
    }

    /// Takes a part for one that is not written; with its journal, all of it is made again.
    pub fn forget(&self, part: Part, journal: bool) -> Result<(), MergeError> {
        for kind in [Kind::Done].into_iter().chain(journal.then_some(Kind::Journal)) {
            let path = self.file(part, kind);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_write(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The numbers of the parts that have no record, those under way among them.
    pub fn missing(&self, of: u32) -> Vec<u32> {
        numbers(of, |part| !self.is_done(part))
    }

    /// The numbers of the parts that a process is at work on, as far as the file system tells.
    pub fn under_way(&self, of: u32) -> Vec<u32> {
        numbers(of, |part| is_held(&self.file(part, Kind::Lock)))
    }

    /// Removes it with all that is in it. What cannot be removed only takes room.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What parts left in a folder that [`PartsFolder`] made.
pub(in crate::merge) fn look(folder: &Path) -> Partial {
    let of = counts(folder).first().copied().unwrap_or(0);
    let part_file = |part, kind| folder.join(file_name(part, kind));
    let heads: Vec<_> =
        (1..=of).filter_map(|number| journal::look(&part_file(Part::new(number, of).ok()?, Kind::Journal))).collect();
    let done = numbers(of, |part| Record::head(&part_file(part, Kind::Done)).is_some());
    let under_way = numbers(of, |part| is_held(&part_file(part, Kind::Lock)));
    let locks = numbers(of, |part| part_file(part, Kind::Lock).exists());
    let locks = locks.into_iter().filter_map(|number| Some(part_file(Part::new(number, of).ok()?, Kind::Lock)));
    let finishing = folder.join(FINISH_LOCK);
    let is_alive = !under_way.is_empty() || is_held(&finishing);
    let locks = locks.chain(finishing.exists().then_some(finishing)).collect();
    let done_bytes = heads.iter().map(|(_, bytes)| bytes).sum();
    let head = heads.into_iter().next().map(|(head, _)| head);
    Partial::new(folder, head, done_bytes, is_alive, Files::Shared(locks), Some(PartsThere { of, done, under_way }))
}

fn file_name(part: Part, kind: Kind) -> String {
    format!("part-{}-of-{}.{}", part.number(), part.of(), kind.extension())
}

/// Into how many parts those are divided that left something. A lock alone may be that of one which was refused.
fn counts(folder: &Path) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    let count = |name: &str| {
        let (stem, extension) = name.strip_prefix("part-")?.split_once('.')?;
        let (number, of) = stem.split_once("-of-")?;
        let part = Part::new(number.parse().ok()?, of.parse().ok()?).ok()?;
        [Kind::Journal, Kind::Done].iter().any(|kind| kind.extension() == extension).then_some(part.of())
    };
    entries.flatten().filter_map(|entry| count(entry.file_name().to_str()?)).collect()
}

/// The numbers of the parts of which something is so.
fn numbers(of: u32, is_so: impl Fn(Part) -> bool) -> Vec<u32> {
    (1..=of).filter(|number| Part::new(*number, of).is_ok_and(&is_so)).collect()
}

/// Takes a lock, waiting that long; `None` where another process has it.
fn lock(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let file = own_file::open(File::options().create(true).truncate(false).write(true), path)?;
    let until = Instant::now() + patience;
    loop {
        match may_work(&file.try_lock()) {
            true => return Ok(Some(file)),
            false if Instant::now() >= until => return Ok(None),
            false => thread::sleep(POLL),
        }
    }
}

/// Whether nobody else is known to work.
fn may_work(taken: &Result<(), TryLockError>) -> bool {
    match taken {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        // A file system without locks keeps nobody out, and nobody has to be kept out for the bytes' sake.
        Err(TryLockError::Error(_)) => true,
    }
}

fn is_held(path: &Path) -> bool {
    let lock = File::options().write(true).open(path);
    lock.is_ok_and(|lock| !may_work(&lock.try_lock()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    #[test]
    fn without_locks_on_the_file_system_work_goes_on() {
        assert!(may_work(&Ok(())));
        assert!(!may_work(&Err(TryLockError::WouldBlock)));
        assert!(may_work(&Err(TryLockError::Error(io::ErrorKind::Unsupported.into()))));
    }

    #[test]
    fn a_lock_that_is_held_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap().unwrap();
        assert!(lock(&path, Duration::ZERO).unwrap().is_none() && is_held(&path));
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(50));
                drop(held);
            });
            assert!(lock(&path, Duration::from_secs(60)).unwrap().is_some());
        });
    }

    #[test]
    fn how_many_parts_there_are_is_told_by_what_they_left() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &&str| fs::write(folder.path().join(name), "").unwrap();
        ["part-1-of-3.lock", "part-9-of-3.journal", "part-x-of-3.done", "part-1-of-3.txt", "finish.lock"]
            .iter()
            .for_each(touch);
        assert_eq!(counts(folder.path()), BTreeSet::new());
        ["part-2-of-3.journal", "part-3-of-3.done", "part-3-of-3.done-12345678"].iter().for_each(touch);
        assert_eq!(counts(folder.path()), BTreeSet::from([3]));
        touch(&"part-1-of-4.journal");
        assert_eq!(counts(folder.path()), BTreeSet::from([3, 4]));
        assert_eq!(counts(&folder.path().join("nowhere")), BTreeSet::new());
    }
}
