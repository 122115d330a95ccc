//! One of the three model fields: what was typed, and the model that was opened from it.

use std::sync::Arc;

use mergescope_core::checkpoint::{Checkpoint, CheckpointKind, dtype_label};
use mergescope_core::hub::HubName;
use mergescope_core::layout;
use mergescope_core::merge::provenance;

use super::jobs::JobId;
use crate::format;

/// How far the model of a slot is.
#[derive(Clone)]
pub enum SlotState {
    /// Nothing was chosen.
    Empty,
    /// It is being opened.
    Opening(JobId),
    /// It is open.
    Ready(Arc<Checkpoint>),
    /// It cannot be opened, and why.
    Failed(String),
}

/// A model on the Hub that is not on this computer.
#[derive(Clone)]
pub struct Absent {
    /// Its name.
    pub name: HubName,
    /// Why the last download failed.
    pub why_not: Option<String>,
}

/// A model field.
#[derive(Clone)]
pub struct Slot {
    /// The text in the field, perhaps not yet committed.
    pub text: String,
    /// What `state` is about: the recipe's path when it was last looked at.
    pub spec: String,
    /// The model.
    pub state: SlotState,
    /// One line about the model.
    pub summary: String,
    /// Where the model is on the Hub and not here: what could be downloaded.
    pub absent: Option<Absent>,
    /// A passing remark that belongs to this field, such as that no file dialog is available.
    pub hint: Option<String>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            text: String::new(),
            spec: String::new(),
            state: SlotState::Empty,
            summary: String::new(),
            absent: None,
            hint: None,
        }
    }
}

impl Slot {
    /// The model, when it is open.
    pub fn checkpoint(&self) -> Option<&Arc<Checkpoint>> {
        match &self.state {
            SlotState::Ready(checkpoint) => Some(checkpoint),
            _ => None,
        }
    }
}

/// One line about a model: `Qwen2 · 24 layers · 494 M · bf16`, `Saved vector of s1 − base · 290 tensors · f32`.
pub fn summary(checkpoint: &Checkpoint) -> String {
    let mut facts = Vec::new();
    let dtypes = checkpoint.dtypes();
    let labels: Vec<String> = dtypes.iter().take(2).map(|&(dtype, _)| dtype_label(dtype)).collect();
    let dtypes = (!labels.is_empty()).then(|| labels.join(" + "));
    if checkpoint.kind() == CheckpointKind::Vector {
        let short = |name: &str| name.rsplit(['/', '\\']).next().unwrap_or(name).to_owned();
        let of = provenance(checkpoint).map(|of| format!(" of {} − {}", short(&of.post), short(&of.pre)));
        facts.push(format!("Saved vector{}", of.unwrap_or_default()));
        facts.push(format::plural(checkpoint.tensors().len(), "tensor"));
        facts.extend(dtypes);
        return facts.join(" · ");
    }
    if let Some(model_type) = checkpoint.config().and_then(|config| config.model_type()) {
        facts.push(architecture(model_type));
    }
    let layers = checkpoint
        .config()
        .and_then(|config| config.get("num_hidden_layers").or_else(|| config.get("n_layer")))
        .and_then(|value| value.as_u64())
        .or_else(|| {
            let last = checkpoint.tensors().iter().filter_map(|tensor| layout::place(&tensor.name).layer).max()?;
            Some(u64::from(last) + 1)
        });
    if let Some(layers) = layers {
        facts.push(format::plural(layers as usize, "layer"));
    }
    facts.push(format::parameters(checkpoint.parameters()));
    facts.extend(dtypes);
    facts.join(" · ")
}

/// The family's name as its makers write it.
fn architecture(model_type: &str) -> String {
    let known = match model_type {
        "gpt2" => "GPT-2",
        "gpt_neox" => "GPT-NeoX",
        "qwen2_moe" => "Qwen2-MoE",
        "qwen3_moe" => "Qwen3-MoE",
        "phi3" => "Phi-3",
        _ => {
            let mut letters = model_type.chars();
            let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
            return first + &letters.as_str().replace('_', "-");
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_makers_write_them() {
        assert_eq!(["qwen2", "gpt_neox", "llama"].map(architecture), ["Qwen2", "GPT-NeoX", "Llama"]);
    }
}
