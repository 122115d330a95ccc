//! One line before a run, during it, and after one that did not come to its end.

use std::time::Duration;

use eframe::egui::{Align, Label, Layout, RichText, Ui};
use mergescope_core::evaluate::sweep::SweepProgress;

use crate::evaluate::words;
use crate::format;
use crate::window::app::App;
use crate::window::evaluation::{Ended, Run};
use crate::window::{fonts, theme, widgets};

/// How often the window looks how far a run is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Draws it.
pub fn ui(app: &App, ui: &mut Ui) {
    let evaluation = &app.evaluation;
    if let Some(run) = &evaluation.run {
        return running_ui(ui, run);
    }
    let palette = theme::palette(ui);
    let line_ui = |ui: &mut Ui, text: String, colour| {
        ui.add(Label::new(RichText::new(text).color(colour).line_height(Some(theme::TEXT_LINE))).wrap());
        ui.add_space(4.0);
    };
    if let Some(Ended::Failed(message)) = &evaluation.ended {
        line_ui(ui, format!("{} {message}", fonts::CROSS), palette.bad);
        line_ui(ui, advice(message).to_owned(), palette.weak);
    }
    if let Some(problem) = &evaluation.problem {
        line_ui(ui, format!("{} {problem}", fonts::CROSS), palette.bad);
        return;
    }
    let method = app.session.recipe.method.name;
    if let Some(obstacle) = app.session.merge_obstacle() {
        line_ui(ui, format!("{obstacle}. Then questions can be asked: see the left"), palette.warning);
    } else if !method.uses_w() {
        line_ui(ui, app.sweep_obstacle().unwrap_or_default(), palette.warning);
    } else if evaluation.is_reading() && evaluation.prepared.is_none() {
        line_ui(ui, "Reading the questions…".to_owned(), palette.weak);
    }
    let Some(prepared) = &evaluation.prepared else { return };
    let progress = prepared.progress;
    if prepared.missing() > 0 {
        line_ui(ui, plan(app, progress), palette.weak);
    }
    if let Some(failures) = &prepared.failures {
        line_ui(ui, format!("{} {failures}", fonts::WARNING), palette.warning);
    }
    for reason in &prepared.unread {
        line_ui(ui, format!("{} {reason}; take it away under More, or mend it", fonts::WARNING), palette.warning);
    }
    let words = prepared.reach.left_out(prepared.sweep.spec());
    for words in words.into_iter().chain(app.answerer.remark().map(str::to_owned)) {
        line_ui(ui, words, palette.weak);
    }
}

/// What will be asked, what it can show, and how long it takes.
fn plan(app: &App, progress: SweepProgress) -> String {
    let evaluation = &app.evaluation;
    let Some(prepared) = &evaluation.prepared else { return String::new() };
    let sweep = &prepared.sweep;
    let questions = sweep.questions().len();
    let dev = sweep.questions().iter().filter(|question| sweep.is_dev(question)).count();
    let mut text = format::plural(questions, "question");
    if dev > 0 {
        let (dev, rest) = (format::count(dev as u64), format::count((questions - dev) as u64));
        text += &format!(", {dev} to choose w on and {rest} to report");
    }
    let total = format::count(progress.total as u64);
    text += &match progress.answered {
        0 => format!(" · {total} answers in all"),
        answered => format!(" · {} of {total} answers are there", format::count(answered as u64)),
    };
    if matches!(evaluation.ended, Some(Ended::Stopped)) {
        text = format!("Stopped; Go on asks for the rest. {text}");
    }
    if progress.answered == 0 {
        text += &match sweep.detectable_before() {
            Some(least) => {
                format!(" · so many show a gain from about {} on, if half are right at w = 0", words::points(least))
            }
            None => " · too few to show any gain: luck could do as much".to_owned(),
        };
    }
    let left = evaluation.estimate().map(|time| format!("about {}", format::duration(time)));
    let left = left.or_else(|| {
        // Answers of the Try tab say how fast the engine is, not how long these answers will be.
        let run = app.try_view.run.as_ref().filter(|run| run.engine == prepared.identity)?;
        let speed = run.answers.iter().rev().find_map(|answer| answer.speed())?;
        let tokens = prepared.missing() * sweep.max_tokens();
        let time = Duration::try_from_secs_f64(tokens as f64 / speed).ok()?;
        Some(format!("at most about {}", format::duration(time)))
    });
    let left = left.unwrap_or_else(|| "time known after the first answers".to_owned());
    if let Some(first) = sweep.skipped().first() {
        let records = format::plural(sweep.skipped().len(), "record");
        text += &format!(" · {records} without a question, the first: {}", first.why);
    }
    let skipped = sweep.left_out().len();
    if skipped > 0 {
        text += &format!(" · {} cannot be changed so and left out", format::plural(skipped, "question"));
    }
    format!("{text} · {left}")
}

fn running_ui(ui: &mut Ui, run: &Run) {
    let palette = theme::palette(ui);
    let progress = run.progress();
    let (answered, total) = (format::count(progress.answered as u64), format::count(progress.total as u64));
    let doing = match (run.stopping, run.is_loading) {
        (true, _) => "Stopping…".to_owned(),
        (false, true) => {
            let share = run.loading.filter(|loading| loading.total_bytes > 0);
            let share = share.map(|loading| format!(" {}", format::percent_fixed(f64::from(loading.fraction()), 0)));
            format!("Loading {}{}", run.model.replace('-', "−"), share.unwrap_or_default())
        }
        (false, false) => format!("{} answers", run.model.replace("= -", "= −")),
    };
    let speed = progress.tokens_per_second();
    let speed = speed.map(|speed| format!(" · {} tokens/s", format::count(speed.round() as u64))).unwrap_or_default();
    let left = progress.remaining().filter(|_| progress.generated > 0 && !run.stopping);
    let left = left.map(|left| format!("{} left", format::duration(left))).unwrap_or_default();
    ui.horizontal(|ui| {
        ui.label(format!("{answered} of {total} answers"));
        ui.add(Label::new(RichText::new(format!("{doing}{speed}")).color(palette.weak)).truncate());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(left).color(palette.weak));
        });
    });
    ui.add_space(2.0);
    widgets::bar_ui(ui, "Answers", progress.answered as f32 / progress.total.max(1) as f32);
    ui.add_space(8.0);
    // Nobody tells of each answer: the window looks.
    ui.ctx().request_repaint_after(LOOK_EVERY);
}

/// What to do about a run that failed.
fn advice(message: &str) -> &'static str {
    if message.contains("architecture") {
        "A server may know these models: choose one under More, Answered by"
    } else {
        "What was answered is kept; Try again goes on from there"
    }
}
