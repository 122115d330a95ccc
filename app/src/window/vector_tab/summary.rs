//! The sentences on top; each underlined figure leads to the chart it came from.

use eframe::egui::{self, CursorIcon, Label, Pos2, RichText, Sense, Shape, Ui, Vec2, WidgetInfo};

use crate::vector::{Chart, Piece, Sentence};
use crate::window::theme;

/// Distance between the dots below a figure.
const DOT_SPACING: f32 = 3.0;

/// Lines that have their room before there is anything to say.
const LEAST_LINES: f32 = 2.0;

/// The room that the sentences have, so that charts stay where they are when a sentence grows or goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SummaryRoom {
    width: f32,
    height: f32,
}

impl SummaryRoom {
    /// At least `least`, and what was needed before at this width.
    fn grow(&mut self, width: f32, height: f32, least: f32) {
        let before = if self.width == width { self.height } else { least };
        *self = Self { width, height: before.max(height) };
    }
}

/// Draws the sentences; gives the chart behind the figure that was clicked.
pub fn ui<'a>(ui: &mut Ui, room: &mut SummaryRoom, sentences: impl Iterator<Item = &'a Sentence>) -> Option<Chart> {
    let mut asked = None;
    let top = ui.cursor().top();
    let width = ui.available_width();
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing = Vec2::ZERO;
        ui.spacing_mut().interact_size.y = theme::TEXT_LINE;
        ui.horizontal_wrapped(|ui| {
            for sentence in sentences {
                for (number, piece) in sentence.pieces.iter().enumerate() {
                    match piece {
                        // A space of its own could begin a line.
                        Piece::Text(text) if number + 1 == sentence.pieces.len() => words_ui(ui, &format!("{text} ")),
                        Piece::Text(text) => words_ui(ui, text),
                        Piece::Figure { text, chart } => {
                            if figure_ui(ui, text) {
                                asked = Some(*chart);
                            }
                        }
                    }
                }
            }
        });
    });
    let used = ui.cursor().top() - top;
    room.grow(width, used, LEAST_LINES * theme::TEXT_LINE + ui.spacing().item_spacing.y);
    ui.add_space(room.height - used);
    asked
}

fn words_ui(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).line_height(Some(theme::TEXT_LINE)));
}

/// A figure with dots below it; true when it was clicked.
fn figure_ui(ui: &mut Ui, text: &str) -> bool {
    let palette = theme::palette(ui);
    let label = Label::new(RichText::new(text).line_height(Some(theme::TEXT_LINE))).sense(Sense::click());
    let (at, galley, response) = label.layout_in_ui(ui);
    let active = response.hovered() || response.has_focus();
    let (colour, dots) = if active { (palette.link, palette.link) } else { (palette.text, palette.weak) };
    for row in &galley.rows {
        let row = row.rect_without_leading_space().translate(at.to_vec2());
        let y = row.bottom() - 2.5;
        let line = [Pos2::new(row.left(), y), Pos2::new(row.right(), y)];
        ui.painter().extend(Shape::dotted_line(&line, dots, DOT_SPACING, 0.7));
    }
    ui.painter().galley_with_override_text_color(at, galley, colour);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Link, true, text));
    let response = response.on_hover_cursor(CursorIcon::PointingHand);
    response.on_hover_text("Show the chart that this comes from").clicked()
}
