//! A matrix that lies in checkpoints, read in blocks of rows.

use pulp::{Simd, WithSimd};

use super::super::gram::LEAST_SQUARE;
use super::SpectrumError;
use crate::alignment::element_bytes;
use crate::checkpoint::{Checkpoint, Dtype, ReadPath, TensorInfo};
use crate::numeric::{BLOCK, decode, dispatch};
use crate::stream::{self, StreamError};

/// Elements in a block of rows, near enough. Blocks depend on the shape alone, so that sums over them do too.
const BLOCK_ELEMENTS: usize = 1 << 18;

/// pre, or v = post − pre, of one tensor, as a matrix of f64. NaN and infinity are taken as 0, in v where either model
/// has them.
pub(super) struct Source<'a> {
    pub name: String,
    /// pre, and for v also post.
    pub models: Vec<(&'a Checkpoint, &'a TensorInfo)>,
    /// The element of the tensor at which the matrix begins.
    pub first: u64,
    pub rows: usize,
    pub cols: usize,
    pub layer: Option<u32>,
    pub read_path: ReadPath,
}

/// One block of rows, with its buffers.
#[derive(Default)]
pub(super) struct RowBlock {
    bytes: [Vec<u8>; 2],
    /// Row-major.
    pub values: Vec<f64>,
    /// First row and number of rows.
    pub first: usize,
    pub rows: usize,
    /// Sum of squares.
    pub energy: f64,
    pub left_out: u64,
    /// Whether there are values other than 0 whose squares are lost in f64: all others are smaller still.
    pub is_tiny: bool,
}

impl Source<'_> {
    /// Rows of each block but the last.
    pub fn block_rows(&self) -> usize {
        (BLOCK_ELEMENTS / self.cols).clamp(1, self.rows)
    }

    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows())
    }

    /// Bytes of a block and of what it is decoded from.
    pub fn block_bytes(&self) -> u64 {
        (self.block_rows() * self.cols) as u64 * (8 + self.stored_bytes())
    }

    /// Bytes read in a pass over all rows.
    pub fn bytes(&self) -> u64 {
        (self.rows * self.cols) as u64 * self.stored_bytes()
    }

    /// Bytes read for one element.
    pub fn stored_bytes(&self) -> u64 {
        self.models.iter().map(|(_, tensor)| element_bytes(tensor.dtype)).sum()
    }

    /// Refuses a matrix whose sum of squares does not say how large it is. `is_tiny`: whether any block is.
    pub fn check_range(&self, energy: f64, is_tiny: bool) -> Result<(), SpectrumError> {
        if energy.is_finite() && (energy >= LEAST_SQUARE || !is_tiny) {
            Ok(())
        } else {
            Err(SpectrumError::OutOfRange { name: self.name.clone() })
        }
    }

    /// Reads and decodes a block of rows.
    pub fn read(&self, block: usize, into: &mut RowBlock) -> Result<(), StreamError> {
        into.first = block * self.block_rows();
        into.rows = self.block_rows().min(self.rows - into.first);
        let (first, count) = (self.first + (into.first * self.cols) as u64, into.rows * self.cols);
        let mut stored = [(Dtype::F32, &[][..]); 2];
        for (((checkpoint, tensor), buffer), stored) in self.models.iter().zip(&mut into.bytes).zip(&mut stored) {
            let width = element_bytes(tensor.dtype);
            let buffer = stream::sized(buffer, count as u64 * width);
            checkpoint.read_by(self.read_path, tensor, first * width, buffer)?;
            *stored = (tensor.dtype, buffer);
        }
        into.values.resize(count, 0.0);
        let stored = &stored[..self.models.len()];
        (into.energy, into.left_out) = dispatch(Decode { stored, values: &mut into.values });
        into.is_tiny = into.energy < LEAST_SQUARE && into.values.iter().any(|&value| value != 0.0);
        Ok(())
    }
}

/// Decodes pre, or post − pre; gives the sum of squares and how many elements were taken as 0.
struct Decode<'a> {
    stored: &'a [(Dtype, &'a [u8])],
    values: &'a mut [f64],
}

impl WithSimd for Decode<'_> {
    type Output = (f64, u64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (f64, u64) {
        let (mut energy, mut left_out) = (0.0, 0);
        let mut post = [0.0; BLOCK];
        for (index, values) in self.values.chunks_mut(BLOCK).enumerate() {
            let count = values.len();
            let models = self.stored.iter().zip([&mut *values, &mut post[..count]]);
            for ((dtype, bytes), out) in models {
                let width = dtype.bitsize() / 8;
                decode(*dtype, &bytes[index * BLOCK * width..][..out.len() * width], out);
            }
            if self.stored.len() == 2 {
                for (pre, post) in values.iter_mut().zip(&post) {
                    *pre = post - *pre;
                }
            }
            let mut sum = sum_of_squares(values);
            // A NaN or infinity in either model shows in the sum.
            if !sum.is_finite() {
                for value in values.iter_mut().filter(|value| !value.is_finite()) {
                    *value = 0.0;
                    left_out += 1;
                }
                sum = sum_of_squares(values);
            }
            energy += sum;
        }
        (energy, left_out)
    }
}

/// In eight partial sums, so that every instruction set adds in the same order.
#[inline(always)]
pub(super) fn sum_of_squares(values: &[f64]) -> f64 {
    let (lanes, tail) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for lane in lanes {
        for (sum, value) in sums.iter_mut().zip(lane) {
            *sum += value * value;
        }
    }
    sums.iter().sum::<f64>() + tail.iter().map(|value| value * value).sum::<f64>()
}
