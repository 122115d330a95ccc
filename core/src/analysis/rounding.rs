//! What rounding would leave of w·v at any w, previewed on the samples.

use crate::checkpoint::Dtype;
use crate::numeric::{flip_point, round_nearest};
use crate::recipe::{OutputDtype, OutputSpec, Rounding};

use super::{Sample, TensorAnalysis, VectorAnalysis};

/// Standard deviations either side of an estimate that hold 95 % of a normal distribution.
const Z95: f64 = 1.959_964;

/// Updates on which the effective w is worked out, over all tensors; few enough to do so for every frame.
const EFFECT_BUDGET: usize = 200_000;

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
}

/// What reaches the output, over all tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundedEffect {
    /// ⟨v, θ_enh − target⟩ ∕ ‖v‖²: the w that is really applied.
    pub effective_w: Estimate,
    /// Cosine of w·v and θ_enh − target; NaN when either is zero. Estimated.
    pub cosine: f64,
}

/// The updates of one tensor by the w from which rounding lets them through.
#[derive(Clone, Debug, Default)]
struct Curve {
    /// For w > 0, ascending: the largest |w| at which the output is still what it is at w = 0.
    forth: Vec<f32>,
    /// For w < 0.
    back: Vec<f32>,
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
    dtypes: Vec<Dtype>,
    curves: Vec<Curve>,
}

impl RoundingPreview {
    /// Prepares the samples for an output; takes about 0.1 µs for each update sampled.
    pub fn new(analysis: &VectorAnalysis, output: &OutputSpec) -> Self {
        let dtypes: Vec<Dtype> =
            analysis.tensors.iter().map(|tensor| written_dtype(output.dtype, tensor.dtype)).collect();
        let curves = if output.rounding == Rounding::Stochastic {
            vec![Curve::default(); dtypes.len()]
        } else {
            analysis.tensors.iter().zip(&dtypes).map(|(tensor, &dtype)| Curve::new(&tensor.sample, dtype)).collect()
        };
        Self { rounding: output.rounding, dtypes, curves }
    }

    /// Share of the non-zero updates of some tensors that survive rounding, 0 to 1, with 95 % confidence.
    ///
    /// `tensors` are positions in [`VectorAnalysis::tensors`] with their coefficients. NaN when v or every coefficient is
    /// zero, and for stochastic rounding.
    pub fn survival(&self, analysis: &VectorAnalysis, tensors: impl IntoIterator<Item = (usize, f32)>) -> Estimate {
        let (mut updates, mut surviving, mut variance) = (0.0, 0.0, 0.0);
        for (position, coefficient) in tensors {
            let tensor = &analysis.tensors[position];
            let Some((share, sampled)) = self.curves[position].survival(coefficient) else { continue };
            let count = tensor.sums.updates() as f64;
            updates += count;
            surviving += count * share;
            if !tensor.sample.is_complete() {
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

    /// What reaches the output over all tensors, each with the coefficient that `coefficient` gives it.
    pub fn effect(&self, analysis: &VectorAnalysis, coefficient: impl Fn(&TensorAnalysis) -> f32) -> RoundedEffect {
        self.effect_of(analysis, analysis.tensors.iter().map(coefficient).enumerate())
    }

    /// What reaches the output over some tensors, taken together.
    ///
    /// `tensors` are positions in [`VectorAnalysis::tensors`] with their coefficients.
    pub fn effect_of(
        &self,
        analysis: &VectorAnalysis,
        tensors: impl ExactSizeIterator<Item = (usize, f32)>,
    ) -> RoundedEffect {
        let each = EFFECT_BUDGET.checked_div(tensors.len()).unwrap_or(0).max(16);
        let (mut v_v, mut v_written, mut intended_written, mut variance) = (0.0, 0.0, 0.0, 0.0);
        let (mut intended_sq, mut written_sq) = (0.0, 0.0);
        let mut scratch = Scratch { taken: Vec::new(), bytes: [0; CHUNK * 8], written: [0.0; CHUNK] };
        for (position, c) in tensors {
            let (tensor, dtype) = (&analysis.tensors[position], self.dtypes[position]);
            let weight = tensor.sums.gram.v_v;
            let found = match self.rounding {
                // Every update is kept in the mean.
                Rounding::Stochastic => {
                    Projection { along: f64::from(c), squares: f64::from(c).powi(2), error_sq: 0.0 }
                }
                _ => tensor.sample.project(dtype, c, each, &mut scratch),
            };
            v_v += weight;
            v_written += weight * found.along;
            intended_written += f64::from(c) * weight * found.along;
            variance += weight * weight * found.error_sq;
            intended_sq += f64::from(c).powi(2) * weight;
            written_sq += weight * found.squares;
        }
        let effective_w = if v_v > 0.0 {
            Estimate { value: v_written / v_v, margin: Z95 * variance.sqrt() / v_v }
        } else {
            Estimate::NONE
        };
        RoundedEffect { effective_w, cosine: super::gram::cosine(intended_written, intended_sq, written_sq) }
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

impl Curve {
    fn new(sample: &Sample, dtype: Dtype) -> Self {
        let side = |forth: bool| {
            let mut last_lost: Vec<f32> = sample
                .pairs
                .iter()
                .map(|&[target, v]| last_lost(dtype, f64::from(target), f64::from(v), forth))
                .collect();
            last_lost.sort_unstable_by(f32::total_cmp);
            last_lost
        };
        Self { forth: side(true), back: side(false) }
    }

    /// The share that survives, and of how many; `None` when nothing moves.
    fn survival(&self, coefficient: f32) -> Option<(f64, f64)> {
        let side = if coefficient > 0.0 { &self.forth } else { &self.back };
        if coefficient == 0.0 || side.is_empty() {
            return None;
        }
        let surviving = side.partition_point(|&last_lost| last_lost < coefficient.abs());
        Some((surviving as f64 / side.len() as f64, side.len() as f64))
    }
}

/// The largest |w| of that sign at which `target` + w·`v` is rounded to what `target` itself is rounded to.
fn last_lost(dtype: Dtype, target: f64, v: f64, forth: bool) -> f32 {
    let (point, stays) = flip_point(dtype, target, (v > 0.0) == forth);
    let exact = ((point - target) / v).abs();
    let nearest = exact as f32;
    let beyond = f64::from(nearest) > exact || f64::from(nearest) == exact && !stays;
    if beyond { nearest.next_down() } else { nearest }
}

/// The written change of a tensor in units of its v, estimated.
struct Projection {
    /// ⟨v, written⟩ ∕ ‖v‖².
    along: f64,
    /// ‖written‖² ∕ ‖v‖².
    squares: f64,
    /// Variance of `along`.
    error_sq: f64,
}

/// Buffers that every tensor would otherwise clear anew.
struct Scratch {
    /// Target and v of each update.
    taken: Vec<[f64; 2]>,
    bytes: [u8; CHUNK * 8],
    written: [f64; CHUNK],
}

impl Sample {
    /// Rounds target + c·v of up to `most` updates; a ratio estimate (Cochran, Sampling Techniques, chapter 6).
    fn project(&self, dtype: Dtype, c: f32, most: usize, scratch: &mut Scratch) -> Projection {
        let step = self.pairs.len().div_ceil(most).max(1);
        let (mut v_v, mut v_written, mut written_sq) = (0.0, 0.0, 0.0);
        // Σ (v·written)², Σ v·written·v² and Σ v⁴: the squared residuals of the ratio.
        let (mut cross_sq, mut cross, mut fourth) = (0.0, 0.0, 0.0);
        let mut sums = [0.0; CHUNK];
        let Scratch { taken, bytes, written } = scratch;
        taken.clear();
        taken.extend(self.pairs.iter().step_by(step).map(|pair| pair.map(f64::from)));
        for pairs in taken.chunks(sums.len()) {
            let count = pairs.len();
            for (sum, [target, v]) in sums.iter_mut().zip(pairs) {
                *sum = target + f64::from(c) * v;
            }
            round_nearest(dtype, &sums[..count], &mut bytes[..count * (dtype.bitsize() / 8)], &mut written[..count]);
            for ([target, v], written) in pairs.iter().zip(&written[..count]) {
                let (product, square) = (v * (written - target), v * v);
                v_v += square;
                v_written += product;
                written_sq += (written - target).powi(2);
                cross_sq += product * product;
                cross += product * square;
                fourth += square * square;
            }
        }
        if v_v == 0.0 {
            return Projection { along: 0.0, squares: 0.0, error_sq: 0.0 };
        }
        let along = v_written / v_v;
        let residuals = (cross_sq - 2.0 * along * cross + along * along * fourth).max(0.0);
        let counted = self.complete && step == 1;
        Projection { along, squares: written_sq / v_v, error_sq: if counted { 0.0 } else { residuals / (v_v * v_v) } }
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
