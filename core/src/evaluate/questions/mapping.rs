//! Which fields of a record are the question, its label and its choices.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::draw::Draw;
use super::error::QuestionsError;
use super::file::{QuestionFile, nearest};
use super::options;
use super::set::{Question, QuestionSet, Skipped};
use super::value::{clipped, list_of, lookup, text_of};

/// Most choices of a question: one for each letter.
pub const MAX_CHOICES: usize = 26;

/// What the fields of a question file mean. A name with dots, as `choices.text`, leads into objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// The field that tells questions apart, here and in other files; `None`: their position, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The field of the question.
    pub question: String,
    /// The field of the answer.
    pub answer: String,
    /// What the answer's field holds.
    pub answer_form: AnswerForm,
    /// The fields of the choices: one that holds a list, or one for each choice. Empty where answers are free.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The field of a worked answer, for examples in a prompt; `None`: there is none, or it is the answer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
}

/// What the field of the answer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerForm {
    /// The label itself; where there are choices, the text of one of them.
    #[default]
    Text,
    /// A worked answer that ends in `#### label`, as GSM8K has it.
    Hashes,
    /// A worked answer with the label in its last `\boxed{…}`, as MATH has it.
    Boxed,
    /// The number of the right choice, counted from 0.
    Index,
    /// The number of the right choice, counted from 1.
    Number,
    /// The letter of the right choice; a digit, as some of ARC's, counts from 1.
    Letter,
    /// The right choice, beside fields that hold the wrong ones, as SciQ has it. The question's id decides their order.
    BesideWrong,
    /// The letter of one of the options that the question's text ends with, as BBH has it. A question without such options
    /// has its label here.
    InQuestion,
}

impl AnswerForm {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Hashes,
        Self::Boxed,
        Self::Index,
        Self::Number,
        Self::Letter,
        Self::BesideWrong,
        Self::InQuestion,
    ];

    /// What it is, in a few words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Text => "the label itself",
            Self::Hashes => "a worked answer that ends in #### and the label",
            Self::Boxed => r"a worked answer with the label in \boxed{}",
            Self::Index => "the number of the choice, from 0",
            Self::Number => "the number of the choice, from 1",
            Self::Letter => "the letter of the choice",
            Self::BesideWrong => "the right choice; the others are wrong ones",
            Self::InQuestion => "the letter of an option in the question",
        }
    }
}

impl Mapping {
    /// Refuses a field that the file does not have.
    fn check(&self, file: &QuestionFile) -> Result<(), QuestionsError> {
        let named = [("question", Some(&self.question)), ("answer", Some(&self.answer)), ("id", self.id.as_ref())];
        let named = named.into_iter().chain([("worked answer", self.solution.as_ref())]);
        let choices = self.choices.iter().map(|field| ("choices", Some(field)));
        for (role, field) in named.chain(choices).filter_map(|(role, field)| field.map(|field| (role, field))) {
            if file.has(field) {
                continue;
            }
            let known = file.fields.iter().map(|field| field.name.as_str());
            return Err(QuestionsError::UnknownField {
                file: file.shown(),
                role,
                field: clipped(field, 60),
                meant: nearest(field, known),
                fields: file.field_names(),
            });
        }
        Ok(())
    }

    /// The question that a record makes, or why it makes none.
    fn question(&self, id: String, record: &Arc<Value>) -> Result<Question, String> {
        let empty = Map::new();
        let fields = record.as_object().unwrap_or(&empty);
        let text = |field: &str| lookup(fields, field).and_then(text_of);
        let missing = |field: &str| format!("`{field}` is {}", what(lookup(fields, field)));
        let question = text(&self.question).ok_or_else(|| missing(&self.question))?;
        let answer = text(&self.answer).ok_or_else(|| missing(&self.answer))?;
        let (label, choices, correct) = match self.answer_form {
            AnswerForm::Hashes => {
                (after_hashes(&answer).ok_or("the answer has no `####` with a label after it")?, vec![], None)
            }
            AnswerForm::Boxed => (boxed(&answer).ok_or(r"the answer has no `\boxed{…}`")?, vec![], None),
            AnswerForm::InQuestion => match options::inside(&question) {
                Some(choices) => {
                    let correct = options::choice_of(&answer);
                    (String::new(), choices, Some(correct.ok_or_else(|| no_letter(&answer))?))
                }
                None => (answer.trim().to_owned(), vec![], None),
            },
            AnswerForm::BesideWrong => {
                let wrong = self.choices(fields, true)?;
                let mut order: Vec<usize> = (0..=wrong.len()).collect();
                Draw::new(0, "order of choices", &id).shuffle(&mut order);
                let all: Vec<String> = std::iter::once(answer.trim().to_owned()).chain(wrong).collect();
                let correct = order.iter().position(|choice| *choice == 0);
                (String::new(), order.iter().map(|choice| all[*choice].clone()).collect(), correct)
            }
            AnswerForm::Text if self.choices.is_empty() => (answer.trim().to_owned(), vec![], None),
            form => {
                let choices = self.choices(fields, false)?;
                let correct = match form {
                    AnswerForm::Index => whole_number(&answer).ok_or_else(|| no_number(&answer))?,
                    AnswerForm::Number => number_from_one(&answer).ok_or_else(|| no_number(&answer))?,
                    AnswerForm::Letter => options::choice_of(&answer)
                        .or_else(|| number_from_one(&answer))
                        .ok_or_else(|| no_letter(&answer))?,
                    _ => choices
                        .iter()
                        .position(|choice| choice.trim() == answer.trim())
                        .ok_or_else(|| format!("the answer `{}` is none of the choices", clipped(&answer, 40)))?,
                };
                (String::new(), choices, Some(correct))
            }
        };
        let answer = match correct {
            None => label,
            // Choices that come from elsewhere may be too few.
            Some(correct) if choices.len() < 2 || correct >= choices.len() => {
                return Err(format!("the answer is choice {} of {}", correct + 1, choices.len()));
            }
            Some(_) if choices.len() > MAX_CHOICES => {
                return Err(format!("it has {} choices, more than there are letters", choices.len()));
            }
            Some(correct) => options::letter(correct).map(String::from).unwrap_or_default(),
        };
        let worked = matches!(self.answer_form, AnswerForm::Hashes | AnswerForm::Boxed).then_some(&self.answer);
        let solution = self.solution.as_ref().or(worked).and_then(|field| text(field));
        Ok(Question { id, question, answer, choices, correct, solution, record: Arc::clone(record) })
    }

    /// The texts in the fields of the choices.
    fn choices(&self, fields: &Map<String, Value>, may_be_empty: bool) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for field in &self.choices {
            let value = lookup(fields, field);
            match value.and_then(|value| list_of(value).or_else(|| text_of(value).map(|text| vec![text]))) {
                Some(texts) => found.extend(texts),
                None if may_be_empty => {}
                None => return Err(format!("`{field}` is {}", what(value))),
            }
        }
        Ok(found)
    }
}

impl QuestionFile {
    /// Whether a name leads to a field, or into the objects of one.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
            || self.records.iter().any(|record| lookup(&record.fields, name).is_some())
    }

    /// The questions that the records make by that mapping.
    ///
    /// A record with no label is left out with its reason, since nothing could be graded as right.
    ///
    /// # Errors
    /// When the mapping names a field that there is not, the field of the id has a value twice, or no record makes a
    /// question. Ids that occur twice are refused, not made different: which answer belongs to which question in another
    /// file, or in this one in another order, could then not be told.
    pub fn questions(&self, mapping: &Mapping) -> Result<QuestionSet, QuestionsError> {
        mapping.check(self)?;
        let (mut questions, mut skipped) = (Vec::new(), Vec::new());
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (i, record) in self.records.iter().enumerate() {
            let id = match &mapping.id {
                None => Ok(i.to_string()),
                Some(field) => {
                    let value = lookup(&record.fields, field);
                    value.and_then(text_of).ok_or_else(|| format!("the id `{field}` is {}", what(value)))
                }
            };
            if let (Ok(id), Some(field)) = (&id, &mapping.id)
                && let Some(first) = seen.insert(id.clone(), i)
            {
                return Err(QuestionsError::DuplicateId {
                    file: self.shown(),
                    field: field.clone(),
                    id: clipped(id, 60),
                    first: first + 1,
                    second: i + 1,
                });
            }
            match id.and_then(|id| mapping.question(id, &Arc::new(Value::Object(record.fields.clone())))) {
                Ok(question) => questions.push(question),
                Err(why) => skipped.push(Skipped { record: i, line: record.line, why }),
            }
        }
        if questions.is_empty() {
            let first = skipped.first();
            let (record, why) = first.map_or((1, String::new()), |first| (first.record + 1, first.why.clone()));
            return Err(QuestionsError::AllSkipped { file: self.shown(), record, why });
        }
        Ok(QuestionSet {
            name: self.name.clone(),
            path: self.path.clone(),
            fingerprint: self.fingerprint.clone(),
            fields: self.fields.clone(),
            mapping: mapping.clone(),
            questions,
            skipped,
        })
    }
}

/// What stands where a text is wanted.
fn what(value: Option<&Value>) -> &'static str {
    match value {
        None => "missing",
        Some(Value::Null) => "null",
        Some(Value::Array(items)) if !items.is_empty() => "a list",
        Some(Value::Object(_)) => "an object",
        Some(_) => "empty",
    }
}

fn no_number(answer: &str) -> String {
    format!("the answer `{}` is not the number of a choice", clipped(answer, 40))
}

fn no_letter(answer: &str) -> String {
    format!("the answer `{}` is not the letter of a choice", clipped(answer, 40))
}

/// `2` or, as tables of numbers have it, `2.0`.
pub(super) fn whole_number(text: &str) -> Option<usize> {
    let text = text.trim();
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

fn number_from_one(text: &str) -> Option<usize> {
    whole_number(text)?.checked_sub(1)
}

/// What follows the last `####`, on its line.
pub(super) fn after_hashes(answer: &str) -> Option<String> {
    let (_, rest) = answer.rsplit_once("####")?;
    let label = rest.trim_start().lines().next().unwrap_or_default().trim();
    (!label.is_empty()).then(|| label.to_owned())
}

/// What the last `\boxed{…}` holds, braces inside it included.
pub(super) fn boxed(answer: &str) -> Option<String> {
    let (_, rest) = answer.rsplit_once(r"\boxed{")?;
    let mut depth = 1_usize;
    let end = rest.char_indices().find_map(|(at, letter)| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })?;
    let label = rest[..end].trim();
    (!label.is_empty()).then(|| label.to_owned())
}
