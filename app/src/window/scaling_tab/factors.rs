//! A factor for each kind of part, for tensors by name, and what stays the target's.

use eframe::egui::{
    self, Button, DragValue, Frame, Layout, Margin, Response, RichText, TextEdit, Ui, Vec2, WidgetInfo,
};
use mergescope_core::scaling::{PartKind, Pattern, Scaling, ScalingSpec};

use crate::curve_edit::VALUES;
use crate::format;
use crate::window::session::Session;
use crate::window::{fonts, theme, widgets};

/// Height of a row.
const ROW_HEIGHT: f32 = 28.0;
/// Width of the labels.
const LABEL_WIDTH: f32 = 88.0;
/// Width of a number.
const NUMBER_WIDTH: f32 = 52.0;
/// Width of a pattern.
const PATTERN_WIDTH: f32 = 150.0;

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

/// Draws the factors.
pub fn ui(ui: &mut Ui, session: &mut Session) {
    let palette = theme::palette(ui);
    let names = moving_names(session);
    let kinds: Vec<PartKind> = session.preflight.done().map_or_else(Vec::new, |preflight| {
        preflight.alignment.tensors.iter().map(|aligned| PartKind::of(aligned.place.part)).collect()
    });
    let spec = &mut session.recipe.vector.scaling;
    ui.label(RichText::new("Factor by part").text_style(theme::strong()))
        .on_hover_text("What the curve's value is multiplied by; 0 leaves these tensors as they are in the target");
    ui.add_space(4.0);
    for (kind, label, explanation) in ROWS {
        let count = kinds.iter().filter(|other| **other == kind).count();
        if count == 0 {
            continue;
        }
        ui.horizontal(|ui| {
            ui.set_min_height(ROW_HEIGHT);
            label_ui(ui, label).on_hover_text(explanation);
            let kept = spec.keep.get(kind);
            ui.add_enabled_ui(!kept, |ui| number_ui(ui, spec.factors.get_mut(kind), &format!("Factor of {label}")));
            let is_zero = kept || spec.factors.get(kind) == 0.0;
            let as_in_target = if is_zero { " · as in target" } else { "" };
            let text = format!("{}{as_in_target}", format::count(count as u64));
            ui.label(RichText::new(text).color(palette.weak)).on_hover_text("Tensors of the target");
            if let Some(kept) = spec.keep.get_mut(kind) {
                let response = ui.checkbox(kept, "keep").on_hover_text("Keep these tensors as they are in the target");
                response.widget_info(|| {
                    WidgetInfo::selected(egui::Role::CheckBox, true, *kept, format!("Keep the target's {label}"))
                });
            }
        });
    }
    patterns_ui(ui, spec, &names);
}

/// Names of the tensors that v moves.
fn moving_names(session: &Session) -> Vec<String> {
    let measured = session.vector.done();
    let tensors = measured.map_or(&[][..], |measured| &measured.analysis.tensors);
    let mut names: Vec<String> = tensors.iter().map(|tensor| tensor.stored_name().to_owned()).collect();
    names.dedup();
    names
}

/// A label as wide as all of them.
fn label_ui(ui: &mut Ui, label: &str) -> Response {
    let size = Vec2::new(LABEL_WIDTH, ui.spacing().interact_size.y);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(egui::Align::Center), |ui| {
        ui.set_min_size(size);
        ui.label(label)
    })
    .inner
}

fn number_ui(ui: &mut Ui, value: &mut f64, name: &str) {
    let field = DragValue::new(value)
        .speed(0.01)
        .range(VALUES)
        .fixed_decimals(2)
        .max_decimals(4)
        .update_while_editing(false)
        .custom_parser(format::parse_number);
    ui.add_sized(Vec2::new(NUMBER_WIDTH, 22.0), field).accessible_name(name);
}

fn patterns_ui(ui: &mut Ui, spec: &mut ScalingSpec, names: &[String]) {
    let palette = theme::palette(ui);
    let counts = pattern_counts(spec, names);
    let mut gone = None;
    if !spec.patterns.is_empty() {
        ui.add_space(6.0);
        ui.label(RichText::new("By name").text_style(theme::small_strong()).color(palette.weak))
            .on_hover_text("The first pattern that matches a tensor's name decides, instead of the factor of its part");
    }
    for (position, pattern) in spec.patterns.iter_mut().enumerate() {
        ui.horizontal(|ui| {
            let edit = TextEdit::singleline(&mut pattern.tensors).desired_width(PATTERN_WIDTH);
            let frame = Frame::new().fill(palette.raised).corner_radius(theme::RADIUS);
            let edit = edit.hint_text("*.down_proj.*").frame(frame.inner_margin(Margin::symmetric(8, 2)));
            ui.add(edit)
                .on_hover_text("* stands for any characters, ? for one, [0-9] for one of a range")
                .accessible_name(format!("Pattern {}", position + 1));
            number_ui(ui, &mut pattern.factor, &format!("Factor of pattern {}", position + 1));
            let (text, colour) = match counts.as_ref().and_then(|counts| counts.get(position)) {
                None => ("no pattern".to_owned(), palette.bad),
                Some(0) => ("none".to_owned(), palette.warning),
                Some(count) => (format::count(*count), palette.weak),
            };
            ui.label(RichText::new(text).color(colour)).on_hover_text("Tensors that it decides on");
            let remove = Button::new(RichText::new(fonts::CROSS).color(palette.weak)).frame_when_inactive(false);
            let remove = ui.add(remove).on_hover_text("Take this pattern away");
            remove.widget_info(|| {
                WidgetInfo::labeled(egui::Role::Button, true, format!("Remove pattern {}", position + 1))
            });
            if remove.clicked() {
                gone = Some(position);
            }
        });
    }
    if let Some(position) = gone {
        spec.patterns.remove(position);
    }
    ui.add_space(4.0);
    let add = widgets::link_ui(ui, "Add a name pattern…");
    if add.on_hover_text("A factor for the tensors whose name matches").clicked() {
        spec.patterns.push(Pattern { tensors: "*.mlp.down_proj.*".to_owned(), factor: 1.0 });
    }
}

/// How many tensors each pattern decides on; `None` when one of them is no pattern.
fn pattern_counts(spec: &ScalingSpec, names: &[String]) -> Option<Vec<u64>> {
    let only = ScalingSpec { patterns: spec.patterns.clone(), ..ScalingSpec::default() };
    let scaling = Scaling::new(1.0, &only, 0).ok()?;
    Some(scaling.pattern_counts(names.iter().map(String::as_str)))
}
