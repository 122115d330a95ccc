//! The command line as a person and a script meet it: what is printed where, exit codes, and what is on the disk after.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run the program has failed")]

mod bench;
#[cfg(target_os = "linux")]
mod disk;
mod download;
mod evaluate;
mod faults;
mod hard_knocks;
mod history;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/hub.rs"]
mod hub;
mod instructions;
mod methods;
mod parts;
mod recipes;
#[path = "../../../core/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mergescope_core::checkpoint::Dtype;
use serde_json::{Value, json};
use support::{Folders, Model, Size, Tensor, related};

/// The program with these arguments, in a folder of the test's own, on a machine without a display.
fn mergescope<'a>(folder: &Path, args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mergescope"));
    // Merges of the past are those of the test.
    command.env("XDG_DATA_HOME", data_folder(folder));
    command.args(args).current_dir(folder).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command
}

/// Where the program keeps data in a test: not in the folder, whose content tests look at.
fn data_folder(folder: &Path) -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder.file_name().unwrap())
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    #[track_caller]
    fn ends_with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for words in words {
            assert!(self.stdout.contains(words), "stdout lacks {words:?}:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        }
        self
    }

    #[track_caller]
    fn complains(self, words: &[&str]) -> Self {
        for words in words {
            assert!(self.stderr.contains(words), "stderr lacks {words:?}:\n{}\nstdout:\n{}", self.stderr, self.stdout);
        }
        self
    }

    /// One line on stderr that begins with `error: ` and holds all of `words`, and nothing on stdout.
    #[track_caller]
    fn fails_saying(self, words: &[&str]) -> Self {
        assert_eq!(self.stdout, "");
        let line = self.stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("no error:\n{}", self.stderr));
        assert_eq!(line.trim_end().lines().count(), 1, "one line, not:\n{line}");
        for words in words {
            assert!(line.contains(words), "the error lacks {words:?}:\n{line}");
        }
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}

/// Runs the program in the folder of `folders`.
fn run<'a>(folders: &Folders, args: impl IntoIterator<Item = &'a str>) -> Ran {
    Ran::of(&mut mergescope(folders.dir.path(), args))
}

/// `merge` of the three models to `out`.
fn run_merge(folders: &Folders, args: &[&str]) -> Ran {
    run(folders, ["merge", "--pre", "pre", "--post", "post", "--target", "target"].iter().chain(args).copied())
}

/// Three small models that fit.
fn fitting() -> Folders {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    Folders::write(&pre, &post, &target.with_file("tokenizer.json", "{}"))
}

/// Names in the folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn help_names_every_subcommand_and_the_exit_codes() {
    let folders = fitting();
    let words = [
        "demo",
        "download",
        "inspect",
        "preflight",
        "analyze",
        "merge",
        "save-vector",
        "history",
        "recipe",
        "lora",
        "3 the models do not fit together",
        "130 cancelled",
    ];
    run(&folders, ["--help"]).ends_with_code(0).says(&words);
    run(&folders, ["merge", "--help"]).ends_with_code(0).says(&[
        "--pre",
        "--shard-size",
        "nearest, stochastic, mergekit-f32, mergekit-bf16",
        "130 cancelled",
    ]);
}

#[test]
fn without_a_display_the_window_is_one_plain_line_that_names_the_way_out() {
    if cfg!(all(unix, not(target_os = "macos"))) {
        run(&fitting(), []).ends_with_code(1).fails_saying(&["no display", "mergescope merge"]);
    }
}

#[test]
fn inspect_says_what_a_model_is_made_of() {
    let folders = fitting();
    let words = [
        "target\n",
        "architecture  Qwen2ForCausalLM",
        "layers        2",
        "dtypes        bf16",
        "(100 %)",
        "weight files  1",
        "other files   config.json, tokenizer.json",
        "embed",
        "gate",
    ];
    run(&folders, ["inspect", "target"]).ends_with_code(0).says(&words);
}

#[test]
fn inspect_of_several_models_is_one_document() {
    let folders = fitting();
    let ran = run(&folders, ["inspect", "--json", "pre", "target"]).ends_with_code(0);
    assert_eq!(ran.stderr, "");
    let models = ran.json()["models"].take();
    assert_eq!(models.as_array().unwrap().len(), 2);
    let target = &models[1];
    assert_eq!(target["label"], "target");
    assert_eq!(target["layers"], 2);
    assert_eq!(target["dtypes"][0]["share"], 1.0);
    let parts = target["parts"].as_array().unwrap();
    let counted: u64 = parts.iter().map(|part| part["parameters"].as_u64().unwrap()).sum();
    assert_eq!(target["parameters"], counted);
    let tensors = target["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 26);
    assert!(tensors.iter().any(|tensor| tensor["name"] == "model.layers.1.mlp.up_proj.weight"
        && tensor["layer"] == 1
        && tensor["part"] == "up"
        && tensor["shape"] == json!([48, 32])));
}

#[test]
fn a_model_that_is_not_there_is_told_by_its_name() {
    run(&fitting(), ["inspect", "nowhere"]).ends_with_code(1).fails_saying(&["nowhere", "does not exist"]);
}

#[test]
fn models_that_fit_pass_preflight() {
    let folders = fitting();
    let args = ["preflight", "--pre", "pre", "--post", "post", "--target", "target"];
    run(&folders, args).ends_with_code(0).says(&["target", "‖v‖ ∕ ‖pre‖", "The models fit together"]);
    let ran = run(&folders, args.into_iter().chain(["--json"])).ends_with_code(0);
    let document = ran.json();
    assert_eq!(document["fits"], true);
    assert_eq!(document["errors"], 0);
    assert!(document["lineage"]["relative_norm"].as_f64().unwrap() > 0.0);
    assert_eq!(document["models"]["post"]["label"], "post");
}

#[test]
fn models_that_do_not_fit_end_with_3_and_the_finding_in_words() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let wide = Tensor::of("model.norm.weight", Dtype::BF16, &[64], &[1.0; 64]);
    let folders = Folders::write(&pre, &post, &target.with_tensor(wide));
    let args = ["preflight", "--pre", "pre", "--post", "post", "--target", "target"];
    let words = ["ERROR", "model.norm.weight", "To do: ", "The models do not fit together (1 error"];
    run(&folders, args).ends_with_code(3).says(&words);
    let ran = run(&folders, args.into_iter().chain(["--json"])).ends_with_code(3);
    let document = ran.json();
    assert_eq!((&document["fits"], &document["errors"]), (&json!(false), &json!(1)));
    assert_eq!(document["findings"][0]["severity"], "error");
    assert_eq!(document["findings"][0]["tensors"], json!(["model.norm.weight"]));

    let words = ["the models do not fit together", "model.norm.weight"];
    run_merge(&folders, &["--out", "merged"]).ends_with_code(3).fails_saying(&words);
    run_merge(&folders, &["--out", "merged", "--dry-run"]).ends_with_code(3).fails_saying(&words);
    for more in [&[][..], &["--dry-run"]] {
        let args = [&["--out", "merged", "--json"][..], more].concat();
        let ran = run_merge(&folders, &args).ends_with_code(3);
        assert_eq!(ran.json(), document, "as preflight has it");
        assert!(ran.stderr.starts_with("error: the models do not fit together"), "{}", ran.stderr);
    }
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);
}

#[test]
fn names_in_a_model_cannot_steer_the_terminal() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let evil = "model.evil\u{1b}[2J\u{7}\r\nERROR  forged";
    let long = format!("model.{}.end", "x".repeat(20_000));
    let with = |model: Model, length: usize| {
        let tensor = |name: &str| Tensor::of(name, Dtype::BF16, &[length], &vec![1.0; length]);
        let architecture = json!(["Evil\u{1b}]0;title\u{7}\nForged5\u{a0}B"]);
        model.with_tensor(tensor(evil)).with_tensor(tensor(&long)).with_setting("architectures", architecture)
    };
    let folders = Folders::write(&with(pre, 4), &with(post, 4), &with(target, 8));
    let models = ["--pre", "pre", "--post", "post", "--target", "target"];
    let args = |command, more: &[&'static str]| -> Vec<&str> { [&[command][..], &models, more].concat() };

    let inspected = run(&folders, ["inspect", "target"]).ends_with_code(0);
    let found = run(&folders, args("preflight", &[])).ends_with_code(3).says(&["model.evil", "\\u{1b}[2J", ".end"]);
    let merged = run(&folders, args("merge", &["--out", "merged"])).ends_with_code(3);
    for text in [&inspected.stdout, &found.stdout, &merged.stderr] {
        let raw = text.chars().find(|&character| character.is_control() && character != '\n');
        assert_eq!(raw, None, "{text}");
        assert!(!text.lines().any(|line| line.starts_with("ERROR  forged") || line.starts_with("Forged")), "{text}");
        assert!(text.len() < 16_000, "{} bytes", text.len());
    }
    merged.fails_saying(&["model.evil"]);
    let inspected = inspected.says(&["architecture  Evil\\u{1b}]0;title\\u{7}\\u{a}Forged5 B\n"]);
    assert!(!inspected.stdout.contains('\u{a0}'), "spaces in text are plain");

    // A document has what the files have.
    let document = run(&folders, ["inspect", "target", "--json"]).ends_with_code(0).json();
    let model = &document["models"][0];
    assert_eq!(model["architecture"], "Evil\u{1b}]0;title\u{7}\nForged5\u{a0}B");
    let tensors = model["tensors"].as_array().unwrap();
    assert!([evil, &long].iter().all(|name| tensors.iter().any(|tensor| tensor["name"] == *name)));
}

/// macOS has no such names.
#[cfg(all(unix, not(target_os = "macos")))]
#[test]
fn an_output_that_is_not_unicode_can_be_told_in_json() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folders = fitting();
    let out = OsStr::from_bytes(b"merged-\xff");
    let args = ["merge", "--pre", "pre", "--post", "post", "--target", "target", "--json"];
    for more in [&["--dry-run"][..], &[]] {
        let mut command = mergescope(folders.dir.path(), args.iter().chain(more).copied());
        let document = Ran::of(command.arg("--out").arg(out)).ends_with_code(0).json();
        assert_eq!(document["output"], "merged-\u{fffd}");
    }
    assert!(folders.dir.path().join(out).join("model.safetensors").exists());
}

#[test]
fn merge_writes_a_model_and_says_what_it_wrote() {
    let folders = fitting();
    let ran = run_merge(&folders, &["-w", "-0.5", "--out", "merged"]).ends_with_code(0);
    let ran = ran.says(&["layer", "effective w", "lost updates", "other", "total", "−0.5", "Written: merged"]);
    assert_eq!(ran.stderr, "", "no progress where stderr is no terminal");
    let merged = folders.dir.path().join("merged");
    assert_eq!(
        names(&merged),
        [
            "README.md",
            "config.json",
            "mergescope-report.json",
            "mergescope.toml",
            "model.safetensors",
            "tokenizer.json"
        ]
    );
    let again = run(&folders, ["inspect", "merged", "--json"]).ends_with_code(0);
    assert_eq!(again.json()["models"][0]["dtypes"][0]["dtype"], "bf16");
}

#[test]
fn merge_as_json_has_the_numbers_of_every_tensor_and_layer() {
    let folders = fitting();
    let args = ["-w", "0.5", "--out", "merged", "--dtype", "f32", "--threads", "2", "--memory", "1MiB", "--json"];
    let ran = run_merge(&folders, &args).ends_with_code(0);
    let document = ran.json();
    let total = &document["total"];
    assert!((total["effective_w"].as_f64().unwrap() - 0.5).abs() < 1e-4, "{total}");
    assert!(total["cosine"].as_f64().unwrap() > 0.999_99, "{total}");
    assert_eq!(document["output"], "merged");
    assert!(document["elapsed_secs"].as_f64().unwrap() > 0.0);
    let written = fs::metadata(folders.dir.path().join("merged/model.safetensors")).unwrap().len();
    assert_eq!(document["bytes_written"], written);
    let layers = document["layers"].as_array().unwrap();
    assert_eq!(layers.iter().map(|layer| &layer["layer"]).collect::<Vec<_>>(), [&json!(0), &json!(1), &Value::Null]);
    let tensors = document["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 26);
    assert!(tensors.iter().all(|tensor| tensor["dtype"] == "f32" && tensor["coefficient"] == 0.5));
    assert_eq!(document["recipe"]["output"]["dtype"], "f32");
}

#[test]
fn every_flag_of_merge_reaches_the_recipe() {
    let folders = fitting();
    let flags = ["-w", "1.25", "--dtype", "bf16", "--rounding", "stochastic", "--seed", "7", "--shard-size", "20kB"];
    let args: Vec<&str> = flags.into_iter().chain(["--allow-nonfinite", "--out", "merged", "--json"]).collect();
    let recipe = run_merge(&folders, &args).ends_with_code(0).json()["recipe"].take();
    assert_eq!(recipe["vector"]["w"], 1.25);
    assert_eq!(
        recipe["output"],
        json!({ "dtype": "bf16", "rounding": "stochastic", "seed": 7, "shard_bytes": 20_000, "allow_nonfinite": true })
    );
    assert!(folders.dir.path().join("merged/model.safetensors.index.json").exists(), "more than one shard");
}

#[test]
fn a_dry_run_says_what_would_be_written_and_writes_nothing() {
    let folders = fitting();
    let args = ["--out", "merged", "--dry-run"];
    run_merge(&folders, &args).ends_with_code(0).says(&["Would write", "model.safetensors", "Nothing was written"]);
    let ran = run_merge(&folders, &["--out", "merged", "--dry-run", "--json", "--shard-size", "20kB"]);
    let document = ran.ends_with_code(0).json();
    assert_eq!(document["dry_run"], true);
    assert!(document["files"].as_array().unwrap().len() > 1);
    assert_eq!(document["tensors"].as_array().unwrap().len(), 26);
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);
}

#[test]
fn a_vector_spread_over_the_tensors_is_held_against_what_was_asked_for_and_patterns_without_tensors_are_named() {
    let folders = fitting();
    run_merge(&folders, &["--out", "first"]).ends_with_code(0);
    let recipe = fs::read_to_string(folders.dir.path().join("first/mergescope.toml")).unwrap();
    let scaling = "\n[vector.scaling.curve]\nkind = \"lines\"\nalpha = 0.5\nbeta = 0.5\n\
                   [[vector.scaling.patterns]]\ntensors = \"*.nothing.*\"\nfactor = 2.0\n\
                   [vector.scaling.keep]\ntensors = [\"*.neither.*\"]\n";
    fs::write(folders.dir.path().join("spread.toml"), recipe.clone() + scaling).unwrap();
    let merge = ["merge", "--recipe", "spread.toml", "--out"];
    let ran = run(&folders, merge.into_iter().chain(["second"])).ends_with_code(0);
    let warnings = ["WARNING  `*.nothing.*` matches no tensor", "WARNING  `*.neither.*` matches no tensor"];
    let ran = ran
        .says(&warnings)
        .says(&["Pattern 1 of `scaling.keep.tensors`", "To do: Correct it, with * for what may differ"]);
    ran.says(&["w asked for", "w = 0.50 came to 0.250 to 0.500 from tensor to tensor"]);
    let document = run(&folders, merge.into_iter().chain(["third", "--json"])).ends_with_code(0).json();
    assert_eq!(document["warnings"].as_array().unwrap().len(), 2, "{}", document["warnings"]);
    let [asked, effective] = ["asked_w", "effective_w"].map(|key| document["total"][key].as_f64().unwrap());
    assert!(asked < 0.5 && (effective - asked).abs() < 1e-3, "{effective} of {asked}");
    // A curve that does not suit the model is refused in one line.
    let short = "\n[vector.scaling.curve]\nkind = \"layers\"\nvalues = [1.0]\n";
    fs::write(folders.dir.path().join("short.toml"), recipe.clone() + short).unwrap();
    run(&folders, ["merge", "--recipe", "short.toml", "--out", "fourth"])
        .ends_with_code(1)
        .fails_saying(&["the curve has 1 value, and the model has", "give one value for each layer"]);
    let bad = "\n[vector.scaling.curve]\nkind = \"linear\"\nfirst = nan\nlast = 1.0\n";
    fs::write(folders.dir.path().join("bad.toml"), recipe + bad).unwrap();
    run(&folders, ["merge", "--recipe", "bad.toml", "--out", "fourth"])
        .ends_with_code(1)
        .fails_saying(&["the curve's first is NaN; it must be a finite number"]);
    assert!(!folders.dir.path().join("fourth").exists());
}

#[test]
fn a_recipe_is_run_again_and_flags_override_it() {
    let folders = fitting();
    run_merge(&folders, &["-w", "0.75", "--rounding", "mergekit-f32", "--out", "first"]).ends_with_code(0);
    let weights = |name: &str| fs::read(folders.dir.path().join(name).join("model.safetensors")).unwrap();

    run(&folders, ["merge", "--recipe", "first/mergescope.toml", "--out", "second"]).ends_with_code(0);
    assert_eq!(weights("first"), weights("second"));

    let args = ["merge", "--recipe", "first/mergescope.toml", "--out", "third", "-w", "-1", "--json"];
    let recipe = run(&folders, args).ends_with_code(0).json()["recipe"].take();
    assert_eq!((&recipe["vector"]["w"], &recipe["output"]["rounding"]), (&json!(-1.0), &json!("mergekit-f32")));
    assert_ne!(weights("first"), weights("third"));

    related(Size::default(), Dtype::BF16).0.tuned(77, 0.05).write(&folders.dir.path().join("other"));
    let args = ["merge", "--recipe", "first/mergescope.toml", "--out", "fourth", "--post", "other", "--json"];
    let made = run(&folders, args).ends_with_code(0).json()["recipe"].take();
    // As written beside a model, a path holds from any folder.
    let other = folders.dir.path().join("other");
    assert_eq!((&made["vector"]["post"], &made["vector"]["w"]), (&json!(other), &json!(0.75)));
    assert_eq!(made["inputs"]["pre"], recipe["inputs"]["pre"]);
    assert_ne!(made["inputs"]["post"], recipe["inputs"]["post"], "the fingerprint of the model that took part");
    assert_ne!(weights("first"), weights("fourth"));

    // Without a flag the recipe's models are those it was made with, or there is no merge.
    fs::rename(folders.dir.path().join("other"), folders.dir.path().join("new")).unwrap();
    fs::rename(folders.dir.path().join("post"), folders.dir.path().join("other")).unwrap();
    fs::rename(folders.dir.path().join("new"), folders.dir.path().join("post")).unwrap();
    run(&folders, ["merge", "--recipe", "first/mergescope.toml", "--out", "fifth"])
        .ends_with_code(1)
        .fails_saying(&["post is not the model that this recipe was made with"]);
    run(&folders, ["merge", "--recipe", "none.toml", "--out", "fifth"])
        .ends_with_code(1)
        .fails_saying(&["cannot read the recipe none.toml"]);
}

#[test]
fn an_output_that_cannot_be_is_refused_before_anything_is_written() {
    let folders = fitting();
    fs::create_dir(folders.dir.path().join("taken")).unwrap();
    for (out, words) in [
        ("taken", "already exists; choose a new folder name"),
        ("target/merged", "lies inside target"),
        ("not/there", "does not exist; create it first"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let args: Vec<&str> = ["--out", out].iter().chain(more).copied().collect();
            run_merge(&folders, &args).ends_with_code(1).fails_saying(&[words]);
        }
    }
    assert_eq!(names(folders.dir.path()), ["post", "pre", "taken", "target"]);
}

#[test]
fn a_w_that_scales_nothing_is_refused() {
    run_merge(&fitting(), &["-w", "NaN", "--out", "merged"])
        .ends_with_code(1)
        .fails_saying(&["w is NaN; it must be a finite number"]);
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    let folders = fitting();
    for (args, words) in [
        (["--shard-size", "five"], "such as 5GB, 500MB, 2GiB or 5e9"),
        (["--memory", "0"], "at least 1 byte"),
        (["--dtype", "bf61"], "[possible values: target, bf16, f16, f32]"),
        (["--rounding", "up"], "mergekit-bf16"),
        (["--threads", "0"], "1..=1024"),
        (["-w", "half"], "w is a number, such as 0.5 or -1"),
    ] {
        let ran = run_merge(&folders, &[&["--out", "merged"][..], &args].concat()).ends_with_code(2);
        assert!(ran.stderr.contains(words) && ran.stdout.is_empty(), "{args:?}:\n{}", ran.stderr);
    }
    let ran = run(&folders, ["merge", "--out", "merged", "--pre", "pre"]).ends_with_code(2);
    assert!(ran.stderr.contains("--post <MODEL>") && ran.stderr.contains("--target <MODEL>"), "{}", ran.stderr);
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);
}

#[test]
fn a_warning_is_said_before_the_merge_and_kept_off_machine_output() {
    let (pre, _, target) = related(Size::default(), Dtype::BF16);
    // Pre and post are the same: a vector of zeros is worth a word.
    let folders = Folders::write(&pre, &pre, &target);
    run_merge(&folders, &["--out", "first"]).ends_with_code(0).says(&["WARNING", "the vector is zero"]);
    let ran = run_merge(&folders, &["--out", "second", "--json"]).ends_with_code(0);
    assert!(ran.stderr.contains("the vector is zero"), "{}", ran.stderr);
    let document = ran.json();
    assert_eq!(document["warnings"][0]["severity"], "warning");
    assert_eq!(document["total"]["effective_w"], Value::Null, "no number rather than a wrong one");
}

#[cfg(unix)]
#[test]
fn ctrl_c_cancels_and_leaves_nothing_behind() {
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    const ELEMENTS: usize = 48 << 20;
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let large = |model: Model, byte: u8| {
        model.with_tensor(Tensor::raw("model.large.weight", Dtype::BF16, &[ELEMENTS], vec![byte; 2 * ELEMENTS]))
    };
    let folders = Folders::write(&large(pre, 0x3c), &large(post, 0x3d), &large(target, 0x3c));

    let args = ["merge", "--pre", "pre", "--post", "post", "--target", "target", "--out", "merged"];
    // Slowly, so that the signal comes in time.
    let slowly = ["--threads", "1", "--memory", "256kB", "--rounding", "stochastic", "--dtype", "f32"];
    let child = mergescope(folders.dir.path(), args.into_iter().chain(slowly))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let writes = || {
        let mut entries = fs::read_dir(folders.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.any(|path| {
            path.extension().is_some_and(|end| end == "mergescope-partial") && path.join("model.safetensors").exists()
        })
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !writes() {
        assert!(Instant::now() < deadline, "the merge never began to write");
        sleep(Duration::from_millis(1));
    }
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: cancelled\n");
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);
}

#[test]
fn the_demo_does_the_whole_job() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--no-window", "-w", "0.25", "--out", "merged"];
    let words = [
        "1. The three models",
        "The models fit together",
        "‖v‖ ∕ ‖pre‖",
        "█",
        "4. The merged model target + 0.25·v",
        "effective w",
        "Written: merged",
        " merge --pre ",
        "--split 0.5 --controls shuffle-signs --questions",
        "sweep.toml",
    ];
    Ran::of(&mut mergescope(folder.path(), args)).ends_with_code(0).says(&words);
    assert!(folder.path().join("merged/model.safetensors").exists());
    assert!(folder.path().join("merged/tokenizer.json").exists());
    assert!(folder.path().join("merged-sweep/sweep.toml").exists());
    // Before anything is measured.
    Ran::of(&mut mergescope(folder.path(), args)).ends_with_code(1).fails_saying(&["merged already exists"]);
    let args = ["demo", "--no-window", "-w", "inf", "--out", "other"];
    Ran::of(&mut mergescope(folder.path(), args)).ends_with_code(1).fails_saying(&["it must be a finite number"]);
}

#[test]
fn the_demo_can_be_run_again_and_again_and_goes_without_a_display() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let demo = || {
        let mut command = mergescope(folder.path(), ["demo"]);
        // Unix and Windows each have their own names for it.
        for name in ["TMPDIR", "TMP", "TEMP"] {
            command.env(name, &temporary);
        }
        if !cfg!(all(unix, not(target_os = "macos"))) {
            command.arg("--no-window");
        }
        Ran::of(&mut command).ends_with_code(0).says(&["Written: ", "mergescope-demo-w0.50"])
    };
    demo();
    let second = demo();
    let written = [
        "mergescope-demo-w0.50",
        "mergescope-demo-w0.50-2",
        "mergescope-demo-w0.50-2-sweep",
        "mergescope-demo-w0.50-sweep",
    ];
    assert_eq!(names(&temporary), written);
    // The effect with its interval and its test, on questions that w was not chosen on.
    assert!(second.stdout.contains("100 held-out questions right, against"), "{}", second.stdout);
    assert!(second.stdout.contains("p < 0.001") && second.stdout.contains("control at w = "), "{}", second.stdout);
    if cfg!(all(unix, not(target_os = "macos"))) {
        assert!(second.stderr.contains("No display here"), "{}", second.stderr);
    }
}

#[test]
fn convert_writes_a_pytorch_checkpoint_as_safetensors_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/goldens");
    let golden = |name: &str| goldens.join(name).to_str().unwrap().to_owned();
    let model = golden("pickles/bin/post");
    Ran::of(&mut mergescope(dir.path(), ["convert", &model, "-o", "post"]))
        .ends_with_code(0)
        .says(&["Written: post (26 tensors in 1 file, "]);
    let [written, expected] =
        [dir.path().join("post"), goldens.join("pickles/safetensors/post")].map(|folder| support::read_model(&folder));
    assert!(written == expected);

    let gguf = golden("gguf/qwen2-bf16.gguf");
    let ran =
        Ran::of(&mut mergescope(dir.path(), ["convert", &gguf, "-o", "weights", "--shard-size", "2KB", "--json"]));
    let document: Value = serde_json::from_str(&ran.ends_with_code(0).stdout).unwrap();
    assert_eq!(document["has_config"], json!(false));
    assert!(document["weight_files"].as_array().unwrap().len() > 1);
    Ran::of(&mut mergescope(dir.path(), ["convert", &gguf, "-o", "again"]))
        .ends_with_code(0)
        .says(&["NOTE  There are the weights alone."]);

    let refused = golden("pickles/refused/os_system.bin");
    Ran::of(&mut mergescope(dir.path(), ["convert", &refused, "-o", "no"])).ends_with_code(1).fails_saying(&[
        "cannot be opened",
        "asks for `posix.system`",
        "nothing of it was run",
    ]);
    assert!(!dir.path().join("no").exists());
    Ran::of(&mut mergescope(dir.path(), ["inspect", &gguf])).ends_with_code(0).says(&[
        "qwen2-bf16.gguf",
        "layers        2",
        "bf16 ",
    ]);
}
