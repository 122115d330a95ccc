//! What rounding would leave of w·v at any w, previewed on the samples.

use std::collections::HashMap;
use std::ops::Range;

use crate::checkpoint::Dtype;
use crate::layout::Part;
use crate::numeric::{flip_point, round_nearest};
use crate::recipe::{OutputDtype, OutputSpec, Rounding};

use super::survival_curve::{Stratum, SurvivalCurve};
use super::{Cell, Group, Overview, Sample, TensorAnalysis, VectorAnalysis};

/// Standard deviations either side of an estimate that hold 95 % of a normal distribution.
const Z95: f64 = 1.959_964;

/// Updates on which the effective w is worked out, over all tensors; few enough to do so for every frame.
const EFFECT_BUDGET: usize = 100_000;

/// Of these, those of one tensor at least.
const EFFECT_LEAST: usize = 4;

/// Entries of a curve's index.
const INDEX: usize = 10;

/// Tensors of a cell from which on it has a curve of its own.
const MANY: usize = 32;

/// Updates rounded in one go.
const CHUNK: usize = 64;

/// A number and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number; NaN where there is nothing to measure.
    pub value: f64,
    /// Half the width of the 95 % interval. 0: it was counted, not estimated.
    pub margin: f64,
}

impl Estimate {
    /// There is nothing to measure.
    pub const NONE: Self = Self { value: f64::NAN, margin: 0.0 };

    /// Whether it comes from a sample.
    pub fn is_estimated(&self) -> bool {
        self.margin > 0.0
    }

    /// The share over several sets of updates, from the number of updates of each and its share.
    ///
    /// Sets are sampled independently of each other, so their variances add up. Those without a share are left out.
    pub fn combined(sets: impl IntoIterator<Item = (f64, Self)>) -> Self {
        let (mut updates, mut sum, mut variance) = (0.0, 0.0, 0.0);
        for (count, estimate) in sets.into_iter().filter(|(_, estimate)| estimate.value.is_finite()) {
            updates += count;
            sum += count * estimate.value;
            variance += (count * estimate.margin).powi(2);
        }
        if updates == 0.0 { Self::NONE } else { Self { value: sum / updates, margin: variance.sqrt() / updates } }
    }
}

/// What reaches the output, over all tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundedEffect {
    /// ⟨v, θ_enh − target⟩ ∕ ‖v‖²: the w that is really applied.
    pub effective_w: Estimate,
    /// Cosine of w·v and θ_enh − target; NaN when either is zero. Estimated.
    pub cosine: f64,
}

/// The updates of all tensors by the |w| from which rounding lets them through, for one sign of w.
#[derive(Clone, Debug, Default)]
struct Curves {
    /// Cells of many tensors, each as one.
    cells: HashMap<(Group, Part), SurvivalCurve>,
    /// For each update the largest |w| at which the output is still what it is at w = 0; ascending within a tensor.
    last_lost: Vec<f32>,
    tensors: Vec<Curve>,
}

/// The updates of one tensor: one line of memory.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Curve {
    /// Where they begin in [`Curves::last_lost`].
    first: u64,
    /// Updates sampled.
    count: u32,
    /// Updates that the tensor has.
    updates: f64,
    /// Some of them, evenly spaced, so that a search touches a few lines of memory and not ten.
    index: [f32; INDEX],
}

/// A preview of rounding for one analysis and one kind of output.
///
/// An update survives when the element written differs from the one written at w = 0. Survival has no closed form, but
/// each element has a |w| of its own from which on it survives, since rounding is monotonic. Those are kept in order for
/// the sampled updates: the share at any w is one binary search for each tensor.
///
/// Stochastic rounding keeps the mean of every update, so there is no survival to show and the effective w is w. The two
/// mergekit modes are previewed as rounding to nearest.
#[derive(Clone, Debug)]
pub struct RoundingPreview {
    rounding: Rounding,
    /// For w > 0.
    forth: Curves,
    /// For w < 0.
    back: Curves,
    /// For each tensor its share of `pairs`.
    excerpts: Vec<Excerpt>,
    /// Target and v of some updates of every tensor, one after the other.
    pairs: Vec<[f32; 2]>,
}

/// Some updates of one tensor.
#[derive(Clone, Debug)]
struct Excerpt {
    /// Where they are.
    pairs: Range<usize>,
    /// Element type that is written.
    dtype: Dtype,
    /// Updates that the tensor has.
    updates: f64,
}

impl RoundingPreview {
    /// Prepares the samples for an output; takes about 0.1 µs for each update sampled.
    ///
    /// [`RoundingPreview::effect`] then looks at few enough updates to be asked for every frame.
    pub fn new(analysis: &VectorAnalysis, output: &OutputSpec) -> Self {
        let each = EFFECT_BUDGET.checked_div(analysis.tensors.len()).unwrap_or(0).max(EFFECT_LEAST);
        let mut preview = Self::with_effect_of(analysis, output, each);
        let overview = Overview::new(analysis);
        let cells = overview.groups.iter().flat_map(|group| &group.cells);
        for cell in cells.filter(|cell| cell.tensors.len() >= MANY) {
            preview.forth.combine(cell);
            preview.back.combine(cell);
        }
        preview
    }

    /// As [`RoundingPreview::new`], but [`RoundingPreview::effect`] looks at all sampled updates: for reports.
    pub fn thorough(analysis: &VectorAnalysis, output: &OutputSpec) -> Self {
        Self::with_effect_of(analysis, output, usize::MAX)
    }

    /// `each` is how many updates of a tensor [`RoundingPreview::effect`] looks at.
    fn with_effect_of(analysis: &VectorAnalysis, output: &OutputSpec, each: usize) -> Self {
        let mut preview = Self {
            rounding: output.rounding,
            forth: Curves::default(),
            back: Curves::default(),
            excerpts: Vec::new(),
            pairs: Vec::new(),
        };
        for TensorAnalysis { dtype, sums, sample, .. } in &analysis.tensors {
            let dtype = written_dtype(output.dtype, *dtype);
            if output.rounding != Rounding::Stochastic {
                preview.forth.push(sample, sums.updates() as f64, dtype, true);
                preview.back.push(sample, sums.updates() as f64, dtype, false);
            }
            let step = sample.pairs.len().div_ceil(each).max(1);
            let first = preview.pairs.len();
            preview.pairs.extend(sample.pairs.iter().step_by(step));
            let pairs = first..preview.pairs.len();
            preview.excerpts.push(Excerpt { pairs, dtype, updates: sums.updates() as f64 });
        }
        preview
    }

    /// Share of the non-zero updates of some tensors that survive rounding, 0 to 1, with 95 % confidence.
    ///
    /// `tensors` are positions in [`VectorAnalysis::tensors`] with their coefficients. NaN when v or every coefficient is
    /// zero, and for stochastic rounding.
    pub fn survival(&self, tensors: impl IntoIterator<Item = (usize, f32)>) -> Estimate {
        let (mut updates, mut surviving, mut variance) = (0.0, 0.0, 0.0);
        for (position, coefficient) in tensors {
            let curves = if coefficient > 0.0 { &self.forth } else { &self.back };
            let found = (coefficient != 0.0).then(|| curves.survival(position, coefficient.abs()));
            let Some((share, curve)) = found.flatten() else { continue };
            let (count, sampled) = (curve.updates, f64::from(curve.count));
            updates += count;
            surviving += count * share;
            if sampled < count {
                // Agresti and Coull's two added successes and failures keep a share of 0 or 1 from looking certain.
                let (trials, held) = (sampled + 4.0, (share * sampled + 2.0) / (sampled + 4.0));
                variance += count * count * held * (1.0 - held) / trials;
            }
        }
        if updates == 0.0 {
            return Estimate::NONE;
        }
        Estimate { value: surviving / updates, margin: Z95 * variance.sqrt() / updates }
    }

    /// As [`RoundingPreview::survival`], for a part of a layer whose tensors all have the same coefficient.
    ///
    /// Of a cell of many sampled tensors it is read off one curve, to within 0.03 points of what they come to one by one.
    pub fn cell_survival(&self, cell: &Cell, coefficient: f32) -> Estimate {
        let curves = if coefficient > 0.0 { &self.forth } else { &self.back };
        let known = || curves.cells.get(&(cell.group, cell.row.part)).filter(|_| cell.row.expert.is_none());
        match known().filter(|_| coefficient != 0.0) {
            Some(curve) => {
                let (value, margin) = curve.at(coefficient.abs(), Z95);
                Estimate { value, margin }
            }
            None => self.survival(cell.tensors.iter().map(|&tensor| (tensor, coefficient))),
        }
    }

    /// What reaches the output of some tensors taken together.
    ///
    /// `tensors` are positions in [`VectorAnalysis::tensors`] with their coefficients. A combined ratio estimate over
    /// tensors as strata (Cochran, Sampling Techniques, 3rd ed., section 6.11): few updates of each of many tensors do
    /// not bias it.
    pub fn effect(&self, tensors: impl IntoIterator<Item = (usize, f32)>) -> RoundedEffect {
        let mut total = Projection::default();
        let mut scratch = Scratch { sums: [0.0; CHUNK], bytes: [0; CHUNK * 8], written: [0.0; CHUNK] };
        for (position, c) in tensors {
            let excerpt = &self.excerpts[position];
            let pairs = &self.pairs[excerpt.pairs.clone()];
            if !pairs.is_empty() {
                // How many updates of the tensor each of these stands for.
                let weight = excerpt.updates / pairs.len() as f64;
                total.add(&excerpt.project(pairs, c, self.rounding, &mut scratch), weight, f64::from(c));
            }
        }
        if total.v_v == 0.0 {
            return RoundedEffect { effective_w: Estimate::NONE, cosine: f64::NAN };
        }
        let value = total.v_written / total.v_v;
        let residuals = total.cross_sq - 2.0 * value * total.cross + value * value * total.fourth;
        let margin = Z95 * residuals.max(0.0).sqrt() / total.v_v;
        let cosine = super::gram::cosine(total.intended_written, total.intended_sq, total.written_sq);
        RoundedEffect { effective_w: Estimate { value, margin }, cosine }
    }
}

/// The element type that a merge writes for a tensor of the target.
fn written_dtype(output: OutputDtype, target: Dtype) -> Dtype {
    match output {
        OutputDtype::Target => target,
        OutputDtype::Bf16 => Dtype::BF16,
        OutputDtype::F16 => Dtype::F16,
        OutputDtype::F32 => Dtype::F32,
    }
}

impl Curves {
    /// Adds a tensor.
    fn push(&mut self, sample: &Sample, updates: f64, dtype: Dtype, forth: bool) {
        let first = self.last_lost.len();
        let values = sample.pairs.iter().map(|&[target, v]| last_lost(dtype, f64::from(target), f64::from(v), forth));
        self.last_lost.extend(values);
        let sorted = &mut self.last_lost[first..];
        sorted.sort_unstable_by(f32::total_cmp);
        let count = sorted.len();
        let index = std::array::from_fn(|step| sorted.get(bucket(count, step + 1)).copied().unwrap_or(f32::INFINITY));
        // A sample has at most FULL_SAMPLE updates.
        self.tensors.push(Curve { first: first as u64, count: count as u32, updates, index });
    }

    /// Draws a curve of all tensors of a cell.
    fn combine(&mut self, cell: &Cell) {
        let strata = cell.tensors.iter().filter_map(|&tensor| {
            let curve = self.tensors.get(tensor)?;
            let sampled = curve.first as usize..curve.first as usize + curve.count as usize;
            Some(Stratum { last_lost: &self.last_lost[sampled], updates: curve.updates })
        });
        if let Some(curve) = SurvivalCurve::new(strata) {
            self.cells.insert((cell.group, cell.row.part), curve);
        }
    }

    /// The share of a tensor's sampled updates that survives at |w|; `None` when it has none.
    fn survival(&self, tensor: usize, magnitude: f32) -> Option<(f64, &Curve)> {
        let curve = self.tensors.get(tensor).filter(|curve| curve.count > 0)?;
        let (first, count) = (curve.first as usize, curve.count as usize);
        // Every value before the bucket is below |w|, every one behind it is not.
        let step = curve.index.iter().filter(|&&last_lost| last_lost < magnitude).count();
        let (from, to) = (bucket(count, step), bucket(count, step + 1));
        let within = &self.last_lost[first + from..first + to];
        let surviving = from + within.partition_point(|&last_lost| last_lost < magnitude);
        Some((surviving as f64 / count as f64, curve))
    }
}

/// Where the given one of [`INDEX`] + 1 buckets of a sorted list begins.
fn bucket(count: usize, step: usize) -> usize {
    count * step / (INDEX + 1)
}

/// The largest |w| of that sign at which `target` + w·`v` is rounded to what `target` itself is rounded to.
fn last_lost(dtype: Dtype, target: f64, v: f64, forth: bool) -> f32 {
    let (point, stays) = flip_point(dtype, target, (v > 0.0) == forth);
    let exact = ((point - target) / v).abs();
    let nearest = exact as f32;
    let beyond = f64::from(nearest) > exact || f64::from(nearest) == exact && !stays;
    if beyond { nearest.next_down() } else { nearest }
}

/// Sums over updates: where the written change lies to v.
#[derive(Clone, Copy, Debug, Default)]
struct Projection {
    /// Σ v².
    v_v: f64,
    /// Σ v·written.
    v_written: f64,
    /// Σ written².
    written_sq: f64,
    /// Σ (c·v)².
    intended_sq: f64,
    /// Σ c·v·written.
    intended_written: f64,
    /// Σ (v·written)², Σ v·written·v² and Σ v⁴, from which the squared residuals of the ratio follow; none where every
    /// update was looked at.
    cross_sq: f64,
    cross: f64,
    fourth: f64,
}

impl Projection {
    /// Adds the sums of a tensor with coefficient `c`, each of whose updates stands for `weight`.
    fn add(&mut self, tensor: &Self, weight: f64, c: f64) {
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

/// Buffers that every tensor would otherwise clear anew.
struct Scratch {
    /// target + c·v.
    sums: [f64; CHUNK],
    bytes: [u8; CHUNK * 8],
    written: [f64; CHUNK],
}

impl Excerpt {
    /// Rounds target + c·v of its pairs.
    fn project(&self, pairs: &[[f32; 2]], c: f32, rounding: Rounding, scratch: &mut Scratch) -> Projection {
        let mut found = Projection::default();
        let width = self.dtype.bitsize() / 8;
        let Scratch { sums, bytes, written } = scratch;
        for pairs in pairs.chunks(CHUNK) {
            let count = pairs.len();
            for (sum, [target, v]) in sums.iter_mut().zip(pairs) {
                *sum = f64::from(*target) + f64::from(c) * f64::from(*v);
            }
            if rounding == Rounding::Stochastic {
                // Every update is kept in the mean.
                written[..count].copy_from_slice(&sums[..count]);
            } else {
                round_nearest(self.dtype, &sums[..count], &mut bytes[..count * width], &mut written[..count]);
            }
            let pairs = pairs.iter().map(|pair| pair.map(f64::from));
            for ([target, v], written) in pairs.zip(&written[..count]) {
                let change = written - target;
                let (product, square) = (v * change, v * v);
                found.v_v += square;
                found.v_written += product;
                found.written_sq += change * change;
                found.cross_sq += product * product;
                found.cross += product * square;
                found.fourth += square * square;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_step_is_lost_to_even_and_a_hair_more_is_not() {
        // bf16 around 1 has steps of 2⁻⁷ above and 2⁻⁸ below; 1 is even.
        assert_eq!(last_lost(Dtype::BF16, 1.0, 2.0_f64.powi(-7), true), 0.5);
        assert_eq!(last_lost(Dtype::BF16, 1.0, 2.0_f64.powi(-7), false), 0.25);
        assert_eq!(last_lost(Dtype::BF16, 1.0, -(2.0_f64.powi(-7)), true), 0.25);
        // 1 + 2⁻⁷ is odd: the sum halfway is rounded away from it.
        let odd = 1.0 + 2.0_f64.powi(-7);
        assert_eq!(last_lost(Dtype::BF16, odd, 2.0_f64.powi(-7), true), 0.5_f32.next_down());
    }

    #[test]
    fn the_w_from_which_an_update_survives_agrees_with_rounding_itself() {
        let round = |dtype: Dtype, sum: f64| {
            let (mut bytes, mut written) = ([0; 8], [0.0]);
            round_nearest(dtype, &[sum], &mut bytes[..dtype.bitsize() / 8], &mut written);
            written[0]
        };
        // Not f32: there the f64 sum that a merge rounds is itself rounded now and then.
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F8_E4M3, Dtype::F8_E5M2] {
            for number in 1..2_000_u32 {
                let target = f64::from(round(dtype, f64::from((number * 7919) % 1000) / 613.0 - 0.7) as f32);
                let v = f64::from((f64::from((number * 104_729) % 997) / 49_000.0 - 0.01) as f32);
                if v == 0.0 {
                    continue;
                }
                for forth in [true, false] {
                    let last = last_lost(dtype, target, v, forth);
                    let sign = if forth { 1.0 } else { -1.0 };
                    let at = |w: f32| round(dtype, target + sign * f64::from(w) * v) != round(dtype, target);
                    assert!(!at(last), "{dtype}: {target} + {last}·{v} is lost");
                    assert!(at(last.next_up()), "{dtype}: {target} + more than {last}·{v} is not");
                }
            }
        }
    }
}
