//! The names of tensors that filters are made for, and what can be said where the model is not at hand.

use super::Export;
use crate::hub;
use crate::recipe::mergekit::experts::merged_name;
use crate::recipe::mergekit::{MergekitError, ModelFacts};
use crate::recipe::{Recipe, VectorSpec};
use crate::scaling::{Curve, Factors, ScalingSpec};

/// The tensors that filters are made for.
pub(super) struct Names {
    pub(super) all: Vec<String>,
    /// What mergekit calls them.
    pub(super) merged: Vec<String>,
    /// Whether the target has them, or they are taken for granted.
    pub(super) are_real: bool,
    pub(super) layers: u32,
    /// Whether `layers` is the model's.
    pub(super) layers_known: bool,
}

/// What a model of Llama's and Qwen's kind calls its tensors.
const USUAL_OUTSIDE: [&str; 3] = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"];
const USUAL_IN_LAYER: [&str; 22] = [
    "self_attn.q_proj.weight",
    "self_attn.q_proj.bias",
    "self_attn.k_proj.weight",
    "self_attn.k_proj.bias",
    "self_attn.v_proj.weight",
    "self_attn.v_proj.bias",
    "self_attn.o_proj.weight",
    "self_attn.q_norm.weight",
    "self_attn.k_norm.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
    "mlp.gate.weight",
    "mlp.experts.0.gate_proj.weight",
    "mlp.experts.0.up_proj.weight",
    "mlp.experts.0.down_proj.weight",
    "mlp.shared_expert.up_proj.weight",
    "mlp.shared_expert_gate.weight",
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    "pre_feedforward_layernorm.weight",
    "post_feedforward_layernorm.weight",
];

impl Names {
    pub(super) fn of(recipe: &Recipe, known: Option<&ModelFacts>) -> Result<Self, MergekitError> {
        if let Some(facts) = known.filter(|facts| !facts.tensors.is_empty()) {
            return Ok(Self::new(facts.tensors.clone(), true, facts.layers, true));
        }
        let listed = recipe.vectors().find_map(|vector| match &vector.scaling.curve {
            Curve::Layers { values } => Some(values.len() as u32),
            _ => None,
        });
        let layers = known.map(|facts| facts.layers).or(listed).filter(|layers| *layers > 0);
        let speaks_of_layers =
            |vector: &VectorSpec| vector.scaling.curve != Curve::Flat || !vector.scaling.keep.layers.is_empty();
        if layers.is_none() && recipe.vectors().any(speaks_of_layers) {
            return Err(MergekitError::anywhere(format!(
                "a gradient has a point for each layer, and how many layers {} has is not known, since it is neither at hand nor \
                 in the Hub cache; {}, or say how many (--layers)",
                recipe.target,
                hub::how_to_get(&recipe.target)
            )));
        }
        let count = layers.unwrap_or(1);
        let in_layers = (0..count).flat_map(|layer| USUAL_IN_LAYER.map(|part| format!("model.layers.{layer}.{part}")));
        let all = USUAL_OUTSIDE.iter().map(|name| (*name).to_owned()).chain(in_layers).collect();
        Ok(Self::new(all, false, count, layers.is_some()))
    }

    fn new(all: Vec<String>, are_real: bool, layers: u32, layers_known: bool) -> Self {
        let merged = all.iter().map(|name| merged_name(name).into_owned()).collect();
        Self { all, merged, are_real, layers, layers_known }
    }
}

impl Export<'_> {
    /// Patterns that no usual name matches could match any name.
    pub(super) fn check_usual_names(&mut self, key: &str, scaling: &ScalingSpec) {
        let why = "the target is not at hand, and no tensor of Llama or Qwen has such a name; download it";
        let patterns = scaling.patterns.iter().map(|pattern| &pattern.tensors).chain(&scaling.keep.tensors);
        let unmatched: Vec<String> = patterns
            .filter(|pattern| {
                glob::Pattern::new(pattern).is_ok_and(|glob| !self.names.all.iter().any(|name| glob.matches(name)))
            })
            .cloned()
            .collect();
        for pattern in unmatched {
            self.lose(format!("{key}.scaling"), format!("`{pattern}`"), why);
        }
        if scaling.factors.other != Factors::default().other {
            self.lose(format!("{key}.scaling.factors"), "`other`", why);
        }
        let uniform = ScalingSpec { curve: Curve::Flat, ..ScalingSpec::default() };
        if *scaling != uniform && !self.notes.iter().any(|note| note.starts_with("the target is not at hand")) {
            self.notes.push(
                "the target is not at hand, so filters are made for the names of tensors in Llama and Qwen".to_owned(),
            );
        }
    }
}
