//! The formats of question files, told apart by what is in them.

use serde_json::{Map, Value};

use super::error::QuestionsError;
use super::file::{MAX_FIELDS, MAX_RECORDS, Record};

/// What a question file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object a line.
    JsonLines,
    /// A list of JSON objects, or an object with such a list under `data`, `examples` (BBH), `samples` (llm-jp-eval) and the like.
    Json,
    /// A table with a header line, its cells separated by that character.
    Table(char),
}

/// Where an object may have its list of records.
const LIST_KEYS: [&str; 6] = ["data", "examples", "rows", "questions", "instances", "samples"];

/// Separators of tables; of equals the first is taken.
const SEPARATORS: [char; 3] = [',', '\t', ';'];

/// Reads records; the ending of `file`'s name decides where the text allows for more than one reading.
pub(super) fn read(file: &str, text: &str) -> Result<(FileFormat, Vec<Record>), QuestionsError> {
    let ending = file.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let records = match text.trim_start().chars().next() {
        None => {
            let message = "it is empty".to_owned();
            return Err(QuestionsError::NoRecords { file: file.to_owned(), message });
        }
        Some('[') => (FileFormat::Json, json(file, text)?),
        Some('{') if is_one_value(text, &ending) => (FileFormat::Json, json(file, text)?),
        Some('{') => (FileFormat::JsonLines, json_lines(file, text)?),
        Some(_) => {
            let separator = separator(text, &ending);
            (FileFormat::Table(separator), table(file, text, separator)?)
        }
    };
    Ok(records)
}

/// Whether an object is all there is, or goes on past its first line and is not called lines.
fn is_one_value(text: &str, ending: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    match serde_json::from_str::<Value>(first) {
        Ok(_) => lines.next().is_none(),
        Err(error) => error.is_eof() && !matches!(ending, "jsonl" | "ndjson"),
    }
}

fn syntax(file: &str, place: String, message: impl Into<String>) -> QuestionsError {
    QuestionsError::Syntax { file: file.to_owned(), place, message: message.into() }
}

fn not_json(error: &serde_json::Error) -> String {
    // What serde says ends in its own place, which counts lines from the start of what it was given.
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    format!("no valid JSON: {said}")
}

fn json(file: &str, text: &str) -> Result<Vec<Record>, QuestionsError> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        syntax(file, place, not_json(&error))
    })?;
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_object));
            let key = LIST_KEYS.into_iter().find(|key| object.get(*key).is_some_and(is_list));
            match key.and_then(|key| object.shift_remove(key)) {
                Some(Value::Array(list)) => list,
                // A single record.
                _ if object.values().any(|value| !value.is_array() && !value.is_object()) => {
                    vec![Value::Object(object)]
                }
                _ => {
                    let keys = LIST_KEYS.join("`, `");
                    let message = format!("it is an object without a list of records under one of `{keys}`");
                    return Err(QuestionsError::NoRecords { file: file.to_owned(), message });
                }
            }
        }
        _ => Vec::new(),
    };
    if list.len() > MAX_RECORDS {
        return Err(QuestionsError::TooManyRecords { file: file.to_owned() });
    }
    let records = list.into_iter().enumerate().map(|(i, value)| match value {
        Value::Object(fields) => Ok(Record { line: None, fields }),
        other => Err(syntax(file, format!("record {}", i + 1), not_an_object(&other))),
    });
    records.collect()
}

fn json_lines(file: &str, text: &str) -> Result<Vec<Record>, QuestionsError> {
    let mut records = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if records.len() == MAX_RECORDS {
            return Err(QuestionsError::TooManyRecords { file: file.to_owned() });
        }
        let value = serde_json::from_str(line)
            .map_err(|error| syntax(file, format!("line {}, column {}", i + 1, error.column()), not_json(&error)))?;
        match value {
            Value::Object(fields) => records.push(Record { line: Some(i + 1), fields }),
            other => return Err(syntax(file, format!("line {}", i + 1), not_an_object(&other))),
        }
    }
    Ok(records)
}

fn not_an_object(value: &Value) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("a record must be an object with named fields; this one is {found}")
}

/// The separator that the header line has most of.
fn separator(text: &str, ending: &str) -> char {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |separator: char| {
        let mut quoted = false;
        let outside = header.chars().filter(|&letter| {
            quoted ^= letter == '"';
            letter == separator && !quoted
        });
        outside.count()
    };
    let likeliest = if ending == "tsv" { '\t' } else { ',' };
    if count(likeliest) > 0 {
        return likeliest;
    }
    SEPARATORS.into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(likeliest)
}

fn table(file: &str, text: &str, separator: char) -> Result<Vec<Record>, QuestionsError> {
    let delimiter = u8::try_from(separator).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let problem = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        let message = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!(
                    "{len} cells where the header line has {expected_len}; put a cell that holds the separator or a line break in double quotes"
                )
            }
            _ => error.to_string(),
        };
        syntax(file, format!("line {line}"), message)
    };
    let header = reader.headers().map_err(problem)?.clone();
    if header.len() < 2 {
        let message = "it is no JSON, and no table with a header line and at least two columns".to_owned();
        return Err(QuestionsError::NoRecords { file: file.to_owned(), message });
    }
    if header.len() > MAX_FIELDS {
        return Err(QuestionsError::TooManyFields { file: file.to_owned() });
    }
    // Tables that pandas writes have an index without a name.
    let named = |(i, name): (usize, &str)| match name.trim() {
        "" => format!("column {}", i + 1),
        name => name.to_owned(),
    };
    let names: Vec<String> = header.iter().enumerate().map(named).collect();
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(syntax(file, "line 1".to_owned(), format!("two columns are called `{name}`; rename one")));
        }
    }
    let mut records = Vec::new();
    for row in reader.records() {
        let row = row.map_err(problem)?;
        if records.len() == MAX_RECORDS {
            return Err(QuestionsError::TooManyRecords { file: file.to_owned() });
        }
        let line = row.position().and_then(|position| usize::try_from(position.line()).ok());
        let cells = row.iter().map(|cell| Value::String(cell.to_owned()));
        let fields: Map<String, Value> = names.iter().cloned().zip(cells).collect();
        records.push(Record { line, fields });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::questions::QuestionFile;

    fn opened(name: &str, text: &str) -> QuestionFile {
        QuestionFile::from_bytes(name, text.as_bytes()).unwrap()
    }

    fn refused(name: &str, text: &str) -> String {
        QuestionFile::from_bytes(name, text.as_bytes()).expect_err("no question file").to_string()
    }

    const TWO: &str = r#"{"question":"1+1","answer":2}"#;

    #[test]
    fn the_same_records_come_from_every_format() {
        let lines = format!("{TWO}\n\n{TWO}\r\n");
        let list = format!("[{TWO},\n {TWO}]");
        let under_a_key = format!(r#"{{"canary":"x","examples":[{TWO},{TWO}]}}"#);
        let of_llm_jp_eval = format!(r#"{{"instruction":"x","few_shots":[{TWO}],"samples":[{TWO},{TWO}]}}"#);
        let pretty =
            "{\n  \"data\": [\n {\"question\": \"1+1\", \"answer\": 2}, {\"question\": \"1+1\", \"answer\": 2}]\n}";
        for (text, format) in [
            (lines.as_str(), FileFormat::JsonLines),
            (list.as_str(), FileFormat::Json),
            (under_a_key.as_str(), FileFormat::Json),
            (of_llm_jp_eval.as_str(), FileFormat::Json),
            (pretty, FileFormat::Json),
        ] {
            // The ending is no more than a hint.
            for name in ["a", "a.csv", "a.json"] {
                let file = opened(name, text);
                assert_eq!((file.format, file.len()), (format, 2), "{name}: {text}");
                assert_eq!(file.records[1].fields, serde_json::from_str::<Map<_, _>>(TWO).unwrap());
            }
        }
        assert_eq!(opened("a", &lines).records[1].line, Some(3));
        for text in ["question,answer\n1+1,2\n", "question\tanswer\r\n1+1\t2\r\n", "question;answer\n\n\"1+1\";2"] {
            let file = opened("a.txt", text);
            assert_eq!(file.records[0].fields["question"], "1+1", "{text}");
            assert_eq!(file.records[0].fields["answer"], "2");
        }
    }

    #[test]
    fn a_single_record_is_a_file_too() {
        assert_eq!(opened("a.jsonl", TWO).len(), 1);
        assert_eq!(opened("a.json", TWO).len(), 1);
        assert_eq!(opened("a.jsonl", r#"{"data":["x"],"question":"q","answer":"a"}"#).fields.len(), 3);
    }

    #[test]
    fn tables_have_quotes_line_breaks_and_columns_without_a_name() {
        let file = opened("a.csv", "\u{feff},question,answer\n0,\"one, \"\"two\"\"\nthree\",4\n1,次は?,5\n");
        assert_eq!(file.fields[0].name, "column 1");
        assert_eq!(file.records[0].fields["question"], "one, \"two\"\nthree");
        assert_eq!(file.records[1].line, Some(4));
        assert_eq!(file.fields[1].example, "one, \"two\" three");
        assert_eq!(opened("a.tsv", "a,b\tc\n1\t2\n").fields[0].name, "a,b");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let broken = format!("{TWO}\n{TWO}\n{{\"question\": \n{TWO}\n");
        let message = refused("set.jsonl", &broken);
        assert!(message.starts_with("set.jsonl, line 3, column "), "{message}");
        assert!(message.contains("no valid JSON"), "{message}");
        assert!(refused("a.json", "[{\"a\": 1},\n 7]").contains("record 2: a record must be an object"));
        assert!(refused("a.jsonl", &format!("{TWO}\n[1]\n")).contains("line 2: a record must be an object"));
        assert!(refused("a.json", "[{\"a\": 1},\n {\"a\" 2}]").contains("line 2, column 7"));
        let ragged = refused("a.csv", "question,answer\n1+1,2\n1,000+1,1001\n");
        assert!(ragged.contains("line 3: 3 cells where the header line has 2"), "{ragged}");
        assert!(refused("a.csv", "a,b,a\n1,2,3").contains("two columns are called `a`"));
        assert!(refused("a.txt", "Dear reader").contains("no JSON, and no table"));
        assert!(refused("a.json", r#"{"a":{"b":[]},"c":[]}"#).contains("`data`, `examples`"));
        for empty in ["", "  \n\n", "\u{feff}"] {
            assert!(refused("a.csv", empty).contains("it is empty"));
        }
        assert!(refused("a.json", "[]").contains("no records"));
        assert!(refused("a.csv", "question,answer\n").contains("no records"));
        let shift_jis = QuestionFile::from_bytes("a.csv", b"question,answer\n\x96\xe2\x91\xe8,1\n").unwrap_err();
        assert!(shift_jis.to_string().contains("a.csv, line 2: the text is not UTF-8"));
    }

    #[test]
    fn sizes_are_bounded() {
        let long = format!("{TWO}\n{{\"question\":\"{}\"}}\n", "x".repeat(super::super::file::MAX_FIELD_BYTES + 1));
        assert!(
            refused("a.jsonl", &long).contains("a.jsonl, line 2: the field `question` has more than 1048576 bytes")
        );
        let many = "{\"a\":1}\n".repeat(MAX_RECORDS + 1);
        assert!(refused("a.jsonl", &many).contains("more than 100000 records"));
        let fields: Vec<String> = (0..=MAX_FIELDS).map(|i| format!("\"f{i}\":1")).collect();
        assert!(refused("a.jsonl", &format!("{{{}}}", fields.join(","))).contains("more than 256 different fields"));
        assert!(refused("a.json", &"[".repeat(100_000)).contains("no valid JSON"));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), name in "a\\.(csv|jsonl|json|tsv)") {
            let _ = QuestionFile::from_bytes(&name, &bytes);
        }

        #[test]
        fn hostile_text_never_panics(text in "[\\[\\]{}\",:;\t\n\r #a-c0-2\\\\\u{feff}あ]{0,80}") {
            if let Ok(file) = QuestionFile::from_bytes("a", text.as_bytes()) {
                let _ = crate::evaluate::questions::Preset::of(&file);
            }
        }
    }
}
