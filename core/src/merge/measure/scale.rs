//! What the elements that are kept are multiplied by, so that their magnitudes add up to what those of the whole vector did.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::super::MergeError;
use super::super::mixes::keep_rule;
use super::super::weights::{RangeBuffers, Weights};
use super::elements::odds_of;
use super::pass::pass;
use super::{Elements, Measured, Spot};
use crate::method::LEAF;
use crate::method::mix::sums_of_magnitudes;
use crate::recipe::Recipe;
use crate::stream::Resources;

/// In mergekit's steps sums of magnitudes below this leave what is kept as it is.
const SMALLEST_SUM: f64 = 1e-7;

/// Σ|v| and Σ|kept v| of one leaf.
type Sums = [f64; 2];

/// Σ|v| ∕ Σ|kept v| for each spot.
///
/// mergekit rescales so, by the L1 norm, whatever drops the elements. For elements dropped at random this is 1 ∕ density in
/// the mean, which is what DARE's authors multiply by (arXiv 2311.03099).
pub(super) fn scales(
    weights: Weights<'_>,
    recipe: &Recipe,
    measured: &Measured,
    spots: &[Spot],
    resources: &Resources,
) -> Result<HashMap<Spot, f64>, MergeError> {
    let scales = Mutex::new(HashMap::new());
    let elements = Elements { weights, recipe, measured };
    pass(
        weights,
        spots,
        resources,
        |rows: &mut RangeBuffers, buffers, spot, range| {
            let vector = spot.vector.unwrap_or(0);
            let rule = keep_rule(&elements, spot.tensor, vector);
            let odds = odds_of(&elements, vector, &rule, range, buffers, rows)?;
            let mut leaves: Vec<Sums> = Vec::new();
            elements.of(buffers, range, vector).blocks(|first, values| {
                let from = (first - range.first) as usize;
                if from.is_multiple_of(LEAF) {
                    leaves.push(Sums::default());
                }
                let Some([before, after]) = leaves.last_mut() else { return };
                let odds = odds.get(from..from + values.len()).unwrap_or_default();
                let [all, kept] = sums_of_magnitudes(&rule, first, odds, values);
                *before += all;
                *after += kept;
            });
            Ok(leaves)
        },
        |spot, leaves| {
            let (mut before, mut after) = (0.0, 0.0);
            for [all, kept] in leaves.flatten() {
                before += all;
                after += kept;
            }
            let (before, after) = (elements.stored(before), elements.stored(after));
            let smallest = if recipe.output.rounding.is_single() { f64::MIN_POSITIVE } else { SMALLEST_SUM };
            let scale = if after < smallest { 1.0 } else { elements.stored(before / after) };
            scales.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, scale);
            Ok(())
        },
    )?;
    Ok(scales.into_inner().unwrap_or_else(PoisonError::into_inner))
}
