//! The answers as a table: for CSV, and for people who compare numbers.

use eframe::egui::{Align, Label, Layout, RichText, TextStyle, Ui};
use egui_extras::{Column as Width, TableBuilder};

use super::run::{Of, Run};
use crate::format;
use crate::report::Figure;
use crate::report::{Cell, Column, Table};
use crate::window::theme;

/// Width of the titles.
const TITLE_WIDTH: f32 = 176.0;
/// Width of a column of numbers.
const NUMBER_WIDTH: f32 = 80.0;
/// Width of how an answer ended, with the space before it.
const FINISH_WIDTH: f32 = 112.0;
/// Space between numbers and the words behind them.
const GAP: f32 = 32.0;

/// A row for each answer.
pub fn of(run: &Run) -> Table {
    let columns = vec![
        Column::new("w", "w"),
        Column::new("tokens", "Tokens"),
        Column::new("tokens_per_second", "Tokens/s"),
        Column::new("finish", "Ended by"),
        Column::new("answer", "Answer"),
    ];
    let rows = run.answers.iter().map(|answer| {
        let w = match &answer.of {
            Of::Target => Cell::Text("target".to_owned()),
            Of::Loaded(w) => Cell::Figure(Figure::Number(*w)),
            Of::Merged(weights) => match weights.as_slice() {
                [w] => Cell::Figure(Figure::Number(*w)),
                several => Cell::Text(several.iter().map(f64::to_string).collect::<Vec<_>>().join(" ")),
            },
        };
        vec![
            w,
            Cell::Figure(Figure::Count(answer.tokens as u64)),
            answer.speed().map_or(Cell::Empty, |speed| Cell::Figure(Figure::Number(speed))),
            Cell::Text(answer.finish().to_owned()),
            Cell::Text(answer.text.clone()),
        ]
    });
    Table { name: "answers".to_owned(), columns, rows: rows.collect() }
}

/// Draws it.
pub fn ui(ui: &mut Ui, run: &Run) {
    let palette = theme::palette(ui);
    let (left, right) = (Layout::left_to_right(Align::Center), Layout::right_to_left(Align::Center));
    let layouts = [left, right, right, left, left];
    let cell_ui = |ui: &mut Ui, position: usize, text: RichText| {
        ui.with_layout(layouts[position], |ui| {
            if position == 3 {
                ui.add_space(GAP);
            }
            ui.add(Label::new(text).truncate())
        });
    };
    ui.spacing_mut().item_spacing.x = 0.0;
    TableBuilder::new(ui)
        .id_salt("answers")
        .vscroll(false)
        .column(Width::exact(TITLE_WIDTH))
        .columns(Width::exact(NUMBER_WIDTH), 2)
        .column(Width::exact(FINISH_WIDTH))
        .column(Width::remainder().clip(true))
        .header(theme::ROW_HEIGHT, |mut header| {
            for (position, label) in ["w", "Tokens", "Tokens/s", "Ended by", "Answer"].into_iter().enumerate() {
                let text = RichText::new(label).text_style(TextStyle::Small).color(palette.weak);
                header.col(|ui| cell_ui(ui, position, text));
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, run.answers.len(), |mut row| {
                let answer = &run.answers[row.index()];
                let speed = answer.speed().map(|speed| format::count(speed.round() as u64));
                let cells = [
                    run.title(answer),
                    format::count(answer.tokens as u64),
                    speed.unwrap_or_default(),
                    answer.finish().to_owned(),
                    answer.text.trim().replace('\n', " "),
                ];
                for (position, cell) in cells.into_iter().enumerate() {
                    row.col(|ui| cell_ui(ui, position, RichText::new(cell)));
                }
            });
        });
}

#[cfg(test)]
mod tests {
    use mergescope_core::recipe::Recipe;

    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn each_answer_is_a_row_with_its_w() {
        let recipe = Recipe::new("pre", "post", "target");
        let mut run = Run::strip(Settings::default(), true, recipe.clone(), 0, &[-0.5, 0.25]);
        run.answers[1].text = "84, I think".to_owned();
        let csv = of(&run).to_csv();
        assert_eq!(csv, "w,tokens,tokens_per_second,finish,answer\n-0.5,0,,,\n0.25,0,,,\"84, I think\"\n");
        assert!(of(&Run::both(Settings::default(), true, recipe)).to_csv().contains("\ntarget,0"));
    }
}
