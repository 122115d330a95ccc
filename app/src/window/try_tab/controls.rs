//! What is asked and how: the choices, the prompt, and the buttons that start and stop.

use eframe::egui::{
    Align, Button, DragValue, Frame, Layout, Margin, Popup, PopupCloseBehavior, Response, RichText, ScrollArea, Stroke,
    StrokeKind, TextEdit, Ui, Vec2,
};
use mergescope_core::engine::Sampling;

use super::settings::{MAX_LIST_CHARS, MAX_PROMPT_CHARS, MOST_TOKENS, Settings};
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::{answerer, fonts, theme, widgets};

/// Most of the height that the prompt takes; a longer one scrolls.
const MAX_PROMPT_HEIGHT: f32 = 220.0;
/// Width of the popup behind “More”.
const MORE_WIDTH: f32 = 360.0;
/// Width of the field for the values of a strip.
const STRIP_WIDTH: f32 = 244.0;

/// Draws them.
pub fn ui(app: &mut App, ui: &mut Ui, is_narrow: bool) {
    let lacks_template = app.try_view.lacks_template(&app.answerer);
    choices_ui(app, ui, lacks_template);
    if lacks_template {
        ui.add_space(2.0);
        widgets::note_ui(ui, "The target has no chat template: the prompt is given to the models as it stands");
    }
    ui.add_space(8.0);
    answerer::line_ui(app, ui);
    prompt_ui(&mut app.try_view.settings.prompt, ui);
    ui.add_space(8.0);
    buttons_ui(app, ui, is_narrow);
}

fn choices_ui(app: &mut App, ui: &mut Ui, lacks_template: bool) {
    let App { try_view, answerer, commands, .. } = app;
    let settings = &mut try_view.settings;
    let palette = theme::palette(ui);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        let template = match answerer.server() {
            Some(_) => (false, "From the server", "A message of a conversation, as the server's template writes it"),
            None => (false, "From the target", "A message of a conversation, as the target's template writes it"),
        };
        let options = [template, (true, "Raw text", "The models go on from the prompt as it stands")];
        let tooltip = "How the prompt becomes what the models are given";
        if lacks_template {
            let mut raw = true;
            ui.add_enabled_ui(false, |ui| widgets::choice_ui(ui, "Template", tooltip, &mut raw, &options));
        } else {
            widgets::choice_ui(ui, "Template", tooltip, &mut settings.raw, &options);
        }
        ui.add_space(8.0);

        let tooltip = "0 takes the likeliest token each time (greedy), 1 draws as the model says, more is bolder";
        widgets::keep_together(ui, "Temperature", 100.0);
        ui.label(RichText::new("Temperature").color(palette.weak)).on_hover_text(tooltip);
        let temperature = DragValue::new(&mut settings.sampling.temperature)
            .range(0.0..=100.0)
            .speed(0.01)
            .max_decimals(2)
            .update_while_editing(false)
            .custom_formatter(|value, _| if value == 0.0 { "0, greedy".to_owned() } else { format::fixed(value, 2) })
            .custom_parser(|text| format::parse_number(text.trim().trim_end_matches(", greedy")));
        ui.add(temperature).on_hover_text(tooltip).accessible_name("Temperature");
        ui.add_space(8.0);

        let tooltip = "An answer is cut off after so many tokens";
        widgets::keep_together(ui, "At most", 110.0);
        ui.label(RichText::new("At most").color(palette.weak)).on_hover_text(tooltip);
        let tokens = DragValue::new(&mut settings.max_tokens).range(1..=MOST_TOKENS).suffix(" tokens");
        ui.add(tokens.update_while_editing(false)).on_hover_text(tooltip).accessible_name("Most tokens");
        ui.add_space(8.0);

        // A server has a line of its own.
        let engine = usize::from(answerer.is_set_apart() && answerer.server().is_none());
        let more = match settings.set_apart(settings.raw || lacks_template) + engine {
            0 => format!("More {}", fonts::DOWN),
            count => format!("More: {count} set {}", fonts::DOWN),
        };
        let button = ui.button(more).accessible_name("More choices");
        let button = button.on_hover_text("System prompt, how tokens are drawn, what ends an answer, and what answers");
        let popup = Popup::from_toggle_button_response(&button).width(MORE_WIDTH);
        popup.close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            ui.set_width(MORE_WIDTH);
            Frame::new().inner_margin(Margin::same(8)).show(ui, |ui| {
                more_ui(settings, ui, lacks_template);
                answerer::setting_ui(answerer, commands, ui);
            });
        });
    });
}

/// What is seldom changed.
fn more_ui(settings: &mut Settings, ui: &mut Ui, lacks_template: bool) {
    let palette = theme::palette(ui);
    ui.spacing_mut().item_spacing.y = 6.0;
    let is_raw = settings.raw || lacks_template;
    let tooltip = if is_raw {
        "Raw text has no place for a system prompt: write it into the prompt"
    } else {
        "Instructions that stand before the prompt; not every model has a place for them"
    };
    ui.label(RichText::new("System prompt").color(palette.weak)).on_hover_text(tooltip);
    ui.add_enabled_ui(!is_raw, |ui| {
        let field = TextEdit::multiline(&mut settings.system).desired_rows(2).desired_width(f32::INFINITY);
        let field = text_ui(ui, field.char_limit(MAX_PROMPT_CHARS), Margin::symmetric(8, 5));
        field.on_hover_text(tooltip).accessible_name("Text of the system prompt");
    });

    let Sampling { temperature, top_p, top_k, repetition_penalty, seed } = &mut settings.sampling;
    let draws = *temperature > 0.0;
    let drawn = |tooltip: &str| match draws {
        true => tooltip.to_owned(),
        false => format!("{tooltip}. Has no effect at temperature 0"),
    };
    let number = |value| {
        let number = DragValue::new(value).speed(0.01).max_decimals(3).update_while_editing(false);
        number.custom_formatter(|value, _| format::fixed(value, 2)).custom_parser(format::parse_number)
    };
    let tooltip = drawn("Draws among the likeliest tokens that together have this probability; 1 keeps all");
    widgets::setting_ui(ui, "Top-p", &tooltip, |ui| {
        ui.add_enabled_ui(draws, |ui| {
            ui.add(number(top_p).range(0.0..=1.0)).on_hover_text(&tooltip).accessible_name("Top-p")
        });
    });
    let tooltip = drawn("Draws among so many of the likeliest tokens; 0 keeps all");
    widgets::setting_ui(ui, "Top-k", &tooltip, |ui| {
        let field = DragValue::new(top_k).range(0..=1_000_000).update_while_editing(false);
        ui.add_enabled_ui(draws, |ui| ui.add(field).on_hover_text(&tooltip).accessible_name("Top-k"));
    });
    let tooltip = "Makes tokens that occurred before less likely; 1 does nothing";
    widgets::setting_ui(ui, "Repetition penalty", tooltip, |ui| {
        let field = number(repetition_penalty).range(0.01..=100.0);
        ui.add(field).on_hover_text(tooltip).accessible_name("Repetition penalty");
    });
    let tooltip = drawn("What is drawn at random follows from this number: the same again gives the same answer");
    widgets::setting_ui(ui, "Seed", &tooltip, |ui| {
        let field = DragValue::new(seed).update_while_editing(false);
        ui.add_enabled_ui(draws, |ui| ui.add(field).on_hover_text(&tooltip).accessible_name("Seed"));
    });

    let tooltip = "An answer ends before any of these texts: one a line, with \\n for a new line within";
    ui.label(RichText::new("Stop before").color(palette.weak)).on_hover_text(tooltip);
    let field = TextEdit::multiline(&mut settings.stop).desired_rows(2).desired_width(f32::INFINITY);
    let hint = RichText::new("One text a line").color(palette.weak);
    let field = text_ui(ui, field.hint_text(hint).char_limit(MAX_LIST_CHARS), Margin::symmetric(8, 5));
    field.on_hover_text(tooltip).accessible_name("Texts to stop before");
}

/// A field for text, with a line around it that shows where the keyboard is.
fn text_ui(ui: &mut Ui, field: TextEdit<'_>, margin: Margin) -> Response {
    let palette = theme::palette(ui);
    let frame = Frame::new().fill(palette.panel).corner_radius(theme::RADIUS).inner_margin(margin);
    let response = ui.add(field.frame(frame));
    let colour = if response.has_focus() { palette.accent } else { palette.hairline };
    ui.painter().rect_stroke(response.rect, theme::RADIUS, Stroke::new(1.0, colour), StrokeKind::Inside);
    response
}

fn prompt_ui(prompt: &mut String, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let scroll = ScrollArea::vertical().id_salt("prompt").max_height(MAX_PROMPT_HEIGHT).auto_shrink([false, true]);
    scroll.show(ui, |ui| {
        let field = TextEdit::multiline(prompt)
            .id_salt("prompt")
            .desired_width(f32::INFINITY)
            .desired_rows(4)
            .hint_text(RichText::new("What should the models answer?").color(palette.weak))
            .char_limit(MAX_PROMPT_CHARS);
        text_ui(ui, field, Margin::symmetric(12, 10)).accessible_name("Prompt");
    });
}

fn buttons_ui(app: &mut App, ui: &mut Ui, is_narrow: bool) {
    let palette = theme::palette(ui);
    let size = Vec2::new(80.0, 28.0);
    let mut given = None;
    let obstacle = app.asking_obstacle();
    ui.horizontal(|ui| {
        if app.try_view.is_under_way() {
            let stopping = app.try_view.run.as_ref().is_some_and(|run| run.stopping);
            let label = if stopping { "Stopping…" } else { "Stop" };
            let stop = ui.add_enabled(!stopping, Button::new(label).min_size(size));
            if stop.on_hover_text(Command::StopAnswers.explanation()).clicked() {
                given = Some(Command::StopAnswers);
            }
        } else {
            let run = Command::RunBoth;
            let (label, about) = match app.answerer.loaded_w() {
                Some(_) => ("Ask the server", "Let the server answer with what it has loaded"),
                None => (run.label(), run.explanation()),
            };
            let button = widgets::main_button(ui, label, obstacle.is_none()).min_size(size);
            let button = ui.add_enabled(obstacle.is_none(), button).on_hover_text(about);
            if button.on_disabled_hover_text(obstacle.as_deref().unwrap_or_default()).clicked() {
                given = Some(run);
            }
        }
        let (strip, why_not) = (Command::RunStrip, app.strip_obstacle());
        let button = ui.add_enabled(why_not.is_none(), Button::new(strip.label()).min_size(size));
        let button = button.on_hover_text(strip.explanation());
        if button.on_disabled_hover_text(why_not.unwrap_or_default()).clicked() {
            given = Some(strip);
        }
        let width = STRIP_WIDTH.min(ui.available_width());
        let values = TextEdit::singleline(&mut app.try_view.settings.strip).char_limit(MAX_LIST_CHARS);
        text_ui(ui, values.desired_width(width - 16.0), Margin::symmetric(8, 5))
            .on_hover_text("The w that a strip is asked for, with commas between them")
            .accessible_name("Values of w");
        if !is_narrow {
            let keys = Command::RunBoth.shortcut().map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
            let keys = keys.replace('+', " ");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(RichText::new(keys).color(palette.weak)).on_hover_text(Command::RunBoth.explanation());
            });
        }
    });
    if let Err(reason) = app.try_view.settings.strip_values() {
        ui.add_space(4.0);
        widgets::badge_ui(ui, &reason);
    }
    app.commands.extend(given);
}
