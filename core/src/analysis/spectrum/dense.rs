//! All singular values of a matrix that fits in memory.

use std::sync::{Mutex, PoisonError};

use faer::{Mat, MatRef};

use super::factor::{self, Qr};
use super::source::{RowBlock, Source};
use super::{Found, SpectrumError};
use crate::progress::Control;
use crate::stream::{self, Resources, StreamError};

/// Memory that [`decompose`] takes for so many vectors: the matrix, what the SVD of its smaller side works on, and a block
/// for each worker.
pub(super) fn bytes(source: &Source<'_>, vectors: usize, resources: &Resources) -> u64 {
    let (short, long) = sides(source);
    let numbers = short * long + 11 * short * short + 4 * vectors.min(short) * long;
    8 * numbers as u64 + workers(source, resources) as u64 * source.block_bytes()
}

fn workers(source: &Source<'_>, resources: &Resources) -> usize {
    resources.threads.clamp(1, source.blocks())
}

fn sides(source: &Source<'_>) -> (usize, usize) {
    (source.rows.min(source.cols), source.rows.max(source.cols))
}

/// Reads the matrix and decomposes it: QR of its tall side, then the SVD of R (Chan 1982).
///
/// The QR takes what is left of a column below 16 · long side · ε of its length as zero, so that much, relative to the
/// norm of the matrix, is the accuracy of the singular values. `vectors` is how many of them get their vectors.
pub(super) fn decompose(
    source: &Source<'_>,
    vectors: usize,
    resources: &Resources,
    control: &Control,
) -> Result<Found, SpectrumError> {
    let (short, long) = sides(source);
    let wide = source.cols > source.rows;
    let tall = Mutex::new(Mat::<f64>::zeros(long, short));
    let blocks: Vec<Mutex<(f64, u64, bool)>> = (0..source.blocks()).map(|_| Mutex::default()).collect();
    stream::run::<_, StreamError>(blocks.len(), resources.threads, control, RowBlock::default, |block, unit| {
        source.read(unit, block)?;
        let rows = MatRef::from_row_major_slice(&block.values, block.rows, source.cols);
        let mut tall = tall.lock().unwrap_or_else(PoisonError::into_inner);
        if wide {
            tall.as_mut().subcols_mut(block.first, block.rows).copy_from(rows.transpose());
        } else {
            tall.as_mut().subrows_mut(block.first, block.rows).copy_from(rows);
        }
        drop(tall);
        *blocks[unit].lock().unwrap_or_else(PoisonError::into_inner) = (block.energy, block.left_out, block.is_tiny);
        control.advance((block.values.len() as u64) * source.stored_bytes(), source.layer);
        Ok(())
    })?;
    let (mut energy, mut left_out, mut is_tiny) = (0.0, 0, false);
    for block in blocks {
        let block = block.into_inner().unwrap_or_else(PoisonError::into_inner);
        energy += block.0;
        left_out += block.1;
        is_tiny |= block.2;
    }
    source.check_range(energy, is_tiny)?;
    let qr = Qr::new(tall.into_inner().unwrap_or_else(PoisonError::into_inner));
    control.check().map_err(StreamError::from)?;
    let svd = factor::svd(qr.r.as_ref()).ok_or_else(|| SpectrumError::NoConvergence { name: source.name.clone() })?;
    let count = short.min(vectors);
    let long_side = qr.q_times(svd.left.as_ref().subcols(0, count));
    let short_side = svd.right.as_ref().subcols(0, count).to_owned();
    let (left, right) = if wide { (short_side, long_side) } else { (long_side, short_side) };
    Ok(Found { values: svd.values, complete: true, error: 0.0, energy, left_out, left, right })
}
