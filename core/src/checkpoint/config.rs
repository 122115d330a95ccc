//! `config.json`: what the weights mean. Only read, never interpreted beyond the fields below.

use std::io;
use std::path::Path;

use serde_json::Value;

/// Largest `config.json` that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// A model's `config.json`.
#[derive(Clone, Debug)]
pub struct Config {
    value: Value,
}

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is absurdly large.
    #[error("it has {bytes} bytes; at most {MAX_CONFIG_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is not JSON.
    #[error("it is not valid JSON")]
    Json(#[from] serde_json::Error),
    /// It is JSON, but no object.
    #[error("it should hold a JSON object")]
    NotAnObject,
}

impl Config {
    /// Reads a `config.json`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            // A pipe would never end.
            return Err(io::Error::other("it is not a regular file").into());
        }
        let bytes = metadata.len();
        if bytes > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLarge { bytes });
        }
        Self::from_json(&std::fs::read(path)?)
    }

    /// Parses a `config.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        // Python writes NaN and Infinity into JSON, which has no such numbers; what they stand for is not needed here.
        let value = serde_json::from_slice(bytes)
            .or_else(|error| serde_json::from_slice(&without_nonfinite(bytes)).map_err(|_| error))?;
        Self::from_value(value)
    }

    /// Takes a parsed `config.json`.
    pub fn from_value(value: Value) -> Result<Self, ConfigError> {
        if value.is_object() { Ok(Self { value }) } else { Err(ConfigError::NotAnObject) }
    }

    /// The field `key`, at the top or, as multimodal models nest it, under `text_config`; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let find = |object: &'_ Value| object.get(key).is_some_and(|value| !value.is_null());
        if find(&self.value) {
            return self.value.get(key);
        }
        self.value.get("text_config").and_then(|text| text.get(key)).filter(|value| !value.is_null())
    }

    /// `model_type`, such as `qwen2`.
    pub fn model_type(&self) -> Option<&str> {
        self.get("model_type")?.as_str()
    }

    /// The first of `architectures`, such as `Qwen2ForCausalLM`.
    pub fn architecture(&self) -> Option<&str> {
        self.get("architectures")?.get(0)?.as_str()
    }

    /// Whether input and output embeddings are one tensor. Absent means yes, as in transformers' base config,
    /// but only a present field says so for certain.
    pub fn ties_embeddings(&self) -> Option<bool> {
        self.get("tie_word_embeddings")?.as_bool()
    }

    /// `quantization_config.quant_method`, or the fact that there is such a config.
    pub fn quantisation(&self) -> Option<&str> {
        let config = self.get("quantization_config")?;
        Some(config.get("quant_method").and_then(Value::as_str).unwrap_or("unknown"))
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// The JSON text with `NaN`, `Infinity` and `-Infinity` outside strings turned to `null`.
fn without_nonfinite(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut at) = (false, 0);
    while let Some(&byte) = json.get(at) {
        let rest = &json[at..];
        let word = [&b"-Infinity"[..], b"Infinity", b"NaN"].into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            out.extend_from_slice(b"null");
            at += word.len();
            continue;
        }
        // An escaped character, a quote among them, is passed over together with its backslash.
        let length = if in_string && byte == b'\\' { 2.min(rest.len()) } else { 1 };
        in_string ^= byte == b'"';
        out.extend_from_slice(&rest[..length]);
        at += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_text_configs_and_nulls_are_seen_through() {
        let config = Config::from_value(json!({
            "model_type": "gemma3", "rope_scaling": null, "text_config": {"rope_theta": 1e6, "rope_scaling": {"factor": 8.0}}
        }))
        .unwrap();
        assert_eq!(config.model_type(), Some("gemma3"));
        assert_eq!(config.get("rope_theta"), Some(&json!(1e6)));
        assert_eq!(config.get("rope_scaling"), Some(&json!({"factor": 8.0})));
        assert_eq!(config.get("head_dim"), None);
    }

    #[test]
    fn numbers_that_only_python_writes_are_passed_over() {
        let json = br#"{"a": [0.0, Infinity], "b": "NaN \" -Infinity", "c": -Infinity, "d": NaN}"#;
        let value: Value = serde_json::from_slice(&without_nonfinite(json)).unwrap();
        assert_eq!(value, json!({"a": [0.0, null], "b": "NaN \" -Infinity", "c": null, "d": null}));
    }

    #[test]
    fn a_list_is_no_config() {
        assert!(matches!(Config::from_value(json!([])), Err(ConfigError::NotAnObject)));
    }
}
