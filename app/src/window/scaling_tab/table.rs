//! The curve as numbers, which can be typed.

use eframe::egui::{DragValue, Grid, RichText, ScrollArea, TextStyle, Ui};
use mergescope_core::layout::{Part, Place};

use crate::curve_edit::{self, VALUES};
use crate::format;
use crate::vector::figures::Figure;
use crate::vector::tables::{Cell, Column, Table};
use crate::window::session::Session;
use crate::window::theme;

/// Size of a number's field.
const NUMBER_SIZE: [f32; 2] = [72.0, 22.0];

/// Draws a field for each layer.
pub fn ui(ui: &mut Ui, session: &mut Session, layers: u32) {
    let palette = theme::palette(ui);
    let w = session.recipe.vector.w;
    let curve = &mut session.recipe.vector.scaling.curve;
    let Ok(values) = curve.values(layers) else { return };
    let mut typed = None;
    ScrollArea::vertical().id_salt("scaling values").auto_shrink([false, false]).show(ui, |ui| {
        Grid::new("scaling values").num_columns(3).spacing([24.0, 2.0]).min_row_height(theme::ROW_HEIGHT).show(
            ui,
            |ui| {
                for header in ["Layer", "Curve", "w × curve"] {
                    ui.label(RichText::new(header).text_style(TextStyle::Small).color(palette.weak));
                }
                ui.end_row();
                for (layer, &value) in (0..).zip(&values) {
                    ui.label(layer.to_string());
                    let mut field = value;
                    let drag = DragValue::new(&mut field)
                        .speed(0.01)
                        .range(VALUES)
                        .max_decimals(4)
                        .update_while_editing(false)
                        .custom_parser(format::parse_number);
                    ui.add_sized(NUMBER_SIZE, drag).accessible_name(format!("Layer {layer}"));
                    if field != value {
                        typed = Some((layer, field));
                    }
                    ui.label(format::fixed(value * w, 4));
                    ui.end_row();
                }
            },
        );
    });
    if let Some((layer, value)) = typed {
        curve_edit::set_layer(curve, layers, layer, value);
    }
}

/// Curve and coefficient of each layer, for CSV; `None` when the scaling does not suit the models.
pub fn of(session: &Session, layers: u32) -> Option<Table> {
    let scaling = super::scaling(session).ok()?;
    let values = session.recipe.vector.scaling.curve.values(layers).ok()?;
    let parts = [("attention", Part::Q), ("mlp", Part::Gate), ("norm", Part::Norm)];
    let mut columns = vec![Column::new("layer", "Layer"), Column::new("curve", "Curve")];
    columns.extend(parts.map(|(key, _)| Column::new(format!("coefficient_{key}"), key)));
    let rows = (0..).zip(&values).map(|(layer, &value)| {
        let coefficient = |part: Part| {
            let place = Place { layer: Some(layer), part, expert: None };
            // By part alone: no name, so that no pattern matches.
            Cell::Figure(Figure::Number(f64::from(scaling.coefficient("", place))))
        };
        let mut row = vec![Cell::Figure(Figure::Count(u64::from(layer))), Cell::Figure(Figure::Number(value))];
        row.extend(parts.map(|(_, part)| coefficient(part)));
        row
    });
    Some(Table { name: "scaling".to_owned(), columns, rows: rows.collect() })
}
