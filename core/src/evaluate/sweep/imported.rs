//! Results that others measured, as rows of the table.

use std::collections::{HashMap, HashSet};

use super::compare::{Against, correct};
use super::table::{ArmResult, Languages, Rights};
use crate::evaluate::grade::Tally;
use crate::evaluate::log::import::{ImportedArm, ImportedResults};
use crate::evaluate::statistics::{Average, Confidence, Share};

/// What an arm comes to on the questions that are reported on.
struct Measured<'a> {
    arm: &'a ImportedArm,
    /// All answers together.
    share: Share,
    /// Whether each answer to each question is right; `None` where only their number is known.
    by_question: Option<Vec<(&'a str, Vec<bool>)>>,
}

/// A row for each arm. Answers to questions in `dev`, on which w is chosen, are left out.
///
/// What an arm is held against is w = 0 of its own series, which others measured too. A series without one is held against the
/// sweep's, `baseline`, by the ids of the questions; where there are none but counts, it is held against nothing: whether they
/// are of the same questions, nobody knows.
pub(super) fn rows(
    arms: &[ImportedArm],
    dev: Option<&HashSet<String>>,
    baseline: &HashMap<&str, Vec<bool>>,
) -> Vec<ArmResult> {
    let measured: Vec<Measured<'_>> = arms.iter().map(|arm| Measured::of(arm, dev)).collect();
    let own_baseline =
        |arm: &ImportedArm| measured.iter().find(|other| other.arm.w == Some(0.0) && other.arm.series == arm.series);
    let mut rows: Vec<ArmResult> = measured
        .iter()
        .map(|found| {
            let against = match own_baseline(found.arm) {
                Some(_) if found.arm.w == Some(0.0) => None,
                Some(own) => found.against(own),
                None => found.by_question.as_ref().and_then(|found| paired(found, baseline)),
            };
            found.row(against)
        })
        .collect();
    for (at, first) in measured.iter().enumerate() {
        let series = &first.arm.series;
        let is_known = measured[..at].iter().any(|earlier| earlier.arm.series == *series);
        if is_known || own_baseline(first.arm).is_none() {
            continue;
        }
        let of_series = rows.iter_mut().filter(|row| row.series.as_ref() == Some(series) && row.w.is_some());
        correct(&mut of_series.filter_map(|row| row.against.as_mut()).collect::<Vec<_>>());
    }
    rows
}

impl<'a> Measured<'a> {
    fn of(arm: &'a ImportedArm, dev: Option<&HashSet<String>>) -> Self {
        let outcomes = match &arm.results {
            ImportedResults::Counts(share) => return Self { arm, share: *share, by_question: None },
            ImportedResults::PerQuestion(outcomes) => outcomes,
        };
        let mut by_question: Vec<(&str, Vec<bool>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for outcome in outcomes {
            let id = outcome.question_id.as_str();
            if dev.is_some_and(|dev| dev.contains(id)) {
                continue;
            }
            let place = *places.entry(id).or_insert_with(|| {
                by_question.push((id, Vec::new()));
                by_question.len() - 1
            });
            by_question[place].1.push(outcome.right);
        }
        let all = || by_question.iter().flat_map(|(_, rights)| rights);
        let share = Share { right: all().filter(|right| **right).count() as u64, n: all().count() as u64 };
        Self { arm, share, by_question: Some(by_question) }
    }

    /// How it does against another arm of its series: question by question where both are known so, else by their counts.
    fn against(&self, other: &Self) -> Option<Against> {
        match (&self.by_question, &other.by_question) {
            (Some(here), Some(there)) => {
                paired(here, &there.iter().map(|(id, rights)| (*id, rights.clone())).collect())
            }
            _ => Against::of_counts(other.share, self.share),
        }
    }

    fn right(&self) -> Option<Average> {
        match &self.by_question {
            None => counted(self.share),
            Some(by_question) => {
                let rights: Rights = by_question.iter().map(|(_, rights)| rights.clone()).collect();
                Average::of(&rights, Confidence::P95)
            }
        }
    }

    fn row(&self, against: Option<Against>) -> ArmResult {
        let Share { right, n } = self.share;
        ArmResult {
            arm: None,
            label: self.arm.label.clone(),
            series: Some(self.arm.series.clone()),
            w: self.arm.w,
            tally: Tally { right, wrong: n.saturating_sub(right), ..Tally::default() },
            missing: 0,
            right: self.right(),
            pass_at_k: None,
            dev: None,
            by_grader: Vec::new(),
            mean_tokens: None,
            in_steps: None,
            thinks: None,
            languages: Languages::default(),
            against,
        }
    }
}

/// Question by question, by their ids.
fn paired(found: &[(&str, Vec<bool>)], baseline: &HashMap<&str, Vec<bool>>) -> Option<Against> {
    let pair = |(id, rights): &(&str, Vec<bool>)| Some((baseline.get(id)?.clone(), rights.clone()));
    Against::of(&found.iter().filter_map(pair).collect::<Vec<_>>())
}

/// One answer to each of so many questions, of which only their number is known.
fn counted(share: Share) -> Option<Average> {
    let (mean, n) = (share.value()?, usize::try_from(share.n).ok()?);
    Some(Average {
        questions: n,
        samples: n,
        mean,
        sd_between_runs: None,
        standard_error: (n > 1).then(|| (mean * (1.0 - mean) / (n - 1) as f64).sqrt()),
        interval: share.wilson(Confidence::P95)?,
    })
}
