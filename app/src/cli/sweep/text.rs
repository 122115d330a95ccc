//! A sweep on a terminal: what is asked, and what it came to.

use mergescope_core::engine::Precision;
use mergescope_core::evaluate::questions::PromptForm;
use mergescope_core::evaluate::sweep::{Arm, ArmModel, ArmResult, Sweep, SweepTable};
use serde_json::{Value, json};

use crate::cli::print;
use crate::cli::table::{Align, Table};
use crate::evaluate::pace::Pace;
use crate::evaluate::{tables, words};
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
    if let Some(first) = sweep.skipped().first() {
        let place = first.line.map_or_else(|| format!("record {}", first.record + 1), |line| format!("line {line}"));
        let records = format::plural(sweep.skipped().len(), "record");
        text +=
            &format!("{records} of the file without a question; the first is {place}: {}\n", print::line(&first.why));
    }
    if let Some(field) = sweep.unusable_id() {
        let field = print::line(field);
        text += &format!("Questions go by their position in the file: values of `{field}` repeat or are missing\n",);
    }
    if !sweep.left_out().is_empty() {
        text += &format!("{} cannot be changed so and left out\n", format::plural(sweep.left_out().len(), "question"));
    }
    if engine.ends_with(Precision::Q8_0.label()) {
        text += "A fast preview: rounding to 8 bits can hide a small step in w\n";
    }
    if let Some(least) = sweep.detectable_before() {
        text += &format!(
            "So many questions show a gain from about {} on, if half are right at w = 0\n",
            words::points(least)
        );
    }
    text
}

/// What would be asked of those models that are wanted, and a first prompt.
pub fn plan_text(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool, pace: &Pace) -> String {
    let arms = wanted_arms(sweep, wanted);
    let mut text = heading(sweep, "nothing asked yet");
    text +=
        &format!("\nWould ask for {} in this order:\n", format::plural(arms.len() * sweep.answers_per_arm(), "answer"));
    for arm in &arms {
        text += &format!("  {}\n", sweep.label(*arm));
    }
    text += &format!("{}\n", pace.text());
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
    // Other ways of asking put their words somewhere, and where matters.
    let mut others: Vec<Arm> = Vec::new();
    for arm in &arms {
        let is_asked_alike = |other: &Arm| (other.prompt, other.perturbed) == (arm.prompt, arm.perturbed);
        if !arms.first().is_some_and(is_asked_alike) && !others.iter().any(is_asked_alike) {
            others.push(*arm);
        }
    }
    for arm in others {
        let asked = sweep.asked(arm);
        if let Some(question) = asked.set.questions.first() {
            let shown = asked.prompter.preview(question);
            text += &format!("\nThe same, {}:\n\n{shown}\n", print::line(&asked_how(sweep, arm)));
        }
    }
    text
}

/// How an arm is asked, without who is: "step by step, irrelevant sentence".
fn asked_how(sweep: &Sweep, arm: Arm) -> String {
    let label = sweep.label(arm);
    label.split_once(", ").map_or(String::new(), |(_, how)| how.to_owned())
}

fn wanted_arms(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool) -> Vec<Arm> {
    sweep.arms(None).into_iter().filter(|arm| wanted(arm.model)).collect()
}

/// The same for machines.
pub fn plan_document(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool, pace: &Pace) -> Value {
    let arms = wanted_arms(sweep, wanted);
    let first = arms.first().and_then(|arm| Some(sweep.asked(*arm).prompts.first()?.clone()));
    json!({
        "dry_run": true,
        "questions": sweep.questions().len(),
        "answers": arms.len() * sweep.answers_per_arm(),
        "answers_there": pace.there,
        "expected_s": pace.left.map(|left| left.as_secs_f64()),
        "arms": arms.iter().map(|arm| sweep.label(*arm)).collect::<Vec<_>>(),
        "first_prompt": first,
        "minimum_detectable_gain": sweep.detectable_before(),
        "spec": sweep.spec(),
    })
}

/// The tables and what they support.
pub fn report(result: &SweepTable) -> String {
    let mut text = format!(
        "\nGraded by {} ({})\n\n{}",
        result.grader.label(),
        words::grader(&result.grader),
        results(result).render()
    );
    text +=
        &format!("\np is {}; of values of w it is corrected for all that were tried (Holm)\n", words::tests(result));
    text += &format!("\nWhat the answers are like\n\n{}\n", answers(result).render());
    for sentence in words::conclusion(result) {
        text += &sentence.text();
        text.push('\n');
    }
    text
}

/// What is right, and against w = 0.
fn results(result: &SweepTable) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("right", Align::Right),
        ("95 % interval", Align::Right),
        ("answers", Align::Right),
        ("against w = 0", Align::Right),
        ("mended, broken", Align::Right),
        ("p", Align::Right),
    ]);
    for arm in &result.arms {
        let against = arm.against;
        table.row([
            tables::label(arm),
            arm.right.map_or_else(dash, |right| percent(right.mean, 1)),
            arm.right.map_or_else(dash, |right| {
                let low = format::fixed(right.interval.low * 100.0, 1);
                format!("{low} – {}", percent(right.interval.high, 1))
            }),
            format::count(arm.tally.graded()),
            against.map_or_else(String::new, |against| signed_points(against.difference)),
            against.and_then(|against| Some(format!("{}, {}", against.gained?, against.lost?))).unwrap_or_default(),
            against.map_or_else(String::new, |against| p_cell(against.p_holm.unwrap_or(against.p))),
        ]);
    }
    table
}

/// A column of the second table: its heading, and its cell for an arm.
type AnswerColumn<'a> = (String, Box<dyn Fn(&ArmResult) -> String + 'a>);

/// A number of answers, with its heading.
type Counted = (&'static str, fn(&ArmResult) -> u64);

/// What the answers are like: by every grader where there are several, how they ended, and the language where it may change.
fn answers(result: &SweepTable) -> Table {
    let own = || result.arms.iter().filter(|arm| arm.arm.is_some());
    let mut columns: Vec<AnswerColumn<'_>> = Vec::new();
    let graders: &[(String, Option<f64>)] = own().next().map_or(&[], |arm| &arm.by_grader);
    if graders.len() > 1 {
        for (position, (name, _)) in graders.iter().enumerate() {
            let share = move |arm: &ArmResult| arm.by_grader.get(position).and_then(|(_, share)| *share);
            columns.push((name.clone(), Box::new(move |arm| share(arm).map_or_else(dash, |share| percent(share, 1)))));
        }
    }
    let ends: [Counted; 4] = [
        ("no answer", |arm| arm.tally.no_answer),
        ("cut off", |arm| arm.tally.cut_off),
        ("errors", |arm| arm.tally.error),
        ("missing", |arm| arm.missing),
    ];
    for (heading, of) in ends.into_iter().filter(|(_, of)| own().any(|arm| of(arm) > 0)) {
        columns.push((heading.to_owned(), Box::new(move |arm| format::count(of(arm)))));
    }
    columns.push(("tokens".to_owned(), Box::new(|arm| arm.mean_tokens.map_or_else(dash, |n| format::fixed(n, 1)))));
    columns.push(("in steps".to_owned(), Box::new(|arm| arm.in_steps.map_or_else(dash, |share| percent(share, 0)))));
    // In a sweep in English there is nothing to see.
    if own().any(|arm| arm.languages.japanese + arm.languages.mixed > 0) {
        let languages: [Counted; 3] = [
            ("Japanese", |arm| arm.languages.japanese),
            ("English", |arm| arm.languages.english),
            ("mixed", |arm| arm.languages.mixed),
        ];
        for (heading, of) in languages.into_iter().filter(|(name, of)| *name != "mixed" || own().any(|arm| of(arm) > 0))
        {
            let share = move |arm: &ArmResult| {
                let found = arm.languages;
                let told = found.japanese + found.english + found.mixed + found.chinese;
                (told > 0).then(|| of(arm) as f64 / told as f64)
            };
            columns.push((
                heading.to_owned(),
                Box::new(move |arm| share(arm).map_or_else(dash, |share| percent(share, 0))),
            ));
        }
    }
    let headings = columns.iter().map(|(heading, _)| (heading.as_str(), Align::Right));
    let mut table = Table::new(&[("", Align::Left)].into_iter().chain(headings).collect::<Vec<_>>());
    for arm in own() {
        table.row([tables::label(arm)].into_iter().chain(columns.iter().map(|(_, cell)| cell(arm))));
    }
    table
}

fn dash() -> String {
    format::NONE.to_owned()
}

fn percent(share: f64, decimals: usize) -> String {
    format::percent_fixed(share, decimals)
}

fn signed_points(difference: f64) -> String {
    let text = format::fixed(difference * 100.0, 1);
    if difference > 0.0 { format!("+{text}") } else { text }
}

fn p_cell(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format::fixed(p, 3) }
}

#[cfg(test)]
mod tests {
    use mergescope_core::evaluate::grade::{Grader, Tally};
    use mergescope_core::evaluate::sweep::Languages;

    use super::*;

    fn arm(w: f64, tally: Tally, languages: Languages) -> ArmResult {
        ArmResult {
            arm: Some(Arm { model: ArmModel::W(w), prompt: 0, perturbed: false }),
            label: ArmModel::W(w).label(),
            series: None,
            w: Some(w),
            tally,
            missing: 0,
            right: None,
            pass_at_k: None,
            dev: None,
            by_grader: vec![("flexible".to_owned(), Some(0.5)), ("boxed".to_owned(), None)],
            mean_tokens: Some(12.0),
            in_steps: None,
            thinks: None,
            languages,
            against: None,
        }
    }

    #[test]
    fn columns_are_there_where_they_say_something() {
        let japanese = Languages { japanese: 3, english: 1, ..Languages::default() };
        let english = Languages { english: 4, ..Languages::default() };
        let mut table = SweepTable {
            grader: Grader::Flexible,
            questions: 4,
            dev_questions: None,
            samples: 1,
            arms: vec![arm(0.0, Tally { right: 4, ..Tally::default() }, english)],
            chosen: None,
            minimum_detectable_gain: None,
        };
        let plain = answers(&table).render();
        for heading in ["no answer", "cut off", "errors", "missing", "Japanese", "English"] {
            assert!(!plain.contains(heading), "{plain}");
        }
        assert!(plain.contains("flexible") && plain.contains("boxed"), "{plain}");
        table.arms.push(arm(1.0, Tally { right: 1, cut_off: 2, error: 1, ..Tally::default() }, japanese));
        let text = report(&table);
        for said in [
            "cut off",
            "errors",
            "Japanese",
            "English",
            "75\u{a0}%",
            "25\u{a0}%",
            "1 answer ended in an error and counts",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert!(!text.contains("no answer  ") && !text.contains("mixed"), "{text}");
        assert!(text.contains("Graded by flexible (Last number)"), "{text}");
    }
}
