//! Several vectors, thinned out and put together: every method but plain task arithmetic of one vector.
//!
//! One kernel serves all of them, block by block: take each vector's elements, put a control in their place if asked for, keep
//! some of them, weight them, combine, add to the base, round. In the exact modes each step is f64 and the base is the
//! target; in mergekit's modes each step is rounded as mergekit 0.1.5 does.

mod blend;
mod element;
mod keep;
mod steps;

use pulp::{Arch, Simd, WithSimd};

use super::sums::{LEAF, Leaf};
use crate::checkpoint::Dtype;
use crate::numeric::{BLOCK, StochasticKey, round_nearest, round_stochastic};
use crate::recipe::Rounding;

pub(crate) use blend::{Arc, ArcCoefficients, Blend, population_variance};
pub(crate) use element::{Bytes, ElementControl, VectorBytes, standard_normal};
pub(crate) use keep::{Cut, Equals, Keep, KeepRule, magnitude_key, odds_of_rows};
use steps::{Bf16Steps, ExactSteps, F32Steps, Steps};

/// How one tensor is made.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// What the vectors are added to.
    pub base: Base,
    /// Whether the first ingredient is the target itself, less the base.
    pub adds_target: bool,
    /// Whether models are taken whole, and not less their pre.
    pub whole: bool,
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
    /// The probability of each element to be kept, for vectors whose probabilities go by rank; else empty.
    pub odds: &'a [Vec<f32>],
    /// Output dtype; as many elements are written as the target has.
    pub out_dtype: Dtype,
    /// How results are rounded.
    pub rounding: Rounding,
    /// What stochastic rounding draws from.
    pub key: StochasticKey,
    /// Index in the tensor of the first element.
    pub first_element: u64,
}

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
    let found = stretch.mix.ingredients.iter().zip(stretch.vectors);
    let reaching: Vec<Option<&Ingredient>> =
        found.map(|(found, bytes)| found.as_ref().filter(|_| bytes.is_some())).collect();
    let ingredients = reaching.as_slice();
    let arch = Arch::new();
    match stretch.rounding {
        Rounding::Nearest | Rounding::Stochastic => {
            arch.dispatch(MixLeaves { stretch, ingredients, buffers, out, leaves, steps: ExactSteps });
        }
        Rounding::MergekitF32 => {
            arch.dispatch(MixLeaves { stretch, ingredients, buffers, out, leaves, steps: F32Steps });
        }
        Rounding::MergekitBf16 => {
            arch.dispatch(MixLeaves { stretch, ingredients, buffers, out, leaves, steps: Bf16Steps });
        }
    }
}

/// [`mix`] as an operation that is compiled for each instruction set.
struct MixLeaves<'a, R> {
    stretch: &'a MixStretch<'a>,
    ingredients: &'a [Option<&'a Ingredient>],
    buffers: &'a mut MixBuffers,
    out: &'a mut [u8],
    leaves: &'a mut Vec<Leaf>,
    steps: R,
}

impl<R: Steps> WithSimd for MixLeaves<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { stretch, ingredients, buffers, out, leaves, steps } = self;
        let width = stretch.out_dtype.bitsize() / 8;
        for (index, out) in out.chunks_mut(LEAF * width).enumerate() {
            let mut leaf = Leaf::default();
            for (block, out) in out.chunks_mut(BLOCK * width).enumerate() {
                let from = index * LEAF + block * BLOCK;
                stretch.block(steps, ingredients, from, &mut buffers.vectors, out, &mut leaf);
            }
            leaves.push(leaf);
        }
    }
}

impl MixStretch<'_> {
    /// Makes the elements from `from` on, counted in the stretch, that `out` has room for.
    #[inline(always)]
    fn block<R: Steps>(
        &self,
        steps: R,
        ingredients: &[Option<&Ingredient>],
        from: usize,
        vectors: &mut [[f64; BLOCK]],
        out: &mut [u8],
        leaf: &mut Leaf,
    ) {
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
        for (index, values) in vectors.iter_mut().enumerate() {
            values.fill(0.0);
            if let (Some(bytes), Some(ingredient)) = (&self.vectors[index], ingredients[index]) {
                bytes.decode(steps, from, &mut values[..count], &mut finite[..count]);
                if let Some(control) = &ingredient.control {
                    control.apply(first, &mut values[..count]);
                }
                let odds = self.odds.get(index).and_then(|odds| odds.get(from..from + count)).unwrap_or_default();
                ingredient.keep.apply(steps, first, odds, &mut values[..count]);
            }
        }

        let mut results = [0.0; BLOCK];
        let added = blend::blend(&self.mix.blend, ingredients, steps, first, vectors, &base, &mut results);
        // A small change that is added exactly would be lost in the difference of result and target.
        let intended = match added.filter(|_| R::EXACT && self.mix.base == Base::Target) {
            Some(added) => added,
            None => std::array::from_fn(|i| results[i] - target[i]),
        };
        let mut written = [0.0; BLOCK];
        leaf.clipped += if self.rounding == Rounding::Stochastic {
            round_stochastic(self.out_dtype, self.key, first, &results[..count], out, &mut written[..count])
        } else {
            round_nearest(self.out_dtype, &results[..count], out, &mut written[..count])
        };
        self.sum_up(&target[..count], &intended[..count], &written[..count], &finite[..count], leaf);
    }

    #[inline(always)]
    fn sum_up(&self, target: &[f64], intended: &[f64], written: &[f64], finite: &[bool], leaf: &mut Leaf) {
        // What would be written if nothing moved, where the output's type is another than the target's.
        let mut unmoved = [0.0; BLOCK];
        unmoved[..target.len()].copy_from_slice(target);
        if self.out_dtype != self.target.dtype {
            let mut bytes = [0; BLOCK * 8];
            let width = self.out_dtype.bitsize() / 8;
            round_nearest(self.out_dtype, target, &mut bytes[..target.len() * width], &mut unmoved[..target.len()]);
        }
        for i in 0..target.len() {
            let (intended, change) = (intended[i], written[i] - target[i]);
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
