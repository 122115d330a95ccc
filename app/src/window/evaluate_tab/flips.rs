//! What the chosen w mends and breaks, with an example side by side.

use eframe::egui::{Align, Label, Layout, RichText, Ui, Vec2};
use mergescope_core::evaluate::sweep::SweepTable;

use super::grid::short;
use super::{Shown, detail};
use crate::format;
use crate::window::app::App;
use crate::window::evaluation::Filter;
use crate::window::{fonts, theme, widgets};

/// Share of the width that the question has, and each of the two answers.
const QUESTION_SHARE: f32 = 0.24;
/// Characters of an answer that are shown.
const MOST_CHARS: usize = 160;
/// Space between the columns.
const GAP: f32 = 24.0;

/// Draws it.
pub fn ui(app: &mut App, ui: &mut Ui, table: &SweepTable) {
    let palette = theme::palette(ui);
    let items = app.evaluation.items.clone();
    let w = table.chosen.map(|chosen| chosen.w).filter(|w| *w != 0.0);
    let columns = w.and_then(|w| Some([items.at(0.0)?, items.at(w)?]));
    ui.add_space(6.0);
    widgets::hairline_ui(ui);
    ui.add_space(8.0);
    let Some((columns, w)) = columns.zip(w) else {
        if !items.questions.is_empty() && widgets::link_ui(ui, &format!("All answers {}", fonts::RIGHT)).clicked() {
            app.evaluate_view.shown = Shown::Items;
        }
        return;
    };
    let (mended, broken) = items.flips(columns);
    let label =
        format!("{} mended · {} broken {}", format::count(mended as u64), format::count(broken as u64), fonts::RIGHT);
    let width = ui.available_width();
    let question_width = (width * QUESTION_SHARE).floor();
    let answer_width = ((width - question_width - 2.0 * GAP) / 2.0).floor();
    let example = items.example(columns);
    let mut open = false;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        let column = |ui: &mut Ui, width: f32, add_contents: &mut dyn FnMut(&mut Ui)| {
            ui.allocate_ui_with_layout(Vec2::new(width, 60.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                add_contents(ui);
            });
        };
        column(ui, question_width, &mut |ui| {
            let link = widgets::link_ui(ui, &label);
            open |= link.on_hover_text("Show all answers, question by question").clicked();
            if let Some(item) = example.and_then(|at| items.questions.get(at)) {
                let question = item.question.replace('\n', " ");
                let text = RichText::new(&question).line_height(Some(22.0));
                ui.add(Label::new(text).truncate()).on_hover_text(format!("{question}\nThe label is {}", item.label));
            }
        });
        for (column_at, title) in columns.into_iter().zip(["w = 0".to_owned(), format!("w = {}", short(w))]) {
            column(ui, answer_width, &mut |ui| {
                ui.label(RichText::new(&title).color(palette.weak));
                let answers = example.and_then(|at| items.columns.get(column_at)?.answers.get(at));
                if let Some(answer) = answers.and_then(|answers| answers.first()) {
                    detail::answer_ui(ui, answer, MOST_CHARS, true);
                }
            });
        }
    });
    if open {
        let view = &mut app.evaluate_view;
        view.shown = Shown::Items;
        view.items.filter = if mended > 0 { Filter::Mended } else { Filter::All };
        view.items.columns = columns.map(|at| items.columns.get(at).map(|column| column.label.clone()));
        view.items.question = example;
    }
}
