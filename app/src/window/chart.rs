//! What all bar charts over layers share: axes, grid, type, and bars that cannot be dragged about.

use std::ops::RangeInclusive;

use eframe::egui::{
    self, FontFamily, FontId, Mesh, Rangef, Rect, Response, Shape, Stroke, StrokeKind, Ui, Vec2,
    emath::GuiRounding as _, pos2,
};
use egui_plot::{AxisHints, GridInput, GridMark, Plot, PlotBounds, PlotPoint};

use super::theme::{self, Palette};
use crate::format;

/// Width of a bar, of the distance between two layers.
const BAR_WIDTH: f32 = 0.82;
/// Widest bar in points: a model of few layers needs no walls.
const MAX_BAR_WIDTH: f32 = 72.0;
/// Pixels a layer below which bars touch: gaps of a pixel would be a pattern of their own.
const LEAST_WITH_GAP: f32 = 5.0;
/// Least height in points of a colour that keeps a pixel's distance from the one below it.
const LEAST_PARTED: f32 = 3.0;
/// Distance in points between the dots of a line across.
const DOT_SPACING: f32 = 4.0;
/// Least distance in points between two labels of the x axis.
const X_LABEL_SPACING: f32 = 36.0;
/// Distance in points that the y axis aims at between two lines.
const Y_LINE_SPACING: f32 = 70.0;
/// Layers' distance between the last layer and what is beside the layers.
const GAP: f64 = 0.5;
/// Distance between two bars with names, which are wider than numbers.
const NAMED_STEP: f64 = 1.25;
/// Least distance in points between two bars with names.
const NAME_SPACING: f64 = 40.0;
/// Least width in points of a bar with a name.
const NAMED_WIDTH: f64 = 24.0;
/// Room beside the first and the last tick, in distances between layers.
const EDGE: f64 = 0.62;
/// Room below a chart for the labels of its x axis.
pub const X_LABELS_HEIGHT: f32 = 18.0;

/// A slot on the x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where it is.
    pub x: f64,
    /// Its width, in distances between layers: 1, but for what has a name and stands beside hundreds of layers.
    pub width: f64,
    /// What is written below it.
    pub label: String,
    /// Whether it is one of the layers, which may go unlabelled when there are many.
    pub is_layer: bool,
}

/// Positions for layers at whole numbers and, after a gap, for what is beside them, on an axis `width` points wide.
pub fn ticks(labels: impl IntoIterator<Item = (String, bool)>, width: f32) -> Vec<Tick> {
    let labels: Vec<(String, bool)> = labels.into_iter().collect();
    let named = labels.iter().filter(|(_, is_layer)| !is_layer).count() as f64;
    // Named bars take what they need first, as far as that leaves half of the axis to the layers.
    let room = f64::from(width) - (named * NAME_SPACING).min(f64::from(width) / 2.0);
    let distance = (room / (labels.len() as f64 - named + 2.0 * EDGE)).max(1.0);
    let named_step = NAMED_STEP.max(NAME_SPACING / distance);
    let named_width = (NAMED_WIDTH / distance).max(1.0);
    let mut ticks: Vec<Tick> = Vec::new();
    for (label, is_layer) in labels {
        let x = match ticks.last() {
            None => 0.0,
            Some(last) if is_layer => last.x + 1.0,
            Some(last) if last.is_layer => last.x + (1.0 + GAP).max(0.5 + named_step / 2.0),
            Some(last) => last.x + named_step,
        };
        ticks.push(Tick { x, width: if is_layer { 1.0 } else { named_width }, label, is_layer });
    }
    ticks
}

/// One rectangle of a bar.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The position of its bar's tick.
    pub tick: usize,
    /// Where it begins: another than zero when it stands on one below.
    pub base: f64,
    /// Its height.
    pub height: f64,
    /// Its colour.
    pub fill: egui::Color32,
    /// Its outline; what has one lies behind what has none.
    pub stroke: Stroke,
    /// Its width, of a whole bar.
    pub width: f32,
}

impl Segment {
    /// Its rectangle within `bar` between the heights of its two ends, in whole pixels; `None` when it is too thin for
    /// one.
    fn rect(&self, bar: Rangef, [base, end]: [f32; 2], parts: bool, pixels_per_point: f32) -> Option<Rect> {
        let pixel = 1.0 / pixels_per_point;
        let inset = ((1.0 - self.width) * bar.span() / 2.0).round_to_pixels(pixels_per_point);
        let (mut top, mut bottom) =
            (base.min(end).round_to_pixels(pixels_per_point), base.max(end).round_to_pixels(pixels_per_point));
        if bottom <= top {
            // A bar is seen, however low; a colour within one may be too thin.
            if self.base != 0.0 || self.height == 0.0 {
                return None;
            }
            if self.height > 0.0 {
                top = bottom - pixel;
            } else {
                bottom = top + pixel;
            }
        } else if parts && self.base != 0.0 && bottom - top > LEAST_PARTED {
            bottom -= pixel;
        }
        Some(Rect::from_x_y_ranges(bar.min + inset..=bar.max - inset, top..=bottom))
    }
}

/// Where the slots of an x axis are on the screen, so that charts over the same layers share it to the pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct XScale {
    /// Where x = 0 is.
    zero: f32,
    /// Points from one layer to the next.
    pub step: f32,
    /// The chart's ends.
    pub ends: Rangef,
}

impl XScale {
    /// The axis of `ticks` over a chart between `ends`.
    pub fn new(ticks: &[Tick], ends: Rangef) -> Self {
        let step = ends.span() / (EDGE + end(ticks)) as f32;
        Self { zero: ends.min + EDGE as f32 * step, step, ends }
    }

    /// The column of a tick; those of layers touch.
    pub fn column(&self, tick: &Tick) -> Rangef {
        let middle = self.zero + tick.x as f32 * self.step;
        let half = tick.width as f32 * self.step / 2.0;
        Rangef::new(middle - half, middle + half)
    }

    /// Whether the bars of layers are so narrow that there is no room between them.
    fn is_dense(&self, pixels_per_point: f32) -> bool {
        self.step * pixels_per_point < LEAST_WITH_GAP
    }

    /// The bar of a tick, in whole pixels and with the same gap between all layers.
    fn bar(&self, tick: &Tick, pixels_per_point: f32) -> Rangef {
        let column = self.column(tick);
        let sides = [column.min, column.max].map(|side| side.round_to_pixels(pixels_per_point));
        if tick.is_layer && self.is_dense(pixels_per_point) {
            return Rangef::new(sides[0], sides[1]);
        }
        let width = (BAR_WIDTH * column.span()).min(MAX_BAR_WIDTH);
        let gap = ((column.span() - width) * pixels_per_point).round().max(1.0);
        let left = (gap / 2.0).floor();
        Rangef::new(sides[0] + left / pixels_per_point, sides[1] - (gap - left) / pixels_per_point)
    }

    /// Draws the labels below a chart that ends at `top`.
    pub fn labels_ui(&self, ui: &Ui, ticks: &[Tick], top: f32) {
        let palette = theme::palette(ui);
        let every = label_every(self.step);
        for (position, tick) in ticks.iter().enumerate() {
            if !tick.is_layer || position.is_multiple_of(every) {
                let at = pos2(self.column(tick).center(), top + 3.0);
                ui.painter().text(at, egui::Align2::CENTER_TOP, &tick.label, axis_font(), palette.weak);
            }
        }
    }
}

/// Where the axis ends: where layers are narrow, a name below the last bar reaches beyond it.
fn end(ticks: &[Tick]) -> f64 {
    let Some(last) = ticks.last() else { return EDGE };
    let is_narrow = last.width > 1.0;
    last.x + if is_narrow { last.width / NAMED_WIDTH * NAME_SPACING / 2.0 } else { EDGE }
}

/// Which layers are labelled when they are `distance` points apart: every one, every second, fourth …
fn label_every(distance: f32) -> usize {
    let every = [1, 2, 4, 5, 10, 20, 50, 100].into_iter().find(|&step| distance * step as f32 >= X_LABEL_SPACING);
    every.unwrap_or(200)
}

/// Bars over layers.
pub struct BarPlot<'a> {
    /// Tells charts apart.
    pub id: &'static str,
    /// The chart in words, for screen readers.
    pub description: String,
    /// The x axis.
    pub ticks: &'a [Tick],
    /// The rectangles, from the bottom up.
    pub segments: Vec<Segment>,
    /// A dotted line across.
    pub reference: Option<f64>,
    /// Values are shares of one, drawn as per cent; the title says so.
    pub is_percent: bool,
    /// The room it takes.
    pub size: Vec2,
}

impl BarPlot<'_> {
    /// Draws it and says where; the tick under the pointer goes to `tooltip`.
    pub fn show(self, ui: &mut Ui, tooltip: impl FnOnce(&mut Ui, usize)) -> (Response, Rect) {
        let palette = theme::palette(ui);
        let scale = if self.is_percent { 100.0 } else { 1.0 };
        let ends = self.segments.iter().map(|bar| (bar.base + bar.height) * scale);
        let ends = ends.chain(self.reference.map(|value| value * scale)).filter(|end| end.is_finite());
        let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), end| (low.min(end), high.max(end)));
        // Numbers at an axis without anything on it would mean nothing.
        let is_empty = high <= low;
        let high = if is_empty { low + 1.0 } else { high };
        let end = end(self.ticks);
        let margin = (high - low) * 0.04;
        let bottom = if low < 0.0 { low - margin } else { 0.0 };
        let bounds = PlotBounds::from_min_max([-EDGE, bottom], [end, high + margin]);

        let step = nice_step((high - low) / f64::from((self.size.y / Y_LINE_SPACING).max(2.0)));
        let marks = self.x_marks(self.size.x - theme::Y_AXIS_WIDTH);
        let plot = plain_plot(self.id, palette, self.size)
            .custom_x_axes(vec![x_axis(palette, self.ticks)])
            .custom_y_axes(vec![y_axis(palette)])
            .x_grid_spacer(move |_: GridInput| marks.clone())
            .y_grid_spacer(move |input: GridInput| if is_empty { Vec::new() } else { y_marks(input.bounds, step) });
        let shown = plot.show(ui, move |plot| {
            plot.set_plot_bounds(bounds);
            plot.pointer_coordinate()
        });
        let height_of = |value: f64| shown.transform.position_from_point(&PlotPoint::new(0.0, value * scale)).y;
        self.bars_ui(ui, *shown.transform.frame(), height_of);
        let (response, frame) = (shown.response, *shown.transform.frame());
        let description = self.description;
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &description));
        let nearest = shown
            .inner
            .and_then(|pointer| self.ticks.iter().position(|tick| (tick.x - pointer.x).abs() <= tick.width / 2.0));
        let response = match nearest {
            Some(position) => response.on_hover_ui_at_pointer(|ui| tooltip(ui, position)),
            None => response,
        };
        (response, frame)
    }

    /// Draws the segments, and the line across; `height_of` says where a value is.
    fn bars_ui(&self, ui: &Ui, frame: Rect, height_of: impl Fn(f64) -> f32) {
        let pixels_per_point = ui.pixels_per_point();
        let x = XScale::new(self.ticks, frame.x_range());
        let parts = !x.is_dense(pixels_per_point);
        let painter = ui.painter().with_clip_rect(frame.intersect(ui.clip_rect()));
        let mut mesh = Mesh::default();
        for segment in self.segments.iter().filter(|bar| bar.height.is_finite() && bar.base.is_finite()) {
            let Some(tick) = self.ticks.get(segment.tick) else { continue };
            let ends = [segment.base, segment.base + segment.height].map(&height_of);
            let Some(rect) = segment.rect(x.bar(tick, pixels_per_point), ends, parts, pixels_per_point) else {
                continue;
            };
            if segment.stroke.is_empty() {
                mesh.add_colored_rect(rect, segment.fill);
            } else {
                painter.rect(rect, 0.0, segment.fill, segment.stroke, StrokeKind::Inside);
            }
        }
        painter.add(mesh);
        if let Some(value) = self.reference {
            let line = [frame.left(), frame.right()].map(|x| pos2(x, height_of(value)));
            painter.extend(Shape::dotted_line(&line, theme::palette(ui).weak, DOT_SPACING, 0.75));
        }
    }

    /// The ticks that are labelled: every layer, or every second, fifth … when there are many.
    fn x_marks(&self, width: f32) -> Vec<GridMark> {
        let every = label_every(width / (EDGE + end(self.ticks)) as f32);
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
        .sense(egui::Sense::click())
}

/// Says in an empty chart why it is empty.
pub fn empty_ui(ui: &mut Ui, frame: Rect, words: &str) {
    let palette = theme::palette(ui);
    let font = egui::TextStyle::Body.resolve(ui.style());
    let size = ui.painter().layout_no_wrap(words.to_owned(), font, palette.weak).size() + Vec2::splat(8.0);
    let rect = Rect::from_center_size(frame.center(), size);
    ui.painter().rect_filled(rect, 0.0, palette.background);
    // A child of its own: what comes next stands below the chart, not below these words.
    let mut child = ui.new_child(egui::UiBuilder::new().max_rect(frame));
    child.put(rect, egui::Label::new(egui::RichText::new(words).color(palette.weak)).extend());
}

/// The font of axes and of numbers in charts.
pub fn axis_font() -> FontId {
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
pub fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|&step| step >= rough * 0.999).unwrap_or(10.0 * power)
}

/// The multiples of `step` within a range, a hundred at most.
pub fn lines((low, high): (f64, f64), step: f64) -> impl Iterator<Item = f64> {
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).take(100).map(move |number| number as f64 * step)
}

fn y_marks(range: (f64, f64), step: f64) -> Vec<GridMark> {
    lines(range, step).map(|value| GridMark { value, step_size: step }).collect()
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
        let xs: Vec<f64> = ticks(labels.map(|(l, is)| (l.to_owned(), is)), 800.0).iter().map(|tick| tick.x).collect();
        assert_eq!(xs, [0.0, 1.0, 2.5, 3.75]);
        let many =
            (0..24).map(|layer| (layer.to_string(), true)).chain(["embed", "norm"].map(|l| (l.to_owned(), false)));
        let ticks = ticks(many, 540.0);
        let scale = XScale::new(&ticks, Rangef::new(0.0, 540.0));
        let [embed, norm] = [&ticks[24], &ticks[25]].map(|tick| scale.column(tick).center());
        assert!(norm - embed >= 0.9 * NAME_SPACING as f32, "names {embed} and {norm} would touch");
    }

    #[test]
    fn what_is_beside_hundreds_of_layers_is_wide_enough_to_see() {
        let labels = (0..200).map(|layer| (layer.to_string(), true));
        let labels = labels.chain(["embed", "head", "norm"].map(|label| (label.to_owned(), false)));
        let ticks = ticks(labels, 540.0);
        let scale = XScale::new(&ticks, Rangef::new(0.0, 540.0));
        let columns: Vec<Rangef> = ticks[199..].iter().map(|tick| scale.column(tick)).collect();
        for pair in columns.windows(2) {
            assert!(pair[0].max < pair[1].min, "{pair:?} overlap");
            assert!(pair[1].span() > 0.9 * NAMED_WIDTH as f32, "{pair:?} is hardly seen");
        }
        // Half of a name of four letters.
        assert!(columns[3].center() + 14.0 <= 540.0, "the last name leaves the chart: {columns:?}");
    }

    /// The bars of `count` layers on an axis `width` points wide.
    fn bars(count: usize, width: f32, pixels_per_point: f32) -> Vec<Rangef> {
        let ticks = ticks((0..count).map(|layer| (layer.to_string(), true)), width);
        let x = XScale::new(&ticks, Rangef::new(44.3, 44.3 + width));
        ticks.iter().map(|tick| x.bar(tick, pixels_per_point)).collect()
    }

    #[test]
    fn bars_of_many_layers_touch_and_those_of_fewer_have_one_gap() {
        for (count, width, pixels_per_point) in [(120, 417.0, 1.0), (200, 540.0, 1.0), (120, 417.0, 1.25)] {
            let bars = bars(count, width, pixels_per_point);
            assert!(bars.windows(2).all(|pair| pair[0].max == pair[1].min), "{count} layers: {bars:?}");
        }
        for (count, width, pixels_per_point) in [(24, 540.0, 1.0), (80, 540.0, 1.0), (120, 417.0, 2.0)] {
            let bars = bars(count, width, pixels_per_point);
            let pixels = |length: f32| (length * pixels_per_point).round() as i32;
            let gaps: Vec<i32> = bars.windows(2).map(|pair| pixels(pair[1].min - pair[0].max)).collect();
            assert!(gaps[0] >= 1 && gaps.iter().all(|gap| *gap == gaps[0]), "{count} layers: {gaps:?}");
            let widths: Vec<i32> = bars.iter().map(|bar| pixels(bar.span())).collect();
            let (Some(least), Some(most)) = (widths.iter().min(), widths.iter().max()) else { panic!("no bars") };
            assert!(most - least <= 1, "{count} layers: {widths:?}");
        }
    }

    #[test]
    fn every_colour_of_a_bar_is_as_wide_as_the_bar() {
        let bar = Rangef::new(10.0, 25.0);
        let segment = |base: f64, height: f64| {
            let fill = egui::Color32::WHITE;
            let segment = Segment { tick: 0, base, height, fill, stroke: Stroke::NONE, width: 1.0 };
            segment.rect(bar, [base, base + height].map(|value| 100.0 - value as f32), true, 1.0)
        };
        let rects = [(0.0, 20.0), (20.0, 1.0), (21.0, 30.0)].map(|(base, height)| segment(base, height));
        let rects = rects.map(|rect| rect.unwrap_or(Rect::NOTHING));
        assert!(rects.iter().all(|rect| rect.x_range() == bar), "{rects:?}");
        // The gap is of a pixel, and taken from what is thick enough for it.
        assert_eq!(rects.map(|rect| (rect.top(), rect.bottom())), [(80.0, 100.0), (79.0, 80.0), (49.0, 78.0)]);
        // What is too thin to see is left out, but for a bar that would not be there at all.
        assert_eq!(segment(20.0, 0.3), None);
        assert_eq!(segment(0.0, 0.3).map(|rect| (rect.top(), rect.bottom())), Some((99.0, 100.0)));
        assert_eq!(segment(0.0, 0.0), None);
    }
}
