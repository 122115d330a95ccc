//! Tables of results that somebody typed or wrote with a script of their own.

use std::collections::HashSet;

use serde_json::Value;

use super::{ImportedArm, ImportedOutcome, ImportedResults, Record, RowError};
use crate::evaluate::statistics::Share;

/// A row: names in lower case, and values that are not empty.
struct Row {
    line: u64,
    fields: Vec<(String, String)>,
}

impl Row {
    /// The value of the first of these columns that the row has.
    fn get(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|name| self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str()))
    }

    fn error(&self, message: impl Into<String>) -> RowError {
        (self.line, message.into())
    }
}

/// What the file says of one answer, or of several that are counted.
enum Entry {
    Outcome(ImportedOutcome),
    Counts(Share),
}

pub(super) fn from_csv(bytes: &[u8], name: &str) -> Result<Vec<ImportedArm>, RowError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
    let row_error = |error: &csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        let message = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("it has {len} columns, and the header has {expected_len}")
            }
            csv::ErrorKind::Utf8 { .. } => "it is not in UTF-8; save the file in that encoding".to_owned(),
            _ => error.to_string(),
        };
        (line, message)
    };
    let names: Vec<String> =
        reader.headers().map_err(|error| row_error(&error))?.iter().map(str::to_lowercase).collect();
    let mut table = Table::new(name);
    for record in reader.records() {
        let record = record.map_err(|error| row_error(&error))?;
        let line = record.position().map_or(1, csv::Position::line);
        let fields = names.iter().zip(&record).filter(|(_, value)| !value.is_empty());
        table.add(&Row { line, fields: fields.map(|(name, value)| (name.clone(), value.to_owned())).collect() })?;
    }
    Ok(table.arms())
}

pub(super) fn from_records(records: Vec<Record>, name: &str) -> Result<Vec<ImportedArm>, RowError> {
    let mut table = Table::new(name);
    for (line, record) in records {
        let fields = record.into_iter().filter_map(|(name, value)| {
            let value = match value {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            (!value.is_empty()).then(|| (name.trim().to_lowercase(), value))
        });
        table.add(&Row { line, fields: fields.collect() })?;
    }
    Ok(table.arms())
}

/// The arms so far.
struct Table<'a> {
    /// The file's name.
    file: &'a str,
    arms: Vec<Arm>,
    seen: HashSet<(usize, String, u32)>,
}

/// Rows that say the same of whose they are.
struct Arm {
    /// What the column `arm` says.
    name: Option<String>,
    w: Option<f64>,
    results: ImportedResults,
}

impl Arm {
    fn label(&self, file: &str) -> String {
        match (&self.name, self.w) {
            (Some(name), _) => name.clone(),
            (None, Some(w)) => format!("w = {w}"),
            (None, None) => file.to_owned(),
        }
    }
}

impl<'a> Table<'a> {
    fn new(file: &'a str) -> Self {
        Self { file, arms: Vec::new(), seen: HashSet::new() }
    }

    /// The arms. A name that comes with several w is that of a series, as "Japanese"; one that comes with one is that of a
    /// point, as "target", and the file is the series.
    fn arms(self) -> Vec<ImportedArm> {
        let names: Vec<Option<String>> = self.arms.iter().map(|arm| arm.name.clone()).collect();
        let arm = |arm: Arm| {
            let label = arm.label(self.file);
            let is_series = arm.name.is_some() && names.iter().filter(|name| **name == arm.name).count() > 1;
            let (label, series) = match arm.w {
                Some(w) if is_series => (format!("{label}, w = {w}"), label),
                None if is_series => (label.clone(), label),
                _ => (label, self.file.to_owned()),
            };
            ImportedArm { label, series, w: arm.w, results: arm.results }
        };
        self.arms.into_iter().map(arm).collect()
    }

    fn add(&mut self, row: &Row) -> Result<(), RowError> {
        let w = row.get(&["w"]).map(|text| parse_w(row, text)).transpose()?;
        let name = row.get(&["arm"]).map(|arm| arm.trim().to_owned());
        let entry = entry(row)?;
        let index = self.arms.iter().position(|arm| arm.name == name && arm.w == w).unwrap_or_else(|| {
            self.arms.push(Arm { name, w, results: ImportedResults::PerQuestion(Vec::new()) });
            self.arms.len() - 1
        });
        let label = self.arms[index].label(self.file);
        match (entry, &mut self.arms[index].results) {
            (Entry::Outcome(outcome), ImportedResults::PerQuestion(outcomes)) => {
                if !self.seen.insert((index, outcome.question_id.clone(), outcome.sample)) {
                    let id = &outcome.question_id;
                    return Err(row.error(format!(
                        "question {id} of arm {label} was there before; number several answers in a column sample, from 0"
                    )));
                }
                outcomes.push(outcome);
            }
            (Entry::Counts(share), results) if *results == ImportedResults::PerQuestion(Vec::new()) => {
                *results = ImportedResults::Counts(share);
            }
            _ => {
                return Err(row.error(format!(
                    "arm {label} was there before; give it one row with n, or a row without n for each question"
                )));
            }
        }
        Ok(())
    }
}

fn entry(row: &Row) -> Result<Entry, RowError> {
    let right = row
        .get(&["right", "correct", "pass"])
        .ok_or_else(|| row.error("it does not say what is right; add a column right (or correct, or pass)"))?
        .trim();
    match (row.get(&["question_id", "id", "doc_id"]), row.get(&["n", "total"])) {
        (Some(id), None) => {
            let is_right = match right.to_lowercase().as_str() {
                "1" | "1.0" | "true" => true,
                "0" | "0.0" | "false" => false,
                other => return Err(row.error(format!("right is {other:?}; it must be 0, 1, true or false"))),
            };
            let sample = match row.get(&["sample"]) {
                Some(text) => whole(row, "sample", text)?,
                None => 0,
            };
            Ok(Entry::Outcome(ImportedOutcome {
                question_id: id.trim().to_owned(),
                sample,
                right: is_right,
                output: row.get(&["output"]).map(str::to_owned),
            }))
        }
        (None, Some(n)) => {
            let share = Share { right: whole(row, "right", right)?, n: whole(row, "n", n)? };
            if share.n == 0 || share.right > share.n {
                return Err(row.error(format!("{} right of {} is not possible", share.right, share.n)));
            }
            Ok(Entry::Counts(share))
        }
        (Some(_), Some(_)) => {
            Err(row.error("it has both a question and n; give each answer a row without n, or count them in one row"))
        }
        (None, None) => Err(row.error("it names no question; add a column question_id, or n for counts")),
    }
}

fn parse_w(row: &Row, text: &str) -> Result<f64, RowError> {
    let w = text.trim().parse().ok().filter(|w: &f64| w.is_finite());
    w.ok_or_else(|| row.error(format!("w is {text:?}; it must be a number such as 0.5")))
}

/// A whole number, also as programs write it that hold all numbers as decimal ones: `4.0`.
fn whole<T: std::str::FromStr>(row: &Row, name: &str, text: &str) -> Result<T, RowError> {
    let digits = text.trim();
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    digits.parse().map_err(|_| row.error(format!("{name} is {text:?}; it must be a whole number")))
}
