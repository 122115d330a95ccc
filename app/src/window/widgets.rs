//! Small controls that several panels share.

use eframe::egui::{
    self, Align, Button, Layout, Popup, Pos2, Response, RichText, Sense, Stroke, TextStyle, Ui, Vec2, WidgetInfo,
    WidgetText,
};

use super::{fonts, theme};

/// What a menu is wider than the words on it, with the space before it.
const MENU_ROOM: f32 = 44.0;

/// Width of the labels of settings in a popup.
const SETTING_WIDTH: f32 = 140.0;

/// A weak label and what stands behind it.
pub fn setting_ui(ui: &mut Ui, label: &str, tooltip: &str, add_contents: impl FnOnce(&mut Ui)) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(theme::CONTROL_HEIGHT);
        let size = Vec2::new(SETTING_WIDTH, theme::CONTROL_HEIGHT);
        ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_size(size);
            ui.label(RichText::new(label).color(palette.weak)).on_hover_text(tooltip);
        });
        add_contents(ui);
    });
}

/// A word that acts, in the colour of links.
pub fn link_ui(ui: &mut Ui, label: &str) -> Response {
    let palette = theme::palette(ui);
    word_ui(ui, label, palette.link, palette.link)
}

/// A word of 11 that acts, in the colour of links.
pub fn small_link_ui(ui: &mut Ui, label: &str) -> Response {
    let palette = theme::palette(ui);
    styled_word_ui(ui, label, TextStyle::Small, palette.link, palette.link)
}

/// A line that warns of what is not the real thing.
pub fn badge_ui(ui: &mut Ui, text: &str) -> Response {
    let palette = theme::palette(ui);
    let text = RichText::new(format!("{} {text}", fonts::WARNING)).color(palette.warning);
    ui.add(egui::Label::new(text.line_height(Some(theme::TEXT_LINE))).wrap())
}

/// A word that acts but does not call for attention.
pub fn quiet_ui(ui: &mut Ui, label: &str, is_on: bool) -> Response {
    let palette = theme::palette(ui);
    word_ui(ui, label, if is_on { palette.text } else { palette.weak }, palette.text)
}

fn word_ui(ui: &mut Ui, label: &str, colour: egui::Color32, hovered: egui::Color32) -> Response {
    styled_word_ui(ui, label, TextStyle::Body, colour, hovered)
}

fn styled_word_ui(
    ui: &mut Ui,
    label: &str,
    style: TextStyle,
    colour: egui::Color32,
    hovered: egui::Color32,
) -> Response {
    let galley = WidgetText::from(label).into_galley(ui, Some(egui::TextWrapMode::Extend), f32::INFINITY, style);
    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, ui.is_enabled(), label));
    if ui.is_rect_visible(rect) {
        let active = response.hovered() || response.has_focus();
        let colour = if !ui.is_enabled() {
            colour.gamma_multiply(0.5)
        } else if active {
            hovered
        } else {
            colour
        };
        ui.painter().galley_with_override_text_color(rect.min, galley, colour);
        if active {
            let y = rect.bottom() - 1.0;
            ui.painter().hline(rect.x_range(), y, Stroke::new(1.0, colour));
        }
    }
    response.on_hover_cursor(egui::CursorIcon::PointingHand)
}

/// A button in the colour of the accent: the one thing to do.
pub fn main_button(ui: &Ui, label: &str, enabled: bool) -> Button<'static> {
    let palette = theme::palette(ui);
    let text = RichText::new(label).text_style(theme::strong());
    if enabled {
        Button::new(text.color(palette.on_accent)).fill(palette.accent)
    } else {
        Button::new(text.color(palette.weak)).fill(palette.raised)
    }
}

/// A weak label and a menu of values behind it: `Show  Relative norm ▾`.
pub fn choice_ui<T: Copy + PartialEq>(
    ui: &mut Ui,
    label: &str,
    tooltip: &str,
    current: &mut T,
    options: &[(T, &str, &str)],
) -> Response {
    let palette = theme::palette(ui);
    let shown = options.iter().find(|(value, ..)| value == current).map_or("", |(_, name, _)| name);
    keep_together_with_menu(ui, label, shown);
    ui.label(RichText::new(label).color(palette.weak)).on_hover_text(tooltip);
    named_choice_ui(ui, label, tooltip, current, options)
}

fn text_width(ui: &Ui, text: &str) -> f32 {
    let font = TextStyle::Body.resolve(ui.style());
    ui.painter().layout_no_wrap(text.to_owned(), font, egui::Color32::PLACEHOLDER).size().x
}

/// Goes to the next line where a label and what stands behind it, `room` wide, do not both fit into this one.
pub fn keep_together(ui: &mut Ui, label: &str, room: f32) {
    if ui.layout().main_wrap() && ui.available_size_before_wrap().x < text_width(ui, label) + room {
        ui.end_row();
        // A label stands in the middle of the line although it comes before what makes the line high.
        ui.set_row_height(theme::CONTROL_HEIGHT);
    }
}

/// The same for a menu with these words on it.
pub fn keep_together_with_menu(ui: &mut Ui, label: &str, shown: &str) {
    keep_together(ui, label, text_width(ui, shown) + MENU_ROOM);
}

/// A menu of values whose name only screen readers read.
pub fn named_choice_ui<T: Copy + PartialEq>(
    ui: &mut Ui,
    label: &str,
    tooltip: &str,
    current: &mut T,
    options: &[(T, &str, &str)],
) -> Response {
    let palette = theme::palette(ui);
    let shown = options.iter().find(|(value, ..)| value == current).map_or("", |(_, name, _)| name);
    let response = ui.add(Button::new(format!("{shown} {}", fonts::DOWN)).min_size(Vec2::new(0.0, 22.0)));
    let response = response.on_hover_text(tooltip);
    let name = format!("{label}: {shown}");
    response.widget_info(|| WidgetInfo::labeled(egui::Role::ComboBox, true, &name));
    Popup::menu(&response).show(|ui| {
        for (value, name, explanation) in options {
            let item = ui.add(
                Button::selectable(value == current, RichText::new(*name).color(palette.text))
                    .min_size(Vec2::new(140.0, 0.0)),
            );
            let item = if explanation.is_empty() { item } else { item.on_hover_text(*explanation) };
            if item.clicked() {
                *current = *value;
                ui.close();
            }
        }
    });
    response
}

/// A line of 11 in the weak colour.
pub fn note_ui(ui: &mut Ui, text: impl Into<String>) -> Response {
    let palette = theme::palette(ui);
    let text = RichText::new(text).text_style(TextStyle::Small).color(palette.weak);
    ui.add(egui::Label::new(text.line_height(Some(theme::NOTE_LINE))).wrap())
}

/// Running text of 13 with lines of 20.
pub fn paragraph_ui(ui: &mut Ui, text: &str) -> Response {
    ui.add(egui::Label::new(RichText::new(text).line_height(Some(theme::TEXT_LINE))).wrap())
}

/// A hairline across the room there is.
pub fn hairline_ui(ui: &mut Ui) {
    let palette = theme::palette(ui);
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 1.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.center().y, Stroke::new(1.0, palette.hairline));
}

/// How far something is: a bar of 6 with the share done filled.
pub fn bar_ui(ui: &mut Ui, name: &str, fraction: f32) {
    let palette = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 6.0), Sense::hover());
    response.widget_info(|| WidgetInfo {
        value: Some(f64::from(fraction * 100.0)),
        ..WidgetInfo::labeled(egui::Role::ProgressIndicator, true, name)
    });
    ui.painter().rect_filled(rect, 3.0, palette.raised);
    let done = rect.with_max_x(egui::lerp(rect.x_range(), fraction.clamp(0.0, 1.0)));
    ui.painter().rect_filled(done, 3.0, palette.accent);
}

/// A state without content: what happened, and what to do next.
pub fn empty_ui(ui: &mut Ui, title: &str, advice: &str) {
    let palette = theme::palette(ui);
    ui.add_space((ui.available_height() * 0.32).floor());
    ui.vertical_centered(|ui| {
        ui.set_max_width(ui.available_width().min(460.0));
        ui.label(RichText::new(title).text_style(theme::strong()));
        ui.add_space(4.0);
        let advice = RichText::new(advice).color(palette.weak).line_height(Some(theme::TEXT_LINE));
        ui.add(egui::Label::new(advice).wrap().halign(Align::Center));
    });
}

/// Takes room of `size`, and draws something of at most `inner` in the middle of it.
pub fn in_the_middle_ui<R>(ui: &mut Ui, size: Vec2, inner: Vec2, add_contents: impl FnOnce(&mut Ui) -> R) -> R {
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let inner = egui::Rect::from_center_size(rect.center(), inner.min(size));
    // A child of its own: what comes next stands below the room, not below these words.
    add_contents(&mut ui.new_child(egui::UiBuilder::new().max_rect(inner)))
}

/// Something at least `least` wide, which scrolls sideways where there is less room.
pub fn wide_ui(ui: &mut Ui, name: &str, least: f32, add_contents: impl FnOnce(&mut Ui)) {
    let width = ui.available_width().max(least);
    // What is cut off at the edge has a bar in view that says so.
    ui.spacing_mut().scroll.dormant_handle_opacity = ui.spacing().scroll.active_handle_opacity;
    egui::ScrollArea::horizontal().id_salt(("wide", name)).auto_shrink([false, false]).show(ui, |ui| {
        ui.set_width(width);
        add_contents(ui);
    });
}

/// Shortens `text` from its beginning until it is at most `width` wide; the end of a path tells most.
pub fn elide_start(ui: &Ui, text: &str, width: f32) -> String {
    let font = TextStyle::Body.resolve(ui.style());
    let width_of =
        |text: &str| -> f32 { ui.fonts_mut(|fonts| text.chars().map(|letter| fonts.glyph_width(&font, letter)).sum()) };
    if width_of(text) <= width {
        return text.to_owned();
    }
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
    // Widths shrink with the start, so the first one that fits can be searched for.
    let first = starts.partition_point(|&start| width_of(&text[start..]) + width_of("…") > width);
    format!("…{}", &text[starts.get(first).copied().unwrap_or(text.len())..])
}

/// Range of the w slider.
const W_RANGE: std::ops::RangeInclusive<f64> = -1.0..=2.0;
/// What an arrow key adds to w.
const W_STEP: f64 = 0.01;
/// Radius of the slider's handle.
const HANDLE_RADIUS: f32 = 8.0;

/// The slider of w: −1…2, filled from 0, with ticks. True when w was changed.
pub fn w_slider_ui(ui: &mut Ui, w: &mut f64, default_w: f64) -> Response {
    let palette = theme::palette(ui);
    let size = Vec2::new(ui.available_width(), 40.0);
    let (rect, mut response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    let before = *w;
    let rail = egui::Rangef::new(rect.left() + HANDLE_RADIUS, rect.right() - HANDLE_RADIUS);
    let y = rect.top() + 12.0;
    let x_of = |value: f64| egui::remap_clamp(value, W_RANGE, f64::from(rail.min)..=f64::from(rail.max)) as f32;

    if response.double_clicked() {
        *w = default_w;
    } else if let Some(pointer) = response.interact_pointer_pos()
        && (response.dragged() || response.clicked())
    {
        response.request_focus();
        let value = egui::remap_clamp(f64::from(pointer.x), f64::from(rail.min)..=f64::from(rail.max), W_RANGE);
        *w = (value / W_STEP).round() * W_STEP;
    }
    let steps = keyboard_steps(ui, &response);
    if steps != 0 {
        *w = (((*w / W_STEP).round() + steps as f64) * W_STEP).clamp(*W_RANGE.start(), *W_RANGE.end());
    }
    if let Some(value) = requested_value(ui, response.id) {
        *w = value.clamp(*W_RANGE.start(), *W_RANGE.end());
    }
    // Steps of 0.01 are not exact in binary: what is shown is what is meant.
    if *w != before {
        *w = (*w * 1e6).round() / 1e6;
        response.mark_changed();
    }

    response.widget_info(|| WidgetInfo::slider(ui.is_enabled(), *w, "w slider"));
    ui.ctx().accesskit_node_builder(response.id, |node| {
        use egui::accesskit::Action;
        node.set_min_numeric_value(*W_RANGE.start());
        node.set_max_numeric_value(*W_RANGE.end());
        node.set_numeric_value_step(W_STEP);
        for action in [Action::SetValue, Action::Increment, Action::Decrement] {
            node.add_action(action);
        }
    });

    let painter = ui.painter();
    let rail_rect = egui::Rect::from_x_y_ranges(rail, egui::Rangef::new(y - 2.0, y + 2.0));
    painter.rect_filled(rail_rect, 2.0, palette.hairline);
    let (zero, at) = (x_of(0.0), x_of(*w));
    let filled = egui::Rangef::new(zero.min(at), zero.max(at));
    painter.rect_filled(egui::Rect::from_x_y_ranges(filled, rail_rect.y_range()), 0.0, palette.accent);
    for value in [-1.0, 0.0, 1.0, 2.0] {
        let x = x_of(value);
        painter.vline(x, y + 9.0..=y + 12.0, Stroke::new(1.0, palette.weak));
        let label = crate::format::fixed(value, 0);
        let font = TextStyle::Small.resolve(ui.style());
        painter.text(Pos2::new(x, y + 14.0), egui::Align2::CENTER_TOP, label, font, palette.weak);
    }
    let ring = if response.has_focus() || response.hovered() { 2.0 } else { 0.0 };
    painter.circle(Pos2::new(at, y), HANDLE_RADIUS, palette.accent, Stroke::new(ring, palette.text));
    response
}

fn keyboard_steps(ui: &Ui, response: &Response) -> i64 {
    use egui::accesskit::Action;
    if response.has_focus() {
        ui.memory_mut(|memory| {
            // Arrows move the handle, not the focus.
            let filter = egui::EventFilter { horizontal_arrows: true, vertical_arrows: true, ..Default::default() };
            memory.set_focus_lock_filter(response.id, filter);
        });
    }
    let has_focus = response.has_focus();
    ui.input(|input| {
        let pressed = |key| if has_focus { input.num_presses(key) as i64 } else { 0 };
        let asked = |action| input.num_accesskit_action_requests(response.id, action) as i64;
        let up = pressed(egui::Key::ArrowRight) + pressed(egui::Key::ArrowUp) + 10 * pressed(egui::Key::PageUp);
        let down = pressed(egui::Key::ArrowLeft) + pressed(egui::Key::ArrowDown) + 10 * pressed(egui::Key::PageDown);
        up - down + asked(Action::Increment) - asked(Action::Decrement)
    })
}

/// The value that a screen reader asked a slider for.
pub fn requested_value(ui: &Ui, id: egui::Id) -> Option<f64> {
    use egui::accesskit::{Action, ActionData};
    ui.input(|input| {
        let requests = input.accesskit_action_requests(id, Action::SetValue);
        requests
            .filter_map(|request| match request.data {
                Some(ActionData::NumericValue(value)) if value.is_finite() => Some(value),
                _ => None,
            })
            .last()
    })
}
