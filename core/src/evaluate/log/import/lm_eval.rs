//! Logs that lm-eval writes with `--log_samples`: a line for each question and filter, with one field for each metric.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{ImportedArm, ImportedOutcome, ImportedResults, Record, RowError};

/// Fields that are no metrics, though some are numbers.
const NO_METRICS: [&str; 12] = [
    "doc_id",
    "doc",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
    "doc_hash",
    "prompt_hash",
    "target_hash",
    "token_counts",
];

/// Names under which data sets keep what a question is called.
const ID_FIELDS: [&str; 6] = ["id", "ID", "question_id", "q_id", "task_id", "unique_id"];

/// The results of one filter and one metric.
struct Series {
    filter: String,
    metric: String,
    rows: Vec<Row>,
    /// Whether every value is 0 or 1.
    is_binary: bool,
}

struct Row {
    line: u64,
    doc_id: String,
    /// What the data set calls the question.
    own_id: Option<String>,
    right: bool,
    output: Option<String>,
}

/// An arm for each filter and each metric that says right or wrong. Questions go by the name that the data set gives them,
/// where each has one of its own, else by `doc_id`, which is their position.
/// `name` is the file's: it tells one log from another, and may say a w.
pub(super) fn arms(records: Vec<Record>, name: &str) -> Result<Vec<ImportedArm>, RowError> {
    let mut all: Vec<Series> = Vec::new();
    for (line, record) in records {
        let doc_id = scalar(record.get("doc_id")).ok_or((line, "it has no doc_id".to_owned()))?;
        let filter = record.get("filter").and_then(Value::as_str).unwrap_or("none");
        let doc = record.get("doc").and_then(Value::as_object);
        let own_id = doc.and_then(|doc| ID_FIELDS.iter().find_map(|field| scalar(doc.get(*field))));
        let output = output(&record);
        for (metric, value) in metrics(&record) {
            let known = all.iter().position(|series| series.filter == filter && series.metric == metric);
            let series = match known {
                Some(index) => &mut all[index],
                None => {
                    let (filter, metric) = (filter.to_owned(), metric.to_owned());
                    all.push(Series { filter, metric, rows: Vec::new(), is_binary: true });
                    let last = all.len() - 1;
                    &mut all[last]
                }
            };
            series.is_binary &= value == 0.0 || value == 1.0;
            let (doc_id, own_id, output) = (doc_id.clone(), own_id.clone(), output.clone());
            series.rows.push(Row { line, doc_id, own_id, right: value == 1.0, output });
        }
    }
    let seen = all.iter().map(|series| series.metric.as_str()).collect::<Vec<_>>().join(", ");
    all.retain(|series| series.is_binary);
    if all.is_empty() {
        let found = if seen.is_empty() { "no metric was found".to_owned() } else { format!("found {seen}") };
        return Err((1, format!("a metric such as exact_match or acc must be 0 or 1 in every line; {found}")));
    }
    let (w, task) = w_in(name);
    all.into_iter().map(|series| series.arm(name, w, &task)).collect()
}

impl Series {
    fn arm(self, name: &str, w: Option<f64>, task: &str) -> Result<ImportedArm, RowError> {
        let mut seen = HashSet::new();
        let has_own_ids = self.rows.iter().all(|row| row.own_id.as_ref().is_some_and(|id| seen.insert(id.clone())));
        seen.clear();
        let mut outcomes = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            if !seen.insert(row.doc_id.clone()) {
                let message = format!("doc_id {} was there before with filter {}", row.doc_id, self.filter);
                return Err((row.line, format!("{message}; give one run of one task")));
            }
            let question_id = row.own_id.filter(|_| has_own_ids).unwrap_or(row.doc_id);
            outcomes.push(ImportedOutcome { question_id, sample: 0, right: row.right, output: row.output });
        }
        Ok(ImportedArm {
            label: format!("{name}: {}, {}", self.filter, self.metric),
            // A file for each w: what they have in common is what was measured, and of what.
            series: match task {
                "" => format!("{}, {}", self.filter, self.metric),
                task => format!("{task}: {}, {}", self.filter, self.metric),
            },
            w,
            results: ImportedResults::PerQuestion(outcomes),
        })
    }
}

/// The w that a name says, after a `w` that begins a word: `samples_w0.5`, `w=-0.25`, `merged-w1`; and what else it says, but for
/// the time at which lm-eval wrote the file.
fn w_in(name: &str) -> (Option<f64>, String) {
    let name = name.replace('−', "-");
    let bytes = name.as_bytes();
    let begins = |at: usize| at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
    let starts = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'w' | b'W') && begins(*at));
    let found = starts
        .filter_map(|at| {
            let number = name[at + 1..].trim_start_matches(['=', ' ', '_']);
            let is_part =
                |(at, letter): (usize, char)| letter.is_ascii_digit() || letter == '.' || (at == 0 && letter == '-');
            let length = number.char_indices().take_while(|part| is_part(*part)).count();
            let digits = number[..length].trim_end_matches('.');
            let w = digits.parse::<f64>().ok().filter(|w| w.is_finite())?;
            let end = name.len() - number.len() + digits.len();
            Some((w, format!("{}{}", without_joints(&name[..at]), &name[end..])))
        })
        .next();
    let (w, rest) = found.map_or((None, name.clone()), |(w, rest)| (Some(w), rest));
    (w, without_joints(without_time(&rest)).to_owned())
}

/// A name without a time such as `2026-11-30T10-15-02.123456` at its end.
fn without_time(name: &str) -> &str {
    let is_of_time = |letter: char| letter.is_ascii_digit() || matches!(letter, 'T' | '-' | ':' | '.');
    let kept = name.trim_end_matches(is_of_time);
    let digits = name[kept.len()..].chars().filter(char::is_ascii_digit).count();
    // A date alone has eight.
    if digits >= 8 { kept } else { name }
}

/// A name without what joins it to another part.
fn without_joints(name: &str) -> &str {
    name.trim_matches(['_', '-', ' ', '.'])
}

/// The metrics of a line: those that it lists, or in older logs every other field that is a number or a truth value.
fn metrics(record: &Map<String, Value>) -> impl Iterator<Item = (&str, f64)> {
    let listed = record.get("metrics").and_then(Value::as_array);
    record.iter().filter_map(move |(name, value)| {
        let is_metric = match listed {
            Some(names) => names.iter().any(|listed| listed == name),
            None => !NO_METRICS.contains(&name.as_str()),
        };
        let number = value.as_f64().or_else(|| value.as_bool().map(|is_right| f64::from(u8::from(is_right))));
        is_metric.then_some((name.as_str(), number?))
    })
}

/// What the model said, if it said one thing: choices and repeated samples have several.
fn output(record: &Map<String, Value>) -> Option<String> {
    let [value] = record.get("resps")?.as_array()?.as_slice() else { return None };
    let mut value = value;
    if let Some(inner) = value.as_array() {
        let [only] = inner.as_slice() else { return None };
        value = only;
    }
    value.as_str().map(str::to_owned)
}

fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
