//! `adapter_config.json`, as PEFT reads it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::plan::{Kind, modules};
use super::report::{AdapterTensor, Form};
use crate::alignment::Triple;
use crate::checkpoint::natural_cmp;
use crate::hub::{self, HubName};
use crate::layout::Part;
use crate::recipe::Recipe;

/// The config of an adapter whose tensors of lower rank are filled up, or have patterns.
///
/// Every scale is 1: alpha is the rank, that of all tensors and that of each with a pattern.
pub(super) fn adapter_config(
    triple: &Triple,
    recipe: &Recipe,
    tensors: &[AdapterTensor],
    rank: u32,
    is_uniform: bool,
) -> String {
    let factored: BTreeSet<&str> =
        tensors.iter().filter(|tensor| tensor.rank().is_some()).map(|tensor| tensor.module.as_str()).collect();
    let mut patterns = Map::new();
    for tensor in tensors.iter().filter(|_| !is_uniform) {
        if let Some(own) = tensor.rank().map(stored_rank).filter(|&own| own != rank) {
            patterns.insert(tensor.module.clone(), json!(own));
        }
    }
    let is_conv1d = |tensor: &AdapterTensor| matches!(tensor.form, Form::Factored { kind: Kind::Conv1d, .. });
    let (norms, biases): (Vec<&AdapterTensor>, Vec<&AdapterTensor>) =
        tensors.iter().filter(|tensor| tensor.form == Form::Copied).partition(|tensor| tensor.place.part == Part::Norm);
    let bias = match biases.iter().map(|tensor| factored.contains(tensor.module.as_str())).min() {
        None => "none",
        Some(true) => "lora_only",
        // Of modules too that have no factors.
        Some(false) => "all",
    };
    let mut norms: Vec<&str> = norms.into_iter().map(|tensor| tensor.module.as_str()).collect();
    norms.dedup();
    let config = json!({
        "alpha_pattern": patterns,
        "auto_mapping": null,
        "base_model_name_or_path": base_model(triple, recipe),
        "bias": bias,
        "fan_in_fan_out": tensors.iter().any(is_conv1d),
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        // Whole paths: PEFT takes whatever ends with what stands here.
        "modules_to_save": if norms.is_empty() { Value::Null } else { json!(norms) },
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": patterns,
        "revision": revision(recipe),
        "target_modules": target_modules(triple, &factored),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    format!("{config:#}\n")
}

/// The target as a program elsewhere can find it: its name on the Hub, else its path.
fn base_model(triple: &Triple, recipe: &Recipe) -> String {
    let label = triple.target.label();
    if label.contains('/') { label } else { hub::lasting(&recipe.target) }
}

/// The revision of the target, where its name on the Hub has one.
fn revision(recipe: &Recipe) -> Option<String> {
    HubName::parse(&hub::lasting(&recipe.target)).ok()?.revision().map(str::to_owned)
}

/// The modules to wrap: the last word of their names where all modules called so are in the adapter, else whole paths.
fn target_modules(triple: &Triple, factored: &BTreeSet<&str>) -> Vec<String> {
    let last = |module: &str| module.rsplit('.').next().unwrap_or_default().to_owned();
    let others: BTreeSet<String> = modules(&triple.target)
        .filter(|module| !factored.contains(module.as_str()))
        .map(|module| last(&module))
        .collect();
    let short = |module: &&str| Some(last(module)).filter(|last| !others.contains(last));
    let names: BTreeSet<String> =
        factored.iter().map(|module| short(module).unwrap_or_else(|| (*module).to_owned())).collect();
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by(|a, b| natural_cmp(a, b));
    names
}

/// The rank that a tensor of `rank` directions is stored with: a module of rank 0 is not allowed.
pub(super) fn stored_rank(rank: u32) -> u32 {
    rank.max(1)
}
