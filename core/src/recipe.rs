//! Every choice behind a merge as one small value: what is saved, undone, written beside the model and run again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::adapter::AdapterSpec;
use crate::alignment::Role;
use crate::checkpoint::Dtype;
use crate::scaling::ScalingSpec;

/// The format version this engine writes and reads.
pub const VERSION: u32 = 1;

/// The whole state of a merge: target + w·(post − pre), and how it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Format version; [`VERSION`].
    pub version: u32,
    /// The model that the vector is added to: a path, or `org/name` in the local Hub cache.
    pub target: String,
    /// The vector.
    pub vector: VectorSpec,
    /// How the output is written.
    #[serde(default)]
    pub output: OutputSpec,
    /// What an adapter holds; a merge takes no notice of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterSpec>,
    /// The weights it was run with; a run refuses others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Fingerprints>,
}

/// What identifies the weights of the three models: [`Checkpoint::fingerprint`](crate::checkpoint::Checkpoint::fingerprint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Of the model before fine-tuning.
    pub pre: String,
    /// Of the model after fine-tuning.
    pub post: String,
    /// Of the model that the vector is added to.
    pub target: String,
}

impl Fingerprints {
    /// The fingerprint of the model in that role.
    pub fn get(&self, role: Role) -> &str {
        match role {
            Role::Pre => &self.pre,
            Role::Post => &self.post,
            Role::Target => &self.target,
        }
    }
}

/// v = post − pre, and how much of it is added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorSpec {
    /// The model before fine-tuning.
    pub pre: String,
    /// The model after fine-tuning.
    pub post: String,
    /// The scaling coefficient; arithmetic uses it rounded to f32.
    pub w: f64,
    /// How w is spread over layers, parts and tensors.
    #[serde(default, skip_serializing_if = "is_flat")]
    pub scaling: ScalingSpec,
}

/// w everywhere, which needs no mention.
fn is_flat(scaling: &ScalingSpec) -> bool {
    *scaling == ScalingSpec::default()
}

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
    /// Most bytes of tensors in one weight file.
    pub shard_bytes: u64,
    /// Whether NaN and infinity in an input are carried through instead of refused.
    pub allow_nonfinite: bool,
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

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {path}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no recipe.
    #[error("the recipe {path} is not valid")]
    Toml {
        /// The file.
        path: String,
        /// Where and why.
        source: toml::de::Error,
    },
    /// It was written by a newer version.
    #[error("the recipe has version {found}; this version of Mergescope reads version {VERSION}: update Mergescope")]
    Version {
        /// The version in the file.
        found: u32,
    },
}

/// Largest recipe that is read, in bytes.
const MAX_RECIPE_BYTES: u64 = 1 << 20;

impl Recipe {
    /// A recipe with everything but the models at its default: w = 0.5, the target's dtype, nearest rounding.
    pub fn new(pre: impl Into<String>, post: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            target: target.into(),
            vector: VectorSpec { pre: pre.into(), post: post.into(), w: 0.5, scaling: ScalingSpec::default() },
            output: OutputSpec::default(),
            adapter: None,
            inputs: None,
        }
    }

    /// Parses TOML; `path` is for the message only.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, RecipeError> {
        /// What every version of the format has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let toml_error = |source| RecipeError::Toml { path: path.display().to_string(), source };
        let Versioned { version } = toml::from_str(text).map_err(toml_error)?;
        if version != VERSION {
            return Err(RecipeError::Version { found: version });
        }
        toml::from_str(text).map_err(toml_error)
    }

    /// Reads a recipe file. Relative paths in it stay as they are written.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let io = |source| RecipeError::Io { path: path.display().to_string(), source };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(io(std::io::Error::other("it is not a file")));
        }
        let bytes = metadata.len();
        if bytes > MAX_RECIPE_BYTES {
            return Err(io(std::io::Error::other(format!("{bytes} bytes are too many for a recipe"))));
        }
        Self::from_toml(&std::fs::read_to_string(path).map_err(io)?, path)
    }

    /// The recipe as TOML.
    pub fn to_toml(&self) -> String {
        // Strings, numbers and unit variants in nested structs: all of it has a TOML form.
        toml::to_string_pretty(self).unwrap_or_default()
    }
}
