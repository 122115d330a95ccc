//! What a decoder looks like: `config.json`, read as transformers (v4 and v5) writes it.

use serde_json::Value;

use crate::checkpoint::Config;

use super::rope::{RopeError, RopeSpec};

/// Largest value of a dimension that is believed. A config comes with a model and is not trusted.
const MAX_DIMENSION: u64 = 1 << 24;
/// Most layers that are believed.
const MAX_LAYERS: u64 = 4096;

/// The architectures that can be run, as `architectures` names them.
const KNOWN: &[(&str, Family)] = &[
    ("LlamaForCausalLM", Family::Llama),
    ("MistralForCausalLM", Family::Mistral),
    ("Qwen2ForCausalLM", Family::Qwen2),
    ("Qwen3ForCausalLM", Family::Qwen3),
    ("Phi3ForCausalLM", Family::Phi3),
    ("Gemma2ForCausalLM", Family::Gemma2),
    ("Gemma3ForCausalLM", Family::Gemma3),
    ("Gemma3ForConditionalGeneration", Family::Gemma3),
];

/// Decoders that differ in flags alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Phi3,
    Gemma2,
    Gemma3,
}

impl Family {
    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }
}

/// Why a config cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum DecoderConfigError {
    /// Nothing says what it is.
    #[error("config.json names no architecture; expected one of {}", known())]
    NoArchitecture,
    /// Something else.
    #[error(
        "{name} is no architecture that the embedded engine runs ({}); to try such a model, write it and load it in a server",
        known()
    )]
    Unknown { name: String },
    /// A key is missing, or is not what it should be.
    #[error("config.json should give `{key}` as {expected}, and has {found}")]
    Key { key: &'static str, expected: &'static str, found: String },
    /// Dimensions do not go together.
    #[error("config.json contradicts itself: {0}")]
    Contradiction(String),
    /// An activation that is not one of those that these architectures have.
    #[error("config.json asks for the activation `{0}`; silu and gelu_pytorch_tanh are known")]
    Activation(String),
    #[error(transparent)]
    Rope(#[from] RopeError),
}

fn known() -> String {
    let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// The function between the two halves of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    /// The tanh approximation.
    Gelu,
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderConfig {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: Vec<LayerConfig>,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub activation: Activation,
    pub rms_eps: f64,
    /// RMSNorm multiplies by 1 + weight (Gemma) and not by the weight.
    pub norm_adds_one: bool,
    /// Norms also behind attention and MLP (Gemma).
    pub norms_outputs: bool,
    /// RMSNorm over each head of q and k, before their rotation (Qwen3, Gemma 3).
    pub norms_heads: bool,
    pub qkv_bias: bool,
    pub o_bias: bool,
    pub mlp_bias: bool,
    /// q, k and v, and gate and up, are one matrix each (Phi-3).
    pub fused: bool,
    /// Scores are multiplied by this.
    pub score_scale: f64,
    /// Scores are bent below this by tanh (Gemma 2).
    pub score_cap: Option<f64>,
    /// Logits are bent below this by tanh (Gemma 2).
    pub logit_cap: Option<f64>,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f64,
    /// `Some(true)` shares input and output embeddings.
    pub tied: Option<bool>,
    /// Whether they are shared where the config does not say.
    pub tied_by_default: bool,
    /// Longest context in tokens.
    pub context: usize,
    /// Tokens that end an answer.
    pub end_tokens: Vec<u32>,
}

/// What one layer has of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerConfig {
    /// A token sees itself and so many less one before it; `None` sees all.
    pub window: Option<usize>,
    pub rope: RopeSpec,
}

impl DecoderConfig {
    /// Reads the config of a checkpoint.
    pub fn new(config: &Config) -> Result<Self, DecoderConfigError> {
        let name = config.architecture().ok_or(DecoderConfigError::NoArchitecture)?;
        let found = KNOWN.iter().find(|(known, _)| *known == name);
        let &(_, family) = found.ok_or_else(|| DecoderConfigError::Unknown { name: name.to_owned() })?;
        let reader = Reader { config };

        let hidden = reader.dimension("hidden_size", None)?;
        let heads = reader.dimension("num_attention_heads", None)?;
        let kv_heads = reader.dimension("num_key_value_heads", Some(heads))?;
        let default_head_dim = match family {
            Family::Qwen3 => 128,
            Family::Gemma2 | Family::Gemma3 => 256,
            _ => hidden / heads,
        };
        let head_dim = reader.dimension("head_dim", Some(default_head_dim))?;
        let contradiction = |message: String| Err(DecoderConfigError::Contradiction(message));
        if !heads.is_multiple_of(kv_heads) {
            return contradiction(format!("{heads} attention heads cannot share {kv_heads} key-value heads"));
        }
        if !head_dim.is_multiple_of(2) {
            return contradiction(format!("heads of {head_dim} dimensions cannot be rotated in pairs"));
        }
        let layer_count = reader.count("num_hidden_layers", MAX_LAYERS)?;
        let max_positions = reader.dimension("max_position_embeddings", Some(8192))?;
        let attention_bias = reader.flag("attention_bias", false)?;
        let layers = reader.layers(family, layer_count, head_dim, max_positions)?;
        let context = layers.iter().map(|layer| layer.rope.context(max_positions)).max().unwrap_or(max_positions);
        let query_scalar = match family.is_gemma() {
            true => reader.number("query_pre_attn_scalar", 256.0)?,
            false => head_dim as f64,
        };
        Ok(Self {
            vocab: reader.dimension("vocab_size", None)?,
            hidden,
            intermediate: reader.dimension("intermediate_size", None)?,
            layers,
            heads,
            kv_heads,
            head_dim,
            activation: reader.activation(family)?,
            rms_eps: reader.number("rms_norm_eps", if family == Family::Phi3 { 1e-5 } else { 1e-6 })?,
            norm_adds_one: family.is_gemma(),
            norms_outputs: family.is_gemma(),
            norms_heads: matches!(family, Family::Qwen3 | Family::Gemma3),
            qkv_bias: family == Family::Qwen2 || attention_bias,
            o_bias: attention_bias && family != Family::Qwen2,
            mlp_bias: reader.flag("mlp_bias", false)?,
            fused: family == Family::Phi3,
            score_scale: query_scalar.powf(-0.5),
            score_cap: reader.cap("attn_logit_softcapping", (family == Family::Gemma2).then_some(50.0))?,
            logit_cap: reader.cap("final_logit_softcapping", (family == Family::Gemma2).then_some(30.0))?,
            embedding_scale: if family.is_gemma() { (hidden as f64).sqrt() } else { 1.0 },
            tied: config.ties_embeddings(),
            tied_by_default: family.is_gemma(),
            context,
            end_tokens: token_ids(config.get("eos_token_id")),
        })
    }

    /// Heads of q that share one of k and v.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// One token id or a list of them; anything else is none.
pub(crate) fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Reads keys, each with a message of its own.
struct Reader<'a> {
    config: &'a Config,
}

impl Reader<'_> {
    fn refuse<T>(&self, key: &'static str, expected: &'static str) -> Result<T, DecoderConfigError> {
        let found = self.config.get(key).map_or_else(|| "nothing".to_owned(), |value| format!("`{value}`"));
        Err(DecoderConfigError::Key { key, expected, found })
    }

    /// A whole number from 1 on.
    fn dimension(&self, key: &'static str, default: Option<usize>) -> Result<usize, DecoderConfigError> {
        match (self.config.get(key), default) {
            (None, Some(default)) if default > 0 => Ok(default),
            _ => self.count(key, MAX_DIMENSION),
        }
    }

    fn count(&self, key: &'static str, most: u64) -> Result<usize, DecoderConfigError> {
        let value = self.config.get(key).and_then(Value::as_u64);
        match value.filter(|value| (1..=most).contains(value)) {
            Some(value) => Ok(value as usize),
            None => self.refuse(key, "a whole number from 1 on, of a sensible size"),
        }
    }

    fn number(&self, key: &'static str, default: f64) -> Result<f64, DecoderConfigError> {
        match self.config.get(key) {
            None => Ok(default),
            Some(value) => match value.as_f64().filter(|value| value.is_finite() && *value > 0.0) {
                Some(number) => Ok(number),
                None => self.refuse(key, "a number above 0"),
            },
        }
    }

    fn flag(&self, key: &'static str, default: bool) -> Result<bool, DecoderConfigError> {
        match self.config.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.refuse(key, "true or false"),
        }
    }

    /// A cap: absent is the default, `null` is none.
    fn cap(&self, key: &'static str, default: Option<f64>) -> Result<Option<f64>, DecoderConfigError> {
        if self.config.value().get(key).is_some_and(Value::is_null) {
            return Ok(None);
        }
        match default {
            // Other architectures have the key only if somebody put it there.
            None => Ok(None),
            Some(default) => self.number(key, default).map(Some),
        }
    }

    fn activation(&self, family: Family) -> Result<Activation, DecoderConfigError> {
        let keys = if family.is_gemma() { ["hidden_activation", "hidden_act"] } else { ["hidden_act", "hidden_act"] };
        let default = if family.is_gemma() { "gelu_pytorch_tanh" } else { "silu" };
        let found = keys.iter().find_map(|key| self.config.get(key)?.as_str()).unwrap_or(default);
        match found {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu_pytorch_tanh" => Ok(Activation::Gelu),
            // What Gemma's first configs called the same function.
            "gelu" if family.is_gemma() => Ok(Activation::Gelu),
            other => Err(DecoderConfigError::Activation(other.to_owned())),
        }
    }

    fn layers(
        &self,
        family: Family,
        count: usize,
        head_dim: usize,
        max_positions: usize,
    ) -> Result<Vec<LayerConfig>, DecoderConfigError> {
        let window = self.window(family)?;
        let full = RopeSpec::read(self.config, "full_attention", head_dim, max_positions)?;
        let sliding = match family {
            Family::Gemma3 => RopeSpec::read_local(self.config, head_dim)?,
            _ => full.clone(),
        };
        let slides: Vec<bool> = (0..count).map(|layer| self.slides(family, layer)).collect();
        let named = self.config.get("layer_types").and_then(Value::as_array);
        if let Some(named) = named
            && named.len() != count
        {
            let message = format!("{count} layers, and {} entries in layer_types", named.len());
            return Err(DecoderConfigError::Contradiction(message));
        }
        Ok(slides
            .into_iter()
            .enumerate()
            .map(|(layer, by_rule)| {
                let kind = named.and_then(|named| named[layer].as_str());
                let slides = kind.map_or(by_rule, |kind| kind == "sliding_attention");
                let rope = if slides { sliding.clone() } else { full.clone() };
                LayerConfig { window: window.filter(|_| slides), rope }
            })
            .collect())
    }

    /// How far back sliding layers see.
    fn window(&self, family: Family) -> Result<Option<usize>, DecoderConfigError> {
        let used = match family {
            Family::Qwen2 | Family::Qwen3 => self.flag("use_sliding_window", false)?,
            Family::Llama => false,
            _ => true,
        };
        if !used {
            return Ok(None);
        }
        let default = match family {
            Family::Gemma2 | Family::Gemma3 => Some(4096),
            _ => None,
        };
        match (self.config.get("sliding_window"), default) {
            (None, None) => Ok(None),
            _ => self.dimension("sliding_window", default).map(Some),
        }
    }

    /// Whether a layer slides, where `layer_types` does not say.
    fn slides(&self, family: Family, layer: usize) -> bool {
        let number = |key: &str, default: u64| self.config.get(key).and_then(Value::as_u64).unwrap_or(default) as usize;
        match family {
            Family::Llama => false,
            Family::Mistral | Family::Phi3 => true,
            Family::Qwen2 | Family::Qwen3 => layer >= number("max_window_layers", 28),
            Family::Gemma2 => layer.is_multiple_of(2),
            Family::Gemma3 => !(layer + 1).is_multiple_of(number("sliding_window_pattern", 6).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<DecoderConfig, DecoderConfigError> {
        DecoderConfig::new(&Config::from_value(value).unwrap())
    }

    fn qwen2() -> Value {
        json!({
            "architectures": ["Qwen2ForCausalLM"], "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
            "num_hidden_layers": 3, "intermediate_size": 96, "vocab_size": 100, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 512, "sliding_window": null, "rope_theta": 1e6, "eos_token_id": 7,
        })
    }

    #[test]
    fn an_unknown_architecture_is_refused_by_name() {
        let mut config = qwen2();
        config["architectures"] = json!(["MambaForCausalLM"]);
        let message = read(config).expect_err("no decoder").to_string();
        assert!(message.starts_with("MambaForCausalLM is no architecture"), "{message}");
        assert!(message.contains("Qwen2ForCausalLM"), "{message}");
    }

    #[test]
    fn a_window_that_is_not_used_is_none() {
        let mut config = qwen2();
        config["sliding_window"] = json!(32);
        assert!(read(config.clone()).unwrap().layers.iter().all(|layer| layer.window.is_none()));
        config["use_sliding_window"] = json!(true);
        config["max_window_layers"] = json!(2);
        let windows: Vec<_> = read(config).unwrap().layers.iter().map(|layer| layer.window).collect();
        assert_eq!(windows, [None, None, Some(32)]);
    }

    #[test]
    fn absurd_dimensions_are_refused_with_their_key() {
        for (key, value) in [
            ("hidden_size", json!(0)),
            ("num_hidden_layers", json!(1_000_000_000)),
            ("vocab_size", json!(-5)),
            ("num_attention_heads", json!("many")),
            ("rms_norm_eps", json!(0.0)),
        ] {
            let mut config = qwen2();
            config[key] = value;
            let message = read(config).expect_err(key).to_string();
            assert!(message.contains(key), "{message}");
        }
    }

    #[test]
    fn heads_that_cannot_be_shared_are_a_contradiction() {
        let mut config = qwen2();
        config["num_key_value_heads"] = json!(3);
        let message = read(config).expect_err("4 over 3").to_string();
        assert!(message.contains("4 attention heads cannot share 3"), "{message}");
    }

    #[test]
    fn one_end_token_or_several() {
        assert_eq!(token_ids(Some(&json!(7))), [7]);
        assert_eq!(token_ids(Some(&json!([7, 8, "x"]))), [7, 8]);
        assert_eq!(token_ids(None), [0_u32; 0]);
    }
}
