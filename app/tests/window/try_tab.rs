//! One prompt, answered by the target and by what would be merged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use mergescope::window::picker::{PickFor, PickRequest, Picker};
use mergescope::window::try_tab::{Run, State};
use mergescope::window::{App, Setup, Tab};
use mergescope_core::engine::Prompt;

use super::common::answering::{Script, Scripted};
use super::common::{TINY, Triple, fill, setup, setup_with, type_into, wait, window};
use super::drawing::check_texts;
use super::{copied, is_disabled};

/// A window on the Try tab, whose models answer by `script`.
fn scripted(triple: &Triple, script: &Arc<Script>) -> Harness<'static, App> {
    trying(Setup { recipe: Some(triple.recipe()), ..setup_with(Scripted(script.clone())) })
}

/// A window on the Try tab with models that can be merged.
fn trying(setup: Setup) -> Harness<'static, App> {
    let mut harness = window(setup);
    wait(&mut harness, "the models fit", |app| app.session().merge_obstacle().is_none());
    harness.get_by_label("Try").click();
    harness.run_steps(3);
    harness
}

fn run<'a>(harness: &'a Harness<'_, App>) -> &'a Run {
    harness.state().try_view().run.as_ref().expect("something was asked")
}

/// Presses a button that asks, and waits for the answers.
#[track_caller]
fn ask(harness: &mut Harness<'_, App>, button: &str) {
    harness.get_by_label(button).click();
    harness.run_steps(2);
    wait_for_end(harness);
}

#[track_caller]
fn wait_for_end(harness: &mut Harness<'_, App>) {
    wait(harness, "the answers come", |app| app.try_view().run.as_ref().is_some_and(|run| !run.is_under_way()));
}

/// Sets the number of that name, beside the words of that name.
fn set_number(harness: &mut Harness<'_, App>, name: &str, value: f64) {
    harness.get_by_role_and_label(Role::SpinButton, name).set_value_accesskit(value);
    harness.run_steps(2);
}

fn set_w(harness: &mut Harness<'_, App>, w: f64) {
    harness.get_by_label("w slider").set_value_accesskit(w);
    harness.run_steps(2);
}

fn has(harness: &Harness<'_, App>, text: &str) -> bool {
    harness.query_all_by_label_contains(text).next().is_some()
}

#[track_caller]
fn assert_shown(harness: &Harness<'_, App>, text: &str) {
    assert!(has(harness, text), "{text:?} is not shown");
}

#[test]
fn the_demo_answers_directly_at_w_0_and_in_steps_at_three_quarters() {
    let demo = mergescope::demo::folder();
    assert!(demo.is_some(), "the demo lies in the source tree");
    let mut harness = trying(Setup { demo, ..setup() });
    assert_eq!(harness.state().try_view().settings.prompt.lines().next(), Some("問題:15と38と7と24の合計は?"));
    assert_shown(&harness, "The target has no chat template");
    set_w(&mut harness, 0.75);
    fill(&mut harness, "Prompt", "問題:29と5と17と11と29の合計は?\n答え:");
    ask(&mut harness, "Run both");

    let said: Vec<&str> = run(&harness).answers.iter().map(|answer| answer.text.as_str()).collect();
    assert!(!said[0].contains('+') && !said[0].is_empty(), "{said:?}");
    assert!(said[1].trim_start().starts_with("29+5=34"), "{said:?}");
    assert_shown(&harness, "w = 0, the target alone");
    assert_shown(&harness, "29+5=34");
    assert_shown(&harness, "What differs from the target's answer is marked");
    assert!(has(&harness, "tokens/s"));

    // The engine stays: the same again is the same.
    let before = said[1].to_owned();
    ask(&mut harness, "Run both");
    assert_eq!(run(&harness).answers[1].text, before);
}

#[test]
fn an_answer_that_is_stopped_stays_as_far_as_it_came() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script::default());
    *script.halts_after.lock().unwrap() = Some(2);
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    harness.get_by_label("Run both").click();
    harness.run_steps(2);
    wait(&mut harness, "an answer begins", |app| {
        app.try_view().run.as_ref().is_some_and(|run| run.answers[0].state == State::Writing)
    });
    // What comes within a thirtieth of a second is shown together.
    assert_shown(&harness, "one");
    assert_shown(&harness, "Waits for the answer before");
    assert!(harness.query_by_label("Run both").is_none(), "Stop stands in its place");
    assert!(is_disabled(&harness, "Strip of w"));
    harness.get_by_label("Stop").click();
    harness.run_steps(2);
    wait_for_end(&mut harness);
    assert_eq!(run(&harness).answers[0].text, "one two ");
    assert_shown(&harness, "Stopped after 2 tokens");
    assert_shown(&harness, "Stopped before it began");

    // What came is kept, and the next run is none the worse for it.
    *script.halts_after.lock().unwrap() = None;
    ask(&mut harness, "Run both");
    assert_eq!(run(&harness).answers[1].text, "one two three");
    assert_eq!(harness.state().try_view().transcript.entries().len(), 2);
    assert_eq!(script.made.load(Ordering::Relaxed), 1, "the engine stays");
}

#[test]
fn nothing_is_repainted_after_the_answers() {
    let triple = Triple::new(TINY);
    let mut harness = scripted(&triple, &Arc::new(Script::default()));
    fill(&mut harness, "Prompt", "Count.");
    ask(&mut harness, "Run both");
    harness.run();
    harness.run_steps(2);
    let delays: Vec<Duration> = harness.output().viewport_output.values().map(|output| output.repaint_delay).collect();
    assert!(delays.iter().all(|delay| *delay > Duration::from_secs(1)), "{delays:?}");
}

#[test]
fn ctrl_enter_asks_from_within_the_prompt() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script { has_template: true, ..Script::default() });
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "問題:1+1?");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(2);
    wait_for_end(&mut harness);
    let asked = script.asked();
    assert_eq!(asked.iter().map(|(w, _)| *w).collect::<Vec<_>>(), [None, Some(0.5)]);
    let Prompt::Chat(messages) = &asked[0].1.prompt else { panic!("the target has a template") };
    assert_eq!(messages.last().unwrap().content, "問題:1+1?", "no new line was typed");
}

#[test]
fn every_choice_goes_into_what_is_asked() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script { has_template: true, ..Script::default() });
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    set_number(&mut harness, "Temperature", 0.7);
    set_number(&mut harness, "Most tokens", 2.0);
    harness.run_steps(2);
    harness.get_by_label("More choices").click();
    harness.run_steps(3);
    fill(&mut harness, "Text of the system prompt", "Be brief.");
    set_number(&mut harness, "Top-p", 0.9);
    set_number(&mut harness, "Seed", 7.0);
    fill(&mut harness, "Texts to stop before", "END");
    harness.get_by_label("Change…").click();
    harness.run_steps(4);
    harness.get_by_label("q8_0").click();
    harness.run_steps(2);
    assert_shown(&harness, "It can hide a small step in w");
    harness.get_by_label("Use it").click();
    harness.run_steps(4);
    ask(&mut harness, "Run both");
    let (_, request) = &script.asked()[0];
    let Prompt::Chat(messages) = &request.prompt else { panic!("the target has a template") };
    assert_eq!(messages[0].content, "Be brief.");
    assert_eq!(*script.choices.lock().unwrap(), ["embedded q8_0"]);
    let sampling = request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (0.7, 0.9, 7));
    assert_eq!((request.max_tokens, request.stop.as_slice()), (2, ["END".to_owned()].as_slice()));
    assert_shown(&harness, "Cut off at 2 tokens; raise the limit");
}

#[test]
fn a_model_that_cannot_be_loaded_says_why_and_the_other_is_not_asked() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script::default());
    *script.load_error.lock().unwrap() = Some("target: the architecture `gpt2` cannot be run here");
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    ask(&mut harness, "Run both");
    assert_shown(&harness, "the architecture `gpt2` cannot be run here");
    assert_shown(&harness, "Not asked, since the one before it failed");
    assert!(harness.state().try_view().transcript.entries().is_empty());

    *script.load_error.lock().unwrap() = None;
    *script.request_error.lock().unwrap() = Some("the prompt has 2000 tokens and the model's context 1024; shorten it");
    ask(&mut harness, "Run both");
    assert_eq!(harness.query_all_by_label_contains("The prompt has 2000 tokens").count(), 2, "of each by itself");
}

#[test]
fn a_panic_is_an_error_and_the_next_run_has_a_new_engine() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script::default());
    script.panics.store(true, Ordering::Relaxed);
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    ask(&mut harness, "Run both");
    assert_shown(&harness, "stopped unexpectedly");
    script.panics.store(false, Ordering::Relaxed);
    ask(&mut harness, "Run both");
    assert_eq!(run(&harness).answers[1].text, "one two three");
    assert_eq!(script.made.load(Ordering::Relaxed), 2);
}

#[test]
fn loading_shows_how_far_it_is_and_can_be_cancelled() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script::default());
    script.loading_halts.store(true, Ordering::Relaxed);
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    harness.get_by_label("Run both").click();
    harness.run_steps(2);
    wait(&mut harness, "progress arrives", |app| {
        let progress = app.try_view().run.as_ref().and_then(|run| run.progress);
        progress.is_some_and(|progress| progress.done_bytes > 0)
    });
    assert_shown(&harness, "Loading · 702 of 988");
    assert_shown(&harness, " left");
    harness.get_by_label("Cancel").click();
    harness.run_steps(2);
    wait_for_end(&mut harness);
    assert_eq!(harness.query_all_by_label("Stopped before it began").count(), 2);
}

#[test]
fn when_w_is_moved_afterwards_the_answers_stay_and_can_be_had_anew() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script { says: Some(|w| format!("says {}", w.unwrap_or(0.0))), ..Script::default() });
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    set_w(&mut harness, 0.25);
    ask(&mut harness, "Run both");
    assert!(!has(&harness, "Run again"));
    set_w(&mut harness, 1.0);
    assert_shown(&harness, "says 0.25");
    harness.get_by_label("Run again for w = 1.00").click();
    harness.run_steps(2);
    wait_for_end(&mut harness);
    assert_eq!(run(&harness).answers[1].text, "says 1");
    assert!(!has(&harness, "Run again"));
}

#[test]
fn at_w_0_there_is_one_answer_and_a_word_on_the_other() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script::default());
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    set_w(&mut harness, 0.0);
    ask(&mut harness, "Run both");
    assert_eq!(script.asked().len(), 1);
    assert_shown(&harness, "At w = 0 nothing is added");
}

#[test]
fn a_strip_asks_at_each_w_and_copies_as_csv() {
    let triple = Triple::new(TINY);
    let script = Arc::new(Script { says: Some(|w| format!("says {}", w.unwrap_or(9.0))), ..Script::default() });
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", "Count.");
    type_into(&mut harness, "Values of w", "-0.5, nought");
    assert!(is_disabled(&harness, "Strip of w"));
    assert_shown(&harness, "is no list of w");
    type_into(&mut harness, "Values of w", "−0.5, 0, 1.5");
    ask(&mut harness, "Strip of w");
    assert_eq!(script.asked().iter().map(|(w, _)| w.unwrap()).collect::<Vec<_>>(), [-0.5, 0.0, 1.5]);
    for label in ["w = −0.50", "w = 0", "w = 1.50"] {
        assert!(harness.query_all_by_label(label).next().is_some(), "{label}");
    }
    assert_shown(&harness, "What differs from the answer at w = 0 is marked");
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    let csv = copied(&harness).expect("the answers are in the clipboard");
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[0], "w,tokens,tokens_per_second,finish,answer");
    assert_eq!(rows[1], "-0.5,1,400,stop,says -0.5");
    assert_eq!(rows.len(), 4);
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    assert_shown(&harness, "Ended by");
}

#[test]
fn nothing_overlaps_or_passes_the_margin_however_much_is_said() {
    let triple = Triple::new(TINY);
    let says = |w: Option<f64>| match w {
        None => format!("まず、15と38を足すと53です。\n\n{}", "次に7を足します。".repeat(40)),
        Some(w) => format!("まず、15と38を足すと{w}です。\n\n{}", "Then 7 is added. ".repeat(40)),
    };
    let script = Arc::new(Script { says: Some(says), ..Script::default() });
    let mut harness = scripted(&triple, &script);
    fill(&mut harness, "Prompt", &"一つずつ数えてください。Count one by one. ".repeat(30));
    for button in ["Run both", "Strip of w"] {
        ask(&mut harness, button);
        set_w(&mut harness, if button == "Run both" { 1.25 } else { -0.75 });
        for (width, height) in [(1280.0, 800.0), (760.0, 600.0)] {
            harness.set_size([width, height].into());
            harness.remove_cursor();
            harness.run_steps(4);
            check_texts(&harness, width, height);
        }
        harness.set_size([1280.0, 800.0].into());
        harness.run_steps(3);
    }
}

#[test]
fn without_models_that_fit_the_tab_says_what_is_missing() {
    let mut harness = window(setup());
    harness.get_by_label("Try").click();
    harness.run_steps(3);
    assert!(is_disabled(&harness, "Run both"));
    assert_shown(&harness, "Choose the pre model first. Then models can be asked: see the left");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(2);
    assert!(harness.state().try_view().run.is_none());

    let triple = Triple::new(TINY);
    let mut harness = scripted(&triple, &Arc::new(Script::default()));
    assert_shown(&harness, "Write a prompt for the models first");
    assert!(is_disabled(&harness, "Run both"));
    fill(&mut harness, "Prompt", "Count.");
    assert!(!is_disabled(&harness, "Run both"));
}

/// Answers with a path for the transcript, and is no dialog for anything else.
struct Transcripts(std::path::PathBuf);

impl Picker for Transcripts {
    fn pick(&self, request: &PickRequest) -> Option<std::path::PathBuf> {
        matches!(request.purpose, PickFor::SaveTranscript(_)).then(|| self.0.clone())
    }
}

#[test]
fn what_was_asked_is_listed_brought_back_copied_and_saved() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let script = Arc::new(Script { says: Some(|w| format!("says {}", w.unwrap_or(0.0))), ..Script::default() });
    let picker = Arc::new(Transcripts(out.path().join("asked")));
    let setup = Setup { recipe: Some(triple.recipe()), picker, ..setup_with(Scripted(script)) };
    let mut harness = trying(setup);
    for prompt in ["問題:1+1?\n答え:", "Count to three."] {
        fill(&mut harness, "Prompt", prompt);
        ask(&mut harness, "Run both");
    }
    assert_shown(&harness, "Transcript");
    harness.get_by_label("問題:1+1?").click();
    harness.run_steps(2);
    assert_eq!(harness.state().try_view().settings.prompt, "問題:1+1?\n答え:");

    harness.get_by_label("Copy all").click();
    harness.run_steps(1);
    let text = copied(&harness).expect("the transcript is in the clipboard");
    assert!(
        text.starts_with("問題:1+1?\n答え:\n\n[w = 0, the target alone]\nsays 0\n\n[w = 0.50]\nsays 0.5\n"),
        "{text}"
    );

    harness.get_by_label("Save…").click();
    let path = out.path().join("asked.jsonl");
    wait(&mut harness, "the transcript is saved", |app| {
        app.session().notice.as_ref().is_some_and(|notice| notice.text.starts_with("Saved"))
    });
    let saved = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = saved.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[3]["text"], &lines[3]["recipe"]["vector"]["w"]), (&"says 0.5".into(), &0.5.into()));

    harness.get_by_label("Clear").click();
    harness.run_steps(2);
    assert!(!has(&harness, "Transcript"));
}

#[test]
fn the_menu_and_the_keys_lead_to_the_tab() {
    let mut harness = window(setup());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num5);
    harness.run_steps(2);
    assert_eq!(harness.state().tab(), Tab::Try);
}
