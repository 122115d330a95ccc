//! What is wrong with a recipe's text: the place, the key, and words for people.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::VERSION;
use super::nearest::did_you_mean;
use crate::scaling::{Between, Curve, Point};

/// Line, column and words for what the parser or serde says.
pub(super) fn explain(text: &str, error: &Error) -> (usize, usize, String) {
    let document = DeTable::parse(text).ok().map(Spanned::into_inner);
    let closer = document.as_ref().and_then(|document| in_curve(document, error));
    let error = closer.as_ref().unwrap_or(error);
    let span = error.span().unwrap_or_default();
    let key = document.as_ref().and_then(|document| key_of(document, span.start, span.end));
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column, in_words(error.message(), key))
}

/// [`Curve`] with the kind outside: `{lines = {alpha = …}}`. Where the kind stands inside, serde reads a whole table before
/// it knows what it should hold, and has forgotten by then where each key stood.
#[derive(Deserialize)]
#[serde(remote = "Curve", rename_all = "kebab-case", deny_unknown_fields)]
enum ByKind {
    Flat {},
    Linear {
        first: f64,
        last: f64,
    },
    Lines {
        alpha: f64,
        beta: f64,
    },
    Bump {
        centre: f64,
        width: f64,
        base: f64,
        peak: f64,
    },
    First {
        count: u32,
        inside: f64,
        outside: f64,
    },
    Last {
        count: u32,
        inside: f64,
        outside: f64,
    },
    Step {
        at: u32,
        before: f64,
        after: f64,
    },
    Points {
        points: Vec<Point>,
        #[serde(default)]
        between: Between,
    },
    Layers {
        values: Vec<f64>,
    },
}

/// The same error with its place inside a curve, if it is of one.
fn in_curve(document: &DeTable<'_>, error: &Error) -> Option<Error> {
    curves(document).into_iter().find(|curve| Some(curve.span()) == error.span()).and_then(wrong_with)
}

/// What is wrong with a curve that serde takes: keys beside the kind `flat`, which it passes over.
pub(super) fn passed_over(text: &str) -> Option<Error> {
    let document = DeTable::parse(text).ok()?.into_inner();
    curves(&document).into_iter().find_map(wrong_with)
}

fn curves<'a, 'text>(document: &'a DeTable<'text>) -> Vec<&'a Spanned<DeValue<'text>>> {
    let vectors: Vec<_> = match document.get("vector") {
        Some(vector) => match vector.get_ref() {
            DeValue::Array(vectors) => vectors.iter().collect(),
            _ => vec![vector],
        },
        None => Vec::new(),
    };
    vectors.into_iter().filter_map(|vector| vector.get_ref().get("scaling")?.get_ref().get("curve")).collect()
}

fn wrong_with(curve: &Spanned<DeValue<'_>>) -> Option<Error> {
    let mut keys = curve.get_ref().as_table()?.clone();
    let kind = keys.remove("kind")?;
    let name = kind.get_ref().as_str()?.to_owned().into();
    let inside = Spanned::new(curve.span(), DeValue::Table(keys));
    let turned = DeTable::from_iter([(Spanned::new(kind.span(), name), inside)]);
    ByKind::deserialize(ValueDeserializer::from(Spanned::new(curve.span(), DeValue::Table(turned)))).err()
}

/// The key whose value holds a stretch of the text.
fn key_of<'a>(table: &'a DeTable<'_>, start: usize, end: usize) -> Option<&'a str> {
    table.iter().find_map(|(key, value)| {
        let tables: Vec<&DeTable<'_>> = match value.get_ref() {
            DeValue::Table(inside) => vec![inside],
            DeValue::Array(values) => values.iter().filter_map(|value| value.get_ref().as_table()).collect(),
            _ => Vec::new(),
        };
        // The place of a table with a header is its header, and what it holds lies elsewhere.
        let inside = tables.into_iter().find_map(|table| key_of(table, start, end));
        let span = value.span();
        let holds = start < end && span.start <= start && end <= span.end;
        // A table's place is that of what it lacks, too.
        let is_value = !value.get_ref().is_table();
        inside.or_else(|| (holds && is_value).then_some(key.get_ref().as_ref()))
    })
}

/// What serde says, in our words: it words its own errors alike for every format.
fn in_words(message: &str, key: Option<&str>) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let word = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    if message.starts_with("unknown field `") {
        unknown_key(word, &known)
    } else if let Some((strange, known)) =
        message.strip_prefix("unexpected keys in table: ").and_then(|rest| rest.split_once(", available keys: "))
    {
        let known: Vec<&str> = known.split(", ").filter(|name| !name.is_empty()).collect();
        unknown_key(strange.split(", ").next().unwrap_or_default(), &known)
    } else if message.starts_with("unknown variant `") {
        let meant = did_you_mean(word, known.iter().copied());
        format!("`{word}` is none of the choices{meant} (there are {})", choices(&known))
    } else if message.starts_with("missing field `") {
        missing_key(word)
    } else if message == "duplicate key" {
        "this key is there twice; keep one of them".to_owned()
    } else if let Some(rest) = message.strip_prefix("invalid length ")
        && let Some((_, expected)) = rest.split_once(", expected ")
    {
        wanted(key, expected, "one of another length")
    } else if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        wanted(key, expected, found)
    } else {
        message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }
}

fn choices(known: &[&str]) -> String {
    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn unknown_key(word: &str, known: &[&str]) -> String {
    let meant = did_you_mean(word, known.iter().copied());
    match known {
        [] => format!("`{word}` is no known key (here may stand `kind` alone)"),
        known => format!("`{word}` is no known key{meant} (here may stand {})", choices(known)),
    }
}

fn missing_key(key: &str) -> String {
    let add = match key {
        "version" => format!("`version = {VERSION}` at the top"),
        "target" | "post" => format!("`{key} = \"…\"` with a model's folder or its name on the Hub"),
        "w" => "`w = 0.5`, or how much of the vector you want".to_owned(),
        "vector" => "a [vector] table with post, pre and w".to_owned(),
        "kind" => "`kind = \"…\"`, such as \"linear\"".to_owned(),
        other => format!("`{other} = …`"),
    };
    format!("`{key}` is missing; add {add}")
}

/// What stands there, and what should.
fn wanted(key: Option<&str>, expected: &str, found: &str) -> String {
    let expected = match expected {
        "f64" => "a number, such as 0.5",
        "u32" | "u64" => "a whole number that is not negative",
        "bool" | "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a map" => "a table of keys",
        "an array of length 2" => "a list of ranges, each [FIRST, LAST]",
        other => other,
    };
    // The type that the parser had in mind is nobody's concern.
    let found = found.trim_end_matches(" as i128").trim_end_matches(" as u128");
    let found = found.replacen("integer `", "the number `", 1).replacen("floating point `", "the number `", 1);
    let found = found.replacen("string \"", "the text \"", 1).replacen("boolean `", "`", 1);
    let found = match found.as_str() {
        "sequence" => "a list",
        "map" => "a table of keys",
        other => other,
    };
    match key {
        Some(key) => format!("`{key}` is {expected}, and here is {found}"),
        None => format!("here is {found}, and wanted is {expected}"),
    }
}
