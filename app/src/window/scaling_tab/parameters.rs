//! The numbers of a curve that is given by a formula.

use eframe::egui::{DragValue, RichText, Ui};
use mergescope_core::scaling::{Between, Curve};

use crate::curve_edit::VALUES;
use crate::window::{theme, widgets};

/// Whether a curve has any.
pub fn has_any(curve: &Curve) -> bool {
    !matches!(curve, Curve::Flat | Curve::Layers { .. })
}

/// Draws the fields of the curve's kind; none for kinds without numbers.
pub fn ui(ui: &mut Ui, curve: &mut Curve, layers: u32) {
    match curve {
        Curve::Flat | Curve::Layers { .. } => {}
        Curve::Linear { first, last } => {
            value_ui(ui, "First layer", "The value of the first layer", first);
            value_ui(ui, "Last layer", "The value of the last layer", last);
        }
        Curve::Lines { alpha, beta } => {
            value_ui(
                ui,
                "α",
                "LiNeS (Wang et al., ICLR 2025, arXiv 2410.17146, eq. 4): the value of the first layer",
                alpha,
            );
            let beta_means = "LiNeS (Wang et al., ICLR 2025, arXiv 2410.17146, eq. 4): what the last layer has more than \
                              the first; each layer between has its share of it";
            value_ui(ui, "β", beta_means, beta);
        }
        Curve::Bump { centre, width, base, peak } => {
            let last = f64::from(layers.saturating_sub(1));
            number_ui(ui, "Layer", "The layer of the peak; may lie between two", centre, 0.0..=last);
            let width_means = "Layers from the peak to where the bump ends, to each side";
            number_ui(ui, "Width", width_means, width, 1.0..=f64::from(layers.max(1)));
            value_ui(ui, "Base", "The value far from the peak", base);
            value_ui(ui, "Peak", "The value at the peak", peak);
        }
        Curve::First { count, inside, outside } | Curve::Last { count, inside, outside } => {
            count_ui(ui, "Layers", "How many", count, layers);
            value_ui(ui, "In these", "The value of these layers", inside);
            value_ui(ui, "In the rest", "The value of all other layers", outside);
        }
        Curve::Step { at, before, after } => {
            count_ui(ui, "From layer", "The first layer with the second value", at, layers);
            value_ui(ui, "Before", "The value before that layer", before);
            value_ui(ui, "After", "The value from that layer on", after);
        }
        Curve::Points { between, .. } => {
            let kinds = [
                (Between::Linear, "Linear", "Straight lines"),
                (Between::Smooth, "Smooth", "A smooth curve that never passes above or below both its neighbours"),
            ];
            widgets::choice_ui(ui, "Between points", "What the curve does between two points", between, &kinds);
        }
    }
}

fn value_ui(ui: &mut Ui, label: &str, explanation: &str, value: &mut f64) {
    number_ui(ui, label, explanation, value, VALUES);
}

fn number_ui(ui: &mut Ui, label: &str, explanation: &str, value: &mut f64, range: std::ops::RangeInclusive<f64>) {
    label_ui(ui, label, explanation);
    let field = super::number(value, range);
    ui.add(field).on_hover_text(explanation).accessible_name(format!("Curve, {label}"));
}

fn count_ui(ui: &mut Ui, label: &str, explanation: &str, count: &mut u32, layers: u32) {
    label_ui(ui, label, explanation);
    let field = DragValue::new(count).speed(0.1).range(0..=layers).clamp_existing_to_range(false);
    let field = ui.add(field.update_while_editing(false));
    field.on_hover_text(explanation).accessible_name(format!("Curve, {label}"));
}

fn label_ui(ui: &mut Ui, label: &str, explanation: &str) {
    ui.label(RichText::new(label).color(theme::palette(ui).weak)).on_hover_text(explanation);
}
