//! The palette: any command by a few letters of its name.

use eframe::egui::{
    self, Align2, Area, Button, Context, EventFilter, Frame, Id, Key, Margin, Order, RichText, ScrollArea, TextEdit,
};

use super::app::App;
use super::command::Command;
use super::theme;

/// Width of the palette.
const WIDTH: f32 = 460.0;
/// Height of the list of commands.
const LIST_HEIGHT: f32 = 360.0;

/// What was typed, and which of the commands found is chosen.
#[derive(Clone, Debug, Default)]
pub struct PaletteState {
    query: String,
    chosen: usize,
    was_shown: bool,
}

impl PaletteState {
    /// The commands that have the letters typed, best first.
    fn found(&self) -> Vec<Command> {
        let ranked = Command::ALL.into_iter().filter_map(|command| Some((command.rank(&self.query)?, command)));
        let mut found: Vec<(usize, Command)> = ranked.collect();
        if !self.query.trim().is_empty() {
            found.sort_by_key(|(rank, _)| *rank);
        }
        found.into_iter().map(|(_, command)| command).collect()
    }
}

/// Shows the palette while it is open.
pub fn ui(app: &mut App, ctx: &Context) {
    let Some(mut state) = app.palette.take() else { return };
    let (up, down, enter, escape) = ctx.input_mut(|input| {
        let mut pressed = |key| input.consume_key(egui::Modifiers::NONE, key);
        (pressed(Key::ArrowUp), pressed(Key::ArrowDown), pressed(Key::Enter), pressed(Key::Escape))
    });
    let mut picked = None;
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
            // Otherwise arrows would take the focus to the nearest field behind, and change the number in it.
            let filter = EventFilter { tab: true, horizontal_arrows: true, vertical_arrows: true, escape: true };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(field.id, filter));
            if field.changed() {
                state.chosen = 0;
            }
            // With what was typed in this very frame: Enter may come with it.
            let found = state.found();
            let last = found.len().saturating_sub(1);
            if down {
                state.chosen += 1;
            }
            if up {
                state.chosen = state.chosen.saturating_sub(1);
            }
            state.chosen = state.chosen.min(last);
            if enter {
                picked = found.get(state.chosen).copied();
            }
            ui.add_space(6.0);
            // The area remembers how high it was with few commands in it.
            ScrollArea::vertical().max_height(LIST_HEIGHT).min_scrolled_height(LIST_HEIGHT).show(ui, |ui| {
                ui.set_width(WIDTH);
                for (position, command) in found.iter().enumerate() {
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
    // What lies behind is neither focused nor changed by keys.
    ctx.memory_mut(|memory| memory.set_modal_layer(shown.response.layer_id));
    // The click that opened it is no click beside it.
    let beside = state.was_shown && shown.response.clicked_elsewhere();
    state.was_shown = true;
    match picked {
        Some(command) => app.commands.push(command),
        None if escape || beside => {}
        None => app.palette = Some(state),
    }
}
