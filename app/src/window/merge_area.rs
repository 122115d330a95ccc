//! The end of the left column: how much will be written, the Merge… button, and what is being written in its place.

use eframe::egui::{Align, Label, Layout, RichText, Ui, Vec2};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::recipe::OutputDtype;

use super::app::App;
use super::command::Command;
use super::session::Writing;
use super::{theme, widgets};
use crate::format;

/// Height of the area, whatever is in it.
pub const HEIGHT: f32 = theme::TEXT_LINE + SPACE + theme::MAIN_BUTTON_HEIGHT;
/// Space between its lines.
const SPACE: f32 = 8.0;

/// Draws the area.
pub fn ui(app: &mut App, ui: &mut Ui) {
    if let Some(writing) = &app.session.writing {
        if progress_ui(ui, writing) {
            app.commands.push(Command::CancelWriting);
        }
        return;
    }
    let palette = theme::palette(ui);
    let line = Vec2::new(ui.available_width(), theme::TEXT_LINE);
    ui.spacing_mut().item_spacing.y = 0.0;
    // The line has its room before there is anything to say, so that the button stays where it is.
    ui.allocate_ui_with_layout(line, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_size(line);
        if let Some((text, enough)) = size_line(app) {
            let colour = if enough { palette.weak } else { palette.warning };
            ui.add(Label::new(RichText::new(text).color(colour)).truncate())
                .on_hover_text("Size of the weights that will be written, and room on that disk");
        }
    });
    ui.add_space(SPACE);
    let obstacle = app.session.merge_obstacle();
    let button = widgets::main_button(ui, "Merge…", obstacle.is_none());
    let size = Vec2::new(ui.available_width(), theme::MAIN_BUTTON_HEIGHT);
    let response = ui.add_enabled_ui(obstacle.is_none(), |ui| ui.add_sized(size, button)).inner;
    let response = response.on_hover_text(Command::Merge.explanation());
    if let Some(obstacle) = obstacle {
        response.on_disabled_hover_text(obstacle);
    } else if response.clicked() {
        app.commands.push(Command::Merge);
    }
}

/// `Writes 988 MB of bf16 · 79 GB free`, and whether that is room enough.
fn size_line(app: &mut App) -> Option<(String, bool)> {
    let output = app.session.recipe.output.clone();
    let bytes = match app.session.planned_bytes(&output)? {
        Ok(bytes) => bytes,
        Err(message) => return Some((message, false)),
    };
    let dtype = match output.dtype {
        OutputDtype::Target => {
            let dtypes = app.session.models()?.target.dtypes();
            dtypes.first().map_or_else(String::new, |&(dtype, _)| format!(" of {}", dtype_label(dtype)))
        }
        chosen => format!(" of {}", chosen.label()),
    };
    let parent = app.output_parent();
    let free = app.free.of(&parent, app.session.jobs.engine());
    let free_text = free.map(|free| format!(" · {} free", format::bytes(free))).unwrap_or_default();
    let enough = free.is_none_or(|free| free > bytes);
    Some((format!("Writes {}{dtype}{free_text}", format::bytes(bytes)), enough))
}

/// How far the work under way is; true when it should stop.
fn progress_ui(ui: &mut Ui, writing: &Writing) -> bool {
    let palette = theme::palette(ui);
    let mut cancel = false;
    let (mut title, mut left, mut fraction, mut amount) = ("Starting…".to_owned(), String::new(), 0.0, String::new());
    if let Some(progress) = &writing.progress {
        title = progress.stage.label().to_owned();
        if let Some(layer) = progress.layer.filter(|_| writing.layers > 0) {
            title += &format!(" · layer {} of {}", layer + 1, writing.layers);
        }
        left = progress.remaining().map(|left| format!("{} left", format::duration(left))).unwrap_or_default();
        fraction = progress.fraction();
        if progress.total_bytes > 0 {
            amount = format::bytes_of(progress.done_bytes, progress.total_bytes);
            amount += &progress.bytes_per_sec().map(|speed| format!(" · {}", format::speed(speed))).unwrap_or_default();
        }
    }
    if writing.cancelling {
        title = "Cancelling…".to_owned();
        left.clear();
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    ui.spacing_mut().interact_size.y = theme::TEXT_LINE;
    ui.horizontal(|ui| {
        ui.label(title);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(left).color(palette.weak));
        });
    });
    ui.add_space(SPACE);
    widgets::bar_ui(ui, "Progress", fraction);
    ui.add_space(SPACE);
    ui.horizontal(|ui| {
        ui.label(RichText::new(amount).color(palette.weak));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_enabled_ui(!writing.cancelling, |ui| {
                cancel = widgets::link_ui(ui, "Cancel").on_hover_text(Command::CancelWriting.explanation()).clicked();
            });
        });
    });
    cancel
}
