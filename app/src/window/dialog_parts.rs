//! What dialogs are made of: title, rows, buttons.

use eframe::egui::{
    self, Align, Button, Key, Layout, Response, RichText, TextEdit, TextStyle, Ui, Vec2,
    text::{CCursor, CCursorRange},
};

use super::destination::Touched;
use super::work::Work;
use super::{theme, widgets};

/// Width of the labels of rows.
const LABEL_WIDTH: f32 = 96.0;

/// What a dialog that writes something asks for in this frame.
pub enum DialogStep {
    /// Nothing yet.
    Stay,
    /// To be closed.
    Close,
    /// A folder, from the file dialog.
    Browse,
    /// The work.
    Go(Work),
}

impl DialogStep {
    /// What the buttons and fields come to.
    pub fn of(touched: &Touched, go: bool, cancel: bool, is_free: bool, work: impl FnOnce() -> Work) -> Self {
        if touched.browse {
            Self::Browse
        } else if cancel {
            Self::Close
        } else if is_free && (go || touched.entered) {
            Self::Go(work())
        } else {
            Self::Stay
        }
    }
}

/// The title of a dialog.
pub fn title_ui(ui: &mut Ui, title: &str) {
    ui.label(RichText::new(title).text_style(theme::strong()));
    ui.add_space(8.0);
}

/// The row of buttons at the end of a dialog, each with its tooltip; the main one is at the right.
pub fn buttons_ui(
    ui: &mut Ui,
    main: (&str, &str),
    obstacle: Option<&str>,
    cancel: Option<(&str, &str)>,
) -> (bool, bool) {
    ui.add_space(12.0);
    let size = Vec2::new(88.0, 30.0);
    let mut pressed = (false, false);
    let row = Vec2::new(ui.available_width(), size.y);
    ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), |ui| {
        let button = widgets::main_button(ui, main.0, obstacle.is_none()).min_size(size);
        let response = ui.add_enabled(obstacle.is_none(), button).on_hover_text(main.1);
        pressed.0 = response.on_disabled_hover_text(obstacle.unwrap_or_default()).clicked();
        if let Some((label, tooltip)) = cancel {
            pressed.1 = ui.add(Button::new(label).min_size(size)).on_hover_text(tooltip).clicked();
        }
    });
    pressed
}

/// Whether Enter was pressed in a field: it stands for the main button.
pub fn is_entered(ui: &Ui, field: &Response) -> bool {
    field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter))
}

/// Gives a field the focus, with the caret at the end of its `text`.
pub fn focus_end(ui: &Ui, field: &Response, text: &str) {
    field.request_focus();
    let mut state = TextEdit::load_state(ui.ctx(), field.id).unwrap_or_default();
    let end = CCursor::new(text.chars().count());
    state.cursor.set_char_range(Some(CCursorRange::one(end)));
    TextEdit::store_state(ui.ctx(), field.id, state);
}

/// A row: what it is about, then what can be chosen.
pub fn row_ui(ui: &mut Ui, label: &str, add_contents: impl FnOnce(&mut Ui)) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        let (_, rect) = ui.allocate_space(Vec2::new(LABEL_WIDTH - 8.0, 28.0));
        let font = TextStyle::Body.resolve(ui.style());
        ui.painter().text(rect.left_center(), egui::Align2::LEFT_CENTER, label, font, palette.weak);
        add_contents(ui);
    });
}

/// What belongs to the row above, below what can be chosen.
pub fn indented_ui(ui: &mut Ui, add_contents: impl FnOnce(&mut Ui)) {
    ui.horizontal_top(|ui| {
        ui.add_space(LABEL_WIDTH);
        ui.vertical(add_contents);
    });
    ui.add_space(4.0);
}
