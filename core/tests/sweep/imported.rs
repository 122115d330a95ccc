//! Results that others measured, in the same table.

use std::fs;

use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::log::import::{self, ImportedArm};
use mergescope_core::evaluate::sweep::{ArmResult, SplitSpec, SweepSpec};

use super::fixture::{Desk, Scripted, close, number, open, run};

/// The row that a file of results comes to, beside a sweep over 20 questions of which the target gets those below 5 right.
fn imported(spec: impl Fn(SweepSpec) -> SweepSpec, name: &str, text: &str) -> (ArmResult, Vec<usize>) {
    let desk = Desk::new(20);
    let sweep = open(&spec(desk.spec()));
    run(&sweep, &mut Scripted::by_number(|_, question| question < 5), &mut desk.log()).unwrap();
    fs::write(desk.path(name), text).unwrap();
    let arms: Vec<ImportedArm> = import::read(&desk.path(name)).unwrap();
    let table = sweep.table(&SampleLog::read(&desk.path("samples.jsonl")).unwrap(), "scripted", &arms);
    let reported = sweep.questions().iter().filter(|question| !sweep.is_dev(question));
    let reported = reported.map(|question| number(&question.question)).collect();
    (table.arms.last().unwrap().clone(), reported)
}

fn csv(questions: usize, right: impl Fn(usize) -> bool) -> String {
    let rows = (0..questions).rev().map(|at| format!("theirs,q{at},{}\n", u8::from(right(at))));
    "arm,question_id,right\n".to_owned() + &rows.collect::<String>()
}

#[test]
fn results_are_paired_by_id_whatever_their_order() {
    let (row, _) = imported(|spec| spec, "theirs.csv", &csv(20, |at| at % 2 == 0));
    assert_eq!((row.label.as_str(), row.arm, row.w), ("theirs", None, None));
    close(row.right.unwrap().mean, 0.5);
    let against = row.against.unwrap();
    // Right at 0, 2, 4 as the target; at 1 and 3 it is, at 6, 8 … 18 it is not.
    assert_eq!((against.questions, against.gained, against.lost), (20, 7, 2));
    close(against.p, 2.0 * 46.0 / 512.0);
    assert_eq!(against.p_holm, None, "not one of the grid");
}

#[test]
fn questions_that_w_is_chosen_on_are_left_out() {
    let split = |spec| SweepSpec { split: Some(SplitSpec::default()), ..spec };
    let (row, reported) = imported(split, "theirs.csv", &csv(20, |at| at >= 5));
    assert_eq!(row.tally.graded(), 10);
    let right = reported.iter().filter(|at| **at >= 5).count();
    assert_eq!(row.tally.right as usize, right);
    let against = row.against.unwrap();
    assert_eq!((against.questions, against.gained as usize, against.lost as usize), (10, right, 10 - right));
}

#[test]
fn logs_of_lm_eval_are_paired_by_the_name_in_the_data_set() {
    let line = |at: usize| {
        format!(
            r#"{{"doc_id":{},"doc":{{"id":"q{at}"}},"target":"1","resps":[["x"]],"filtered_resps":["x"],"filter":"none","metrics":["exact_match"],"exact_match":{}}}"#,
            19 - at,
            if at < 8 { "1.0" } else { "0.0" },
        )
    };
    let text: Vec<String> = (0..20).map(line).collect();
    let (row, _) = imported(|spec| spec, "samples_task.jsonl", &text.join("\n"));
    let against = row.against.unwrap();
    assert_eq!((against.questions, against.gained, against.lost), (20, 3, 0));
    close(against.p, 0.25);
}

#[test]
fn results_of_other_questions_are_shown_and_not_compared() {
    let text = csv(20, |at| at < 5).replace("q", "other-").replace("uestion_id", "");
    let (row, _) = imported(|spec| spec, "theirs.csv", &text.replace("arm,other-,", "arm,question_id,"));
    close(row.right.unwrap().mean, 0.25);
    assert_eq!(row.against, None);
}

#[test]
fn counts_have_an_interval_and_no_pairs_however_many_they_are() {
    let (row, _) = imported(|spec| spec, "published.csv", "arm,w,right,n\npaper,1.0,10,30\n");
    assert_eq!((row.label.as_str(), row.w, row.against), ("paper", Some(1.0), None));
    let right = row.right.unwrap();
    // Wilson's interval of 10 of 30.
    assert!((right.interval.low - 0.192_304_980_836_761_3).abs() < 1e-8, "{right:?}");
    assert!((right.interval.high - 0.512_199_483_554_561_6).abs() < 1e-8, "{right:?}");
    let (row, _) = imported(|spec| spec, "huge.csv", "arm,right,n\nhuge,1000000000000,4000000000000\n");
    close(row.right.unwrap().mean, 0.25);
    assert_eq!((row.tally.right, row.tally.wrong), (1_000_000_000_000, 3_000_000_000_000));
}
