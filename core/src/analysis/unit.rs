//! The arithmetic of a measurement: sums and counts of one stretch of the three models.

use std::ops::Sub;

use pulp::{Arch, Simd, WithSimd};

use super::Sums;
use super::gram::Gram;
use super::histogram::{self, BINS, LogHistogram};
use crate::checkpoint::Dtype;
use crate::method::LEAF;
use crate::numeric::{BLOCK, Factor, LANES, add_and_compare, add_products, decode, decode_narrow, is_narrow};

/// Elements counted by the bin of v and the bin of pre at once: one counter is looked up for each element and not two.
pub(crate) struct JointCounts {
    /// [`BINS`] × [`BINS`], by v and then by pre.
    counts: Vec<u32>,
    pre_zeros: u64,
}

/// Magnitudes of v and of pre by half octave.
///
/// Zeros, padding and elements that are left out are counted with the smallest magnitudes first, and taken away at the end.
#[derive(Clone)]
pub(crate) struct BinCounts {
    /// Of v and of pre.
    counts: [[u64; BINS]; 2],
    /// Of the counts of pre, those that are no magnitude.
    pre_zeros: u64,
}

impl BinCounts {
    /// Adds the counts of other elements.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.as_flattened_mut().iter_mut().zip(other.counts.as_flattened()) {
            *sum += count;
        }
        self.pre_zeros += other.pre_zeros;
    }

    /// The histograms of v and of pre, of elements whose sums are `sums`.
    pub(super) fn finish(mut self, sums: &Sums) -> [LogHistogram; 2] {
        let counted: u64 = self.counts[0].iter().sum();
        self.counts[0][0] -= counted - sums.updates();
        self.counts[1][0] -= self.pre_zeros;
        self.counts.each_ref().map(|counts| LogHistogram::from_counts(counts))
    }
}

impl Default for JointCounts {
    fn default() -> Self {
        Self { counts: vec![0; BINS * BINS], pre_zeros: 0 }
    }
}

impl JointCounts {
    /// Gives what was counted, and begins again.
    fn take(&mut self) -> BinCounts {
        let mut taken = BinCounts { counts: [[0; BINS]; 2], pre_zeros: std::mem::take(&mut self.pre_zeros) };
        let [vector, pre] = &mut taken.counts;
        for (vector, row) in vector.iter_mut().zip(self.counts.chunks_exact_mut(BINS)) {
            *vector = row.iter().map(|count| u64::from(*count)).sum();
            if *vector > 0 {
                for (pre, count) in pre.iter_mut().zip(row.iter_mut()) {
                    *pre += u64::from(std::mem::take(count));
                }
            }
        }
        taken
    }
}

/// Measures a stretch that begins with a leaf: the sums of each [`LEAF`] elements begun, and the counts of all. `counts` is
/// room that is used again and again.
pub(crate) fn measure_unit(
    dtypes: [Dtype; 3],
    bytes: [&[u8]; 3],
    count: usize,
    counts: &mut JointCounts,
) -> (Vec<Sums>, BinCounts) {
    let leaves = Arch::new().dispatch(MeasureUnit { dtypes, bytes, count, counts });
    (leaves, counts.take())
}

/// The leaves of one unit, as an operation that is compiled for each instruction set. Everything that it calls for each element
/// is inlined into it.
struct MeasureUnit<'a> {
    dtypes: [Dtype; 3],
    bytes: [&'a [u8]; 3],
    count: usize,
    counts: &'a mut JointCounts,
}

impl WithSimd for MeasureUnit<'_> {
    type Output = Vec<Sums>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Sums> {
        if self.dtypes.into_iter().all(is_narrow) { self.leaves::<f32, S>(simd) } else { self.leaves::<f64, S>(simd) }
    }
}

/// What elements are decoded to and differences are taken in: f32 for those of 8 and 16 bits, whose differences it holds exactly
/// but where one of the two is thousands of times the other; else f64.
trait Value: Factor + Default + PartialEq + PartialOrd + Sub<Output = Self> {
    /// The half octave of a number.
    fn bin(self) -> u32;
    /// Decodes up to [`BLOCK`] elements.
    fn decode(dtype: Dtype, bytes: &[u8], out: &mut [Self]);
}

impl Value for f32 {
    #[inline(always)]
    fn bin(self) -> u32 {
        histogram::bin(self)
    }

    #[inline(always)]
    fn decode(dtype: Dtype, bytes: &[u8], out: &mut [Self]) {
        decode_narrow(dtype, bytes, out);
    }
}

impl Value for f64 {
    #[inline(always)]
    fn bin(self) -> u32 {
        histogram::bin(self as f32)
    }

    #[inline(always)]
    fn decode(dtype: Dtype, bytes: &[u8], out: &mut [Self]) {
        decode(dtype, bytes, out);
    }
}

/// 1 for each element counted, and what takes it back.
const FORTH: u32 = 1;
const BACK: u32 = 1_u32.wrapping_neg();

impl MeasureUnit<'_> {
    #[inline(always)]
    fn leaves<T: Value, S: Simd>(self, simd: S) -> Vec<Sums> {
        let Self { dtypes, bytes, count, counts } = self;
        let mut leaves = Vec::with_capacity(count.div_ceil(LEAF));
        for first in (0..count).step_by(LEAF) {
            let leaf = Leaf { dtypes, bytes, first, count: LEAF.min(count - first) };
            let mut sums = leaf.measure::<T, S, false>(simd, FORTH, counts);
            // A NaN or infinity anywhere shows in the sums of squares.
            if !(sums.gram.pre_pre + sums.gram.v_v + sums.gram.u_u).is_finite() {
                leaf.measure::<T, S, false>(simd, BACK, counts);
                sums = leaf.measure::<T, S, true>(simd, FORTH, counts);
            }
            leaves.push(sums);
        }
        leaves
    }
}

/// Up to [`LEAF`] elements of a unit.
struct Leaf<'a> {
    dtypes: [Dtype; 3],
    bytes: [&'a [u8]; 3],
    first: usize,
    count: usize,
}

impl Leaf<'_> {
    /// The sums; the counts of bins change by `step` for each element.
    #[inline(always)]
    fn measure<T: Value, S: Simd, const SKIP_NONFINITE: bool>(
        &self,
        simd: S,
        step: u32,
        counts: &mut JointCounts,
    ) -> Sums {
        let mut sums = Sums { elements: self.count as u64, ..Sums::default() };
        let mut products = [[0.0; LANES]; 6];
        let (mut sum_lanes, mut max_lanes) = ([0.0; LANES], [0.0; LANES]);
        let (mut v, mut u) = ([T::default(); BLOCK], [T::default(); BLOCK]);
        let mut models = [[T::default(); BLOCK]; 3];
        let mut bins = [0_u32; BLOCK];
        let mut tallies = [0_u64; 4];
        let mut not_zeros = 0;
        for start in (0..self.count).step_by(BLOCK) {
            let length = BLOCK.min(self.count - start);
            for ((dtype, bytes), model) in self.dtypes.into_iter().zip(self.bytes).zip(&mut models) {
                let width = dtype.bitsize() / 8;
                T::decode(dtype, &bytes[(self.first + start) * width..][..length * width], &mut model[..length]);
                model[length..].fill(T::default());
            }
            let left_out = if SKIP_NONFINITE { leave_out_nonfinite(&mut models, &mut sums) } else { 0 };
            let [pre, post, target] = &models;
            for i in 0..BLOCK {
                v[i] = post[i] - pre[i];
                u[i] = target[i] - pre[i];
            }
            add_products(simd, [pre, &v, &u], [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)], &mut products);
            add_and_compare(simd, &v, &mut sum_lanes, &mut max_lanes);
            let mut block = [0_u32; 4];
            let zero = T::default();
            for i in 0..BLOCK {
                block[0] += u32::from(v[i] == zero);
                block[1] += u32::from(((v[i] > zero) & (u[i] > zero)) | ((v[i] < zero) & (u[i] < zero)));
                block[2] += u32::from(((v[i] > zero) & (u[i] < zero)) | ((v[i] < zero) & (u[i] > zero)));
                block[3] += u32::from(pre[i] == zero);
            }
            for (tally, count) in tallies.iter_mut().zip(block) {
                *tally += u64::from(count);
            }
            for i in 0..BLOCK {
                bins[i] = v[i].bin() * BINS as u32 + pre[i].bin();
            }
            let counters = counts.counts.as_mut_slice();
            for bin in bins {
                let counter = &mut counters[bin as usize & (BINS * BINS - 1)];
                *counter = counter.wrapping_add(step);
            }
            // What was left out and the padding behind the last element are counted as zeros too.
            not_zeros += left_out + (BLOCK - length) as u64;
        }
        let [zeros, same_sign, opposite_sign, pre_zeros] = tallies;
        // Without an element left out nothing was taken back either.
        sums.zeros = zeros - not_zeros;
        sums.same_sign = same_sign;
        sums.opposite_sign = opposite_sign;
        if step == FORTH {
            counts.pre_zeros += pre_zeros;
        } else {
            counts.pre_zeros -= pre_zeros;
        }
        let [pre_pre, pre_v, pre_u, v_v, v_u, u_u] = products.map(|lanes| lanes.iter().sum());
        sums.gram = Gram { pre_pre, pre_v, pre_u, v_v, v_u, u_u };
        sums.sum = sum_lanes.iter().sum();
        sums.max_abs = max_lanes.into_iter().fold(0.0, f64::max);
        sums
    }
}

/// Counts NaN and infinity, and sets such elements to zero in all three models; gives how many elements that were.
#[inline(never)]
fn leave_out_nonfinite<T: Value>(models: &mut [[T; BLOCK]; 3], sums: &mut Sums) -> u64 {
    let mut left_out = 0;
    for i in 0..BLOCK {
        let bad = models.each_ref().map(|model| !model[i].wide().is_finite());
        for (count, bad) in sums.nonfinite.iter_mut().zip(bad) {
            *count += u64::from(bad);
        }
        if bad.contains(&true) {
            models.iter_mut().for_each(|model| model[i] = T::default());
            left_out += 1;
        }
    }
    sums.left_out += left_out;
    left_out
}
