//! Which w are measured, and what they are held against.

use eframe::egui::{Button, DragValue, Popup, PopupCloseBehavior, RichText, TextEdit, Ui, Vec2, WidgetInfo};
use mergescope_core::alignment::Role;
use mergescope_core::evaluate::sweep::{ControlArm, ControlsAt};
use mergescope_core::recipe::ControlKind;

use super::questions;
use crate::evaluate::grid;
use crate::format;
use crate::window::app::App;
use crate::window::{fonts, method_words, theme, widgets};

/// Width of the popup.
const WIDTH: f32 = 360.0;
/// Values of w that a merge takes.
const RANGE: std::ops::RangeInclusive<f64> = -10.0..=10.0;

/// w with as few decimals as it needs: `−0.5`, `0.25`, `1`.
pub fn short(w: f64) -> String {
    if w == 0.0 { "0".to_owned() } else { format!("{w}").replace('-', "−") }
}

/// `−0.5 … 1.5 by 0.25`, or the values one by one.
fn words(values: &[f64]) -> String {
    if let Some([from, to, step]) = grid::even_steps(values) {
        return format!("{} … {} by {}", short(from), short(to), short(step));
    }
    match values {
        [] => "0 alone".to_owned(),
        few if few.len() <= 5 => few.iter().map(|w| short(*w)).collect::<Vec<_>>().join(", "),
        many => format!("{} values", many.len()),
    }
}

/// Draws the button and what is behind it.
pub fn ui(app: &mut App, ui: &mut Ui, is_free: bool) {
    let palette = theme::palette(ui);
    let tooltip =
        "The scaling coefficients that are measured, coarse to fine; w = 0, the target alone, is always among them";
    let shown = words(&app.evaluation.settings.spec.w);
    widgets::keep_together_with_menu(ui, "w", &shown);
    ui.label(RichText::new("w").color(palette.weak)).on_hover_text(tooltip);
    let button = Button::new(format!("{shown} {}", fonts::DOWN)).min_size(Vec2::new(0.0, 22.0));
    let button = ui.add_enabled(is_free, button).on_hover_text(tooltip).on_disabled_hover_text(questions::RUNNING);
    button.widget_info(|| WidgetInfo::labeled(eframe::egui::Role::ComboBox, true, format!("Grid of w: {shown}")));
    let popup = Popup::from_toggle_button_response(&button).width(WIDTH);
    let shown = popup.close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
        ui.set_width(WIDTH);
        ui.spacing_mut().item_spacing.y = 6.0;
        values_ui(app, ui);
        ui.separator();
        references_ui(app, ui);
    });
    if shown.is_none() {
        app.evaluate_view.grid_text = None;
    }
}

fn values_ui(app: &mut App, ui: &mut Ui) {
    let spec = &mut app.evaluation.settings.spec;
    let [mut from, mut to, mut step] = grid::even_steps(&spec.w).unwrap_or([-0.5, 1.5, 0.25]);
    let mut changed = false;
    widgets::setting_ui(ui, "From, to, step", "Values of w that go up evenly", |ui| {
        for (name, value, range) in
            [("From", &mut from, RANGE), ("To", &mut to, RANGE), ("Step", &mut step, 0.01..=10.0)]
        {
            let number = DragValue::new(value).range(range).speed(0.01).max_decimals(3).update_while_editing(false);
            let number = number.custom_formatter(|value, _| short((value * 1e3).round() / 1e3));
            let number = ui.add(number.custom_parser(format::parse_number)).accessible_name(name);
            changed |= number.changed();
        }
    });
    if changed && let Ok(values) = grid::range(from, to, step) {
        spec.w = values;
        app.evaluate_view.grid_text = None;
    }
    let tooltip = "The same as a list, such as 0, 0.25, 1, or as from:to:step";
    let current = spec.w.iter().map(|w| short(*w)).collect::<Vec<_>>().join(", ");
    let mut text = app.evaluate_view.grid_text.clone().unwrap_or(current);
    widgets::setting_ui(ui, "Or a list", tooltip, |ui| {
        let field = TextEdit::singleline(&mut text).desired_width(f32::INFINITY).char_limit(2000);
        let field = ui.add(field).on_hover_text(tooltip).accessible_name("List of w");
        if field.changed() {
            if let Ok(mut values) = parsed(&text) {
                values.sort_by(f64::total_cmp);
                values.dedup();
                app.evaluation.settings.spec.w = values;
            }
            app.evaluate_view.grid_text = Some(text.clone());
        }
    });
    if let Some(Err(reason)) = app.evaluate_view.grid_text.as_deref().map(parsed) {
        widgets::badge_ui(ui, &format::sentence(&reason));
    }
}

/// Values of w that a merge takes.
fn parsed(text: &str) -> Result<Vec<f64>, String> {
    let values = grid::parse(text)?;
    match values.iter().find(|w| !RANGE.contains(w)) {
        Some(w) => Err(format!("{} lies outside of −10 to 10", short(*w))),
        None => Ok(values),
    }
}

fn references_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let has_others = !app.session.recipe.others.is_empty();
    let spec = &mut app.evaluation.settings.spec;
    let toggle = |ui: &mut Ui, is_on: bool, name: &str, about: &str| {
        let button = ui.add(Button::selectable(is_on, RichText::new(name).color(palette.text)));
        button.on_hover_text(about).clicked()
    };
    widgets::setting_ui(
        ui,
        "Lines to compare with",
        "Models that answer the same questions; of one vector the target is w = 0",
        |ui| {
            let models = [
                (Role::Pre, "The model before fine-tuning"),
                (Role::Post, "The model after fine-tuning"),
                (Role::Target, "The target alone: w = 0 has the other vectors in it"),
            ];
            for (role, about) in models.into_iter().take(if has_others { 3 } else { 2 }) {
                let is_on = spec.references.contains(&role);
                if toggle(ui, is_on, role.label(), about) {
                    match is_on {
                        true => spec.references.retain(|known| *known != role),
                        false => spec.references.push(role),
                    }
                }
            }
        },
    );
    widgets::setting_ui(
        ui,
        "Controls",
        "Vectors that should not help: a gain that they have too is not this vector's",
        |ui| {
            for kind in ControlKind::ALL {
                let is_on = spec.controls.iter().any(|control| control.kind == kind);
                let name = match kind {
                    ControlKind::ShuffleSigns => "signs",
                    ControlKind::PermuteLayers => "layers",
                    ControlKind::Noise => "noise",
                };
                if toggle(ui, is_on, name, method_words::control_sentence(kind)) {
                    match is_on {
                        true => spec.controls.retain(|control| control.kind != kind),
                        false => spec.controls.push(ControlArm { kind, seed: 0 }),
                    }
                }
            }
        },
    );
    widgets::setting_ui(ui, "Controls are measured", "At one w, or at all of them", |ui| {
        for (at, name, about) in [
            (ControlsAt::Chosen, "at the chosen w", "Once it is known which w does best"),
            (ControlsAt::Grid, "at every w", "Takes as long again for each control"),
        ] {
            if toggle(ui, spec.controls_at == at, name, about) {
                spec.controls_at = at;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_w_are_said_briefly() {
        let said = |text: &str| words(&grid::parse(text).unwrap());
        assert_eq!(said("-0.5:1.5:0.25"), "−0.5 … 1.5 by 0.25");
        assert_eq!(said("0,0.25,1"), "0, 0.25, 1");
        assert_eq!(said("0,0.1,0.2,0.4,0.8,1.6"), "6 values");
    }
}
