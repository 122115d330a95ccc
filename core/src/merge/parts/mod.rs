//! A merge in parts: each writes some of the weight files, on whatever machine, into a folder that all of them share; the last
//! step sees that all are there, reads them back and makes the output appear.
//!
//! Parts know nothing of one another. Which files are whose follows from the plan, so that every machine comes to the same
//! division, and the bytes are those of an undivided merge. See [`folder`] for what lies where.

mod folder;
mod record;
mod share;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::complete::Complete;
use super::journal::{Head, Journal};
use super::make::Unit;
use super::output::{self, Copied, OutputPlace, Sidecars, Syncing};
use super::plan::Plan;
use super::report::{MergeReport, TensorReport};
use super::verify::{Meant, Verify};
use super::weights::Weights;
use super::{MergeError, check_unchanged, lasting, made, make, measure, open, plan, refuse_unfit, resume, run};
use crate::alignment::{ModelId, Models};
use crate::progress::{Control, Stage};
use crate::recipe::Recipe;
use crate::stream::Resources;
use folder::{Kind, PartsFolder};
use record::{Record, Seen};
use share::Share;

pub(super) use folder::look;

/// More parts than any merge has files.
const MAX_PARTS: u32 = 65_535;

/// One of the parts that a merge is divided into, such as 2/8: the second of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    number: u32,
    of: u32,
}

/// What names no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// It is not two numbers.
    #[error("a part is I/N, such as 2/8 for the second of eight parts")]
    Form,
    /// There is no such part.
    #[error("there is no part {number} of {of}: parts are counted from 1/{of} to {of}/{of}")]
    Number {
        /// The part.
        number: u32,
        /// How many there are.
        of: u32,
    },
    /// It would be divided into none, or far too many.
    #[error("a merge is divided into 1 to {MAX_PARTS} parts, not {of}")]
    Of {
        /// How many there would be.
        of: u32,
    },
}

impl Part {
    /// The part of that number, counted from 1, of as many.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn new(number: u32, of: u32) -> Result<Self, PartError> {
        match (number, of) {
            (_, of) if !(1..=MAX_PARTS).contains(&of) => Err(PartError::Of { of }),
            (number, of) if !(1..=of).contains(&number) => Err(PartError::Number { number, of }),
            _ => Ok(Self { number, of }),
        }
    }

    /// Its number, counted from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many parts there are.
    pub fn of(self) -> u32 {
        self.of
    }
}

impl FromStr for Part {
    type Err = PartError;

    fn from_str(text: &str) -> Result<Self, PartError> {
        let (number, of) = text.split_once('/').ok_or(PartError::Form)?;
        let whole = |text: &str| text.trim().parse::<u32>().map_err(|_| PartError::Form);
        Self::new(whole(number)?, whole(of)?)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

/// Which parts of a merge are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartsThere {
    /// How many there are to be.
    pub of: u32,
    /// The numbers of those that are written.
    pub done: Vec<u32>,
    /// The numbers of those that a process is at work on, as far as the file system tells.
    pub under_way: Vec<u32>,
}

/// What one part wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// Which.
    pub part: Part,
    /// The folder that is to be.
    pub output: PathBuf,
    /// The weight files of this part; a merge of fewer files than parts has parts without any.
    pub files: Vec<String>,
    /// Bytes of these.
    pub bytes_written: u64,
    /// Of these, what an earlier run of this part had written that was interrupted.
    pub resumed_bytes: u64,
    /// Whether it was written before, so that there was nothing to do.
    pub was_done: bool,
    /// Whether all parts were put together before.
    pub is_finished: bool,
    /// Weight files of the whole output.
    pub files_in_all: usize,
    /// The numbers of the parts that are not written yet.
    pub missing: Vec<u32>,
    /// Time from opening the models to the part's end.
    pub elapsed: Duration,
}

impl PartReport {
    /// Of a part of an output that is there.
    fn of_made(part: Part, output: &Path, share: &Share, plan: &Plan) -> Self {
        Self {
            part,
            output: output.to_owned(),
            files: share.plan.files.files.iter().map(|file| file.name.clone()).collect(),
            bytes_written: share.plan.bytes(),
            resumed_bytes: 0,
            was_done: true,
            is_finished: true,
            files_in_all: plan.files.files.len(),
            missing: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }
}

/// Everything that is known before a part is written, or all are put together.
struct Begun {
    models: Models,
    plan: Plan,
    recipe: Recipe,
    place: OutputPlace,
    folder: PartsFolder,
}

/// How it begins.
enum Beginning {
    Begun(Box<Begun>),
    /// All parts were put together before.
    Made(Plan, Box<MergeReport>),
}

fn begin(recipe: &Recipe, output: &Path, control: &Control) -> Result<Beginning, MergeError> {
    let models = open(recipe)?;
    let place = output::check(output, &models);
    let plan = plan(&models, recipe)?;
    refuse_unfit(&models, control)?;
    let recipe = lasting(recipe, &models, control)?;
    let place = match place {
        Err(error @ MergeError::OutputExists { .. }) => {
            let report = made::before(output, &plan, &recipe).ok_or(error)?;
            return Ok(Beginning::Made(plan, Box::new(report)));
        }
        place => place?,
    };
    let folder = PartsFolder::of(&place, &plan, &recipe);
    Ok(Beginning::Begun(Box::new(Begun { models, plan, recipe, place, folder })))
}

impl Begun {
    /// What all parts became, where another process has put them together since this one began; `None` while they are apart.
    fn made_meanwhile(&self, output: &Path) -> Result<Option<MergeReport>, MergeError> {
        if fs::symlink_metadata(output).is_err() {
            return Ok(None);
        }
        let exists = || MergeError::OutputExists { path: output.to_owned() };
        let report = made::before(output, &self.plan, &self.recipe).ok_or_else(exists)?;
        // This process may have begun it anew.
        self.folder.remove();
        Ok(Some(report))
    }
}

/// Writes one part of the merge: some of its weight files, into a folder beside `output` that all parts share. Any part may be
/// written at any time, on any machine that has the models and that folder. One that was interrupted is gone on with, unless it
/// is to be made `anew`; of one that is there already nothing is done.
///
/// # Errors
/// Those of [`merge`](super::merge), and when the same part is under way or the others are parts of another number. What was
/// written stays, to be gone on with.
pub fn merge_part(
    recipe: &Recipe,
    output: &Path,
    part: Part,
    anew: bool,
    resources: &Resources,
    control: &Control,
) -> Result<PartReport, MergeError> {
    write_part(recipe, output, part, anew, resources, control).map_err(kept)
}

/// The words of an undivided merge would say that all was undone.
fn kept(error: MergeError) -> MergeError {
    match error {
        MergeError::Write { path, source } => MergeError::PartsWrite { path, source },
        MergeError::ReadBack { path, source } => MergeError::PartsReadBack { path, source },
        other => other,
    }
}

fn write_part(
    recipe: &Recipe,
    output: &Path,
    part: Part,
    anew: bool,
    resources: &Resources,
    control: &Control,
) -> Result<PartReport, MergeError> {
    let began = Instant::now();
    let begun = match begin(recipe, output, control)? {
        Beginning::Begun(begun) => begun,
        Beginning::Made(plan, _) => return Ok(PartReport::of_made(part, output, &Share::of(&plan, part), &plan)),
    };
    begun.folder.make()?;
    let busy = || MergeError::PartBusy { part, path: begun.place.output().to_owned() };
    let lock = begun.folder.lock(part)?.ok_or_else(busy)?;
    let share = Share::of(&begun.plan, part);
    // The parts may have been put together while this one waited.
    if begun.made_meanwhile(output)?.is_some() {
        return Ok(PartReport::of_made(part, output, &share, &begun.plan));
    }
    let Begun { models, plan, recipe, place, folder } = *begun;
    let _lock = lock;
    folder.check_count(part.of)?;

    let seen = seen(&models);
    let mut report =
        PartReport { was_done: false, is_finished: false, ..PartReport::of_made(part, output, &share, &plan) };
    let there = folder.record(part, &share).filter(|record| !anew && record.head.seen == seen);
    if let Some(record) = there {
        report.resumed_bytes = record.head.resumed_bytes;
        report.was_done = true;
    } else {
        folder.forget(part, anew)?;
        let weights = Weights::new(&models, &share.plan, &recipe, resources.read_path, control);
        let journal = journal(&folder, part, weights, &recipe, &plan, &place, resources)?;
        // Parts of another number may have begun at the same moment.
        folder.check_count(part.of).inspect_err(|_| drop(folder.forget(part, true)))?;
        place.check_space(share.plan.bytes().saturating_sub(journal.earlier_bytes()))?;
        let measured = measure::measure(weights, &recipe, resources)?;
        let written = run::write_weights(weights, &recipe, &measured, folder.weights(), resources, Some(&journal))?;
        check_unchanged(&models)?;
        control.begin(Stage::Syncing, 0);
        let files = report.files.iter().map(|name| folder.weights().join(name)).collect();
        Syncing::begin(files)?.wait(control)?;
        report.resumed_bytes = written.resumed_bytes;
        let record = Record {
            head: record::Head {
                part,
                identity: *folder.identity(),
                unit_elements: journal.head().unit_elements,
                resumed_bytes: written.resumed_bytes,
                worked: began.elapsed(),
                seen,
                hashes: written.sums.hashes.iter().map(|hash| *hash.as_bytes()).collect(),
            },
            changes: written.tensors.into_iter().map(|tensor| tensor.change).collect(),
            checksums: written.sums.checksums,
        };
        folder.keep(&record)?;
    }
    report.missing = folder.missing(part.of);
    report.elapsed = began.elapsed();
    Ok(report)
}

/// The journal of a part that was interrupted, or a new one.
fn journal(
    folder: &PartsFolder,
    part: Part,
    weights: Weights<'_>,
    recipe: &Recipe,
    whole: &Plan,
    place: &OutputPlace,
    resources: &Resources,
) -> Result<Journal, MergeError> {
    let path = folder.file(part, Kind::Journal);
    let identity = resume::identity(weights, recipe);
    // What cannot be read is not gone on with.
    if let Some(journal) = Journal::go_on(&path, &identity).ok().flatten() {
        return Ok(journal);
    }
    folder.forget(part, true)?;
    let elements = weights.unit_elements(resources);
    let mut head = Head::new(identity, place.output(), recipe.to_toml());
    head.units = make::units(weights.plan, elements).len() as u64;
    // What is listed of an unfinished merge is held against the whole of it.
    (head.unit_elements, head.bytes) = (elements, whole.bytes());
    Journal::begin(&path, head).map_err(|source| MergeError::Write { path, source })
}

/// Puts the parts of a merge together: sees that all are there, reads them back, writes the files beside the weights, and
/// makes the output appear. Its files are those of an undivided merge, and so are the sums of its report; `elapsed` is the time
/// of all parts together.
///
/// # Errors
/// Those of [`merge`](super::merge), and when a part is missing, under way, made from files that changed since, or damaged. The
/// parts stay as they are, but for one that is damaged, which has to be made again.
pub fn finish_parts(
    recipe: &Recipe,
    output: &Path,
    verify: Verify,
    resources: &Resources,
    control: &Control,
) -> Result<MergeReport, MergeError> {
    finish(recipe, output, verify, resources, control).map_err(kept)
}

fn finish(
    recipe: &Recipe,
    output: &Path,
    verify: Verify,
    resources: &Resources,
    control: &Control,
) -> Result<MergeReport, MergeError> {
    let began = Instant::now();
    let begun = match begin(recipe, output, control)? {
        Beginning::Begun(begun) => begun,
        Beginning::Made(_, report) => return Ok(*report),
    };
    let path = output.to_owned();
    let count = begun.folder.count()?;
    let alone = match begun.folder.lock_all() {
        Ok(alone) => Some(alone.ok_or_else(|| MergeError::Busy { path: path.clone() })?),
        // Without parts there is no folder either.
        Err(error) if begun.folder.is_there() => return Err(error),
        Err(_) => None,
    };
    // Another process may have done it while this one waited.
    if let Some(report) = begun.made_meanwhile(output)? {
        return Ok(report);
    }
    let Begun { models, plan, recipe, place, folder } = *begun;
    let (Some(of), Some(alone)) = (count, alone) else {
        return Err(MergeError::NoParts { others: !place.parts_folders().is_empty(), path });
    };
    let sidecars = Sidecars::open(&models.target)?;
    let parts = (1..=of).filter_map(|number| Part::new(number, of).ok());
    let shares: Vec<Share> = parts.map(|part| Share::of(&plan, part)).collect();
    let under_way = folder.under_way(of);
    let missing: Vec<u32> = folder.missing(of).into_iter().filter(|part| !under_way.contains(part)).collect();
    if !missing.is_empty() || !under_way.is_empty() {
        return Err(MergeError::PartsMissing { path, of, missing, under_way });
    }
    // From here on no part is made again, which would change files while they are read.
    let mut locks = vec![alone];
    for share in shares.iter().filter(|share| !share.tensors.is_empty()) {
        match folder.lock(share.part)? {
            Some(lock) => locks.push(lock),
            None => {
                let under_way = vec![share.part.number()];
                return Err(MergeError::PartsMissing { path, of, missing, under_way });
            }
        }
    }
    let records: Vec<Option<Record>> = shares.iter().map(|share| folder.record(share.part, share)).collect();
    let unusable =
        || records.iter().zip(1..).filter(|(record, _)| record.is_none()).map(|(_, number)| number).collect();
    let lacking = || shares.iter().zip(&records).filter(|(_, record)| record.is_none()).map(|(share, _)| share);
    if let Some((share, (path, range))) = lacking().find_map(|share| Some((share, folder.wrong_length(share)?))) {
        return Err(MergeError::Damaged { path, what: "the file".to_owned(), range, part: Some(share.part) });
    }
    let Some(done) = records.iter().cloned().collect::<Option<Vec<Record>>>() else {
        return Err(MergeError::PartsMissing { path, of, missing: unusable(), under_way });
    };
    for record in &done {
        check_seen(record, &models)?;
    }

    place.check_space(sidecars.bytes)?;
    let names: Vec<&str> = plan.files.files.iter().map(|file| file.name.as_str()).collect();
    // What an earlier attempt left.
    output::keep_only(folder.weights(), &names)?;
    let Copied { files, left_out } = sidecars.copy(&models.target, &recipe, folder.weights(), control)?;
    let mut report = MergeReport {
        recipe,
        output: path,
        tensors: tensors(&plan, &shares, &done),
        bytes_written: plan.bytes(),
        resumed_bytes: done.iter().map(|record| record.head.resumed_bytes).sum(),
        files: Vec::new(),
        verified: verify,
        left_out,
        elapsed: Duration::ZERO,
        was_done: false,
    };
    let units: Vec<Vec<Unit>> =
        shares.iter().zip(&done).map(|(share, record)| make::units(&share.plan, record.head.unit_elements)).collect();
    let hashes: Vec<Vec<Hash>> =
        done.iter().map(|record| record.head.hashes.iter().map(|bytes| Hash::from_bytes(*bytes)).collect()).collect();
    let meant: Vec<Meant<'_>> = shares
        .iter()
        .zip(&units)
        .zip(done.iter().zip(&hashes))
        .map(|((share, units), (record, hashes))| Meant {
            plan: &share.plan,
            units,
            checksums: &record.checksums,
            hashes,
            part: Some(share.part),
        })
        .collect();
    let began = began.checked_sub(done.iter().map(|record| record.head.worked).sum()).unwrap_or(began);
    let complete =
        Complete { folder: folder.weights(), models: &models, plan: &plan, meant: &meant, verify, resources, control };
    complete.run(&mut report, files, began).inspect_err(|error| {
        if let MergeError::Damaged { part: Some(part), .. } = error {
            // What cannot be removed is found damaged again.
            let _ = folder.forget(*part, true);
        }
    })?;
    check_unchanged(&models)?;
    place.commit(folder.weights(), control)?;
    report.elapsed = began.elapsed();
    // Closed before they are removed, since Windows keeps files that are open.
    drop(locks);
    folder.remove();
    Ok(report)
}

/// The reports of all tensors in the order of the plan.
fn tensors(plan: &Plan, shares: &[Share], records: &[Record]) -> Vec<TensorReport> {
    let positions = shares.iter().flat_map(|share| &share.tensors);
    let changes = records.iter().flat_map(|record| &record.changes);
    let mut found: Vec<_> = positions.zip(changes).collect();
    found.sort_by_key(|(position, _)| **position);
    found.into_iter().map(|(position, change)| TensorReport::new(&plan.tensors[*position], *change)).collect()
}

/// What every machine sees of the weight files, model by model.
fn seen(models: &Models) -> Vec<Vec<Seen>> {
    models
        .ids()
        .map(|model| models.get(model).file_states().map(|state| Seen::from(state.everywhere())).collect())
        .collect()
}

/// Refuses a part that was made from weight files which changed since.
fn check_seen(record: &Record, models: &Models) -> Result<(), MergeError> {
    let changed = |(model, (then, now)): (ModelId, (&Vec<Seen>, &Vec<Seen>))| {
        let differs = (0..now.len().max(then.len())).find(|file| then.get(*file) != now.get(*file))?;
        let checkpoint = models.get(model);
        let path = checkpoint.weight_paths().nth(differs).unwrap_or(checkpoint.root()).to_owned();
        Some(MergeError::PartOfOtherInputs { part: record.head.part, model, path })
    };
    let now = seen(models);
    match models.ids().zip(record.head.seen.iter().zip(&now)).find_map(changed) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Numbers in words, as far as there is room: `2, 5 and 7`.
pub(super) fn numbers(numbers: &[u32]) -> String {
    const SHOWN: usize = 20;
    let texts: Vec<String> = numbers.iter().take(SHOWN).map(u32::to_string).collect();
    match (texts.as_slice(), numbers.len()) {
        (texts, count) if count > SHOWN => format!("{} and {} more", texts.join(", "), count - SHOWN),
        ([texts @ .., last], _) if !texts.is_empty() => format!("{} and {last}", texts.join(", ")),
        (texts, _) => texts.concat(),
    }
}

fn io_write(path: &Path) -> impl Fn(io::Error) -> MergeError {
    let path = path.to_owned();
    move |source| MergeError::Write { path: path.clone(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_number_of_a_number() {
        let part: Part = "2/8".parse().unwrap();
        assert_eq!((part.number(), part.of(), part.to_string()), (2, 8, "2/8".to_owned()));
        for (text, error) in [
            ("", PartError::Form),
            ("2", PartError::Form),
            ("a/b", PartError::Form),
            ("-1/8", PartError::Form),
            ("1/2/3", PartError::Form),
            ("0/8", PartError::Number { number: 0, of: 8 }),
            ("9/8", PartError::Number { number: 9, of: 8 }),
            ("0/0", PartError::Of { of: 0 }),
            ("1/70000", PartError::Of { of: 70_000 }),
        ] {
            assert_eq!(text.parse::<Part>(), Err(error), "{text}");
        }
    }

    #[test]
    fn numbers_are_told_as_far_as_there_is_room() {
        assert_eq!(numbers(&[]), "");
        assert_eq!(numbers(&[3]), "3");
        assert_eq!(numbers(&[3, 5, 8]), "3, 5 and 8");
        assert!(numbers(&(1..=30).collect::<Vec<_>>()).ends_with("19, 20 and 10 more"));
    }
}
