//! All numbers of a set of tensors, by the names they have in JSON and CSV.

use mergescope_core::analysis::Sums;

use super::{Metric, View};
use crate::report::Figure;

/// The numbers of one tensor, a layer, a part or the whole vector, at one w.
///
/// Where there is no number (the cosine of a zero vector) it is NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    fields: [(&'static str, &'static str, Figure); COUNT],
}

/// Numbers in [`Figures`].
const COUNT: usize = 23;

impl Figures {
    /// The numbers of the tensors at those positions, whose sums are `sums`.
    pub(super) fn new(view: &View<'_>, sums: &Sums, tensors: &[usize]) -> Self {
        let survival = view.survival(tensors.iter().copied());
        let change = view.change(tensors);
        let effect = view.effect(tensors);
        let asked = view.asked(tensors.iter().copied()).map_or(f64::NAN, |asked| asked.mean);
        let of = |metric: Metric| (metric.key(), metric.label(), metric.figure(metric.of(sums)));
        Self {
            fields: [
                ("elements", "Elements", Figure::Count(sums.elements)),
                of(Metric::Norm),
                ("norm_pre", view.analysis.reference(), Figure::Number(sums.gram.pre_norm())),
                of(Metric::RelativeNorm),
                of(Metric::Rms),
                ("mean", "Mean", Figure::Number(sums.mean())),
                of(Metric::MaxAbs),
                of(Metric::ZeroShare),
                ("nonfinite", "NaN or infinite", Figure::Count(sums.left_out)),
                of(Metric::CosPrePost),
                of(Metric::CosVectorTarget),
                of(Metric::SignAgreement),
                (
                    Metric::RoundingSurvival.key(),
                    Metric::RoundingSurvival.label(),
                    Metric::RoundingSurvival.figure(survival.value),
                ),
                ("rounding_survival_margin", "± (95 %)", Figure::Share(margin(survival.value, survival.margin))),
                ("asked_w", "w asked for", Figure::Number(asked)),
                ("effective_w", "Effective w", Figure::Number(effect.effective_w.value)),
                (
                    "effective_w_margin",
                    "± (95 %)",
                    Figure::Number(margin(effect.effective_w.value, effect.effective_w.margin)),
                ),
                ("overflow_share", "Overflowing", Figure::Share(effect.overflowing.value)),
                (
                    "overflow_share_margin",
                    "± (95 %)",
                    Figure::Share(margin(effect.overflowing.value, effect.overflowing.margin)),
                ),
                ("cos_intended_written", "cos(intended, written)", Figure::cosine(effect.cosine)),
                ("change_norm", "‖merged − target‖", Figure::Number(change.norm())),
                ("change_relative", "‖merged − target‖ ∕ ‖target‖", Figure::Share(change.relative())),
                ("cos_merged_target", "cos(merged, target)", Figure::cosine(change.cos_target())),
            ],
        }
    }

    /// Key, label and number of each, in a fixed order.
    pub fn fields(&self) -> &[(&'static str, &'static str, Figure)] {
        &self.fields
    }

    /// The number of that key; `None` when there is no such key.
    pub fn get(&self, key: &str) -> Option<Figure> {
        self.fields.iter().find(|(known, ..)| *known == key).map(|&(.., figure)| figure)
    }
}

/// No margin without a value.
fn margin(value: f64, margin: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { margin }
}
