//! What is refused of methods and their vectors: each message says where and what to do, and the disk is as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use combining::{Bench, NORM, smooth};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, MethodSpec, Recipe, Rounding, Sparsify, VectorSpec};
use serde_json::json;
use support::{Model, Tensor};

fn bench() -> Bench {
    Bench::of_dtypes(&[Dtype::BF16], smooth)
}

type Change = fn(&mut Recipe);

/// Merges with these vectors after `change`, and expects these words in the refusal.
fn refused(bench: &Bench, name: Method, vectors: Vec<VectorSpec>, change: impl FnOnce(&mut Recipe), words: &[&str]) {
    let mut recipe = bench.recipe(MethodSpec::new(name), vectors);
    change(&mut recipe);
    let message = bench.refused(&recipe);
    for word in words {
        assert!(message.contains(word), "`{word}` is missing: {message}");
    }
}

#[test]
fn parameters_outside_their_range_are_refused() {
    let bench = bench();
    let two = || vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
    let one = || vec![bench.vector("base", "one", 1.0)];
    for density in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        refused(&bench, Method::Ties, one(), |r| r.method.density = Some(density), &["density is", "from 0 to 1"]);
    }
    let second = |r: &mut Recipe| r.others[0].density = Some(1.5);
    refused(&bench, Method::Ties, two(), second, &["density of vector 2 is 1.5", "from 0 to 1"]);
    refused(&bench, Method::Breadcrumbs, one(), |r| r.method.gamma = Some(1.5), &["gamma is 1.5", "from 0 to 1"]);
    refused(&bench, Method::Della, one(), |r| r.method.epsilon = Some(-0.5), &["epsilon is -0.5", "from 0 to 1"]);
    let spread = |r: &mut Recipe| (r.method.density, r.method.epsilon) = (Some(0.1), Some(0.2));
    refused(
        &bench,
        Method::Della,
        two(),
        spread,
        &["epsilon of vector 1 is 0.2", "density − epsilon", "between 0 and 1"],
    );
    refused(&bench, Method::Ties, one(), |r| r.method.lambda = Some(f64::INFINITY), &["lambda is inf", "finite"]);
    for topk in [0.0, -1.0, 1.5, f64::NAN] {
        refused(&bench, Method::Sce, one(), |r| r.method.select_topk = Some(topk), &["select_topk is", "above 0"]);
    }
    refused(&bench, Method::Ties, one(), |r| r.vector.w = f64::NAN, &["w is NaN", "finite"]);
    refused(&bench, Method::Ties, two(), |r| r.others[0].w = 1e39, &["vector 2", "w is 1e39"]);
}

#[test]
fn parameters_without_effect_are_refused() {
    let bench = bench();
    let two = || vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
    let one = || vec![bench.vector("base", "one", 1.0)];
    let unused: [(Method, Change, &str); 10] = [
        (Method::TaskArithmetic, |r| r.method.density = Some(0.5), "density has no effect with task_arithmetic"),
        (Method::Ties, |r| r.method.gamma = Some(0.5), "gamma has no effect with ties"),
        (Method::DareTies, |r| r.method.epsilon = Some(0.1), "epsilon has no effect with dare_ties"),
        (Method::TaskArithmetic, |r| r.method.rescale = Some(true), "rescale has no effect with task_arithmetic"),
        (Method::Sce, |r| r.method.normalize = Some(true), "normalize has no effect with sce"),
        (Method::Sce, |r| r.method.lambda = Some(0.5), "lambda has no effect with sce"),
        (Method::Ties, |r| r.method.select_topk = Some(0.5), "select_topk has no effect with ties"),
        (Method::Ties, |r| r.method.flatten = Some(true), "flatten has no effect with ties"),
        (Method::Ties, |r| r.method.row_wise = Some(true), "row_wise has no effect with ties"),
        (Method::Sce, |r| r.vector.sparsify = Some(Sparsify::Trim), "sparsify has no effect with sce"),
    ];
    for (name, change, words) in unused {
        refused(&bench, name, one(), change, &[words, "remove it"]);
    }
    let own = |r: &mut Recipe| r.others[0].density = Some(0.5);
    refused(&bench, Method::TaskArithmetic, two(), own, &["density of vector 2 has no effect with task_arithmetic"]);
    let own = |r: &mut Recipe| (r.others[0].sparsify, r.others[0].gamma) = (Some(Sparsify::Dare), Some(0.5));
    refused(&bench, Method::Ties, two(), own, &["gamma of vector 2 has no effect with dare", "density, rescale, seed"]);
    let own = |r: &mut Recipe| (r.others[0].sparsify, r.others[0].density) = (Some(Sparsify::None), Some(0.5));
    refused(&bench, Method::Ties, two(), own, &["density of vector 2 has no effect with sparsify = \"none\""]);
    for name in [Method::Sce, Method::ModelStock] {
        let curve = |r: &mut Recipe| r.others[0].scaling.factors.mlp = 0.5;
        refused(&bench, name, two(), curve, &["scaling of vector 2 has no effect", name.label(), "first vector"]);
    }
}

#[test]
fn the_wrong_number_of_vectors_is_refused() {
    let bench = bench();
    let vector = |post: &str| bench.vector("base", post, 1.0);
    let nothing = |_: &mut Recipe| {};
    refused(
        &bench,
        Method::ModelStock,
        vec![vector("one")],
        nothing,
        &["model_stock takes at least 2 vectors", "has 1"],
    );
    refused(&bench, Method::Nuslerp, vec![vector("one")], nothing, &["nuslerp takes 2 vectors or models", "has 1"]);
    let three = vec![vector("one"), vector("two"), vector("three")];
    refused(&bench, Method::Nuslerp, three, nothing, &["nuslerp takes 2", "has 3"]);
    let two = vec![bench.whole("one", 1.0), bench.whole("two", 1.0)];
    refused(&bench, Method::Slerp, two, nothing, &["slerp takes one vector or model", "has 2"]);
}

#[test]
fn vectors_and_whole_models_in_each_others_place_are_refused() {
    let bench = bench();
    let folder = bench.dir.path().join("saved");
    smooth(20, Dtype::BF16).write(&folder);
    std::fs::rename(folder.join("model.safetensors"), folder.join("vector.safetensors")).unwrap();
    let nothing = |_: &mut Recipe| {};
    let whole = || bench.whole("one", 1.0);
    let vector = || bench.vector("base", "one", 1.0);
    refused(
        &bench,
        Method::Ties,
        vec![whole()],
        nothing,
        &["post (one) is a whole model", "ties adds vectors", "give its pre"],
    );
    refused(&bench, Method::Ties, vec![vector(), whole()], nothing, &["post of vector 2", "give its pre of vector 2"]);
    refused(&bench, Method::Linear, vec![vector()], nothing, &["linear takes whole models", "leave out pre"]);
    refused(
        &bench,
        Method::Linear,
        vec![whole(), vector()],
        nothing,
        &["linear takes whole models", "leave out pre of vector 2"],
    );
    refused(&bench, Method::Slerp, vec![vector()], nothing, &["slerp takes whole models", "leave out pre"]);
    for mixed in [vec![vector(), whole()], vec![whole(), vector()]] {
        refused(&bench, Method::Nuslerp, mixed, nothing, &["between two models or between two vectors"]);
    }
    let saved = |pre: &str| VectorSpec { pre: pre.to_owned(), ..bench.whole("saved", 1.0) };
    let target = |r: &mut Recipe| r.target = r.vector.post.clone();
    refused(&bench, Method::Ties, vec![saved("")], target, &["saved is a saved vector", "the target must be a model"]);
    refused(&bench, Method::Ties, vec![bench.vector("saved", "one", 1.0)], nothing, &["pre (saved) is a saved vector"]);
    let with_pre = vec![saved(""), saved(&bench.path("base"))];
    refused(
        &bench,
        Method::Ties,
        with_pre,
        nothing,
        &["post of vector 2 (saved)", "post − pre already", "leave out pre of vector 2"],
    );
    refused(
        &bench,
        Method::Linear,
        vec![saved("")],
        nothing,
        &["linear takes whole models", "post (saved) is a saved vector"],
    );
    let steps = |r: &mut Recipe| r.output.rounding = Rounding::MergekitF32;
    refused(
        &bench,
        Method::Ties,
        vec![saved("")],
        steps,
        &["mergekit-f32", "no saved vectors", "choose another rounding"],
    );
    let control = |r: &mut Recipe| r.vector.control = Some(ControlSpec { kind: ControlKind::Noise, seed: 0 });
    refused(&bench, Method::Linear, vec![whole()], control, &["a control stands for a vector", "remove it"]);
}

#[test]
fn mergekits_steps_are_refused_where_mergekit_has_none() {
    let bench = bench();
    let steps = |r: &mut Recipe| r.output.rounding = Rounding::MergekitBf16;
    let others = vec![bench.vector("base", "one", 1.0), bench.vector("other-base", "three", 1.0)];
    refused(&bench, Method::Ties, others, steps, &["mergekit-bf16", "one base model", "choose another rounding"]);
    let elsewhere = vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
    refused(&bench, Method::Ties, elsewhere, steps, &["mergekit-bf16", "target is not pre", "choose another rounding"]);
}

#[test]
fn vectors_of_other_shapes_are_refused_by_name() {
    let mut bench = bench();
    let other = Model::new()
        .with_tensor(Tensor::of(NORM, Dtype::BF16, &[5], &[1.0; 5]))
        .with_setting("model_type", json!("qwen2"));
    bench.add("small", other.clone());
    bench.add("smaller", other);
    let vectors = vec![bench.vector("base", "one", 1.0), bench.vector("small", "smaller", 1.0)];
    refused(&bench, Method::Ties, vectors, |_| {}, &["Vector 2: pre has 1 tensor of another shape", NORM, "Choose"]);
}

#[test]
fn weights_that_add_up_to_zero_have_no_average() {
    let bench = bench();
    let vectors = vec![bench.whole("one", 0.5), bench.whole("two", -0.5)];
    refused(&bench, Method::Linear, vectors, |_| {}, &["add up to 0", "normalize"]);
}
