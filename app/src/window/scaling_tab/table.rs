//! The curve as numbers, which can be typed and pasted, beside what each part gets.

use eframe::egui::{Align, Label, Layout, RichText, TextStyle, Ui, Vec2};
use egui_extras::{Column as Width, TableBuilder};
use mergescope_core::layout::Part;

use super::coefficients;
use crate::curve_edit::{self, VALUES};
use crate::format;
use crate::report::Figure;
use crate::report::{Cell, Column, Table};
use crate::vector::labels;
use crate::window::app::App;
use crate::window::live::Source;
use crate::window::session::Session;
use crate::window::{theme, widgets};

/// Size of a number's field.
const FIELD: Vec2 = Vec2::new(80.0, 22.0);
/// Widths of the first columns: layer, curve, w × curve.
const FIRST: [f32; 3] = [48.0, 80.0, 72.0];
/// Width of the columns of parts, and of those that say which end it is.
const WIDTHS: [f32; 2] = [62.0, 84.0];
/// Room between two columns.
const GAP: f32 = 10.0;

/// Draws a field for each layer.
pub fn ui(app: &mut App, ui: &mut Ui, layers: u32) {
    let note = "A column of numbers can be pasted: from the layer in focus down, or for all layers";
    if super::is_narrow(ui) {
        widgets::note_ui(ui, note);
    } else {
        ui.horizontal(|ui| {
            widgets::note_ui(ui, note);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| super::editor_actions_ui(app, ui));
        });
    }
    ui.add_space(4.0);
    let source = Source::of(&app.session, &app.live);
    let Some(table) = of(&app.session, source.as_ref(), layers) else { return };
    let of_part = |column: &Column| WIDTHS[usize::from(column.label.contains(','))];
    let parts = table.columns.iter().skip(FIRST.len()).map(of_part);
    let widths: Vec<f32> = FIRST.into_iter().chain(parts).collect();
    let least = widths.iter().map(|width| width + GAP).sum();
    let curve = &mut app.session.shown_vector_mut().scaling.curve;
    let Ok(values) = curve.values(layers) else { return };
    let (mut typed, mut focused) = (None, None);
    widgets::wide_ui(ui, "scaling values", least, |ui| {
        let palette = theme::palette(ui);
        let (left, right) = (Layout::left_to_right(Align::Center), Layout::right_to_left(Align::Center));
        ui.spacing_mut().item_spacing = Vec2::new(GAP, 0.0);
        let builder = TableBuilder::new(ui).id_salt("scaling values");
        let builder = widths.iter().fold(builder, |builder, width| builder.column(Width::exact(*width)));
        builder
            .auto_shrink([false, false])
            .header(theme::ROW_HEIGHT, |mut header| {
                for (position, column) in table.columns.iter().enumerate() {
                    let text = RichText::new(&column.label).text_style(TextStyle::Small).color(palette.weak);
                    let layout = if position == 0 { left } else { right };
                    header.col(|ui| drop(ui.with_layout(layout, |ui| ui.add(Label::new(text).truncate()))));
                }
            })
            .body(|mut body| {
                // Not only those in view: Tab goes from one to the next.
                for (layer, row) in table.rows.iter().enumerate() {
                    body.row(theme::ROW_HEIGHT + 2.0, |mut cells| {
                        for (position, cell) in row.iter().enumerate() {
                            let value = values.get(layer).filter(|_| position == 1);
                            cells.col(|ui| {
                                let Some(&value) = value else {
                                    let layout = if position == 0 { left } else { right };
                                    ui.with_layout(layout, |ui| ui.add(Label::new(text(position, cell)).truncate()));
                                    return;
                                };
                                let mut field = value;
                                let right_words = Layout::left_to_right(Align::Center).with_main_align(Align::Max);
                                ui.with_layout(right_words, |ui| {
                                    ui.spacing_mut().interact_size = FIELD;
                                    let field = ui.add(super::number(&mut field, VALUES));
                                    if field.accessible_name(format!("Layer {layer}")).has_focus() {
                                        focused = Some(layer as u32);
                                    }
                                });
                                if field != value {
                                    typed = Some((layer as u32, field));
                                }
                            });
                        }
                    });
                }
            });
    });
    if let Some((layer, value)) = typed {
        curve_edit::set_layer(curve, layers, layer, value);
    }
    app.scaling_view.focused = focused;
}

/// A cell as people read it; the name of a row is the first.
fn text(position: usize, cell: &Cell) -> String {
    match cell {
        Cell::Figure(Figure::Number(0.0)) => "0".to_owned(),
        Cell::Figure(Figure::Number(value)) if position > 0 => format::fixed(*value, 4),
        cell => cell.text(),
    }
}

/// The curve, and what each part gets, layer by layer and then beside the layers; `None` when the scaling does not suit the
/// models. Parts are left out until the vector is measured.
///
/// Where a pattern tells the tensors of a part apart, the part has two columns: the least and the most.
pub fn of(session: &Session, source: Option<&Source<'_>>, layers: u32) -> Option<Table> {
    super::scaling(session).ok()?;
    let w = session.shown_w();
    let values = session.shown_vector().scaling.curve.values(layers).ok()?;
    let mut columns =
        vec![Column::new("layer", "Layer"), Column::new("curve", "Curve"), Column::new("w_curve", "w × curve")];
    let groups = source.map_or(&[][..], |source| &source.measured.overview.groups);
    let parts = source.map_or_else(Vec::new, |source| coefficients::parts(source));
    let range = |group: usize, part: Part| {
        let cell = groups.get(group)?.cell(part)?;
        coefficients::range(source?, cell)
    };
    let is_split = |part| (0..groups.len()).any(|group| range(group, part).is_some_and(|(low, high)| low < high));
    let parts: Vec<(Part, bool)> = parts.into_iter().map(|part| (part, is_split(part))).collect();
    for (part, is_split) in &parts {
        let label = part.label();
        let ends: &[(&str, &str)] = if *is_split { &[("_least", ", least"), ("_most", ", most")] } else { &[("", "")] };
        columns.extend(
            ends.iter().map(|(key, words)| Column::new(format!("coefficient_{label}{key}"), format!("{label}{words}"))),
        );
    }
    let number = |value: f64| Cell::Figure(Figure::Number(value));
    let coefficients = |group: usize| {
        parts.iter().flat_map(move |&(part, is_split)| {
            let found = range(group, part);
            let cell = |end: Option<f32>| end.map_or(Cell::Empty, |end| Cell::Figure(Figure::Number(end.into())));
            let (low, high) = (cell(found.map(|(low, _)| low)), cell(found.map(|(_, high)| high)));
            std::iter::once(low).chain(is_split.then_some(high))
        })
    };
    let of_layer = |(layer, &value): (usize, &f64)| {
        let first = [Cell::Figure(Figure::Count(layer as u64)), number(value), number(value * w)];
        first.into_iter().chain(coefficients(layer)).collect()
    };
    let mut rows: Vec<Vec<Cell>> = values.iter().enumerate().map(of_layer).collect();
    // What lies beside the layers has a column of its own in the chart, and here a row.
    for (position, group) in
        groups.iter().enumerate().skip(source.map_or(0, |source| source.measured.overview.layers().len()))
    {
        let first = [Cell::Text(labels::group_short(group.group)), Cell::Empty, Cell::Empty];
        rows.push(first.into_iter().chain(coefficients(position)).collect());
    }
    Some(Table { name: "scaling".to_owned(), columns, rows })
}
