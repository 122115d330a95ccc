//! A vector spread over layers, parts and tensors: what a merge writes of it, and what the analysis says it would.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;

use half::bf16;
use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{Change, measure};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::place;
use mergescope_core::merge::{MergeError, merge};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, Recipe};
use mergescope_core::scaling::{Between, Curve, Factors, Keep, Pattern, Point, Scaling, ScalingSpec};
use mergescope_core::stream::Resources;
use safetensors::SafeTensors;
use support::{Folders, Model, Size, decode, related};

const W: f64 = 0.75;

fn spec() -> ScalingSpec {
    ScalingSpec {
        curve: Curve::Lines { alpha: 0.5, beta: 1.0 },
        factors: Factors { mlp: 0.25, embed: 2.0, ..Factors::default() },
        patterns: vec![Pattern { tensors: "*.layers.0.mlp.down_proj.*".into(), factor: -1.0 }],
        keep: Keep { norm: true, ..Keep::default() },
    }
}

fn folders() -> Folders {
    let (pre, _, target) = related(Size::default(), Dtype::BF16);
    Folders::write(&pre, &pre.tuned(2, 0.01), &target)
}

fn recipe(folders: &Folders, scaling: ScalingSpec) -> Recipe {
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
    recipe.vector.w = W;
    recipe.vector.scaling = scaling;
    recipe
}

/// The coefficient that the recipe above gives, worked out by hand.
fn by_hand(name: &str, layers: u32) -> f32 {
    let place = place(name);
    let curve = place.layer.map_or(1.0, |layer| 0.5 + f64::from(layer) / f64::from(layers - 1));
    let factor = if name.contains("norm") {
        0.0
    } else if name.contains("layers.0.mlp.down_proj") {
        -1.0
    } else if name.contains("mlp") {
        0.25
    } else if name.contains("embed") {
        2.0
    } else {
        1.0
    };
    (W * (curve * factor)) as f32
}

#[test]
fn every_tensor_is_written_with_its_own_coefficient() {
    let folders = folders();
    let out = folders.dir.path().join("merged");
    let recipe = recipe(&folders, spec());
    let report = merge(&recipe, &out, &Resources::default(), &Control::new()).unwrap();
    let read = |folder: &std::path::Path| fs::read(folder.join("model.safetensors")).unwrap();
    let files = [folders.pre(), folders.post(), folders.target(), out.clone()].map(|folder| read(&folder));
    let [pre, post, target, merged] = files.each_ref().map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let layers = report.tensors.iter().filter_map(|tensor| tensor.place.layer).max().unwrap() + 1;
    assert!(layers > 1);
    for tensor in &report.tensors {
        let c = by_hand(&tensor.name, layers);
        assert_eq!(tensor.coefficient, c, "{}", tensor.name);
        let [pre, post, target, merged] = [&pre, &post, &target, &merged]
            .map(|model| decode(Dtype::BF16, model.tensor(&tensor.name).unwrap().data()));
        for (((pre, post), target), merged) in pre.iter().zip(&post).zip(&target).zip(&merged) {
            let exact = f64::from(*target) + f64::from(c) * (f64::from(*post) - f64::from(*pre));
            assert_eq!(*merged, bf16::from_f64(exact).to_f32(), "{}", tensor.name);
        }
    }
    // What was written is what the recipe beside it writes again.
    let again = Recipe::read(&out.join("mergescope.toml")).unwrap();
    assert_eq!(again.vector.scaling, spec());
    let twice = folders.dir.path().join("again");
    merge(&again, &twice, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(read(&out), read(&twice));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    let asked = report.asked().unwrap();
    let moved = || report.tensors.iter().filter(|tensor| tensor.change.vector_sq > 0.0);
    let sum: f64 = moved().map(|tensor| f64::from(tensor.coefficient) * tensor.change.vector_sq).sum();
    assert_eq!((asked.least, asked.most), (-0.375, 1.5));
    assert!((asked.mean - sum / report.total().vector_sq).abs() < 1e-12, "{asked:?}");
    // Rounding to bf16 loses a little; held against w itself it would seem to lose nearly half.
    let effective = report.total().effective_w();
    assert!((effective / asked.mean - 1.0).abs() < 0.05 && effective / W < 0.65, "{effective}, {asked:?}");
    assert!(card.contains(&format!("| w asked for, in the mean weighted by ‖v‖² | {:.4} |", asked.mean)), "{card}");
    assert!(card.contains("plus c times, with a c from -0.375 to 1.5 in each of "), "{card}");
    assert!(card.contains("LiNeS, α 0.5, β 1; mlp × 0.25, embed × 2; 1 pattern; keeps norm"), "{card}");
}

#[test]
fn the_analysis_foretells_what_is_written_at_every_coefficient() {
    let folders = folders();
    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    let analysis = measure(&triple, &alignment, &Resources::default(), &Control::new()).unwrap();
    let scaling = Scaling::new(W, &spec(), alignment.layers()).unwrap();
    let coefficient = |position: usize| {
        scaling.coefficient(analysis.tensors[position].stored_name(), analysis.tensors[position].place)
    };
    let grams = analysis.tensors.iter().enumerate().map(|(at, tensor)| (&tensor.sums.gram, coefficient(at)));
    let change = Change::of(grams);
    let mut recipe = recipe(&folders, spec());
    recipe.output.dtype = OutputDtype::F32;
    let report = merge(&recipe, &folders.dir.path().join("merged"), &Resources::default(), &Control::new()).unwrap();
    assert!((change.norm() / report.total().intended() - 1.0).abs() < 1e-12);
    // Written in f32, so hardly anything is lost to rounding.
    assert!((change.norm() / report.total().written() - 1.0).abs() < 1e-6);
}

#[test]
fn a_curve_of_ones_writes_the_bytes_of_no_curve() {
    let folders = folders();
    let write = |name: &str, scaling| {
        let out = folders.dir.path().join(name);
        merge(&recipe(&folders, scaling), &out, &Resources::default(), &Control::new()).unwrap();
        fs::read(out.join("model.safetensors")).unwrap()
    };
    let ones = Curve::Points { points: vec![Point { layer: 0, value: 1.0 }], between: Between::Smooth };
    let flat = write("flat", ScalingSpec::default());
    assert_eq!(flat, write("ones", ScalingSpec { curve: ones, ..ScalingSpec::default() }));
    let nothing = ScalingSpec { curve: Curve::Linear { first: 0.0, last: 0.0 }, ..ScalingSpec::default() };
    let factors = Factors { embed: 0.0, head: 0.0, norm: 0.0, other: 0.0, ..Factors::default() };
    let target = fs::read(folders.target().join("model.safetensors")).unwrap();
    let kept = write("nothing", ScalingSpec { factors, ..nothing });
    let tensors = |bytes: &[u8]| {
        let model = SafeTensors::deserialize(bytes).unwrap();
        let mut tensors: Vec<(String, Vec<u8>)> =
            model.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect();
        tensors.sort();
        tensors
    };
    assert_eq!(tensors(&kept), tensors(&target), "zero everywhere is the target, bit for bit");
}

#[test]
fn a_scaling_that_does_not_suit_the_model_is_refused_before_anything_is_written() {
    let folders = folders();
    let scaling = ScalingSpec { curve: Curve::Layers { values: vec![1.0] }, ..ScalingSpec::default() };
    let out = folders.dir.path().join("merged");
    let error = merge(&recipe(&folders, scaling), &out, &Resources::default(), &Control::new()).unwrap_err();
    assert!(matches!(error, MergeError::Scaling(_)), "{error:?}");
    assert!(error.to_string().contains("the curve has 1 value, and the model has"), "{error}");
    assert!(!out.exists());
}

#[test]
fn experts_in_one_tensor_follow_the_pattern_that_matches_it() {
    let name = "model.layers.0.mlp.experts.down_proj";
    let model = |seed| {
        let values = support::values(seed, 2 * 6 * 4, 0.5);
        Model::new().with_tensor(support::Tensor::of(name, Dtype::F32, &[2, 6, 4], &values))
    };
    let folders = Folders::write(&model(1), &model(2), &model(3));
    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    let analysis = measure(&triple, &alignment, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(analysis.tensors.len(), 2);
    let spec = ScalingSpec {
        patterns: vec![Pattern { tensors: "*.experts.down_proj".into(), factor: 0.5 }],
        ..ScalingSpec::default()
    };
    let scaling = Scaling::new(1.0, &spec, 1).unwrap();
    for tensor in &analysis.tensors {
        assert_eq!(tensor.stored_name(), name);
        assert_eq!(scaling.share(tensor.stored_name(), tensor.place), 0.5);
    }
}
