//! Methods, several vectors, controls and saved vectors by flags.

use std::fs;

use serde_json::{Value, json};

use super::support::Folders;
use super::{Ran, fitting, run, run_merge};

fn weights(folders: &Folders, name: &str) -> Vec<u8> {
    fs::read(folders.dir.path().join(name).join("model.safetensors")).unwrap()
}

/// What every method is given so that it does something, and none is refused.
fn flags_of(method: &str) -> Vec<&'static str> {
    match method {
        "trim" | "ties" | "dare_linear" | "dare_ties" => vec!["--density", "0.4"],
        "della" | "della_linear" => vec!["--density", "0.5", "--epsilon", "0.2"],
        "breadcrumbs" | "breadcrumbs_ties" => vec!["--density", "0.6", "--gamma", "0.1"],
        "sce" => vec!["--select-topk", "0.5"],
        _ => vec![],
    }
}

const VECTOR_METHODS: [&str; 12] = [
    "task_arithmetic",
    "trim",
    "ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "breadcrumbs",
    "breadcrumbs_ties",
    "nuslerp",
    "model_stock",
    "sce",
];

#[test]
fn every_method_runs_by_flags_and_again_from_the_recipe_beside_its_model_with_the_same_bytes() {
    let folders = fitting();
    for method in VECTOR_METHODS {
        let again = format!("{method}-again");
        let recipe = format!("{method}/mergescope.toml");
        let flags = ["--method", method, "--also", "pre", "target", "0.75", "--seed", "3", "--out", method];
        run_merge(&folders, &[&flags, flags_of(method).as_slice()].concat()).ends_with_code(0);
        run(&folders, ["merge", "--recipe", &recipe, "--out", &again]).ends_with_code(0);
        assert!(weights(&folders, method) == weights(&folders, &again), "{method}");
        assert!(weights(&folders, method) != weights(&folders, "target"), "{method}");
    }
}

#[test]
fn a_report_of_several_vectors_has_a_share_of_what_was_intended_in_place_of_an_effective_w() {
    let folders = fitting();
    let flags = ["--method", "ties", "--density", "0.5", "--also", "pre", "target", "0.3", "--out", "o"];
    run_merge(&folders, &flags).ends_with_code(0).says(&["intended change", "of it written"]);
    let card = fs::read_to_string(folders.dir.path().join("o/README.md")).unwrap();
    for words in
        ["# target + ties(post − pre, target − pre)", "| Method | ties, density 0.5 |", "| target − pre | 0.3 |"]
    {
        assert!(card.contains(words), "{card}");
    }
    assert!(!card.contains("Effective w"), "{card}");
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let folders = fitting();
    for (name, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let flags = ["--method", "dare_linear", "--density", "0.5", "--seed", seed, "--out", name];
        run_merge(&folders, &flags).ends_with_code(0);
    }
    assert!(weights(&folders, "a") == weights(&folders, "b"));
    assert!(weights(&folders, "a") != weights(&folders, "c"));
}

#[test]
fn controls_stand_in_the_place_of_the_vector() {
    let folders = fitting();
    for control in ["shuffle-signs", "permute-layers", "noise"] {
        let made = run_merge(&folders, &["--control", control, "--seed", "5", "--out", control, "--json"]);
        let recipe = made.ends_with_code(0).json()["recipe"].take();
        assert_eq!(recipe["vector"]["control"], json!({ "kind": control, "seed": 5 }));
        assert!(weights(&folders, control) != weights(&folders, "target"));
    }
}

#[test]
fn a_saved_vector_takes_the_place_of_two_models() {
    let folders = fitting();
    let args = ["save-vector", "--pre", "pre", "--post", "post", "--out", "v"];
    run(&folders, args).ends_with_code(0).says(&["26 tensors", "Written:"]);
    let args = ["save-vector", "--pre", "pre", "--post", "post", "--out", "half", "--dtype", "bf16", "--json"];
    let saved: Value = run(&folders, args).ends_with_code(0).json();
    assert!(saved["relative_error"].as_f64().unwrap() < 0.004, "{saved}");

    let args = ["merge", "--vector", "v", "--target", "target", "-w", "0.5", "--out", "o", "--json"];
    let made = run(&folders, args).ends_with_code(0).json()["recipe"].take();
    assert_eq!(made["vector"]["pre"], Value::Null);
    assert!(made["inputs"]["post"].as_str().unwrap().len() == 64);
    run(&folders, ["merge", "--recipe", "o/mergescope.toml", "--out", "again"]).ends_with_code(0);
    assert!(weights(&folders, "o") == weights(&folders, "again"));
    run(&folders, ["merge", "--vector", "v", "--pre", "pre", "--target", "target", "--out", "p"]).ends_with_code(2);
}

#[test]
fn what_a_method_cannot_take_is_said_before_anything_is_written() {
    let folders = fitting();
    let cases: [(&[&str], &str); 8] = [
        (&["--method", "ties", "--density", "1.5"], "density is 1.5; it is the share that is kept, from 0 to 1"),
        (&["--density", "0.5"], "density has no effect with task_arithmetic; remove it"),
        (&["--method", "della", "--density", "0.9"], "density + epsilon are probabilities"),
        (&["--method", "slerp"], "slerp takes whole models; leave out pre"),
        (&["--method", "model_stock"], "model_stock takes at least 2 vectors"),
        (&["--method", "sce", "--select-topk", "0"], "select_topk is 0"),
        (&["--also", "pre", "post", "much"], "W is a number"),
        (&["--also", "pre", "nowhere", "0.5"], "post of vector 2 cannot be opened"),
    ];
    for (flags, words) in cases {
        let ran: Ran = run_merge(&folders, &[flags, &["--out", "o"]].concat());
        ran.ends_with_code(1).fails_saying(&[words]);
        assert!(!folders.dir.path().join("o").exists(), "{flags:?}");
    }
}
