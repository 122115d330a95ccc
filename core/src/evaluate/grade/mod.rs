//! Is an answer right? Several graders, to be shown side by side on the same outputs.
//!
//! A grader looks at the text after a reasoning model's thinking ([`Thinking`]), in NFKC, so that full-width digits count.
//! Numbers are compared as numbers, to the last digit; `,`, `$` and `¥` are dropped before that, and full stops at the end.

mod boxed;
mod choice;
mod folded;
mod number;
mod outcome;
mod pattern;
mod think;
mod traits;

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

pub use outcome::{Outcome, Tally};
pub use pattern::{MAX_PATTERN_BYTES, Pattern, PatternError};
pub use think::Thinking;
pub use traits::{AnswerLanguage, AnswerTraits};

use folded::{Folded, fold};
use number::Number;
use pattern::known;

/// How an answer is found in an output and compared with the label.
///
/// As text: `strict`, or `{ regex = "…" }` for a pattern of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grader {
    /// The output contains the label anywhere: the grader of arXiv 2508.02913. It overestimates, since the label 7 is found
    /// in 17 and in any number or step on the way.
    Substring,
    /// The number in the form that the prompt asks for: lm-eval's `strict-match` of GSM8K (`#### 29`), GSM8K-CoT ("The answer
    /// is 29.") and MGSM in Japanese (答えは29です。), in this order; the first match counts.
    ///
    /// Unlike lm-eval's, the pattern of GSM8K-CoT does not ask for a character after the number: where there is none, lm-eval
    /// takes the last digit for it and reads 2 from "The answer is 29".
    Strict,
    /// The last number: lm-eval's `flexible-extract`.
    ///
    /// Unlike there, what holds no digit is passed over: lm-eval reads `$$` as the answer of `$$\boxed{29}$$`.
    Flexible,
    /// What stands in the last complete `\boxed{…}`; compared as a number, or else as LaTeX in one way of writing it.
    Boxed,
    /// The letter or the text of one of the question's choices.
    Choice,
    /// The whole answer is the label.
    Exact,
    /// The last match of a pattern: its first group that took part, or all of it. The text as it stands is searched first,
    /// then in NFKC, so that a pattern may be written with full-width characters or without.
    Regex(Pattern),
}

/// What a question expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The right answer. For [`Grader::Choice`] the letter or the text of the right choice.
    pub label: &'a str,
    /// The texts of the choices, A first; empty if there are none, or if they stand in the question's text alone.
    pub choices: &'a [String],
}

impl Expected<'_> {
    /// The position of the right choice, `None` where the label is none of them and [`Grader::Choice`] can find no answer
    /// right.
    pub fn right_choice(&self) -> Option<usize> {
        choice::index_of_label(self.label, self.choices)
    }
}

/// What a grader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The right answer.
    Right,
    /// Another answer.
    Wrong,
    /// No answer.
    NoAnswer,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grade {
    /// Right, wrong or no answer.
    pub verdict: Verdict,
    /// The answer that was found, in NFKC.
    pub extracted: Option<String>,
    /// Where it stands, in bytes of the output as it is, at borders of characters.
    pub span: Option<Range<usize>>,
}

impl Grade {
    const NO_ANSWER: Self = Self { verdict: Verdict::NoAnswer, extracted: None, span: None };
}

static STRICT: LazyLock<[Regex; 3]> =
    LazyLock::new(|| [r"#### (-?[0-9.,]+)", r"The answer is (-?[0-9.,]+)", r"答えは(-?[0-9.,]+)です。"].map(known));
static FLEXIBLE: LazyLock<Regex> = LazyLock::new(|| known(r"-?[$0-9.,]{2,}|-?[0-9]+"));

impl Grader {
    /// Those that need nothing more to be said, in the order in which they are shown.
    pub const BUILT_IN: [Self; 6] =
        [Self::Strict, Self::Flexible, Self::Boxed, Self::Choice, Self::Exact, Self::Substring];

    /// Its name in files and tables.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Substring => "substring",
            Self::Strict => "strict",
            Self::Flexible => "flexible",
            Self::Boxed => "boxed",
            Self::Choice => "choice",
            Self::Exact => "exact",
            Self::Regex(_) => "regex",
        }
    }

    /// Grades an output as the model gave it. An empty label is never right.
    pub fn grade(&self, output: &str, expected: &Expected<'_>) -> Grade {
        let Some(start) = Thinking::of(output).answer_start(output) else { return Grade::NO_ANSWER };
        let answer = &output[start..];
        if answer.trim().is_empty() {
            return Grade::NO_ANSWER;
        }
        let folded = Folded::new(answer);
        let text = folded.text();
        let label = fold(expected.label);
        let label = label.trim();
        let grade = |found: Range<usize>, is_right: bool| {
            let original = folded.original(found.clone());
            Grade {
                verdict: if is_right && !label.is_empty() { Verdict::Right } else { Verdict::Wrong },
                extracted: Some(text[found].to_owned()),
                span: Some(start + original.start..start + original.end),
            }
        };
        let compared = |found: Option<Range<usize>>| match found {
            Some(found) if !is_blank(&text[found.clone()]) => grade(found.clone(), equal(&text[found], label)),
            _ => Grade::NO_ANSWER,
        };
        match self {
            Self::Substring => match text.find(label).filter(|_| !label.is_empty()) {
                Some(at) => grade(at..at + label.len(), true),
                None => Grade { verdict: Verdict::Wrong, ..Grade::NO_ANSWER },
            },
            Self::Strict => compared(
                STRICT
                    .iter()
                    .filter_map(|pattern| pattern.captures_iter(text).find_map(|found| Some(found.get(1)?.range())))
                    .next(),
            ),
            Self::Flexible => compared(
                FLEXIBLE
                    .find_iter(text)
                    .map(|found| found.range())
                    .filter(|found| !is_blank(&text[found.clone()]))
                    .last(),
            ),
            Self::Boxed => match boxed::last_boxed(text) {
                Some(found) if !text[found.clone()].trim().is_empty() => {
                    let is_right = equal_latex(&text[found.clone()], label);
                    grade(found, is_right)
                }
                _ => Grade::NO_ANSWER,
            },
            Self::Choice => match choice::find(text, expected.choices) {
                Some((named, found)) => grade(found, expected.right_choice() == Some(named)),
                None => Grade::NO_ANSWER,
            },
            Self::Exact => {
                let from = text.len() - text.trim_start().len();
                let whole = from..text.trim_end().len();
                let is_right = equal(&text[whole.clone()], label);
                grade(whole, is_right)
            }
            Self::Regex(pattern) => match last_match(pattern.regex(), answer) {
                Some(found) => Grade {
                    verdict: match equal(&fold(&answer[found.clone()]), label) && !label.is_empty() {
                        true => Verdict::Right,
                        false => Verdict::Wrong,
                    },
                    extracted: Some(fold(&answer[found.clone()])),
                    span: Some(start + found.start..start + found.end),
                },
                None => match last_match(pattern.regex(), text) {
                    Some(found) => grade(found.clone(), equal(&text[found], label)),
                    None => Grade::NO_ANSWER,
                },
            },
        }
    }
}

/// The first group of the last match that took part in it, or all of the match.
fn last_match(pattern: &Regex, text: &str) -> Option<Range<usize>> {
    let found = pattern.captures_iter(text).last()?;
    let group = found.iter().skip(1).flatten().next().or(found.get(0))?;
    Some(group.range())
}

/// Whether nothing is left of an answer once what is dropped before comparing is dropped.
fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || matches!(character, ',' | '$' | '¥' | '.' | '。' | '-'))
}

/// Whether two folded texts are the same number, or else the same text without `,`, `$`, `¥` and full stops at the end.
fn equal(a: &str, b: &str) -> bool {
    match (Number::parse(a), Number::parse(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => plain(a) == plain(b),
        _ => false,
    }
}

fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|character| !matches!(character, ',' | '$' | '¥')).collect();
    text.trim().trim_end_matches(['.', '。']).trim_end().to_owned()
}

/// Whether two pieces of folded LaTeX are the same number, or else the same text in one way of writing it.
fn equal_latex(a: &str, b: &str) -> bool {
    let (a, b) = (boxed::normal_latex(a), boxed::normal_latex(b));
    match (Number::parse(&a), Number::parse(&b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b && !a.is_empty(),
    }
}

#[cfg(test)]
mod tests;
