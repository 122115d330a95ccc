//! What llama.cpp's names mean: the tensors of transformers that they were made from.
//!
//! Source: `gguf-py/gguf/tensor_mapping.py` and `convert_hf_to_gguf.py` of llama.cpp. Only architectures whose tensors are
//! stored as they are, or in an order that can be undone, are known here.

/// An architecture whose names are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Llama and Mistral, which store queries and keys in another order of rows.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3, dense.
    Qwen3,
}

impl Architecture {
    pub(super) fn find(name: &str) -> Option<Self> {
        match name {
            "llama" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }
}

/// What a tensor of the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A tensor of that name.
    Tensor(String),
    /// The queries' projection, whose rows belong to heads.
    Queries(String),
    /// The keys'.
    Keys(String),
    /// No weight: worked out from the config.
    Derived,
}

/// What the tensor `name` is; `None` where it is not known.
pub(super) fn meaning(architecture: Architecture, name: &str) -> Option<Meaning> {
    let whole = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        "rope_freqs.weight" => return Some(Meaning::Derived),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(Meaning::Tensor(whole.to_owned()));
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    // As a number is written, so that no two names mean one tensor.
    if layer.parse::<u32>().ok()?.to_string() != layer {
        return None;
    }
    let (stem, end) = rest.rsplit_once('.')?;
    let qwen3 = architecture == Architecture::Qwen3;
    let module = match (stem, end) {
        ("attn_norm", "weight") => "input_layernorm",
        ("ffn_norm", "weight") => "post_attention_layernorm",
        ("attn_q_norm", "weight") if qwen3 => "self_attn.q_norm",
        ("attn_k_norm", "weight") if qwen3 => "self_attn.k_norm",
        ("attn_q", "weight" | "bias") => "self_attn.q_proj",
        ("attn_k", "weight" | "bias") => "self_attn.k_proj",
        ("attn_v", "weight" | "bias") => "self_attn.v_proj",
        ("attn_output", "weight" | "bias") => "self_attn.o_proj",
        ("ffn_gate", "weight" | "bias") => "mlp.gate_proj",
        ("ffn_up", "weight" | "bias") => "mlp.up_proj",
        ("ffn_down", "weight" | "bias") => "mlp.down_proj",
        _ => return None,
    };
    let name = format!("model.layers.{layer}.{module}.{end}");
    Some(match (architecture, stem) {
        (Architecture::Llama, "attn_q") => Meaning::Queries(name),
        (Architecture::Llama, "attn_k") => Meaning::Keys(name),
        _ => Meaning::Tensor(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str) -> Option<Meaning> {
        Some(Meaning::Tensor(name.to_owned()))
    }

    #[test]
    fn names_become_those_of_transformers() {
        use Architecture::{Llama, Qwen2, Qwen3};
        assert_eq!(meaning(Qwen2, "token_embd.weight"), tensor("model.embed_tokens.weight"));
        assert_eq!(meaning(Qwen2, "blk.12.attn_q.bias"), tensor("model.layers.12.self_attn.q_proj.bias"));
        assert_eq!(meaning(Qwen3, "blk.0.attn_k_norm.weight"), tensor("model.layers.0.self_attn.k_norm.weight"));
        let queries = Meaning::Queries("model.layers.3.self_attn.q_proj.weight".to_owned());
        assert_eq!(meaning(Llama, "blk.3.attn_q.weight"), Some(queries));
        assert_eq!(meaning(Llama, "rope_freqs.weight"), Some(Meaning::Derived));
    }

    #[test]
    fn what_is_not_known_stays_unknown() {
        use Architecture::{Llama, Qwen2};
        for name in [
            "blk.0.ffn_gate_exps.weight",
            "blk.0.attn_k_norm.weight",
            "blk.00.attn_q.weight",
            "blk.x.attn_q.weight",
            "blk.0.attn_norm.bias",
            "blk.0.attn_q",
            "attn_q.weight",
            "",
        ] {
            assert_eq!((meaning(Llama, name), meaning(Qwen2, name)), (None, None), "{name}");
        }
    }
}
