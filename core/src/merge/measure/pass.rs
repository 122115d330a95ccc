//! One pass over the spots that a question concerns.

use super::super::MergeError;
use super::super::weights::{Range, RangeBuffers, Weights};
use super::Spot;
use crate::progress::Stage;
use crate::stream::{self, Resources, StreamError, Tally};

/// Runs `work` over all units of the spots, and `finish` with the results of each spot in the order of its elements.
pub(super) fn pass<T: Send, S: Default>(
    weights: Weights<'_>,
    spots: &[Spot],
    resources: &Resources,
    work: impl Fn(&mut S, &RangeBuffers, Spot, Range) -> Result<T, StreamError> + Sync,
    finish: impl Fn(Spot, &mut dyn Iterator<Item = T>) -> Result<(), StreamError> + Sync,
) -> Result<(), MergeError> {
    let step = weights.unit_elements(resources);
    let mut units: Vec<(usize, Range)> = Vec::new();
    let mut total_bytes = 0;
    for (position, spot) in spots.iter().enumerate() {
        let elements = weights.elements(*spot);
        total_bytes += elements * weights.width(*spot);
        let ranges = stream::cut(0, elements, step);
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
        let (scratch, buffers) = scratch;
        weights.read(range, weights.reads(spot), buffers)?;
        let layer = weights.plan.tensors[spot.tensor].place.layer;
        weights.control.advance(range.count * weights.width(spot), layer);
        let found = work(scratch, buffers, spot, range)?;
        if let Some(mut all) = tallies[position].add(range.first, vec![found]) {
            finish(spot, &mut all)?;
        }
        Ok(())
    })
}
