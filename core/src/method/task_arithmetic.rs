//! Task arithmetic, θ_enh = target + w·(post − pre), elementwise (arXiv 2212.04089; arXiv 2509.01363 eq. 2).
//!
//! Two paths compute it. The general one works in f64 and rounds once; it serves every dtype and mode and is the
//! definition. The fast one serves the usual case (16-bit inputs, bf16 output, rounding to nearest): it works in f32 with
//! a fused multiply-add and sends blocks in which the f32 result does not settle the rounding through f64, so that
//! both give the same bits. Everything is plain IEEE arithmetic, hence the same on every instruction set.

use pulp::{Simd, WithSimd};

use super::sums::{LEAF, Leaf};
use crate::checkpoint::Dtype;
use crate::numeric::{
    BLOCK, LANES, Row, StochasticKey, add_products, decode, decode_bf16_halves, decode_narrow, dispatch,
    encode_bf16_halves, is_narrow, round_bf16, round_nearest, round_stochastic, round_to_odd, rounded_in_place,
};
use crate::recipe::Rounding;

/// The same range of elements of all three models, and where the result goes.
pub(crate) struct Stretch<'a> {
    /// Dtype and bytes of pre and of post; `None` where the target is only converted.
    pub vector: Option<[(Dtype, &'a [u8]); 2]>,
    /// Dtype and bytes of the target.
    pub target: (Dtype, &'a [u8]),
    /// Output dtype; as many elements are written as the target has.
    pub out_dtype: Dtype,
    /// The scaling coefficient.
    pub coefficient: f32,
    /// How sums are rounded.
    pub rounding: Rounding,
    /// What stochastic rounding draws from.
    pub key: StochasticKey,
    /// Index in the tensor of the first element.
    pub first_element: u64,
}

/// Combines a stretch into `out`; gives one [`Leaf`] for each [`LEAF`] elements begun.
pub(crate) fn combine(stretch: &Stretch<'_>, out: &mut [u8], leaves: &mut Vec<Leaf>) {
    leaves.clear();
    dispatch(Combine { stretch, out, leaves });
}

/// [`combine`] as an operation that is compiled for each instruction set. Everything it calls per element is inlined
/// into it; code in closures would be compiled for the least of them.
struct Combine<'a> {
    stretch: &'a Stretch<'a>,
    out: &'a mut [u8],
    leaves: &'a mut Vec<Leaf>,
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stretch, out, leaves } = self;
        let fast = stretch.takes_fast_path();
        let width = bytes_of(stretch.out_dtype);
        for (index, out) in out.chunks_mut(LEAF * width).enumerate() {
            let part = LeafStretch { stretch, first: index * LEAF };
            let mut leaf =
                if fast { part.combine_fast(simd, out) } else { part.combine_general::<S, false>(simd, out) };
            // A sum that is not finite calls for the careful path: NaN and overflow are rare and are counted there.
            if !(leaf.vector_sq + leaf.written_sq).is_finite() {
                leaf = part.combine_general::<S, true>(simd, out);
            }
            leaves.push(leaf);
        }
    }
}

impl Stretch<'_> {
    fn takes_fast_path(&self) -> bool {
        self.vector.is_some_and(|vector| {
            self.rounding == Rounding::Nearest
                && self.out_dtype == Dtype::BF16
                && vector.iter().chain([&self.target]).all(|(dtype, _)| is_narrow(*dtype))
        })
    }
}

#[inline(always)]
fn bytes_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// Up to [`LEAF`] elements of a stretch, `first` counted from the stretch's start.
struct LeafStretch<'a> {
    stretch: &'a Stretch<'a>,
    first: usize,
}

impl LeafStretch<'_> {
    /// The bytes of elements `from..from + count` of this leaf.
    #[inline(always)]
    fn bytes<'b>(&self, (dtype, bytes): (Dtype, &'b [u8]), from: usize, count: usize) -> &'b [u8] {
        let width = bytes_of(dtype);
        &bytes[(self.first + from) * width..][..count * width]
    }

    /// target + (−|w|)·(±v) in f32, where the sign makes the product of a zero v a negative zero.
    ///
    /// x + (−0) = x for every x, so an element that v does not move keeps its bits, those of a negative zero included.
    #[inline(always)]
    fn combine_fast<S: Simd>(&self, simd: S, out: &mut [u8]) -> Leaf {
        let Some([pre, post]) = self.stretch.vector else { return Leaf::default() };
        let w = self.stretch.coefficient;
        let (from, to) = if w > 0.0 { (post, pre) } else { (pre, post) };
        let negative_w = -w.abs();

        let target = self.stretch.target;
        // Pairs of bf16 elements are taken apart and put together as the halves of a word, without a change of width.
        let in_pairs = [from.0, to.0, target.0].iter().all(|dtype| *dtype == Dtype::BF16);
        let mut products = [[0.0; 2 * LANES]; 3];
        let (mut updates, mut lost) = (0_u64, 0_u64);
        let (mut a, mut b, mut t) = (Row::default(), Row::default(), Row::default());
        let (mut difference, mut written) = (Row::<f32>::default(), Row::<f32>::default());
        // The bits of each result in the upper half of a word, and of what w = 0 would write.
        let (mut bits, mut sums, mut unmoved) = (Row::<u32>::default(), Row::<f32>::default(), Row::<f32>::default());
        for (block, out) in out.chunks_mut(BLOCK * 2).enumerate() {
            let count = out.len() / 2;
            for ((dtype, bytes), values) in [(from, &mut a), (to, &mut b), (target, &mut t)] {
                let bytes = self.bytes((dtype, bytes), block * BLOCK, count);
                if in_pairs {
                    decode_bf16_halves(bytes, values);
                } else {
                    decode_narrow(dtype, bytes, &mut values[..count]);
                    values[count..].fill(0.0);
                }
            }
            let unmoved = if target.0 == Dtype::BF16 {
                &t
            } else {
                for (unmoved, t) in unmoved.iter_mut().zip(&*t) {
                    *unmoved = round_bf16(*t);
                }
                &unmoved
            };

            // All of it is 32 bits wide, which is what a compiler makes vectors of. Bits are gathered, since to compare and then to
            // gather takes longer.
            let (mut inexact, mut to_a_middle) = (0_u32, u32::MAX);
            for i in 0..BLOCK {
                difference[i] = b[i] - a[i];
                sums[i] = negative_w.mul_add(difference[i], t[i]);
                inexact |= inexact_bits(b[i], a[i], difference[i]);
                to_a_middle = to_a_middle.min(bits_to_middle(sums[i]));
            }
            // Common: a w of few digits takes many sums to a middle, or as close to one as f32 can tell.
            if to_a_middle == 0 && inexact == 0 {
                for i in 0..BLOCK {
                    let is_middle = bits_to_middle(sums[i]) == 0;
                    let (beside, rounded, is_close) = beside_middle(negative_w, difference[i], t[i], sums[i]);
                    inexact |= if is_middle { rounded } else { 0 };
                    inexact |= if is_middle & is_close { 1 } else { 0 };
                    sums[i] = if is_middle { beside } else { sums[i] };
                }
            }
            if inexact != 0 {
                for i in 0..BLOCK {
                    let difference = f64::from(b[i]) - f64::from(a[i]);
                    sums[i] = round_to_odd(f64::from(t[i]) + f64::from(negative_w) * difference);
                }
            }
            let (mut moved, mut kept) = (0_u32, 0_u32);
            for i in 0..BLOCK {
                bits[i] = rounded_in_place(sums[i]);
                written[i] = f32::from_bits(bits[i]) - t[i];
                moved += u32::from(b[i] != a[i]);
                kept += u32::from((b[i] != a[i]) & (f32::from_bits(bits[i]) == unmoved[i]));
            }
            // The sign was turned for the sum above; here v itself is wanted.
            add_products(simd, [&difference, &written], [(0, 0), (0, 1), (1, 1)], &mut products);
            if w != 0.0 {
                updates += u64::from(moved);
                lost += u64::from(kept);
            }
            if in_pairs {
                encode_bf16_halves(&bits, out);
            } else {
                for (raw, bits) in out.as_chunks_mut().0.iter_mut().zip(&*bits) {
                    *raw = ((bits >> 16) as u16).to_le_bytes();
                }
            }
        }
        let sign = if w > 0.0 { -1.0 } else { 1.0 };
        let [vector_sq, vector_written, written_sq] = products.map(|lanes| lanes.iter().sum());
        Leaf { vector_sq, vector_written: sign * vector_written, written_sq, updates, lost, ..Leaf::default() }
    }

    #[inline(always)]
    fn combine_general<S: Simd, const CAREFUL: bool>(&self, simd: S, out: &mut [u8]) -> Leaf {
        let stretch = self.stretch;
        let width = bytes_of(stretch.out_dtype);
        let mut leaf = Leaf::default();
        let mut products = [[0.0; LANES]; 3];
        let (mut pre, mut post, mut target) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let (mut sums, mut values) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (mut delta, mut written) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (block, out) in out.chunks_mut(BLOCK * width).enumerate() {
            let count = out.len() / width;
            let from = block * BLOCK;
            decode(stretch.target.0, self.bytes(stretch.target, from, count), &mut target[..count]);
            match stretch.vector {
                Some([a, b]) => {
                    decode(a.0, self.bytes(a, from, count), &mut pre[..count]);
                    decode(b.0, self.bytes(b, from, count), &mut post[..count]);
                    add_vector(stretch.rounding, stretch.coefficient, &pre, &post, &target, &mut sums);
                }
                None => sums = target,
            }
            leaf.clipped += if stretch.rounding == Rounding::Stochastic {
                let first = stretch.first_element + (self.first + from) as u64;
                round_stochastic(stretch.out_dtype, stretch.key, first, &sums[..count], out, &mut values[..count])
            } else {
                round_nearest(stretch.out_dtype, &sums[..count], out, &mut values[..count])
            };

            // What w = 0 would write, where the output's type is another than the target's.
            let mut unmoved = target;
            if stretch.out_dtype != stretch.target.0 {
                let mut bytes = [0; BLOCK * 8];
                round_nearest(stretch.out_dtype, &target[..count], &mut bytes[..count * width], &mut unmoved[..count]);
            }
            let moves = stretch.coefficient != 0.0;
            let (mut updates, mut lost) = (0_u64, 0_u64);
            for i in 0..BLOCK {
                delta[i] = post[i] - pre[i];
                written[i] = values[i] - target[i];
                let update = moves & (delta[i] != 0.0) & (i < count);
                updates += u64::from(update);
                lost += u64::from(update & (values[i] == unmoved[i]));
            }
            leaf.updates += updates;
            leaf.lost += lost;
            if CAREFUL {
                for i in 0..count {
                    // The steps of a mergekit mode can overflow too, so it is the inputs that count.
                    let finite = pre[i].is_finite() && post[i].is_finite() && target[i].is_finite();
                    leaf.overflowed += u64::from(finite && !values[i].is_finite());
                    for (count, value) in leaf.nonfinite.iter_mut().zip([pre[i], post[i], target[i]]) {
                        *count += u64::from(!value.is_finite());
                    }
                    if !(delta[i].is_finite() && written[i].is_finite()) {
                        (delta[i], written[i]) = (0.0, 0.0);
                    }
                }
            }
            for values in [&mut delta, &mut written] {
                values[count..].fill(0.0);
            }
            add_products(simd, [&delta, &written], [(0, 0), (0, 1), (1, 1)], &mut products);
        }
        let [vector_sq, vector_written, written_sq] = products.map(|lanes| lanes.iter().sum());
        Leaf { vector_sq, vector_written, written_sq, ..leaf }
    }
}

/// Fills `sums` with what the mode rounds to the output type: target + w·(post − pre), by its own steps.
#[inline(always)]
pub(crate) fn add_vector(rounding: Rounding, w: f32, pre: &[f64], post: &[f64], target: &[f64], sums: &mut [f64]) {
    let models = pre.iter().zip(post).zip(target);
    match rounding {
        Rounding::Nearest | Rounding::Stochastic => {
            for (sum, ((pre, post), target)) in sums.iter_mut().zip(models) {
                *sum = exact_sum(w, *pre, *post, *target);
            }
        }
        // mergekit with base pre and models target (weight 1) and post (weight w): d = r(x − base), p = r(d·r(weight)),
        // S = r(Σp), out = r(base + S), every r a rounding to the working type.
        Rounding::MergekitF32 => {
            for (sum, ((pre, post), target)) in sums.iter_mut().zip(models) {
                let base = *pre as f32;
                let moved = (*target as f32 - base) + (*post as f32 - base) * w;
                *sum = f64::from(base + moved);
            }
        }
        Rounding::MergekitBf16 => {
            let w = round_bf16(w);
            for (sum, ((pre, post), target)) in sums.iter_mut().zip(models) {
                let [base, post, target] = [*pre, *post, *target].map(|value| round_bf16(value as f32));
                let step = round_bf16(round_bf16(post - base) * w);
                let moved = round_bf16(round_bf16(target - base) + step);
                *sum = f64::from(round_bf16(base + moved));
            }
        }
    }
}

/// target + w·(post − pre) in f64, with the signs turned so that a zero v leaves a negative zero alone.
#[inline(always)]
fn exact_sum(w: f32, pre: f64, post: f64, target: f64) -> f64 {
    let turned = if w > 0.0 { pre - post } else { post - pre };
    target + f64::from(-w.abs()) * turned
}

/// Something but 0 unless `sum` lies in the middle between two bf16 values.
///
/// Only there can rounding to f32 and then to bf16 differ from rounding once: the middles are f32 values themselves, so that a sum
/// and its nearest f32 lie on the same side of each unless the latter is a middle.
#[inline(always)]
fn bits_to_middle(sum: f32) -> u32 {
    (sum.to_bits() & 0xffff) ^ 0x8000
}

/// 0 if b − a, as f32 gives it, is exact, for numbers of 11 significant bits at most. Where it is not, the smaller one lies 12
/// binary places or more below the larger; what was rounded off is then a multiple of the smaller one's last place, and too
/// much for one of the two to come back. A zero that comes back with another sign counts as inexact too.
#[inline(always)]
fn inexact_bits(b: f32, a: f32, difference: f32) -> u32 {
    ((difference + a).to_bits() ^ b.to_bits()) | ((b - difference).to_bits() ^ a.to_bits())
}

/// For a sum t + w·d that f32 gives as a middle: the middle itself where it is the exact sum, which is then rounded to even, else
/// an f32 beside it on the side of the exact sum. That holds only where the second value is 0 and the third is `false`, which is
/// whether f64 might not tell the sum from the middle. t has 11 significant bits at most, and a middle has 9.
#[inline(always)]
fn beside_middle(w: f32, difference: f32, t: f32, middle: f32) -> (f32, u32, bool) {
    let rest = t - middle;
    // Rounded once, so that its sign is right; 0 also where next to nothing is left, which f64 cannot tell from the middle either
    // unless that is as small.
    let left = w.mul_add(difference, rest);
    let size = middle.abs();
    let is_close = ((left.abs() < size * MIN_DISTANCE) & (left != 0.0)) | (size < MIN_SIZE);
    // 1 away from zero, −1 towards it.
    let step = 1_u32.wrapping_sub((left.to_bits() ^ middle.to_bits()) >> 31 << 1);
    let step = if left == 0.0 { 0 } else { step };
    (f32::from_bits(middle.to_bits().wrapping_add(step)), inexact_bits(t, middle, rest), is_close)
}

/// Of a number: what is this far from it, f64 tells from it.
const MIN_DISTANCE: f32 = 1.0 / (1_u64 << 50) as f32;

/// What f32 rounds to zero is less than the last of the 53 bits of a number this large.
const MIN_SIZE: f32 = f32::MIN_POSITIVE * (1_u64 << 40) as f32;

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;

    fn bytes(values: &[f64], dtype: Dtype) -> Vec<u8> {
        let mut out = vec![0; values.len() * bytes_of(dtype)];
        let mut written = [0.0; BLOCK];
        for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(BLOCK * bytes_of(dtype))) {
            round_nearest(dtype, values, out, &mut written[..values.len()]);
        }
        out
    }

    fn values(bytes: &[u8], dtype: Dtype) -> Vec<f64> {
        let mut out = vec![0.0; bytes.len() / bytes_of(dtype)];
        for (out, bytes) in out.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK * bytes_of(dtype))) {
            decode(dtype, bytes, out);
        }
        out
    }

    struct Case {
        pre: Vec<u8>,
        post: Vec<u8>,
        target: Vec<u8>,
        dtype: Dtype,
    }

    impl Case {
        fn stretch(&self, out_dtype: Dtype, w: f32, rounding: Rounding) -> Stretch<'_> {
            Stretch {
                vector: Some([(self.dtype, &self.pre), (self.dtype, &self.post)]),
                target: (self.dtype, &self.target),
                out_dtype,
                coefficient: w,
                rounding,
                key: StochasticKey::new(1, "t"),
                first_element: 0,
            }
        }

        fn run(&self, out_dtype: Dtype, w: f32, rounding: Rounding) -> (Vec<u8>, Vec<Leaf>) {
            let elements = self.target.len() / bytes_of(self.dtype);
            let mut out = vec![0; elements * bytes_of(out_dtype)];
            let mut leaves = Vec::new();
            combine(&self.stretch(out_dtype, w, rounding), &mut out, &mut leaves);
            (out, leaves)
        }
    }

    /// The general path alone, whatever `combine` would choose.
    fn general(case: &Case, w: f32) -> (Vec<u8>, Leaf) {
        let stretch = case.stretch(Dtype::BF16, w, Rounding::Nearest);
        let count = case.target.len() / bytes_of(case.dtype);
        let mut out = vec![0; count * 2];
        let leaf = LeafStretch { stretch: &stretch, first: 0 }.combine_general::<_, true>(pulp::Scalar, &mut out);
        (out, leaf)
    }

    /// Bits of 16-bit floats: any, and those of real weights and close neighbours more often.
    fn bits() -> impl Strategy<Value = u16> {
        prop_oneof![
            any::<u16>(),
            (0x3a00_u16..0x3e00, any::<bool>()).prop_map(|(bits, negative)| bits | u16::from(negative) << 15),
            (0x3c00_u16..0x3c10, any::<bool>()).prop_map(|(bits, negative)| bits | u16::from(negative) << 15),
        ]
    }

    /// Any w, and those of few digits more often: their sums lie in the middle between two elements, or next to it.
    fn coefficient() -> impl Strategy<Value = f32> {
        prop_oneof![
            proptest::sample::select(vec![1.0_f32, -1.0, 0.5, -0.5, 0.25, 0.75, 1.5, -1.25, 1e-30]),
            (-40_i8..=40).prop_map(|steps| (f64::from(steps) * 0.05) as f32),
            -2.0_f32..2.0,
            any::<f32>().prop_filter("finite", |w| w.is_finite()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn fast_and_general_path_give_the_same_bits(
            triples in proptest::collection::vec((bits(), bits(), bits()), 1..200),
            w in coefficient(),
            dtype in proptest::sample::select(vec![Dtype::BF16, Dtype::F16]),
        ) {
            let column = |pick: fn(&(u16, u16, u16)) -> u16| -> Vec<u8> {
                let finite = |bits: &u16| match dtype {
                    Dtype::BF16 => bf16::from_bits(*bits).is_finite(),
                    _ => f16::from_bits(*bits).is_finite(),
                };
                triples.iter().flat_map(|triple| Some(pick(triple)).filter(finite).unwrap_or(0).to_le_bytes()).collect()
            };
            let case = Case { pre: column(|t| t.0), post: column(|t| t.1), target: column(|t| t.2), dtype };
            let (fast, leaves) = case.run(Dtype::BF16, w, Rounding::Nearest);
            let (slow, leaf) = general(&case, w);
            prop_assert_eq!(fast, slow);
            prop_assert_eq!((leaves[0].updates, leaves[0].lost), (leaf.updates, leaf.lost));
            let size = (leaf.vector_sq * leaf.written_sq).sqrt();
            prop_assert!((leaves[0].vector_written - leaf.vector_written).abs() <= 1e-6 * size + 1e-300);
        }
    }

    #[test]
    fn every_result_is_the_nearest_element_to_the_sum_in_f64() {
        let count = 30_000;
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64 - 0.5
        };
        let pre: Vec<f64> = (0..count).map(|_| random() * 0.08).collect();
        let post: Vec<f64> = pre.iter().map(|value| value + random() * 1e-3).collect();
        let target: Vec<f64> = pre.iter().map(|value| value + random() * 1e-3).collect();
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            let case =
                Case { pre: bytes(&pre, dtype), post: bytes(&post, dtype), target: bytes(&target, dtype), dtype };
            let [a, b, t] = [&case.pre, &case.post, &case.target].map(|raw| values(raw, dtype));
            for w in [0.3_f32, -0.7, 1.0, 1.9] {
                let (out, _) = case.run(dtype, w, Rounding::Nearest);
                for (i, written) in values(&out, dtype).into_iter().enumerate() {
                    let exact = t[i] + f64::from(w) * (b[i] - a[i]);
                    let expected = values(&bytes(&[exact], dtype), dtype)[0];
                    assert_eq!(written, expected, "{dtype} w={w}");
                }
            }
        }
    }

    #[test]
    fn an_element_that_v_does_not_move_keeps_its_bits() {
        for dtype in [Dtype::BF16, Dtype::F32] {
            let same = bytes(&[0.3, -0.3, 0.0, -0.0, 1e-30], dtype);
            let target = bytes(&[-0.0, 0.0, -0.0, 0.0, -0.0], dtype);
            let case = Case { pre: same.clone(), post: same, target: target.clone(), dtype };
            for w in [1.0, -1.0, 0.5] {
                assert_eq!(case.run(dtype, w, Rounding::Nearest).0, target);
            }
        }
    }

    #[test]
    fn sums_tell_intended_from_written() {
        let case = Case {
            pre: bytes(&[0.0, 0.0, 0.0, 1.0], Dtype::BF16),
            post: bytes(&[1.0, 0.001, 0.0, 1.0], Dtype::BF16),
            target: bytes(&[1.0, 1.0, 5.0, 7.0], Dtype::BF16),
            dtype: Dtype::BF16,
        };
        let (out, leaves) = case.run(Dtype::BF16, 1.0, Rounding::Nearest);
        assert_eq!(values(&out, Dtype::BF16), [2.0, 1.0, 5.0, 7.0]);
        assert_eq!((leaves[0].updates, leaves[0].lost, leaves[0].written_sq), (2, 1, 1.0));
        assert!((leaves[0].vector_sq - 1.000_001).abs() < 1e-8);
    }

    #[test]
    fn overflow_and_nonfinite_inputs_are_counted() {
        let max = bf16::MAX.to_f64();
        let case = Case {
            pre: bytes(&[0.0, f64::NAN, 0.0, 0.0], Dtype::BF16),
            post: bytes(&[max, 0.0, f64::INFINITY, 0.0], Dtype::BF16),
            target: bytes(&[max, 0.0, 0.0, 1.0], Dtype::BF16),
            dtype: Dtype::BF16,
        };
        let (_, leaves) = case.run(Dtype::BF16, 1.0, Rounding::Nearest);
        assert_eq!(leaves[0].overflowed, 1);
        assert_eq!(leaves[0].nonfinite, [1, 1, 0]);
        let (_, leaves) = case.run(Dtype::F32, 3e38, Rounding::MergekitF32);
        assert_eq!(leaves[0].overflowed, 1, "inside the steps of the mode");
        let (_, leaves) = case.run(Dtype::F8_E4M3, 1.0, Rounding::Nearest);
        assert_eq!(leaves[0].clipped, 2, "the overflow and the infinite post");
    }
}
