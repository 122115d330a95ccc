//! A factor for each kind of part, for tensors by name, and what stays the target's.

use eframe::egui::{
    self, Align, Align2, Button, Color32, Frame, Layout, Margin, Response, RichText, Stroke, TextEdit, Ui, Vec2,
    WidgetInfo,
};
use mergescope_core::alignment::Triple;
use mergescope_core::scaling::{Keep, LayerRange, Matches, PartKind, Pattern, Reach, ScalingSpec, moving_tensors};

use crate::curve_edit::{self, VALUES};
use crate::format;
use crate::window::session::Session;
use crate::window::{fonts, theme, widgets};

/// Width of all of it.
pub const WIDTH: f32 = 340.0;
/// Height of a row.
const ROW_HEIGHT: f32 = 26.0;
/// Height of a field.
const FIELD_HEIGHT: f32 = 22.0;
/// Width of the labels.
const LABEL_WIDTH: f32 = 88.0;
/// Width of a number.
const NUMBER_WIDTH: f32 = 56.0;
/// Room for a count and what follows from it.
const COUNT_WIDTH: f32 = 112.0;
/// Width of a pattern that has a factor.
const PATTERN_WIDTH: f32 = 140.0;
/// Room for the count of a pattern.
const MATCHES_WIDTH: f32 = 58.0;
/// Width of the small buttons behind a pattern.
const BUTTON_WIDTH: f32 = 18.0;
/// Space between two things in a row.
const GAP: f32 = 6.0;

/// A row of factors: what it is of, its name, and what belongs to it.
const ROWS: [(PartKind, &str, &str); 7] = [
    (PartKind::Attention, "Attention", "q, k, v and o"),
    (PartKind::Mlp, "MLP", "gate, up and down, and experts"),
    (PartKind::Norm, "Norms", "Norms within layers and after the last"),
    (PartKind::Embed, "Embeddings", "Token embeddings; the output head too where they are tied"),
    (PartKind::Head, "Head", "The output head, where it has weights of its own"),
    (PartKind::Router, "Router", "What sends tokens to experts"),
    (PartKind::Other, "Other", "Tensors of no known name"),
];

/// What is remembered from one frame to the next.
#[derive(Default)]
pub struct FactorsState {
    found: Option<Found>,
    /// Layers to keep as they are typed, until they can be read, and the ranges that they stand for.
    layers_text: Option<(String, Vec<LayerRange>)>,
}

/// How many tensors everything here is about, counted once for each set of models and each change.
struct Found {
    triple: Triple,
    patterns: Vec<Pattern>,
    keep: Keep,
    reach: Reach,
    /// In the order of [`ROWS`].
    kinds: [usize; 7],
}

impl Found {
    fn new(triple: Triple, session: &Session) -> Self {
        let spec = &session.recipe.vector.scaling;
        let alignment = session.preflight.done().map(|preflight| &preflight.alignment);
        let mut kinds = [0; 7];
        let mut reach = Reach::default();
        if let Some(alignment) = alignment {
            reach = spec.reach(moving_tensors(alignment, &triple.target));
            for (_, place) in moving_tensors(alignment, &triple.target) {
                let row = ROWS.iter().position(|(kind, ..)| *kind == PartKind::of(place.part));
                kinds[row.unwrap_or(ROWS.len() - 1)] += 1;
            }
        }
        Self { patterns: spec.patterns.clone(), keep: spec.keep.clone(), reach, kinds, triple }
    }

    fn is_of(&self, triple: &Triple, spec: &ScalingSpec) -> bool {
        let same = |role| std::sync::Arc::ptr_eq(self.triple.get(role), triple.get(role));
        let is_model = mergescope_core::alignment::Role::ALL.into_iter().all(same);
        is_model && self.patterns == spec.patterns && self.keep == spec.keep
    }
}

/// Draws the factors.
pub fn ui(ui: &mut Ui, state: &mut FactorsState, session: &mut Session) {
    let Some(triple) = session.triple().filter(|_| session.preflight.done().is_some()) else { return };
    if !state.found.as_ref().is_some_and(|found| found.is_of(&triple, &session.recipe.vector.scaling)) {
        state.found = Some(Found::new(triple, session));
    }
    let Some(found) = &state.found else { return };
    let layers = super::layers(session).unwrap_or(0);
    let spec = &mut session.recipe.vector.scaling;
    ui.spacing_mut().item_spacing = Vec2::new(GAP, 2.0);
    // As high as the title beside it.
    ui.horizontal(|ui| {
        ui.label(RichText::new("Factor by part").text_style(theme::strong()))
            .on_hover_text("What the curve's value is multiplied by; 0 leaves these tensors as they are in the target");
    });
    ui.spacing_mut().interact_size.y = FIELD_HEIGHT;
    for ((kind, label, explanation), &count) in ROWS.into_iter().zip(&found.kinds) {
        if count > 0 {
            part_ui(ui, spec, kind, label, explanation, count);
        }
    }
    patterns_ui(ui, spec, &found.reach);
    kept_ui(ui, &mut state.layers_text, &mut spec.keep, &found.reach, layers);
}

fn part_ui(ui: &mut Ui, spec: &mut ScalingSpec, kind: PartKind, label: &str, explanation: &str, count: usize) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        cell_ui(ui, LABEL_WIDTH, |ui| ui.label(label)).on_hover_text(explanation);
        let kept = spec.keep.get(kind);
        let factor = spec.factors.get_mut(kind);
        ui.add_enabled_ui(!kept, |ui| number_ui(ui, factor, &format!("Factor of {label}")));
        let as_in_target = if kept || *factor == 0.0 { " · as in target" } else { "" };
        let text = format!("{}{as_in_target}", format::count(count as u64));
        cell_ui(ui, COUNT_WIDTH, |ui| ui.label(RichText::new(text).color(palette.weak)))
            .on_hover_text("Tensors that v can move");
        if let Some(kept) = spec.keep.get_mut(kind) {
            let keep = ui.scope(|ui| {
                ui.visuals_mut().widgets.inactive.bg_stroke = Stroke::new(1.0, palette.hairline);
                ui.checkbox(kept, RichText::new("keep").color(palette.weak))
            });
            let keep = keep.inner.on_hover_text("Keep these tensors as they are in the target, whatever else is said");
            keep.widget_info(|| {
                WidgetInfo::selected(egui::Role::CheckBox, true, *kept, format!("Keep the target's {label}"))
            });
        }
    });
}

fn patterns_ui(ui: &mut Ui, spec: &mut ScalingSpec, reach: &Reach) {
    let mut asked = None;
    let count = spec.patterns.len();
    if count > 0 {
        heading_ui(ui, "Factor by name; the first match wins")
            .on_hover_text("The first pattern that matches a tensor's name decides, instead of the factor of its part");
    }
    for (position, pattern) in spec.patterns.iter_mut().enumerate() {
        let number = position + 1;
        let found = reach.patterns.get(position).copied().flatten();
        ui.horizontal(|ui| {
            pattern_ui(ui, &mut pattern.tensors, PATTERN_WIDTH, &format!("Pattern {number}"));
            number_ui(ui, &mut pattern.factor, &format!("Factor of pattern {number}"));
            matches_ui(ui, found);
            ui.spacing_mut().item_spacing.x = 0.0;
            let up = ("Move up", fonts::UP, position > 0, Edit::Up(position));
            let down = ("Move down", fonts::DOWN, number < count, Edit::Up(number));
            for (word, icon, is_possible, edit) in [up, down] {
                // One pattern has no order.
                if count > 1 && small_button_ui(ui, icon, is_possible, word, &format!("{word} pattern {number}")) {
                    asked = Some(edit);
                }
            }
            if small_button_ui(ui, fonts::CROSS, true, "Take this pattern away", &format!("Remove pattern {number}")) {
                asked = Some(Edit::Remove(position));
            }
        });
        complaint_ui(ui, found, true);
    }
    match asked {
        Some(Edit::Up(position)) => spec.patterns.swap(position - 1, position),
        Some(Edit::Remove(position)) => drop(spec.patterns.remove(position)),
        None => {}
    }
    ui.add_space(4.0);
    let add = widgets::link_ui(ui, "Add a name pattern…");
    if add.on_hover_text("A factor for the tensors whose name matches").clicked() {
        spec.patterns.push(Pattern { tensors: "*.mlp.down_proj.*".to_owned(), factor: 1.0 });
    }
}

/// What is asked of a pattern.
enum Edit {
    /// To change places with the one before.
    Up(usize),
    /// To go.
    Remove(usize),
}

/// What stays the target's by layer and by name.
fn kept_ui(ui: &mut Ui, text: &mut Option<(String, Vec<LayerRange>)>, keep: &mut Keep, reach: &Reach, layers: u32) {
    let palette = theme::palette(ui);
    heading_ui(ui, "Kept as in the target")
        .on_hover_text("These stay as they are in the target, whatever else is said");
    // What was typed goes when the ranges change some other way.
    if text.as_ref().is_some_and(|(_, ranges)| *ranges != keep.layers) {
        *text = None;
    }
    let mut shown = text.as_ref().map_or_else(|| curve_edit::ranges_text(&keep.layers), |(typed, _)| typed.clone());
    let mut complaint = None;
    ui.horizontal(|ui| {
        cell_ui(ui, LABEL_WIDTH, |ui| ui.label("Layers")).on_hover_text("Counted from 0");
        let edit = edit(ui, &mut shown, "none; 0–3, 20 …");
        let response = ui.add_sized(Vec2::new(PATTERN_WIDTH, FIELD_HEIGHT), edit).accessible_name("Layers to keep");
        let is_typed = text.is_some();
        match curve_edit::parse_ranges(&shown, layers) {
            Ok(ranges) if response.changed() => {
                keep.layers = ranges;
                *text = Some((shown, keep.layers.clone()));
            }
            // Once it can be read and nobody types, it is shown as it is understood.
            Ok(_) if !response.has_focus() => *text = None,
            Ok(_) => {}
            Err(_) if response.changed() => *text = Some((shown, keep.layers.clone())),
            Err(error) if is_typed => complaint = Some(error),
            Err(_) => {}
        }
        if !keep.layers.is_empty() {
            let count = format::plural(reach.in_layers as usize, "tensor");
            ui.label(RichText::new(count).color(palette.weak));
        }
    });
    if let Some(complaint) = complaint {
        note_ui(ui, &complaint, palette.bad);
    }
    let mut gone = None;
    for (position, pattern) in keep.tensors.iter_mut().enumerate() {
        let number = position + 1;
        let found = reach.kept.get(position).copied().flatten();
        ui.horizontal(|ui| {
            pattern_ui(ui, pattern, PATTERN_WIDTH + GAP + NUMBER_WIDTH, &format!("Pattern to keep {number}"));
            matches_ui(ui, found.map(|found| Matches { deciding: found.matching, ..found }));
            if small_button_ui(
                ui,
                fonts::CROSS,
                true,
                "Take this pattern away",
                &format!("Remove pattern to keep {number}"),
            ) {
                gone = Some(position);
            }
        });
        complaint_ui(ui, found, false);
    }
    if let Some(position) = gone {
        keep.tensors.remove(position);
    }
    ui.add_space(4.0);
    let add = widgets::link_ui(ui, "Keep tensors by name…");
    if add.on_hover_text("Tensors whose name matches stay as they are in the target").clicked() {
        keep.tensors.push("*.self_attn.*".to_owned());
    }
}

fn heading_ui(ui: &mut Ui, text: &str) -> Response {
    ui.add_space(10.0);
    ui.label(RichText::new(text).text_style(theme::small_strong()).color(theme::palette(ui).weak))
}

/// A part of a row, as high as the row and as wide as those above and below.
fn cell_ui(ui: &mut Ui, width: f32, add_contents: impl FnOnce(&mut Ui) -> Response) -> Response {
    let size = Vec2::new(width, ROW_HEIGHT);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_size(size);
        add_contents(ui)
    })
    .inner
}

fn number_ui(ui: &mut Ui, value: &mut f64, name: &str) {
    let field = super::number(value, VALUES);
    ui.add_sized(Vec2::new(NUMBER_WIDTH, FIELD_HEIGHT), field).accessible_name(name);
}

fn pattern_ui(ui: &mut Ui, pattern: &mut String, width: f32, name: &str) {
    let shown = pattern.clone();
    cell_ui(ui, width, |ui| {
        let edit = edit(ui, pattern, "*.down_proj.*");
        let response = ui.add_sized(Vec2::new(width, FIELD_HEIGHT), edit).accessible_name(name);
        response.on_hover_text(format!("{shown}\n* stands for any characters, ? for one, [0-9] for one of a range"))
    });
}

/// A field for text.
fn edit<'a>(ui: &Ui, text: &'a mut String, hint: &'a str) -> TextEdit<'a> {
    let palette = theme::palette(ui);
    let frame = Frame::new().fill(palette.raised).corner_radius(theme::RADIUS);
    TextEdit::singleline(text)
        .hint_text(hint)
        .frame(frame.inner_margin(Margin::symmetric(8, 3)))
        .align(Align2::LEFT_CENTER)
}

/// How many tensors a pattern decides on, of how many that match.
fn matches_ui(ui: &mut Ui, found: Option<Matches>) {
    let palette = theme::palette(ui);
    let (text, colour, explanation) = match found {
        None => ("–".to_owned(), palette.bad, "This cannot be read as a pattern".to_owned()),
        Some(Matches { matching: 0, .. }) => ("none".to_owned(), palette.warning, "It matches no tensor".to_owned()),
        Some(Matches { matching, deciding }) if matching == deciding => {
            (format::count(matching), palette.weak, "Tensors that it matches".to_owned())
        }
        Some(Matches { matching, deciding }) => {
            let [matching, deciding] = [matching, deciding].map(format::count);
            let colour = if deciding == "0" { palette.warning } else { palette.weak };
            let explanation = format!("It matches {matching} tensors and decides on {deciding}: the first match wins");
            (format!("{deciding} of {matching}"), colour, explanation)
        }
    };
    cell_ui(ui, MATCHES_WIDTH, |ui| ui.add(egui::Label::new(RichText::new(text).color(colour)).truncate()))
        .on_hover_text(explanation);
}

/// Says below a pattern what is wrong with it, and what to do.
fn complaint_ui(ui: &mut Ui, found: Option<Matches>, has_order: bool) {
    let palette = theme::palette(ui);
    match found {
        None => note_ui(ui, "No pattern: * is any characters, ? one, [0-9] one of a range", palette.bad),
        Some(Matches { matching: 0, .. }) => {
            note_ui(ui, "No tensor has such a name; put * for what may differ", palette.warning);
        }
        Some(Matches { deciding: 0, .. }) if has_order => {
            note_ui(ui, "Patterns above decide on all of these; move it up", palette.warning);
        }
        Some(_) => {}
    }
}

fn note_ui(ui: &mut Ui, text: &str, colour: Color32) {
    let text = RichText::new(text).text_style(egui::TextStyle::Small).color(colour);
    ui.add(egui::Label::new(text.line_height(Some(theme::NOTE_LINE))).wrap());
}

/// A button of one sign; true when it was clicked.
fn small_button_ui(ui: &mut Ui, icon: &str, is_possible: bool, explanation: &str, name: &str) -> bool {
    let palette = theme::palette(ui);
    let response = ui.scope(|ui| {
        ui.spacing_mut().button_padding = Vec2::new(2.0, 2.0);
        let button = Button::new(RichText::new(icon).color(palette.weak)).frame_when_inactive(false);
        ui.add_enabled(is_possible, button.min_size(Vec2::new(BUTTON_WIDTH, FIELD_HEIGHT)))
    });
    let response = response.inner.on_hover_text(explanation);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, is_possible, name));
    response.clicked()
}
