//! Questions changed a little, to see whether right answers rest on understanding them: the adversarial condition.
//!
//! Each change follows from a seed and the question's id alone. What a change cannot be made to is left out of both
//! conditions, which are compared on the same questions.

mod annotations;
mod expression;
mod irrelevant;
mod literal;
mod noise;
mod numbers;
mod rational;
mod sentences;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::draw::Draw;
use super::mapping::{AnswerForm, Mapping};
use super::prompter::Prompter;
use super::set::{Question, QuestionSet};
use sentences::Sentences;

/// A way to change questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Perturbation {
    /// A sentence that has nothing to do with the question, with a number in it, stands between its sentences or before its
    /// only one (as GSM-IC: arXiv 2302.00093).
    IrrelevantSentence,
    /// The sentences before the last, which asks, stand in another order.
    ShuffledSentences,
    /// Letters of words are doubled, dropped or swapped with the next; digits, formulas and words for numbers stay.
    CharacterNoise {
        /// Share of the letters of words that a slip is made at, above 0 and at most 1.
        rate: f64,
    },
    /// Other numbers, and the label that they lead to; only where that label can be computed for certain (as GSM-Symbolic:
    /// arXiv 2410.05229).
    ChangedNumbers,
}

/// A rate that is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the rate of slips is {rate}; it must be above 0 and at most 1, for example 0.05")]
pub struct RateError {
    /// What was given.
    pub rate: f64,
}

/// A question set in two conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturbed {
    /// The questions that could be changed, as they were.
    pub original: QuestionSet,
    /// The same questions, by the same ids in the same order, changed.
    pub changed: QuestionSet,
    /// The others.
    pub left_out: Vec<LeftOut>,
}

/// A question that a change cannot be made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id.
    pub id: String,
    /// Why not.
    pub why: String,
}

/// What becomes of a question.
#[derive(Debug)]
struct Change {
    /// Its text.
    question: String,
    /// Its label, where that is another.
    answer: Option<String>,
}

impl Perturbation {
    /// What it does, in a few words. What is drawn at random depends on them too.
    pub fn label(self) -> &'static str {
        match self {
            Self::IrrelevantSentence => "irrelevant sentence",
            Self::ShuffledSentences => "shuffled sentences",
            Self::CharacterNoise { .. } => "character noise",
            Self::ChangedNumbers => "changed numbers",
        }
    }

    /// Changes the questions of a set.
    ///
    /// `prompter` is what they are asked with: a question whose prompt would stay the same is left out, since nothing would
    /// be tested.
    ///
    /// # Errors
    /// When the rate of slips is not a share.
    pub fn apply(self, set: &QuestionSet, prompter: &Prompter, seed: u64) -> Result<Perturbed, RateError> {
        if let Self::CharacterNoise { rate } = self
            && !(rate > 0.0 && rate <= 1.0)
        {
            return Err(RateError { rate });
        }
        let (mut original, mut changed, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for question in &set.questions {
            let other = self.change(question, seed).map(|change| with_change(question, change, &set.mapping));
            let other = other.and_then(|other| {
                if other.question == question.question {
                    // Slips can undo each other.
                    Err("the change leaves it as it was".to_owned())
                } else if prompter.prompt(&other) == prompter.prompt(question) {
                    Err("its prompt does not change: the template leaves the question's text out".to_owned())
                } else {
                    Ok(other)
                }
            });
            match other {
                Ok(other) => {
                    original.push(question.clone());
                    changed.push(other);
                }
                Err(why) => left_out.push(LeftOut { id: question.id.clone(), why }),
            }
        }
        Ok(Perturbed { original: set.with(original), changed: set.with(changed), left_out })
    }

    fn change(self, question: &Question, seed: u64) -> Result<Change, String> {
        let mut draw = Draw::new(seed, self.label(), &question.id);
        let text = |question| Change { question, answer: None };
        match self {
            Self::IrrelevantSentence => Ok(text(irrelevant::insert(&question.question, &mut draw))),
            Self::ShuffledSentences => Sentences::of(&question.question)
                .shuffled(&mut draw)
                .map(text)
                .ok_or_else(|| "it has no two different sentences before the last".to_owned()),
            Self::CharacterNoise { rate } => noise::add(&question.question, rate, &mut draw)
                .map(text)
                .ok_or_else(|| "it has no word to make a slip in".to_owned()),
            Self::ChangedNumbers => numbers::change(question, &mut draw),
        }
    }
}

/// The question after a change. Wherever its record quotes the question, as a prompt of its own does, it quotes the new one.
fn with_change(question: &Question, change: Change, mapping: &Mapping) -> Question {
    let mut fields = question.record.as_object().cloned().unwrap_or_default();
    let root = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
    let kept: Vec<String> = mapping.id.iter().chain(&mapping.solution).chain(&mapping.choices).map(root).collect();
    for (name, value) in &mut fields {
        // Where the answer is a field of its own it is no place for the question.
        if *name != mapping.answer && !kept.contains(name) {
            replace_in(value, &question.question, &change.question);
        }
    }
    let mut changed = Question { question: change.question, ..question.clone() };
    if let Some(label) = change.answer {
        set_label(&mut fields, mapping, &label);
        changed.answer = label;
        // It leads to the old label.
        changed.solution = None;
    }
    changed.record = Arc::new(Value::Object(fields));
    changed
}

/// Replaces a text wherever it stands in a value.
fn replace_in(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_in(item, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_in(field, from, to)),
        _ => {}
    }
}

/// Puts the new label where the old one stood, and takes away the worked answer that led to the old one.
fn set_label(fields: &mut Map<String, Value>, mapping: &Mapping, label: &str) {
    if let Some(solution) = mapping.solution.as_ref().filter(|solution| **solution != mapping.answer) {
        fields.shift_remove(solution);
    }
    if let Some(answer) = fields.get_mut(&mapping.answer) {
        *answer = match (mapping.answer_form, serde_json::from_str(label)) {
            (AnswerForm::Hashes, _) => Value::String(format!("#### {label}")),
            (AnswerForm::Boxed, _) => Value::String(format!("\\boxed{{{label}}}")),
            (_, Ok(number)) if answer.is_number() => Value::Number(number),
            _ => Value::String(label.to_owned()),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::questions::{Preset, QuestionFile, Template};

    const ALL: [Perturbation; 4] = [
        Perturbation::IrrelevantSentence,
        Perturbation::ShuffledSentences,
        Perturbation::CharacterNoise { rate: 0.1 },
        Perturbation::ChangedNumbers,
    ];

    fn asked(text: &str) -> (QuestionSet, Prompter) {
        let file = QuestionFile::from_bytes("set.jsonl", text.as_bytes()).unwrap();
        let preset = Preset::of(&file).unwrap();
        let set = file.questions(&preset.mapping).unwrap();
        let prompter = Prompter::new(&preset.template, &set).unwrap();
        (set, prompter)
    }

    fn story(count: usize) -> String {
        let line = |i| {
            format!(
                "{{\"id\":\"q{i}\",\"question\":\"Ann has {i}1 hens. She buys some. Then it rains. How many?\",\"answer\":\"{i}\"}}\n"
            )
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn both_conditions_have_the_same_ids_and_the_rest_is_named() {
        let text = story(3) + "{\"id\":\"sum\",\"question\":\"sum of 3, 8?\",\"answer\":\"11\"}\n";
        let (set, prompter) = asked(&text);
        for (perturbation, kept) in ALL.into_iter().zip([4, 3, 4, 1]) {
            let perturbed = perturbation.apply(&set, &prompter, 1).unwrap();
            assert_eq!(perturbed.original.questions.len(), kept, "{}", perturbation.label());
            assert_eq!(perturbed.left_out.len(), 4 - kept);
            for (original, changed) in perturbed.original.questions.iter().zip(&perturbed.changed.questions) {
                assert_eq!(original.id, changed.id);
                assert_ne!(original.question, changed.question);
                assert_ne!(prompter.prompt(original), prompter.prompt(changed));
                assert_eq!(original.answer == changed.answer, perturbation != Perturbation::ChangedNumbers);
            }
        }
        let shuffled = Perturbation::ShuffledSentences.apply(&set, &prompter, 1).unwrap();
        let left_out =
            LeftOut { id: "sum".to_owned(), why: "it has no two different sentences before the last".to_owned() };
        assert_eq!(shuffled.left_out, [left_out]);
    }

    #[test]
    fn a_prompt_that_quotes_the_question_quotes_the_changed_one() {
        let (set, prompter) =
            asked(r#"{"id":"a","question":"問題:29と5の合計は?","prompt":"問題:29と5の合計は?\n答え:","answer":34}"#);
        let perturbed = Perturbation::ChangedNumbers.apply(&set, &prompter, 1).unwrap();
        let changed = &perturbed.changed.questions[0];
        assert_eq!(prompter.preview(changed), format!("{}\n答え:", changed.question));
        assert_eq!(changed.record["answer"].to_string(), changed.answer);
        assert_eq!(changed.record["id"], "a");
        assert_eq!(set.questions[0].record["answer"], 34);
    }

    #[test]
    fn a_changed_label_leaves_no_worked_answer_to_the_old_one() {
        let (set, prompter) =
            asked(r#"{"question":"Ann has 3 hens and 8 cows. How many?","answer":"<<3+8=11>>11\n#### 11"}"#);
        let perturbed = Perturbation::ChangedNumbers.apply(&set, &prompter, 1).unwrap();
        let changed = &perturbed.changed.questions[0];
        assert_eq!(changed.solution, None);
        assert_eq!(changed.record["answer"], format!("#### {}", changed.answer));
    }

    #[test]
    fn a_change_that_does_not_reach_the_prompt_tests_nothing() {
        let text = r#"{"question":"Who has 3 hens?","prompt":"Ann has 3 hens. Who?","answer":"Ann"}"#;
        let (set, prompter) = asked(text);
        let perturbed = Perturbation::IrrelevantSentence.apply(&set, &prompter, 1).unwrap();
        assert!(perturbed.changed.questions.is_empty());
        assert!(perturbed.left_out[0].why.contains("its prompt does not change"));
        let prompter = Prompter::new(&Template::default(), &set).unwrap();
        assert!(Perturbation::IrrelevantSentence.apply(&set, &prompter, 1).unwrap().left_out.is_empty());
    }

    #[test]
    fn an_irrelevant_sentence_speaks_the_questions_language_and_does_not_ask_last() {
        let (set, prompter) = asked(&story(20));
        for question in &Perturbation::IrrelevantSentence.apply(&set, &prompter, 1).unwrap().changed.questions {
            assert!(question.question.starts_with("Ann has ") && question.question.ends_with(". How many?"));
            assert_eq!(Sentences::of(&question.question).sentences.len(), 5, "{}", question.question);
        }
        let (set, prompter) = asked(r#"{"question":"問題:29と5の合計は?","answer":34}"#);
        let changed = Perturbation::IrrelevantSentence.apply(&set, &prompter, 1).unwrap().changed;
        let text = &changed.questions[0].question;
        assert!(text.starts_with("問題:") && text.ends_with("。29と5の合計は?"), "{text}");
    }

    #[test]
    fn a_rate_that_is_no_share_is_refused() {
        let (set, prompter) = asked(&story(1));
        for rate in [0.0, -1.0, 1.5, f64::NAN] {
            let message = Perturbation::CharacterNoise { rate }.apply(&set, &prompter, 1).unwrap_err().to_string();
            assert!(message.contains("above 0 and at most 1"), "{message}");
        }
    }

    #[test]
    fn a_perturbation_is_kept_in_a_file_by_its_name() {
        assert_eq!(serde_json::to_string(&ALL[0]).unwrap(), r#""irrelevant-sentence""#);
        assert_eq!(serde_json::to_string(&ALL[2]).unwrap(), r#"{"character-noise":{"rate":0.1}}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// By seed and id, whatever stands before it in the file; and no text panics.
        #[test]
        fn every_change_follows_from_seed_and_id(
            text in "([A-Ca-c0-9+*/=()<>.?$%, -]|sum of 3, 8|Options:\\n|の合計|と|あい。){1,40}",
            seed in 0_u64..4,
        ) {
            // A file of nothing but blanks has no question.
            prop_assume!(!text.trim().is_empty());
            let question = |id: &str| serde_json::json!({"id": id, "question": text, "answer": "<<3+8=11>> #### 11"});
            let (alone, prompter) = asked(&format!("{}\n", question("x")));
            let (second, _) = asked(&format!("{}\n{}\n", question("w"), question("x")));
            for perturbation in ALL {
                let first = perturbation.apply(&alone, &prompter, seed).unwrap();
                let again = perturbation.apply(&second, &prompter, seed).unwrap();
                let x = |set: QuestionSet| set.questions.into_iter().find(|question| question.id == "x");
                prop_assert_eq!(x(first.changed), x(again.changed));
            }
        }
    }
}
