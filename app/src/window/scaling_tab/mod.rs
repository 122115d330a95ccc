//! The Scaling tab: how w is spread over layers, parts and tensors.

mod coefficients;
mod control;
mod editor;
mod factors;
mod method;
mod parameters;
mod table;

use std::io::ErrorKind;
use std::path::Path;

use eframe::egui::{self, DragValue, Event, Layout, Rect, RichText, ScrollArea, Ui, UiBuilder, Vec2};
use mergescope_core::scaling::{Curve, Scaling, ScalingSpec};

use super::app::App;
use super::command::Command;
use super::live::Source;
use super::session::Session;
use super::{theme, widgets};
use crate::curve_edit::{self, Kind};
use crate::format;
use crate::report::Table;

pub use editor::EditorState;

use editor::Edited;
use factors::FactorsState;

/// Width of the column with the factors.
const FACTORS_WIDTH: f32 = factors::WIDTH;
/// Space between it and the coefficients.
const COLUMN_GAP: f32 = 24.0;
/// Share of the height that the editor takes.
const EDITOR_SHARE: f32 = 0.5;
/// Windows narrower than this have one column.
const NARROW: f32 = 1100.0;
/// Heights in a narrow window, where the content scrolls.
const NARROW_EDITOR: f32 = 260.0;
const NARROW_COEFFICIENTS: f32 = 280.0;
/// Room at the end of the editor's title for what else can be done to the curve.
const ACTIONS_WIDTH: f32 = 128.0;
/// Height of the editor's title.
const TITLE_HEIGHT: f32 = theme::CONTROL_HEIGHT;
/// Largest file of values, in bytes.
const MAX_VALUES_BYTES: u64 = 1 << 20;

/// The choices of this tab.
#[derive(Default)]
pub struct ScalingView {
    /// Whether the values are shown as a table instead of the charts.
    pub table: bool,
    /// What the editor remembers while something is dragged.
    pub(super) editor: EditorState,
    factors: FactorsState,
    /// The layer whose number has the focus in the table.
    focused: Option<u32>,
}

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let layers = layers(&app.session);
    let is_narrow = is_narrow(ui);
    controls_ui(app, ui, layers, is_narrow);
    ui.add_space(6.0);
    let Some(layers) = layers.filter(|layers| *layers > 0) else {
        let advice = "Choose three models that fit together; the curve is then drawn over their layers";
        return widgets::empty_ui(ui, "No layers yet", advice);
    };
    paste(app, ui, layers);
    if let Err(error) = scaling(&app.session) {
        let palette = theme::palette(ui);
        ui.label(RichText::new(format!("Nothing can be merged like this: {error}")).color(palette.bad));
        if let Some(curve) = curve_edit::stretched(&app.session.shown_vector().scaling.curve, layers) {
            let label = format!("Stretch the curve over {}", format::plural(layers as usize, "layer"));
            let link =
                widgets::link_ui(ui, &label).on_hover_text("Each value stays as far through the depth as it was");
            if link.clicked() {
                app.session.shown_vector_mut().scaling.curve = curve;
            }
        }
    }
    if app.scaling_view.table {
        return table::ui(app, ui, layers);
    }
    if is_narrow {
        ScrollArea::vertical().id_salt("narrow scaling").auto_shrink([false, false]).show(ui, |ui| {
            editor_ui(app, ui, layers, NARROW_EDITOR);
            ui.add_space(16.0);
            factors::ui(ui, &mut app.scaling_view.factors, &mut app.session);
            ui.add_space(16.0);
            coefficients_ui(app, ui, NARROW_COEFFICIENTS);
        });
        return;
    }
    let height = (ui.available_height() * EDITOR_SHARE).floor();
    editor_ui(app, ui, layers, height);
    ui.add_space(12.0);
    let (_, below) = ui.allocate_space(ui.available_size());
    let left = below.with_max_x(below.left() + FACTORS_WIDTH);
    let right = below.with_min_x(left.right() + COLUMN_GAP);
    ui.scope_builder(UiBuilder::new().max_rect(left), |ui| {
        ScrollArea::vertical().id_salt("factors").auto_shrink([false, false]).show(ui, |ui| {
            factors::ui(ui, &mut app.scaling_view.factors, &mut app.session);
        });
    });
    ui.scope_builder(UiBuilder::new().max_rect(right), |ui| coefficients_ui(app, ui, right.height()));
}

/// Whether the window has one column.
fn is_narrow(ui: &Ui) -> bool {
    ui.ctx().content_rect().width() < NARROW
}

/// A field for a number that is dragged or typed. What lies outside `range` stays until it is changed.
fn number(value: &mut f64, range: std::ops::RangeInclusive<f64>) -> DragValue<'_> {
    DragValue::new(value)
        .speed(0.01)
        .range(range)
        .clamp_existing_to_range(false)
        .max_decimals(4)
        .update_while_editing(false)
        .custom_formatter(|value, _| format::w((value * 1e4).round() / 1e4))
        .custom_parser(format::parse_number)
}

/// Takes a column of numbers from the clipboard: for all layers, or, in the table, from the layer in focus down.
fn paste(app: &mut App, ui: &Ui, layers: u32) {
    let in_table = app.scaling_view.focused.filter(|_| app.scaling_view.table);
    // A pattern, a path or a dialog takes what is pasted there.
    if app.is_busy_with_dialog() || (in_table.is_none() && ui.ctx().text_edit_focused()) {
        return;
    }
    let pasted = ui.input(|input| {
        input.events.iter().rev().find_map(|event| match event {
            Event::Paste(text) => Some(text.clone()),
            _ => None,
        })
    });
    let Some(text) = pasted else { return };
    let curve = &mut app.session.shown_vector_mut().scaling.curve;
    let found = match (curve_edit::parse_numbers(&text), in_table) {
        // One number is typed into its field.
        (Ok(numbers), Some(_)) if numbers.len() < 2 => return,
        (Ok(numbers), Some(first)) => curve_edit::set_layers(curve, layers, first, &numbers),
        (Ok(_), None) => curve_edit::parse_values(&text, layers).map(|pasted| *curve = pasted),
        (Err(error), _) => Err(error),
    };
    if in_table.is_some() {
        // Not into the field too.
        ui.input_mut(|input| input.events.retain(|event| !matches!(event, Event::Paste(_))));
    }
    match found {
        Ok(()) => app.session.say("Pasted the values of the curve".to_owned()),
        Err(error) => app.session.fail(format!("What was pasted is no curve: {error}")),
    }
}

/// The layers of the models that are open; `None` until they have been compared.
fn layers(session: &Session) -> Option<u32> {
    session.layers()
}

/// The scaling of the recipe for these models.
fn scaling(session: &Session) -> Result<Scaling, String> {
    let vector = session.shown_vector();
    Scaling::new(vector.w, &vector.scaling, layers(session).unwrap_or(0)).map_err(|error| error.to_string())
}

fn controls_ui(app: &mut App, ui: &mut Ui, layers: Option<u32>, is_narrow: bool) {
    let menus_ui = |app: &mut App, ui: &mut Ui| {
        curve_ui(&mut app.session, ui, layers);
        ui.add_space(8.0);
        method::choice_ui(app, ui);
        ui.add_space(8.0);
        control::choice_ui(app, ui);
    };
    let save = |app: &mut App, ui: &mut Ui| {
        let save = ui.button("Save recipe…").on_hover_text(Command::SaveRecipe.explanation());
        if save.clicked() {
            app.commands.push(Command::SaveRecipe);
        }
    };
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        if is_narrow {
            ui.horizontal_wrapped(|ui| {
                menus_ui(app, ui);
                ui.end_row();
                save(app, ui);
                ui.add_space(8.0);
                editor_actions_ui(app, ui);
            });
        } else {
            ui.horizontal(|ui| {
                menus_ui(app, ui);
                ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| save(app, ui));
            });
        }
        let curve = &mut app.session.shown_vector_mut().scaling.curve;
        if parameters::has_any(curve) {
            ui.horizontal_wrapped(|ui| parameters::ui(ui, curve, layers.unwrap_or(0)));
        }
        if method::has_parameters(&app.session) {
            method::parameters_ui(&mut app.session, ui);
        }
    });
}

/// The kind of curve, and what a free one does between its points.
fn curve_ui(session: &mut Session, ui: &mut Ui, layers: Option<u32>) {
    let curve = &mut session.shown_vector_mut().scaling.curve;
    let kinds = Kind::ALL.map(|kind| (kind, kind.label(), kind.explanation()));
    let mut kind = Kind::of(curve);
    widgets::choice_ui(ui, "Curve", "How w is spread over the layers", &mut kind, &kinds);
    if kind != Kind::of(curve)
        && let Some(layers) = layers
    {
        *curve = kind.curve(curve, layers);
    }
    if let Curve::Points { between, .. } = curve {
        ui.add_space(8.0);
        parameters::between_ui(ui, between);
    }
}

/// What else can be done to the scaling, at the end of the editor's title.
fn editor_actions_ui(app: &mut App, ui: &mut Ui) {
    let scaling = &mut app.session.shown_vector_mut().scaling;
    let reset = ui.add_enabled_ui(*scaling != ScalingSpec::default(), |ui| widgets::quiet_ui(ui, "Reset", false));
    if reset.inner.on_hover_text("w everywhere: no curve, no factors, nothing kept").clicked() {
        *scaling = ScalingSpec::default();
    }
    ui.add_space(8.0);
    let explanation = "One number for each layer, between white space, commas or lines, a JSON list, or a table \
                       with a column named curve. Such a column can be pasted too";
    if widgets::quiet_ui(ui, "From file…", false).on_hover_text(explanation).clicked() {
        app.commands.push(Command::OpenValues);
    }
}

fn editor_ui(app: &mut App, ui: &mut Ui, layers: u32, height: f32) {
    let w = app.session.shown_w();
    let title_end = if is_narrow(ui) { 0.0 } else { ACTIONS_WIDTH };
    let edited = Edited { curve: &mut app.session.shown_vector_mut().scaling.curve, layers, w, title_end };
    let top = ui.cursor().left_top();
    let width = ui.available_width();
    let rect = editor::ui(ui, &mut app.scaling_view.editor, edited, height);
    app.chart_rect = Some(rect);
    let line = Rect::from_min_size(top, Vec2::new(width, TITLE_HEIGHT));
    let layout = Layout::right_to_left(egui::Align::Center);
    if title_end == 0.0 {
        return;
    }
    // Beside the title: what comes next stands below the chart.
    editor_actions_ui(app, &mut ui.new_child(UiBuilder::new().max_rect(line).layout(layout)));
}

fn coefficients_ui(app: &App, ui: &mut Ui, height: f32) {
    match Source::of(&app.session, &app.live) {
        Some(source) => coefficients::ui(ui, &source, app.session.recipe.method.name.uses_w(), height),
        None => {
            widgets::note_ui(ui, "What each tensor gets is shown when the vector has been measured");
        }
    }
}

/// Reads one value for each layer from a file into the recipe.
pub fn read_values(session: &mut Session, path: &Path) {
    let why = |error: &std::io::Error| match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::InvalidData => "it is no text; write one number for each layer".to_owned(),
        _ => error.to_string(),
    };
    let shown = format::path(path);
    let read = || -> Result<String, String> {
        let bytes = std::fs::metadata(path).map_err(|error| why(&error))?.len();
        if bytes > MAX_VALUES_BYTES {
            return Err(format!("{bytes} bytes are too many for one number a layer"));
        }
        std::fs::read_to_string(path).map_err(|error| why(&error))
    };
    let layers = layers(session).unwrap_or(0);
    match read().and_then(|text| curve_edit::parse_values(&text, layers)) {
        Ok(curve) => {
            session.shown_vector_mut().scaling.curve = curve;
            session.say(format!("Read {} from {shown}", format::plural(layers as usize, "value")));
        }
        Err(error) => session.fail(format!("{shown} holds no curve: {error}")),
    }
}

/// Whether there are values to show as a table.
pub fn has_values(session: &Session) -> bool {
    layers(session).is_some_and(|layers| layers > 0)
}

/// The curve and what each tensor gets as a table, for CSV; `None` while there is nothing to show.
pub fn values_table(app: &App) -> Option<Table> {
    let source = Source::of(&app.session, &app.live);
    table::of(&app.session, source.as_ref(), layers(&app.session)?)
}
