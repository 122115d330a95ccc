//! What all bar charts over layers share: axes, grid, type, and bars that cannot be dragged about.

use std::ops::RangeInclusive;

use eframe::egui::{self, FontFamily, FontId, Rangef, Response, RichText, Stroke, TextStyle, Ui, Vec2};
use egui_plot::{AxisHints, Bar, BarChart, GridInput, GridMark, HLine, LineStyle, Plot, PlotBounds};

use super::theme::{self, Palette};
use crate::format;

/// Width of a bar, of the distance between two layers.
const BAR_WIDTH: f64 = 0.82;
/// Widest bar in points: a model of few layers needs no walls.
const MAX_BAR_WIDTH: f64 = 72.0;
/// Least distance in points between two labels of the x axis.
const X_LABEL_SPACING: f32 = 36.0;
/// Distance in points that the y axis aims at between two lines.
const Y_LINE_SPACING: f32 = 70.0;
/// Layers' distance between the last layer and what is beside the layers.
const GAP: f64 = 0.5;
/// Distance between two bars with names, which are wider than numbers.
const NAMED_STEP: f64 = 1.25;

/// A slot on the x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where it is.
    pub x: f64,
    /// What is written below it.
    pub label: String,
    /// Whether it is one of the layers, which may go unlabelled when there are many.
    pub is_layer: bool,
}

/// Positions for layers at whole numbers and, after a gap, for what is beside them.
pub fn ticks(labels: impl IntoIterator<Item = (String, bool)>) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    for (label, is_layer) in labels {
        let x = match ticks.last() {
            None => 0.0,
            Some(last) if is_layer => last.x + 1.0,
            Some(last) if last.is_layer => last.x + 1.0 + GAP,
            Some(last) => last.x + NAMED_STEP,
        };
        ticks.push(Tick { x, label, is_layer });
    }
    ticks
}

/// One rectangle of a bar.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where its bar stands.
    pub x: f64,
    /// Its lower end.
    pub base: f64,
    /// Its height.
    pub height: f64,
    /// Its colour.
    pub fill: egui::Color32,
    /// Its outline.
    pub stroke: Stroke,
    /// Its width, of a whole bar.
    pub width: f64,
}

/// Bars over layers.
pub struct BarPlot<'a> {
    /// Tells charts apart.
    pub id: &'static str,
    /// The chart in words, for screen readers.
    pub description: String,
    /// The x axis.
    pub ticks: &'a [Tick],
    /// The rectangles, back to front.
    pub segments: Vec<Segment>,
    /// A dotted line across.
    pub reference: Option<f64>,
    /// Values are shares of one, drawn as per cent; the title says so.
    pub is_percent: bool,
    /// The room it takes.
    pub size: Vec2,
}

impl BarPlot<'_> {
    /// Draws it; the tick under the pointer goes to `tooltip`.
    pub fn show(self, ui: &mut Ui, tooltip: impl FnOnce(&mut Ui, usize)) -> Response {
        let palette = theme::palette(ui);
        let scale = if self.is_percent { 100.0 } else { 1.0 };
        let ends = self.segments.iter().map(|bar| (bar.base + bar.height) * scale);
        let ends = ends.chain(self.reference.map(|value| value * scale)).filter(|end| end.is_finite());
        let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), end| (low.min(end), high.max(end)));
        let high = if high <= low { low + 1.0 } else { high };
        let last_x = self.ticks.last().map_or(0.0, |tick| tick.x);
        let margin = (high - low) * 0.04;
        let bottom = if low < 0.0 { low - margin } else { 0.0 };
        let bounds = PlotBounds::from_min_max([-0.62, bottom], [last_x + 0.62, high + margin]);

        let step = nice_step((high - low) / f64::from((self.size.y / Y_LINE_SPACING).max(2.0)));
        let marks = self.x_marks(self.size.x - theme::Y_AXIS_WIDTH);
        let plot = plain_plot(self.id, palette, self.size)
            .custom_x_axes(vec![x_axis(palette, self.ticks)])
            .custom_y_axes(vec![y_axis(palette)])
            .x_grid_spacer(move |_: GridInput| marks.clone())
            .y_grid_spacer(move |input: GridInput| y_marks(input.bounds, step));
        let distance = f64::from(self.size.x - theme::Y_AXIS_WIDTH) / (last_x + 1.24);
        let bar_width = BAR_WIDTH.min(MAX_BAR_WIDTH / distance.max(1.0));
        let bars: Vec<Bar> = self
            .segments
            .iter()
            .filter(|bar| bar.height.is_finite() && bar.base.is_finite())
            .map(|bar| {
                Bar::new(bar.x, bar.height * scale)
                    .base_offset(bar.base * scale)
                    .width(bar_width * bar.width)
                    .fill(bar.fill)
                    .stroke(bar.stroke)
            })
            .collect();
        let reference = self.reference.map(|value| value * scale);
        let shown = plot.show(ui, move |plot| {
            plot.set_plot_bounds(bounds);
            plot.bar_chart(BarChart::new("", bars).allow_hover(false));
            if let Some(value) = reference {
                let line = HLine::new("", value).color(palette.weak).style(LineStyle::dotted_dense());
                plot.hline(line.allow_hover(false));
            }
            plot.pointer_coordinate()
        });
        let response = shown.response;
        let description = self.description;
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &description));
        let nearest =
            shown.inner.and_then(|pointer| self.ticks.iter().position(|tick| (tick.x - pointer.x).abs() <= 0.5));
        match nearest {
            Some(position) => response.on_hover_ui_at_pointer(|ui| tooltip(ui, position)),
            None => response,
        }
    }

    /// The ticks that are labelled: every layer, or every second, fifth … when there are many.
    fn x_marks(&self, width: f32) -> Vec<GridMark> {
        let last_x = self.ticks.last().map_or(0.0, |tick| tick.x as f32);
        let distance = width / (last_x + 1.24);
        let every = [1, 2, 4, 5, 10, 20, 50, 100].into_iter().find(|&step| distance * step as f32 >= X_LABEL_SPACING);
        let every = every.unwrap_or(200);
        let labelled = |(position, tick): &(usize, &Tick)| !tick.is_layer || position % every == 0;
        let marks = self.ticks.iter().enumerate().filter(labelled);
        marks.map(|(_, tick)| GridMark { value: tick.x, step_size: every as f64 }).collect()
    }
}

fn plain_plot<'a>(id: &'static str, palette: &Palette, size: Vec2) -> Plot<'a> {
    Plot::new(id)
        .width(size.x)
        .height(size.y)
        .show_background(false)
        .show_grid([false, true])
        .grid_color(palette.hairline)
        .grid_fade(0.0)
        .show_x(false)
        .show_y(false)
        .show_crosshair(false)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .allow_axis_zoom_drag(false)
        .set_margin_fraction(Vec2::ZERO)
        .sense(egui::Sense::hover())
}

fn axis_font() -> FontId {
    FontId::new(11.0, FontFamily::Proportional)
}

fn x_axis<'a>(palette: &Palette, ticks: &[Tick]) -> AxisHints<'a> {
    let labels: Vec<(f64, String)> = ticks.iter().map(|tick| (tick.x, tick.label.clone())).collect();
    AxisHints::new_x()
        .formatter(move |mark: GridMark, _: &RangeInclusive<f64>| {
            let label = labels.iter().find(|(x, _)| (x - mark.value).abs() < 1e-6);
            label.map(|(_, label)| label.clone()).unwrap_or_default()
        })
        .label_spacing(Rangef::new(0.0, 1.0))
        .tick_label_color(palette.weak)
        .tick_label_font(axis_font())
}

fn y_axis<'a>(palette: &Palette) -> AxisHints<'a> {
    AxisHints::new_y()
        .formatter(move |mark: GridMark, _: &RangeInclusive<f64>| {
            let decimals = (-mark.step_size.log10().floor()).clamp(0.0, 9.0) as usize;
            if mark.value == 0.0 { "0".to_owned() } else { format::fixed(mark.value, decimals) }
        })
        .min_thickness(theme::Y_AXIS_WIDTH)
        .label_spacing(Rangef::new(8.0, 12.0))
        .tick_label_color(palette.weak)
        .tick_label_font(axis_font())
}

/// The least of 1, 2 or 5 times a power of ten that is not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|&step| step >= rough * 0.999).unwrap_or(10.0 * power)
}

fn y_marks((low, high): (f64, f64), step: f64) -> Vec<GridMark> {
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).take(100).map(|number| GridMark { value: number as f64 * step, step_size: step }).collect()
}

/// One entry of a legend.
pub struct LegendEntry {
    /// What it stands for.
    pub label: &'static str,
    /// Its colour.
    pub fill: egui::Color32,
    /// Its outline.
    pub stroke: Stroke,
}

/// Room for a legend's square and the space around it.
const LEGEND_SQUARE: f32 = 30.0;

/// A chart's title and what its axis means; the legend at the right, or below where there is no room.
pub fn title_ui(ui: &mut Ui, title: &str, meaning: &str, explanation: &str, legend: &[LegendEntry]) {
    let palette = theme::palette(ui);
    let small = |text: &str| RichText::new(text).text_style(TextStyle::Small).color(palette.weak);
    let font = TextStyle::Small.resolve(ui.style());
    let widths = legend.iter().map(|entry| {
        let text = ui.painter().layout_no_wrap(entry.label.to_owned(), font.clone(), palette.weak);
        text.size().x + LEGEND_SQUARE
    });
    let legend_width: f32 = widths.sum();
    let mut fits = false;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 10.0;
        ui.label(RichText::new(title).text_style(theme::strong())).on_hover_text(explanation);
        ui.add(egui::Label::new(small(meaning)).truncate()).on_hover_text(explanation);
        fits = ui.available_width() >= legend_width;
        if fits {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                for entry in legend.iter().rev() {
                    legend_entry_ui(ui, entry);
                }
            });
        }
    });
    if !fits {
        ui.horizontal_wrapped(|ui| legend.iter().for_each(|entry| legend_entry_ui(ui, entry)));
    }
}

fn legend_entry_ui(ui: &mut Ui, entry: &LegendEntry) {
    let palette = theme::palette(ui);
    let from_right = ui.layout().prefer_right_to_left();
    ui.spacing_mut().item_spacing.x = 5.0;
    let text = RichText::new(entry.label).text_style(TextStyle::Small).color(palette.weak);
    let square_ui = |ui: &mut Ui| {
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(8.0), egui::Sense::hover());
        ui.painter().rect(rect, 1.0, entry.fill, entry.stroke, egui::StrokeKind::Inside);
    };
    if from_right {
        ui.label(text);
        square_ui(ui);
    } else {
        square_ui(ui);
        ui.label(text);
    }
    ui.add_space(10.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_or_five() {
        assert_eq!([0.3, 0.7, 1.0, 1.2, 3.0, 7.0].map(nice_step), [0.5, 1.0, 1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn what_is_beside_the_layers_stands_apart() {
        let labels = [("0", true), ("1", true), ("embed", false), ("norm", false)];
        let xs: Vec<f64> = ticks(labels.map(|(l, is)| (l.to_owned(), is))).iter().map(|tick| tick.x).collect();
        assert_eq!(xs, [0.0, 1.0, 2.5, 3.75]);
    }
}
