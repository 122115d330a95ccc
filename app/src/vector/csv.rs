//! Tables as CSV: RFC 4180, numbers in full precision with a point, nothing where there is no number.
//!
//! Words that a spreadsheet would run as a formula get an apostrophe in front, since names come from models, which may be
//! anyone's: a tensor called `=1+1` stands as `'=1+1`.

/// A row, each cell written by [`text`] or [`number`].
pub fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    cells.join(",") + "\n"
}

/// A number as text from which the very same f64 is read back; empty for NaN and infinity.
pub fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// A word: quoted when it holds a comma, a quote or a line break; with an apostrophe in front when it begins with
/// `=`, `+`, `-`, `@`, a tab or a carriage return.
pub fn text(text: &str) -> String {
    // The list is OWASP's, for CSV injection.
    let text = &if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
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
        assert_eq!(row([text("a\nb"), shape(&[2, 3])]), "\"a\nb\",2x3\n");
    }

    #[test]
    fn names_are_no_formulas() {
        assert_eq!(text("=HYPERLINK(\"x\",1)"), "\"'=HYPERLINK(\"\"x\"\",1)\"");
        let shown = ["+1", "-1", "@a", "\ta", "\ra"].map(text);
        assert_eq!(shown, ["'+1", "'-1", "'@a", "'\ta", "\"'\ra\""]);
        // A number is one even when it is negative.
        assert_eq!(number(-0.5), "-0.5");
    }

    #[test]
    fn numbers_are_read_back_as_they_were() {
        for value in [0.1 + 0.2, -1e-300, 1.0 / 3.0, 5e-324, 123_456_789.123] {
            assert_eq!(number(value).parse(), Ok(value));
        }
        assert_eq!([f64::NAN, f64::INFINITY].map(number), ["", ""]);
    }
}
