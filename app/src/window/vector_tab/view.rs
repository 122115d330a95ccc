//! The choices of this tab, and what is kept from one frame to the next.

use mergescope_core::analysis::{Cell, Group, Row};
use mergescope_core::layout::Part;

use super::cosines::CosineTexture;
use super::grid::GridValues;
use super::table::TableCache;
use super::tensor::PageData;
use crate::vector::{Amounts, Chart, Metric, PartSet};
use crate::window::figures::TextRoom;
use crate::window::jobs::JobId;
use crate::window::session::Measured;
use eframe::egui::Rect;

/// A chart of this tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartId {
    /// How far each layer moved.
    Layers,
    /// Layer × part.
    Grid,
    /// Layer × layer cosine.
    LayerCosine,
    /// Sizes of w·v and pre in one cell.
    Sizes,
    /// Singular values of one tensor.
    Spectrum,
}

impl ChartId {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::Layers, Self::Grid, Self::LayerCosine, Self::Sizes, Self::Spectrum];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Layers => "How far each layer moved",
            Self::Grid => "Layer × part",
            Self::LayerCosine => "Do layers move alike?",
            Self::Sizes => "Sizes of w·v and pre",
            Self::Spectrum => "Spectrum",
        }
    }

    /// What it means and how to read it.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Layers => {
                "Norms do not add up, their squares do: a bar is as high as the whole layer's norm, and its colours \
                 divide it by each part's share of ‖v‖²."
            }
            Self::Grid => {
                "One cell for each part of each layer: a bright or dark column is a layer that stands out, a row a \
                 part that does. Click a cell, or move to it with the arrow keys and press Enter, to see its tensors."
            }
            Self::LayerCosine => {
                "Cosine of v in one layer with v in another, over tensors of the same name and shape: 1 is the same \
                 direction, 0 none in common, −1 the opposite. Most vectors are near 0 off the diagonal."
            }
            Self::Sizes => {
                "How many elements have which magnitude, on a log scale: what lies left of the dashed line is mostly \
                 too small to change a weight when the model is written."
            }
            Self::Spectrum => {
                "Singular values of v, from the largest: a few large ones mean that v is nearly of low rank, a slow \
                 fall that it is spread over many directions."
            }
        }
    }

    /// The name of its files.
    pub fn file_stem(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Grid => "layer-part",
            Self::LayerCosine => "layer-cosine",
            Self::Sizes => "sizes",
            Self::Spectrum => "spectrum",
        }
    }
}

/// What the height of a bar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarMetric {
    /// ‖v‖ ∕ ‖pre‖.
    Relative,
    /// ‖v‖.
    Norm,
    /// ‖v‖ ∕ √elements.
    Rms,
}

/// A cell whose page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Its layer, or what it is beside the layers.
    pub group: Group,
    /// Its row.
    pub row: Row,
    /// The position of one of its tensors in the analysis; `None` for all of them together.
    pub tensor: Option<usize>,
}

impl Picked {
    /// The whole of a cell, which may be one tensor.
    fn whole(cell: &Cell) -> Self {
        let tensor = if let [only] = cell.tensors.as_slice() { Some(*only) } else { None };
        Self { group: cell.group, row: cell.row, tensor }
    }
}

/// What the page of a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Magnitudes.
    Sizes,
    /// Singular values.
    Spectrum,
}

impl Page {
    /// Its chart.
    pub fn chart(self) -> ChartId {
        match self {
            Self::Sizes => ChartId::Sizes,
            Self::Spectrum => ChartId::Spectrum,
        }
    }
}

/// What the person asked for of work that takes a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// To start it.
    Start,
    /// To stop it.
    Stop,
}

/// The choices of this tab.
pub struct VectorView {
    /// Whether the chosen chart's table is shown instead of the charts.
    pub table: bool,
    /// The chart that Table, Copy CSV and Save PNG are about.
    pub chart: ChartId,
    /// What bars show.
    pub bars: BarMetric,
    /// The part that bars show; `None` for all.
    pub part: Option<Part>,
    /// What cells show.
    pub metric: Metric,
    /// How cells are coloured.
    pub scale: Amounts,
    /// Whether experts are shown one by one.
    pub experts_open: bool,
    /// Column and row that the arrow keys move from.
    pub cursor: (usize, usize),
    /// The parts over which layers are compared.
    pub cosine_parts: PartSet,
    /// Row and column that the arrow keys move from.
    pub cosine_cursor: (usize, usize),
    /// The cell whose page is shown.
    pub picked: Option<Picked>,
    /// What its page shows.
    pub page: Page,
    /// A chart to bring into view.
    pub scroll_to: Option<ChartId>,
    /// Whether to do so without gliding there.
    pub(super) scroll_at_once: bool,
    /// Where the charts are, in the order of [`ChartId::ALL`].
    rects: [Option<Rect>; ChartId::ALL.len()],
    pub(super) values: GridValues,
    pub(super) texture: CosineTexture,
    pub(super) page_data: Option<PageData>,
    pub(super) table_cache: TableCache,
    pub(super) summary: TextRoom,
    /// The vector that all of this is about.
    vector: Option<JobId>,
}

impl Default for VectorView {
    fn default() -> Self {
        Self {
            table: false,
            chart: ChartId::Layers,
            bars: BarMetric::Relative,
            part: None,
            metric: Metric::RelativeNorm,
            scale: Amounts::Linear,
            experts_open: false,
            cursor: (0, 0),
            cosine_parts: PartSet::All,
            cosine_cursor: (0, 0),
            picked: None,
            page: Page::Sizes,
            scroll_to: None,
            scroll_at_once: false,
            rects: [None; ChartId::ALL.len()],
            values: GridValues::default(),
            texture: CosineTexture::default(),
            page_data: None,
            table_cache: TableCache::default(),
            summary: TextRoom::default(),
            vector: None,
        }
    }
}

impl VectorView {
    /// Drops choices that the measured vector does not have, and opens the page of the cell that moved furthest.
    pub(super) fn fit(&mut self, measured: &Measured) {
        let has = |part: Part| measured.overview.parts.iter().any(|(known, _)| *known == part);
        self.part = self.part.filter(|&part| has(part));
        self.experts_open &= !measured.expert_rows.is_empty();
        if self.vector == Some(measured.number) {
            return;
        }
        // Positions of tensors mean nothing in another vector; a layer and its part do.
        self.vector = Some(measured.number);
        self.page_data = None;
        self.table_cache = TableCache::default();
        self.summary = TextRoom::default();
        (self.cursor, self.cosine_cursor) = ((0, 0), (0, 0));
        let same = self.picked.and_then(|picked| measured.cell(picked.group, picked.row)).map(Picked::whole);
        self.picked = same.or_else(|| furthest(measured));
    }

    /// Forgets where charts were drawn.
    pub(super) fn begin_frame(&mut self) {
        self.rects = [None; ChartId::ALL.len()];
    }

    /// Notes where a chart was drawn.
    pub(super) fn drawn(&mut self, chart: ChartId, rect: Rect) {
        self.rects[chart as usize] = Some(rect);
    }

    /// Where a chart was drawn in this frame.
    pub fn rect_of(&self, chart: ChartId) -> Option<Rect> {
        self.rects[chart as usize]
    }

    /// Brings the chosen chart into view for a picture.
    pub fn show_chosen(&mut self) {
        (self.scroll_to, self.scroll_at_once) = (Some(self.chart), true);
    }

    /// Leads to the chart behind a figure of the summary, which shows that figure then.
    pub(super) fn lead_to(&mut self, chart: Chart) {
        self.chart = match chart {
            Chart::Layers => {
                (self.bars, self.part) = (BarMetric::Relative, None);
                ChartId::Layers
            }
            Chart::Grid(metric) => {
                self.metric = metric;
                ChartId::Grid
            }
            Chart::LayerCosine => {
                self.cosine_parts = PartSet::All;
                ChartId::LayerCosine
            }
        };
        self.scroll_to = Some(self.chart);
    }

    /// The tensors whose page is shown.
    pub fn picked_tensors(&self, measured: &Measured) -> Vec<usize> {
        let Some(picked) = self.picked else { return Vec::new() };
        match (picked.tensor, measured.cell(picked.group, picked.row)) {
            (Some(tensor), _) => vec![tensor],
            (None, Some(cell)) => cell.tensors.clone(),
            (None, None) => Vec::new(),
        }
    }

    /// Opens the page of a cell.
    pub(super) fn pick(&mut self, measured: &Measured, column: usize, row: Row) {
        let Some(cell) = measured.cell_at(column, row) else { return };
        let picked = Picked::whole(cell);
        if self.picked.is_none_or(|now| (now.group, now.row) != (picked.group, picked.row)) {
            self.picked = Some(picked);
        }
    }
}

/// The cell of the layers with the largest ‖v‖ ∕ ‖pre‖, norms last; beside the layers when there are none.
fn furthest(measured: &Measured) -> Option<Picked> {
    let overview = &measured.overview;
    let groups = if overview.layers().is_empty() { overview.beside() } else { overview.layers() };
    let cells = groups.iter().flat_map(|group| &group.cells);
    let height = |sums: &mergescope_core::analysis::Sums| sums.gram.relative_norm();
    // A norm has so few elements that its height is mostly chance; any matrix says more.
    let rank = |cell: &Cell| (cell.row.part != Part::Norm, height(&cell.sums));
    let cell = cells.filter(|cell| height(&cell.sums).is_finite()).max_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    })?;
    Some(Picked::whole(cell))
}
