//! Vectors that do not reach everywhere: other vocabularies, tied heads, tensors that only some have, integers, tensors of
//! none or one element, and values that are no numbers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use combining::{
    Bench, NORM, UP, added, assert_nearest, elected, great_circle, method, numbers, sce, stock, summed, trimmed,
};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::error::chain;
use mergescope_core::merge::MergeError;
use mergescope_core::recipe::{Method, MethodSpec};
use mergescope_core::stream::Resources;
use support::{Model, Size, Tensor, decode, encode, related, values};

const EMBED: &str = "model.embed_tokens.weight";
const WIDTH: usize = 300;

/// Embeddings of so many rows, several of which fill a unit.
fn embeddings(seed: u64, rows: usize) -> Model {
    let noise = values(seed, rows * WIDTH, 0.05);
    let elements: Vec<f32> = values(1, rows * WIDTH, 0.1).iter().zip(noise).map(|(a, b)| a + b).collect();
    Model::new().with_tensor(Tensor::of(EMBED, Dtype::BF16, &[rows, WIDTH], &elements))
}

/// The target has 100 rows, vector one 60 and vector two 83.
fn vocabularies() -> Bench {
    Bench::new([
        ("base", embeddings(2, 60)),
        ("one", embeddings(3, 64)),
        ("other-base", embeddings(4, 90)),
        ("two", embeddings(5, 83)),
        ("target", embeddings(6, 100)),
    ])
}

const ONE: usize = 60 * WIDTH;
const TWO: usize = 83 * WIDTH;

fn two(bench: &Bench) -> Vec<mergescope_core::recipe::VectorSpec> {
    vec![bench.vector("base", "one", 0.25), bench.vector("other-base", "two", 0.5)]
}

/// What both vectors add, with zeros where they end.
fn deltas(bench: &Bench) -> [Vec<f64>; 2] {
    [("base", "one", ONE), ("other-base", "two", TWO)].map(|(pre, post, reach)| {
        let mut v = bench.delta(pre, post, EMBED);
        v.truncate(reach);
        v
    })
}

fn padded(v: &[f64]) -> Vec<f64> {
    let mut v = v.to_vec();
    v.resize(100 * WIDTH, 0.0);
    v
}

#[test]
fn each_vector_reaches_as_far_as_its_own_rows() {
    let bench = vocabularies();
    let target = bench.elements("target", EMBED);
    let [one, two_v] = deltas(&bench);
    for (name, density) in [(Method::TaskArithmetic, None), (Method::Ties, Some(0.3)), (Method::Trim, Some(0.3))] {
        let spec = method(name, |method| {
            method.density = density;
            method.normalize = Some(false);
        });
        let (_, written) = bench.merge(&bench.recipe(spec, two(&bench)));
        // Ranks are those among the rows that the vector has.
        let kept = [&one, &two_v].map(|v| padded(&density.map_or(v.clone(), |density| trimmed(v, density))));
        let sum = match name {
            Method::Ties => elected(&kept, &[0.25, 0.5], false),
            _ => summed(&kept, &[0.25, 0.5], false),
        };
        assert_nearest(&written, EMBED, &added(&target, 1.0, &sum), name.label());
        assert_eq!(
            numbers(Dtype::BF16, &written[EMBED].2)[TWO..],
            target[TWO..],
            "{name}: extra rows are the target's"
        );
    }
}

#[test]
fn a_vector_that_has_ended_no_longer_counts_in_an_average() {
    let bench = vocabularies();
    let target = bench.elements("target", EMBED);
    let [one, two_v] = deltas(&bench).map(|v| padded(&v));
    let spec = method(Method::TaskArithmetic, |method| method.normalize = Some(true));
    let (_, written) = bench.merge(&bench.recipe(spec, two(&bench)));
    let exact: Vec<f64> = (0..target.len())
        .map(|i| match i {
            _ if i < ONE => target[i] + (0.25 * one[i] + 0.5 * two_v[i]) / 0.75,
            _ => target[i] + two_v[i],
        })
        .collect();
    assert_nearest(&written, EMBED, &exact, "task arithmetic");

    let models = vec![bench.whole("one", 0.25), bench.whole("two", 0.5)];
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Linear), models));
    let [a, b] = ["one", "two"].map(|name| bench.elements(name, EMBED));
    let exact: Vec<f64> = (0..target.len())
        .map(|i| match i {
            _ if i < 64 * WIDTH => (0.25 * a[i] + 0.5 * b[i]) / 0.75,
            _ if i < TWO => b[i],
            _ => target[i],
        })
        .collect();
    assert_nearest(&written, EMBED, &exact, "linear");
}

#[test]
fn methods_that_compare_vectors_stop_where_the_first_of_them_ends() {
    let bench = vocabularies();
    let target = bench.elements("target", EMBED);
    let shared = deltas(&bench).map(|v| v[..ONE].to_vec());
    let add = |change: Vec<f64>| added(&target, 1.0, &padded(&change));
    let [third, rows] =
        [method(Method::Nuslerp, |_| {}), method(Method::Nuslerp, |method| method.flatten = Some(false))];
    let circle = |row: usize| -> Vec<f64> {
        let t = 2.0 / 3.0;
        shared[0].chunks(row).zip(shared[1].chunks(row)).flat_map(|(a, b)| great_circle(a, b, t)).collect()
    };
    for (spec, exact) in [
        (method(Method::ModelStock, |_| {}), add(stock(&shared))),
        (method(Method::Sce, |_| {}), add(sce(&shared, 1.0))),
        (method(Method::Sce, |method| method.select_topk = Some(0.2)), add(sce(&shared, 0.2))),
        (third.clone(), add(circle(ONE))),
        (rows.clone(), add(circle(WIDTH))),
    ] {
        let (_, written) = bench.merge(&bench.recipe(spec.clone(), two(&bench)));
        assert_nearest(&written, EMBED, &exact, &format!("{spec:?}"));
    }
    for spec in
        [third, rows, method(Method::Nuslerp, |method| (method.flatten, method.row_wise) = (Some(false), Some(true)))]
    {
        let models = vec![bench.whole("one", 0.25), bench.whole("two", 0.5)];
        let (_, written) = bench.merge(&bench.recipe(spec, models));
        let found = numbers(Dtype::BF16, &written[EMBED].2);
        assert_eq!(found[64 * WIDTH..], target[64 * WIDTH..], "rows that not both have are the target's");
    }
    // SLERP has two models, one of them the target.
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Slerp), vec![bench.whole("two", 0.5)]));
    let b = &bench.elements("two", EMBED);
    let mut exact = target.clone();
    exact[..TWO].copy_from_slice(&great_circle(&target[..TWO], b, 0.5));
    assert_nearest(&written, EMBED, &exact, "slerp");
}

#[test]
fn random_rows_end_with_their_vector() {
    let bench = vocabularies();
    let target = bench.elements("target", EMBED);
    let resources = Resources { unit_bytes: 16 << 10, ..Resources::default() };
    for name in [Method::Della, Method::DellaLinear, Method::DareTies] {
        let spec = method(name, |method| method.density = Some(0.5));
        let (_, written) = bench.try_merge(&bench.recipe(spec, two(&bench)), &resources).unwrap();
        let found = numbers(Dtype::BF16, &written[EMBED].2);
        let moved = |range: std::ops::Range<usize>| {
            range.clone().filter(|i| found[*i] != target[*i]).count() as f64 / range.len() as f64
        };
        assert!((moved(ONE..TWO) - 0.5).abs() < 0.05, "{name}: {}", moved(ONE..TWO));
        assert_eq!(found[TWO..], target[TWO..]);
    }
    // A head's bias, which ends in the middle of its only row.
    let bias = |seed, count| {
        Model::new().with_tensor(Tensor::of("lm_head.bias", Dtype::F32, &[count], &values(seed, count, 1.0)))
    };
    let bench = Bench::new([("base", bias(1, 400)), ("one", bias(2, 400)), ("target", bias(3, 480))]);
    let spec = method(Method::DellaLinear, |method| method.density = Some(0.5));
    let (_, written) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
    assert_eq!(decode(Dtype::F32, &written["lm_head.bias"].2)[400..], values(3, 480, 1.0)[400..]);
}

#[test]
fn a_tied_model_gives_its_embeddings_in_place_of_a_head_to_every_vector() {
    let tied = Size::default();
    let (pre, post, _) = related(tied, Dtype::BF16);
    let untied = Model::qwen2(Size { tied: false, ..tied }, Dtype::BF16, 5);
    let bench = Bench::new([
        ("base", pre),
        ("one", post),
        ("other-base", untied.clone()),
        ("two", untied.tuned(7, 0.1)),
        ("target", untied.tuned(8, 0.1)),
    ]);
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::default(), two(&bench)));
    let head = "lm_head.weight";
    let v = [bench.delta("base", "one", EMBED), bench.delta("other-base", "two", head)];
    assert_nearest(
        &written,
        head,
        &added(&bench.elements("target", head), 1.0, &summed(&v, &[0.25, 0.5], false)),
        "head",
    );
}

/// A norm that all have, a tensor that vector one has, one that only the target has, and odd ones.
fn uneven() -> Bench {
    let model = |seed: u64, value: f32, has_up: bool| {
        let mut model = Model::new()
            .with_tensor(Tensor::of(NORM, Dtype::F32, &[50], &values(seed, 50, 1.0)))
            .with_tensor(Tensor::of("scalar", Dtype::F32, &[], &[value]))
            .with_tensor(Tensor::of("one", Dtype::F16, &[1], &[value]))
            .with_tensor(Tensor::of("empty", Dtype::BF16, &[0, 4], &[]))
            .with_tensor(Tensor::of("steps", Dtype::I64, &[2], &[value, value]));
        if has_up {
            model = model.with_tensor(Tensor::of(UP, Dtype::BF16, &[7, 9], &values(seed + 50, 63, 1.0)));
        }
        model
    };
    Bench::new([
        ("base", model(1, 1.0, true)),
        ("one", model(2, 3.0, true)),
        ("other-base", model(3, 2.0, false)),
        ("two", model(4, -1.0, false)),
        ("third", model(6, 4.0, true)),
        ("target", model(5, 10.0, true).with_tensor(Tensor::of("extra", Dtype::F32, &[3], &[1.0, 2.0, 3.0]))),
    ])
}

#[test]
fn tensors_that_only_some_vectors_have_are_made_of_those() {
    let bench = uneven();
    let target = bench.elements("target", UP);
    let v = bench.delta("base", "one", UP);
    for spec in [
        MethodSpec::default(),
        method(Method::TaskArithmetic, |method| method.normalize = Some(true)),
        method(Method::Ties, |method| method.density = Some(0.4)),
        MethodSpec::new(Method::Sce),
        MethodSpec::new(Method::Nuslerp),
    ] {
        let (_, written) = bench.merge(&bench.recipe(spec.clone(), two(&bench)));
        let change: Vec<f64> = match spec.name {
            Method::TaskArithmetic if spec.normalize.is_none() => v.iter().map(|v| 0.25 * v).collect(),
            Method::Ties => trimmed(&v, 0.4),
            _ => v.clone(),
        };
        assert_nearest(&written, UP, &added(&target, 1.0, &change), &format!("{spec:?}"));
    }
    // One model's angle to itself says nothing about how far they agree.
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::ModelStock), two(&bench)));
    assert_eq!(numbers(Dtype::BF16, &written[UP].2), target);
    // Three vectors, of which two have the tensor: the angle is that between these.
    let mut vectors = two(&bench);
    vectors.push(bench.vector("base", "third", 1.0));
    for name in [Method::ModelStock, Method::Sce] {
        let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(name), vectors.clone()));
        let both = [v.clone(), bench.delta("base", "third", UP)];
        let change = if name == Method::Sce { sce(&both, 1.0) } else { stock(&both) };
        assert_nearest(&written, UP, &added(&target, 1.0, &change), name.label());
    }
    let spec = method(Method::Sce, |method| method.select_topk = Some(0.5));
    let (_, written) = bench.merge(&bench.recipe(spec, vectors));
    let change = sce(&[v, bench.delta("base", "third", UP)], 0.5);
    assert_nearest(&written, UP, &added(&target, 1.0, &change), "half of the elements that vary between the two");
}

#[test]
fn scalars_empty_and_one_element_tensors_and_integers_go_through_every_method() {
    let bench = uneven();
    for name in Method::ALL {
        let vectors = match name {
            Method::Linear => vec![bench.whole("one", 0.5), bench.whole("two", 0.5)],
            Method::Slerp => vec![bench.whole("one", 0.5)],
            _ => two(&bench),
        };
        let mut spec = MethodSpec::new(name);
        if spec.name.uses(mergescope_core::recipe::Parameter::Density) {
            spec.density = Some(0.5);
        }
        let (report, written) = bench.merge(&bench.recipe(spec, vectors));
        assert_eq!((written["scalar"].1.len(), written["empty"].2.len(), report.tensors.len()), (0, 0, 7), "{name}");
        assert_eq!(decode(Dtype::I64, &written["steps"].2), [10.0, 10.0], "integers are the target's");
        assert_eq!(decode(Dtype::F32, &written["extra"].2), [1.0, 2.0, 3.0]);
        let [scalar, one] = [decode(Dtype::F32, &written["scalar"].2)[0], decode(Dtype::F16, &written["one"].2)[0]];
        assert!(scalar.is_finite() && one.is_finite(), "{name}: {scalar} {one}");
        // The vectors are 2 and −3, the models 3 and −1, the target 10.
        let expected = match name {
            Method::TaskArithmetic => Some(10.0 + 0.25 * 2.0 - 0.5 * 3.0),
            Method::Trim => Some(9.0),
            // −1.5 outweighs 0.5, and is divided by its weight.
            Method::Ties => Some(7.0),
            // int(0.5 · 1) = 0 elements.
            Method::Breadcrumbs | Method::BreadcrumbsTies => Some(10.0),
            Method::Linear => Some(1.0),
            Method::Slerp => Some(6.5),
            // SCE's weights are 4 and 9; the sum is negative.
            Method::Sce => Some(7.0),
            // Opposite, so that the divisor is 0.
            Method::ModelStock => Some(10.0),
            Method::Nuslerp => Some(10.0 + 2.0 / 3.0 - 2.0),
            _ => None,
        };
        if let Some(expected) = expected {
            assert_eq!((scalar, one), (expected as f32, half::f16::from_f64(expected).to_f32()), "{name}");
        }
    }
}

#[test]
fn nan_and_infinity_are_named_with_the_model_and_its_vector() {
    let places = [
        ("base", "pre (", 0),
        ("one", "post (", 1),
        ("other-base", "pre of vector 2 (", 2),
        ("two", "post of vector 2 (", 3),
        ("target", "target (", 4),
    ];
    for (name, place, _) in places {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut bench =
                Bench::new(["base", "one", "other-base", "two", "target"].into_iter().enumerate().map(|(i, name)| {
                    (
                        name,
                        Model::new().with_tensor(Tensor::of(
                            UP,
                            Dtype::F32,
                            &[100, 200],
                            &values(i as u64, 20_000, 1.0),
                        )),
                    )
                }));
            let mut model = bench.models[name].clone();
            model.tensor_mut(UP).bytes[4 * 17_000..][..4].copy_from_slice(&encode(Dtype::F32, &[bad]));
            bench.add(name, model);
            for spec in [
                MethodSpec::default(),
                method(Method::Ties, |method| method.density = Some(0.1)),
                method(Method::Della, |method| method.density = Some(0.2)),
                MethodSpec::new(Method::Sce),
                MethodSpec::new(Method::ModelStock),
                MethodSpec::new(Method::Nuslerp),
            ] {
                let recipe = bench.recipe(spec, two(&bench));
                let message = bench.refused(&recipe);
                assert!(message.contains(&format!("of {place}")) && message.contains(UP), "{place}: {message}");
                let error = bench.try_merge(&recipe, &Resources::default()).unwrap_err();
                assert!(matches!(&error, MergeError::NonFinite { .. }), "{}", chain(&error));
                let mut allowed = recipe.clone();
                allowed.output.allow_nonfinite = true;
                bench.merge(&allowed);
            }
        }
    }
}

#[test]
fn a_nan_that_is_let_through_spoils_its_own_element_alone() {
    let count = 20_000;
    let mut bench = Bench::new(["base", "one", "target"].into_iter().enumerate().map(|(i, name)| {
        (name, Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[count], &values(i as u64, count, 1.0))))
    }));
    let mut bad = bench.models["one"].clone();
    bad.tensor_mut(NORM).bytes[4 * 5000..][..4].copy_from_slice(&encode(Dtype::F32, &[f32::NAN]));
    bench.add("one", bad);
    for name in [Method::Ties, Method::ModelStock, Method::Sce, Method::Nuslerp, Method::DareLinear] {
        let spec = method(name, |method| {
            if name == Method::Ties || name == Method::DareLinear {
                (method.density, method.rescale) = (Some(0.5), Some(true));
            }
        });
        let vectors = vec![bench.vector("base", "one", 1.0), bench.vector("base", "target", 0.5)];
        let mut recipe = bench.recipe(spec, vectors);
        recipe.output.allow_nonfinite = true;
        let (_, written) = bench.merge(&recipe);
        let spoilt: Vec<usize> = decode(Dtype::F32, &written[NORM].2)
            .iter()
            .enumerate()
            .filter(|(_, v)| !v.is_finite())
            .map(|(i, _)| i)
            .collect();
        assert!(spoilt.is_empty() || spoilt == [5000], "{name}: {spoilt:?}");
    }
}
