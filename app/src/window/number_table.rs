//! A table of numbers: words at the left, numbers at the right, rows drawn as they come into view.

use eframe::egui::{self, Color32, Label, Layout, RichText, TextStyle, Ui, Vec2};
use egui_extras::{Column, TableBuilder};

use super::{theme, widgets};
use crate::report::Table;

/// Width of a column of numbers, unless its label is wider.
const CELL_WIDTH: f32 = 88.0;
/// Room between two columns.
const CELL_GAP: f32 = 6.0;

/// Draws it, with a first column that is `first` wide.
pub fn ui(ui: &mut Ui, table: &Table, first: f32) {
    let font = TextStyle::Small.resolve(ui.style());
    let width_of = |label: &str| ui.painter().layout_no_wrap(label.to_owned(), font.clone(), Color32::WHITE).size().x;
    let widest = table.columns.iter().skip(1).map(|column| width_of(&column.label)).fold(0.0, f32::max);
    let width = CELL_WIDTH.max(widest.ceil() + CELL_GAP);
    let least = first + width * table.columns.len().saturating_sub(1) as f32;
    widgets::wide_ui(ui, &table.name, least, |ui| rows_ui(ui, table, first, width));
}

fn rows_ui(ui: &mut Ui, table: &Table, first: f32, width: f32) {
    let palette = theme::palette(ui);
    let right = Layout::right_to_left(egui::Align::Center);
    ui.spacing_mut().item_spacing = Vec2::new(CELL_GAP, 0.0);
    TableBuilder::new(ui)
        .id_salt(("number table", &table.name))
        .cell_layout(Layout::left_to_right(egui::Align::Center))
        .column(Column::exact(first))
        .columns(Column::exact(width - CELL_GAP), table.columns.len().saturating_sub(1))
        .auto_shrink([false, false])
        .header(theme::ROW_HEIGHT, |mut header| {
            for (position, column) in table.columns.iter().enumerate() {
                let text = RichText::new(&column.label).text_style(TextStyle::Small).color(palette.weak);
                header.col(|ui| {
                    let layout = if position == 0 { *ui.layout() } else { right };
                    ui.with_layout(layout, |ui| ui.add(Label::new(text).truncate()).on_hover_text(&column.label));
                });
            }
        })
        .body(|body| {
            body.rows(theme::ROW_HEIGHT, table.rows.len(), |mut row| {
                for (position, cell) in table.rows[row.index()].iter().enumerate() {
                    row.col(|ui| {
                        let layout = if position == 0 { *ui.layout() } else { right };
                        ui.with_layout(layout, |ui| ui.label(cell.text()));
                    });
                }
            });
        });
}
