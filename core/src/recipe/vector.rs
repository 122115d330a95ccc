//! One vector, and how much of it is added.

use serde::{Deserialize, Serialize};

use super::{Sparsify, is_default};
use crate::scaling::ScalingSpec;

/// v = post − pre, and how much of it is added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorSpec {
    /// The model before fine-tuning. Empty where `post` is a saved vector, or a whole model that a method takes as it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pre: String,
    /// The model after fine-tuning; or a saved vector; or a whole model.
    pub post: String,
    /// The scaling coefficient; arithmetic uses it rounded to f32.
    pub w: f64,
    /// Which of its elements are kept, where it is not what the method does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsify: Option<Sparsify>,
    /// Share of its elements that are kept, where it is not the method's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// Share of outliers that breadcrumbs drops, where it is not the method's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Spread of DELLA's probabilities, where it is not the method's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// What is put in the vector's place, to tell its gain from chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlSpec>,
    /// How w is spread over layers, parts and tensors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scaling: ScalingSpec,
}

impl VectorSpec {
    /// post − pre with everything else at its default: w = 0.5, the same for every tensor.
    pub fn new(pre: impl Into<String>, post: impl Into<String>) -> Self {
        Self {
            pre: pre.into(),
            post: post.into(),
            w: 0.5,
            sparsify: None,
            density: None,
            gamma: None,
            epsilon: None,
            control: None,
            scaling: ScalingSpec::default(),
        }
    }

    /// Whether it has no pre, since it is a saved vector or a whole model.
    pub fn stands_alone(&self) -> bool {
        self.pre.is_empty()
    }
}

/// A vector of the same size that should not help: a gain that it gives too is none of the vector's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSpec {
    /// Which.
    pub kind: ControlKind,
    /// What it draws from.
    #[serde(default)]
    pub seed: u64,
}

/// What a control leaves of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlKind {
    /// Each element keeps its size and gets a random sign.
    ShuffleSigns,
    /// Each layer gets the vector of another.
    PermuteLayers,
    /// Gaussian noise of the same norm in each tensor.
    Noise,
}

impl ControlKind {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::ShuffleSigns, Self::PermuteLayers, Self::Noise];

    /// As a recipe names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ShuffleSigns => "shuffle-signs",
            Self::PermuteLayers => "permute-layers",
            Self::Noise => "noise",
        }
    }

    /// What a vector is then, for people: "sign-shuffled".
    pub fn adjective(self) -> &'static str {
        match self {
            Self::ShuffleSigns => "sign-shuffled",
            Self::PermuteLayers => "layer-permuted",
            Self::Noise => "norm-matched random",
        }
    }
}
