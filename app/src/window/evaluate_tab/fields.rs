//! What the fields of a question file mean, and how a question becomes a prompt.

use std::path::Path;

use eframe::egui::{Align, Button, DragValue, Layout, RichText, ScrollArea, TextEdit, TextStyle, Ui, Vec2};
use mergescope_core::evaluate::questions::{AnswerForm, PromptForm};
use mergescope_core::evaluate::sweep::{ExamplesSpec, SweepSpec};

use super::{Shown, questions};
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::evaluation::Questions;
use crate::window::{theme, widgets};

/// Longest template that the field takes, in characters.
const MAX_TEMPLATE_CHARS: usize = 20_000;
/// Characters of an example value that are shown.
const EXAMPLE_CHARS: usize = 56;
/// Windows narrower than this have one column.
const NARROW: f32 = 1000.0;
/// Characters of a prompt that are shown.
const PREVIEW_CHARS: usize = 8_000;

/// Draws the editor.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let is_narrow = ui.ctx().content_rect().width() < NARROW;
    ui.horizontal(|ui| {
        if widgets::link_ui(ui, "Back to the chart").clicked() {
            app.evaluate_view.shown = Shown::Chart;
        }
        let name = questions::name(&app.evaluation.settings.spec.questions);
        ui.add_space(8.0);
        ui.label(RichText::new(format!("Fields and prompt of {name}")).text_style(theme::strong()));
    });
    ui.add_space(10.0);
    let Some(file) = app.evaluation.questions.clone() else {
        widgets::note_ui(ui, "The file has not been read");
        return;
    };
    let is_free = !app.evaluation.is_running();
    ScrollArea::vertical().id_salt("fields").auto_shrink([false, false]).show(ui, |ui| {
        ui.add_enabled_ui(is_free, |ui| {
            if is_narrow {
                mapping_ui(app, ui, &file);
                ui.add_space(16.0);
                prompt_ui(app, ui, &file);
                return;
            }
            let width = ((ui.available_width() - 40.0) / 2.0).floor();
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 0.0;
                for side in 0..2 {
                    ui.allocate_ui_with_layout(Vec2::new(width, 0.0), Layout::top_down(Align::Min), |ui| {
                        ui.set_width(width);
                        ui.spacing_mut().item_spacing.x = 8.0;
                        if side == 0 { mapping_ui(app, ui, &file) } else { prompt_ui(app, ui, &file) }
                    });
                    ui.add_space(40.0);
                }
            });
        });
    });
}

/// The example of a field, cut to a line.
fn example(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(EXAMPLE_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn mapping_ui(app: &mut App, ui: &mut Ui, file: &Questions) {
    let palette = theme::palette(ui);
    let spec = &mut app.evaluation.settings.spec;
    ui.label(RichText::new("What the fields mean").text_style(theme::strong()));
    widgets::note_ui(
        ui,
        match spec.mapping {
            None => format!("Guessed from {}; change what is wrong", format::plural(file.records, "record")),
            Some(_) => "As you said".to_owned(),
        },
    );
    ui.add_space(4.0);
    let mut mapping = spec.mapping.clone().unwrap_or_else(|| file.mapping.clone());
    let before = mapping.clone();
    field_ui(ui, "Question", "The field of the question", file, &mut mapping.question);
    field_ui(ui, "Answer", "The field of the right answer", file, &mut mapping.answer);
    let mut form = mapping.answer_form;
    let forms = AnswerForm::ALL.map(|form| (form, form.label(), ""));
    widgets::setting_ui(ui, "The answer is", "What the answer's field holds", |ui| {
        widgets::named_choice_ui(ui, "The answer is", "What the answer's field holds", &mut form, &forms);
    });
    mapping.answer_form = form;
    optional_ui(ui, "Id", "The field that tells questions apart; without one, their position", file, &mut mapping.id);
    if let (None, Some(field)) = (&mapping.id, &file.unusable_id) {
        widgets::note_ui(ui, format!("Values of “{field}” repeat or are missing: it tells no questions apart"));
    }
    optional_ui(ui, "Worked answer", "A field with an answer in steps, for examples", file, &mut mapping.solution);
    widgets::setting_ui(ui, "Choices", "The fields of the choices: one that holds a list, or one for each", |ui| {
        let mut text = mapping.choices.join(", ");
        let field = TextEdit::singleline(&mut text).desired_width(f32::INFINITY).hint_text("none").char_limit(2000);
        if ui.add(field).on_hover_text("Names of fields, with commas between them").accessible_name("Choices").changed()
        {
            mapping.choices =
                text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        }
    });
    if mapping != before {
        spec.mapping = Some(mapping);
    }
    if spec.mapping.is_some() && widgets::link_ui(ui, "Guess the fields again").clicked() {
        spec.mapping = None;
    }
    ui.add_space(12.0);
    ui.label(RichText::new("Fields of the file").text_style(theme::strong()));
    for field in &file.fields {
        ui.horizontal(|ui| {
            ui.allocate_ui_with_layout(Vec2::new(140.0, 18.0), Layout::left_to_right(Align::Center), |ui| {
                ui.set_min_width(140.0);
                ui.add(eframe::egui::Label::new(&field.name).truncate()).on_hover_text(&field.name);
            });
            let text = RichText::new(example(&field.example)).color(palette.weak);
            ui.add(eframe::egui::Label::new(text).truncate()).on_hover_text(&field.example);
        });
    }
}

/// A menu of the file's fields.
fn field_ui(ui: &mut Ui, label: &str, tooltip: &str, file: &Questions, chosen: &mut String) {
    let fields: Vec<(usize, &str, &str)> = named(file);
    let mut at = file.fields.iter().position(|field| field.name == *chosen).unwrap_or(usize::MAX);
    let before = at;
    widgets::setting_ui(ui, label, tooltip, |ui| {
        widgets::named_choice_ui(ui, label, tooltip, &mut at, &fields);
        let palette = theme::palette(ui);
        if let Some(field) = file.fields.get(at) {
            let text = RichText::new(example(&field.example)).color(palette.weak);
            ui.add(eframe::egui::Label::new(text).truncate()).on_hover_text(&field.example);
        } else if !chosen.is_empty() {
            // A name with dots leads into objects, and stands in no list.
            ui.label(chosen.as_str());
        }
    });
    if at != before
        && let Some(field) = file.fields.get(at)
    {
        chosen.clone_from(&field.name);
    }
}

/// The same for a field that need not be there.
fn optional_ui(ui: &mut Ui, label: &str, tooltip: &str, file: &Questions, chosen: &mut Option<String>) {
    let mut fields = named(file);
    fields.insert(0, (usize::MAX, "none", ""));
    let position = |name: &String| file.fields.iter().position(|field| field.name == *name);
    let mut at = chosen.as_ref().and_then(position).unwrap_or(usize::MAX);
    let before = at;
    widgets::setting_ui(ui, label, tooltip, |ui| {
        widgets::named_choice_ui(ui, label, tooltip, &mut at, &fields);
    });
    if at != before {
        *chosen = file.fields.get(at).map(|field| field.name.clone());
    }
}

fn named(file: &Questions) -> Vec<(usize, &str, &str)> {
    file.fields.iter().enumerate().map(|(at, field)| (at, field.name.as_str(), "")).collect()
}

fn prompt_ui(app: &mut App, ui: &mut Ui, file: &Questions) {
    let palette = theme::palette(ui);
    ui.label(RichText::new("The prompt").text_style(theme::strong()));
    let in_use = app.evaluation.prepared.as_ref().map(|prepared| prepared.sweep.template().clone());
    let spec = &mut app.evaluation.settings.spec;
    let guessed = in_use.or_else(|| file.template.clone()).unwrap_or_default();
    let mut template = spec.template.clone().unwrap_or(guessed);
    let before = template.clone();
    widgets::note_ui(ui, "{question}, {choices}, {instruction} or any field's name in braces stands for what it holds");
    ui.add_space(4.0);
    widgets::setting_ui(ui, "It is", "How the prompt becomes what the models are given", |ui| {
        let options = [
            (PromptForm::Chat, "a message", "A message of a conversation, as the target's chat template writes it"),
            (PromptForm::Raw, "raw text", "Text that the models go on from as it stands"),
        ];
        for (form, name, about) in options {
            let button = Button::selectable(template.form == form, RichText::new(name).color(palette.text));
            if ui.add(button).on_hover_text(about).clicked() {
                template.form = form;
            }
        }
    });
    let field = TextEdit::multiline(&mut template.text).desired_rows(4).desired_width(f32::INFINITY);
    let field = field.char_limit(MAX_TEMPLATE_CHARS).background_color(palette.panel);
    ui.add(field).accessible_name("Prompt template");
    widgets::setting_ui(ui, "System prompt", "Instructions that stand before everything", |ui| {
        let field = TextEdit::singleline(&mut template.system).desired_width(f32::INFINITY).hint_text("none");
        ui.add(field.char_limit(MAX_TEMPLATE_CHARS)).accessible_name("System prompt");
    });
    examples_ui(spec, ui, &mut app.commands);
    if template != before {
        spec.template = Some(template);
    }
    if spec.template.is_some() && widgets::link_ui(ui, "The usual prompt again").clicked() {
        spec.template = None;
    }
    ui.add_space(12.0);
    ui.label(RichText::new("The first prompt").text_style(theme::strong()));
    let preview = match (&app.evaluation.prepared, app.evaluation.is_reading()) {
        (Some(prepared), false) => prepared.first_prompt.chars().take(PREVIEW_CHARS).collect(),
        (_, true) => "…".to_owned(),
        (None, false) => String::new(),
    };
    let text =
        RichText::new(preview).text_style(TextStyle::Body).line_height(Some(theme::TEXT_LINE)).color(palette.weak);
    ui.add(eframe::egui::Label::new(text).wrap().selectable(true));
}

fn examples_ui(spec: &mut SweepSpec, ui: &mut Ui, commands: &mut Vec<Command>) {
    let tooltip = "Answered examples before each question (few-shot): the first of the file, which are then not asked, or of another";
    widgets::setting_ui(ui, "Examples before it", tooltip, |ui| {
        let mut count = spec.examples.as_ref().map_or(0, |examples| examples.count);
        let number = DragValue::new(&mut count).range(0..=64).speed(0.1).update_while_editing(false);
        if ui.add(number).on_hover_text(tooltip).accessible_name("Examples").changed() {
            let file = spec.examples.take().and_then(|examples| examples.file);
            spec.examples = (count > 0).then_some(ExamplesSpec { count, file });
        }
        let from = spec.examples.as_ref().and_then(|examples| examples.file.clone());
        let name = from.as_ref().map_or_else(|| "of this file".to_owned(), |path| questions::name(path));
        ui.label(name).on_hover_text(from.as_ref().map_or(tooltip.to_owned(), |path| format::path(Path::new(path))));
        let open = Command::OpenExamples;
        if ui.button(open.label()).on_hover_text(open.explanation()).clicked() {
            commands.push(open);
        }
    });
}
