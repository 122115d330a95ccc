//! Results that were measured elsewhere: logs of lm-eval, and tables that somebody typed.
//!
//! Nothing in them is executed, tests of code neither: whether an answer is right is taken from the file.

mod by_hand;
mod lm_eval;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lines::{MAX_LINE_BYTES, next_line};
use crate::evaluate::statistics::Share;

/// Largest file that is read, in bytes.
pub const MAX_IMPORT_BYTES: u64 = 256 << 20;

/// A series of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedArm {
    /// What the file calls it; of a log of lm-eval its name, filter and metric.
    pub label: String,
    /// The line that it is a point of, with the arms at other w that it is compared with: of a table what it calls them, or
    /// the file's name; of logs of lm-eval their names without w and time, and filter and metric.
    pub series: String,
    /// The scaling coefficient, where the file says it.
    pub w: Option<f64>,
    /// The results.
    pub results: ImportedResults,
}

/// Results one by one, or counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportedResults {
    /// One by one, in the order of the file: can be paired with another arm's by question.
    PerQuestion(Vec<ImportedOutcome>),
    /// Counted, as in a published table: for Fisher's exact test.
    Counts(Share),
}

/// The result of one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedOutcome {
    /// The question, by the name in the file.
    pub question_id: String,
    /// Which of several answers to the question it is, from 0.
    pub sample: u32,
    /// Whether it is right, as the file says.
    pub right: bool,
    /// What the model said, where the file has it.
    pub output: Option<String>,
}

impl ImportedArm {
    /// How many are right.
    pub fn share(&self) -> Share {
        match &self.results {
            ImportedResults::Counts(share) => *share,
            ImportedResults::PerQuestion(outcomes) => Share {
                right: outcomes.iter().filter(|outcome| outcome.right).count() as u64,
                n: outcomes.len() as u64,
            },
        }
    }
}

/// Why results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read the results {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too large.
    #[error("the results {} have {bytes} bytes, and at most {MAX_IMPORT_BYTES} are read; split the file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It has no results.
    #[error("{} has no results; it needs lines of JSON, or a CSV header with the columns w or arm, question_id and right", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line of it is wrong.
    #[error("cannot use line {line} of {}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
        /// What was expected and found.
        message: String,
    },
}

/// A line that is wrong: its number, from 1, and why.
type RowError = (u64, String);

/// A line of JSON: its number, from 1, and its fields.
type Record = (u64, Map<String, Value>);

/// Reads results: a file that lm-eval writes with `--log_samples` (`samples_TASK_DATE.jsonl`; where its name says a w, as in
/// `samples_w0.5.jsonl` or `gsm8k w=-0.25.jsonl`, that is the w of the model that it was run with), or a table as CSV or as lines
/// of JSON with these columns, in any order and case:
///
/// - `arm` or `w`, or both: which series it belongs to; without either all is one series with the file's name
/// - `question_id` (or `id`, `doc_id`) and `right` (or `correct`, `pass`): 0, 1, true or false; optionally `output`, and
///   `sample` from 0 where questions were answered several times
/// - instead of a question `n` (or `total`): `right` is then how many of so many
///
/// Arms of one name at several w are one series, arms of many names another, which goes by the file's name. Each is held against
/// the w = 0 of its series.
///
/// # Errors
/// When the file cannot be read or is too large, and when any line is not understood: results that are half read would be
/// other results.
pub fn read(path: &Path) -> Result<Vec<ImportedArm>, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    if metadata.len() > MAX_IMPORT_BYTES {
        return Err(ImportError::TooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(BufReader::new(file), MAX_IMPORT_BYTES), &mut bytes).map_err(io)?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match parse(&bytes, &name) {
        Ok(arms) if arms.is_empty() => Err(ImportError::Empty { path: path.to_owned() }),
        Ok(arms) => Ok(arms),
        Err((line, message)) => Err(ImportError::Row { path: path.to_owned(), line, message }),
    }
}

fn parse(bytes: &[u8], name: &str) -> Result<Vec<ImportedArm>, RowError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(b'[') => {
            return Err((1, "it begins a list; write each result as a JSON object in its own line".to_owned()));
        }
        _ => return by_hand::from_csv(bytes, name),
    }
    let records = json_lines(bytes)?;
    // Its counts of tokens and samples are no metrics.
    if records.first().is_some_and(|(_, record)| record.contains_key("key") && record.contains_key("arm")) {
        return Err((1, "it is a sample of Mergescope's own log; open the file as a sample log".to_owned()));
    }
    let is_lm_eval = records.first().is_some_and(|(_, record)| {
        record.contains_key("doc_id") && (record.contains_key("resps") || record.contains_key("filtered_resps"))
    });
    if is_lm_eval { lm_eval::arms(records, name) } else { by_hand::from_records(records, name) }
}

/// The objects of a file of JSON lines, with the numbers of their lines.
fn json_lines(mut bytes: &[u8]) -> Result<Vec<Record>, RowError> {
    let (mut records, mut text, mut number) = (Vec::new(), Vec::new(), 0);
    // Reading from memory does not fail.
    while let Ok(Some(line)) = next_line(&mut bytes, &mut text) {
        number += 1;
        if line.is_too_long {
            return Err((number, format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice(&text)
            .map_err(|error| (number, format!("it is no JSON object in one line ({error})")))?;
        records.push((number, record));
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
