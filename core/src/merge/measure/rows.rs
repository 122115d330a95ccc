//! Great circles between the rows or the columns of two vectors, or between the two as they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::MergeError;
use super::super::mixes::{arc_coefficients, arc_norm};
use super::super::weights::{Range, RangeBuffers, Weights};
use super::{Elements, Measured, Spot, has_rows};
use crate::method::mix::ArcCoefficients;
use crate::numeric::BLOCK;
use crate::progress::Stage;
use crate::recipe::Recipe;
use crate::stream::{self, Resources, StreamError};

/// How a tensor is cut into lines that have a great circle each.
#[derive(Clone, Copy)]
enum Lines {
    /// It is one line.
    Whole,
    /// Stretches of so many elements.
    Rows(u64),
    /// Every so manieth element.
    Columns(u64),
}

impl Lines {
    fn of(self, element: u64) -> usize {
        let line = match self {
            Self::Whole => 0,
            Self::Rows(row) => element / row,
            Self::Columns(row) => element % row,
        };
        line as usize
    }

    fn count(self, elements: u64) -> usize {
        let count = match self {
            Self::Whole => 1,
            Self::Rows(row) => elements.div_ceil(row),
            Self::Columns(row) => row,
        };
        count as usize
    }
}

/// The coefficients of each line of those tensors.
///
/// One worker goes through a tensor from its first element to its last, so that sums over columns are added in one order.
pub(super) fn arcs(
    weights: Weights<'_>,
    recipe: &Recipe,
    measured: &Measured,
    tensors: &[usize],
    resources: &Resources,
) -> Result<HashMap<usize, Arc<[ArcCoefficients]>>, MergeError> {
    let elements = Elements { weights, recipe, measured };
    let spot = |tensor| Spot { tensor, vector: None };
    // In mergekit's steps the vectors are divided by their lengths before they are multiplied, which takes a second look.
    let looks = if recipe.output.rounding.is_single() { 1 } else { 2 };
    let bytes: u64 = tensors.iter().map(|tensor| weights.elements(spot(*tensor)) * weights.width(spot(*tensor))).sum();
    weights.control.begin(Stage::Measuring, bytes * looks);
    let found = Mutex::new(HashMap::new());
    let flatten = recipe.method.flatten.unwrap_or(true);
    // mergekit's row_wise goes along the first dimension: one great circle for each position of the last.
    let by_column = recipe.method.row_wise.unwrap_or(false);
    stream::run(tensors.len(), resources.threads, weights.control, RangeBuffers::default, |buffers, index| {
        let tensor = tensors[index];
        let planned = &weights.plan.tensors[tensor];
        let row = planned.output.shape.last().copied().unwrap_or(1).max(1);
        let lines = match (flatten || !has_rows(weights, tensor), by_column) {
            (true, _) => Lines::Whole,
            (false, false) => Lines::Rows(row),
            (false, true) => Lines::Columns(row),
        };
        let count = lines.count(weights.elements(spot(tensor)));
        let walk = Walk { elements, tensor, step: weights.unit_elements(resources) };
        let mut products = vec![[0.0_f64; 3]; count];
        walk.each(buffers, |element, a, b| {
            let [aa, ab, bb] = &mut products[lines.of(element)];
            *aa += a * a;
            *ab += a * b;
            *bb += b * b;
        })?;
        if looks == 2 {
            let stored = |value| elements.stored(value);
            products.iter_mut().for_each(|products| products[1] = 0.0);
            walk.each(buffers, |element, a, b| {
                let [aa, ab, bb] = &mut products[lines.of(element)];
                *ab += stored(stored(a / arc_norm(&elements, *aa)) * stored(b / arc_norm(&elements, *bb)));
            })?;
        }
        let weights_of = [0, 1].map(|vector| f64::from(planned.coefficients[vector]));
        let each: Arc<[ArcCoefficients]> =
            products.iter().map(|products| arc_coefficients(&elements, *products, weights_of)).collect();
        found.lock().unwrap_or_else(PoisonError::into_inner).insert(tensor, each);
        Ok::<(), StreamError>(())
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A way through the two vectors of a tensor.
struct Walk<'a> {
    elements: Elements<'a>,
    tensor: usize,
    step: u64,
}

impl Walk<'_> {
    /// Calls `take` with each index and the two vectors' elements there, in order.
    fn each(&self, buffers: &mut RangeBuffers, mut take: impl FnMut(u64, f64, f64)) -> Result<(), StreamError> {
        let weights = self.elements.weights;
        let spot = Spot { tensor: self.tensor, vector: None };
        for (first, count) in stream::cut(0, weights.elements(spot), self.step) {
            weights.control.check()?;
            let range = Range { tensor: self.tensor, first, count };
            weights.read(range, weights.reads(spot), buffers)?;
            let [a, b] = [0, 1].map(|vector| self.elements.of(buffers, range, vector));
            let (mut left, mut right) = ([0.0; BLOCK], [0.0; BLOCK]);
            for from in (0..count as usize).step_by(BLOCK) {
                let length = BLOCK.min(count as usize - from);
                a.decode(from, &mut left[..length]);
                b.decode(from, &mut right[..length]);
                for ((element, a), b) in (first + from as u64..).zip(&left[..length]).zip(&right[..length]) {
                    take(element, *a, *b);
                }
            }
            let layer = weights.plan.tensors[self.tensor].place.layer;
            weights.control.advance(count * weights.width(spot), layer);
        }
        Ok(())
    }
}
