//! Right answers against w with their intervals, and below it, on the same axis to the pixel, what changed in the answers.

use std::cmp::Ordering;

use eframe::egui::{
    self, Align2, Color32, CursorIcon, Mesh, Pos2, Rangef, Rect, RichText, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo,
    pos2,
};
use mergescope_core::evaluate::sweep::{ArmResult, SweepTable};

use super::grid::short;
use crate::evaluate::chart::{self, Series};
use crate::evaluate::words;
use crate::format;
use crate::window::app::App;
use crate::window::chart::axis_font;
use crate::window::theme;

/// Room at the right for the names of lines.
const NAMES_WIDTH: f32 = 92.0;
/// Room at both ends of the axis, so that the outer points are whole.
const EDGE: f32 = 8.0;
/// Height of a chart's title.
const TITLE_HEIGHT: f32 = 22.0;
/// Room above the line of 100 %, for marks on points near it.
const HEADROOM: f32 = 16.0;
/// Height of the labels below a chart.
const LABELS_HEIGHT: f32 = 22.0;
/// Share of the room that the lower chart has.
const LOWER_SHARE: f32 = 0.26;
/// Least distance between two labels of the axis, and between two names.
const LABEL_SPACING: f32 = 36.0;
const NAME_SPACING: f32 = 14.0;
/// Room that a point takes above its middle.
const POINT_ROOM: f32 = 4.0;
/// Distance between the dots of a line across.
const DOT_SPACING: f32 = 4.0;

/// The w axis, which both charts share.
struct Axis {
    low: f64,
    high: f64,
    ends: Rangef,
    /// Every w that has a point.
    ticks: Vec<f64>,
}

impl Axis {
    fn new(table: &SweepTable, ends: Rangef) -> Option<Self> {
        let series = chart::series(table);
        let points = series.iter().flat_map(|series| series.points.iter().map(|(w, _)| *w));
        let mut ticks: Vec<f64> = points.chain(chart::controls(table).iter().map(|(w, _)| *w)).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let (low, high) = (*ticks.first()?, *ticks.last()?);
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
        Some(Self { low, high, ends: Rangef::new(ends.min + EDGE, ends.max - EDGE), ticks })
    }

    fn x(&self, w: f64) -> f32 {
        self.ends.min + self.ends.span() * ((w - self.low) / (self.high - self.low)) as f32
    }

    /// The stripe of a tick: half of the way to its neighbours.
    fn stripe(&self, at: usize) -> Rangef {
        let middle = |a: f64, b: f64| self.x((a + b) / 2.0);
        let left = at.checked_sub(1).map_or(self.ends.min - EDGE, |before| middle(self.ticks[before], self.ticks[at]));
        let right = self.ticks.get(at + 1).map_or(self.ends.max + EDGE, |after| middle(self.ticks[at], *after));
        Rangef::new(left, right)
    }

    fn labels_ui(&self, ui: &Ui, top: f32) {
        let palette = theme::palette(ui);
        let mut free = f32::NEG_INFINITY;
        for w in &self.ticks {
            let x = self.x(*w);
            if x - free >= LABEL_SPACING {
                free = x;
                ui.painter().text(pos2(x, top + 5.0), Align2::CENTER_TOP, short(*w), axis_font(), palette.weak);
            }
        }
    }
}

/// Draws both charts in that height.
pub fn ui(app: &mut App, ui: &mut Ui, table: &SweepTable, height: f32) {
    let lower = (height * LOWER_SHARE).clamp(104.0, 170.0);
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), height), Sense::hover());
    let upper = rect.with_max_y(rect.bottom() - lower);
    title_ui(ui, upper.left_top(), "Right answers against w", |ui| {
        let caption = chart::caption(table);
        let text = RichText::new(&caption).text_style(egui::TextStyle::Small).color(theme::palette(ui).weak);
        ui.add(egui::Label::new(text).truncate()).on_hover_text(caption);
    });
    let ends = Rangef::new(rect.left() + theme::Y_AXIS_WIDTH, rect.right() - NAMES_WIDTH);
    let y = Rangef::new(upper.top() + TITLE_HEIGHT + HEADROOM, upper.bottom() - LABELS_HEIGHT);
    let plot = Rect::from_x_y_ranges(ends, y);
    let Some(axis) = Axis::new(table, ends) else { return };
    upper_ui(app, ui, table, plot, &axis);
    lower_ui(ui, table, rect.with_min_y(upper.bottom() + 4.0), &axis);
}

/// A title of a chart, with more behind it.
fn title_ui(ui: &mut Ui, at: Pos2, title: &str, more: impl FnOnce(&mut Ui)) {
    let rect = Rect::from_min_size(at, Vec2::new(ui.available_width(), TITLE_HEIGHT));
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    // A child of its own: what comes next stands below the chart, not below its title.
    let mut child = ui.new_child(egui::UiBuilder::new().max_rect(rect).layout(layout));
    child.label(RichText::new(title).text_style(theme::strong()));
    child.add_space(4.0);
    more(&mut child);
}

/// Lines across with what they mean at the left.
fn levels_ui(ui: &Ui, plot: Rect, levels: &[(f64, String)]) {
    let palette = theme::palette(ui);
    for (share, label) in levels {
        let y = egui::lerp(plot.bottom()..=plot.top(), *share as f32).round() + 0.5;
        ui.painter().hline(plot.x_range(), y, Stroke::new(1.0, palette.hairline));
        let at = pos2(plot.left() - 8.0, y);
        ui.painter().text(at, Align2::RIGHT_CENTER, label, axis_font(), palette.weak);
    }
}

fn upper_ui(app: &mut App, ui: &mut Ui, table: &SweepTable, plot: Rect, axis: &Axis) {
    let palette = theme::palette(ui);
    let quarters: Vec<(f64, String)> =
        (0..=4).map(|quarter| f64::from(quarter) / 4.0).map(|share| (share, words::share(share))).collect();
    levels_ui(ui, plot, &quarters);
    let y = |share: f64| egui::lerp(plot.bottom()..=plot.top(), share as f32);
    let series = chart::series(table);
    if let Some(first) = series.first() {
        band_ui(ui, first, axis, &y);
    }
    axis.labels_ui(ui, plot.bottom());
    let mut names: Vec<(f32, String, Option<String>)> = Vec::new();
    for reference in chart::references(table) {
        let Some(right) = reference.arm.right else { continue };
        let line = [pos2(plot.left(), y(right.mean)), pos2(plot.right(), y(right.mean))];
        ui.painter().extend(Shape::dotted_line(&line, palette.weak, DOT_SPACING, 0.75));
        names.push((y(right.mean), reference.label, Some(chart::tooltip(reference.arm))));
    }
    for (number, series) in series.iter().enumerate().rev() {
        line_ui(ui, table, series, number == 0, axis, &y);
        if let (Some((_, arm)), false) = (series.points.last(), series.label.is_empty()) {
            names.extend(arm.right.map(|right| (y(right.mean), series.label.clone(), None)));
        }
    }
    for (w, arm) in chart::controls(table) {
        let Some(right) = arm.right else { continue };
        let x = axis.x(w);
        ui.painter().vline(x, y(right.interval.high)..=y(right.interval.low), Stroke::new(1.0, palette.weak));
        ui.painter().circle(pos2(x, y(right.mean)), 4.0, palette.background, Stroke::new(1.5, palette.weak));
    }
    names_ui(ui, plot, names);
    marks_ui(ui, table, &series, plot, axis, &y);
    highlight_ui(app, ui, table, plot, axis, &y);
    stripes_ui(app, ui, table, &series, plot, axis);
}

/// The interval of every point of a series, as a band.
fn band_ui(ui: &Ui, series: &Series<'_>, axis: &Axis, y: &impl Fn(f64) -> f32) {
    let colour = theme::palette(ui).accent.gamma_multiply(0.2);
    let mut mesh = Mesh::default();
    let shares = series.points.iter().filter_map(|(w, arm)| Some((axis.x(*w), arm.right?.interval)));
    for (x, interval) in shares {
        let at = mesh.vertices.len() as u32;
        mesh.colored_vertex(pos2(x, y(interval.high)), colour);
        mesh.colored_vertex(pos2(x, y(interval.low)), colour);
        if at >= 2 {
            mesh.add_triangle(at - 2, at - 1, at);
            mesh.add_triangle(at - 1, at, at + 1);
        }
    }
    if mesh.vertices.len() == 2 {
        // One point has no band, but an interval.
        let [high, low] = [mesh.vertices[0].pos, mesh.vertices[1].pos];
        ui.painter().line_segment([high, low], Stroke::new(3.0, colour));
    }
    ui.painter().add(mesh);
}

fn line_ui(ui: &Ui, table: &SweepTable, series: &Series<'_>, is_first: bool, axis: &Axis, y: &impl Fn(f64) -> f32) {
    let palette = theme::palette(ui);
    let colour = if is_first { palette.accent } else { palette.weak };
    let points = series.points.iter().filter_map(|(w, arm)| Some((*w, *arm, pos2(axis.x(*w), y(arm.right?.mean)))));
    let points: Vec<(f64, &ArmResult, Pos2)> = points.collect();
    let line: Vec<Pos2> = points.iter().map(|(.., at)| *at).collect();
    if is_first {
        ui.painter().line(line, Stroke::new(2.0, colour));
    } else {
        ui.painter().extend(Shape::dashed_line(&line, Stroke::new(1.5, colour), 6.0, 4.0));
    }
    for (w, arm, at) in points {
        let is_chosen = is_first && table.chosen.is_some_and(|chosen| chosen.w == w);
        match chart::is_incomplete(arm) {
            true => ui.painter().circle(at, 4.0, palette.background, Stroke::new(1.5, colour)),
            false => ui.painter().circle_filled(at, if is_chosen { 5.0 } else { 3.5 }, colour),
        };
    }
}

/// Names at the right of the lines that they belong to, moved apart.
fn names_ui(ui: &mut Ui, plot: Rect, mut names: Vec<(f32, String, Option<String>)>) {
    let palette = theme::palette(ui);
    names.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    let mut free = plot.top();
    for (at, name, tooltip) in names {
        let y = at.max(free);
        free = y + NAME_SPACING;
        let font = axis_font();
        let mut galley = ui.painter().layout_no_wrap(name.clone(), font.clone(), palette.weak);
        if galley.size().x > NAMES_WIDTH - 8.0 {
            let short: String = name.chars().take(14).collect();
            galley = ui.painter().layout_no_wrap(format!("{short}…"), font, palette.weak);
        }
        let rect = Align2::LEFT_CENTER.anchor_size(pos2(plot.right() + 8.0, y), galley.size());
        ui.painter().galley(rect.min, galley, palette.weak);
        let response = ui.interact(rect, ui.scope_id().with(("name", &name)), Sense::hover());
        let tooltip = tooltip.unwrap_or(name);
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, &tooltip));
        response.on_hover_text(tooltip);
    }
}

/// An asterisk where luck does not explain a difference, and the numbers at the chosen w.
fn marks_ui(ui: &Ui, table: &SweepTable, series: &[Series<'_>], plot: Rect, axis: &Axis, y: &impl Fn(f64) -> f32) {
    let palette = theme::palette(ui);
    for (number, series) in series.iter().enumerate() {
        for (w, arm) in &series.points {
            let Some(right) = arm.right else { continue };
            // The first series has a band with its intervals, and the others their points alone.
            let top = if number == 0 { y(right.interval.high) } else { y(right.mean) - POINT_ROOM };
            let above = pos2(axis.x(*w), (top - 2.0).max(plot.top() - HEADROOM + 12.0));
            let chosen = table.chosen.filter(|chosen| number == 0 && chosen.w == *w);
            if let Some(chosen) = chosen {
                let p = arm
                    .against
                    .map(|against| if chosen.held_out { against.p } else { against.p_holm.unwrap_or(against.p) });
                let p = p.map(|p| format!("  {}", words::p(p))).unwrap_or_default();
                let text = format!("{}{p}", words::share(right.mean));
                let galley = ui.painter().layout_no_wrap(text, axis_font(), palette.text);
                let mut rect = Align2::CENTER_BOTTOM.anchor_size(above, galley.size());
                // At an end of the axis it stays within the chart.
                rect = rect.translate(Vec2::X * (plot.left() - rect.left()).max(0.0));
                rect = rect.translate(Vec2::X * (plot.right() + NAMES_WIDTH - rect.right()).min(0.0));
                // No line of the grid runs through the numbers.
                ui.painter().rect_filled(rect.expand2(Vec2::new(3.0, 0.0)), 0.0, palette.background);
                ui.painter().galley(rect.min, galley, palette.text);
            } else if chart::is_marked(arm) {
                let font = theme::strong().resolve(ui.style());
                ui.painter().text(above + Vec2::Y * 4.0, Align2::CENTER_BOTTOM, "*", font, palette.text);
            }
        }
    }
}

/// A ring around what a figure in the sentences led to.
fn highlight_ui(app: &App, ui: &Ui, table: &SweepTable, plot: Rect, axis: &Axis, y: &impl Fn(f64) -> f32) {
    let palette = theme::palette(ui);
    let arm = app.evaluate_view.highlighted.and_then(|arm| table.arms.get(arm));
    let Some((arm, right)) = arm.and_then(|arm| Some((arm, arm.right?))) else { return };
    match arm.w {
        Some(w) => {
            let stroke = Stroke::new(2.0, palette.text);
            ui.painter().circle_stroke(pos2(axis.x(w), y(right.mean)), 9.0, stroke);
        }
        None => {
            ui.painter().hline(plot.x_range(), y(right.mean), Stroke::new(2.0, palette.text));
        }
    }
}

/// What the pointer and the keyboard find at each w: its numbers, and the way to use it.
fn stripes_ui(app: &mut App, ui: &mut Ui, table: &SweepTable, series: &[Series<'_>], plot: Rect, axis: &Axis) {
    let palette = theme::palette(ui);
    let description = format!("Chart: right answers against w, {}", chart::caption(table));
    let whole = ui.interact(plot, ui.scope_id().with("sweep chart"), Sense::hover());
    whole.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, &description));
    let controls = chart::controls(table);
    let mut wanted = None;
    for (at, w) in axis.ticks.iter().enumerate() {
        let rect = Rect::from_x_y_ranges(axis.stripe(at), plot.y_range()).expand2(Vec2::new(0.0, HEADROOM));
        let grid = series.iter().flat_map(|series| &series.points).filter(|(found, _)| found == w).map(|(_, arm)| *arm);
        let controls = controls.iter().filter(|(found, _)| found == w).map(|(_, arm)| *arm);
        let arms: Vec<&ArmResult> = grid.chain(controls).collect();
        let text = arms.iter().map(|arm| chart::tooltip(arm)).collect::<Vec<_>>().join("\n");
        let response = ui.interact(rect, ui.scope_id().with(("w", at)), Sense::click());
        let name =
            format!("Use w = {}: {}", short(*w), arms.first().map_or_else(String::new, |arm| chart::tooltip(arm)));
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, &name));
        if response.hovered() || response.has_focus() {
            ui.painter().vline(axis.x(*w), plot.y_range(), Stroke::new(1.0, palette.weak.gamma_multiply(0.6)));
        }
        let response = response.on_hover_cursor(CursorIcon::PointingHand);
        if response.on_hover_text_at_pointer(format!("{text}\nClick to use this w")).clicked() {
            wanted = Some(*w);
        }
    }
    if let Some(w) = wanted {
        app.session.recipe.vector.w = w;
        app.session.say(format!("w is {} now", short(w)));
    }
}

/// Steps, thinking and tokens.
fn lower_ui(ui: &mut Ui, table: &SweepTable, rect: Rect, axis: &Axis) {
    let palette = theme::palette(ui);
    let series = chart::series(table);
    let Some(first) = series.first() else { return };
    let thinks = first.points.iter().any(|(_, arm)| arm.thinks.is_some_and(|share| share > 0.0));
    let mut legend = vec![(palette.good, "answers in steps")];
    legend.extend(thinks.then_some((palette.warning, "with a block of thinking (dotted)")));
    legend.push((palette.weak, "tokens per answer (dashed, right)"));
    title_ui(ui, rect.left_top(), "What changed in the answers", |ui| {
        for (colour, name) in legend {
            let (square, _) = ui.allocate_exact_size(Vec2::splat(8.0), Sense::hover());
            ui.painter().rect_filled(square, 0.0, colour);
            ui.add_space(-4.0);
            ui.label(RichText::new(name).text_style(egui::TextStyle::Small).color(palette.weak));
        }
    });
    let ends = Rangef::new(axis.ends.min - EDGE, axis.ends.max + EDGE);
    let plot = Rect::from_x_y_ranges(ends, rect.top() + TITLE_HEIGHT + 10.0..=rect.bottom() - LABELS_HEIGHT);
    levels_ui(ui, plot, &[(0.0, words::share(0.0)), (1.0, words::share(1.0))]);
    axis.labels_ui(ui, plot.bottom());
    let most = chart::round_up(first.points.iter().filter_map(|(_, arm)| arm.mean_tokens).fold(0.0, f64::max));
    for (share, label) in [(1.0, format::fixed(most, 0)), (0.0, "0".to_owned())] {
        let at = pos2(plot.right() + 8.0, egui::lerp(plot.bottom()..=plot.top(), share));
        ui.painter().text(at, Align2::LEFT_CENTER, label, axis_font(), palette.weak);
    }
    let points = |of: &dyn Fn(&ArmResult) -> Option<f64>| -> Vec<Pos2> {
        let of = first.points.iter().filter_map(|(w, arm)| Some((axis.x(*w), of(arm)?)));
        of.map(|(x, share)| pos2(x, egui::lerp(plot.bottom()..=plot.top(), share as f32))).collect()
    };
    let draw = |points: Vec<Pos2>, colour: Color32, style: u8| {
        if let [only] = points.as_slice() {
            ui.painter().circle_filled(*only, 3.0, colour);
            return;
        }
        match style {
            0 => drop(ui.painter().line(points, Stroke::new(2.0, colour))),
            1 => ui.painter().extend(Shape::dashed_line(&points, Stroke::new(2.0, colour), 7.0, 3.0)),
            _ => ui.painter().extend(Shape::dotted_line(&points, colour, 5.0, 1.2)),
        }
    };
    draw(points(&|arm| arm.mean_tokens.map(|tokens| tokens / most)), palette.weak, 1);
    if thinks {
        draw(points(&|arm| arm.thinks), palette.warning, 2);
    }
    draw(points(&|arm| arm.in_steps), palette.good, 0);
    let description = "Chart: answers in steps and tokens per answer against w";
    let whole = ui.interact(plot, ui.scope_id().with("answers chart"), Sense::hover());
    whole.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, description));
    for (at, w) in axis.ticks.iter().enumerate() {
        let Some((_, arm)) = first.points.iter().find(|(found, _)| found == w) else { continue };
        let stripe = Rect::from_x_y_ranges(axis.stripe(at), plot.y_range());
        let response = ui.interact(stripe, ui.scope_id().with(("answers", at)), Sense::hover());
        response.on_hover_text_at_pointer(changes(arm));
    }
}

/// `w = 0.25: 93 % in steps, 38.0 tokens; 0 cut off, 2 without an answer, 0 errors; Japanese 98 of 100`.
fn changes(arm: &ArmResult) -> String {
    let mut text = arm.label.clone();
    if let Some(steps) = arm.in_steps {
        text += &format!(": {} in steps", words::share(steps));
    }
    if let Some(thinks) = arm.thinks.filter(|share| *share > 0.0) {
        text += &format!(", {} with a block of thinking", words::share(thinks));
    }
    if let Some(tokens) = arm.mean_tokens {
        text += &format!(", {} tokens per answer", format::fixed(tokens, 1));
    }
    let tally = arm.tally;
    text += &format!(
        "\n{} right, {} wrong, {} without an answer, {} cut off, {}",
        tally.right,
        tally.wrong,
        tally.no_answer,
        tally.cut_off,
        format::plural(tally.error as usize, "error")
    );
    let languages = [
        ("Japanese", arm.languages.japanese),
        ("English", arm.languages.english),
        ("in both", arm.languages.mixed),
        ("Chinese", arm.languages.chinese),
        ("too short to tell", arm.languages.unknown),
    ];
    let told: Vec<String> =
        languages.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if told.is_empty() { text } else { format!("{text}\nLanguage: {}", told.join(", ")) }
}
