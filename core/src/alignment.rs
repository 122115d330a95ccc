//! Which tensors of the three checkpoints belong together, and how much of each takes part.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Dtype, OpenError, TensorInfo, takes_part};
use crate::hub;
use crate::layout::{self, Part, Place};

/// The three models: v = post − pre is added to target.
#[derive(Clone, Debug)]
pub struct Triple {
    /// Before fine-tuning.
    pub pre: Arc<Checkpoint>,
    /// After fine-tuning.
    pub post: Arc<Checkpoint>,
    /// What the vector is added to.
    pub target: Arc<Checkpoint>,
}

/// One of the three models, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Before fine-tuning.
    Pre,
    /// After fine-tuning.
    Post,
    /// What the vector is added to.
    Target,
}

impl Role {
    /// The three in the order in which they are asked for.
    pub const ALL: [Self; 3] = [Self::Pre, Self::Post, Self::Target];

    /// `pre`, `post` or `target`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
            Self::Target => "target",
        }
    }
}

/// One of the models of a recipe: that of a role, for pre and post in one of its vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    /// The position of the vector; 0 for the target.
    pub vector: usize,
    /// What the model is in it.
    pub role: Role,
}

impl fmt::Display for ModelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.role.label())?;
        match self.vector {
            0 => Ok(()),
            later => write!(formatter, " of vector {}", later + 1),
        }
    }
}

/// A model cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{model} cannot be opened")]
pub struct OpenModelError {
    /// Which.
    pub model: ModelId,
    /// Why.
    pub source: OpenError,
}

/// One vector, v = post − pre.
#[derive(Clone, Debug)]
pub struct VectorPair {
    /// Before fine-tuning; [zeros](Checkpoint::zeros_like) where post is a saved vector or is taken whole. Vectors that share
    /// the same `Arc` have it read once.
    pub pre: Arc<Checkpoint>,
    /// After fine-tuning.
    pub post: Arc<Checkpoint>,
}

/// The models of a recipe, each opened once.
#[derive(Clone, Debug)]
pub struct Models {
    /// What the vectors are added to.
    pub target: Arc<Checkpoint>,
    /// The vectors; at least one.
    pub vectors: Vec<VectorPair>,
}

impl Models {
    /// Opens the target and the (pre, post) of every vector, each given as a path or as `org/name` in the local Hub cache.
    ///
    /// An empty pre stands for zeros. What is named twice is opened once.
    pub fn open<'a>(
        target: &str,
        vectors: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OpenModelError> {
        let vectors: Vec<(&str, &str)> = vectors.into_iter().collect();
        let named = vectors.iter().flat_map(|(pre, post)| [*pre, *post]).filter(|spec| !spec.is_empty());
        let mut opened = open_all(named.chain([target]));
        let mut open = |model, spec: &str| {
            let (path, place) = located(spec);
            let checkpoint = opened.remove(&place).unwrap_or_else(|| Checkpoint::open(&path).map(Arc::new));
            let checkpoint = checkpoint.map_err(|source| OpenModelError { model, source })?;
            opened.insert(place, Ok(checkpoint.clone()));
            Ok(checkpoint)
        };
        let mut pairs = Vec::new();
        for (vector, (pre, post)) in vectors.iter().enumerate() {
            let mut open = |role, spec| open(ModelId { vector, role }, spec);
            // In the order in which they are asked for, so that the first to fail is the first to be named.
            let pre = (!pre.is_empty()).then(|| open(Role::Pre, pre)).transpose()?;
            let post = open(Role::Post, post)?;
            let pre = pre.unwrap_or_else(|| Arc::new(Checkpoint::zeros_like(&post)));
            pairs.push(VectorPair { pre, post });
        }
        let target = open(ModelId { vector: 0, role: Role::Target }, target)?;
        Ok(Self { target, vectors: pairs })
    }

    /// Every model once for each place that it has in the recipe, the target last.
    pub fn ids(&self) -> impl Iterator<Item = ModelId> + use<> {
        let pairs =
            (0..self.vectors.len()).flat_map(|vector| [Role::Pre, Role::Post].map(|role| ModelId { vector, role }));
        pairs.chain([ModelId { vector: 0, role: Role::Target }])
    }

    /// The checkpoint in that place.
    pub fn get(&self, model: ModelId) -> &Arc<Checkpoint> {
        match model.role {
            Role::Pre => &self.vectors[model.vector].pre,
            Role::Post => &self.vectors[model.vector].post,
            Role::Target => &self.target,
        }
    }

    /// One vector with the target.
    pub fn triple(&self, vector: usize) -> Triple {
        let VectorPair { pre, post } = self.vectors[vector].clone();
        Triple { pre, post, target: self.target.clone() }
    }
}

impl From<&Triple> for Models {
    fn from(triple: &Triple) -> Self {
        let pair = VectorPair { pre: triple.pre.clone(), post: triple.post.clone() };
        Self { target: triple.target.clone(), vectors: vec![pair] }
    }
}

impl Triple {
    /// Opens three models, each given as a path or as `org/name` in the local Hub cache; an empty pre stands for zeros.
    pub fn open(pre: &str, post: &str, target: &str) -> Result<Self, OpenModelError> {
        Models::open(target, [(pre, post)]).map(|models| models.triple(0))
    }

    /// The checkpoint in that role.
    pub fn get(&self, role: Role) -> &Arc<Checkpoint> {
        match role {
            Role::Pre => &self.pre,
            Role::Post => &self.post,
            Role::Target => &self.target,
        }
    }
}

/// Where a model is, and what tells it from others that may be named in another way.
fn located(spec: &str) -> (PathBuf, PathBuf) {
    let path = hub::resolve(spec);
    let place = path.canonicalize().unwrap_or_else(|_| path.clone());
    (path, place)
}

/// Opens models at the same time, each once: headers of tens of thousands of tensors take a while.
fn open_all<'a>(specs: impl Iterator<Item = &'a str>) -> HashMap<PathBuf, Result<Arc<Checkpoint>, OpenError>> {
    let places: HashMap<PathBuf, PathBuf> = specs.map(located).map(|(path, place)| (place, path)).collect();
    places.into_par_iter().map(|(place, path)| (place, Checkpoint::open(&path).map(Arc::new))).collect()
}

/// Whether a tensor of the target is moved by v.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Participation {
    /// v is added to its first `shared_elements`.
    Moves {
        /// Position in the tensors of pre.
        pre: usize,
        /// Position in the tensors of post.
        post: usize,
        /// Leading elements that all three have; fewer than all only where vocabulary rows differ.
        shared_elements: u64,
    },
    /// Integers, booleans and packed types: copied from the target.
    Carried,
    /// Neither pre nor post has it: copied from the target.
    TargetOnly,
    /// It cannot be aligned. Preflight says so, and no merge is made.
    Misfit(Misfit),
}

/// Why a tensor of the target has no counterpart to take v from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Pre or post lacks it while the other has it.
    MissingIn(Role),
    /// Pre or post has it with another shape.
    ShapeIn(Role),
    /// Pre or post has it as integers where the target has floats.
    DtypeIn(Role),
}

/// One tensor of the target and its counterparts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aligned {
    /// Position in the tensors of the target, which is also the order of the output.
    pub target: usize,
    /// Its layer and part.
    pub place: Place,
    /// What happens to it.
    pub participation: Participation,
}

/// All tensors of the target in the order of the output, each with its counterparts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alignment {
    /// One entry for each tensor of the target.
    pub tensors: Vec<Aligned>,
}

impl Alignment {
    /// Aligns the tensors of three checkpoints by name.
    ///
    /// Where one model ties its output head to the embeddings and stores no `lm_head.weight`, its embeddings stand in.
    /// Embeddings and heads may differ in rows (vocabulary padding): the rows that all three have take part.
    pub fn new(triple: &Triple) -> Self {
        let tensors = triple
            .target
            .tensors()
            .par_iter()
            .enumerate()
            .map(|(position, tensor)| {
                let place = layout::place(&tensor.name);
                Aligned { target: position, place, participation: participation(triple, position, place) }
            })
            .collect();
        Self { tensors }
    }

    /// Elements that v moves, over all tensors.
    pub fn moving_elements(&self) -> u64 {
        self.tensors
            .iter()
            .map(|aligned| match aligned.participation {
                Participation::Moves { shared_elements, .. } => shared_elements,
                _ => 0,
            })
            .sum()
    }

    /// One more than the highest layer.
    pub fn layers(&self) -> u32 {
        self.tensors.iter().filter_map(|aligned| aligned.place.layer).max().map_or(0, |last| last + 1)
    }
}

fn participation(triple: &Triple, position: usize, place: Place) -> Participation {
    let tensor = &triple.target.tensors()[position];
    if !takes_part(tensor.dtype) {
        return Participation::Carried;
    }
    let (pre, post) = match (find(&triple.pre, position, tensor, place), find(&triple.post, position, tensor, place)) {
        (Some(pre), Some(post)) => (pre, post),
        (None, None) => return Participation::TargetOnly,
        (None, Some(_)) => return Participation::Misfit(Misfit::MissingIn(Role::Pre)),
        (Some(_), None) => return Participation::Misfit(Misfit::MissingIn(Role::Post)),
    };
    let mut shared_elements = tensor.elements();
    for (role, position) in [(Role::Pre, pre), (Role::Post, post)] {
        let other = &triple.get(role).tensors()[position];
        if !takes_part(other.dtype) {
            return Participation::Misfit(Misfit::DtypeIn(role));
        }
        match shared(tensor, other, place) {
            Some(elements) => shared_elements = shared_elements.min(elements),
            None => return Participation::Misfit(Misfit::ShapeIn(role)),
        }
    }
    Participation::Moves { pre, post, shared_elements }
}

/// The position of the counterpart of `tensor`, which is at `position` in the target; tied models have their embeddings in
/// place of the head.
fn find(checkpoint: &Checkpoint, position: usize, tensor: &TensorInfo, place: Place) -> Option<usize> {
    let same_name = checkpoint.position_near(position, &tensor.name);
    let ties = checkpoint.config().and_then(|config| config.ties_embeddings());
    let head = place.part == Part::Head && tensor.name.ends_with(".weight");
    if same_name.is_some() || !head || ties == Some(false) || output_head(checkpoint).is_some() {
        return same_name;
    }
    checkpoint.position(&token_embeddings(checkpoint)?.name)
}

/// The output head that a model stores.
pub(crate) fn output_head(checkpoint: &Checkpoint) -> Option<&TensorInfo> {
    checkpoint
        .tensors()
        .iter()
        .find(|tensor| tensor.name.ends_with(".weight") && layout::place(&tensor.name).part == Part::Head)
}

/// The token embeddings of a model, which a tied model also uses as its output head.
pub(crate) fn token_embeddings(checkpoint: &Checkpoint) -> Option<&TensorInfo> {
    checkpoint.tensors().iter().find(|tensor| {
        let tokens = ["embed_tokens.weight", "wte.weight", "embed_in.weight"];
        layout::place(&tensor.name).part == Part::Embed && tokens.iter().any(|end| tensor.name.ends_with(end))
    })
}

/// Leading elements that both have: all of them, or the common rows of embeddings and heads.
fn shared(tensor: &TensorInfo, other: &TensorInfo, place: Place) -> Option<u64> {
    if tensor.shape == other.shape {
        return Some(tensor.elements());
    }
    let by_row = matches!(place.part, Part::Embed | Part::Head);
    let same_rows = !tensor.shape.is_empty() && tensor.shape.get(1..) == other.shape.get(1..);
    (by_row && same_rows).then(|| tensor.shape[0].min(other.shape[0]) * tensor.row_elements())
}

/// Bytes of one element of a dtype that takes part in arithmetic.
pub(crate) fn element_bytes(dtype: Dtype) -> u64 {
    dtype.bitsize() as u64 / 8
}
