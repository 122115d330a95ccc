//! The left column: the three models, whether they fit, w, and the merge.

use eframe::egui::{
    self, Align, DragValue, Frame, Label, Layout, Margin, Panel, RichText, ScrollArea, TextStyle, Ui, Vec2,
};
use mergescope_core::alignment::Role;
use mergescope_core::recipe::Combination;
use mergescope_core::scaling::{Keep, ScalingSpec, Spread};

use super::app::App;
use super::command::Command;
use super::live::Live;
use super::vector_list::Wish;
use super::{fonts, merge_area, method_words, model_field, theme, vector_list, verdict, widgets};
use crate::curve_edit::Kind;
use crate::format;

/// w at the start, and after a double click on the slider.
const DEFAULT_W: f64 = 0.5;

/// Room for w, its slider, how it is spread, and the space above them.
const W_HEIGHT: f32 = 168.0;
/// Room that the verdict and the line of its findings have before there are any, so that w stays where it is.
const VERDICT_HEIGHT: f32 = 50.0;
/// The same in the column of several vectors.
const SEVERAL_VERDICT_HEIGHT: f32 = 50.0;
/// Space around that verdict.
const SEVERAL_SPACE: f32 = 8.0;
/// Room that the findings leave free below themselves.
const ROOM_BELOW: f32 = verdict::ROOM_BELOW_FINDINGS;
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
        let several = app.session.count() > 1;
        let verdict = match (several, verdict::is_open(app)) {
            (false, _) => 0.0,
            (true, false) => SEVERAL_VERDICT_HEIGHT,
            (true, true) => ((room - W_HEIGHT) * 0.5).floor(),
        };
        let models_room = room - W_HEIGHT - verdict - if several { SEVERAL_SPACE } else { 0.0 };
        let models = ScrollArea::vertical().id_salt("models").max_height(models_room).auto_shrink([false, true]);
        let wish = models.show(ui, |ui| models_ui(app, ui, room)).inner;
        if several {
            // With many vectors the models scroll, and the verdict stays.
            ui.scope(|ui| {
                ui.set_min_height(verdict);
                ui.set_max_height(verdict + ROOM_BELOW);
                verdict::ui(app, ui);
            });
        }
        if let Some(wish) = wish {
            wish.carry_out(app);
        }
        ui.add_space(10.0);
        widgets::hairline_ui(ui);
        ui.add_space(14.0);
        w_ui(app, ui);
    });
}

/// The models and, of one vector, whether they fit, in a column that is `room` high; gives what was asked of the list.
fn models_ui(app: &mut App, ui: &mut Ui, room: f32) -> Option<Wish> {
    let top = ui.cursor().top();
    let wish = vector_list::ui(app, ui);
    let several = app.session.count() > 1;
    if !several {
        ui.add_space(14.0);
    }
    for role in Role::ALL {
        model_field::ui(app, ui, role);
    }
    if several {
        return wish;
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
    wish
}

fn w_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    heading_ui(app, ui);
    ui.add_space(6.0);
    let beside = beside_w(app);
    let uses_w = app.session.recipe.method.name.uses_w();
    let w = &mut app.session.shown_vector_mut().w;
    ui.horizontal(|ui| {
        let usual = ui.style().clone();
        let style = ui.style_mut();
        style.drag_value_text_style = TextStyle::Heading;
        style.spacing.button_padding = Vec2::new(0.0, 1.0);
        style.visuals.widgets.inactive.weak_bg_fill = egui::Color32::TRANSPARENT;
        style.visuals.widgets.noninteractive.weak_bg_fill = egui::Color32::TRANSPARENT;
        let number = DragValue::new(w)
            .prefix(RichText::new("w = ").text_style(TextStyle::Heading))
            .speed(0.005)
            .range(-10.0..=10.0)
            .max_decimals(4)
            .update_while_editing(false)
            .custom_formatter(|value, _| format::w((value * 1e4).round() / 1e4))
            .custom_parser(format::parse_number);
        let number = ui.add_enabled(uses_w, number);
        number.on_hover_text("Click to type a number, drag to change it").accessible_name("w");
        ui.set_style(usual);
        if let Some((text, explanation)) = beside {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.add(Label::new(RichText::new(text).color(palette.weak)).truncate()).on_hover_text(explanation);
            });
        }
    });
    ui.add_space(4.0);
    ui.add_enabled_ui(uses_w, |ui| widgets::w_slider_ui(ui, w, DEFAULT_W))
        .inner
        .on_hover_text("Drag, or use the arrow keys for steps of 0.01; double-click for 0.50");
    ui.add_space(4.0);
    let scaling = &app.session.shown_vector().scaling;
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

/// What w is; while a control is on, that it is not of the real vector.
fn heading_ui(app: &App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let session = &app.session;
    let several = session.count() > 1;
    if let Some((number, control)) = session.control_in_use() {
        let place = if several { format!("vector {}", number + 1) } else { "use".to_owned() };
        let text = format!("{} Control in {place}: {}", fonts::WARNING, method_words::control_label(control.kind));
        let text = RichText::new(text).text_style(theme::small_strong()).color(palette.warning);
        ui.add(Label::new(text).truncate()).on_hover_text(format!(
            "{}. {}. Scaling › Control takes it away",
            method_words::control_sentence(control.kind),
            method_words::CONTROL,
        ));
        return;
    }
    let this = if several { format!("vector {}", session.shown() + 1) } else { "the vector".to_owned() };
    let (text, explanation) = match session.recipe.method.name.combination() {
        Combination::Average => ("The weight of this model".to_owned(), "Each model counts as its w among all"),
        Combination::Slerp => ("How far towards the model".to_owned(), "At w = 0 it is the target, at 1 the model"),
        Combination::Nuslerp => {
            ("The weight of this end".to_owned(), "The larger its w among the two, the nearer to it")
        }
        _ => (
            format!("How much of {this} to add"),
            "target + w·v: at w = 0 the target stays as it is, at 1 all of the vector is added, below 0 it is taken away",
        ),
    };
    ui.label(RichText::new(text).text_style(theme::small_strong()).color(palette.weak)).on_hover_text(explanation);
}

/// What becomes of w, in a few words and in all.
fn beside_w(app: &App) -> Option<(String, String)> {
    let session = &app.session;
    let method = &session.recipe.method;
    let name = method_words::name(method.name);
    if !method.name.uses_w() {
        let explanation = format!(
            "{name} works out by itself how much of each vector it takes. {}",
            method_words::sentence(method.name)
        );
        return Some((format!("{name} needs no w"), explanation));
    }
    let divides = matches!(method.name.combination(), Combination::Sum | Combination::Elect | Combination::Average);
    if divides && method.normalize() {
        let divided = format!(
            "{name} divides by the sum of the weights (normalize), so that w only says how much a vector \
                               counts against the others"
        );
        return Some(match session.count() {
            1 => (
                "counts fully, alone".to_owned(),
                format!(
                    "{divided}: alone it counts fully whatever its w is. Turn normalize off on the Scaling tab to use w"
                ),
            ),
            _ => ("among the others".to_owned(), divided),
        });
    }
    kept(&app.live)
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
    let effect = live.foretold()?;
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
