//! What is seldom changed, and what is done with answers as a whole.

use eframe::egui::{Button, DragValue, Popup, PopupCloseBehavior, RichText, ScrollArea, TextEdit, Ui, Vec2};
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::sweep::{ChoiceScoring, PerturbationSpec, PromptArm, SweepSpec};

use super::questions;
use crate::evaluate::presets;
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::evaluation::Settings;
use crate::window::{answerer, fonts, theme, widgets};

/// Width of the popup.
const WIDTH: f32 = 590.0;
/// Most of its height.
const MAX_HEIGHT: f32 = 630.0;
/// Height of the window that the popup leaves free, above and below it.
const ROOM_AROUND: f32 = 170.0;
/// Most tokens of an answer that can be asked for.
const MOST_TOKENS: usize = 131_072;

/// One of several, as words beside each other.
fn one_of<T: PartialEq + Copy>(ui: &mut Ui, current: &mut T, options: &[(T, &str, &str)]) {
    let palette = theme::palette(ui);
    ui.horizontal_wrapped(|ui| {
        for (value, name, about) in options {
            let button = ui.add(Button::selectable(current == value, RichText::new(*name).color(palette.text)));
            if button.on_hover_text(*about).clicked() {
                *current = *value;
            }
        }
    });
}

/// Draws the button and what is behind it.
pub fn ui(app: &mut App, ui: &mut Ui) {
    // A server has a line of its own.
    let engine = usize::from(app.answerer.is_set_apart() && app.answerer.server().is_none());
    let label = match app.evaluation.settings.set_apart() + engine {
        0 => format!("More {}", fonts::DOWN),
        count => format!("More: {count} set {}", fonts::DOWN),
    };
    let button = ui.add(Button::new(label).min_size(Vec2::new(0.0, 22.0))).accessible_name("More choices");
    let button = button.on_hover_text("How answers are made, other ways of asking, results of others, and the report");
    let width = WIDTH.min(ui.ctx().content_rect().width() - 32.0);
    let popup = Popup::from_toggle_button_response(&button).width(width);
    popup.close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 6.0;
        // Areas begin with less height than there is room.
        let height = MAX_HEIGHT.min(ui.ctx().content_rect().height() - ROOM_AROUND);
        let scroll = ScrollArea::vertical().id_salt("more").max_height(height).min_scrolled_height(height);
        scroll.auto_shrink([false, true]).show(ui, |ui| {
            let is_free = !app.evaluation.is_running();
            ui.add_enabled_ui(is_free, |ui| {
                let has_choices = app.evaluation.items.questions.is_empty()
                    || app.evaluation.prepared.as_ref().is_some_and(|prepared| {
                        prepared.sweep.questions().iter().any(|question| !question.choices.is_empty())
                    });
                let usual = app.evaluation.prepared.as_ref().map(|prepared| prepared.sweep.max_tokens());
                answers_ui(&mut app.evaluation.settings, ui, usual);
                answerer::setting_ui(&app.answerer, &mut app.commands, ui);
                ui.separator();
                asking_ui(&mut app.evaluation.settings.spec, ui, has_choices);
                ui.separator();
                presets_ui(app, ui);
                imports_ui(app, ui);
            });
            ui.separator();
            kept_ui(app, ui);
        });
    });
}

fn whole(value: &mut usize) -> DragValue<'_> {
    DragValue::new(value).update_while_editing(false).custom_parser(format::parse_number)
}

fn answers_ui(settings: &mut Settings, ui: &mut Ui, usual: Option<usize>) {
    let spec = &mut settings.spec;
    let tooltip = "At most so many questions, drawn by their ids and not from the beginning of the file; 0 asks all";
    widgets::setting_ui(ui, "At most", tooltip, |ui| {
        let mut limit = spec.limit.unwrap_or(0);
        let field = whole(&mut limit).range(0..=100_000).speed(0.2);
        let field = field.custom_formatter(|value, _| if value == 0.0 { "all".to_owned() } else { format!("{value}") });
        ui.add(field).on_hover_text(tooltip).accessible_name("Most questions");
        ui.label("questions");
        spec.limit = (limit > 0).then_some(limit);
    });
    let tooltip = "An answer is cut off after so many tokens";
    widgets::setting_ui(ui, "Tokens of an answer", tooltip, |ui| {
        let mut tokens = spec.max_tokens.or(usual).unwrap_or(1024);
        let field = ui.add(whole(&mut tokens).range(1..=MOST_TOKENS)).on_hover_text(tooltip);
        if field.accessible_name("Most tokens").changed() {
            spec.max_tokens = Some(tokens);
        }
        if spec.max_tokens.is_some() && widgets::link_ui(ui, "as usual").clicked() {
            spec.max_tokens = None;
        }
    });
    let tooltip = "0 takes the likeliest token each time (greedy), 1 draws as the model says";
    widgets::setting_ui(ui, "Temperature", tooltip, |ui| {
        let number = DragValue::new(&mut spec.sampling.temperature).range(0.0..=100.0).speed(0.01).max_decimals(2);
        let number = number.update_while_editing(false).custom_parser(format::parse_number);
        ui.add(number).on_hover_text(tooltip).accessible_name("Temperature");
        let draws = spec.sampling.temperature > 0.0;
        ui.add_enabled_ui(draws, |ui| {
            let tooltip = "Draws among the likeliest tokens that together have this probability; 1 keeps all";
            let number = DragValue::new(&mut spec.sampling.top_p).range(0.0..=1.0).speed(0.01).max_decimals(2);
            ui.add(number.prefix("top-p ").update_while_editing(false)).on_hover_text(tooltip).accessible_name("Top-p");
        });
    });
    let tooltip = "Answers to each question; more than one needs a temperature above 0";
    widgets::setting_ui(ui, "Samples", tooltip, |ui| {
        let draws = spec.sampling.temperature > 0.0;
        if !draws {
            spec.samples = 1;
        }
        ui.add_enabled_ui(draws, |ui| {
            let samples = DragValue::new(&mut spec.samples).range(1..=64).speed(0.1).update_while_editing(false);
            ui.add(samples).on_hover_text(tooltip).accessible_name("Samples");
        });
    });
}

fn asking_ui(spec: &mut SweepSpec, ui: &mut Ui, has_choices: bool) {
    let palette = theme::palette(ui);
    let tooltip = "Every model is asked a second time with these words added, as a line of its own in the chart";
    widgets::setting_ui(ui, "Ask also with", tooltip, |ui| {
        let mut text = spec.prompts.get(1).map(|arm| arm.instruction.clone()).unwrap_or_default();
        let field = TextEdit::singleline(&mut text).desired_width(150.0).hint_text("nothing").char_limit(2000);
        let mut changed = ui.add(field).on_hover_text(tooltip).accessible_name("Ask also with").changed();
        let steps = ui
            .add(Button::selectable(text == presets::STEP_BY_STEP, RichText::new("step by step").color(palette.text)));
        if steps.on_hover_text(presets::STEP_BY_STEP).clicked() {
            text = if text == presets::STEP_BY_STEP { String::new() } else { presets::STEP_BY_STEP.to_owned() };
            changed = true;
        }
        if changed {
            let arm =
                |label: &str, instruction: &str| PromptArm { label: label.into(), instruction: instruction.into() };
            spec.prompts = match text.trim().is_empty() {
                true => Vec::new(),
                false if text == presets::STEP_BY_STEP => vec![arm("plain", ""), arm("step by step", &text)],
                false => vec![arm("plain", ""), arm("with words added", &text)],
            };
        }
    });
    widgets::setting_ui(ui, "Change the questions", "Every question is asked a second time, changed a little", |ui| {
        let kinds = [
            (0, "no", "Each question is asked as it stands"),
            (1, "stray sentence", "With a sentence that has nothing to do with it"),
            (2, "other order", "With its sentences in another order"),
            (3, "slips", "With slips of the keyboard, in one letter of twenty or as many as you say"),
            (4, "other numbers", "With other numbers, and the label that they lead to, where that is certain"),
        ];
        let mut kind = match spec.perturbation.map(|perturbation| perturbation.change) {
            None => 0,
            Some(Perturbation::IrrelevantSentence) => 1,
            Some(Perturbation::ShuffledSentences) => 2,
            Some(Perturbation::CharacterNoise { .. }) => 3,
            Some(Perturbation::ChangedNumbers) => 4,
        };
        let before = kind;
        one_of(ui, &mut kind, &kinds);
        if kind != before {
            let change = match kind {
                1 => Some(Perturbation::IrrelevantSentence),
                2 => Some(Perturbation::ShuffledSentences),
                3 => Some(Perturbation::CharacterNoise { rate: presets::NOISE_RATE }),
                4 => Some(Perturbation::ChangedNumbers),
                _ => None,
            };
            spec.perturbation = change.map(|change| PerturbationSpec { change, seed: 0 });
        }
    });
    if let Some(perturbation) = &mut spec.perturbation {
        widgets::setting_ui(ui, "", "", |ui| drawn_ui(perturbation, ui));
    }
    ui.add_enabled_ui(has_choices, |ui| {
        widgets::setting_ui(ui, "Choices are taken", "For questions with choices", |ui| {
            let options = [
                (None, "from the answer", "The model writes, and the grader looks for the choice"),
                (Some(ChoiceScoring::Letter), "by letter", "The likeliest letter, without writing"),
                (Some(ChoiceScoring::Text), "by text", "The likeliest text for each byte, without writing (acc_norm)"),
            ];
            one_of(ui, &mut spec.choices, &options);
        });
    });
}

/// What a change of the questions is drawn from, and of slips how many there are.
fn drawn_ui(perturbation: &mut PerturbationSpec, ui: &mut Ui) {
    if let Perturbation::CharacterNoise { rate } = &mut perturbation.change {
        let tooltip = "Share of the letters of words at which there is a slip";
        // In per cent, so that a step of the field is one.
        let mut share = *rate * 100.0;
        let field =
            DragValue::new(&mut share).range(0.1..=100.0).speed(0.1).max_decimals(1).suffix("\u{a0}% of letters");
        let field = field.update_while_editing(false).custom_parser(format::parse_number);
        if ui.add(field).on_hover_text(tooltip).accessible_name("Share of slips").changed() {
            *rate = share / 100.0;
        }
    }
    let tooltip = "Another number draws other changes; the same number the same";
    let field = DragValue::new(&mut perturbation.seed).prefix("seed ").speed(0.1).update_while_editing(false);
    ui.add(field).on_hover_text(tooltip).accessible_name("Seed of the changes");
}

fn presets_ui(app: &mut App, ui: &mut Ui) {
    widgets::setting_ui(ui, "As in a paper", "Takes over what the paper did; what it does not say stays", |ui| {
        for preset in presets::PRESETS {
            if ui.button(preset.name).on_hover_text(preset.about).clicked() {
                presets::apply(preset.name, &mut app.evaluation.settings.spec);
                app.evaluate_view.grid_text = None;
            }
        }
    });
}

fn imports_ui(app: &mut App, ui: &mut Ui) {
    let import = Command::ImportResults;
    widgets::setting_ui(ui, "Results of others", import.explanation(), |ui| {
        if ui.button(import.label()).on_hover_text(import.explanation()).clicked() {
            app.commands.push(import);
            ui.close();
        }
    });
    let mut gone = None;
    for (at, path) in app.evaluation.settings.imports.iter().enumerate() {
        let shown = format::path(path);
        let name = questions::name(&path.to_string_lossy());
        widgets::setting_ui(ui, "", &shown, |ui| {
            ui.label(&name).on_hover_text(&shown);
            let remove = widgets::quiet_ui(ui, fonts::CROSS, false).accessible_name(format!("Leave {name} out"));
            if remove.on_hover_text("Leave these results out").clicked() {
                gone = Some(at);
            }
        });
    }
    if let Some(at) = gone {
        app.evaluation.settings.imports.remove(at);
    }
}

fn kept_ui(app: &mut App, ui: &mut Ui) {
    widgets::setting_ui(
        ui,
        "The answers",
        "They are kept, so that a run that was stopped goes on, also after a restart",
        |ui| {
            for command in [Command::SaveReport, Command::OpenAnswers, Command::ForgetAnswers] {
                let button = ui.add_enabled(app.is_enabled(command), Button::new(command.label()));
                if button.on_hover_text(command.explanation()).clicked() {
                    app.commands.push(command);
                    ui.close();
                }
            }
        },
    );
    if let Some(folder) = app.evaluation.folder() {
        widgets::note_ui(ui, format!("Kept in {}", format::path(folder)));
    }
}
