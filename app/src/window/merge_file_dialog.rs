//! A merge file of mergekit, before it is taken as a recipe or written: what of it the other side has no word for.

use std::path::{Path, PathBuf};

use eframe::egui::{Button, DragValue, RichText, ScrollArea, TextEdit, TextStyle, Ui, Vec2};
use mergescope_core::error::chain;
use mergescope_core::recipe::Recipe;
use mergescope_core::recipe::file;
use mergescope_core::recipe::mergekit::{self, Exported, Imported, ModelFacts, NotCarried};

use super::dialog_parts::{self, row_ui};
use super::session::Session;
use super::{theme, widgets};
use crate::format;

/// Width of the dialog: lines of YAML are not broken.
pub const WIDTH: f32 = 640.0;
/// Height of the merge file that is shown.
const FILE_HEIGHT: f32 = 250.0;
/// Height of what is said about it.
const WORDS_HEIGHT: f32 = 220.0;
/// Layers with which it is tried whether their number is all that is missing.
const SOME_LAYERS: u32 = 32;
/// Layers that a model may be said to have.
const MOST_LAYERS: u32 = 1000;

/// A merge file that is talked about.
pub struct MergeFileDialog {
    side: Side,
    /// What is known of the target where it is open.
    facts: Option<ModelFacts>,
    /// Whether the models are elsewhere, so that somebody has to say how many layers they have.
    asks_layers: bool,
    /// How many layers it is said to have; 0 for unknown.
    layers: u32,
}

enum Side {
    Import { path: PathBuf, text: String, imported: Box<Result<Imported, String>> },
    Export { recipe: Box<Recipe>, exported: Result<Exported, String> },
}

/// What the dialog asks for.
pub enum MergeFileEnd {
    /// Nothing yet.
    Open,
    /// To be closed.
    Closed,
    /// That recipe, read from that file.
    Take(PathBuf, Box<Recipe>),
    /// A file for that text.
    Save(String),
}

impl MergeFileDialog {
    /// The recipe that the merge file at `path` stands for, or what has to be said before it is taken.
    pub fn import(path: &Path, text: String) -> Result<Recipe, Box<Self>> {
        let imported = match file::import(&text, path, &mergekit::at_hand) {
            Ok(imported) if imported.not_carried.is_empty() && imported.notes.is_empty() => return Ok(imported.recipe),
            imported => imported.map_err(|error| chain(&error)),
        };
        let asks_layers = match &imported {
            Ok(imported) => mergekit::at_hand(&imported.recipe.target).is_none(),
            Err(_) => {
                let facts = |model: &str| mergekit::at_hand(model).or(Some(ModelFacts::of_layers(SOME_LAYERS)));
                file::import(&text, path, &facts).is_ok()
            }
        };
        let side = Side::Import { path: path.to_owned(), text, imported: Box::new(imported) };
        Err(Box::new(Self { side, facts: None, asks_layers, layers: 0 }))
    }

    /// About the session's recipe as a merge file.
    pub fn export(session: &Session) -> Self {
        let facts = session.target().map(ModelFacts::of);
        let recipe = Box::new(session.recipe.clone());
        let asks_layers = facts.is_none();
        let side = Side::Export { recipe, exported: Err(String::new()) };
        let mut dialog = Self { side, facts, asks_layers, layers: 0 };
        dialog.translate();
        dialog
    }

    /// Translates again, with as many layers as the model is said to have.
    fn translate(&mut self) {
        let (known, layers) = (self.facts.clone(), self.layers);
        let facts = |model: &str| {
            let said = || (layers > 0).then(|| ModelFacts::of_layers(layers));
            known.clone().or_else(|| mergekit::at_hand(model)).or_else(said)
        };
        match &mut self.side {
            Side::Import { path, text, imported } => {
                **imported = file::import(text, path, &facts).map_err(|error| chain(&error));
            }
            Side::Export { recipe, exported } => {
                *exported = mergekit::export(recipe, &facts).map_err(|error| chain(&error));
            }
        }
    }
}

/// Draws the dialog.
pub fn ui(ui: &mut Ui, dialog: &mut MergeFileDialog) -> MergeFileEnd {
    let layers = dialog.layers;
    let end = match &dialog.side {
        Side::Import { path, imported, .. } => import_ui(ui, path, imported, dialog.asks_layers, &mut dialog.layers),
        Side::Export { exported, .. } => export_ui(ui, exported, dialog.asks_layers, &mut dialog.layers),
    };
    if layers != dialog.layers {
        dialog.translate();
    }
    end
}

fn import_ui(
    ui: &mut Ui,
    path: &Path,
    imported: &Result<Imported, String>,
    asks_layers: bool,
    layers: &mut u32,
) -> MergeFileEnd {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    dialog_parts::title_ui(ui, &format!("Take {name} as a recipe"));
    if asks_layers {
        layers_ui(ui, layers);
    }
    let is_whole = match imported {
        Ok(imported) => {
            words_ui(ui, "A recipe has no word for", &imported.not_carried, "Read as follows", &imported.notes);
            imported.not_carried.is_empty()
        }
        Err(message) => {
            failure_ui(ui, message);
            true
        }
    };
    let main = match is_whole {
        true => ("Open", "Take it as the recipe; Undo brings the other back"),
        false => ("Open without them", "Take the rest as the recipe: it gives another model than mergekit makes"),
    };
    let obstacle = imported.as_ref().err().map(String::as_str);
    let (open, cancel) =
        dialog_parts::buttons_ui(ui, main, obstacle, Some(("Cancel", "Close and keep the recipe at hand")));
    match imported {
        Ok(imported) if open => MergeFileEnd::Take(path.to_owned(), Box::new(imported.recipe.clone())),
        _ if cancel => MergeFileEnd::Closed,
        _ => MergeFileEnd::Open,
    }
}

fn export_ui(ui: &mut Ui, exported: &Result<Exported, String>, asks_layers: bool, layers: &mut u32) -> MergeFileEnd {
    dialog_parts::title_ui(ui, "The recipe as a merge file of mergekit");
    if asks_layers {
        layers_ui(ui, layers);
    }
    let exported = match exported {
        Ok(exported) => exported,
        Err(message) => {
            failure_ui(ui, message);
            let (close, _) = dialog_parts::buttons_ui(ui, ("Close", "Back to the window"), None, None);
            return if close { MergeFileEnd::Closed } else { MergeFileEnd::Open };
        }
    };
    ScrollArea::both().id_salt("merge file").max_height(FILE_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
        let mut text = exported.yaml.as_str();
        let field = TextEdit::multiline(&mut text).code_editor().desired_width(f32::INFINITY);
        ui.add(field.desired_rows(exported.yaml.lines().count())).accessible_name("Merge file");
    });
    ui.add_space(6.0);
    words_ui(ui, "A merge file has no word for", &exported.not_carried, "To know", &exported.notes);
    ui.add_space(2.0);
    let button = Button::new("Copy").min_size(Vec2::new(88.0, 28.0));
    let copy = ui.horizontal(|ui| ui.add(button)).inner.on_hover_text("Copy the text above to the clipboard");
    if copy.clicked() {
        ui.ctx().copy_text(exported.yaml.clone());
    }
    let main = match exported.not_carried.is_empty() {
        true => ("Save…", "Choose a file for it"),
        false => ("Save without them…", "Choose a file for the rest: mergekit makes another model of it"),
    };
    let (save, cancel) = dialog_parts::buttons_ui(ui, main, None, Some(("Cancel", "Close without saving")));
    match (save, cancel) {
        (true, _) => MergeFileEnd::Save(exported.yaml.clone()),
        (_, true) => MergeFileEnd::Closed,
        _ => MergeFileEnd::Open,
    }
}

/// Asks how many layers a model has that is not at hand.
fn layers_ui(ui: &mut Ui, layers: &mut u32) {
    let palette = theme::palette(ui);
    row_ui(ui, "Layers", |ui| {
        ui.add(DragValue::new(layers).range(0..=MOST_LAYERS).speed(0.1))
            .on_hover_text("How many layers the models have; 0 for unknown. Gradients and curves go by it")
            .accessible_name("Layers");
        ui.label(RichText::new("of the models, which are not at hand").color(palette.weak));
    });
    ui.add_space(4.0);
}

fn failure_ui(ui: &mut Ui, message: &str) {
    let palette = theme::palette(ui);
    ui.add(eframe::egui::Label::new(RichText::new(format::sentence(message)).color(palette.bad)).wrap());
}

/// What is lost, then what is to be known.
fn words_ui(ui: &mut Ui, lost_title: &str, lost: &[NotCarried], notes_title: &str, notes: &[String]) {
    let palette = theme::palette(ui);
    let items_ui = |ui: &mut Ui, title: &str, items: &mut dyn Iterator<Item = String>, colour| {
        ui.label(RichText::new(title).text_style(TextStyle::Small).color(colour));
        for item in items {
            ui.horizontal_top(|ui| {
                ui.label(RichText::new("–").color(palette.weak).line_height(Some(theme::TEXT_LINE)));
                widgets::paragraph_ui(ui, &item);
            });
        }
        ui.add_space(4.0);
    };
    ScrollArea::vertical().id_salt("about the merge file").max_height(WORDS_HEIGHT).auto_shrink([false, true]).show(
        ui,
        |ui| {
            if !lost.is_empty() {
                items_ui(ui, lost_title, &mut lost.iter().map(ToString::to_string), palette.warning);
            }
            if !notes.is_empty() {
                items_ui(ui, notes_title, &mut notes.iter().map(|note| format::sentence(note)), palette.weak);
            }
        },
    );
}
