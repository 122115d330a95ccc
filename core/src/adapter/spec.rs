//! What a recipe says about an adapter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Highest rank that is taken: more than any server of adapters allows.
pub const MAX_RANK: u32 = 4096;

/// w·v as a low-rank adapter: what goes in, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterSpec {
    /// The rank of each tensor, or with `energy` the highest.
    pub rank: u32,
    /// Share of a tensor's ‖w·v‖² to keep: it gets the lowest rank that does, at most `rank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<f64>,
    /// How ranks that differ are written.
    pub ranks: Ranks,
    /// What is decomposed.
    pub content: Content,
    /// What goes in; all else is left out, by name.
    pub parts: Vec<AdapterPart>,
}

impl Default for AdapterSpec {
    /// Rank 16, which vLLM takes without being told; the linear layers within the model's layers, which every program
    /// that loads adapters takes.
    fn default() -> Self {
        Self {
            rank: 16,
            energy: None,
            ranks: Ranks::Uniform,
            content: Content::Scaled,
            parts: vec![AdapterPart::Attention, AdapterPart::Mlp],
        }
    }
}

/// How ranks that differ from tensor to tensor are written.
///
/// PEFT and vLLM (0.32) read a rank of its own for each tensor from `rank_pattern`. llama.cpp divides the one alpha by each
/// tensor's own rank, which scales tensors of lower rank up. Filled up with zeros to the highest rank that occurs, with
/// alpha equal to it, all three compute the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ranks {
    /// One rank for all, zeros filling up: for PEFT, vLLM and llama.cpp.
    #[default]
    Uniform,
    /// Each its own, by `rank_pattern` and `alpha_pattern`: smaller, and not for llama.cpp.
    PerTensor,
}

/// What is decomposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// w·v, with w spread as the recipe says: the adapter at weight 1 is the merge.
    #[default]
    Scaled,
    /// v itself, to be weighted where it is loaded.
    Vector,
}

/// Tensors that an adapter can hold, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterPart {
    /// Weights of q, k, v and o.
    Attention,
    /// Weights of gate, up and down, and of experts that are stored one by one.
    Mlp,
    /// The output head, where it is not the embeddings.
    Head,
    /// Embeddings, where they are not the output head too.
    Embed,
    /// Norms, as whole copies: PEFT's `modules_to_save`.
    Norm,
    /// Biases, as whole copies.
    Bias,
    /// Matrices of unknown name and routers, taken for linear layers. PEFT refuses an adapter with one that is none.
    Other,
}

impl AdapterPart {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 7] =
        [Self::Attention, Self::Mlp, Self::Head, Self::Embed, Self::Norm, Self::Bias, Self::Other];

    /// As written in a recipe and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Head => "head",
            Self::Embed => "embed",
            Self::Norm => "norm",
            Self::Bias => "bias",
            Self::Other => "other",
        }
    }

    /// Whether it is stored whole, as target + w·v, and not as factors of w·v.
    pub fn is_copied(self) -> bool {
        matches!(self, Self::Norm | Self::Bias)
    }
}

impl fmt::Display for AdapterPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.label())
    }
}

impl Ranks {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::PerTensor];

    /// As written in a recipe and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::PerTensor => "per-tensor",
        }
    }
}

/// Why there can be no such adapter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AdapterSpecError {
    /// No rank, or more than anything could load.
    #[error("the rank is {rank}; it must be from 1 to {MAX_RANK}, for example 16")]
    Rank {
        /// What was given.
        rank: u32,
    },
    /// No share.
    #[error("the energy to keep is {energy}; it must be above 0 and at most 1, for example 0.9")]
    Energy {
        /// What was given.
        energy: f64,
    },
    /// Nothing goes in.
    #[error("no part of the model goes into the adapter; choose some, for example attention and mlp")]
    NoParts,
    /// Copies have w in them.
    #[error(
        "{part} tensors are stored whole, as target + w·v, and cannot be weighted where the adapter is loaded; leave them out, or write w·v instead of v alone"
    )]
    Copied {
        /// What is copied.
        part: AdapterPart,
    },
}

impl AdapterSpec {
    /// Refuses what makes no adapter.
    pub fn check(&self) -> Result<(), AdapterSpecError> {
        if !(1..=MAX_RANK).contains(&self.rank) {
            return Err(AdapterSpecError::Rank { rank: self.rank });
        }
        if let Some(energy) = self.energy.filter(|energy| !(*energy > 0.0 && *energy <= 1.0)) {
            return Err(AdapterSpecError::Energy { energy });
        }
        if self.parts.is_empty() {
            return Err(AdapterSpecError::NoParts);
        }
        match self.parts.iter().find(|part| part.is_copied()) {
            Some(&part) if self.content == Content::Vector => Err(AdapterSpecError::Copied { part }),
            _ => Ok(()),
        }
    }

    /// Whether that part goes in.
    pub fn has(&self, part: AdapterPart) -> bool {
        self.parts.contains(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_adapter_is_refused_with_what_would() {
        let refused = |spec: AdapterSpec| spec.check().expect_err("no adapter").to_string();
        let spec = AdapterSpec::default;
        assert_eq!(spec().check(), Ok(()));
        assert!(refused(AdapterSpec { rank: 0, ..spec() }).contains("from 1 to 4096"));
        for energy in [0.0, -0.5, 1.5, f64::NAN] {
            let message = refused(AdapterSpec { energy: Some(energy), ..spec() });
            assert!(message.contains("above 0 and at most 1"), "{message}");
        }
        assert!(refused(AdapterSpec { parts: vec![], ..spec() }).contains("choose some"));
        let whole = AdapterSpec { parts: vec![AdapterPart::Mlp, AdapterPart::Bias], ..spec() };
        assert_eq!(whole.check(), Ok(()));
        assert!(
            refused(AdapterSpec { content: Content::Vector, ..whole }).starts_with("bias tensors are stored whole")
        );
    }
}
