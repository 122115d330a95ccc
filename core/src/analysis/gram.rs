//! Inner products, and the norms and cosines that follow from them.

use serde::{Deserialize, Serialize};

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

    /// ‖v‖ ∕ ‖pre‖; NaN when pre is all zeros.
    pub fn relative_norm(&self) -> f64 {
        if self.pre_pre > 0.0 { (self.v_v / self.pre_pre).sqrt() } else { f64::NAN }
    }

    /// cos(v, target − pre); NaN when either is zero.
    pub fn cos_vector_target(&self) -> f64 {
        cosine(self.v_u, self.v_v, self.u_u)
    }

    /// cos(pre, post); NaN when either is zero.
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

/// ⟨a, b⟩ ∕ (‖a‖ ‖b‖), −1 to 1; NaN when either is zero.
pub(super) fn cosine(product: f64, left_sq: f64, right_sq: f64) -> f64 {
    let norms = left_sq.sqrt() * right_sq.sqrt();
    if norms > 0.0 { (product / norms).clamp(-1.0, 1.0) } else { f64::NAN }
}
