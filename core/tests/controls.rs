//! What is put in a vector's place to tell its gain from chance.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use std::collections::BTreeSet;

use combining::{Bench, SHAPES, UP, cosine, method, norm, numbers, smooth};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, MethodSpec, OutputDtype, VectorSpec};
use support::{Model, Size, Tensor};

/// What a control adds to a target of zeros, so that nothing is rounded away.
fn change(bench: &Bench, vector: VectorSpec, spec: MethodSpec, tensor: &str) -> Vec<f64> {
    let mut recipe = bench.recipe(spec, vec![vector]);
    recipe.output.dtype = OutputDtype::F32;
    let (_, written) = bench.merge(&recipe);
    let target = bench.elements("target", tensor);
    numbers(Dtype::F32, &written[tensor].2).iter().zip(target).map(|(out, target)| out - target).collect()
}

fn controlled(vector: VectorSpec, kind: ControlKind, seed: u64) -> VectorSpec {
    VectorSpec { control: Some(ControlSpec { kind, seed }), ..vector }
}

/// A base, two vectors from it, and a target of zeros.
fn bench() -> Bench {
    let zeros = SHAPES.into_iter().fold(Model::new(), |model, (name, shape)| {
        let count = shape.iter().product();
        model.with_tensor(Tensor::of(name, Dtype::F32, shape, &vec![0.0; count]))
    });
    Bench::new([
        ("base", smooth(1, Dtype::BF16)),
        ("one", smooth(2, Dtype::BF16)),
        ("two", smooth(3, Dtype::BF16)),
        ("target", zeros),
    ])
}

#[test]
fn shuffled_signs_keep_the_size_of_every_element() {
    let bench = bench();
    let vector = |seed| controlled(bench.vector("base", "one", 0.5), ControlKind::ShuffleSigns, seed);
    for (tensor, _) in SHAPES {
        let v: Vec<f64> = bench.delta("base", "one", tensor).iter().map(|v| 0.5 * v).collect();
        let found = change(&bench, vector(1), MethodSpec::default(), tensor);
        assert!(found.iter().zip(&v).all(|(a, b)| a.abs() == b.abs()), "{tensor}");
        let (moved, turned) = found.iter().zip(&v).fold((0.0, 0.0), |(moved, turned), (a, b)| {
            (moved + f64::from(*b != 0.0), turned + f64::from(a * b < 0.0))
        });
        // Five standard errors of a fair coin.
        assert!((turned - moved / 2.0).abs() < 2.5 * f64::sqrt(moved), "{tensor}: {turned} of {moved}");
        assert_eq!(found, change(&bench, vector(1), MethodSpec::default(), tensor), "the seed decides");
        assert_ne!(found, change(&bench, vector(2), MethodSpec::default(), tensor));
    }
}

#[test]
fn noise_has_the_norm_of_the_vector_in_each_tensor() {
    let bench = bench();
    let vector = |seed| controlled(bench.vector("base", "one", 1.0), ControlKind::Noise, seed);
    for (tensor, _) in SHAPES {
        let v = bench.delta("base", "one", tensor);
        let found = change(&bench, vector(1), MethodSpec::default(), tensor);
        assert!((norm(&found) / norm(&v) - 1.0).abs() < 1e-6, "{tensor}");
        let count = v.len() as f64;
        // Mean 0 and no relation to v: five standard errors.
        assert!((found.iter().sum::<f64>() / norm(&v)).abs() < 5.0, "{tensor}");
        assert!(cosine(&found, &v).abs() < 5.0 / count.sqrt(), "{tensor}");
        assert_eq!(found, change(&bench, vector(1), MethodSpec::default(), tensor), "the seed decides");
        assert_ne!(found, change(&bench, vector(2), MethodSpec::default(), tensor));
    }
    let still = controlled(bench.vector("base", "base", 1.0), ControlKind::Noise, 1);
    let recipe = bench.recipe(MethodSpec::new(Method::Ties), vec![still, bench.vector("base", "one", 0.0)]);
    let (report, _) = bench.merge(&recipe);
    assert_eq!(report.total().written(), 0.0, "no vector, no noise");
}

#[test]
fn the_draws_of_two_vectors_and_two_tensors_have_nothing_in_common() {
    let bench = bench();
    for kind in [ControlKind::Noise, ControlKind::ShuffleSigns] {
        let one = controlled(bench.vector("base", "one", 1.0), kind, 7);
        let alone = change(&bench, one.clone(), MethodSpec::default(), UP);
        // The same vector twice with the same seed: were the draws the same, the sum would be twice the one.
        let recipe = bench.recipe(MethodSpec::default(), vec![one.clone(), one]);
        let (_, written) = bench.merge(&recipe);
        let both = numbers(Dtype::F32, &written[UP].2);
        let second: Vec<f64> = both.iter().zip(&alone).map(|(both, first)| both - first).collect();
        assert!(cosine(&second, &alone).abs() < 0.05, "{kind:?}");
    }
}

#[test]
fn ties_ranks_what_the_control_left() {
    let bench = bench();
    for kind in [ControlKind::ShuffleSigns, ControlKind::Noise] {
        for (tensor, _) in SHAPES {
            let vector = controlled(bench.vector("base", "one", 1.0), kind, 3);
            let whole = change(&bench, vector.clone(), MethodSpec::default(), tensor);
            let spec = method(Method::Ties, |method| {
                method.density = Some(0.25);
                method.normalize = Some(false);
            });
            let kept = change(&bench, vector, spec, tensor);
            assert_eq!(kept, combining::trimmed(&whole, 0.25), "{kind:?} {tensor}");
        }
    }
}

#[test]
fn permuted_layers_get_the_vector_of_another_and_none_its_own() {
    let size = Size { layers: 5, hidden: 16, ffn: 24, ..Size::default() };
    let base = Model::qwen2(size, Dtype::F32, 1);
    // Each layer has a vector of its own size, by which it is known again.
    let mut post = base.clone();
    for tensor in &mut post.tensors {
        let layer = tensor.name.split('.').nth(2).and_then(|layer| layer.parse::<u32>().ok());
        let step = layer.map_or(100.0, |layer| (1 << layer) as f32);
        let moved: Vec<f32> = support::decode(Dtype::F32, &tensor.bytes).iter().map(|value| value + step).collect();
        tensor.bytes = support::encode(Dtype::F32, &moved);
    }
    let mut zeros = base.clone();
    zeros.tensors.iter_mut().for_each(|tensor| tensor.bytes.fill(0));
    let bench = Bench::new([("base", base), ("one", post), ("target", zeros)]);
    let mut seen = BTreeSet::new();
    for seed in 0..8 {
        let vector = controlled(bench.vector("base", "one", 1.0), ControlKind::PermuteLayers, seed);
        let recipe = bench.recipe(MethodSpec::default(), vec![vector.clone()]);
        let (_, written) = bench.merge(&recipe);
        let step_of = |tensor: &str| numbers(Dtype::F32, &written[tensor].2)[0].round();
        let layers: Vec<u32> = (0..5)
            .map(|layer| {
                let step = step_of(&format!("model.layers.{layer}.mlp.up_proj.weight"));
                // All tensors of a layer move together.
                assert_eq!(step, step_of(&format!("model.layers.{layer}.self_attn.q_proj.bias")));
                step.log2() as u32
            })
            .collect();
        assert!(layers.iter().enumerate().all(|(at, from)| at as u32 != *from), "{layers:?}");
        assert_eq!(layers.iter().collect::<BTreeSet<_>>().len(), 5, "each layer's vector is used once: {layers:?}");
        assert_eq!(step_of("model.norm.weight"), 100.0, "what is in no layer stays");
        assert_eq!(written, bench.merge(&recipe).1, "the seed decides");
        // With TIES on top that keeps everything nothing changes.
        let ties = method(Method::Ties, |method| method.normalize = Some(false));
        assert_eq!(written, bench.merge(&bench.recipe(ties, vec![vector])).1);
        seen.insert(layers);
    }
    assert!(seen.len() > 3, "another seed is another permutation");
}

#[test]
fn a_model_with_no_two_layers_alike_has_none_to_permute() {
    let base = Model::qwen2(Size { layers: 1, ..Size::default() }, Dtype::BF16, 1);
    let bench = Bench::new([("one", base.tuned(2, 0.1)), ("target", base.tuned(3, 0.1)), ("base", base)]);
    let vector = controlled(bench.vector("base", "one", 1.0), ControlKind::PermuteLayers, 1);
    let message = bench.refused(&bench.recipe(MethodSpec::default(), vec![vector]));
    assert!(message.contains("permute-layers") && message.contains("no two layers"), "{message}");
}
