//! One pass over the rows of a matrix A that multiplies them with a thin matrix, in memory that was planned before.

use std::sync::{Mutex, PoisonError};

use faer::{Accum, Mat, MatMut, MatRef};

use super::factor;
use super::krylov::OVERSAMPLING;
use super::source::{RowBlock, Source};
use super::{SpectrumError, Wanted, memory_bytes};
use crate::progress::Control;
use crate::stream::{self, Resources, StreamError};

/// Columns of A that a worker multiplies at a time. Fixed, so that sums do not depend on the workers.
const STRIPE: usize = 512;

/// Copies of a block of vectors that a step of the iteration holds beside the basis.
const STEP_COPIES: u64 = 4;

/// Fewest blocks of vectors that a basis may have.
const LEAST_DEPTH: u64 = 2;

/// How the iteration on one matrix uses the memory given.
pub(super) struct Plan<'a> {
    source: &'a Source<'a>,
    threads: usize,
    /// Values to find, no more than there are.
    pub count: usize,
    /// Vectors iterated together.
    pub width: usize,
    /// Most blocks of so many vectors in the basis.
    pub depth: usize,
    /// Blocks of rows held together.
    batch: usize,
}

/// What a pass found for W.
pub(super) struct Pass {
    /// AᵀAW.
    pub z: Mat<f64>,
    /// AW where it was asked for, else empty.
    pub y: Mat<f64>,
    /// ‖A‖².
    pub energy: f64,
    pub left_out: u64,
    /// Whether any block is.
    pub is_tiny: bool,
}

/// A block of rows and its product with W.
struct Slot {
    rows: RowBlock,
    y: Mat<f64>,
}

impl<'a> Plan<'a> {
    pub fn new(source: &'a Source<'a>, wanted: &Wanted, resources: &Resources) -> Result<Self, SpectrumError> {
        let places = source.rows.min(source.cols);
        let count = wanted.values.clamp(1, places);
        let width = (count + OVERSAMPLING).min(places);
        let (rows, cols, columns) = (source.rows as u64, source.cols as u64, width as u64);
        let vectors = 8 * cols * columns;
        let slot = source.block_bytes() + 8 * source.block_rows() as u64 * columns;
        let last = 3 * vectors + 8 * rows * (columns + wanted.vectors.min(count) as u64);
        let given_bytes = memory_bytes(resources);
        let least_depth = wanted.depth.map_or(LEAST_DEPTH, |depth| depth as u64);
        let needed_bytes = slot + last.max((STEP_COPIES + least_depth) * vectors);
        if needed_bytes > given_bytes {
            let name = source.name.clone();
            return Err(SpectrumError::Memory { name, rows, cols, needed_bytes, given_bytes });
        }
        let room = (given_bytes - slot) / vectors - STEP_COPIES;
        let depth = wanted.depth.map_or(room.min(wanted.passes as u64), |depth| depth as u64);
        let used = last.max((STEP_COPIES + depth) * vectors);
        let threads = resources.threads.max(1);
        // A few blocks for each worker, that none waits long for the others.
        let batch = ((given_bytes - used) / slot).clamp(1, 4 * threads as u64) as usize;
        Ok(Self { source, threads, count, width, depth: depth as usize, batch: batch.min(source.blocks()) })
    }

    /// Reads all rows once. Blocks are multiplied by the workers side by side and summed in their order.
    pub fn run(&self, w: MatRef<'_, f64>, keep_y: bool, control: &Control) -> Result<Pass, StreamError> {
        let (source, width) = (self.source, w.ncols());
        let (mut energy, mut left_out, mut is_tiny) = (0.0, 0, false);
        let mut y = if keep_y { Mat::zeros(source.rows, width) } else { Mat::zeros(0, 0) };
        // Transposed, so that a stripe of columns of A is a stretch of memory.
        let mut z = vec![0.0; width * source.cols];
        let mut slots: Vec<Mutex<Slot>> = Vec::new();
        slots.resize_with(self.batch, || {
            Mutex::new(Slot { rows: RowBlock::default(), y: Mat::zeros(source.block_rows(), width) })
        });
        for first in (0..source.blocks()).step_by(self.batch) {
            let count = self.batch.min(source.blocks() - first);
            stream::run::<_, StreamError>(
                count,
                self.threads,
                control,
                || (),
                |(), unit| {
                    let slot = &mut *slots[unit].lock().unwrap_or_else(PoisonError::into_inner);
                    source.read(first + unit, &mut slot.rows)?;
                    let out = slot.y.as_mut().subrows_mut(0, slot.rows.rows);
                    factor::multiply(out, Accum::Replace, rows(&slot.rows, source.cols), w);
                    control.advance(slot.rows.values.len() as u64 * source.stored_bytes(), source.layer);
                    Ok(())
                },
            )?;
            let batch: Vec<&Slot> = slots[..count]
                .iter_mut()
                .map(|slot| &*slot.get_mut().unwrap_or_else(PoisonError::into_inner))
                .collect();
            let stripes: Vec<Mutex<&mut [f64]>> = z.chunks_mut(width * STRIPE).map(Mutex::new).collect();
            stream::run::<_, StreamError>(
                stripes.len(),
                self.threads,
                control,
                || (),
                |(), unit| {
                    let stripe = &mut **stripes[unit].lock().unwrap_or_else(PoisonError::into_inner);
                    let columns = stripe.len() / width;
                    let mut out = MatMut::from_column_major_slice_mut(stripe, width, columns);
                    for slot in &batch {
                        let left = slot.y.as_ref().subrows(0, slot.rows.rows).transpose();
                        let right = rows(&slot.rows, source.cols).subcols(unit * STRIPE, columns);
                        factor::multiply(out.as_mut(), Accum::Add, left, right);
                    }
                    Ok(())
                },
            )?;
            for slot in batch {
                energy += slot.rows.energy;
                left_out += slot.rows.left_out;
                is_tiny |= slot.rows.is_tiny;
                if keep_y {
                    let count = slot.rows.rows;
                    y.as_mut().subrows_mut(slot.rows.first, count).copy_from(slot.y.as_ref().subrows(0, count));
                }
            }
        }
        let z = MatRef::from_column_major_slice(&z, width, source.cols).transpose().to_owned();
        Ok(Pass { z, y, energy, left_out, is_tiny })
    }
}

fn rows(block: &RowBlock, cols: usize) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(&block.values, block.rows, cols)
}
