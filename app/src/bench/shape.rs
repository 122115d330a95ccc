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
}

impl Shape {
    /// All, the smallest first.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::Qwen05b, Self::Qwen15b, Self::Qwen7b];

    /// What it is called on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Qwen05b => "qwen2.5-0.5b",
            Self::Qwen15b => "qwen2.5-1.5b",
            Self::Qwen7b => "qwen2.5-7b",
        }
    }

    /// Sizes are those of the published config.json files.
    fn dimensions(self) -> Dimensions {
        let (hidden, inner, layers, heads, kv_heads, vocabulary, tied) = match self {
            Self::Tiny => (64, 128, 4, 4, 2, 512, true),
            Self::Qwen05b => (896, 4864, 24, 14, 2, 151_936, true),
            Self::Qwen15b => (1536, 8960, 28, 12, 2, 151_936, true),
            Self::Qwen7b => (3584, 18_944, 28, 28, 4, 152_064, false),
        };
        Dimensions { hidden, inner, layers, heads, kv_heads, vocabulary, tied }
    }

    /// Its tensors in bf16, in the order in which they are written.
    pub fn tensors(self) -> Vec<OutputTensor> {
        let Dimensions { hidden, inner, layers, heads, kv_heads, vocabulary, tied } = self.dimensions();
        let kv = kv_heads * (hidden / heads);
        let tensor = |name: String, shape: &[u64]| OutputTensor { name, dtype: Dtype::BF16, shape: shape.to_vec() };
        let mut tensors = vec![tensor("model.embed_tokens.weight".to_owned(), &[vocabulary, hidden])];
        for layer in 0..layers {
            let parts: [(&str, &[u64]); 12] = [
                ("input_layernorm.weight", &[hidden]),
                ("mlp.down_proj.weight", &[hidden, inner]),
                ("mlp.gate_proj.weight", &[inner, hidden]),
                ("mlp.up_proj.weight", &[inner, hidden]),
                ("post_attention_layernorm.weight", &[hidden]),
                ("self_attn.k_proj.bias", &[kv]),
                ("self_attn.k_proj.weight", &[kv, hidden]),
                ("self_attn.o_proj.weight", &[hidden, hidden]),
                ("self_attn.q_proj.bias", &[hidden]),
                ("self_attn.q_proj.weight", &[hidden, hidden]),
                ("self_attn.v_proj.bias", &[kv]),
                ("self_attn.v_proj.weight", &[kv, hidden]),
            ];
            tensors.extend(parts.map(|(part, shape)| tensor(format!("model.layers.{layer}.{part}"), shape)));
        }
        tensors.push(tensor("model.norm.weight".to_owned(), &[hidden]));
        if !tied {
            tensors.push(tensor("lm_head.weight".to_owned(), &[vocabulary, hidden]));
        }
        tensors
    }

    /// Its `config.json`.
    pub fn config(self) -> Value {
        let Dimensions { hidden, inner, layers, heads, kv_heads, vocabulary, tied } = self.dimensions();
        json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "torch_dtype": "bfloat16",
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "tie_word_embeddings": tied, "rms_norm_eps": 1e-6,
            "rope_theta": 1_000_000.0, "max_position_embeddings": 32_768, "bos_token_id": 0, "eos_token_id": 0,
        })
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
    }
}
