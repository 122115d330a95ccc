//! What the answers support, in words; each underlined figure leads to the point that shows it.

use eframe::egui::Ui;

use super::Shown;
use crate::window::app::App;
use crate::window::figures;

/// Draws them.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let Some(findings) = &app.evaluation.findings else { return };
    let pieces = findings.sentences.iter().enumerate().flat_map(|(number, sentence)| {
        let space = (number > 0).then_some((" ", None));
        space.into_iter().chain(sentence.pieces.iter().map(|piece| (piece.text.as_str(), piece.arm)))
    });
    let view = &mut app.evaluate_view;
    if let Some(arm) = figures::ui(ui, &mut view.sentences, pieces, "Show it in the chart") {
        (view.shown, view.table) = (Shown::Chart, false);
        view.highlighted = if view.highlighted == Some(arm) { None } else { Some(arm) };
    }
}
