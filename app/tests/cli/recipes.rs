//! `mergescope recipe`, and merges from recipes and merge files of mergekit.

use std::fs;

use super::{fitting, names, run, run_merge};
use crate::support::Folders;

/// A merge file for the three models, with what makes it special.
fn merge_file(folders: &Folders, more: &str) {
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: pre\nmodels:\n  - {{model: target, parameters: {{weight: 1}}}}\n  \
         - model: post\n    parameters:\n      weight:\n        - {{filter: self_attn, value: [0, 0.8]}}\n        - value: 0.5\n\
         dtype: float32\nout_dtype: bfloat16\n{more}"
    );
    fs::write(folders.dir.path().join("merge.yaml"), text).unwrap();
}

fn recipe_file(folders: &Folders, text: &str) {
    fs::write(folders.dir.path().join("recipe.toml"), text).unwrap();
}

const RECIPE: &str = "version = 1\ntarget = \"target\"\n[vector]\npre = \"pre\"\npost = \"post\"\nw = 0.75\n";

fn weights(folders: &Folders, model: &str) -> Vec<u8> {
    fs::read(folders.dir.path().join(model).join("model.safetensors")).unwrap()
}

#[test]
fn check_says_what_a_recipe_does_and_that_its_models_are_there() {
    let folders = fitting();
    recipe_file(&folders, RECIPE);
    run(&folders, ["recipe", "check", "recipe.toml"]).ends_with_code(0).says(&[
        "recipe.toml\n",
        "a recipe, version 1: task_arithmetic, normalize false, lambda 1",
        "post − pre; w 0.75; scaling flat; keeps all",
        "output target, rounding nearest",
        "target",
        "Sound, and its models are here",
    ]);
    let document = run(&folders, ["recipe", "check", "--json", "recipe.toml"]).ends_with_code(0).json();
    let file = &document["files"][0];
    assert_eq!((&file["sound"], &file["models"][0]["layers"]), (&true.into(), &2.into()));
    assert_eq!(file["recipe"]["vector"]["w"], 0.75);
}

#[test]
fn check_warns_of_patterns_without_a_match_and_tells_what_keeps_a_recipe_from_running() {
    let folders = fitting();
    let patterns = "[[vector.scaling.patterns]]\ntensors = \"*.wqkv.*\"\nfactor = 0.5\n";
    recipe_file(&folders, &format!("{RECIPE}{patterns}"));
    run(&folders, ["recipe", "check", "recipe.toml"])
        .ends_with_code(0)
        .says(&["WARNING  `*.wqkv.*` matches no tensor"]);
    recipe_file(&folders, &RECIPE.replace("\"post\"", "\"some-org/no-such-model\""));
    fs::write(folders.dir.path().join("typo.toml"), RECIPE.replace("pre =", "per =")).unwrap();
    let ran = run(&folders, ["recipe", "check", "recipe.toml", "typo.toml"]).ends_with_code(1);
    ran.says(&[
        "not found",
        "ERROR  post some-org/no-such-model: it is neither a folder here nor in the Hub cache; download it",
        "Its models are not all here",
        "ERROR  the recipe typo.toml is not valid: line 4, column 1: `per` is no known key; did you mean `pre`?",
        "Not sound",
    ]);
    let curve = "[vector.scaling.curve]\nkind = \"layers\"\nvalues = [1.0, 2.0, 3.0]\n";
    recipe_file(&folders, &format!("{RECIPE}{curve}"));
    let words = ["ERROR  the curve has 3 values, and the model has 2 layers"];
    run(&folders, ["recipe", "check", "recipe.toml"]).ends_with_code(1).says(&words);
}

#[test]
fn a_recipe_is_run_from_any_folder_with_the_models_beside_it() {
    let folders = fitting();
    recipe_file(&folders, RECIPE);
    run(&folders, ["merge", "--recipe", "recipe.toml", "--out", "here"]).ends_with_code(0);
    run_merge(&folders, &["-w", "0.75", "--out", "by-flags"]).ends_with_code(0);
    let elsewhere = Folders { dir: tempfile::tempdir().unwrap() };
    let path = folders.dir.path().join("recipe.toml");
    run(&elsewhere, ["merge", "--recipe", path.to_str().unwrap(), "--out", "there"]).ends_with_code(0);
    assert_eq!(weights(&folders, "here"), weights(&folders, "by-flags"));
    assert_eq!(weights(&folders, "here"), weights(&elsewhere, "there"));
}

#[test]
fn a_merge_file_merges_as_the_recipe_that_it_becomes_and_back() {
    let folders = fitting();
    merge_file(&folders, "");
    let ran = run(&folders, ["merge", "--recipe", "merge.yaml", "--out", "from-yaml"]).ends_with_code(0);
    assert!(
        ran.stderr.contains("NOTE  line 4, column 13: base_model + 1·(`target` − base_model) is `target`"),
        "{}",
        ran.stderr
    );
    run(&folders, ["recipe", "import", "merge.yaml", "-o", "merge.toml"])
        .ends_with_code(0)
        .says(&["Written: merge.toml"]);
    run(&folders, ["merge", "--recipe", "merge.toml", "--out", "from-toml"]).ends_with_code(0);
    run(&folders, ["recipe", "export", "merge.toml", "-o", "back.yaml"]).ends_with_code(0);
    run(&folders, ["merge", "--recipe", "back.yaml", "--out", "from-back"]).ends_with_code(0);
    let expected = weights(&folders, "from-yaml");
    assert_eq!(expected, weights(&folders, "from-toml"));
    assert_eq!(expected, weights(&folders, "from-back"));
    let toml = fs::read_to_string(folders.dir.path().join("merge.toml")).unwrap();
    assert!(toml.contains("target = \"./target\"") && toml.contains("rounding = \"mergekit-f32\""), "{toml}");
}

#[test]
fn what_cannot_be_carried_over_stops_an_import_until_it_may_be_left_out() {
    let folders = fitting();
    merge_file(&folders, "chat_template: chatml\nname: mine\n");
    let words = ["a recipe has no word for 2 things, and nothing was written; --lossy leaves them out"];
    let ran = run(&folders, ["recipe", "import", "merge.yaml", "-o", "merge.toml"]).ends_with_code(1);
    assert_eq!(ran.stdout, "");
    for words in [
        "NOT CARRIED OVER  line 13, column 1: `name`: no key of a merge file, so mergekit ignores it",
        "NOT CARRIED OVER  line 12, column 16: `chat_template`: what is not weights comes from the target",
        words[0],
    ] {
        assert!(ran.stderr.contains(words), "{words} is not in\n{}", ran.stderr);
    }
    run(&folders, ["merge", "--recipe", "merge.yaml", "--out", "out"]).ends_with_code(1).fails_saying(&[
        "merge.yaml says what a recipe cannot",
        "`chat_template`",
        "recipe import --lossy",
    ]);
    assert!(!names(folders.dir.path()).iter().any(|name| name == "merge.toml" || name == "out"));
    let ran = run(&folders, ["recipe", "import", "--lossy", "merge.yaml"]).ends_with_code(0);
    assert!(ran.stdout.starts_with("version = 1\n"), "{}", ran.stdout);
}

#[test]
fn nothing_that_exists_is_written_over_unasked() {
    let folders = fitting();
    recipe_file(&folders, RECIPE);
    fs::write(folders.dir.path().join("out.yaml"), "mine").unwrap();
    let export = ["recipe", "export", "recipe.toml", "-o", "out.yaml"];
    let ran = run(&folders, export).ends_with_code(1);
    assert!(ran.stderr.contains("error: out.yaml exists; choose another name, or say --force"), "{}", ran.stderr);
    run(&folders, export.into_iter().chain(["--force"])).ends_with_code(0);
    let yaml = fs::read_to_string(folders.dir.path().join("out.yaml")).unwrap();
    assert!(yaml.starts_with("merge_method: task_arithmetic\nbase_model: "), "{yaml}");
    run(&folders, ["recipe", "import", "recipe.toml"])
        .ends_with_code(1)
        .fails_saying(&["is no merge file of mergekit"]);
}

#[test]
fn a_gradient_without_the_model_takes_the_layers_from_the_command_line() {
    let folders = fitting();
    let text = RECIPE.replace("\"target\"", "\"org/far\"")
        + "[vector.scaling]\ncurve = { kind = \"linear\", first = 0, last = 1 }\n";
    recipe_file(&folders, &(text + "[output]\ndtype = \"bf16\"\n"));
    run(&folders, ["recipe", "export", "recipe.toml"]).ends_with_code(1).fails_saying(&[
        "recipe.toml cannot be written as a merge file of mergekit: a gradient has a point for each layer",
        "--layers",
    ]);
    let ran = run(&folders, ["recipe", "export", "--layers", "4", "recipe.toml"]).ends_with_code(0);
    assert!(ran.stdout.contains("value: [0.0, 0.25, 0.5, 0.75]"), "{}", ran.stdout);
}
