//! A sweep on a terminal: what is asked, and what it came to.

use mergescope_core::engine::Precision;
use mergescope_core::evaluate::questions::PromptForm;
use mergescope_core::evaluate::sweep::{Sweep, SweepTable};
use serde_json::{Value, json};

use crate::cli::print;
use crate::cli::table::{Align, Table};
use crate::evaluate::words;
use crate::format;

/// What is asked of whom, before it is.
pub fn heading(sweep: &Sweep, engine: &str) -> String {
    let questions = sweep.questions();
    let dev = questions.iter().filter(|question| sweep.is_dev(question)).count();
    let mut text = format!(
        "{} of {} ({}), {engine}\n",
        format::plural(questions.len(), "question"),
        print::line(&sweep.spec().questions),
        sweep.preset().name,
    );
    if dev > 0 {
        text += &format!(
            "w is chosen on {}, and reported on the other {}\n",
            format::count(dev as u64),
            format::count((questions.len() - dev) as u64)
        );
    }
    if !sweep.left_out().is_empty() {
        text += &format!("{} cannot be changed so and left out\n", format::plural(sweep.left_out().len(), "question"));
    }
    if engine.ends_with(Precision::Q8_0.label()) {
        text += "A fast preview: rounding to 8 bits can hide a small step in w\n";
    }
    if let Some(least) = sweep.detectable_before() {
        text += &format!("So many questions show a gain from about {} on\n", words::points(least));
    }
    text
}

/// What would be asked, and a first prompt.
pub fn plan_text(sweep: &Sweep) -> String {
    let arms = sweep.arms(None);
    let mut text = heading(sweep, "nothing asked yet");
    text +=
        &format!("\nWould ask for {} in this order:\n", format::plural(arms.len() * sweep.answers_per_arm(), "answer"));
    for arm in &arms {
        text += &format!("  {}\n", sweep.label(*arm));
    }
    let first = arms.first().map(|arm| sweep.asked(*arm));
    if let Some((asked, question)) = first.and_then(|asked| Some((asked, asked.set.questions.first()?))) {
        let shown = asked.prompter.preview(question);
        let template =
            if matches!(sweep.template().form, PromptForm::Raw) { "raw text" } else { "by the chat template" };
        text += &format!(
            "\nThe first prompt ({template}), to which {} is right:\n\n{shown}\n",
            print::line(&question.answer)
        );
    }
    text
}

/// The same for machines.
pub fn plan_document(sweep: &Sweep) -> Value {
    let arms = sweep.arms(None);
    let first = arms.first().and_then(|arm| Some(sweep.asked(*arm).prompts.first()?.clone()));
    json!({
        "dry_run": true,
        "questions": sweep.questions().len(),
        "answers": arms.len() * sweep.answers_per_arm(),
        "arms": arms.iter().map(|arm| sweep.label(*arm)).collect::<Vec<_>>(),
        "first_prompt": first,
        "minimum_detectable_gain": sweep.detectable_before(),
        "spec": sweep.spec(),
    })
}

/// The table and what it supports.
pub fn report(result: &SweepTable) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("right", Align::Right),
        ("95 % interval", Align::Right),
        ("answers", Align::Right),
        ("against w = 0", Align::Right),
        ("mended, broken", Align::Right),
        ("p", Align::Right),
        ("tokens", Align::Right),
        ("in steps", Align::Right),
    ]);
    let dash = || format::NONE.to_owned();
    for arm in &result.arms {
        let against = arm.against;
        table.row([
            arm.label.clone(),
            arm.right.map_or_else(dash, |right| format::percent_fixed(right.mean, 1)),
            arm.right.map_or_else(dash, |right| {
                format!(
                    "{} – {}",
                    format::percent_fixed(right.interval.low, 1),
                    format::percent_fixed(right.interval.high, 1)
                )
            }),
            format::count(arm.tally.graded()),
            against.map_or_else(String::new, |against| signed_points(against.difference)),
            against.map_or_else(String::new, |against| format!("{}, {}", against.gained, against.lost)),
            against.map_or_else(String::new, |against| p_cell(against.p_holm.unwrap_or(against.p))),
            arm.mean_tokens.map_or_else(dash, |tokens| format::fixed(tokens, 1)),
            arm.in_steps.map_or_else(dash, |share| format::percent_fixed(share, 0)),
        ]);
    }
    let mut text = format!("\n{}\n", table.render());
    text += "p is exact and paired by question; of values of w it is corrected for all that were tried (Holm)\n\n";
    for sentence in words::conclusion(result) {
        text += &sentence.text();
        text.push('\n');
    }
    text
}

fn signed_points(difference: f64) -> String {
    let text = format::fixed(difference * 100.0, 1);
    if difference > 0.0 { format!("+{text}") } else { text }
}

fn p_cell(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format::fixed(p, 3) }
}
