//! What an adapter will hold, known from headers and configs alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::spec::{AdapterPart, AdapterSpec, Content};
use crate::alignment::{Aligned, Alignment, Participation, Triple, output_head, token_embeddings};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::layout::{self, Part, Place};
use crate::recipe::Recipe;
use crate::scaling::{Scaling, ScalingError};

/// Every tensor of the target that v moves, and what becomes of it.
#[derive(Clone, Debug)]
pub struct AdapterPlan {
    /// In natural name order.
    pub tensors: Vec<PlannedTensor>,
    /// Alignment of the three models.
    pub(super) alignment: Alignment,
}

/// What becomes of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its name in the target.
    pub name: String,
    /// Layer and part.
    pub place: Place,
    /// What v is multiplied by.
    pub coefficient: f32,
    /// Whether it goes in, and how.
    pub fate: Fate,
    /// Position in the alignment.
    pub(super) aligned: usize,
}

/// Whether a tensor goes into the adapter, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As two factors.
    Factored {
        /// The module that PEFT wraps, such as `model.layers.0.mlp.up_proj`.
        module: String,
        /// What kind of module that is.
        kind: Kind,
    },
    /// Whole, as target + w·v.
    Copied {
        /// The module it belongs to.
        module: String,
        /// `weight` or `bias`.
        parameter: String,
    },
    /// Not at all.
    LeftOut(Reason),
}

/// Kinds of modules that LoRA wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A linear layer, stored as outputs × inputs.
    Linear,
    /// GPT-2's `Conv1D`: a linear layer stored as inputs × outputs.
    Conv1d,
    /// An embedding, stored as rows × width.
    Embedding,
}

/// Why a tensor is no part of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its part was not asked for.
    NotChosen,
    /// Its coefficient is 0.
    Kept,
    /// One tensor is embeddings and output head: an adapter would change one of its two uses, or be merged twice.
    Tied,
    /// All experts in one tensor, which is no linear layer.
    Stacked,
    /// No matrix, and neither norm nor bias.
    NoMatrix,
    /// No `config.json` says whether it is stored as inputs × outputs.
    UnknownOrder,
}

impl Reason {
    /// The reason in words, after "left out: ".
    pub fn label(self) -> &'static str {
        match self {
            Self::NotChosen => "not among the parts chosen",
            Self::Kept => "the recipe keeps it as the target's",
            Self::Tied => "embeddings and output head are one tensor, which an adapter cannot change in both places",
            Self::Stacked => "all experts in one tensor, which is no linear layer",
            Self::NoMatrix => "no matrix, norm or bias",
            Self::UnknownOrder => "without config.json it cannot be told whether it is stored as inputs × outputs",
        }
    }
}

/// Models whose linear layers are GPT-2's `Conv1D` in transformers.
const CONV1D_MODELS: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

/// The names of those layers. Others, such as GPTBigCode, call linear layers so.
const CONV1D_NAMES: [&str; 4] = ["c_attn", "c_proj", "c_fc", "q_attn"];

impl AdapterPlan {
    /// Decides on every tensor. Reads no weights.
    pub(super) fn new(triple: &Triple, recipe: &Recipe, spec: &AdapterSpec) -> Result<Self, ScalingError> {
        let alignment = Alignment::new(triple);
        let scaling = Scaling::new(recipe.vector.w, &recipe.vector.scaling, alignment.layers())?;
        let coefficient = |tensor: &TensorInfo, place| match spec.content {
            Content::Scaled => scaling.coefficient(&tensor.name, place),
            Content::Vector => 1.0,
        };
        let target = &triple.target;
        let prefix = module_prefix(target);
        let is_tied = ties(target);
        let mut tensors: Vec<PlannedTensor> = Vec::new();
        for (position, aligned) in alignment.tensors.iter().enumerate() {
            let tensor = &target.tensors()[aligned.target];
            let moves = matches!(aligned.participation, Participation::Moves { .. });
            let coefficient = if moves { coefficient(tensor, aligned.place) } else { 0.0 };
            let (module, parameter) = module_of(&tensor.name, aligned.place.part, prefix);
            let fate = match (moves, coefficient == 0.0) {
                (true, false) => fate(target, tensor, aligned, is_tied, spec, module, parameter),
                // Decided with the rest of its norm.
                (false, _) if aligned.place.part == Part::Norm => Fate::LeftOut(Reason::Kept),
                (false, _) => continue,
                (true, true) => Fate::LeftOut(Reason::Kept),
            };
            let (name, place) = (tensor.name.clone(), aligned.place);
            tensors.push(PlannedTensor { name, place, coefficient, fate, aligned: position });
        }
        // PEFT takes a module whole: where the weights of a norm move, its bias is written too, moved or not.
        let whole = |tensor: &PlannedTensor| match &tensor.fate {
            Fate::Copied { module, .. } if tensor.place.part == Part::Norm => Some(module.clone()),
            _ => None,
        };
        let norms: BTreeSet<String> = tensors.iter().filter_map(whole).collect();
        for tensor in &mut tensors {
            let (module, parameter) = module_of(&tensor.name, tensor.place.part, prefix);
            if norms.contains(&module) {
                tensor.fate = Fate::Copied { module, parameter };
            }
        }
        let moves = |tensor: &PlannedTensor| {
            matches!(alignment.tensors[tensor.aligned].participation, Participation::Moves { .. })
        };
        tensors.retain(|tensor| moves(tensor) || matches!(tensor.fate, Fate::Copied { .. }));
        Ok(Self { tensors, alignment })
    }

    /// Tensors that go in as factors.
    pub fn factored(&self) -> impl Iterator<Item = &PlannedTensor> {
        self.tensors.iter().filter(|tensor| matches!(tensor.fate, Fate::Factored { .. }))
    }

    /// How many tensors go in whole.
    pub fn copied(&self) -> usize {
        self.tensors.iter().filter(|tensor| matches!(tensor.fate, Fate::Copied { .. })).count()
    }

    /// What is left out, by reason and part: how many tensors.
    pub fn omissions(&self) -> Vec<(Reason, Part, u64)> {
        let mut found: BTreeMap<(Reason, Part), u64> = BTreeMap::new();
        for tensor in &self.tensors {
            if let Fate::LeftOut(reason) = tensor.fate {
                *found.entry((reason, tensor.place.part)).or_default() += 1;
            }
        }
        found.into_iter().map(|((reason, part), count)| (reason, part, count)).collect()
    }

    /// Whether there is a tensor of an expert among them that is stored by itself.
    pub(super) fn has_experts(&self) -> bool {
        self.factored().any(|tensor| tensor.place.expert.is_some())
    }
}

fn fate(
    target: &Checkpoint,
    tensor: &TensorInfo,
    aligned: &Aligned,
    is_tied: bool,
    spec: &AdapterSpec,
    module: String,
    parameter: String,
) -> Fate {
    let Place { part, expert, .. } = aligned.place;
    let chosen = match part {
        Part::Norm => AdapterPart::Norm,
        _ if parameter == "bias" && tensor.shape.len() == 1 => AdapterPart::Bias,
        Part::Q | Part::K | Part::V | Part::O => AdapterPart::Attention,
        Part::Gate | Part::Up | Part::Down | Part::Expert => AdapterPart::Mlp,
        Part::Head => AdapterPart::Head,
        Part::Embed => AdapterPart::Embed,
        Part::Router | Part::Other => AdapterPart::Other,
    };
    if chosen.is_copied() {
        return if spec.has(chosen) { Fate::Copied { module, parameter } } else { Fate::LeftOut(Reason::NotChosen) };
    }
    if part == Part::Expert && expert.is_none() && tensor.shape.len() == 3 {
        return Fate::LeftOut(Reason::Stacked);
    }
    if tensor.shape.len() != 2 || parameter != "weight" || tensor.elements() == 0 {
        return Fate::LeftOut(Reason::NoMatrix);
    }
    let is_token_table = part == Part::Head || token_embeddings(target) == Some(tensor);
    if is_tied && is_token_table {
        return Fate::LeftOut(Reason::Tied);
    }
    if !spec.has(chosen) {
        return Fate::LeftOut(Reason::NotChosen);
    }
    let last = module.rsplit('.').next().unwrap_or_default();
    let kind = match target.config().and_then(|config| config.model_type()) {
        _ if part == Part::Embed => Kind::Embedding,
        _ if !CONV1D_NAMES.contains(&last) => Kind::Linear,
        None => return Fate::LeftOut(Reason::UnknownOrder),
        Some(model) if CONV1D_MODELS.contains(&model) => Kind::Conv1d,
        Some(_) => Kind::Linear,
    };
    Fate::Factored { module, kind }
}

/// Whether a program that loads the model has one tensor for embeddings and output head.
fn ties(target: &Checkpoint) -> bool {
    let said = target.config().and_then(|config| config.ties_embeddings());
    said.unwrap_or_else(|| output_head(target).is_none())
}

/// The module and the parameter that a tensor's name means: `model.norm` and `weight`.
fn module_of(name: &str, part: Part, prefix: &str) -> (String, String) {
    let (module, parameter) = name.rsplit_once('.').unwrap_or(("", name));
    // The head stands beside the model, not within it.
    let prefix = if part == Part::Head { "" } else { prefix };
    (format!("{prefix}{module}"), parameter.to_owned())
}

/// The module of every tensor of the target, as a program calls it that has loaded the model.
pub(super) fn modules(target: &Checkpoint) -> impl Iterator<Item = String> {
    let prefix = module_prefix(target);
    target.tensors().iter().map(move |tensor| module_of(&tensor.name, layout::place(&tensor.name).part, prefix).0)
}

/// What comes before the names in a checkpoint that was saved without its head, as GPT-2's was: transformers adds it when it
/// loads one into the model with the head.
fn module_prefix(target: &Checkpoint) -> &'static str {
    let architecture = target.config().and_then(|config| config.architecture()).unwrap_or_default();
    if !architecture.ends_with("ForCausalLM") && !architecture.ends_with("LMHeadModel") {
        return "";
    }
    let begins = |start: &str| target.tensors().iter().any(|tensor| tensor.name.starts_with(start));
    match (begins("h."), begins("layers.")) {
        (true, _) => "transformer.",
        (_, true) => "model.",
        _ => "",
    }
}
