//! Weights, streamed: each unit reads one range of each model, combines it and writes it to its place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::plan::{Plan, PlannedTensor, Segment, Source};
use super::report::TensorReport;
use super::{ChangeSums, MergeError};
use crate::alignment::{Role, Triple, element_bytes};
use crate::checkpoint::{ReadPath, TensorInfo, takes_part};
use crate::method::{Leaf, Stretch, combine};
use crate::numeric::{StochasticKey, first_nonfinite};
use crate::progress::{Control, Stage};
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
    pre: Vec<u8>,
    post: Vec<u8>,
    target: Vec<u8>,
    out: Vec<u8>,
    leaves: Vec<Leaf>,
}

struct Run<'a> {
    triple: &'a Triple,
    plan: &'a Plan,
    recipe: &'a Recipe,
    files: Vec<(PathBuf, File)>,
    outcomes: Vec<Outcome>,
    read_path: ReadPath,
    control: &'a Control,
}

/// Writes all weight files of `plan` into the folder `staging`; gives what was written, tensor by tensor.
pub(super) fn write_weights(
    triple: &Triple,
    plan: &Plan,
    recipe: &Recipe,
    staging: &Path,
    resources: &Resources,
    control: &Control,
) -> Result<Vec<TensorReport>, MergeError> {
    let total_bytes = plan.files.slots.iter().map(|slot| slot.bytes).sum();
    control.begin(Stage::Merging, total_bytes);
    let mut files = Vec::with_capacity(plan.files.files.len());
    for file in &plan.files.files {
        let path = staging.join(&file.name);
        let handle = create(&path, &file.header, file.bytes)
            .map_err(|source| MergeError::Write { path: path.clone(), source })?;
        files.push((path, handle));
    }

    let units = units(plan, triple, resources);
    let outcomes: Vec<Outcome> = plan.tensors.iter().map(|_| Outcome::default()).collect();
    for unit in &units {
        outcomes[unit.tensor].leaves.expect_unit();
    }
    let run = Run { triple, plan, recipe, files, outcomes, read_path: resources.read_path, control };
    stream::run(units.len(), resources.threads, control, Buffers::default, |buffers, index| {
        run.unit(&units[index], buffers)
    })?;

    let report = |(tensor, outcome): (&PlannedTensor, Outcome)| TensorReport {
        name: tensor.output.name.clone(),
        place: tensor.place,
        dtype: tensor.output.dtype,
        shape: tensor.output.shape.clone(),
        coefficient: tensor.coefficient,
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
fn units(plan: &Plan, triple: &Triple, resources: &Resources) -> Vec<Unit> {
    // One size for all tensors, from the widest combination of dtypes, so that every buffer fits every unit.
    let widest = |tensors: &[TensorInfo]| {
        tensors.iter().filter(|t| takes_part(t.dtype)).map(|t| element_bytes(t.dtype)).max().unwrap_or(1)
    };
    let out = plan.tensors.iter().map(|tensor| tensor.output.dtype.bitsize() as u64 / 8).max().unwrap_or(1);
    let read: u64 = Role::ALL.iter().map(|&role| widest(triple.get(role).tensors())).sum();
    let elements = resources.unit_elements(read + out, out);

    let mut units = Vec::new();
    for (tensor, planned) in plan.tensors.iter().enumerate() {
        for segment in &planned.segments {
            let step = if segment.source == Source::Bytes { elements * out } else { elements };
            let ranges = stream::cut(segment.first, segment.count, step);
            units.extend(ranges.map(|(first, count)| Unit { tensor, segment: Segment { first, count, ..*segment } }));
        }
    }
    units
}

impl Run<'_> {
    fn unit(&self, unit: &Unit, buffers: &mut Buffers) -> Result<(), MergeError> {
        let planned = &self.plan.tensors[unit.tensor];
        let target = &self.triple.target.tensors()[unit.tensor];
        let slot = self.plan.files.slots[unit.tensor];
        let Segment { first, count, source } = unit.segment;
        buffers.leaves.clear();

        let (out_start, out_bytes) = match source {
            Source::Bytes => {
                let bytes = self.read(Role::Target, target, (first, count), &mut buffers.target)?;
                let refuse = takes_part(target.dtype) && !self.recipe.output.allow_nonfinite;
                if refuse && first_nonfinite(target.dtype, bytes).is_some() {
                    return Err(self.nonfinite(Role::Target, target));
                }
                (first, bytes)
            }
            Source::Converted | Source::Moved { .. } => {
                self.combine(planned, target, unit.segment, buffers)?;
                let width = element_bytes(planned.output.dtype);
                (first * width, stream::sized(&mut buffers.out, count * width) as &[u8])
            }
        };
        let (path, file) = &self.files[slot.file];
        write_all_at(file, slot.offset + out_start, out_bytes)
            .map_err(|source| MergeError::Write { path: path.clone(), source })?;
        self.control.advance(out_bytes.len() as u64, planned.place.layer);
        self.tally(unit, &buffers.leaves);
        Ok(())
    }

    /// Combines a stretch of floats into `buffers.out` and `buffers.leaves`.
    fn combine(
        &self,
        planned: &PlannedTensor,
        target: &TensorInfo,
        Segment { first, count, source }: Segment,
        buffers: &mut Buffers,
    ) -> Result<(), MergeError> {
        let Buffers { pre, post, target: bytes, out, leaves } = buffers;
        let sources = match source {
            Source::Moved { pre, post } => Some((&self.triple.pre.tensors()[pre], &self.triple.post.tensors()[post])),
            _ => None,
        };
        let range = |tensor: &TensorInfo| {
            let width = element_bytes(tensor.dtype);
            (first * width, count * width)
        };
        let mut vector = None;
        if let Some((a, b)) = sources {
            let pre = self.read(Role::Pre, a, range(a), pre)?;
            let post = self.read(Role::Post, b, range(b), post)?;
            vector = Some([(a.dtype, pre), (b.dtype, post)]);
        }
        let bytes = self.read(Role::Target, target, range(target), bytes)?;
        let stretch = Stretch {
            vector,
            target: (target.dtype, bytes),
            out_dtype: planned.output.dtype,
            coefficient: planned.coefficient,
            rounding: self.recipe.output.rounding,
            key: StochasticKey::new(self.recipe.output.seed, &target.name),
            first_element: first,
        };
        let out = stream::sized(out, count * element_bytes(planned.output.dtype));
        combine(&stretch, out, leaves);

        if !self.recipe.output.allow_nonfinite {
            for (position, role) in Role::ALL.into_iter().enumerate() {
                if leaves.iter().any(|leaf| leaf.nonfinite[position] > 0) {
                    let tensor = match (role, sources) {
                        (Role::Pre, Some((a, _))) => a,
                        (Role::Post, Some((_, b))) => b,
                        _ => target,
                    };
                    return Err(self.nonfinite(role, tensor));
                }
            }
        }
        Ok(())
    }

    fn read<'b>(
        &self,
        role: Role,
        tensor: &TensorInfo,
        (start, length): (u64, u64),
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], StreamError> {
        let buffer = stream::sized(buffer, length);
        self.triple.get(role).read_by(self.read_path, tensor, start, buffer)?;
        Ok(buffer)
    }

    fn nonfinite(&self, role: Role, tensor: &TensorInfo) -> MergeError {
        let path = self.triple.get(role).path_of(tensor).to_owned();
        MergeError::NonFinite { role, tensor: tensor.name.clone(), path }
    }

    /// Keeps the unit's leaves; the last unit of a tensor adds all of them up in the order of the elements.
    fn tally(&self, unit: &Unit, leaves: &[Leaf]) {
        let outcome = &self.outcomes[unit.tensor];
        if let Some(leaves) = outcome.leaves.add(unit.segment.first, leaves.to_vec()) {
            let mut change = ChangeSums::default();
            for leaf in leaves {
                change.add_leaf(&leaf, self.plan.tensors[unit.tensor].coefficient);
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
