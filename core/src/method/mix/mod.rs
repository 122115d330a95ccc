//! Several vectors, thinned out and put together: every method but plain task arithmetic of one vector.
//!
//! One kernel serves all of them, block by block: take each vector's elements, put a control in their place if asked for, keep
//! some of them, weight them, combine, add to the base, round. In the exact modes each step is f64 and the base is the
//! target; in mergekit's modes each step is rounded as mergekit 0.1.5 does.

mod blend;
mod element;
mod keep;
mod steps;

use pulp::{Simd, WithSimd};

use super::sums::{LEAF, Leaf};
use crate::checkpoint::Dtype;
use crate::numeric::{
    BLOCK, LANES, StochasticKey, add_and_compare, add_products, dispatch, round_nearest, round_stochastic,
};
use crate::recipe::Rounding;

pub(crate) use blend::{Arc, ArcCoefficients, Blend, population_variance};
use element::all_finite;
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
    dispatch(DecodeVector { vector, rounding, from, out });
}

struct DecodeVector<'a> {
    vector: &'a VectorBytes<'a>,
    rounding: Rounding,
    from: usize,
    out: &'a mut [f64],
}

impl WithSimd for DecodeVector<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { vector, rounding, from, out } = self;
        // What is not finite is found when it is merged.
        let _ = match rounding {
            Rounding::Nearest | Rounding::Stochastic => vector.decode(ExactSteps, from, out),
            Rounding::MergekitF32 => vector.decode(F32Steps, from, out),
            Rounding::MergekitBf16 => vector.decode(Bf16Steps, from, out),
        };
    }
}

/// [`magnitude_key`] of up to [`BLOCK`] values.
pub(crate) fn magnitude_keys(values: &[f64], keys: &mut [u32]) {
    dispatch(MagnitudeKeys { values, keys });
}

struct MagnitudeKeys<'a> {
    values: &'a [f64],
    keys: &'a mut [u32],
}

impl WithSimd for MagnitudeKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (key, value) in self.keys.iter_mut().zip(self.values) {
            *key = magnitude_key(*value);
        }
    }
}

/// Σ|v| over up to [`BLOCK`] values from element `first` on, before and after `rule` put zero for what is not kept. What is not
/// finite counts as zero.
pub(crate) fn sums_of_magnitudes(rule: &KeepRule, first: u64, odds: &[f32], values: &mut [f64]) -> [f64; 2] {
    dispatch(SumsOfMagnitudes { rule, first, odds, values })
}

struct SumsOfMagnitudes<'a> {
    rule: &'a KeepRule,
    first: u64,
    odds: &'a [f32],
    values: &'a mut [f64],
}

impl WithSimd for SumsOfMagnitudes<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; 2] {
        let Self { rule, first, odds, values } = self;
        let before = sum_of_magnitudes(simd, values);
        rule.apply(first, odds, values);
        [before, sum_of_magnitudes(simd, values)]
    }
}

#[inline(always)]
fn sum_of_magnitudes<S: Simd>(simd: S, values: &[f64]) -> f64 {
    let mut sizes = [0.0; BLOCK];
    for (size, value) in sizes.iter_mut().zip(values) {
        *size = if value.is_finite() { value.abs() } else { 0.0 };
    }
    let (mut sums, mut largest) = ([0.0; LANES], [0.0; LANES]);
    add_and_compare(simd, &sizes, &mut sums, &mut largest);
    sums.iter().sum()
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
    match stretch.rounding {
        Rounding::Nearest | Rounding::Stochastic => {
            dispatch(MixLeaves { stretch, ingredients, buffers, out, leaves, steps: ExactSteps });
        }
        Rounding::MergekitF32 => {
            dispatch(MixLeaves { stretch, ingredients, buffers, out, leaves, steps: F32Steps });
        }
        Rounding::MergekitBf16 => {
            dispatch(MixLeaves { stretch, ingredients, buffers, out, leaves, steps: Bf16Steps });
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
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stretch, ingredients, buffers, out, leaves, steps } = self;
        let width = stretch.out_dtype.bitsize() / 8;
        for (index, out) in out.chunks_mut(LEAF * width).enumerate() {
            let mut leaf = LeafSums::default();
            for (block, out) in out.chunks_mut(BLOCK * width).enumerate() {
                let from = index * LEAF + block * BLOCK;
                stretch.block(simd, steps, ingredients, from, &mut buffers.vectors, out, &mut leaf);
            }
            leaves.push(leaf.finish());
        }
    }
}

/// What is summed up of a leaf, block by block.
#[derive(Default)]
struct LeafSums {
    leaf: Leaf,
    /// Partial sums of ⟨v, v⟩, ⟨v, Δ⟩ and ⟨Δ, Δ⟩.
    products: [[f64; LANES]; 3],
}

impl LeafSums {
    fn finish(self) -> Leaf {
        let [vector_sq, vector_written, written_sq] = self.products.map(|lanes| lanes.iter().sum());
        Leaf { vector_sq, vector_written, written_sq, ..self.leaf }
    }
}

impl MixStretch<'_> {
    /// Makes the elements from `from` on, counted in the stretch, that `out` has room for.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what a worker has at hand, each of another kind")]
    fn block<S: Simd, R: Steps>(
        &self,
        simd: S,
        steps: R,
        ingredients: &[Option<&Ingredient>],
        from: usize,
        vectors: &mut [[f64; BLOCK]],
        out: &mut [u8],
        sums: &mut LeafSums,
    ) {
        let count = out.len() / (self.out_dtype.bitsize() / 8);
        let first = self.first_element + from as u64;
        let (mut target, mut base) = ([0.0; BLOCK], [0.0; BLOCK]);
        self.target.decode(from, &mut target[..count]);
        if let Some(bytes) = self.base {
            bytes.decode(from, &mut base[..count]);
            base.iter_mut().for_each(|value| *value = steps.to(*value));
        }
        let mut finite = all_finite(&target);
        for (index, values) in vectors.iter_mut().enumerate() {
            values.fill(0.0);
            if let (Some(bytes), Some(ingredient)) = (&self.vectors[index], ingredients[index]) {
                finite &= bytes.decode(steps, from, &mut values[..count]);
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
        sums.leaf.clipped += if self.rounding == Rounding::Stochastic {
            round_stochastic(self.out_dtype, self.key, first, &results[..count], out, &mut written[..count])
        } else {
            round_nearest(self.out_dtype, &results[..count], out, &mut written[..count])
        };
        // What would be written if nothing moved, where the output's type is another than the target's.
        let mut unmoved = target;
        if self.out_dtype != self.target.dtype {
            let mut bytes = [0; BLOCK * 8];
            let width = self.out_dtype.bitsize() / 8;
            round_nearest(self.out_dtype, &target[..count], &mut bytes[..count * width], &mut unmoved[..count]);
        }
        let mut change = [0.0; BLOCK];
        let mut vector = [0.0; BLOCK];
        let (mut updates, mut lost) = (0_u64, 0_u64);
        for i in 0..BLOCK {
            // Behind the last element there is nothing.
            let here = i < count;
            (vector[i], change[i]) = if here { (intended[i], written[i] - target[i]) } else { (0.0, 0.0) };
            let update = vector[i] != 0.0;
            updates += u64::from(update);
            lost += u64::from(update & (written[i] == unmoved[i]));
        }
        sums.leaf.updates += updates;
        sums.leaf.lost += lost;
        if !(finite && all_finite(&vector) && all_finite(&change)) {
            self.leave_out_nonfinite(from, &written[..count], &mut vector, &mut change, &mut sums.leaf);
        }
        add_products(simd, [&vector, &change], [(0, 0), (0, 1), (1, 1)], &mut sums.products);
    }

    /// Counts what is not finite in the inputs and in the output alone, and puts zero for changes that are not.
    fn leave_out_nonfinite(
        &self,
        from: usize,
        written: &[f64],
        vector: &mut [f64; BLOCK],
        change: &mut [f64; BLOCK],
        leaf: &mut Leaf,
    ) {
        let mut finite = [true; BLOCK];
        let finite = &mut finite[..written.len()];
        self.target.mark_nonfinite(from, finite);
        self.vectors.iter().flatten().for_each(|bytes| bytes.mark_nonfinite(from, finite));
        for (i, (finite, written)) in finite.iter().zip(written).enumerate() {
            leaf.overflowed += u64::from(*finite && !written.is_finite());
            leaf.nonfinite[2] += u64::from(!finite);
            if !(vector[i].is_finite() && change[i].is_finite()) {
                (vector[i], change[i]) = (0.0, 0.0);
            }
        }
    }
}
