//! The method that combines the vectors: its menu, and its parameters with mergekit's defaults.

use eframe::egui::{
    self, Align2, Button, CursorIcon, DragValue, Popup, PopupCloseBehavior, RichText, ScrollArea, Sense, TextStyle, Ui,
    Vec2, WidgetInfo,
};
use mergescope_core::recipe::{Combination, Method, MethodSpec, Parameter, Sparsify, VectorSpec};

use crate::format;
use crate::window::app::App;
use crate::window::command::Command;
use crate::window::session::Session;
use crate::window::{fonts, method_words, theme, widgets};

/// Width of the menu.
const MENU_WIDTH: f32 = 480.0;
/// Height of an entry: a name, and a sentence below it.
const ENTRY_HEIGHT: f32 = 36.0;
/// Room for a field behind its label.
const FIELD_ROOM: f32 = 72.0;
/// Room kept free below the menu.
const MENU_MARGIN: f32 = 40.0;

/// The method, as a weak label and a menu.
pub fn choice_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let method = app.session.recipe.method.name;
    let tooltip = "How the vectors are put together and added to the target";
    let name = method_words::name(method);
    widgets::keep_together_with_menu(ui, "Method", name);
    ui.label(RichText::new("Method").color(palette.weak)).on_hover_text(tooltip);
    let button = Button::new(format!("{name} {}", fonts::DOWN)).min_size(Vec2::new(0.0, 22.0));
    let response = ui.add(button);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::ComboBox, true, format!("Method: {name}")));
    let response = response.on_hover_ui(|ui| {
        ui.label(method_words::sentence(method));
        widgets::note_ui(ui, format!("{} · mergekit: {}", method_words::paper(method), method.label()));
    });
    let room = ui.ctx().content_rect().bottom() - response.rect.bottom() - MENU_MARGIN;
    let chosen = Popup::menu(&response).width(MENU_WIDTH).close_behavior(PopupCloseBehavior::CloseOnClick).show(|ui| {
        ui.set_width(MENU_WIDTH);
        ui.spacing_mut().item_spacing.y = 0.0;
        ScrollArea::vertical().max_height(room).min_scrolled_height(room).show(ui, |ui| menu_ui(ui, method)).inner
    });
    if let Some(chosen) = chosen.and_then(|shown| shown.inner) {
        app.commands.push(Command::Method(chosen));
    }
}

fn menu_ui(ui: &mut Ui, current: Method) -> Option<Method> {
    let mut chosen = None;
    for (number, (heading, methods)) in method_words::GROUPS.iter().enumerate() {
        ui.add_space(if number == 0 { 2.0 } else { 6.0 });
        let heading = RichText::new(*heading).text_style(theme::small_strong()).color(theme::palette(ui).weak);
        ui.horizontal(|ui| {
            ui.add_space(8.0);
            ui.spacing_mut().interact_size.y = 16.0;
            ui.label(heading);
        });
        for method in *methods {
            if entry_ui(ui, *method, *method == current) {
                chosen = Some(*method);
            }
        }
    }
    chosen
}

/// An entry of the menu: the method's name with mergekit's at the end, and below it what it does.
fn entry_ui(ui: &mut Ui, method: Method, is_chosen: bool) -> bool {
    let palette = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), ENTRY_HEIGHT), Sense::click());
    let name = method_words::name(method);
    response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, is_chosen, name));
    if is_chosen || response.hovered() || response.has_focus() {
        let colour = if is_chosen { palette.selection } else { palette.raised_hover };
        ui.painter().rect_filled(rect, theme::RADIUS, colour);
    }
    let inner = rect.shrink2(Vec2::new(8.0, 3.0));
    let (text, small) = (TextStyle::Body.resolve(ui.style()), TextStyle::Small.resolve(ui.style()));
    let weak = if is_chosen { palette.text } else { palette.weak };
    ui.painter().text(inner.left_top(), Align2::LEFT_TOP, name, text, palette.text);
    ui.painter().text(inner.right_top(), Align2::RIGHT_TOP, method.label(), small.clone(), weak);
    ui.painter().text(inner.left_bottom(), Align2::LEFT_BOTTOM, method_words::sentence(method), small, weak);
    response.on_hover_cursor(CursorIcon::PointingHand).on_hover_text(method_words::paper(method)).clicked()
}

/// Whether there is anything to say below the menus.
pub fn has_parameters(session: &Session) -> bool {
    Parameter::ALL.into_iter().any(|parameter| is_used(session, parameter)) && !is_calm(session)
}

/// One vector and task arithmetic: its two parameters would only be in the way until one of them is said.
fn is_calm(session: &Session) -> bool {
    let method = &session.recipe.method;
    session.count() == 1 && *method == (MethodSpec { seed: method.seed, ..MethodSpec::default() })
}

fn is_used(session: &Session, parameter: Parameter) -> bool {
    let own = |vector: &VectorSpec| vector.sparsify.is_some_and(|sparsify| sparsify.uses(parameter));
    session.recipe.method.name.uses(parameter) || session.recipe.vectors().any(own)
}

/// The parameters of the method, and what is wrong with them.
pub fn parameters_ui(session: &mut Session, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let used: Vec<Parameter> = Parameter::ALL.into_iter().filter(|&parameter| is_used(session, parameter)).collect();
    let rescales = |vector| MethodSpec { rescale: None, ..session.recipe.method.clone() }.rule_of(vector).rescale;
    let default = rescales(session.shown_vector());
    // Then saying what is the default of one vector changes another.
    let is_mixed = session.recipe.vectors().any(|vector| rescales(vector) != default);
    let rescale =
        Switch { default, is_mixed, whose: if is_mixed { "Default for this vector" } else { "Mergekit's default" } };
    let draws = session.recipe.draws();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.y = 4.0;
        let method = &mut session.recipe.method;
        for parameter in used {
            if parameter != Parameter::Seed || draws {
                parameter_ui(ui, method, parameter, rescale);
            }
        }
    });
    if session.count() > 1 {
        own_ui(session, ui);
    }
    if let Err(error) = session.recipe.check_method() {
        let text = RichText::new(format!("Nothing can be merged like this: {error}")).color(palette.bad);
        ui.add(egui::Label::new(text).wrap());
    }
}

/// What a switch shows where nothing is said.
#[derive(Clone, Copy)]
struct Switch {
    default: bool,
    /// Whether other vectors have another default.
    is_mixed: bool,
    whose: &'static str,
}

impl Switch {
    fn of(default: bool) -> Self {
        Self { default, is_mixed: false, whose: "Mergekit's default" }
    }
}

fn parameter_ui(ui: &mut Ui, method: &mut MethodSpec, parameter: Parameter, rescale: Switch) {
    let name = &format!("Method, {}", parameter.label());
    match parameter {
        Parameter::Density => number_ui(ui, parameter, name, &mut method.density, 1.0, DEFAULT),
        Parameter::Gamma => number_ui(ui, parameter, name, &mut method.gamma, 0.01, DEFAULT),
        Parameter::Epsilon => number_ui(ui, parameter, name, &mut method.epsilon, 0.15, DEFAULT),
        Parameter::Lambda => number_ui(ui, parameter, name, &mut method.lambda, 1.0, DEFAULT),
        Parameter::SelectTopk => number_ui(ui, parameter, name, &mut method.select_topk, 1.0, DEFAULT),
        Parameter::Rescale => switch_ui(ui, parameter, &mut method.rescale, rescale),
        Parameter::Normalize => {
            let default = method.name.normalizes();
            switch_ui(ui, parameter, &mut method.normalize, Switch::of(default));
        }
        Parameter::Flatten => switch_ui(ui, parameter, &mut method.flatten, Switch::of(true)),
        Parameter::RowWise => switch_ui(ui, parameter, &mut method.row_wise, Switch::of(false)),
        Parameter::Seed => seed_ui(ui, name, &mut method.seed),
    }
}

/// Whose value stands where nothing is said.
const DEFAULT: &str = "mergekit's default";

/// A number that is shown weak while it is the default. Nothing out of range is put right in silence: a message says so.
fn number_ui(ui: &mut Ui, parameter: Parameter, name: &str, said: &mut Option<f64>, default: f64, whose: &str) {
    let palette = theme::palette(ui);
    let explanation =
        format!("{}. {}: {}", method_words::parameter(parameter), format::sentence(whose), format::w(default));
    widgets::keep_together(ui, parameter.label(), FIELD_ROOM);
    ui.label(RichText::new(parameter.label()).color(palette.weak)).on_hover_text(&explanation);
    let mut value = said.unwrap_or(default);
    let is_share = parameter != Parameter::Lambda;
    // No scope of its own, which would not go to the next line.
    ui.visuals_mut().override_text_color = said.is_none().then_some(palette.weak);
    let response = ui.add(super::number(&mut value, f64::MIN..=f64::MAX).speed(0.005));
    ui.visuals_mut().override_text_color = None;
    if response.dragged() && is_share {
        value = value.clamp(0.0, 1.0);
    }
    if response.changed() {
        *said = (value != default).then_some(value);
    }
    response.on_hover_text(explanation).accessible_name(name);
}

fn switch_ui(ui: &mut Ui, parameter: Parameter, said: &mut Option<bool>, switch: Switch) {
    let Switch { default, is_mixed, whose } = switch;
    let palette = theme::palette(ui);
    let mut value = said.unwrap_or(default);
    let explanation =
        format!("{}. {whose}: {}", method_words::parameter(parameter), if default { "on" } else { "off" });
    widgets::keep_together(ui, parameter.label(), FIELD_ROOM);
    let usual = ui.visuals().widgets.inactive.bg_stroke;
    ui.visuals_mut().widgets.inactive.bg_stroke = egui::Stroke::new(1.0, palette.hairline);
    let colour = if said.is_none() { palette.weak } else { palette.text };
    let response = ui.checkbox(&mut value, RichText::new(parameter.label()).color(colour));
    ui.visuals_mut().widgets.inactive.bg_stroke = usual;
    response.widget_info(|| {
        WidgetInfo::selected(egui::Role::CheckBox, true, value, format!("Method, {}", parameter.label()))
    });
    if response.changed() {
        *said = (value != default || is_mixed).then_some(value);
    }
    response.on_hover_text(explanation);
}

/// A seed, for the method or for a control.
pub fn seed_ui(ui: &mut Ui, name: &str, seed: &mut u64) {
    let explanation = method_words::parameter(Parameter::Seed);
    widgets::keep_together(ui, "seed", FIELD_ROOM);
    ui.label(RichText::new("seed").color(theme::palette(ui).weak)).on_hover_text(explanation);
    let field = DragValue::new(seed).speed(0.2).update_while_editing(false);
    ui.add(field).on_hover_text(explanation).accessible_name(name);
}

/// What is kept of the vector that is shown, where it is not what the method does with all.
fn own_ui(session: &mut Session, ui: &mut Ui) {
    let method = session.recipe.method.clone();
    if !matches!(method.name.combination(), Combination::Sum | Combination::Elect) {
        return;
    }
    let number = session.shown() + 1;
    let before = session.shown_vector().sparsify;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.y = 4.0;
        let vector = session.shown_vector_mut();
        let usual = format!("As the method: {}", method_words::sparsify(method.name.sparsify()).0.to_lowercase());
        let mut options = vec![(None, usual.as_str(), "What the method keeps of every vector")];
        options.extend(Sparsify::ALL.map(|own| {
            let (name, explanation) = method_words::sparsify(own);
            (Some(own), name, explanation)
        }));
        let label = format!("Kept of vector {number}");
        let tooltip = "Which changes of this vector are kept, where it is not what the method does";
        widgets::choice_ui(ui, &label, tooltip, &mut vector.sparsify, &options);
        let own = vector.sparsify.unwrap_or_else(|| method.name.sparsify());
        let name = |parameter: Parameter| format!("Vector {number}, {}", parameter.label());
        let whose = "the method's";
        if own.uses(Parameter::Density) {
            let default = method.density.unwrap_or(1.0);
            number_ui(ui, Parameter::Density, &name(Parameter::Density), &mut vector.density, default, whose);
        }
        if own.uses(Parameter::Gamma) {
            let default = method.gamma.unwrap_or(0.01);
            number_ui(ui, Parameter::Gamma, &name(Parameter::Gamma), &mut vector.gamma, default, whose);
        }
        if own.uses(Parameter::Epsilon) {
            let default = method.epsilon.unwrap_or(0.15);
            number_ui(ui, Parameter::Epsilon, &name(Parameter::Epsilon), &mut vector.epsilon, default, whose);
        }
    });
    if session.shown_vector().sparsify != before {
        session.recipe.forget_unused();
    }
}
