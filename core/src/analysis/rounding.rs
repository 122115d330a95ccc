//! What rounding would leave of w·v at any w, previewed on the samples.

use std::collections::HashMap;

use crate::checkpoint::Dtype;
use crate::layout::Part;
use crate::numeric::flip_distance;
use crate::recipe::{OutputSpec, Rounding};

use super::excerpt::{Excerpts, Projection, Scratch};
use super::sample::Updates;
use super::survival_curve::{Stratum, SurvivalCurve};
use super::{Cell, Group, Overview, Sample, TensorAnalysis, VectorAnalysis};

/// Standard deviations either side of an estimate that hold 95 % of a normal distribution.
const Z95: f64 = 1.959_964;

/// Updates that are combined anew at each w, over all tensors; few enough to do so for every frame.
const EXCERPT: usize = 100_000;

/// The same where the survival of a single tensor rests on them too.
const STEPPED_EXCERPT: usize = 200_000;

/// Of these, those of one tensor at least.
const EXCERPT_LEAST: usize = 4;

/// Entries of a curve's index.
const INDEX: usize = 10;

/// Tensors of a cell from which on it has a curve of its own.
const MANY: usize = 32;

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

/// A share as it adds up over tensors as strata.
#[derive(Default)]
struct Share {
    updates: f64,
    found: f64,
    variance: f64,
}

impl Share {
    /// Adds a tensor of so many updates, so many of which were looked at.
    fn add(&mut self, updates: f64, sampled: f64, share: f64) {
        self.updates += updates;
        self.found += updates * share;
        if sampled < updates {
            // Agresti and Coull's two added successes and failures keep a share of 0 or 1 from looking certain.
            let (trials, held) = (sampled + 4.0, (share * sampled + 2.0) / (sampled + 4.0));
            self.variance += updates * updates * held * (1.0 - held) / trials;
        }
    }

    fn estimate(&self) -> Estimate {
        if self.updates == 0.0 {
            return Estimate::NONE;
        }
        Estimate { value: self.found / self.updates, margin: Z95 * self.variance.sqrt() / self.updates }
    }
}

/// What reaches the output of some tensors taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundedEffect {
    /// ⟨v, θ_enh − target⟩ ∕ ‖v‖², the w that is really applied, over the updates that are written as a number.
    ///
    /// NaN where there are none.
    pub effective_w: Estimate,
    /// Cosine of w·v and θ_enh − target over the same updates; NaN when either is zero. Estimated.
    ///
    /// The mergekit modes also change elements that v does not move; those are not in it.
    pub cosine: f64,
    /// Share of the updates whose sum is beyond what the output type holds, 0 to 1: written as infinity or NaN, or held at
    /// the largest value of a type without infinity. NaN where there are no updates.
    ///
    /// A share of 0 among sampled updates still has a margin: it may be a rare one.
    pub overflowing: Estimate,
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
/// An update survives when the element written differs from the one that the target alone is rounded to. Survival has no
/// closed form, but for rounding to nearest each element has a |w| of its own from which on it survives, since rounding
/// is monotonic. Those are kept in order for the sampled updates: the share at any w is one binary search for each tensor.
///
/// The two mergekit modes round at every step, and what they write at w = 0 need not be the target: an update may survive
/// at a small |w| and be lost at a larger one. Theirs are taken through the steps of a merge, at the w that is asked for.
///
/// Stochastic rounding keeps the mean of every update, so there is no survival to show and the effective w is w.
#[derive(Clone, Debug)]
pub struct RoundingPreview {
    rounding: Rounding,
    /// For w > 0; empty unless sums are rounded to nearest.
    forth: Curves,
    /// For w < 0.
    back: Curves,
    excerpts: Excerpts,
}

impl RoundingPreview {
    /// Prepares the samples for an output; takes about 0.1 µs for each update sampled.
    ///
    /// [`RoundingPreview::effect`] then looks at few enough updates to be asked for every frame. So does
    /// [`RoundingPreview::survival`] in the mergekit modes, with a margin as much wider.
    pub fn new(analysis: &VectorAnalysis, output: &OutputSpec) -> Self {
        let most = if output.rounding.is_single() { EXCERPT } else { STEPPED_EXCERPT };
        let each = most.checked_div(analysis.tensors.len()).unwrap_or(0).max(EXCERPT_LEAST);
        let mut preview = Self::with_excerpts_of(analysis, output, each);
        if output.rounding == Rounding::Nearest {
            let overview = Overview::new(analysis);
            let cells = overview.groups.iter().flat_map(|group| &group.cells);
            for cell in cells.filter(|cell| cell.tensors.len() >= MANY) {
                preview.forth.combine(cell);
                preview.back.combine(cell);
            }
        }
        preview
    }

    /// As [`RoundingPreview::new`], but looks at all sampled updates whatever is asked for: for reports.
    pub fn thorough(analysis: &VectorAnalysis, output: &OutputSpec) -> Self {
        Self::with_excerpts_of(analysis, output, usize::MAX)
    }

    /// `each` is how many updates of a tensor are combined anew at each w.
    fn with_excerpts_of(analysis: &VectorAnalysis, output: &OutputSpec, each: usize) -> Self {
        let mut preview = Self {
            rounding: output.rounding,
            forth: Curves::default(),
            back: Curves::default(),
            excerpts: Excerpts::default(),
        };
        for TensorAnalysis { dtype, sums, sample, .. } in &analysis.tensors {
            let dtype = output.dtype.written(*dtype);
            if output.rounding == Rounding::Nearest {
                preview.forth.push(sample, sums.updates() as f64, dtype, true);
                preview.back.push(sample, sums.updates() as f64, dtype, false);
            }
            preview.excerpts.push(sample, each, dtype, sums.updates());
        }
        preview
    }

    /// Share of the non-zero updates of some tensors that survive rounding, 0 to 1, with 95 % confidence.
    ///
    /// `tensors` are positions in [`VectorAnalysis::tensors`] with their coefficients. NaN when v or every coefficient is
    /// zero, and for stochastic rounding.
    pub fn survival(&self, tensors: impl IntoIterator<Item = (usize, f32)>) -> Estimate {
        let (mut surviving, mut scratch) = (Share::default(), Scratch::default());
        for (position, coefficient) in tensors.into_iter().filter(|(_, coefficient)| *coefficient != 0.0) {
            if !self.rounding.is_single() {
                if let Some(written) = self.excerpts.written(position, coefficient, self.rounding, &mut scratch) {
                    let share = written.surviving as f64 / written.sampled;
                    surviving.add(written.updates, written.sampled, share);
                }
            } else {
                let curves = if coefficient > 0.0 { &self.forth } else { &self.back };
                if let Some((share, curve)) = curves.survival(position, coefficient.abs()) {
                    surviving.add(curve.updates, curve.count.into(), share);
                }
            }
        }
        surviving.estimate()
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
        let (mut total, mut overflowing) = (Projection::default(), Share::default());
        let mut scratch = Scratch::default();
        for (position, c) in tensors {
            if let Some(written) = self.excerpts.written(position, c, self.rounding, &mut scratch) {
                // How many updates of the tensor each of these stands for.
                let weight = written.updates / written.sampled;
                total.add(&written.projection, weight, f64::from(c));
                overflowing.add(written.updates, written.sampled, written.overflowing as f64 / written.sampled);
            }
        }
        let overflowing = overflowing.estimate();
        if total.v_v == 0.0 {
            return RoundedEffect { effective_w: Estimate::NONE, cosine: f64::NAN, overflowing };
        }
        let value = total.v_written / total.v_v;
        let residuals = total.cross_sq - 2.0 * value * total.cross + value * value * total.fourth;
        let margin = Z95 * residuals.max(0.0).sqrt() / total.v_v;
        let cosine = super::gram::cosine(total.intended_written, total.intended_sq, total.written_sq);
        RoundedEffect { effective_w: Estimate { value, margin }, cosine, overflowing }
    }
}

impl Curves {
    /// Adds a tensor.
    fn push(&mut self, sample: &Sample, updates: f64, dtype: Dtype, forth: bool) {
        let first = self.last_lost.len();
        let last_lost = |[pre, post, target]: [f64; 3]| last_lost(dtype, target, post - pre, forth);
        match &sample.updates {
            Updates::Narrow(updates) => {
                self.last_lost.extend(updates.iter().map(|update| last_lost(update.map(f64::from))));
            }
            Updates::Wide(updates) => self.last_lost.extend(updates.iter().copied().map(last_lost)),
        }
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
    let (distance, stays) = flip_distance(dtype, target, (v > 0.0) == forth);
    let exact = (distance / v).abs();
    let nearest = exact as f32;
    let beyond = f64::from(nearest) > exact || f64::from(nearest) == exact && !stays;
    if beyond { nearest.next_down() } else { nearest }
}

#[cfg(test)]
mod tests {
    use crate::numeric::round_nearest;

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
