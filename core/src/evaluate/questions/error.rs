//! Why questions cannot be had from a file.

use std::io;

use super::file::{MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILE_BYTES, MAX_RECORDS};

/// Why there are no questions.
#[derive(Debug, thiserror::Error)]
pub enum QuestionsError {
    /// The file cannot be read.
    #[error("cannot read the question file {file}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any question set.
    #[error("the question file {file} has more than {} MiB; keep the questions that you want to ask", MAX_FILE_BYTES >> 20)]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The file has more records than are read.
    #[error("the question file {file} has more than {MAX_RECORDS} records; keep the questions that you want to ask")]
    TooManyRecords {
        /// The file.
        file: String,
    },
    /// The records have more fields than any question has.
    #[error("the records of {file} have more than {MAX_FIELDS} different fields; is it a table of questions?")]
    TooManyFields {
        /// The file.
        file: String,
    },
    /// A field is longer than any question.
    #[error("{file}, {place}: the field `{field}` has more than {MAX_FIELD_BYTES} bytes; shorten it or leave it out")]
    LongField {
        /// The file.
        file: String,
        /// The line or record, counted from one.
        place: String,
        /// The field.
        field: String,
    },
    /// The text is not UTF-8.
    #[error("{file}, line {line}: the text is not UTF-8; save the file with that encoding (in Excel: CSV UTF-8)")]
    Encoding {
        /// The file.
        file: String,
        /// Counted from one.
        line: usize,
    },
    /// The file follows none of the formats.
    #[error("{file}, {place}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The line or record, counted from one.
        place: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The file is empty, or holds something other than records.
    #[error("the file {file} holds no questions: {message}")]
    NoRecords {
        /// The file.
        file: String,
        /// What was found and what is wanted.
        message: String,
    },
    /// A mapping names a field that no record has.
    #[error("{file} has no field `{field}`, which is to be the {role}{meant}; its fields are {fields}")]
    UnknownField {
        /// The file.
        file: String,
        /// What the field is to be.
        role: &'static str,
        /// The name that is not there.
        field: String,
        /// The nearest name, as a question, or nothing.
        meant: String,
        /// The names that are there.
        fields: String,
    },
    /// No field could be told to be the question or the answer.
    #[error("none of the fields of {file} can be told to be the {role}; choose it among {fields}")]
    NoGuess {
        /// The file.
        file: String,
        /// `question` or `answer`.
        role: &'static str,
        /// The names that are there.
        fields: String,
    },
    /// The answers are programs.
    #[error(
        "{file} asks for programs, as HumanEval does, and grading them means running what a model wrote, which Mergescope never does; run its own harness in a sandbox and import the results"
    )]
    NeedsExecution {
        /// The file.
        file: String,
    },
    /// The field of the id does not tell records apart.
    #[error(
        "{file}: the records {first} and {second} both have the id `{id}` in the field `{field}`, so that answers could not be paired; choose another field for the id, or none to count the records"
    )]
    DuplicateId {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// The id that occurs twice.
        id: String,
        /// The record that has it first, counted from one.
        first: usize,
        /// The one that has it again, counted from one.
        second: usize,
    },
    /// Every record was left out.
    #[error("no record of {file} makes a question; record {record}: {why}")]
    AllSkipped {
        /// The file.
        file: String,
        /// The first record, counted from one.
        record: usize,
        /// Why it makes none.
        why: String,
    },
}
