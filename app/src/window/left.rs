//! The left column: the three models, whether they fit, w, and the merge.

use eframe::egui::{
    self, Align, DragValue, Frame, Label, Layout, Margin, Panel, RichText, ScrollArea, TextStyle, Ui, Vec2,
};
use mergescope_core::alignment::Role;
use mergescope_core::scaling::{Keep, ScalingSpec, Spread};

use super::app::App;
use super::command::Command;
use super::live::Live;
use super::{merge_area, model_field, theme, verdict, widgets};
use crate::curve_edit::Kind;
use crate::format;

/// w at the start, and after a double click on the slider.
const DEFAULT_W: f64 = 0.5;

/// Room for w, its slider, how it is spread, and the space above them.
const W_HEIGHT: f32 = 168.0;
/// Room that the verdict and the line of its findings have before there are any, so that w stays where it is.
const VERDICT_HEIGHT: f32 = 50.0;
/// Least room in which findings scroll by themselves; with less they scroll with the models.
const LEAST_FINDINGS: f32 = 120.0;

/// Draws the column.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let margin = theme::LEFT_MARGIN as i8;
    let frame =
        Frame::new().fill(palette.panel).inner_margin(Margin { left: margin, right: margin, top: 18, bottom: 16 });
    Panel::left("models").exact_size(theme::LEFT_WIDTH).resizable(false).frame(frame).show(ui, |ui| {
        let merge = Panel::bottom("merge").frame(Frame::new()).resizable(false).show_separator_line(false);
        merge.exact_size(merge_area::HEIGHT).show(ui, |ui| merge_area::ui(app, ui));
        let room = ui.available_height();
        // w is always there: what stands above it gives way.
        let models = ScrollArea::vertical().id_salt("models").max_height(room - W_HEIGHT).auto_shrink([false, true]);
        models.show(ui, |ui| models_ui(app, ui, room));
        ui.add_space(10.0);
        widgets::hairline_ui(ui);
        ui.add_space(14.0);
        w_ui(app, ui);
    });
}

/// The three models and whether they fit, in a column that is `room` high.
fn models_ui(app: &mut App, ui: &mut Ui, room: f32) {
    let palette = theme::palette(ui);
    let top = ui.cursor().top();
    ui.label(RichText::new("Models").text_style(theme::small_strong()).color(palette.weak));
    ui.add_space(14.0);
    for role in Role::ALL {
        model_field::ui(app, ui, role);
    }
    ui.add_space(2.0);
    ui.scope(|ui| {
        ui.set_min_height(VERDICT_HEIGHT);
        let left = room - (ui.cursor().top() - top);
        if left - W_HEIGHT - VERDICT_HEIGHT >= LEAST_FINDINGS {
            ui.set_max_height(left);
        }
        verdict::ui(app, ui);
    });
}

fn w_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let heading = RichText::new("How much of the vector to add").text_style(theme::small_strong());
    ui.label(heading.color(palette.weak)).on_hover_text(
        "target + w·v: at w = 0 the target stays as it is, at 1 all of the vector is added, below 0 it is taken away",
    );
    ui.add_space(6.0);
    let kept = kept(&app.live);
    let w = &mut app.session.recipe.vector.w;
    ui.horizontal(|ui| {
        let usual = ui.style().clone();
        let style = ui.style_mut();
        style.drag_value_text_style = TextStyle::Heading;
        style.spacing.button_padding = Vec2::new(0.0, 1.0);
        style.visuals.widgets.inactive.weak_bg_fill = egui::Color32::TRANSPARENT;
        let number = DragValue::new(w)
            .prefix(RichText::new("w = ").text_style(TextStyle::Heading))
            .speed(0.005)
            .range(-10.0..=10.0)
            .max_decimals(4)
            .update_while_editing(false)
            .custom_formatter(|value, _| format::w((value * 1e4).round() / 1e4))
            .custom_parser(format::parse_number);
        ui.add(number).on_hover_text("Click to type a number, drag to change it").accessible_name("w");
        ui.set_style(usual);
        if let Some((text, explanation)) = kept {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.add(Label::new(RichText::new(text).color(palette.weak)).truncate()).on_hover_text(explanation);
            });
        }
    });
    ui.add_space(4.0);
    widgets::w_slider_ui(ui, w, DEFAULT_W)
        .on_hover_text("Drag, or use the arrow keys for steps of 0.01; double-click for 0.50");
    ui.add_space(4.0);
    let scaling = &app.session.recipe.vector.scaling;
    let (words, all_words) = spread_words(scaling);
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::link_ui(ui, "Shape it").on_hover_text(Command::ShowScaling.explanation()).clicked() {
                app.commands.push(Command::ShowScaling);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let text = RichText::new(&words).color(palette.weak);
                ui.add(Label::new(text).truncate()).on_hover_text(&all_words);
            });
        });
    });
}

/// How w is spread over the tensors: in as many words as there is room for, and in all.
fn spread_words(scaling: &ScalingSpec) -> (String, String) {
    if *scaling == ScalingSpec::default() {
        return ("The same in all layers".to_owned(), "Every tensor gets w".to_owned());
    }
    let ScalingSpec { curve, factors, patterns, keep } = scaling;
    let factors = factors.named().iter().filter(|(_, factor)| *factor != 1.0).count();
    let Keep { router, embed, head, norm, layers, tensors } = keep;
    let switches = [*router, *embed, *head, *norm].into_iter().filter(|is_on| *is_on).count();
    let more = factors + patterns.len() + switches + layers.len() + tensors.len();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (format!("Shape: {}{more}", Kind::of(curve).label()), format::sentence(&scaling.to_string()))
}

/// How much of w is left after rounding, and what that means; `None` where there is nothing to keep.
fn kept(live: &Live) -> Option<(String, String)> {
    let effect = live.effect?;
    let effective = effect.effective_w;
    if !effective.value.is_finite() {
        return None;
    }
    let spread = live.asked.filter(Spread::differs);
    let keeps = format::fixed(effective.value, 3);
    let text = match spread {
        // Beside w there is no room for the type too; it is in the explanation.
        Some(asked) => format!("keeps {keeps} of {}", format::fixed(asked.mean, 3)),
        None => format!("{} keeps {keeps}", live.dtype),
    };
    let accuracy = if effective.is_estimated() {
        format!("; estimated from a sample, ± {} at 95 %", format::fixed(effective.margin, 4))
    } else {
        String::new()
    };
    let explanation = format!(
        "Effective w: how much of v the merged model will have in it once it is rounded to {}{accuracy}. The cosine of \
         what is asked for and what is written is {}{}",
        live.dtype,
        format::fixed(effect.cosine, 4),
        spread.map_or_else(String::new, |asked| format!(
            ". w is spread over the tensors that it moves as {} to {}: {} in the mean, weighted by ‖v‖², is what would \
             be kept without rounding",
            format::fixed(asked.least.into(), 3),
            format::fixed(asked.most.into(), 3),
            format::fixed(asked.mean, 3),
        )),
    );
    Some((text, explanation))
}
