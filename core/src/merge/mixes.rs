//! From a recipe, a plan and what was measured to the mix of each tensor.

use super::measure::{Elements, Gram, Ranks, Spot, has_rows, keep_counts};
use super::plan::PlannedTensor;
use crate::method::mix::{Arc, ArcCoefficients, Base, Blend, Ingredient, Keep, KeepRule, Mix};
use crate::recipe::{Combination, Recipe, Sparsify};

/// |cos| above which SLERP goes in a straight line, as in mergekit.
const STRAIGHT_COS: f64 = 0.9995;
/// Norms up to this are not divided by in mergekit's SLERP.
const SMALLEST_NORM: f64 = 1e-8;
/// Norms are at least this in mergekit's NuSLERP.
const SMALLEST_ARC_NORM: f64 = 1e-7;
/// 1 − |cos| up to which NuSLERP goes in a straight line: f64 sums cannot tell such vectors from parallel or opposite ones.
const PARALLEL: f64 = 1e-9;
/// Sums of two weights below this share evenly, as in mergekit's NuSLERP.
const SMALLEST_WEIGHT_SUM: f64 = 1e-6;
/// See [`smallest_product`].
const SMALLEST_PRODUCT: f64 = 1e-6;

/// How a tensor is made.
pub(super) fn mix_of(elements: &Elements<'_>, tensor: usize) -> Mix {
    let recipe = elements.recipe;
    let planned = &elements.weights.plan.tensors[tensor];
    let combination = recipe.method.name.combination();
    let mut ingredients: Vec<Option<Ingredient>> = planned
        .sources
        .iter()
        .enumerate()
        .map(|(vector, source)| source.map(|_| ingredient(elements, tensor, vector)))
        .collect();
    let normalize = recipe.method.normalize();
    let lambda = recipe.method.lambda();
    let gram = || elements.measured.grams.get(&tensor);
    let blend = match combination {
        Combination::Sum => Blend::Sum { normalize, lambda },
        Combination::Elect => Blend::Elect { normalize, lambda },
        Combination::Average => Blend::Average { normalize },
        Combination::Slerp => {
            let (share, other) =
                gram().map_or((1.0, 0.0), |gram| slerp(elements, gram, f64::from(planned.coefficients[0])));
            if let Some(Some(ingredient)) = ingredients.first_mut() {
                ingredient.coefficient = other;
            }
            Blend::Between { share }
        }
        Combination::Nuslerp => Blend::Arc(arc(elements, tensor, planned)),
        Combination::ModelStock => {
            Blend::Stock { ratio: gram().map_or(0.0, |gram| stock_ratio(elements, gram, planned)) }
        }
        Combination::Sce => {
            let spot = Spot { tensor, vector: None };
            let within = elements.measured.cuts.get(&spot).and_then(|ranks| ranks.within);
            Blend::Sce { weights: gram().map(|gram| sce_weights(elements, gram, planned)).unwrap_or_default(), within }
        }
    };
    let (base, whole) = base_of(recipe, planned);
    let adds_target = matches!(base, Base::Read(_)) && combination == Combination::Sum;
    if adds_target {
        ingredients.insert(0, Some(Ingredient { coefficient: 1.0, control: None, keep: Keep::ALL }));
    }
    Mix { base, adds_target, whole, ingredients, blend }
}

/// What vectors are added to, and whether models are taken whole: the target; in mergekit's steps pre, to which the target
/// is then one model more; or nothing.
fn base_of(recipe: &Recipe, planned: &PlannedTensor) -> (Base, bool) {
    let exact = recipe.output.rounding.is_single();
    let pre = planned.sources.iter().flatten().find_map(|source| source.pre);
    let base = match (recipe.method.name.combination(), pre) {
        (Combination::Average, _) => Base::Zeros,
        (Combination::Nuslerp, None) => Base::Zeros,
        (_, Some(read)) if read != 0 && !exact => Base::Read(read),
        _ => Base::Target,
    };
    (base, recipe.method.name.combination() == Combination::ModelStock && !exact)
}

fn ingredient(elements: &Elements<'_>, tensor: usize, vector: usize) -> Ingredient {
    let spot = Spot { tensor, vector: Some(vector) };
    Ingredient {
        coefficient: f64::from(elements.weights.plan.tensors[tensor].coefficients[vector]),
        control: elements.control(tensor, vector),
        keep: Keep {
            rule: keep_rule(elements, tensor, vector),
            scale: elements.measured.scales.get(&spot).copied().unwrap_or(1.0),
        },
    }
}

/// Which elements of a vector are kept in a tensor, once the ends of its ranks are known.
pub(super) fn keep_rule(elements: &Elements<'_>, tensor: usize, vector: usize) -> KeepRule {
    let recipe = elements.recipe;
    let planned = &elements.weights.plan.tensors[tensor];
    let spot = Spot { tensor, vector: Some(vector) };
    let rule = recipe.method.rule_of(recipe.vectors().nth(vector).unwrap_or(&recipe.vector));
    if let Some(counts) = keep_counts(&rule, elements.weights.elements(spot)) {
        return match elements.measured.cuts.get(&spot).copied().unwrap_or_default() {
            _ if counts.kept == 0 => KeepRule::Nothing,
            Ranks { within: None, beyond: None } => KeepRule::All,
            Ranks { within, beyond } => KeepRule::Ranked { within, beyond },
        };
    }
    let key = || elements.key(rule.sparsify.label(), recipe.method.seed, tensor, vector);
    match rule.sparsify {
        _ if rule.sparsify == Sparsify::None || rule.density >= 1.0 => KeepRule::All,
        _ if rule.density <= 0.0 => KeepRule::Nothing,
        Sparsify::Della => {
            let shape = &planned.output.shape;
            // A row of a matrix; all that a vector has of a tensor without rows.
            let row =
                if shape.len() > 1 { shape.last().copied().unwrap_or(1) } else { elements.weights.elements(spot) };
            let (least, most) = (rule.density - rule.epsilon, rule.density + rule.epsilon);
            KeepRule::RankedRandom { least, most, row: row as usize, key: key() }
        }
        _ => KeepRule::Random { probability: elements.stored(rule.density), key: key() },
    }
}

/// The coefficients of the target and of the other model at `t` along the great circle between them (Shoemake, "Animating
/// rotation with quaternion curves", 1985), a straight line where they are nearly parallel.
fn slerp(elements: &Elements<'_>, gram: &Gram, t: f64) -> (f64, f64) {
    let smallest = if is_exact(elements) { 0.0 } else { SMALLEST_NORM };
    let unit = |norm: f64| if norm > smallest { norm } else { 1.0 };
    let cos = (gram.product(0, 1) / (unit(gram.norm(0)) * unit(gram.norm(1)))).clamp(-1.0, 1.0);
    if cos.abs() > STRAIGHT_COS {
        return (1.0 - t, t);
    }
    let angle = cos.acos();
    (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
}

fn arc(elements: &Elements<'_>, tensor: usize, planned: &PlannedTensor) -> Arc {
    let method = &elements.recipe.method;
    if let Some(each) = elements.measured.arcs.get(&tensor).cloned() {
        let row = planned.output.shape.last().copied().unwrap_or(1).max(1);
        return match &*each {
            [whole] if method.flatten() || !has_rows(elements.weights, tensor) => Arc::Whole(*whole),
            _ if method.row_wise.unwrap_or(false) => Arc::Columns { row, each },
            _ => Arc::Rows { row, each },
        };
    }
    let products = elements
        .measured
        .grams
        .get(&tensor)
        .map_or([0.0; 3], |gram| [gram.product(1, 1), gram.product(1, 2), gram.product(2, 2)]);
    let weights_of = [0, 1].map(|vector| f64::from(planned.coefficients[vector]));
    Arc::Whole(arc_coefficients(elements, products, weights_of))
}

/// What NuSLERP divides a vector by, from its squared norm.
pub(super) fn arc_norm(elements: &Elements<'_>, squared: f64) -> f64 {
    let smallest = if is_exact(elements) { f64::MIN_POSITIVE } else { SMALLEST_ARC_NORM };
    elements.stored(elements.stored(squared.sqrt()).max(smallest))
}

/// What NuSLERP gives two vectors a and b with these weights, from ⟨a, a⟩, ⟨a, b⟩ and ⟨b, b⟩; in mergekit's steps ⟨a, b⟩ is
/// that of the unit vectors.
pub(super) fn arc_coefficients(
    elements: &Elements<'_>,
    [aa, ab, bb]: [f64; 3],
    [first, second]: [f64; 2],
) -> ArcCoefficients {
    let stored = |value| elements.stored(value);
    let sum = first + second;
    let t = if sum.abs() < SMALLEST_WEIGHT_SUM { 0.5 } else { second / sum };
    let exact = is_exact(elements);
    // One after the other: the product of two short norms may be no normal number.
    let cos = if exact { ab / arc_norm(elements, aa) / arc_norm(elements, bb) } else { stored(ab) };
    let cos = cos.clamp(-1.0, 1.0);
    if cos.abs() >= if exact { 1.0 - PARALLEL } else { 1.0 } {
        return ArcCoefficients { first: 1.0 - t, second: t, divisor: 1.0 };
    }
    let angle = stored(cos.acos());
    // t is a scalar, which torch takes as an f32.
    let scalar = |share: f64| if exact { share } else { f64::from(share as f32) };
    let sine = |share: f64| stored(stored(scalar(share) * angle).sin());
    ArcCoefficients { first: sine(1.0 - t), second: sine(t), divisor: stored(angle.sin()) }
}

/// The least that mergekit divides by in its model stock and SCE. It is more than the mean squares of many vectors, whose
/// weights it makes equal: in the exact modes only a division by zero is avoided.
fn smallest_product(elements: &Elements<'_>) -> f64 {
    if is_exact(elements) { f64::MIN_POSITIVE } else { SMALLEST_PRODUCT }
}

/// Whether nothing is rounded before the output.
fn is_exact(elements: &Elements<'_>) -> bool {
    elements.recipe.output.rounding.is_single()
}

/// Where a Gram matrix has those vectors that the tensor is moved by.
fn present(planned: &PlannedTensor) -> Vec<usize> {
    let found = planned.sources.iter().enumerate().filter(|(_, source)| source.is_some());
    found.map(|(vector, _)| vector + 1).collect()
}

/// t = N·cos θ ∕ (1 + (N − 1)·cos θ), cos θ being the mean cosine of all pairs of vectors (arXiv 2403.19522, eq. 6).
///
/// A vector alone has no angle to another, and stays out.
fn stock_ratio(elements: &Elements<'_>, gram: &Gram, planned: &PlannedTensor) -> f64 {
    let stored = |value| elements.stored(value);
    let smallest = smallest_product(elements);
    let vectors = present(planned);
    let count = vectors.len();
    if count < 2 {
        return 0.0;
    }
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (position, &i) in vectors.iter().enumerate() {
        for &j in &vectors[position + 1..] {
            let norms = stored(stored(gram.norm(i)) * stored(gram.norm(j))).max(stored(smallest));
            sum += stored(stored(gram.product(i, j)) / norms).clamp(-1.0, 1.0);
            pairs += 1.0;
        }
    }
    let cos = stored(sum / pairs);
    let divisor = stored(1.0 + stored((count as f64 - 1.0) * cos));
    if divisor.abs() < SMALLEST_PRODUCT { 0.0 } else { stored(stored(count as f64 * cos) / divisor) }
}

/// The share of each vector in the mean squares of all (arXiv 2408.07990, eq. 5).
fn sce_weights(elements: &Elements<'_>, gram: &Gram, planned: &PlannedTensor) -> Vec<f64> {
    let stored = |value| elements.stored(value);
    let count = present(planned).len();
    let mean = |i| stored(gram.product(i, i) / gram.elements.max(1) as f64);
    // A vector without the tensor has no squares, so that its weight does not matter.
    let squares: Vec<f64> = (1..=planned.sources.len()).map(mean).collect();
    let sum = stored(squares.iter().sum());
    let even = sum < stored(smallest_product(elements));
    squares.iter().map(|square| if even { stored(1.0 / count as f64) } else { stored(square / sum) }).collect()
}
