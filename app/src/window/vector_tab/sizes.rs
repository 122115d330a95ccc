//! Magnitudes of w·v against those of pre, and from where on what is added changes what is written.

use eframe::egui::{self, Align2, Color32, Mesh, Pos2, Rect, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo};
use mergescope_core::analysis::{LogHistogram, Sums};
use mergescope_core::checkpoint::{Dtype, dtype_label};
use mergescope_core::recipe::{OutputSpec, Rounding};

use super::tensor::PageData;
use crate::format;
use crate::vector::magnitudes;
use crate::window::live::Source;
use crate::window::{chart, theme};

/// Room above the curves for their names.
const NAMES_HEIGHT: f32 = 32.0;
/// Decades that the axis reaches below the smallest sizes of v, for small w.
const DECADES_BELOW: f64 = 1.0;
/// Share of the elements that may lie left of the axis.
const TAIL: f64 = 0.002;

/// A density over log₁₀ of the magnitude.
struct Density {
    /// log₁₀ of the middle of each bin, and elements per octave as a share of all.
    points: Vec<(f64, f64)>,
}

impl Density {
    fn new(histogram: &LogHistogram) -> Self {
        // Nothing lies beyond the first and the last bin.
        let first = histogram.bins().next().map(|bin| (bin.low.log10(), 0.0));
        let last = histogram.bins().last().map(|bin| (bin.high.log10(), 0.0));
        Self { points: first.into_iter().chain(magnitudes::density(histogram)).chain(last).collect() }
    }

    fn highest(&self) -> (f64, f64) {
        self.points.iter().copied().fold((0.0, 0.0), |best, point| if point.1 > best.1 { point } else { best })
    }

    /// The share per octave at log₁₀ of a magnitude, between the bins.
    fn at(&self, x: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 < x);
        match (after.checked_sub(1).and_then(|before| self.points.get(before)), self.points.get(after)) {
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0),
            _ => 0.0,
        }
    }
}

/// What is written for most of the elements of the page.
fn written_dtype(data: &PageData, source: &Source<'_>) -> Option<Dtype> {
    let elements = |tensor: &usize| source.measured.analysis.tensors[*tensor].sums.elements;
    data.tensors.iter().copied().max_by_key(elements).map(|tensor| source.view.written(tensor))
}

/// Why there is no v to draw; `None` when there is.
pub fn nothing_to_add(sums: &Sums) -> Option<&'static str> {
    match (sums.finite(), sums.updates()) {
        (0, _) => Some("no element is finite here"),
        (_, 0) => Some("v is zero here"),
        _ => None,
    }
}

/// Draws the chart, `height` high.
pub fn ui(ui: &mut Ui, data: &PageData, source: &Source<'_>, output: &OutputSpec, height: f32) {
    let palette = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), height), Sense::hover());
    let coefficient = data.tensors.first().map_or(0.0, |&tensor| source.view.coefficient(tensor));
    let shift = f64::from(coefficient.abs()).log10();
    let (vector, pre) = (Density::new(&data.vector), Density::new(&data.pre));
    let least =
        magnitudes::quantile(&data.vector, TAIL).or_else(|| magnitudes::quantile(&data.pre, TAIL)).unwrap_or(1e-6);
    let most = magnitudes::quantile(&data.pre, 1.0)
        .into_iter()
        .chain(magnitudes::quantile(&data.vector, 1.0))
        .fold(least, f64::max);
    let x_range = (least.log10() - DECADES_BELOW)..=(most.log10() + 0.3).max(least.log10() + 1.0);
    let plot = Rect::from_min_max(rect.min + Vec2::new(0.0, NAMES_HEIGHT), rect.max - Vec2::new(0.0, 18.0));
    let peak = vector.highest().1.max(pre.highest().1).max(f64::MIN_POSITIVE);
    let map = Map { x: x_range, peak, plot };
    let painter = ui.painter().with_clip_rect(rect);

    map.area(&painter, &pre, 0.0, palette.reference);
    if coefficient != 0.0 {
        map.area(&painter, &vector, shift, palette.accent.gamma_multiply(0.85));
    }
    map.axis(&painter, palette.weak, palette.hairline);
    let font = chart::axis_font();
    let (v_at, pre_at) = (vector.highest().0 + shift, pre.highest().0);
    let v_left = v_at <= pre_at;
    let side = |is_left: bool| if is_left { (Align2::RIGHT_BOTTOM, 12.0) } else { (Align2::LEFT_BOTTOM, -12.0) };
    let named = |density: &Density, at: f64, name: &str, is_left: bool| {
        if density.points.is_empty() {
            return;
        }
        let (align, offset) = side(is_left);
        let y = map.y(density.highest().1) - 2.0;
        painter.text(Pos2::new(map.x(at) + offset, y), align, name, font.clone(), palette.weak);
    };
    named(&pre, pre_at, "|pre|", !v_left);
    if coefficient != 0.0 {
        named(&vector, v_at, "|w·v|", v_left);
    }

    let nothing = nothing_to_add(&data.sums);
    if let Some(words) = nothing {
        let at = plot.left_top() + Vec2::new(4.0, 4.0);
        painter.text(at, Align2::LEFT_TOP, words, chart::axis_font(), palette.weak);
    }
    let line = match (output.rounding, written_dtype(data, source), magnitudes::quantile(&data.pre, 0.5)) {
        (Rounding::Stochastic, ..) | (_, None, _) | (.., None) => None,
        (_, Some(dtype), Some(median)) => magnitudes::half_step(dtype, median).map(|step| (dtype, median, step)),
    };
    let line = line.filter(|_| nothing.is_none());
    if let Some((dtype, _, step)) = line {
        let x = map.x(step.log10());
        let is_within = plot.x_range().contains(x);
        if is_within {
            let stroke = Stroke::new(1.5, palette.warning);
            let ends = [Pos2::new(x, rect.top() + 2.0), Pos2::new(x, plot.bottom())];
            painter.extend(Shape::dashed_line(&ends, stroke, 4.0, 3.0));
        }
        let from = if is_within { "here" } else { &format::norm(step) };
        let text = format!("{} sees w·v from {from}", dtype_label(dtype));
        let galley = painter.layout_no_wrap(text, font, palette.warning);
        let x = x.clamp(plot.left() - 6.0, plot.right());
        let fits = x + 6.0 + galley.size().x <= rect.right();
        let left = if fits { x + 6.0 } else { (x - 6.0 - galley.size().x).max(rect.left()) };
        painter.galley(Pos2::new(left, rect.top()), galley, Color32::PLACEHOLDER);
    }
    let label = match line {
        _ if let Some(words) = nothing => format!("Chart: sizes of pre; {words}"),
        _ if coefficient == 0.0 => "Chart: sizes of pre; at w = 0 nothing is added".to_owned(),
        Some((dtype, _, step)) => {
            format!("Chart: sizes of w·v and pre; {} sees w·v from {}", dtype_label(dtype), format::norm(step))
        }
        None => "Chart: sizes of w·v and pre".to_owned(),
    };
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, &label));
    let pointer = response.hover_pos();
    response.on_hover_ui_at_pointer(|ui| {
        if let Some(pointer) = pointer {
            let x = map.value(pointer.x);
            ui.label(format!("Around {}", format::norm(10_f64.powf(x))));
            let of_v = if coefficient == 0.0 { 0.0 } else { vector.at(x - shift) };
            ui.label(format!("|w·v|: {} of its non-zero elements per octave", format::percent(of_v)));
            ui.label(format!("|pre|: {} of its non-zero elements per octave", format::percent(pre.at(x))));
        }
        if let Some((dtype, median, step)) = line {
            let name = dtype_label(dtype);
            ui.add_space(4.0);
            ui.label(format!(
                "Dashed: {}, half the distance between neighbouring {name} values at the median |pre|, {}. A weight of \
                 that size does not change when less is added to it, and does when more is; a larger weight needs \
                 more, a smaller one less",
                format::norm(step),
                format::norm(median),
            ));
        }
    });
}

/// From numbers to points.
struct Map {
    /// log₁₀ of the magnitudes at both ends.
    x: std::ops::RangeInclusive<f64>,
    /// The highest share per octave.
    peak: f64,
    plot: Rect,
}

impl Map {
    fn x(&self, value: f64) -> f32 {
        let share = (value - self.x.start()) / (self.x.end() - self.x.start());
        self.plot.left() + share as f32 * self.plot.width()
    }

    fn value(&self, x: f32) -> f64 {
        let share = f64::from((x - self.plot.left()) / self.plot.width());
        self.x.start() + share * (self.x.end() - self.x.start())
    }

    fn y(&self, share: f64) -> f32 {
        self.plot.bottom() - (share / self.peak) as f32 * self.plot.height()
    }

    /// The area below a density that is moved by `shift` decades.
    fn area(&self, painter: &egui::Painter, density: &Density, shift: f64, fill: Color32) {
        let tops: Vec<Pos2> =
            density.points.iter().map(|&(x, share)| Pos2::new(self.x(x + shift), self.y(share))).collect();
        let mut mesh = Mesh::default();
        for pair in tops.windows(2) {
            let first = mesh.vertices.len() as u32;
            for top in pair {
                mesh.colored_vertex(*top, fill);
                mesh.colored_vertex(Pos2::new(top.x, self.plot.bottom()), fill);
            }
            mesh.add_triangle(first, first + 1, first + 2);
            mesh.add_triangle(first + 1, first + 2, first + 3);
        }
        let painter = painter.with_clip_rect(painter.clip_rect().intersect(self.plot.expand2(Vec2::new(0.0, 2.0))));
        painter.add(mesh);
        // The mesh alone would have jagged edges.
        painter.add(Shape::line(tops, Stroke::new(1.0, fill)));
    }

    /// The base line, and powers of ten below it.
    fn axis(&self, painter: &egui::Painter, text: Color32, line: Color32) {
        painter.hline(self.plot.x_range(), self.plot.bottom(), Stroke::new(1.0, line));
        let (first, last) = (self.x.start().ceil() as i32, self.x.end().floor() as i32);
        let every = ((last - first) / 4).max(1) as usize;
        for exponent in (first..=last).step_by(every) {
            let x = self.x(f64::from(exponent)).clamp(self.plot.left() + 12.0, self.plot.right() - 14.0);
            let at = Pos2::new(x, self.plot.bottom() + 3.0);
            painter.text(at, Align2::CENTER_TOP, format::power_of_ten(exponent), chart::axis_font(), text);
        }
    }
}
