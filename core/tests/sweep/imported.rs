//! Results that others measured, in the same table.

use std::fs;

use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::log::import::{self, ImportedArm};
use mergescope_core::evaluate::sweep::{ArmResult, SplitSpec, SweepSpec, Test};

use super::fixture::{Desk, Scripted, close, number, open, run};

/// The row that a file of results comes to, beside a sweep over 20 questions of which the target gets those below 5 right.
fn imported(spec: impl Fn(SweepSpec) -> SweepSpec, name: &str, text: &str) -> (ArmResult, Vec<usize>) {
    let (mut rows, reported) = all_imported(spec, name, text);
    (rows.pop().unwrap(), reported)
}

/// All rows that it comes to.
fn all_imported(spec: impl Fn(SweepSpec) -> SweepSpec, name: &str, text: &str) -> (Vec<ArmResult>, Vec<usize>) {
    let desk = Desk::new(20);
    let sweep = open(&spec(desk.spec()));
    run(&sweep, &mut Scripted::by_number(|_, question| question < 5), &mut desk.log()).unwrap();
    fs::write(desk.path(name), text).unwrap();
    let arms: Vec<ImportedArm> = import::read(&desk.path(name)).unwrap();
    let table = sweep.table(&SampleLog::read(&desk.path("samples.jsonl")).unwrap(), "scripted", &arms);
    let reported = sweep.questions().iter().filter(|question| !sweep.is_dev(question));
    let reported = reported.map(|question| number(&question.question)).collect();
    (table.arms.into_iter().filter(|row| row.arm.is_none()).collect(), reported)
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
    assert_eq!((against.questions, against.gained, against.lost), (20, Some(7), Some(2)));
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
    let flips = [against.gained, against.lost].map(|count| count.unwrap() as usize);
    assert_eq!((against.questions, flips), (10, [right, 10 - right]));
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
    assert_eq!((against.questions, against.gained, against.lost), (20, Some(3), Some(0)));
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

#[test]
fn published_counts_are_held_against_their_own_w_0_and_corrected_for_all_that_were_tried() {
    // arXiv 2508.02913: AIME24, correct of 30.
    let text = "arm,w,right,n\nJapanese,0,4,30\nJapanese,1,10,30\nEnglish,0,7,30\nEnglish,0.5,9,30\nEnglish,1,16,30\npost,,14,30\n";
    let (rows, _) = all_imported(|spec| spec, "published.csv", text);
    let of = |label: &str| rows.iter().find(|row| row.label == label).unwrap().against;
    let rounded = |p: f64| format!("{p:.3}");
    let japanese = of("Japanese, w = 1").unwrap();
    assert_eq!((japanese.test, japanese.questions, japanese.gained, japanese.lost), (Test::Fisher, 30, None, None));
    assert_eq!([rounded(japanese.p), rounded(japanese.p_holm.unwrap())], ["0.125", "0.125"], "one was tried");
    close(japanese.difference, 0.2);
    let english = of("English, w = 1").unwrap();
    assert_eq!([rounded(english.p), rounded(english.p_holm.unwrap())], ["0.033", "0.065"], "two were tried");
    for label in ["Japanese, w = 0", "English, w = 0", "post"] {
        assert_eq!(of(label), None, "{label}");
    }
}

#[test]
fn answers_that_others_have_at_several_w_are_held_against_their_own_w_0() {
    // The sweep's own w = 0 has 0 to 4 right; theirs has 10 to 19.
    let rows = |w: f64, right: &dyn Fn(usize) -> bool| -> String {
        (0..20).map(|at| format!("{w},q{at},{}\n", u8::from(right(at)))).collect()
    };
    let text = format!("w,question_id,right\n{}{}", rows(0.0, &|at| at >= 10), rows(0.5, &|at| at >= 6));
    let (row, _) = imported(|spec| spec, "larger.csv", &text);
    let against = row.against.unwrap();
    assert_eq!((against.test, against.gained, against.lost), (Test::McNemar, Some(4), Some(0)));
    assert_eq!(against.p_holm, Some(against.p));
}
