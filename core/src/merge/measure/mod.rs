//! What some methods have to know of a whole tensor before its first element can be written: where a rank ends, how long a
//! vector is, the angle between two.
//!
//! Each question is a pass over the tensors that it concerns. Counts are exact and sums are added in the order of the
//! elements, so that the answers do not depend on threads or units.

mod elements;
mod gram;
mod noise;
mod pass;
mod rank;
mod rows;
mod scale;

use std::collections::HashMap;
use std::sync::Arc;

use super::MergeError;
use super::weights::Weights;
use crate::method::mix::{ArcCoefficients, Cut};
use crate::recipe::{Combination, ControlKind, MethodSpec, Recipe, Sparsify, SparsifyRule};
use crate::stream::Resources;

pub(super) use elements::{Elements, odds_of};
pub(super) use gram::Gram;

/// One vector in one tensor of the output, or all vectors in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Spot {
    /// Position in the plan.
    pub tensor: usize,
    /// Position of the vector; `None` for all of them together.
    pub vector: Option<usize>,
}

/// The answers, each for those spots that a method asked it for.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Standard deviation of the noise that has the vector's norm.
    pub deviations: HashMap<Spot, f64>,
    /// The ends of ranks.
    pub cuts: HashMap<Spot, Ranks<Option<Cut>>>,
    /// What is kept of a vector is multiplied by this to have the sum of magnitudes that the vector had.
    pub scales: HashMap<Spot, f64>,
    /// Inner products of the target and the vectors, by tensor.
    pub grams: HashMap<usize, Gram>,
    /// What great circles give the rows, columns or whole of a tensor.
    pub arcs: HashMap<usize, Arc<[ArcCoefficients]>>,
}

/// Something for each of the two ranks that a rule may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranks<T> {
    /// The rank that ends with the smallest element kept.
    pub within: T,
    /// The rank that ends with the smallest element dropped for being large.
    pub beyond: T,
}

impl<T> Ranks<T> {
    /// What there is for `within` and for `beyond`.
    fn both(self) -> [T; 2] {
        [self.within, self.beyond]
    }
}

/// Asks what `recipe` has to know, in an order in which each answer rests on those before it alone.
pub(super) fn measure(weights: Weights<'_>, recipe: &Recipe, resources: &Resources) -> Result<Measured, MergeError> {
    let mut measured = Measured::default();
    let controls: Vec<Option<ControlKind>> =
        recipe.vectors().map(|vector| vector.control.map(|control| control.kind)).collect();
    let rules: Vec<SparsifyRule> = recipe.vectors().map(|vector| recipe.method.rule_of(vector)).collect();
    let each: Vec<Spot> = spots(weights).collect();
    let elements_of = |spot: &Spot| weights.elements(*spot);
    let of = |spot: &Spot| spot.vector.unwrap_or(0);

    let noisy: Vec<Spot> = each.iter().filter(|spot| controls[of(spot)] == Some(ControlKind::Noise)).copied().collect();
    if !noisy.is_empty() {
        measured.deviations = noise::deviations(weights, recipe, &noisy, resources)?;
    }

    let mut ranks: Vec<(Spot, Ranks<Option<u64>>)> =
        each.iter().filter_map(|spot| Some((*spot, ranks_of(&rules[of(spot)], elements_of(spot))?))).collect();
    let method = &recipe.method;
    let together = || tensors(weights).map(|tensor| Spot { tensor, vector: None });
    let selects = method.name.combination() == Combination::Sce && method.select_topk() < 1.0;
    if selects {
        // How many elements that is depends on how many vary at all, which the first pass counts.
        ranks.extend(together().map(|spot| (spot, Ranks { within: Some(0), beyond: None })));
    }
    if !ranks.is_empty() {
        measured.cuts = rank::cuts(weights, recipe, &measured, &ranks, resources)?;
    }

    let scaled: Vec<Spot> = each.iter().filter(|spot| is_scaled(&rules[of(spot)])).copied().collect();
    if !scaled.is_empty() {
        measured.scales = scale::scales(weights, recipe, &measured, &scaled, resources)?;
    }

    let exact = recipe.output.rounding.is_single();
    // NuSLERP goes by lines where there are several, and in mergekit's steps everywhere.
    let turns = method.name.combination() == Combination::Nuslerp;
    let by_line = |tensor: usize| turns && (!exact || (!method.flatten.unwrap_or(true) && has_rows(weights, tensor)));
    if wants_gram(method) {
        let spots: Vec<Spot> = together().filter(|spot| !by_line(spot.tensor)).collect();
        measured.grams = gram::grams(weights, recipe, &measured, &spots, resources)?;
    }
    let lines: Vec<usize> = tensors(weights).filter(|tensor| by_line(*tensor)).collect();
    if !lines.is_empty() {
        measured.arcs = rows::arcs(weights, recipe, &measured, &lines, resources)?;
    }
    Ok(measured)
}

/// Whether a method goes by the inner products of whole tensors.
fn wants_gram(method: &MethodSpec) -> bool {
    match method.name.combination() {
        Combination::Slerp | Combination::Nuslerp | Combination::ModelStock | Combination::Sce => true,
        Combination::Sum | Combination::Elect | Combination::Average => false,
    }
}

/// Whether a tensor is a matrix, or a stack of them.
pub(super) fn has_rows(weights: Weights<'_>, tensor: usize) -> bool {
    weights.plan.tensors[tensor].output.shape.len() > 1
}

/// Whether what a rule keeps is rescaled: only where something is dropped and something is left.
fn is_scaled(rule: &SparsifyRule) -> bool {
    rule.sparsify != Sparsify::None && rule.rescale && rule.density > 0.0 && rule.density < 1.0
}

/// Every vector of every tensor that it moves.
fn spots(weights: Weights<'_>) -> impl Iterator<Item = Spot> {
    weights.plan.tensors.iter().enumerate().flat_map(|(tensor, planned)| {
        let moving = planned.sources.iter().enumerate().filter(|(_, source)| source.is_some());
        moving.map(move |(vector, _)| Spot { tensor, vector: Some(vector) })
    })
}

/// Every tensor that some vector moves.
fn tensors(weights: Weights<'_>) -> impl Iterator<Item = usize> {
    let moved = |(_, planned): &(usize, &super::plan::PlannedTensor)| planned.sources.iter().any(Option::is_some);
    weights.plan.tensors.iter().enumerate().filter(moved).map(|(tensor, _)| tensor)
}

/// How many elements the ranks of a rule hold, where elements have to be counted to know where they end.
fn ranks_of(rule: &SparsifyRule, elements: u64) -> Option<Ranks<Option<u64>>> {
    let counts = keep_counts(rule, elements)?;
    let inner = |count: u64| (count > 0 && count < elements).then_some(count);
    let ranks = Ranks { within: inner(counts.dropped_top + counts.kept), beyond: inner(counts.dropped_top) };
    (counts.kept > 0 && ranks != Ranks::default()).then_some(ranks)
}

/// How a rule by rank divides a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepCounts {
    /// Largest elements that are dropped.
    pub dropped_top: u64,
    /// Elements kept after these.
    pub kept: u64,
}

/// How many of `elements` a rule by rank keeps and drops; `None` for a rule that does not go by rank. Counts are truncated,
/// as in mergekit.
pub(super) fn keep_counts(rule: &SparsifyRule, elements: u64) -> Option<KeepCounts> {
    let share_of = |share: f64| ((share * elements as f64) as u64).min(elements);
    let kept = share_of(rule.density);
    match rule.sparsify {
        // However small the density, something is left of every tensor.
        Sparsify::Trim if rule.density > 0.0 => Some(KeepCounts { dropped_top: 0, kept: kept.max(1).min(elements) }),
        Sparsify::Trim => Some(KeepCounts { dropped_top: 0, kept: 0 }),
        Sparsify::Breadcrumbs => {
            // Outliers give way when both shares do not fit, and a density of 1 keeps everything.
            let dropped_top = share_of(rule.gamma).min(elements - kept);
            Some(KeepCounts { dropped_top, kept })
        }
        Sparsify::None | Sparsify::Dare | Sparsify::Della => None,
    }
}
