//! The sweep as a picture: right answers against w with their intervals, and below it what changed in the answers.

use mergescope_core::alignment::Role;
use mergescope_core::evaluate::sweep::{ArmModel, ArmResult, SweepTable};

use super::{tables, words};
use crate::format;
use crate::report::svg::Drawing;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 62.0;
const PLOT: f64 = 316.0;
const BETWEEN: f64 = 64.0;
const LOWER: f64 = 82.0;
const BOTTOM: f64 = 44.0;
/// Least distance of the names of two reference lines.
const NAME_HEIGHT: f64 = 14.0;
/// A difference with a smaller p, corrected for all that were tried, has a mark.
const MARKED: f64 = 0.05;

/// A series of the chart: a line over w.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<'a> {
    /// What it is called; empty for the first, which needs no name.
    pub label: String,
    /// Its points by w, those with an answer alone.
    pub points: Vec<(f64, &'a ArmResult)>,
}

/// A model without a w, as a line across.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference<'a> {
    /// What it is called.
    pub label: String,
    /// Its result.
    pub arm: &'a ArmResult,
}

/// The series of the grid: one for each way of asking and condition, the first first; then results that others measured.
pub fn series(table: &SweepTable) -> Vec<Series<'_>> {
    let mut found: Vec<((usize, bool), Series<'_>)> = Vec::new();
    for result in &table.arms {
        let (Some(arm), Some(_)) = (result.arm, result.right) else { continue };
        let ArmModel::W(w) = arm.model else { continue };
        let key = (arm.prompt, arm.perturbed);
        // What follows the model's own name says how it was asked.
        let label = result.label.split_once(", ").map_or("", |(_, asked)| asked).to_owned();
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some((_, series)) => series.points.push((w, result)),
            None => found.push((key, Series { label, points: vec![(w, result)] })),
        }
    }
    found.sort_by_key(|(key, _)| *key);
    let mut all: Vec<Series<'_>> = found.into_iter().map(|(_, series)| series).collect();
    let own = all.len();
    let others = table.arms.iter().filter(|result| result.arm.is_none() && result.right.is_some());
    for result in others {
        let (Some(w), Some(label)) = (result.w, &result.series) else { continue };
        match all[own..].iter_mut().find(|series| series.label == *label) {
            Some(series) => series.points.push((w, result)),
            None => all.push(Series { label: label.clone(), points: vec![(w, result)] }),
        }
    }
    for series in &mut all {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    all
}

/// Models without a w, and controls at theirs, in the first way of asking.
pub fn references(table: &SweepTable) -> Vec<Reference<'_>> {
    let first =
        |result: &&ArmResult| result.arm.is_some_and(|arm| arm.prompt == 0 && !arm.perturbed) && result.right.is_some();
    let models = table.arms.iter().filter(first).filter_map(|result| match result.arm?.model {
        ArmModel::Reference(role) => {
            let so_far = if is_incomplete(result) { ", so far" } else { "" };
            Some(Reference { label: format!("{} alone{so_far}", role.label()), arm: result })
        }
        _ => None,
    });
    let target =
        table.arms.iter().filter(first).filter(|result| result.arm.is_some_and(|arm| arm.model == ArmModel::W(0.0)));
    // Of several vectors w = 0 leaves the others in.
    let is_target = |result: &ArmResult| result.arm.is_some_and(|arm| arm.model == ArmModel::Reference(Role::Target));
    let label = if table.arms.iter().any(is_target) { "w = 0" } else { "target alone" };
    let target = target.map(|result| Reference { label: label.to_owned(), arm: result });
    let elsewhere =
        table.arms.iter().filter(|result| result.arm.is_none() && result.w.is_none() && result.right.is_some());
    let elsewhere = elsewhere.map(|result| Reference { label: tables::label(result), arm: result });
    models.chain(target).chain(elsewhere).collect()
}

/// Controls, each a dot at its w.
pub fn controls(table: &SweepTable) -> Vec<(f64, &ArmResult)> {
    let first = table.arms.iter().filter(|result| result.arm.is_some_and(|arm| arm.prompt == 0 && !arm.perturbed));
    first
        .filter_map(|result| match result.arm?.model {
            ArmModel::Control(_, w) if result.right.is_some() => Some((w, result)),
            _ => None,
        })
        .collect()
}

/// Whether some of an arm's answers are still to come: what there is may be of few questions.
pub fn is_incomplete(arm: &ArmResult) -> bool {
    arm.arm.is_some() && arm.missing > 0
}

/// What is under the chart's heading.
pub fn caption(table: &SweepTable) -> String {
    let held_out = if table.dev_questions.is_some() { "held-out question" } else { "question" };
    let samples = if table.samples > 1 { format!(", {} answers each", table.samples) } else { String::new() };
    let grader = words::grader(&table.grader);
    let is_open = table.arms.iter().any(|arm| arm.right.is_some() && is_incomplete(arm));
    let so_far = if is_open { " · hollow: of the answers so far" } else { "" };
    format!("{}{samples} · 95 % interval{so_far} · grader: {grader}", format::plural(table.questions, held_out))
}

/// What the pointer shows at a point.
pub fn tooltip(arm: &ArmResult) -> String {
    let Some(right) = arm.right else { return arm.label.clone() };
    let mut text = format!(
        "{}: {} right ({} to {}, {} of {})",
        arm.label,
        words::share(right.mean),
        words::share(right.interval.low),
        words::share(right.interval.high),
        arm.tally.right,
        arm.tally.graded(),
    );
    if let Some(against) = arm.against {
        let sign = if against.difference < 0.0 { "−" } else { "+" };
        let tested = against.p_holm.map_or_else(|| words::p(against.p), |p| format!("{} corrected", words::p(p)));
        text += &format!("; {sign}{} against w = 0, {tested}", words::points(against.difference));
    }
    text
}

/// Whether an arm differs from w = 0 by more than luck, all that were tried taken into account.
pub fn is_marked(arm: &ArmResult) -> bool {
    arm.against.is_some_and(|against| against.p_holm.unwrap_or(against.p) < MARKED)
}

/// The picture.
pub fn sweep(table: &SweepTable) -> Drawing {
    let height = TOP + PLOT + BETWEEN + LOWER + BOTTOM;
    let description = "Share of right answers at each w, with 95 % intervals; an asterisk marks what differs from w = 0 by more \
                       than luck after correction for all values tried. Below, on the same axis: how many answers show their \
                       steps, and how long they are.";
    let mut drawing =
        Drawing::new("sweep".to_owned(), "Right answers against w".to_owned(), description.to_owned(), [WIDTH, height]);
    drawing.text("title", [LEFT, 24.0], "Right answers against w");
    drawing.text("weak", [LEFT, 42.0], &caption(table));
    let series = series(table);
    let controls = controls(table);
    let all: Vec<f64> = series
        .iter()
        .flat_map(|series| series.points.iter().map(|(w, _)| *w))
        .chain(controls.iter().map(|(w, _)| *w))
        .collect();
    let (low, high) = all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), w| (low.min(*w), high.max(*w)));
    if !low.is_finite() {
        drawing.text("weak middle", [WIDTH / 2.0, TOP + PLOT / 2.0], "No answers yet");
        return drawing;
    }
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let x = |w: f64| LEFT + (WIDTH - LEFT - RIGHT) * (w - low) / (high - low);
    let y = |share: f64| TOP + PLOT * (1.0 - share);
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        drawing.line("grid", [LEFT, y(share)], [WIDTH - RIGHT, y(share)]);
        drawing.text("weak end", [LEFT - 8.0, y(share) + 4.0], &words::share(share));
    }
    let bottom = TOP + PLOT + BETWEEN + LOWER;
    let mut ticks = all;
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let mut free = f64::NEG_INFINITY;
    for w in &ticks {
        if x(*w) - free >= 34.0 {
            free = x(*w);
            drawing.text("weak middle", [x(*w), y(0.0) + 18.0], &format::w(*w));
            drawing.text("weak middle", [x(*w), bottom + 18.0], &format::w(*w));
        }
    }

    let mut names: Vec<(f64, String)> = Vec::new();
    for reference in references(table) {
        let Some(right) = reference.arm.right else { continue };
        drawing.line("level", [LEFT, y(right.mean)], [WIDTH - RIGHT, y(right.mean)]);
        names.push((y(right.mean), reference.label));
    }
    for (number, series) in series.iter().enumerate() {
        let shares = || series.points.iter().filter_map(|(w, arm)| Some((*w, *arm, arm.right?)));
        if number == 0 {
            let upper = shares().map(|(w, _, right)| [x(w), y(right.interval.high)]);
            let mut band: Vec<[f64; 2]> = upper.collect();
            band.extend(
                shares().map(|(w, _, right)| [x(w), y(right.interval.low)]).collect::<Vec<_>>().into_iter().rev(),
            );
            drawing.path("band", &band, true, "95 % interval");
        }
        let line: Vec<[f64; 2]> = shares().map(|(w, _, right)| [x(w), y(right.mean)]).collect();
        drawing.path(if number == 0 { "line" } else { "other" }, &line, false, &series.label);
        for (w, arm, right) in shares() {
            let radius = if table.chosen.is_some_and(|chosen| chosen.w == w) && number == 0 { 5.5 } else { 3.5 };
            drawing.circle(
                match number {
                    _ if is_incomplete(arm) => "none",
                    0 => "accent",
                    _ => "reference",
                },
                [x(w), y(right.mean)],
                radius,
                &tooltip(arm),
            );
            if is_marked(arm) {
                // The first series has a band with its intervals, and the others their points alone.
                let top = if number == 0 { y(right.interval.high) } else { y(right.mean) - 3.0 };
                drawing.text("title middle", [x(w), top - 4.0], "*");
            }
        }
        if let (Some((_, _, right)), false) = (shares().next_back(), series.label.is_empty()) {
            names.push((y(right.mean), series.label.clone()));
        }
    }
    if controls.iter().any(|(_, arm)| arm.right.is_some()) {
        let [x, y] = [WIDTH - RIGHT, 24.0];
        drawing.text("weak end", [x, y], "controls, which should change nothing");
        drawing.circle("none", [x - CONTROLS_WIDTH, y - 4.0], 4.0, "");
    }
    for (w, arm) in controls {
        if let Some(right) = arm.right {
            drawing.line("grid", [x(w), y(right.interval.low)], [x(w), y(right.interval.high)]);
            drawing.circle("none", [x(w), y(right.mean)], 4.0, &tooltip(arm));
        }
    }
    for (at, name) in apart(names) {
        drawing.text("weak", [WIDTH - RIGHT + 8.0, at + 4.0], &name);
    }
    lower(&mut drawing, &series, x, bottom);
    drawing
}

/// Room for the words that say what grey points are.
const CONTROLS_WIDTH: f64 = 212.0;

/// Names moved away from one another.
fn apart(mut names: Vec<(f64, String)>) -> Vec<(f64, String)> {
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    for (at, _) in &mut names {
        *at = at.max(free);
        free = *at + NAME_HEIGHT;
    }
    names
}

/// Steps and tokens, on the same axis.
fn lower(drawing: &mut Drawing, series: &[Series<'_>], x: impl Fn(f64) -> f64, bottom: f64) {
    let top = bottom - LOWER;
    let Some(first) = series.first() else { return };
    let most = first.points.iter().filter_map(|(_, arm)| arm.mean_tokens).fold(0.0, f64::max);
    let most = round_up(most);
    drawing.text("title", [LEFT, top - 14.0], "What changed in the answers");
    for (left, class, label) in [(230.0, "steps", "answers in steps"), (360.0, "tokens", "tokens per answer")] {
        let [x, y] = [LEFT + left, top - 18.0];
        drawing.path(class, &[[x, y], [x + 16.0, y]], false, label);
        drawing.text("weak", [x + 22.0, top - 14.0], label);
    }
    for (at, left, right) in [
        (top, "100\u{a0}%".to_owned(), format!("{} tokens", format::fixed(most, 0))),
        (bottom, "0\u{a0}%".to_owned(), "0".to_owned()),
    ] {
        drawing.line("grid", [LEFT, at], [WIDTH - RIGHT, at]);
        drawing.text("weak end", [LEFT - 8.0, at + 4.0], &left);
        drawing.text("weak", [WIDTH - RIGHT + 8.0, at + 4.0], &right);
    }
    let steps = first.points.iter().filter_map(|(w, arm)| Some([x(*w), bottom - LOWER * arm.in_steps?]));
    drawing.path("steps", &steps.collect::<Vec<_>>(), false, "answers in steps");
    let tokens = first.points.iter().filter_map(|(w, arm)| Some([x(*w), bottom - LOWER * arm.mean_tokens? / most]));
    drawing.path("tokens", &tokens.collect::<Vec<_>>(), false, "tokens per answer");
}

/// The next round number: 1, 2, 3, 4, 5, 6 or 8 times a power of ten.
pub fn round_up(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|round| *round >= value).unwrap_or(value)
}
