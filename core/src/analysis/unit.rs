//! The arithmetic of a measurement: sums and counts of one stretch of the three models.

use std::ops::Sub;

use pulp::{Simd, WithSimd};

use super::Sums;
use super::gram::Gram;
use super::histogram::{self, BINS, LogHistogram};
use crate::checkpoint::Dtype;
use crate::method::LEAF;
use crate::numeric::{BLOCK, Factor, LANES, ONE, Row, add_products_beside, decode, decode_narrow, dispatch, is_narrow};

/// Elements counted by the bin of v and the bin of pre at once: one counter is looked up for each element and not two.
pub(crate) struct JointCounts {
    /// By v and then by pre.
    counts: Box<[u32; BINS * BINS]>,
    /// The bins of v beside the first within which anything was counted.
    reach: Option<(u32, u32)>,
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
        // Not on the stack, for which it is too large.
        let counts = vec![0; BINS * BINS].into_boxed_slice().try_into();
        let Ok(counts) = counts else { unreachable!("it has as many as were asked for") };
        Self { counts, reach: None, pre_zeros: 0 }
    }
}

impl JointCounts {
    /// Something was counted in the bins of v that these two have, or between them.
    fn reaches(&mut self, least: u32, largest: u32) {
        let (low, high) = self.reach.unwrap_or((least, largest));
        self.reach = Some((low.min(least), high.max(largest)));
    }

    /// Gives what was counted, and begins again.
    pub(crate) fn take(&mut self) -> BinCounts {
        let mut taken = BinCounts { counts: [[0; BINS]; 2], pre_zeros: std::mem::take(&mut self.pre_zeros) };
        let [vector, pre] = &mut taken.counts;
        let rows = self.counts.as_chunks_mut::<BINS>().0;
        let (low, high) = self.reach.take().unwrap_or_default();
        for bin in [0].into_iter().chain(low.max(1)..=high) {
            let bin = bin as usize;
            for (pre, count) in pre.iter_mut().zip(&mut rows[bin]) {
                vector[bin] += u64::from(*count);
                *pre += u64::from(std::mem::take(count));
            }
        }
        taken
    }
}

/// Measures a stretch that begins with a leaf: gives the sums of each [`LEAF`] elements begun, and adds to the counts of all.
pub(crate) fn measure_leaves(
    dtypes: [Dtype; 3],
    bytes: [&[u8]; 3],
    count: usize,
    counts: &mut JointCounts,
) -> Vec<Sums> {
    dispatch(MeasureLeaves { dtypes, bytes, count, counts })
}

/// The leaves of a stretch, as an operation that is compiled for each instruction set. Everything that it calls for each element
/// is inlined into it.
struct MeasureLeaves<'a> {
    dtypes: [Dtype; 3],
    bytes: [&'a [u8]; 3],
    count: usize,
    counts: &'a mut JointCounts,
}

impl WithSimd for MeasureLeaves<'_> {
    type Output = Vec<Sums>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Sums> {
        if self.dtypes.into_iter().all(is_narrow) { self.leaves::<f32, S>(simd) } else { self.leaves::<f64, S>(simd) }
    }
}

/// What elements are decoded to and differences are taken in: f32 for those of 8 and 16 bits, whose differences it holds exactly
/// but where one of the two is thousands of times the other; else f64.
trait Value: Factor + Default + PartialEq + Sub<Output = Self> {
    /// The bits of a magnitude, which are in the order of magnitudes.
    type Magnitude: Copy + Default + Ord;

    /// The half octave of a number.
    fn bin(self) -> u32;
    /// How large a number is.
    fn magnitude(self) -> Self::Magnitude;
    /// The next smaller magnitude, the largest of all being that for 0.
    fn below(self) -> Self::Magnitude;
    /// A magnitude as a number.
    fn of_magnitude(magnitude: Self::Magnitude) -> Self;
    /// The number of which a magnitude is the next smaller one.
    fn above(magnitude: Self::Magnitude) -> Self;
    /// Whether two numbers have other signs, those of zeros included.
    fn is_opposite(self, other: Self) -> bool;
    /// Decodes up to [`BLOCK`] elements, those of all models that have one dtype in the same order; what is missing is 0.
    fn decode(dtype: Dtype, bytes: &[u8], count: usize, out: &mut [Self; BLOCK]);
}

impl Value for f32 {
    type Magnitude = u32;

    #[inline(always)]
    fn bin(self) -> u32 {
        histogram::bin(self)
    }

    #[inline(always)]
    fn magnitude(self) -> u32 {
        self.to_bits() & 0x7fff_ffff
    }

    #[inline(always)]
    fn below(self) -> u32 {
        self.magnitude().wrapping_sub(1)
    }

    #[inline(always)]
    fn of_magnitude(magnitude: u32) -> Self {
        Self::from_bits(magnitude)
    }

    #[inline(always)]
    fn above(magnitude: u32) -> Self {
        Self::from_bits(magnitude.wrapping_add(1))
    }

    #[inline(always)]
    fn is_opposite(self, other: Self) -> bool {
        (self.to_bits() ^ other.to_bits()) >> 31 == 1
    }

    #[inline(always)]
    fn decode(dtype: Dtype, bytes: &[u8], count: usize, out: &mut [Self; BLOCK]) {
        decode_narrow(dtype, bytes, &mut out[..count]);
        out[count..].fill(0.0);
    }
}

impl Value for f64 {
    type Magnitude = u64;

    #[inline(always)]
    fn bin(self) -> u32 {
        histogram::bin(self as f32)
    }

    #[inline(always)]
    fn magnitude(self) -> u64 {
        self.to_bits() & (u64::MAX >> 1)
    }

    #[inline(always)]
    fn below(self) -> u64 {
        self.magnitude().wrapping_sub(1)
    }

    #[inline(always)]
    fn of_magnitude(magnitude: u64) -> Self {
        Self::from_bits(magnitude)
    }

    #[inline(always)]
    fn above(magnitude: u64) -> Self {
        Self::from_bits(magnitude.wrapping_add(1))
    }

    #[inline(always)]
    fn is_opposite(self, other: Self) -> bool {
        (self.to_bits() ^ other.to_bits()) >> 63 == 1
    }

    #[inline(always)]
    fn decode(dtype: Dtype, bytes: &[u8], count: usize, out: &mut [Self; BLOCK]) {
        decode(dtype, bytes, &mut out[..count]);
        out[count..].fill(0.0);
    }
}

/// 1 for each element counted, and what takes it back.
const FORTH: u32 = 1;
const BACK: u32 = 1_u32.wrapping_neg();

impl MeasureLeaves<'_> {
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
        let mut products = [[0.0; LANES]; 7];
        let mut models: [Row<T>; 3] = Default::default();
        let (mut v, mut u) = (Row::<T>::default(), Row::<T>::default());
        let mut bins = Row::<u32>::default();
        let (mut least, mut largest) = (T::default().below(), T::Magnitude::default());
        let mut tallies = [0_u64; 4];
        let mut not_zeros = 0;
        for start in (0..self.count).step_by(BLOCK) {
            let length = BLOCK.min(self.count - start);
            for ((dtype, bytes), model) in self.dtypes.into_iter().zip(self.bytes).zip(&mut models) {
                let width = dtype.bitsize() / 8;
                T::decode(dtype, &bytes[(self.first + start) * width..][..length * width], length, model);
            }
            let left_out = if SKIP_NONFINITE { leave_out_nonfinite(&mut models, &mut sums) } else { 0 };
            let [pre, post, target] = &models;
            let zero = T::default();
            let (mut zeros, mut both, mut opposite, mut pre_zeros) = (0_u32, 0_u32, 0_u32, 0_u32);
            for i in 0..BLOCK {
                v[i] = post[i] - pre[i];
                u[i] = target[i] - pre[i];
                let move_both = (v[i] != zero) & (u[i] != zero);
                zeros += u32::from(v[i] == zero);
                both += u32::from(move_both);
                opposite += u32::from(move_both & v[i].is_opposite(u[i]));
                pre_zeros += u32::from(pre[i] == zero);
                least = least.min(v[i].below());
                largest = largest.max(v[i].magnitude());
                bins[i] = v[i].bin() * BINS as u32 + pre[i].bin();
            }
            for (tally, count) in tallies.iter_mut().zip([zeros, both, opposite, pre_zeros]) {
                *tally += u64::from(count);
            }
            const PAIRS: [(usize, usize); 7] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (1, ONE)];
            // Counters are no work for vectors, and sums none for anything else.
            add_products_beside(simd, [pre, &v, &u], PAIRS, &mut products, |first| {
                for bin in &bins[first..first + LANES] {
                    let counter = &mut counts.counts[*bin as usize & (BINS * BINS - 1)];
                    *counter = counter.wrapping_add(step);
                }
            });
            // What was left out and the padding behind the last element are counted as zeros too.
            not_zeros += left_out + (BLOCK - length) as u64;
        }
        let [zeros, both, opposite, pre_zeros] = tallies;
        // Without an element left out nothing was taken back either.
        sums.zeros = zeros - not_zeros;
        sums.same_sign = both - opposite;
        sums.opposite_sign = opposite;
        if step == FORTH {
            counts.pre_zeros += pre_zeros;
        } else {
            counts.pre_zeros -= pre_zeros;
        }
        let [pre_pre, pre_v, pre_u, v_v, v_u, u_u, sum] = products.map(|lanes| lanes.iter().sum());
        sums.gram = Gram { pre_pre, pre_v, pre_u, v_v, v_u, u_u };
        sums.sum = sum;
        sums.max_abs = T::of_magnitude(largest).wide();
        counts.reaches(T::above(least).bin(), T::of_magnitude(largest).bin());
        sums
    }
}

/// Counts NaN and infinity, and sets such elements to zero in all three models; gives how many elements that were.
#[inline(never)]
fn leave_out_nonfinite<T: Value>(models: &mut [Row<T>; 3], sums: &mut Sums) -> u64 {
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
