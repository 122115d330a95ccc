//! The menu of question files.

use std::path::{Path, PathBuf};

use eframe::egui::{Button, Popup, RichText, Ui, Vec2, WidgetInfo};

use super::Shown;
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::{fonts, theme, widgets};

/// Longest name of a file on the button, in characters.
const MAX_NAME: usize = 28;

/// Why nothing of what is asked can be changed.
pub const RUNNING: &str = "These questions are being asked: stop first";

/// A file's name, without its folders.
pub fn name(path: &str) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a file of the demo holds.
pub fn about(name: &str) -> &'static str {
    if name.contains("-ja") {
        "200 sums in Japanese that the demo's training never saw"
    } else {
        "The same 200 sums in English"
    }
}

/// Draws it.
pub fn ui(app: &mut App, ui: &mut Ui, is_free: bool) {
    let palette = theme::palette(ui);
    let tooltip = "The questions that are asked: JSON lines, JSON, or a table in CSV or TSV";
    let path = app.evaluation.settings.spec.questions.clone();
    let name = name(&path);
    let shown = match name.char_indices().nth(MAX_NAME) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.clone(),
    };
    widgets::keep_together_with_menu(ui, "Questions", &shown);
    ui.label(RichText::new("Questions").color(palette.weak)).on_hover_text(tooltip);
    let button = Button::new(format!("{shown} {}", fonts::DOWN)).min_size(Vec2::new(0.0, 22.0));
    let button = ui.add_enabled(is_free, button).on_disabled_hover_text(RUNNING);
    let button = button.on_hover_text(format!("{}\n{tooltip}", format::path(Path::new(&path))));
    button.widget_info(|| WidgetInfo::labeled(eframe::egui::Role::ComboBox, true, format!("Questions: {name}")));
    let mut chosen: Option<PathBuf> = None;
    Popup::menu(&button).show(|ui| {
        ui.set_min_width(220.0);
        let demos = app.demo_questions();
        for demo in &demos {
            let name = self::name(&demo.to_string_lossy());
            if ui.button(&name).on_hover_text(about(&name)).clicked() {
                chosen = Some(demo.clone());
            }
        }
        let recent = app.evaluation.settings.recent.iter().map(PathBuf::from);
        let recent: Vec<PathBuf> = recent.filter(|path| !demos.contains(path)).collect();
        if !recent.is_empty() {
            ui.separator();
        }
        for path in recent {
            let shown = format::path(&path);
            let button = Button::new(widgets::elide_start(ui, &shown, 320.0));
            let item = ui.add_enabled(path.is_file(), button).on_hover_text(&shown);
            if item.on_disabled_hover_text(format!("{shown} is gone")).clicked() {
                chosen = Some(path);
            }
        }
        ui.separator();
        let open = Command::OpenQuestions;
        if ui.button(open.label()).on_hover_text(open.explanation()).clicked() {
            app.commands.push(open);
        }
        let fields = ui.button("Fields and prompt…");
        if fields.on_hover_text("What the file's fields mean, and how a question becomes a prompt").clicked() {
            app.evaluate_view.shown = Shown::Fields;
        }
        let again = ui.button("Read the file again");
        if again.on_hover_text("Take up what has changed in the file meanwhile").clicked() {
            app.evaluation.read_again();
        }
    });
    if let Some(path) = chosen {
        app.evaluation.settings.choose_questions(&path);
    }
}
