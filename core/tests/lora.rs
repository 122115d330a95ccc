//! What an adapter holds: factors against an independent decomposition, PEFT's names and config, what is left out, and that
//! a refused or cancelled export leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::adapter::{
    ADAPTER_REPORT_FILE, AdapterError, AdapterPart, AdapterReport, AdapterSpec, Content, Fate, Ranks, Reason, export,
    plan,
};
use mergescope_core::alignment::Triple;
use mergescope_core::checkpoint::Dtype;
use mergescope_core::error::chain;
use mergescope_core::merge::merge;
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::{OutputDtype, Recipe};
use mergescope_core::scaling::Curve;
use mergescope_core::stream::Resources;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use support::{Folders, Model, Size, Tensor, decode, related, values};

const Q: &str = "model.layers.0.self_attn.q_proj";
const UP: &str = "model.layers.1.mlp.up_proj";

/// A row-major matrix of f64.
#[derive(Clone, Debug)]
struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn of(tensor: &Tensor) -> Self {
        let (rows, cols) = (tensor.shape[0], tensor.shape[1..].iter().product());
        Self { rows, cols, values: decode(tensor.dtype, &tensor.bytes).into_iter().map(f64::from).collect() }
    }

    fn map(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        let values = self.values.iter().zip(&other.values).map(|(&a, &b)| combine(a, b)).collect();
        Self { values, ..*self }
    }

    fn transposed(&self) -> Self {
        let at = |index: usize| self.values[index % self.rows * self.cols + index / self.rows];
        Self { rows: self.cols, cols: self.rows, values: (0..self.values.len()).map(at).collect() }
    }

    fn times(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.rows);
        let mut values = vec![0.0; self.rows * other.cols];
        for (row, out) in self.values.chunks(self.cols).zip(values.chunks_mut(other.cols)) {
            for (factor, line) in row.iter().zip(other.values.chunks(other.cols)) {
                out.iter_mut().zip(line).for_each(|(out, value)| *out += factor * value);
            }
        }
        Self { rows: self.rows, cols: other.cols, values }
    }

    fn energy(&self) -> f64 {
        self.values.iter().map(|value| value * value).sum()
    }

    /// Squares of all singular values, descending, by one-sided Jacobi rotations (Hestenes 1958).
    fn squares(&self) -> Vec<f64> {
        let tall = if self.rows < self.cols { self.transposed() } else { self.clone() };
        let mut columns: Vec<Vec<f64>> = tall.transposed().values.chunks(tall.rows).map(<[f64]>::to_vec).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for _ in 0..30 {
            let mut turned = false;
            for first in 0..columns.len() {
                for second in first + 1..columns.len() {
                    let (left, right) = columns.split_at_mut(second);
                    let (a, b) = (&mut left[first], &mut right[0]);
                    let (alpha, beta, gamma) = (dot(a, a), dot(b, b), dot(a, b));
                    if gamma.abs() <= 1e-15 * (alpha * beta).sqrt() {
                        continue;
                    }
                    turned = true;
                    let zeta = (beta - alpha) / (2.0 * gamma);
                    let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                    let cosine = 1.0 / tangent.hypot(1.0);
                    for (a, b) in a.iter_mut().zip(b.iter_mut()) {
                        (*a, *b) = (cosine * (*a - tangent * *b), cosine * (*b + tangent * *a));
                    }
                }
            }
            if !turned {
                break;
            }
        }
        let mut squares: Vec<f64> = columns.iter().map(|column| dot(column, column)).collect();
        squares.sort_by(|a, b| b.total_cmp(a));
        squares
    }
}

/// An adapter as written, read by the safetensors crate.
struct Adapter {
    report: AdapterReport,
    config: Value,
    card: String,
    document: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Adapter {
    fn read(report: AdapterReport) -> Self {
        let bytes = fs::read(report.output.join("adapter_model.safetensors")).unwrap();
        assert_eq!(report.bytes_written, bytes.len() as u64);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let tensor = Tensor::raw(name, view.dtype(), view.shape(), view.data().to_vec());
            (name.to_owned(), tensor)
        });
        let tensors = tensors.collect();
        let text = |name: &str| fs::read_to_string(report.output.join(name)).unwrap();
        let json = |name: &str| serde_json::from_str(&text(name)).unwrap();
        let (config, card, document) = (json("adapter_config.json"), text("README.md"), json(ADAPTER_REPORT_FILE));
        Self { report, config, card, document, tensors }
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(&format!("base_model.model.{name}")).unwrap_or_else(|| panic!("{name} in {:?}", self.names()))
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// B · A of a module.
    fn product(&self, module: &str) -> Matrix {
        let factor = |name| Matrix::of(self.tensor(&format!("{module}.{name}")));
        factor("lora_B.weight").times(&factor("lora_A.weight"))
    }

    fn entry(&self, name: &str) -> &mergescope_core::adapter::AdapterTensor {
        self.report.tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name} is in it"))
    }

    fn reason(&self, name: &str) -> Reason {
        self.report.left_out.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name} is not")).reason
    }
}

struct Scene {
    folders: Folders,
    models: [Model; 3],
    recipe: Recipe,
}

impl Scene {
    fn new(pre: Model, post: Model, target: Model) -> Self {
        let folders = Folders::write(&pre, &post, &target);
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
        recipe.output.dtype = OutputDtype::F32;
        Self { folders, models: [pre, post, target], recipe }
    }

    /// Two layers of a model in f32.
    fn ordinary() -> Self {
        let (pre, post, target) = related(Size::default(), Dtype::F32);
        Self::new(pre, post, target)
    }

    /// The adapter with the recipe at w = 1 changed by `change`.
    fn adapter(&self, spec: &AdapterSpec, change: impl Fn(&mut Recipe)) -> Adapter {
        self.export(spec, change, &Resources::default()).expect("an adapter")
    }

    fn export(
        &self,
        spec: &AdapterSpec,
        change: impl Fn(&mut Recipe),
        resources: &Resources,
    ) -> Result<Adapter, AdapterError> {
        let mut recipe = self.recipe.clone();
        recipe.vector.w = 1.0;
        recipe.adapter = Some(spec.clone());
        change(&mut recipe);
        let parent = tempfile::tempdir_in(self.folders.dir.path()).unwrap();
        let report = export(&recipe, &parent.path().join("adapter"), resources, &Control::new())?;
        let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target).unwrap();
        let most_bytes = plan(&triple, &recipe).unwrap().most_bytes(&triple, &recipe);
        assert!(report.bytes_written <= most_bytes, "{} are more than {most_bytes}", report.bytes_written);
        Ok(Adapter::read(report))
    }

    /// v of a tensor.
    fn v(&self, name: &str) -> Matrix {
        let of = |model: &Model| Matrix::of(model.tensor(name));
        of(&self.models[1]).map(&of(&self.models[0]), |post, pre| post - pre)
    }
}

fn spec(rank: u32) -> AdapterSpec {
    AdapterSpec { rank, ..AdapterSpec::default() }
}

/// Asserts that `found` is within `tolerance` of `expected`.
#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

/// A scene whose v has this rank in every weight of the layers.
fn planted(rank: usize) -> Scene {
    let pre = Model::qwen2(Size::default(), Dtype::F32, 1);
    let mut post = pre.clone();
    for (seed, tensor) in post.tensors.iter_mut().enumerate() {
        let [rows, cols] = tensor.shape[..] else { continue };
        // Small integers over 1024 are exact beside weights that are multiples of 2⁻²⁰.
        let digits =
            |seed: usize, count| values(seed as u64, count, 2.0).into_iter().map(f32::round).collect::<Vec<_>>();
        let (left, right) = (digits(100 + seed, rows * rank), digits(200 + seed, cols * rank));
        let mut changed = decode(Dtype::F32, &tensor.bytes);
        for (at, value) in changed.iter_mut().enumerate() {
            let step: f32 = (0..rank).map(|i| left[at / cols * rank + i] * right[at % cols * rank + i]).sum();
            *value = (*value * 1_048_576.0).round() / 1_048_576.0 + step / 1024.0;
        }
        tensor.bytes = support::encode(Dtype::F32, &changed);
    }
    let mut before = pre;
    for tensor in before.tensors.iter_mut().filter(|tensor| tensor.shape.len() == 2) {
        let exact =
            decode(Dtype::F32, &tensor.bytes).into_iter().map(|value| (value * 1_048_576.0).round() / 1_048_576.0);
        tensor.bytes = support::encode(Dtype::F32, &exact.collect::<Vec<_>>());
    }
    let target = before.tuned(3, 0.05);
    Scene::new(before, post, target)
}

#[test]
fn a_vector_of_rank_three_is_reproduced() {
    let scene = planted(3);
    let adapter = scene.adapter(&spec(16), |_| {});
    assert_eq!((adapter.report.rank, adapter.report.ranks()), (3, Some((3, 3))), "as few as there are, not as asked");
    assert_eq!(adapter.report.tensors.len(), 14, "seven weights in each of two layers");
    for tensor in &adapter.report.tensors {
        let v = scene.v(&tensor.name);
        let difference = adapter.product(&tensor.module).map(&v, |product, v| product - v);
        assert!(difference.energy() <= 1e-12 * v.energy(), "{}: {}", tensor.name, difference.energy() / v.energy());
        close(tensor.kept().unwrap(), 1.0, 1e-12);
        close(tensor.energy, v.energy(), 1e-12 * v.energy());
    }
}

#[test]
fn what_is_kept_is_what_the_best_factors_keep() {
    let scene = Scene::ordinary();
    for rank in [1, 5, 32] {
        let adapter = scene.adapter(&spec(rank), |_| {});
        for tensor in &adapter.report.tensors {
            let v = scene.v(&tensor.name);
            let squares = v.squares();
            let best: f64 = squares.iter().take(rank as usize).sum::<f64>() / v.energy();
            close(tensor.kept().unwrap(), best, 1e-9);
            close(tensor.at_most().unwrap(), best, 1e-9);
            // By the definition, with factors as they are on the disk.
            let rest = adapter.product(&tensor.module).map(&v, |product, v| product - v).energy();
            close(tensor.rest, rest, 1e-12 * v.energy());
        }
    }
}

/// Orthonormal vectors, by Gram and Schmidt.
fn orthonormal(seed: u64, length: usize, count: usize) -> Vec<Vec<f64>> {
    let mut vectors: Vec<Vec<f64>> = Vec::new();
    for number in 0..count as u64 {
        let mut vector: Vec<f64> = values(seed * 1000 + number, length, 1.0).into_iter().map(f64::from).collect();
        for _ in 0..2 {
            for other in &vectors {
                let dot: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|value| *value /= norm);
        vectors.push(vector);
    }
    vectors
}

/// One linear layer of `rows` × `cols` beside what makes a model.
fn single(rows: usize, cols: usize, v: &[f32]) -> Scene {
    let name = format!("{UP}.weight");
    let model = |values: &[f32]| {
        let size = Size { layers: 2, ..Size::default() };
        let mut model =
            Model::qwen2(size, Dtype::F32, 1).with_tensor(Tensor::of(&name, Dtype::F32, &[rows, cols], values));
        model.config = None;
        model
    };
    let zero = vec![0.0; rows * cols];
    Scene::new(model(&zero), model(v), model(&zero).tuned(3, 0.01))
}

#[test]
fn a_large_matrix_is_decomposed_by_streaming_and_keeps_almost_the_best() {
    // Known singular values that fall off slowly, on orthonormal vectors.
    let (rows, cols, count) = (300, 420, 60);
    let sigma: Vec<f64> = (0..count).map(|i| 10.0 * 0.95_f64.powi(i)).collect();
    let (left, right) = (orthonormal(5, rows, sigma.len()), orthonormal(6, cols, sigma.len()));
    let mut v = vec![0.0; rows * cols];
    for ((u, sigma), r) in left.iter().zip(&sigma).zip(&right) {
        for (row, u) in v.chunks_mut(cols).zip(u) {
            row.iter_mut().zip(r).for_each(|(v, r)| *v += sigma * u * r);
        }
    }
    let scene = single(rows, cols, &v.iter().map(|&v| v as f32).collect::<Vec<_>>());
    let adapter = scene.adapter(&spec(12), |_| {});
    let tensor = adapter.entry(&format!("{UP}.weight"));
    let squares: Vec<f64> = sigma.iter().map(|sigma| sigma * sigma).collect();
    let best = squares[..12].iter().sum::<f64>() / squares.iter().sum::<f64>();
    let kept = tensor.kept().unwrap();
    assert!(kept <= best + 1e-9 && kept > best - 1e-3, "{kept} of at best {best}");
    assert!(tensor.at_most().unwrap() >= best - 1e-9, "the bound {} holds", tensor.at_most().unwrap());
    let mergescope_core::adapter::Form::Factored { singular_values, error, .. } = &tensor.form else {
        panic!("factored")
    };
    assert!(*error > 0.0, "by iteration");
    for (found, square) in singular_values.iter().zip(&squares) {
        close(*found, square.sqrt(), *error + 1e-6);
    }
    close(tensor.rest, adapter.product(UP).map(&scene.v(&tensor.name), |a, b| a - b).energy(), 1e-9 * tensor.energy);
}

#[test]
fn each_tensor_gets_the_lowest_rank_that_keeps_the_energy() {
    let scene = Scene::ordinary();
    for (share, dtype) in
        [(0.5, OutputDtype::F32), (0.9, OutputDtype::F32), (0.9, OutputDtype::Bf16), (1.0, OutputDtype::F32)]
    {
        let spec = AdapterSpec { energy: Some(share), ranks: Ranks::PerTensor, ..spec(64) };
        let adapter = scene.adapter(&spec, |recipe| recipe.output.dtype = dtype);
        for tensor in &adapter.report.tensors {
            let squares = scene.v(&tensor.name).squares();
            let energy: f64 = squares.iter().sum();
            let mut kept = 0.0;
            let fewest = squares.iter().take_while(|square| {
                let goes_on = kept < share * energy * (1.0 - 1e-12);
                kept += **square;
                goes_on
            });
            let fewest = fewest.count() as u32;
            let rank = tensor.rank().unwrap();
            if dtype == OutputDtype::F32 && share < 1.0 {
                assert_eq!(rank, fewest, "{} at {share}", tensor.name);
            }
            // Rounding to bf16 may cost another rank, so that what is promised holds for what is written.
            assert!(rank == fewest || rank == fewest + 1 || share == 1.0, "{} at {share}: {rank}", tensor.name);
            assert!(tensor.kept().unwrap() >= share - 1e-9, "{}: {:?}", tensor.name, tensor.kept());
        }
    }
    let capped = scene.adapter(&AdapterSpec { energy: Some(0.9), ..spec(4) }, |_| {});
    assert_eq!(capped.report.rank, 4, "never more than the highest");
    assert!(capped.report.tensors.iter().all(|tensor| tensor.kept().unwrap() < 0.9));
}

#[test]
fn w_and_its_spread_are_in_the_factors() {
    let scene = Scene::ordinary();
    let change = |recipe: &mut Recipe| {
        recipe.vector.w = -0.5;
        recipe.vector.scaling.curve = Curve::Linear { first: 1.0, last: 3.0 };
        recipe.vector.scaling.factors.mlp = 0.25;
    };
    let adapter = scene.adapter(&spec(48), change);
    let step = |module: &str, coefficient: f64| {
        let v = scene.v(&format!("{module}.weight"));
        let difference = adapter.product(module).map(&v, |product, v| product - coefficient * v);
        assert!(difference.energy() <= 1e-12 * v.energy(), "{module}");
        close(
            adapter.entry(&format!("{module}.weight")).energy,
            coefficient * coefficient * v.energy(),
            1e-9 * v.energy(),
        );
    };
    step(Q, -0.5);
    step(UP, -0.5 * 3.0 * 0.25);

    let alone = AdapterSpec { content: Content::Vector, ..spec(48) };
    let adapter = scene.adapter(&alone, change);
    let v = scene.v(&format!("{UP}.weight"));
    assert!(adapter.product(UP).map(&v, |a, b| a - b).energy() <= 1e-12 * v.energy(), "v alone has no w in it");
}

#[test]
fn added_to_the_target_it_is_the_merge() {
    let scene = Scene::ordinary();
    let mut recipe = scene.recipe.clone();
    recipe.vector.w = 0.7;
    let folder = scene.folders.dir.path().join("merged");
    merge(&recipe, &folder, &Resources::default(), &Control::new()).unwrap();
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let merged = SafeTensors::deserialize(&bytes).unwrap();
    let adapter =
        scene.adapter(&spec(64), |changed| *changed = Recipe { adapter: changed.adapter.take(), ..recipe.clone() });
    for tensor in &adapter.report.tensors {
        let target = Matrix::of(scene.models[2].tensor(&tensor.name));
        let sum = adapter.product(&tensor.module).map(&target, |step, target| target + step);
        let expected = decode(Dtype::F32, merged.tensor(&tensor.name).unwrap().data());
        for (sum, expected) in sum.values.iter().zip(expected) {
            close(*sum, f64::from(expected), 1e-7);
        }
    }
}

#[test]
fn names_shapes_and_config_are_those_of_peft() {
    let scene = Scene::ordinary();
    let adapter = scene.adapter(&spec(4), |_| {});
    let q = adapter.tensor(&format!("{Q}.lora_A.weight"));
    assert_eq!((q.dtype, &q.shape[..]), (Dtype::F32, &[4, 32][..]), "rank × inputs");
    assert_eq!(adapter.tensor("model.layers.0.mlp.down_proj.lora_B.weight").shape, [32, 4], "outputs × rank");
    assert_eq!(adapter.tensors.len(), 28);
    let expected = json!({
        "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": scene.recipe.target, "bias": "none",
        "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "layers_pattern": null,
        "layers_to_transform": null, "lora_alpha": 4, "lora_dropout": 0.0, "modules_to_save": null, "peft_type": "LORA",
        "r": 4, "rank_pattern": {}, "revision": null,
        "target_modules": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": false,
    });
    assert_eq!(adapter.config, expected);
    assert_eq!(adapter.report.recipe.adapter, Some(spec(4)));
    assert!(adapter.report.recipe.inputs.is_some(), "with the fingerprints of its models");
}

/// What PEFT saved for the same model and parts: `goldens/check_lora.py` says how.
#[test]
fn tensors_and_config_are_those_that_peft_saves() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let saved: Value = serde_json::from_slice(&fs::read(goldens.join("peft_adapter.json")).unwrap()).unwrap();
    let all = AdapterPart::ALL.into_iter().filter(|part| *part != AdapterPart::Other).collect();
    for (name, parts) in [("default", spec(4).parts), ("all", all)] {
        let saved = &saved[name];
        let adapter = untied().adapter(&AdapterSpec { parts, ..spec(4) }, |_| {});
        let shapes: Value = adapter.tensors.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape))).collect();
        for (name, shape) in shapes.as_object().unwrap() {
            assert_eq!(*shape, saved["tensors"][name], "{name}");
        }
        assert_eq!(adapter.tensors.len(), saved["tensors"].as_object().unwrap().len());
        let sorted = |value: &Value| {
            let mut names: Vec<String> =
                value.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        for (key, value) in adapter.config.as_object().unwrap() {
            match key.as_str() {
                // PEFT's is that of a model that was never on a disk.
                "base_model_name_or_path" => {}
                "modules_to_save" | "target_modules" => {
                    assert_eq!(sorted(value), sorted(&saved["config"][key]), "{key}");
                }
                _ => assert_eq!(*value, saved["config"][key], "{key} of {name}"),
            }
        }
    }
}

#[test]
fn ranks_that_differ_are_filled_up_or_have_patterns() {
    let scene = Scene::ordinary();
    let spec = AdapterSpec { energy: Some(0.6), ..spec(64) };
    let uniform = scene.adapter(&spec, |_| {});
    let (low, high) = uniform.report.ranks().unwrap();
    assert!(low < high, "k is smaller than q");
    assert_eq!(
        (uniform.config["r"].as_u64(), uniform.config["lora_alpha"].as_u64()),
        (Some(high.into()), Some(high.into()))
    );
    assert_eq!(uniform.config["rank_pattern"], json!({}));
    let ranks = |adapter: &Adapter, module: &str| {
        let shape = |name: &str| adapter.tensor(&format!("{module}.{name}")).shape.clone();
        (shape("lora_A.weight")[0], shape("lora_B.weight")[1])
    };
    let own = scene.adapter(&AdapterSpec { ranks: Ranks::PerTensor, ..spec }, |_| {});
    let default = own.config["r"].as_u64().unwrap();
    assert_eq!(own.config["rank_pattern"], own.config["alpha_pattern"], "every scale is 1");
    for tensor in &uniform.report.tensors {
        let rank = u64::from(tensor.rank().unwrap());
        assert_eq!(ranks(&uniform, &tensor.module), (high as usize, high as usize));
        assert_eq!(ranks(&own, &tensor.module), (rank as usize, rank as usize));
        let pattern = &own.config["rank_pattern"][&tensor.module];
        assert_eq!(pattern.as_u64().unwrap_or(default), rank, "{}", tensor.module);
        assert_eq!(uniform.product(&tensor.module).values, own.product(&tensor.module).values, "zeros change nothing");
    }
    assert!(own.report.bytes_written < uniform.report.bytes_written);
}

#[test]
fn everything_left_out_is_named_with_its_energy() {
    let scene = Scene::ordinary();
    let adapter = scene.adapter(&spec(64), |recipe| recipe.vector.scaling.keep.layers = vec![[1, 1].into()]);
    assert_eq!(adapter.reason("model.embed_tokens.weight"), Reason::Tied);
    assert_eq!(adapter.reason("model.norm.weight"), Reason::NotChosen);
    assert_eq!(adapter.reason(&format!("{Q}.bias")), Reason::NotChosen);
    assert_eq!(adapter.reason(&format!("{UP}.weight")), Reason::Kept);
    let target_modules: Vec<&str> =
        adapter.config["target_modules"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(target_modules.contains(&Q), "whole paths, since layer 1 is not in it: {target_modules:?}");

    let everything: f64 = scene.models[2]
        .tensors
        .iter()
        .filter(|tensor| !tensor.name.contains("layers.1."))
        .map(|tensor| scene.v(&tensor.name).energy())
        .sum();
    let total = adapter.report.total();
    close(total.energy, everything, 1e-9 * everything);
    let embeddings = scene.v("model.embed_tokens.weight").energy();
    let found = adapter.report.left_out.iter().find(|omitted| omitted.reason == Reason::Tied).unwrap();
    close(found.energy, embeddings, 1e-9 * embeddings);
    close(total.share().unwrap(), 1.0 - (total.rest + total.left_out) / everything, 1e-9);
    let by_layer: f64 = adapter.report.layers().iter().map(|(_, kept)| kept.energy).sum();
    let by_part: f64 = adapter.report.parts().iter().map(|(_, kept)| kept.energy).sum();
    close(by_layer, everything, 1e-9 * everything);
    close(by_part, everything, 1e-9 * everything);

    assert_eq!(adapter.document["left_out"].as_array().unwrap().len(), adapter.report.left_out.len());
    let card = &adapter.card;
    for words in
        ["library_name: peft", "## Left out", "embeddings and output head are one tensor", "--max-lora-rank 32"]
    {
        assert!(card.contains(words), "`{words}` in:\n{card}");
    }
}

fn untied() -> Scene {
    let (pre, post, target) = related(Size { tied: false, ..Size::default() }, Dtype::F32);
    Scene::new(pre, post, target)
}

#[test]
fn with_all_parts_nothing_is_left_out() {
    let scene = untied();
    let spec = AdapterSpec { parts: AdapterPart::ALL.to_vec(), ..spec(64) };
    let adapter = scene.adapter(&spec, |recipe| recipe.vector.w = 0.5);
    assert_eq!(adapter.report.left_out, []);
    close(adapter.report.total().share().unwrap(), 1.0, 1e-6);

    let merged = scene.folders.dir.path().join("merged");
    let recipe = Recipe { vector: adapter.report.recipe.vector.clone(), ..scene.recipe.clone() };
    merge(&recipe, &merged, &Resources::default(), &Control::new()).unwrap();
    let bytes = fs::read(merged.join("model.safetensors")).unwrap();
    let merged = SafeTensors::deserialize(&bytes).unwrap();
    let same = |name: &str, original: &str| {
        assert!(
            adapter.tensor(name).bytes == merged.tensor(original).unwrap().data(),
            "{name} has the bits of a merge"
        );
    };
    same("model.norm.weight", "model.norm.weight");
    same("model.layers.1.input_layernorm.weight", "model.layers.1.input_layernorm.weight");
    same("model.layers.0.self_attn.q_proj.base_layer.bias", "model.layers.0.self_attn.q_proj.bias");

    let head = scene.v("lm_head.weight");
    assert!(adapter.product("lm_head").map(&head, |product, v| product - 0.5 * v).energy() <= 1e-12 * head.energy());
    let factor = |name: &str| Matrix::of(adapter.tensor(&format!("model.embed_tokens.{name}")));
    let (a, b) = (factor("lora_embedding_A"), factor("lora_embedding_B"));
    assert_eq!(((a.rows, a.cols), (b.rows, b.cols)), ((32, 40), (32, 32)), "rank × rows, width × rank");
    let v = scene.v("model.embed_tokens.weight");
    let step = b.times(&a).transposed();
    assert!(step.map(&v, |product, v| product - 0.5 * v).energy() <= 1e-12 * v.energy());

    assert_eq!(adapter.config["bias"], "lora_only");
    let saved = adapter.config["modules_to_save"].as_array().unwrap();
    assert_eq!(saved.len(), 5, "{saved:?}");
    assert!(saved.contains(&json!("model.layers.0.input_layernorm")), "whole paths: PEFT takes what ends so");
    assert!(adapter.card.contains("For PEFT alone"), "{}", adapter.card);
}

#[test]
fn a_norm_is_copied_whole_even_where_only_its_weight_moves() {
    let name = |parameter: &str| format!("model.layers.0.input_layernorm.{parameter}");
    let bias = |values: &[f32]| Tensor::of(&name("bias"), Dtype::F32, &[32], values);
    let (pre, post, target) = related(Size { tied: false, ..Size::default() }, Dtype::F32);
    // No model but the target has the bias, so v does not move it.
    let target = target.with_tensor(bias(&[0.25; 32]));
    let scene = Scene::new(pre, post, target);
    let spec = AdapterSpec { parts: vec![AdapterPart::Mlp, AdapterPart::Norm], ..spec(2) };
    let adapter = scene.adapter(&spec, |_| {});
    assert_eq!(decode(Dtype::F32, &adapter.tensor(&name("bias")).bytes), [0.25; 32]);
    assert_eq!(adapter.config["bias"], "none");
}

#[test]
fn vocabularies_that_differ_leave_zeros_in_the_factors() {
    let size = Size { tied: false, ..Size::default() };
    let (pre, post, _) = related(size, Dtype::F32);
    let target = Model::qwen2(Size { vocab: 48, ..size }, Dtype::F32, 4);
    let scene = Scene::new(pre, post, target);
    let spec = AdapterSpec { parts: vec![AdapterPart::Head, AdapterPart::Embed], ..spec(40) };
    let adapter = scene.adapter(&spec, |_| {});
    let v = scene.v("lm_head.weight");
    let product = adapter.product("lm_head");
    assert_eq!((product.rows, product.cols), (48, 32));
    let (shared, added) = product.values.split_at(v.values.len());
    assert!(added.iter().all(|&value| value == 0.0), "rows that pre and post do not have stay the target's");
    let shared = Matrix { values: shared.to_vec(), rows: v.rows, cols: v.cols };
    assert!(shared.map(&v, |a, b| a - b).energy() <= 1e-12 * v.energy());
    assert_eq!(adapter.tensor("model.embed_tokens.lora_embedding_A").shape, [32, 48]);
}

/// Two layers as GPT-2 stores them: inputs × outputs, without the prefix of the model with a head.
fn gpt2(seed: u64) -> Model {
    let mut model = Model::new().with_config(json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 24, "n_layer": 1, "vocab_size": 40,
    }));
    let shapes: [(&str, &[usize]); 8] = [
        ("wte.weight", &[40, 24]),
        ("wpe.weight", &[16, 24]),
        ("h.0.attn.c_attn.weight", &[24, 72]),
        ("h.0.attn.c_attn.bias", &[72]),
        ("h.0.attn.c_proj.weight", &[24, 24]),
        ("h.0.mlp.c_fc.weight", &[24, 96]),
        ("h.0.mlp.c_proj.weight", &[96, 24]),
        ("ln_f.weight", &[24]),
    ];
    for (position, (name, shape)) in shapes.into_iter().enumerate() {
        let values = values(seed * 100 + position as u64, shape.iter().product(), 0.05);
        model = model.with_tensor(Tensor::of(name, Dtype::F32, shape, &values));
    }
    model
}

#[test]
fn layers_stored_as_inputs_by_outputs_are_turned() {
    let scene = Scene::new(gpt2(1), gpt2(2), gpt2(3));
    let adapter = scene.adapter(&spec(24), |_| {});
    assert_eq!(adapter.config["fan_in_fan_out"], true);
    let module = "transformer.h.0.mlp.c_fc";
    let v = scene.v("h.0.mlp.c_fc.weight");
    let product = adapter.product(module);
    assert_eq!((product.rows, product.cols), (96, 24), "outputs × inputs");
    assert!(product.transposed().map(&v, |a, b| a - b).energy() <= 1e-12 * v.energy());
    assert_eq!(adapter.reason("wte.weight"), Reason::Tied);

    // Without a config nobody knows.
    let [pre, post, target] = [1, 2, 3].map(|seed| Model { config: None, ..gpt2(seed) });
    let scene = Scene::new(pre, post, target);
    let message = chain(&scene.export(&spec(4), |_| {}, &Resources::default()).err().expect("refused"));
    assert!(message.contains("the adapter would be empty"), "{message}");
    let plan = |scene: &Scene| plan(&scene.folders.open(), &Recipe { adapter: Some(spec(4)), ..scene.recipe.clone() });
    assert!(plan(&scene).is_err());
}

/// A layer with two experts stored apart, and all experts of another projection in one tensor.
fn mixture(seed: u64) -> Model {
    let mut model = Model::qwen2(Size { layers: 1, ..Size::default() }, Dtype::F32, 1);
    let experts = [
        ("mlp.experts.0.gate_proj.weight", vec![8, 32]),
        ("mlp.experts.1.gate_proj.weight", vec![8, 32]),
        ("mlp.experts.down_proj", vec![2, 32, 8]),
        ("mlp.gate.weight", vec![2, 32]),
    ];
    for (position, (name, shape)) in experts.into_iter().enumerate() {
        // The second expert never moves.
        let seed = if name.contains("experts.1.") { 7 } else { seed * 10 + position as u64 };
        let values = values(seed, shape.iter().product(), 0.05);
        model = model.with_tensor(Tensor::of(&format!("model.layers.0.{name}"), Dtype::F32, &shape, &values));
    }
    model
}

#[test]
fn experts_stored_one_by_one_are_linear_layers_and_stacks_are_not() {
    let scene = Scene::new(mixture(1), mixture(2), mixture(3));
    let adapter = scene.adapter(&spec(4), |_| {});
    let expert = "model.layers.0.mlp.experts.0.gate_proj";
    assert_eq!(adapter.product(expert).rows, 8);
    assert_eq!(adapter.reason("model.layers.0.mlp.experts.down_proj"), Reason::Stacked);
    assert_eq!(adapter.reason("model.layers.0.mlp.gate.weight"), Reason::NotChosen, "a router");
    let still = adapter.entry("model.layers.0.mlp.experts.1.gate_proj.weight");
    assert_eq!((still.rank(), still.kept()), (Some(0), None));
    let product = adapter.product("model.layers.0.mlp.experts.1.gate_proj");
    assert!(product.values.iter().all(|&value| value == 0.0), "zeros, since programs want all experts");

    let apart = AdapterSpec { ranks: Ranks::PerTensor, ..spec(4) };
    let message = chain(&scene.export(&apart, |_| {}, &Resources::default()).err().expect("refused"));
    assert!(message.contains("choose uniform ranks"), "{message}");
}

#[test]
fn what_peft_is_known_to_pass_over_is_said() {
    let warning = |model_type: &str| {
        let [pre, post, target] = [1, 2, 3].map(|seed| mixture(seed).with_setting("model_type", json!(model_type)));
        let adapter = Scene::new(pre, post, target).adapter(&spec(4), |_| {});
        let warning = adapter.report.warning().expect("worth a word");
        assert!(adapter.card.contains(&warning) && adapter.document["warning"] == json!(warning));
        warning
    };
    // The made-up layer has a dense gate beside those of its experts.
    assert!(warning("qwen3_moe").contains("what is called as tensors of experts are, but is none (1 of 9 tensors"));
    assert!(warning("qwen2_moe").contains("what is of experts (2 of 9 tensors"));
    assert_eq!(Scene::ordinary().adapter(&spec(4), |_| {}).report.warning(), None);
}

#[test]
fn the_plan_says_before_any_weight_is_read_what_goes_in() {
    let scene = untied();
    let plan = plan(&scene.folders.open(), &scene.recipe).unwrap();
    assert_eq!(plan.factored().count(), 14);
    let fate = |name: &str| &plan.tensors.iter().find(|tensor| tensor.name == name).unwrap().fate;
    assert_eq!(*fate("lm_head.weight"), Fate::LeftOut(Reason::NotChosen));
    assert_eq!(*fate("model.norm.weight"), Fate::LeftOut(Reason::NotChosen));
}

#[test]
fn what_the_factors_lose_by_rounding_is_told() {
    let scene = Scene::ordinary();
    for (dtype, stored, lost) in [
        (OutputDtype::Bf16, Dtype::BF16, 1e-4),
        (OutputDtype::F16, Dtype::F16, 1e-5),
        (OutputDtype::Target, Dtype::F32, 1e-12),
    ] {
        let adapter = scene.adapter(&spec(64), |recipe| recipe.output.dtype = dtype);
        let tensor = adapter.entry(&format!("{Q}.weight"));
        assert_eq!((tensor.dtype, adapter.tensor(&format!("{Q}.lora_A.weight")).dtype), (stored, stored));
        let rest = adapter.product(Q).map(&scene.v(&tensor.name), |a, b| a - b).energy();
        close(tensor.rest, rest, 1e-10 * tensor.energy);
        assert!(tensor.rest / tensor.energy < lost, "{:?}: {}", dtype, tensor.rest / tensor.energy);
    }
}

#[test]
fn the_same_bytes_whatever_the_threads_units_and_memory() {
    let v = values(8, 300 * 420, 0.1);
    for scene in [Scene::ordinary(), single(300, 420, &v)] {
        let resources =
            |threads, memory_bytes, unit_bytes| Resources { threads, memory_bytes, unit_bytes, ..Resources::default() };
        let bytes = |resources: &Resources| {
            let spec = AdapterSpec { energy: Some(0.9), ..spec(24) };
            let mut recipe = scene.recipe.clone();
            recipe.adapter = Some(spec);
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("adapter");
            export(&recipe, &folder, resources, &Control::new()).unwrap();
            ["adapter_model.safetensors", "adapter_config.json", "README.md"]
                .map(|name| fs::read(folder.join(name)).unwrap())
        };
        let first = bytes(&resources(1, 256 << 20, 4 << 20));
        for (threads, memory, unit) in [(3, 256 << 20, 1 << 16), (2, 10 << 20, 4 << 20), (7, 64 << 20, 1 << 20)] {
            assert!(bytes(&resources(threads, memory, unit)) == first, "{threads} threads, {memory} bytes");
        }
    }
}

/// Every file below `folder` with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
            found.push((path, Vec::new()));
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Exports to `output`, which is refused, and gives the message; the disk must be as it was.
fn refused(scene: &Scene, output: &Path, resources: &Resources, control: &Control) -> AdapterError {
    let before = files(scene.folders.dir.path());
    let error = export(&scene.recipe, output, resources, control).expect_err("the export is refused");
    assert!(files(scene.folders.dir.path()) == before, "inputs are unchanged and nothing is left behind");
    error
}

#[test]
fn what_is_refused_leaves_the_disk_as_it_was() {
    let output = |scene: &Scene| scene.folders.dir.path().join("adapter");
    let message = |scene: &Scene, parts: &[&str]| {
        let message = chain(&refused(scene, &output(scene), &Resources::default(), &Control::new()));
        for part in parts {
            assert!(message.contains(part), "`{part}` in: {message}");
        }
    };
    let mut scene = Scene::ordinary();
    fs::create_dir(output(&scene)).unwrap();
    message(&scene, &["adapter already exists", "nothing is ever overwritten"]);
    fs::remove_dir(output(&scene)).unwrap();
    let inside = refused(&scene, &scene.folders.target().join("adapter"), &Resources::default(), &Control::new());
    assert!(chain(&inside).contains("lies inside target"), "{inside}");

    scene.recipe.adapter = Some(spec(0));
    message(&scene, &["the rank is 0", "from 1 to 4096"]);
    scene.recipe.adapter = Some(AdapterSpec { parts: vec![AdapterPart::Other], ..spec(4) });
    message(&scene, &["would be empty", "of other", "choose other parts"]);
    scene.recipe.adapter = None;
    scene.recipe.vector.w = 0.0;
    message(&scene, &["would be empty"]);
    scene.recipe.vector.w = f64::NAN;
    message(&scene, &["w is NaN"]);

    let [pre, _, target] = Scene::ordinary().models;
    message(&Scene::new(pre.clone(), pre, target), &["would be empty"]);

    let [pre, post, target] = Scene::ordinary().models;
    message(&Scene::new(pre, post.without_tensor(&format!("{Q}.weight")), target), &["do not fit together"]);

    let [pre, mut post, target] = Scene::ordinary().models;
    let tensor = post.tensor_mut(&format!("{UP}.weight"));
    tensor.bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut scene = Scene::new(pre, post, target);
    message(&scene, &[UP, "of post", "holds NaN or infinity"]);
    scene.recipe.output.allow_nonfinite = true;
    let adapter = scene.adapter(&spec(4), |_| {});
    assert_eq!(adapter.entry(&format!("{UP}.weight")).nonfinite, 1, "taken as 0, and told");

    let huge = values(3, 600 * 5000, 1.0);
    let mut scene = single(600, 5000, &huge);
    scene.recipe.adapter = Some(spec(64));
    let small = Resources { memory_bytes: 4 << 20, threads: 1, ..Resources::default() };
    let error = refused(&scene, &output(&scene), &small, &Control::new());
    assert!(chain(&error).contains("give more, or choose a lower rank"), "{error}");
}

#[test]
fn factors_that_f16_cannot_hold_are_refused() {
    let mut scene = single(8, 8, &[1e9; 64]);
    scene.recipe.output.dtype = OutputDtype::F16;
    scene.recipe.vector.w = 1e3;
    let error = refused(&scene, &scene.folders.dir.path().join("adapter"), &Resources::default(), &Control::new());
    assert!(chain(&error).contains("f16 cannot hold its factors; choose bf16 or f32"), "{error}");
}

#[test]
fn cancelling_at_any_stage_leaves_nothing() {
    let scene = Scene::ordinary();
    for stage in [Stage::Checking, Stage::Decomposing, Stage::Syncing] {
        let cell = std::sync::Arc::new(std::sync::OnceLock::<Control>::new());
        let control = Control::with_observer({
            let cell = cell.clone();
            move |progress| {
                if let (true, Some(control)) = (progress.stage == stage, cell.get()) {
                    control.cancel();
                }
            }
        });
        cell.set(control.clone()).ok().unwrap();
        let before = files(scene.folders.dir.path());
        let result = export(&scene.recipe, &scene.folders.dir.path().join("adapter"), &Resources::default(), &control);
        // Small files may be synced before anybody looks.
        match result {
            Err(error) => {
                assert!(error.is_cancelled(), "{error}");
                assert!(files(scene.folders.dir.path()) == before, "nothing is left behind at {stage:?}");
            }
            Ok(_) => {
                assert_eq!(stage, Stage::Syncing);
                fs::remove_dir_all(scene.folders.dir.path().join("adapter")).unwrap();
            }
        }
    }
}

#[test]
fn a_recipe_says_what_an_adapter_holds_and_makes_it_again() {
    let scene = Scene::ordinary();
    let spec = AdapterSpec { energy: Some(0.8), parts: vec![AdapterPart::Mlp], ..spec(9) };
    let adapter = scene.adapter(&spec, |recipe| recipe.vector.w = 0.3);
    let file = scene.folders.dir.path().join("recipe.toml");
    fs::write(&file, adapter.report.recipe.to_toml()).unwrap();
    let recipe = Recipe::read(&file).unwrap();
    assert_eq!(recipe, adapter.report.recipe);
    let again = scene.folders.dir.path().join("again");
    let report = export(&recipe, &again, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(report.tensors, adapter.report.tensors);
    let text = adapter.report.recipe.to_toml();
    let unknown = text.replace("[adapter]", "[adapter]\nranks_of = 3");
    assert!(Recipe::from_toml(&unknown, &file).is_err(), "nothing unknown is passed over");
}
