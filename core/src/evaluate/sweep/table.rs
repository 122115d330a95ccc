//! What the answers come to: one row for each arm, and what they support.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use super::arm::{Arm, ArmModel};
use super::compare::{Against, Chosen};
use super::imported;
use super::judged::{JudgedSample, Judgement};
use super::open::Sweep;
use crate::evaluate::grade::{AnswerLanguage, Expected, Grade, Grader, Outcome, Tally};
use crate::evaluate::log::import::ImportedArm;
use crate::evaluate::log::{Contents, Sample};
use crate::evaluate::questions::Question;
use crate::evaluate::statistics::{Attempts, Average, Confidence, PairedDesign, pass_at_k};

/// The languages of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Languages {
    /// Answers in Japanese.
    pub japanese: u64,
    /// Answers in English.
    pub english: u64,
    /// Answers in both.
    pub mixed: u64,
    /// Answers in Chinese.
    pub chinese: u64,
    /// Answers with too few letters to tell.
    pub unknown: u64,
}

/// One answer, graded.
#[derive(Clone, Debug)]
pub struct GradedSample<'a> {
    /// The answer.
    pub sample: &'a Sample,
    /// What it came to.
    pub outcome: Outcome,
    /// What the grader found; `None` where there is an error.
    pub grade: Option<Grade>,
}

/// What the answers of one arm come to, on the questions that are reported on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmResult {
    /// Which arm; `None` for results that others measured.
    pub arm: Option<Arm>,
    /// What it is called.
    pub label: String,
    /// The line that it is a point of, of results that others measured; `None` for arms of the sweep.
    pub series: Option<String>,
    /// Its scaling coefficient.
    pub w: Option<f64>,
    /// How its answers came out.
    pub tally: Tally,
    /// Answers that are not there yet.
    pub missing: u64,
    /// The share of right answers with its 95 % interval; `None` before the first answer.
    pub right: Option<Average>,
    /// How likely one of k answers to a question is right, for k = the number of samples; `None` for one sample.
    pub pass_at_k: Option<f64>,
    /// The share of right answers on the questions that w is chosen on.
    pub dev: Option<f64>,
    /// The share of right answers by each grader.
    pub by_grader: Vec<(String, Option<f64>)>,
    /// Tokens of an answer on average.
    pub mean_tokens: Option<f64>,
    /// Share of answers with an equation in them.
    pub in_steps: Option<f64>,
    /// Share of answers with a closed block of thinking.
    pub thinks: Option<f64>,
    /// The languages of its answers.
    pub languages: Languages,
    /// How it does against w = 0; `None` for that itself, or where they cannot be compared.
    pub against: Option<Against>,
}

/// What a sweep came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepTable {
    /// The grader that counts.
    #[serde(serialize_with = "grader_label")]
    pub grader: Grader,
    /// Questions that are reported on.
    pub questions: usize,
    /// Questions that w is chosen on; `None` without a split.
    pub dev_questions: Option<usize>,
    /// Answers to each question.
    pub samples: u32,
    /// The arms: the grid by w, references, controls, results of others.
    pub arms: Vec<ArmResult>,
    /// The w that does best, asked in the first way and plainly; `None` before there is more than w = 0.
    pub chosen: Option<Chosen>,
    /// The smallest gain over w = 0 that so many questions show four times out of five.
    pub minimum_detectable_gain: Option<f64>,
}

/// What a grader compares with.
pub(super) fn expected(question: &Question) -> Expected<'_> {
    Expected { label: &question.answer, choices: &question.choices }
}

/// Whether each sample of each question is right; errors are left out.
pub(super) type Rights = Vec<Vec<bool>>;

fn grader_label<S: Serializer>(grader: &Grader, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(grader.label())
}

impl Sweep {
    /// The graded answers of an arm, question by question, sample by sample; `None` for one that is not there yet.
    pub fn graded<'a>(
        &self,
        arm: Arm,
        log: &'a Contents,
        engine: &str,
        grader: &Grader,
    ) -> Vec<Vec<Option<GradedSample<'a>>>> {
        let keys = self.keys(arm, engine);
        let questions = self.asked(arm).set.questions.iter();
        let grade = |question: &Question, sample: &'a Sample| match sample.text() {
            None => GradedSample { sample, outcome: Outcome::Error, grade: None },
            Some(text) => {
                let grade = self.grade(question, text, grader);
                let outcome = Outcome::of(grade.verdict, sample.finish);
                GradedSample { sample, outcome, grade: Some(grade) }
            }
        };
        let of = |question: &Question, keys: &[_]| {
            keys.iter().map(|key| log.get(key).map(|found| grade(question, found))).collect()
        };
        questions.zip(keys.iter()).map(|(question, keys)| of(question, keys)).collect()
    }

    /// What the log's answers by `engine` come to, with results that others measured beside them.
    pub fn table(&self, log: &Contents, engine: &str, imported: &[ImportedArm]) -> SweepTable {
        let grader = self.graders().first().cloned().unwrap_or(Grader::Exact);
        // Controls at the chosen w are known once it is.
        let mut arms = self.arms(None);
        let mut rows = self.rows(&arms, log, engine);
        let chosen = self.chosen(&rows);
        let all = self.arms(chosen.map(|chosen| chosen.w));
        let later: Vec<Arm> = all.into_iter().filter(|arm| !arms.contains(arm)).collect();
        rows.extend(self.rows(&later, log, engine));
        arms.extend(later);
        self.compare(&mut rows);
        let first = rows
            .iter()
            .find(|row| row.result.arm.is_some_and(|arm| is_first_of_grid(arm) && arm.model.w() == Some(0.0)));
        let ids = self.questions().iter().map(|question| question.id.as_str());
        let baseline: HashMap<&str, Vec<bool>> =
            first.map(|row| ids.zip(row.rights.iter().cloned()).collect()).unwrap_or_default();

        let mut results: Vec<ArmResult> = rows.into_iter().map(|row| row.result).collect();
        results.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal));
        results.extend(imported::rows(imported, self.dev.as_ref(), &baseline));
        let reported = self.questions().iter().filter(|question| !self.is_dev(question)).count();
        SweepTable {
            grader,
            questions: reported,
            dev_questions: self.is_split().then(|| self.questions().len() - reported),
            samples: self.spec().samples,
            minimum_detectable_gain: self.detectable(&results, reported as u64),
            arms: results,
            chosen,
        }
    }

    fn rows(&self, arms: &[Arm], log: &Contents, engine: &str) -> Vec<Row> {
        arms.iter().map(|arm| self.row(*arm, log, engine)).collect()
    }

    fn row(&self, arm: Arm, log: &Contents, engine: &str) -> Row {
        let questions = &self.asked(arm).set.questions;
        // What is right by each grader, the one that counts first.
        let mut rights: Vec<Rights> = vec![Rights::new(); self.graders().len()];
        let (mut dev, mut missing) = (Rights::new(), 0);
        // Whether every question that w is chosen by was asked.
        let mut is_asked = true;
        let mut tally = Tally::default();
        let mut facts = Facts::default();
        for (question, samples) in questions.iter().zip(self.judged(arm, log, engine)) {
            let judgements = || samples.iter().flatten().filter_map(|found| found.judgement.as_deref());
            let right_by = |grader: usize| -> Vec<bool> {
                judgements().map(|judgement| judgement.outcomes.get(grader) == Some(&Outcome::Right)).collect()
            };
            let is_dev = self.is_dev(question);
            is_asked &= self.is_split() && !is_dev || samples.iter().all(Option::is_some);
            if is_dev {
                dev.push(right_by(0));
                rights.iter_mut().for_each(|rights| rights.push(Vec::new()));
                continue;
            }
            rights.iter_mut().enumerate().for_each(|(grader, rights)| rights.push(right_by(grader)));
            for sample in &samples {
                let Some(JudgedSample { sample, judgement }) = sample else {
                    missing += 1;
                    continue;
                };
                let outcome = judgement.as_ref().and_then(|judgement| judgement.outcomes.first().copied());
                tally.add(outcome.unwrap_or(Outcome::Error), sample.finish);
                if let Some(judgement) = judgement {
                    facts.add(sample, judgement);
                }
            }
        }
        let labels = self.graders().iter().map(|grader| grader.label().to_owned());
        let by_grader = labels.zip(&rights).map(|(label, rights)| (label, average(rights))).collect();
        let rights = rights.swap_remove(0);
        // Without those that w is chosen on, so that the others are seen to have the same number of samples.
        let answered: Rights = rights.iter().filter(|answers| !answers.is_empty()).cloned().collect();
        let attempts: Vec<Attempts> = answered.iter().map(|answers| Attempts::of(answers.iter().copied())).collect();
        let samples = self.spec().samples;
        let result = ArmResult {
            arm: Some(arm),
            label: self.label(arm),
            series: None,
            w: arm.model.w(),
            tally,
            missing,
            right: Average::of(&answered, Confidence::P95),
            pass_at_k: if samples > 1 { pass_at_k(&attempts, samples) } else { None },
            dev: average(&dev),
            by_grader,
            mean_tokens: facts.mean(facts.tokens as f64),
            in_steps: facts.mean(facts.in_steps as f64),
            thinks: facts.mean(facts.thinks as f64),
            languages: facts.languages,
            against: None,
        };
        let choosing = if self.is_split() { dev } else { rights.clone() };
        Row { result, rights, choosing, is_asked }
    }

    /// The w that does best where it may be chosen: on the questions that w = 0 has answered, of those w that have answered
    /// them all and have no answer outstanding. A question that fails for every model stands in nobody's way.
    fn chosen(&self, rows: &[Row]) -> Option<Chosen> {
        let held_out = self.is_split();
        let grid = || rows.iter().filter(|row| row.result.arm.is_some_and(is_first_of_grid) && row.is_asked);
        let samples = self.spec().samples as usize;
        let target = grid().find(|row| row.result.w == Some(0.0))?;
        let common: Vec<usize> =
            (0..target.choosing.len()).filter(|at| target.choosing[*at].len() == samples).collect();
        let share = |row: &Row| {
            let answers: Rights = common.iter().map(|at| row.choosing[*at].clone()).collect();
            average(&answers).filter(|_| answers.iter().all(|answers| answers.len() == samples))
        };
        let measured: Vec<(f64, f64)> = grid().filter_map(|row| Some((row.result.w?, share(row)?))).collect();
        let better = |a: &(f64, f64), b: &(f64, f64)| a.1.total_cmp(&b.1).then(b.0.abs().total_cmp(&a.0.abs()));
        let best = measured.iter().copied().max_by(better)?;
        (measured.len() > 1).then_some(Chosen { w: best.0, held_out })
    }

    /// Holds every arm against w = 0, asked alike.
    fn compare(&self, rows: &mut [Row]) {
        let baselines: HashMap<(usize, bool), Rights> = rows
            .iter()
            .filter_map(|row| row.result.arm.filter(|arm| arm.model == ArmModel::W(0.0)).map(|arm| (arm, row)))
            .map(|(arm, row)| ((arm.prompt, arm.perturbed), row.rights.clone()))
            .collect();
        for row in rows.iter_mut() {
            let Some(arm) = row.result.arm.filter(|arm| arm.model != ArmModel::W(0.0)) else { continue };
            let Some(baseline) = baselines.get(&(arm.prompt, arm.perturbed)) else { continue };
            let pairs: Vec<_> = baseline.iter().cloned().zip(row.rights.iter().cloned()).collect();
            row.result.against = Against::of(&pairs);
        }
        for (prompt, perturbed) in baselines.keys() {
            let mut grid: Vec<&mut Against> = rows
                .iter_mut()
                .filter(|row| {
                    let of = |arm: Arm| (arm.prompt, arm.perturbed) == (*prompt, *perturbed);
                    row.result.arm.is_some_and(|arm| of(arm) && matches!(arm.model, ArmModel::W(_)))
                })
                .filter_map(|row| row.result.against.as_mut())
                .collect();
            super::compare::correct(&mut grid);
        }
    }

    /// The smallest gain that so many questions show four times out of five, if half of the answers are right without the
    /// vector.
    pub fn detectable_before(&self) -> Option<f64> {
        let reported = self.questions().iter().filter(|question| !self.is_dev(question)).count();
        self.detectable(&[], reported as u64)
    }

    /// What so many questions can show: by w = 0 as measured, or before that as if half of the answers were right.
    fn detectable(&self, arms: &[ArmResult], questions: u64) -> Option<f64> {
        let baseline =
            arms.iter().find(|arm| arm.arm.is_some_and(|arm| is_first_of_grid(arm) && arm.model.w() == Some(0.0)));
        let share = baseline.and_then(|arm| Some(arm.right?.mean)).unwrap_or(0.5);
        let others =
            self.spec().models(self.recipe()).iter().filter(|model| matches!(model, ArmModel::W(_))).count() - 1;
        let comparisons = if self.is_split() { 1 } else { others.max(1) as u32 };
        // One right answer in ten is taken to be lost on the way.
        let design = PairedDesign { comparisons, ..PairedDesign::usual(questions, share, share * 0.1) };
        design.minimum_detectable_gain()
    }
}

/// An arm with what it is compared by.
struct Row {
    result: ArmResult,
    /// Question by question; those that w is chosen on are empty.
    rights: Rights,
    /// The same of the questions that w is chosen by.
    choosing: Rights,
    /// Whether all of those were asked, whatever came of it.
    is_asked: bool,
}

/// Sums over texts.
#[derive(Default)]
struct Facts {
    texts: u64,
    tokens: usize,
    in_steps: u64,
    thinks: u64,
    languages: Languages,
}

impl Facts {
    fn add(&mut self, sample: &Sample, judgement: &Judgement) {
        self.texts += 1;
        self.tokens += sample.tokens;
        self.in_steps += u64::from(judgement.in_steps);
        self.thinks += u64::from(judgement.thinks);
        let count = match judgement.language {
            Some(AnswerLanguage::Japanese) => &mut self.languages.japanese,
            Some(AnswerLanguage::English) => &mut self.languages.english,
            Some(AnswerLanguage::Mixed) => &mut self.languages.mixed,
            Some(AnswerLanguage::Chinese) => &mut self.languages.chinese,
            None => &mut self.languages.unknown,
        };
        *count += 1;
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.texts > 0).then(|| sum / self.texts as f64)
    }
}

fn is_first_of_grid(arm: Arm) -> bool {
    arm.prompt == 0 && !arm.perturbed && matches!(arm.model, ArmModel::W(_))
}

/// The mean over questions of their shares of right answers.
fn average(rights: &Rights) -> Option<f64> {
    Average::of(rights, Confidence::P95).map(|average| average.mean)
}

/// Where an arm stands in the table: the grid by w, then references, then controls; each in all ways of asking.
fn order(result: &ArmResult) -> (u8, usize, bool, f64, String) {
    let Some(arm) = result.arm else { return (3, 0, false, 0.0, result.label.clone()) };
    let kind = match arm.model {
        ArmModel::W(_) => 0,
        ArmModel::Reference(_) => 1,
        ArmModel::Control(..) => 2,
    };
    (kind, arm.prompt, arm.perturbed, result.w.unwrap_or(0.0), result.label.clone())
}
