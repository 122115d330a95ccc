//! Numbers in the cells of the grid: as many digits as fit, over a power of ten that the legend names.

use eframe::egui::{Ui, Vec2};

use crate::format;
use crate::vector::{Metric, Scale};
use crate::window::heat;

/// Cells smaller than this hold no number.
const LEAST_CELL: Vec2 = Vec2::new(33.0, 15.0);
/// Powers of ten in which the largest number of a chart is written out.
const WRITTEN_OUT: std::ops::Range<i32> = -1..3;
/// Least part of the common power of ten that is still written over it.
const LEAST_OVER_POWER: f64 = 0.00995;

/// What stands for a number that its decimals would show as zero.
const ALMOST_NOTHING: &str = "≈0";

/// How the numbers of one metric are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellNumbers {
    metric: Metric,
    /// The power of ten that they are written over.
    exponent: i32,
}

impl CellNumbers {
    /// For numbers of at most `most`.
    pub fn new(metric: Metric, most: f64) -> Self {
        let is_amount = metric.scale() == Scale::Amount && most.is_finite() && most > 0.0;
        let exponent = if is_amount { exponent(most * factor(metric)) } else { 0 };
        Self { metric, exponent: if WRITTEN_OUT.contains(&exponent) { 0 } else { exponent } }
    }

    /// The decimals for which cells of this size have room; `None` when they have none for a number.
    pub fn decimals(&self, ui: &Ui, cell: Vec2) -> Option<usize> {
        if cell.x < LEAST_CELL.x || cell.y < LEAST_CELL.y {
            return None;
        }
        let most = match self.metric {
            // Post stays so close to pre that three digits would all be nines.
            Metric::CosPrePost => 5,
            _ => 3,
        };
        let sign = if self.metric == Metric::CosVectorTarget { "−" } else { "" };
        let fits = |decimals: &usize| heat::fits(ui, format!("{sign}{:.decimals$}", 0.0), cell.x);
        (1..=most).rev().find(fits)
    }

    /// A number in a cell, without its unit and power of ten.
    pub fn in_cell(&self, value: f64, decimals: usize) -> String {
        if self.metric.scale() == Scale::Cosine {
            // The room was measured for a number without a sign.
            let has_sign = value < 0.0 && self.metric == Metric::CosPrePost;
            return format::fixed(value, decimals - usize::from(has_sign && decimals > 1));
        }
        two_digits(value * factor(self.metric) / 10f64.powi(self.exponent), decimals)
    }

    /// A number at an end of the legend, with its unit and power of ten.
    pub fn at_end(&self, value: f64) -> String {
        if self.metric.scale() == Scale::Cosine {
            return format::fixed(value, 0);
        }
        let value = value * factor(self.metric);
        let is_far_below = value != 0.0 && value / 10f64.powi(self.exponent) < LEAST_OVER_POWER;
        let exponent = if is_far_below { exponent(value) } else { self.exponent };
        let power = match exponent {
            0 => String::new(),
            _ if value == 0.0 => String::new(),
            _ => format!("·10{}", format::superscript(exponent)),
        };
        let unit = if factor(self.metric) == 1.0 { "" } else { "\u{a0}%" };
        format!("{}{power}{unit}", two_digits(value / 10f64.powi(exponent), 3))
    }

    /// What the numbers in cells are to be multiplied with.
    pub fn explanation(&self) -> Option<String> {
        (self.exponent != 0)
            .then(|| format!("Numbers in cells are in units of 10{}", format::superscript(self.exponent)))
    }
}

/// What a value is multiplied with to be read: shares are read in per cent.
fn factor(metric: Metric) -> f64 {
    if metric == Metric::RelativeNorm || metric.scale() == Scale::Share { 100.0 } else { 1.0 }
}

/// The power of ten of a number above zero once it is rounded to two digits.
fn exponent(value: f64) -> i32 {
    let text = format!("{value:.1e}");
    text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0)
}

/// Two significant digits, or fewer where that takes more than `decimals`.
fn two_digits(value: f64, decimals: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let wanted = match value.abs() {
        size if size >= 9.95 => 0,
        size if size >= 0.995 => 1,
        size if size >= 0.0995 => 2,
        _ => 3,
    };
    let text = format::fixed(value, wanted.min(decimals));
    // Zero itself is written without decimals.
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if is_zero { ALMOST_NOTHING.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use eframe::egui::{Context, FontId, RawInput};

    use super::*;
    use crate::window::fonts;

    #[test]
    fn amounts_share_a_power_of_ten() {
        let numbers = CellNumbers::new(Metric::Rms, 2.514e-3);
        let cells = [2.514e-3, 1.004e-3, 2.3e-4, 1.2e-5, 1e-7, 0.0].map(|value| numbers.in_cell(value, 3));
        assert_eq!(cells, ["2.5", "1.0", "0.23", "0.012", "≈0", "0"]);
        assert_eq!(
            [0.0, 2.514e-3, 1e-4, 2.5e-7].map(|end| numbers.at_end(end)),
            ["0", "2.5·10⁻³", "0.10·10⁻³", "2.5·10⁻⁷"]
        );
        assert_eq!(numbers.explanation().as_deref(), Some("Numbers in cells are in units of 10⁻³"));
        let large = CellNumbers::new(Metric::Norm, 45_000.0);
        assert_eq!(CellNumbers::new(Metric::Norm, 9.96e-4).at_end(9.96e-4), "1.0·10⁻³");
        assert_eq!((large.in_cell(1_234.0, 2), large.at_end(45_000.0)), ("0.12".into(), "4.5·10⁴".into()));
    }

    #[test]
    fn numbers_near_one_are_written_out() {
        let numbers = CellNumbers::new(Metric::Norm, 0.1818);
        assert_eq!([0.1818, 0.06323].map(|value| numbers.in_cell(value, 3)), ["0.18", "0.063"]);
        assert_eq!([0.1818, 0.06323].map(|value| numbers.in_cell(value, 1)), ["0.2", "0.1"]);
        assert_eq!((numbers.at_end(0.1818), numbers.explanation()), ("0.18".into(), None));
    }

    #[test]
    fn shares_are_per_cent_and_cosines_have_whole_ends() {
        let shares = CellNumbers::new(Metric::ZeroShare, 1.0);
        assert_eq!([0.0, 0.0012, 0.41, 1.0].map(|value| shares.in_cell(value, 2)), ["0", "0.12", "41", "100"]);
        assert_eq!([0.0, 1.0].map(|end| shares.at_end(end)), ["0", "100"].map(|end| format!("{end}\u{a0}%")));
        let relative = CellNumbers::new(Metric::RelativeNorm, 5.3e-4);
        assert_eq!((relative.in_cell(5.3e-4, 2), relative.at_end(5.3e-4)), ("5.3".into(), "5.3·10⁻²\u{a0}%".into()));
        let cosines = CellNumbers::new(Metric::CosPrePost, 1.0);
        assert_eq!([-1.0, 1.0].map(|end| cosines.at_end(end)), ["−1", "1"]);
        assert_eq!([0.998_781, -0.5].map(|value| cosines.in_cell(value, 4)), ["0.9988", "−0.500"]);
    }

    #[test]
    fn the_sign_for_almost_nothing_has_a_glyph() {
        let ctx = Context::default();
        ctx.set_fonts(fonts::definitions());
        ctx.run_ui(RawInput::default(), |_| {}).drop_without_applying_deltas();
        let has_glyph = |sign| ctx.fonts_mut(|fonts| fonts.has_glyph(&FontId::default(), sign));
        assert!(ALMOST_NOTHING.chars().all(has_glyph));
    }
}
