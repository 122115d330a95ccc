//! `mergescope analyze` as a person and a script meet it: its numbers against a reference.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run the program has failed")]

mod outputs;
mod refusals;
#[path = "../../../core/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mergescope_core::checkpoint::Dtype;
use serde_json::{Value, json};
use support::{Folders, Model, Size, Tensor, decode, related, values};

const MODELS: [&str; 6] = ["--pre", "pre", "--post", "post", "--target", "target"];

/// Runs `analyze` in `folder`, with a cache of the test's own.
fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mergescope"));
    command.arg("analyze").args(args).current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").output().unwrap()
}

/// The same on the models `pre`, `post` and `target`, which must succeed; gives what is on stdout.
#[track_caller]
fn analyze(folders: &Folders, args: &[&str]) -> String {
    let all: Vec<&str> = MODELS.iter().chain(args).copied().collect();
    let output = run(folders.dir.path(), &all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn analyze_json(folders: &Folders, args: &[&str]) -> Value {
    serde_json::from_str(&analyze(folders, &[&["--json"], args].concat())).unwrap()
}

/// One line on stderr with all of `words`, and that exit code.
#[track_caller]
fn fails(folders: &Folders, args: &[&str], code: i32, words: &[&str]) {
    let all: Vec<&str> = MODELS.iter().chain(args).copied().collect();
    let output = run(folders.dir.path(), &all);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(code), true), "{said}");
    assert!(words.iter().all(|words| said.contains(words)), "{said}");
}

fn fitting() -> Folders {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    Folders::write(&pre, &post, &target)
}

/// Every file below a folder by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, Vec<u8>)> =
        entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

fn close(found: &Value, expected: f64) -> bool {
    found.as_f64().is_some_and(|found| (found - expected).abs() <= 1e-10 * expected.abs().max(1e-6))
}

/// The tensor of that name in three models, in f64.
fn elements(models: [&Model; 3], name: &str) -> [Vec<f64>; 3] {
    models.map(|model| {
        let tensor = model.tensor(name);
        decode(tensor.dtype, &tensor.bytes).into_iter().map(f64::from).collect()
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[test]
fn every_number_of_a_tensor_agrees_with_a_reference_in_f64() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let document = analyze_json(&folders, &["-w", "0.25"]);
    let tensors = document["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 26);
    for tensor in tensors {
        let [pre, post, target] = elements([&pre, &post, &target], tensor["name"].as_str().unwrap());
        let (v, u) = (minus(&post, &pre), minus(&target, &pre));
        let norm = |a: &[f64]| dot(a, a).sqrt();
        let merged: Vec<f64> = target.iter().zip(&v).map(|(target, v)| target + 0.25 * v).collect();
        let count = v.len() as f64;
        let both = || v.iter().zip(&u).filter(|(v, u)| **v != 0.0 && **u != 0.0);
        let same = both().filter(|(v, u)| (**v > 0.0) == (**u > 0.0)).count() as f64;
        let updates = v.iter().zip(&target).filter(|(v, _)| **v != 0.0);
        let written = |value: f64| half::bf16::from_f64(value).to_f64();
        let survive = updates.clone().filter(|(v, target)| written(**target + 0.25 * **v) != **target).count() as f64;
        let moved: Vec<f64> = merged.iter().zip(&target).map(|(merged, target)| written(*merged) - target).collect();
        for (key, expected) in [
            ("norm", norm(&v)),
            ("norm_pre", norm(&pre)),
            ("relative_norm", norm(&v) / norm(&pre)),
            ("rms", norm(&v) / count.sqrt()),
            ("mean", v.iter().sum::<f64>() / count),
            ("max_abs", v.iter().fold(0.0, |max, v| v.abs().max(max))),
            ("zero_share", v.iter().filter(|v| **v == 0.0).count() as f64 / count),
            ("cos_pre_post", dot(&pre, &post) / norm(&pre) / norm(&post)),
            ("cos_vector_target", dot(&v, &u) / norm(&v) / norm(&u)),
            ("sign_agreement", same / both().count() as f64),
            // All of these tensors are small enough to be counted, not estimated.
            ("rounding_survival", survive / updates.count() as f64),
            ("rounding_survival_margin", 0.0),
            ("effective_w", dot(&v, &moved) / dot(&v, &v)),
            ("change_norm", 0.25 * norm(&v)),
            ("change_relative", 0.25 * norm(&v) / norm(&target)),
            ("cos_merged_target", dot(&merged, &target) / norm(&merged) / norm(&target)),
        ] {
            assert!(close(&tensor[key], expected), "{}: {key} is {}, not {expected}", tensor["name"], tensor[key]);
        }
        assert_eq!(tensor["elements"], v.len());
    }
}

#[test]
fn histograms_are_the_counts_of_a_reference_in_f64() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    // A tensor that does not move has no sizes to count.
    let still = "model.layers.0.self_attn.k_proj.bias";
    let post = post.with_tensor(pre.tensor(still).clone());
    let folders = Folders::write(&pre, &post, &target);
    for tensor in analyze_json(&folders, &[])["tensors"].as_array().unwrap() {
        let name = tensor["name"].as_str().unwrap();
        let [pre, post, _] = elements([&pre, &post, &target], name);
        for (model, values) in [("vector", minus(&post, &pre)), ("pre", pre)] {
            let found = &tensor["histograms"][model];
            let counts = found["counts"].as_array().unwrap();
            let Some(exponent) = found["exponent"].as_i64() else {
                assert!(name == still && model == "vector" && counts.is_empty());
                continue;
            };
            let mut seen = 0;
            for (octave, counts) in (exponent as i32..).zip(counts.chunks(2)) {
                let low = 2_f64.powi(octave);
                for (count, range) in counts.iter().zip([low..1.5 * low, 1.5 * low..2.0 * low]) {
                    let expected = values.iter().filter(|value| range.contains(&value.abs())).count();
                    assert_eq!(*count, expected, "{name}: {model} in {range:?}");
                    seen += expected;
                }
            }
            assert_eq!(seen, values.iter().filter(|value| **value != 0.0).count(), "{name}: all that are not zero");
        }
    }
}

#[test]
fn layers_parts_and_cosines_follow_from_the_tensors() {
    let (pre, post, target) = related(Size { layers: 3, ..Size::default() }, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let document = analyze_json(&folders, &[]);
    let tensors = document["tensors"].as_array().unwrap();
    let sum = |pick: &dyn Fn(&Value) -> bool| -> f64 {
        tensors.iter().filter(|tensor| pick(tensor)).map(|tensor| tensor["norm"].as_f64().unwrap().powi(2)).sum()
    };
    let layers = document["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for (number, layer) in layers.iter().enumerate() {
        assert_eq!(layer["layer"], number);
        let all = sum(&|tensor| tensor["layer"] == number);
        assert!(close(&layer["norm"], all.sqrt()));
        for part in layer["parts"].as_array().unwrap() {
            let one = sum(&|tensor| tensor["layer"] == number && tensor["part"] == part["part"]);
            assert!(close(&part["share"], one / all), "{part}");
        }
    }
    let beside: Vec<&Value> = document["beside"].as_array().unwrap().iter().map(|entry| &entry["part"]).collect();
    assert_eq!(beside, ["embed", "norm"]);
    let shares = document["parts"].as_array().unwrap().iter().map(|part| part["share"].as_f64().unwrap());
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-12);

    let v = |layer: usize| {
        let name = format!("model.layers.{layer}.mlp.up_proj.weight");
        let [pre, post, _] = elements([&pre, &post, &target], &name);
        minus(&post, &pre)
    };
    let cosines = &document["layer_cosine"];
    assert_eq!(cosines["layers"], json!([0, 1, 2]));
    let expected = dot(&v(0), &v(2)) / dot(&v(0), &v(0)).sqrt() / dot(&v(2), &v(2)).sqrt();
    assert!((cosines["up"][0][2].as_f64().unwrap() - expected).abs() < 1e-10);
    assert!((cosines["all"][1][1].as_f64().unwrap() - 1.0).abs() < 1e-12);
    let mlp = |layer: usize| -> Vec<f64> {
        let parts = ["gate", "up", "down"].map(|part| {
            let name = format!("model.layers.{layer}.mlp.{part}_proj.weight");
            let [pre, post, _] = elements([&pre, &post, &target], &name);
            minus(&post, &pre)
        });
        parts.concat()
    };
    let expected = dot(&mlp(0), &mlp(1)) / dot(&mlp(0), &mlp(0)).sqrt() / dot(&mlp(1), &mlp(1)).sqrt();
    assert!((cosines["mlp"][1][0].as_f64().unwrap() - expected).abs() < 1e-10);
    for entry in document["summary"].as_array().unwrap() {
        for figure in entry["figures"].as_array().unwrap() {
            assert!(entry["text"].as_str().unwrap().contains(figure["text"].as_str().unwrap()));
        }
    }
}

#[test]
fn the_same_question_has_the_same_answer_whatever_the_threads_and_the_cache() {
    let folders = fitting();
    let spectrum = ["--spectrum", "model.layers.1.mlp.up_proj.weight"];
    let outputs = [("1", "a"), ("4", "b"), ("2", "c")].map(|(threads, name)| {
        let [svg, csv, page] = ["svg", "csv", "html"].map(|kind| format!("{name}-{kind}"));
        let mut args = vec!["--threads", threads, "--svg", &svg, "--csv", &csv, "--html", &page];
        args.extend(spectrum);
        args.push("--log");
        if name == "c" {
            args.push("--no-cache");
        }
        let document = analyze(&folders, &[&["--json"], &args[..]].concat());
        let folder = folders.dir.path();
        (document, files(&folder.join(&svg)), files(&folder.join(&csv)), fs::read(folder.join(&page)).unwrap())
    });
    assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
    let grid = |name: &str| {
        let (_, bytes) = outputs[0].1.iter().find(|(file, _)| file == name).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    assert!(grid("grid-rms.svg").contains("colours by its logarithm"), "as --log asks");
    assert!(!grid("grid-zero_share.svg").contains("logarithm"), "shares need none");
}

#[test]
fn a_zero_vector_is_said_to_be_one_and_gives_no_nan() {
    let (pre, _, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &pre, &target);
    let args = ["--svg", "charts", "--html", "page.html", "--csv", "tables"];
    let document = analyze_json(&folders, &args);
    assert!(document["summary"][0]["text"].as_str().unwrap().starts_with("The vector is zero"));
    assert_eq!(document["total"]["zero_share"], 1.0);
    assert_eq!(document["total"]["cos_vector_target"], Value::Null);
    assert_eq!(
        (&document["parts"][0]["share"], &document["layers"][0]["parts"][0]["share"]),
        (&json!(0.0), &json!(0.0))
    );
    for folder in ["charts", "tables"] {
        for (name, bytes) in files(&folders.dir.path().join(folder)) {
            assert!(!String::from_utf8(bytes).unwrap().contains("NaN,"), "{name}");
        }
    }
    let text = analyze(&folders, &[]);
    assert!(text.starts_with("The vector is zero") && !text.contains("NaN"), "{text}");
}

#[test]
fn a_model_of_one_layer_has_no_layers_to_compare() {
    let (pre, post, target) = related(Size { layers: 1, ..Size::default() }, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let document = analyze_json(&folders, &["--svg", "charts", "--html", "page.html"]);
    assert_eq!(document["layer_cosine"], Value::Null);
    assert_eq!(document["layers"].as_array().unwrap().len(), 1);
    assert!(files(&folders.dir.path().join("charts")).iter().all(|(name, _)| !name.starts_with("layer-cosine")));
}

#[test]
fn experts_are_told_apart_and_taken_together() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let with_experts = |mut model: Model, seed: u64| {
        for expert in 0..3_u64 {
            let name = format!("model.layers.1.mlp.experts.{expert}.gate_proj.weight");
            model = model.with_tensor(Tensor::of(&name, Dtype::BF16, &[8, 8], &values(seed + expert, 64, 0.02)));
        }
        model
    };
    let folders = Folders::write(&with_experts(pre, 10), &with_experts(post, 20), &with_experts(target, 30));
    let document = analyze_json(&folders, &[]);
    let experts = document["experts"].as_array().unwrap();
    let of = |key: &str| experts.iter().map(|entry| entry[key].clone()).collect::<Vec<_>>();
    assert_eq!((of("layer"), of("expert")), (vec![json!(1); 3], vec![json!(0), json!(1), json!(2)]));
    let parts = document["parts"].as_array().unwrap();
    let together = parts.iter().find(|part| part["part"] == "expert").unwrap();
    let squares: f64 = experts.iter().map(|entry| entry["norm"].as_f64().unwrap().powi(2)).sum();
    assert!(close(&together["norm"], squares.sqrt()));
}

#[test]
fn experts_stored_in_one_tensor_are_entries_of_their_own() {
    let name = "model.layers.1.mlp.experts.gate_up_proj";
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let stacked =
        |model: Model, seed| model.with_tensor(Tensor::of(name, Dtype::BF16, &[4, 6, 10], &values(seed, 240, 0.02)));
    let models = [stacked(pre, 10), stacked(post, 20), stacked(target, 30)];
    let folders = Folders::write(&models[0], &models[1], &models[2]);
    let third = format!("{name}[3]");
    let document = analyze_json(&folders, &["--spectrum", &third, "--csv", "out", "--svg", "out"]);
    let [pre, post, _] = elements(models.each_ref(), name);
    let v = minus(&post[180..], &pre[180..]);

    let tensors = document["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 26 + 4);
    let tensor = tensors.iter().find(|tensor| tensor["name"] == third.as_str()).unwrap();
    assert_eq!((&tensor["shape"], &tensor["expert"]), (&json!([6, 10]), &json!(3)));
    assert!(close(&tensor["norm"], dot(&v, &v).sqrt()));
    let experts = document["experts"].as_array().unwrap();
    assert_eq!(experts.len(), 4);
    assert_eq!((&experts[3]["norm"], &experts[3]["layer"]), (&tensor["norm"], &json!(1)));
    let spectrum = &document["spectra"][0];
    assert_eq!((&spectrum["tensor"], &spectrum["rows"], &spectrum["cols"]), (&json!(third), &json!(6), &json!(10)));
    assert!(close(&spectrum["energy"], dot(&v, &v)));

    let written = files(&folders.dir.path().join("out"));
    let text = |wanted: &str| {
        let (_, bytes) = written.iter().find(|(name, _)| name == wanted).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    let counts: u64 = {
        let file = text(&format!("histogram-{name}_3_.csv"));
        file.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(counts, v.iter().filter(|v| **v != 0.0).count() as u64, "the sizes are those of this expert");
    assert!(text("grid-norm.svg").contains(", 4 experts</title>"));
    fails(&folders, &["--spectrum", name], 1, &[name, "stack of 4 matrices", "from 0 to 3"]);
    fails(&folders, &["--spectrum", &format!("{name}[4]")], 1, &[name, "from 0 to 3"]);
}

#[test]
fn a_planted_rank_and_planted_vectors_are_read_off() {
    let (pre, _, target) = related(Size::default(), Dtype::F32);
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut post = pre.clone();
    let tensor = post.tensor_mut(name);
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let (left, right) = (values(5, rows * 3, 1.0), values(6, cols * 3, 1.0));
    // Zero before, so that v is the product and no rounding of a sum.
    let product: Vec<f32> = (0..rows * cols)
        .map(|at| (0..3).map(|k| left[at / cols * 3 + k] * right[at % cols * 3 + k]).sum::<f32>() * 0.01)
        .collect();
    tensor.bytes = support::encode(Dtype::F32, &product);
    let mut start = pre;
    start.tensor_mut(name).bytes = support::encode(Dtype::F32, &vec![0.0; rows * cols]);
    let folders = Folders::write(&start, &post, &target);
    let document = analyze_json(&folders, &["--spectrum", name, "--other", "post", "pre", "--other", "pre", "post"]);
    let spectrum = &document["spectra"][0];
    let values: Vec<f64> =
        spectrum["singular_values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert!(values[2] > 0.01 && values[3] < 1e-5 * values[0], "{values:?}");
    assert!(spectrum["effective_rank"]["high"].as_f64().unwrap() < 3.01);
    let pairs = &document["vectors"]["pairs"];
    assert!((pairs[0]["cosine"].as_f64().unwrap() + 1.0).abs() < 1e-12);
    assert_eq!((&pairs[0]["sign_conflict_share"], &pairs[0]["support_overlap"]), (&json!(1.0), &json!(1.0)));
    assert_eq!((&pairs[1]["a"], &pairs[1]["b"], &pairs[1]["sign_conflict_share"]), (&json!(0), &json!(2), &json!(0.0)));
}

#[test]
fn vectors_are_compared_over_all_by_part_and_by_layer() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    // Another vector: half of v and as much noise; and it leaves one tensor as it was.
    let still = "model.layers.1.mlp.down_proj.weight";
    let mut other = post.tuned(7, 0.05);
    *other.tensor_mut(still) = pre.tensor(still).clone();
    let folders = Folders::write(&pre, &post, &target);
    other.write(&folders.dir.path().join("other"));
    let args = ["--other", "pre", "other", "--other", "pre", "target", "--csv", "tables", "--html", "page.html"];
    let document = analyze_json(&folders, &args);
    let vectors = &document["vectors"];
    assert_eq!(vectors["vectors"][1], json!({ "pre": "pre", "post": "other" }));

    let reference = |pick: &dyn Fn(&Value) -> bool| -> [f64; 3] {
        let names = document["tensors"].as_array().unwrap().iter().filter(|tensor| pick(tensor));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for tensor in names {
            let [pre, post, other] = elements([&pre, &post, &other], tensor["name"].as_str().unwrap());
            a.extend(minus(&post, &pre));
            b.extend(minus(&other, &pre));
        }
        let count = |pick: &dyn Fn(f64, f64) -> bool| a.iter().zip(&b).filter(|(a, b)| pick(**a, **b)).count() as f64;
        let both = count(&|a, b| a != 0.0 && b != 0.0);
        let [opposed, either] = [count(&|a, b| a * b < 0.0), count(&|a, b| a != 0.0 || b != 0.0)];
        [dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt(), opposed / both, both / either]
    };
    let agrees = |entry: &Value, expected: [f64; 3]| {
        for (key, expected) in ["cosine", "sign_conflict_share", "support_overlap"].into_iter().zip(expected) {
            assert!(close(&entry[key], expected), "{key} of {entry} is not {expected}");
        }
    };
    let pair = &vectors["pairs"][0];
    assert_eq!((&pair["a"], &pair["b"]), (&json!(0), &json!(1)));
    agrees(pair, reference(&|_| true));
    let (parts, layers) = (pair["parts"].as_array().unwrap(), pair["layers"].as_array().unwrap());
    assert_eq!((parts.len(), layers.len()), (9, 2));
    parts.iter().for_each(|part| agrees(part, reference(&|tensor| tensor["part"] == part["part"])));
    layers.iter().for_each(|layer| agrees(layer, reference(&|tensor| tensor["layer"] == layer["layer"])));

    // The same in CSV: all, parts, layers for each pair.
    let text = fs::read_to_string(folders.dir.path().join("tables/vectors.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["a", "b", "part", "layer", "cosine", "sign_conflict_share", "support_overlap"]);
    assert_eq!(lines.len(), 1 + 3 * (1 + 9 + 2));
    let number = |line: &[&str]| line[4].parse::<f64>().ok();
    assert_eq!((&lines[1][..4], number(&lines[1])), (&["0", "1", "", ""][..], pair["cosine"].as_f64()));
    assert_eq!((lines[2][2], number(&lines[2])), (parts[0]["part"].as_str().unwrap(), parts[0]["cosine"].as_f64()));
    assert_eq!((lines[12][3], number(&lines[12])), ("1", layers[1]["cosine"].as_f64()));

    // The page names the models once and then counts on them.
    let page = fs::read_to_string(folders.dir.path().join("page.html")).unwrap();
    assert_eq!((page.matches("other − pre").count(), page.matches("<th>0 (v)</th>").count()), (1, 1));
    let text = analyze(&folders, &args[..6]);
    for words in ["cosine by part", "cosine by layer", "(0) to ", "0  1  "] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

#[test]
fn the_demo_is_analysed() {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
    let folder = tempfile::tempdir().unwrap();
    let paths = ["pre", "post", "target"].map(|role| demo.join(role).to_str().unwrap().to_owned());
    let args = ["--pre", &paths[0], "--post", &paths[1], "--target", &paths[2], "--json", "--html", "demo.html"];
    let output = run(folder.path(), &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["layers"].as_array().unwrap().len(), 4);
    assert!(document["summary"][0]["text"].as_str().unwrap().contains("2.8"));
}
