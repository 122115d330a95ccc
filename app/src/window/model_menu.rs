//! What a model field offers: a file dialog, models used before, and those in the cache, found by typing.

use eframe::egui::{
    self, Button, Key, Margin, Popup, PopupCloseBehavior, Rect, RichText, ScrollArea, TextEdit, TextStyle, Ui,
};
use mergescope_core::alignment::Role;
use mergescope_core::hub::{CachedModel, HubName};

use super::app::App;
use super::command::Command;
use super::{theme, widgets};
use crate::format;

/// Recent models in a menu.
const SHOWN_RECENT: usize = 6;
/// Width of the menu.
const WIDTH: f32 = 320.0;
/// Longest text that is searched for, in characters.
const MAX_CHARS: usize = 300;

/// What was chosen in the menu.
enum Chosen {
    /// A model that is here, or a path.
    Model(String),
    /// A model that the Hub is to be asked for.
    Download(HubName),
}

/// Draws the button with the menu of `role` behind it.
pub fn ui(app: &mut App, ui: &mut Ui, role: Role, rect: Rect) {
    let palette = theme::palette(ui);
    let button = Button::new(RichText::new("…").color(palette.weak)).frame_when_inactive(false);
    let name = format!("Choose the {} model", role.label());
    let response = ui
        .scope(|ui| {
            ui.spacing_mut().button_padding.x = 4.0;
            ui.put(rect, button)
        })
        .inner
        .on_hover_text("Browse…, models used before, models in the Hub cache");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &name));
    let opened = response.clicked();
    if opened {
        app.session.jobs.list_cache();
        app.cache_search.clear();
    }
    let mut chosen = None;
    let popup = Popup::menu(&response).width(WIDTH).close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    popup.show(|ui| {
        let browse = ui.button("Browse…").on_hover_text(Command::Browse(role).explanation());
        if browse.clicked() {
            app.commands.push(Command::Browse(role));
            ui.close();
        }
        chosen = recent_ui(app, ui, role);
        ui.separator();
        widgets::note_ui(ui, "Hugging Face cache");
        chosen = chosen.take().or_else(|| cache_ui(app, ui, opened));
        if chosen.is_some() {
            ui.close();
        }
    });
    match chosen {
        Some(Chosen::Model(spec)) => app.session.set_model(role, &spec),
        Some(Chosen::Download(name)) => {
            app.session.set_model(role, &name.to_string());
            app.ask_to_download(name);
        }
        None => {}
    }
}

fn recent_ui(app: &App, ui: &mut Ui, role: Role) -> Option<Chosen> {
    let current = app.session.spec(role);
    let recent = app.session.recent.iter().filter(|spec| *spec != current).take(SHOWN_RECENT);
    let mut chosen = None;
    for (position, spec) in recent.enumerate() {
        if position == 0 {
            ui.separator();
            widgets::note_ui(ui, "Used before");
        }
        if ui.button(widgets::elide_start(ui, spec, WIDTH - 20.0)).on_hover_text(spec).clicked() {
            chosen = Some(Chosen::Model(spec.clone()));
        }
    }
    chosen
}

/// The models in the cache that are looked for; Enter takes the first.
fn cache_ui(app: &mut App, ui: &mut Ui, opened: bool) -> Option<Chosen> {
    let palette = theme::palette(ui);
    let hint = RichText::new("Search, or org/name").color(palette.weak);
    let field = TextEdit::singleline(&mut app.cache_search).desired_width(f32::INFINITY).char_limit(MAX_CHARS);
    let field = field.hint_text(hint).margin(Margin::symmetric(8, 5));
    let field = ui.add(field).on_hover_text("A part of a model's name, or the name of one on the Hub");
    let field = field.accessible_name("Search the cache");
    if opened {
        field.request_focus();
    }
    let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let found: Vec<&CachedModel> =
        app.session.cached.iter().filter(|model| is_found(&model.id, &app.cache_search)).collect();
    let name = HubName::parse(&app.cache_search).ok();
    let name = name.filter(|name| name.revision().is_some() || found.iter().all(|model| model.id != name.id()));
    let mut chosen = None;
    if app.session.cached.is_empty() {
        widgets::note_ui(ui, "No models in the Hugging Face cache of this computer");
    } else if found.is_empty() {
        widgets::note_ui(ui, "None of the models in the cache is called so");
    }
    ScrollArea::vertical().max_height(240.0).show(ui, |ui| {
        for model in &found {
            let size = RichText::new(format::bytes(model.bytes)).text_style(TextStyle::Small).color(palette.weak);
            let item = Button::new(&model.id).right_text(size);
            if ui.add(item).on_hover_text(format::path(&model.path)).clicked() {
                chosen = Some(Chosen::Model(model.id.clone()));
            }
        }
    });
    if let Some(name) = name {
        let item = ui.button(format!("Download {name}…"));
        if item.on_hover_text("Ask the Hub for its files and size; nothing is downloaded before you agree").clicked() {
            chosen = Some(Chosen::Download(name));
        }
    }
    match found.first() {
        Some(first) if entered => Some(Chosen::Model(first.id.clone())),
        _ => chosen,
    }
}

/// Whether a name holds every word that is looked for, in any order.
fn is_found(id: &str, search: &str) -> bool {
    let id = id.to_lowercase();
    search.to_lowercase().split_whitespace().all(|word| id.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_counts_in_any_order() {
        for search in ["", "qwen", "instruct 0.5b", "Qwen/Qwen2.5"] {
            assert!(is_found("Qwen/Qwen2.5-0.5B-Instruct", search), "{search}");
        }
        assert!(!is_found("Qwen/Qwen2.5-0.5B-Instruct", "qwen 7b"));
    }
}
