//! What goes where: results to stdout, everything else to stderr.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::Value;

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
        if self.json { Ok(()) } else { write(&mut io::stdout().lock(), text) }
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
    let _ = write(&mut io::stderr().lock(), text);
}

fn write(stream: &mut dyn Write, text: &str) -> anyhow::Result<()> {
    // Spaces that hold a number and its unit together are for the window; a search in a terminal wants plain ones.
    let text = text.trim_end_matches('\n').replace('\u{a0}', " ");
    match writeln!(stream, "{text}").and_then(|()| stream.flush()) {
        // A reader that left (`| head`) has seen what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("the result cannot be written to standard output"),
    }
}
