//! What goes where: results to stdout, everything else to stderr.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::format;

/// Characters of a name from a model that are shown.
const NAME_CHARS: usize = 200;

/// Characters of a sentence that may hold such names.
const LINE_CHARS: usize = 4000;

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    json: bool,
}

impl Printer {
    /// With `json`, stdout holds one JSON document and nothing else.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// The result for people; silent where stdout is for machines.
    pub fn text(self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { write(&mut io::stdout().lock(), &plain(text)) }
    }

    /// The result for machines; silent where people read stdout.
    pub fn document(self, document: &Value) -> anyhow::Result<()> {
        if self.json { write(&mut io::stdout().lock(), &format!("{document:#}")) } else { Ok(()) }
    }

    /// Something to know before the result: to stdout, or to stderr where stdout is for machines.
    pub fn say(self, text: &str) -> anyhow::Result<()> {
        if self.json {
            note(text);
        }
        self.text(text)
    }
}

/// A line beside the result, to stderr.
pub fn note(text: &str) {
    // Without stderr there is nobody to tell.
    let _ = write(&mut io::stderr().lock(), &plain(text));
}

/// A name from a model, for a cell or a list: in one line, without control characters, shortened in the middle.
pub fn name(text: &str) -> String {
    shortened(&escaped(text, |_| false), NAME_CHARS)
}

/// The same for a sentence in which such names may stand.
pub fn line(text: &str) -> String {
    shortened(&escaped(text, |_| false), LINE_CHARS)
}

/// An error in one line. Parsers draw theirs in several; those are joined.
pub fn error_line(text: &str) -> String {
    line(&text.lines().map(str::trim).collect::<Vec<_>>().join(" "))
}

/// A path as a string of a document, which is Unicode whatever the path is.
pub fn path(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// Text of several lines as a terminal may have it.
pub fn plain(text: &str) -> String {
    // Spaces that hold a number and its unit together are for the window; a search in a terminal wants plain ones.
    escaped(text, |character| character == '\n').replace('\u{a0}', " ")
}

/// The text with `\u{1b}` for every character that would steer the terminal instead of being shown, but for those `kept`.
fn escaped(text: &str, kept: fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if format::steers(character) && !kept(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// At most `limit` characters, with `…` for what is left out in the middle.
fn shortened(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let end = (limit - 1) / 2;
    let start: String = text.chars().take(limit - 1 - end).collect();
    start + "…" + &text.chars().skip(count - end).collect::<String>()
}

fn write(stream: &mut dyn Write, text: &str) -> anyhow::Result<()> {
    let text = text.trim_end_matches('\n');
    match writeln!(stream, "{text}").and_then(|()| stream.flush()) {
        // A reader that left (`| head`) has seen what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("the result cannot be written to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_instead() {
        assert_eq!(plain("a\u{1b}[31m\u{7}\0\r\tb\n5\u{a0}GB é"), "a\\u{1b}[31m\\u{7}\\u{0}\\u{d}\\u{9}b\n5 GB é");
        assert_eq!(name("a\nb\u{202e}c\u{9b}"), "a\\u{a}b\\u{202e}c\\u{9b}");
        assert_eq!(error_line("not valid:\n  | \r\n3 | w = x"), "not valid: | 3 | w = x");
    }

    #[test]
    fn a_long_name_keeps_its_ends() {
        let long = format!("first{}last", "é".repeat(5000));
        let shown = name(&long);
        assert!(shown.starts_with("firsté") && shown.contains("é…é") && shown.ends_with("élast"), "{shown}");
        assert_eq!(shown.chars().count(), NAME_CHARS);
        assert_eq!(name(&"a".repeat(NAME_CHARS)), "a".repeat(NAME_CHARS));
        assert_eq!(line(&long).chars().count(), LINE_CHARS);
    }
}
