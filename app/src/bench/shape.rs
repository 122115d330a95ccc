//! The tensors of real models, by name and shape.

use mergescope_core::checkpoint::{Dtype, OutputTensor};
use serde_json::{Value, json};

/// A shape that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Too small to measure anything: for tests.
    Tiny,
    /// Qwen2.5-0.5B: 494 million parameters, 988 MB a model.
    Qwen05b,
    /// Qwen2.5-1.5B: 1.54 billion parameters, 3.09 GB a model.
    Qwen15b,
    /// Qwen2.5-7B: 7.62 billion parameters, 15.2 GB a model.
    Qwen7b,
    /// Qwen2.5-32B: 32.8 billion parameters, 65.5 GB a model.
    Qwen32b,
    /// Qwen3-30B-A3B, a mixture of 128 experts a layer: 30.5 billion parameters in 18,867 tensors, 61.1 GB a model.
    Qwen3Mixture,
}

/// The numbers that a shape follows from, as `config.json` has them.
struct Dimensions {
    hidden: u64,
    inner: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    vocabulary: u64,
    tied: bool,
    /// Experts of a layer; 0 for a dense model.
    experts: u64,
}

/// Elements of an attention head of a mixture.
const MIXTURE_HEAD: u64 = 128;

impl Shape {
    /// All, the smallest first.
    pub const ALL: [Self; 6] =
        [Self::Tiny, Self::Qwen05b, Self::Qwen15b, Self::Qwen7b, Self::Qwen32b, Self::Qwen3Mixture];

    /// What it is called on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Qwen05b => "qwen2.5-0.5b",
            Self::Qwen15b => "qwen2.5-1.5b",
            Self::Qwen7b => "qwen2.5-7b",
            Self::Qwen32b => "qwen2.5-32b",
            Self::Qwen3Mixture => "qwen3-30b-a3b",
        }
    }

    /// Sizes are those of the published config.json files.
    fn dimensions(self) -> Dimensions {
        let (hidden, inner, layers, heads, kv_heads, vocabulary, tied) = match self {
            Self::Tiny => (64, 128, 4, 4, 2, 512, true),
            Self::Qwen05b => (896, 4864, 24, 14, 2, 151_936, true),
            Self::Qwen15b => (1536, 8960, 28, 12, 2, 151_936, true),
            Self::Qwen7b => (3584, 18_944, 28, 28, 4, 152_064, false),
            Self::Qwen32b => (5120, 27_648, 64, 40, 8, 152_064, false),
            Self::Qwen3Mixture => (2048, 768, 48, 32, 4, 151_936, false),
        };
        let experts = if self == Self::Qwen3Mixture { 128 } else { 0 };
        Dimensions { hidden, inner, layers, heads, kv_heads, vocabulary, tied, experts }
    }

    /// Its tensors in bf16, in the order in which they are written.
    pub fn tensors(self) -> Vec<OutputTensor> {
        let Dimensions { hidden, inner, layers, heads, kv_heads, vocabulary, tied, experts } = self.dimensions();
        // Heads of mixtures are as wide whatever the model is.
        let head = if experts == 0 { hidden / heads } else { MIXTURE_HEAD };
        let (q, kv) = (heads * head, kv_heads * head);
        let tensor = |name: String, shape: &[u64]| OutputTensor { name, dtype: Dtype::BF16, shape: shape.to_vec() };
        let mut tensors = vec![tensor("model.embed_tokens.weight".to_owned(), &[vocabulary, hidden])];
        for layer in 0..layers {
            let mut add =
                |part: &str, shape: &[u64]| tensors.push(tensor(format!("model.layers.{layer}.{part}"), shape));
            add("input_layernorm.weight", &[hidden]);
            for expert in 0..experts {
                add(&format!("mlp.experts.{expert}.down_proj.weight"), &[hidden, inner]);
                add(&format!("mlp.experts.{expert}.gate_proj.weight"), &[inner, hidden]);
                add(&format!("mlp.experts.{expert}.up_proj.weight"), &[inner, hidden]);
            }
            if experts == 0 {
                add("mlp.down_proj.weight", &[hidden, inner]);
                add("mlp.gate_proj.weight", &[inner, hidden]);
                add("mlp.up_proj.weight", &[inner, hidden]);
                for (part, size) in [("k", kv), ("q", q), ("v", kv)] {
                    add(&format!("self_attn.{part}_proj.bias"), &[size]);
                }
            } else {
                add("mlp.gate.weight", &[experts, hidden]);
                add("self_attn.k_norm.weight", &[head]);
                add("self_attn.q_norm.weight", &[head]);
            }
            add("post_attention_layernorm.weight", &[hidden]);
            add("self_attn.k_proj.weight", &[kv, hidden]);
            add("self_attn.o_proj.weight", &[hidden, q]);
            add("self_attn.q_proj.weight", &[q, hidden]);
            add("self_attn.v_proj.weight", &[kv, hidden]);
        }
        tensors.push(tensor("model.norm.weight".to_owned(), &[hidden]));
        if !tied {
            tensors.push(tensor("lm_head.weight".to_owned(), &[vocabulary, hidden]));
        }
        tensors
    }

    /// Its `config.json`.
    pub fn config(self) -> Value {
        let Dimensions { hidden, inner, layers, heads, kv_heads, vocabulary, tied, experts } = self.dimensions();
        let mut config = json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "torch_dtype": "bfloat16",
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "tie_word_embeddings": tied, "rms_norm_eps": 1e-6,
            "rope_theta": 1_000_000.0, "max_position_embeddings": 32_768, "bos_token_id": 0, "eos_token_id": 0,
        });
        if experts > 0 {
            config["architectures"] = json!(["Qwen3MoeForCausalLM"]);
            config["model_type"] = json!("qwen3_moe");
            config["head_dim"] = json!(MIXTURE_HEAD);
            config["moe_intermediate_size"] = json!(inner);
            config["num_experts"] = json!(experts);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_many_as_the_models_have() {
        let parameters =
            |shape: Shape| -> u64 { shape.tensors().iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum() };
        assert_eq!(parameters(Shape::Qwen05b), 494_032_768);
        assert_eq!(parameters(Shape::Qwen15b), 1_543_714_304);
        assert_eq!(parameters(Shape::Qwen7b), 7_615_616_512);
        assert_eq!(parameters(Shape::Qwen32b), 32_763_876_352);
        assert_eq!(parameters(Shape::Qwen3Mixture), 30_532_122_624);
        assert_eq!(Shape::Qwen3Mixture.tensors().len(), 18_867);
    }
}
