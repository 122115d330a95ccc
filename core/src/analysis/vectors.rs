//! Several vectors against each other, in one streaming pass: do they point the same way, and do they get in each
//! other's way when they are added (TIES: arXiv 2306.01708)?

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pulp::{Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::gram::cosine;
use crate::alignment::{Role, VectorPair, element_bytes};
use crate::checkpoint::{Checkpoint, Dtype, TensorInfo, dtype_label, natural_cmp, takes_part};
use crate::layout::{self, Place};
use crate::method::LEAF;
use crate::numeric::{BLOCK, decode, dispatch};
use crate::progress::{Control, Stage};
use crate::stream::{self, Resources, StreamError, Tally};

/// Independent partial sums; a fixed number, so that every instruction set adds in the same order.
const LANES: usize = 8;

/// Sums over the elements of two vectors a and b, which add up over tensors, parts and layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairSums {
    /// ⟨a, b⟩.
    pub product: f64,
    /// ‖a‖².
    pub left_sq: f64,
    /// ‖b‖².
    pub right_sq: f64,
    /// Elements that a moves.
    pub left_moved: u64,
    /// Elements that b moves.
    pub right_moved: u64,
    /// Elements that both move.
    pub both_moved: u64,
    /// Of these, elements that they move in opposite directions.
    pub opposed: u64,
}

impl PairSums {
    /// cos(a, b), −1 to 1; NaN where either is zero.
    pub fn cosine(&self) -> f64 {
        cosine(self.product, self.left_sq, self.right_sq)
    }

    /// Of the elements that both move, the share that they move in opposite directions, 0 to 1: one half for vectors that
    /// have nothing to do with each other. NaN where they share none.
    pub fn sign_conflict_share(&self) -> f64 {
        share(self.opposed, self.both_moved)
    }

    /// Of the elements that either moves, the share that both move (Jaccard), 0 to 1; NaN where neither moves any.
    pub fn support_overlap(&self) -> f64 {
        share(self.both_moved, self.left_moved + self.right_moved - self.both_moved)
    }

    /// Adds the sums over other elements.
    pub fn add(&mut self, other: &Self) {
        self.product += other.product;
        self.left_sq += other.left_sq;
        self.right_sq += other.right_sq;
        self.left_moved += other.left_moved;
        self.right_moved += other.right_moved;
        self.both_moved += other.both_moved;
        self.opposed += other.opposed;
    }

    /// The sums of b and a.
    fn swapped(self) -> Self {
        Self {
            left_sq: self.right_sq,
            right_sq: self.left_sq,
            left_moved: self.right_moved,
            right_moved: self.left_moved,
            ..self
        }
    }
}

fn share(count: u64, of: u64) -> f64 {
    if of > 0 { count as f64 / of as f64 } else { f64::NAN }
}

/// One tensor in all vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorComparison {
    /// Its name.
    pub name: String,
    /// Layer and part.
    pub place: Place,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Elements left out for all vectors, since some model is NaN or infinite there.
    pub left_out: u64,
    /// Sums of the vectors 0 and 1, 0 and 2, …, 1 and 2, …: see [`VectorComparison::sums`].
    pub pairs: Vec<PairSums>,
}

/// Why a tensor is in no comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Absence {
    /// That model does not have it.
    Missing,
    /// That model has it with a shape other than the first model that has it.
    Shape {
        /// Its shape there.
        found: Vec<u64>,
        /// Its shape in the first model.
        expected: Vec<u64>,
    },
    /// There it is of a type that takes no part in arithmetic.
    Dtype(Dtype),
}

/// A tensor that not all models have alike, and the first model that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// The tensor.
    pub name: String,
    /// Zero-based vector, which is also its number in words.
    pub vector: usize,
    /// Its pre or its post.
    pub role: Role,
    /// What is wrong there.
    pub absence: Absence,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, role, number) = (&self.name, self.role.label(), self.vector);
        match &self.absence {
            Absence::Missing => write!(formatter, "`{name}` is missing in {role} of vector {number}"),
            Absence::Shape { found, expected } => {
                write!(formatter, "`{name}` is {found:?} in {role} of vector {number} where others have {expected:?}")
            }
            Absence::Dtype(dtype) => {
                write!(formatter, "`{name}` is {} in {role} of vector {number}, which is no float", dtype_label(*dtype))
            }
        }
    }
}

/// Several vectors, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorComparison {
    /// How many vectors there are.
    pub vectors: usize,
    /// Tensors that all have, in natural name order.
    pub tensors: Vec<TensorComparison>,
    /// Tensors that only some have, or have otherwise, in the same order.
    pub left_out: Vec<LeftOut>,
    /// Bytes read.
    pub bytes_read: u64,
    /// Time taken.
    pub elapsed: Duration,
}

/// Why vectors cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// Fewer than two.
    #[error("a comparison takes two vectors or more, and {given} was given")]
    TooFew {
        /// How many there are.
        given: usize,
    },
    /// Not one tensor is in all of them.
    #[error("no tensor is in all models with the same shape{}; choose vectors of one architecture", first.as_ref().map(|left_out| format!(" ({left_out})")).unwrap_or_default())]
    NothingShared {
        /// The first tensor that is not.
        first: Option<LeftOut>,
    },
    /// Reading failed or was cancelled.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl VectorComparison {
    /// Sums of the vectors `a` and `b`, in this order, over the tensors whose place is picked: `|_| true` for all.
    ///
    /// No such vector gives sums of nothing; a vector with itself has its own norm and no conflict.
    pub fn sums(&self, a: usize, b: usize, pick: impl Fn(Place) -> bool) -> PairSums {
        let mut sums = PairSums::default();
        for tensor in self.tensors.iter().filter(|tensor| pick(tensor.place)) {
            if let Some(tensor) = tensor.pair(a, b, self.vectors) {
                sums.add(&tensor);
            }
        }
        sums
    }
}

impl TensorComparison {
    /// Sums of the vectors `a` and `b` out of `vectors`.
    fn pair(&self, a: usize, b: usize, vectors: usize) -> Option<PairSums> {
        if a.max(b) >= vectors {
            return None;
        }
        match a.cmp(&b) {
            std::cmp::Ordering::Less => self.pairs.get(position(a, b, vectors)).copied(),
            std::cmp::Ordering::Greater => self.pairs.get(position(b, a, vectors)).copied().map(PairSums::swapped),
            std::cmp::Ordering::Equal => {
                // Any pair with it knows its norm.
                let other = if a == 0 { self.pair(0, 1, vectors) } else { self.pair(a, 0, vectors) }?;
                let (square, moved) = (other.left_sq, other.left_moved);
                Some(PairSums {
                    product: square,
                    left_sq: square,
                    right_sq: square,
                    left_moved: moved,
                    right_moved: moved,
                    both_moved: moved,
                    opposed: 0,
                })
            }
        }
    }
}

/// Where the pair a < b is among the pairs 0 1, 0 2, …, 1 2, ….
fn position(a: usize, b: usize, vectors: usize) -> usize {
    a * (2 * vectors - a - 1) / 2 + b - a - 1
}

/// A tensor in all models, and what has been found in it so far.
struct Job<'a> {
    /// One for each model.
    tensors: Vec<&'a TensorInfo>,
    leaves: Tally<Leaf>,
    found: OnceLock<Leaf>,
}

/// Sums over up to [`LEAF`] elements, or over a whole tensor.
#[derive(Default)]
struct Leaf {
    pairs: Vec<PairSums>,
    left_out: u64,
}

/// Compares two vectors or more in one pass over their models. The result does not depend on `resources`.
pub fn compare_vectors(
    vectors: &[VectorPair],
    resources: &Resources,
    control: &Control,
) -> Result<VectorComparison, VectorsError> {
    let began = Instant::now();
    if vectors.len() < 2 {
        return Err(VectorsError::TooFew { given: vectors.len() });
    }
    // Each model once, and for each vector which of them are its pre and post.
    let mut models: Vec<&Arc<Checkpoint>> = Vec::new();
    let mut place_of = |model| {
        models.iter().position(|known| Arc::ptr_eq(known, model)).unwrap_or_else(|| {
            models.push(model);
            models.len() - 1
        })
    };
    let ends: Vec<[usize; 2]> = vectors.iter().map(|pair| [place_of(&pair.pre), place_of(&pair.post)]).collect();
    let (jobs, left_out) = align(vectors, &models);
    if jobs.is_empty() {
        return Err(VectorsError::NothingShared { first: left_out.into_iter().next() });
    }

    let element = |job: &Job<'_>| -> u64 { job.tensors.iter().map(|tensor| element_bytes(tensor.dtype)).sum() };
    let buffered = jobs.iter().map(element).max().unwrap_or(1);
    let widest = jobs.iter().flat_map(|job| &job.tensors).map(|tensor| element_bytes(tensor.dtype)).max().unwrap_or(1);
    let step = resources.unit_elements(buffered, widest);
    let mut units = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        for (first, count) in stream::cut(0, job.tensors[0].elements(), step) {
            job.leaves.expect_unit();
            units.push((index, first, count));
        }
    }
    let bytes_read = jobs.iter().map(|job| element(job) * job.tensors[0].elements()).sum();
    control.begin(Stage::Measuring, bytes_read);
    stream::run::<_, StreamError>(
        units.len(),
        resources.threads,
        control,
        || vec![Vec::new(); models.len()],
        |buffers, unit| {
            let (index, first, count) = units[unit];
            let job = &jobs[index];
            let mut stored = Vec::with_capacity(models.len());
            for ((model, tensor), buffer) in models.iter().zip(&job.tensors).zip(buffers) {
                let width = element_bytes(tensor.dtype);
                let buffer = stream::sized(buffer, count * width);
                model.read_by(resources.read_path, tensor, first * width, buffer)?;
                stored.push((tensor.dtype, &*buffer));
            }
            let leaves = dispatch(CompareUnit { stored: &stored, ends: &ends, count: count as usize });
            if let Some(leaves) = job.leaves.add(first, leaves) {
                // Set once: no other unit is the last.
                let _ = job.found.set(leaves.fold(Leaf::default(), |sum, leaf| sum.plus(&leaf)));
            }
            control.advance(element(job) * count, layout::place(&job.tensors[0].name).layer);
            Ok(())
        },
    )?;
    let pairs = ends.len() * (ends.len() - 1) / 2;
    let tensors = jobs.into_iter().map(|job| {
        let TensorInfo { name, shape, .. } = job.tensors[0];
        let mut found = job.found.into_inner().unwrap_or_default();
        // A tensor without elements has no unit.
        found.pairs.resize(pairs, PairSums::default());
        TensorComparison {
            name: name.clone(),
            place: layout::place(name),
            shape: shape.clone(),
            left_out: found.left_out,
            pairs: found.pairs,
        }
    });
    let tensors = tensors.collect();
    Ok(VectorComparison { vectors: vectors.len(), tensors, left_out, bytes_read, elapsed: began.elapsed() })
}

/// The tensors that all models have alike, and why the others are left out.
fn align<'a>(vectors: &[VectorPair], models: &[&'a Arc<Checkpoint>]) -> (Vec<Job<'a>>, Vec<LeftOut>) {
    let names: BTreeSet<&str> =
        models.iter().flat_map(|model| model.tensors()).map(|tensor| tensor.name.as_str()).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by(|a, b| natural_cmp(a, b));
    let (mut jobs, mut left_out) = (Vec::new(), Vec::new());
    for name in names {
        let expected = models.iter().find_map(|model| model.tensor(name)).map_or(&[][..], |tensor| &tensor.shape);
        let differs = |model: &Checkpoint| match model.tensor(name) {
            None => Some(Absence::Missing),
            Some(tensor) if tensor.shape != expected => {
                Some(Absence::Shape { found: tensor.shape.clone(), expected: expected.to_vec() })
            }
            Some(tensor) if !takes_part(tensor.dtype) => Some(Absence::Dtype(tensor.dtype)),
            Some(_) => None,
        };
        let ends = vectors.iter().enumerate();
        let ends = ends.flat_map(|(vector, pair)| [(vector, Role::Pre, &pair.pre), (vector, Role::Post, &pair.post)]);
        let first = ends.into_iter().find_map(|(vector, role, model)| {
            differs(model).map(|absence| LeftOut { name: name.to_owned(), vector, role, absence })
        });
        match first {
            Some(first) => left_out.push(first),
            None => jobs.push(Job {
                tensors: models.iter().filter_map(|model| model.tensor(name)).collect(),
                leaves: Tally::default(),
                found: OnceLock::new(),
            }),
        }
    }
    (jobs, left_out)
}

impl Leaf {
    fn plus(mut self, other: &Self) -> Self {
        self.pairs.resize(other.pairs.len(), PairSums::default());
        self.pairs.iter_mut().zip(&other.pairs).for_each(|(sum, other)| sum.add(other));
        self.left_out += other.left_out;
        self
    }
}

/// The leaves of one unit, as an operation that is compiled for each instruction set.
struct CompareUnit<'a> {
    /// For each model its type and bytes.
    stored: &'a [(Dtype, &'a [u8])],
    /// For each vector which model is its pre and which its post.
    ends: &'a [[usize; 2]],
    count: usize,
}

impl WithSimd for CompareUnit<'_> {
    type Output = Vec<Leaf>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<Leaf> {
        let vectors = self.ends.len();
        let mut models = vec![[0.0; BLOCK]; self.stored.len()];
        let mut differences = vec![[0.0; BLOCK]; vectors];
        let mut leaves = Vec::with_capacity(self.count.div_ceil(LEAF));
        for first in (0..self.count).step_by(LEAF) {
            let last = self.count.min(first + LEAF);
            let mut leaf = Leaf { pairs: vec![PairSums::default(); vectors * (vectors - 1) / 2], left_out: 0 };
            for start in (first..last).step_by(BLOCK) {
                let length = BLOCK.min(last - start);
                for ((dtype, bytes), model) in self.stored.iter().zip(&mut models) {
                    let width = dtype.bitsize() / 8;
                    decode(*dtype, &bytes[start * width..][..length * width], &mut model[..length]);
                    // Behind the last element no vector moves anything.
                    model[length..].fill(0.0);
                }
                let mut finite = true;
                for ([pre, post], difference) in self.ends.iter().zip(&mut differences) {
                    for i in 0..BLOCK {
                        difference[i] = models[*post][i] - models[*pre][i];
                        finite &= difference[i].is_finite();
                    }
                }
                if !finite {
                    leaf.left_out += leave_out_nonfinite(&mut differences);
                }
                compare(&differences, &mut leaf.pairs);
            }
            leaves.push(leaf);
        }
        leaves
    }
}

/// Sum of squares, and how many are not zero.
#[inline(always)]
fn own(values: &[f64; BLOCK]) -> (f64, u64) {
    let (mut squares, mut moved) = ([0.0; LANES], 0_u32);
    for lanes in values.as_chunks::<LANES>().0 {
        for (square, &value) in squares.iter_mut().zip(lanes) {
            *square += value * value;
            moved += u32::from(value != 0.0);
        }
    }
    (squares.iter().sum(), u64::from(moved))
}

/// Adds one block of every two vectors.
#[inline(always)]
fn compare(differences: &[[f64; BLOCK]], pairs: &mut [PairSums]) {
    let mut pairs = pairs.iter_mut();
    for (index, left) in differences.iter().enumerate() {
        let (left_sq, left_moved) = own(left);
        // As many pairs as there are vectors after this one.
        for (right, pair) in differences[index + 1..].iter().zip(&mut pairs) {
            let (right_sq, right_moved) = own(right);
            let (mut products, mut both, mut opposed) = ([0.0; LANES], 0_u32, 0_u32);
            for (left, right) in left.as_chunks::<LANES>().0.iter().zip(right.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    let (a, b) = (left[lane], right[lane]);
                    products[lane] += a * b;
                    let moved = (a != 0.0) & (b != 0.0);
                    both += u32::from(moved);
                    opposed += u32::from(moved & ((a < 0.0) != (b < 0.0)));
                }
            }
            pair.add(&PairSums {
                product: products.iter().sum(),
                left_sq,
                right_sq,
                left_moved,
                right_moved,
                both_moved: u64::from(both),
                opposed: u64::from(opposed),
            });
        }
    }
}

/// Sets elements to zero in all vectors where any is NaN or infinite; gives how many.
#[inline(never)]
fn leave_out_nonfinite(differences: &mut [[f64; BLOCK]]) -> u64 {
    let mut left_out = 0;
    for i in 0..BLOCK {
        if differences.iter().any(|difference| !difference[i].is_finite()) {
            differences.iter_mut().for_each(|difference| difference[i] = 0.0);
            left_out += 1;
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_its_place() {
        for vectors in 2..7 {
            let mut next = 0;
            for a in 0..vectors {
                for b in a + 1..vectors {
                    assert_eq!(position(a, b, vectors), next);
                    next += 1;
                }
            }
            assert_eq!(next, vectors * (vectors - 1) / 2);
        }
    }
}
