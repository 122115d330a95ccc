//! The answers question by question, and which of them w changes.

use std::ops::Range;

use mergescope_core::evaluate::grade::{Grader, Outcome};
use mergescope_core::evaluate::log::Contents;
use mergescope_core::evaluate::sweep::{ArmModel, GradedSample, Sweep, SweepTable};

/// A question.
#[derive(Clone, Debug)]
pub struct Item {
    /// What tells it apart.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The right answer.
    pub label: String,
    /// Whether w is chosen on it, so that it is not reported on.
    pub is_dev: bool,
}

/// An answer, graded.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it came to.
    pub outcome: Outcome,
    /// What the model said, or why it said nothing.
    pub text: String,
    /// What the grader found, in bytes of the text.
    pub span: Option<Range<usize>>,
    /// Tokens that it has.
    pub tokens: usize,
}

/// What one arm answered.
#[derive(Clone, Debug)]
pub struct Column {
    /// What it is called.
    pub label: String,
    /// Its scaling coefficient, of an arm of the grid that is asked in the first way, plainly.
    pub grid_w: Option<f64>,
    /// Its answers to each question, sample by sample, as far as they are there.
    pub answers: Vec<Vec<Answer>>,
}

/// All questions and answers.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// The questions, in the file's order.
    pub questions: Vec<Item>,
    /// The arms, as the table has them.
    pub columns: Vec<Column>,
}

/// Which questions are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    #[default]
    All,
    /// Wrong without, right with.
    Mended,
    /// Right without, wrong with.
    Broken,
    /// Wrong both times.
    WrongAtBoth,
    /// Without an answer because of an error.
    Errors,
}

impl Filter {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::All, Self::Mended, Self::Broken, Self::WrongAtBoth, Self::Errors];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mended => "mended",
            Self::Broken => "broken",
            Self::WrongAtBoth => "wrong at both",
            Self::Errors => "errors",
        }
    }
}

impl Items {
    /// The answers that the log has, graded by the first of the sweep's graders.
    pub fn of(sweep: &Sweep, table: &SweepTable, log: &Contents, engine: &str) -> Self {
        let questions = sweep.questions().iter().map(|question| Item {
            id: question.id.clone(),
            question: question.question.clone(),
            label: question.answer.clone(),
            is_dev: sweep.is_dev(question),
        });
        let grader = sweep.graders().first().cloned().unwrap_or(Grader::Exact);
        let columns = table.arms.iter().filter_map(|result| {
            let arm = result.arm?;
            let graded = sweep.graded(arm, log, engine, &grader);
            let answers = graded.into_iter().map(|samples| samples.into_iter().flatten().map(Answer::of).collect());
            let grid_w = match arm.model {
                ArmModel::W(w) if arm.prompt == 0 && !arm.perturbed => Some(w),
                _ => None,
            };
            Some(Column { label: result.label.clone(), grid_w, answers: answers.collect() })
        });
        Self { questions: questions.collect(), columns: columns.collect() }
    }

    /// The column of the grid at that w.
    pub fn at(&self, w: f64) -> Option<usize> {
        self.columns.iter().position(|column| column.grid_w == Some(w))
    }

    /// What the first answers to a question came to, in that column.
    pub fn outcome(&self, column: usize, question: usize) -> Option<Outcome> {
        Some(self.columns.get(column)?.answers.get(question)?.first()?.outcome)
    }

    /// Whether a question is one of those that are wanted, by its answers in two columns. What w is chosen on is only among all.
    fn is(&self, filter: Filter, question: usize, [without, with]: [usize; 2]) -> bool {
        if filter == Filter::All {
            return true;
        }
        if self.questions.get(question).is_none_or(|item| item.is_dev) {
            return false;
        }
        let outcomes = (self.outcome(without, question), self.outcome(with, question));
        let is_error = |outcome| outcome == Some(Outcome::Error);
        if filter == Filter::Errors {
            return is_error(outcomes.0) || is_error(outcomes.1);
        }
        let (Some(before), Some(after)) = outcomes else { return false };
        if is_error(Some(before)) || is_error(Some(after)) {
            return false;
        }
        match (before == Outcome::Right, after == Outcome::Right) {
            (false, true) => filter == Filter::Mended,
            (true, false) => filter == Filter::Broken,
            (false, false) => filter == Filter::WrongAtBoth,
            (true, true) => false,
        }
    }

    /// Positions of the questions that are wanted and have `search` in them, in their label or id.
    pub fn shown(&self, filter: Filter, search: &str, columns: [usize; 2]) -> Vec<usize> {
        let search = search.trim().to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&search);
        (0..self.questions.len())
            .filter(|at| {
                let item = &self.questions[*at];
                let found = search.is_empty() || has(&item.question) || has(&item.label) || has(&item.id);
                found && self.is(filter, *at, columns)
            })
            .collect()
    }

    /// How many questions that are reported on `with` mends and breaks.
    pub fn flips(&self, columns: [usize; 2]) -> (usize, usize) {
        let count = |filter| (0..self.questions.len()).filter(|at| self.is(filter, *at, columns)).count();
        (count(Filter::Mended), count(Filter::Broken))
    }

    /// A question that shows what w does: a mended one, else a broken one.
    pub fn example(&self, columns: [usize; 2]) -> Option<usize> {
        let find = |filter| (0..self.questions.len()).find(|at| self.is(filter, *at, columns));
        find(Filter::Mended).or_else(|| find(Filter::Broken))
    }
}

impl Answer {
    fn of(graded: GradedSample<'_>) -> Self {
        let text = graded.sample.text().map(str::to_owned);
        let text = text.or_else(|| graded.sample.error.clone()).unwrap_or_default();
        let span = graded.grade.and_then(|grade| grade.span).filter(|span| text.get(span.clone()).is_some());
        Self { outcome: graded.outcome, text, span, tokens: graded.sample.tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(rows: &[(Outcome, Outcome)]) -> Items {
        let answer = |outcome| vec![Answer { outcome, text: String::new(), span: None, tokens: 1 }];
        let column = |w, of: fn(&(Outcome, Outcome)) -> Outcome| Column {
            label: format!("w = {w}"),
            grid_w: Some(w),
            answers: rows.iter().map(|row| answer(of(row))).collect(),
        };
        let question = |at: usize| Item {
            id: at.to_string(),
            question: format!("問題 {at}"),
            label: String::new(),
            is_dev: at == 0,
        };
        let columns = vec![column(0.0, |row| row.0), column(0.5, |row| row.1)];
        Items { questions: (0..rows.len()).map(question).collect(), columns }
    }

    #[test]
    fn flips_are_counted_on_the_questions_that_are_reported_on() {
        use Outcome::{CutOff, Error, NoAnswer, Right, Wrong};
        let rows = [
            (Wrong, Right),
            (Wrong, Right),
            (NoAnswer, Right),
            (Right, CutOff),
            (Wrong, Wrong),
            (Error, Right),
            (Right, Right),
        ];
        let items = items(&rows);
        let columns = [items.at(0.0).unwrap(), items.at(0.5).unwrap()];
        assert_eq!(items.flips(columns), (2, 1), "the first is one that w is chosen on, the sixth has an error");
        assert_eq!(items.shown(Filter::Mended, "", columns), [1, 2]);
        assert_eq!(items.shown(Filter::Broken, "", columns), [3]);
        assert_eq!(items.shown(Filter::WrongAtBoth, "", columns), [4]);
        assert_eq!(items.shown(Filter::Errors, "", columns), [5]);
        assert_eq!(items.shown(Filter::All, "題 6", columns), [6]);
        assert_eq!(items.example(columns), Some(1));
    }
}
