//! What is compared: a model, asked in one way, in one condition.

use serde::{Deserialize, Serialize};

use super::spec::{ControlArm, SweepSpec};
use crate::alignment::Role;
use crate::engine::ModelChoice;
use crate::recipe::{ControlSpec, Recipe};

/// The model of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArmModel {
    /// The recipe at a scaling coefficient; at 0 the target.
    W(f64),
    /// A model of the recipe as it stands: pre or post of its first vector, or its target.
    Reference(Role),
    /// The recipe with a control in the place of its first vector.
    Control(ControlArm, f64),
}

/// A model, asked in one way, in one condition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Who is asked.
    pub model: ArmModel,
    /// Position of the way of asking in [`SweepSpec::prompts`]; 0 where there is one only.
    pub prompt: usize,
    /// Whether the questions are changed.
    pub perturbed: bool,
}

impl ArmModel {
    /// Its scaling coefficient.
    pub fn w(self) -> Option<f64> {
        match self {
            Self::W(w) | Self::Control(_, w) => Some(w),
            Self::Reference(_) => None,
        }
    }

    /// The weights that answer.
    pub fn choice(self, recipe: &Recipe) -> ModelChoice {
        let mut recipe = recipe.clone();
        match self {
            Self::Reference(role) => {
                return ModelChoice::Alone(match role {
                    Role::Pre => recipe.vector.pre,
                    Role::Post => recipe.vector.post,
                    Role::Target => recipe.target,
                });
            }
            Self::W(w) => recipe.vector.w = w,
            Self::Control(control, w) => {
                recipe.vector.w = w;
                recipe.vector.control = Some(ControlSpec { kind: control.kind, seed: control.seed });
            }
        }
        ModelChoice::Merged(Box::new(recipe))
    }

    /// In words, such as "w = −0.5" or "post".
    pub fn label(self) -> String {
        let number = |w: f64| w.to_string().replace('-', "−");
        match self {
            Self::W(w) => format!("w = {}", number(w)),
            Self::Reference(role) => role.label().to_owned(),
            Self::Control(control, w) => format!("{} control at w = {}", control.kind.adjective(), number(w)),
        }
    }
}

/// The scaling coefficients in the order in which they are measured: 0 first, then the ends, then always the middle of the
/// widest gap, so that the curve is there early and gets finer.
pub(super) fn coarse_to_fine(grid: &[f64]) -> Vec<f64> {
    let mut rest: Vec<f64> = grid.iter().copied().filter(|w| *w != 0.0).collect();
    rest.sort_by(f64::total_cmp);
    rest.dedup();
    let mut order = vec![0.0];
    for end in [rest.len().checked_sub(1), Some(0)] {
        if let Some(end) = end.filter(|end| *end < rest.len()) {
            order.push(rest.remove(end));
        }
    }
    while !rest.is_empty() {
        let distance = |w: &f64| order.iter().map(|known| (known - w).abs()).fold(f64::INFINITY, f64::min);
        // Of equals the smallest.
        let farthest =
            (0..rest.len()).fold(0, |best, i| if distance(&rest[i]) > distance(&rest[best]) { i } else { best });
        order.push(rest.remove(farthest));
    }
    order
}

impl SweepSpec {
    /// The models of the grid and the references, in the order in which they are measured.
    pub(super) fn models(&self, recipe: &Recipe) -> Vec<ArmModel> {
        let grid = coarse_to_fine(&self.w);
        let references = self.references.iter().copied().filter(|role| match role {
            Role::Pre => !recipe.vector.pre.is_empty(),
            // A saved vector is no model.
            Role::Post => !recipe.vector.pre.is_empty(),
            // Of one vector it is w = 0.
            Role::Target => !recipe.others.is_empty(),
        });
        let (first, others) = grid.split_first().map_or((0.0, &[][..]), |(first, others)| (*first, others));
        let mut models = vec![ArmModel::W(first)];
        models.extend(others.iter().map(|w| ArmModel::W(*w)));
        models.extend(references.map(ArmModel::Reference));
        models
    }

    /// The controls at those values of w.
    pub(super) fn control_models(&self, at: &[f64]) -> Vec<ArmModel> {
        let all = at.iter().filter(|w| **w != 0.0);
        all.flat_map(|w| self.controls.iter().map(|control| ArmModel::Control(*control, *w))).collect()
    }

    /// Every way of asking a model.
    pub(super) fn arms_of(&self, model: ArmModel) -> Vec<Arm> {
        let prompts = self.prompts.len().max(1);
        let conditions = if self.perturbation.is_some() { 2 } else { 1 };
        (0..prompts)
            .flat_map(|prompt| (0..conditions).map(move |condition| Arm { model, prompt, perturbed: condition == 1 }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_w_of_the_grid_comes_once_after_zero(
            grid in prop::collection::vec(prop_oneof![(-8_i8..8).prop_map(|w| f64::from(w) / 4.0), -2.0..2.0], 0..12),
        ) {
            let order = coarse_to_fine(&grid);
            prop_assert_eq!(order[0], 0.0);
            let sorted = |values: &[f64]| {
                let mut values = values.to_vec();
                values.sort_by(f64::total_cmp);
                values
            };
            let mut expected = sorted(&[&grid[..], &[0.0]].concat());
            expected.dedup();
            prop_assert_eq!(sorted(&order), expected);
            // Each stands as far from what came before as any that is still to come.
            for at in 3..order.len() {
                let distance = |w: f64| order[..at].iter().map(|known| (known - w).abs()).fold(f64::INFINITY, f64::min);
                prop_assert!(order[at..].iter().all(|w| distance(*w) <= distance(order[at])));
            }
        }
    }

    #[test]
    fn the_curve_gets_finer() {
        assert_eq!(coarse_to_fine(&[0.25, 0.5, 0.75, 1.0]), [0.0, 1.0, 0.25, 0.5, 0.75]);
        assert_eq!(coarse_to_fine(&[-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5])[..4], [0.0, 1.5, -0.5, 0.75]);
        assert_eq!(coarse_to_fine(&[]), [0.0]);
        assert_eq!(coarse_to_fine(&[0.5, 0.5]), [0.0, 0.5]);
    }
}
