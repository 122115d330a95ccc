//! How large noise must be to have the vector's norm in each tensor.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::super::MergeError;
use super::super::weights::{RangeBuffers, Weights};
use super::pass::pass;
use super::{Elements, Measured, Spot};
use crate::method::LEAF;
use crate::method::mix::{decode_vector, standard_normal};
use crate::numeric::BLOCK;
use crate::recipe::{ControlKind, Recipe};
use crate::stream::Resources;

/// ‖v‖² and ‖g‖² of one leaf.
type Norms = [f64; 2];

/// ‖v‖ ∕ ‖g‖ for each spot, where g is the noise that will be drawn with deviation 1: scaled by it, the noise has exactly
/// the norm of v.
pub(super) fn deviations(
    weights: Weights<'_>,
    recipe: &Recipe,
    spots: &[Spot],
    resources: &Resources,
) -> Result<HashMap<Spot, f64>, MergeError> {
    let deviations = Mutex::new(HashMap::new());
    let nothing = Measured::default();
    let elements = Elements { weights, recipe, measured: &nothing };
    pass(
        weights,
        spots,
        resources,
        |(): &mut (), buffers: &RangeBuffers, spot, range| {
            let vector = spot.vector.unwrap_or(0);
            let seed = recipe.vectors().nth(vector).and_then(|spec| spec.control).map_or(0, |control| control.seed);
            let key = elements.key(ControlKind::Noise.label(), seed, spot.tensor, vector);
            let source = &weights.plan.tensors[spot.tensor].sources[vector];
            let mut leaves: Vec<Norms> = Vec::new();
            let Some(bytes) = weights.vector(range, source, buffers) else { return Ok(leaves) };
            let mut values = [0.0; BLOCK];
            let count = range.count as usize;
            for from in (0..count).step_by(BLOCK) {
                let values = &mut values[..BLOCK.min(count - from)];
                decode_vector(&bytes, recipe.output.rounding, from, values);
                if from.is_multiple_of(LEAF) {
                    leaves.push(Norms::default());
                }
                let Some([vector_sq, noise_sq]) = leaves.last_mut() else { continue };
                for (element, value) in (range.first + from as u64..).zip(values.iter()) {
                    let noise = standard_normal(key, element);
                    *vector_sq += if value.is_finite() { value * value } else { 0.0 };
                    *noise_sq += noise * noise;
                }
            }
            Ok(leaves)
        },
        |spot, leaves| {
            let (mut vector_sq, mut noise_sq) = (0.0, 0.0);
            for [vector, noise] in leaves.flatten() {
                vector_sq += vector;
                noise_sq += noise;
            }
            let deviation = if noise_sq > 0.0 { (vector_sq / noise_sq).sqrt() } else { 0.0 };
            deviations.lock().unwrap_or_else(PoisonError::into_inner).insert(spot, deviation);
            Ok(())
        },
    )?;
    Ok(deviations.into_inner().unwrap_or_else(PoisonError::into_inner))
}
