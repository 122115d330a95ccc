//! The palette: any command by a few letters of its name.

use eframe::egui::{
    self, Align2, Area, Button, Context, Frame, Id, Key, Margin, Order, RichText, ScrollArea, TextEdit,
};

use super::app::App;
use super::command::Command;
use super::theme;

/// Width of the palette.
const WIDTH: f32 = 460.0;

/// What was typed, and which of the commands found is chosen.
#[derive(Clone, Debug, Default)]
pub struct PaletteState {
    query: String,
    chosen: usize,
    was_shown: bool,
}

/// Shows the palette while it is open.
pub fn ui(app: &mut App, ctx: &Context) {
    let Some(mut state) = app.palette.take() else { return };
    let mut found: Vec<(usize, Command)> =
        Command::ALL.into_iter().filter_map(|command| Some((command.rank(&state.query)?, command))).collect();
    if !state.query.trim().is_empty() {
        found.sort_by_key(|(rank, _)| *rank);
    }
    let (up, down, enter, escape) = ctx.input_mut(|input| {
        let mut pressed = |key| input.consume_key(egui::Modifiers::NONE, key);
        (pressed(Key::ArrowUp), pressed(Key::ArrowDown), pressed(Key::Enter), pressed(Key::Escape))
    });
    let last = found.len().saturating_sub(1);
    if down {
        state.chosen = (state.chosen + 1).min(last);
    }
    if up {
        state.chosen = state.chosen.saturating_sub(1);
    }
    state.chosen = state.chosen.min(last);
    let mut picked = if enter { found.get(state.chosen).map(|(_, command)| *command) } else { None };

    let area = Area::new(Id::unique("palette")).order(Order::Foreground).anchor(Align2::CENTER_TOP, [0.0, 80.0]);
    let shown = area.show(ctx, |ui| {
        let palette = theme::palette(ui);
        let frame = Frame::popup(ui.style()).fill(palette.panel).inner_margin(Margin::same(10));
        frame.show(ui, |ui| {
            ui.set_width(WIDTH);
            let field = TextEdit::singleline(&mut state.query)
                .hint_text("Find a command")
                .desired_width(f32::INFINITY)
                .margin(Margin::symmetric(8, 5));
            let field = ui
                .add(field)
                .on_hover_text("A few letters of a command's name; Enter does it")
                .accessible_name("Command name");
            field.request_focus();
            if field.changed() {
                state.chosen = 0;
            }
            ui.add_space(6.0);
            ScrollArea::vertical().max_height(360.0).show(ui, |ui| {
                ui.set_width(WIDTH);
                for (position, (_, command)) in found.iter().enumerate() {
                    let keys = command.shortcut().map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
                    let keys = RichText::new(keys).text_style(egui::TextStyle::Small).color(palette.weak);
                    let enabled = app.is_enabled(*command);
                    let label = RichText::new(command.label()).color(if enabled { palette.text } else { palette.weak });
                    let button = Button::selectable(position == state.chosen, label).right_text(keys);
                    let item = ui.add_enabled(enabled, button.min_size([WIDTH, 0.0].into()));
                    let item = item.on_hover_text(command.explanation());
                    if position == state.chosen && (up || down) {
                        item.scroll_to_me(None);
                    }
                    if item.clicked() {
                        picked = Some(*command);
                    }
                }
                if found.is_empty() {
                    super::widgets::note_ui(ui, "No command has these letters");
                }
            });
        });
    });
    // The click that opened it is no click beside it.
    let beside = state.was_shown && shown.response.clicked_elsewhere();
    state.was_shown = true;
    match picked {
        Some(command) => app.commands.push(command),
        None if escape || beside => {}
        None => app.palette = Some(state),
    }
}
