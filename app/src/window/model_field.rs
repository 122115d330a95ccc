//! One model of the left column: its path, and a line about it.

use eframe::egui::{
    self, Align, Frame, Label, Layout, Margin, Rect, Response, RichText, Stroke, StrokeKind, TextEdit, TextStyle, Ui,
    Vec2,
};
use mergescope_core::alignment::Role;

use super::app::App;
use super::downloads::Downloading;
use super::session::slot_index;
use super::slot::SlotState;
use super::vectors::PreNeed;
use super::{method_words, model_menu, theme, widgets};
use crate::format;

/// Distance from one model to the next.
const PITCH: f32 = 60.0;
/// The same where there are several vectors.
const CLOSE_PITCH: f32 = 45.0;

fn role_name(role: Role, is_whole: bool) -> &'static str {
    match role {
        Role::Pre => "Pre",
        Role::Post if is_whole => "Model",
        Role::Post => "Post",
        Role::Target => "Target",
    }
}

fn role_explanation(role: Role, is_whole: bool) -> &'static str {
    match role {
        Role::Post if is_whole => "A model that the method takes as a whole",
        Role::Pre => "The model before fine-tuning. v = post − pre",
        Role::Post => "The model after fine-tuning, which has the skill. v = post − pre",
        Role::Target => "The model that gets w·v added. It is only read: the result is a new model",
    }
}

/// Draws the model of `role`.
pub fn ui(app: &mut App, ui: &mut Ui, role: Role) {
    let palette = theme::palette(ui);
    let session = &app.session;
    let is_idle = session.pre_need(session.shown()).is_none();
    if role == Role::Pre && is_idle && session.slot(role).text.is_empty() {
        app.slot_rects[slot_index(role)] = Rect::NOTHING;
        return;
    }
    let is_whole = session.is_whole_model(session.shown());
    let several = session.count() > 1;
    if several {
        ui.spacing_mut().item_spacing.y = 1.0;
    }
    let (pitch, least_space) = if several { (CLOSE_PITCH, 2.0) } else { (PITCH, 6.0) };
    let width = ui.available_width();
    let (_, row) = ui.allocate_space(Vec2::new(width, theme::CONTROL_HEIGHT));
    let label_rect = row.with_max_x(row.left() + theme::SLOT_LABEL_WIDTH);
    let menu_rect = row.with_min_x(row.right() - 24.0);
    let field_rect = Rect::from_x_y_ranges(label_rect.right()..=menu_rect.left(), row.y_range());

    let label = ui
        .scope_builder(egui::UiBuilder::new().max_rect(label_rect).layout(Layout::left_to_right(Align::Center)), |ui| {
            ui.label(RichText::new(role_name(role, is_whole)).color(palette.weak))
        })
        .inner
        .on_hover_text(role_explanation(role, is_whole));
    field_ui(app, ui, role, field_rect, &label);
    model_menu::ui(app, ui, role, menu_rect);
    app.slot_rects[slot_index(role)] = row;

    let indent = theme::SLOT_LABEL_WIDTH;
    let top = ui.cursor().top();
    let status = Rect::from_x_y_ranges(row.left() + indent..=row.right(), top..=top + 400.0);
    let used = ui.scope_builder(egui::UiBuilder::new().max_rect(status), |ui| status_ui(app, ui, role)).response.rect;
    // Rows keep their distance; a long error takes more room.
    let spaces = 3.0 * ui.spacing().item_spacing.y;
    ui.add_space((pitch - theme::CONTROL_HEIGHT - spaces - used.height()).max(least_space));
}

fn field_ui(app: &mut App, ui: &mut Ui, role: Role, rect: Rect, label: &Response) {
    let palette = theme::palette(ui);
    let id = ui.scope_id().with(("model field", role.label()));
    let had_focus = ui.memory(|memory| memory.has_focus(id));
    let is_coming = app.session.downloads.of(&app.session.slot(role).spec).is_some();
    let slot = app.session.slot_mut(role);
    // A path says most at its end; while it is edited all of it is there.
    let mut shown =
        if had_focus { slot.text.clone() } else { widgets::elide_start(ui, &slot.text, rect.width() - 18.0) };
    let edit = TextEdit::singleline(&mut shown)
        .id(id)
        .hint_text("Folder, or org/name")
        .frame(Frame::new().fill(palette.background).corner_radius(theme::RADIUS).inner_margin(Margin::symmetric(8, 5)))
        .desired_width(rect.width() - 16.0)
        .align(egui::Align2::LEFT_CENTER);
    let response = ui.put(rect, edit);
    let failed = matches!(slot.state, SlotState::Failed(_));
    let stroke = if response.has_focus() {
        palette.accent
    } else if failed && !is_coming {
        palette.bad
    } else {
        palette.hairline
    };
    ui.painter().rect_stroke(rect, theme::RADIUS, Stroke::new(1.0, stroke), StrokeKind::Inside);
    if had_focus && response.changed() {
        slot.text.clone_from(&shown);
    }
    if response.gained_focus() {
        select_all(ui, id, slot.text.chars().count());
    }
    if response.lost_focus() {
        let text = slot.text.clone();
        let (is_again, cancelled) = (slot.spec == text.trim(), ui.input(|input| input.key_pressed(egui::Key::Escape)));
        if cancelled {
            slot.text = slot.spec.clone();
        } else if is_again && failed {
            app.session.reopen(role);
        } else {
            app.session.set_model(role, &text);
        }
    }
    let value = app.session.slot(role).text.clone();
    let session = &app.session;
    let is_whole = session.is_whole_model(session.shown());
    let name = if is_whole && role == Role::Post {
        "Whole model".to_owned()
    } else {
        format!("{} model", role_name(role, false))
    };
    ui.ctx().accesskit_node_builder(response.id, |node| {
        node.set_value(value.clone());
        node.set_label(name);
        node.push_labelled_by(label.id.accesskit_id());
        node.clear_labelled_by();
    });
    response.on_hover_ui(|ui| {
        ui.label(role_explanation(role, is_whole));
        if !value.is_empty() {
            widgets::note_ui(ui, value);
        }
    });
}

/// Marks the whole text, so that typing or pasting replaces it.
fn select_all(ui: &Ui, id: egui::Id, letters: usize) {
    use egui::text::{CCursor, CCursorRange};
    let mut state = TextEdit::load_state(ui.ctx(), id).unwrap_or_default();
    state.cursor.set_char_range(Some(CCursorRange::two(CCursor::new(0), CCursor::new(letters))));
    TextEdit::store_state(ui.ctx(), id, state);
}

fn status_ui(app: &mut App, ui: &mut Ui, role: Role) {
    let palette = theme::palette(ui);
    let session = &app.session;
    let need = session.pre_need(session.shown());
    if role == Role::Pre && need.is_none() {
        let why = match need {
            PreNeed::SavedVector => "Post is a saved vector already".to_owned(),
            _ => format!("{} takes whole models", method_words::name(session.recipe.method.name)),
        };
        ui.spacing_mut().item_spacing.y = 0.0;
        let text = RichText::new(format!("Not needed: {why}")).text_style(TextStyle::Small).color(palette.warning);
        ui.add(Label::new(text).wrap());
        if widgets::small_link_ui(ui, "Leave it out").on_hover_text("Empty this field").clicked() {
            app.session.leave_out_pre();
        }
        return;
    }
    let slot = session.slot(role);
    if let Some(hint) = &slot.hint {
        let text = RichText::new(hint).text_style(TextStyle::Small).color(palette.warning);
        ui.add(Label::new(text).wrap());
        return;
    }
    if let Some(downloading) = session.downloads.of(&slot.spec) {
        if download_ui(ui, downloading) {
            let name = downloading.name.clone();
            app.session.cancel_download(&name);
        }
        return;
    }
    if let (SlotState::Failed(_), Some(absent)) = (&slot.state, &slot.absent) {
        let (words, colour) = match &absent.why_not {
            Some(why_not) => (why_not.as_str(), palette.bad),
            None => ("Not on this computer", palette.warning),
        };
        ui.spacing_mut().item_spacing = Vec2::new(8.0, 0.0);
        ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
        let wanted = ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(words).text_style(TextStyle::Small).color(colour))
                .on_hover_text("Neither a folder nor a model in the Hugging Face cache is called so");
            let link = widgets::small_link_ui(ui, "Download…");
            link.on_hover_text("Ask the Hub for its files and size; nothing is downloaded before you agree").clicked()
        });
        if wanted.inner {
            let name = absent.name.clone();
            app.ask_to_download(name);
        }
        return;
    }
    match &slot.state {
        SlotState::Empty if role == Role::Pre && need == PreNeed::Optional => {
            widgets::note_ui(ui, "Leave empty for whole models");
        }
        SlotState::Empty => drop(widgets::note_ui(ui, "Type a path, drop a folder, or …")),
        SlotState::Opening(_) => drop(widgets::note_ui(ui, "Opening…")),
        SlotState::Ready(checkpoint) => {
            let detail = format!(
                "{}\n{}, {} of weights in {}",
                format::path(checkpoint.root()),
                format::plural(checkpoint.tensors().len(), "tensor"),
                format::bytes(checkpoint.total_bytes()),
                format::plural(checkpoint.shard_paths().count(), "file"),
            );
            let text = RichText::new(&slot.summary).text_style(TextStyle::Small).color(palette.weak);
            ui.add(Label::new(text).truncate()).on_hover_text(detail);
        }
        SlotState::Failed(message) => {
            let text = RichText::new(message).text_style(TextStyle::Small).color(palette.bad);
            ui.add(Label::new(text).wrap());
        }
    }
}

/// How far a download is; true when it should stop.
fn download_ui(ui: &mut Ui, downloading: &Downloading) -> bool {
    let palette = theme::palette(ui);
    let mut cancel = false;
    ui.spacing_mut().item_spacing.y = 2.0;
    ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_enabled_ui(!downloading.cancelling, |ui| {
                let link = widgets::small_link_ui(ui, "Cancel");
                cancel = link.on_hover_text("Stop the download; the next one goes on from here").clicked();
            });
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let text = RichText::new(downloading.words()).text_style(TextStyle::Small).color(palette.weak);
                ui.add(Label::new(text).truncate()).on_hover_text(downloading.explanation());
            });
        });
    });
    let fraction = downloading.progress.map_or(0.0, |progress| progress.fraction());
    widgets::bar_ui(ui, &format!("Download of {}", downloading.name), fraction);
    cancel
}
