//! What was saved of a vector.

use eframe::egui::{Button, Ui, Vec2};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::SavedVector;

use super::{BUTTONS_HEIGHT, buttons_ui, facts, sentences_ui, words_ui};
use crate::format;
use crate::report::Figure;
use crate::report::{Cell, Column, Table};
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::number_table;
use crate::window::session::End;

/// Width of a tensor's name.
const NAME_WIDTH: f32 = 340.0;

/// Smaller errors are lost in the sums that they are worked out from.
const LEAST_ERROR: f64 = 1e-7;
/// The least share that is told in per cent, above them.
const LEAST_SHOWN: f64 = 1e-5;

/// Draws what was written.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let Some(End::Saved(saved)) = &app.session.end else { return };
    let (mut use_it, output) = (false, saved.output.clone());
    let path = format::path(&saved.output);
    let mut open_folder = sentences_ui(ui, "v = post − pre is in ", &path, |ui| {
        words_ui(ui, format!(": {}. ", facts(saved.bytes_written, saved.elapsed, saved.tensors.len())));
        let error = saved.relative_error();
        let error = if error < LEAST_ERROR { "less than 10⁻⁷".to_owned() } else { format::relative(error) };
        words_ui(
            ui,
            format!(
                "‖v‖ is {}, and rounding it to this type changed {error} of it. ",
                format::norm(saved.total().intended())
            ),
        );
        if !saved.left_out.is_empty() {
            let names = format::list(saved.left_out.iter().map(String::as_str));
            words_ui(ui, format!("Left out, as they are no floats or one model lacks them: {names}."));
        }
    });
    ui.add_space(10.0);
    let table_height = (ui.available_height() - BUTTONS_HEIGHT).max(80.0);
    ui.allocate_ui(Vec2::new(ui.available_width(), table_height), |ui| {
        ui.set_min_height(table_height);
        number_table::ui(ui, &table(saved), NAME_WIDTH);
    });
    open_folder |= buttons_ui(ui, |ui| {
        let button = Button::new("Use it as the vector").min_size(Vec2::new(96.0, 28.0));
        let tooltip = "Put it in the place of pre and post of the vector that is shown; Undo brings them back";
        use_it = ui.add(button).on_hover_text(tooltip).clicked();
    });
    if use_it {
        app.session.use_saved_vector(&output);
    }
    if open_folder {
        app.commands.push(Command::OpenOutput);
    }
}

/// A row for each tensor of v.
pub fn table(saved: &SavedVector) -> Table {
    let columns = vec![
        Column::new("tensor", "Tensor"),
        Column::new("shape", "Shape"),
        Column::new("dtype", "Dtype"),
        Column::new("norm", "‖v‖"),
        Column::new("share", "Of all ‖v‖²"),
        Column::new("error", "Lost to rounding"),
    ];
    let total = saved.total().intended_sq;
    let rows = saved.tensors.iter().map(|tensor| {
        let share = |value: f64| Cell::Figure(Figure::Share(value));
        let of_all = if total > 0.0 { share(tensor.change.intended_sq / total) } else { Cell::Empty };
        vec![
            Cell::Text(tensor.name.clone()),
            Cell::Shape(tensor.shape.clone()),
            Cell::Text(dtype_label(tensor.dtype)),
            Cell::Figure(Figure::Number(tensor.change.intended())),
            of_all,
            match tensor.change.relative_error() {
                _ if tensor.change.intended_sq == 0.0 => Cell::Empty,
                error if error < LEAST_ERROR => Cell::Text(format!("< {}", format::percent(LEAST_SHOWN))),
                error => share(error),
            },
        ]
    });
    Table { name: "saved-vector".to_owned(), columns, rows: rows.collect() }
}
