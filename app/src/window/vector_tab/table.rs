//! The numbers of the chosen chart as a table, in place of the charts.

use eframe::egui::{self, Label, Layout, RichText, TextStyle, Ui, Vec2};
use egui_extras::{Column, TableBuilder};
use mergescope_core::analysis::{Sample, TensorAnalysis};

use super::names;
use super::view::{ChartId, VectorView};
use crate::vector::LayerCosine;
use crate::vector::tables::{self, Table};
use crate::window::live::{Key, Source};
use crate::window::session::Session;
use crate::window::{theme, widgets};

/// Width of the first column, and of the others.
const WIDTHS: [f32; 2] = [96.0, 88.0];

/// A table that was made, and for what.
#[derive(Default)]
pub struct TableCache {
    key: Option<(ChartId, String, Key)>,
    table: Option<Table>,
}

/// Draws the choice of chart and the table of the chosen one.
pub fn ui(view: &mut VectorView, ui: &mut Ui, session: &Session, source: &Source<'_>) {
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
            super::cosines::controls_ui(view, ui, session.details.layer_products.done());
        }
    });
    ui.add_space(6.0);
    let key = (view.chart, details(view), source.key);
    // All numbers of a large model take too long for every step of a slider that is being dragged.
    let waits = source.is_large() && ui.input(|input| input.pointer.any_down());
    let same_chart = view.table_cache.key.as_ref().is_some_and(|known| (known.0, &known.1) == (key.0, &key.1));
    // What could not be shown a moment ago may have been measured since.
    let is_due = view.table_cache.key.as_ref() != Some(&key) || view.table_cache.table.is_none();
    if is_due && !(waits && same_chart) {
        view.table_cache = TableCache { key: Some(key), table: of(view, session, source) };
    }
    match &view.table_cache.table {
        Some(table) => table_ui(ui, table),
        None => widgets::empty_ui(ui, "There are no numbers yet", missing(view.chart)),
    }
}

/// What else than w tells one table of a chart from another.
fn details(view: &VectorView) -> String {
    match view.chart {
        ChartId::Layers => String::new(),
        ChartId::Grid => view.metric.key().to_owned(),
        ChartId::LayerCosine => format!("{:?}", view.cosine_parts),
        ChartId::Sizes | ChartId::Spectrum => format!("{:?}", view.picked),
    }
}

fn missing(chart: ChartId) -> &'static str {
    match chart {
        ChartId::LayerCosine => "The layers have not been compared; go back to the charts with Table",
        ChartId::Spectrum => "The spectrum of this tensor has not been measured; go back to the charts with Table",
        _ => "The preview of rounding is being prepared",
    }
}

/// The numbers of the chosen chart; `None` while there are none.
pub fn of(view: &VectorView, session: &Session, source: &Source<'_>) -> Option<Table> {
    match view.chart {
        ChartId::Layers => source.has_preview.then(|| tables::layers(&source.view)),
        ChartId::Grid => Some(tables::grid(&source.view, view.metric)),
        ChartId::LayerCosine => {
            let products = session.details.layer_products.done()?;
            Some(tables::layer_cosine(&LayerCosine::new(products, view.cosine_parts), view.cosine_parts))
        }
        ChartId::Sizes => sizes(view, source),
        ChartId::Spectrum => {
            let [only] = view.picked_tensors(source.measured)[..] else { return None };
            let tensor = source.measured.analysis.tensors.get(only)?;
            let spectrum = session.details.spectrum(&tensor.name).done()?;
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
    let least = WIDTHS[0] + WIDTHS[1] * table.columns.len().saturating_sub(1) as f32;
    widgets::wide_ui(ui, &table.name, least, |ui| rows_ui(ui, table));
}

fn rows_ui(ui: &mut Ui, table: &Table) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    ui.spacing_mut().item_spacing = Vec2::new(6.0, 0.0);
    TableBuilder::new(ui)
        .id_salt(("vector table", &table.name))
        .cell_layout(Layout::left_to_right(egui::Align::Center))
        .column(Column::exact(WIDTHS[0]))
        .columns(Column::exact(WIDTHS[1] - 6.0), table.columns.len().saturating_sub(1))
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
