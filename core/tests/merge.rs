//! What a merge writes: exact numbers, the same bytes whatever the resources, and a folder that loads everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;

use half::{bf16, f16};
use mergescope_core::alignment::Models;
use mergescope_core::checkpoint::{Dtype, ReadPath};
use mergescope_core::merge::{MergeError, MergeReport, REPORT_FILE, merge, plan};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, Recipe, Rounding};
use mergescope_core::stream::Resources;
use serde_json::{Value, json};
use support::{Folders, Model, Size, Tensor, Written, decode, e4m3, e5m2, read_model, related, values};

/// Merges at `w` with the recipe changed by `change`; gives the report and what the safetensors crate reads.
fn merged(folders: &Folders, w: f64, change: impl Fn(&mut Recipe)) -> (MergeReport, Written) {
    let recipe = recipe(folders, w, change);
    run(folders, &recipe, &Resources::default()).unwrap()
}

fn recipe(folders: &Folders, w: f64, change: impl Fn(&mut Recipe)) -> Recipe {
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
    recipe.vector.w = w;
    change(&mut recipe);
    recipe
}

fn run(folders: &Folders, recipe: &Recipe, resources: &Resources) -> Result<(MergeReport, Written), MergeError> {
    let output = tempfile::tempdir_in(folders.dir.path()).unwrap().path().join("merged");
    fs::create_dir_all(output.parent().unwrap()).unwrap();
    let report = merge(recipe, &output, resources, &Control::new())?;
    let written = read_model(&output);
    Ok((report, written))
}

fn exact(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&raw| f64::from_le_bytes(raw)).collect(),
        _ => decode(dtype, bytes).into_iter().map(f64::from).collect(),
    }
}

/// Distance to the neighbouring element of that type, on the side away from zero.
fn ulp(dtype: Dtype, value: f64) -> f64 {
    let magnitude = value.abs();
    let next = match dtype {
        Dtype::F64 => magnitude.next_up(),
        Dtype::F32 => f64::from((magnitude as f32).next_up()),
        Dtype::BF16 => bf16::from_bits(bf16::from_f64(magnitude).to_bits() + 1).to_f64(),
        Dtype::F16 => f16::from_bits(f16::from_f64(magnitude).to_bits() + 1).to_f64(),
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => {
            let of = if dtype == Dtype::F8_E4M3 { e4m3 } else { e5m2 };
            let code = (0..0x7e_u8).find(|&code| f64::from(of(code)) == magnitude).unwrap();
            f64::from(of(code + 1))
        }
        other => panic!("{other} is no float under test"),
    };
    next - magnitude
}

const FLOATS: [Dtype; 6] = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8_E4M3, Dtype::F8_E5M2];

/// Three one-tensor models whose tensor spans several leaves, each in its own dtype.
fn single(dtypes: [Dtype; 3], shape: &[usize], scale: f32) -> Folders {
    let count = shape.iter().product();
    let base = values(1, count, scale);
    let moved = |seed: u64, by: f32| -> Vec<f32> {
        base.iter().zip(values(seed, count, scale * by)).map(|(base, noise)| base + noise).collect()
    };
    let model = |dtype, values: &[f32]| Model::new().with_tensor(Tensor::of("model.norm.weight", dtype, shape, values));
    let [pre, post, target] = dtypes;
    Folders::write(&model(pre, &base), &model(post, &moved(2, 0.1)), &model(target, &moved(3, 0.1)))
}

#[test]
fn every_dtype_is_within_half_an_ulp_of_the_sum_in_f64() {
    let mixed = [[Dtype::BF16, Dtype::F32, Dtype::F16], [Dtype::F64, Dtype::F8_E5M2, Dtype::BF16]];
    for dtypes in FLOATS.map(|dtype| [dtype; 3]).into_iter().chain(mixed) {
        let folders = single(dtypes, &[130, 151], 0.5);
        let open = folders.open();
        let read = |model: &mergescope_core::checkpoint::Checkpoint| {
            let tensor = &model.tensors()[0];
            let mut bytes = vec![0; tensor.bytes as usize];
            model.read(tensor, 0, &mut bytes).unwrap();
            exact(tensor.dtype, &bytes)
        };
        let (pre, post, target) = (read(&open.pre), read(&open.post), read(&open.target));
        for w in [0.3, 1.0, -0.5] {
            let (_, written) = merged(&folders, w, |_| {});
            let (dtype, _, bytes) = &written["model.norm.weight"];
            assert_eq!(*dtype, dtypes[2], "the target's dtype is kept");
            for (i, value) in exact(*dtype, bytes).into_iter().enumerate() {
                let sum = target[i] + f64::from(w as f32) * (post[i] - pre[i]);
                let error = (value - sum).abs();
                assert!(error <= ulp(*dtype, value) / 2.0, "{dtypes:?} w={w}: {value} for {sum}");
            }
        }
    }
}

#[test]
fn w_zero_gives_the_target_back_bit_for_bit() {
    for dtype in FLOATS {
        let (pre, post, mut target) = related(Size::default(), dtype);
        // A negative zero is lost by any addition that is really made.
        target.tensor_mut("model.norm.weight").bytes[..dtype.bitsize() / 8].fill(0);
        target.tensor_mut("model.norm.weight").bytes[dtype.bitsize() / 8 - 1] = 0x80;
        let folders = Folders::write(&pre, &post, &target);
        for rounding in [Rounding::Nearest, Rounding::Stochastic] {
            let (report, written) = merged(&folders, 0.0, |recipe| recipe.output.rounding = rounding);
            assert_eq!(written, read_model(&folders.target()), "{dtype} {rounding:?}");
            assert_eq!(report.total().written(), 0.0);
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads_units_memory_or_input_shards() {
    let size = Size { hidden: 128, ffn: 320, vocab: 600, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let whole = Folders::write(&pre, &post, &target);
    let sharded = Folders::write(&pre.with_shards(5), &post.with_shards(2), &target.with_shards(7));
    for rounding in Rounding::ALL {
        let mut seen: Option<(Written, Vec<_>)> = None;
        for folders in [&whole, &sharded] {
            for (threads, unit_bytes, memory_bytes) in [
                (1, 64 << 10, 1 << 30),
                (4, 64 << 10, 1 << 30),
                (1, 8 << 20, 1 << 30),
                (4, 8 << 20, 1 << 30),
                (3, 8 << 20, 1),
            ] {
                let recipe = recipe(folders, 0.3, |recipe| recipe.output.rounding = rounding);
                let resources = Resources { threads, memory_bytes, unit_bytes, ..Resources::default() };
                let (report, written) = run(folders, &recipe, &resources).unwrap();
                let reports: Vec<_> = report.tensors.into_iter().map(|tensor| (tensor.name, tensor.change)).collect();
                let (bytes, sums) = seen.get_or_insert_with(|| (written.clone(), reports.clone()));
                assert!(*bytes == written, "{rounding:?}, {threads} threads, units of {unit_bytes}");
                assert_eq!(*sums, reports, "the report is as reproducible as the weights");
            }
        }
    }
}

#[test]
fn mapped_reads_give_the_same_bytes() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let recipe = recipe(&folders, 0.5, |_| {});
    let mapped = Resources { read_path: ReadPath::Mapped, ..Resources::default() };
    assert_eq!(run(&folders, &recipe, &mapped).unwrap().1, run(&folders, &recipe, &Resources::default()).unwrap().1);
}

#[test]
fn output_shards_hold_the_same_tensors_as_one_file() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let (_, whole) = merged(&folders, 0.5, |_| {});
    let recipe = recipe(&folders, 0.5, |recipe| recipe.output.shard_bytes = 4096);
    let output = folders.dir.path().join("sharded");
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    assert!(
        output.join("model-00001-of-00010.safetensors").exists()
            || output.join("model.safetensors.index.json").exists()
    );
    assert_eq!(read_model(&output), whole);
    let index: Value = serde_json::from_slice(&fs::read(output.join("model.safetensors.index.json")).unwrap()).unwrap();
    let total: usize = whole.values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
}

#[test]
fn scalars_empty_and_one_element_tensors_and_integers_are_handled() {
    let model = |value: f32, count: f32| {
        Model::new()
            .with_tensor(Tensor::of("scalar", Dtype::F32, &[], &[value]))
            .with_tensor(Tensor::of("one", Dtype::F16, &[1], &[value]))
            .with_tensor(Tensor::of("empty", Dtype::BF16, &[0, 4], &[]))
            .with_tensor(Tensor::of("steps", Dtype::I64, &[2], &[count, count]))
            .with_tensor(Tensor::of("mask", Dtype::BOOL, &[3], &[count, 0.0, 1.0]))
    };
    let folders = Folders::write(&model(1.0, 1.0), &model(3.0, 2.0), &model(10.0, 7.0));
    let (report, written) = merged(&folders, 0.5, |_| {});
    assert_eq!(decode(Dtype::F32, &written["scalar"].2), [11.0]);
    assert_eq!(written["scalar"].1, Vec::<usize>::new());
    assert_eq!(decode(Dtype::F16, &written["one"].2), [11.0]);
    assert_eq!(written["empty"], (Dtype::BF16, vec![0, 4], vec![]));
    assert_eq!(decode(Dtype::I64, &written["steps"].2), [7.0, 7.0], "integers are the target's");
    assert_eq!(decode(Dtype::BOOL, &written["mask"].2), [1.0, 0.0, 1.0]);
    assert_eq!(report.tensors.len(), 5);
}

#[test]
fn another_output_dtype_converts_floats_and_says_so_in_the_config() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let target = target.with_tensor(Tensor::of("steps", Dtype::I64, &[1], &[5.0]));
    let folders = Folders::write(&pre, &post, &target);
    let recipe = recipe(&folders, 0.5, |recipe| recipe.output.dtype = OutputDtype::F32);
    let output = folders.dir.path().join("merged");
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    let written = read_model(&output);
    assert!(written.iter().all(|(name, (dtype, ..))| (*dtype == Dtype::F32) != (name == "steps")));
    let config: Value = serde_json::from_slice(&fs::read(output.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "float32");
    assert_eq!(config["hidden_size"], 32, "the rest of the config is the target's");
}

#[test]
fn extra_vocabulary_rows_are_the_targets() {
    let size = |vocab| Size { vocab, ..Size::default() };
    let (pre, post, _) = related(size(40), Dtype::BF16);
    let target = Model::qwen2(size(48), Dtype::BF16, 9);
    let folders = Folders::write(&pre, &post, &target);
    let (_, written) = merged(&folders, 1.0, |_| {});
    let name = "model.embed_tokens.weight";
    let [pre, post, target] = [&pre, &post, &target].map(|model| decode(Dtype::BF16, &model.tensor(name).bytes));
    let merged = decode(Dtype::BF16, &written[name].2);
    let moved: Vec<f32> = (0..40 * 32)
        .map(|i| bf16::from_f64(f64::from(target[i]) + f64::from(post[i]) - f64::from(pre[i])).to_f32())
        .collect();
    assert_eq!(merged[..40 * 32], moved);
    assert_eq!(merged[40 * 32..], target[40 * 32..]);
}

#[test]
fn everything_but_the_weights_comes_from_the_target() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let target = target
        .with_file("tokenizer.json", "{\"the\": \"target's\"}")
        .with_file("chat_template.jinja", "{{ messages }}")
        .with_file("README.md", "# old card")
        .with_file("mergekit_config.yml", "old: true")
        .with_file("pytorch_model.bin", "old weights")
        .with_file(".gitattributes", "*");
    let pre = pre.with_file("tokenizer.json", "{}").with_file("only_in_pre.json", "{}");
    let folders = Folders::write(&pre, &post, &target);
    for folder in ["additional_chat_templates", "original"] {
        fs::create_dir(folders.target().join(folder)).unwrap();
        fs::write(folders.target().join(folder).join("file.jinja"), "{{ tools }}").unwrap();
    }
    let recipe = recipe(&folders, 0.5, |_| {});
    let output = folders.dir.path().join("merged");
    let report = merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(report.left_out, ["original"], "what stays behind is told");
    assert!(output.join("additional_chat_templates").join("file.jinja").exists());

    let mut names: Vec<String> =
        fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = [
        "README.md",
        "additional_chat_templates",
        "chat_template.jinja",
        "config.json",
        "mergescope-report.json",
        "mergescope.toml",
        "model.safetensors",
        "tokenizer.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(fs::read_to_string(output.join("tokenizer.json")).unwrap(), "{\"the\": \"target's\"}");
    let card = fs::read_to_string(output.join("README.md")).unwrap();
    assert!(card.starts_with("---\nbase_model:\n  - \"target\"\n"), "{card}");
    assert!(card.contains("library_name: transformers") && card.contains("| Scaling coefficient w | 0.5 |"));

    let stored: MergeReport = serde_json::from_slice(&fs::read(output.join(REPORT_FILE)).unwrap()).unwrap();
    assert_eq!(stored.tensors, report.tensors);
}

#[test]
fn the_written_recipe_makes_the_same_weights_again_and_refuses_other_inputs() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let first = folders.dir.path().join("first");
    let recipe = recipe(&folders, -0.75, |recipe| {
        recipe.output.rounding = Rounding::Stochastic;
        recipe.output.seed = 11;
    });
    merge(&recipe, &first, &Resources::default(), &Control::new()).unwrap();

    let again = Recipe::read(&first.join("mergescope.toml")).unwrap();
    assert_eq!(Recipe { inputs: None, ..again.clone() }, recipe);
    let second = folders.dir.path().join("second");
    merge(&again, &second, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(read_model(&first), read_model(&second));
    for file in ["README.md", "mergescope.toml", "config.json"] {
        assert_eq!(fs::read(first.join(file)).unwrap(), fs::read(second.join(file)).unwrap());
    }

    pre.tuned(77, 0.1).write(&folders.post());
    let error = merge(&again, &folders.dir.path().join("third"), &Resources::default(), &Control::new());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("post is not the model that this recipe was made with"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_recipe_holds_from_any_folder() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let mut recipe = recipe(&folders, 0.5, |_| {});
    let here = std::env::current_dir().unwrap();
    let up: std::path::PathBuf = here.components().skip(1).map(|_| "..").collect();
    recipe.vector.pre = up.join(folders.pre().strip_prefix("/").unwrap()).to_str().unwrap().to_owned();
    let output = folders.dir.path().join("merged");
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    let written = Recipe::read(&output.join("mergescope.toml")).unwrap();
    assert!(std::path::Path::new(&written.vector.pre).is_absolute(), "{}", written.vector.pre);
}

#[test]
fn a_recipe_of_another_version_or_with_a_typo_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    let text = Recipe::new("a", "b", "c").to_toml();
    for (from, to, words) in [
        ("version = 1", "version = 2", "update Mergescope"),
        ("rounding", "roundng", "`roundng` is no known key; did you mean `rounding`?"),
        ("w = 0.5", "w = \"half\"", "`w` is a number, such as 0.5, and here is the text \"half\""),
        ("[vector]", "[vector", "is not valid: line "),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let message = mergescope_core::error::chain(&Recipe::read(&path).unwrap_err());
        assert!(message.contains(words), "{message}");
    }
    assert!(Recipe::read(folder.path()).is_err(), "a folder is no recipe");
}

#[test]
fn the_report_agrees_with_the_bytes_written() {
    let size = Size { hidden: 64, ffn: 200, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let w = 0.1;
    let (report, written) = merged(&folders, w, |_| {});
    for tensor in &report.tensors {
        let [a, b, t] = [&pre, &post, &target].map(|model| decode(Dtype::BF16, &model.tensor(&tensor.name).bytes));
        let out = decode(Dtype::BF16, &written[&tensor.name].2);
        let (mut v_sq, mut v_change, mut change_sq, mut updates, mut lost) = (0.0, 0.0, 0.0, 0, 0);
        for i in 0..a.len() {
            let v = f64::from(b[i]) - f64::from(a[i]);
            let change = f64::from(out[i]) - f64::from(t[i]);
            v_sq += v * v;
            v_change += v * change;
            change_sq += change * change;
            updates += u64::from(v != 0.0);
            lost += u64::from(v != 0.0 && change == 0.0);
        }
        let change = &tensor.change;
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs() + 1e-15;
        assert!(close(change.intended(), f64::from(w as f32) * f64::sqrt(v_sq)), "{}", tensor.name);
        assert!(close(change.written(), f64::sqrt(change_sq)));
        assert!(close(change.effective_w(), v_change / v_sq));
        assert!(close(change.cosine(), v_change / (v_sq * change_sq).sqrt()));
        assert_eq!((change.updates, change.lost), (updates, lost));
    }
    let layers = report.layers();
    assert_eq!(layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), [Some(0), Some(1), None]);
    let sum: f64 = layers.iter().map(|layer| layer.change.vector_sq).sum();
    assert!((sum - report.total().vector_sq).abs() < 1e-9);
    assert!(report.total().lost_share() > 0.05, "bf16 loses some of so small a step");
}

#[test]
fn stochastic_rounding_keeps_what_nearest_rounding_loses() {
    // A delta far under the bf16 step of its weight: lost by nearest, kept on average by chance.
    let count = 200_000;
    let model = |value: f64| {
        let values = vec![value as f32; count];
        Model::new().with_tensor(Tensor::of("a.weight", Dtype::F32, &[count], &values))
    };
    let folders = Folders::write(&model(1.0), &model(1.001), &model(1.0));
    let at = |rounding| {
        let (report, written) = merged(&folders, 1.0, |recipe| {
            recipe.output.dtype = OutputDtype::Bf16;
            recipe.output.rounding = rounding;
            recipe.output.seed = 3;
        });
        (report.total().effective_w(), written)
    };
    let (nearest, _) = at(Rounding::Nearest);
    let (stochastic, first) = at(Rounding::Stochastic);
    assert_eq!(nearest, 0.0);
    // Kept share 0.128 of a step of 1/128: the standard error of effective w is 0.006.
    assert!((stochastic - 1.0).abs() < 0.03, "{stochastic}");
    assert_eq!(first, at(Rounding::Stochastic).1, "the seed decides");
}

#[test]
fn a_tied_model_gives_its_embeddings_in_place_of_a_head() {
    let tied = Size::default();
    let untied = Size { tied: false, ..tied };
    let (pre, post, _) = related(tied, Dtype::BF16);
    let target = Model::qwen2(untied, Dtype::BF16, 5);
    let folders = Folders::write(&pre, &post, &target);
    let (report, written) = merged(&folders, 1.0, |_| {});
    assert!(written.contains_key("lm_head.weight"));
    let head = report.tensors.iter().find(|tensor| tensor.name == "lm_head.weight").unwrap();
    let embed = report.tensors.iter().find(|tensor| tensor.name == "model.embed_tokens.weight").unwrap();
    assert!((head.change.vector_sq - embed.change.vector_sq).abs() < 1e-12 && head.change.vector_sq > 0.0);
}

#[test]
fn a_lone_weight_file_merges_too() {
    let (pre, post, target) = related(Size::default(), Dtype::F32);
    let folders = Folders::write(&pre, &post, &target);
    let lone = folders.dir.path().join("lone.safetensors");
    fs::copy(folders.target().join("model.safetensors"), &lone).unwrap();
    let (_, expected) = merged(&folders, 0.5, |_| {});
    let mut recipe = recipe(&folders, 0.5, |_| {});
    recipe.target = lone.to_str().unwrap().to_owned();
    let output = folders.dir.path().join("merged");
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(read_model(&output), expected);
    assert!(!output.join("config.json").exists());
}

#[test]
fn a_plan_knows_every_byte_before_anything_is_read() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let recipe = recipe(&folders, 0.5, |_| {});
    let plan = plan(&Models::from(&folders.open()), &recipe).unwrap();
    let output = folders.dir.path().join("merged");
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(plan.bytes(), fs::metadata(output.join("model.safetensors")).unwrap().len());
    assert_eq!(json!(plan.tensors.len()), json!(target.tensors.len()));
}
