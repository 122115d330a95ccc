//! The menu bar, and the tabs with what every chart can do.

use eframe::egui::{
    self, Align, Button, Layout, MenuBar, Rect, RichText, Sense, Stroke, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo,
};
use mergescope_core::alignment::Role;

use super::app::{App, Tab};
use super::command::Command;
use super::{fonts, theme, widgets};

/// Space between what every chart can do.
const COMMAND_SPACING: f32 = 16.0;

/// Menus and what is in them; `None` is a line between two groups.
const MENUS: [(&str, &[Option<Command>]); 4] = [
    (
        "File",
        &[
            Some(Command::OpenRecipe),
            Some(Command::SaveRecipe),
            Some(Command::SaveRecipeAs),
            None,
            Some(Command::Browse(Role::Pre)),
            Some(Command::Browse(Role::Post)),
            Some(Command::Browse(Role::Target)),
            Some(Command::UseDemo),
            None,
            Some(Command::Merge),
            Some(Command::CancelMerge),
            Some(Command::OpenOutput),
            Some(Command::PastMerges),
            None,
            Some(Command::Quit),
        ],
    ),
    ("Edit", &[Some(Command::Undo), Some(Command::Redo), None, Some(Command::CopyCsv), Some(Command::SavePng)]),
    (
        "View",
        &[
            Some(Command::ShowVector),
            Some(Command::ShowScaling),
            Some(Command::ShowResults),
            Some(Command::ToggleTable),
            None,
            Some(Command::ToggleTheme),
        ],
    ),
    ("Help", &[Some(Command::FirstSteps), Some(Command::Palette), None, Some(Command::About)]),
];

/// Draws the menu bar.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    MenuBar::new().ui(ui, |ui| {
        ui.set_height(theme::MENU_BAR_HEIGHT);
        ui.spacing_mut().button_padding = Vec2::new(6.0, 3.0);
        ui.spacing_mut().item_spacing.x = 8.0;
        ui.label(RichText::new("Mergescope").text_style(theme::strong()));
        ui.add_space(6.0);
        for (name, items) in MENUS {
            let button = Button::new(RichText::new(name).color(palette.weak)).frame_when_inactive(false);
            egui::containers::menu::MenuButton::from_button(button).ui(ui, |ui| {
                ui.set_min_width(240.0);
                for item in items {
                    match item {
                        Some(command) => menu_item_ui(app, ui, *command),
                        None => drop(ui.separator()),
                    }
                }
            });
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let icon = if ui.visuals().dark_mode { fonts::SUN } else { fonts::MOON };
            let button = Button::new(RichText::new(icon).color(palette.weak)).frame_when_inactive(false);
            let switch = ui.add(button).on_hover_text(Command::ToggleTheme.explanation());
            switch.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, "Change the theme"));
            if switch.clicked() {
                app.commands.push(Command::ToggleTheme);
            }
            let keys = Command::Palette.shortcut().map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
            let keys = keys.replace('+', " ");
            let button = Button::new(RichText::new(keys).color(palette.weak)).frame_when_inactive(false);
            let find = ui.add(button).on_hover_text(Command::Palette.explanation());
            find.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, "Find a command"));
            if find.clicked() {
                app.commands.push(Command::Palette);
            }
            let changed = if app.session.is_changed() { " •" } else { "" };
            let name = RichText::new(format!("{}{changed}", app.session.recipe_name())).color(palette.weak);
            let tooltip = match &app.session.file {
                Some(file) => crate::format::path(file),
                None => "Models, w and output choices; Save recipe writes them to a file".to_owned(),
            };
            ui.label(name).on_hover_text(tooltip);
        });
    });
}

fn menu_item_ui(app: &mut App, ui: &mut Ui, command: Command) {
    let palette = theme::palette(ui);
    let mut button = Button::new(command.label());
    if let Some(shortcut) = command.shortcut() {
        let keys = RichText::new(ui.ctx().format_shortcut(&shortcut)).text_style(TextStyle::Small).color(palette.weak);
        button = button.right_text(keys);
    } else {
        button = button.right_text("");
    }
    let response = ui.add_enabled(app.is_enabled(command), button).on_hover_text(command.explanation());
    if response.clicked() {
        app.commands.push(command);
        ui.close();
    }
}

/// Draws the row of tabs, with Table, Copy CSV and Save PNG at its end.
pub fn tabs_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let (_, row) = ui.allocate_space(Vec2::new(ui.available_width(), theme::TABS_HEIGHT));
    ui.painter().hline(row.x_range(), row.bottom() - 0.5, Stroke::new(1.0, palette.hairline));
    let mut left = row.left();
    let tabs = [
        (Tab::Vector, Command::ShowVector),
        (Tab::Scaling, Command::ShowScaling),
        (Tab::Results, Command::ShowResults),
    ];
    for (tab, command) in tabs {
        let chosen = app.tab == tab;
        let style = if chosen { theme::strong() } else { TextStyle::Body };
        let font = style.resolve(ui.style());
        let galley = ui.painter().layout_no_wrap(command.label().to_owned(), font, palette.text);
        let rect = Rect::from_min_size(egui::pos2(left, row.top()), Vec2::new(galley.size().x, row.height()));
        let response =
            ui.interact(rect.expand2(Vec2::new(8.0, 0.0)), ui.scope_id().with(command.label()), Sense::click());
        let response = response.on_hover_cursor(egui::CursorIcon::PointingHand).on_hover_text(command.explanation());
        response.widget_info(|| WidgetInfo::selected(egui::Role::Tab, true, chosen, command.label()));
        let colour = if chosen || response.hovered() || response.has_focus() { palette.text } else { palette.weak };
        let position = egui::pos2(rect.left(), rect.center().y - galley.size().y / 2.0);
        ui.painter().galley_with_override_text_color(position, galley, colour);
        if chosen {
            ui.painter().hline(rect.x_range(), row.bottom() - 1.0, Stroke::new(2.0, palette.accent));
        }
        if response.clicked() {
            app.commands.push(command);
        }
        left = rect.right() + 24.0;
    }
    let commands = [Command::ToggleTable, Command::CopyCsv, Command::SavePng];
    let font = TextStyle::Body.resolve(ui.style());
    let width = |command: &Command| {
        ui.painter().layout_no_wrap(command.label().to_owned(), font.clone(), palette.text).size().x.ceil()
    };
    let room = commands.iter().map(width).sum::<f32>() + COMMAND_SPACING * (commands.len() - 1) as f32;
    let right = row.with_min_x(row.right() - room);
    if app.tab == Tab::Vector && app.is_enabled(Command::ToggleTable) {
        let between = row.with_min_x(left).with_max_x(right.left() - COMMAND_SPACING);
        ui.scope_builder(UiBuilder::new().max_rect(between).layout(Layout::right_to_left(Align::Center)), |ui| {
            let text = RichText::new(app.vector_view.chart.title()).text_style(TextStyle::Small).color(palette.weak);
            let explanation = "What Table, Copy CSV and Save PNG are about; click another chart's title to choose it";
            ui.add(egui::Label::new(text).truncate()).on_hover_text(explanation);
        });
    }
    // From left to right, so that the Tab key goes the way one reads.
    ui.scope_builder(UiBuilder::new().max_rect(right).layout(Layout::left_to_right(Align::Center)), |ui| {
        ui.spacing_mut().item_spacing.x = COMMAND_SPACING;
        for command in commands {
            let is_on = command == Command::ToggleTable
                && match app.tab {
                    Tab::Vector => app.vector_view.table,
                    Tab::Scaling => app.scaling_view.table,
                    Tab::Results => app.results_view.table,
                };
            let enabled = app.is_enabled(command);
            ui.add_enabled_ui(enabled, |ui| {
                let response = widgets::quiet_ui(ui, command.label(), is_on).on_hover_text(command.explanation());
                if response.clicked() {
                    app.commands.push(command);
                }
            });
        }
    });
}
