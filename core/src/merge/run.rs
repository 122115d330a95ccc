//! Weights, streamed: each unit reads one range of each model, combines it and writes it to its place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use blake3::Hash;

use super::journal::{Checksum, Journal, Record};
use super::make::{Buffers, Maker, Unit, units};
use super::measure::Measured;
use super::plan::Plan;
use super::report::TensorReport;
use super::tree_hash::TreeHash;
use super::verify::Meant;
use super::weights::Weights;
use super::{ChangeSums, MergeError, own_file};
use crate::checkpoint::WeightFile;
use crate::method::Leaf;
use crate::open_files::OpenFiles;
use crate::positional::{begin_writing_back, read_exact_at, write_all_at};
use crate::progress::Stage;
use crate::recipe::Recipe;
use crate::stream::{self, Resources, Tally};

/// What became of one tensor: its leaves while units are open, then their sum.
#[derive(Default)]
struct Outcome {
    leaves: Tally<Leaf>,
    change: OnceLock<ChangeSums>,
}

/// A weight file of the output, as it grows.
struct Growing {
    path: PathBuf,
    hash: TreeHash,
}

struct Run<'a> {
    maker: Maker<'a>,
    files: Vec<Growing>,
    /// Those of the files that are open.
    open: OpenFiles,
    outcomes: Vec<Outcome>,
    /// Of each unit, what it was made as.
    checksums: Vec<OnceLock<Checksum>>,
    journal: Option<&'a Journal>,
    resumed_bytes: AtomicU64,
}

/// What was written.
pub(super) struct Written {
    /// Tensor by tensor.
    pub tensors: Vec<TensorReport>,
    /// Bytes that an earlier run had written.
    pub resumed_bytes: u64,
    /// What the files should hold now.
    pub sums: Sums,
}

/// What tells whether weight files are as they were meant.
pub(super) struct Sums {
    /// How the weights were cut.
    pub units: Vec<Unit>,
    /// Of each unit, what was meant to be written.
    pub checksums: Vec<Checksum>,
    /// Of each file, the BLAKE3 of what was meant to be written.
    pub hashes: Vec<Hash>,
}

impl Sums {
    /// What reading it back is held against.
    pub fn meant<'a>(&'a self, plan: &'a Plan) -> Meant<'a> {
        Meant { plan, units: &self.units, checksums: &self.checksums, hashes: &self.hashes, part: None }
    }
}

/// Writes all weight files of the plan into the folder `staging`. With a journal, units that it knows and that are there are not
/// made again.
pub(super) fn write_weights(
    weights: Weights<'_>,
    recipe: &Recipe,
    measured: &Measured,
    staging: &Path,
    resources: &Resources,
    journal: Option<&Journal>,
) -> Result<Written, MergeError> {
    let Weights { plan, control, .. } = weights;
    let total_bytes = plan.files.slots.iter().map(|slot| slot.bytes).sum();
    control.begin(Stage::Merging, total_bytes);
    let mut files = Vec::with_capacity(plan.files.files.len());
    for file in &plan.files.files {
        let path = staging.join(&file.name);
        create(&path, &file.header, file.bytes).map_err(|source| MergeError::Write { path: path.clone(), source })?;
        let hash = TreeHash::new(file.bytes);
        hash.add(0, &file.header);
        files.push(Growing { path, hash });
    }

    let elements = journal.map_or_else(|| weights.unit_elements(resources), |journal| journal.head().unit_elements);
    let units = units(plan, elements);
    let outcomes: Vec<Outcome> = plan.tensors.iter().map(|_| Outcome::default()).collect();
    for unit in &units {
        outcomes[unit.tensor].leaves.expect_unit();
    }
    let maker = Maker::new(weights, recipe, measured, 0..plan.tensors.len());
    let checksums = units.iter().map(|_| OnceLock::new()).collect();
    let run = Run {
        maker,
        files,
        open: OpenFiles::default(),
        outcomes,
        checksums,
        journal,
        resumed_bytes: AtomicU64::new(0),
    };
    stream::run(units.len(), resources.threads, control, Buffers::default, |buffers, index| {
        run.unit(index, &units[index], buffers)
    })?;
    let resumed_bytes = run.resumed_bytes.into_inner();

    // Every unit was done, and is in the hash of its file; were one left out, there would be none.
    let hashed = |(Growing { path, hash }, planned): (Growing, &WeightFile)| {
        let nothing = || MergeError::Damaged { path, what: "the file".to_owned(), range: 0..planned.bytes, part: None };
        hash.finish().ok_or_else(nothing)
    };
    let hashes = run.files.into_iter().zip(&plan.files.files).map(hashed).collect::<Result<_, _>>()?;
    let checksums = run.checksums.into_iter().filter_map(OnceLock::into_inner).collect();
    let changes = run.outcomes.into_iter().map(|outcome| outcome.change.into_inner().unwrap_or_default());
    let tensors =
        plan.tensors.iter().zip(changes).map(|(planned, change)| TensorReport::new(planned, change)).collect();
    Ok(Written { tensors, resumed_bytes, sums: Sums { units, checksums, hashes } })
}

/// Makes a weight file of the output, in its whole length; what is in it stays.
fn create(path: &Path, header: &[u8], bytes: u64) -> io::Result<()> {
    let file = own_file::open(File::options().write(true).create(true).truncate(false), path)?;
    file.set_len(bytes)?;
    write_all_at(&file, 0, header)
}

impl Run<'_> {
    fn unit(&self, index: usize, unit: &Unit, buffers: &mut Buffers) -> Result<(), MergeError> {
        let Weights { plan, control, .. } = self.maker.weights;
        let planned = &plan.tensors[unit.tensor];
        let slot = plan.files.slots[unit.tensor];
        let Growing { path, hash } = &self.files[slot.file];
        let (first, length) = unit.bytes_of(planned);
        let offset = slot.offset + first;
        let written = |path: &Path| {
            let path = path.to_owned();
            move |source| MergeError::Write { path, source }
        };
        let open = || own_file::open(File::options().read(true).write(true), path);
        let file = &self.open.get(slot.file, open).map_err(written(path))?;
        if let Some(record) = self.earlier(index, file, offset, buffers.output(length)) {
            hash.add(offset, buffers.output(length));
            self.resumed_bytes.fetch_add(length, Ordering::Relaxed);
            control.advance(length, planned.place.layer);
            let _ = self.checksums[index].set(record.checksum);
            self.tally(unit, &record.leaves);
            return Ok(());
        }
        self.maker.make(unit, buffers)?;
        let bytes = buffers.output(length);
        // Before it leaves this process: what comes back is held against it.
        let checksum = Checksum::of(bytes);
        let _ = self.checksums[index].set(checksum);
        write_all_at(file, offset, bytes).map_err(written(path))?;
        begin_writing_back(file, offset, length);
        hash.add(offset, bytes);
        control.advance(length, planned.place.layer);
        if let Some(journal) = self.journal {
            journal.record(index, checksum, &buffers.leaves).map_err(written(journal.path()))?;
        }
        self.tally(unit, &buffers.leaves);
        Ok(())
    }

    /// What an earlier run did in a unit that is still there as it was written.
    fn earlier(&self, index: usize, file: &File, offset: u64, bytes: &mut [u8]) -> Option<Record> {
        // Whatever cannot be read is made again.
        let record = self.journal?.earlier(index).ok()??;
        read_exact_at(file, offset, bytes).ok()?;
        record.fits(bytes).then_some(record)
    }

    /// Keeps the unit's leaves; the last unit of a tensor adds all of them up in the order of the elements.
    fn tally(&self, unit: &Unit, leaves: &[Leaf]) {
        let outcome = &self.outcomes[unit.tensor];
        if let Some(leaves) = outcome.leaves.add(unit.segment.first, leaves.to_vec()) {
            let planned = &self.maker.weights.plan.tensors[unit.tensor];
            // The leaves of a mix have the whole change for their vector.
            let coefficient =
                if self.maker.mixes() { 1.0 } else { planned.coefficients.first().copied().unwrap_or(0.0) };
            let mut change = ChangeSums::default();
            for leaf in leaves {
                change.add_leaf(&leaf, coefficient);
            }
            // Set once: no other unit is the last.
            let _ = outcome.change.set(change);
        }
    }
}
