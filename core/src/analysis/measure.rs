//! One streaming pass over the three models.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::histogram::LogHistogram;
use super::sample::{Drawn, Sample, SampleSizes, Sampler};
use super::stack::{Entry, entries};
use super::unit::{BinCounts, JointCounts, measure_leaves};
use super::{Sums, TensorAnalysis, VectorAnalysis};
use crate::alignment::{Alignment, Role, Triple, element_bytes};
use crate::checkpoint::{CheckpointKind, Dtype};
use crate::layout::Part;
use crate::method::LEAF;
use crate::progress::{Control, Stage};
use crate::stream::{self, Resources, StreamError, Tally};

/// Leaves that fit into the second-level cache, in all three models.
const CLOSE_LEAVES: usize = 16;

/// Something that moves, and what has been found in it so far.
struct Job<'a> {
    entry: Entry<'a>,
    sampler: Sampler,
    leaves: Tally<(Sums, Drawn)>,
    /// Counts come out the same in any order. Allocated when the first unit is done.
    histograms: Mutex<Option<Box<BinCounts>>>,
    found: OnceLock<Found>,
}

/// What was found in all of it.
#[derive(Default)]
struct Found {
    sums: Sums,
    histograms: [LogHistogram; 2],
    sample: Sample,
}

/// Measures v in one pass over the three models. The result does not depend on `resources`.
pub fn measure(
    triple: &Triple,
    alignment: &Alignment,
    resources: &Resources,
    control: &Control,
) -> Result<VectorAnalysis, StreamError> {
    let began = Instant::now();
    let entries = entries(triple, alignment);
    let experts = entries.iter().filter(|entry| entry.place.part == Part::Expert).count();
    let sizes = SampleSizes::new(experts as u64, (entries.len() - experts) as u64);
    let jobs: Vec<Job<'_>> = entries.into_iter().map(|entry| Job::new(entry, sizes)).collect();
    let widest = jobs.iter().map(|job| job.entry.tensors.map(|tensor| element_bytes(tensor.dtype)));
    let widest = widest.fold([1; 3], |a, b| std::array::from_fn(|role| a[role].max(b[role])));
    let step = resources.unit_elements(widest.iter().sum(), widest[2]);
    let mut units = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        for (first, count) in stream::cut(0, job.entry.elements, step) {
            job.leaves.expect_unit();
            units.push((index, first, count));
        }
    }
    let bytes_of = |job: &Job<'_>, count: u64| -> u64 {
        job.entry.tensors.iter().map(|tensor| element_bytes(tensor.dtype) * count).sum()
    };
    let bytes_read = jobs.iter().map(|job| bytes_of(job, job.entry.elements)).sum();
    control.begin(Stage::Measuring, bytes_read);

    stream::run::<_, StreamError>(
        units.len(),
        resources.threads,
        control,
        <([Vec<u8>; 3], JointCounts)>::default,
        |(buffers, counts), unit| {
            let (index, first, count) = units[unit];
            let job = &jobs[index];
            let mut bytes: [&[u8]; 3] = Default::default();
            for (((role, tensor), buffer), bytes) in
                Role::ALL.into_iter().zip(job.entry.tensors).zip(buffers.iter_mut()).zip(&mut bytes)
            {
                let width = element_bytes(tensor.dtype);
                let buffer = stream::sized(buffer, count * width);
                let stored = (job.entry.first + first) * width;
                triple.get(role).read_by(resources.read_path, tensor, stored, buffer)?;
                *bytes = buffer;
            }
            let dtypes = job.entry.tensors.map(|tensor| tensor.dtype);
            let mut leaves = Vec::new();
            // A few leaves at a time: what is measured is still close to the processor when it is sampled.
            for (start, count) in stream::cut(0, count, (CLOSE_LEAVES * LEAF) as u64) {
                let bytes = std::array::from_fn(|role| {
                    let width = element_bytes(dtypes[role]);
                    &bytes[role][(start * width) as usize..][..(count * width) as usize]
                });
                let sums = measure_leaves(dtypes, bytes, count as usize, counts);
                leaves.extend(job.sampled(first + start, sums, dtypes, bytes));
            }
            job.add(first, leaves, &counts.take());
            control.advance(bytes_of(job, count), job.entry.place.layer);
            Ok(())
        },
    )?;

    let mut tensors: Vec<TensorAnalysis> = jobs.into_iter().map(Job::finish).collect();
    let against_target = triple.pre.kind() == CheckpointKind::Zeros;
    if against_target {
        tensors.iter_mut().for_each(|tensor| tensor.sums.measure_against_target());
    }
    Ok(VectorAnalysis { tensors, against_target, bytes_read, elapsed: began.elapsed(), cached: false })
}

impl<'a> Job<'a> {
    fn new(entry: Entry<'a>, sizes: SampleSizes) -> Self {
        let sampler = Sampler::new(&entry.name, entry.elements, sizes.of(entry.place.part));
        Self { entry, sampler, leaves: Tally::default(), histograms: Mutex::new(None), found: OnceLock::new() }
    }

    /// Samples leaves, the first of which begins at its element `first`.
    fn sampled(
        &self,
        first: u64,
        leaves: Vec<Sums>,
        dtypes: [Dtype; 3],
        bytes: [&[u8]; 3],
    ) -> impl Iterator<Item = (Sums, Drawn)> {
        leaves.into_iter().enumerate().map(move |(index, sums)| {
            let (start, count) = (index * LEAF, sums.elements as usize);
            let bytes: [&[u8]; 3] = std::array::from_fn(|role| {
                let width = dtypes[role].bitsize() / 8;
                &bytes[role][start * width..][..count * width]
            });
            (sums, self.sampler.draw(dtypes, bytes, first + start as u64, count, sums.updates()))
        })
    }

    /// Takes what was found in the unit that begins at its element `first`.
    fn add(&self, first: u64, leaves: Vec<(Sums, Drawn)>, histograms: &BinCounts) {
        {
            let mut sum = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *sum {
                Some(sum) => sum.add(histograms),
                None => *sum = Some(Box::new(histograms.clone())),
            }
        }
        if let Some(leaves) = self.leaves.add(first, leaves) {
            let (leaves, drawn): (Vec<Sums>, Vec<Drawn>) = leaves.unzip();
            let sums: Sums = leaves.iter().sum();
            let histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner).take();
            let histograms = histograms.map_or_else(Default::default, |counts| counts.finish(&sums));
            // Set once: no other unit is the last.
            let _ = self.found.set(Found { sums, histograms, sample: self.sampler.thin(&drawn) });
        }
    }

    fn finish(self) -> TensorAnalysis {
        let Found { sums, histograms, sample } = self.found.into_inner().unwrap_or_default();
        let Entry { name, place, shape, tensors: [.., target], .. } = self.entry;
        let [vector_histogram, pre_histogram] = histograms;
        TensorAnalysis { name, place, dtype: target.dtype, shape, sums, vector_histogram, pre_histogram, sample }
    }
}
