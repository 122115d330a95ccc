//! YAML as a tree of nodes that know where they stand.
//!
//! Limits: [`MAX_BYTES`] of text, [`MAX_DEPTH`] levels, [`MAX_NODES`] nodes. What an alias stands for counts anew each time,
//! so that a few lines cannot grow into billions of nodes. Tags are ignored; scalars stay text until a reader says what it
//! wants, so that neither `no` nor `1e-3` depends on a YAML version.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::MergekitError;

/// Longest text that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// Deepest nesting; a merge file needs about ten levels.
const MAX_DEPTH: usize = 32;

/// Most nodes. A gradient with a point for each of 200 layers in each of ten filters of ten models has 20,000.
const MAX_NODES: usize = 200_000;

/// Where something stands in a file, counted from one as editors do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The line.
    pub(crate) line: usize,
    /// The character of the line.
    pub(crate) column: usize,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) spot: Spot,
    /// What it is.
    pub(crate) value: Value,
    /// How many nodes it has, with itself.
    size: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `key: value` in the order of the file.
    Map(Vec<(Scalar, Node)>),
    /// A list.
    List(Vec<Node>),
    /// A word or number.
    Scalar(Scalar),
}

/// A word or number, as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// Where it begins.
    pub(crate) spot: Spot,
    /// Its text.
    pub(crate) text: String,
    /// Whether it stands in quotes, or as a block.
    pub(crate) quoted: bool,
}

impl Node {
    /// Whether nothing is said: `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> Cow<'static, str> {
        match &self.value {
            Value::Map(_) => "a table of keys".into(),
            Value::List(_) => "a list".into(),
            Value::Scalar(scalar) if scalar.is_null() => "nothing".into(),
            Value::Scalar(scalar) => format!("`{}`", shortened(&scalar.text)).into(),
        }
    }
}

impl Scalar {
    fn is_null(&self) -> bool {
        !self.quoted && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The number that it says; `true` is 1 and `false` is 0, as for mergekit.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.boolean() {
            Some(value) => Some(f64::from(u8::from(value))),
            None => self.text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
        }
    }

    /// The truth value that it says, as PyYAML reads it.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        }
    }
}

/// The start of a text that may be long, for a message.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads the one document of a text.
pub(crate) fn parse(text: &str) -> Result<Node, MergekitError> {
    if text.len() as u64 > MAX_BYTES {
        return Err(MergekitError::anywhere(format!("{} bytes are too many for a merge file", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = Tree { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        let (event, span) = tree.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if document.is_some() => {
                return Err(MergekitError::at(
                    spot(span),
                    "a second document begins here; a merge file holds one, so split the file",
                ));
            }
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => document = Some(tree.node(event, span, 0)?),
        }
    }
    document
        .ok_or_else(|| MergekitError::anywhere("the file is empty; a merge file says at least merge_method and models"))
}

struct Tree<'text> {
    parser: Parser<'text, saphyr_parser::StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'text> Tree<'text> {
    fn next(&mut self) -> Result<(Event<'text>, Span), MergekitError> {
        match self.parser.next_event() {
            Some(result) => result.map_err(|error| scan_error(&error)),
            // Behind the end there is nothing; the loop that asks has ended before.
            None => Err(MergekitError::anywhere("the file ends too early")),
        }
    }

    fn node(&mut self, event: Event<'text>, span: Span, depth: usize) -> Result<Node, MergekitError> {
        let spot = spot(span);
        if depth > MAX_DEPTH {
            return Err(MergekitError::at(spot, format!("this is nested deeper than {MAX_DEPTH} levels")));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain;
                (Value::Scalar(Scalar { spot, text: text.into_owned(), quoted }), anchor)
            }
            Event::SequenceStart(anchor, _) => (Value::List(self.list(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Value::Map(self.map(depth)?), anchor),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(MergekitError::at(
                        spot,
                        "an alias stands inside what it stands for; write the value out",
                    ));
                };
                self.count(node.size, spot)?;
                return Ok(node);
            }
            _ => return Err(MergekitError::at(spot, "a value is missing here")),
        };
        self.count(1, spot)?;
        let inside: usize = match &value {
            Value::Map(entries) => entries.iter().map(|(_, node)| node.size + 1).sum(),
            Value::List(nodes) => nodes.iter().map(|node| node.size).sum(),
            Value::Scalar(_) => 0,
        };
        let node = Node { spot, value, size: inside + 1 };
        // Anchors count from one; zero is none.
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, MergekitError> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Scalar, Node)>, MergekitError> {
        let mut entries: Vec<(Scalar, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar(key) = key.value else {
                return Err(MergekitError::at(key.spot, "a key must be a word; write `key: value`"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if key.text == "<<" && !key.quoted {
                merged.push(value);
                continue;
            }
            if let Some((first, _)) = entries.iter().find(|(other, _)| other.text == key.text) {
                let message = format!("`{}` is said twice; line {} has it too", shortened(&key.text), first.spot.line);
                return Err(MergekitError::at(key.spot, message));
            }
            entries.push((key, value));
        }
        for node in merged {
            merge(&mut entries, node)?;
        }
        Ok(entries)
    }

    fn count(&mut self, nodes: usize, spot: Spot) -> Result<(), MergekitError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let message = format!("the file comes to more than {MAX_NODES} values by here, too many for a merge");
            return Err(MergekitError::at(spot, message));
        }
        Ok(())
    }
}

/// `<<: *other` adds what other says and the table does not say itself.
fn merge(entries: &mut Vec<(Scalar, Node)>, node: Node) -> Result<(), MergekitError> {
    match node.value {
        Value::Map(other) => {
            for (key, value) in other {
                if !entries.iter().any(|(own, _)| own.text == key.text) {
                    entries.push((key, value));
                }
            }
            Ok(())
        }
        Value::List(nodes) => nodes.into_iter().try_for_each(|node| merge(entries, node)),
        Value::Scalar(_) => Err(MergekitError::at(node.spot, "<< takes a table of keys, such as *name of one")),
    }
}

fn spot(span: Span) -> Spot {
    Spot { line: span.start.line(), column: span.start.col() + 1 }
}

fn scan_error(error: &ScanError) -> MergekitError {
    let marker = error.marker();
    let spot = Spot { line: marker.line(), column: marker.col() + 1 };
    MergekitError::at(
        spot,
        format!("this is not YAML: {}; look at the indentation, colons and quotes here", error.info()),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> String {
        parse(text).expect_err("no sound file").to_string()
    }

    #[test]
    fn nodes_know_where_they_stand() {
        let node = parse("a: 1\nb:\n  - x\n  - {c: 'no'}\n").expect("sound");
        let Value::Map(entries) = &node.value else { panic!("a map") };
        assert_eq!(entries[0].1.spot, Spot { line: 1, column: 4 });
        let Value::List(list) = &entries[1].1.value else { panic!("a list") };
        assert_eq!(list[0].spot, Spot { line: 3, column: 5 });
        let Value::Map(inner) = &list[1].value else { panic!("a map") };
        assert_eq!((inner[0].0.spot, inner[0].0.text.as_str()), (Spot { line: 4, column: 6 }, "c"));
    }

    #[test]
    fn words_are_numbers_and_truth_values_only_where_they_are_wanted() {
        let scalar = |text: &str| Scalar { spot: Spot::default(), text: text.to_owned(), quoted: false };
        assert_eq!(
            ["0.5", "1e-3", "-1", "true", "x", ".inf", "nan"].map(|text| scalar(text).number()),
            [Some(0.5), Some(1e-3), Some(-1.0), Some(1.0), None, None, None]
        );
        assert_eq!(["yes", "False", "1"].map(|text| scalar(text).boolean()), [Some(true), Some(false), None]);
    }

    #[test]
    fn anchors_are_followed_and_tables_merged() {
        let node = parse("a: &p {x: 1, y: 2}\nb:\n  <<: *p\n  y: 3\nc: *p\n").expect("sound");
        let Value::Map(entries) = &node.value else { panic!("a map") };
        let texts = |node: &Node| match &node.value {
            Value::Map(inner) => inner.iter().map(|(key, value)| format!("{}={}", key.text, value.kind())).collect(),
            _ => Vec::new(),
        };
        assert_eq!(texts(&entries[1].1), ["y=`3`", "x=`1`"]);
        assert_eq!(texts(&entries[2].1), ["x=`1`", "y=`2`"]);
    }

    #[test]
    fn aliases_cannot_grow_a_small_file_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{},", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(message(&text).contains("more than 200000 values"), "{}", message(&text));
        assert!(message("a: &a [*a]\n").contains("inside what it stands for"));
    }

    #[test]
    fn hostile_text_is_refused_in_words() {
        assert!(message(&"[".repeat(100)).contains("nested deeper than 32 levels"));
        assert!(parse(&"[".repeat(1 << 20)).is_err() && parse(&"- ".repeat(1 << 19)).is_err());
        assert!(message(&"x".repeat((1 << 20) + 1)).contains("too many for a merge file"));
        assert!(message("a: 1\na: 2\n").starts_with("line 2, column 1: `a` is said twice; line 1 has it too"));
        assert!(message("a: 1\n---\nb: 2\n").contains("line 2, column 1: a second document"));
        assert!(message("a: [1, 2\nb: 3\n").contains("this is not YAML"));
        assert!(message("").contains("the file is empty"));
        assert!(message("[a]: 1\n").contains("a key must be a word"));
        assert!(message("a: *nobody\n").contains("this is not YAML"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c:\\-\\[\\]{}&*<!'\" \n\t|>#,0-9.]{0,80}") {
            let _ = parse(&text);
        }
    }
}
