//! The Vector tab: how far each layer moved.

use eframe::egui::{self, Grid, Layout, RichText, Stroke, TextStyle, Ui, Vec2};
use egui_extras::{Column, TableBuilder};
use mergescope_core::layout::Part;
use mergescope_core::progress::Progress;

use super::app::App;
use super::chart::{self, BarPlot, LegendEntry, Segment, Tick};
use super::session::Stage;
use super::slot::SlotState;
use super::stats::{Group, GroupStats, VectorStats};
use super::{fonts, theme, widgets};
use crate::format;

/// Why colours are shares of squares.
const EXPLANATION: &str = "Norms do not add up, their squares do: a bar is as high as the whole layer's norm, and its \
                           colours divide it by each part's share of ‖v‖²";

/// What the height of a bar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// ‖v‖ ∕ ‖pre‖.
    Relative,
    /// ‖v‖.
    Norm,
}

/// The choices of this tab.
pub struct VectorView {
    metric: Metric,
    /// `None` for all parts.
    part: Option<Part>,
    /// Whether the table is shown instead of the chart.
    pub table: bool,
}

impl Default for VectorView {
    fn default() -> Self {
        Self { metric: Metric::Relative, part: None, table: false }
    }
}

impl VectorView {
    fn value(&self, stats: &GroupStats) -> f64 {
        match self.metric {
            Metric::Relative => stats.relative(),
            Metric::Norm => stats.norm(),
        }
    }
}

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    if app.first_steps {
        first_steps_ui(app, ui);
    }
    let stats = match &app.session.vector {
        Stage::Done(measured) => &measured.stats,
        Stage::Running(_, progress) => return measuring_ui(ui, progress.as_ref()),
        Stage::Failed(message) => {
            let advice = format!("{message}. Mend the model and press Enter in its field to try again");
            return widgets::empty_ui(ui, "The vector could not be measured", &advice);
        }
        Stage::Waiting => return waiting_ui(app, ui),
    };
    let view = &mut app.vector_view;
    if view.part.is_some_and(|part| !stats.parts.contains(&part)) {
        view.part = None;
    }
    widgets::paragraph_ui(ui, &stats.summary())
        .on_hover_text("‖v‖ ∕ ‖pre‖ over all tensors that take part; shares are of ‖v‖²");
    ui.add_space(10.0);
    controls_ui(view, ui, stats);
    ui.add_space(8.0);
    if view.table {
        table_ui(ui, stats);
    } else {
        app.chart_rect = Some(chart_ui(view, ui, stats));
    }
}

fn first_steps_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let steps = [
        "The models at the left are a small demo: post is pre taught to work in steps, target answers at once.",
        "Choose with w how much of that habit, v = post − pre, is added to the target.",
        "Press Merge… to write the new model; Results then shows what was written against what was asked for.",
    ];
    ui.horizontal_top(|ui| {
        ui.vertical(|ui| {
            ui.set_max_width(ui.available_width() - 40.0);
            for (number, step) in steps.iter().enumerate() {
                ui.horizontal_top(|ui| {
                    ui.spacing_mut().item_spacing.x = 8.0;
                    ui.label(
                        RichText::new((number + 1).to_string())
                            .text_style(theme::strong())
                            .color(palette.link)
                            .line_height(Some(theme::TEXT_LINE)),
                    );
                    widgets::paragraph_ui(ui, step);
                });
            }
        });
        ui.with_layout(Layout::right_to_left(egui::Align::Min), |ui| {
            let close = egui::Button::new(RichText::new(fonts::CROSS).color(palette.weak)).frame_when_inactive(false);
            let close = ui.add(close).on_hover_text("Hide the first steps; Help shows them again");
            close.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Hide the first steps"));
            if close.clicked() {
                app.first_steps = false;
            }
        });
    });
    ui.add_space(8.0);
    widgets::hairline_ui(ui);
    ui.add_space(10.0);
}

fn waiting_ui(app: &App, ui: &mut Ui) {
    let session = &app.session;
    let failed = session.slots.iter().any(|slot| matches!(slot.state, SlotState::Failed(_)));
    let preflight_fails = session.preflight.done().is_some_and(|preflight| !preflight.passes());
    let (title, advice) = if failed {
        ("A model could not be opened", "Its field at the left says why and what to do")
    } else if preflight_fails {
        ("These three models do not fit together", "The findings at the left say what differs and what to do about it")
    } else if let Stage::Failed(_) = session.preflight {
        ("The models could not be compared", "The left column says why")
    } else if session.slots.iter().any(|slot| matches!(slot.state, SlotState::Empty)) {
        (
            "No vector yet",
            "Choose three models at the left: one before fine-tuning, one after it, and the one that should get the skill. \
             Help › First steps has the demo",
        )
    } else {
        ("Reading the models…", "The vector is measured as soon as they have been compared")
    };
    widgets::empty_ui(ui, title, advice);
}

fn measuring_ui(ui: &mut Ui, progress: Option<&Progress>) {
    let palette = theme::palette(ui);
    ui.add_space((ui.available_height() * 0.32).floor());
    ui.vertical_centered(|ui| {
        ui.set_max_width(320.0);
        ui.label(RichText::new("Measuring the vector").text_style(theme::strong()));
        ui.add_space(6.0);
        widgets::bar_ui(ui, "Measuring progress", progress.map_or(0.0, Progress::fraction));
        ui.add_space(4.0);
        let text = progress.filter(|progress| progress.total_bytes > 0).map(|progress| {
            let speed = progress.bytes_per_sec().map(|speed| format!(" · {}", format::speed(speed)));
            let left = progress.remaining().map(|left| format!(" · {} left", format::duration(left)));
            let amount = format::bytes_of(progress.done_bytes, progress.total_bytes);
            amount + &speed.unwrap_or_default() + &left.unwrap_or_default()
        });
        ui.label(RichText::new(text.unwrap_or_default()).color(palette.weak));
    });
}

fn controls_ui(view: &mut VectorView, ui: &mut Ui, stats: &VectorStats) {
    let metrics = [
        (Metric::Relative, "Relative norm", "‖v‖ ∕ ‖pre‖: how far a layer moved, of its own size"),
        (Metric::Norm, "Norm", "‖v‖: how far a layer moved"),
    ];
    let parts: Vec<(Option<Part>, &str, &str)> = std::iter::once((None, "All", ""))
        .chain(stats.parts.iter().map(|&part| (Some(part), part.label(), "")))
        .collect();
    ui.horizontal(|ui| {
        widgets::choice_ui(ui, "Show", "What the height of a bar means", &mut view.metric, &metrics);
        ui.add_space(8.0);
        widgets::choice_ui(ui, "Parts", "All parts of a layer, or one of them alone", &mut view.part, &parts);
    });
}

/// Draws the chart; its rectangle is what Save PNG saves.
fn chart_ui(view: &VectorView, ui: &mut Ui, stats: &VectorStats) -> egui::Rect {
    let palette = theme::palette(ui);
    let shown: Vec<GroupStats> = match view.part {
        None => stats.groups.clone(),
        Some(part) => stats.groups.iter().filter_map(|group| group.only(part)).collect(),
    };
    let ticks: Vec<Tick> = chart::ticks(shown.iter().map(|s| (s.group.label(), matches!(s.group, Group::Layer(_)))));
    let mut segments = Vec::new();
    for (group, tick) in shown.iter().zip(&ticks) {
        let height = view.value(group);
        let mut base = 0.0;
        for &(part, ..) in &group.parts {
            let share = height * group.share(part);
            let gap = Stroke::new(0.5, palette.background);
            let fill = palette.part(part);
            segments.push(Segment { x: tick.x, base, height: share, fill, stroke: gap, width: 1.0 });
            base += share;
        }
    }
    let scope = ui.scope(|ui| {
        let meaning = match view.metric {
            Metric::Relative => "‖v‖ ∕ ‖pre‖ in %; colours: share of ‖v‖²",
            Metric::Norm => "‖v‖; colours: share of ‖v‖²",
        };
        let legend: Vec<LegendEntry> = stats
            .parts
            .iter()
            .filter(|part| view.part.is_none_or(|only| only == **part))
            .map(|&part| LegendEntry { label: part.label(), fill: palette.part(part), stroke: Stroke::NONE })
            .collect();
        chart::title_ui(ui, "How far each layer moved", meaning, EXPLANATION, &legend);
        let size = ui.available_size().max(Vec2::new(200.0, 160.0));
        let plot = BarPlot {
            id: "vector by layer",
            description: format!("Chart: how far each layer moved, {}", format::plural(shown.len(), "bar")),
            ticks: &ticks,
            segments,
            reference: None,
            is_percent: view.metric == Metric::Relative,
            size,
        };
        plot.show(ui, |ui, position| group_tooltip_ui(ui, &shown[position]));
    });
    scope.response.rect
}

fn group_tooltip_ui(ui: &mut Ui, stats: &GroupStats) {
    let palette = theme::palette(ui);
    ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
    ui.label(RichText::new(stats.group.title()).text_style(theme::strong()));
    Grid::new("group tooltip").spacing([16.0, 3.0]).show(ui, |ui| {
        let line = |ui: &mut Ui, label: &str, value: String| {
            ui.label(RichText::new(label).color(palette.weak));
            ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| ui.label(value));
            ui.end_row();
        };
        line(ui, "‖v‖ ∕ ‖pre‖", format::percent(stats.relative()));
        line(ui, "‖v‖", format::norm(stats.norm()));
        line(ui, "‖pre‖", format::norm(stats.pre_sq.sqrt()));
        for &(part, pre_sq, v_sq) in &stats.parts {
            let relative = format::percent((v_sq / pre_sq).sqrt());
            line(ui, part.label(), format!("{} of ‖v‖², moved {relative}", format::percent(stats.share(part))));
        }
    });
}

fn table_ui(ui: &mut Ui, stats: &VectorStats) {
    let least = 110.0 + 3.0 * 92.0 + 54.0 * stats.parts.len() as f32;
    widgets::wide_ui(ui, "vector table", least, |ui| table_rows_ui(ui, stats));
}

fn table_rows_ui(ui: &mut Ui, stats: &VectorStats) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    ui.spacing_mut().item_spacing = Vec2::new(4.0, 0.0);
    TableBuilder::new(ui)
        .id_salt("vector table")
        .cell_layout(Layout::left_to_right(egui::Align::Center))
        .column(Column::exact(110.0))
        .columns(Column::exact(88.0), 3)
        .columns(Column::remainder().at_least(48.0), stats.parts.len())
        .header(theme::ROW_HEIGHT, |mut header| {
            let names = ["Layer", "‖v‖ ∕ ‖pre‖", "‖v‖", "‖pre‖"].into_iter();
            for (position, name) in names.chain(stats.parts.iter().map(|part| part.label())).enumerate() {
                let text = RichText::new(name).text_style(TextStyle::Small).color(palette.weak);
                header.col(|ui| {
                    if position == 0 {
                        ui.label(text);
                    } else {
                        let tooltip = if position > 3 { "Share of the layer's ‖v‖²" } else { "" };
                        ui.with_layout(right, |ui| {
                            let response = ui.label(text);
                            if !tooltip.is_empty() {
                                response.on_hover_text(tooltip);
                            }
                        });
                    }
                });
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, stats.groups.len(), |mut row| {
                let group = &stats.groups[row.index()];
                row.col(|ui| drop(ui.label(group.group.title())));
                let numbers = [
                    format::percent_fixed(group.relative(), 2),
                    format::norm(group.norm()),
                    format::norm(group.pre_sq.sqrt()),
                ];
                let shares = stats.parts.iter().map(|&part| match group.share(part) {
                    0.0 => format::NONE.to_owned(),
                    share => format::percent_fixed(share, 1),
                });
                for text in numbers.into_iter().chain(shares) {
                    row.col(|ui| drop(ui.with_layout(right, |ui| ui.label(text))));
                }
            });
        });
}
