//! The singular values of one matrix of v: how many directions it moves in, and whether they are those of pre.
//!
//! Small matrices are decomposed in full ([`dense`]); of larger ones the first values are found by streaming over the
//! rows a few times ([`krylov`]), with a bound on their error.

mod dense;
mod factor;
mod krylov;
mod low_rank;
mod pass;
mod rank;
mod source;

use std::time::{Duration, Instant};

use faer::Mat;
use serde::{Deserialize, Serialize};

use crate::alignment::{Alignment, Participation, Triple};
use crate::progress::{Control, Stage};
use crate::stream::{Resources, StreamError};

use super::stack::{self, Stack};
use source::Source;

pub(crate) use low_rank::Matrix;

/// Directions of the principal subspaces that [`Overlap`] compares, where there are as many.
const OVERLAP_RANK: usize = 16;

/// Share of ‖v‖² that the directions compared hold between them, where fewer than [`OVERLAP_RANK`] do. What is left of a
/// stored vector of low rank is the noise of its rounding, whose directions say nothing.
const OVERLAP_ENERGY: f64 = 0.99;

/// Memory that is used whatever [`Resources::memory_bytes`] says, as a worker always has room for a few elements.
const LEAST_MEMORY_BYTES: u64 = 4 << 20;

/// How a spectrum is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpectrumOptions {
    /// Matrices with at most as many rows or columns are decomposed in full, where the memory given allows it.
    pub full_side: usize,
    /// Singular values to find of larger ones.
    pub values: usize,
    /// Most times that the rows of a larger one are read. 3 at the least.
    pub passes: usize,
}

impl Default for SpectrumOptions {
    /// In full up to 1,024; else 64 singular values in at most 10 passes.
    fn default() -> Self {
        Self { full_side: 1024, values: 64, passes: 10 }
    }
}

/// A range in which a number is known to lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Its least value.
    pub low: f64,
    /// Its largest value; equal to `low` where the number is known.
    pub high: f64,
}

/// Whether v moves along the principal directions of pre.
///
/// The mean squared cosine of the principal angles between the subspaces of the first `k` singular vectors of v and of
/// pre: 1 where they are the same, `k` ∕ dimension for subspaces drawn at random. Where singular values lie close
/// together, as those of noise do, the vectors of the first `k` are hardly set apart from those after them, and of a large
/// matrix they are found only to the accuracy of its values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Dimension of the subspaces: 16, or as many directions of v as hold 99 % of ‖v‖² if they are fewer, or the rank of pre.
    pub k: usize,
    /// Of the left singular vectors (outputs of a linear layer stored as outputs × inputs), 0 to 1.
    pub left: f64,
    /// Of the right singular vectors (its inputs), 0 to 1.
    pub right: f64,
    /// What `left` is on average for a random subspace: k ∕ rows.
    pub left_chance: f64,
    /// What `right` is on average for a random subspace: k ∕ columns.
    pub right_chance: f64,
}

/// Singular values of one matrix of v, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Name in the target; `NAME[3]` for expert 3 of a stack.
    pub name: String,
    /// Rows of the matrix: the first dimension, of an expert its own, as far as all three models have it.
    pub rows: u64,
    /// Columns: the product of all dimensions after it.
    pub cols: u64,
    /// Singular values in descending order: all, or the first of them.
    pub singular_values: Vec<f64>,
    /// Whether these are all, by a full decomposition.
    pub complete: bool,
    /// ‖v‖² (Frobenius): the sum of the squares of all singular values.
    pub energy: f64,
    /// No singular value given is further than this from the true one; 0 when complete (that is, to rounding). See
    /// [`spectrum_with`] for what that rests on.
    pub error: f64,
    /// exp of the entropy of σ ∕ Σσ (Roy and Vetterli 2007): n where n values are equal, 1 where one rules; 0 for a zero
    /// vector. A range where not all values are known.
    pub effective_rank: Bounds,
    /// ‖v‖² ∕ σ₁²; 0 for a zero vector.
    pub stable_rank: f64,
    /// Elements taken as 0 since pre or post is NaN or infinite there. What the target holds there is not read, and
    /// counts for nothing.
    pub left_out: u64,
    /// Against the principal subspaces of pre; `None` where v or pre is zero, or pre leaves the range of f64 when squared.
    pub overlap: Option<Overlap>,
    /// Time taken.
    pub elapsed: Duration,
}

/// Why a tensor has no spectrum.
#[derive(Debug, thiserror::Error)]
pub enum SpectrumError {
    /// No such tensor.
    #[error("the target has no tensor `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// v does not move it.
    #[error("v does not move `{name}`, so there is nothing to decompose")]
    Still {
        /// The tensor.
        name: String,
    },
    /// Not a matrix.
    #[error(
        "`{name}` has the shape {shape:?}: only a matrix that holds something has singular values, so choose a tensor with two dimensions or more, none of them 0"
    )]
    NoMatrix {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A stack of experts, and none or none of them was chosen.
    #[error("`{name}` is a stack of {experts} matrices, one for each expert; choose an expert from 0 to {}", experts.saturating_sub(1))]
    Stack {
        /// The tensor.
        name: String,
        /// How many it holds.
        experts: u64,
    },
    /// An expert of what is no stack of experts.
    #[error("`{name}` has the shape {shape:?} and is no stack of experts; leave the expert out")]
    NoStack {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// Too little memory.
    #[error(
        "the spectrum of `{name}` ({rows} × {cols}) needs {} MiB of memory and {} MiB are given; give more, or ask for fewer singular values",
        needed_bytes.div_ceil(1 << 20),
        given_bytes >> 20
    )]
    Memory {
        /// The tensor.
        name: String,
        /// Its rows.
        rows: u64,
        /// Its columns.
        cols: u64,
        /// What it takes at the least.
        needed_bytes: u64,
        /// What is given.
        given_bytes: u64,
    },
    /// The squares of its elements leave the range of f64; only models in f64 hold such numbers.
    #[error("v is so large or so small in `{name}` that its squares leave the range of f64, so it has no spectrum")]
    OutOfRange {
        /// The tensor.
        name: String,
    },
    /// The iteration on a small matrix did not end.
    #[error("the singular values of `{name}` did not converge; please report this")]
    NoConvergence {
        /// The tensor.
        name: String,
    },
    /// Reading failed or was cancelled.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// What is asked of a decomposition.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// Singular values to find.
    values: usize,
    /// Of these the first so many with their vectors.
    vectors: usize,
    /// Most passes over the rows.
    passes: usize,
    /// Blocks of vectors that the iteration remembers; `None` for as many as the memory has room for.
    depth: Option<usize>,
    /// Share of ‖A‖² that a pass must add to what the values hold, or it is the last; `None` to go by their error alone.
    gain: Option<f64>,
}

/// What a decomposition found in one matrix A.
pub(crate) struct Found {
    /// Descending.
    pub values: Vec<f64>,
    /// Whether these are all.
    pub complete: bool,
    /// No value is further than this from the true one.
    pub error: f64,
    /// ‖A‖².
    pub energy: f64,
    /// Elements taken as 0.
    pub left_out: u64,
    /// First left singular vectors as columns.
    pub left: Mat<f64>,
    /// First right singular vectors as columns, as many.
    pub right: Mat<f64>,
}

/// The spectrum of what is called `name` in the target, or in the analysis, with the default [`SpectrumOptions`].
///
/// See [`spectrum_with`].
pub fn spectrum(
    triple: &Triple,
    alignment: &Alignment,
    name: &str,
    resources: &Resources,
    control: &Control,
) -> Result<Spectrum, SpectrumError> {
    spectrum_with(triple, alignment, name, &SpectrumOptions::default(), resources, control)
}

/// The spectrum of what is called `name`: a tensor of the target, or `NAME[3]` for expert 3 of the stack `NAME`, as
/// [`measure`](super::measure) calls it too. A tensor that is called just so comes first.
///
/// A tensor of the shape [rows, …] is taken as a matrix of that many rows. Vectors and scalars have no spectrum, and
/// neither has a whole stack of experts [experts, a, b]: taken as one matrix it would show what no layer computes. Only rows that all three models have take part, and only pre and post are read.
///
/// A matrix that is small in one direction is decomposed in full, in f64. Of a larger one the first singular values are
/// found by block Krylov iteration on vᵀv from a random start with a fixed seed (Halko, Martinsson and Tropp 2011; Musco
/// and Musco 2015), for which v is never held: its rows are read a few times over. Each value found is at most the true
/// one (Cauchy's interlacing), and `error` bounds by how much it may be less: the lower of two bounds,
/// - ‖vᵀU − VΣ‖₂, measured in the last pass, where U and V hold the vectors found and Σ the values. By Weyl's theorem as
///   many different singular values of v lie that near to them, and they are the largest, unless the random start was
///   orthogonal to a direction larger than those found, which has probability zero and to rounding next to none;
/// - √(σ² + rest) − σ, where the rest is ‖v‖² − Σσ². This one holds whatever the start.
///
/// Beside the buffers for reading, of `resources.memory_bytes` the vectors of the iteration take their share, at the
/// least (6 · columns or 3 · columns + rows) · (values + 8) numbers of f64. The numbers do not depend on the threads; more
/// memory lets the iteration remember more and so converge faster. Rows are read in blocks of about 262,144 elements,
/// whatever `resources.unit_bytes` says. Progress counts the most passes there may be; most end before.
pub fn spectrum_with(
    triple: &Triple,
    alignment: &Alignment,
    name: &str,
    options: &SpectrumOptions,
    resources: &Resources,
    control: &Control,
) -> Result<Spectrum, SpectrumError> {
    let began = Instant::now();
    let [v, pre] = sources(triple, alignment, name, resources)?;
    let (rows, cols) = (v.rows as u64, v.cols as u64);

    let dense =
        v.rows.min(v.cols) <= options.full_side && dense::bytes(&v, OVERLAP_RANK, resources) <= memory_bytes(resources);
    let most_passes = if dense { 1 } else { options.passes.max(krylov::LEAST_PASSES) as u64 };
    control.begin(Stage::Measuring, most_passes * (v.bytes() + pre.bytes()));
    let decompose = |source: &Source<'_>, values: usize| {
        if dense {
            dense::decompose(source, OVERLAP_RANK, resources, control)
        } else {
            let passes = most_passes as usize;
            let wanted = Wanted { values, vectors: OVERLAP_RANK, passes, depth: None, gain: None };
            krylov::decompose(source, &wanted, resources, control)
        }
    };
    let found = decompose(&v, options.values.max(1))?;
    let overlap = match found.rank(&v).min(found.directions_of(OVERLAP_ENERGY)) {
        0 => None,
        rank => match decompose(&pre, rank.min(OVERLAP_RANK)) {
            Ok(of_pre) => overlap(&found, &of_pre, rank.min(of_pre.rank(&pre))),
            Err(SpectrumError::OutOfRange { .. }) => None,
            Err(error) => return Err(error),
        },
    };
    let Found { values, complete, error, energy, left_out, .. } = found;
    let places = v.rows.min(v.cols);
    Ok(Spectrum {
        name: v.name,
        rows,
        cols,
        effective_rank: rank::effective_rank(&values, energy, places, complete),
        stable_rank: rank::stable_rank(&values, energy),
        singular_values: values,
        complete,
        energy,
        error,
        left_out,
        overlap,
        elapsed: began.elapsed(),
    })
}

impl Found {
    /// The fewest directions that hold that share of the energy; all that were found, where they hold less.
    fn directions_of(&self, share: f64) -> usize {
        let kept = self.values.iter().scan(0.0, |kept, value| {
            *kept += value * value;
            Some(*kept)
        });
        (kept.take_while(|kept| *kept < share * self.energy).count() + 1).min(self.values.len())
    }

    fn rank(&self, source: &Source<'_>) -> usize {
        rank::rank(&self.values, self.error, source.rows, source.cols)
    }
}

/// v and pre as matrices, or why there are none.
fn sources<'a>(
    triple: &'a Triple,
    alignment: &Alignment,
    name: &str,
    resources: &Resources,
) -> Result<[Source<'a>; 2], SpectrumError> {
    let Some((target, expert)) = stack::resolve(&triple.target, name) else {
        return Err(SpectrumError::Unknown { name: name.to_owned() });
    };
    let tensor = &triple.target.tensors()[target];
    let (named, shape) = (|| tensor.name.clone(), || tensor.shape.clone());
    let moves = alignment.tensors.iter().find(|aligned| aligned.target == target).and_then(|aligned| {
        let Participation::Moves { pre, post, shared_elements } = aligned.participation else { return None };
        Some((aligned, pre, post, shared_elements))
    });
    let Some((aligned, pre, post, shared_elements)) = moves else {
        return Err(SpectrumError::Still { name: named() });
    };
    let (name, first, rows, cols) = match (Stack::of(aligned, tensor), expert) {
        (Some(stack), Some(expert)) if expert < stack.experts => {
            (stack::expert_name(&tensor.name, expert), expert * stack.elements(), stack.rows, stack.cols)
        }
        (Some(Stack { experts, .. }), _) => return Err(SpectrumError::Stack { name: named(), experts }),
        (None, Some(_)) => return Err(SpectrumError::NoStack { name: named(), shape: shape() }),
        (None, None) => {
            let cols = tensor.row_elements();
            (named(), 0, shared_elements / cols.max(1), cols)
        }
    };
    if tensor.shape.len() < 2 || rows == 0 || cols == 0 {
        return Err(SpectrumError::NoMatrix { name, shape: shape() });
    }
    let pre = (&*triple.pre, &triple.pre.tensors()[pre]);
    let post = (&*triple.post, &triple.post.tensors()[post]);
    let source = |models| Source {
        name: name.clone(),
        models,
        first,
        rows: rows as usize,
        cols: cols as usize,
        layer: aligned.place.layer,
        read_path: resources.read_path,
    };
    Ok([source(vec![pre, post]), source(vec![pre])])
}

fn memory_bytes(resources: &Resources) -> u64 {
    resources.memory_bytes.max(LEAST_MEMORY_BYTES)
}

/// How the first singular vectors of v lie to those of pre; `None` where there are none.
fn overlap(v: &Found, pre: &Found, rank: usize) -> Option<Overlap> {
    let k = rank.min(OVERLAP_RANK).min(v.left.ncols()).min(pre.left.ncols());
    if k == 0 {
        return None;
    }
    // The singular values of UᵀU′ are the cosines (Björck and Golub 1973), so its squared norm is the sum of their squares.
    let mean = |a: &Mat<f64>, b: &Mat<f64>| {
        let product = a.subcols(0, k).transpose() * b.subcols(0, k);
        (product.squared_norm_l2() / k as f64).clamp(0.0, 1.0)
    };
    Some(Overlap {
        k,
        left: mean(&v.left, &pre.left),
        right: mean(&v.right, &pre.right),
        left_chance: k as f64 / v.left.nrows() as f64,
        right_chance: k as f64 / v.right.nrows() as f64,
    })
}
