//! Text of several lines with parts of it marked, which can be selected and copied.

use std::ops::Range;

use eframe::egui::epaint::text::PlacedRow;
use eframe::egui::text::{CharIndex, LayoutJob};
use eframe::egui::text_selection::LabelSelectionState;
use eframe::egui::{Label, Pos2, Rect, Role, Stroke, TextFormat, TextStyle, Ui, WidgetInfo, vec2};

use crate::window::theme;

/// Line height: Japanese wants more than other text.
pub const LINE: f32 = 22.0;
/// What a mark reaches beyond its words at either side.
const OVERLAP: f32 = 2.0;

/// Draws `text` with `marks`, which are in bytes, and with … behind it where more `is_coming`.
///
/// Marks are drawn as one band a line: the backgrounds of letters have the height of each font, and Japanese among other words
/// would give them steps.
pub fn ui(ui: &mut Ui, text: &str, marks: &[Range<usize>], is_coming: bool) {
    let palette = theme::palette(ui);
    let format =
        TextFormat { line_height: Some(LINE), ..TextFormat::simple(TextStyle::Body.resolve(ui.style()), palette.text) };
    let mut job = LayoutJob::default();
    // The space that many models begin with would only push the first line in.
    let skipped = text.len() - text.trim_start().len();
    job.append(&text[skipped..], 0.0, format.clone());
    if is_coming {
        job.append(" …", 0.0, TextFormat { color: palette.weak, ..format });
    }
    let (position, galley, response) = Label::new(job).wrap().selectable(true).layout_in_ui(ui);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, ui.is_enabled(), galley.text()));
    if !ui.is_rect_visible(response.rect) {
        return;
    }
    let in_chars = |byte: usize| text.get(skipped..byte).map_or(0, |before| before.chars().count());
    let mut first = 0;
    let marks: Vec<Range<usize>> = marks.iter().map(|mark| in_chars(mark.start)..in_chars(mark.end)).collect();
    for row in &galley.rows {
        for mark in &marks {
            let (start, end) = (mark.start.max(first), mark.end.min(first + row.char_count_excluding_newline().0));
            if start < end {
                let band = band(row, position, start - first..end - first);
                ui.painter().rect_filled(band, theme::RADIUS, palette.difference);
            }
        }
        first += row.char_count_including_newline().0;
    }
    LabelSelectionState::label_text_selection(ui, &response, position, galley, palette.text, Stroke::NONE);
}

/// Where those characters of a row are.
fn band(row: &PlacedRow, position: Pos2, characters: Range<usize>) -> Rect {
    let [left, right] = [characters.start, characters.end].map(|column| row.x_offset(CharIndex(column)));
    let origin = position + row.pos.to_vec2();
    let band = Rect::from_x_y_ranges(origin.x + left..=origin.x + right, origin.y..=origin.y + row.size.y);
    band.expand2(vec2(OVERLAP, -1.0))
}
