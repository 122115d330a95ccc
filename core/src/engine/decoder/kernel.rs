//! Products of hidden states with the rows of a matrix, on a processor.
//!
//! An answer is made one token at a time, and each token reads every weight once: what such a step takes is the time of
//! reading. So weights stay in their own format until they are in a register or the first cache, rows are shared out over the
//! cores, and sequences that are answered together share each row that was read. Prompts have many tokens, and are multiplied as
//! matrices of f32, into which a part of the weights is widened at a time.

use candle_core::{DType, Device, Result, Storage, Tensor};
use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::weights::Weights;

/// Most tokens that are multiplied row by row; from more on, products of matrices are faster, widening included.
const MAX_TOKENS: usize = 48;
/// The same for weights that need no widening.
const MAX_TOKENS_F32: usize = 12;
/// So many are few: room for more would take longer to clear than the products to make.
const FEW_TOKENS: usize = 8;
/// Columns that are widened at once: they stay in the first cache.
const BLOCK: usize = 256;
/// Rows that are multiplied together: what is read of a token serves them all.
const TILE_ROWS: usize = 4;
/// Tokens that are multiplied together: what is widened of a row serves them all.
const TILE_TOKENS: usize = 2;
/// Weights that are widened at once for a product of matrices: 4 MiB of f32, which allocators and caches have at hand.
const PANEL: usize = 1 << 20;
/// Weights that are worth a task of their own.
const TASK: usize = 64 << 10;

/// Whether so few tokens are multiplied row by row by weights in f32.
pub(super) fn is_by_rows(x: &Tensor) -> Result<bool> {
    Ok(x.dim(0)? <= MAX_TOKENS_F32)
}

/// x of shape (tokens, columns) times the rows of a matrix, (tokens, rows), in f32.
pub(super) fn product(x: &Tensor, weights: Weights<'_>, columns: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let tokens = x.dim(0)?;
    let rows = weights.len() / columns.max(1);
    if tokens == 0 {
        return Tensor::zeros((0, rows), DType::F32, x.device());
    }
    if tokens > MAX_TOKENS {
        return by_panels(&x, weights, rows, columns);
    }
    let out = with_slice(&x, |x| by_rows(x, tokens, weights, rows, columns))?;
    Tensor::from_vec(out, (tokens, rows), x.device())
}

/// Calls `read` with the numbers of a contiguous f32 tensor that lies in memory.
pub(super) fn with_slice<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((first, end))) => Ok(read(&storage.as_slice::<f32>()?[first..end])),
        _ => candle_core::bail!("numbers in one piece in memory were expected"),
    }
}

fn by_rows(x: &[f32], tokens: usize, weights: Weights<'_>, rows: usize, columns: usize) -> Vec<f32> {
    // Row by row first, so that each task writes a piece of its own.
    let mut sums = vec![0.0; rows * tokens];
    let each = (TASK / columns.max(1)).max(1);
    sums.par_chunks_mut(each * tokens).enumerate().for_each(|(task, sums)| {
        Arch::new().dispatch(Rows { x, tokens, weights, first: task * each, columns, sums });
    });
    if tokens == 1 {
        return sums;
    }
    let mut out = vec![0.0; rows * tokens];
    for (row, sums) in sums.chunks_exact(tokens).enumerate() {
        for (token, sum) in sums.iter().enumerate() {
            out[token * rows + row] = *sum;
        }
    }
    out
}

/// The products of some rows with every token. Everything it calls is inlined into it; code in closures would be compiled for
/// the least of all instruction sets.
struct Rows<'a> {
    x: &'a [f32],
    tokens: usize,
    weights: Weights<'a>,
    /// The first row.
    first: usize,
    columns: usize,
    /// For each row one sum a token.
    sums: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if let (1, Weights::Bf16(weights)) = (self.tokens, self.weights) {
            return self.one_token(weights);
        }
        let rows = self.sums.len() / self.tokens;
        // Made once: clearing it for each few rows would take as long as reading them.
        let mut wide = [[0.0_f32; BLOCK]; TILE_ROWS];
        let mut row = 0;
        while row + TILE_ROWS <= rows {
            self.rows::<S, TILE_ROWS>(simd, row, &mut wide);
            row += TILE_ROWS;
        }
        while row < rows {
            self.rows::<S, 1>(simd, row, &mut wide);
            row += 1;
        }
    }
}

impl Rows<'_> {
    /// One token and weights in bf16, which are widened in registers: with so little else to do, writing them down and reading
    /// them again would take as long as the rest.
    #[inline(always)]
    fn one_token(&mut self, weights: &[bf16]) {
        const LANES: usize = 32;
        let columns = self.columns;
        let (x_lanes, x_rest) = self.x[..columns].as_chunks::<LANES>();
        for (row, sum) in self.sums.iter_mut().enumerate() {
            let start = (self.first + row) * columns;
            let (lanes, rest) = weights[start..start + columns].as_chunks::<LANES>();
            let mut partial = [0.0_f32; LANES];
            for (weights, x) in lanes.iter().zip(x_lanes) {
                for lane in 0..LANES {
                    partial[lane] += f32::from_bits(u32::from(weights[lane].to_bits()) << 16) * x[lane];
                }
            }
            let mut total = 0.0;
            for (weight, x) in rest.iter().zip(x_rest) {
                total += weight.to_f32() * x;
            }
            let mut width = LANES / 2;
            while width > 0 {
                for lane in 0..width {
                    partial[lane] += partial[lane + width];
                }
                width /= 2;
            }
            *sum = partial[0] + total;
        }
    }

    /// The products of `R` rows, `row` being the first of them here.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, row: usize, wide: &mut [[f32; BLOCK]; TILE_ROWS]) {
        match self.tokens {
            1 => self.rows_of::<S, R, 1>(simd, row, wide),
            2..=FEW_TOKENS => self.rows_of::<S, R, FEW_TOKENS>(simd, row, wide),
            _ => self.rows_of::<S, R, MAX_TOKENS>(simd, row, wide),
        }
    }

    /// The same for at most `M` tokens.
    #[inline(always)]
    fn rows_of<S: Simd, const R: usize, const M: usize>(
        &mut self,
        simd: S,
        row: usize,
        wide: &mut [[f32; BLOCK]; TILE_ROWS],
    ) {
        let (tokens, columns) = (self.tokens.min(M), self.columns);
        let mut partial = [[simd.splat_f32s(0.0); R]; M];
        let mut rest = [[0.0_f32; R]; M];
        let mut column = 0;
        while column < columns {
            let length = BLOCK.min(columns - column);
            let mut rows: [&[f32]; R] = [&[]; R];
            for (at, (rows, wide)) in rows.iter_mut().zip(wide.iter_mut()).enumerate() {
                let start = (self.first + row + at) * columns + column;
                *rows = match self.weights {
                    Weights::F32(weights) => &weights[start..start + length],
                    others => {
                        others.widen(start, &mut wide[..length]);
                        &wide[..length]
                    }
                };
            }
            let mut token = 0;
            while token + TILE_TOKENS <= tokens {
                let x = &self.x[token * columns + column..];
                let (partial, rest) = (&mut partial[token..], &mut rest[token..]);
                add_products::<S, R, TILE_TOKENS>(simd, &rows, x, columns, partial, rest);
                token += TILE_TOKENS;
            }
            while token < tokens {
                let x = &self.x[token * columns + column..];
                add_products::<S, R, 1>(simd, &rows, x, columns, &mut partial[token..], &mut rest[token..]);
                token += 1;
            }
            column += length;
        }
        for at in 0..R {
            for token in 0..tokens {
                self.sums[(row + at) * tokens + token] = simd.reduce_sum_f32s(partial[token][at]) + rest[token][at];
            }
        }
    }
}

/// Adds the products of a block of `R` rows with `T` tokens, which lie `columns` apart. What does not fill a register goes into
/// `rest`. Each sum is made in the same order, however many rows and tokens there are.
#[inline(always)]
fn add_products<S: Simd, const R: usize, const T: usize>(
    simd: S,
    rows: &[&[f32]; R],
    x: &[f32],
    columns: usize,
    partial: &mut [[S::f32s; R]],
    rest: &mut [[f32; R]],
) {
    let length = rows[0].len();
    let mut sums = [[simd.splat_f32s(0.0); R]; T];
    sums.copy_from_slice(&partial[..T]);
    let mut row_lanes: [&[S::f32s]; R] = [&[]; R];
    let mut x_lanes: [&[S::f32s]; T] = [&[]; T];
    for token in 0..T {
        let (lanes, tail) = S::as_simd_f32s(&x[token * columns..token * columns + length]);
        x_lanes[token] = lanes;
        for row in 0..R {
            let (lanes, row_tail) = S::as_simd_f32s(rows[row]);
            row_lanes[row] = lanes;
            for (a, b) in row_tail.iter().zip(tail) {
                rest[token][row] += a * b;
            }
        }
    }
    let count = x_lanes[0].len();
    for lanes in &mut row_lanes {
        *lanes = &lanes[..count];
    }
    for lanes in &mut x_lanes {
        *lanes = &lanes[..count];
    }
    for at in 0..count {
        for token in 0..T {
            let x = x_lanes[token][at];
            for row in 0..R {
                sums[token][row] = simd.mul_add_e_f32s(row_lanes[row][at], x, sums[token][row]);
            }
        }
    }
    partial[..T].copy_from_slice(&sums);
}

fn by_panels(x: &Tensor, weights: Weights<'_>, rows: usize, columns: usize) -> Result<Tensor> {
    let each = (PANEL / columns.max(1)).clamp(1, rows.max(1));
    let mut panels = Vec::with_capacity(rows.div_ceil(each));
    let mut row = 0;
    while row < rows {
        let count = each.min(rows - row);
        let mut wide = vec![0.0; count * columns];
        let part = (TASK / columns.max(1)).max(1) * columns;
        wide.par_chunks_mut(part).enumerate().for_each(|(task, wide)| {
            Arch::new().dispatch(Widen { weights, first: row * columns + task * part, wide });
        });
        let panel = Tensor::from_vec(wide, (count, columns), &Device::Cpu)?;
        panels.push(x.matmul(&panel.t()?)?);
        row += count;
    }
    match panels.len() {
        0 => Tensor::zeros((x.dim(0)?, 0), DType::F32, &Device::Cpu),
        1 => Ok(panels.swap_remove(0)),
        _ => Tensor::cat(&panels, 1),
    }
}

struct Widen<'a> {
    weights: Weights<'a>,
    first: usize,
    wide: &'a mut [f32],
}

impl WithSimd for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        self.weights.widen(self.first, self.wide);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decoder::weights::Q8;

    /// Numbers between −1 and 1 that look random.
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// The product in f64, of weights as they are once rounded.
    fn expected(x: &[f32], weights: &[f32], columns: usize) -> Vec<f64> {
        let dot = |x: &[f32], row: &[f32]| x.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        x.chunks(columns).flat_map(|x| weights.chunks(columns).map(move |row| dot(x, row))).collect()
    }

    #[track_caller]
    fn check(tokens: usize, rows: usize, columns: usize) {
        let x = numbers(tokens * columns, 1);
        let full = numbers(rows * columns, 2);
        let half: Vec<bf16> = full.iter().copied().map(bf16::from_f32).collect();
        let rounded: Vec<f32> = half.iter().map(|weight| weight.to_f32()).collect();
        let tensor = Tensor::from_slice(&x, (tokens, columns), &Device::Cpu).unwrap();
        let compare = |weights: Weights<'_>, exact: &[f32]| {
            let found = product(&tensor, weights, columns).unwrap();
            assert_eq!(found.dims(), [tokens, rows]);
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.into_iter().zip(expected(&x, exact, columns)) {
                let bound = 1e-6 * columns as f64;
                assert!((f64::from(found) - expected).abs() <= bound, "{found} is not {expected}");
            }
        };
        compare(Weights::F32(&full), &full);
        compare(Weights::Bf16(&half), &rounded);
        if columns.is_multiple_of(Q8::GROUP) {
            let quantised = Q8::new(&full);
            let mut exact = vec![0.0; full.len()];
            Weights::Q8(&quantised).widen(0, &mut exact);
            let largest = full.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Half a step of 1 ∕ 127, and what rounding the scale to f16 does to 127 of them.
            assert!(largest < 0.5 / 127.0 + 1.0 / 2048.0, "{largest}");
            compare(Weights::Q8(&quantised), &exact);
        }
    }

    #[test]
    fn products_are_those_of_exact_arithmetic() {
        for tokens in [0, 1, 2, 7, FEW_TOKENS + 1, MAX_TOKENS, MAX_TOKENS + 1] {
            for (rows, columns) in [(1, 1), (3, 31), (5, 32), (7, 256), (130, 896), (2, 1000)] {
                check(tokens, rows, columns);
            }
        }
    }

    #[test]
    fn a_token_gets_the_same_numbers_whoever_is_beside_it() {
        let (rows, columns) = (50, 300);
        let x = numbers(MAX_TOKENS * columns, 3);
        let weights = numbers(rows * columns, 4);
        let together = by_rows(&x, MAX_TOKENS, Weights::F32(&weights), rows, columns);
        for (token, x) in x.chunks(columns).enumerate() {
            let alone = by_rows(x, 1, Weights::F32(&weights), rows, columns);
            assert_eq!(alone, together[token * rows..(token + 1) * rows]);
        }
    }

    #[test]
    fn matrices_larger_than_a_panel_come_out_whole() {
        let columns = 4096;
        check(MAX_TOKENS + 1, PANEL / columns + 3, columns);
    }
}
