//! Weights, streamed: each unit reads one range of each model, combines it and writes it to its place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::make::{Buffers, Maker, Unit, units};
use super::measure::Measured;
use super::plan::PlannedTensor;
use super::report::TensorReport;
use super::weights::Weights;
use super::{ChangeSums, MergeError};
use crate::method::Leaf;
use crate::progress::Stage;
use crate::recipe::Recipe;
use crate::stream::{self, Resources, Tally};

/// What became of one tensor: its leaves while units are open, then their sum.
#[derive(Default)]
struct Outcome {
    leaves: Tally<Leaf>,
    change: OnceLock<ChangeSums>,
}

struct Run<'a> {
    maker: Maker<'a>,
    files: Vec<(PathBuf, File)>,
    outcomes: Vec<Outcome>,
}

/// Writes all weight files of the plan into the folder `staging`; gives what was written, tensor by tensor.
pub(super) fn write_weights(
    weights: Weights<'_>,
    recipe: &Recipe,
    measured: &Measured,
    staging: &Path,
    resources: &Resources,
) -> Result<Vec<TensorReport>, MergeError> {
    let Weights { plan, control, .. } = weights;
    let total_bytes = plan.files.slots.iter().map(|slot| slot.bytes).sum();
    control.begin(Stage::Merging, total_bytes);
    let mut files = Vec::with_capacity(plan.files.files.len());
    for file in &plan.files.files {
        let path = staging.join(&file.name);
        let handle = create(&path, &file.header, file.bytes)
            .map_err(|source| MergeError::Write { path: path.clone(), source })?;
        files.push((path, handle));
    }

    let units = units(weights, resources);
    let outcomes: Vec<Outcome> = plan.tensors.iter().map(|_| Outcome::default()).collect();
    for unit in &units {
        outcomes[unit.tensor].leaves.expect_unit();
    }
    let run = Run { maker: Maker::new(weights, recipe, measured, 0..plan.tensors.len()), files, outcomes };
    stream::run(units.len(), resources.threads, control, Buffers::default, |buffers, index| {
        run.unit(&units[index], buffers)
    })?;

    let report = |(tensor, outcome): (&PlannedTensor, Outcome)| TensorReport {
        name: tensor.output.name.clone(),
        place: tensor.place,
        dtype: tensor.output.dtype,
        shape: tensor.output.shape.clone(),
        coefficient: tensor.coefficients.first().copied().unwrap_or(0.0),
        other_coefficients: tensor.coefficients.iter().skip(1).copied().collect(),
        change: outcome.change.into_inner().unwrap_or_default(),
    };
    Ok(plan.tensors.iter().zip(run.outcomes).map(report).collect())
}

fn create(path: &Path, header: &[u8], bytes: u64) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).open(path)?;
    file.set_len(bytes)?;
    write_all_at(&file, 0, header)?;
    Ok(file)
}

impl Run<'_> {
    fn unit(&self, unit: &Unit, buffers: &mut Buffers) -> Result<(), MergeError> {
        let Weights { plan, control, .. } = self.maker.weights;
        let planned = &plan.tensors[unit.tensor];
        let slot = plan.files.slots[unit.tensor];
        let bytes = self.maker.make(unit, buffers)?;
        let (path, file) = &self.files[slot.file];
        write_all_at(file, slot.offset + unit.bytes_of(planned).0, bytes)
            .map_err(|source| MergeError::Write { path: path.clone(), source })?;
        control.advance(bytes.len() as u64, planned.place.layer);
        self.tally(unit, &buffers.leaves);
        Ok(())
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

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
