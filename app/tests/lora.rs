//! `mergescope lora` as a person and a script meet it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run the program has failed")]

#[path = "../../core/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use mergescope_core::checkpoint::Dtype;
use serde_json::{Value, json};
use support::{Folders, Size, related};

/// Three small models that fit.
fn fitting() -> Folders {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    Folders::write(&pre, &post, &target)
}

/// Exit code, stdout and stderr of `lora` with these arguments, in the folder of the models.
fn lora(folders: &Folders, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mergescope"))
        .arg("lora")
        .args(args)
        .current_dir(folders.dir.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn models<'a>(args: &[&'a str]) -> Vec<&'a str> {
    ["--pre", "pre", "--post", "post", "--target", "target"].iter().chain(args).copied().collect()
}

/// The JSON of a run that is to succeed.
#[track_caller]
fn document(folders: &Folders, args: &[&str]) -> Value {
    let (code, stdout, stderr) = lora(folders, args);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}:\n{stdout}"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_adapter_is_written_and_what_it_keeps_is_told() {
    let folders = fitting();
    let (code, stdout, stderr) = lora(&folders, &models(&["-w", "0.7", "--rank", "8", "--out", "adapter"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for words in [
        "layer",
        "of all ‖w·v‖²",
        "kept",
        "total",
        "Left out, ",
        "embeddings and output head are one tensor",
        "not among the parts chosen",
        "Kept: ",
        "of all that v moves",
        "Written: adapter (r = 8, ",
    ] {
        assert!(stdout.contains(words), "stdout lacks {words:?}:\n{stdout}");
    }
    let files =
        ["README.md", "adapter-report.json", "adapter_config.json", "adapter_model.safetensors", "mergescope.toml"];
    assert_eq!(names(&folders.dir.path().join("adapter")), files);
}

#[test]
fn one_document_has_the_numbers_of_every_tensor() {
    let folders = fitting();
    let args = models(&["--rank", "32", "--energy", "0.5", "--dtype", "f32", "--out", "adapter", "--json"]);
    let report = document(&folders, &args);
    assert_eq!((report["tensors"].as_array().unwrap().len(), report["left_out"].as_array().unwrap().len()), (14, 12));
    for tensor in report["tensors"].as_array().unwrap() {
        let kept = tensor["kept"].as_f64().unwrap();
        assert!((0.5..0.75).contains(&kept), "no more than it takes: {tensor}");
        assert_eq!(tensor["singular_values"].as_array().unwrap().len() as u64, tensor["rank"].as_u64().unwrap());
    }
    let total = &report["total"];
    let [energy, rest, left_out] = ["energy", "rest", "left_out"].map(|name| total[name].as_f64().unwrap());
    assert!((total["kept"].as_f64().unwrap() - (1.0 - (rest + left_out) / energy)).abs() < 1e-12);
    assert_eq!(report["recipe"]["adapter"]["energy"], 0.5);
    assert_eq!(report["warnings"], json!([]));
    let written: Value =
        serde_json::from_slice(&fs::read(folders.dir.path().join("adapter/adapter-report.json")).unwrap()).unwrap();
    assert_eq!(written["tensors"], report["tensors"], "the same numbers beside the adapter");
}

#[test]
fn a_recipe_makes_the_adapter_again_and_flags_override_it() {
    let folders = fitting();
    let weights = |name: &str| fs::read(folders.dir.path().join(name).join("adapter_model.safetensors")).unwrap();
    let args = models(&["-w", "0.3", "--energy", "0.8", "--rank", "20", "--parts", "mlp,bias", "--out", "first"]);
    document(&folders, &[&args[..], &["--json"]].concat());
    let again = document(&folders, &["--recipe", "first/mergescope.toml", "--out", "second", "--json"]);
    assert_eq!(again["recipe"]["adapter"]["parts"], json!(["mlp", "bias"]));
    assert!(weights("first") == weights("second"));

    let args =
        ["--recipe", "first/mergescope.toml", "--rank", "2", "--parts", "mlp", "--vector-alone", "--out", "third"];
    let third = document(&folders, &[&args[..], &["--json"]].concat());
    let adapter = &third["recipe"]["adapter"];
    assert_eq!(*adapter, json!({ "rank": 2, "ranks": "uniform", "content": "vector", "parts": ["mlp"] }));
    assert_eq!(third["rank"], 2, "a rank alone is that rank");

    // A merge of the recipe takes no notice of the adapter.
    let merged = Command::new(env!("CARGO_BIN_EXE_mergescope"))
        .args(["merge", "--recipe", "first/mergescope.toml", "--out", "merged"])
        .current_dir(folders.dir.path())
        .output()
        .unwrap();
    assert!(merged.status.success(), "{merged:?}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let folders = fitting();
    let (code, stdout, _) = lora(&folders, &models(&["--out", "adapter", "--dry-run"]));
    assert_eq!(code, Some(0));
    for words in
        ["Would write an adapter of at most", "factors of 14 tensors", "Left out: 1 embed", "Nothing was written"]
    {
        assert!(stdout.contains(words), "stdout lacks {words:?}:\n{stdout}");
    }
    let plan = document(&folders, &models(&["--out", "adapter", "--dry-run", "--json", "--parts", "mlp,norm"]));
    assert_eq!((&plan["dry_run"], plan["tensors"].as_array().unwrap().len()), (&json!(true), 26));
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);
}

#[test]
fn what_makes_no_adapter_is_refused_in_one_line() {
    let folders = fitting();
    for (args, code, words) in [
        (&["--rank", "0"][..], 1, "the rank is 0; it must be from 1 to 4096"),
        (&["--energy", "90"], 1, "above 0 and at most 1"),
        (&["--parts", "norm", "--vector-alone"], 1, "norm tensors are stored whole"),
        (&["--parts", "head"], 1, "the adapter would be empty"),
        (&["-w", "0"], 1, "the adapter would be empty"),
        (&["--parts", "legs"], 2, "attention, mlp, head, embed, norm, bias, other"),
        (&["--ranks", "many"], 2, "uniform, per-tensor"),
    ] {
        let (found, stdout, stderr) = lora(&folders, &models(&[args, &["--out", "adapter"]].concat()));
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }
    let (code, _, stderr) = lora(&folders, &models(&["--out", "target/adapter"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("lies inside target"), "{stderr}");
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);

    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let unfit = Folders::write(&pre, &post.without_tensor("model.layers.0.mlp.up_proj.weight"), &target);
    assert_eq!(lora(&unfit, &models(&["--out", "adapter"])).0, Some(3), "the models do not fit");
}
