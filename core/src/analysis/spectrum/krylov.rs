//! The first singular values of a matrix too large to be held: block Krylov iteration on AᵀA, one pass over the rows for
//! each step.

use faer::{Accum, Mat, MatRef};

use super::factor::{self, Qr};
use super::pass::{Pass, Plan};
use super::source::Source;
use super::{Found, SpectrumError, Wanted};
use crate::progress::Control;
use crate::stream::Resources;

/// A step, a step after it, and the pass that measures what was found.
pub(super) const LEAST_PASSES: usize = 3;

/// Directions iterated beyond those asked for, which converge last (Halko, Martinsson and Tropp 2011, §4.2: 5 to 10).
pub(super) const OVERSAMPLING: usize = 8;

/// The error that ends the iteration: this share of the smallest value asked for, or …
const GOOD_ENOUGH: f64 = 0.01;

/// … this share of the largest, which is near what squares of rounded numbers can tell.
const AS_GOOD_AS_ZERO: f64 = 1e-6;

/// Values below this share of the largest are lost in the rounding of AᵀA.
const LOST_IN_SQUARES: f64 = 1e-7;

/// Finds the first singular values of `source`, in `wanted.passes` passes or fewer.
pub(super) fn decompose(
    source: &Source<'_>,
    wanted: &Wanted,
    resources: &Resources,
    control: &Control,
) -> Result<Found, SpectrumError> {
    let no_convergence = || SpectrumError::NoConvergence { name: source.name.clone() };
    let plan = Plan::new(source, wanted, resources)?;
    let mut krylov = Krylov::new(source.cols, plan.width, plan.depth);
    let (mut done, mut kept) = (0, 0.0);
    let vectors = loop {
        let pass = plan.run(krylov.newest(), false, control)?;
        source.check_range(pass.energy, pass.is_tiny)?;
        done += 1;
        let next = krylov.expand(pass.z);
        let ritz = krylov.ritz(&next).ok_or_else(no_convergence)?;
        let error = error_bound(&ritz.values[..plan.count], ritz.residuals.as_ref(), pass.energy);
        let error = error.ok_or_else(no_convergence)?;
        let (largest, last) = (ritz.values[0], ritz.values[plan.count - 1]);
        let good = error <= (GOOD_ENOUGH * last).max(AS_GOOD_AS_ZERO * largest);
        let before = std::mem::replace(&mut kept, ritz.values[..plan.count].iter().map(|value| value * value).sum());
        let settled = wanted.gain.is_some_and(|gain| kept - before <= gain * pass.energy);
        if good || settled || next.vectors.ncols() == 0 || done + 1 >= wanted.passes {
            break krylov.vectors(&ritz, plan.width);
        }
        krylov.push(next, &ritz);
    };
    drop(krylov);
    let pass = plan.run(vectors.as_ref(), true, control)?;
    measure(source, plan.count, wanted.vectors, &vectors, pass).ok_or_else(no_convergence)
}

/// The singular values of A on the span of `vectors`, those of the `first` with their vectors, and how far they are from
/// those of A.
fn measure(source: &Source<'_>, count: usize, first: usize, vectors: &Mat<f64>, pass: Pass) -> Option<Found> {
    let Pass { z, y, energy, left_out, .. } = pass;
    let spread = y.norm_l2();
    let qr = Qr::new(y);
    let svd = factor::svd(qr.r.as_ref())?;
    let first = count.min(first);
    let left = qr.q_times(svd.left.as_ref().subcols(0, first));
    drop(qr);
    let rotation = svd.right.as_ref().subcols(0, count);
    let values = svd.values[..count].to_vec();
    // Aᵀu − σv with u = Av ∕ σ.
    let mut right = factor::product(vectors.as_ref(), rotation);
    let mut residuals = factor::product(z.as_ref(), rotation);
    for (col, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        for row in 0..source.cols {
            residuals[(row, col)] = residuals[(row, col)] / value - value * right[(row, col)];
        }
    }
    // QR may drop as much of a column that hardly differs from those before it.
    let rounding = 16.0 * source.rows as f64 * f64::EPSILON * spread;
    let error = error_bound(&values, residuals.as_ref(), energy)? + rounding;
    right = right.subcols(0, first).to_owned();
    Some(Found { values, complete: false, error, energy, left_out, left, right })
}

/// How much larger the true singular values may be than `values`, which are values of A on a subspace and so no larger.
///
/// `residuals` has a column Aᵀu − σv for each value. For the first j values their spectral norm is a bound (Weyl): in
/// bases that begin with the vectors found, A is [Σ, C; 0, B] with ‖C‖ that norm, where B holds no value above Σ's. For
/// every value, √(σ² + rest) − σ is one, with the energy that is not in the values: AAᵀ = A P Aᵀ + A (1 − P) Aᵀ with the
/// projection P on the subspace, and the last term is no larger than the rest.
fn error_bound(values: &[f64], residuals: MatRef<'_, f64>, energy: f64) -> Option<f64> {
    let largest = values.first().copied().unwrap_or(0.0);
    let kept: f64 = values.iter().map(|value| value * value).sum();
    let rest = (energy - kept).max(0.0) + 64.0 * f64::EPSILON * energy;
    let by_energy = |value: f64| rest / ((value * value + rest).sqrt() + value).max(f64::MIN_POSITIVE);
    let measured = values.iter().take_while(|&&value| value > LOST_IN_SQUARES * largest).count();
    let by_residual = factor::spectral_norm(residuals.subcols(0, measured))?;
    // √(σ² + rest) − σ is largest for the smallest σ.
    let all = values.last().map_or(0.0, |&last| by_energy(last));
    let others = values[measured..].last().map_or(0.0, |&last| by_energy(last));
    Some(all.min(by_residual.max(others)))
}

/// An orthonormal basis of the Krylov space of AᵀA, and AᵀA on it.
struct Krylov {
    basis: Vec<Mat<f64>>,
    /// KᵀAᵀAK for all blocks but those not passed yet.
    projected: Mat<f64>,
    depth: usize,
}

/// What a step adds.
struct Next {
    /// Orthonormal to the basis and to each other.
    vectors: Mat<f64>,
    /// AᵀA · newest block = basis part + some orthonormal columns · this.
    coupling: Mat<f64>,
}

/// Approximate singular values and vectors from the basis (Rayleigh and Ritz).
struct Ritz {
    /// Descending.
    values: Vec<f64>,
    /// Coefficients of the vectors in the basis.
    coefficients: Mat<f64>,
    /// A column for each value, of the norm of Aᵀu − σv.
    residuals: Mat<f64>,
}

impl Krylov {
    /// Begins with `width` random directions out of `dimension`.
    fn new(dimension: usize, width: usize, depth: usize) -> Self {
        let mut normal = Normal::default();
        let start = Mat::from_fn(dimension, width, |_, _| normal.draw());
        Self { basis: vec![Qr::new(start).q(width)], projected: Mat::zeros(0, 0), depth }
    }

    fn newest(&self) -> MatRef<'_, f64> {
        // Never empty: it begins with one block.
        self.basis[self.basis.len() - 1].as_ref()
    }

    fn size(&self) -> usize {
        self.basis.iter().map(Mat::ncols).sum()
    }

    /// Takes z = AᵀA · newest.
    fn expand(&mut self, mut z: Mat<f64>) -> Next {
        let size = self.size();
        let known = size - self.newest().ncols();
        let mut column = Mat::zeros(size, z.ncols());
        // Twice is enough (Kahan and Parlett).
        for _ in 0..2 {
            self.project(&mut z, Some(&mut column));
        }
        let mut projected = Mat::zeros(size, size);
        projected.as_mut().submatrix_mut(0, 0, known, known).copy_from(&self.projected);
        projected.as_mut().subcols_mut(known, size - known).copy_from(&column);
        projected.as_mut().subrows_mut(known, size - known).copy_from(column.transpose());
        // The corner is symmetric but for rounding.
        for row in known..size {
            for col in known..row {
                let mean = f64::midpoint(column[(row, col - known)], column[(col, row - known)]);
                (projected[(row, col)], projected[(col, row)]) = (mean, mean);
            }
        }
        self.projected = projected;

        let free = z.nrows() - size;
        let width = z.ncols().min(free);
        let qr = Qr::new(z);
        let mut vectors = qr.q(width);
        // Where z was short of directions, Q holds some that need not be orthogonal to the basis.
        for _ in 0..2 {
            self.project(&mut vectors, None);
            vectors = Qr::new(vectors).q(width);
        }
        Next { vectors, coupling: qr.r }
    }

    /// Takes the part in the span of the basis away from `columns`, and adds its coefficients.
    fn project(&self, columns: &mut Mat<f64>, mut coefficients: Option<&mut Mat<f64>>) {
        let mut first = 0;
        for block in &self.basis {
            let mut part = factor::product(block.transpose(), columns.as_ref());
            if let Some(sum) = &mut coefficients {
                let mut sum = sum.as_mut().subrows_mut(first, part.nrows());
                sum += &part;
            }
            part *= faer::Scale(-1.0);
            factor::multiply(columns.as_mut(), Accum::Add, block.as_ref(), part.as_ref());
            first += block.ncols();
        }
    }

    /// `None` if the iteration for the eigenvalues does not end.
    fn ritz(&self, next: &Next) -> Option<Ritz> {
        let (squares, coefficients) = factor::eigen(self.projected.as_ref())?;
        let values: Vec<f64> = squares.iter().map(|square| square.max(0.0).sqrt()).collect();
        let width = self.newest().ncols();
        let newest = coefficients.as_ref().subrows(coefficients.nrows() - width, width);
        let mut residuals = factor::product(next.coupling.as_ref(), newest);
        for (col, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            residuals.as_mut().col_mut(col).iter_mut().for_each(|part| *part /= value);
        }
        Some(Ritz { values, coefficients, residuals })
    }

    /// The first `count` vectors of `ritz`.
    fn vectors(&self, ritz: &Ritz, count: usize) -> Mat<f64> {
        let mut vectors = Mat::zeros(self.newest().nrows(), count);
        let mut first = 0;
        for block in &self.basis {
            let coefficients = ritz.coefficients.as_ref().submatrix(first, 0, block.ncols(), count);
            factor::multiply(vectors.as_mut(), Accum::Add, block.as_ref(), coefficients);
            first += block.ncols();
        }
        vectors
    }

    /// Adds a block. A basis that is full is first replaced by its best vectors (thick restart, Wu and Simon 2000).
    fn push(&mut self, next: Next, ritz: &Ritz) {
        if self.basis.len() >= self.depth {
            let width = self.basis[0].ncols();
            let best = self.vectors(ritz, width);
            self.basis = vec![best];
            self.projected =
                Mat::from_fn(
                    width,
                    width,
                    |row, col| {
                        if row == col { ritz.values[row] * ritz.values[row] } else { 0.0 }
                    },
                );
        }
        self.basis.push(next.vectors);
    }
}

/// Normal numbers from a fixed seed.
#[derive(Default)]
struct Normal {
    state: u64,
    spare: Option<f64>,
}

impl Normal {
    /// SplitMix64 (Steele, Lea and Flood 2014), uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// By Box and Muller (1958).
    fn draw(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}
