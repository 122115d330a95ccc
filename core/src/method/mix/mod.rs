//! Several vectors, thinned out and put together: every method but plain task arithmetic of one vector.
//!
//! One kernel serves all of them, block by block: take each vector's elements, put a control in their place if asked for, keep
//! some of them, weight them, combine, add to the base, round. In the exact modes each step is f64 and the base is the
//! target; in mergekit's modes each step is rounded as mergekit 0.1.5 does.

mod element;
mod keep;
mod steps;

use pulp::{Arch, Simd, WithSimd};

use super::sums::{LEAF, Leaf};
use crate::checkpoint::Dtype;
use crate::numeric::{BLOCK, StochasticKey, round_nearest, round_stochastic};
use crate::recipe::Rounding;

pub(crate) use element::{Bytes, ElementControl, VectorBytes, standard_normal};
pub(crate) use keep::{Cut, Keep, Ties, magnitude_key};
use steps::{Bf16Steps, ExactSteps, F32Steps, Steps};

/// How one tensor is made.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// What the vectors are added to.
    pub base: Base,
    /// Whether the first ingredient is the target itself, less the base.
    pub adds_target: bool,
    /// What each vector adds, in their order; `None` for one that has no such tensor.
    pub ingredients: Vec<Option<Ingredient>>,
    /// How it is put together.
    pub blend: Blend,
}

/// What vectors are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The target.
    Target,
    /// Another tensor that is read.
    Read(usize),
    /// Nothing: models are taken whole.
    Zeros,
}

/// What one vector adds to a tensor.
#[derive(Clone, Debug)]
pub(crate) struct Ingredient {
    /// Its weight.
    pub coefficient: f64,
    /// What is put in its place.
    pub control: Option<ElementControl>,
    /// Which of its elements are kept.
    pub keep: Keep,
}

/// How weighted elements are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Blend {
    /// base + λ·Σ c·v, or base + λ·Σ c·v ∕ Σ c.
    Sum {
        /// Whether the sum is divided.
        normalize: bool,
        /// λ.
        lambda: f64,
    },
    /// base + λ·Σ c·v ∕ Σ c, both sums over those vectors that have the sign of Σ c·v.
    Elect {
        /// Whether the sum is divided.
        normalize: bool,
        /// λ.
        lambda: f64,
    },
}

/// The same range of elements of all models, and where the result goes.
pub(crate) struct MixStretch<'a> {
    /// How it is made.
    pub mix: &'a Mix,
    /// What the vectors are added to; `None` for zeros.
    pub base: Option<Bytes<'a>>,
    /// The target.
    pub target: Bytes<'a>,
    /// Bytes of each vector; `None` where it does not reach.
    pub vectors: &'a [Option<VectorBytes<'a>>],
    /// Output dtype; as many elements are written as the target has.
    pub out_dtype: Dtype,
    /// How results are rounded.
    pub rounding: Rounding,
    /// What stochastic rounding draws from.
    pub key: StochasticKey,
    /// Index in the tensor of the first element.
    pub first_element: u64,
}

/// Divisors smaller than this count as 1, as in mergekit.
pub(crate) const SMALLEST_DIVISOR: f64 = 1e-8;

/// Decodes up to [`BLOCK`] elements of a vector from `from` on, as that mode of rounding takes them.
pub(crate) fn decode_vector(vector: &VectorBytes<'_>, rounding: Rounding, from: usize, out: &mut [f64]) {
    let mut finite = [true; BLOCK];
    let finite = &mut finite[..out.len()];
    match rounding {
        Rounding::Nearest | Rounding::Stochastic => vector.decode(ExactSteps, from, out, finite),
        Rounding::MergekitF32 => vector.decode(F32Steps, from, out, finite),
        Rounding::MergekitBf16 => vector.decode(Bf16Steps, from, out, finite),
    }
}

/// Σ c in the order in which torch adds up one short row: four lanes, what is left on the first, then the lanes.
fn sum_of_weights(steps: impl Steps, weights: impl Iterator<Item = f64>) -> f64 {
    let weights: Vec<f64> = weights.collect();
    let whole = weights.len() / 4 * 4;
    let mut lanes = [0.0; 4];
    for (index, weight) in weights.iter().enumerate() {
        let lane = if index < whole { index % 4 } else { 0 };
        lanes[lane] = steps.accumulate(lanes[lane] + weight);
    }
    lanes.into_iter().reduce(|sum, lane| steps.accumulate(sum + lane)).unwrap_or(0.0)
}

/// Room for one block of each vector, kept from one stretch to the next.
#[derive(Default)]
pub(crate) struct MixBuffers {
    vectors: Vec<[f64; BLOCK]>,
}

/// Makes a stretch of a tensor into `out`; gives one [`Leaf`] for each [`LEAF`] elements begun.
///
/// The leaves' vector is the whole intended change, result − target before the last rounding, so that its coefficient is 1.
pub(crate) fn mix(stretch: &MixStretch<'_>, buffers: &mut MixBuffers, out: &mut [u8], leaves: &mut Vec<Leaf>) {
    leaves.clear();
    buffers.vectors.resize(stretch.vectors.len(), [0.0; BLOCK]);
    let arch = Arch::new();
    match stretch.rounding {
        Rounding::Nearest | Rounding::Stochastic => {
            arch.dispatch(MixLeaves { stretch, buffers, out, leaves, steps: ExactSteps });
        }
        Rounding::MergekitF32 => arch.dispatch(MixLeaves { stretch, buffers, out, leaves, steps: F32Steps }),
        Rounding::MergekitBf16 => arch.dispatch(MixLeaves { stretch, buffers, out, leaves, steps: Bf16Steps }),
    }
}

/// [`mix`] as an operation that is compiled for each instruction set.
struct MixLeaves<'a, R> {
    stretch: &'a MixStretch<'a>,
    buffers: &'a mut MixBuffers,
    out: &'a mut [u8],
    leaves: &'a mut Vec<Leaf>,
    steps: R,
}

impl<R: Steps> WithSimd for MixLeaves<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { stretch, buffers, out, leaves, steps } = self;
        let width = stretch.out_dtype.bitsize() / 8;
        for (index, out) in out.chunks_mut(LEAF * width).enumerate() {
            let mut leaf = Leaf::default();
            for (block, out) in out.chunks_mut(BLOCK * width).enumerate() {
                stretch.block(steps, index * LEAF + block * BLOCK, &mut buffers.vectors, out, &mut leaf);
            }
            leaves.push(leaf);
        }
    }
}

impl MixStretch<'_> {
    /// Makes the elements from `from` on, counted in the stretch, that `out` has room for.
    #[inline(always)]
    fn block<R: Steps>(&self, steps: R, from: usize, vectors: &mut [[f64; BLOCK]], out: &mut [u8], leaf: &mut Leaf) {
        let count = out.len() / (self.out_dtype.bitsize() / 8);
        let first = self.first_element + from as u64;
        let (mut target, mut base) = ([0.0; BLOCK], [0.0; BLOCK]);
        self.target.decode(from, &mut target[..count]);
        if let Some(bytes) = self.base {
            bytes.decode(from, &mut base[..count]);
            base.iter_mut().for_each(|value| *value = steps.to(*value));
        }
        let mut finite = [true; BLOCK];
        for (finite, value) in finite.iter_mut().zip(target) {
            *finite = value.is_finite();
        }
        for ((values, bytes), ingredient) in vectors.iter_mut().zip(self.vectors).zip(&self.mix.ingredients) {
            values.fill(0.0);
            if let (Some(bytes), Some(ingredient)) = (bytes, ingredient) {
                bytes.decode(steps, from, &mut values[..count], &mut finite[..count]);
                if let Some(control) = &ingredient.control {
                    control.apply(first, &mut values[..count]);
                }
                ingredient.keep.apply(steps, first, &mut values[..count]);
            }
        }

        let mut results = [0.0; BLOCK];
        self.combine(steps, vectors, &base, &mut results);
        let mut written = [0.0; BLOCK];
        leaf.clipped += if self.rounding == Rounding::Stochastic {
            round_stochastic(self.out_dtype, self.key, first, &results[..count], out, &mut written[..count])
        } else {
            round_nearest(self.out_dtype, &results[..count], out, &mut written[..count])
        };
        self.sum_up(&target[..count], &results[..count], &written[..count], &finite[..count], leaf);
    }

    /// From elements of each vector and of the base to what is rounded into the output.
    #[inline(always)]
    fn combine<R: Steps>(&self, steps: R, vectors: &[[f64; BLOCK]], base: &[f64; BLOCK], results: &mut [f64; BLOCK]) {
        let weighted = |ingredient: &Option<Ingredient>| ingredient.as_ref().map(|found| steps.to(found.coefficient));
        let (mut sum, mut divisor) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (values, c) in vectors.iter().zip(self.mix.ingredients.iter().map(weighted)) {
            let Some(c) = c else { continue };
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum = steps.accumulate(*sum + steps.to(value * c));
            }
        }
        let lambda = match self.mix.blend {
            Blend::Sum { normalize, lambda } => {
                for sum in &mut sum {
                    *sum = steps.to(*sum);
                }
                let divisor = steps.to(sum_of_weights(steps, self.mix.ingredients.iter().filter_map(weighted)));
                if normalize && divisor.abs() >= SMALLEST_DIVISOR {
                    for sum in &mut sum {
                        *sum = steps.to(*sum / divisor);
                    }
                }
                lambda
            }
            Blend::Elect { normalize, lambda } => {
                let elected: [bool; BLOCK] = std::array::from_fn(|i| steps.to(sum[i]) >= 0.0);
                sum.fill(0.0);
                for (values, c) in vectors.iter().zip(self.mix.ingredients.iter().map(weighted)) {
                    let Some(c) = c else { continue };
                    for (((sum, divisor), value), positive) in sum.iter_mut().zip(&mut divisor).zip(values).zip(elected)
                    {
                        let update = steps.to(value * c);
                        let agrees = if positive { update > 0.0 } else { update < 0.0 };
                        *sum = steps.accumulate(*sum + if agrees { update } else { 0.0 });
                        *divisor = steps.accumulate(*divisor + if agrees { c } else { 0.0 });
                    }
                }
                for (sum, divisor) in sum.iter_mut().zip(divisor) {
                    *sum = steps.to(*sum);
                    let divisor = steps.to(divisor);
                    if normalize && divisor.abs() >= SMALLEST_DIVISOR {
                        *sum = steps.to(*sum / divisor);
                    }
                }
                lambda
            }
        };
        if lambda != 1.0 {
            // A scalar is not rounded to the working type, but is an f32 in it.
            let lambda = steps.accumulate(lambda);
            for sum in &mut sum {
                *sum = steps.to(*sum * lambda);
            }
        }
        for ((result, base), sum) in results.iter_mut().zip(base).zip(sum) {
            // x + 0 turns a negative zero into a positive one; what no vector moves keeps its bits.
            let unmoved = R::EXACT && sum == 0.0;
            *result = if unmoved { *base } else { steps.to(base + sum) };
        }
    }

    #[inline(always)]
    fn sum_up(&self, target: &[f64], results: &[f64], written: &[f64], finite: &[bool], leaf: &mut Leaf) {
        // What would be written if nothing moved, where the output's type is another than the target's.
        let mut unmoved = [0.0; BLOCK];
        unmoved[..target.len()].copy_from_slice(target);
        if self.out_dtype != self.target.dtype {
            let mut bytes = [0; BLOCK * 8];
            let width = self.out_dtype.bitsize() / 8;
            round_nearest(self.out_dtype, target, &mut bytes[..target.len() * width], &mut unmoved[..target.len()]);
        }
        for i in 0..target.len() {
            let (intended, change) = (results[i] - target[i], written[i] - target[i]);
            let update = intended != 0.0;
            leaf.updates += u64::from(update);
            leaf.lost += u64::from(update && written[i] == unmoved[i]);
            leaf.overflowed += u64::from(finite[i] && !written[i].is_finite());
            leaf.nonfinite[2] += u64::from(!finite[i]);
            if intended.is_finite() && change.is_finite() {
                leaf.vector_sq += intended * intended;
                leaf.vector_written += intended * change;
                leaf.written_sq += change * change;
            }
        }
    }
}
