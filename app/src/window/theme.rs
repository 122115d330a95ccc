//! Every colour, size and distance of the window, for dark and light. No other file names a colour.

use eframe::egui::{
    Color32, Context, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, Style, TextStyle, Theme, Ui, Vec2,
    Visuals, style::Selection,
};
use mergescope_core::layout::Part;
use mergescope_core::preflight::Severity;

use super::fonts;
use crate::report::colour::{self, Rgb, Scheme};

/// Height of the menu bar.
pub const MENU_BAR_HEIGHT: f32 = 32.0;
/// Width of the column of models and merge.
pub const LEFT_WIDTH: f32 = 296.0;
/// Space at the sides of the left column.
pub const LEFT_MARGIN: f32 = 16.0;
/// Width of the labels before the model fields.
pub const SLOT_LABEL_WIDTH: f32 = 52.0;
/// Height of the row of tabs.
pub const TABS_HEIGHT: f32 = 44.0;
/// Space at the sides of the content.
pub const CONTENT_MARGIN: f32 = 24.0;
/// Height of the status line.
pub const STATUS_HEIGHT: f32 = 24.0;
/// Height of fields, choices and ordinary buttons.
pub const CONTROL_HEIGHT: f32 = 26.0;
/// Height of the one button that starts the work.
pub const MAIN_BUTTON_HEIGHT: f32 = 36.0;
/// Height of a table row.
pub const ROW_HEIGHT: f32 = 24.0;
/// Room for the labels of a chart's y axis, the same for all charts so that they line up.
pub const Y_AXIS_WIDTH: f32 = 44.0;
/// Line height of running text.
pub const TEXT_LINE: f32 = 20.0;
/// Line height of notes.
pub const NOTE_LINE: f32 = 15.0;
/// Space around a chart in its picture; less above and below, where its neighbours are.
pub const PICTURE_MARGIN: Vec2 = Vec2::new(10.0, 3.0);
/// Rounding of fields and buttons.
pub const RADIUS: u8 = 4;
/// Size of the window at first start.
pub const WINDOW_SIZE: Vec2 = Vec2::new(1280.0, 800.0);
/// Below this nothing would fit.
pub const WINDOW_MIN_SIZE: Vec2 = Vec2::new(760.0, 600.0);
/// Size of w.
const LARGE: f32 = 22.0;
/// Size of text.
const TEXT: f32 = 13.0;
/// Size of axes, notes and status.
const NOTE: f32 = 11.0;

/// The colours of one theme, by role.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Behind everything.
    pub background: Color32,
    /// Behind the left column.
    pub panel: Color32,
    /// Buttons, menus, dialogs.
    pub raised: Color32,
    /// A raised thing under the pointer.
    pub raised_hover: Color32,
    /// Lines that separate.
    pub hairline: Color32,
    /// Labels, notes, axes.
    pub weak: Color32,
    /// Text.
    pub text: Color32,
    /// What is chosen, and the one main button.
    pub accent: Color32,
    /// Text on the accent.
    pub on_accent: Color32,
    /// Words that act: links.
    pub link: Color32,
    /// All is well.
    pub good: Color32,
    /// May not be what is wanted.
    pub warning: Color32,
    /// Does not work.
    pub bad: Color32,
    /// Behind marked text.
    pub selection: Color32,
    /// Behind what differs from another text.
    pub difference: Color32,
    /// Over the window behind a dialog.
    pub backdrop: Color32,
    /// A cell without a number.
    pub no_value: Color32,
    /// Behind what a thing is measured against: the sizes of pre behind those of w·v.
    pub reference: Color32,
    /// Amounts, cosines and parts, as in every other picture.
    scheme: &'static Scheme,
}

/// The dark theme.
pub const DARK: Palette = Palette {
    background: of(colour::DARK.background),
    panel: rgb(0x181B20),
    raised: rgb(0x22262D),
    raised_hover: rgb(0x2A2F37),
    hairline: of(colour::DARK.hairline),
    weak: of(colour::DARK.weak),
    text: of(colour::DARK.text),
    accent: of(colour::DARK.accent),
    on_accent: rgb(0x0B1A2B),
    link: rgb(0x5AA9FF),
    good: rgb(0x4CC38A),
    warning: of(colour::DARK.warning),
    bad: rgb(0xF2726F),
    selection: rgb(0x234A75),
    difference: rgb(0x1C3049),
    backdrop: Color32::from_rgba_premultiplied(0, 0, 0, 140),
    no_value: of(colour::DARK.no_value),
    reference: of(colour::DARK.reference),
    scheme: &colour::DARK,
};

/// The light theme.
pub const LIGHT: Palette = Palette {
    background: of(colour::LIGHT.background),
    panel: rgb(0xF2F3F3),
    raised: rgb(0xE6E8EA),
    raised_hover: rgb(0xDCDFE2),
    hairline: of(colour::LIGHT.hairline),
    weak: of(colour::LIGHT.weak),
    text: of(colour::LIGHT.text),
    accent: of(colour::LIGHT.accent),
    on_accent: rgb(0xFFFFFF),
    // The accent itself falls short of 4.5 to 1 as text on the panel.
    link: rgb(0x1A5FCC),
    good: rgb(0x1A7F4E),
    warning: of(colour::LIGHT.warning),
    bad: rgb(0xC4373A),
    selection: rgb(0xC4DAFA),
    difference: rgb(0xDCE9FC),
    backdrop: Color32::from_rgba_premultiplied(0, 0, 0, 70),
    no_value: of(colour::LIGHT.no_value),
    reference: of(colour::LIGHT.reference),
    scheme: &colour::LIGHT,
};

const fn of([red, green, blue]: Rgb) -> Color32 {
    Color32::from_rgb(red, green, blue)
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

impl Palette {
    /// The colour that stands for a part in every chart.
    pub fn part(&self, part: Part) -> Color32 {
        let position = Part::ALL.iter().position(|&known| known == part);
        of(self.scheme.parts[position.unwrap_or(Part::ALL.len() - 1)])
    }

    /// The colour of an amount, `share` of the way from none (0) to the most (1).
    pub fn amount(&self, share: f64) -> Color32 {
        if share.is_nan() { self.no_value } else { of(colour::along(&self.scheme.amounts, share)) }
    }

    /// The colour of a cosine, −1 to 1.
    pub fn cosine(&self, cosine: f64) -> Color32 {
        if cosine.is_nan() { self.no_value } else { of(colour::along(&self.scheme.cosines, (cosine + 1.0) / 2.0)) }
    }

    /// The colour of a finding's title.
    pub fn severity(&self, severity: Severity) -> Color32 {
        match severity {
            Severity::Note => self.text,
            Severity::Warning => self.warning,
            Severity::Error => self.bad,
        }
    }
}

/// Black or white, whichever is read better on `ground`; one of them always has a contrast above 4.5 to 1.
pub fn text_on(ground: Color32) -> Color32 {
    of(colour::text_on([ground.r(), ground.g(), ground.b()]))
}

/// The palette in use.
pub fn palette(ui: &Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// Text of 13 in semibold: titles.
pub fn strong() -> TextStyle {
    TextStyle::Name("strong".into())
}

/// Text of 11 in semibold: headings of the left column.
pub fn small_strong() -> TextStyle {
    TextStyle::Name("small strong".into())
}

/// Gives the context its fonts and both themes.
pub fn install(ctx: &Context) {
    ctx.set_fonts(fonts::definitions());
    ctx.set_style_of(Theme::Dark, style(&DARK, Visuals::dark()));
    ctx.set_style_of(Theme::Light, style(&LIGHT, Visuals::light()));
}

fn style(palette: &Palette, base: Visuals) -> Style {
    let semibold = || FontFamily::Name(fonts::SEMIBOLD.into());
    let mut style = Style {
        text_styles: [
            (TextStyle::Small, FontId::new(NOTE, FontFamily::Proportional)),
            (TextStyle::Body, FontId::new(TEXT, FontFamily::Proportional)),
            (TextStyle::Button, FontId::new(TEXT, FontFamily::Proportional)),
            (TextStyle::Monospace, FontId::new(TEXT, FontFamily::Monospace)),
            (TextStyle::Heading, FontId::new(LARGE, semibold())),
            (strong(), FontId::new(TEXT, semibold())),
            (small_strong(), FontId::new(NOTE, semibold())),
        ]
        .into(),
        visuals: visuals(palette, base),
        ..Style::default()
    };
    style.spacing.item_spacing = Vec2::new(8.0, 4.0);
    style.spacing.button_padding = Vec2::new(8.0, 4.0);
    style.spacing.interact_size = Vec2::new(24.0, CONTROL_HEIGHT);
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.window_margin = Margin::same(20);
    style.spacing.tooltip_width = 380.0;
    style.spacing.scroll.bar_width = 8.0;
    style.interaction.selectable_labels = false;
    style.interaction.tooltip_delay = 0.4;
    style
}

fn visuals(palette: &Palette, base: Visuals) -> Visuals {
    let radius = CornerRadius::same(RADIUS);
    let mut visuals = base;
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.bg_fill = palette.panel;
    widgets.noninteractive.weak_bg_fill = palette.panel;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.hairline);
    widgets.noninteractive.fg_stroke = Stroke::new(1.0, palette.text);
    for (state, fill) in [
        (&mut widgets.inactive, palette.raised),
        (&mut widgets.hovered, palette.raised_hover),
        (&mut widgets.active, palette.raised_hover),
        (&mut widgets.open, palette.raised_hover),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = Stroke::NONE;
        state.fg_stroke = Stroke::new(1.0, palette.text);
        state.corner_radius = radius;
        state.expansion = 0.0;
    }
    widgets.noninteractive.corner_radius = radius;
    visuals.override_text_color = None;
    visuals.weak_text_color = Some(palette.weak);
    visuals.selection = Selection { bg_fill: palette.selection, stroke: Stroke::new(1.0, palette.accent) };
    visuals.hyperlink_color = palette.link;
    visuals.faint_bg_color = palette.panel;
    visuals.extreme_bg_color = palette.background;
    visuals.text_edit_bg_color = Some(palette.background);
    visuals.code_bg_color = palette.raised;
    visuals.warn_fg_color = palette.warning;
    visuals.error_fg_color = palette.bad;
    visuals.window_fill = palette.panel;
    visuals.window_stroke = Stroke::new(1.0, palette.hairline);
    visuals.window_corner_radius = CornerRadius::same(8);
    visuals.menu_corner_radius = CornerRadius::same(6);
    visuals.panel_fill = palette.background;
    let shadow = Shadow { offset: [0, 4], blur: 16, spread: 0, color: palette.backdrop };
    visuals.window_shadow = shadow;
    visuals.popup_shadow = shadow;
    visuals.text_cursor.stroke = Stroke::new(1.5, palette.accent);
    // A blinking cursor repaints for ever: idle means zero.
    visuals.text_cursor.blink = false;
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast ratio of two opaque colours.
    fn contrast(a: Color32, b: Color32) -> f64 {
        let rgb = |colour: Color32| [colour.r(), colour.g(), colour.b()];
        colour::contrast(rgb(a), rgb(b))
    }

    #[test]
    fn text_can_be_read_in_both_themes() {
        for (theme, palette) in [("dark", &DARK), ("light", &LIGHT)] {
            let grounds = [
                ("background", palette.background),
                ("panel", palette.panel),
                ("raised", palette.raised),
                ("raised, hovered", palette.raised_hover),
            ];
            for (ground_name, ground) in grounds {
                for (name, colour) in [("text", palette.text), ("weak", palette.weak)] {
                    let ratio = contrast(colour, ground);
                    assert!(
                        ratio >= 4.5 || (name == "weak" && ground_name == "raised, hovered"),
                        "{theme}: {name} on {ground_name} has {ratio:.2}"
                    );
                }
            }
            for (ground_name, ground) in [("background", palette.background), ("panel", palette.panel)] {
                for (name, colour) in
                    [("link", palette.link), ("good", palette.good), ("warning", palette.warning), ("bad", palette.bad)]
                {
                    let ratio = contrast(colour, ground);
                    assert!(ratio >= 4.5, "{theme}: {name} on {ground_name} has {ratio:.2}");
                }
            }
            let pairs = [
                ("text on accent", palette.on_accent, palette.accent),
                ("marked text", palette.text, palette.selection),
                ("text that differs", palette.text, palette.difference),
            ];
            for (name, colour, ground) in pairs {
                let ratio = contrast(colour, ground);
                assert!(ratio >= 4.5, "{theme}: {name} has {ratio:.2}");
            }
        }
    }

    #[test]
    fn numbers_in_cells_can_be_read_whatever_their_colour() {
        for (theme, palette) in [("dark", &DARK), ("light", &LIGHT)] {
            for step in 0..=1000 {
                let share = f64::from(step) / 1000.0;
                for colour in [palette.amount(share), palette.cosine(2.0 * share - 1.0), palette.amount(f64::NAN)] {
                    let ratio = contrast(text_on(colour), colour);
                    assert!(ratio >= 4.5, "{theme}: {colour:?} at {share} has {ratio:.2}");
                }
            }
        }
    }

    #[test]
    fn amounts_move_from_the_background_to_the_far_end_without_turning_back() {
        for palette in [&DARK, &LIGHT] {
            let ratios: Vec<f64> =
                (0..=100).map(|step| contrast(palette.amount(f64::from(step) / 100.0), palette.background)).collect();
            assert!(ratios.windows(2).all(|pair| pair[1] >= pair[0] * 0.98), "{ratios:?}");
            assert!(ratios[100] > 8.0);
        }
    }

    #[test]
    fn every_part_has_a_colour_of_its_own() {
        for palette in [&DARK, &LIGHT] {
            for (position, part) in Part::ALL.iter().enumerate() {
                for other in &Part::ALL[position + 1..] {
                    assert_ne!(palette.part(*part), palette.part(*other), "{part} and {other}");
                }
            }
        }
    }
}
