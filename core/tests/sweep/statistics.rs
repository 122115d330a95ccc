//! What the answers come to, on outcomes that were made so that every number is known.

use std::collections::HashMap;
use std::sync::Mutex;

use mergescope_core::alignment::Role;
use mergescope_core::engine::Sampling;
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::statistics::PairedDesign;
use mergescope_core::evaluate::sweep::{ArmModel, PromptArm, SplitSpec, Sweep, SweepSpec};

use super::fixture::{Desk, Reply, Scripted, at, close, number, open, right, row, run};

/// Where each question stands among those of its side: first whether w is chosen on it, then its place there.
fn sides(sweep: &Sweep) -> HashMap<usize, (bool, usize)> {
    let mut next = [0, 0];
    let side = |question| {
        let is_dev = sweep.is_dev(question);
        let place = &mut next[usize::from(is_dev)];
        *place += 1;
        (number(&question.question), (is_dev, *place - 1))
    };
    sweep.questions().iter().map(side).collect()
}

/// 40 questions, 20 of them to choose w on. Right of those and of the others: 8 and 5 at w = 0, 14 and 5 at 0.25 (of which 3
/// are others than at 0), 14 and 11 at 0.5, 12 and 18 at 1.
fn outcomes(model: &str, is_dev: bool, place: usize) -> bool {
    match (model, is_dev) {
        ("0", true) => place < 8,
        ("0", false) => place < 5,
        ("0.25" | "0.5", true) => place < 14,
        ("0.25", false) => (3..8).contains(&place),
        ("0.5", false) => place < 11,
        ("1", true) => place < 12,
        ("1", false) => place < 18,
        // References.
        _ => true,
    }
}

fn spec(desk: &Desk) -> SweepSpec {
    SweepSpec { w: vec![0.25, 0.5, 1.0], split: Some(SplitSpec::default()), ..desk.spec() }
}

#[test]
fn w_is_chosen_on_one_half_and_reported_on_the_other() {
    let desk = Desk::new(40);
    let spec = SweepSpec {
        references: vec![Role::Pre, Role::Post],
        prompts: ["plain", "steps"]
            .map(|way| PromptArm { label: way.to_owned(), instruction: way.to_owned() })
            .to_vec(),
        ..spec(&desk)
    };
    let sides = sides(&open(&spec));
    let mut engine = Scripted::new(move |seen| {
        let (is_dev, place) = sides[&number(&seen.prompt)];
        // Asked for steps, every w answers alike.
        let model = if seen.prompt.ends_with("steps") && seen.model != "1" { "0" } else { seen.model.as_str() };
        right(outcomes(model, is_dev, place))
    });
    let table = desk.swept(&spec, &mut engine);
    assert_eq!((table.questions, table.dev_questions, table.samples), (20, Some(20), 1));

    // 0.5 does as well on the one half and better on the other, and 1 best there: neither counts.
    let chosen = table.chosen.unwrap();
    assert_eq!((chosen.w, chosen.held_out), (0.25, true));

    let shares = [(0.0, 0.4, 0.25), (0.25, 0.7, 0.25), (0.5, 0.7, 0.55), (1.0, 0.6, 0.9)];
    for (w, dev, test) in shares {
        close(at(&table, w).dev.unwrap(), dev);
        close(at(&table, w).right.unwrap().mean, test);
        assert_eq!(at(&table, w).tally.graded(), 20, "only those that are reported on");
    }
    // Wilson's interval of 11 of 20.
    let interval = at(&table, 0.5).right.unwrap().interval;
    assert!((interval.low - 0.342_085_342_450_342).abs() < 1e-8, "{interval:?}");
    assert!((interval.high - 0.741_802_141_744_376).abs() < 1e-8, "{interval:?}");

    // McNemar's exact p: 3 gained and 3 lost, 6 gained, 13 gained; Holm's adjustment for three.
    let expected =
        [(0.25, 3, 3, 1.0, 1.0), (0.5, 6, 0, 1.0 / 32.0, 2.0 / 32.0), (1.0, 13, 0, 2.0 / 8192.0, 6.0 / 8192.0)];
    for (w, gained, lost, p, p_holm) in expected {
        let against = at(&table, w).against.unwrap();
        assert_eq!((against.questions, against.gained, against.lost), (20, Some(gained), Some(lost)), "w = {w}");
        close(against.p, p);
        close(against.p_holm.unwrap(), p_holm);
        close(against.difference, (gained as f64 - lost as f64) / 20.0);
    }
    assert!(at(&table, 0.0).against.is_none());

    // Another way of asking is adjusted by itself: 1, 1 and 3 times 2/8192.
    let steps = table.arms.iter().find(|row| row.label == "w = 1, steps").unwrap().against.unwrap();
    close(steps.p_holm.unwrap(), 6.0 / 8192.0);
    let same = table.arms.iter().find(|row| row.label == "w = 0.25, steps").unwrap().against.unwrap();
    assert_eq!((same.gained, same.lost, same.p, same.p_holm), (Some(0), Some(0), 1.0, Some(1.0)));

    // References are compared, and are not among the values of w that were tried.
    let post = row(&table, ArmModel::Reference(Role::Post)).against.unwrap();
    assert_eq!((post.gained, post.p_holm), (Some(15), None));
    close(post.p, 2.0 / 32768.0);

    // One comparison is planned, on 20 questions of which the target has a quarter right.
    let design = PairedDesign::usual(20, 0.25, 0.025);
    assert_eq!(table.minimum_detectable_gain, design.minimum_detectable_gain());
}

#[test]
fn without_a_split_w_is_chosen_on_what_is_reported_and_says_so() {
    let desk = Desk::new(40);
    let spec = SweepSpec { split: None, ..spec(&desk) };
    let mut engine = Scripted::by_number(|model, question| match model {
        "0" => question < 10,
        "0.5" => question < 20,
        "1" => question < 30,
        _ => false,
    });
    let table = desk.swept(&spec, &mut engine);
    assert_eq!((table.questions, table.dev_questions), (40, None));
    assert_eq!((table.chosen.unwrap().w, table.chosen.unwrap().held_out), (1.0, false));
    let design = PairedDesign { comparisons: 3, ..PairedDesign::usual(40, 0.25, 0.025) };
    assert_eq!(table.minimum_detectable_gain, design.minimum_detectable_gain());
}

#[test]
fn where_nothing_does_better_the_target_is_chosen() {
    let desk = Desk::new(10);
    let table = desk.swept(&spec(&desk), &mut Scripted::by_number(|_, question| question % 2 == 0));
    assert_eq!(table.chosen.unwrap().w, 0.0);
    // Of two that lie as far from 0 either may be taken, but never the farther one.
    let desk = Desk::new(10);
    let spec = SweepSpec { w: vec![-1.0, -0.25, 0.5, 1.0], ..spec(&desk) };
    let table = desk.swept(&spec, &mut Scripted::by_number(|model, _| model != "0"));
    assert_eq!(table.chosen.unwrap().w, -0.25);
}

#[test]
fn a_w_that_has_not_answered_everything_is_not_chosen() {
    let desk = Desk::new(20);
    let spec = SweepSpec { w: vec![1.0], ..spec(&desk) };
    let sweep = open(&spec);
    let mut engine = Scripted::by_number(|model, question| model == "1" || question < 5);
    engine.cancel_after = Some(35);
    run(&sweep, &mut engine, &mut desk.log()).expect_err("it was cancelled");
    let table = desk.table(&sweep);
    assert_eq!(at(&table, 1.0).missing + at(&table, 1.0).tally.graded(), 10);
    assert!(at(&table, 1.0).missing > 0);
    close(at(&table, 1.0).right.unwrap().mean, 1.0);
    assert_eq!(table.chosen, None, "w = 0 alone is no choice");
    let against = at(&table, 1.0).against.unwrap();
    assert_eq!(against.questions, at(&table, 1.0).tally.graded(), "the same questions of both");
    engine.cancel_after = None;
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    assert_eq!(desk.table(&sweep).chosen.unwrap().w, 1.0);
}

#[test]
fn a_question_that_fails_for_all_does_not_keep_w_from_being_chosen() {
    for split in [None, Some(SplitSpec::default())] {
        let desk = Desk::new(20);
        let spec = SweepSpec { split, ..spec(&desk) };
        let mut engine = Scripted::new(|seen| match (seen.model.as_str(), number(&seen.prompt)) {
            (_, 2 | 3 | 11) => Reply::Fails,
            // Right in all that it answers, which is little.
            ("1", question) => {
                if question < 10 {
                    right(true)
                } else {
                    Reply::Fails
                }
            }
            ("0.5", question) => right(question != 19),
            (_, question) => right(question % 2 == 0),
        });
        let table = desk.swept(&spec, &mut engine);
        assert_eq!(table.chosen.unwrap().w, 0.5, "what is compared are the same questions");
    }
}

#[test]
fn several_samples_are_averaged_by_question_and_compared_by_flipping_signs() {
    let desk = Desk::new(24);
    let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let spec = SweepSpec { samples: 4, sampling, w: vec![1.0], split: Some(SplitSpec::default()), ..desk.spec() };
    // Asked last to first: the last of four answers is the first sample.
    let asked: Mutex<HashMap<(String, String), usize>> = Mutex::default();
    let mut engine = Scripted::new(move |seen| {
        let mut asked = asked.lock().unwrap();
        let times = asked.entry((seen.model.clone(), seen.prompt.clone())).or_default();
        *times += 1;
        right(*times > if seen.model == "1" { 2 } else { 3 })
    });
    let table = desk.swept(&spec, &mut engine);
    assert_eq!(engine.seen.len(), 2 * 24 * 4);
    let target = at(&table, 0.0).right.unwrap();
    assert_eq!((target.questions, target.samples), (12, 48));
    close(target.mean, 0.25);
    // The first run is all right, the others all wrong: √(0.75 / 3).
    close(target.sd_between_runs.unwrap(), 0.5);
    close(at(&table, 1.0).right.unwrap().mean, 0.5);
    assert_eq!(at(&table, 1.0).pass_at_k, Some(1.0));
    let against = at(&table, 1.0).against.unwrap();
    assert_eq!((against.questions, against.gained, against.lost), (12, Some(12), Some(0)));
    close(against.difference, 0.25);
    // Of the 2¹² signs two are as extreme: 48 answers are no 48 questions.
    close(against.p, 2.0 / 4096.0);
    assert_eq!(against.p_holm, Some(against.p));
}

#[test]
fn cut_off_answers_are_in_the_denominator_and_counted_apart() {
    let desk = Desk::new(6);
    let mut engine = Scripted::new(|seen| match number(&seen.prompt) {
        0 => Reply::CutOff("1".to_owned()),
        1 => Reply::CutOff("so far".to_owned()),
        2 => Reply::Says(String::new()),
        3 => right(false),
        4 => Reply::Fails,
        _ => right(true),
    });
    let table = desk.swept(&desk.spec(), &mut engine);
    let row = at(&table, 0.5);
    let tally = row.tally;
    assert_eq!((tally.right, tally.wrong, tally.no_answer, tally.cut_off, tally.error), (2, 1, 1, 1, 1));
    assert_eq!(tally.at_limit, 2);
    close(row.right.unwrap().mean, 2.0 / 5.0);
    // 1, 6 + 1, 0, 1 and 1 letters, of five answers.
    close(row.mean_tokens.unwrap(), (1.0 + 6.0 + 0.0 + 1.0 + 1.0) / 5.0);
}

#[test]
fn graders_stand_side_by_side_on_the_same_answers() {
    use mergescope_core::evaluate::grade::Grader;
    let desk = Desk::new(8);
    let graders = vec![Grader::Exact, Grader::Substring, Grader::Flexible];
    let spec = SweepSpec { graders, split: Some(SplitSpec::default()), ..desk.spec() };
    // 21 has a 1 in it; the last number of "1 of 2" is 2.
    let mut engine = Scripted::new(|seen| Reply::Says(if seen.model == "0" { "21" } else { "1 of 2" }.to_owned()));
    let table = desk.swept(&spec, &mut engine);
    let shares: Vec<(&str, Option<f64>)> =
        at(&table, 0.0).by_grader.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    assert_eq!(shares, [("exact", Some(0.0)), ("substring", Some(1.0)), ("flexible", Some(0.0))]);
    assert_eq!(table.grader.label(), "exact");
    let log = SampleLog::read(&desk.path("samples.jsonl")).unwrap();
    let arm = at(&table, 0.0).arm.unwrap();
    for grader in [Grader::Exact, Grader::Substring] {
        let graded = open(&spec).graded(arm, &log, "scripted", &grader);
        assert_eq!((graded.len(), graded.iter().flatten().flatten().count()), (8, 8));
    }
}
