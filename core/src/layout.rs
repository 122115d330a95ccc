//! Tensor name → (layer, part).
//!
//! Names are read from both ends: a marker such as `layers.12` says the layer, the last words say the part. So a prefix
//! (`transformer.`, `language_model.`) needs no rule of its own, and a name that matches nothing is still a tensor:
//! [`Part::Other`]. Nothing is ever left out of a merge because its name is not known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a tensor does within its layer, or beside all layers.
///
/// Fused tensors go with their first part: `qkv_proj` with [`Part::Q`], `gate_up_proj` with [`Part::Gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Query projection, or fused query, key and value.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Attention output projection.
    O,
    /// MLP gate projection, or fused gate and up.
    Gate,
    /// MLP up projection.
    Up,
    /// MLP down projection.
    Down,
    /// Normalisation weights and biases, within a layer or after the last.
    Norm,
    /// Token (and position) embeddings.
    Embed,
    /// Output head.
    Head,
    /// Router of a mixture of experts.
    Router,
    /// A routed or shared expert's projections.
    Expert,
    /// Anything whose name is not known. It takes part all the same.
    Other,
}

impl Part {
    /// All parts in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::Norm,
        Self::Router,
        Self::Expert,
        Self::Embed,
        Self::Head,
        Self::Other,
    ];

    /// The part's name, such as `gate`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
            Self::Norm => "norm",
            Self::Embed => "embed",
            Self::Head => "head",
            Self::Router => "router",
            Self::Expert => "expert",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.label())
    }
}

/// Where a tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Zero-based layer; `None` for embeddings, head and final norm.
    pub layer: Option<u32>,
    /// What it does.
    pub part: Part,
    /// Zero-based expert, for a tensor of one expert.
    pub expert: Option<u32>,
}

/// What precedes the number of a layer: Llama and its kin, GPT-2, and what others use.
const LAYER_MARKERS: [&str; 5] = ["layers", "h", "layer", "blocks", "block"];

/// Numbers above this are neither layers nor experts: no model has as many, and a name may say anything.
const MAX_NUMBER: u32 = 9_999;

/// Beginnings of words that say a tensor belongs to another tower of a multimodal model, whose layer 3 is not layer 3
/// of the text model, or to an extra head that predicts several tokens.
const OTHER_TOWERS: [&str; 10] = [
    "vision",
    "visual",
    "audio",
    "image",
    "img_",
    "multi_modal_projector",
    "mm_projector",
    "talker",
    "token2wav",
    "mtp",
];

/// Ends of names within a layer. The first that matches counts.
const IN_LAYER: [(&str, Part); 31] = [
    // Qwen, Mixtral, gpt-oss and Llama 4 in turn. `mlp.gate` is a router where `mlp.gate_proj` is a projection.
    ("mlp.gate", Part::Router),
    ("mlp.gate.e_score_correction_bias", Part::Router),
    ("shared_expert_gate", Part::Router),
    ("block_sparse_moe.gate", Part::Router),
    ("mlp.router", Part::Router),
    ("feed_forward.router", Part::Router),
    // Llama, Mistral, Qwen, Gemma.
    ("q_proj", Part::Q),
    ("k_proj", Part::K),
    ("v_proj", Part::V),
    ("o_proj", Part::O),
    ("gate_proj", Part::Gate),
    ("up_proj", Part::Up),
    ("down_proj", Part::Down),
    // Phi-3.
    ("qkv_proj", Part::Q),
    ("gate_up_proj", Part::Gate),
    // GPT-2.
    ("attn.c_attn", Part::Q),
    ("attn.c_proj", Part::O),
    ("mlp.c_fc", Part::Up),
    ("mlp.c_proj", Part::Down),
    ("ln_1", Part::Norm),
    ("ln_2", Part::Norm),
    // GPT-NeoX.
    ("attention.query_key_value", Part::Q),
    ("attention.dense", Part::O),
    ("mlp.dense_h_to_4h", Part::Up),
    ("mlp.dense_4h_to_h", Part::Down),
    // Everybody's normalisations within a layer.
    ("input_layernorm", Part::Norm),
    ("post_attention_layernorm", Part::Norm),
    ("pre_feedforward_layernorm", Part::Norm),
    ("post_feedforward_layernorm", Part::Norm),
    ("q_norm", Part::Norm),
    ("k_norm", Part::Norm),
];

/// Ends of names beside the layers.
const BESIDE_LAYERS: [(&str, Part); 9] = [
    ("embed_tokens", Part::Embed),
    ("wte", Part::Embed),
    ("wpe", Part::Embed),
    ("embed_in", Part::Embed),
    ("lm_head", Part::Head),
    ("embed_out", Part::Head),
    ("norm", Part::Norm),
    ("ln_f", Part::Norm),
    ("final_layer_norm", Part::Norm),
];

/// The layer and part that a tensor's name says.
pub fn place(name: &str) -> Place {
    let words: Vec<&str> = name.split('.').collect();
    if words.iter().any(|word| OTHER_TOWERS.iter().any(|tower| word.starts_with(tower))) {
        return Place { layer: None, part: Part::Other, expert: None };
    }
    let stem = match words.as_slice() {
        [stem @ .., "weight" | "bias"] => stem,
        all => all,
    };
    let Some(marker) = layer_marker(stem) else {
        return Place { layer: None, part: look_up(&BESIDE_LAYERS, stem), expert: None };
    };
    let layer = number(stem[marker + 1]);
    let rest = &stem[marker + 2..];
    if rest.iter().any(|word| matches!(*word, "experts" | "shared_expert" | "shared_experts")) {
        let expert = rest.windows(2).find(|pair| pair[0] == "experts").and_then(|pair| number(pair[1]));
        return Place { layer, part: Part::Expert, expert };
    }
    Place { layer, part: look_up(&IN_LAYER, rest), expert: None }
}

/// A tensor's name without the number of its layer, which its counterparts in other layers share; `None` beside layers.
pub(crate) fn without_layer(name: &str) -> Option<String> {
    let mut words: Vec<&str> = name.split('.').collect();
    let marker = layer_marker(&words)?;
    words[marker + 1] = "*";
    Some(words.join("."))
}

/// Where the word stands that the number of the layer follows.
fn layer_marker(words: &[&str]) -> Option<usize> {
    words.windows(2).position(|pair| LAYER_MARKERS.contains(&pair[0]) && number(pair[1]).is_some())
}

fn look_up(table: &[(&str, Part)], stem: &[&str]) -> Part {
    let ends_with = |end: &str| {
        let mut words = stem.iter().rev();
        end.rsplit('.').all(|word| words.next() == Some(&word))
    };
    table.iter().find(|(end, _)| ends_with(end)).map_or(Part::Other, |&(_, part)| part)
}

fn number(word: &str) -> Option<u32> {
    // `parse` alone would take a sign.
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten().filter(|&number| number <= MAX_NUMBER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asserts the part of each name, and its layer.
    fn says(layer: Option<u32>, names: &[(&str, Part)]) {
        for &(name, part) in names {
            assert_eq!(place(name), Place { layer, part, expert: None }, "{name}");
        }
    }

    #[test]
    fn qwen2_llama_and_mistral() {
        says(
            Some(12),
            &[
                ("model.layers.12.self_attn.q_proj.weight", Part::Q),
                ("model.layers.12.self_attn.q_proj.bias", Part::Q),
                ("model.layers.12.self_attn.k_proj.weight", Part::K),
                ("model.layers.12.self_attn.v_proj.bias", Part::V),
                ("model.layers.12.self_attn.o_proj.weight", Part::O),
                ("model.layers.12.mlp.gate_proj.weight", Part::Gate),
                ("model.layers.12.mlp.up_proj.weight", Part::Up),
                ("model.layers.12.mlp.down_proj.weight", Part::Down),
                ("model.layers.12.input_layernorm.weight", Part::Norm),
                ("model.layers.12.post_attention_layernorm.weight", Part::Norm),
                ("model.layers.12.self_attn.rotary_emb.inv_freq", Part::Other),
            ],
        );
        says(
            None,
            &[
                ("model.embed_tokens.weight", Part::Embed),
                ("model.norm.weight", Part::Norm),
                ("lm_head.weight", Part::Head),
            ],
        );
    }

    #[test]
    fn qwen3_normalises_queries_and_keys() {
        says(
            Some(0),
            &[
                ("model.layers.0.self_attn.q_norm.weight", Part::Norm),
                ("model.layers.0.self_attn.k_norm.weight", Part::Norm),
            ],
        );
    }

    #[test]
    fn a_router_is_not_a_gate() {
        says(
            Some(3),
            &[
                ("model.layers.3.mlp.gate.weight", Part::Router),
                ("model.layers.3.mlp.gate_proj.weight", Part::Gate),
                ("model.layers.3.mlp.shared_expert_gate.weight", Part::Router),
                ("model.layers.3.block_sparse_moe.gate.weight", Part::Router),
                ("model.layers.3.mlp.gate.e_score_correction_bias", Part::Router),
                ("model.layers.3.mlp.router.bias", Part::Router),
            ],
        );
    }

    #[test]
    fn experts_are_numbered_where_they_are_stored_apart() {
        for (name, expert) in [
            ("model.layers.5.mlp.experts.127.gate_proj.weight", Some(127)),
            ("model.layers.5.mlp.experts.0.down_proj.weight", Some(0)),
            ("model.layers.5.block_sparse_moe.experts.7.w2.weight", Some(7)),
            ("model.layers.5.mlp.experts.gate_up_proj", None),
            ("model.layers.5.mlp.experts.down_proj", None),
            ("model.layers.5.mlp.shared_expert.up_proj.weight", None),
            ("model.layers.5.mlp.shared_experts.gate_proj.weight", None),
        ] {
            assert_eq!(place(name), Place { layer: Some(5), part: Part::Expert, expert }, "{name}");
        }
    }

    #[test]
    fn gemma_has_more_norms_and_may_sit_in_a_multimodal_model() {
        says(
            Some(7),
            &[
                ("model.layers.7.pre_feedforward_layernorm.weight", Part::Norm),
                ("model.layers.7.post_feedforward_layernorm.weight", Part::Norm),
                ("language_model.model.layers.7.self_attn.q_norm.weight", Part::Norm),
                ("model.language_model.layers.7.self_attn.q_proj.weight", Part::Q),
            ],
        );
        says(None, &[("language_model.model.embed_tokens.weight", Part::Embed)]);
    }

    #[test]
    fn layers_of_another_tower_are_not_layers_of_the_text_model() {
        says(
            None,
            &[
                ("vision_tower.vision_model.encoder.layers.3.self_attn.q_proj.weight", Part::Other),
                ("vision_tower.vision_model.post_layernorm.weight", Part::Other),
                ("model.visual.blocks.3.attn.qkv.weight", Part::Other),
                ("visual.blocks.3.norm1.weight", Part::Other),
                ("thinker.audio_tower.layers.3.fc1.weight", Part::Other),
                ("model.vision_embed_tokens.img_processor.vision_model.encoder.layers.3.mlp.fc1.weight", Part::Other),
                ("multi_modal_projector.mm_soft_emb_norm.weight", Part::Other),
                ("mtp.layers.0.self_attn.q_proj.weight", Part::Other),
            ],
        );
    }

    #[test]
    fn fused_projections_of_phi3_go_with_their_first_part() {
        says(
            Some(31),
            &[
                ("model.layers.31.self_attn.qkv_proj.weight", Part::Q),
                ("model.layers.31.mlp.gate_up_proj.weight", Part::Gate),
                ("model.layers.31.mlp.down_proj.weight", Part::Down),
            ],
        );
    }

    #[test]
    fn gpt2_with_and_without_its_prefix() {
        for prefix in ["", "transformer."] {
            let named = |name: &str| place(&format!("{prefix}{name}"));
            for (name, part) in [
                ("h.11.attn.c_attn.weight", Part::Q),
                ("h.11.attn.c_proj.bias", Part::O),
                ("h.11.mlp.c_fc.weight", Part::Up),
                ("h.11.mlp.c_proj.weight", Part::Down),
                ("h.11.ln_1.weight", Part::Norm),
                ("h.11.ln_2.bias", Part::Norm),
                // A buffer: the causal mask.
                ("h.11.attn.bias", Part::Other),
            ] {
                assert_eq!(named(name), Place { layer: Some(11), part, expert: None }, "{prefix}{name}");
            }
            for (name, part) in [("wte.weight", Part::Embed), ("wpe.weight", Part::Embed), ("ln_f.bias", Part::Norm)] {
                assert_eq!(named(name), Place { layer: None, part, expert: None }, "{prefix}{name}");
            }
        }
    }

    #[test]
    fn counterparts_in_other_layers_differ_in_the_number_alone() {
        let same = |a: &str, b: &str| assert_eq!(without_layer(a).unwrap(), without_layer(b).unwrap());
        same("model.layers.3.mlp.up_proj.weight", "model.layers.11.mlp.up_proj.weight");
        same("h.0.attn.c_attn.bias", "h.5.attn.c_attn.bias");
        let expert = |number| without_layer(&format!("model.layers.3.mlp.experts.{number}.up_proj.weight"));
        assert_ne!(expert(1), expert(2), "experts are no layers");
        assert_eq!(without_layer("model.embed_tokens.weight"), None);
    }

    #[test]
    fn gpt_neox() {
        says(
            Some(2),
            &[
                ("gpt_neox.layers.2.attention.query_key_value.weight", Part::Q),
                ("gpt_neox.layers.2.attention.dense.bias", Part::O),
                ("gpt_neox.layers.2.mlp.dense_h_to_4h.weight", Part::Up),
                ("gpt_neox.layers.2.mlp.dense_4h_to_h.weight", Part::Down),
                ("gpt_neox.layers.2.post_attention_layernorm.bias", Part::Norm),
                ("gpt_neox.layers.2.attention.masked_bias", Part::Other),
            ],
        );
        says(
            None,
            &[
                ("gpt_neox.embed_in.weight", Part::Embed),
                ("embed_out.weight", Part::Head),
                ("gpt_neox.final_layer_norm.weight", Part::Norm),
            ],
        );
    }

    #[test]
    fn an_unknown_name_is_other_with_its_layer_where_it_has_one() {
        says(
            Some(4),
            &[
                ("model.layers.4.linear_attn.A_log", Part::Other),
                ("backbone.blocks.4.mixer", Part::Other),
                ("encoder.layer.4.weight", Part::Other),
            ],
        );
        says(
            None,
            &[
                ("", Part::Other),
                ("score.weight", Part::Other),
                ("model.layers", Part::Other),
                ("model.layers.+1.q_proj.weight", Part::Other),
                // A number that no model has: one more than it must not overflow.
                ("model.layers.4294967295.self_attn.q_proj.weight", Part::Other),
                ("model.layers.99999999999999999999.mlp.up_proj.weight", Part::Other),
            ],
        );
    }

    proptest! {
        #[test]
        fn any_string_has_a_place(name in ".*") {
            place(&name);
        }

        #[test]
        fn any_sequence_of_known_words_has_a_place(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "model", "layers", "h", "3", "mlp", "experts", "gate", "gate_proj", "weight", "bias", "",
                    "4294967295", "lm_head", "visual", "norm",
                ]),
                0..9,
            )
        ) {
            let place = place(&words.join("."));
            prop_assert!(place.expert.is_none() || place.part == Part::Expert);
            prop_assert!(place.layer.is_none_or(|layer| layer <= MAX_NUMBER));
        }
    }
}
