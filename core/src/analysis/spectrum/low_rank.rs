//! The directions of a matrix of v that hold most of it, and what is left beside them.

use std::sync::{Mutex, PoisonError};

use faer::{Accum, Mat, MatRef};

use super::source::{RowBlock, Source, sum_of_squares};
use super::{Found, SpectrumError, Wanted, dense, factor, krylov, memory_bytes};
use crate::alignment::{Aligned, Participation, Triple};
use crate::checkpoint::ReadPath;
use crate::progress::Control;
use crate::stream::{self, Resources, StreamError};

/// Matrices of no more rows or columns are decomposed in full, and so are those of which a third of all directions is
/// wanted: the iteration would take as long.
const FULL_SIDE: usize = 256;
const FULL_SHARE: usize = 3;

/// Most passes of the iteration.
const MOST_PASSES: usize = 8;

/// Blocks that the iteration remembers. Fixed, so that the directions found do not depend on the memory given.
const DEPTH: usize = 4;

/// The share of ‖v‖² that one more pass must add. What the best directions hold grows by less and less with each.
const LEAST_GAIN: f64 = 1e-4;

/// v of one tensor as a matrix: the last dimension gives the columns, all others the rows, as far as all models have them.
pub(crate) struct Matrix<'a> {
    source: Source<'a>,
}

impl<'a> Matrix<'a> {
    /// `None` where v does not move the tensor, or there is nothing in it.
    pub fn of(triple: &'a Triple, aligned: &Aligned, read_path: ReadPath) -> Option<Self> {
        let Participation::Moves { pre, post, shared_elements } = aligned.participation else { return None };
        let tensor = &triple.target.tensors()[aligned.target];
        let cols = match tensor.shape.as_slice() {
            [.., cols] if tensor.shape.len() > 1 => *cols,
            _ => 1,
        };
        let rows = shared_elements.checked_div(cols).filter(|&rows| rows > 0)?;
        let models = vec![(&*triple.pre, &triple.pre.tensors()[pre]), (&*triple.post, &triple.post.tensors()[post])];
        let (rows, cols) = (rows as usize, cols as usize);
        let (name, layer) = (tensor.name.clone(), aligned.place.layer);
        Some(Self { source: Source { name, models, first: 0, rows, cols, layer, read_path } })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.source.rows, self.source.cols)
    }

    /// Bytes read in a pass over both models.
    pub fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// Most passes that [`Matrix::directions`] takes for that rank.
    pub fn most_passes(&self, rank: usize) -> u64 {
        if self.is_small(rank) { 1 } else { MOST_PASSES as u64 }
    }

    fn is_small(&self, rank: usize) -> bool {
        let places = self.source.rows.min(self.source.cols);
        places <= FULL_SIDE || FULL_SHARE * (rank + krylov::OVERSAMPLING) >= places
    }

    /// ‖v‖², and how many elements were taken as 0 for it since pre or post is NaN or infinite there.
    pub fn energy(&self, resources: &Resources, control: &Control) -> Result<(f64, u64), SpectrumError> {
        let source = &self.source;
        let blocks = self.each_block(resources.threads, control, RowBlock::default, |block, unit| {
            source.read(unit, block)?;
            Ok((block.energy, block.left_out, block.is_tiny))
        })?;
        let energy = blocks.iter().map(|block| block.0).sum();
        source.check_range(energy, blocks.iter().any(|block| block.2))?;
        Ok((energy, blocks.iter().map(|block| block.1).sum()))
    }

    /// The first `rank` singular values with their vectors; all values where the matrix is small.
    ///
    /// Which way they are found depends on the shape and the rank alone. By iteration, the directions found hold as much of
    /// ‖v‖² as the best ones but for about 10⁻⁴, and `error` bounds how much larger the true values may be.
    pub fn directions(&self, rank: usize, resources: &Resources, control: &Control) -> Result<Found, SpectrumError> {
        let source = &self.source;
        if !self.is_small(rank) {
            let wanted =
                Wanted { values: rank, vectors: rank, passes: MOST_PASSES, depth: Some(DEPTH), gain: Some(LEAST_GAIN) };
            return krylov::decompose(source, &wanted, resources, control);
        }
        let (needed_bytes, given_bytes) = (dense::bytes(source, rank, resources), memory_bytes(resources));
        if needed_bytes > given_bytes {
            let (name, rows, cols) = (source.name.clone(), source.rows as u64, source.cols as u64);
            return Err(SpectrumError::Memory { name, rows, cols, needed_bytes, given_bytes });
        }
        dense::decompose(source, rank, resources, control)
    }

    /// ‖scale · v − left · rightᵀ‖², element by element in one pass over the weights.
    pub fn rest(
        &self,
        scale: f64,
        left: MatRef<'_, f64>,
        right: MatRef<'_, f64>,
        resources: &Resources,
        control: &Control,
    ) -> Result<f64, SpectrumError> {
        let source = &self.source;
        let elements = source.block_rows() * source.cols;
        let worker_bytes = source.block_bytes() + 8 * elements as u64;
        // Rounded, and as they were found.
        let factor_bytes = 16 * ((source.rows + source.cols) * left.ncols()) as u64;
        let room = memory_bytes(resources).saturating_sub(factor_bytes) / worker_bytes;
        let threads = resources.threads.min(room as usize);
        let scratch = || (RowBlock::default(), Mat::<f64>::zeros(source.cols, source.block_rows()));
        let blocks = self.each_block(threads, control, scratch, |(block, product), unit| {
            source.read(unit, block)?;
            // Transposed, since rows lie one after another in the block and columns do in the product.
            let mut product = product.as_mut().subcols_mut(0, block.rows);
            let factor = left.subrows(block.first, block.rows).transpose();
            factor::multiply(product.as_mut(), Accum::Replace, right, factor);
            for (row, values) in block.values.chunks_exact_mut(source.cols).enumerate() {
                for (value, product) in values.iter_mut().zip(product.as_ref().col(row).iter()) {
                    *value = scale * *value - product;
                }
            }
            Ok(sum_of_squares(&block.values))
        })?;
        Ok(blocks.into_iter().sum())
    }

    /// What `work` gives for each block of rows, in their order.
    fn each_block<S, T: Copy + Default + Send>(
        &self,
        threads: usize,
        control: &Control,
        scratch: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) -> Result<T, StreamError> + Sync,
    ) -> Result<Vec<T>, StreamError> {
        let source = &self.source;
        let found: Vec<Mutex<T>> = (0..source.blocks()).map(|_| Mutex::default()).collect();
        stream::run::<_, StreamError>(found.len(), threads, control, scratch, |scratch, unit| {
            *found[unit].lock().unwrap_or_else(PoisonError::into_inner) = work(scratch, unit)?;
            let rows = source.block_rows().min(source.rows - unit * source.block_rows());
            control.advance((rows * source.cols) as u64 * source.stored_bytes(), source.layer);
            Ok(())
        })?;
        Ok(found.into_iter().map(|found| found.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
    }
}
