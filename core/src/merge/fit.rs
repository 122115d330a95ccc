//! Whether a recipe's method, its vectors and the way it rounds go together.

use std::sync::Arc;

use super::permute::Permutation;
use crate::alignment::{ModelId, Models, Role};
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::recipe::{Combination, ControlKind, MethodError, Recipe};

/// What a method wants of each vector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Vectors,
    Models,
    Either,
}

/// Refuses parameters that are out of range or without effect, vectors where whole models are wanted or the other way
/// round, and mergekit's rounding for what mergekit cannot say.
pub(crate) fn check(recipe: &Recipe, models: &Models) -> Result<(), MethodError> {
    recipe.check_method()?;
    if models.target.kind() == CheckpointKind::Vector {
        let message = format!("{} is a saved vector; the target must be a model", models.target.label());
        return Err(MethodError::Kind(message));
    }
    let method = recipe.method.name;
    let wanted = match method.combination() {
        Combination::Average | Combination::Slerp => Wanted::Models,
        Combination::Nuslerp => Wanted::Either,
        _ => Wanted::Vectors,
    };
    let alone = |vector: usize| models.vectors[vector].pre.kind() == CheckpointKind::Zeros;
    for vector in 0..models.vectors.len() {
        let [pre, post] = [Role::Pre, Role::Post].map(|role| ModelId { vector, role });
        let label = |model| models.get(model).label();
        let is_vector = models.get(post).kind() == CheckpointKind::Vector;
        let message = if models.get(pre).kind() == CheckpointKind::Vector {
            format!("{pre} ({}) is a saved vector; give it as {post}, without a pre", label(pre))
        } else if is_vector && !alone(vector) {
            format!("{post} ({}) is a saved vector, which is post − pre already; leave out {pre}", label(post))
        } else if is_vector && wanted == Wanted::Models {
            format!("{method} takes whole models, but {post} ({}) is a saved vector", label(post))
        } else if wanted == Wanted::Models && !alone(vector) {
            format!("{method} takes whole models; leave out {pre}")
        } else if wanted == Wanted::Vectors && alone(vector) && !is_vector {
            format!("{post} ({}) is a whole model, and {method} adds vectors; give its {pre} too", label(post))
        } else if vector > 0 && wanted == Wanted::Either && (alone(vector) && !is_vector) != is_model(models, 0) {
            format!("{method} goes between two models or between two vectors; give both a pre, or neither")
        } else {
            continue;
        };
        return Err(MethodError::Kind(message));
    }
    for (vector, spec) in recipe.vectors().enumerate() {
        if spec.control.is_some() && is_model(models, vector) {
            let message = "a control stands for a vector; it has no effect on whole models, so remove it".to_owned();
            return Err(MethodError::Kind(message));
        }
        let permuted = spec.control.filter(|control| control.kind == ControlKind::PermuteLayers);
        if permuted.is_some_and(|control| Permutation::new(models.target.tensors(), control.seed).is_identity()) {
            let target = models.target.label();
            let message = format!(
                "permute-layers has no effect: no two layers of {target} hold the same tensors; choose another control"
            );
            return Err(MethodError::Kind(message));
        }
    }
    if recipe.output.rounding.is_single() { Ok(()) } else { check_steps(recipe, models) }
}

/// Whether a vector is a whole model.
fn is_model(models: &Models, vector: usize) -> bool {
    let pair = &models.vectors[vector];
    pair.pre.kind() == CheckpointKind::Zeros && pair.post.kind() == CheckpointKind::Model
}

/// mergekit has one base model, from which all vectors go out, and adds to it.
fn check_steps(recipe: &Recipe, models: &Models) -> Result<(), MethodError> {
    let mode = recipe.output.rounding.label();
    let refuse = |why: String| {
        Err(MethodError::Kind(format!("{mode} gives what mergekit would, but {why}; choose another rounding")))
    };
    if let Some(vector) = models.vectors.iter().find(|vector| vector.post.kind() == CheckpointKind::Vector) {
        return refuse(format!("mergekit knows no saved vectors, such as {}", vector.post.label()));
    }
    if recipe.is_plain() || is_model(models, 0) {
        return Ok(());
    }
    let base = &models.vectors[0].pre;
    let is_base = |model: &Arc<Checkpoint>| Arc::ptr_eq(model, base);
    if !models.vectors.iter().all(|vector| is_base(&vector.pre)) {
        return refuse("its vectors all have one base model, and here pre differs".to_owned());
    }
    let adds = recipe.method.name.combination() == Combination::Sum && !recipe.method.normalize();
    if !adds && !is_base(&models.target) {
        let method = recipe.method.name;
        return refuse(format!("its {method} adds to the base model of the vectors, and here target is not pre"));
    }
    Ok(())
}
