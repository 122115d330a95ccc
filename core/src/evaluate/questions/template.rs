//! Prompt templates: what a person writes to say how a question is put.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file::{listed, nearest};
use super::language::Language;
use super::options;
use super::set::{Question, QuestionSet};
use super::value::{clipped, lookup, shown};

/// Longest text of a template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 64 << 10;

/// How a question becomes a prompt.
///
/// `{question}`, `{choices}` (one a line, with letters; nothing where the question's text ends with them) and `{answer}` (the
/// label) stand for a question's parts, `{instruction}` for the template's own; any other name in braces is a field of the
/// record, with dots into objects. `{{` and `}}` are braces. A line that is one name in braces and nothing else is left out
/// where that is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Template {
    /// What comes out.
    pub form: PromptForm,
    /// The system message, word for word; in raw text it stands before everything. Empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// The text with names in braces: the user's message, or the raw prompt up to where the answer begins.
    pub text: String,
    /// What one arm of a comparison adds, such as "Think step by step."; empty: nothing.
    ///
    /// It stands where the text has `{instruction}`. Without that it ends the user's message, on a line of its own; in raw
    /// text it follows the last character after a space, where a model takes it for the beginning of its answer (Kojima et
    /// al., arXiv 2205.11916).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instruction: String,
    /// What stands between examples in raw text.
    pub separator: String,
}

/// What a template makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptForm {
    /// A conversation, for the model's own chat template.
    #[default]
    Chat,
    /// Text that the model goes on with.
    Raw,
}

impl Default for Template {
    /// A conversation that holds the question and, where there are any, its choices.
    fn default() -> Self {
        Self::chat("{question}\n{choices}")
    }
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It has nothing in it.
    #[error("the prompt template is empty; write for example {{question}}")]
    Empty,
    /// It is too long.
    #[error("the prompt template has more than {} KiB", MAX_TEMPLATE_BYTES >> 10)]
    TooLong,
    /// A brace without its other half.
    #[error("the prompt template, line {line}, column {column}: {message}")]
    Brace {
        /// Counted from one.
        line: usize,
        /// The character of the line, counted from one.
        column: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// A name that is no field.
    #[error("the prompt template names {{{name}}}, which {file} does not have{meant}; there are {fields}")]
    UnknownField {
        /// The file of the questions, or of the examples.
        file: String,
        /// The name.
        name: String,
        /// The nearest name, as a question, or nothing.
        meant: String,
        /// The names that there are.
        fields: String,
    },
    /// Fewer examples than wanted.
    #[error("{file} has {found} questions to take {wanted} examples from; ask for fewer")]
    TooFewExamples {
        /// The file of the examples.
        file: String,
        /// How many it has.
        found: usize,
        /// How many were asked for.
        wanted: usize,
    },
}

/// What stands in a line of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
}

/// Names that are not fields.
const OWN_NAMES: [&str; 4] = ["question", "choices", "answer", "instruction"];

/// A template that was taken apart, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    lines: Vec<Vec<Piece>>,
}

impl Template {
    /// A conversation with that as the user's message.
    pub fn chat(text: &str) -> Self {
        Self { form: PromptForm::Chat, text: text.to_owned(), ..Self::blank() }
    }

    /// Raw text.
    pub fn raw(text: &str) -> Self {
        Self { form: PromptForm::Raw, text: text.to_owned(), ..Self::blank() }
    }

    /// Raw text for any question, for models without a chat template.
    pub fn plain(language: Language) -> Self {
        Self::raw(match language {
            Language::English => "Question: {question}\n{choices}\nAnswer:",
            Language::Japanese => "問題:{question}\n{choices}\n答え:",
        })
    }

    fn blank() -> Self {
        Self {
            form: PromptForm::Chat,
            system: String::new(),
            text: String::new(),
            instruction: String::new(),
            separator: "\n\n".to_owned(),
        }
    }

    /// Takes the text apart.
    pub(super) fn parse(&self) -> Result<Parsed, TemplateError> {
        if self.text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        if self.text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let lines = self.text.split('\n').enumerate().map(|(i, line)| pieces(line, i + 1));
        Ok(Parsed { lines: lines.collect::<Result<_, _>>()? })
    }
}

/// Takes a line apart.
fn pieces(line: &str, number: usize) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut letters = line.chars().enumerate().peekable();
    while let Some((at, letter)) = letters.next() {
        let doubled = letters.peek().is_some_and(|(_, next)| *next == letter);
        match letter {
            '{' | '}' if doubled => {
                letters.next();
                text.push(letter);
            }
            '}' => {
                let message = "a brace closes that was not opened; write }} for a brace".to_owned();
                return Err(TemplateError::Brace { line: number, column: at + 1, message });
            }
            '{' => {
                let mut name = String::new();
                let closed = letters.by_ref().map(|(_, letter)| letter).find(|letter| match letter {
                    '}' => true,
                    _ => {
                        name.push(*letter);
                        false
                    }
                });
                let name = name.trim();
                if closed.is_none() || name.is_empty() || name.contains('{') {
                    let message = "no name and closing brace follow; write for example {question}, or {{ for a brace";
                    return Err(TemplateError::Brace { line: number, column: at + 1, message: message.to_owned() });
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Name(name.to_owned()));
            }
            _ => text.push(letter),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

impl Parsed {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Whether the text has that name in braces.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// Refuses names that no record of the set has.
    pub(super) fn check(&self, set: &QuestionSet) -> Result<(), TemplateError> {
        let known = |name: &str| {
            OWN_NAMES.contains(&name)
                || set.fields.iter().any(|field| field.name == name)
                || set.questions.iter().any(|question| value(question, name).is_some())
        };
        let Some(name) = self.names().find(|name| !known(name)) else { return Ok(()) };
        let fields = || {
            let all = OWN_NAMES.into_iter().chain(set.fields.iter().map(|field| field.name.as_str()));
            let mut seen = Vec::new();
            all.for_each(|name| {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            });
            seen
        };
        Err(TemplateError::UnknownField {
            file: set.name.clone(),
            name: clipped(name, 60),
            meant: nearest(name, fields()),
            fields: listed(fields().into_iter()),
        })
    }

    /// The text for a question. A field that this record lacks is empty.
    pub(super) fn fill(&self, question: &Question, instruction: &str) -> String {
        let mut filled = String::new();
        for line in &self.lines {
            let start = filled.len();
            for piece in line {
                match piece {
                    Piece::Text(text) => filled.push_str(text),
                    Piece::Name(name) => match name.as_str() {
                        "question" => {
                            let text = without_cue(&filled[start..], &question.question);
                            filled.push_str(text);
                        }
                        "choices" if question.shows_choices() => {}
                        "choices" => filled.push_str(&lettered(&question.choices)),
                        "answer" => filled.push_str(&question.answer),
                        "instruction" => filled.push_str(instruction),
                        name => filled.push_str(&value(question, name).map(shown).unwrap_or_default()),
                    },
                }
            }
            let left_out = filled.len() == start && matches!(line.as_slice(), [Piece::Name(_)]);
            if !left_out {
                filled.push('\n');
            }
        }
        filled.pop();
        filled
    }
}

fn value<'a>(question: &'a Question, name: &str) -> Option<&'a Value> {
    lookup(question.record.as_object()?, name)
}

/// A question without the word that stands before it already: examples of MGSM begin with `問題:`, its questions do not.
fn without_cue<'a>(line: &str, question: &'a str) -> &'a str {
    let cue = line.trim().trim_end_matches([':', '：']);
    if cue.is_empty() || cue.len() == line.trim().len() {
        return question;
    }
    let rest = question.trim_start().strip_prefix(cue).and_then(|rest| rest.trim_start().strip_prefix([':', '：']));
    rest.map_or(question, str::trim_start)
}

/// `A. one`, `B. two`, a line each.
fn lettered(choices: &[String]) -> String {
    let mut lines = String::new();
    for (i, choice) in choices.iter().enumerate() {
        if i > 0 {
            lines.push('\n');
        }
        // There is no choice without a letter: a mapping refuses them.
        let _ = write!(lines, "{}. {choice}", options::letter(i).unwrap_or('?'));
    }
    lines
}
