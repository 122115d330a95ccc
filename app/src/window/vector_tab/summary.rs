//! The sentences on top; each underlined figure leads to the chart it came from.

use eframe::egui::Ui;

use crate::vector::{Chart, Piece, Sentence};
use crate::window::figures::{self, TextRoom};

/// Draws the sentences; gives the chart behind the figure that was clicked.
pub fn ui<'a>(ui: &mut Ui, room: &mut TextRoom, sentences: impl Iterator<Item = &'a Sentence>) -> Option<Chart> {
    let pieces = sentences.enumerate().flat_map(|(number, sentence)| {
        let space = (number > 0).then_some((" ", None));
        space.into_iter().chain(sentence.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => (text.as_str(), None),
            Piece::Figure { text, chart } => (text.as_str(), Some(*chart)),
        }))
    });
    figures::ui(ui, room, pieces, "Show the chart that this comes from")
}
