//! Methods that look at whole tensors or whole models (linear, SLERP, NuSLERP, model stock, SCE) against plain f64 references.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use combining::{
    Bench, DOWN, NORM, SHAPES, UP, added, as_f32, assert_nearest, coarse, great_circle, method, mixed, sce, smooth,
    stock, summed,
};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::recipe::{Method, MethodSpec};
use support::{Model, Tensor};

const MIXES: [&[Dtype]; 4] =
    [&[Dtype::BF16], &[Dtype::F16], &[Dtype::F32], &[Dtype::BF16, Dtype::F32, Dtype::F16, Dtype::F32]];

/// One tensor of these elements.
fn lone(values: &[f32]) -> Model {
    Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[values.len()], values))
}

#[test]
fn linear_is_the_weighted_average_of_models() {
    for dtypes in MIXES {
        let bench = Bench::of_dtypes(dtypes, smooth);
        for normalize in [true, false] {
            let w = [0.3, 0.9, -0.4];
            let vectors = ["one", "two", "three"].into_iter().zip(w).map(|(name, w)| bench.whole(name, w)).collect();
            let spec = method(Method::Linear, |method| method.normalize = Some(normalize));
            let (_, written) = bench.merge(&bench.recipe(spec, vectors));
            for (tensor, _) in SHAPES {
                let models: Vec<Vec<f64>> = ["one", "two", "three"].map(|name| bench.elements(name, tensor)).into();
                assert_nearest(&written, tensor, &summed(&models, &as_f32(w), normalize), &format!("{dtypes:?}"));
            }
        }
    }
}

#[test]
fn slerp_goes_along_the_great_circle_from_the_target() {
    for dtypes in MIXES {
        // Of two seeds of their own, so that the angle is wide.
        let mut bench = Bench::of_dtypes(dtypes, smooth);
        let far = SHAPES.into_iter().fold(Model::new(), |model, (name, shape)| {
            let values = support::values(77, shape.iter().product(), 0.3);
            model.with_tensor(Tensor::of(name, dtypes[0], shape, &values))
        });
        bench.add("far", far);
        for t in [0.3, 1.0, 1.5, -0.25] {
            let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Slerp), vec![bench.whole("far", t)]));
            for (tensor, _) in SHAPES {
                let [a, b] = ["target", "far"].map(|name| bench.elements(name, tensor));
                let exact = great_circle(&a, &b, f64::from(t as f32));
                assert_nearest(&written, tensor, &exact, &format!("slerp {t} {dtypes:?}"));
            }
        }
    }
}

#[test]
fn slerp_goes_straight_between_parallel_models_and_zeros() {
    let t = f64::from(0.3_f32);
    let right_angle = t * std::f64::consts::FRAC_PI_2;
    for (target, other, share) in [
        // Parallel, the same, opposite: a straight line.
        (&[1.0, 2.0, 3.0][..], &[2.0, 4.0, 6.0][..], [1.0 - t, t]),
        (&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], [1.0 - t, t]),
        (&[1.0, 2.0, 3.0], &[-1.0, -2.0, -3.0], [1.0 - t, t]),
        (&[5.0], &[7.0], [1.0 - t, t]),
        // Zeros are at a right angle to everything.
        (&[0.0, 0.0], &[1.0, 2.0], [right_angle.cos(), right_angle.sin()]),
        (&[1.0, 2.0], &[0.0, 0.0], [right_angle.cos(), right_angle.sin()]),
        (&[0.0], &[0.0], [0.0, 0.0]),
        // However short, the angle counts.
        (
            &[1e-12, 0.0],
            &[1e-12, 1e-12],
            [
                f64::sin((1.0 - t) * 0.25 * std::f64::consts::PI) / 0.5_f64.sqrt(),
                f64::sin(t * 0.25 * std::f64::consts::PI) / 0.5_f64.sqrt(),
            ],
        ),
    ] {
        let bench = Bench::new([("target", lone(target)), ("other", lone(other))]);
        let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Slerp), vec![bench.whole("other", 0.3)]));
        let [a, b] = ["target", "other"].map(|name| bench.elements(name, NORM));
        let found = combining::numbers(Dtype::F32, &written[NORM].2);
        for (found, exact) in found.iter().zip(mixed(share[0], &a, share[1], &b)) {
            assert!((found - exact).abs() <= 1e-7 * exact.abs(), "{target:?} {other:?}: {found} for {exact}");
        }
    }
}

/// What NuSLERP makes of two vectors, each line by itself; a line of zeros is at a right angle to all.
fn nuslerp(a: &[f64], b: &[f64], t: f64, line_of: impl Fn(usize) -> usize) -> Vec<f64> {
    let lines = (0..a.len()).map(&line_of).max().map_or(0, |last| last + 1);
    let mut result = vec![0.0; a.len()];
    for line in 0..lines {
        let members: Vec<usize> = (0..a.len()).filter(|i| line_of(*i) == line).collect();
        let [x, y] = [a, b].map(|v| members.iter().map(|i| v[*i]).collect::<Vec<f64>>());
        for (i, value) in members.iter().zip(great_circle(&x, &y, t)) {
            result[*i] = value;
        }
    }
    result
}

#[test]
fn nuslerp_turns_models_and_vectors_as_a_whole_by_row_and_by_column() {
    for dtypes in MIXES {
        let bench = Bench::of_dtypes(dtypes, smooth);
        let [first, second] = [0.4_f32, 0.9].map(f64::from);
        let t = second / (first + second);
        for (flatten, row_wise) in [(true, false), (false, false), (false, true)] {
            for based in [false, true] {
                let spec = method(Method::Nuslerp, |method| {
                    method.flatten = Some(flatten);
                    method.row_wise = Some(row_wise);
                });
                let vectors = match based {
                    true => vec![bench.vector("base", "one", first), bench.vector("other-base", "three", second)],
                    false => vec![bench.whole("one", first), bench.whole("three", second)],
                };
                let (_, written) = bench.merge(&bench.recipe(spec, vectors));
                for (tensor, shape) in SHAPES {
                    let [a, b] = match based {
                        true => {
                            [("base", "one"), ("other-base", "three")].map(|(pre, post)| bench.delta(pre, post, tensor))
                        }
                        false => ["one", "three"].map(|name| bench.elements(name, tensor)),
                    };
                    let row = *shape.last().unwrap();
                    let turned = nuslerp(&a, &b, t, |i| match (flatten || shape.len() < 2, row_wise) {
                        (true, _) => 0,
                        (false, false) => i / row,
                        (false, true) => i % row,
                    });
                    let exact = if based { added(&bench.elements("target", tensor), 1.0, &turned) } else { turned };
                    assert_nearest(&written, tensor, &exact, &format!("{flatten} {row_wise} {based} {dtypes:?}"));
                }
            }
        }
    }
}

#[test]
fn nuslerp_measures_angles_of_short_vectors_too() {
    // Norms of 1e-9, far below the floor that mergekit divides by.
    let bench = Bench::new([
        ("base", lone(&[0.0, 0.0])),
        ("one", lone(&[1e-9, 0.0])),
        ("two", lone(&[1e-9, 1e-9])),
        ("target", lone(&[0.0, 0.0])),
    ]);
    let vectors = vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Nuslerp), vectors));
    let [a, b] = ["one", "two"].map(|name| bench.elements(name, NORM));
    assert_nearest(&written, NORM, &great_circle(&a, &b, 0.5), "short vectors");
    let found = combining::numbers(Dtype::F32, &written[NORM].2);
    assert!(found.iter().zip(great_circle(&a, &b, 0.5)).all(|(found, exact)| (found - exact).abs() < 1e-6 * exact));
}

#[test]
fn nuslerp_goes_straight_between_parallel_and_opposite_vectors() {
    // f64 sums alone cannot tell that the cosine is 1 or −1.
    let v = support::values(3, 1000, 0.1);
    for scale in [3.0, 1.0, -0.5, -4.0] {
        let other: Vec<f32> = v.iter().map(|v| scale * v).collect();
        let bench = Bench::new([("one", lone(&v)), ("two", lone(&other)), ("target", lone(&vec![9.0; 1000]))]);
        let vectors = vec![bench.whole("one", 1.0), bench.whole("two", 3.0)];
        let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Nuslerp), vectors));
        let [a, b] = ["one", "two"].map(|name| bench.elements(name, NORM));
        assert_nearest(&written, NORM, &mixed(0.25, &a, 0.75, &b), &format!("{scale} times the other"));
    }
}

#[test]
fn model_stock_follows_the_paper_however_small_the_vectors() {
    for dtypes in MIXES {
        let bench = Bench::of_dtypes(dtypes, smooth);
        let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::ModelStock), bench.three([1.0; 3])));
        for (tensor, _) in SHAPES {
            let exact = added(&bench.elements("target", tensor), 1.0, &stock(&bench.deltas(tensor)));
            assert_nearest(&written, tensor, &exact, &format!("{dtypes:?}"));
        }
    }
    let bench = Bench::new([
        ("base", lone(&[0.0; 3])),
        ("one", lone(&[1e-9, 0.0, 0.0])),
        ("two", lone(&[1e-9, 1e-9, 0.0])),
        ("target", lone(&[0.0; 3])),
    ]);
    let vectors = vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::ModelStock), vectors));
    let exact = stock(&[bench.delta("base", "one", NORM), bench.delta("base", "two", NORM)]);
    let found = combining::numbers(Dtype::F32, &written[NORM].2);
    assert!(found.iter().zip(exact).all(|(found, exact)| (found - exact).abs() <= 1e-6 * exact), "{found:?}");
}

#[test]
fn sce_selects_weights_and_erases_as_the_paper_does() {
    for (dtypes, each) in MIXES
        .into_iter()
        .map(|dtypes| (dtypes, smooth as fn(u64, Dtype) -> Model))
        .chain([(&[Dtype::BF16][..], coarse as _)])
    {
        let bench = Bench::of_dtypes(dtypes, each);
        for topk in [1.0, 0.37, 0.01] {
            let spec = method(Method::Sce, |method| method.select_topk = Some(topk));
            let (_, written) = bench.merge(&bench.recipe(spec, bench.three([1.0; 3])));
            for (tensor, _) in SHAPES {
                let exact = added(&bench.elements("target", tensor), 1.0, &sce(&bench.deltas(tensor), topk));
                assert_nearest(&written, tensor, &exact, &format!("{topk} {dtypes:?}"));
            }
        }
    }
}

#[test]
fn sce_gives_a_small_vector_alone_its_whole_element() {
    // The second vector has 1e-12 of the mean square, and is alone in its element.
    let bench = Bench::new([
        ("base", lone(&[0.0; 2])),
        ("one", lone(&[1.0, 0.0])),
        ("two", lone(&[0.0, 1e-6])),
        ("target", lone(&[0.0; 2])),
    ]);
    let vectors = vec![bench.vector("base", "one", 1.0), bench.vector("base", "two", 1.0)];
    let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(Method::Sce), vectors));
    assert_eq!(support::decode(Dtype::F32, &written[NORM].2), [1.0, 1e-6]);
}

#[test]
fn sce_and_model_stock_take_the_share_that_the_curve_gives() {
    let bench = Bench::of_dtypes(&[Dtype::F32], smooth);
    for name in [Method::Sce, Method::ModelStock] {
        let mut vectors = bench.three([1.0; 3]);
        let pattern = |tensors: &str, factor| mergescope_core::scaling::Pattern { tensors: tensors.to_owned(), factor };
        vectors[0].scaling.patterns = vec![pattern("*up_proj*", 0.5), pattern("*norm*", 0.0)];
        let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(name), vectors));
        for (tensor, share) in [(UP, 0.5), (DOWN, 1.0), (NORM, 0.0)] {
            let v = bench.deltas(tensor);
            let change = if name == Method::Sce { sce(&v, 1.0) } else { stock(&v) };
            assert_nearest(&written, tensor, &added(&bench.elements("target", tensor), share, &change), name.label());
        }
    }
}
