//! What a sweep supports, in plain sentences made from its numbers.

use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::statistics::Average;
use mergescope_core::evaluate::sweep::{Against, ArmModel, ArmResult, SweepTable, Test};

use crate::format;

/// From here on luck explains a difference as well.
const ALPHA: f64 = 0.05;
/// A share of answers that were cut off before they were right that is worth a sentence.
const MANY_CUT: f64 = 0.05;
/// A share of answers in another language that is worth a sentence.
const MANY_SWITCHED: f64 = 0.1;
/// How far answers must have changed in length, or in how many show steps, to say so.
const GROWN: f64 = 1.25;
const MORE_STEPS: f64 = 0.1;

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// As it is read.
    pub text: String,
    /// The position of the arm that shows it, of a figure.
    pub arm: Option<usize>,
}

/// One sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    /// Its pieces in order, spaces included.
    pub pieces: Vec<Piece>,
}

impl Sentence {
    fn words(mut self, text: impl Into<String>) -> Self {
        self.pieces.push(Piece { text: text.into(), arm: None });
        self
    }

    fn figure(mut self, text: impl Into<String>, arm: usize) -> Self {
        self.pieces.push(Piece { text: text.into(), arm: Some(arm) });
        self
    }

    /// All pieces as one text.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }
}

fn begin(text: impl Into<String>) -> Sentence {
    Sentence::default().words(text)
}

/// What a grader is called in the window.
pub fn grader(grader: &Grader) -> String {
    match grader {
        Grader::Substring => "Contains the label".to_owned(),
        Grader::Strict => "Form asked for".to_owned(),
        Grader::Flexible => "Last number".to_owned(),
        Grader::Boxed => r"\boxed{}".to_owned(),
        Grader::Choice => "Choice".to_owned(),
        Grader::Exact => "Whole answer".to_owned(),
        Grader::Regex(pattern) => format!("Pattern {}", pattern.as_str()),
    }
}

/// A share of right answers: whole per cent, since intervals are never narrower.
pub fn share(value: f64) -> String {
    format::percent_fixed(value, 0)
}

/// A difference of shares in points: `43 points`, with one decimal below ten.
pub fn points(difference: f64) -> String {
    let size = (difference * 100.0).abs();
    let text = if size < 9.95 { format::fixed(size, 1) } else { format::fixed(size, 0) };
    if text == "1.0" { "1 point".to_owned() } else { format!("{text} points") }
}

/// `p < 0.001`, `p = 0.034`.
pub fn p(value: f64) -> String {
    match value {
        value if value < 0.001 => "p < 0.001".to_owned(),
        value if value < 0.0995 => format!("p = {}", format::fixed(value, 3)),
        value => format!("p = {}", format::fixed(value, 2)),
    }
}

/// `35 to 51` of an interval of a difference in points.
fn points_interval(against: &Against) -> String {
    let end = |value: f64| format::fixed(value * 100.0, 0);
    format!("{} to {}", end(against.interval.low), end(against.interval.high))
}

/// How p is found: of the sweep's own answers, and of results that others measured where that is another way.
pub fn tests(table: &SweepTable) -> String {
    let own = if table.samples == 1 { Test::McNemar } else { Test::Permutation };
    let used = |test: Test| table.arms.iter().any(|arm| arm.against.is_some_and(|against| against.test == test));
    let others =
        [Test::McNemar, Test::Permutation, Test::Fisher].into_iter().filter(|test| *test != own && used(*test));
    let name = |test: Test| match test {
        Test::McNemar => "McNemar's exact test, paired by question",
        Test::Permutation => {
            "a permutation test on each question's share of right answers (signs flipped), paired by question"
        }
        Test::Fisher => "Fisher's exact test, where only counts are known",
    };
    std::iter::once(own).chain(others).map(|test| format!("that of {}", name(test))).collect::<Vec<_>>().join("; ")
}

/// What the numbers support, in a few sentences, the most important one first.
pub fn conclusion(table: &SweepTable) -> Vec<Sentence> {
    let mut sentences = vec![verdict(table)];
    sentences.extend(controls(table));
    sentences.extend(behaviour(table));
    sentences.extend(switched(table));
    sentences.extend(cut_off(table));
    sentences.extend(errors(table));
    sentences.extend(elsewhere(table));
    sentences
}

/// The arms of the grid that are asked in the first way, plainly.
fn grid(table: &SweepTable) -> impl Iterator<Item = (usize, f64, &ArmResult)> {
    table.arms.iter().enumerate().filter_map(|(position, result)| {
        let arm = result.arm.filter(|arm| arm.prompt == 0 && !arm.perturbed)?;
        match arm.model {
            ArmModel::W(w) => Some((position, w, result)),
            _ => None,
        }
    })
}

fn at(table: &SweepTable, w: f64) -> Option<(usize, &ArmResult, Average)> {
    grid(table).find(|(_, found, _)| *found == w).and_then(|(position, _, arm)| Some((position, arm, arm.right?)))
}

fn verdict(table: &SweepTable) -> Sentence {
    let Some((base, _, without)) = at(table, 0.0) else {
        return begin("No answer at w = 0 yet, which everything is compared with.");
    };
    let Some(chosen) = table.chosen else {
        return begin("At w = 0, ")
            .figure(share(without.mean), base)
            .words(" of the answers are right. Another w has to be complete before anything can be compared.");
    };
    let dev = table.dev_questions.unwrap_or(0);
    let w = format!("w = {}", format::w(chosen.w));
    if chosen.w == 0.0 {
        let place = match chosen.held_out {
            true => format!(" on the {} that w is chosen on", format::plural(dev, "question")),
            false => String::new(),
        };
        return begin(format!("No w does better than w = 0{place}: "))
            .figure(share(without.mean), base)
            .words(" of the answers are right without the vector.");
    }
    let Some((position, arm, with)) = at(table, chosen.w) else {
        return begin(format!("{w} does best where w is chosen, and has no answers where it is reported."));
    };
    let start = match chosen.held_out {
        true => format!("Chosen on {}, {w} answers ", format::plural(dev, "other question")),
        false => format!("Of the values tried, {w} does best, with "),
    };
    let sentence = begin(start).figure(share(with.mean), position);
    let sentence = match chosen.held_out {
        true => sentence.words(format!(
            " of the {} right, against ",
            if table.questions == 1 {
                "one held-out question".to_owned()
            } else {
                format!("{} held-out questions", format::count(table.questions as u64))
            }
        )),
        false => sentence.words(" right, against "),
    };
    let sentence = sentence.figure(share(without.mean), base).words(" without the vector: ");
    let Some(against) = arm.against else { return sentence.words("the two have no question in common.") };
    let p_value = if chosen.held_out { against.p } else { against.p_holm.unwrap_or(against.p) };
    let corrected = if chosen.held_out { "" } else { ", corrected for the values tried" };
    let facts = format!("(95 % interval {}, {}{corrected})", points_interval(&against), p(p_value));
    let sentence = match (against.difference > 0.0, p_value < ALPHA) {
        (true, true) => sentence.words(format!("a gain of {} {facts}.", points(against.difference))),
        (false, true) => sentence.words(format!("a loss of {} {facts}.", points(against.difference))),
        (_, false) => {
            let more = if against.difference >= 0.0 { "more" } else { "fewer" };
            let shown = table.minimum_detectable_gain.map_or_else(String::new, |least| {
                format!(" With so many right at w = 0, so few questions show a gain from about {} on.", points(least))
            });
            sentence
                .words(format!("{} {more} {facts}, which luck explains as well.{shown}", points(against.difference)))
        }
    };
    if chosen.held_out {
        sentence
    } else {
        sentence.words(" It was chosen on these very questions, so its own share is a little flattering.")
    }
}

/// What vectors do that should not help.
fn controls(table: &SweepTable) -> Vec<Sentence> {
    let found = table.arms.iter().enumerate().filter_map(|(position, result)| {
        let arm = result.arm.filter(|arm| arm.prompt == 0 && !arm.perturbed)?;
        match arm.model {
            ArmModel::Control(control, w) => Some((position, control, w, result)),
            _ => None,
        }
    });
    found
        .filter_map(|(position, control, w, result)| {
            let (right, against) = (result.right?, result.against?);
            let name = format!("The {} control at w = {}", control.kind.adjective(), format::w(w));
            let share = share(right.mean);
            Some(match (against.p < ALPHA, against.difference > 0.0) {
                (false, _) => begin(format!("{name} gains nothing ("))
                    .figure(share, position)
                    .words(format!(", {}).", p(against.p))),
                (true, true) => begin(format!("{name} gains {} too (", points(against.difference)))
                    .figure(share, position)
                    .words(format!(", {}): the gain is not this vector's direction alone.", p(against.p))),
                (true, false) => begin(format!("{name} loses {} (", points(against.difference)))
                    .figure(share, position)
                    .words(format!(", {}).", p(against.p))),
            })
        })
        .collect()
}

/// What results at several w support that others measured: of each series, the w that does best.
fn elsewhere(table: &SweepTable) -> Vec<Sentence> {
    let mut best: Vec<(&str, usize, &ArmResult, Average)> = Vec::new();
    for (position, arm) in table.arms.iter().enumerate() {
        let tried = arm.against.is_some_and(|against| against.p_holm.is_some());
        let (Some(series), Some(right), true) = (&arm.series, arm.right, tried) else { continue };
        match best.iter_mut().find(|(known, ..)| *known == series.as_str()) {
            Some((.., mean)) if mean.mean >= right.mean => {}
            Some(known) => *known = (series, position, arm, right),
            None => best.push((series, position, arm, right)),
        }
    }
    let sentence = |(series, position, arm, right): (&str, usize, &ArmResult, Average)| {
        let against = arm.against?;
        let (base, without) = table.arms.iter().enumerate().find_map(|(at, other)| {
            let is_base = other.series.as_deref() == Some(series) && other.w == Some(0.0);
            Some((at, other.right.filter(|_| is_base)?))
        })?;
        let p_value = against.p_holm.unwrap_or(against.p);
        let luck = if p_value < ALPHA { "." } else { ", which luck explains as well." };
        let w = format::w(arm.w?);
        Some(
            begin(format!("Measured elsewhere ({series}), w = {w} does best, with "))
                .figure(share(right.mean), position)
                .words(" right, against ")
                .figure(share(without.mean), base)
                .words(format!(" at w = 0 ({}, corrected for the values tried){luck}", p(p_value))),
        )
    };
    best.into_iter().filter_map(sentence).collect()
}

/// How answers change.
fn behaviour(table: &SweepTable) -> Option<Sentence> {
    let chosen = table.chosen.filter(|chosen| chosen.w != 0.0)?;
    let ((_, without, _), (_, with, _)) = (at(table, 0.0)?, at(table, chosen.w)?);
    let (before, after) = (without.mean_tokens?, with.mean_tokens?);
    let mut said = Vec::new();
    if after > before * GROWN || after * GROWN < before {
        let verb = if after > before { "grow" } else { "shrink" };
        said.push(format!("Answers {verb} from {} to {} tokens", tokens(before), tokens(after)));
    }
    let (few, many) = (without.in_steps?, with.in_steps?);
    if (many - few).abs() > MORE_STEPS {
        let subject = if said.is_empty() { "Of the answers " } else { "" };
        said.push(format!("{subject}{} show their steps, against {}", share(many), share(few)));
    }
    let beyond = grid(table).find(|(_, w, arm)| {
        let lost = arm.right.zip(with.right).is_some_and(|(there, here)| there.interval.high < here.interval.low);
        w.abs() > chosen.w.abs()
            && w.signum() == chosen.w.signum()
            && lost
            && arm.in_steps.is_some_and(|steps| steps >= many - MORE_STEPS)
    });
    let mut text = said.join(", and ");
    if let Some((_, w, arm)) = beyond.filter(|_| many > 0.5) {
        let right = arm.right.map_or(0.0, |right| right.mean);
        if !text.is_empty() {
            text += ". ";
        }
        text += &format!("From w = {} on answers stay in steps, but fewer are right ({})", format::w(w), share(right));
    }
    (!text.is_empty()).then(|| begin(format!("{text}.")))
}

fn tokens(mean: f64) -> String {
    if mean < 9.95 { format::fixed(mean, 1) } else { format::fixed(mean, 0) }
}

/// Answers in another language than without the vector: the sign of a vector that is too strong.
fn switched(table: &SweepTable) -> Option<Sentence> {
    let english = |arm: &ArmResult| {
        let told = arm.languages.japanese + arm.languages.english + arm.languages.mixed + arm.languages.chinese;
        (told > 0).then(|| arm.languages.english as f64 / told as f64)
    };
    let japanese = |arm: &ArmResult| arm.languages.japanese > arm.languages.english + arm.languages.mixed;
    let (_, base, _) = at(table, 0.0)?;
    if !japanese(base) {
        return None;
    }
    let before = english(base)?;
    let found = grid(table).filter(|(_, w, _)| *w != 0.0).filter_map(|(at, w, arm)| Some((at, w, english(arm)?)));
    let (position, w, share_now) =
        found.max_by(|a, b| a.2.total_cmp(&b.2)).filter(|found| found.2 > before + MANY_SWITCHED)?;
    Some(
        begin(format!("At w = {}, ", format::w(w)))
            .figure(share(share_now), position)
            .words(" of the answers are in English, where without the vector they are in Japanese."),
    )
}

fn cut_off(table: &SweepTable) -> Option<Sentence> {
    let share_of = |arm: &ArmResult| arm.tally.cut_off as f64 / arm.tally.graded().max(1) as f64;
    let most = grid(table).max_by(|a, b| share_of(a.2).total_cmp(&share_of(b.2)))?;
    let (position, w, arm) = most;
    (share_of(arm) > MANY_CUT).then(|| {
        begin(format!("At w = {}, ", format::w(w))).figure(share(share_of(arm)), position).words(
            " of the answers reached the token limit before they were right; a higher limit may change the result.",
        )
    })
}

fn errors(table: &SweepTable) -> Option<Sentence> {
    let errors: u64 = table.arms.iter().map(|arm| arm.tally.error).sum();
    (errors > 0).then(|| {
        let (answers, count, them) = match errors {
            1 => ("1 answer".to_owned(), "counts", "it"),
            several => (format::plural(several as usize, "answer"), "count", "them"),
        };
        begin(format!(
            "{answers} ended in an error and {count} as missing, not as wrong; the next run asks for {them} again."
        ))
    })
}
