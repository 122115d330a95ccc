//! `\boxed{…}`, and LaTeX written in different ways that say the same.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern::known;

/// What stands in the last complete `\boxed{…}` of a text, braces within it counted. One that never closes is passed over:
/// where an answer was cut off, what it would have said is not known.
pub(super) fn last_boxed(text: &str) -> Option<Range<usize>> {
    const BOX: &str = r"\boxed";
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut last: Option<Range<usize>> = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            // \{ and \} are braces that are shown.
            b'{' if !escaped => open.push((at + 1, text[..at].trim_ascii_end().ends_with(BOX))),
            b'}' if !escaped => {
                if let Some((start, true)) = open.pop()
                    && last.as_ref().is_none_or(|last| last.start < start)
                {
                    last = Some(start..at);
                }
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    last
}

/// Commands whose argument is what counts.
static WRAPPER: LazyLock<Regex> =
    LazyLock::new(|| known(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}"));
/// A unit after a number.
static UNIT: LazyLock<Regex> =
    LazyLock::new(|| known(r"^([-+]?[0-9.,]+)\s*(?:\\[,;:! ]|~)*\s*\\(?:text|textrm|mathrm|mbox)\s*\{[^{}]*\}$"));
/// What only spaces or sizes.
static SPACING: LazyLock<Regex> =
    LazyLock::new(|| known(r"\\(?:left|right|big|Big|bigl|bigr)\b|\\[,;:! ]|~|\$|\s|\\\(|\\\)|\\displaystyle"));
static FRACTION_SIZE: LazyLock<Regex> = LazyLock::new(|| known(r"\\[dtc]frac"));
static SHORT_FRACTION: LazyLock<Regex> = LazyLock::new(|| known(r"\\frac([0-9])([0-9])"));
static DEGREES: LazyLock<Regex> = LazyLock::new(|| known(r"\^\{?\\circ\}?|°"));
/// `x=` before what x is.
static NAME: LazyLock<Regex> = LazyLock::new(|| known(r"^[A-Za-z]{1,2}=([^=]+)$"));

/// LaTeX in one way of writing it, for comparison as text.
///
/// As the grader of the MATH data set (arXiv 2103.03874, `is_equiv`) does: no spaces and sizes, one kind of fraction, no
/// unit after a number, no degrees, no `x =` before the value, `\text{…}` as its content, no full stop at the end.
pub(super) fn normal_latex(text: &str) -> String {
    let text = UNIT.replace(text.trim(), "$1");
    let text = WRAPPER.replace_all(&text, "$1");
    let text = SPACING.replace_all(&text, "");
    let text = FRACTION_SIZE.replace_all(&text, r"\frac");
    let text = SHORT_FRACTION.replace_all(&text, r"\frac{$1}{$2}");
    let text = DEGREES.replace_all(&text, "");
    let text = NAME.replace(&text, "$1");
    text.trim_end_matches(['.', '。']).replace(r"\%", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(text: &str) -> Option<&str> {
        last_boxed(text).map(|range| &text[range])
    }

    #[test]
    fn the_last_complete_box_counts_with_its_braces() {
        assert_eq!(boxed(r"\boxed{1} or \boxed{2}."), Some("2"));
        assert_eq!(boxed(r"so \boxed{\frac{1}{2}}"), Some(r"\frac{1}{2}"));
        assert_eq!(boxed(r"\boxed {7}"), Some("7"));
        assert_eq!(boxed(r"\boxed{\{1, 2\}}"), Some(r"\{1, 2\}"));
        assert_eq!(boxed(r"\boxed{\boxed{5}}"), Some("5"));
        assert_eq!(boxed(r"a } stray {, \boxed{3}"), Some("3"));
        assert_eq!(boxed(r"\boxed{29}, or rather \boxed{3"), Some("29"));
        for none in ["", r"\boxed", r"\boxed{3", "{3}", r"\boxed 3"] {
            assert_eq!(boxed(none), None, "{none}");
        }
    }

    #[test]
    fn a_million_braces_take_no_time() {
        assert_eq!(boxed(&r"\boxed{".repeat(200_000)), None);
        let deep = format!("{}7{}", r"\boxed{".repeat(100_000), "}".repeat(100_000));
        assert_eq!(boxed(&deep), Some("7"));
        assert_eq!(boxed(&format!("{}{}", " ".repeat(500_000), "{".repeat(500_000))), None);
    }

    #[test]
    fn latex_that_says_the_same_is_the_same() {
        for (a, b) in [
            (r"\dfrac{1}{2}", r"\frac12"),
            (r"\left( 3, \pi \right)", r"(3,\pi)"),
            (r"x = \sqrt{2}", r"\sqrt{2}"),
            (r"\text{Tuesday}.", "Tuesday"),
            (r"5\text{ cm}", "5"),
            (r"90^\circ", "90"),
            (r"90^{\circ}", "90"),
            (r"10\,\%", "10%"),
        ] {
            assert_eq!(normal_latex(a), normal_latex(b), "{a} and {b}");
        }
        assert_ne!(normal_latex(r"\frac{1}{2}"), normal_latex(r"\frac{2}{1}"));
        assert_ne!(normal_latex("x=1=2"), normal_latex("1=2"));
    }
}
