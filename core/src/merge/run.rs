//! Weights, streamed: each unit reads one range of each model, combines it and writes it to its place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::measure::{Elements, Measured, odds_of};
use super::mixes::mix_of;
use super::plan::{PlannedTensor, Segment, Source};
use super::report::TensorReport;
use super::weights::{Range, RangeBuffers, Weights};
use super::{ChangeSums, MergeError};
use crate::alignment::element_bytes;
use crate::checkpoint::{TensorInfo, takes_part};
use crate::method::mix::{Base, Mix, MixBuffers, MixStretch, VectorBytes, mix};
use crate::method::{Leaf, Stretch, combine};
use crate::numeric::{StochasticKey, first_nonfinite};
use crate::progress::Stage;
use crate::recipe::Recipe;
use crate::stream::{self, Resources, StreamError, Tally};

/// A piece of one segment, small enough for a worker's buffers.
struct Unit {
    tensor: usize,
    segment: Segment,
}

/// What became of one tensor: its leaves while units are open, then their sum.
#[derive(Default)]
struct Outcome {
    leaves: Tally<Leaf>,
    change: OnceLock<ChangeSums>,
}

#[derive(Default)]
struct Buffers {
    read: RangeBuffers,
    rows: RangeBuffers,
    bytes: Vec<u8>,
    out: Vec<u8>,
    leaves: Vec<Leaf>,
    mix: MixBuffers,
}

struct Run<'a> {
    weights: Weights<'a>,
    elements: Elements<'a>,
    recipe: &'a Recipe,
    /// How each tensor is made; empty where all of them are target + w·v.
    mixes: Vec<Mix>,
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
    let elements = Elements { weights, recipe, measured };
    let mixes = match recipe.is_plain() {
        true => Vec::new(),
        false => (0..plan.tensors.len()).map(|tensor| mix_of(&elements, tensor)).collect(),
    };
    let run = Run { weights, elements, recipe, mixes, files, outcomes };
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

/// Cuts all segments into units in the order of the output.
fn units(weights: Weights<'_>, resources: &Resources) -> Vec<Unit> {
    let elements = weights.unit_elements(resources);
    let mut units = Vec::new();
    for (tensor, planned) in weights.plan.tensors.iter().enumerate() {
        let width = element_bytes(planned.output.dtype).max(1);
        for segment in &planned.segments {
            let step = if segment.source == Source::Bytes { elements * width } else { elements };
            let ranges = stream::cut(segment.first, segment.count, step);
            units.extend(ranges.map(|(first, count)| Unit { tensor, segment: Segment { first, count, ..*segment } }));
        }
    }
    units
}

impl Run<'_> {
    fn unit(&self, unit: &Unit, buffers: &mut Buffers) -> Result<(), MergeError> {
        let plan = self.weights.plan;
        let planned = &plan.tensors[unit.tensor];
        let target = self.weights.tensor(planned, 0);
        let slot = plan.files.slots[unit.tensor];
        let Segment { first, count, source } = unit.segment;
        buffers.leaves.clear();

        let (out_start, out_bytes) = match source {
            Source::Bytes => {
                let bytes = stream::sized(&mut buffers.bytes, count);
                let model = &self.weights.models.target;
                model.read_by(self.weights.read_path, target, first, bytes).map_err(StreamError::from)?;
                let refuse = takes_part(target.dtype) && !self.recipe.output.allow_nonfinite;
                if refuse && first_nonfinite(target.dtype, bytes).is_some() {
                    return Err(self.nonfinite(planned, 0));
                }
                (first, bytes as &[u8])
            }
            Source::Converted | Source::Moved => {
                self.combine(planned, target, unit, buffers)?;
                let width = element_bytes(planned.output.dtype);
                (first * width, stream::sized(&mut buffers.out, count * width) as &[u8])
            }
        };
        let (path, file) = &self.files[slot.file];
        write_all_at(file, slot.offset + out_start, out_bytes)
            .map_err(|source| MergeError::Write { path: path.clone(), source })?;
        self.weights.control.advance(out_bytes.len() as u64, planned.place.layer);
        self.tally(unit, &buffers.leaves);
        Ok(())
    }

    /// Combines a stretch of floats into `buffers.out` and `buffers.leaves`.
    fn combine(
        &self,
        planned: &PlannedTensor,
        target: &TensorInfo,
        unit: &Unit,
        buffers: &mut Buffers,
    ) -> Result<(), MergeError> {
        let Segment { first, count, source } = unit.segment;
        let range = Range { tensor: unit.tensor, first, count };
        let moved = source == Source::Moved;
        let reaching = || planned.sources.iter().flatten().filter(|source| moved && source.reaches(range));
        let mut reads: Vec<usize> = reaching().flat_map(|source| source.reads()).chain([0]).collect();
        reads.sort_unstable();
        reads.dedup();
        let Buffers { read, rows, out, leaves, mix: mix_buffers, .. } = buffers;
        self.weights.read(range, reads.iter().copied(), read)?;

        let target_bytes = self.weights.bytes(range, 0, read);
        let out = stream::sized(out, count * element_bytes(planned.output.dtype));
        let key = StochasticKey::new(self.recipe.output.seed, &target.name);
        let mut vectors: Vec<Option<VectorBytes<'_>>> = match moved {
            true => planned.sources.iter().map(|source| self.weights.vector(range, source, read)).collect(),
            false => Vec::new(),
        };
        match (self.mixes.get(unit.tensor), vectors.first()) {
            (Some(recipe), Some(_)) => {
                let base = match recipe.base {
                    Base::Target => Some(target_bytes),
                    Base::Read(read_of) => Some(self.weights.bytes(range, read_of, read)),
                    Base::Zeros => None,
                };
                if recipe.adds_target {
                    vectors.insert(0, Some(VectorBytes { pre: base, post: target_bytes }));
                }
                if recipe.whole {
                    vectors.iter_mut().flatten().for_each(|vector| vector.pre = None);
                }
                let skipped = usize::from(recipe.adds_target);
                let mut odds = vec![Vec::new(); skipped];
                for (vector, ingredient) in recipe.ingredients.iter().skip(skipped).enumerate() {
                    odds.push(match (ingredient, vectors[skipped + vector]) {
                        (Some(found), Some(_)) => odds_of(&self.elements, vector, &found.keep.rule, range, read, rows)?,
                        _ => Vec::new(),
                    });
                }
                let stretch = MixStretch {
                    mix: recipe,
                    base,
                    target: target_bytes,
                    vectors: &vectors,
                    odds: &odds,
                    out_dtype: planned.output.dtype,
                    rounding: self.recipe.output.rounding,
                    key,
                    first_element: first,
                };
                mix(&stretch, mix_buffers, out, leaves);
            }
            (_, vector) => {
                let zeros;
                let vector = match vector.copied().flatten() {
                    Some(VectorBytes { pre: Some(pre), post }) => {
                        Some([(pre.dtype, pre.bytes), (post.dtype, post.bytes)])
                    }
                    Some(VectorBytes { pre: None, post }) => {
                        zeros = vec![0; post.bytes.len()];
                        Some([(post.dtype, zeros.as_slice()), (post.dtype, post.bytes)])
                    }
                    None => None,
                };
                let stretch = Stretch {
                    vector,
                    target: (target_bytes.dtype, target_bytes.bytes),
                    out_dtype: planned.output.dtype,
                    coefficient: planned.coefficients.first().copied().unwrap_or(0.0),
                    rounding: self.recipe.output.rounding,
                    key,
                    first_element: first,
                };
                combine(&stretch, out, leaves);
            }
        }

        if !self.recipe.output.allow_nonfinite && leaves.iter().any(|leaf| leaf.nonfinite != [0; 3]) {
            let nonfinite = |read_of: &usize| {
                let found = self.weights.bytes(range, *read_of, read);
                first_nonfinite(found.dtype, found.bytes).is_some()
            };
            // In the order in which models are asked for: the vectors' first, the target last.
            let order = reaching().flat_map(|source| source.reads()).chain([0]).collect::<Vec<_>>();
            if let Some(found) = order.iter().find(|read_of| nonfinite(read_of)) {
                return Err(self.nonfinite(planned, *found));
            }
        }
        Ok(())
    }

    fn nonfinite(&self, planned: &PlannedTensor, read: usize) -> MergeError {
        let model = planned.reads[read].model;
        let tensor = self.weights.tensor(planned, read);
        let path = self.weights.models.get(model).path_of(tensor).to_owned();
        MergeError::NonFinite { model, tensor: tensor.name.clone(), path }
    }

    /// Keeps the unit's leaves; the last unit of a tensor adds all of them up in the order of the elements.
    fn tally(&self, unit: &Unit, leaves: &[Leaf]) {
        let outcome = &self.outcomes[unit.tensor];
        if let Some(leaves) = outcome.leaves.add(unit.segment.first, leaves.to_vec()) {
            let planned = &self.weights.plan.tensors[unit.tensor];
            // The leaves of a mix have the whole change for their vector.
            let coefficient =
                if self.mixes.is_empty() { planned.coefficients.first().copied().unwrap_or(0.0) } else { 1.0 };
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
