//! The menu bar, and the tabs with what every chart can do.

use std::path::PathBuf;

use eframe::egui::{
    self, Align, Button, Layout, MenuBar, Rect, RichText, Sense, Stroke, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo,
};
use mergescope_core::alignment::Role;

use super::app::{App, Tab};
use super::command::Command;
use super::{fonts, theme, widgets};
use crate::bundled;

/// Space between what every chart can do.
const COMMAND_SPACING: f32 = 16.0;

/// Space between the tabs.
const TAB_SPACING: f32 = 24.0;
/// The same where there is little room.
const LEAST_TAB_SPACING: f32 = 16.0;
/// Height of a line below the tabs.
const BELOW_TABS_HEIGHT: f32 = 26.0;

/// Least room for the name of the chart that the commands are about.
const LEAST_CHART_WIDTH: f32 = 48.0;

/// Files of those opened before that a menu shows.
const SHOWN_RECENT: usize = 8;

/// What stands in a menu.
enum Item {
    /// Something to do.
    Do(Command),
    /// A line between two groups.
    Line,
    /// A menu of the files opened before.
    RecentFiles,
    /// A menu of the recipes that come with the program.
    BundledRecipes,
}

use Item::{BundledRecipes, Do, Line, RecentFiles};

/// Menus and what is in them.
const MENUS: [(&str, &[Item]); 4] = [
    (
        "File",
        &[
            Do(Command::OpenRecipe),
            RecentFiles,
            BundledRecipes,
            Do(Command::SaveRecipe),
            Do(Command::SaveRecipeAs),
            Do(Command::ExportMergeFile),
            Line,
            Do(Command::Browse(Role::Pre)),
            Do(Command::Browse(Role::Post)),
            Do(Command::Browse(Role::Target)),
            Do(Command::UseDemo),
            Line,
            Do(Command::Merge),
            Do(Command::ExportAdapter),
            Do(Command::SaveVector),
            Do(Command::CancelWriting),
            Do(Command::OpenOutput),
            Do(Command::PastMerges),
            Line,
            Do(Command::Quit),
        ],
    ),
    (
        "Edit",
        &[
            Do(Command::Undo),
            Do(Command::Redo),
            Line,
            Do(Command::AddVector),
            Do(Command::RemoveVector),
            Do(Command::MoveVectorUp),
            Do(Command::MoveVectorDown),
            Line,
            Do(Command::CopyCsv),
            Do(Command::SavePng),
        ],
    ),
    (
        "View",
        &[
            Do(Command::ShowVector),
            Do(Command::ShowScaling),
            Do(Command::ShowResults),
            Do(Command::ShowEvaluate),
            Do(Command::ShowTry),
            Do(Command::ToggleTable),
            Line,
            Do(Command::RunSweep),
            Do(Command::StopSweep),
            Do(Command::SaveReport),
            Line,
            Do(Command::RunBoth),
            Do(Command::RunStrip),
            Do(Command::StopAnswers),
            Do(Command::SaveTranscript),
            Do(Command::ChooseAnswerer),
            Line,
            Do(Command::PreviousVector),
            Do(Command::NextVector),
            Line,
            Do(Command::ToggleTheme),
        ],
    ),
    ("Help", &[Do(Command::FirstSteps), Do(Command::Palette), Line, Do(Command::About)]),
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
                        Do(command) => menu_item_ui(app, ui, *command),
                        Line => drop(ui.separator()),
                        RecentFiles => recent_files_ui(app, ui),
                        BundledRecipes => bundled_recipes_ui(app, ui),
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
    let why_not = app.obstacle(command).unwrap_or_else(|| command.explanation().to_owned());
    if response.on_disabled_hover_text(why_not).clicked() {
        app.commands.push(command);
        ui.close();
    }
}

/// Recipes and merge files that were opened or saved before.
fn recent_files_ui(app: &mut App, ui: &mut Ui) {
    let mut chosen: Option<PathBuf> = None;
    ui.add_enabled_ui(!app.session.recent_files.is_empty(), |ui| {
        ui.menu_button("Open recent", |ui| {
            ui.set_min_width(240.0);
            for path in app.session.recent_files.iter().take(SHOWN_RECENT) {
                let shown = crate::format::path(path);
                let button = Button::new(widgets::elide_start(ui, &shown, 360.0));
                let is_there = path.is_file();
                let item = ui.add_enabled(is_there, button).on_hover_text(&shown);
                if item.on_disabled_hover_text(format!("{shown} is gone")).clicked() {
                    chosen = Some(path.clone());
                }
            }
            ui.separator();
            if ui.button("Forget these").on_hover_text("Empty this menu; the files stay").clicked() {
                app.session.recent_files.clear();
            }
        });
    });
    if let Some(path) = chosen {
        app.open_recipe(&path);
        ui.close_kind(egui::UiKind::Menu);
    }
}

/// The recipes that come with the program.
fn bundled_recipes_ui(app: &mut App, ui: &mut Ui) {
    let mut chosen = None;
    ui.menu_button("Recipes of the papers", |ui| {
        ui.set_min_width(240.0);
        for bundled in bundled::RECIPES {
            if ui.button(bundled.title).on_hover_text(bundled.about).clicked() {
                chosen = Some(bundled);
            }
        }
    });
    if let Some(bundled) = chosen {
        app.session.take_bundled(&bundled);
        ui.close_kind(egui::UiKind::Menu);
    }
}

/// Draws the row of tabs, with Table, Copy CSV and Save PNG at its end.
pub fn tabs_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let (_, row) = ui.allocate_space(Vec2::new(ui.available_width(), theme::TABS_HEIGHT));
    ui.painter().hline(row.x_range(), row.bottom() - 0.5, Stroke::new(1.0, palette.hairline));
    let tabs = [
        (Tab::Vector, Command::ShowVector),
        (Tab::Scaling, Command::ShowScaling),
        (Tab::Results, Command::ShowResults),
        (Tab::Evaluate, Command::ShowEvaluate),
        (Tab::Try, Command::ShowTry),
    ];
    let commands = [Command::ToggleTable, Command::CopyCsv, Command::SavePng];
    let font = TextStyle::Body.resolve(ui.style());
    let width = |command: Command| {
        ui.painter().layout_no_wrap(command.label().to_owned(), font.clone(), palette.text).size().x.ceil()
    };
    let room = commands.into_iter().map(width).sum::<f32>() + COMMAND_SPACING * (commands.len() - 1) as f32;
    let tabs_width: f32 = tabs.iter().map(|(_, command)| width(*command)).sum();
    // In a narrow window the tabs stand closer together, so that none of them runs into the commands.
    let spacing = (row.width() - room - tabs_width) / tabs.len() as f32;
    let spacing = spacing.clamp(LEAST_TAB_SPACING, TAB_SPACING);
    let mut left = row.left();
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
        left = rect.right() + spacing;
    }
    // Where the commands do not fit beside the tabs, they stand below them.
    let fits = left - spacing + COMMAND_SPACING + room <= row.right();
    let line = if fits { row } else { ui.allocate_space(Vec2::new(ui.available_width(), BELOW_TABS_HEIGHT)).1 };
    let right = line.with_min_x(line.right() - room);
    let start = if fits { left } else { line.left() };
    let between = line.with_min_x(start).with_max_x((right.left() - COMMAND_SPACING).max(start));
    if app.tab == Tab::Vector && app.is_enabled(Command::ToggleTable) && between.width() >= LEAST_CHART_WIDTH {
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
                    Tab::Evaluate => app.evaluate_view.table,
                    Tab::Try => app.try_view.table,
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
