//! Folders dragged onto the window: onto a model's field, or anywhere while a field is empty.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Context, Stroke, StrokeKind, Ui};
use mergescope_core::alignment::Role;

use super::app::App;
use super::session::slot_index;
use super::slot::SlotState;
use super::theme;

/// Takes what was dropped since the last frame.
pub fn take(app: &mut App, ctx: &Context) {
    let (paths, pointer) = ctx.input(|input| {
        let dropped = input.raw.dropped_files.iter().map(|file| file.path().to_owned());
        (dropped.collect::<Vec<PathBuf>>(), input.pointer.latest_pos())
    });
    let aimed = Role::ALL.into_iter().find(|&role| {
        let rect = app.slot_rects[slot_index(role)].expand(12.0);
        pointer.is_some_and(|pointer| rect.contains(pointer))
    });
    for path in paths {
        if path.extension().is_some_and(|extension| ["toml", "yaml", "yml"].iter().any(|known| extension == *known)) {
            app.open_recipe(&path);
            continue;
        }
        let empty =
            || app.session.needed_roles().find(|&role| matches!(app.session.slot(role).state, SlotState::Empty));
        match aimed.or_else(empty) {
            Some(role) => app.session.set_model(role, &model_path(&path).to_string_lossy()),
            None => app.session.say("Drop the folder on Pre, Post or Target to choose which it is".to_owned()),
        }
    }
}

/// The model that a dropped path stands for: a config or an index stands for its folder.
fn model_path(path: &Path) -> &Path {
    let is_json = path.is_file() && path.extension().is_some_and(|extension| extension == "json");
    if is_json { path.parent().unwrap_or(path) } else { path }
}

/// Shows where a folder that is being dragged would go.
pub fn overlay_ui(app: &App, ui: &Ui) {
    if ui.input(|input| input.raw.hovered_files.is_empty()) {
        return;
    }
    let palette = theme::palette(ui);
    let pointer = ui.input(|input| input.pointer.latest_pos());
    let painter = ui.ctx().layer_painter(egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop overlay")));
    for rect in app.slot_rects.into_iter().filter(|rect| rect.is_positive()) {
        let aimed = pointer.is_some_and(|pointer| rect.expand(12.0).contains(pointer));
        let width = if aimed { 2.0 } else { 1.0 };
        painter.rect_stroke(rect.expand(3.0), theme::RADIUS, Stroke::new(width, palette.accent), StrokeKind::Outside);
    }
}
