//! From one tensor of w·v to two thin matrices, as they are written, and what is left beside them.

use faer::{Mat, MatMut};

use super::AdapterError;
use super::plan::{Kind, PlannedTensor};
use super::report::{AdapterTensor, Form};
use super::spec::AdapterSpec;
use crate::analysis::Matrix;
use crate::checkpoint::Dtype;
use crate::numeric::{BLOCK, round_nearest};
use crate::progress::Control;
use crate::stream::Resources;

/// Singular values below this many times ε · √(rows · cols) · ‖v‖ are zeros that rounding has moved.
const LEAST_RANK_FACTOR: f64 = 16.0;

/// B · A ≈ coefficient · v of a linear layer stored as outputs × inputs, and of others its transpose.
pub(super) struct Factors {
    /// Aᵀ: inputs × rank. Elements are those of the dtype written.
    pub a: Mat<f64>,
    /// Outputs × rank.
    pub b: Mat<f64>,
}

/// Finds the factors of `matrix`, and measures what they leave.
///
/// √σ goes into each factor, so that neither has larger elements than the other: where σ went into one alone, the other's
/// would be near 1 ∕ √rows, and the first might leave the range of f16. Both are rounded to `dtype` before anything is
/// measured. Where rounding takes a tensor just below the energy asked for, it gets a further rank.
pub(super) fn factor(
    planned: &PlannedTensor,
    kind: Kind,
    matrix: &Matrix<'_>,
    spec: &AdapterSpec,
    dtype: Dtype,
    resources: &Resources,
    control: &Control,
) -> Result<(Factors, AdapterTensor), AdapterError> {
    let found = matrix.directions(spec.rank as usize, resources, control)?;
    let (rows, cols) = matrix.shape();
    let coefficient = f64::from(planned.coefficient);
    let scale = coefficient.abs();
    let noise = LEAST_RANK_FACTOR * f64::EPSILON * ((rows * cols) as f64).sqrt() * found.energy.sqrt();
    let known = found.values.iter().take(found.left.ncols()).take_while(|&&value| value > noise).count();
    let mut rank = match spec.energy {
        Some(share) => fewest(&found.values[..known], share * found.energy).unwrap_or(known),
        None => known,
    };
    let energy = scale * scale * found.energy;
    let (left, right, rest) = loop {
        let mut left = found.left.subcols(0, rank).to_owned();
        let mut right = found.right.subcols(0, rank).to_owned();
        for (col, value) in found.values[..rank].iter().enumerate() {
            let root = (scale * value).sqrt();
            left.as_mut().col_mut(col).iter_mut().for_each(|element| *element *= root);
            right.as_mut().col_mut(col).iter_mut().for_each(|element| *element *= root.copysign(coefficient));
        }
        if !(round(left.as_mut(), dtype) && round(right.as_mut(), dtype)) {
            return Err(AdapterError::Overflow { tensor: planned.name.clone(), dtype });
        }
        // An empty product leaves everything.
        let rest = match rank {
            0 => energy,
            _ => matrix.rest(coefficient, left.as_ref(), right.as_ref(), resources, control)?,
        };
        let falls_short = spec.energy.is_some_and(|share| energy - rest < share * energy * (1.0 - 1e-12));
        if !falls_short || rank == known {
            break (left, right, rest);
        }
        rank += 1;
    };
    let values: Vec<f64> = found.values[..rank].iter().map(|value| scale * value).collect();
    let error = scale * found.error;
    let report = AdapterTensor {
        name: planned.name.clone(),
        place: planned.place,
        module: String::new(),
        form: Form::Factored { kind, rank: rank as u32, singular_values: values, error },
        rows: rows as u64,
        cols: cols as u64,
        dtype,
        coefficient: planned.coefficient,
        energy,
        rest,
        nonfinite: found.left_out,
    };
    let (a, b) = match kind {
        Kind::Linear => (right, left),
        Kind::Conv1d | Kind::Embedding => (left, right),
    };
    Ok((Factors { a, b }, report))
}

/// The fewest of the values whose squares come to `wanted`.
fn fewest(values: &[f64], wanted: f64) -> Option<usize> {
    let mut kept = 0.0;
    // Squares of rounded numbers need not add up to the last bit.
    let last = values.iter().position(|value| {
        kept += value * value;
        kept >= wanted * (1.0 - 1e-12)
    })?;
    Some(last + 1)
}

/// Rounds every element to the nearest of `dtype`; `false` if one of them leaves its range.
fn round(mut matrix: MatMut<'_, f64>, dtype: Dtype) -> bool {
    let mut exact = [0.0; BLOCK];
    let mut bytes = [0; 8 * BLOCK];
    let mut is_finite = true;
    for col in 0..matrix.ncols() {
        let mut column = matrix.as_mut().col_mut(col);
        for first in (0..column.nrows()).step_by(BLOCK) {
            let count = BLOCK.min(column.nrows() - first);
            let stretch = column.as_mut().subrows_mut(first, count);
            exact.iter_mut().zip(stretch.as_ref().iter()).for_each(|(exact, element)| *exact = *element);
            let mut rounded = [0.0; BLOCK];
            round_nearest(dtype, &exact[..count], &mut bytes, &mut rounded);
            stretch.iter_mut().zip(&rounded).for_each(|(element, rounded)| *element = *rounded);
            is_finite &= rounded.iter().all(|value| value.is_finite());
        }
    }
    is_finite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_values_that_hold_a_share() {
        let values = [3.0, 2.0, 1.0];
        let share = |share: f64| fewest(&values, share * 14.0);
        assert_eq!(
            [share(0.1), share(9.0 / 14.0), share(0.65), share(1.0), share(1.01)],
            [Some(1), Some(1), Some(2), Some(3), None]
        );
    }

    #[test]
    fn rounding_tells_what_leaves_the_range() {
        let mut matrix = Mat::from_fn(1000, 2, |row, _| row as f64 / 3.0);
        assert!(round(matrix.as_mut(), Dtype::BF16));
        assert_eq!((matrix[(1, 0)], matrix[(999, 1)]), (0.333984375, 332.0));
        matrix[(700, 1)] = 1e6;
        assert!(!round(matrix.as_mut(), Dtype::F16));
    }
}
