//! A measured vector, a w and an output: what every number about a merge to come is worked out from.

use mergescope_core::analysis::{Cell, Change, Estimate, Overview, RoundedEffect, RoundingPreview, VectorAnalysis};
use mergescope_core::checkpoint::{Dtype, dtype_label};
use mergescope_core::recipe::{OutputDtype, OutputSpec};
use mergescope_core::scaling::Scaling;

use super::{Figures, Metric};
use mergescope_core::analysis::Sums;

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
    /// The coefficient of each tensor.
    pub scaling: Scaling,
}

impl View<'_> {
    /// The coefficient of a tensor, by its position in the analysis.
    pub fn coefficient(&self, position: usize) -> f32 {
        self.scaling.coefficient(&self.analysis.tensors[position].place)
    }

    /// Share of the updates of some tensors, given by position, that survive rounding at the current w.
    pub fn survival(&self, tensors: impl IntoIterator<Item = usize>) -> Estimate {
        self.preview.survival(tensors.into_iter().map(|position| (position, self.coefficient(position))))
    }

    /// The same of a part of a layer.
    pub fn cell_survival(&self, cell: &Cell) -> Estimate {
        // The coefficient depends on layer and part, which the tensors of a cell share.
        let coefficient = cell.tensors.first().map_or(0.0, |&first| self.coefficient(first));
        self.preview.cell_survival(cell, coefficient)
    }

    /// Share of all updates that would survive at another w; NaN when nothing moves.
    pub fn survival_at(&self, w: f64) -> Estimate {
        let Ok(scaling) = Scaling::new(w) else { return Estimate::NONE };
        let view = Self { w, scaling, ..*self };
        let cells = self.overview.groups.iter().flat_map(|group| &group.cells);
        Estimate::combined(cells.map(|cell| (cell.sums.updates() as f64, view.cell_survival(cell))))
    }

    /// What reaches the output of some tensors taken together.
    pub fn effect(&self, tensors: &[usize]) -> RoundedEffect {
        self.preview.effect(tensors.iter().map(|&position| (position, self.coefficient(position))))
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

    /// All numbers of some tensors taken together.
    pub fn figures(&self, sums: &Sums, tensors: &[usize]) -> Figures {
        Figures::new(self, sums, tensors)
    }

    /// The dtype that most elements are written in: `bf16`.
    pub fn written_dtype(&self) -> String {
        match self.output.dtype {
            OutputDtype::Target => {}
            chosen => return chosen.label().to_owned(),
        }
        let mut counts: Vec<(Dtype, u64)> = Vec::new();
        for tensor in &self.analysis.tensors {
            match counts.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype) {
                Some((_, count)) => *count += tensor.sums.elements,
                None => counts.push((tensor.dtype, tensor.sums.elements)),
            }
        }
        counts.into_iter().max_by_key(|&(_, count)| count).map_or_else(String::new, |(dtype, _)| dtype_label(dtype))
    }
}
