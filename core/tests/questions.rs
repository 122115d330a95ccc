//! The demo's question sets, from the file to prompts in both conditions, with no settings.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

use std::path::{Path, PathBuf};

use mergescope_core::engine::Prompt;
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::questions::{Preset, Prompter, QuestionFile, QuestionSet, split};

fn demo(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../assets/questions/demo-{language}.jsonl"))
}

fn opened(language: &str) -> (QuestionSet, Prompter) {
    let file = QuestionFile::read(&demo(language)).unwrap();
    let preset = Preset::of(&file).unwrap();
    let set = file.questions(&preset.mapping).unwrap();
    let prompter = Prompter::new(&preset.template, &set).unwrap();
    (set, prompter)
}

/// The prompt that the demo's models were trained on.
fn trained_on(language: &str, numbers: &[u32]) -> String {
    let joined = |by: &str| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(by);
    match language {
        "ja" => format!("問題:{}の合計は?\n答え:", joined("と")),
        _ => format!("Question: sum of {}?\nAnswer:", joined(", ")),
    }
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn the_demos_questions_are_asked_as_its_models_were_trained() {
    for language in ["en", "ja"] {
        let (set, prompter) = opened(language);
        assert_eq!((set.questions.len(), set.skipped.len()), (200, 0));
        for question in &set.questions {
            let numbers = numbers(&question.question);
            assert!((4..=7).contains(&numbers.len()), "{}", question.question);
            assert_eq!(question.answer, numbers.iter().sum::<u32>().to_string());
            assert_eq!(prompter.prompt(question), Prompt::Raw(trained_on(language, &numbers)));
        }
    }
}

#[test]
fn the_same_id_is_the_same_problem_in_both_languages_and_on_the_same_side() {
    let ((english, _), (japanese, _)) = (opened("en"), opened("ja"));
    for (one, other) in english.questions.iter().zip(&japanese.questions) {
        assert_eq!((&one.id, &one.answer), (&other.id, &other.answer));
        assert_eq!(numbers(&one.question), numbers(&other.question));
    }
    let sides = split(&english, 0.5, 0).unwrap();
    assert_eq!((sides.dev.len(), sides.test.len()), (100, 100));
    assert_eq!(sides, split(&japanese, 0.5, 0).unwrap());
}

#[test]
fn changed_numbers_reach_the_prompt_in_the_form_that_the_models_know() {
    for language in ["en", "ja"] {
        let (set, prompter) = opened(language);
        let perturbed = Perturbation::ChangedNumbers.apply(&set, &prompter, 0).unwrap();
        assert_eq!((perturbed.changed.questions.len(), perturbed.left_out.len()), (200, 0));
        for (original, changed) in perturbed.original.questions.iter().zip(&perturbed.changed.questions) {
            let numbers = numbers(&changed.question);
            assert!(numbers.iter().all(|number| (1..=39).contains(number)));
            assert_eq!(changed.answer, numbers.iter().sum::<u32>().to_string());
            assert_ne!(changed.answer, original.answer);
            assert_eq!(prompter.prompt(changed), Prompt::Raw(trained_on(language, &numbers)));
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = QuestionFile::read(Path::new("nowhere/questions.jsonl")).unwrap_err().to_string();
    assert!(message.contains("cannot read the question file nowhere/questions.jsonl"), "{message}");
    let folder = QuestionFile::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(folder.is_err());
}
