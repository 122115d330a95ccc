//! One streaming pass over the three models.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

use super::gram::Gram;
use super::histogram::{self, BINS, LogHistogram};
use super::sample::{Drawn, Sample, SampleSizes, Sampler};
use super::stack::{Entry, entries};
use super::{Sums, TensorAnalysis, VectorAnalysis};
use crate::alignment::{Alignment, Role, Triple, element_bytes};
use crate::checkpoint::{CheckpointKind, Dtype};
use crate::layout::Part;
use crate::method::LEAF;
use crate::numeric::{BLOCK, decode};
use crate::progress::{Control, Stage};
use crate::stream::{self, Resources, StreamError, Tally};

/// Independent partial sums; a fixed number, so that every instruction set adds in the same order.
const LANES: usize = 8;

/// Something that moves, and what has been found in it so far.
struct Job<'a> {
    entry: Entry<'a>,
    sampler: Sampler,
    leaves: Tally<(Sums, Drawn)>,
    /// Counts come out the same in any order. Allocated when the first unit is done.
    histograms: Mutex<Option<Box<Histograms>>>,
    found: OnceLock<Found>,
}

/// What was found in all of it.
#[derive(Default)]
struct Found {
    sums: Sums,
    histograms: [LogHistogram; 2],
    sample: Sample,
}

/// Magnitudes of v and of pre by half octave.
///
/// Zeros, padding and elements that are left out are counted with the smallest magnitudes first, and taken away at the end.
#[derive(Clone)]
struct Histograms {
    counts: [[u64; BINS]; 2],
    /// Of the counts of pre, those that are no magnitude.
    pre_zeros: u64,
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
        <[Vec<u8>; 3]>::default,
        |buffers, unit| {
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
            let (leaves, histograms) = Arch::new().dispatch(MeasureUnit { dtypes, bytes, count: count as usize });
            job.add(first, leaves, &histograms, dtypes, bytes);
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

    /// Takes what was found in the unit that begins at its element `first`, and samples it.
    fn add(&self, first: u64, leaves: Vec<Sums>, histograms: &Histograms, dtypes: [Dtype; 3], bytes: [&[u8]; 3]) {
        {
            let mut sum = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *sum {
                Some(sum) => sum.add(histograms),
                None => *sum = Some(Box::new(histograms.clone())),
            }
        }
        let leaves = leaves.into_iter().enumerate().map(|(index, sums)| {
            let (start, count) = (index * LEAF, sums.elements as usize);
            let bytes: [&[u8]; 3] = std::array::from_fn(|role| {
                let width = dtypes[role].bitsize() / 8;
                &bytes[role][start * width..][..count * width]
            });
            (sums, self.sampler.draw(dtypes, bytes, first + start as u64, count, sums.updates()))
        });
        if let Some(leaves) = self.leaves.add(first, leaves.collect()) {
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

impl Histograms {
    fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.as_flattened_mut().iter_mut().zip(other.counts.as_flattened()) {
            *sum += count;
        }
        self.pre_zeros += other.pre_zeros;
    }

    fn finish(mut self, sums: &Sums) -> [LogHistogram; 2] {
        let counted: u64 = self.counts[0].iter().sum();
        self.counts[0][0] -= counted - sums.updates();
        self.counts[1][0] -= self.pre_zeros;
        self.counts.each_ref().map(|counts| LogHistogram::from_counts(counts))
    }
}

/// Counts of one unit. Two of each kind take turns, so that equal neighbours do not wait for each other.
#[derive(Clone)]
struct UnitCounts {
    vector: [[u32; BINS]; 2],
    pre: [[u32; BINS]; 2],
    pre_zeros: u64,
}

impl UnitCounts {
    #[inline(always)]
    fn add(&mut self, vector: &[u32; BLOCK], pre: &[u32; BLOCK]) {
        let mask = BINS - 1;
        for (vector, pre) in vector.as_chunks::<2>().0.iter().zip(pre.as_chunks::<2>().0) {
            for turn in 0..2 {
                self.vector[turn][vector[turn] as usize & mask] += 1;
                self.pre[turn][pre[turn] as usize & mask] += 1;
            }
        }
    }

    fn finish(&self) -> Histograms {
        let sum = |[a, b]: &[[u32; BINS]; 2]| std::array::from_fn(|bin| u64::from(a[bin]) + u64::from(b[bin]));
        Histograms { counts: [sum(&self.vector), sum(&self.pre)], pre_zeros: self.pre_zeros }
    }
}

/// The leaves of one unit, as an operation that is compiled for each instruction set.
struct MeasureUnit<'a> {
    dtypes: [Dtype; 3],
    bytes: [&'a [u8]; 3],
    count: usize,
}

impl WithSimd for MeasureUnit<'_> {
    type Output = (Vec<Sums>, Histograms);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (Vec<Sums>, Histograms) {
        let mut leaves = Vec::with_capacity(self.count.div_ceil(LEAF));
        let mut counts = UnitCounts { vector: [[0; BINS]; 2], pre: [[0; BINS]; 2], pre_zeros: 0 };
        for first in (0..self.count).step_by(LEAF) {
            let count = LEAF.min(self.count - first);
            let before = counts.clone();
            let mut sums = self.leaf::<false>(first, count, &mut counts);
            // A NaN or infinity anywhere shows in the sums of squares.
            if !(sums.gram.pre_pre + sums.gram.v_v + sums.gram.u_u).is_finite() {
                counts = before;
                sums = self.leaf::<true>(first, count, &mut counts);
            }
            leaves.push(sums);
        }
        (leaves, counts.finish())
    }
}

impl MeasureUnit<'_> {
    #[inline(always)]
    fn leaf<const SKIP_NONFINITE: bool>(&self, first: usize, count: usize, counts: &mut UnitCounts) -> Sums {
        let mut sums = Sums { elements: count as u64, ..Sums::default() };
        let mut lanes = [[0.0; LANES]; 7];
        let mut max_lanes = [0.0_f64; LANES];
        let mut models = [[0.0; BLOCK]; 3];
        let (mut vector_bins, mut pre_bins) = ([0_u32; BLOCK], [0_u32; BLOCK]);
        let mut tallies = [[0_u64; LANES]; 4];
        let mut not_zeros = 0;
        for start in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - start);
            for ((dtype, bytes), model) in self.dtypes.into_iter().zip(self.bytes).zip(&mut models) {
                let width = dtype.bitsize() / 8;
                decode(dtype, &bytes[(first + start) * width..][..length * width], &mut model[..length]);
                model[length..].fill(0.0);
            }
            let left_out = if SKIP_NONFINITE { leave_out_nonfinite(&mut models, &mut sums) } else { 0 };
            let [pre, post, target] = &models;
            // Two loops, each of which keeps its sums in registers.
            let chunks = || {
                let models = pre.as_chunks::<LANES>().0.iter().zip(post.as_chunks::<LANES>().0);
                models.zip(target.as_chunks::<LANES>().0)
            };
            for ((pre, post), target) in chunks() {
                for lane in 0..LANES {
                    let (p, v, u) = (pre[lane], post[lane] - pre[lane], target[lane] - pre[lane]);
                    lanes[0][lane] += p * p;
                    lanes[1][lane] += p * v;
                    lanes[2][lane] += p * u;
                    lanes[3][lane] += v * v;
                    lanes[4][lane] += v * u;
                    lanes[5][lane] += u * u;
                }
            }
            for ((pre, post), target) in chunks() {
                for lane in 0..LANES {
                    let (p, v, u) = (pre[lane], post[lane] - pre[lane], target[lane] - pre[lane]);
                    let (v_u, v_abs) = (v * u, v.abs());
                    lanes[6][lane] += v;
                    // Not f64::max, which would look out for NaN.
                    max_lanes[lane] = if v_abs > max_lanes[lane] { v_abs } else { max_lanes[lane] };
                    // As wide as the numbers they count, so that they are counted in the same registers.
                    tallies[0][lane] += u64::from(v == 0.0);
                    tallies[1][lane] += u64::from(v_u > 0.0);
                    tallies[2][lane] += u64::from(v_u < 0.0);
                    tallies[3][lane] += u64::from(p == 0.0);
                }
            }
            for (((pre, post), vector_bin), pre_bin) in pre.iter().zip(post).zip(&mut vector_bins).zip(&mut pre_bins) {
                *vector_bin = histogram::bin((post - pre) as f32);
                *pre_bin = histogram::bin(*pre as f32);
            }
            counts.add(&vector_bins, &pre_bins);
            // What was left out and the padding behind the last element are counted as zeros too.
            not_zeros += left_out + (BLOCK - length) as u64;
        }
        let [zeros, same_sign, opposite_sign, pre_zeros] = tallies.map(|lanes| lanes.iter().sum::<u64>());
        sums.zeros = zeros - not_zeros;
        sums.same_sign = same_sign;
        sums.opposite_sign = opposite_sign;
        counts.pre_zeros += pre_zeros;
        let [pre_pre, pre_v, pre_u, v_v, v_u, u_u, sum] = lanes.map(|lanes| lanes.iter().sum());
        sums.gram = Gram { pre_pre, pre_v, pre_u, v_v, v_u, u_u };
        sums.sum = sum;
        sums.max_abs = max_lanes.into_iter().fold(0.0, f64::max);
        sums
    }
}

/// Counts NaN and infinity, and sets such elements to zero in all three models; gives how many elements that were.
#[inline(never)]
fn leave_out_nonfinite(models: &mut [[f64; BLOCK]; 3], sums: &mut Sums) -> u64 {
    let mut left_out = 0;
    for i in 0..BLOCK {
        let bad = models.each_ref().map(|model| !model[i].is_finite());
        for (count, bad) in sums.nonfinite.iter_mut().zip(bad) {
            *count += u64::from(bad);
        }
        if bad.contains(&true) {
            models.iter_mut().for_each(|model| model[i] = 0.0);
            left_out += 1;
        }
    }
    sums.left_out += left_out;
    left_out
}
