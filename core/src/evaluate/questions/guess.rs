//! A mapping guessed from the names of fields and the values in them.

use serde_json::Value;

use super::error::QuestionsError;
use super::file::{QuestionFile, Record};
use super::mapping::{AnswerForm, Mapping, whole_number};
use super::options;
use super::value::{list_of, lookup, text_of};

/// Names as public question sets have them, the likeliest first; see [`plain`] for how they are compared.
const QUESTION: [&str; 15] = [
    "question",
    "problem",
    "questiontext",
    "questionstem",
    "query",
    "goal",
    "ctx",
    "input",
    "sentence",
    "prompt",
    "instruction",
    "text",
    "問題",
    "質問",
    "設問",
];
const ANSWER: [&str; 24] = [
    "answernumber",
    "finalanswer",
    "answerkey",
    "correctanswer",
    "bestanswer",
    "answer",
    "target",
    "label",
    "gold",
    "goldanswer",
    "expected",
    "expectedanswer",
    "answerindex",
    "answeridx",
    "correct",
    "correctchoice",
    "correctoption",
    "solution",
    "output",
    "response",
    "completion",
    "答え",
    "正解",
    "解答",
];
const ID: [&str; 13] = [
    "id",
    "qid",
    "questionid",
    "problemid",
    "docid",
    "taskid",
    "uid",
    "uniqueid",
    "exampleid",
    "sampleid",
    "idx",
    "index",
    "column1",
];
const SOLUTION: [&str; 6] = ["solution", "answer", "rationale", "reasoning", "explanation", "cot"];
const CHOICE_LISTS: [&str; 5] = ["choices", "options", "endings", "answerchoices", "candidates"];
const CHOICE_SERIES: [&str; 7] = ["choice", "option", "ending", "opt", "solution", "sol", ""];
const WRONG_LISTS: [&str; 3] = ["distractors", "incorrectanswers", "wronganswers"];
const WRONG_SERIES: [&str; 5] = ["distractor", "incorrectanswer", "wronganswer", "incorrect", "wrong"];
/// Records whose values are looked at to tell what the answer's field holds.
const LOOKED_AT: usize = 1000;

/// A field's name without case, spaces, `_` and `-`: `Correct Answer` is `correctanswer`.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

impl Mapping {
    /// What the fields of a file most likely mean.
    ///
    /// # Errors
    /// When no field can be told to be the question, or the answer.
    pub fn guess(file: &QuestionFile) -> Result<Self, QuestionsError> {
        let fields = Fields::of(file);
        let nothing = |role| QuestionsError::NoGuess { file: file.shown(), role, fields: file.field_names() };
        let question = fields.first(&QUESTION, &[]).ok_or_else(|| nothing("question"))?;
        let answer = fields.first(&ANSWER, &[&question]).ok_or_else(|| nothing("answer"))?;
        let wrong = fields.choices(&WRONG_LISTS, &WRONG_SERIES);
        let (choices, answer_form) = if wrong.is_empty() {
            let choices = fields.choices(&CHOICE_LISTS, &CHOICE_SERIES);
            let form = match choices.is_empty() {
                true => free_form(file, &question, &answer),
                false => choice_form(file, &answer, &choices),
            };
            (choices, form)
        } else {
            (wrong, AnswerForm::BesideWrong)
        };
        let solution = match choices.is_empty() && !matches!(answer_form, AnswerForm::Hashes | AnswerForm::Boxed) {
            true => fields.first(&SOLUTION, &[&question, &answer]),
            false => None,
        };
        let id = ID.iter().filter_map(|name| fields.named(name)).find(|field| tells_apart(&file.records, field));
        Ok(Self { id: id.map(str::to_owned), question, answer, answer_form, choices, solution })
    }
}

impl QuestionFile {
    /// A field that is called like an id and cannot be one, since records share a value or have none: by `mapping` questions
    /// then go by their position.
    pub fn unusable_id(&self, mapping: &Mapping) -> Option<&str> {
        if mapping.id.is_some() {
            return None;
        }
        let fields = Fields::of(self);
        ID.iter().filter_map(|name| fields.named(name)).find(|field| !tells_apart(&self.records, field))
    }
}

/// The fields that hold anything, by their plain names.
struct Fields<'a> {
    file: &'a QuestionFile,
    named: Vec<(String, &'a str)>,
}

impl<'a> Fields<'a> {
    fn of(file: &'a QuestionFile) -> Self {
        let filled = file.fields.iter().filter(|field| !field.example.is_empty());
        Self { file, named: filled.map(|field| (plain(&field.name), field.name.as_str())).collect() }
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.named.iter().find(|(plain, _)| plain == name).map(|(_, field)| *field)
    }

    fn first(&self, names: &[&str], taken: &[&String]) -> Option<String> {
        let mut found = names.iter().filter_map(|name| self.named(name)).map(str::to_owned);
        found.find(|field| !taken.contains(&field))
    }

    /// A field with a list of texts, `text` of an object with one, or a series of fields.
    fn choices(&self, lists: &[&str], series: &[&str]) -> Vec<String> {
        for field in lists.iter().filter_map(|name| self.named(name)) {
            let value = self.file.records.iter().filter_map(|record| record.fields.get(field)).find(|v| !v.is_null());
            match value {
                Some(Value::Object(object)) if object.get("text").is_some_and(Value::is_array) => {
                    return vec![format!("{field}.text")];
                }
                Some(value) if list_of(value).is_some_and(|texts| texts.len() > 1) => return vec![field.to_owned()],
                _ => {}
            }
        }
        let found =
            series.iter().flat_map(|prefix| ["012345678", "123456789", "abcdefghij"].map(|marks| (prefix, marks)));
        let found = found.filter(|(prefix, marks)| !prefix.is_empty() || marks.starts_with('a'));
        let series = found.map(|(prefix, marks)| {
            let fields = marks.chars().map_while(|mark| self.any_named(&format!("{prefix}{mark}")));
            fields.map(str::to_owned).collect::<Vec<_>>()
        });
        series.into_iter().find(|fields| fields.len() > 1).unwrap_or_default()
    }

    /// As [`Fields::named`], also of a field that is empty throughout.
    fn any_named(&self, name: &str) -> Option<&'a str> {
        self.file.fields.iter().map(|field| field.name.as_str()).find(|field| plain(field) == name)
    }
}

/// Whether every record has a value there, and each another.
fn tells_apart(records: &[Record], field: &str) -> bool {
    let mut seen = std::collections::HashSet::new();
    records.iter().all(|record| record.fields.get(field).and_then(text_of).is_some_and(|id| seen.insert(id)))
}

fn texts<'a>(file: &'a QuestionFile, field: &'a str) -> impl Iterator<Item = String> + 'a {
    file.records.iter().take(LOOKED_AT).filter_map(move |record| record.fields.get(field).and_then(text_of))
}

/// What an answer without choices of its own holds.
fn free_form(file: &QuestionFile, question: &str, answer: &str) -> AnswerForm {
    let mostly = |holds: fn(&str) -> bool| {
        let (held, all) =
            texts(file, answer).fold((0, 0), |(held, all), text| (held + usize::from(holds(&text)), all + 1));
        held * 2 > all
    };
    if mostly(|text| text.contains("####")) {
        return AnswerForm::Hashes;
    }
    // An answer that is nothing but a box is one too.
    if mostly(|text| text.contains(r"\boxed{")) {
        return AnswerForm::Boxed;
    }
    let mut pairs = file.records.iter().take(LOOKED_AT).filter_map(|record| {
        Some((record.fields.get(question).and_then(text_of)?, record.fields.get(answer).and_then(text_of)?))
    });
    let in_question = pairs.any(|(question, answer)| {
        answer.trim().starts_with('(') && options::choice_of(&answer).is_some() && options::inside(&question).is_some()
    });
    if in_question { AnswerForm::InQuestion } else { AnswerForm::Text }
}

/// What an answer beside a list of choices holds.
fn choice_form(file: &QuestionFile, answer: &str, choices: &[String]) -> AnswerForm {
    let records = || file.records.iter().take(LOOKED_AT);
    // A number that JSON has as one counts choices, even where the choices are numbers themselves.
    let are_numbers = records().filter_map(|record| record.fields.get(answer)).any(Value::is_number);
    let is_choice = |record: &Record| {
        let answer = record.fields.get(answer).and_then(text_of)?;
        let mut all = choices.iter().filter_map(|field| lookup(&record.fields, field));
        Some(all.any(|value| {
            let texts = list_of(value).or_else(|| text_of(value).map(|text| vec![text])).unwrap_or_default();
            texts.iter().any(|text| text.trim() == answer.trim())
        }))
    };
    if !are_numbers && records().filter_map(is_choice).all(|is| is) {
        return AnswerForm::Text;
    }
    let numbers: Option<Vec<usize>> = texts(file, answer).map(|text| whole_number(&text)).collect();
    match numbers {
        Some(numbers) if numbers.contains(&0) => AnswerForm::Index,
        // Without a 0 among many answers, and with the last number where there is one, they count from one.
        Some(numbers) => {
            let starts_at_one = choices.first().is_some_and(|field| field.ends_with('1'));
            let most = records().map(|record| count_of(record, choices)).max().unwrap_or(0);
            if starts_at_one || numbers.iter().any(|number| *number >= most) {
                AnswerForm::Number
            } else {
                AnswerForm::Index
            }
        }
        None => AnswerForm::Letter,
    }
}

fn count_of(record: &Record, choices: &[String]) -> usize {
    let values = choices.iter().filter_map(|field| lookup(&record.fields, field));
    values.map(|value| list_of(value).map_or(1, |texts| texts.len())).sum()
}
