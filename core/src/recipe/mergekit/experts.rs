//! Mixtures of experts as mergekit 0.1.5 sees them.
//!
//! It runs with transformers 5, which holds the experts of a layer in two tensors, whatever the file does. Filters match the
//! names of these, and what goes by a whole tensor goes by all experts of a layer at once (measured with Mixtral, Qwen2-MoE,
//! Qwen3-MoE and OLMoE; the merged model has these names too):
//!
//! | in the file | in mergekit |
//! |---|---|
//! | `mlp.experts.N.gate_proj.weight`, `mlp.experts.N.up_proj.weight` | `mlp.experts.gate_up_proj` |
//! | `mlp.experts.N.down_proj.weight` | `mlp.experts.down_proj` |
//! | `block_sparse_moe.experts.N.w1.weight`, `block_sparse_moe.experts.N.w3.weight` | `mlp.experts.gate_up_proj` |
//! | `block_sparse_moe.experts.N.w2.weight` | `mlp.experts.down_proj` |
//! | `block_sparse_moe.gate.weight` | `mlp.gate.weight` |

use std::borrow::Cow;

use super::weights::Weights;
use crate::layout::place;
use crate::recipe::{Combination, Recipe, Sparsify, SparsifyRule};

/// What mergekit calls the tensor of a file.
pub(super) fn merged_name(name: &str) -> Cow<'_, str> {
    let stacked = (place(name).expert.is_some())
        .then(|| {
            let (before, after) = name.split_once(".experts.")?;
            let (_, projection) = after.split_once('.')?;
            let stack = match projection {
                "gate_proj.weight" | "up_proj.weight" | "w1.weight" | "w3.weight" => "gate_up_proj",
                "down_proj.weight" | "w2.weight" => "down_proj",
                _ => return None,
            };
            Some(format!("{before}.experts.{stack}"))
        })
        .flatten();
    let name = stacked.map_or(Cow::Borrowed(name), Cow::Owned);
    match name.split_once(".block_sparse_moe.") {
        Some((before, after)) => Cow::Owned(format!("{before}.mlp.{after}")),
        None => name,
    }
}

/// Whether mergekit puts some of these together.
pub(super) fn are_stacked<'a>(names: impl IntoIterator<Item = &'a String>) -> bool {
    names.into_iter().any(|name| place(name).expert.is_some())
}

/// What mergekit takes a parameter to be for the tensor of a file.
pub(super) fn value_of(weights: &Weights, name: &str) -> Option<f64> {
    weights.of(&merged_name(name), place(name))
}

/// What of a recipe goes by whole tensors, and why it comes out otherwise where experts are one tensor.
pub(super) fn by_whole_tensors(recipe: &Recipe) -> Option<String> {
    let method = &recipe.method;
    let thins = |rule: SparsifyRule| rule.density > 0.0 && rule.density < 1.0;
    // DARE keeps each element with the same probability. What restores the size of the rest is a sum over so many that it
    // differs less than what is drawn.
    let ranks = |rule: SparsifyRule| thins(rule) && !matches!(rule.sparsify, Sparsify::None | Sparsify::Dare);
    let what = match method.name.combination() {
        Combination::Slerp => "the angle",
        Combination::Nuslerp if method.flatten.unwrap_or(true) => "the angle",
        // The last dimension of a stack is that of its experts, the first is not.
        Combination::Nuslerp if method.row_wise.unwrap_or(false) => "the angle between columns",
        Combination::ModelStock => "the angles",
        Combination::Sce => "the weight of each model",
        _ if recipe.vectors().any(|vector| ranks(method.rule_of(vector))) => "which elements are kept",
        _ => return None,
    };
    Some(format!(
        "mergekit 0.1.5 holds all experts of a layer in one tensor (`mlp.experts.gate_up_proj`, `mlp.experts.down_proj`) and \
         takes {what} from all of them at once, where Mergescope takes it from each expert's own tensors"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_have_the_names_of_their_stack() {
        for (file, merged) in [
            ("model.layers.3.mlp.experts.12.gate_proj.weight", "model.layers.3.mlp.experts.gate_up_proj"),
            ("model.layers.3.mlp.experts.12.up_proj.weight", "model.layers.3.mlp.experts.gate_up_proj"),
            ("model.layers.3.mlp.experts.0.down_proj.weight", "model.layers.3.mlp.experts.down_proj"),
            ("model.layers.3.block_sparse_moe.experts.7.w1.weight", "model.layers.3.mlp.experts.gate_up_proj"),
            ("model.layers.3.block_sparse_moe.experts.7.w2.weight", "model.layers.3.mlp.experts.down_proj"),
            ("model.layers.3.block_sparse_moe.gate.weight", "model.layers.3.mlp.gate.weight"),
        ] {
            assert_eq!(merged_name(file), merged);
        }
        for same in [
            "model.layers.3.mlp.gate.weight",
            "model.layers.3.mlp.shared_expert.up_proj.weight",
            "model.layers.3.mlp.experts.gate_up_proj",
            "model.layers.3.mlp.up_proj.weight",
            "lm_head.weight",
        ] {
            assert_eq!(merged_name(same), same);
        }
    }
}
