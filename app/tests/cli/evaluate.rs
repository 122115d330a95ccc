//! Models that answer: one prompt, and the same questions at several w.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, mergescope};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn demo(role: &str) -> String {
    root().join("assets/demo").join(role).display().to_string()
}

fn models() -> Vec<String> {
    ["pre", "post", "target"].iter().flat_map(|role| [format!("--{role}"), demo(role)]).collect()
}

fn run(folder: &TempDir, args: &[&str]) -> Ran {
    Ran::of(&mut mergescope(folder.path(), args.iter().copied()))
}

/// `command` on the demo's models with more arguments.
fn on_demo(folder: &TempDir, command: &str, more: &[&str]) -> Ran {
    let models = models();
    let args: Vec<&str> =
        std::iter::once(command).chain(models.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    run(folder, &args)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

const PROMPT: &str = "問題:29と5と17と11と29の合計は?\n答え:";

#[test]
fn try_answers_with_the_vector_and_without() {
    let folder = folder();
    let with = on_demo(&folder, "try", &["-w", "0.75", "--prompt", PROMPT, "--raw"]).ends_with_code(0);
    assert_eq!(with.stdout.trim(), "29+5=34, 34+17=51, 51+11=62, 62+29=91");
    assert!(with.stderr.contains("tokens/s"), "{}", with.stderr);
    let found =
        run(&folder, &["try", "--model", &demo("target"), "--prompt", PROMPT, "--json"]).ends_with_code(0).json();
    assert_eq!(found["text"], " 96");
    assert_eq!(found["template"], "raw", "the demo has no chat template");
    assert!(found["tokens"].as_u64().unwrap() >= 3 && found["prompt_tokens"].as_u64().unwrap() > 20);
    assert!(found["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn try_ends_where_it_is_told_to() {
    let folder = folder();
    let short = on_demo(&folder, "try", &["-w", "1", "--prompt", PROMPT, "--max-tokens", "5", "--json"]).json();
    assert_eq!((short["tokens"].as_u64(), short["finish"].as_str()), (Some(5), Some("length")));
    let stopped = on_demo(&folder, "try", &["-w", "1", "--prompt", PROMPT, "--stop", ",", "--json"]).json();
    assert!(!stopped["text"].as_str().unwrap().contains(','), "{stopped}");
    let drawn = |seed: &str| {
        let args = ["-w", "0.5", "--prompt", PROMPT, "--temperature", "1.5", "--seed", seed, "--json"];
        on_demo(&folder, "try", &args).json()["text"].clone()
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert!((2..6).any(|seed| drawn(&seed.to_string()) != drawn("1")));
}

#[test]
fn try_says_what_is_wrong() {
    let folder = folder();
    run(&folder, &["try", "--prompt", "1"]).ends_with_code(2);
    let model = demo("target");
    run(&folder, &["try", "--model", &model, "--prompt", "1", "--pre", "x"]).ends_with_code(2);
    run(&folder, &["try", "--model", &model, "--prompt", "1", "--system", "be brief"])
        .ends_with_code(1)
        .fails_saying(&["no chat template"]);
    run(&folder, &["try", "--model", "nowhere", "--prompt", "1"]).ends_with_code(1).fails_saying(&["nowhere"]);
    run(&folder, &["try", "--model", &model, "--prompt", "1", "--temperature", "hot"]).ends_with_code(2);
    run(&folder, &["try", "--model", &model, "--prompt", "1", "--server", "ftp://x"]).ends_with_code(1);
}

/// A sweep of twelve Japanese questions.
fn sweep(folder: &TempDir, more: &[&str]) -> Ran {
    let questions = root().join("assets/questions/demo-ja.jsonl").display().to_string();
    let mut args = vec!["--questions", questions.as_str(), "--limit", "12", "--out", "s"];
    args.extend(more);
    on_demo(folder, "sweep", &args)
}

fn samples(folder: &TempDir) -> Vec<Value> {
    let text = fs::read_to_string(folder.path().join("s/samples.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn sweep_leaves_a_table_a_chart_a_page_and_the_log() {
    let folder = folder();
    let args = ["-w", "0,0.75", "--split", "0.5", "--controls", "shuffle-signs"];
    let ran = sweep(&folder, &args).ends_with_code(0).says(&[
        "w = 0.75",
        "post",
        "sign-shuffled control at w = ",
        "95 % interval",
    ]);
    assert!(ran.stdout.contains("6 held-out questions") || ran.stdout.contains("No w does better"), "{}", ran.stdout);
    // w = 0, w = 0.75, post, and the control at the w that was chosen, which may be 0 and then is left out.
    assert!([36, 48].contains(&samples(&folder).len()));
    let svg = fs::read_to_string(folder.path().join("s/sweep.svg")).unwrap();
    roxmltree::Document::parse(&svg).unwrap();
    let csv = fs::read_to_string(folder.path().join("s/sweep.csv")).unwrap();
    assert!(csv.starts_with("arm,w,right_share,low,high"), "{csv}");
    assert!(fs::read_to_string(folder.path().join("s/report.html")).unwrap().contains("<svg"));
    let document: Value = serde_json::from_slice(&fs::read(folder.path().join("s/sweep.json")).unwrap()).unwrap();
    assert_eq!(document["table"]["questions"], 6);
    let sample = &samples(&folder)[0];
    for name in ["doc_id", "doc", "target", "arguments", "resps", "filtered_resps"] {
        assert!(sample.get(name).is_some(), "lm-eval's {name}");
    }
}

#[test]
fn a_sweep_goes_on_where_it_was_and_grades_anew_for_nothing() {
    let folder = folder();
    sweep(&folder, &["-w", "0,0.5"]).ends_with_code(0);
    let first = samples(&folder);
    // The same again, another grader and another split ask for nothing.
    let graded = sweep(&folder, &["-w", "0,0.5", "--grader", "substring,flexible", "--json"]).ends_with_code(0).json();
    assert_eq!(graded["table"]["grader"], "substring");
    sweep(&folder, &["-w", "0,0.5", "--split", "0.5"]).ends_with_code(0);
    assert_eq!(samples(&folder), first);
    // Another w asks for its own answers alone.
    sweep(&folder, &["-w", "0,0.5,1"]).ends_with_code(0);
    let more = samples(&folder);
    assert_eq!(more.len(), first.len() + 12);
    assert!(more[first.len()..].iter().all(|sample| sample["w"] == 1.0));
    // What a kill left of a line is written anew.
    let log = folder.path().join("s/samples.jsonl");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 40]).unwrap();
    sweep(&folder, &["-w", "0,0.5,1"]).ends_with_code(0);
    assert_eq!(samples(&folder).len(), more.len());
}

#[test]
fn a_dry_run_shows_what_would_be_asked() {
    let folder = folder();
    sweep(&folder, &["-w", "-0.5:1:0.5", "--ask", "steps=Think step by step.", "--dry-run"]).ends_with_code(0).says(&[
        "12 questions",
        "120 answers",
        "w = −0.5, steps",
        "raw text",
        "問題:",
        "答え:",
    ]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn sweep_says_what_is_wrong() {
    let folder = folder();
    sweep(&folder, &["-w", "0,much"]).ends_with_code(1).fails_saying(&["`much` is no number"]);
    sweep(&folder, &["--samples", "4"]).ends_with_code(1).fails_saying(&["temperature"]);
    sweep(&folder, &["--grader", "kind"]).ends_with_code(1).fails_saying(&["expected strict, flexible"]);
    sweep(&folder, &["--question-field", "querstion"]).ends_with_code(1).fails_saying(&["question"]);
    sweep(&folder, &["--template", "{answer}?"]).ends_with_code(1).fails_saying(&["{answer}"]);
    sweep(&folder, &["--server", "http://127.0.0.1:9"]).ends_with_code(1);
    fs::create_dir(folder.path().join("s")).unwrap_or_default();
    fs::write(folder.path().join("s/mine.txt"), "mine").unwrap();
    sweep(&folder, &[]).ends_with_code(1).fails_saying(&["holds no sweep"]);
    on_demo(&folder, "sweep", &["--questions", "none.jsonl"]).ends_with_code(1).fails_saying(&["none.jsonl"]);
}

#[test]
fn results_from_elsewhere_stand_beside() {
    let folder = folder();
    fs::write(folder.path().join("paper.csv"), "arm,w,right,n\npaper,0.25,9,30\npaper,1,10,30\n").unwrap();
    let found =
        sweep(&folder, &["-w", "0", "--reference", "none", "--import", "paper.csv", "--json"]).ends_with_code(0).json();
    let arms = found["table"]["arms"].as_array().unwrap();
    assert_eq!(arms.len(), 3, "w = 0 and two of the paper");
    let share = arms[2]["right"]["mean"].as_f64().unwrap();
    assert!((share - 1.0 / 3.0).abs() < 1e-12);
}
