//! The likeliest choice instead of a written answer.

use mergescope_core::engine::{EmbeddedEngine, EmbeddedOptions, Engine, ModelChoice, Prompt};
use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::questions::Template;
use mergescope_core::evaluate::sweep::{ChoiceScoring, SweepSpec};
use mergescope_core::progress::Control;

use super::fixture::{Desk, Reply, Scripted, at, close, open, recipe, run};

/// What is asked has a number, a short right choice and a long wrong one.
fn desk() -> Desk {
    let line = |at: usize| {
        format!(
            "{{\"id\":\"c{at}\",\"question\":\"{at}?\",\"choices\":[\"not this one\",\"B or A\",\"A\"],\"answer\":{}}}\n",
            at % 3
        )
    };
    Desk::with((0..6).map(line).collect())
}

fn spec(desk: &Desk, scoring: ChoiceScoring) -> SweepSpec {
    let template = Some(Template::raw("{question}\n{choices}\nAnswer:"));
    SweepSpec { choices: Some(scoring), template, graders: Vec::new(), w: vec![], ..desk.spec() }
}

#[test]
fn letters_are_weighed_as_they_are() {
    let desk = desk();
    let mut engine = Scripted::weighing(|prompt, continuation| {
        assert!(prompt.contains("A. not this one\nB. B or A\nC. A\nAnswer:"), "{prompt}");
        match continuation {
            " A" => -3.0,
            " B" => -1.0,
            " C" => -2.0,
            other => panic!("{other:?} is no letter after a space"),
        }
    });
    let table = desk.swept(&spec(&desk, ChoiceScoring::Letter), &mut engine);
    assert_eq!(table.grader.label(), "choice");
    // B is right in two of six.
    assert_eq!((at(&table, 0.0).tally.right, at(&table, 0.0).tally.wrong), (2, 4));
    let log = SampleLog::read(&desk.path("samples.jsonl")).unwrap();
    let sample = &log.samples()[0];
    assert_eq!(sample.text(), Some("B"));
    let sums: Vec<f64> = sample.log_likelihoods.as_ref().unwrap().iter().map(|choice| choice.sum.unwrap()).collect();
    assert_eq!(sums, [-3.0, -1.0, -2.0]);
}

#[test]
fn texts_are_weighed_by_their_length_and_graded_by_their_place() {
    let desk = desk();
    // −6 over 12 letters, −4 over 6, −1 over 1: the first, though its sum is the least, and though a text is a letter.
    let weigh = |_: &str, continuation: &str| match continuation {
        " not this one" => -6.0,
        " B or A" => -4.0,
        _ => -1.0,
    };
    let table = desk.swept(&spec(&desk, ChoiceScoring::Text), &mut Scripted::weighing(weigh));
    assert_eq!((at(&table, 0.0).tally.right, at(&table, 0.0).tally.wrong), (2, 4));
    let log = SampleLog::read(&desk.path("samples.jsonl")).unwrap();
    assert!(log.samples().iter().all(|sample| sample.text() == Some("A")), "the letter of the first");
    assert!(log.samples().iter().all(|sample| sample.filtered_resps == ["not this one"]));

    // What is right is told by place, also where the right text is another choice's letter.
    for (best, text) in ["not this one", "B or A", "A"].into_iter().enumerate() {
        let desk = self::desk();
        let weigh = move |_: &str, continuation: &str| if continuation.trim_start() == text { -0.1 } else { -99.0 };
        let sweep = open(&spec(&desk, ChoiceScoring::Text));
        run(&sweep, &mut Scripted::weighing(weigh), &mut desk.log()).unwrap();
        let log = SampleLog::read(&desk.path("samples.jsonl")).unwrap();
        let arm = sweep.arms(None)[0];
        for (question, graded) in sweep.graded(arm, &log, "scripted", &Grader::Choice).iter().enumerate() {
            let is_right = graded[0].as_ref().unwrap().outcome == mergescope_core::evaluate::grade::Outcome::Right;
            assert_eq!(is_right, question % 3 == best, "question {question}, {text}");
        }
    }
}

#[test]
fn both_ways_are_kept_apart_and_nothing_is_weighed_twice() {
    let desk = desk();
    let weigh = |_: &str, _: &str| -1.0;
    for scoring in [ChoiceScoring::Letter, ChoiceScoring::Text] {
        let mut engine = Scripted::weighing(weigh);
        desk.swept(&spec(&desk, scoring), &mut engine);
        assert_eq!(engine.loads, ["0"], "{scoring:?}");
        desk.swept(&spec(&desk, scoring), &mut engine);
        assert_eq!(engine.loads, ["0"], "{scoring:?}");
    }
    assert_eq!(SampleLog::read(&desk.path("samples.jsonl")).unwrap().samples().len(), 12);
}

#[test]
fn an_engine_that_cannot_weigh_says_so() {
    let desk = desk();
    let sweep = open(&spec(&desk, ChoiceScoring::Letter));
    let error = run(&sweep, &mut Scripted::new(|_| Reply::Fails), &mut desk.log()).expect_err("it cannot");
    assert_eq!(error.to_string(), "this engine does not tell how likely a choice is; let the model write its answer");
}

#[test]
fn a_likelihood_that_is_none_is_an_error_and_no_answer() {
    let desk = desk();
    let weigh = |prompt: &str, _: &str| if prompt.starts_with('1') { f64::NAN } else { -1.0 };
    let sweep = open(&spec(&desk, ChoiceScoring::Text));
    run(&sweep, &mut Scripted::weighing(weigh), &mut desk.log()).unwrap();
    let table = desk.table(&sweep);
    assert_eq!((at(&table, 0.0).tally.error, at(&table, 0.0).tally.graded()), (1, 5));
}

#[test]
fn the_demo_chooses_what_its_model_finds_likeliest() {
    // The demo writes ~3 right sums of four; the wrong choice ends in another digit.
    let line = |at: usize, numbers: &str, right: u32, wrong: u32| {
        format!(
            "{{\"id\":\"d{at}\",\"question\":\"問題:{numbers}の合計は?\",\"choices\":[\"{wrong}\",\"{right}\"],\"answer\":1}}\n"
        )
    };
    let desk = Desk::with(line(0, "3と8", 11, 95) + &line(1, "5と7", 12, 40) + &line(2, "20と7", 27, 91));
    let template = Some(Template::raw("{question}\n答え:"));
    let spec = SweepSpec { template, w: vec![0.75], ..spec(&desk, ChoiceScoring::Text) };
    let sweep = open(&spec);
    let mut engine = EmbeddedEngine::new(EmbeddedOptions::default()).unwrap();
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    let log = SampleLog::read(&desk.path("samples.jsonl")).unwrap();
    let table = sweep.table(&log, &engine.identity(), &[]);
    close(at(&table, 0.0).right.unwrap().mean, 1.0);

    let mut at_w = recipe();
    at_w.vector.w = 0.75;
    engine.load(&ModelChoice::Merged(Box::new(at_w)), &Control::new()).unwrap();
    for sample in log.samples().iter().filter(|sample| sample.w == Some(0.75)) {
        let Prompt::Raw(prompt) = &sample.arguments else { panic!("it is raw text") };
        assert!(prompt.ends_with("答え:"));
        let choices = sample.doc["choices"].as_array().unwrap();
        let texts: Vec<String> = choices.iter().map(|text| format!(" {}", text.as_str().unwrap())).collect();
        let found = engine.log_likelihoods(&sample.arguments, &texts, &Control::new()).unwrap().unwrap();
        for (found, logged) in found.iter().zip(sample.log_likelihoods.as_ref().unwrap()) {
            close(logged.sum.unwrap(), found.sum);
            assert_eq!(logged.tokens, found.tokens);
        }
        // Both have two digits.
        let best = if found[1].sum > found[0].sum { "B" } else { "A" };
        assert_eq!(sample.text(), Some(best));
    }
}
