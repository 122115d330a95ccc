//! The bundled fonts: Inter with tabular figures, a Japanese subset behind it, and a few icons.
//!
//! `assets/fonts/make_fonts.py` made them; their licences lie beside them.

use std::sync::Arc;

use eframe::egui::{FontData, FontDefinitions, FontFamily};

/// Family of the semibold weight.
pub const SEMIBOLD: &str = "semibold";

/// Icon for "all is well".
pub const CHECK: &str = "✓";
/// Icon of a warning.
pub const WARNING: &str = "⚠";
/// Icon of an error, and of closing.
pub const CROSS: &str = "✕";
/// Icon of something that unfolds below.
pub const DOWN: &str = "▾";
/// Icon of a descending or unfolded list.
pub const UP: &str = "▴";
/// Icon of something folded.
pub const RIGHT: &str = "▸";
/// Icon that leads to the light theme.
pub const SUN: &str = "☀";
/// Icon that leads to the dark theme.
pub const MOON: &str = "☾";

/// All families, each with the Japanese subset and the icons behind it.
pub fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    let bundled: [(&str, &'static [u8]); 4] = [
        ("Inter", include_bytes!("../../../assets/fonts/Inter-Regular.ttf")),
        ("Inter SemiBold", include_bytes!("../../../assets/fonts/Inter-SemiBold.ttf")),
        ("Noto Sans JP", include_bytes!("../../../assets/fonts/NotoSansJP-subset.ttf")),
        ("Phosphor", include_bytes!("../../../assets/fonts/Phosphor-subset.ttf")),
    ];
    for (name, bytes) in bundled {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    for (family, first) in [
        (FontFamily::Proportional, "Inter"),
        (FontFamily::Monospace, "Inter"),
        (FontFamily::Name(SEMIBOLD.into()), "Inter SemiBold"),
    ] {
        fonts.families.insert(family, [first, "Phosphor", "Noto Sans JP"].map(str::to_owned).to_vec());
    }
    fonts
}

#[cfg(test)]
mod tests {
    use eframe::egui::{Context, FontId, RawInput};

    use super::*;

    #[test]
    fn every_sign_the_window_uses_has_a_glyph() {
        let ctx = Context::default();
        ctx.set_fonts(definitions());
        ctx.run_ui(RawInput::default(), |_| {}).drop_without_applying_deltas();
        let signs = "−×∕‖→…·–—²³⁻⁰¹⁴⁵⁶⁷⁸⁹ℓθΔλ•‘’“”≤≥∞漢字かなカナ、。々ー";
        let icons = [CHECK, WARNING, CROSS, DOWN, UP, RIGHT, SUN, MOON].concat();
        for family in [FontFamily::Proportional, FontFamily::Name(SEMIBOLD.into())] {
            let font = FontId::new(13.0, family);
            for sign in signs.chars().chain(icons.chars()) {
                assert!(ctx.fonts_mut(|fonts| fonts.has_glyph(&font, sign)), "{sign} in {font:?}");
            }
        }
    }

    #[test]
    fn figures_are_tabular() {
        let ctx = Context::default();
        ctx.set_fonts(definitions());
        ctx.run_ui(RawInput::default(), |_| {}).drop_without_applying_deltas();
        let font = FontId::new(13.0, FontFamily::Proportional);
        let widths: Vec<f32> =
            "0123456789−+".chars().map(|figure| ctx.fonts_mut(|fonts| fonts.glyph_width(&font, figure))).collect();
        assert!(widths.iter().all(|width| (width - widths[0]).abs() < 0.01), "{widths:?}");
    }
}
