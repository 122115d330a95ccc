//! A sweep as one page to share: what it supports, chart, tables, and the answers that w changes.

use std::fmt::Write as _;

use mergescope_core::evaluate::grade::Outcome;
use mergescope_core::evaluate::log::Contents;
use mergescope_core::evaluate::sweep::{Arm, ArmModel, GradedSample, Sweep, SweepTable};

use super::{chart, tables, words};
use crate::format;
use crate::report::page::{self, details, section};
use crate::report::svg::{Theme, escape};

/// Answers that are shown of those that w mends, and of those that it breaks.
const SHOWN: usize = 20;
/// Characters of an answer that are shown.
const ANSWER_CHARS: usize = 2_000;

/// The page.
pub fn page(sweep: &Sweep, table: &SweepTable, log: &Contents, engine: &str, theme: Theme) -> String {
    let mut body = String::from("<h1>Right answers against w</h1>\n<p class=\"summary\">");
    for sentence in words::conclusion(table) {
        body += &escape(&sentence.text());
        body.push(' ');
    }
    body += "</p>\n";
    provenance(&mut body, sweep, table, engine);
    section(&mut body, "Right answers against w", &[chart::sweep(table)], &[], &[tables::arms(table)]);
    flips(&mut body, sweep, table, log, engine);
    body += "<section>\n<h2>Every question</h2>\n";
    details(&mut body, &tables::matrix(sweep, table, log, engine));
    body += "</section>\n";
    page::document(&format!("Sweep of {}", sweep.recipe().vector.post), &body, theme)
}

fn provenance(body: &mut String, sweep: &Sweep, table: &SweepTable, engine: &str) {
    let recipe = sweep.recipe();
    let sampling = sweep.spec().sampling;
    let asked = match sampling.temperature <= 0.0 {
        true => "greedy".to_owned(),
        false => format!("temperature {}, top-p {}", sampling.temperature, sampling.top_p),
    };
    let split = match table.dev_questions {
        Some(dev) => {
            format!("{} to choose w on, {} to report", format::count(dev as u64), format::count(table.questions as u64))
        }
        None => format!("{}, w chosen on these", format::plural(table.questions, "question")),
    };
    let facts = [
        ("Pre", recipe.vector.pre.clone()),
        ("Post", recipe.vector.post.clone()),
        ("Target", recipe.target.clone()),
        ("Questions", sweep.spec().questions.clone()),
        ("Split", split),
        ("Asked", format!("{asked}, at most {} tokens, {engine}", sweep.max_tokens())),
        ("Grader", format!("{} ({})", words::grader(&table.grader), table.grader.label())),
        ("p", format::sentence(&words::tests(table))),
        ("Made by", format!("Mergescope {}", env!("CARGO_PKG_VERSION"))),
    ];
    *body += "<table class=\"facts\">\n";
    for (name, value) in facts {
        let _ = writeln!(body, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    *body += "</table>\n";
}

/// What the chosen w mends and breaks, side by side.
fn flips(body: &mut String, sweep: &Sweep, table: &SweepTable, log: &Contents, engine: &str) {
    let Some(chosen) = table.chosen.filter(|chosen| chosen.w != 0.0) else { return };
    let Some(grader) = sweep.graders().first() else { return };
    let arm_at = |w: f64| {
        table
            .arms
            .iter()
            .filter_map(|result| result.arm)
            .find(|arm| arm.prompt == 0 && !arm.perturbed && matches!(arm.model, ArmModel::W(found) if found == w))
    };
    let (Some(base), Some(best)) = (arm_at(0.0), arm_at(chosen.w)) else { return };
    let graded = |arm: Arm| sweep.graded(arm, log, engine, grader);
    let (before, after) = (graded(base), graded(best));
    for (heading, wanted) in [("Mended", (false, true)), ("Broken", (true, false))] {
        let mut rows = String::new();
        let mut count = 0;
        for ((question, before), after) in sweep.questions().iter().zip(&before).zip(&after) {
            let (Some(Some(before)), Some(Some(after))) = (before.first(), after.first()) else { continue };
            let right = |sample: &GradedSample<'_>| sample.outcome == Outcome::Right;
            if sweep.is_dev(question) || (right(before), right(after)) != wanted {
                continue;
            }
            count += 1;
            if count <= SHOWN {
                let _ = writeln!(
                    rows,
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escape(&question.question),
                    escape(&question.answer),
                    marked(before),
                    marked(after),
                );
            }
        }
        let more = if count > SHOWN { format!(", the first {SHOWN}") } else { String::new() };
        let _ = writeln!(
            body,
            "<section>\n<h2>{heading}: {}{more}</h2>\n<div class=\"wide\"><table class=\"answers\">\n\
             <tr><th>Question</th><th>Label</th><th>w = 0</th><th>w = {}</th></tr>\n{rows}</table></div>\n</section>",
            format::plural(count, "question"),
            escape(&format::w(chosen.w)),
        );
    }
}

/// An answer with what the grader found in it marked.
fn marked(sample: &GradedSample<'_>) -> String {
    let Some(text) = sample.sample.text() else { return escape(sample.sample.error.as_deref().unwrap_or("")) };
    let span = sample.grade.as_ref().and_then(|grade| grade.span.clone());
    let clipped = |text: &str| escape(&text.chars().take(ANSWER_CHARS).collect::<String>());
    match span.filter(|span| text.get(span.clone()).is_some()) {
        Some(span) => {
            format!(
                "{}<mark>{}</mark>{}",
                clipped(&text[..span.start]),
                clipped(&text[span.clone()]),
                clipped(&text[span.end..])
            )
        }
        None => clipped(text),
    }
}
