//! Inner products, and the norms and cosines that follow from them.

use serde::{Deserialize, Serialize};

/// Sums of squares below this are of numbers whose squares f64 does not hold in full: it is 2⁶² times its smallest normal
/// number, so that even among 2⁴⁰ elements those that make up such a sum have squares of 53 bits.
pub(super) const LEAST_SQUARE: f64 = f64::MIN_POSITIVE * (1_u64 << 62) as f64;

/// What a vector is whose length cannot be told, since the squares of its elements leave the range of f64. Only models in
/// f64 hold such numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Elements are not zero, and their squares are, or nearly.
    Small,
    /// The squares of elements are infinite.
    Large,
}

/// Inner products of pre, v = post − pre and u = target − pre over the elements that take part, in f64.
///
/// They span the same space as the Gram matrix of (pre, post, target), so that every norm and cosine of every linear
/// combination of the three models follows from them. Taken of the differences, a vector a million times shorter than
/// the weights is still measured to full precision, where ‖post‖² − 2⟨post, pre⟩ + ‖pre‖² would cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gram {
    /// ⟨pre, pre⟩.
    pub pre_pre: f64,
    /// ⟨pre, v⟩.
    pub pre_v: f64,
    /// ⟨pre, u⟩.
    pub pre_u: f64,
    /// ⟨v, v⟩.
    pub v_v: f64,
    /// ⟨v, u⟩.
    pub v_u: f64,
    /// ⟨u, u⟩.
    pub u_u: f64,
}

impl Gram {
    /// ‖v‖.
    pub fn norm(&self) -> f64 {
        self.v_v.sqrt()
    }

    /// ‖pre‖.
    pub fn pre_norm(&self) -> f64 {
        self.pre_pre.sqrt()
    }

    /// ‖target‖.
    pub fn target_norm(&self) -> f64 {
        self.target_target().sqrt()
    }

    /// ‖v‖ ∕ ‖pre‖; NaN when pre is all zeros, and when either is [`OutOfRange`] for being large or pre for being small.
    pub fn relative_norm(&self) -> f64 {
        quotient(self.v_v, self.pre_pre)
    }

    /// cos(v, target − pre); NaN when either is zero or [`OutOfRange`].
    pub fn cos_vector_target(&self) -> f64 {
        cosine(self.v_u, self.v_v, self.u_u)
    }

    /// cos(pre, post); NaN when either is zero or [`OutOfRange`].
    pub fn cos_pre_post(&self) -> f64 {
        cosine(self.pre_pre + self.pre_v, self.pre_pre, self.pre_pre + 2.0 * self.pre_v + self.v_v)
    }

    /// ⟨target, target⟩ = ‖pre + u‖².
    pub(super) fn target_target(&self) -> f64 {
        (self.pre_pre + 2.0 * self.pre_u + self.u_u).max(0.0)
    }

    /// ⟨target, v⟩.
    pub(super) fn target_v(&self) -> f64 {
        self.pre_v + self.v_u
    }

    /// Whether none of the products is beyond f64.
    pub(super) fn is_finite(&self) -> bool {
        let Self { pre_pre, pre_v, pre_u, v_v, v_u, u_u } = self;
        [pre_pre, pre_v, pre_u, v_v, v_u, u_u].iter().all(|product| product.is_finite())
    }

    /// Adds the inner products of other elements.
    pub fn add(&mut self, other: &Self) {
        self.pre_pre += other.pre_pre;
        self.pre_v += other.pre_v;
        self.pre_u += other.pre_u;
        self.v_v += other.v_v;
        self.v_u += other.v_u;
        self.u_u += other.u_u;
    }
}

/// ⟨a, b⟩ ∕ (‖a‖ ‖b‖), −1 to 1; NaN when either is zero, or the square of either is not known.
pub(super) fn cosine(product: f64, left_sq: f64, right_sq: f64) -> f64 {
    if is_known(left_sq) && is_known(right_sq) {
        (product / (left_sq.sqrt() * right_sq.sqrt())).clamp(-1.0, 1.0)
    } else {
        f64::NAN
    }
}

/// ‖a‖ ∕ ‖b‖; NaN when b is zero, or the square of either is not known.
pub(super) fn quotient(left_sq: f64, right_sq: f64) -> f64 {
    if left_sq.is_finite() && is_known(right_sq) { left_sq.sqrt() / right_sq.sqrt() } else { f64::NAN }
}

/// Whether a sum of squares is other than zero and within what f64 holds in full.
fn is_known(square: f64) -> bool {
    (LEAST_SQUARE..=f64::MAX).contains(&square)
}
