//! The Scaling tab: how w is spread over layers, parts and tensors.

mod coefficients;
mod editor;
mod factors;
mod parameters;
mod table;

use std::path::Path;

use eframe::egui::{self, DragValue, Event, Layout, RichText, ScrollArea, Ui, UiBuilder};
use mergescope_core::scaling::{Scaling, ScalingSpec};

use super::app::App;
use super::command::Command;
use super::live::Source;
use super::session::Session;
use super::{theme, widgets};
use crate::curve_edit::{self, Kind};
use crate::format;
use crate::vector::tables::Table;

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
    let is_narrow = ui.ctx().content_rect().width() < NARROW;
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
    let curve = &mut app.session.recipe.vector.scaling.curve;
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
    session.preflight.done().map(|preflight| preflight.alignment.layers())
}

/// The scaling of the recipe for these models.
fn scaling(session: &Session) -> Result<Scaling, String> {
    let vector = &session.recipe.vector;
    Scaling::new(vector.w, &vector.scaling, layers(session).unwrap_or(0)).map_err(|error| error.to_string())
}

fn controls_ui(app: &mut App, ui: &mut Ui, layers: Option<u32>, is_narrow: bool) {
    let scaling = &mut app.session.recipe.vector.scaling;
    let mut load = false;
    ui.horizontal(|ui| {
        let curve = &mut scaling.curve;
        let kinds = Kind::ALL.map(|kind| (kind, kind.label(), kind.explanation()));
        let mut kind = Kind::of(curve);
        widgets::choice_ui(ui, "Curve", "How w is spread over the layers", &mut kind, &kinds);
        if kind != Kind::of(curve)
            && let Some(layers) = layers
        {
            *curve = kind.curve(curve, layers);
        }
        if !is_narrow {
            ui.add_space(8.0);
            parameters::ui(ui, curve, layers.unwrap_or(0));
        }
        ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
            let reset = ui.add_enabled(*scaling != ScalingSpec::default(), egui::Button::new("Reset"));
            if reset.on_hover_text("w everywhere: no curve, no factors, nothing kept").clicked() {
                *scaling = ScalingSpec::default();
            }
            let explanation = "One number for each layer, between white space, commas or lines, a JSON list, or a table \
                               with a column named curve. Such a column can be pasted too";
            load = ui.button("From file…").on_hover_text(explanation).clicked();
        });
    });
    if is_narrow && parameters::has_any(&scaling.curve) {
        ui.horizontal_wrapped(|ui| parameters::ui(ui, &mut scaling.curve, layers.unwrap_or(0)));
    }
    if load {
        app.commands.push(Command::OpenValues);
    }
}

fn editor_ui(app: &mut App, ui: &mut Ui, layers: u32, height: f32) {
    let vector = &mut app.session.recipe.vector;
    let edited = Edited { curve: &mut vector.scaling.curve, layers, w: vector.w };
    let rect = editor::ui(ui, &mut app.scaling_view.editor, edited, height);
    app.chart_rect = Some(rect);
}

fn coefficients_ui(app: &App, ui: &mut Ui, height: f32) {
    match Source::of(&app.session, &app.live) {
        Some(source) => coefficients::ui(ui, &source, height),
        None => {
            widgets::note_ui(ui, "What each tensor gets is shown when the vector has been measured");
        }
    }
}

/// Reads one value for each layer from a file into the recipe.
pub fn read_values(session: &mut Session, path: &Path) {
    let shown = format::path(path);
    let read = || -> Result<String, String> {
        let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        if bytes > MAX_VALUES_BYTES {
            return Err(format!("{bytes} bytes are too many for one number a layer"));
        }
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    };
    let layers = layers(session).unwrap_or(0);
    match read().and_then(|text| curve_edit::parse_values(&text, layers)) {
        Ok(curve) => {
            session.recipe.vector.scaling.curve = curve;
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
