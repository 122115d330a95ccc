//! The control: what is put in the vector's place, to tell its gain from chance.

use eframe::egui::Ui;
use mergescope_core::recipe::ControlKind;

use super::method;
use crate::window::app::App;
use crate::window::{method_words, widgets};

/// The control of the vector that is shown, as a weak label and a menu.
pub fn choice_ui(app: &mut App, ui: &mut Ui) {
    let session = &mut app.session;
    let mut options = vec![(None, "None", "The vector itself")];
    options.extend(
        ControlKind::ALL.map(|kind| (Some(kind), method_words::control(kind), method_words::control_sentence(kind))),
    );
    let before = session.shown_vector().control.map(|control| control.kind);
    let mut kind = before;
    widgets::choice_ui(ui, "Control", method_words::CONTROL, &mut kind, &options);
    if kind != before {
        session.set_control(kind);
    }
    if let Some(control) = &mut session.shown_vector_mut().control {
        method::seed_ui(ui, "Control, seed", &mut control.seed);
    }
}
