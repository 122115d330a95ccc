//! The answers as a table: for CSV, and for people who compare numbers.

use eframe::egui::{Align, Label, Layout, RichText, TextStyle, Ui};
use egui_extras::{Column as Width, TableBuilder};

use super::run::{Of, Run};
use crate::vector::figures::Figure;
use crate::vector::tables::{Cell, Column, Table};
use crate::window::theme;

/// Width of a column of numbers.
const CELL_WIDTH: f32 = 88.0;

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
    let table = of(run);
    let last = table.columns.len() - 1;
    let layout = |position: usize| match position {
        1 | 2 => Layout::right_to_left(Align::Center),
        _ => Layout::left_to_right(Align::Center),
    };
    TableBuilder::new(ui)
        .id_salt("answers")
        .vscroll(false)
        .columns(Width::exact(CELL_WIDTH), last)
        .column(Width::remainder().clip(true))
        .header(theme::ROW_HEIGHT, |mut header| {
            for (position, column) in table.columns.iter().enumerate() {
                let text = RichText::new(&column.label).text_style(TextStyle::Small).color(palette.weak);
                header.col(|ui| {
                    ui.with_layout(layout(position), |ui| ui.add(Label::new(text).truncate()));
                });
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, table.rows.len(), |mut row| {
                for (position, cell) in table.rows[row.index()].iter().enumerate() {
                    row.col(|ui| {
                        let text = cell.text().replace('\n', " ");
                        ui.with_layout(layout(position), |ui| ui.add(Label::new(text).truncate()))
                            .inner
                            .on_hover_text(cell.text());
                    });
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
