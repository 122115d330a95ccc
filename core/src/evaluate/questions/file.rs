//! A question file as it stands: records with named fields, whatever the fields mean.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{io, str};

use serde_json::{Map, Value};

use super::error::QuestionsError;
use super::format::{self, FileFormat};
use super::value::{clipped, shown};
use crate::recipe::nearest::did_you_mean;

/// Largest question file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// Most records that are read.
pub const MAX_RECORDS: usize = 100_000;
/// Most different fields that the records of a file may have.
pub const MAX_FIELDS: usize = 256;
/// Longest text of a field, in bytes.
pub const MAX_FIELD_BYTES: usize = 1 << 20;
/// Length of an example value, in characters.
const EXAMPLE_CHARS: usize = 160;

/// A record of a question file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Where it begins, counted from one, in formats that have a record a line.
    pub(super) line: Option<usize>,
    /// What it holds.
    pub(super) fields: Map<String, Value>,
}

/// A field of a question file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The first value that is neither null nor empty, cut to a line's length; empty where there is none.
    pub example: String,
}

/// A question file that was read.
#[derive(Clone, Debug)]
pub struct QuestionFile {
    /// The name of the file, without folders.
    pub name: String,
    /// Where it lies; `None` for questions that are part of the program.
    pub path: Option<PathBuf>,
    /// blake3 of its bytes, in hexadecimal digits.
    pub fingerprint: String,
    /// What it is written in.
    pub format: FileFormat,
    /// The fields of all records, in the order in which they come up.
    pub fields: Vec<Field>,
    pub(super) records: Vec<Record>,
}

impl QuestionFile {
    /// Reads JSON lines, JSON, or a table in CSV or TSV.
    ///
    /// # Errors
    /// When it cannot be read, is larger than the limits of this module, or is in none of these formats.
    pub fn read(path: &Path) -> Result<Self, QuestionsError> {
        let io = |source| QuestionsError::Io { file: path.display().to_string(), source };
        // Before it is opened: opening a pipe waits until somebody writes to it.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(io::Error::other("it is not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        Ok(Self { path: Some(path.to_owned()), ..Self::from_bytes(&path.to_string_lossy(), &bytes)? })
    }

    /// Reads what a file called `name` holds.
    ///
    /// # Errors
    /// As for [`QuestionFile::read`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, QuestionsError> {
        let file = || name.to_owned();
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(QuestionsError::TooLarge { file: file() });
        }
        let text = str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            QuestionsError::Encoding { file: file(), line }
        })?;
        let (format, records) = format::read(name, text.strip_prefix('\u{feff}').unwrap_or(text))?;
        if records.is_empty() {
            return Err(QuestionsError::NoRecords { file: file(), message: "it has no records".to_owned() });
        }
        let fields = fields_of(name, &records)?;
        let fingerprint = blake3::hash(bytes).to_hex().to_string();
        let short = Path::new(name).file_name().map_or_else(file, |short| short.to_string_lossy().into_owned());
        Ok(Self { name: short, path: None, fingerprint, format, fields, records })
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has no records, which no file has that was read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How it is called in messages.
    pub(super) fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| self.name.clone(), |path| path.display().to_string())
    }

    /// The names of its fields, for a message.
    pub(super) fn field_names(&self) -> String {
        listed(self.fields.iter().map(|field| field.name.as_str()))
    }
}

/// The field that a wrong name may stand for, as a question for a message.
pub(super) fn nearest<'a>(name: &str, fields: impl IntoIterator<Item = &'a str>) -> String {
    // Comparing takes time in the product of the lengths.
    did_you_mean(name, fields.into_iter().filter(|field| field.len() <= 256))
}

/// Names for a message: the first twenty.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let first = names.iter().take(20).map(|name| format!("`{}`", clipped(name, 60)));
    let first = first.collect::<Vec<_>>().join(", ");
    if names.len() > 20 { format!("{first} and {} more", names.len() - 20) } else { first }
}

/// The fields of all records; refuses what is too long or too many.
fn fields_of(file: &str, records: &[Record]) -> Result<Vec<Field>, QuestionsError> {
    let mut fields: Map<String, Value> = Map::new();
    for (i, record) in records.iter().enumerate() {
        for (name, value) in &record.fields {
            let bytes = value.as_str().map_or(0, str::len).max(name.len());
            if bytes > MAX_FIELD_BYTES {
                let place = record.line.map_or_else(|| format!("record {}", i + 1), |line| format!("line {line}"));
                let field = clipped(name, 60);
                return Err(QuestionsError::LongField { file: file.to_owned(), place, field });
            }
            if !fields.get(name).is_some_and(has_something) {
                fields.insert(name.clone(), example(value));
            }
            if fields.len() > MAX_FIELDS {
                return Err(QuestionsError::TooManyFields { file: file.to_owned() });
            }
        }
    }
    Ok(fields.into_iter().map(|(name, value)| Field { name, example: shown(&value) }).collect())
}

fn has_something(example: &Value) -> bool {
    example.as_str().is_some_and(|text| !text.is_empty())
}

/// A value as one short line.
fn example(value: &Value) -> Value {
    let text = match value {
        // Only what is shown is looked at: a field may be long.
        Value::String(text) => clipped(text, 2 * EXAMPLE_CHARS),
        other => shown(other),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Value::String(clipped(&line, EXAMPLE_CHARS))
}
