//! Findings from `config.json`: what equal shapes hide.

use serde_json::{Map, Value};

use super::words::{called, named, value};
use super::{Finding, Severity};
use crate::alignment::{Role, Triple};
use crate::checkpoint::Config;

/// A setting that changes what the same weights compute.
struct Setting {
    code: &'static str,
    label: &'static str,
    severity: Severity,
    /// Reads it, with what its absence means filled in where that is certain.
    read: fn(&Config) -> Option<Value>,
    /// What a difference means for a merge.
    meaning: &'static str,
    action: &'static str,
}

const HEADS_ACTION: &str = "Choose three models with the same attention heads";
const FAMILY_ACTION: &str = "Check that the three models come from one base";
const ROPE_ACTION: &str = "Check that the three models come from one base and that no config was edited by hand";

const SETTINGS: [Setting; 18] = [
    Setting {
        code: "config-attention-heads",
        label: "num_attention_heads",
        severity: Severity::Error,
        read: |config| first(config, &["num_attention_heads", "n_head"]),
        meaning: "the same rows belong to other heads",
        action: HEADS_ACTION,
    },
    Setting {
        code: "config-key-value-heads",
        label: "num_key_value_heads",
        severity: Severity::Error,
        read: |config| first(config, &["num_key_value_heads", "num_attention_heads", "n_head"]),
        meaning: "the same rows belong to other heads",
        action: HEADS_ACTION,
    },
    Setting {
        code: "config-head-dim",
        label: "head_dim",
        severity: Severity::Error,
        read: head_dim,
        meaning: "the same rows belong to other heads",
        action: HEADS_ACTION,
    },
    Setting {
        code: "config-model-type",
        label: "model_type",
        severity: Severity::Warning,
        read: |config| first(config, &["model_type"]),
        meaning: "the same names may mean other computations",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-architecture",
        label: "architectures",
        severity: Severity::Warning,
        read: |config| first(config, &["architectures"]),
        meaning: "the same names may mean other computations",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-rope-theta",
        label: "rope_theta",
        severity: Severity::Warning,
        read: rope_theta,
        meaning: "queries and keys were trained for other rotations; the output uses target's",
        action: ROPE_ACTION,
    },
    Setting {
        code: "config-rope-scaling",
        label: "rope_scaling",
        severity: Severity::Warning,
        read: rope_scaling,
        meaning: "queries and keys were trained for other rotations; the output uses target's",
        action: ROPE_ACTION,
    },
    Setting {
        code: "config-rotary-share",
        label: "partial_rotary_factor",
        severity: Severity::Warning,
        read: |config| first(config, &["partial_rotary_factor", "rotary_pct"]),
        meaning: "another share of each head is rotated; the output uses target's",
        action: ROPE_ACTION,
    },
    Setting {
        code: "config-sliding-window",
        label: "sliding_window",
        severity: Severity::Warning,
        read: sliding_window,
        meaning: "attention reaches differently far; the output uses target's",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-hidden-act",
        label: "hidden_act",
        severity: Severity::Warning,
        read: |config| first(config, &["hidden_act", "hidden_activation", "activation_function"]),
        meaning: "the MLP weights were trained for another activation; the output uses target's",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-experts-per-token",
        label: "num_experts_per_tok",
        severity: Severity::Warning,
        read: |config| first(config, &["num_experts_per_tok"]),
        meaning: "the router was trained to choose another number of experts; the output uses target's",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-attention-softcap",
        label: "attn_logit_softcapping",
        severity: Severity::Warning,
        read: |config| first(config, &["attn_logit_softcapping"]),
        meaning: "attention is capped differently; the output uses target's",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-head-softcap",
        label: "final_logit_softcapping",
        severity: Severity::Warning,
        read: |config| first(config, &["final_logit_softcapping"]),
        meaning: "the output is capped differently; the output uses target's",
        action: FAMILY_ACTION,
    },
    Setting {
        code: "config-norm-eps",
        label: "rms_norm_eps",
        severity: Severity::Note,
        read: |config| first(config, &["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"]),
        meaning: "the output uses target's",
        action: "",
    },
    Setting {
        code: "config-positions",
        label: "max_position_embeddings",
        severity: Severity::Note,
        read: |config| first(config, &["max_position_embeddings", "n_positions"]),
        meaning: "the output states target's; long reasoning needs room",
        action: "",
    },
    Setting {
        code: "config-bos",
        label: "bos_token_id",
        severity: Severity::Note,
        read: |config| first(config, &["bos_token_id"]),
        meaning: "the output uses target's",
        action: "",
    },
    Setting {
        code: "config-eos",
        label: "eos_token_id",
        severity: Severity::Note,
        read: |config| first(config, &["eos_token_id"]),
        meaning: "the output uses target's; a vector that learned to end with another token may not stop",
        action: "",
    },
    Setting {
        code: "config-pad",
        label: "pad_token_id",
        severity: Severity::Note,
        read: |config| first(config, &["pad_token_id"]),
        meaning: "the output uses target's",
        action: "",
    },
];

/// Compares the settings of the models that have a config.
pub(super) fn compare(triple: &Triple) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (with, without): (Vec<Role>, Vec<Role>) = named(triple).partition(|&role| triple.get(role).config().is_some());
    if !without.is_empty() {
        let labels = without.iter().map(|&role| called(triple, role)).collect::<Vec<_>>().join(", ");
        let verb = if without.len() == 1 { "has" } else { "have" };
        let mut finding = Finding::note("no-config", format!("{labels} {verb} no config.json"))
            .detail("Settings that equal shapes hide, such as rope_theta, cannot be compared");
        if without.contains(&Role::Target) {
            finding = finding.action("The output gets none either: choose the folder of target instead of one file");
        }
        findings.push(finding);
    }
    if with.len() < 2 {
        return findings;
    }
    for setting in &SETTINGS {
        let found: Vec<(Role, Option<Value>)> = with
            .iter()
            .filter_map(|&role| triple.get(role).config().map(|config| (role, (setting.read)(config))))
            .collect();
        if found.windows(2).all(|pair| same(pair[0].1.as_ref(), pair[1].1.as_ref())) {
            continue;
        }
        let each = found.iter().map(|(role, found)| format!("{} {}", called(triple, *role), value(found.as_ref())));
        let title = format!("{} differs: {}", setting.label, each.collect::<Vec<_>>().join(", "));
        let mut detail = setting.meaning.to_owned();
        detail[..1].make_ascii_uppercase();
        // An absent setting means a default that depends on the model's class: no ground for refusing a merge.
        let certain = found.iter().all(|(_, found)| found.is_some());
        let severity = if certain { setting.severity } else { setting.severity.min(Severity::Warning) };
        findings.push(Finding::new(severity, setting.code, title).detail(detail).action(setting.action));
    }
    findings
}

/// The first of `keys` that is there: the same setting under the names of different architectures.
fn first(config: &Config, keys: &[&str]) -> Option<Value> {
    keys.iter().find_map(|key| config.get(key)).cloned()
}

/// `head_dim`, or hidden size over heads, which is what its absence means.
fn head_dim(config: &Config) -> Option<Value> {
    first(config, &["head_dim"]).or_else(|| {
        let number = |keys| first(config, keys)?.as_u64();
        let hidden = number(&["hidden_size", "n_embd"])?;
        hidden.checked_div(number(&["num_attention_heads", "n_head"])?).map(Value::from)
    })
}

/// The window, where the model uses it: Qwen2 states one and says that it is off.
fn sliding_window(config: &Config) -> Option<Value> {
    if config.get("use_sliding_window").and_then(Value::as_bool) == Some(false) {
        return None;
    }
    first(config, &["sliding_window"])
}

/// transformers 5 keeps both rope settings in `rope_parameters`, of some models one set for each kind of layer.
fn rope_parameters(config: &Config) -> Option<&Map<String, Value>> {
    config.get("rope_parameters")?.as_object()
}

fn rope_theta(config: &Config) -> Option<Value> {
    let nested = || {
        let parameters = rope_parameters(config)?;
        let of_layers = parameters.get("full_attention").and_then(|full| full.get("rope_theta"));
        parameters.get("rope_theta").or(of_layers).cloned()
    };
    first(config, &["rope_theta", "rotary_emb_base"]).or_else(nested)
}

/// The scaling without what says nothing: theta, the type `default`, and which of two names the type has.
fn rope_scaling(config: &Config) -> Option<Value> {
    let stated = config.get("rope_scaling").and_then(Value::as_object).or_else(|| rope_parameters(config))?;
    let mut scaling = Map::new();
    for (key, value) in stated {
        match key.as_str() {
            "rope_theta" => {}
            "type" | "rope_type" => {
                if value != "default" {
                    scaling.insert("rope_type".to_owned(), value.clone());
                }
            }
            _ => {
                scaling.insert(key.clone(), value.clone());
            }
        }
    }
    // One set for each kind of layer: only what differs from plain rotation is scaling.
    let plain = |value: &Value| {
        value.as_object().is_some_and(|set| {
            set.iter().all(|(key, value)| key == "rope_theta" || key == "rope_type" && value == "default")
        })
    };
    scaling.retain(|_, value| !plain(value));
    (!scaling.is_empty()).then_some(Value::Object(scaling))
}

/// Whether two settings are equal, with 10000 and 10000.0 the same number.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_value(a, b),
        _ => false,
    }
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Config {
        Config::from_value(value).unwrap()
    }

    #[test]
    fn rope_settings_of_transformers_4_and_5_are_the_same_settings() {
        let four = config(json!({"rope_theta": 500000.0, "rope_scaling": {"type": "yarn", "factor": 4.0}}));
        let five = config(json!({"rope_parameters": {"rope_theta": 500000, "rope_type": "yarn", "factor": 4}}));
        assert!(same(rope_theta(&four).as_ref(), rope_theta(&five).as_ref()));
        assert!(same(rope_scaling(&four).as_ref(), rope_scaling(&five).as_ref()));
        let plain = config(json!({"rope_parameters": {"rope_theta": 10000, "rope_type": "default"}}));
        assert_eq!(rope_scaling(&plain), None);
        let by_layer = config(json!({"rope_parameters": {
            "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}}}));
        assert_eq!(rope_theta(&by_layer), Some(json!(1e6)));
        assert!(rope_scaling(&by_layer).unwrap().get("sliding_attention").is_none());
    }

    #[test]
    fn a_sliding_window_that_is_off_is_none() {
        assert_eq!(sliding_window(&config(json!({"sliding_window": 4096, "use_sliding_window": false}))), None);
        assert_eq!(sliding_window(&config(json!({"sliding_window": 4096}))), Some(json!(4096)));
    }

    #[test]
    fn a_head_is_hidden_over_heads_unless_it_is_stated() {
        assert_eq!(head_dim(&config(json!({"hidden_size": 2048, "num_attention_heads": 32}))), Some(json!(64)));
        let stated = json!({"hidden_size": 2048, "num_attention_heads": 32, "head_dim": 128});
        assert_eq!(head_dim(&config(stated)), Some(json!(128)));
        assert_eq!(head_dim(&config(json!({"hidden_size": 2048, "num_attention_heads": 0}))), None);
        assert_eq!(head_dim(&config(json!({"hidden_size": "big", "num_attention_heads": []}))), None);
    }
}
