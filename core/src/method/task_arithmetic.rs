//! Task arithmetic, θ_enh = target + w·(post − pre), elementwise (arXiv 2212.04089; arXiv 2509.01363 eq. 2).
//!
//! Two paths compute it. The general one works in f64 and rounds once; it serves every dtype and mode and is the
//! definition. The fast one serves the usual case (16-bit inputs, bf16 output, rounding to nearest): it works in f32 with
//! a fused multiply-add and sends the few elements whose f32 result does not settle the rounding through f64, so that
//! both give the same bits. Everything is plain IEEE arithmetic, hence the same on every instruction set.

use pulp::{Arch, Simd, WithSimd};

use super::sums::{LEAF, Leaf};
use crate::checkpoint::Dtype;
use crate::numeric::{
    BLOCK, StochasticKey, bf16_bits_from_f32, bf16_bits_from_f64, decode, decode_narrow, is_narrow, round_bf16,
    round_nearest, round_stochastic,
};
use crate::recipe::Rounding;

/// Elements whose ambiguity is decided together.
const GROUP: usize = 64;

/// Independent partial sums; a fixed number, so that every instruction set adds in the same order.
const LANES: usize = 8;

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
    Arch::new().dispatch(Combine { stretch, out, leaves });
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
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { stretch, out, leaves } = self;
        let fast = stretch.takes_fast_path();
        let width = bytes_of(stretch.out_dtype);
        for (index, out) in out.chunks_mut(LEAF * width).enumerate() {
            let part = LeafStretch { stretch, first: index * LEAF };
            let mut leaf = if fast { part.combine_fast(out) } else { part.combine_general(out) };
            // A sum that is not finite calls for the careful path: NaN and overflow are rare and are counted there.
            if fast && !(leaf.vector_sq + leaf.written_sq).is_finite() {
                leaf = part.combine_general(out);
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
    fn combine_fast(&self, out: &mut [u8]) -> Leaf {
        let Some([pre, post]) = self.stretch.vector else { return Leaf::default() };
        let w = self.stretch.coefficient;
        let (from, to) = if w > 0.0 { (post, pre) } else { (pre, post) };
        let negative_w = -w.abs();

        let mut lanes = Lanes::default();
        let (mut updates, mut lost) = (0_u64, 0_u64);
        let (mut a, mut b, mut t) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let (mut delta, mut written) = ([0.0_f64; BLOCK], [0.0_f64; BLOCK]);
        for (block, out) in out.chunks_mut(BLOCK * 2).enumerate() {
            let count = out.len() / 2;
            decode_narrow(from.0, self.bytes(from, block * BLOCK, count), &mut a[..count]);
            decode_narrow(to.0, self.bytes(to, block * BLOCK, count), &mut b[..count]);
            let target = self.stretch.target;
            decode_narrow(target.0, self.bytes(target, block * BLOCK, count), &mut t[..count]);
            for values in [&mut a, &mut b, &mut t] {
                values[count..].fill(0.0);
            }

            let (mut bits, mut moved, mut kept) = ([0_u16; BLOCK], 0_u32, 0_u32);
            for group in 0..BLOCK / GROUP {
                let at = group * GROUP..(group + 1) * GROUP;
                let mut ambiguous = 0_u32;
                for ((bits, a), (b, t)) in
                    bits[at.clone()].iter_mut().zip(&a[at.clone()]).zip(b[at.clone()].iter().zip(&t[at.clone()]))
                {
                    let difference = b - a;
                    let sum = negative_w.mul_add(difference, *t);
                    *bits = bf16_bits_from_f32(sum);
                    ambiguous |= u32::from(is_ambiguous(sum, negative_w * difference));
                }
                if ambiguous != 0 {
                    for i in at {
                        let difference = f64::from(b[i]) - f64::from(a[i]);
                        bits[i] = bf16_bits_from_f64(f64::from(t[i]) + f64::from(negative_w) * difference);
                    }
                }
            }
            for i in 0..BLOCK {
                let difference = b[i] - a[i];
                let value = f32::from_bits(u32::from(bits[i]) << 16);
                let update = u32::from(w != 0.0 && difference != 0.0);
                moved += update;
                kept += update & u32::from(value == round_bf16(t[i]));
                // The sign was turned for the sum above; here v itself is wanted.
                delta[i] = f64::from(difference);
                written[i] = f64::from(value) - f64::from(t[i]);
            }
            lanes.add(&delta, &written);
            updates += u64::from(moved);
            lost += u64::from(kept);
            for (raw, bits) in out.as_chunks_mut().0.iter_mut().zip(&bits) {
                *raw = bits.to_le_bytes();
            }
        }
        let sign = if w > 0.0 { -1.0 } else { 1.0 };
        Leaf {
            vector_sq: total(&lanes.vector_sq),
            vector_written: sign * total(&lanes.vector_written),
            written_sq: total(&lanes.written_sq),
            updates,
            lost,
            ..Leaf::default()
        }
    }

    #[inline(always)]
    fn combine_general(&self, out: &mut [u8]) -> Leaf {
        let stretch = self.stretch;
        let width = bytes_of(stretch.out_dtype);
        let mut leaf = Leaf::default();
        let mut lanes = Lanes::default();
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
            delta.fill(0.0);
            written.fill(0.0);
            for i in 0..count {
                let v = post[i] - pre[i];
                let change = values[i] - target[i];
                let update = stretch.coefficient != 0.0 && v != 0.0;
                leaf.updates += u64::from(update);
                leaf.lost += u64::from(update && values[i] == unmoved[i]);
                // The steps of a mergekit mode can overflow too, so it is the inputs that count.
                let finite = pre[i].is_finite() && post[i].is_finite() && target[i].is_finite();
                leaf.overflowed += u64::from(finite && !values[i].is_finite());
                for (count, value) in leaf.nonfinite.iter_mut().zip([pre[i], post[i], target[i]]) {
                    *count += u64::from(!value.is_finite());
                }
                if v.is_finite() && change.is_finite() {
                    (delta[i], written[i]) = (v, change);
                }
            }
            lanes.add(&delta, &written);
        }
        Leaf {
            vector_sq: total(&lanes.vector_sq),
            vector_written: total(&lanes.vector_written),
            written_sq: total(&lanes.written_sq),
            ..leaf
        }
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

/// Whether the nearest bf16 of the exact sum may differ from that of its f32 approximation.
///
/// `sum` is the fused t + w·d, d the f32 difference of two inputs. d is off by at most 2⁻²⁴ of itself, so unless w·d
/// outweighs the sum by far, the sum is off by under four units in its last place: only sums that close to the middle
/// between two bf16 values are in doubt. A large w·d against a small sum (cancellation) is always in doubt.
#[inline(always)]
fn is_ambiguous(sum: f32, product: f32) -> bool {
    let beyond_bf16 = sum.to_bits() & 0xffff;
    let near_middle = beyond_bf16.wrapping_sub(0x7ffc) <= 8;
    near_middle | (product.abs() > 2.0 * sum.abs())
}

/// Partial sums of ⟨v, v⟩, ⟨v, Δ⟩ and ⟨Δ, Δ⟩.
#[derive(Default)]
struct Lanes {
    vector_sq: [f64; LANES],
    vector_written: [f64; LANES],
    written_sq: [f64; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, delta: &[f64; BLOCK], written: &[f64; BLOCK]) {
        for (delta, written) in delta.as_chunks::<LANES>().0.iter().zip(written.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                self.vector_sq[lane] += delta[lane] * delta[lane];
                self.vector_written[lane] += delta[lane] * written[lane];
                self.written_sq[lane] += written[lane] * written[lane];
            }
        }
    }
}

#[inline(always)]
fn total(lanes: &[f64; LANES]) -> f64 {
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use half::bf16;
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
        let leaf = LeafStretch { stretch: &stretch, first: 0 }.combine_general(&mut out);
        (out, leaf)
    }

    fn finite_bf16() -> impl Strategy<Value = u16> {
        // Any exponent, with those of real weights and close neighbours more often.
        prop_oneof![
            any::<u16>().prop_filter("finite", |bits| bf16::from_bits(*bits).is_finite()),
            (0x3a00_u16..0x3e00, any::<bool>()).prop_map(|(bits, negative)| bits | u16::from(negative) << 15),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn fast_and_general_path_give_the_same_bits(
            triples in proptest::collection::vec((finite_bf16(), finite_bf16(), finite_bf16()), 1..200),
            w in prop_oneof![Just(1.0_f32), Just(-1.0), Just(0.5), -2.0_f32..2.0, any::<f32>().prop_filter("finite", |w| w.is_finite())],
        ) {
            let column = |pick: fn(&(u16, u16, u16)) -> u16| {
                triples.iter().flat_map(|triple| pick(triple).to_le_bytes()).collect::<Vec<u8>>()
            };
            let case =
                Case { pre: column(|t| t.0), post: column(|t| t.1), target: column(|t| t.2), dtype: Dtype::BF16 };
            let (fast, leaves) = case.run(Dtype::BF16, w, Rounding::Nearest);
            let (slow, leaf) = general(&case, w);
            prop_assert_eq!(fast, slow);
            prop_assert_eq!((leaves[0].updates, leaves[0].lost), (leaf.updates, leaf.lost));
            prop_assert!((leaves[0].vector_written - leaf.vector_written).abs() <= 1e-6 * leaf.vector_written.abs() + 1e-300);
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
