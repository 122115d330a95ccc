//! What a merge wrote, against what was asked for.

use std::cmp::Ordering;

use eframe::egui::{self, Button, Grid, Label, Layout, Rect, RichText, Stroke, TextStyle, Ui, Vec2};
use egui_extras::{Column, TableBuilder};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{ChangeSums, TensorReport};
use mergescope_core::scaling::{ScalingSpec, Spread};

use super::{BUTTONS_HEIGHT, CHART_SHARE, buttons_ui, facts, layer_title, sentences_ui, words_ui};
use crate::format;
use crate::window::app::App;
use crate::window::chart::{self, BarPlot, Segment, Tick};
use crate::window::command::Command;
use crate::window::session::{End, Written};
use crate::window::title::{self, LegendEntry, Title};
use crate::window::{fonts, method_words, theme, widgets};

/// Least width of a table.
const TABLE_WIDTH: f32 = 800.0;
/// Room for a scroll bar at the end of a table.
const SCROLL_ROOM: f32 = 10.0;
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
    const COUNT: usize = 7;

    /// The columns, with their names; of several vectors or a method there is no one w.
    fn all(is_plain: bool) -> [(Self, &'static str, &'static str); Self::COUNT] {
        let words = Words::of(is_plain);
        [
            (Self::Tensor, "Tensor", "Name, in the order of the model"),
            (Self::Intended, words.intended, "Norm of the change that was asked for"),
            (Self::Written, "Written", "Norm of the change that is in the file: ‖written − target‖"),
            (Self::EffectiveW, words.effective, words.effective_means),
            (Self::Lost, "Updates lost", "Share of the non-zero updates that rounding undid"),
            (Self::Cosine, "Cosine", "Cosine of the angle between intended and written change"),
            (Self::Overflowed, "Overflowed", "Sums too large for the type that was written"),
        ]
    }

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

/// What numbers are called: of target + w·v, and of any other recipe, whose intended change is no multiple of one vector.
#[derive(Clone, Copy)]
struct Words {
    intended: &'static str,
    effective: &'static str,
    effective_means: &'static str,
    effective_title: &'static str,
}

impl Words {
    fn of(is_plain: bool) -> Self {
        if is_plain {
            return Self {
                intended: "Intended ‖w·v‖",
                effective: "Effective w",
                effective_means: "How much of v the written change has in it: its projection on v",
                effective_title: "How much of the vector arrived",
            };
        }
        Self {
            intended: "Intended change",
            effective: "Share written",
            effective_means: "How much of the intended change is in the file: the projection of the one on the other",
            effective_title: "How much of the intended change arrived",
        }
    }
}

/// The choices about a merge.
pub struct MergeView {
    metric: Metric,
    sort: Sort,
    descending: bool,
    /// The order of the tensors: for which merge, sort and direction, and the order itself.
    order: Option<(u64, Sort, bool, Vec<usize>)>,
}

impl Default for MergeView {
    fn default() -> Self {
        Self { metric: Metric::Change, sort: Sort::Intended, descending: true, order: None }
    }
}

impl MergeView {
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

/// Draws what was written.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let Some(End::Merged(written)) = &app.session.end else { return };
    let (view, shows_table) = (&mut app.results_view.merge, app.results_view.table);
    let recipe = &written.report.recipe;
    if let Some((number, control)) = (1..).zip(recipe.vectors()).find_map(|(number, v)| Some((number, v.control?))) {
        let control = method_words::control_label(control.kind);
        let place = if recipe.others.is_empty() { "the real vector".to_owned() } else { format!("vector {number}") };
        widgets::badge_ui(ui, &format!("Written with a control, {control}, in place of {place}"))
            .on_hover_text(method_words::CONTROL);
        ui.add_space(4.0);
    }
    let mut open_folder = summary_ui(ui, written);
    ui.add_space(10.0);
    let words = Words::of(written.is_plain);
    let metrics = [
        (Metric::Change, "Change", "Norm of the change, as asked for and as written"),
        (Metric::EffectiveW, words.effective, words.effective_means),
        (Metric::Lost, "Updates lost", "Share of the non-zero updates that rounding undid"),
    ];
    ui.horizontal(|ui| {
        widgets::choice_ui(ui, "Show", "What the bars show", &mut view.metric, &metrics);
    });
    ui.add_space(6.0);
    let height = ((ui.available_height() - BUTTONS_HEIGHT) * CHART_SHARE).max(150.0).floor();
    if shows_table {
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
    open_folder |= buttons_ui(ui, |_| {});
    if open_folder {
        app.commands.push(Command::OpenOutput);
    }
}

/// The sentences on top; true when the folder's name was clicked.
fn summary_ui(ui: &mut Ui, written: &Written) -> bool {
    let palette = theme::palette(ui);
    let line = Some(theme::TEXT_LINE);
    let (report, total) = (&written.report, &written.total);
    let formula = method_words::formula(&report.recipe, &written.target, &asked_words(written));
    // A model keeps its name as it is.
    let begins = if formula.starts_with(&written.target) { formula } else { format::sentence(&formula) };
    sentences_ui(ui, &format!("{begins} is in "), &format::path(&report.output), |ui| {
        words_ui(ui, format!(": {}. ", facts(report.bytes_written, report.elapsed, report.tensors.len())));
        if report.resumed_bytes > 0 {
            let there = format::bytes(report.resumed_bytes);
            words_ui(ui, format!("Of these, {there} were there already, from a run that was interrupted. "));
        }
        words_ui(ui, numbers_sentence(written));
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
    })
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
        return match written.is_plain {
            true => "Nothing was to be changed: w·v is zero everywhere.".to_owned(),
            false => "Nothing was to be changed: it comes to the target everywhere.".to_owned(),
        };
    }
    if !written.is_plain {
        return format!(
            "Of the intended change {} was written; {} of the updates were too small for {}.",
            format::percent(total.effective_w()),
            format::percent(total.lost_share()),
            written.dtype,
        );
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
    let words = Words::of(written.is_plain);
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
        Metric::EffectiveW if !written.is_plain => (words.effective_title, "share per layer; 1 is all of it"),
        // Where there is no one w, there is no line either.
        Metric::EffectiveW if is_spread || written.asked.is_none() => (words.effective_title, "effective w per layer"),
        Metric::EffectiveW => (words.effective_title, "effective w per layer; dotted: the w asked for"),
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
            change_tooltip_ui(ui, &layer_title(sums.layer), words, &sums.change, sums.asked);
        });
        match metric {
            Metric::Change if is_empty => chart::empty_ui(ui, frame, "Nothing was to be changed"),
            Metric::Lost if is_empty => chart::empty_ui(ui, frame, "No update was lost"),
            _ => {}
        }
    });
    scope.response.rect
}

fn change_tooltip_ui(ui: &mut Ui, title: &str, words: Words, change: &ChangeSums, asked: Option<Spread>) {
    let palette = theme::palette(ui);
    ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
    ui.label(RichText::new(title).text_style(theme::strong()));
    Grid::new("change tooltip").spacing([16.0, 3.0]).show(ui, |ui| {
        let beyond =
            format!("{} overflowed, {} clipped", format::count(change.overflowed), format::count(change.clipped));
        let lost = format!("{} of {}", format::count(change.lost), format::count(change.updates));
        for (label, value) in [
            (words.intended, format::norm(change.intended())),
            ("Written", format::norm(change.written())),
            ("w asked for", asked.map_or_else(|| format::NONE.to_owned(), |asked| format::fixed(asked.mean, 4))),
            (words.effective, format::fixed(change.effective_w(), 4)),
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
    // Room for the bar, which would lie over the last digits.
    ui.spacing_mut().scroll.floating_allocated_width = SCROLL_ROOM;
    TableBuilder::new(ui)
        .id_salt(salt)
        .cell_layout(Layout::left_to_right(egui::Align::Center))
        .column(Column::remainder().at_least(140.0).clip(true))
        .columns(Column::exact(104.0), Sort::COUNT - 1)
        .auto_shrink([false, false])
}

fn layers_table_ui(ui: &mut Ui, written: &Written) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    table(ui, "layers table")
        .header(theme::ROW_HEIGHT, |mut header| {
            for (position, (_, name, explanation)) in Sort::all(written.is_plain).into_iter().enumerate() {
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

fn tensors_table_ui(view: &mut MergeView, ui: &mut Ui, written: &Written, height: f32) {
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
            for (column, name, explanation) in Sort::all(written.is_plain) {
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
                row.col(|ui| name_ui(ui, tensor, written));
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

fn name_ui(ui: &mut Ui, tensor: &TensorReport, written: &Written) {
    let shape: Vec<String> = tensor.shape.iter().map(|&dim| format::count(dim)).collect();
    let stays = std::iter::once(&tensor.coefficient).chain(&tensor.other_coefficients).all(|share| *share == 0.0);
    let moved = match (stays, written.is_plain) {
        (true, _) => "as in the target".to_owned(),
        (false, true) => "target + w·v".to_owned(),
        (false, false) => method_words::formula(&written.report.recipe, "target", ""),
    };
    let tooltip = format!("{}\n{}, {}, {moved}", tensor.name, shape.join(" × "), dtype_label(tensor.dtype));
    ui.add(Label::new(&tensor.name).truncate()).on_hover_ui(|ui| {
        let asked = Spread::of([(tensor.coefficient, tensor.change.vector_sq)]).filter(|_| written.asked.is_some());
        change_tooltip_ui(ui, &tooltip, Words::of(written.is_plain), &tensor.change, asked);
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
