//! What a vector looks like: one streaming pass over the three models, from which all norms and cosines follow.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pulp::{Arch, Simd, WithSimd};
use serde::Serialize;

use crate::alignment::{Aligned, Alignment, Participation, Role, Triple, element_bytes};
use crate::checkpoint::{Dtype, TensorInfo};
use crate::layout::Place;
use crate::method::LEAF;
use crate::numeric::{BLOCK, decode};
use crate::progress::{Control, Stage};
use crate::stream::{self, Resources, StreamError, Tally};

/// Independent partial sums; a fixed number, so that every instruction set adds in the same order.
const LANES: usize = 8;

/// Inner products of pre, v = post − pre and u = target − pre over the elements that take part, in f64.
///
/// They span the same space as the Gram matrix of (pre, post, target), so that every norm and cosine of every linear
/// combination of the three models follows from them. Taken of the differences, a vector a million times shorter than
/// the weights is still measured to full precision, where ‖post‖² − 2⟨post, pre⟩ + ‖pre‖² would cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gram {
    /// ⟨pre, pre⟩.
    pub pre_pre: f64,
    /// ⟨pre, v⟩.
    pub pre_v: f64,
    /// ⟨pre, u⟩.
    pub pre_u: f64,
    /// ⟨v, v⟩.
    pub v_v: f64,
    /// ⟨v, u⟩.
    pub v_u: f64,
    /// ⟨u, u⟩.
    pub u_u: f64,
}

impl Gram {
    /// ‖v‖.
    pub fn norm(&self) -> f64 {
        self.v_v.sqrt()
    }

    /// ‖pre‖.
    pub fn pre_norm(&self) -> f64 {
        self.pre_pre.sqrt()
    }

    /// ‖v‖ ∕ ‖pre‖; NaN when pre is all zeros.
    pub fn relative_norm(&self) -> f64 {
        if self.pre_pre > 0.0 { (self.v_v / self.pre_pre).sqrt() } else { f64::NAN }
    }

    /// cos(v, target − pre); NaN when either is zero.
    pub fn cos_vector_target(&self) -> f64 {
        cosine(self.v_u, self.v_v, self.u_u)
    }

    /// cos(pre, post); NaN when either is zero.
    pub fn cos_pre_post(&self) -> f64 {
        cosine(self.pre_pre + self.pre_v, self.pre_pre, self.pre_pre + 2.0 * self.pre_v + self.v_v)
    }

    /// Adds the inner products of other elements.
    pub fn add(&mut self, other: &Self) {
        self.pre_pre += other.pre_pre;
        self.pre_v += other.pre_v;
        self.pre_u += other.pre_u;
        self.v_v += other.v_v;
        self.v_u += other.v_u;
        self.u_u += other.u_u;
    }
}

fn cosine(product: f64, left_sq: f64, right_sq: f64) -> f64 {
    let norms = left_sq.sqrt() * right_sq.sqrt();
    if norms > 0.0 { (product / norms).clamp(-1.0, 1.0) } else { f64::NAN }
}

/// One tensor of the vector.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorAnalysis {
    /// Name in the target.
    pub name: String,
    /// Layer and part.
    pub place: Place,
    /// Element type in the target.
    pub dtype: Dtype,
    /// Shape in the target.
    pub shape: Vec<u64>,
    /// Elements that take part.
    pub elements: u64,
    /// Inner products.
    pub gram: Gram,
    /// max |v|.
    pub max_abs: f64,
    /// Elements in which v is exactly zero.
    pub zeros: u64,
    /// Elements that are NaN or infinite in pre, post and target; they are left out of all other numbers.
    pub nonfinite: [u64; 3],
}

/// The measured vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAnalysis {
    /// Tensors that move, in natural name order.
    pub tensors: Vec<TensorAnalysis>,
    /// Bytes read.
    pub bytes_read: u64,
    /// Time taken.
    pub elapsed: Duration,
}

impl VectorAnalysis {
    /// Inner products over the tensors that `pick` chooses.
    pub fn gram(&self, pick: impl Fn(&TensorAnalysis) -> bool) -> Gram {
        self.tensors.iter().filter(|tensor| pick(tensor)).fold(Gram::default(), |mut sum, tensor| {
            sum.add(&tensor.gram);
            sum
        })
    }

    /// Inner products over all tensors.
    pub fn total(&self) -> Gram {
        self.gram(|_| true)
    }

    /// One more than the highest layer.
    pub fn layers(&self) -> u32 {
        self.tensors.iter().filter_map(|tensor| tensor.place.layer).max().map_or(0, |last| last + 1)
    }
}

/// What was found in up to [`LEAF`] elements.
#[derive(Clone, Copy, Debug, Default)]
struct Leaf {
    gram: Gram,
    max_abs: f64,
    zeros: u64,
    nonfinite: [u64; 3],
}

/// A tensor that moves, and its counterparts.
struct Job<'a> {
    aligned: &'a Aligned,
    /// pre, post and target.
    tensors: [&'a TensorInfo; 3],
    elements: u64,
    leaves: Tally<Leaf>,
    sum: OnceLock<Leaf>,
}

/// Measures v in one pass over the three models. The result does not depend on `resources`.
pub fn measure(
    triple: &Triple,
    alignment: &Alignment,
    resources: &Resources,
    control: &Control,
) -> Result<VectorAnalysis, StreamError> {
    let began = Instant::now();
    let jobs: Vec<Job<'_>> = alignment.tensors.iter().filter_map(|aligned| job(triple, aligned)).collect();
    let widest = jobs.iter().map(|job| job.tensors.map(|tensor| element_bytes(tensor.dtype)));
    let widest = widest.fold([1; 3], |a, b| std::array::from_fn(|role| a[role].max(b[role])));
    let step = resources.unit_elements(widest.iter().sum(), widest[2]);
    let mut units = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        for (first, count) in stream::cut(0, job.elements, step) {
            job.leaves.expect_unit();
            units.push((index, first, count));
        }
    }
    let bytes_of = |job: &Job<'_>, count: u64| -> u64 {
        job.tensors.iter().map(|tensor| element_bytes(tensor.dtype) * count).sum()
    };
    let bytes_read = jobs.iter().map(|job| bytes_of(job, job.elements)).sum();
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
                Role::ALL.into_iter().zip(job.tensors).zip(buffers.iter_mut()).zip(&mut bytes)
            {
                let width = element_bytes(tensor.dtype);
                let buffer = stream::sized(buffer, count * width);
                triple.get(role).read_by(resources.read_path, tensor, first * width, buffer)?;
                *bytes = buffer;
            }
            let dtypes = job.tensors.map(|tensor| tensor.dtype);
            let leaves = Arch::new().dispatch(MeasureUnit { dtypes, bytes, count: count as usize });
            if let Some(leaves) = job.leaves.add(first, leaves) {
                // Set once: no other unit is the last.
                let _ = job.sum.set(leaves.fold(Leaf::default(), Leaf::with));
            }
            control.advance(bytes_of(job, count), job.aligned.place.layer);
            Ok(())
        },
    )?;

    let tensors = jobs
        .into_iter()
        .map(|job| {
            let Leaf { gram, max_abs, zeros, nonfinite } = job.sum.into_inner().unwrap_or_default();
            let TensorInfo { name, dtype, shape, .. } = job.tensors[2];
            TensorAnalysis {
                name: name.clone(),
                place: job.aligned.place,
                dtype: *dtype,
                shape: shape.clone(),
                elements: job.elements,
                gram,
                max_abs,
                zeros,
                nonfinite,
            }
        })
        .collect();
    Ok(VectorAnalysis { tensors, bytes_read, elapsed: began.elapsed() })
}

fn job<'a>(triple: &'a Triple, aligned: &'a Aligned) -> Option<Job<'a>> {
    let Participation::Moves { pre, post, shared_elements } = aligned.participation else { return None };
    let tensors = [&triple.pre.tensors()[pre], &triple.post.tensors()[post], &triple.target.tensors()[aligned.target]];
    Some(Job { aligned, tensors, elements: shared_elements, leaves: Tally::default(), sum: OnceLock::new() })
}

impl Leaf {
    fn with(mut self, other: Self) -> Self {
        self.gram.add(&other.gram);
        self.max_abs = self.max_abs.max(other.max_abs);
        self.zeros += other.zeros;
        for (count, other) in self.nonfinite.iter_mut().zip(other.nonfinite) {
            *count += other;
        }
        self
    }
}

/// The leaves of one unit, as an operation that is compiled for each instruction set.
struct MeasureUnit<'a> {
    dtypes: [Dtype; 3],
    bytes: [&'a [u8]; 3],
    count: usize,
}

impl WithSimd for MeasureUnit<'_> {
    type Output = Vec<Leaf>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<Leaf> {
        let mut leaves = Vec::with_capacity(self.count.div_ceil(LEAF));
        for first in (0..self.count).step_by(LEAF) {
            let count = LEAF.min(self.count - first);
            let mut leaf = self.leaf::<false>(first, count);
            // A NaN or infinity anywhere shows in the sums of squares.
            if !(leaf.gram.pre_pre + leaf.gram.v_v + leaf.gram.u_u).is_finite() {
                leaf = self.leaf::<true>(first, count);
            }
            leaves.push(leaf);
        }
        leaves
    }
}

impl MeasureUnit<'_> {
    #[inline(always)]
    fn leaf<const SKIP_NONFINITE: bool>(&self, first: usize, count: usize) -> Leaf {
        let mut leaf = Leaf::default();
        let mut lanes = [[0.0; LANES]; 6];
        let mut max_lanes = [0.0_f64; LANES];
        let mut models = [[0.0; BLOCK]; 3];
        for start in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - start);
            for ((dtype, bytes), model) in self.dtypes.into_iter().zip(self.bytes).zip(&mut models) {
                let width = dtype.bitsize() / 8;
                decode(dtype, &bytes[(first + start) * width..][..length * width], &mut model[..length]);
                model[length..].fill(0.0);
            }
            let left_out = if SKIP_NONFINITE { leave_out_nonfinite(&mut models, &mut leaf) } else { 0 };
            let [pre, post, target] = &models;
            let mut zeros = 0_u32;
            for ((pre, post), target) in
                pre.as_chunks::<LANES>().0.iter().zip(post.as_chunks::<LANES>().0).zip(target.as_chunks::<LANES>().0)
            {
                for lane in 0..LANES {
                    let (p, v, u) = (pre[lane], post[lane] - pre[lane], target[lane] - pre[lane]);
                    lanes[0][lane] += p * p;
                    lanes[1][lane] += p * v;
                    lanes[2][lane] += p * u;
                    lanes[3][lane] += v * v;
                    lanes[4][lane] += v * u;
                    lanes[5][lane] += u * u;
                    max_lanes[lane] = max_lanes[lane].max(v.abs());
                    zeros += u32::from(v == 0.0);
                }
            }
            // What was left out and the padding behind the last element were counted as zeros too.
            leaf.zeros += u64::from(zeros) - left_out - (BLOCK - length) as u64;
        }
        let [pre_pre, pre_v, pre_u, v_v, v_u, u_u] = lanes.map(|lanes| lanes.iter().sum());
        leaf.gram = Gram { pre_pre, pre_v, pre_u, v_v, v_u, u_u };
        leaf.max_abs = max_lanes.into_iter().fold(0.0, f64::max);
        leaf
    }
}

/// Counts NaN and infinity, and sets such elements to zero in all three models; gives how many elements that were.
#[inline(never)]
fn leave_out_nonfinite(models: &mut [[f64; BLOCK]; 3], leaf: &mut Leaf) -> u64 {
    let mut left_out = 0;
    for i in 0..BLOCK {
        let bad = models.each_ref().map(|model| !model[i].is_finite());
        for (count, bad) in leaf.nonfinite.iter_mut().zip(bad) {
            *count += u64::from(bad);
        }
        if bad.contains(&true) {
            models.iter_mut().for_each(|model| model[i] = 0.0);
            left_out += 1;
        }
    }
    left_out
}
