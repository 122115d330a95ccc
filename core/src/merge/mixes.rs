//! From a recipe, a plan and what was measured to the mix of each tensor.

use super::measure::{Measured, Ranks, Spot, draw_key, element_control, keep_counts};
use super::plan::PlannedTensor;
use crate::method::mix::{Base, Blend, Ingredient, Keep, Mix};
use crate::recipe::{Combination, Recipe, Sparsify};

/// Whether a recipe is target + w·v with nothing else, which has a kernel of its own.
pub(super) fn is_plain(recipe: &Recipe) -> bool {
    recipe.others.is_empty()
        && recipe.method.name.combination() == Combination::Sum
        && !recipe.method.normalize()
        && recipe.method.lambda() == 1.0
        && recipe.method.rule_of(&recipe.vector).sparsify == Sparsify::None
        && recipe.vector.control.is_none_or(|control| control.kind == crate::recipe::ControlKind::PermuteLayers)
}

/// How a tensor is made.
pub(super) fn mix_of(recipe: &Recipe, tensor: usize, planned: &PlannedTensor, measured: &Measured) -> Mix {
    let mut ingredients: Vec<Option<Ingredient>> = recipe
        .vectors()
        .enumerate()
        .map(|(vector, _)| {
            planned.sources[vector].map(|_| ingredient(recipe, Spot { tensor, vector }, planned, measured))
        })
        .collect();
    let blend = match recipe.method.name.combination() {
        Combination::Elect => Blend::Elect { normalize: recipe.method.normalize(), lambda: recipe.method.lambda() },
        _ => Blend::Sum { normalize: recipe.method.normalize(), lambda: recipe.method.lambda() },
    };
    let base = base_of(recipe, planned);
    let adds_target = matches!(base, Base::Read(_));
    if adds_target {
        ingredients.insert(0, Some(Ingredient { coefficient: 1.0, control: None, keep: Keep::All }));
    }
    Mix { base, adds_target, ingredients, blend }
}

/// What vectors are added to: the target; in mergekit's steps pre, to which the target is then one model more.
fn base_of(recipe: &Recipe, planned: &PlannedTensor) -> Base {
    match planned.sources.iter().flatten().find_map(|source| source.pre) {
        Some(read) if read != 0 && !recipe.output.rounding.is_single() => Base::Read(read),
        _ => Base::Target,
    }
}

fn ingredient(recipe: &Recipe, spot: Spot, planned: &PlannedTensor, measured: &Measured) -> Ingredient {
    let spec = recipe.vectors().nth(spot.vector).unwrap_or(&recipe.vector);
    let rule = recipe.method.rule_of(spec);
    let elements = planned.sources[spot.vector].map_or(0, |source| source.elements);
    let draw = || draw_key(rule.sparsify.label(), recipe.method.seed, spot.vector, &planned.output.name);
    let keep = match (rule.sparsify, keep_counts(&rule, elements)) {
        (_, Some(counts)) if counts.kept == 0 => Keep::Nothing,
        (_, Some(_)) => match measured.cuts.get(&spot).copied().unwrap_or_default() {
            Ranks { within: None, beyond: None } => Keep::All,
            Ranks { within, beyond } => Keep::Ranked { within, beyond },
        },
        (Sparsify::Dare, _) if rule.density < 1.0 => {
            Keep::Random { probability: rule.density, rescale: rule.rescale, key: draw() }
        }
        _ => Keep::All,
    };
    Ingredient {
        coefficient: f64::from(planned.coefficients[spot.vector]),
        control: element_control(recipe, planned, spot, &measured.deviations),
        keep,
    }
}
