//! What was asked before, below the answers.

use eframe::egui::{Align, Label, Layout, RichText, Ui, Vec2};

use super::transcript::Entry;
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::{theme, widgets};

/// Width of the titles of answers.
const TITLE_WIDTH: f32 = 176.0;

/// What was asked for in this frame.
#[derive(Clone, Copy)]
enum Wish {
    /// Put the prompt and the choices of a run back.
    BringBack(usize),
    /// Copy a run.
    Copy(usize),
    /// Copy one answer of a run.
    CopyAnswer(usize, usize),
    /// Copy all runs.
    CopyAll,
    /// Forget all runs.
    Clear,
}

/// Draws it.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let entries = app.try_view.transcript.entries();
    if entries.is_empty() {
        return;
    }
    let mut wish = None;
    ui.add_space(24.0);
    ui.horizontal(|ui| {
        ui.label(RichText::new("Transcript").text_style(theme::strong()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 16.0;
            if widgets::quiet_ui(ui, "Clear", false).on_hover_text("Forget what was asked so far").clicked() {
                wish = Some(Wish::Clear);
            }
            let save = widgets::quiet_ui(ui, "Save…", false).on_hover_text(Command::SaveTranscript.explanation());
            if save.clicked() {
                app.commands.push(Command::SaveTranscript);
            }
            let tooltip = "Copy all prompts and answers as text";
            if widgets::quiet_ui(ui, "Copy all", false).on_hover_text(tooltip).clicked() {
                wish = Some(Wish::CopyAll);
            }
        });
    });
    ui.add_space(4.0);
    widgets::hairline_ui(ui);
    for (number, entry) in entries.iter().enumerate() {
        ui.add_space(8.0);
        ui.push_id(number, |ui| wish = entry_ui(ui, number, entry).or(wish.take()));
    }
    ui.add_space(12.0);
    if let Some(wish) = wish {
        carry_out(app, ui, wish);
    }
}

fn entry_ui(ui: &mut Ui, number: usize, entry: &Entry) -> Option<Wish> {
    let palette = theme::palette(ui);
    let mut wish = None;
    ui.spacing_mut().interact_size.y = theme::TEXT_LINE;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::quiet_ui(ui, "Copy", false).on_hover_text("Copy this prompt and its answers as text").clicked()
            {
                wish = Some(Wish::Copy(number));
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.set_max_width(ui.available_width() - 16.0);
                let text = RichText::new(entry.first_line()).color(palette.link);
                let prompt = ui.add(Label::new(text).truncate().sense(eframe::egui::Sense::click()));
                let prompt = prompt.on_hover_cursor(eframe::egui::CursorIcon::PointingHand);
                let tooltip = format!("Bring this prompt back, with how it was asked:\n{}", entry.settings.prompt);
                if prompt.on_hover_text(tooltip).clicked() {
                    wish = Some(Wish::BringBack(number));
                }
            });
        });
    });
    for (position, said) in entry.answers.iter().enumerate() {
        ui.horizontal(|ui| {
            let size = Vec2::new(TITLE_WIDTH - ui.spacing().item_spacing.x, theme::TEXT_LINE);
            ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
                ui.set_min_size(size);
                ui.add(Label::new(RichText::new(&said.title).color(palette.weak)).truncate());
            });
            // One line of it; the whole is in the tooltip.
            let line = said.text.trim().replace('\n', " ");
            let answer = ui.add(Label::new(line).truncate().sense(eframe::egui::Sense::click()));
            let tooltip = format!("Click to copy this answer:\n{}", said.text);
            let answer = answer.on_hover_cursor(eframe::egui::CursorIcon::Copy).on_hover_text(tooltip);
            if answer.clicked() {
                wish = Some(Wish::CopyAnswer(number, position));
            }
        });
    }
    wish
}

fn carry_out(app: &mut App, ui: &Ui, wish: Wish) {
    let entries = app.try_view.transcript.entries();
    match wish {
        Wish::BringBack(number) => {
            if let Some(entry) = entries.get(number) {
                app.try_view.settings = entry.settings.clone();
            }
        }
        Wish::Copy(number) => {
            if let Some(entry) = entries.get(number) {
                ui.ctx().copy_text(entry.text());
                app.session.say("Copied the prompt and its answers".to_owned());
            }
        }
        Wish::CopyAnswer(number, position) => {
            if let Some(said) = entries.get(number).and_then(|entry| entry.answers.get(position)) {
                ui.ctx().copy_text(said.text.clone());
                app.session.say("Copied the answer".to_owned());
            }
        }
        Wish::CopyAll => {
            let count = format::plural(entries.len(), "run");
            ui.ctx().copy_text(app.try_view.transcript.text());
            app.session.say(format!("Copied {count}"));
        }
        Wish::Clear => app.try_view.transcript.clear(),
    }
}
