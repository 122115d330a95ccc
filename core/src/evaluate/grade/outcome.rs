//! What became of a generation: its grade together with how it ended.

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::engine::Finish;

/// What became of one generation, for counting: each is exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The right answer was found, even if the text was cut off after it: lm-eval, which does not look at how a text ended,
    /// counts so too.
    Right,
    /// Another answer was found, and the text came to its end.
    Wrong,
    /// No answer was found, and the text came to its end.
    NoAnswer,
    /// The text reached the token limit without the right answer. What was found in it, if anything, may be no answer yet.
    CutOff,
    /// There is no text.
    Error,
}

impl Outcome {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Right, Self::Wrong, Self::NoAnswer, Self::CutOff, Self::Error];

    /// What became of a generation with that grade and that end; `finish` is `None` where nobody knows how it ended, as with
    /// most imported results.
    pub fn of(verdict: Verdict, finish: Option<Finish>) -> Self {
        match (verdict, finish) {
            (Verdict::Right, _) => Self::Right,
            (_, Some(Finish::Length)) => Self::CutOff,
            (Verdict::Wrong, _) => Self::Wrong,
            (Verdict::NoAnswer, _) => Self::NoAnswer,
        }
    }

    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::NoAnswer => "no answer found",
            Self::CutOff => "cut off",
            Self::Error => "error",
        }
    }
}

/// How many generations came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// [`Outcome::Right`].
    pub right: u64,
    /// [`Outcome::Wrong`].
    pub wrong: u64,
    /// [`Outcome::NoAnswer`].
    pub no_answer: u64,
    /// [`Outcome::CutOff`].
    pub cut_off: u64,
    /// [`Outcome::Error`].
    pub error: u64,
    /// Those that reached the token limit, the right ones among them included.
    pub at_limit: u64,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, outcome: Outcome, finish: Option<Finish>) {
        let count = match outcome {
            Outcome::Right => &mut self.right,
            Outcome::Wrong => &mut self.wrong,
            Outcome::NoAnswer => &mut self.no_answer,
            Outcome::CutOff => &mut self.cut_off,
            Outcome::Error => &mut self.error,
        };
        *count += 1;
        self.at_limit += u64::from(outcome != Outcome::Error && finish == Some(Finish::Length));
    }

    /// Those that a share of right ones is taken of: all that have a text. An error says nothing about the model.
    pub fn graded(&self) -> u64 {
        self.right + self.wrong + self.no_answer + self.cut_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_answer_stays_right_when_the_text_was_cut_off_after_it() {
        assert_eq!(Outcome::of(Verdict::Right, Some(Finish::Length)), Outcome::Right);
        assert_eq!(Outcome::of(Verdict::Wrong, Some(Finish::Length)), Outcome::CutOff);
        assert_eq!(Outcome::of(Verdict::NoAnswer, Some(Finish::Length)), Outcome::CutOff);
        assert_eq!(Outcome::of(Verdict::Wrong, Some(Finish::Stop)), Outcome::Wrong);
        assert_eq!(Outcome::of(Verdict::NoAnswer, None), Outcome::NoAnswer);
    }

    #[test]
    fn errors_are_counted_and_not_graded() {
        let mut tally = Tally::default();
        tally.add(Outcome::Right, Some(Finish::Length));
        tally.add(Outcome::CutOff, Some(Finish::Length));
        tally.add(Outcome::Wrong, Some(Finish::Stop));
        tally.add(Outcome::Error, None);
        assert_eq!(tally, Tally { right: 1, wrong: 1, cut_off: 1, error: 1, at_limit: 2, no_answer: 0 });
        assert_eq!(tally.graded(), 3);
    }
}
