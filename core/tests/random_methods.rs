//! DARE and DELLA: random but seeded, and equal in distribution to what mergekit 0.1.5 draws.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use std::fs;
use std::path::Path;

use combining::{Bench, NORM, SHAPES, UP, method, numbers, smooth};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::recipe::{Method, MethodSpec, Rounding};
use serde_json::Value;
use support::{Model, Tensor};

const ROWS: usize = 256;
const COLUMNS: usize = 101;

fn size(i: usize) -> f64 {
    (1 + 37 * i % 101) as f64 / 128.0
}

/// The delta of `goldens/methods/random.json` over a base of zeros.
fn drawn_from() -> Bench {
    let tensor = |values: &[f32]| Model::new().with_tensor(Tensor::of(UP, Dtype::F32, &[ROWS, COLUMNS], values));
    let v: Vec<f32> = (0..ROWS * COLUMNS).map(|i| (if i % 2 == 0 { size(i) } else { -size(i) }) as f32).collect();
    let zeros = vec![0.0; v.len()];
    Bench::new([("base", tensor(&zeros)), ("one", tensor(&v)), ("target", tensor(&zeros))])
}

fn drawn(bench: &Bench, spec: MethodSpec, rounding: Rounding) -> Vec<f64> {
    let mut recipe = bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]);
    recipe.output.rounding = rounding;
    let (_, written) = bench.merge(&recipe);
    numbers(Dtype::F32, &written[UP].2)
}

#[test]
fn kept_shares_and_scales_are_distributed_as_mergekits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/methods/random.json");
    let goldens: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let seeds = goldens["seeds"].as_u64().unwrap();
    let count = (ROWS * COLUMNS) as f64;
    let bench = drawn_from();
    for case in goldens["cases"].as_array().unwrap().iter().filter(|case| case["dtype"] == "float32") {
        let name: Method = serde_json::from_value(case["method"].clone()).unwrap();
        let density = case["density"].as_f64().unwrap();
        let epsilon = case["epsilon"].as_f64();
        let mean = |key: &str| {
            let values: Vec<f64> = case[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let (mut kept, mut scale, mut by_rank) = (0.0, 0.0, vec![0.0; COLUMNS]);
        for seed in 0..seeds {
            let spec = method(name, |method| {
                (method.density, method.epsilon, method.seed) = (Some(density), epsilon, seed);
                method.rescale = case["rescale"].as_bool();
            });
            let out = drawn(&bench, spec, Rounding::Nearest);
            let alive = out.iter().filter(|value| **value != 0.0).count() as f64;
            let scales: Vec<f64> = out
                .iter()
                .enumerate()
                .filter(|(_, value)| **value != 0.0)
                .map(|(i, value)| value.abs() / size(i))
                .collect();
            let mean_scale = scales.iter().sum::<f64>() / alive;
            assert!(scales.iter().all(|scale| (scale / mean_scale - 1.0).abs() < 1e-6), "one scale for all");
            if case["rescale"] == true {
                let total = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
                let (before, after) =
                    (total(&mut (0..out.len()).map(size)), total(&mut out.iter().map(|value| value.abs())));
                assert!((after / before - 1.0).abs() < 1e-6, "the sum of magnitudes is restored");
            }
            kept += alive / count / seeds as f64;
            scale += mean_scale / seeds as f64;
            for (i, value) in out.iter().enumerate() {
                // Each row has each of the 101 sizes once, so that the size tells the rank.
                by_rank[37 * i % 101] += f64::from(*value != 0.0) / (ROWS as f64 * seeds as f64);
            }
        }
        // Both are means over ten seeds: five standard errors of their difference.
        let error = 5.0 * f64::sqrt(2.0 * density * (1.0 - density) / (count * seeds as f64));
        assert!((kept - density).abs() < error && (kept - mean("kept")).abs() < error, "{case}: {kept}");
        assert!((scale / mean("factor") - 1.0).abs() < 2.0 * error / density, "{scale} for {}", mean("factor"));
        for (rank, found) in by_rank.iter().enumerate() {
            let spread =
                if matches!(name, Method::Della | Method::DellaLinear) { epsilon.unwrap_or(0.15) } else { 0.0 };
            let expected = density - spread + 2.0 * spread * rank as f64 / (COLUMNS - 1) as f64;
            let error = 5.5 * f64::sqrt(expected * (1.0 - expected) / (ROWS as f64 * seeds as f64));
            assert!((found - expected).abs() < error, "{case}: rank {rank} has {found}, not {expected}");
            if let Some(golden) = case["kept_by_rank"].get(rank).and_then(Value::as_f64) {
                assert!((found - golden).abs() < 1.5 * error, "{case}: rank {rank} has {found}, not {golden}");
            }
        }
    }
}

#[test]
fn the_seed_decides_what_is_kept() {
    let bench = drawn_from();
    for name in [Method::DareLinear, Method::DareTies, Method::Della, Method::DellaLinear] {
        let at = |seed| {
            let spec = method(name, |method| (method.density, method.seed) = (Some(0.5), seed));
            drawn(&bench, spec, Rounding::Nearest)
        };
        assert_eq!(at(1), at(1), "{name}");
        let (one, two) = (at(1), at(2));
        let both = one.iter().zip(&two).filter(|(a, b)| **a != 0.0 && **b != 0.0).count() as f64;
        let count = (ROWS * COLUMNS) as f64;
        // DELLA's probabilities differ by rank, which makes common survivors a little more frequent: E p² = 1∕4 + ε²∕3.
        assert!((both / count - 0.25).abs() < 0.0235, "{name}: {both}");
    }
}

#[test]
fn masks_of_two_vectors_and_of_two_tensors_are_independent() {
    // Vector one moves by 1, vector two by 2: the sum tells who was kept.
    let model = |value: f32| {
        [UP, "model.layers.1.mlp.up_proj.weight"].into_iter().fold(Model::new(), |model, name| {
            model.with_tensor(Tensor::of(name, Dtype::F32, &[100, 200], &[value; 20_000]))
        })
    };
    let bench = Bench::new([("base", model(0.0)), ("one", model(1.0)), ("two", model(2.0)), ("target", model(0.0))]);
    for name in [Method::DareLinear, Method::DellaLinear] {
        let spec = method(name, |method| (method.density, method.rescale) = (Some(0.5), Some(false)));
        let vectors = vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
        let (_, written) = bench.merge(&bench.recipe(spec, vectors));
        let [first, second] =
            [UP, "model.layers.1.mlp.up_proj.weight"].map(|name| numbers(Dtype::F32, &written[name].2));
        let share = |pairs: &mut dyn Iterator<Item = bool>| pairs.filter(|both| *both).count() as f64 / 20_000.0;
        // Five standard errors of a quarter, and DELLA's common ranks.
        let allowed = 0.0153 + if name == Method::DellaLinear { 0.0075 } else { 0.0 };
        let of_vectors = share(&mut first.iter().map(|sum| *sum == 3.0));
        assert!((of_vectors - 0.25).abs() < allowed, "{name}: {of_vectors}");
        let of_tensors = share(&mut first.iter().zip(&second).map(|(a, b)| a % 2.0 == 1.0 && b % 2.0 == 1.0));
        assert!((of_tensors - 0.25).abs() < allowed, "{name}: {of_tensors}");
    }
}

#[test]
fn a_density_of_one_keeps_everything_and_of_zero_nothing() {
    let bench = Bench::of_dtypes(&[Dtype::BF16], smooth);
    let plain = bench.merge(&bench.recipe(MethodSpec::default(), vec![bench.vector("base", "one", 0.5)])).1;
    for name in [Method::DareLinear, Method::DellaLinear] {
        let at = |density| {
            let spec = method(name, |method| method.density = Some(density));
            bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 0.5)])).1
        };
        assert_eq!(at(1.0), plain, "{name}");
        assert_eq!(at(0.0), support::read_model(&bench.dir.path().join("target")), "{name}");
    }
}

#[test]
fn small_vectors_are_rescaled_too() {
    // Σ|kept| far below 1e-7.
    let model = |value: f32| Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[4], &[value; 4]));
    let bench = Bench::new([("base", model(0.0)), ("one", model(1e-12)), ("target", model(0.0))]);
    let spec = method(Method::Trim, |method| (method.density, method.rescale) = (Some(0.5), Some(true)));
    let (_, written) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
    assert_eq!(support::decode(Dtype::F32, &written[NORM].2), [2e-12, 2e-12, 0.0, 0.0]);
}

#[test]
fn della_in_a_column_or_a_single_element_keeps_with_the_density_itself() {
    let model = |value: f32| {
        [
            ("model.layers.0.mlp.up_proj.weight", vec![20_000, 1]),
            (NORM, vec![]),
            ("model.layers.0.input_layernorm.weight", vec![1]),
        ]
        .into_iter()
        .fold(Model::new(), |model, (name, shape)| {
            let count = shape.iter().product();
            model.with_tensor(Tensor::of(name, Dtype::F32, &shape, &vec![value; count]))
        })
    };
    let bench = Bench::new([("base", model(0.0)), ("one", model(1.0)), ("target", model(0.0))]);
    let spec = method(Method::Della, |method| (method.density, method.rescale) = (Some(0.3), Some(false)));
    let (_, written) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
    let kept = numbers(Dtype::F32, &written[UP].2).iter().sum::<f64>() / 20_000.0;
    assert!((kept - 0.3).abs() < 0.0163, "{kept}");
}

#[test]
fn every_tensor_of_real_proportions_keeps_its_share() {
    let bench = Bench::of_dtypes(&[Dtype::BF16], smooth);
    for name in [Method::DareLinear, Method::DellaLinear] {
        let spec = method(name, |method| (method.density, method.rescale) = (Some(0.4), Some(false)));
        let (report, _) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
        for (tensor, _) in SHAPES {
            let moved = bench.delta("base", "one", tensor).iter().filter(|v| **v != 0.0).count() as f64;
            let kept = report.tensors.iter().find(|found| found.name == tensor).unwrap().change.updates as f64;
            // Zeros are DELLA's lowest ranks, so that what moves is kept a little more often.
            let more = if name == Method::DellaLinear { 0.06 * moved } else { 0.0 };
            assert!(
                (kept - 0.4 * moved).abs() < 5.0 * f64::sqrt(0.24 * moved) + more,
                "{name} {tensor}: {kept} of {moved}"
            );
        }
    }
}
