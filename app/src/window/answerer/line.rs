//! What answers, as the tabs show it: a line where a server does, and a row among what is seldom changed.

use eframe::egui::{Label, RichText, Ui};

use super::settings::AnswererSettings;
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::{theme, widgets};

/// Draws the line, where something else answers than this program.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let Some(server) = app.answerer.server() else { return };
    let palette = theme::palette(ui);
    let address = server.spec.url.to_string();
    let address = address.strip_prefix("http://").unwrap_or(&address);
    let loaded = app.answerer.loaded_w().map(|w| format!(", with w = {} loaded", format::w(w))).unwrap_or_default();
    let text = format!("Answered by {address} · {}{loaded}", shown(server.model()));
    let words = server.delivery_words();
    let is_free = app.is_enabled(Command::ChooseAnswerer);
    ui.horizontal(|ui| {
        // The link keeps its place however long the name of a model is.
        let room = ui.available_width() - 64.0;
        ui.scope(|ui| {
            ui.set_max_width(room);
            let text = RichText::new(text).color(palette.weak).line_height(Some(theme::TEXT_LINE));
            ui.add(Label::new(text).truncate()).on_hover_text(words);
        });
        ui.add_enabled_ui(is_free, |ui| change_ui(&mut app.commands, ui, "Change"));
    });
    ui.add_space(4.0);
}

/// Draws the row.
pub fn setting_ui(answerer: &AnswererSettings, commands: &mut Vec<Command>, ui: &mut Ui) {
    let tooltip = "What answers: this program, or a server for models that this machine cannot hold";
    widgets::setting_ui(ui, "Answered by", tooltip, |ui| {
        let name = match answerer.server() {
            Some(_) => answerer.name(),
            None => format!("this program, {}", answerer.name()),
        };
        ui.label(name).on_hover_text(tooltip);
        if change_ui(commands, ui, "Change…") {
            ui.close();
        }
    });
}

/// A name that a server gives, in which nothing steers what shows it.
pub fn shown(name: &str) -> String {
    let one = |letter: char| match format::steers(letter) {
        true => letter.escape_unicode().to_string(),
        false => letter.to_string(),
    };
    name.chars().map(one).collect()
}

fn change_ui(commands: &mut Vec<Command>, ui: &mut Ui, label: &str) -> bool {
    let command = Command::ChooseAnswerer;
    let link = widgets::link_ui(ui, label).on_hover_text(command.explanation());
    let clicked = link.on_disabled_hover_text("Stop the answers first").clicked();
    if clicked {
        commands.push(command);
    }
    clicked
}
