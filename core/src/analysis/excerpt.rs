//! Some updates of every tensor, combined and rounded at a w as a merge does it.

use std::ops::Range;

use crate::checkpoint::Dtype;
use crate::method::add_vector;
use crate::numeric::round_nearest;
use crate::recipe::Rounding;

use super::Sample;
use super::sample::Updates;

/// Updates combined in one go.
const CHUNK: usize = 64;

/// Updates of every tensor, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Excerpts {
    tensors: Vec<Excerpt>,
    /// pre, post and target of each, as [`Updates::Narrow`] and as [`Updates::Wide`].
    narrow: Vec<[f32; 3]>,
    wide: Vec<[f64; 3]>,
}

/// Updates of one tensor.
#[derive(Clone, Debug)]
struct Excerpt {
    /// Where they are, among those that are as wide.
    at: Range<usize>,
    is_wide: bool,
    /// Element type that is written.
    dtype: Dtype,
    /// Updates that the tensor has.
    updates: u64,
}

/// What a merge writes of the updates looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Updates that the tensor has.
    pub updates: f64,
    /// Updates looked at; never 0.
    pub sampled: f64,
    /// Of these, those that are written otherwise than the target alone would be.
    pub surviving: u64,
    /// Of these, those that are written as infinity or NaN, or held at the largest value of a type without infinity.
    pub overflowing: u64,
    /// Over those that are written as a number.
    pub projection: Projection,
}

impl Excerpts {
    /// Adds a tensor; at most `each` of its sampled updates are kept, evenly spaced.
    pub fn push(&mut self, sample: &Sample, each: usize, dtype: Dtype, updates: u64) {
        let step = sample.len().div_ceil(each).max(1);
        let (at, is_wide) = match &sample.updates {
            Updates::Narrow(updates) => (append(&mut self.narrow, updates, step), false),
            Updates::Wide(updates) => (append(&mut self.wide, updates, step), true),
        };
        self.tensors.push(Excerpt { at, is_wide, dtype, updates });
    }

    /// What is written of a tensor with coefficient `c`; `None` when it has no updates.
    pub fn written(&self, tensor: usize, c: f32, rounding: Rounding, scratch: &mut Scratch) -> Option<Written> {
        let excerpt = self.tensors.get(tensor).filter(|excerpt| !excerpt.at.is_empty())?;
        let mut found =
            Written { updates: excerpt.updates as f64, sampled: excerpt.at.len() as f64, ..Written::default() };
        for first in excerpt.at.clone().step_by(CHUNK) {
            let at = first..excerpt.at.end.min(first + CHUNK);
            let count = at.len();
            if excerpt.is_wide {
                scratch.take(self.wide[at].iter().copied());
            } else {
                scratch.take(self.narrow[at].iter().map(|update| update.map(f64::from)));
            }
            found.overflowing += scratch.combine(count, c, excerpt.dtype, rounding);
            found.add(scratch, count);
        }
        Some(found)
    }
}

/// Adds every `step`-th; gives where they are.
fn append<T: Copy>(all: &mut Vec<T>, some: &[T], step: usize) -> Range<usize> {
    let first = all.len();
    all.extend(some.iter().step_by(step));
    first..all.len()
}

/// Buffers for a few updates.
#[derive(Debug)]
pub(super) struct Scratch {
    pre: [f64; CHUNK],
    post: [f64; CHUNK],
    target: [f64; CHUNK],
    sums: [f64; CHUNK],
    bytes: [u8; CHUNK * 8],
    /// What is written for each, and what would be for the target alone.
    written: [f64; CHUNK],
    unmoved: [f64; CHUNK],
}

impl Default for Scratch {
    fn default() -> Self {
        let zeros = [0.0; CHUNK];
        let bytes = [0; CHUNK * 8];
        Self { pre: zeros, post: zeros, target: zeros, sums: zeros, bytes, written: zeros, unmoved: zeros }
    }
}

impl Scratch {
    fn take(&mut self, updates: impl Iterator<Item = [f64; 3]>) {
        for (i, [pre, post, target]) in updates.enumerate() {
            (self.pre[i], self.post[i], self.target[i]) = (pre, post, target);
        }
    }

    /// Writes the first `count` updates; gives how many of them overflow.
    fn combine(&mut self, count: usize, c: f32, dtype: Dtype, rounding: Rounding) -> u64 {
        let Self { pre, post, target, sums, bytes, written, unmoved } = self;
        let bytes = &mut bytes[..count * dtype.bitsize() / 8];
        let (sums, written, unmoved) = (&mut sums[..count], &mut written[..count], &mut unmoved[..count]);
        round_nearest(dtype, &target[..count], bytes, unmoved);
        add_vector(rounding, c, &pre[..count], &post[..count], &target[..count], sums);
        let held = round_nearest(dtype, sums, bytes, written);
        if rounding == Rounding::Stochastic {
            // Short of overflow the mean of what is written is the sum.
            let limit = largest(dtype);
            for (written, sum) in written.iter_mut().zip(sums).filter(|(written, _)| written.is_finite()) {
                *written = sum.clamp(-limit, limit);
            }
        }
        held + written.iter().filter(|written| !written.is_finite()).count() as u64
    }
}

/// What the largest sum of all is written as: infinity where the type has one.
fn largest(dtype: Dtype) -> f64 {
    let (mut bytes, mut written) = ([0; 8], [0.0]);
    round_nearest(dtype, &[f64::MAX], &mut bytes[..dtype.bitsize() / 8], &mut written);
    written[0]
}

impl Written {
    fn add(&mut self, scratch: &Scratch, count: usize) {
        let models = scratch.pre.iter().zip(&scratch.post).zip(&scratch.target);
        let elements = models.zip(scratch.written.iter().zip(&scratch.unmoved)).take(count);
        for (((pre, post), target), (written, unmoved)) in elements {
            self.surviving += u64::from(written != unmoved);
            let change = written - target;
            if change.is_finite() {
                self.projection.add_element(post - pre, change);
            }
        }
    }
}

/// Sums over updates: where the written change lies to v.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Projection {
    /// Σ v².
    pub v_v: f64,
    /// Σ v·written.
    pub v_written: f64,
    /// Σ written².
    pub written_sq: f64,
    /// Σ (c·v)².
    pub intended_sq: f64,
    /// Σ c·v·written.
    pub intended_written: f64,
    /// Σ (v·written)², Σ v·written·v² and Σ v⁴, from which the squared residuals of the ratio follow; none where every
    /// update was looked at.
    pub cross_sq: f64,
    pub cross: f64,
    pub fourth: f64,
}

impl Projection {
    #[inline(always)]
    fn add_element(&mut self, v: f64, change: f64) {
        let (product, square) = (v * change, v * v);
        self.v_v += square;
        self.v_written += product;
        self.written_sq += change * change;
        self.cross_sq += product * product;
        self.cross += product * square;
        self.fourth += square * square;
    }

    /// Adds the sums of a tensor with coefficient `c`, each of whose updates stands for `weight`.
    pub fn add(&mut self, tensor: &Self, weight: f64, c: f64) {
        self.v_v += weight * tensor.v_v;
        self.v_written += weight * tensor.v_written;
        self.written_sq += weight * tensor.written_sq;
        self.intended_sq += weight * c * c * tensor.v_v;
        self.intended_written += weight * c * tensor.v_written;
        if weight > 1.0 {
            self.cross_sq += weight * weight * tensor.cross_sq;
            self.cross += weight * weight * tensor.cross;
            self.fourth += weight * weight * tensor.fourth;
        }
    }
}
