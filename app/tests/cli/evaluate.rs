//! Models that answer: one prompt, and the same questions at several w.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::http::HttpServer;
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
    sweep_of(folder, "12", more)
}

fn sweep_of(folder: &TempDir, count: &str, more: &[&str]) -> Ran {
    let questions = root().join("assets/questions/demo-ja.jsonl").display().to_string();
    let mut args = vec!["--questions", questions.as_str(), "--limit", count, "--out", "s"];
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
        "The same, steps:",
        "答え: Think step by step.",
    ]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn records_and_lines_that_cannot_be_used_are_told() {
    let folder = folder();
    let lines = [r#"{"id":"a","question":"1?","answer":"1"}"#, r#"{"id":"b","question":"2?","answer":null}"#];
    fs::write(folder.path().join("q.jsonl"), lines.join("\n")).unwrap();
    let args = ["--questions", "q.jsonl", "--out", "s", "-w", "0", "--reference", "none", "--max-tokens", "2"];
    let args = [&args[..], &["--raw", "--template", "{question}"]].concat();
    let skipped = "1 record of the file without a question; the first is line 2";
    on_demo(&folder, "sweep", &args).ends_with_code(0).says(&["1 question of", skipped, "null"]);
    let log = folder.path().join("s/samples.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("nonsense\n{text}")).unwrap();
    let unusable = "NOTE  1 line of the log cannot be used and count as not asked; the first is line 1";
    on_demo(&folder, "sweep", &args).ends_with_code(0).complains(&[unusable]);
}

#[test]
fn ids_that_repeat_are_told() {
    let folder = folder();
    let lines = [r#"{"id":"a","question":"1?","answer":"1"}"#, r#"{"id":"a","question":"2?","answer":"2"}"#];
    fs::write(folder.path().join("q.jsonl"), lines.join("\n")).unwrap();
    let args = ["--questions", "q.jsonl", "-w", "0", "--reference", "none", "--dry-run"];
    let told = "Questions go by their position in the file: values of `id` repeat or are missing";
    on_demo(&folder, "sweep", &args).ends_with_code(0).says(&[told]);
}

#[test]
fn sweep_says_what_is_wrong() {
    let folder = folder();
    sweep(&folder, &["--question-field", "querstion"]).ends_with_code(1).fails_saying(&["question"]);
    sweep(&folder, &["--template", "{answer}?"]).ends_with_code(1).fails_saying(&["{answer}"]);
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
    fs::write(folder.path().join("mine.csv"), "w,right,n\n0,9,30\n").unwrap();
    let args = ["-w", "0", "--reference", "none", "--import", "mine.csv"];
    sweep(&folder, &args).ends_with_code(0).says(&["w = 0 (imported)", "All 12 answers are there"]);
    let table = "arm,w,right,n\nJapanese,0,4,30\nEnglish,0,7,30\nJapanese,1,10,30\nEnglish,1,16,30\n";
    fs::write(folder.path().join("aime.csv"), table).unwrap();
    let ran = sweep(&folder, &["-w", "0", "--reference", "none", "--import", "aime.csv"]).ends_with_code(0);
    ran.says(&[
        "Japanese, w = 1 (imported)",
        "Fisher's exact test, where only counts are known",
        "Measured elsewhere (Japanese), w = 1.00 does best, with 33 % right, against 13 % at w = 0 (p = 0.13, corrected for \
         the values tried), which luck explains as well.",
        "Measured elsewhere (English), w = 1.00 does best, with 53 % right, against 23 % at w = 0 (p = 0.033, corrected for \
         the values tried).",
    ]);
}

/// A sweep of two questions with short answers.
fn two(folder: &TempDir, more: &[&str]) -> Ran {
    sweep_of(folder, "2", &[&["--max-tokens", "4", "-w", "0", "--reference", "none"], more].concat())
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let folder = folder();
    let wrong: [(&[&str], &str); 19] = [
        (&["-w", "0,much"], "`much` is no number"),
        (&["-w", "nan"], "`nan` is no number"),
        (&["-w", "0:1e9:1"], "makes 1000000001 values of w"),
        (&["--split", "1"], "expected a share from 0 up to"),
        (&["--limit", "0"], "expected a whole number from 1 on"),
        (&["--samples", "3"], "--samples 3 gives 3 times the same at temperature 0; add --temperature"),
        (&["--grader", "kind"], "expected strict, flexible"),
        (&["--grader", "regex:"], "needs a pattern"),
        (&["--ask", "steps"], "NAME=TEXT"),
        (&["--temperature", "-1"], "expected a number from 0 to 100"),
        (&["--top-p", "0"], "above 0 and up to 1"),
        (&["--repetition-penalty", "0"], "above 0 and up to 100"),
        (&["--only", "0.3"], "--only 0.3 is none of the values of w, which are 0, 0.5; add it to -w"),
        (&["--server", "http://127.0.0.1:9"], "say with --only which it is"),
        (&["--server", "http://127.0.0.1:9", "--server-concurrency", "0"], "--server-concurrency"),
        (&["--server", "http://127.0.0.1:9", "--server-timeout", "0"], "--server-timeout"),
        (&["--server", "http://127.0.0.1:9", "--server-path", "x"], "LOCAL=THERE"),
        (&["--perturb", "changed-numbers", "--perturb-rate", "0.1"], "--perturb-rate is for --perturb character-noise"),
        (&["--question"], "--question"),
    ];
    for (args, said) in wrong {
        let grid: &[&str] = if args[0] == "-w" { &[] } else { &["-w", "0,0.5"] };
        let questions = root().join("assets/questions/demo-ja.jsonl").display().to_string();
        let all = [&["--questions", &questions, "--out", "s"], grid, args].concat();
        let ran = on_demo(&folder, "sweep", &all).ends_with_code(2).complains(&[said]);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    for command in ["try", "sweep"] {
        run(&folder, &[command]).ends_with_code(2).complains(&["--recipe FILE"]);
    }
    let args = ["--prompt", "1", "--temperature", "-1"];
    on_demo(&folder, "try", &args).ends_with_code(2).complains(&["expected a number from 0 to 100"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let help = run(&folder, &["sweep", "--help"]).ends_with_code(0);
    assert!(help.stdout.contains("such as \"steps="), "{}", help.stdout);
}

#[test]
fn a_dry_run_obeys_only_and_says_what_is_there() {
    let folder = folder();
    let args = ["-w", "0,0.5", "--max-tokens", "4"];
    let sweep = |folder, more: &[&str]| sweep_of(folder, "2", more);
    let dry = |more: &[&str]| sweep(&folder, &[&args[..], &["--dry-run"], more].concat()).ends_with_code(0);
    dry(&[]).says(&["6 answers", "known after the first"]);
    let only = dry(&["--only", "0.5"]).says(&["2 answers", "w = 0.5"]);
    assert!(!only.stdout.contains("w = 0\n") && !only.stdout.contains("post"), "{}", only.stdout);
    sweep(&folder, &[&args[..], &["--only", "0"]].concat()).ends_with_code(0).says(&["sweep.toml"]);
    dry(&[]).says(&["2 of 6 answers are there; the other 4 take about "]);
    let found = dry(&["--json"]).json();
    assert_eq!(found["answers_there"], 2);
    assert!(found["expected_s"].as_f64().unwrap() > 0.0);
    if cfg!(not(feature = "cuda")) {
        let args = [&args[..], &["--dry-run", "--device", "cuda"]].concat();
        sweep(&folder, &args).ends_with_code(1).fails_saying(&["--features cuda"]);
    }
}

#[test]
fn conversations_are_refused_where_the_target_has_no_chat_template() {
    let folder = folder();
    fs::write(folder.path().join("plain.jsonl"), "{\"question\":\"1+1?\",\"answer\":\"2\"}\n").unwrap();
    for more in [&[][..], &["--dry-run"]] {
        let args = [&["--template", "{question}"], more].concat();
        two(&folder, &args).ends_with_code(1).fails_saying(&["no chat template", "add --raw"]);
        let args = [&["--questions", "plain.jsonl", "--system", "Be brief."], more].concat();
        on_demo(&folder, "sweep", &args).ends_with_code(1).fails_saying(&["no chat template", "--raw"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the questions alone");
    // A target that can, and a post that cannot.
    let chats = folder.path().join("chats");
    fs::create_dir(&chats).unwrap();
    for entry in fs::read_dir(demo("target")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), chats.join(entry.file_name())).unwrap();
    }
    fs::write(chats.join("chat_template.jinja"), "{{ messages[-1].content }}").unwrap();
    let (pre, post) = (demo("pre"), demo("post"));
    let args =
        ["sweep", "--pre", &pre, "--post", &post, "--target", "chats", "--questions", "plain.jsonl", "-w", "0,1"];
    let args = [&args[..], &["--dry-run"]].concat();
    run(&folder, &args).ends_with_code(1).fails_saying(&[
        "post",
        "has no chat template",
        "leave it out with --reference",
    ]);
    run(&folder, &[&args[..], &["--reference", "none"]].concat()).ends_with_code(0);
    run(&folder, &[&args[..], &["--only", "1"]].concat()).ends_with_code(0);
    two(&folder, &["--template", "hello", "--raw", "--dry-run"])
        .ends_with_code(0)
        .complains(&["Every question gets the same prompt"]);
    let ran = two(&folder, &["--template", "{question}", "--raw", "--dry-run"]).ends_with_code(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_sweep_keeps_out_of_models_and_of_other_questions() {
    let folder = folder();
    fs::create_dir(folder.path().join("target")).unwrap();
    for entry in fs::read_dir(demo("target")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join("target").join(entry.file_name())).unwrap();
    }
    fs::write(folder.path().join("a.jsonl"), "{\"question\":\"1+1?\",\"answer\":\"2\"}\n").unwrap();
    fs::write(folder.path().join("b.jsonl"), "{\"question\":\"1+2?\",\"answer\":\"3\"}\n").unwrap();
    fs::copy(folder.path().join("a.jsonl"), folder.path().join("same.jsonl")).unwrap();
    let sweep = |questions: &str, out: &str, more: &[&str]| {
        let (pre, post) = (demo("pre"), demo("post"));
        let models = ["sweep", "--pre", &pre, "--post", &post, "--target", "target"];
        let asked = ["--questions", questions, "--out", out, "-w", "0", "--reference", "none", "--max-tokens", "2"];
        run(&folder, &[&models, &asked[..], more].concat())
    };
    for more in [&[][..], &["--dry-run"]] {
        sweep("a.jsonl", "target/s", more).ends_with_code(1).fails_saying(&["lies inside the model target"]);
    }
    assert!(!folder.path().join("target/s").exists());
    sweep("a.jsonl", "s", &[]).ends_with_code(0);
    let log = fs::read(folder.path().join("s/samples.jsonl")).unwrap();
    sweep("b.jsonl", "s", &[]).ends_with_code(1).fails_saying(&["sweep.toml names other questions, a.jsonl", "--out"]);
    for same in ["./a.jsonl", "same.jsonl"] {
        sweep(same, "s", &[]).ends_with_code(0).says(&["The one answer is there"]);
    }
    assert_eq!(fs::read(folder.path().join("s/samples.jsonl")).unwrap(), log);
    // What is no file is not waited for.
    sweep(".", "t", &[]).ends_with_code(1).fails_saying(&["not a regular file"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_of_questions_is_not_waited_for() {
    let folder = folder();
    let pipe = folder.path().join("pipe.jsonl");
    if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        return;
    }
    on_demo(&folder, "sweep", &["--questions", "pipe.jsonl"]).ends_with_code(1).fails_saying(&["not a regular file"]);
    two(&folder, &["--import", "pipe.jsonl"]).ends_with_code(1).fails_saying(&["pipe.jsonl", "not a file"]);
    on_demo(&folder, "sweep", &["--spec", "pipe.jsonl"]).ends_with_code(1).fails_saying(&["not a file"]);
}

#[test]
fn tables_name_the_grader_and_say_how_answers_ended() {
    let folder = folder();
    let args = ["-w", "0,0.75", "--grader", "flexible,regex:[0-9]{1,3}", "--max-tokens", "12"];
    let ran = sweep_of(&folder, "6", &args).ends_with_code(0).says(&[
        "Graded by flexible (Last number)",
        "  regex",
        "cut off",
        "McNemar's exact test",
    ]);
    assert!(!ran.stdout.contains("errors  "), "{}", ran.stdout);
    let tables = ran.stdout.split("Graded by").nth(1).unwrap().split("\n\n").collect::<Vec<_>>();
    assert!(tables[1].lines().chain(tables[3].lines()).all(|line| line.chars().count() <= 110), "{}", ran.stdout);
    // One answer each is McNemar's case, and several are not.
    let args = ["--samples", "2", "--temperature", "1"];
    let ran = two(&folder, &args).ends_with_code(0).says(&["permutation test"]);
    assert!(!ran.stdout.contains("exact"), "{}", ran.stdout);
}

/// What a server says that has a model, and one that has none.
const MODEL: &str = r#"{"data":[{"id":"m"}]}"#;
const NO_MODEL: &str = r#"{"data":[]}"#;

/// A server that lists `models` and answers every question with `status` and `body`.
fn answering(models: &'static str, status: &'static str, body: &'static str) -> String {
    let rule = move |what: &str, _: &Value| match what.starts_with("GET") {
        true => ("200 OK", models.to_owned()),
        false => (status, body.to_owned()),
    };
    HttpServer::start(rule).url
}

#[test]
fn a_sweep_without_any_answer_fails_and_says_why() {
    let folder = folder();
    let url = answering(MODEL, "401 Unauthorized", r#"{"error":"no such key"}"#);
    let args = ["--server", &url, "--only", "0"];
    let ran = two(&folder, &args).ends_with_code(1).complains(&[
        "no answer came; 2 answers ended in an error",
        "401 Unauthorized: no such key",
        "--server-key-env",
        "once that is mended",
    ]);
    assert!(!ran.stdout.contains("95 %"), "{}", ran.stdout);
    assert_eq!(samples(&folder).len(), 2);
    // What another engine answered before is no answer of this one.
    two(&folder, &[]).ends_with_code(0);
    two(&folder, &args).ends_with_code(1);
    let html = answering(MODEL, "200 OK", "<html></html>");
    two(&folder, &["--server", &html, "--only", "0"]).ends_with_code(1).complains(&["no answer came"]);
    let ran = on_demo(&folder, "try", &["-w", "0.5", "--prompt", "1", "--server", &url]).ends_with_code(1);
    ran.complains(&["w = 0.50 was not applied", "--server-key-env"]);
}

#[test]
fn messages_name_flags() {
    let folder = folder();
    fs::write(folder.path().join("odd.jsonl"), "{\"foo\":\"1\",\"bar\":\"2\"}\n").unwrap();
    on_demo(&folder, "sweep", &["--questions", "odd.jsonl"])
        .ends_with_code(1)
        .fails_saying(&["--question-field, one of `foo`, `bar`"]);
    let url = answering(NO_MODEL, "200 OK", "");
    two(&folder, &["--server", &url, "--only", "0"]).ends_with_code(1).fails_saying(&["name one with --server-model"]);
}
