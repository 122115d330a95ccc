//! The measured vector and what is derived from it once, so that no frame has to.

use std::sync::Arc;

use mergescope_core::analysis::{Cell, Group, Overview, RoundingPreview, Row, VectorAnalysis, expert_cells};
use mergescope_core::recipe::{OutputSpec, Rounding};

use super::jobs::JobId;

/// The vector, tensor by tensor and added up.
#[derive(Debug)]
pub struct Measured {
    /// The job that measured it, which tells the vectors of a session apart.
    pub number: JobId,
    /// Tensor by tensor.
    pub analysis: Arc<VectorAnalysis>,
    /// By layer and part.
    pub overview: Overview,
    /// Knows of no update whether it survives: stands in until a preview is prepared.
    pub no_preview: RoundingPreview,
    /// Rows of single experts, in order.
    pub expert_rows: Vec<Row>,
    /// Experts of each layer, in the order of `overview.groups`, then of `expert_rows`; `None` where a layer lacks one.
    experts: Vec<Option<Cell>>,
}

impl Measured {
    /// Adds up the tensors of an analysis.
    pub fn new(number: JobId, analysis: VectorAnalysis) -> Self {
        let overview = Overview::new(&analysis);
        let cells = expert_cells(&analysis);
        let mut expert_rows: Vec<Row> = cells.iter().map(|cell| cell.row).collect();
        expert_rows.sort_unstable();
        expert_rows.dedup();
        let mut experts = vec![None; overview.groups.len() * expert_rows.len()];
        for cell in cells {
            let column = overview.groups.iter().position(|group| group.group == cell.group);
            if let (Some(column), Ok(row)) = (column, expert_rows.binary_search(&cell.row)) {
                experts[column * expert_rows.len() + row] = Some(cell);
            }
        }
        let stochastic = OutputSpec { rounding: Rounding::Stochastic, ..OutputSpec::default() };
        let no_preview = RoundingPreview::new(&analysis, &stochastic);
        Self { number, analysis: Arc::new(analysis), overview, no_preview, expert_rows, experts }
    }

    /// The cell of a group and a row; `None` when there is none.
    pub fn cell(&self, group: Group, row: Row) -> Option<&Cell> {
        let column = self.overview.groups.iter().position(|sums| sums.group == group)?;
        self.cell_at(column, row)
    }

    /// The cell of the group at a position in the overview and a row; `None` when there is none.
    pub fn cell_at(&self, column: usize, row: Row) -> Option<&Cell> {
        if row.expert.is_none() {
            return self.overview.groups.get(column)?.cell(row.part);
        }
        let at = self.expert_rows.binary_search(&row).ok()?;
        self.experts.get(column * self.expert_rows.len() + at)?.as_ref()
    }
}
