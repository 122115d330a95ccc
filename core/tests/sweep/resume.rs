//! Nothing is asked twice, nothing that was asked is lost, and nothing that changed is taken for what was asked.

use std::fs;
use std::path::Path;

use mergescope_core::engine::{EVALUATION_DAY, Sampling};
use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::log::{MAX_LINE_BYTES, SampleLog};
use mergescope_core::evaluate::questions::Template;
use mergescope_core::evaluate::sweep::{ControlArm, ControlsAt, SplitSpec, Sweep, SweepSpec};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, Recipe};

use super::fixture::{Desk, Reply, Scripted, at, number, open, recipe, right, run};

/// Better at 0.5 than at 0 and 1.
fn engine() -> Scripted {
    Scripted::by_number(|model, question| match model {
        "0" => question % 3 == 0,
        "0.5" => question % 4 != 0,
        "0.5 noise" => question % 5 == 0,
        _ => question % 2 == 0,
    })
}

fn with_a_control(desk: &Desk) -> SweepSpec {
    let controls = vec![ControlArm { kind: ControlKind::Noise, seed: 1 }];
    SweepSpec { controls, split: Some(SplitSpec::default()), ..desk.spec() }
}

#[test]
fn a_stopped_sweep_goes_on_and_comes_to_the_same() {
    let desk = Desk::new(10);
    let mut whole = engine();
    let expected = desk.swept(&with_a_control(&desk), &mut whole);
    assert_eq!(whole.seen.len(), 40, "three w and one control of 10 questions");
    assert!(
        whole.seen.iter().all(|seen| seen.request.day == Some(EVALUATION_DAY)),
        "the same prompts whatever the day"
    );
    for stops in [0, 1, 9, 10, 11, 25, 30, 35, 39] {
        let desk = Desk::new(10);
        let sweep = open(&with_a_control(&desk));
        let mut engine = engine();
        engine.cancel_after = Some(stops);
        let stopped = run(&sweep, &mut engine, &mut desk.log()).expect_err("it was cancelled");
        assert!(stopped.is_cancelled());
        assert_eq!(engine.seen.len(), stops);
        engine.cancel_after = None;
        run(&sweep, &mut engine, &mut desk.log()).unwrap();
        assert_eq!(engine.counts(), whole.counts(), "stopped after {stops}");
        assert_eq!(desk.table(&sweep), expected, "stopped after {stops}");
        let again = engine.loads.len();
        run(&sweep, &mut engine, &mut desk.log()).unwrap();
        assert_eq!((engine.seen.len(), engine.loads.len()), (40, again), "what is whole loads and asks nothing");
    }
}

#[test]
fn a_log_that_is_cut_anywhere_is_filled_up_again() {
    let desk = Desk::new(6);
    let sweep = open(&with_a_control(&desk));
    run(&sweep, &mut engine(), &mut desk.log()).unwrap();
    let expected = desk.table(&sweep);
    let path = desk.path("samples.jsonl");
    let bytes = fs::read(&path).unwrap();
    // At the borders of lines, beside them and within.
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end);
    let mut cuts: Vec<usize> = ends.flat_map(|end| [end, end + 1, end + 2, end + 40]).collect();
    cuts.extend((0..bytes.len()).step_by(997));
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len()) {
        fs::write(&path, &bytes[..cut]).unwrap();
        let kept = SampleLog::read(&path).unwrap().samples().len();
        let mut engine = engine();
        run(&sweep, &mut engine, &mut desk.log()).unwrap();
        assert_eq!(engine.seen.len(), 24 - kept, "cut at {cut}");
        assert_eq!(desk.table(&sweep), expected, "cut at {cut}");
        assert_eq!(SampleLog::read(&path).unwrap().samples().len(), 24);
    }
}

#[test]
fn errors_are_no_wrong_answers_and_are_asked_again() {
    let desk = Desk::new(8);
    let sweep = open(&desk.spec());
    let mut failing = Scripted::new(|seen| match number(&seen.prompt) {
        0 | 1 if seen.model == "0.5" => Reply::Fails,
        question => right(question % 2 == 0),
    });
    run(&sweep, &mut failing, &mut desk.log()).unwrap();
    let table = desk.table(&sweep);
    let row = at(&table, 0.5);
    assert_eq!((row.tally.error, row.tally.right, row.tally.wrong, row.missing), (2, 3, 3, 0));
    let share = row.right.unwrap();
    assert_eq!((share.questions, share.mean), (6, 0.5));
    assert_eq!(row.against.unwrap().questions, 6, "compared on what both answered");
    assert_eq!(at(&table, 1.0).against.unwrap().questions, 8);

    let mut well = Scripted::by_number(|_, question| question % 2 == 0);
    run(&sweep, &mut well, &mut desk.log()).unwrap();
    assert_eq!(well.loads, ["0.5"]);
    assert_eq!(well.seen.len(), 2);
    let row = at(&desk.table(&sweep), 0.5).clone();
    assert_eq!((row.tally.error, row.right.unwrap().questions), (0, 8));
}

#[test]
fn a_model_that_cannot_be_loaded_costs_nothing_that_was_answered() {
    let desk = Desk::new(4);
    let sweep = open(&desk.spec());
    let mut engine = engine();
    engine.broken = Some("1".to_owned());
    let error = run(&sweep, &mut engine, &mut desk.log()).expect_err("w = 1 cannot be loaded");
    assert_eq!((error.to_string().as_str(), error.is_cancelled()), ("no room for it", false));
    let before = engine.seen.len();
    engine.broken = None;
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    assert_eq!((before, engine.seen.len()), (4, 12));
}

#[test]
fn an_answer_that_cannot_be_kept_ends_the_run_at_once() {
    let desk = Desk::new(6);
    let sweep = open(&desk.spec());
    let long = "x".repeat(MAX_LINE_BYTES);
    let mut engine = Scripted::new(move |seen| match number(&seen.prompt) {
        3 => Reply::Says(long.clone()),
        _ => right(true),
    });
    let error = run(&sweep, &mut engine, &mut desk.log()).expect_err("it is too long for the log");
    assert!(error.to_string().contains("a sample of question q3 takes"), "{error}");
    assert!(!error.is_cancelled(), "the person did not stop it");
    // Asked from the last on.
    assert_eq!(engine.seen.len(), 3, "nothing more is asked for nothing");
    assert_eq!(SampleLog::read(&desk.path("samples.jsonl")).unwrap().samples().len(), 2);
}

#[test]
fn other_graders_and_splits_ask_for_nothing() {
    let desk = Desk::new(10);
    let spec = desk.spec();
    desk.swept(&spec, &mut engine());
    let others = [
        SweepSpec { graders: vec![Grader::Substring, Grader::Flexible], ..spec.clone() },
        SweepSpec { split: Some(SplitSpec { share: 0.3, seed: 5 }), ..spec.clone() },
        SweepSpec { limit: Some(4), ..spec.clone() },
        SweepSpec { w: vec![1.0], ..spec.clone() },
        // Greedy answers draw nothing.
        SweepSpec { sampling: Sampling { seed: 9, ..Sampling::default() }, ..spec },
    ];
    for other in others {
        let mut engine = engine();
        desk.swept(&other, &mut engine);
        assert_eq!(engine.seen.len(), 0, "{other:?}");
    }
}

#[test]
fn whatever_changes_an_answer_asks_anew() {
    let desk = Desk::new(10);
    let spec = desk.spec();
    desk.swept(&spec, &mut engine());
    let others = [
        SweepSpec { max_tokens: Some(17), ..spec.clone() },
        SweepSpec { stop: vec!["\n".to_owned()], ..spec.clone() },
        SweepSpec { template: Some(Template::raw("{question} =")), ..spec.clone() },
        SweepSpec { sampling: Sampling { repetition_penalty: 1.1, ..Sampling::default() }, ..spec.clone() },
        SweepSpec { sampling: Sampling { temperature: 0.7, ..Sampling::default() }, ..spec.clone() },
        SweepSpec { sampling: Sampling { temperature: 0.7, seed: 1, ..Sampling::default() }, ..spec.clone() },
    ];
    for other in others {
        let mut engine = engine();
        desk.swept(&other, &mut engine);
        assert_eq!(engine.seen.len(), 30, "{other:?}");
    }
    let mut another = engine();
    another.name = "scripted in another number format".to_owned();
    run(&open(&spec), &mut another, &mut desk.log()).unwrap();
    assert_eq!(another.seen.len(), 30);

    // One question is put in other words.
    let path = desk.path("questions.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"7?\"", "\"7 ?\"")).unwrap();
    let mut engine = engine();
    desk.swept(&spec, &mut engine);
    let asked: Vec<&str> = engine.seen.iter().map(|seen| seen.prompt.as_str()).collect();
    assert_eq!(asked, ["7 ?"; 3]);
}

#[test]
fn models_that_moved_are_the_same_models() {
    let desk = Desk::new(10);
    let spec = SweepSpec { references: vec![mergescope_core::alignment::Role::Post], ..with_a_control(&desk) };
    let mut first = engine();
    desk.swept(&spec, &mut first);
    let moved = tempfile::tempdir().unwrap();
    let mut elsewhere = recipe();
    for (name, to) in
        [(&mut elsewhere.vector.pre, "a"), (&mut elsewhere.vector.post, "b"), (&mut elsewhere.target, "c")]
    {
        let folder = moved.path().join(to);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(&*name).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        *name = folder.display().to_string();
    }
    let sweep = Sweep::open(&elsewhere, &spec, &Control::new()).unwrap();
    let mut engine = engine();
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    assert_eq!((first.seen.len(), engine.seen.len()), (50, 0));
    // The same files in other places are other models.
    std::mem::swap(&mut elsewhere.vector.pre, &mut elsewhere.vector.post);
    let sweep = Sweep::open(&elsewhere, &spec, &Control::new()).unwrap();
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    assert_eq!(engine.seen.len(), 50);
}

#[test]
fn a_prompt_that_two_questions_share_is_asked_once() {
    let line = |id: &str, question: &str, answer: u8| {
        format!("{{\"id\":\"{id}\",\"question\":\"{question}\",\"answer\":\"{answer}\"}}\n")
    };
    let desk = Desk::with(line("a", "1?", 1) + &line("b", "1?", 0) + &line("c", "2?", 1));
    let mut engine = Scripted::by_number(|_, _| true);
    let table = desk.swept(&desk.spec(), &mut engine);
    assert!(engine.counts().values().all(|count| *count == 1), "{:?}", engine.counts());
    assert_eq!(engine.seen.len(), 6);
    // Each is graded by its own label.
    assert_eq!((at(&table, 0.0).tally.right, at(&table, 0.0).tally.wrong), (2, 1));
}

#[test]
fn the_log_says_which_question_of_the_file_it_was() {
    let desk = Desk::new(9);
    let spec = SweepSpec { limit: Some(3), w: vec![], controls_at: ControlsAt::Grid, ..desk.spec() };
    desk.swept(&spec, &mut engine());
    for sample in SampleLog::read(&desk.path("samples.jsonl")).unwrap().samples() {
        assert_eq!(sample.question_id, format!("q{}", sample.doc_id));
        assert_eq!(sample.doc["question"], format!("{}?", sample.doc_id));
        assert_eq!(sample.target, "1");
        assert_eq!((sample.arm.as_str(), sample.w, sample.condition.as_str()), ("w = 0", Some(0.0), "plain"));
    }
}

#[test]
fn another_chat_template_is_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        let to = folder.path().join(Path::new(from).file_name().unwrap());
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    };
    let found = recipe();
    let target = copy(&found.target);
    let desk = Desk::new(3);
    let opened = || {
        let moved = Recipe::new(&found.vector.pre, &found.vector.post, target.display().to_string());
        Sweep::open(&moved, &desk.spec(), &Control::new()).unwrap()
    };
    let mut engine = engine();
    run(&opened(), &mut engine, &mut desk.log()).unwrap();
    assert_eq!(engine.seen.len(), 9);
    run(&opened(), &mut engine, &mut desk.log()).unwrap();
    assert_eq!(engine.seen.len(), 9);
    fs::write(target.join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    run(&opened(), &mut engine, &mut desk.log()).unwrap();
    assert_eq!(engine.seen.len(), 18, "the model is given something else now");
}

#[test]
fn records_that_make_no_question_are_told() {
    let lines =
        ["{\"id\":\"a\",\"question\":\"1?\",\"answer\":\"1\"}", "{\"id\":\"b\",\"question\":\"2?\",\"answer\":null}"];
    let desk = Desk::with(lines.map(|line| format!("{line}\n")).concat());
    let sweep = open(&desk.spec());
    assert_eq!(sweep.questions().len(), 1);
    assert_eq!(sweep.skipped().len(), 1);
    assert_eq!(sweep.skipped()[0].why, "`answer` is null");
}
