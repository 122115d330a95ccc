//! Products and factors of matrices in memory, on the thread that asks: results do not depend on how many there are.
//!
//! For products faer reserves address space of twice the size of the L3 cache on each thread. Of that it touches the panels
//! it packs, a few MiB at most, which come on top of the memory given.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder;
use faer::linalg::matmul::matmul;
use faer::linalg::qr::no_pivoting::factor;
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::{Accum, Conj, Mat, MatMut, MatRef, Par, Side};

/// `out` = or += `left` · `right`.
pub(super) fn multiply(out: MatMut<'_, f64>, accumulate: Accum, left: MatRef<'_, f64>, right: MatRef<'_, f64>) {
    matmul(out, accumulate, left, right, 1.0, Par::Seq);
}

/// `left` · `right`.
pub(super) fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(left.nrows(), right.ncols());
    multiply(out.as_mut(), Accum::Replace, left, right);
    out
}

/// A tall matrix as Q · R with orthonormal columns of Q, kept as Householder reflections in its own memory.
pub(super) struct Qr {
    basis: Mat<f64>,
    coefficients: Mat<f64>,
    /// Upper triangular.
    pub r: Mat<f64>,
}

impl Qr {
    /// Of a matrix that has no more columns than rows.
    pub fn new(mut matrix: Mat<f64>) -> Self {
        let (rows, cols) = matrix.shape();
        let block = factor::recommended_block_size::<f64>(rows, cols);
        let mut coefficients = Mat::zeros(block, cols);
        let scratch = factor::qr_in_place_scratch::<f64>(rows, cols, block, Par::Seq, Default::default());
        factor::qr_in_place(
            matrix.as_mut(),
            coefficients.as_mut(),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            Default::default(),
        );
        let r = Mat::from_fn(cols, cols, |row, col| if row <= col { matrix[(row, col)] } else { 0.0 });
        for col in 0..cols {
            matrix.as_mut().col_mut(col).subrows_mut(0, col).fill(0.0);
            matrix[(col, col)] = 1.0;
        }
        Self { basis: matrix, coefficients, r }
    }

    /// Q · `right`.
    pub fn q_times(&self, right: MatRef<'_, f64>) -> Mat<f64> {
        let mut out = Mat::zeros(self.basis.nrows(), right.ncols());
        out.as_mut().subrows_mut(0, right.nrows()).copy_from(right);
        let scratch = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(
            self.basis.nrows(),
            self.coefficients.nrows(),
            right.ncols(),
        );
        householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
            self.basis.as_ref(),
            self.coefficients.as_ref(),
            Conj::No,
            out.as_mut(),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
        );
        out
    }

    /// The first `count` columns of Q.
    pub fn q(&self, count: usize) -> Mat<f64> {
        self.q_times(Mat::identity(self.basis.ncols(), count).as_ref())
    }
}

/// A = U · diag(values) · Vᵀ, values descending.
pub(super) struct Svd {
    pub left: Mat<f64>,
    pub values: Vec<f64>,
    pub right: Mat<f64>,
}

/// The SVD of a square matrix; `None` if the iteration does not end.
pub(super) fn svd(matrix: MatRef<'_, f64>) -> Option<Svd> {
    let size = matrix.nrows();
    let (mut left, mut right, mut values) = (Mat::zeros(size, size), Mat::zeros(size, size), Diag::zeros(size));
    let compute = ComputeSvdVectors::Thin;
    let scratch = svd::svd_scratch::<f64>(size, size, compute, compute, Par::Seq, Default::default());
    svd::svd(
        matrix,
        values.as_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    let values = values.column_vector().iter().copied().collect();
    Some(Svd { left, values, right })
}

/// Eigenvalues of a symmetric matrix, descending, with their vectors as columns; `None` if the iteration does not end.
pub(super) fn eigen(matrix: MatRef<'_, f64>) -> Option<(Vec<f64>, Mat<f64>)> {
    let found = matrix.self_adjoint_eigen(Side::Lower).ok()?;
    let values = found.S().column_vector().iter().rev().copied().collect();
    Some((values, found.U().reverse_cols().to_owned()))
}

/// The largest singular value of a matrix with few columns; `None` if the iteration does not end.
pub(super) fn spectral_norm(matrix: MatRef<'_, f64>) -> Option<f64> {
    let scale = matrix.norm_max();
    if matrix.ncols() == 0 || scale == 0.0 {
        return Some(0.0);
    }
    let scaled = matrix * faer::Scale(1.0 / scale);
    let (squares, _) = eigen(product(scaled.transpose(), scaled.as_ref()).as_ref())?;
    Some(scale * squares[0].max(0.0).sqrt())
}
