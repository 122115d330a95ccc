//! Tables as CSV: RFC 4180, numbers in full precision with a point, nothing where there is no number.
//!
//! Words that a spreadsheet would run as a formula get an apostrophe in front, since names come from models, which may be
//! anyone's: a tensor called `=1+1` stands as `'=1+1`.

use crate::format;

/// A row, each cell written by [`text`] or [`number`].
pub fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    cells.join(",") + "\n"
}

/// A number as text from which the very same f64 is read back; empty for NaN and infinity.
pub fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// A word: quoted when it holds a comma or a quote; with an apostrophe in front when it begins with `=`, `+`, `-` or `@`;
/// with `\u{1b}` for a character that would steer what shows it.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // The list is OWASP's, for CSV injection; its tab and carriage return are escaped below.
    if text.starts_with(['=', '+', '-', '@']) {
        shown.push('\'');
    }
    for character in text.chars() {
        match format::steers(character) {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    if shown.contains([',', '"']) { format!("\"{}\"", shown.replace('"', "\"\"")) } else { shown }
}

/// A shape: `4864x896`.
pub fn shape(dims: &[u64]) -> String {
    dims.iter().map(u64::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_stay_one_cell() {
        assert_eq!(text("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(text("model.norm"), "model.norm");
        assert_eq!(text("a-b=c@d"), "a-b=c@d");
        assert_eq!(row([text("a,b"), shape(&[2, 3])]), "\"a,b\",2x3\n");
    }

    #[test]
    fn names_are_no_formulas() {
        assert_eq!(text("=HYPERLINK(\"x\",1)"), "\"'=HYPERLINK(\"\"x\"\",1)\"");
        assert_eq!(["+1", "-1", "@a"].map(text), ["'+1", "'-1", "'@a"]);
        // A number is one even when it is negative.
        assert_eq!(number(-0.5), "-0.5");
    }

    #[test]
    fn names_steer_nothing() {
        assert_eq!(["a\nb", "\t=1", "\u{1b}[31m"].map(text), ["a\\u{a}b", "\\u{9}=1", "\\u{1b}[31m"]);
        assert_eq!(text("日本\u{202e}lp"), "日本\\u{202e}lp");
    }

    #[test]
    fn numbers_are_read_back_as_they_were() {
        for value in [0.1 + 0.2, -1e-300, 1.0 / 3.0, 5e-324, 123_456_789.123] {
            assert_eq!(number(value).parse(), Ok(value));
        }
        assert_eq!([f64::NAN, f64::INFINITY].map(number), ["", ""]);
    }
}
