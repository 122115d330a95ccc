//! The row of choices: questions, grader, w, split, and what starts and stops.

use eframe::egui::{
    Align, Button, Layout, Popup, PopupCloseBehavior, Rect, RichText, TextEdit, Ui, UiBuilder, Vec2, WidgetInfo, pos2,
};
use mergescope_core::evaluate::grade::{Grader, Pattern};
use mergescope_core::evaluate::sweep::{SplitSpec, SweepTable};

use super::{grid, more, questions};
use crate::evaluate::words;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::evaluation::Ended;
use crate::window::{fonts, theme, widgets};

/// Room for the button that starts and stops.
const BUTTON_WIDTH: f32 = 92.0;
/// Width of the menu of graders.
const GRADERS_WIDTH: f32 = 330.0;

/// Draws it.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let row = ui.available_rect_before_wrap();
    let left = row.with_max_x(row.right() - BUTTON_WIDTH - 8.0);
    ui.scope_builder(UiBuilder::new().max_rect(left), |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::new(8.0, 6.0);
            // What is asked stays as it is while it is asked; another grader counts at once.
            let is_free = !app.evaluation.is_running();
            questions::ui(app, ui, is_free);
            ui.add_space(4.0);
            grader_ui(app, ui);
            ui.add_space(4.0);
            grid::ui(app, ui, is_free);
            ui.add_space(4.0);
            split_ui(app, ui, is_free);
            ui.add_space(4.0);
            more::ui(app, ui);
        });
    });
    let place = Rect::from_min_size(pos2(row.right() - BUTTON_WIDTH, row.top()), Vec2::new(BUTTON_WIDTH, 28.0));
    let mut right = ui.new_child(UiBuilder::new().max_rect(place).layout(Layout::right_to_left(Align::Min)));
    button_ui(app, &mut right);
}

/// What a grader does.
fn grader_about(grader: &Grader) -> &'static str {
    match grader {
        Grader::Substring => {
            "The label stands anywhere in the answer (arXiv 2508.02913). It overestimates: 7 is found in 17"
        }
        Grader::Strict => "#### 29, “The answer is 29.” or 答えは29です。; the first such number counts",
        Grader::Flexible => "The last number of the answer",
        Grader::Boxed => r"What stands in the last \boxed{…}",
        Grader::Choice => "The letter or the text of one of the choices",
        Grader::Exact => "The whole answer is the label",
        Grader::Regex(_) => "The last match of the pattern: its first group, or all of it",
    }
}

/// The share of right answers by a grader, at w = 0 and at the chosen w.
fn shares(table: Option<&SweepTable>, grader: &Grader) -> String {
    let Some(table) = table else { return String::new() };
    let at = |w: f64| {
        let arm = table
            .arms
            .iter()
            .find(|result| result.w == Some(w) && result.arm.is_some_and(|arm| arm.prompt == 0 && !arm.perturbed))?;
        let (_, share) = arm.by_grader.iter().find(|(name, _)| name == grader.label())?;
        Some(words::share((*share)?))
    };
    let chosen = table.chosen.filter(|chosen| chosen.w != 0.0).and_then(|chosen| at(chosen.w));
    match (at(0.0), chosen) {
        (Some(without), Some(with)) => format!("{without} → {with}"),
        (Some(without), None) => without,
        _ => String::new(),
    }
}

fn grader_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let tooltip = "How an answer is found in what a model said; another one needs no new answers";
    let graders =
        app.evaluation.prepared.as_ref().map(|prepared| prepared.sweep.graders().to_vec()).unwrap_or_default();
    // A choice made while a run goes on is in effect before the sweep of its end is there.
    let chosen = app.evaluation.settings.spec.graders.first().or(graders.first()).cloned();
    let shown = chosen.as_ref().map_or_else(|| crate::format::NONE.to_owned(), words::grader);
    widgets::keep_together_with_menu(ui, "Grader", &shown);
    ui.label(RichText::new("Grader").color(palette.weak)).on_hover_text(tooltip);
    let button = Button::new(format!("{shown} {}", fonts::DOWN)).min_size(Vec2::new(0.0, 22.0));
    let button = ui.add_enabled(!graders.is_empty(), button).on_hover_text(tooltip);
    button.widget_info(|| WidgetInfo::labeled(eframe::egui::Role::ComboBox, true, format!("Grader: {shown}")));
    let table = app.evaluation.table().cloned();
    let mut wanted = None;
    let popup = Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).width(GRADERS_WIDTH);
    popup.show(|ui| {
        ui.set_width(GRADERS_WIDTH);
        for grader in &graders {
            let is_chosen = chosen.as_ref() == Some(grader);
            let share = RichText::new(shares(table.as_deref(), grader)).color(palette.weak);
            let name = RichText::new(words::grader(grader)).color(palette.text);
            let item =
                ui.add(Button::selectable(is_chosen, name).right_text(share).min_size(Vec2::new(GRADERS_WIDTH, 0.0)));
            if item.on_hover_text(grader_about(grader)).clicked() {
                wanted = Some(grader.clone());
                ui.close();
            }
        }
        if table.is_some() {
            widgets::note_ui(ui, "Right answers at w = 0, and at the chosen w, by each");
        }
        ui.separator();
        ui.horizontal(|ui| {
            let view = &mut app.evaluate_view;
            let field = TextEdit::singleline(&mut view.pattern).desired_width(220.0).hint_text(r"答えは(\d+)");
            let tooltip = "A pattern of your own: its last match counts, or the first group of that";
            ui.add(field.char_limit(1000)).on_hover_text(tooltip).accessible_name("Pattern");
            let pattern = Pattern::new(&view.pattern);
            let is_usable = pattern.is_ok() && !view.pattern.is_empty();
            let why_not = pattern.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let use_it = ui.add_enabled(is_usable, Button::new("Use pattern"));
            if use_it.on_hover_text(tooltip).on_disabled_hover_text(why_not).clicked() {
                wanted = pattern.ok().map(Grader::Regex);
                ui.close();
            }
        });
    });
    if let Some(grader) = wanted {
        app.evaluation.choose_grader(&grader, &mut app.session.jobs);
    }
}

fn split_ui(app: &mut App, ui: &mut Ui, is_free: bool) {
    let current = app.evaluation.settings.spec.split.map_or(0, |split| (split.share * 100.0).round() as u32);
    let mut chosen = current;
    let other = format!("{current} % / {} %", 100_u32.saturating_sub(current));
    let mut options = vec![
        (0, "none", "w is chosen on the very questions that it is reported on, which flatters it a little"),
        (50, "half / half", "w is chosen on half of the questions, and reported on the other half"),
        (20, "fifth / rest", "w is chosen on a fifth of the questions, and reported on the rest"),
        (33, "third / rest", "w is chosen on a third of the questions, and reported on the rest"),
    ];
    if !options.iter().any(|(share, ..)| *share == current) {
        options.push((current, &other, "w is chosen on that share of the questions, and reported on the rest"));
    }
    let tooltip = "Which questions w is chosen on; the others say how good it is";
    let shown = options.iter().find(|(share, ..)| *share == chosen).map_or("", |(_, name, _)| name);
    widgets::keep_together_with_menu(ui, "Split", shown);
    ui.label(RichText::new("Split").color(theme::palette(ui).weak)).on_hover_text(tooltip);
    ui.add_enabled_ui(is_free, |ui| widgets::named_choice_ui(ui, "Split", tooltip, &mut chosen, &options));
    if chosen != current {
        let split = SplitSpec { share: f64::from(chosen) / 100.0, ..SplitSpec::default() };
        app.evaluation.settings.spec.split = (chosen > 0).then_some(split);
    }
}

fn button_ui(app: &mut App, ui: &mut Ui) {
    let size = Vec2::new(BUTTON_WIDTH, 28.0);
    if let Some(run) = &app.evaluation.run {
        let label = if run.stopping { "Stopping…" } else { "Stop" };
        let stop = ui.add_enabled(!run.stopping, Button::new(label).min_size(size));
        if stop.on_hover_text(Command::StopSweep.explanation()).clicked() {
            app.commands.push(Command::StopSweep);
        }
        return;
    }
    let obstacle = app.sweep_obstacle();
    let progress = app.evaluation.progress().unwrap_or_default();
    let label = match progress.answered {
        0 => "Run",
        answered if answered < progress.total => "Go on",
        _ => "Run again",
    };
    let failed = matches!(app.evaluation.ended, Some(Ended::Failed(_)));
    let label = if failed { "Try again" } else { label };
    let button = widgets::main_button(ui, label, obstacle.is_none()).min_size(size);
    let button = ui.add_enabled(obstacle.is_none(), button).on_hover_text(Command::RunSweep.explanation());
    if button.on_disabled_hover_text(obstacle.unwrap_or_default()).clicked() {
        app.commands.push(Command::RunSweep);
    }
}
