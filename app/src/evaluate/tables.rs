//! A sweep as tables: the arms, and every answer.

use mergescope_core::evaluate::grade::Outcome;
use mergescope_core::evaluate::log::Contents;
use mergescope_core::evaluate::sweep::{ArmResult, Sweep, SweepTable};

use crate::report::Figure;
use crate::report::{Cell, Column, Table};

fn figure(value: Option<f64>, of: fn(f64) -> Figure) -> Cell {
    value.map_or(Cell::Empty, |value| Cell::Figure(of(value)))
}

fn count(value: u64) -> Cell {
    Cell::Figure(Figure::Count(value))
}

/// What an arm is called, with a word about results that were measured elsewhere: they may have the w of another arm.
pub fn label(arm: &ArmResult) -> String {
    if arm.arm.is_some() { arm.label.clone() } else { format!("{} (imported)", arm.label) }
}

/// A row for each arm, with all that is known of it.
pub fn arms(table: &SweepTable) -> Table {
    let mut columns = [
        ("arm", "Arm"),
        ("w", "w"),
        ("right_share", "Right"),
        ("low", "95 % from"),
        ("high", "to"),
        ("answers", "Answers"),
        ("right", "Right answers"),
        ("wrong", "Wrong"),
        ("no_answer", "No answer found"),
        ("cut_off", "Cut off"),
        ("errors", "Errors"),
        ("missing", "Missing"),
        ("difference", "Against w = 0"),
        ("difference_low", "95 % from"),
        ("difference_high", "to"),
        ("gained", "Mended"),
        ("lost", "Broken"),
        ("p", "p"),
        ("p_holm", "p, Holm"),
        ("mean_tokens", "Tokens"),
        ("in_steps", "In steps"),
        ("thinks", "Thinks"),
        ("japanese", "Japanese"),
        ("english", "English"),
        ("mixed", "Mixed"),
        ("dev_share", "Right where w is chosen"),
    ]
    .map(|(key, label)| Column::new(key, label))
    .to_vec();
    let graders: Vec<&str> =
        table.arms.iter().flat_map(|arm| arm.by_grader.iter().map(|(name, _)| name.as_str())).collect();
    let mut names: Vec<&str> = Vec::new();
    graders.into_iter().for_each(|name| {
        if !names.contains(&name) {
            names.push(name);
        }
    });
    columns.extend(names.iter().map(|name| Column::new(format!("grader_{name}"), format!("Right by {name}"))));
    let rows = table.arms.iter().map(|arm| row(arm, &names)).collect();
    Table { name: "sweep".to_owned(), columns, rows }
}

fn row(arm: &ArmResult, graders: &[&str]) -> Vec<Cell> {
    let against = arm.against;
    let mut cells = vec![
        Cell::Text(label(arm)),
        figure(arm.w, Figure::Number),
        figure(arm.right.map(|right| right.mean), Figure::Share),
        figure(arm.right.map(|right| right.interval.low), Figure::Share),
        figure(arm.right.map(|right| right.interval.high), Figure::Share),
        count(arm.tally.graded()),
        count(arm.tally.right),
        count(arm.tally.wrong),
        count(arm.tally.no_answer),
        count(arm.tally.cut_off),
        count(arm.tally.error),
        count(arm.missing),
        figure(against.map(|against| against.difference), Figure::Share),
        figure(against.map(|against| against.interval.low), Figure::Share),
        figure(against.map(|against| against.interval.high), Figure::Share),
        against.and_then(|against| against.gained).map_or(Cell::Empty, count),
        against.and_then(|against| against.lost).map_or(Cell::Empty, count),
        figure(against.map(|against| against.p), Figure::Number),
        figure(against.and_then(|against| against.p_holm), Figure::Number),
        figure(arm.mean_tokens, Figure::Number),
        figure(arm.in_steps, Figure::Share),
        figure(arm.thinks, Figure::Share),
        count(arm.languages.japanese),
        count(arm.languages.english),
        count(arm.languages.mixed),
        figure(arm.dev, Figure::Share),
    ];
    cells.extend(graders.iter().map(|name| {
        let found = arm.by_grader.iter().find(|(grader, _)| grader == name);
        figure(found.and_then(|(_, share)| *share), Figure::Share)
    }));
    cells
}

/// A row for each question and a column for each arm: what became of the answers.
pub fn matrix(sweep: &Sweep, table: &SweepTable, log: &Contents, engine: &str) -> Table {
    let arms: Vec<_> = table.arms.iter().filter_map(|result| Some((result.arm?, result.label.as_str()))).collect();
    let mut columns =
        vec![Column::new("question", "Question"), Column::new("label", "Label"), Column::new("part", "Part")];
    columns.extend(arms.iter().map(|(_, label)| Column::new(*label, *label)));
    let grader = sweep.graders().first().cloned();
    let graded: Vec<_> =
        arms.iter().map(|(arm, _)| grader.as_ref().map(|grader| sweep.graded(*arm, log, engine, grader))).collect();
    let rows = sweep.questions().iter().enumerate().map(|(at, question)| {
        let part = if !sweep.is_split() {
            "all"
        } else if sweep.is_dev(question) {
            "dev"
        } else {
            "test"
        };
        let mut row =
            vec![Cell::Text(question.id.clone()), Cell::Text(question.answer.clone()), Cell::Text(part.to_owned())];
        for graded in &graded {
            let samples = graded.as_ref().and_then(|graded| graded.get(at));
            let given: Vec<Outcome> = samples.into_iter().flatten().flatten().map(|sample| sample.outcome).collect();
            row.push(match given.as_slice() {
                [] => Cell::Empty,
                [one] => Cell::Text(one.label().to_owned()),
                several => {
                    let right = several.iter().filter(|outcome| **outcome == Outcome::Right).count();
                    Cell::Text(format!("{right} of {} right", several.len()))
                }
            });
        }
        row
    });
    Table { name: "questions".to_owned(), columns, rows: rows.collect() }
}
