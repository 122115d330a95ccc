//! Whether the three models fit together, and what the comparison found.

use eframe::egui::{self, Button, Label, RichText, ScrollArea, TextStyle, Ui};
use mergescope_core::alignment::Role;
use mergescope_core::preflight::{Finding, Preflight, Severity};

use super::app::App;
use super::session::{Session, Stage};
use super::slot::SlotState;
use super::{fonts, theme, widgets};
use crate::format;

/// Height kept free below the findings for w.
pub const ROOM_BELOW_FINDINGS: f32 = 170.0;
/// Tensor names listed for one finding.
const SHOWN_TENSORS: usize = 40;

/// Draws the verdict.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let App { session, findings_open, open_tensors, .. } = app;
    let line = |ui: &mut Ui, text: String, colour| ui.add(Label::new(RichText::new(text).color(colour)).wrap());
    let these = these(session);
    if let Some((number, message)) = session.preflights().enumerate().find_map(|(number, stage)| match stage {
        Stage::Failed(message) => Some((number, message.clone())),
        _ => None,
    }) {
        let which = if session.count() > 1 { format!("Vector {}", number + 1) } else { these.to_owned() };
        line(ui, format!("{} {which} could not be compared", fonts::CROSS), palette.bad);
        line(ui, message, palette.text);
        return;
    }
    let running = session.preflights().find_map(|stage| match stage {
        Stage::Running(_, progress) => Some(*progress),
        _ => None,
    });
    if let Some(progress) = running {
        let share = progress.filter(|progress| progress.total_bytes > 0);
        let share = share.map(|progress| format!(" {}", format::percent(f64::from(progress.fraction()))));
        line(ui, format!("Comparing…{}", share.unwrap_or_default()), palette.weak);
        return;
    }
    let Some(done) = session.preflights().map(Stage::done).collect::<Option<Vec<&Preflight>>>() else {
        line(ui, waiting(session), palette.weak);
        return;
    };
    let (text, severity) = match session.misuse() {
        Some(why) if done.iter().all(|preflight| preflight.passes()) => {
            (format!("{} {these} cannot be merged like this: {why}", fonts::CROSS), Severity::Error)
        }
        _ => verdict(&done, these),
    };
    line(ui, text, if severity == Severity::Note { palette.good } else { palette.severity(severity) })
        .on_hover_text("Shapes, dtypes, configs and tokenizers were compared, and a sample of the weights");
    // What stands in the way is shown without being asked for.
    let open = findings_open.unwrap_or(severity == Severity::Error);
    if let Some(asked) = findings_ui(ui, &done, open, open_tensors) {
        *findings_open = Some(asked);
    }
}

/// Whether the findings are unfolded.
pub fn is_open(app: &App) -> bool {
    let errors = app.session.preflights().filter_map(Stage::done).any(|preflight| !preflight.passes());
    app.findings_open.unwrap_or(errors)
}

/// The models of the recipe, as a sentence about them begins.
fn these(session: &Session) -> &'static str {
    match (session.count(), session.recipe.vector.stands_alone()) {
        (1, false) => "These three",
        (1, true) => "These two",
        // As short as it can be: a line of the column has to hold the warnings too.
        _ => "These",
    }
}

/// What is missing before the models can be compared.
fn waiting(session: &Session) -> String {
    let missing = session.needed_roles().filter(|role| session.slot(*role).checkpoint().is_none()).count();
    let opening = session.slots.iter().any(|slot| matches!(slot.state, SlotState::Opening(_)));
    match missing {
        _ if opening => "Opening…".to_owned(),
        _ if session.awaits_download() => "Downloading a model…".to_owned(),
        0 if session.count() > 1 => match session.merge_obstacle() {
            Some(obstacle) => obstacle,
            None => "Waiting to be compared".to_owned(),
        },
        0 => "Waiting to be compared".to_owned(),
        3 if session.slots.iter().all(|slot| matches!(slot.state, SlotState::Empty)) => {
            "Choose three models to begin".to_owned()
        }
        missing => {
            let has_failed = |role: &Role| matches!(session.slot(*role).state, SlotState::Failed(_));
            let failed = session.needed_roles().filter(has_failed).count();
            let unopened = format!("{} could not be opened", format::plural(failed, "model"));
            match (failed, missing - failed) {
                (0, to_choose) => format!("{} more to choose", format::plural(to_choose, "model")),
                (_, 0) => unopened,
                (_, to_choose) => format!("{unopened}, {to_choose} more to choose"),
            }
        }
    }
}

/// The verdict in words, and how serious it is; a note stands for "all is well".
fn verdict(done: &[&Preflight], these: &str) -> (String, Severity) {
    let count = |severity| done.iter().map(|preflight| preflight.count(severity)).sum::<usize>();
    if count(Severity::Error) > 0 {
        (format!("{} {these} do not fit together", fonts::CROSS), Severity::Error)
    } else if count(Severity::Warning) > 0 {
        let warnings = format::plural(count(Severity::Warning), "warning");
        (format!("{} {these} fit together, with {warnings}", fonts::WARNING), Severity::Warning)
    } else {
        (format!("{} {these} fit together", fonts::CHECK), Severity::Note)
    }
}

/// The findings, folded to one line or unfolded; `Some` when that was asked to change.
fn findings_ui(ui: &mut Ui, done: &[&Preflight], open: bool, open_tensors: &mut Option<usize>) -> Option<bool> {
    let palette = theme::palette(ui);
    if done.iter().all(|preflight| preflight.findings.is_empty()) {
        return None;
    }
    let count = |severity, word| {
        let number = done.iter().map(|preflight| preflight.count(severity)).sum::<usize>();
        (number > 0).then(|| format::plural(number, word))
    };
    let counts = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let counts: Vec<String> = counts.into_iter().filter_map(|(severity, word)| count(severity, word)).collect();
    let arrow = if open { fonts::DOWN } else { fonts::RIGHT };
    let folded = ui
        .add(
            Button::new(RichText::new(format!("{} {arrow}", counts.join(" · "))).color(palette.weak))
                .frame(false)
                .truncate(),
        )
        .on_hover_text("What the comparison found, and what to do about it");
    folded.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Findings"));
    let asked = folded.clicked().then_some(!open);
    if open {
        let height = (ui.available_height() - ROOM_BELOW_FINDINGS).max(60.0);
        ScrollArea::vertical().id_salt("findings").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            let mut position = 0;
            for (number, preflight) in done.iter().enumerate() {
                if done.len() > 1 && !preflight.findings.is_empty() {
                    ui.add_space(4.0);
                    let heading = RichText::new(format!("Vector {}", number + 1)).text_style(theme::small_strong());
                    ui.label(heading.color(palette.weak));
                }
                for finding in &preflight.findings {
                    ui.add_space(4.0);
                    finding_ui(ui, position, finding, open_tensors);
                    position += 1;
                }
            }
        });
    }
    asked
}

fn finding_ui(ui: &mut Ui, position: usize, finding: &Finding, open_tensors: &mut Option<usize>) {
    let palette = theme::palette(ui);
    ui.spacing_mut().item_spacing.y = 2.0;
    let icon = match finding.severity {
        Severity::Error => format!("{} ", fonts::CROSS),
        Severity::Warning => format!("{} ", fonts::WARNING),
        Severity::Note => String::new(),
    };
    let title = RichText::new(format!("{icon}{}", finding.title)).color(palette.severity(finding.severity));
    ui.add(Label::new(title.line_height(Some(18.0))).wrap());
    if !finding.detail.is_empty() {
        widgets::note_ui(ui, &finding.detail);
    }
    if !finding.action.is_empty() {
        let action = RichText::new(&finding.action).text_style(TextStyle::Small).color(palette.text);
        ui.add(Label::new(action.line_height(Some(theme::NOTE_LINE))).wrap());
    }
    if finding.tensors.is_empty() {
        return;
    }
    let is_open = *open_tensors == Some(position);
    let arrow = if is_open { fonts::DOWN } else { fonts::RIGHT };
    let label = format!("{} {arrow}", format::plural(finding.tensors.len(), "tensor"));
    let button = Button::new(RichText::new(label).text_style(TextStyle::Small).color(palette.weak)).frame(false);
    if ui.add(button).on_hover_text("The tensors it concerns").clicked() {
        *open_tensors = (!is_open).then_some(position);
    }
    if is_open {
        for name in finding.tensors.iter().take(SHOWN_TENSORS) {
            let name = RichText::new(name).text_style(TextStyle::Small).color(palette.weak);
            ui.add(Label::new(name).truncate());
        }
        if finding.tensors.len() > SHOWN_TENSORS {
            widgets::note_ui(ui, format!("and {} more", finding.tensors.len() - SHOWN_TENSORS));
        }
    }
}
