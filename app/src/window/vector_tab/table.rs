//! The numbers of the chosen chart as a table, in place of the charts.

use eframe::egui::{self, Color32, Label, Layout, RichText, TextStyle, Ui, Vec2};
use egui_extras::{Column, TableBuilder};
use mergescope_core::analysis::{Sample, TensorAnalysis};

use super::names;
use super::tensor::{self, SpectrumWish};
use super::view::{ChartId, Page, Picked, VectorView};
use crate::vector::tables::{self, Table};
use crate::vector::{LayerCosine, Metric, PartSet};
use crate::window::live::{Key, Source};
use crate::window::session::{Session, Stage};
use crate::window::{theme, widgets};

/// Width of the first column, and of the others unless their labels are wider.
const WIDTHS: [f32; 2] = [96.0, 88.0];
/// Room between two columns.
const CELL_GAP: f32 = 6.0;

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
        Some(table) => table_ui(ui, table),
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

fn table_ui(ui: &mut Ui, table: &Table) {
    let font = TextStyle::Small.resolve(ui.style());
    let width_of = |label: &str| ui.painter().layout_no_wrap(label.to_owned(), font.clone(), Color32::WHITE).size().x;
    let widest = table.columns.iter().skip(1).map(|column| width_of(&column.label)).fold(0.0, f32::max);
    let width = WIDTHS[1].max(widest.ceil() + CELL_GAP);
    let least = WIDTHS[0] + width * table.columns.len().saturating_sub(1) as f32;
    widgets::wide_ui(ui, &table.name, least, |ui| rows_ui(ui, table, width));
}

fn rows_ui(ui: &mut Ui, table: &Table, width: f32) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    ui.spacing_mut().item_spacing = Vec2::new(CELL_GAP, 0.0);
    TableBuilder::new(ui)
        .id_salt(("vector table", &table.name))
        .cell_layout(Layout::left_to_right(egui::Align::Center))
        .column(Column::exact(WIDTHS[0]))
        .columns(Column::exact(width - CELL_GAP), table.columns.len().saturating_sub(1))
        .auto_shrink([false, false])
        .header(theme::ROW_HEIGHT, |mut header| {
            for (position, column) in table.columns.iter().enumerate() {
                let text = RichText::new(&column.label).text_style(TextStyle::Small).color(palette.weak);
                header.col(|ui| {
                    let layout = if position == 0 { *ui.layout() } else { right };
                    ui.with_layout(layout, |ui| ui.add(Label::new(text).truncate()).on_hover_text(&column.label));
                });
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, table.rows.len(), |mut row| {
                for (position, cell) in table.rows[row.index()].iter().enumerate() {
                    row.col(|ui| {
                        let layout = if position == 0 { *ui.layout() } else { right };
                        ui.with_layout(layout, |ui| ui.label(cell.text()));
                    });
                }
            });
        });
}
