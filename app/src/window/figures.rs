//! Running text with underlined figures in it that lead to what shows them.

use std::ops::Range;

use eframe::egui::epaint::Galley;
use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{self, Color32, CursorIcon, Pos2, Rect, Sense, Shape, Stroke, TextStyle, Ui, Vec2, WidgetInfo};

use super::theme;

/// Distance between the dots below a figure.
const DOT_SPACING: f32 = 3.0;
/// How far above the end of its line they are.
const DOTS_UP: f32 = 2.5;
/// Lines that have their room before there is anything to say.
const LEAST_LINES: f32 = 2.0;

/// The room that a text has, so that charts stay where they are when a sentence grows or goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextRoom {
    width: f32,
    height: f32,
}

impl TextRoom {
    /// At least what was needed before at this width.
    fn grow(&mut self, width: f32, height: f32) {
        let before = if self.width == width { self.height } else { LEAST_LINES * theme::TEXT_LINE };
        *self = Self { width, height: before.max(height) };
    }
}

/// A figure within the text: its characters, its words, and what it leads to.
struct Figure<'a, K> {
    letters: Range<usize>,
    text: &'a str,
    key: K,
}

/// Draws pieces of text in a row; gives what the figure that was clicked leads to. `tooltip` says what a click does.
///
/// They are one text, so that lines break between words alone, whatever is underlined.
pub fn ui<'a, K: Copy>(
    ui: &mut Ui,
    room: &mut TextRoom,
    pieces: impl Iterator<Item = (&'a str, Option<K>)>,
    tooltip: &str,
) -> Option<K> {
    let palette = theme::palette(ui);
    let width = ui.available_width();
    let mut job = LayoutJob::default();
    job.wrap.max_width = width;
    let format = TextFormat {
        font_id: TextStyle::Body.resolve(ui.style()),
        color: palette.text,
        line_height: Some(theme::TEXT_LINE),
        ..TextFormat::default()
    };
    let mut figures = Vec::new();
    let mut letters = 0;
    for (text, key) in pieces {
        job.append(text, 0.0, format.clone());
        let end = letters + text.chars().count();
        figures.extend(key.map(|key| Figure { letters: letters..end, text, key }));
        letters = end;
    }
    let words = job.text.clone();
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    room.grow(width, galley.size().y);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(width, room.height), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, &words));
    let mut asked = None;
    for (number, figure) in figures.iter().enumerate() {
        for (line, place) in places(&galley, &figure.letters).into_iter().enumerate() {
            let place = place.translate(rect.min.to_vec2());
            if figure_ui(ui, place, (number, line), figure.text, tooltip) {
                asked = Some(figure.key);
            }
        }
    }
    ui.painter().galley(rect.min, galley, Color32::PLACEHOLDER);
    asked
}

/// Where some characters are, line by line.
fn places(galley: &Galley, letters: &Range<usize>) -> Vec<Rect> {
    let mut places = Vec::new();
    let mut position = 0;
    for row in &galley.rows {
        let within = row.glyphs.iter().enumerate().filter(|(index, _)| letters.contains(&(position + index)));
        let ends = within.map(|(_, glyph)| (glyph.pos.x, glyph.max_x())).reduce(|(left, _), (_, right)| (left, right));
        if let Some((left, right)) = ends {
            let y = row.rect().y_range();
            places.push(Rect::from_x_y_ranges(row.pos.x + left..=row.pos.x + right, y));
        }
        position += row.glyphs.len() + usize::from(row.ends_with_newline);
    }
    places
}

/// The dots below a figure, or the part of it that is in one line; true when it was clicked.
fn figure_ui(ui: &Ui, place: Rect, key: (usize, usize), text: &str, tooltip: &str) -> bool {
    let palette = theme::palette(ui);
    let response = ui.interact(place, ui.scope_id().with(("figure", key)), Sense::click());
    let active = response.hovered() || response.has_focus();
    let y = place.bottom() - DOTS_UP;
    if active {
        ui.painter().hline(place.x_range(), y, Stroke::new(1.5, palette.link));
    } else {
        let line = [Pos2::new(place.left(), y), Pos2::new(place.right(), y)];
        ui.painter().extend(Shape::dotted_line(&line, palette.weak, DOT_SPACING, 0.7));
    }
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Link, true, text));
    let response = response.on_hover_cursor(CursorIcon::PointingHand);
    response.on_hover_text(tooltip).clicked()
}
