//! Every choice behind a merge as one small value: what is saved, undone, written beside the model and run again.
//!
//! [`mod@file`] reads and saves it, [`mergekit`] translates the merge files of mergekit.

mod compare;
mod explain;
pub mod file;
pub mod mergekit;
mod method;
pub(crate) mod nearest;
mod output;
mod vector;

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use compare::{Difference, differences};
pub use file::RecipeError;
pub use method::{Combination, Method, MethodError, MethodSpec, Parameter, Sparsify, SparsifyRule};
pub use output::{OutputDtype, OutputSpec, Rounding};
pub use vector::{ControlKind, ControlSpec, VectorSpec};

use crate::adapter::AdapterSpec;
use crate::alignment::{ModelId, Role};

/// The format version this engine writes and reads.
pub const VERSION: u32 = 1;

/// The whole state of a merge: target + w·(post − pre), and how it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RecipeFile", into = "RecipeFile")]
pub struct Recipe {
    /// Format version; [`VERSION`].
    pub version: u32,
    /// The model that the vector is added to: a path, or `org/name` in the local Hub cache.
    pub target: String,
    /// How the vectors are combined and added.
    pub method: MethodSpec,
    /// The vector.
    pub vector: VectorSpec,
    /// More vectors.
    pub others: Vec<VectorSpec>,
    /// How the output is written.
    pub output: OutputSpec,
    /// What an adapter holds; a merge takes no notice of it.
    pub adapter: Option<AdapterSpec>,
    /// The weights it was run with; a run refuses others.
    pub inputs: Option<Fingerprints>,
}

/// A recipe as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    version: u32,
    target: String,
    #[serde(default, skip_serializing_if = "is_default")]
    method: MethodSpec,
    vector: OneOrMore,
    #[serde(default)]
    output: OutputSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<AdapterSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Fingerprints>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `[vector]`, or `[[vector]]` several times.
struct OneOrMore(Vec<VectorSpec>);

impl Serialize for OneOrMore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes either, and leaves the message about what is wrong inside to the one that it is.
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a [vector] table, or several [[vector]] tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMore, A::Error> {
                VectorSpec::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMore(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<OneOrMore, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(OneOrMore)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl TryFrom<RecipeFile> for Recipe {
    type Error = String;

    fn try_from(file: RecipeFile) -> Result<Self, String> {
        let RecipeFile { version, target, method, vector, output, adapter, inputs } = file;
        let mut vectors = vector.0.into_iter();
        let vector = vectors.next().ok_or("there is no vector; add a [vector] table with post, pre and w")?;
        Ok(Self { version, target, method, vector, others: vectors.collect(), output, adapter, inputs })
    }
}

impl From<Recipe> for RecipeFile {
    fn from(recipe: Recipe) -> Self {
        let Recipe { version, target, method, vector, others, output, adapter, inputs } = recipe;
        let vector = OneOrMore(std::iter::once(vector).chain(others).collect());
        Self { version, target, method, vector, output, adapter, inputs }
    }
}

/// What identifies the weights of the models: [`Checkpoint::fingerprint`](crate::checkpoint::Checkpoint::fingerprint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Of the model before fine-tuning; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pre: String,
    /// Of the model after fine-tuning.
    pub post: String,
    /// Of the model that the vector is added to.
    pub target: String,
    /// Of the models of further vectors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<PairFingerprints>,
}

/// What identifies the two models of a further vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairFingerprints {
    /// Of the model before fine-tuning; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pre: String,
    /// Of the model after fine-tuning.
    pub post: String,
}

impl Fingerprints {
    /// The fingerprint of that model; `None` when the recipe has fewer vectors.
    pub fn get(&self, model: ModelId) -> Option<&str> {
        match (model.vector.checked_sub(1), model.role) {
            (_, Role::Target) => Some(&self.target),
            (None, Role::Pre) => Some(&self.pre),
            (None, Role::Post) => Some(&self.post),
            (Some(index), Role::Pre) => self.others.get(index).map(|pair| pair.pre.as_str()),
            (Some(index), Role::Post) => self.others.get(index).map(|pair| pair.post.as_str()),
        }
    }
}

impl Recipe {
    /// A recipe with everything but the models at its default: w = 0.5, the target's dtype, nearest rounding.
    pub fn new(pre: impl Into<String>, post: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            target: target.into(),
            method: MethodSpec::default(),
            vector: VectorSpec::new(pre, post),
            others: Vec::new(),
            output: OutputSpec::default(),
            adapter: None,
            inputs: None,
        }
    }

    /// Its vectors, the first one first.
    pub fn vectors(&self) -> impl Iterator<Item = &VectorSpec> + Clone {
        std::iter::once(&self.vector).chain(&self.others)
    }

    /// Its vectors, to change them.
    pub fn vectors_mut(&mut self) -> impl Iterator<Item = &mut VectorSpec> {
        std::iter::once(&mut self.vector).chain(&mut self.others)
    }

    /// Whether it is target + w·v and nothing else, so that what was written has an effective w. Of any other only the share of
    /// the intended change that was written can be told.
    pub fn is_plain(&self) -> bool {
        self.others.is_empty()
            && self.method.name.combination() == Combination::Sum
            && !self.method.normalize()
            && self.method.lambda() == 1.0
            && self.method.rule_of(&self.vector).sparsify == Sparsify::None
            && self.vector.control.is_none_or(|control| control.kind == ControlKind::PermuteLayers)
    }

    /// Whether the method draws at random what it keeps of some vector.
    pub fn draws(&self) -> bool {
        self.vectors().any(|vector| self.method.rule_of(vector).sparsify.uses(Parameter::Seed))
    }

    /// Forgets what is said of parameters that have no effect, as when another method is chosen.
    pub fn forget_unused(&mut self) {
        let mut method = self.method.clone();
        let thins = matches!(method.name.combination(), Combination::Sum | Combination::Elect);
        for vector in self.vectors_mut() {
            if !thins {
                vector.sparsify = None;
            }
            let own = vector.sparsify.unwrap_or_else(|| method.name.sparsify());
            let uses = |parameter| thins && own.uses(parameter);
            vector.density = vector.density.filter(|_| uses(Parameter::Density));
            vector.gamma = vector.gamma.filter(|_| uses(Parameter::Gamma));
            vector.epsilon = vector.epsilon.filter(|_| uses(Parameter::Epsilon));
        }
        method.forget_unused(&self.vectors().collect::<Vec<_>>());
        self.method = method;
    }

    /// Refuses parameters of the method that are out of range or without effect, and vectors that it cannot take.
    pub fn check_method(&self) -> Result<(), MethodError> {
        self.method.check(&self.vectors().collect::<Vec<_>>())
    }
}
