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

/// Those that have no use for a w.
const WEIGH_THEMSELVES: [&str; 2] = ["model_stock", "sce"];

#[test]
fn every_method_runs_by_flags_and_again_from_the_recipe_beside_its_model_with_the_same_bytes() {
    let folders = fitting();
    for method in VECTOR_METHODS {
        let again = format!("{method}-again");
        let recipe = format!("{method}/mergescope.toml");
        let w = if WEIGH_THEMSELVES.contains(&method) { "-" } else { "0.75" };
        let flags = ["--method", method, "--also", "pre", "target", w, "--seed", "3", "--out", method];
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

#[test]
fn a_w_without_effect_is_refused() {
    let folders = fitting();
    for method in WEIGH_THEMSELVES {
        let also = |w| ["--method", method, "--also", "pre", "target", w, "--out", "o"];
        run_merge(&folders, &[&["-w", "0"], also("-").as_slice()].concat())
            .ends_with_code(1)
            .complains(&["-w has no effect", method]);
        run_merge(&folders, &also("0.5")).ends_with_code(1).complains(&["W has no effect", "write - for it"]);
    }
    let flags = ["--also", "pre", "target", "-", "--out", "o"];
    run_merge(&folders, &flags).ends_with_code(1).complains(&["task_arithmetic needs a number for W"]);
    assert!(!folders.dir.path().join("o").exists());
}

#[test]
fn whole_models_are_named_by_flags() {
    let folders = fitting();
    let flags = ["--pre", "none", "--post", "post", "--target", "target", "-w", "0.25", "--out"];
    let merged = |rest: &[&str]| run(&folders, [&["merge"], flags.as_slice(), rest].concat());
    merged(&["linear", "--method", "linear", "--also", "none", "pre", "0.75"]).ends_with_code(0);
    let recipe = "version = 1\ntarget = \"target\"\n[method]\nname = \"linear\"\n[[vector]]\npost = \"post\"\nw = 0.25\n\
                  [[vector]]\npost = \"pre\"\nw = 0.75\n";
    fs::write(folders.dir.path().join("linear.toml"), recipe).unwrap();
    run(&folders, ["merge", "--recipe", "linear.toml", "--out", "by-recipe"]).ends_with_code(0);
    assert!(weights(&folders, "linear") == weights(&folders, "by-recipe"));
    merged(&["slerp", "--method", "slerp"]).ends_with_code(0);
}

#[test]
fn flags_are_about_every_vector_and_another_method_forgets_what_was_said_for_the_first() {
    let folders = fitting();
    let recipe = "version = 1\ntarget = \"target\"\n[method]\nname = \"ties\"\ndensity = 0.9\n[[vector]]\npre = \"pre\"\n\
                  post = \"post\"\nw = 0.5\n[[vector]]\npre = \"pre\"\npost = \"target\"\nw = 0.5\ndensity = 0.8\n";
    fs::write(folders.dir.path().join("r.toml"), recipe).unwrap();
    run(&folders, ["merge", "--recipe", "r.toml", "--density", "0.1", "--out", "thin"]).ends_with_code(0);
    let written = fs::read_to_string(folders.dir.path().join("thin/mergescope.toml")).unwrap();
    assert_eq!(written.matches("density = 0.1").count(), 1, "{written}");
    assert!(!written.contains("0.8") && !written.contains("0.9"), "{written}");
    run(&folders, ["merge", "--recipe", "r.toml", "--method", "task_arithmetic", "--out", "plain"]).ends_with_code(0);
    let written = fs::read_to_string(folders.dir.path().join("plain/mergescope.toml")).unwrap();
    assert!(!written.contains("density"), "{written}");
}

#[test]
fn a_number_below_zero_is_told_as_out_of_range_and_not_as_an_unknown_flag() {
    let folders = fitting();
    let density = run_merge(&folders, &["--method", "ties", "--density", "-0.1", "--out", "o"]);
    density.ends_with_code(1).complains(&["density", "-0.1"]);
    let rank =
        run(&folders, ["lora", "--pre", "pre", "--post", "post", "--target", "target", "--rank", "-4", "--out", "o"]);
    rank.ends_with_code(2).complains(&["--rank", "-4"]);
}

#[test]
fn an_analysis_says_that_it_is_about_the_first_vector_alone() {
    let folders = fitting();
    let recipe = "version = 1\ntarget = \"target\"\n[method]\nname = \"ties\"\ndensity = 0.5\n[[vector]]\npre = \"pre\"\n\
                  post = \"post\"\nw = 0.5\n[[vector]]\npre = \"pre\"\npost = \"target\"\nw = 0.5\n";
    fs::write(folders.dir.path().join("r.toml"), recipe).unwrap();
    let ran = run(&folders, ["analyze", "--recipe", "r.toml", "--no-cache"]);
    ran.ends_with_code(0).complains(&["about the first vector alone", "1 vector further", "the method ties"]);
}

#[test]
fn a_saved_vector_that_does_not_fit_is_spoken_of_as_the_vector() {
    let folders = fitting();
    run(&folders, ["save-vector", "--pre", "pre", "--post", "post", "--out", "v"]).ends_with_code(0);
    let lacking = folders.dir.path().join("v/vector.safetensors");
    let bytes = fs::read(&lacking).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = tensors.tensors();
    let norm = all.iter().position(|(name, _)| name == "model.norm.weight").unwrap();
    let lacks: Vec<_> = all.iter().filter(|(name, _)| name != "model.norm.weight").cloned().collect();
    let half = all[norm].1.shape()[0] / 2;
    let data = &all[norm].1.data()[..half * 4];
    all[norm].1 = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![half], data).unwrap();
    let merged = || run(&folders, ["merge", "--vector", "v", "--target", "target", "--out", "o"]);

    safetensors::serialize_to_file(all, None, &lacking).unwrap();
    let ran = merged().ends_with_code(3).complains(&["the vector has 1 tensor of another shape than target"]);
    assert!(!ran.stderr.contains("pre ") && !ran.stderr.contains("post "), "{}", ran.stderr);
    safetensors::serialize_to_file(lacks, None, &lacking).unwrap();
    merged().ends_with_code(0).says(&["target has 1 tensor that the vector lacks"]);
    let ran = run(&folders, ["preflight", "--vector", "v", "--target", "target"]).ends_with_code(0);
    let ran = ran.says(&["target has 1 tensor that the vector lacks", "The models fit together"]);
    assert!(!ran.stdout.contains("\npre "), "{}", ran.stdout);
}
