//! Questions that are ready to be asked.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::file::Field;
use super::language::Language;
use super::mapping::Mapping;
use super::options;

/// A question with a known answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What tells it apart from the others of its set, and is the same in other files about the same questions.
    pub id: String,
    /// What is asked, without choices that stand in fields of their own.
    pub question: String,
    /// The label: what a right answer must come to. Of a question with choices, the letter of the right one.
    pub answer: String,
    /// What there is to choose from, in the order of the letters; empty where the answer is free.
    pub choices: Vec<String>,
    /// Which of the choices is right.
    pub correct: Option<usize>,
    /// A worked answer that ends in the label.
    pub solution: Option<String>,
    /// The record that it was made from: always an object. Shared, since sets are split and copied.
    pub record: Arc<Value>,
}

impl Question {
    /// Whether its choices stand in its own text, as BBH's do.
    pub(super) fn shows_choices(&self) -> bool {
        !self.choices.is_empty() && options::inside(&self.question).is_some_and(|inside| inside == self.choices)
    }
}

/// A record that makes no question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its position in the file, from 0.
    pub record: usize,
    /// The line where it begins, from 1, in formats that have a record a line.
    pub line: Option<usize>,
    /// Why it makes none.
    pub why: String,
}

/// The questions of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct QuestionSet {
    /// The name of the file, without folders.
    pub name: String,
    /// Where it lies; `None` for questions that are part of the program.
    pub path: Option<PathBuf>,
    /// blake3 of the file's bytes, in hexadecimal digits: the whole file's, also of a part of its questions.
    pub fingerprint: String,
    /// The fields of its records.
    pub fields: Vec<Field>,
    /// What the fields mean.
    pub mapping: Mapping,
    /// The questions, in the file's order.
    pub questions: Vec<Question>,
    /// The records that make none.
    pub skipped: Vec<Skipped>,
}

impl QuestionSet {
    /// The questions at those positions, in the order given; a position past the end is passed over.
    pub fn only(&self, positions: &[usize]) -> Self {
        let questions = positions.iter().filter_map(|position| self.questions.get(*position).cloned()).collect();
        self.with(questions)
    }

    /// Takes the first `count` questions out, to be examples in the prompts of the others.
    pub fn take_examples(&mut self, count: usize) -> Self {
        let rest = self.questions.split_off(count.min(self.questions.len()));
        let examples = std::mem::replace(&mut self.questions, rest);
        self.with(examples)
    }

    /// The language of most of its first questions.
    pub fn language(&self) -> Language {
        Language::of_most(self.questions.iter().take(200).map(|question| question.question.as_str()))
    }

    /// The same set with other questions.
    pub(super) fn with(&self, questions: Vec<Question>) -> Self {
        Self {
            name: self.name.clone(),
            path: self.path.clone(),
            fingerprint: self.fingerprint.clone(),
            fields: self.fields.clone(),
            mapping: self.mapping.clone(),
            questions,
            skipped: self.skipped.clone(),
        }
    }
}
