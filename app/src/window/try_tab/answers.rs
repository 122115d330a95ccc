//! The answers: two beside each other, or a strip of them one below the other.

use eframe::egui::{Align, Label, Layout, Rect, RichText, TextStyle, Ui, Vec2};
use mergescope_core::progress::Progress;

use super::run::{Answer, Run, State};
use super::{marked, table};
use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::{fonts, theme, widgets};

/// Space between the two columns.
const COLUMN_GAP: f32 = 40.0;
/// Width of the titles of a strip.
const TITLE_WIDTH: f32 = 176.0;

/// What was asked for in this frame.
#[derive(Default)]
struct Wishes {
    again: bool,
    stop: bool,
}

/// Draws them.
pub fn ui(app: &mut App, ui: &mut Ui, is_narrow: bool) {
    let Some(run) = &app.try_view.run else {
        return empty_ui(app, ui);
    };
    let top = ui.cursor().top();
    let mut wishes = Wishes::default();
    let again = if run.is_under_way() { None } else { run.changed_since(&app.session.recipe) };
    let again = again.map(|label| (label, app.asking_obstacle()));
    if run.is_strip
        && let Some((label, obstacle)) = &again
    {
        ui.horizontal(|ui| {
            ui.label(RichText::new("The recipe has changed since.").color(theme::palette(ui).weak));
            again_ui(ui, label, obstacle.as_deref(), &mut wishes);
        });
        ui.add_space(8.0);
    }
    if app.try_view.table {
        table::ui(ui, run);
    } else if run.is_strip {
        strip_ui(ui, run, is_narrow, &mut wishes);
    } else {
        both_ui(ui, run, again.as_ref(), is_narrow, &mut wishes);
    }
    ui.add_space(16.0);
    note_ui(ui, run, app.try_view.table);
    let rect = Rect::from_x_y_ranges(ui.max_rect().x_range(), top..=ui.cursor().top());
    app.chart_rect = Some(rect.intersect(ui.clip_rect()));
    if wishes.stop {
        app.commands.push(Command::StopAnswers);
    }
    if wishes.again {
        app.run_again();
    }
}

/// Before anything was asked.
fn empty_ui(app: &App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let (text, colour) = match app.asking_obstacle() {
        None => (
            "Run both lets the target answer, and what the recipe would write; Strip of w asks at several w in a row"
                .to_owned(),
            palette.weak,
        ),
        Some(obstacle) => match app.session.merge_obstacle() {
            Some(_) => (format!("{obstacle}. Then models can be asked: see the left"), palette.warning),
            None => (obstacle, palette.weak),
        },
    };
    ui.add(Label::new(RichText::new(text).color(colour).line_height(Some(theme::TEXT_LINE))).wrap());
}

fn note_ui(ui: &mut Ui, run: &Run, is_table: bool) {
    let palette = theme::palette(ui);
    let is_marked = !is_table && run.answers.iter().any(|answer| !answer.marks.is_empty());
    let against = match (is_marked, run.is_strip, run.answers.get(run.reference())) {
        (false, ..) if run.is_unanimous() => " All answers are the same.".to_owned(),
        (false, ..) => String::new(),
        (true, true, Some(reference)) => {
            format!(" What differs from the answer at {} is marked.", run.title(reference))
        }
        (true, ..) => " What differs from the target's answer is marked.".to_owned(),
    };
    let text = RichText::new(format!("{}{against}", run.note)).color(palette.weak).line_height(Some(theme::TEXT_LINE));
    ui.add(Label::new(text).wrap());
}

fn both_ui(ui: &mut Ui, run: &Run, again: Option<&(String, Option<String>)>, is_narrow: bool, wishes: &mut Wishes) {
    let column_ui = |ui: &mut Ui, number: usize, wishes: &mut Wishes| match run.answers.get(number) {
        Some(answer) => {
            let is_last = number + 1 == run.answers.len();
            header_ui(ui, &run.title(answer), &answer.pace(), again.filter(|_| is_last && number > 0), wishes);
            answer_ui(ui, run, answer, wishes);
        }
        None => {
            header_ui(ui, "w = 0", "", again, wishes);
            let words = "At w = 0 nothing is added: this is the target itself, and its answer the same. Move w at the \
                         left and run again";
            let words = RichText::new(words).color(theme::palette(ui).weak).line_height(Some(marked::LINE));
            ui.add(Label::new(words).wrap());
        }
    };
    if run.is_loaded() {
        return column_ui(ui, 0, wishes);
    }
    if is_narrow {
        column_ui(ui, 0, wishes);
        ui.add_space(24.0);
        column_ui(ui, 1, wishes);
        return;
    }
    let width = ((ui.available_width() - COLUMN_GAP) / 2.0).floor();
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        for number in 0..2 {
            ui.allocate_ui_with_layout(Vec2::new(width, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                ui.spacing_mut().item_spacing.x = 8.0;
                column_ui(ui, number, wishes);
            });
            if number == 0 {
                ui.add_space(COLUMN_GAP);
            }
        }
    });
}

/// The title of a column with what its answer took, and a hairline below.
fn header_ui(ui: &mut Ui, title: &str, pace: &str, again: Option<&(String, Option<String>)>, wishes: &mut Wishes) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(theme::TEXT_LINE);
        ui.label(RichText::new(title).text_style(theme::strong()));
        if let Some((label, obstacle)) = again {
            again_ui(ui, label, obstacle.as_deref(), wishes);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add(Label::new(RichText::new(pace).color(palette.weak)).truncate()).on_hover_text(
                "Tokens of the answer, and how many came in a second, the reading of the prompt included",
            );
        });
    });
    ui.add_space(4.0);
    widgets::hairline_ui(ui);
    ui.add_space(8.0);
}

/// A link that asks again.
fn again_ui(ui: &mut Ui, label: &str, obstacle: Option<&str>, wishes: &mut Wishes) {
    ui.add_enabled_ui(obstacle.is_none(), |ui| {
        let link = widgets::link_ui(ui, label);
        let link = link.on_hover_text("The answers are of the recipe as it was; this asks it as it is now");
        wishes.again |= link.on_disabled_hover_text(obstacle.unwrap_or_default()).clicked();
    });
}

fn strip_ui(ui: &mut Ui, run: &Run, is_narrow: bool, wishes: &mut Wishes) {
    for (number, answer) in run.answers.iter().enumerate() {
        if number > 0 {
            ui.add_space(8.0);
            widgets::hairline_ui(ui);
            ui.add_space(8.0);
        }
        if is_narrow {
            ui.horizontal(|ui| title_ui(ui, run, answer));
            answer_ui(ui, run, answer, wishes);
            continue;
        }
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            ui.allocate_ui_with_layout(Vec2::new(TITLE_WIDTH, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(TITLE_WIDTH);
                title_ui(ui, run, answer);
            });
            let width = ui.available_width();
            ui.allocate_ui_with_layout(Vec2::new(width, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                answer_ui(ui, run, answer, wishes);
            });
        });
    }
}

/// The title of an answer in a strip, and what it took.
fn title_ui(ui: &mut Ui, run: &Run, answer: &Answer) {
    let palette = theme::palette(ui);
    let title = RichText::new(run.title(answer)).text_style(theme::strong()).line_height(Some(marked::LINE));
    ui.label(title);
    let pace = RichText::new(answer.pace()).text_style(TextStyle::Small).color(palette.weak);
    ui.label(pace);
}

/// An answer as far as it is.
fn answer_ui(ui: &mut Ui, run: &Run, answer: &Answer, wishes: &mut Wishes) {
    let palette = theme::palette(ui);
    let weak_ui = |ui: &mut Ui, text: &str| {
        ui.add(Label::new(RichText::new(text).color(palette.weak).line_height(Some(marked::LINE))).wrap());
    };
    match &answer.state {
        State::Waiting => weak_ui(ui, "Waits for the answer before"),
        State::Loading => loading_ui(ui, run.progress.as_ref(), run.stopping, wishes),
        State::Reading => weak_ui(ui, "…"),
        State::Writing | State::Ended(_) | State::Stopped => {
            if !answer.text.is_empty() {
                marked::ui(ui, &answer.text, &answer.marks, answer.state == State::Writing);
            }
        }
        State::NotAsked => {}
        State::Failed(message) => {
            let text = format!("{} {message}", fonts::CROSS);
            ui.add(Label::new(RichText::new(text).color(palette.bad).line_height(Some(theme::TEXT_LINE))).wrap());
        }
    }
    if let Some(remark) = answer.remark(run.settings.max_tokens) {
        let colour = if answer.state == State::NotAsked { palette.weak } else { palette.warning };
        let remark = RichText::new(remark).color(colour).line_height(Some(theme::TEXT_LINE));
        ui.add(Label::new(remark).wrap());
    }
}

/// How far the loading is, with a way to stop it.
fn loading_ui(ui: &mut Ui, progress: Option<&Progress>, stopping: bool, wishes: &mut Wishes) {
    let palette = theme::palette(ui);
    let (mut text, mut fraction) = (if stopping { "Stopping…" } else { "Loading…" }.to_owned(), 0.0);
    if let Some(progress) = progress.filter(|progress| progress.total_bytes > 0 && !stopping) {
        fraction = progress.fraction();
        let amount = format::bytes_of(progress.done_bytes, progress.total_bytes);
        let speed = progress.bytes_per_sec().map(|speed| format!(" · {}", format::speed(speed)));
        let left = progress.remaining().map(|left| format!(" · {} left", format::duration(left)));
        let (speed, left) = (speed.unwrap_or_default(), left.unwrap_or_default());
        text = format!("{} · {amount}{speed}{left}", progress.stage.label());
    }
    ui.horizontal(|ui| {
        ui.add(Label::new(RichText::new(text).color(palette.weak)).truncate());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_enabled_ui(!stopping, |ui| {
                let cancel = widgets::link_ui(ui, "Cancel").on_hover_text(Command::StopAnswers.explanation());
                wishes.stop |= cancel.clicked();
            });
        });
    });
    ui.add_space(4.0);
    widgets::bar_ui(ui, "Loading the weights", fraction);
}
