//! The numbers of the chosen chart as a table, in place of the charts.

use eframe::egui::Ui;
use mergescope_core::analysis::{Sample, TensorAnalysis};

use super::names;
use super::tensor::{self, SpectrumWish};
use super::view::{ChartId, Page, Picked, VectorView};
use crate::report::Table;
use crate::vector::tables;
use crate::vector::{LayerCosine, Metric, PartSet};
use crate::window::live::{Key, Source};
use crate::window::session::{Session, Stage};
use crate::window::{number_table, widgets};

/// Width of the first column, which says what a row is about.
const FIRST_WIDTH: f32 = 96.0;

/// A table that was made, and for what.
#[derive(Default)]
pub struct TableCache {
    key: Option<(Subject, Key)>,
    table: Option<Table>,
}

/// What tells one table from another, but for w.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Subject {
    Layers,
    Grid(Metric),
    LayerCosine(PartSet),
    Page(ChartId, Option<Picked>),
}

impl Subject {
    fn of(view: &VectorView) -> Self {
        match view.chart {
            ChartId::Layers => Self::Layers,
            ChartId::Grid => Self::Grid(view.metric),
            ChartId::LayerCosine => Self::LayerCosine(view.cosine_parts),
            page @ (ChartId::Sizes | ChartId::Spectrum) => Self::Page(page, view.picked),
        }
    }
}

/// Draws the choice of chart and the table of the chosen one.
pub fn ui(view: &mut VectorView, ui: &mut Ui, session: &Session, source: &Source<'_>) -> SpectrumWish {
    let charts: Vec<(ChartId, &str, &str)> =
        ChartId::ALL.iter().map(|&chart| (chart, chart.title(), chart.explanation())).collect();
    ui.horizontal(|ui| {
        let tooltip = "The chart whose numbers are shown";
        widgets::choice_ui(ui, "Table of", tooltip, &mut view.chart, &charts);
        if view.chart == ChartId::Grid {
            ui.add_space(8.0);
            super::grid::metric_choice_ui(view, ui);
        }
        if view.chart == ChartId::LayerCosine {
            ui.add_space(8.0);
            super::cosines::controls_ui(view, ui, session.details().layer_products.done());
        }
    });
    // Back among the charts, the page shows what the table did.
    match view.chart {
        ChartId::Sizes => view.page = Page::Sizes,
        ChartId::Spectrum => view.page = Page::Spectrum,
        _ => {}
    }
    if let (ChartId::Sizes | ChartId::Spectrum, Some(picked)) = (view.chart, view.picked) {
        let tensor = picked.tensor.map(|tensor| source.measured.analysis.tensors[tensor].name.as_str());
        let cell = names::cell(picked.group, picked.row);
        widgets::note_ui(ui, tensor.map_or(cell.clone(), |name| format!("{cell}: {name}")));
    }
    ui.add_space(6.0);
    let key = (Subject::of(view), source.key);
    // All numbers of a large model take too long for every step of a slider that is being dragged.
    let waits = source.is_large() && ui.input(|input| input.pointer.any_down());
    let same_subject = view.table_cache.key.is_some_and(|(subject, _)| subject == key.0);
    // What could not be shown a moment ago may have been measured since.
    let is_due = view.table_cache.key != Some(key) || view.table_cache.table.is_none();
    if is_due && !(waits && same_subject) {
        view.table_cache = TableCache { key: Some(key), table: of(view, session, source) };
    }
    match &view.table_cache.table {
        Some(table) => number_table::ui(ui, table, FIRST_WIDTH),
        None if view.chart == ChartId::Spectrum => {
            let tensors = view.picked_tensors(source.measured);
            return tensor::spectrum_ui(ui, session, &tensors, source, ui.available_height());
        }
        None => widgets::empty_ui(ui, "There are no numbers yet", missing(view.chart, session)),
    }
    None
}

fn missing(chart: ChartId, session: &Session) -> &'static str {
    match (chart, &session.details().preview) {
        (ChartId::LayerCosine, _) => "The layers have not been compared; go back to the charts with Table",
        (_, Stage::Failed(_)) => "The preview of rounding could not be prepared",
        _ => "The preview of rounding is being prepared",
    }
}

/// The numbers of the chosen chart; `None` while there are none.
pub fn of(view: &VectorView, session: &Session, source: &Source<'_>) -> Option<Table> {
    match view.chart {
        ChartId::Layers => source.has_preview.then(|| tables::layers(&source.view)),
        ChartId::Grid => Some(tables::grid(&source.view, view.metric)),
        ChartId::LayerCosine => {
            let products = session.details().layer_products.done()?;
            Some(tables::layer_cosine(&LayerCosine::new(products, view.cosine_parts), view.cosine_parts))
        }
        ChartId::Sizes => sizes(view, source),
        ChartId::Spectrum => {
            let tensor = tensor::decomposed(&view.picked_tensors(source.measured), source.measured).ok()?;
            let spectrum = session.details().spectrum(&tensor.name).done()?;
            Some(tables::spectrum(spectrum))
        }
    }
}

/// Magnitudes of v and pre over the tensors whose page is shown.
fn sizes(view: &VectorView, source: &Source<'_>) -> Option<Table> {
    let tensors = view.picked_tensors(source.measured);
    let mut all = tensors.iter().map(|&tensor| &source.measured.analysis.tensors[tensor]);
    let first = all.next()?;
    let mut sum = TensorAnalysis { sample: Sample::default(), ..first.clone() };
    for tensor in all {
        sum.vector_histogram.add(&tensor.vector_histogram);
        sum.pre_histogram.add(&tensor.pre_histogram);
    }
    if tensors.len() > 1 {
        sum.name = view.picked.map(|picked| names::cell(picked.group, picked.row)).unwrap_or_default();
    }
    Some(tables::histogram(&sum))
}
