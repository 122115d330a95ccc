//! What was found out about answers, kept: a table that is made again while answers come looks at the new ones alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::arm::Arm;
use super::open::Sweep;
use super::table::expected;
use crate::evaluate::grade::{AnswerLanguage, AnswerTraits, Grade, Grader, Outcome, Thinking};
use crate::evaluate::log::{Contents, Sample, SampleKey};
use crate::evaluate::questions::Question;

/// The keys of an arm's answers, question by question, sample by sample.
pub type ArmKeys = Arc<Vec<Vec<SampleKey>>>;

/// What there is to say of one answer.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    /// Bytes of the text that was judged.
    length: usize,
    /// What it came to by each of the sweep's graders.
    pub outcomes: Vec<Outcome>,
    /// Whether it shows an equation.
    pub in_steps: bool,
    /// Whether it has a closed block of thinking.
    pub thinks: bool,
    /// The language it is written in.
    pub language: Option<AnswerLanguage>,
}

/// An answer and what there is to say of it; nothing of an error.
#[derive(Debug)]
pub(super) struct JudgedSample<'a> {
    pub sample: &'a Sample,
    pub judgement: Option<Arc<Judgement>>,
}

/// Keys and judgements that were asked for before.
#[derive(Debug, Default)]
pub(super) struct Judged {
    keys: Mutex<Vec<(Arm, String, ArmKeys)>>,
    /// By the answer and the position of its question: questions that share an answer may have labels of their own.
    answers: Mutex<HashMap<(SampleKey, usize), Arc<Judgement>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Judged {
    /// The same keys for other graders.
    pub fn for_other_graders(&self) -> Self {
        Self { keys: Mutex::new(locked(&self.keys).clone()), answers: Mutex::default() }
    }

    /// The keys of an arm, made once.
    pub fn keys(&self, arm: Arm, engine: &str, make: impl FnOnce() -> Vec<Vec<SampleKey>>) -> ArmKeys {
        let mut all = locked(&self.keys);
        if let Some((.., keys)) = all.iter().find(|(known, of, _)| *known == arm && of == engine) {
            return keys.clone();
        }
        let keys = Arc::new(make());
        all.push((arm, engine.to_owned(), keys.clone()));
        keys
    }
}

impl Sweep {
    /// What a text comes to by a grader.
    pub(super) fn grade(&self, question: &Question, text: &str, grader: &Grader) -> Grade {
        let mut expected = expected(question);
        if self.spec().choices.is_some() {
            // The answer is a letter, and must not be taken for another choice's text.
            expected.choices = &[];
        }
        grader.grade(text, &expected)
    }

    /// Every answer of an arm that is there, question by question, sample by sample.
    pub(super) fn judged<'a>(&self, arm: Arm, log: &'a Contents, engine: &str) -> Vec<Vec<Option<JudgedSample<'a>>>> {
        let keys = self.keys(arm, engine);
        let questions = &self.asked(arm).set.questions;
        let mut known = locked(&self.memory().answers);
        let mut judge = |(position, question): (usize, &Question), key: &SampleKey| {
            let sample = log.get(key)?;
            let Some(text) = sample.text() else { return Some(JudgedSample { sample, judgement: None }) };
            // An answer has the same text for ever, unless somebody changes the log by hand.
            if let Some(found) = known.get(&(*key, position)).filter(|found| found.length == text.len()) {
                return Some(JudgedSample { sample, judgement: Some(found.clone()) });
            }
            let traits = AnswerTraits::of(text);
            let outcome = |grader| Outcome::of(self.grade(question, text, grader).verdict, sample.finish);
            let judgement = Arc::new(Judgement {
                length: text.len(),
                outcomes: self.graders().iter().map(outcome).collect(),
                in_steps: traits.in_steps,
                thinks: matches!(traits.thinking, Thinking::Closed { .. }),
                language: traits.language,
            });
            known.insert((*key, position), judgement.clone());
            Some(JudgedSample { sample, judgement: Some(judgement) })
        };
        questions
            .iter()
            .enumerate()
            .zip(keys.iter())
            .map(|(question, keys)| keys.iter().map(|key| judge(question, key)).collect())
            .collect()
    }
}
