//! A measured vector, a w and an output: what every number about a merge to come is worked out from.

use std::cmp::Reverse;

use mergescope_core::analysis::{
    Cell, Change, Estimate, Overview, RoundedEffect, RoundingPreview, Sums, VectorAnalysis,
};
use mergescope_core::checkpoint::{Dtype, dtype_label};
use mergescope_core::layout::Part;
use mergescope_core::recipe::{OutputSpec, Rounding};
use mergescope_core::scaling::{Spread, scaled};

use super::{Figures, Metric};
use crate::format;

/// The least share of all elements for which a dtype is named.
const MENTIONED: f64 = 0.05;

/// A measured vector as it would enter the target.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What was measured.
    pub analysis: &'a VectorAnalysis,
    /// The same by layer and part.
    pub overview: &'a Overview,
    /// What rounding to `output` would leave.
    pub preview: &'a RoundingPreview,
    /// How the merge would be written.
    pub output: &'a OutputSpec,
    /// w as it was chosen.
    pub w: f64,
    /// What w is multiplied by for each tensor, by its position in the analysis.
    pub shares: &'a [f64],
}

/// The positions of all tensors of some cells.
pub fn tensors_of<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Vec<usize> {
    cells.into_iter().flat_map(|cell| cell.tensors.iter().copied()).collect()
}

impl View<'_> {
    /// The positions of all tensors of a part, in layers and beside them.
    pub fn tensors_of_part(&self, part: Part) -> Vec<usize> {
        tensors_of(self.overview.groups.iter().filter_map(|group| group.cell(part)))
    }

    /// The share of all ‖v‖² in what was summed up; 0 when v is zero.
    pub fn share(&self, sums: &Sums) -> f64 {
        let total = self.overview.total.gram.v_v;
        if total > 0.0 { sums.gram.v_v / total } else { 0.0 }
    }

    /// The coefficient of a tensor, by its position in the analysis.
    pub fn coefficient(&self, position: usize) -> f32 {
        let coefficient = scaled(self.w, self.shares[position]);
        // A w that can scale nothing, such as 1e39, adds nothing.
        if coefficient.is_finite() { coefficient } else { 0.0 }
    }

    /// Share of the updates of some tensors, given by position, that survive rounding at the current w.
    pub fn survival(&self, tensors: impl IntoIterator<Item = usize>) -> Estimate {
        self.preview.survival(tensors.into_iter().map(|position| (position, self.coefficient(position))))
    }

    /// The same of a part of a layer.
    pub fn cell_survival(&self, cell: &Cell) -> Estimate {
        let Some(&first) = cell.tensors.first() else { return Estimate::NONE };
        let share = self.shares[first];
        match cell.tensors.iter().all(|&tensor| self.shares[tensor] == share) {
            true => self.preview.cell_survival(cell, self.coefficient(first)),
            // A pattern tells its tensors apart.
            false => self.survival(cell.tensors.iter().copied()),
        }
    }

    /// Share of all updates that would survive at another w; NaN when nothing moves.
    pub fn survival_at(&self, w: f64) -> Estimate {
        let view = Self { w, ..*self };
        let cells = self.overview.groups.iter().flat_map(|group| &group.cells);
        Estimate::combined(cells.map(|cell| (cell.sums.updates() as f64, view.cell_survival(cell))))
    }

    /// What reaches the output of some tensors taken together; those that stay the target's count only when all do, as in
    /// the report of a merge.
    pub fn effect(&self, tensors: &[usize]) -> RoundedEffect {
        let any_moves = tensors.iter().any(|&position| self.moves(position));
        let taken = tensors.iter().filter(|&&position| !any_moves || self.moves(position));
        self.preview.effect(taken.map(|&position| (position, self.coefficient(position))))
    }

    /// Whether a merge adds anything to a tensor; the mergekit modes go through their steps at 0 too.
    pub fn moves(&self, position: usize) -> bool {
        self.coefficient(position) != 0.0 || !self.output.rounding.is_single()
    }

    /// The coefficients that the effective w of some tensors is to be held against; `None` when none of them moves.
    pub fn asked(&self, tensors: impl IntoIterator<Item = usize>) -> Option<Spread> {
        let moving = tensors.into_iter().filter(|&position| self.moves(position));
        Spread::of(moving.map(|at| (self.coefficient(at), self.analysis.tensors[at].sums.gram.v_v)))
    }

    /// What the merge intends to do to some tensors taken together.
    pub fn change(&self, tensors: &[usize]) -> Change {
        Change::of(
            tensors.iter().map(|&position| (&self.analysis.tensors[position].sums.gram, self.coefficient(position))),
        )
    }

    /// A metric of some tensors, whose sums are `sums`; NaN where there is none.
    pub fn value(&self, metric: Metric, sums: &Sums, tensors: &[usize]) -> Estimate {
        match metric {
            Metric::RoundingSurvival => self.survival(tensors.iter().copied()),
            _ => Estimate { value: metric.of(sums), margin: 0.0 },
        }
    }

    /// All numbers of the whole vector.
    pub fn total_figures(&self) -> Figures {
        let all: Vec<usize> = (0..self.analysis.tensors.len()).collect();
        self.figures(&self.overview.total, &all)
    }

    /// All numbers of some tensors taken together.
    pub fn figures(&self, sums: &Sums, tensors: &[usize]) -> Figures {
        Figures::new(self, sums, tensors)
    }

    /// Why no update has a share that survives at the current w and output, if none has.
    pub fn no_survival(&self) -> Option<&'static str> {
        if self.w == 0.0 {
            Some("at w = 0 nothing is added")
        } else if self.output.rounding == Rounding::Stochastic {
            Some("stochastic rounding keeps every update in the mean")
        } else {
            None
        }
    }

    /// What is written of a tensor, by its position in the analysis.
    pub fn written(&self, position: usize) -> Dtype {
        self.output.dtype.written(self.analysis.tensors[position].dtype)
    }

    /// The dtypes that at least one element in twenty is written in, the most first.
    pub fn written_dtypes(&self) -> Vec<Dtype> {
        let mut counts: Vec<(Dtype, u64)> = Vec::new();
        for (position, tensor) in self.analysis.tensors.iter().enumerate() {
            let written = self.written(position);
            match counts.iter_mut().find(|(dtype, _)| *dtype == written) {
                Some((_, count)) => *count += tensor.sums.elements,
                None => counts.push((written, tensor.sums.elements)),
            }
        }
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        counts.retain(|(_, count)| *count as f64 >= MENTIONED * all as f64);
        counts.sort_by_key(|&(_, count)| Reverse(count));
        counts.into_iter().map(|(dtype, _)| dtype).collect()
    }

    /// The same in words: `bf16`, `f8_e4m3 and f32`.
    pub fn written_dtype(&self) -> String {
        let names: Vec<String> = self.written_dtypes().into_iter().map(dtype_label).collect();
        format::list(names.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::recipe::OutputDtype;

    use super::super::testing::{Measured, tensor};
    use super::*;

    #[test]
    fn every_dtype_that_much_is_written_in_is_named() {
        let stored = |dtype, elements| {
            let mut tensor = tensor(Some(0), Part::Q, 1.0, 1.0);
            (tensor.dtype, tensor.sums.elements) = (dtype, elements);
            tensor
        };
        let tensors = vec![stored(Dtype::F32, 30), stored(Dtype::BF16, 4), stored(Dtype::F8_E4M3, 66)];
        let measured = Measured::new(tensors.clone());
        assert_eq!(measured.view(0.5).written_dtype(), "f8_e4m3 and f32");
        let chosen = Measured::written(tensors, OutputSpec { dtype: OutputDtype::F16, ..OutputSpec::default() });
        assert_eq!(chosen.view(0.5).written_dtype(), "f16");
        assert_eq!(Measured::new(Vec::new()).view(0.5).written_dtype(), "");
    }
}
