//! The numbers of a curve that is given by a formula.

use eframe::egui::{DragValue, RichText, Ui};
use mergescope_core::scaling::{Between, Curve};

use crate::curve_edit::VALUES;
use crate::format;
use crate::window::{theme, widgets};

/// Draws the fields of the curve's kind; none for kinds without numbers.
pub fn ui(ui: &mut Ui, curve: &mut Curve, layers: u32) {
    match curve {
        Curve::Flat | Curve::Layers { .. } => {}
        Curve::Linear { first, last } => {
            value_ui(ui, "First layer", first);
            value_ui(ui, "Last layer", last);
        }
        Curve::Lines { alpha, beta } => {
            value_ui(ui, "α", alpha);
            value_ui(ui, "β", beta);
        }
        Curve::Bump { centre, width, base, peak } => {
            number_ui(ui, "Layer", centre, 0.0..=f64::from(layers.saturating_sub(1)));
            number_ui(ui, "Width", width, 1.0..=f64::from(layers.max(1)));
            value_ui(ui, "Base", base);
            value_ui(ui, "Peak", peak);
        }
        Curve::First { count, inside, outside } | Curve::Last { count, inside, outside } => {
            count_ui(ui, "Layers", count, layers);
            value_ui(ui, "In these", inside);
            value_ui(ui, "In the rest", outside);
        }
        Curve::Step { at, before, after } => {
            count_ui(ui, "From layer", at, layers);
            value_ui(ui, "Before", before);
            value_ui(ui, "After", after);
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

fn value_ui(ui: &mut Ui, label: &str, value: &mut f64) {
    number_ui(ui, label, value, VALUES);
}

fn number_ui(ui: &mut Ui, label: &str, value: &mut f64, range: std::ops::RangeInclusive<f64>) {
    ui.label(RichText::new(label).color(theme::palette(ui).weak));
    let field = DragValue::new(value)
        .speed(0.01)
        .range(range)
        .max_decimals(4)
        .update_while_editing(false)
        .custom_parser(format::parse_number);
    ui.add(field).accessible_name(format!("Curve, {label}"));
}

fn count_ui(ui: &mut Ui, label: &str, count: &mut u32, layers: u32) {
    ui.label(RichText::new(label).color(theme::palette(ui).weak));
    ui.add(DragValue::new(count).speed(0.1).range(0..=layers).update_while_editing(false))
        .accessible_name(format!("Curve, {label}"));
}
