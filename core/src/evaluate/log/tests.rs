//! What is left of a log, whatever happens to the process and the file.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::file::LINE_START;
use super::*;
use crate::engine::{Finish, Prompt, Sampling};

fn sample(number: u32) -> Sample {
    let (prompt, sampling) = (Prompt::Raw("問題:29と5の合計は?".to_owned()), Sampling::default());
    let model = ModelParts { weights: &[], text: "", recipe: None, w: None }.key();
    let key = KeyParts {
        model: &model,
        prompt: &prompt,
        sampling: &sampling,
        max_tokens: 8,
        stop: &[],
        engine: "test",
        sample: number,
    }
    .key();
    Sample {
        key,
        arm: "target".to_owned(),
        w: Some(0.5),
        question_id: "q1".to_owned(),
        condition: "plain".to_owned(),
        sample: number,
        doc_id: 0,
        doc: json!({ "question": "問題" }),
        target: "34".to_owned(),
        arguments: prompt,
        resps: vec![vec![format!("答えは{number}です。\n\"34\"\r\n")]],
        filtered_resps: Vec::new(),
        prompt_tokens: 12,
        tokens: 3,
        finish: Some(Finish::Stop),
        error: None,
        error_passes: false,
        elapsed_s: 0.25,
        engine: "test".to_owned(),
        log_likelihoods: None,
    }
}

fn failed(number: u32) -> Sample {
    Sample { resps: Vec::new(), finish: None, error: Some("the server is gone".to_owned()), ..sample(number) }
}

fn log_of(samples: impl IntoIterator<Item = Sample>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.jsonl");
    let mut log = SampleLog::open(&path).unwrap();
    for sample in samples {
        log.append(sample).unwrap();
    }
    (folder, path)
}

#[test]
fn what_is_appended_is_there_when_the_log_is_opened_again() {
    let (_folder, path) = log_of([sample(0), sample(1)]);
    let log = SampleLog::open(&path).unwrap();
    assert_eq!(log.contents().samples(), [sample(0), sample(1)]);
    assert!(log.contents().contains(&sample(1).key) && !log.contents().contains(&sample(2).key));
    assert_eq!(log.contents().get(&sample(0).key).unwrap().text(), Some("答えは0です。\n\"34\"\r\n"));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert!(fs::read(&path).unwrap().starts_with(LINE_START));
}

#[test]
fn a_log_that_was_cut_at_any_byte_of_its_last_line_goes_on_with_whole_lines() {
    let (_folder, path) = log_of([sample(0), sample(1)]);
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in second..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut log = SampleLog::open(&path).unwrap();
        // Only where nothing but the line's end is missing is the second sample there.
        assert_eq!(log.contents().samples().len(), if cut + 1 >= whole.len() { 2 } else { 1 }, "cut at {cut}");
        assert_eq!(log.contents().damaged_count(), 0);
        assert_eq!(fs::read(&path).unwrap().len(), cut, "opening changes nothing");
        if !log.contents().contains(&sample(1).key) {
            log.append(sample(1)).unwrap();
        }
        log.append(sample(2)).unwrap();
        drop(log);
        let log = SampleLog::open(&path).unwrap();
        assert_eq!(log.contents().samples(), [sample(0), sample(1), sample(2)], "cut at {cut}");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.starts_with(&whole) && bytes.ends_with(b"}\n"), "cut at {cut}");
    }
}

#[test]
fn a_log_of_one_line_that_was_cut_begins_anew() {
    let (_folder, path) = log_of([sample(0)]);
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut log = SampleLog::open(&path).unwrap();
        assert!(log.contents().samples().is_empty());
        log.append(sample(0)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn damaged_lines_are_told_and_the_others_stay() {
    let (_folder, path) = log_of([sample(0)]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\n{\"key\": 1}\n\xff\xfe\n");
    bytes.extend_from_slice(&bytes.clone());
    fs::write(&path, bytes).unwrap();
    let mut log = SampleLog::open(&path).unwrap();
    assert_eq!(log.contents().damaged_count(), 4);
    assert_eq!(log.contents().damaged().iter().map(|line| line.line).collect::<Vec<_>>(), [3, 4, 7, 8]);
    log.append(sample(1)).unwrap();
    assert_eq!(SampleLog::read(&path).unwrap().samples(), [sample(0), sample(1)]);
}

#[test]
fn a_line_without_answer_and_error_is_damaged_and_asked_for_again() {
    let mut empty = sample(0);
    empty.resps = Vec::new();
    let (_folder, path) = log_of([empty, sample(1)]);
    let contents = SampleLog::read(&path).unwrap();
    assert_eq!(contents.damaged_count(), 1);
    assert!(contents.damaged()[0].reason.contains("neither an answer"));
    assert!(!contents.contains(&sample(0).key));
}

#[test]
fn an_error_is_kept_and_counts_as_not_done() {
    let (_folder, path) = log_of([failed(0), failed(1)]);
    let mut log = SampleLog::open(&path).unwrap();
    assert!(!log.contents().contains(&sample(0).key));
    assert_eq!(log.contents().get(&sample(0).key).unwrap().text(), None);
    log.append(sample(0)).unwrap();
    log.append(failed(0)).unwrap();
    drop(log);
    let contents = SampleLog::read(&path).unwrap();
    assert!(contents.contains(&sample(0).key), "an error does not undo an answer");
    assert_eq!(contents.samples(), [sample(0), failed(1)]);
}

#[test]
fn two_sweeps_do_not_write_to_one_log() {
    let (_folder, path) = log_of([sample(0)]);
    let first = SampleLog::open(&path).unwrap();
    let refused = SampleLog::open(&path).unwrap_err();
    assert!(refused.to_string().contains("in use by another sweep"), "{refused}");
    assert_eq!(SampleLog::read(&path).unwrap().samples().len(), 1, "it can be looked at");
    drop(first);
    assert!(SampleLog::open(&path).is_ok());
}

#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for content in ["my notes", "w,right\n0.5,7\n", "{\"a\": 1}\n", "{\"key", "\n{", "[]"] {
        fs::write(&path, content).unwrap();
        match SampleLog::open(&path) {
            Err(LogError::NotALog { .. }) => assert_ne!(content, "{\"key"),
            // These may be what is left of a log's first line.
            other => assert!(other.is_ok() && ["{\"key", "\n{"].contains(&content), "{content:?}"),
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    assert!(matches!(SampleLog::open(folder.path()), Err(LogError::Io { .. })));
}

#[test]
fn a_sample_that_is_too_long_is_refused_and_the_log_stays_whole() {
    let (_folder, path) = log_of([sample(0)]);
    let mut log = SampleLog::open(&path).unwrap();
    let long = Sample { resps: vec![vec!["x".repeat(MAX_LINE_BYTES)]], ..sample(1) };
    assert!(log.append(long).unwrap_err().to_string().contains("lower the token limit"));
    log.append(sample(1)).unwrap();
    assert_eq!(SampleLog::read(&path).unwrap().samples().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..2000, keep in 0_usize..2000) {
        let (_folder, path) = log_of([sample(0), sample(1)]);
        let whole = fs::read(&path).unwrap();
        let mut hostile = whole[..at.min(whole.len())].to_vec();
        hostile.extend_from_slice(&bytes);
        hostile.extend_from_slice(&whole[keep.min(whole.len())..]);
        fs::write(&path, &hostile).unwrap();
        if let Ok(mut log) = SampleLog::open(&path) {
            log.append(sample(2)).unwrap();
            let known = log.contents().samples().to_vec();
            drop(log);
            let read = SampleLog::read(&path).unwrap();
            prop_assert_eq!(read.samples(), known);
        }
    }
}
