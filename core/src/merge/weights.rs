//! The bytes of a unit: the same range of elements of every tensor that goes into one of the output.

use super::measure::Spot;
use super::plan::{Plan, PlannedTensor, VectorSource};
use crate::alignment::{Models, element_bytes};
use crate::checkpoint::{ReadPath, TensorInfo, takes_part};
use crate::method::mix::{Bytes, VectorBytes};
use crate::progress::Control;
use crate::recipe::{Recipe, Sparsify, VectorSpec};
use crate::stream::{self, Resources, StreamError};

/// Reads what a plan needs of its models.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub models: &'a Models,
    pub plan: &'a Plan,
    pub read_path: ReadPath,
    pub control: &'a Control,
    /// Vectors whose elements are kept by their rank in a row.
    ranked_by_row: u64,
}

/// A range of elements of one tensor of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Position in [`Plan::tensors`].
    pub tensor: usize,
    pub first: u64,
    pub count: u64,
}

/// What was read of a range, one buffer for each of [`PlannedTensor::reads`].
#[derive(Default)]
pub(super) struct RangeBuffers {
    buffers: Vec<Vec<u8>>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(
        models: &'a Models,
        plan: &'a Plan,
        recipe: &Recipe,
        read_path: ReadPath,
        control: &'a Control,
    ) -> Self {
        let by_row = |vector: &&VectorSpec| recipe.method.rule_of(vector).sparsify == Sparsify::Della;
        let ranked_by_row = recipe.vectors().filter(by_row).count() as u64;
        Self { models, plan, read_path, control, ranked_by_row }
    }

    /// The tensor of that place among those that are read for `planned`.
    pub(super) fn tensor(&self, planned: &PlannedTensor, read: usize) -> &'a TensorInfo {
        let read = planned.reads[read];
        &self.models.get(read.model).tensors()[read.tensor]
    }

    /// Reads a range of those tensors that are `wanted`.
    pub(super) fn read(
        &self,
        range: Range,
        wanted: impl IntoIterator<Item = usize>,
        buffers: &mut RangeBuffers,
    ) -> Result<(), StreamError> {
        let planned = &self.plan.tensors[range.tensor];
        if buffers.buffers.len() < planned.reads.len() {
            buffers.buffers.resize_with(planned.reads.len(), Vec::new);
        }
        for read in wanted {
            let tensor = self.tensor(planned, read);
            let width = element_bytes(tensor.dtype);
            let buffer = stream::sized(&mut buffers.buffers[read], range.count * width);
            self.models.get(planned.reads[read].model).read_by(self.read_path, tensor, range.first * width, buffer)?;
        }
        Ok(())
    }

    /// What was read of a tensor.
    pub(super) fn bytes<'b>(&self, range: Range, read: usize, buffers: &'b RangeBuffers) -> Bytes<'b> {
        let dtype = self.tensor(&self.plan.tensors[range.tensor], read).dtype;
        let length = (range.count * element_bytes(dtype)) as usize;
        Bytes { dtype, bytes: &buffers.buffers[read][..length] }
    }

    /// What was read of a vector; `None` where it ends before the range does.
    pub(super) fn vector<'b>(
        &self,
        range: Range,
        source: &Option<VectorSource>,
        buffers: &'b RangeBuffers,
    ) -> Option<VectorBytes<'b>> {
        let source = source.filter(|source| source.reaches(range))?;
        Some(VectorBytes {
            pre: source.pre.map(|read| self.bytes(range, read, buffers)),
            post: self.bytes(range, source.post, buffers),
        })
    }

    /// The tensors that a spot needs: those of its vector, or those of all vectors; where there is but one, which can only be
    /// compared with the target, the target's too.
    pub(super) fn reads(&self, spot: Spot) -> Vec<usize> {
        let planned = &self.plan.tensors[spot.tensor];
        match spot.vector {
            Some(vector) => planned.sources[vector].iter().flat_map(VectorSource::reads).collect(),
            None => {
                let target = (planned.sources.len() == 1).then_some(0);
                let of_vectors = planned.sources.iter().flatten().flat_map(VectorSource::reads);
                let mut reads: Vec<usize> = of_vectors.chain(target).collect();
                reads.sort_unstable();
                reads.dedup();
                reads
            }
        }
    }

    /// Elements of a spot, from the first on: those that its vector moves, or that all vectors do.
    pub(super) fn elements(&self, spot: Spot) -> u64 {
        let sources = &self.plan.tensors[spot.tensor].sources;
        match spot.vector {
            Some(vector) => sources[vector].map_or(0, |source| source.elements),
            None => sources.iter().flatten().map(|source| source.elements).min().unwrap_or(0),
        }
    }

    /// Bytes that are read for each element of a spot.
    pub(super) fn width(&self, spot: Spot) -> u64 {
        let planned = &self.plan.tensors[spot.tensor];
        self.reads(spot).into_iter().map(|read| element_bytes(self.tensor(planned, read).dtype)).sum()
    }

    /// Elements a unit may have so that the buffers of every worker fit the memory given.
    pub(super) fn unit_elements(&self, resources: &Resources) -> u64 {
        // One size for all tensors, from the widest combination, so that every buffer fits every unit.
        let out = self.plan.tensors.iter().map(|tensor| tensor.output.dtype.bitsize() as u64 / 8).max().unwrap_or(1);
        let width = |planned: &PlannedTensor| -> u64 {
            let of = |read| {
                let dtype = self.tensor(planned, read).dtype;
                if takes_part(dtype) { element_bytes(dtype) } else { 1 }
            };
            (0..planned.reads.len()).map(of).sum()
        };
        let read = self.plan.tensors.iter().map(width).max().unwrap_or(1);
        // Their rows are read beside the unit that they do not end with; then each element has a key, and a probability in each
        // such vector.
        let rows = if self.ranked_by_row > 0 { read + 4 + 4 * self.ranked_by_row } else { 0 };
        resources.unit_elements(read + out + rows, out)
    }
}

impl VectorSource {
    /// Whether it moves the whole of a range.
    pub(super) fn reaches(&self, range: Range) -> bool {
        range.first + range.count <= self.elements
    }

    /// The tensors that it needs.
    pub(super) fn reads(&self) -> impl Iterator<Item = usize> + use<> {
        self.pre.into_iter().chain([self.post])
    }
}
