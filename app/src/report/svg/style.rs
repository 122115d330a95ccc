//! What charts look like: colours as CSS classes.

use std::fmt::Write as _;

use super::LEVELS;
use crate::report::colour::{DARK, LIGHT, Rgb, Scheme, along, text_on};
use mergescope_core::layout::Part;

/// Which colours a picture has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Those that its reader's system asks for; light where it does not say.
    #[default]
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    /// As written on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// Inter where it is installed, else what the system reads in; Japanese names have their fonts too.
const FONTS: &str = "Inter,'Noto Sans JP',system-ui,-apple-system,'Segoe UI',Roboto,'Hiragino Sans',sans-serif";

/// The style sheet of all charts.
pub fn css(theme: Theme) -> String {
    let mut css = format!(
        ".chart text{{font:11px {FONTS};font-variant-numeric:tabular-nums}}\
         .chart .title{{font-size:13px;font-weight:600}}\
         .chart .end{{text-anchor:end}}.chart .middle{{text-anchor:middle}}\
         .chart .accent{{fill-opacity:.85}}.chart .line{{fill:none;stroke-width:1.5}}.chart .dashed{{stroke-width:1.5;stroke-dasharray:4 3}}\
         .chart .band{{fill-opacity:.18}}.chart .other,.chart .tokens,.chart .steps{{fill:none;stroke-width:1.5}}.chart .tokens{{stroke-dasharray:4 3}}\
         .chart .level{{stroke-dasharray:2 3}}"
    );
    match theme {
        Theme::Auto => {
            css += &colours(&LIGHT);
            let _ = write!(css, "@media screen and (prefers-color-scheme:dark){{{}}}", colours(&DARK));
        }
        Theme::Light => css += &colours(&LIGHT),
        Theme::Dark => css += &colours(&DARK),
    }
    css
}

fn colours(scheme: &Scheme) -> String {
    let mut css = String::new();
    let mut rule = |class: &str, property: &str, [red, green, blue]: Rgb| {
        let _ = write!(css, ".chart .{class}{{{property}:#{red:02x}{green:02x}{blue:02x}}}");
    };
    rule("ground", "fill", scheme.background);
    rule("title", "fill", scheme.text);
    rule("strong", "fill", scheme.text);
    rule("weak", "fill", scheme.weak);
    rule("warn", "fill", scheme.warning);
    rule("grid", "stroke", scheme.hairline);
    rule("line", "stroke", scheme.accent);
    rule("dashed", "stroke", scheme.warning);
    rule("accent", "fill", scheme.accent);
    rule("band", "fill", scheme.accent);
    rule("other", "stroke", scheme.reference);
    rule("tokens", "stroke", scheme.weak);
    rule("steps", "stroke", scheme.good);
    rule("good", "fill", scheme.good);
    rule("level", "stroke", scheme.weak);
    rule("reference", "fill", scheme.reference);
    rule("none", "fill", scheme.no_value);
    rule("on-none", "fill", text_on(scheme.no_value));
    for (part, colour) in Part::ALL.iter().zip(scheme.parts) {
        rule(&format!("p-{part}"), "fill", colour);
    }
    for level in 0..=LEVELS {
        let share = level as f64 / LEVELS as f64;
        for (scale, stops) in [("a", &scheme.amounts[..]), ("c", &scheme.cosines)] {
            let colour = along(stops, share);
            rule(&format!("{scale}{level}"), "fill", colour);
            rule(&format!("on-{scale}{level}"), "fill", text_on(colour));
        }
    }
    css
}
