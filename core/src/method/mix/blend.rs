//! How the kept elements of several vectors are put together.

use super::Ingredient;
use std::sync;

use super::keep::{Cut, magnitude_key};
use super::steps::Steps;
use crate::numeric::BLOCK;

/// How weighted elements are put together. c is a vector's coefficient, v its element.
#[derive(Clone, Debug)]
pub(crate) enum Blend {
    /// base + λ·Σ c·v, or base + λ·Σ c·v ∕ Σ c.
    Sum {
        /// Whether the sum is divided.
        normalize: bool,
        /// λ.
        lambda: f64,
    },
    /// base + λ·Σ c·v ∕ Σ c, both sums over those vectors that have the sign of Σ c·v (TIES: arXiv 2306.01708).
    Elect {
        /// Whether the sum is divided.
        normalize: bool,
        /// λ.
        lambda: f64,
    },
    /// Σ c·x, or Σ c·x ∕ Σ c, of whole models.
    Average {
        /// Whether the sum is divided.
        normalize: bool,
    },
    /// share·base + Σ c·x.
    Between {
        /// Of the base.
        share: f64,
    },
    /// base + (s₀·v₀ + s₁·v₁) ∕ d: along a great circle.
    Arc(Arc),
    /// base + c·ratio·mean(v) (arXiv 2403.19522, eq. 6); in mergekit's steps ratio·mean(x) + (1 − ratio)·base.
    Stock {
        /// How far from the base to the mean of the models.
        ratio: f64,
    },
    /// base + c·Σ s·v ∕ Σ s over those that have the sign of Σ v, of elements within the cut (arXiv 2408.07990).
    Sce {
        /// s, for each vector.
        weights: Vec<f64>,
        /// Which elements are selected, by [`population_variance`]; `None` for all.
        within: Option<Cut>,
    },
}

/// What a great circle gives the two vectors.
#[derive(Clone, Debug)]
pub(crate) enum Arc {
    /// The tensor is one long vector.
    Whole(ArcCoefficients),
    /// Each row is a vector.
    Rows {
        /// Elements of a row.
        row: u64,
        /// By row.
        each: sync::Arc<[ArcCoefficients]>,
    },
    /// Each column is a vector.
    Columns {
        /// Elements of a row.
        row: u64,
        /// By column.
        each: sync::Arc<[ArcCoefficients]>,
    },
}

/// (first·v₀ + second·v₁) ∕ divisor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArcCoefficients {
    /// Of the first vector.
    pub first: f64,
    /// Of the second.
    pub second: f64,
    /// Of their sum.
    pub divisor: f64,
}

/// Divisors smaller than this count as 1, as in mergekit.
const SMALLEST_DIVISOR: f64 = 1e-8;
/// SCE's divisors are at least this in mergekit's steps.
const SMALLEST_SCE_DIVISOR: f64 = 1e-6;

type Block = [f64; BLOCK];

/// What vectors add to a stretch; `None` for one that does not reach it.
pub(super) type Reaching<'a> = [Option<&'a Ingredient>];

/// From elements of each vector and of the base, the first of them at index `first`, to what is rounded into the output.
///
/// Gives what was added to the base, where that is how the results were made.
#[inline(always)]
pub(super) fn blend<R: Steps>(
    blend: &Blend,
    ingredients: &Reaching<'_>,
    steps: R,
    first: u64,
    vectors: &[Block],
    base: &Block,
    results: &mut Block,
) -> Option<Block> {
    let sum = match blend {
        Blend::Sum { normalize, lambda } => {
            let mut sum = weighted_sum(ingredients, steps, vectors);
            sum.iter_mut().for_each(|sum| *sum = steps.to(*sum));
            let divisor = steps.to(sum_of_weights(steps, ingredients, |c| steps.to(c)));
            if *normalize && divisor.abs() >= SMALLEST_DIVISOR {
                sum.iter_mut().for_each(|sum| *sum = steps.to(*sum / divisor));
            }
            scaled(steps, *lambda, sum)
        }
        Blend::Elect { normalize, lambda } => scaled(steps, *lambda, elect(ingredients, steps, vectors, *normalize)),
        Blend::Average { normalize } => {
            let mut sum = [0.0; BLOCK];
            for (values, ingredient) in vectors.iter().zip(ingredients) {
                let Some(ingredient) = ingredient else { continue };
                // Weights are f32 and the sum is fused, whatever the working type.
                let c = steps.accumulate(ingredient.coefficient);
                for (sum, value) in sum.iter_mut().zip(values) {
                    *sum = steps.fused(*value, c, *sum);
                }
            }
            let weight = |c| steps.accumulate(c);
            let divisor = if *normalize { sum_of_weights(steps, ingredients, weight) } else { 1.0 };
            for (result, sum) in results.iter_mut().zip(sum) {
                *result = if *normalize { steps.to(steps.accumulate(sum / divisor)) } else { steps.to(sum) };
            }
            return None;
        }
        Blend::Between { share } => {
            let share = steps.accumulate(*share);
            for (result, base) in results.iter_mut().zip(base) {
                *result = steps.accumulate(share * base);
            }
            for (values, ingredient) in vectors.iter().zip(ingredients) {
                let Some(ingredient) = ingredient else { continue };
                let c = steps.accumulate(ingredient.coefficient);
                for (result, value) in results.iter_mut().zip(values) {
                    *result = steps.accumulate(*result + steps.accumulate(c * value));
                }
            }
            results.iter_mut().for_each(|result| *result = steps.to(*result));
            return None;
        }
        Blend::Arc(arc) => {
            let [a, b] = [0, 1].map(|index| vectors.get(index).unwrap_or(&[0.0; BLOCK]));
            let mut sum = [0.0; BLOCK];
            for (((element, sum), a), b) in (first..).zip(&mut sum).zip(a).zip(b) {
                let ArcCoefficients { first, second, divisor } = arc.at(element);
                let [first, second, divisor] = [first, second, divisor].map(|value| steps.accumulate(value));
                *sum = steps.to(steps.to(steps.to(first * a) + steps.to(second * b)) / divisor);
            }
            sum
        }
        Blend::Stock { ratio } => stock(ingredients, steps, *ratio, vectors, base, results)?,
        Blend::Sce { weights, within } => {
            let c = share_of(ingredients);
            let mut sum = sce(ingredients, steps, first, weights, *within, vectors);
            if c != 1.0 {
                sum.iter_mut().for_each(|sum| *sum = steps.to(*sum * c));
            }
            sum
        }
    };
    add(steps, base, &sum, results);
    Some(sum)
}

/// base + sum, where what no vector moves keeps its bits.
#[inline(always)]
fn add<R: Steps>(steps: R, base: &Block, sum: &Block, results: &mut Block) {
    for ((result, base), sum) in results.iter_mut().zip(base).zip(sum) {
        // x + 0 turns a negative zero into a positive one.
        let unmoved = R::EXACT && *sum == 0.0;
        *result = if unmoved { *base } else { steps.to(base + sum) };
    }
}

#[inline(always)]
fn scaled(steps: impl Steps, lambda: f64, mut sum: Block) -> Block {
    if lambda != 1.0 {
        // A scalar is not rounded to the working type, but is an f32 in it.
        let lambda = steps.accumulate(lambda);
        sum.iter_mut().for_each(|sum| *sum = steps.to(*sum * lambda));
    }
    sum
}

/// Σ c·v, before it is rounded.
#[inline(always)]
fn weighted_sum(ingredients: &Reaching<'_>, steps: impl Steps, vectors: &[Block]) -> Block {
    let mut sum = [0.0; BLOCK];
    for (values, ingredient) in vectors.iter().zip(ingredients) {
        let Some(ingredient) = ingredient else { continue };
        let c = steps.to(ingredient.coefficient);
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = steps.accumulate(*sum + steps.to(value * c));
        }
    }
    sum
}

/// Σ c·v over those vectors that have the sign of the whole sum, divided by their Σ c if `normalize`.
#[inline(always)]
fn elect(ingredients: &Reaching<'_>, steps: impl Steps, vectors: &[Block], normalize: bool) -> Block {
    let total = weighted_sum(ingredients, steps, vectors);
    let (mut sum, mut divisor) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (values, ingredient) in vectors.iter().zip(ingredients) {
        let Some(ingredient) = ingredient else { continue };
        let c = steps.to(ingredient.coefficient);
        for (((sum, divisor), value), total) in sum.iter_mut().zip(&mut divisor).zip(values).zip(total) {
            let update = steps.to(value * c);
            // A sum of zero counts as positive; an element of zero agrees with neither sign.
            let agrees = if steps.to(total) >= 0.0 { update > 0.0 } else { update < 0.0 };
            *sum = steps.accumulate(*sum + if agrees { update } else { 0.0 });
            *divisor = steps.accumulate(*divisor + if agrees { c } else { 0.0 });
        }
    }
    for (sum, divisor) in sum.iter_mut().zip(divisor) {
        *sum = steps.to(*sum);
        let divisor = steps.to(divisor);
        if normalize && divisor != 0.0 {
            *sum = steps.to(*sum / divisor);
        }
    }
    sum
}

/// Model stock: what it adds to the base; in mergekit's steps the results themselves.
#[inline(always)]
fn stock<R: Steps>(
    ingredients: &Reaching<'_>,
    steps: R,
    ratio: f64,
    vectors: &[Block],
    base: &Block,
    results: &mut Block,
) -> Option<Block> {
    let present = || vectors.iter().zip(ingredients).filter_map(|(values, found)| found.map(|_| values));
    let count = present().count() as f64;
    let c = share_of(ingredients);
    let mut sum = [0.0; BLOCK];
    for values in present() {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = steps.to(*sum + value);
        }
    }
    if R::EXACT {
        sum.iter_mut().for_each(|sum| *sum *= c * ratio / count);
        return Some(sum);
    }
    let (ratio, rest) = (steps.to(ratio), steps.to(1.0 - steps.to(ratio)));
    for ((result, base), sum) in results.iter_mut().zip(base).zip(sum) {
        let merged = steps.to(steps.to(ratio * steps.to(sum / count)) + steps.to(rest * base));
        *result = if c == 1.0 { merged } else { steps.to(base + steps.to(steps.to(merged - base) * c)) };
    }
    None
}

/// Σ s·v ∕ Σ s over the selected elements that have the sign of Σ v.
#[inline(always)]
fn sce<R: Steps>(
    ingredients: &Reaching<'_>,
    steps: R,
    first: u64,
    weights: &[f64],
    within: Option<Cut>,
    vectors: &[Block],
) -> Block {
    let mut selected = [true; BLOCK];
    if let Some(cut) = within {
        for (i, (element, selected)) in (first..).zip(&mut selected).enumerate() {
            let values =
                vectors.iter().zip(ingredients).filter(|(_, found)| found.is_some()).map(|(block, _)| block[i]);
            *selected = cut.contains(magnitude_key(steps.to(population_variance(values))), element);
        }
    }
    let mut total = [0.0; BLOCK];
    for values in vectors {
        for (total, value) in total.iter_mut().zip(values) {
            *total = steps.accumulate(*total + value);
        }
    }
    let (mut sum, mut divisor) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (values, weight) in vectors.iter().zip(weights) {
        let weight = steps.to(*weight);
        for i in 0..BLOCK {
            let agrees = if steps.to(total[i]) >= 0.0 { values[i] > 0.0 } else { values[i] < 0.0 };
            let (value, share) = if agrees && selected[i] { (values[i], weight) } else { (0.0, 0.0) };
            sum[i] = steps.accumulate(sum[i] + steps.to(value * share));
            divisor[i] = steps.accumulate(divisor[i] + share);
        }
    }
    let smallest = if R::EXACT { f64::MIN_POSITIVE } else { steps.to(SMALLEST_SCE_DIVISOR) };
    for (sum, divisor) in sum.iter_mut().zip(divisor) {
        *sum = steps.to(steps.to(*sum) / steps.to(divisor).max(smallest));
    }
    sum
}

/// mean((v − mean(v))²) over the vectors.
#[inline(always)]
pub(crate) fn population_variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    let mean = sum / count;
    values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count
}

/// The coefficient of methods that have one for all vectors.
fn share_of(ingredients: &Reaching<'_>) -> f64 {
    ingredients.iter().flatten().next().map_or(0.0, |ingredient| ingredient.coefficient)
}

/// Σ c in the order in which torch adds up one short row: four lanes, what is left on the first, then the lanes.
fn sum_of_weights(steps: impl Steps, ingredients: &Reaching<'_>, rounded: impl Fn(f64) -> f64) -> f64 {
    let weights = || ingredients.iter().flatten().map(|ingredient| rounded(ingredient.coefficient));
    let whole = weights().count() / 4 * 4;
    let mut lanes = [0.0; 4];
    for (index, weight) in weights().enumerate() {
        let lane = if index < whole { index % 4 } else { 0 };
        lanes[lane] = steps.accumulate(lanes[lane] + weight);
    }
    lanes.into_iter().reduce(|sum, lane| steps.accumulate(sum + lane)).unwrap_or(0.0)
}

impl Arc {
    /// What it gives an element.
    #[inline(always)]
    fn at(&self, element: u64) -> ArcCoefficients {
        let line = |each: &[ArcCoefficients], line: u64| {
            // What fills the last block lies beyond the last row.
            each.get(line as usize).copied().unwrap_or(ArcCoefficients { first: 0.0, second: 0.0, divisor: 1.0 })
        };
        match self {
            Self::Whole(all) => *all,
            Self::Rows { row, each } => line(each, element / row),
            Self::Columns { row, each } => line(each, element % row),
        }
    }
}
