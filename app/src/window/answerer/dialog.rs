//! The dialog for what answers.

use eframe::egui::{Button, DragValue, Label, Popup, RichText, ScrollArea, TextEdit, TextStyle, Ui, Vec2};
use mergescope_core::engine::server::{Delivery, MAX_CONCURRENCY, MAX_TIMEOUT_SECS};
use mergescope_core::engine::{Accelerator, Precision};

use super::draft::ServerDraft;
use super::line::shown;
use super::settings::{AnswererSettings, By};
use crate::format;
use crate::window::app::App;
use crate::window::dialog_parts::{buttons_ui, indented_ui, row_ui, title_ui};
use crate::window::jobs::{Event, Job, JobId, Outcome};
use crate::window::stage::Stage;
use crate::window::{fonts, theme, widgets};

/// Longest text that a field takes, in characters.
const MAX_CHARS: usize = 4096;
/// Width of a button behind a field.
const FIELD_BUTTON: f32 = 108.0;
/// Most of the height of the menu of models.
const MAX_MENU_HEIGHT: f32 = 320.0;
/// Models that the menu shows; the name of another is typed.
const MAX_SHOWN: usize = 200;

/// The choice, before it is taken.
pub struct AnswererDialog {
    settings: AnswererSettings,
    draft: ServerDraft,
    /// The models of the server at that address.
    models: Stage<Vec<String>>,
}

/// How the dialog ended in this frame.
pub enum AnswererEnd {
    /// It is still open.
    Open,
    /// Nothing changes.
    Closed,
    /// These settings are taken.
    Take(Box<AnswererSettings>),
    /// A folder is to be chosen.
    Browse,
}

impl AnswererDialog {
    /// The choice as it is.
    pub fn new(app: &App) -> Self {
        let data = app.session.jobs.engine().sweeps();
        let data = data.as_deref().and_then(std::path::Path::parent);
        let settings = app.answerer.clone();
        Self { draft: ServerDraft::new(&settings, data), settings, models: Stage::Waiting }
    }

    /// The question for models that goes on.
    pub fn asking(&self) -> Option<JobId> {
        self.models.job()
    }

    /// Takes a folder that was chosen.
    pub fn set_folder(&mut self, folder: &std::path::Path) {
        self.draft.folder = folder.to_string_lossy().into_owned();
    }

    /// Takes the end of the question for models, and gives everything else back.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Finished(id, result) if self.models.job() == Some(id) => {
                self.models.finish(result, |outcome| match outcome {
                    Outcome::Models(names) => Some(names),
                    _ => None,
                });
                // What was typed stays: the server may know it by a name that it does not list.
                if let Stage::Done(names) = &self.models
                    && self.draft.model.trim().is_empty()
                    && let Some(first) = names.first()
                {
                    self.draft.model.clone_from(first);
                }
                None
            }
            other => Some(other),
        }
    }
}

/// Draws it.
pub fn ui(app: &mut App, ui: &mut Ui, dialog: &mut AnswererDialog) -> AnswererEnd {
    title_ui(ui, "What answers prompts and questions");
    row_ui(ui, "Answered by", |ui| {
        let options = [
            (By::Program, "this program", "The models are merged while they load, on this machine; no file is written"),
            (By::Server, "a server", "One that you or others run, for models that this machine cannot hold"),
        ];
        selectable_ui(ui, &mut dialog.settings.by, &options);
    });
    let mut browse = false;
    let obstacle = match dialog.settings.by {
        By::Program => program_ui(ui, &mut dialog.settings),
        By::Server => {
            server_ui(app, ui, dialog);
            browse = delivery_ui(ui, &mut dialog.draft);
            dialog.draft.settings().err()
        }
    };
    if let Some(reason) = &obstacle {
        ui.add_space(4.0);
        let colour = theme::palette(ui).warning;
        ui.add(Label::new(RichText::new(reason).text_style(TextStyle::Small).color(colour)).wrap());
    }
    let (take, cancel) = buttons_ui(
        ui,
        ("Use it", "Let it answer on the Try and the Evaluate tab; nobody is asked yet"),
        obstacle.as_deref(),
        Some(("Cancel", "Leave everything as it was")),
    );
    if browse {
        return AnswererEnd::Browse;
    }
    if take {
        let mut settings = dialog.settings.clone();
        if let Ok(server) = dialog.draft.settings() {
            settings.server = Some(server);
        }
        return AnswererEnd::Take(Box::new(settings));
    }
    if cancel { AnswererEnd::Closed } else { AnswererEnd::Open }
}

/// One of several, as words beside each other; one that is not to be had is grey.
fn selectable_ui<T: PartialEq + Copy>(ui: &mut Ui, current: &mut T, options: &[(T, &str, &str)]) {
    let palette = theme::palette(ui);
    for (value, name, about) in options {
        let button = Button::selectable(current == value, RichText::new(*name).color(palette.text));
        if ui.add(button.min_size(Vec2::new(0.0, theme::CONTROL_HEIGHT))).on_hover_text(*about).clicked() {
            *current = *value;
        }
    }
}

fn precision_words(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "4 bytes a parameter, and the reference for the others",
        Precision::Bf16 => "2 bytes a parameter, rounded as most models are stored",
        Precision::Q8_0 => "A fast preview of about 1 byte a parameter. It can hide a small step in w",
    }
}

/// The decoder's choices, and what stands in their way.
fn program_ui(ui: &mut Ui, settings: &mut AnswererSettings) -> Option<String> {
    row_ui(ui, "Numbers", |ui| {
        let options = Precision::ALL.map(|precision| (precision, precision.label(), precision_words(precision)));
        selectable_ui(ui, &mut settings.precision, &options);
    });
    indented_ui(ui, |ui| drop(widgets::note_ui(ui, precision_words(settings.precision))));
    let palette = theme::palette(ui);
    row_ui(ui, "Runs on", |ui| {
        for accelerator in Accelerator::ALL {
            let (name, about) = match accelerator {
                Accelerator::Cpu => ("the processor", "Works everywhere"),
                Accelerator::Cuda => ("NVIDIA", "The first NVIDIA card; needs a build with --features cuda"),
                Accelerator::Metal => ("Metal", "Apple's graphics; needs a build with --features metal"),
            };
            let is_built = accelerator.is_built();
            ui.add_enabled_ui(is_built, |ui| {
                let text = RichText::new(name).color(if is_built { palette.text } else { palette.weak });
                let button = Button::selectable(settings.accelerator == accelerator, text);
                let button = ui.add(button.min_size(Vec2::new(0.0, theme::CONTROL_HEIGHT)));
                if button.on_hover_text(about).on_disabled_hover_text(about).clicked() {
                    settings.accelerator = accelerator;
                }
            });
        }
    });
    let is_built = settings.accelerator.is_built();
    (!is_built)
        .then(|| format!("This program was built without {}: choose the processor", settings.accelerator.label()))
}

/// Where the server is, and which of its models answers.
fn server_ui(app: &mut App, ui: &mut Ui, dialog: &mut AnswererDialog) {
    let palette = theme::palette(ui);
    let AnswererDialog { draft, models, .. } = dialog;
    let spec = draft.spec();
    row_ui(ui, "Address", |ui| {
        let tooltip = "Any server that speaks OpenAI's API: vLLM, SGLang, llama.cpp, Ollama";
        let field = TextEdit::singleline(&mut draft.url).desired_width(ui.available_width() - FIELD_BUTTON - 8.0);
        let field = field.hint_text(RichText::new("localhost:8000").color(palette.weak)).char_limit(MAX_CHARS);
        if ui.add(field).on_hover_text(tooltip).accessible_name("Address").changed() {
            *models = Stage::Waiting;
        }
        let asking = models.job().is_some();
        let (label, about) = match asking {
            true => ("Stop asking", "Do not wait for the server any longer"),
            false => ("List models", "Ask the server at this address which models it has"),
        };
        let button = Button::new(label).min_size(Vec2::new(FIELD_BUTTON, 0.0));
        let button = ui.add_enabled(spec.is_ok() || asking, button).on_hover_text(about);
        let why_not = spec.as_ref().err().map(String::as_str).unwrap_or_default();
        if button.on_disabled_hover_text(why_not).clicked() {
            match (models.job(), spec.clone()) {
                (Some(job), _) => {
                    app.session.jobs.cancel(job);
                    *models = Stage::Waiting;
                }
                (None, Ok(spec)) => {
                    *models = Stage::Running(app.session.jobs.start(Job::FindModels { spec }), None);
                }
                (None, Err(_)) => {}
            }
        }
    });
    row_ui(ui, "Model", |ui| {
        let names = models.done().map(Vec::as_slice).unwrap_or_default();
        let room = if names.is_empty() { 0.0 } else { FIELD_BUTTON + 8.0 };
        let field = TextEdit::singleline(&mut draft.model).desired_width(ui.available_width() - room);
        let field = field.hint_text(RichText::new("as the server calls it").color(palette.weak));
        let tooltip = "The model's name on the server";
        ui.add(field.char_limit(MAX_CHARS)).on_hover_text(tooltip).accessible_name("Model name");
        if !names.is_empty() {
            let label = format!("{} {}", format::plural(names.len(), "model"), fonts::DOWN);
            let button = ui.add(Button::new(label).min_size(Vec2::new(FIELD_BUTTON, 0.0)));
            let button = button.on_hover_text("The models that the server has");
            Popup::menu(&button).show(|ui| {
                ScrollArea::vertical().max_height(MAX_MENU_HEIGHT).show(ui, |ui| {
                    for name in names.iter().take(MAX_SHOWN) {
                        let text = RichText::new(shown(name)).color(palette.text);
                        if ui.add(Button::selectable(draft.model == *name, text)).clicked() {
                            draft.model.clone_from(name);
                            ui.close();
                        }
                    }
                    if names.len() > MAX_SHOWN {
                        let rest = format::count((names.len() - MAX_SHOWN) as u64);
                        widgets::note_ui(ui, format!("And {rest} more: type the name into the field"));
                    }
                });
            });
        }
    });
    let told = match models {
        Stage::Failed(message) => Some((format::sentence(message), palette.bad)),
        Stage::Done(names) if names.is_empty() => {
            Some(("The server answers, but has no model: load one there".to_owned(), palette.warning))
        }
        Stage::Done(_) => Some(("The server answers".to_owned(), palette.good)),
        _ => None,
    };
    if let Some((text, colour)) = told {
        indented_ui(ui, |ui| {
            ui.add(Label::new(RichText::new(text).text_style(TextStyle::Small).color(colour)).wrap());
        });
    }
    row_ui(ui, "Key from", |ui| {
        let hint = RichText::new("no key").color(palette.weak);
        let field = TextEdit::singleline(&mut draft.key_env).desired_width(f32::INFINITY).hint_text(hint);
        ui.add(field.char_limit(200))
            .on_hover_text(
                "The environment variable that holds the key, such as OPENAI_API_KEY; the key itself is never stored",
            )
            .accessible_name("Environment variable of the key");
    });
}

/// How w gets there, and what that needs. True when a folder is to be chosen.
fn delivery_ui(ui: &mut Ui, draft: &mut ServerDraft) -> bool {
    let options = Delivery::ALL.map(|delivery| match delivery {
        Delivery::AsLoaded => {
            (delivery, "it does not: as loaded", "You load a merge there yourself, and say which w it has")
        }
        Delivery::Sglang => {
            (delivery, "a merge for each w (SGLang)", "Exact: each w is written as a merge, which SGLang loads")
        }
        Delivery::VllmLora => {
            (delivery, "an adapter for each w (vLLM)", "Small files, but an adapter only approximates the merge")
        }
        Delivery::LlamaCppLora => (
            delivery,
            "its adapter, scaled (llama.cpp)",
            "Start the server with the adapter of v as --lora; an approximation",
        ),
    });
    row_ui(ui, "w gets there", |ui| {
        let tooltip = "How a choice of w reaches the server";
        widgets::named_choice_ui(ui, "Delivery", tooltip, &mut draft.delivery, &options);
    });
    let about = options.iter().find(|(delivery, ..)| *delivery == draft.delivery).map_or("", |(.., about)| *about);
    indented_ui(ui, |ui| drop(widgets::note_ui(ui, about)));
    let mut browse = false;
    match draft.delivery {
        Delivery::AsLoaded => row_ui(ui, "w there", |ui| {
            let field = DragValue::new(&mut draft.loaded_w).range(-10.0..=10.0).speed(0.01).max_decimals(4);
            let field = field.update_while_editing(false).custom_parser(format::parse_number);
            ui.add(field)
                .on_hover_text("The w of the model that the server has loaded; 0 for the target itself")
                .accessible_name("w that is loaded");
        }),
        Delivery::LlamaCppLora => row_ui(ui, "Adapter", |ui| {
            let field = DragValue::new(&mut draft.lora_id).range(0..=1000).update_while_editing(false);
            ui.add(field)
                .on_hover_text("Its position among the server's --lora options, from 0")
                .accessible_name("Number of the adapter");
        }),
        Delivery::Sglang | Delivery::VllmLora => {
            row_ui(ui, "Folder", |ui| {
                let field = TextEdit::singleline(&mut draft.folder).desired_width(ui.available_width() - 92.0);
                ui.add(field.char_limit(MAX_CHARS))
                    .on_hover_text("Where they are written; they stay there until you delete them")
                    .accessible_name("Folder for the server");
                let button = ui.add(Button::new("Browse…").min_size(Vec2::new(84.0, 0.0)));
                browse = button.on_hover_text("Choose the folder").clicked();
            });
            row_ui(ui, "There it is", |ui| {
                let hint = RichText::new("the same path").color(theme::palette(ui).weak);
                let field = TextEdit::singleline(&mut draft.there).desired_width(f32::INFINITY).hint_text(hint);
                ui.add(field.char_limit(MAX_CHARS))
                    .on_hover_text("The same folder as the server sees it, on a shared disk or in a container")
                    .accessible_name("Folder as the server sees it");
            });
        }
    }
    row_ui(ui, "At once", |ui| {
        let field = DragValue::new(&mut draft.concurrency).range(1..=MAX_CONCURRENCY).speed(0.1);
        ui.add(field.update_while_editing(false))
            .on_hover_text("Requests that are under way at the same time")
            .accessible_name("Requests at once");
        ui.label("requests; give up after");
        let field = DragValue::new(&mut draft.idle_secs).range(1..=MAX_TIMEOUT_SECS).suffix(" s");
        ui.add(field.update_while_editing(false))
            .on_hover_text("Longest silence of the server in an answer; then it is asked again")
            .accessible_name("Longest silence");
        ui.label("of silence");
    });
    browse
}
