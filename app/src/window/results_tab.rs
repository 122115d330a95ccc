//! The Results tab: what the last merge wrote, against what was asked for.

use std::cmp::Ordering;

use eframe::egui::{self, Button, Grid, Label, Layout, Rect, RichText, Sense, Stroke, TextStyle, Ui, Vec2};
use egui_extras::{Column, TableBuilder};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{ChangeSums, TensorReport};
use mergescope_core::preflight::Finding;
use mergescope_core::scaling::{ScalingSpec, Spread};

use super::app::App;
use super::chart::{self, BarPlot, Segment, Tick};
use super::command::Command;
use super::session::{MergeEnd, Written};
use super::title::{self, LegendEntry, Title};
use super::{fonts, theme, widgets};
use crate::format;

/// Room for the buttons below the table.
const BUTTONS_HEIGHT: f32 = 44.0;
/// Least width of a table.
const TABLE_WIDTH: f32 = 800.0;
/// Share of the height that the chart takes, the rest being the table's.
const CHART_SHARE: f32 = 0.54;
/// Width of the bar of what was written, within the outline of what was asked for.
const WRITTEN_WIDTH: f32 = 0.8;

/// What the bars show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Intended against written norm.
    Change,
    /// Projection of the written change on v.
    EffectiveW,
    /// Share of non-zero updates that rounding undid.
    Lost,
}

/// A column of the table of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Tensor,
    Intended,
    Written,
    EffectiveW,
    Lost,
    Cosine,
    Overflowed,
}

impl Sort {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Tensor, "Tensor", "Name, in the order of the model"),
        (Self::Intended, "Intended ‖w·v‖", "Norm of the change that was asked for"),
        (Self::Written, "Written", "Norm of the change that is in the file: ‖written − target‖"),
        (Self::EffectiveW, "Effective w", "How much of v the written change has in it: its projection on v"),
        (Self::Lost, "Updates lost", "Share of the non-zero updates that rounding undid"),
        (Self::Cosine, "Cosine", "Cosine of the angle between intended and written change"),
        (Self::Overflowed, "Overflowed", "Sums too large for the type that was written"),
    ];

    fn key(self, change: &ChangeSums) -> f64 {
        match self {
            Self::Tensor => 0.0,
            Self::Intended => change.intended_sq,
            Self::Written => change.written_sq,
            Self::EffectiveW => change.effective_w(),
            Self::Lost => change.lost_share(),
            Self::Cosine => change.cosine(),
            Self::Overflowed => (change.overflowed + change.clipped) as f64,
        }
    }
}

/// The choices of this tab.
pub struct ResultsView {
    metric: Metric,
    sort: Sort,
    descending: bool,
    /// Whether the layers' table is shown instead of the chart.
    pub table: bool,
    /// The order of the tensors: for which merge, sort and direction, and the order itself.
    order: Option<(u64, Sort, bool, Vec<usize>)>,
}

impl Default for ResultsView {
    fn default() -> Self {
        Self { metric: Metric::Change, sort: Sort::Intended, descending: true, table: false, order: None }
    }
}

impl ResultsView {
    fn order(&mut self, written: &Written) -> &[usize] {
        let (sort, descending) = (self.sort, self.descending);
        let is_current =
            |(id, by, down, _): &(u64, Sort, bool, Vec<usize>)| (*id, *by, *down) == (written.id, sort, descending);
        if !self.order.as_ref().is_some_and(is_current) {
            let tensors = &written.report.tensors;
            let mut order: Vec<usize> = (0..tensors.len()).collect();
            if sort != Sort::Tensor {
                order.sort_by(|&a, &b| {
                    let (a, b) = (sort.key(&tensors[a].change), sort.key(&tensors[b].change));
                    compare(a, b, descending)
                });
            } else if descending {
                order.reverse();
            }
            self.order = Some((written.id, sort, descending, order));
        }
        self.order.as_ref().map_or(&[], |(.., order)| order)
    }
}

/// Orders numbers; what is no number comes last either way.
fn compare(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
    }
}

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    match &app.session.end {
        Some(MergeEnd::Written(_)) => written_ui(app, ui),
        Some(MergeEnd::Refused(findings)) => refused_ui(ui, findings),
        Some(MergeEnd::Failed(message)) => {
            let advice = format!("{message}. Nothing was left behind. Mend that and press Merge… again");
            widgets::empty_ui(ui, "The merge failed", &advice);
        }
        Some(MergeEnd::Cancelled) => {
            widgets::empty_ui(ui, "The merge was cancelled", "Nothing was left behind. Press Merge… to start again");
        }
        None if app.session.merge.is_some() => {
            widgets::empty_ui(ui, "Merging…", "What was written is shown here when it is done");
        }
        None => widgets::empty_ui(
            ui,
            "Nothing has been merged yet",
            "Choose w at the left and press Merge…; then this tab shows what was written against what was asked for",
        ),
    }
}

fn refused_ui(ui: &mut Ui, findings: &[Finding]) {
    let first = findings.first().map_or_else(String::new, |finding| format!("{}. {}", finding.title, finding.action));
    widgets::empty_ui(ui, "The merge was refused", &first);
}

fn written_ui(app: &mut App, ui: &mut Ui) {
    let Some(MergeEnd::Written(written)) = &app.session.end else { return };
    let view = &mut app.results_view;
    let mut open_folder = summary_ui(ui, written);
    ui.add_space(10.0);
    let metrics = [
        (Metric::Change, "Change", "Norm of the change, as asked for and as written"),
        (Metric::EffectiveW, "Effective w", "How much of v the written change has in it"),
        (Metric::Lost, "Updates lost", "Share of the non-zero updates that rounding undid"),
    ];
    ui.horizontal(|ui| {
        widgets::choice_ui(ui, "Show", "What the bars show", &mut view.metric, &metrics);
    });
    ui.add_space(6.0);
    let height = ((ui.available_height() - BUTTONS_HEIGHT) * CHART_SHARE).max(150.0).floor();
    if view.table {
        ui.allocate_ui(Vec2::new(ui.available_width(), height), |ui| {
            ui.set_min_height(height);
            widgets::wide_ui(ui, "layers", TABLE_WIDTH, |ui| layers_table_ui(ui, written));
        });
    } else {
        app.chart_rect = Some(chart_ui(view.metric, ui, written, height));
    }
    ui.add_space(8.0);
    let table_height = (ui.available_height() - BUTTONS_HEIGHT).max(80.0);
    ui.allocate_ui(Vec2::new(ui.available_width(), table_height), |ui| {
        ui.set_min_height(table_height);
        widgets::wide_ui(ui, "tensors", TABLE_WIDTH, |ui| tensors_table_ui(view, ui, written, table_height));
    });
    ui.add_space(10.0);
    ui.horizontal(|ui| {
        let button = Button::new(Command::OpenOutput.label()).min_size(Vec2::new(96.0, 28.0));
        open_folder |= ui.add(button).on_hover_text(Command::OpenOutput.explanation()).clicked();
    });
    if open_folder {
        app.commands.push(Command::OpenOutput);
    }
}

/// The sentences on top; true when the folder's name was clicked.
fn summary_ui(ui: &mut Ui, written: &Written) -> bool {
    let palette = theme::palette(ui);
    let report = &written.report;
    let total = &written.total;
    let line = Some(theme::TEXT_LINE);
    let path = format::path(&report.output);
    let mut clicked = false;
    let spacing = ui.spacing().clone();
    ui.spacing_mut().item_spacing = Vec2::ZERO;
    ui.spacing_mut().interact_size.y = theme::TEXT_LINE;
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(format!("{} Written. ", fonts::CHECK)).color(palette.good).line_height(line));
        let w = asked_words(written);
        ui.label(RichText::new(format!("{} + {w}·v is in ", written.target)).line_height(line));
        let link = RichText::new(&path).color(palette.link).line_height(line);
        clicked = ui
            .add(Label::new(link).sense(Sense::click()))
            .on_hover_text(Command::OpenOutput.explanation())
            .on_hover_cursor(egui::CursorIcon::PointingHand)
            .clicked();
        let facts = format!(
            ": {} in {}, {}. ",
            format::bytes(report.bytes_written),
            format::duration(report.elapsed),
            format::plural(report.tensors.len(), "tensor"),
        );
        ui.label(RichText::new(facts).line_height(line));
        ui.label(RichText::new(numbers_sentence(written)).line_height(line));
        let beyond = total.overflowed + total.clipped;
        if beyond > 0 {
            let text = format!(" {} too large for the type written.", format::plural(beyond as usize, "sum"));
            ui.label(RichText::new(text).color(palette.warning).line_height(line));
        }
        if !report.left_out.is_empty() {
            let text = format!(
                " Not carried over from the target: {}.",
                format::list(report.left_out.iter().map(String::as_str))
            );
            ui.label(RichText::new(text).color(palette.weak).line_height(line));
        }
    });
    *ui.spacing_mut() = spacing;
    clicked
}

/// What v was multiplied by: w, or the ends of what it came to.
fn asked_words(written: &Written) -> String {
    match written.asked {
        Some(asked) if asked.differs() => {
            format!("({} to {})", format::fixed(asked.least.into(), 2), format::fixed(asked.most.into(), 2))
        }
        Some(asked) if written.report.recipe.vector.scaling != ScalingSpec::default() => {
            format::significant(asked.least.into())
        }
        _ => format::w(written.report.recipe.vector.w),
    }
}

fn numbers_sentence(written: &Written) -> String {
    let total = &written.total;
    if total.updates == 0 {
        return "Nothing was to be changed: w·v is zero everywhere.".to_owned();
    }
    let asked = written.asked.filter(|asked| asked.differs());
    let asked = asked.map_or_else(String::new, |asked| {
        format!(", where {} was asked for in the mean of what w comes to in each tensor", format::fixed(asked.mean, 3))
    });
    format!(
        "The written change has {} of the vector in it{asked}; {} of the updates were too small for {}.",
        format::fixed(total.effective_w(), 3),
        format::percent(total.lost_share()),
        written.dtype,
    )
}

fn chart_ui(metric: Metric, ui: &mut Ui, written: &Written, height: f32) -> Rect {
    let palette = theme::palette(ui);
    let layers = &written.layers;
    let label = |layer: Option<u32>| layer.map_or_else(|| "rest".to_owned(), |layer| layer.to_string());
    let ticks: Vec<Tick> = chart::ticks(
        layers.iter().map(|sums| (label(sums.layer), sums.layer.is_some())),
        ui.available_width() - theme::Y_AXIS_WIDTH,
    );
    let bar = |tick, height, width| {
        let (fill, stroke) = (palette.accent, Stroke::NONE);
        Segment { tick, base: 0.0, height, fill, stroke, width }
    };
    let outline = Stroke::new(1.0, palette.weak);
    let is_spread = written.asked.is_some_and(|asked| asked.differs());
    let mut segments = Vec::new();
    for (tick, sums) in layers.iter().enumerate() {
        let change = &sums.change;
        match metric {
            Metric::Change => {
                let height = change.intended();
                let fill_colour = palette.background;
                segments.push(Segment { fill: fill_colour, stroke: outline, ..bar(tick, height, 1.0) });
                segments.push(bar(tick, change.written(), WRITTEN_WIDTH));
            }
            Metric::EffectiveW => {
                if let Some(asked) = sums.asked.filter(|_| is_spread) {
                    segments.push(Segment { fill: palette.background, stroke: outline, ..bar(tick, asked.mean, 1.0) });
                }
                segments.push(bar(tick, change.effective_w(), WRITTEN_WIDTH));
            }
            Metric::Lost => segments.push(bar(tick, change.lost_share(), WRITTEN_WIDTH)),
        }
    }
    let (title, meaning) = match metric {
        Metric::Change => ("What was asked for, and what was written", "‖change‖ per layer"),
        // Where there is no one w, there is no line either.
        Metric::EffectiveW if is_spread || written.asked.is_none() => {
            ("How much of the vector arrived", "effective w per layer")
        }
        Metric::EffectiveW => ("How much of the vector arrived", "effective w per layer; dotted: the w asked for"),
        Metric::Lost => ("What rounding lost", "share of the non-zero updates per layer, in %"),
    };
    let scope = ui.scope(|ui| {
        let top = ui.cursor().top();
        let entry = |label, fill, stroke| LegendEntry { label, fill, stroke };
        let legend = match metric {
            Metric::Change => {
                vec![entry("intended", palette.background, outline), entry("written", palette.accent, Stroke::NONE)]
            }
            Metric::EffectiveW if is_spread => vec![
                entry("asked for, in the mean", palette.background, outline),
                entry("written", palette.accent, Stroke::NONE),
            ],
            _ => Vec::new(),
        };
        let heading =
            Title { text: title, meaning, explanation: "Computed while the model was written", is_chosen: false };
        title::with_legend_ui(ui, &heading, &legend);
        let used = ui.cursor().top() - top;
        let is_empty = !segments.iter().any(|segment| segment.height.is_finite() && segment.height != 0.0);
        let plot = BarPlot {
            id: "results by layer",
            description: format!("Chart: {title}, {}", format::plural(layers.len(), "bar")),
            ticks: &ticks,
            segments,
            reference: written.asked.filter(|_| metric == Metric::EffectiveW && !is_spread).map(|asked| asked.mean),
            is_percent: metric == Metric::Lost,
            size: Vec2::new(ui.available_width(), (height - used).max(100.0)),
        };
        let (_, frame) = plot.show(ui, |ui, position| {
            let sums = &layers[position];
            change_tooltip_ui(ui, &layer_title(sums.layer), &sums.change, sums.asked);
        });
        match metric {
            Metric::Change if is_empty => chart::empty_ui(ui, frame, "Nothing was to be changed"),
            Metric::Lost if is_empty => chart::empty_ui(ui, frame, "No update was lost"),
            _ => {}
        }
    });
    scope.response.rect
}

fn layer_title(layer: Option<u32>) -> String {
    layer.map_or_else(|| "Embeddings, head and final norm".to_owned(), |layer| format!("Layer {layer}"))
}

fn change_tooltip_ui(ui: &mut Ui, title: &str, change: &ChangeSums, asked: Option<Spread>) {
    let palette = theme::palette(ui);
    ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
    ui.label(RichText::new(title).text_style(theme::strong()));
    Grid::new("change tooltip").spacing([16.0, 3.0]).show(ui, |ui| {
        let beyond =
            format!("{} overflowed, {} clipped", format::count(change.overflowed), format::count(change.clipped));
        let lost = format!("{} of {}", format::count(change.lost), format::count(change.updates));
        for (label, value) in [
            ("Intended ‖w·v‖", format::norm(change.intended())),
            ("Written", format::norm(change.written())),
            ("w asked for", asked.map_or_else(|| format::NONE.to_owned(), |asked| format::fixed(asked.mean, 4))),
            ("Effective w", format::fixed(change.effective_w(), 4)),
            ("Updates lost", format!("{}, {lost}", format::percent(change.lost_share()))),
            ("Cosine", format::fixed(change.cosine(), 5)),
            ("Beyond the type", beyond),
        ] {
            ui.label(RichText::new(label).color(palette.weak));
            ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| ui.label(value));
            ui.end_row();
        }
    });
}

/// The numbers of one row, in the order of the columns after the name.
fn cells(change: &ChangeSums) -> [String; 6] {
    [
        format::norm(change.intended()),
        format::norm(change.written()),
        format::fixed(change.effective_w(), 3),
        format::percent_fixed(change.lost_share(), 2),
        format::fixed(change.cosine(), 4),
        format::count(change.overflowed + change.clipped),
    ]
}

fn table<'a>(ui: &'a mut Ui, salt: &'static str) -> TableBuilder<'a> {
    ui.spacing_mut().item_spacing = Vec2::new(8.0, 0.0);
    TableBuilder::new(ui)
        .id_salt(salt)
        .cell_layout(Layout::left_to_right(egui::Align::Center))
        .column(Column::remainder().at_least(140.0).clip(true))
        .columns(Column::exact(96.0), Sort::ALL.len() - 1)
        .auto_shrink([false, false])
}

fn layers_table_ui(ui: &mut Ui, written: &Written) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    table(ui, "layers table")
        .header(theme::ROW_HEIGHT, |mut header| {
            for (position, (_, name, explanation)) in Sort::ALL.into_iter().enumerate() {
                let name = if position == 0 { "Layer" } else { name };
                let text = RichText::new(name).text_style(TextStyle::Small).color(palette.weak);
                header.col(|ui| {
                    if position == 0 {
                        ui.label(text);
                    } else {
                        ui.with_layout(right, |ui| ui.label(text).on_hover_text(explanation));
                    }
                });
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, written.layers.len(), |mut row| {
                let sums = &written.layers[row.index()];
                row.col(|ui| drop(ui.label(layer_title(sums.layer))));
                for text in cells(&sums.change) {
                    row.col(|ui| drop(ui.with_layout(right, |ui| ui.label(text))));
                }
            });
        });
}

fn tensors_table_ui(view: &mut ResultsView, ui: &mut Ui, written: &Written, height: f32) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    let (sort, descending) = (view.sort, view.descending);
    let mut asked = None;
    let order = view.order(written);
    let top = ui.cursor().top() + theme::ROW_HEIGHT;
    let width = ui.available_rect_before_wrap().x_range();
    ui.painter().hline(width, top, Stroke::new(1.0, palette.hairline));
    table(ui, "tensors table")
        .max_scroll_height(height - theme::ROW_HEIGHT)
        .min_scrolled_height(height - theme::ROW_HEIGHT)
        .header(theme::ROW_HEIGHT, |mut header| {
            for (column, name, explanation) in Sort::ALL {
                let arrow = match (column == sort, descending) {
                    (false, _) => String::new(),
                    (true, true) => format!(" {}", fonts::DOWN),
                    (true, false) => format!(" {}", fonts::UP),
                };
                header.col(|ui| {
                    let colour = if column == sort { palette.text } else { palette.weak };
                    let text = RichText::new(format!("{name}{arrow}")).text_style(TextStyle::Small).color(colour);
                    let layout = if column == Sort::Tensor { *ui.layout() } else { right };
                    ui.with_layout(layout, |ui| {
                        ui.spacing_mut().button_padding.x = 0.0;
                        let button = ui.add(Button::new(text).frame(false));
                        button.widget_info(|| {
                            egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Sort by {name}"))
                        });
                        if button.on_hover_text(format!("{explanation}. Click to sort")).clicked() {
                            asked = Some(column);
                        }
                    });
                });
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, order.len(), |mut row| {
                let tensor = &written.report.tensors[order[row.index()]];
                row.col(|ui| name_ui(ui, tensor, written.asked.is_some()));
                for text in cells(&tensor.change) {
                    row.col(|ui| drop(ui.with_layout(right, |ui| ui.label(text))));
                }
            });
        });
    if let Some(column) = asked {
        // The same column again turns it round; numbers begin with the largest.
        view.descending = if column == view.sort { !view.descending } else { column != Sort::Tensor };
        view.sort = column;
    }
}

fn name_ui(ui: &mut Ui, tensor: &TensorReport, is_asked: bool) {
    let shape: Vec<String> = tensor.shape.iter().map(|&dim| format::count(dim)).collect();
    let moved = if tensor.coefficient == 0.0 { "as in the target" } else { "target + w·v" };
    let tooltip = format!("{}\n{}, {}, {moved}", tensor.name, shape.join(" × "), dtype_label(tensor.dtype));
    ui.add(Label::new(&tensor.name).truncate()).on_hover_ui(|ui| {
        let asked = Spread::of([(tensor.coefficient, tensor.change.vector_sq)]).filter(|_| is_asked);
        change_tooltip_ui(ui, &tooltip, &tensor.change, asked);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_comes_last_either_way() {
        let mut numbers = [2.0, f64::NAN, 3.0, 1.0];
        numbers.sort_by(|&a, &b| compare(a, b, true));
        assert_eq!(numbers[..3], [3.0, 2.0, 1.0]);
        numbers.sort_by(|&a, &b| compare(a, b, false));
        assert_eq!(numbers[..3], [1.0, 2.0, 3.0]);
        assert!(numbers[3].is_nan());
    }
}
