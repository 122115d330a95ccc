//! The sentences on top; each underlined figure leads to the chart it came from.

use eframe::egui::{self, CursorIcon, Label, Pos2, RichText, Sense, Shape, Ui, Vec2, WidgetInfo};

use crate::vector::{Chart, Piece, Sentence};
use crate::window::theme;

/// Distance between the dots below a figure.
const DOT_SPACING: f32 = 3.0;

/// Draws the sentences; gives the chart behind the figure that was clicked.
pub fn ui<'a>(ui: &mut Ui, sentences: impl Iterator<Item = &'a Sentence>) -> Option<Chart> {
    let mut asked = None;
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing = Vec2::ZERO;
        ui.spacing_mut().interact_size.y = theme::TEXT_LINE;
        ui.horizontal_wrapped(|ui| {
            for (number, sentence) in sentences.enumerate() {
                if number > 0 {
                    words_ui(ui, " ");
                }
                for piece in &sentence.pieces {
                    match piece {
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
