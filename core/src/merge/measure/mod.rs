//! What some methods have to know of a whole tensor before its first element can be written: where a rank ends, how long the
//! vector is.
//!
//! Each question is a pass over the tensors that it concerns. Counts are exact and sums are added in the order of the
//! elements, so that the answers do not depend on threads or units.

mod noise;
mod rank;

use std::collections::HashMap;

use super::MergeError;
use super::plan::PlannedTensor;
use super::weights::{Range, RangeBuffers, Weights};
use crate::method::mix::{Cut, ElementControl, Ties};
use crate::numeric::StochasticKey;
use crate::progress::Stage;
use crate::recipe::{ControlKind, Recipe, Rounding, Sparsify, SparsifyRule};
use crate::stream::{self, Resources, StreamError, Tally};

/// One vector in one tensor of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Spot {
    /// Position in the plan.
    pub tensor: usize,
    /// Position of the vector.
    pub vector: usize,
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Standard deviation of the noise that has the vector's norm.
    pub deviations: HashMap<Spot, f64>,
    /// The ends of ranks: of what is kept, and of what is dropped as outliers.
    pub cuts: HashMap<Spot, Ranks<Option<Cut>>>,
}

/// Something for each of the two ranks that a rule may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranks<T> {
    /// The rank that ends with the smallest element kept.
    pub within: T,
    /// The rank that ends with the smallest element dropped for being large.
    pub beyond: T,
}

/// Asks what `recipe` has to know.
pub(super) fn measure(weights: Weights<'_>, recipe: &Recipe, resources: &Resources) -> Result<Measured, MergeError> {
    let mut measured = Measured::default();
    let wants_noise = |vector: usize| {
        recipe.vectors().nth(vector).and_then(|spec| spec.control).is_some_and(|c| c.kind == ControlKind::Noise)
    };
    let spots: Vec<Spot> = spots(weights).filter(|spot| wants_noise(spot.vector)).collect();
    if !spots.is_empty() {
        measured.deviations = noise::deviations(weights, recipe, &spots, resources)?;
    }

    let rules: Vec<SparsifyRule> = recipe.vectors().map(|vector| recipe.method.rule_of(vector)).collect();
    let ranks: Vec<(Spot, Ranks<Option<u64>>)> =
        spots_with(weights, |spot, elements| wanted(&rules[spot.vector], elements));
    if !ranks.is_empty() {
        measured.cuts = rank::cuts(weights, recipe, &measured.deviations, &ranks, resources)?;
    }
    Ok(measured)
}

/// Every vector of every tensor that it moves.
fn spots(weights: Weights<'_>) -> impl Iterator<Item = Spot> {
    weights.plan.tensors.iter().enumerate().flat_map(|(tensor, planned)| {
        let moving = planned.sources.iter().enumerate().filter(|(_, source)| source.is_some());
        moving.map(move |(vector, _)| Spot { tensor, vector })
    })
}

fn spots_with<T>(weights: Weights<'_>, want: impl Fn(Spot, u64) -> Option<T>) -> Vec<(Spot, T)> {
    let elements =
        |spot: Spot| weights.plan.tensors[spot.tensor].sources[spot.vector].map_or(0, |source| source.elements);
    spots(weights).filter_map(|spot| Some((spot, want(spot, elements(spot))?))).collect()
}

/// How many elements the ranks of a rule hold, where elements have to be counted to know where they end.
fn wanted(rule: &SparsifyRule, elements: u64) -> Option<Ranks<Option<u64>>> {
    match keep_counts(rule, elements) {
        Some(counts) if counts.kept > 0 => {
            let inner = |count: u64| (count > 0 && count < elements).then_some(count);
            let ranks = Ranks { within: inner(counts.dropped_top + counts.kept), beyond: inner(counts.dropped_top) };
            (ranks != Ranks::default()).then_some(ranks)
        }
        _ => None,
    }
}

/// How a rule by rank divides a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepCounts {
    /// Largest elements that are dropped.
    pub dropped_top: u64,
    /// Elements kept after these.
    pub kept: u64,
}

/// How many elements of `elements` a rule by rank keeps and drops; `None` for a rule that does not go by rank.
pub(super) fn keep_counts(rule: &SparsifyRule, elements: u64) -> Option<KeepCounts> {
    // mergekit truncates, in f64.
    let share_of = |share: f64| ((share * elements as f64) as u64).min(elements);
    match rule.sparsify {
        Sparsify::Trim => Some(KeepCounts { dropped_top: 0, kept: share_of(rule.density) }),
        Sparsify::Breadcrumbs => {
            let kept = share_of(rule.density);
            // Outliers give way when both shares do not fit.
            let dropped_top = share_of(rule.gamma).min(elements - kept);
            Some(KeepCounts { dropped_top, kept })
        }
        Sparsify::None | Sparsify::Dare | Sparsify::Della => None,
    }
}

/// Which of equal magnitudes come first in the rank of a rule: mergekit sorts stably, for trim by falling and for
/// breadcrumbs by rising magnitude.
pub(super) fn ties(rule: &SparsifyRule) -> Ties {
    if rule.sparsify == Sparsify::Breadcrumbs { Ties::HighFirst } else { Ties::LowFirst }
}

/// What a vector's control does to its elements, once the deviation of its noise is known.
pub(super) fn element_control(
    recipe: &Recipe,
    planned: &PlannedTensor,
    spot: Spot,
    deviations: &HashMap<Spot, f64>,
) -> Option<ElementControl> {
    let control = recipe.vectors().nth(spot.vector)?.control?;
    let key = draw_key(control.kind.label(), control.seed, spot.vector, &planned.output.name);
    match control.kind {
        ControlKind::ShuffleSigns => Some(ElementControl::Signs(key)),
        ControlKind::PermuteLayers => None,
        ControlKind::Noise => {
            Some(ElementControl::Noise { key, deviation: deviations.get(&spot).copied().unwrap_or(0.0) })
        }
    }
}

/// What one vector draws from in one tensor, for one purpose.
pub(super) fn draw_key(purpose: &str, seed: u64, vector: usize, tensor: &str) -> StochasticKey {
    StochasticKey::new(seed, &format!("{purpose} {vector} {tensor}"))
}

/// Runs `work` over all units of the spots, and `finish` with the results of each spot in the order of its elements.
fn pass<T: Send, S: Default>(
    weights: Weights<'_>,
    spots: &[Spot],
    resources: &Resources,
    work: impl Fn(&mut S, &RangeBuffers, Spot, Range) -> T + Sync,
    finish: impl Fn(Spot, &mut dyn Iterator<Item = T>) -> Result<(), StreamError> + Sync,
) -> Result<(), MergeError> {
    let step = weights.unit_elements(resources);
    let mut units: Vec<(usize, Range)> = Vec::new();
    let mut total_bytes = 0;
    for (position, spot) in spots.iter().enumerate() {
        let planned = &weights.plan.tensors[spot.tensor];
        let Some(source) = planned.sources[spot.vector] else { continue };
        let width: u64 = source.reads().map(|read| weights.tensor(planned, read).dtype.bitsize() as u64 / 8).sum();
        total_bytes += source.elements * width;
        let ranges = stream::cut(0, source.elements, step);
        units.extend(ranges.map(|(first, count)| (position, Range { tensor: spot.tensor, first, count })));
    }
    let tallies: Vec<Tally<T>> = spots.iter().map(|_| Tally::default()).collect();
    for (position, _) in &units {
        tallies[*position].expect_unit();
    }
    weights.control.begin(Stage::Measuring, total_bytes);
    stream::run(units.len(), resources.threads, weights.control, <(S, RangeBuffers)>::default, |scratch, index| {
        let (position, range) = units[index];
        let spot = spots[position];
        let planned = &weights.plan.tensors[spot.tensor];
        let (scratch, buffers) = scratch;
        let Some(source) = planned.sources[spot.vector] else { return Ok(()) };
        weights.read(range, source.reads(), buffers)?;
        let bytes: u64 = source.reads().map(|read| weights.bytes(range, read, buffers).bytes.len() as u64).sum();
        weights.control.advance(bytes, planned.place.layer);
        let found = work(scratch, buffers, spot, range);
        if let Some(mut all) = tallies[position].add(range.first, vec![found]) {
            finish(spot, &mut all)?;
        }
        Ok(())
    })
}

/// Whether vectors are taken in a working precision of mergekit's.
fn rounding_of(recipe: &Recipe) -> Rounding {
    recipe.output.rounding
}
