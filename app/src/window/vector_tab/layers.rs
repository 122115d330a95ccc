//! How far each layer moved: stacked bars by part.

use eframe::egui::{self, Grid, Layout, Rect, RichText, Stroke, Ui, Vec2};
use mergescope_core::analysis::{Group, GroupSums, Sums};
use mergescope_core::layout::Part;

use super::view::{BarMetric, ChartId, VectorView};
use crate::format;
use crate::vector::labels;
use crate::window::chart::{self, BarPlot, Segment, Tick, XScale};
use crate::window::session::Measured;
use crate::window::title::{self, LegendEntry, Title};
use crate::window::{theme, widgets};

impl BarMetric {
    fn of(self, sums: &Sums) -> f64 {
        match self {
            Self::Relative => sums.gram.relative_norm(),
            Self::Norm => sums.gram.norm(),
            Self::Rms => sums.rms(),
        }
    }

    /// `reference` is what relative norms are relative to.
    fn meaning(self, reference: &str) -> String {
        match self {
            Self::Relative => format!("‖v‖ ∕ {reference} in %; colours: share of ‖v‖²"),
            Self::Norm => "‖v‖; colours: share of ‖v‖²".to_owned(),
            Self::Rms => "root mean square of an element of v; colours: share of ‖v‖²".to_owned(),
        }
    }
}

/// Draws the choices above the chart.
pub fn controls_ui(view: &mut VectorView, ui: &mut Ui, measured: &Measured) {
    let relative = format!("‖v‖ ∕ {}: how far a layer moved, of its own size", measured.analysis.reference());
    let metrics = [
        (BarMetric::Relative, "Relative norm", relative.as_str()),
        (BarMetric::Norm, "Norm", "‖v‖: how far a layer moved"),
        (BarMetric::Rms, "RMS per element", "‖v‖ ∕ √elements: how far an element moved, whatever the layer's size"),
    ];
    let parts: Vec<(Option<Part>, &str, &str)> = std::iter::once((None, "All", ""))
        .chain(measured.overview.parts.iter().map(|&(part, _)| (Some(part), part.label(), "")))
        .collect();
    let before = (view.bars, view.part);
    ui.horizontal(|ui| {
        widgets::choice_ui(ui, "Show", "What the height of a bar means", &mut view.bars, &metrics);
        ui.add_space(8.0);
        widgets::choice_ui(ui, "Parts", "All parts of a layer, or one of them alone", &mut view.part, &parts);
    });
    if before != (view.bars, view.part) {
        view.chart = ChartId::Layers;
    }
}

/// `part` of `whole`; 0 of nothing.
fn share_of(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The sums that a bar shows; `None` when the group lacks the chosen part.
fn shown(view: &VectorView, group: &GroupSums) -> Option<Sums> {
    match view.part {
        None => Some(group.all),
        Some(part) => group.cell(part).map(|cell| cell.sums),
    }
}

/// Draws the chart, `room` high, and says where its x axis is.
pub fn ui(view: &mut VectorView, ui: &mut Ui, measured: &Measured, ticks: &[Tick], room: f32) -> XScale {
    let palette = theme::palette(ui);
    let reference = measured.analysis.reference();
    let groups = &measured.overview.groups;
    let heights = || groups.iter().filter_map(|group| shown(view, group)).map(|sums| view.bars.of(&sums));
    let tallest = heights().filter(|height| height.is_finite()).fold(0.0, f64::max);
    let mut segments = Vec::new();
    let mut bars = 0;
    for (tick, group) in groups.iter().enumerate() {
        let Some(sums) = shown(view, group) else { continue };
        bars += 1;
        let height = view.bars.of(&sums);
        let mut base = 0.0;
        for cell in group.cells.iter().filter(|cell| view.part.is_none_or(|part| part == cell.row.part)) {
            let height = height * share_of(cell.sums.gram.v_v, sums.gram.v_v);
            let (fill, stroke) = (palette.part(cell.row.part), Stroke::NONE);
            segments.push(Segment { tick, base, height, fill, stroke, width: 1.0 });
            base += height;
        }
    }
    let legend: Vec<LegendEntry> = measured
        .overview
        .parts
        .iter()
        .filter(|(part, _)| view.part.is_none_or(|only| only == *part))
        .map(|&(part, _)| LegendEntry { label: part.label(), fill: palette.part(part), stroke: Stroke::NONE })
        .collect();
    let top = ui.cursor().top();
    let heading = Title {
        text: ChartId::Layers.title(),
        meaning: &view.bars.meaning(reference),
        explanation: ChartId::Layers.explanation(),
        is_chosen: view.chart == ChartId::Layers,
    };
    let left = ui.cursor().left();
    let mut touched = title::with_legend_ui(ui, &heading, &legend).clicked();
    let used = ui.cursor().top() - top;
    let size = Vec2::new(ui.available_width(), (room - used).max(90.0));
    let plot = BarPlot {
        id: "vector by layer",
        description: format!("Chart: how far each layer moved, {}", format::plural(bars, "bar")),
        ticks,
        segments,
        reference: None,
        is_percent: view.bars == BarMetric::Relative,
        size,
    };
    let metric = view.bars;
    let (response, frame) = plot.show(ui, |ui, position| group_tooltip_ui(ui, &groups[position], metric, reference));
    if tallest == 0.0 {
        let words = match measured.overview.total.gram.v_v {
            0.0 => "v is zero: nothing moved",
            _ => "Nothing to show: choose another part or number",
        };
        chart::empty_ui(ui, frame, words);
    }
    touched |= response.clicked();
    if touched {
        view.chart = ChartId::Layers;
    }
    // The plot's own rectangle ends above the labels of its axis.
    let end = egui::pos2(response.rect.right(), response.rect.bottom() + chart::X_LABELS_HEIGHT);
    let rect = Rect::from_min_max(egui::pos2(left, top), end);
    view.drawn(ChartId::Layers, rect);
    XScale::new(ticks, frame.x_range())
}

fn group_tooltip_ui(ui: &mut Ui, group: &GroupSums, metric: BarMetric, reference: &str) {
    let palette = theme::palette(ui);
    ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
    ui.label(RichText::new(labels::group_title(group.group)).text_style(theme::strong()));
    Grid::new("group tooltip").spacing([16.0, 3.0]).show(ui, |ui| {
        let line = |ui: &mut Ui, label: &str, value: String| {
            ui.label(RichText::new(label).color(palette.weak));
            ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| ui.label(value));
            ui.end_row();
        };
        line(ui, &format!("‖v‖ ∕ {reference}"), format::percent(group.all.gram.relative_norm()));
        line(ui, "‖v‖", format::norm(group.all.gram.norm()));
        line(ui, "RMS of v", format::norm(group.all.rms()));
        for cell in &group.cells {
            let share = format::percent(group.share(cell.row.part));
            let moved = match metric {
                BarMetric::Relative => format::percent(cell.sums.gram.relative_norm()),
                other => format::norm(other.of(&cell.sums)),
            };
            line(ui, cell.row.part.label(), format!("{share} of ‖v‖², {moved} by itself"));
        }
    });
}

/// A tick for each group of the overview, on an axis `width` points wide.
pub fn ticks(measured: &Measured, width: f32) -> Vec<Tick> {
    let groups = measured.overview.groups.iter();
    let labels = groups.map(|sums| (labels::group_short(sums.group), matches!(sums.group, Group::Layer(_))));
    chart::ticks(labels, width)
}
