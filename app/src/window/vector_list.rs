//! The vectors of a recipe, one a line, where there are several.

use eframe::egui::{
    self, Align2, Button, CursorIcon, Label, Layout, Rect, RichText, Sense, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo,
};

use super::app::App;
use super::command::Command;
use super::{fonts, method_words, theme, widgets};
use crate::format;

/// Height of a line.
const ROW_HEIGHT: f32 = 24.0;
/// Height of the heading.
const HEADING_HEIGHT: f32 = 14.0;
/// Room for w at the end of a line.
const W_WIDTH: f32 = 48.0;
/// Width of the button that takes a vector away.
const BUTTON_WIDTH: f32 = 20.0;

/// What was asked of the list.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// To show that vector.
    Show(usize),
    /// To take it away.
    Remove(usize),
}

impl Wish {
    /// Does it.
    pub fn carry_out(self, app: &mut App) {
        match self {
            Self::Show(number) => app.session.show(number),
            Self::Remove(number) => app.session.remove_vector(number),
        }
    }
}

/// Draws the heading, and the list where there are several vectors.
///
/// What is asked for is to be done when the column has been drawn: a field that is left by the same click still belongs to the
/// vector that was shown.
pub fn ui(app: &mut App, ui: &mut Ui) -> Option<Wish> {
    let palette = theme::palette(ui);
    let several = app.session.count() > 1;
    ui.scope(|ui| {
        ui.spacing_mut().interact_size.y = HEADING_HEIGHT;
        ui.horizontal(|ui| {
            let heading = if several { "Vectors" } else { "Models" };
            ui.label(RichText::new(heading).text_style(theme::small_strong()).color(palette.weak));
            ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
                if widgets::small_link_ui(ui, "Add a vector").on_hover_text(Command::AddVector.explanation()).clicked()
                {
                    app.commands.push(Command::AddVector);
                }
            });
        });
    });
    if !several {
        return None;
    }
    ui.add_space(6.0);
    let mut wish = None;
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for number in 0..app.session.count() {
            wish = row_ui(app, ui, number).or(wish.take());
        }
    });
    ui.add_space(6.0);
    wish
}

fn row_ui(app: &App, ui: &mut Ui, number: usize) -> Option<Wish> {
    let palette = theme::palette(ui);
    let session = &app.session;
    let vector = session.recipe.vectors().nth(number)?;
    let is_shown = session.shown() == number;
    let (_, row) = ui.allocate_space(Vec2::new(ui.available_width(), ROW_HEIGHT));
    let button = row.with_min_x(row.right() - BUTTON_WIDTH);
    let body = row.with_max_x(button.left());
    let response = ui.interact(body, ui.scope_id().with(("vector", number)), Sense::click());
    let response = response.on_hover_cursor(CursorIcon::PointingHand);
    let name = session.vector_name(number);
    let title = format!("Vector {}: {name}", number + 1);
    response.widget_info(|| WidgetInfo::selected(egui::Role::RadioButton, true, is_shown, &title));
    let active = response.hovered() || response.has_focus();
    if is_shown || active {
        let colour = if is_shown { palette.raised } else { palette.hairline };
        ui.painter().rect_filled(row.expand2(Vec2::new(6.0, 0.0)), theme::RADIUS, colour);
    }
    let colour = if is_shown || active { palette.text } else { palette.weak };
    let font = TextStyle::Body.resolve(ui.style());
    let w = if session.recipe.method.name.uses_w() { format::w(vector.w) } else { format::NONE.to_owned() };
    ui.painter().text(body.right_center() - Vec2::new(6.0, 0.0), Align2::RIGHT_CENTER, w, font, colour);
    let words = body.with_max_x(body.right() - W_WIDTH);
    words_ui(ui, words, &name, colour, vector.control.is_some());
    let explanation = vector.control.map_or_else(String::new, |control| {
        format!("\n{}: {}", method_words::control(control.kind), method_words::control_sentence(control.kind))
    });
    let clicked = response.on_hover_text(format!("{title}{explanation}")).clicked();
    let remove = Button::new(RichText::new(fonts::CROSS).color(palette.weak)).frame_when_inactive(false);
    let remove = ui
        .scope(|ui| {
            ui.spacing_mut().button_padding = Vec2::ZERO;
            ui.put(button, remove)
        })
        .inner
        .on_hover_text(Command::RemoveVector.explanation());
    remove.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, format!("Remove vector {}", number + 1)));
    if remove.clicked() { Some(Wish::Remove(number)) } else { clicked.then_some(Wish::Show(number)) }
}

fn words_ui(ui: &mut Ui, rect: Rect, name: &str, colour: egui::Color32, has_control: bool) {
    let layout = Layout::left_to_right(egui::Align::Center);
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        if has_control {
            ui.add(Label::new(RichText::new(fonts::WARNING).color(theme::palette(ui).warning)).selectable(false));
        }
        ui.add(Label::new(RichText::new(name).color(colour)).truncate().selectable(false));
    });
}
