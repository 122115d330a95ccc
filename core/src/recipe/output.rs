//! How the merged model is written.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::checkpoint::Dtype;

/// How the merged model is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// Element type of the float tensors.
    pub dtype: OutputDtype,
    /// How sums become elements of that type.
    pub rounding: Rounding,
    /// Seed of stochastic rounding.
    pub seed: u64,
    /// Most bytes of tensors in one weight file; above zero.
    #[serde(deserialize_with = "above_zero")]
    pub shard_bytes: u64,
    /// Whether NaN and infinity in an input are carried through instead of refused.
    pub allow_nonfinite: bool,
}

/// With files that hold nothing, each tensor would get one of its own.
fn above_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("a weight file of 0 bytes holds nothing; say more, such as 5000000000")),
        bytes => Ok(bytes),
    }
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self {
            dtype: OutputDtype::Target,
            rounding: Rounding::Nearest,
            seed: 0,
            shard_bytes: 5_000_000_000,
            allow_nonfinite: false,
        }
    }
}

/// Element type of the output's float tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputDtype {
    /// Each tensor keeps the target's type.
    #[default]
    Target,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

/// How target + w·(post − pre) becomes an element of the output type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// Once, to the nearest element, ties to even.
    #[default]
    Nearest,
    /// Once, up or down at random with the probability that keeps the mean; seeded, by element.
    Stochastic,
    /// Step by step in f32 as mergekit 0.1.5 with `dtype: float32`, bit for bit.
    MergekitF32,
    /// Step by step in bf16 as mergekit 0.1.5 with `dtype: bfloat16`, bit for bit.
    MergekitBf16,
}

impl OutputDtype {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 4] = [Self::Target, Self::Bf16, Self::F16, Self::F32];

    /// The type that a float tensor of the target is written in.
    pub fn written(self, target: Dtype) -> Dtype {
        match self {
            Self::Target => target,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }

    /// As written in a recipe and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

impl Rounding {
    /// Whether target + w·v is rounded only once, so that w = 0 gives the target. The mergekit modes round at every step.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Nearest | Self::Stochastic)
    }

    /// All, in the order in which they are offered.
    pub const ALL: [Self; 4] = [Self::Nearest, Self::Stochastic, Self::MergekitF32, Self::MergekitBf16];

    /// As written in a recipe and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Stochastic => "stochastic",
            Self::MergekitF32 => "mergekit-f32",
            Self::MergekitBf16 => "mergekit-bf16",
        }
    }
}
