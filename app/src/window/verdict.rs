//! Whether the three models fit together, and what the comparison found.

use eframe::egui::{self, Button, Label, RichText, ScrollArea, TextStyle, Ui};
use mergescope_core::preflight::{Finding, Preflight, Severity};

use super::app::App;
use super::session::Stage;
use super::slot::SlotState;
use super::{fonts, theme, widgets};
use crate::format;

/// Height kept free below the findings for w.
const ROOM_BELOW_FINDINGS: f32 = 170.0;
/// Tensor names listed for one finding.
const SHOWN_TENSORS: usize = 40;

/// Draws the verdict.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let App { session, findings_open, open_tensors, .. } = app;
    let line = |ui: &mut Ui, text: String, colour| ui.add(Label::new(RichText::new(text).color(colour)).wrap());
    match &session.preflight {
        Stage::Waiting => {
            let missing = session.slots.iter().filter(|slot| slot.checkpoint().is_none()).count();
            let opening = session.slots.iter().any(|slot| matches!(slot.state, SlotState::Opening(_)));
            let text = match missing {
                _ if opening => "Opening…".to_owned(),
                0 => "Waiting to be compared".to_owned(),
                3 => "Choose three models to begin".to_owned(),
                missing => format!("{} more to choose", format::plural(missing, "model")),
            };
            line(ui, text, palette.weak);
        }
        Stage::Running(_, progress) => {
            let share = progress.filter(|progress| progress.total_bytes > 0);
            let share = share.map(|progress| format!(" {}", format::percent(f64::from(progress.fraction()))));
            line(ui, format!("Comparing…{}", share.unwrap_or_default()), palette.weak);
        }
        Stage::Failed(message) => {
            line(ui, format!("{} These three could not be compared", fonts::CROSS), palette.bad);
            line(ui, message.clone(), palette.text);
        }
        Stage::Done(preflight) => {
            let (text, colour) = verdict(preflight);
            line(ui, text, if colour == Severity::Note { palette.good } else { palette.severity(colour) })
                .on_hover_text("Shapes, dtypes, configs and tokenizers were compared, and a sample of the weights");
            // What stands in the way is shown without being asked for.
            let open = findings_open.unwrap_or(!preflight.passes());
            if let Some(asked) = findings_ui(ui, preflight, open, open_tensors) {
                *findings_open = Some(asked);
            }
        }
    }
}

/// The verdict in words, and how serious it is; a note stands for "all is well".
fn verdict(preflight: &Preflight) -> (String, Severity) {
    if !preflight.passes() {
        (format!("{} These three do not fit together", fonts::CROSS), Severity::Error)
    } else if preflight.count(Severity::Warning) > 0 {
        let warnings = format::plural(preflight.count(Severity::Warning), "warning");
        (format!("{} These three fit together, with {warnings}", fonts::WARNING), Severity::Warning)
    } else {
        (format!("{} These three fit together", fonts::CHECK), Severity::Note)
    }
}

/// The findings, folded to one line or unfolded; `Some` when that was asked to change.
fn findings_ui(ui: &mut Ui, preflight: &Preflight, open: bool, open_tensors: &mut Option<usize>) -> Option<bool> {
    let palette = theme::palette(ui);
    if preflight.findings.is_empty() {
        return None;
    }
    let count = |severity, word| {
        let number = preflight.count(severity);
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
        ScrollArea::vertical().max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            for (position, finding) in preflight.findings.iter().enumerate() {
                ui.add_space(4.0);
                finding_ui(ui, position, finding, open_tensors);
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
