//! Several vectors and every method that goes element by element or by rank, against plain f64 references: each output is the
//! nearest element to what the definition says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use combining::{
    Bench, DOWN, NORM, SHAPES, UP, added, as_f32, assert_nearest, coarse, elected, method, nearest, numbers, smooth,
    summed, thinned,
};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::recipe::{Method, MethodSpec, OutputDtype, Recipe, Rounding, Sparsify};
use mergescope_core::scaling::Pattern;
use mergescope_core::stream::Resources;
use proptest::prelude::*;
use support::{Model, Tensor, decode, encode, values};

const MIXES: [&[Dtype]; 4] =
    [&[Dtype::BF16], &[Dtype::F16], &[Dtype::F32], &[Dtype::BF16, Dtype::F32, Dtype::F16, Dtype::F32]];

#[test]
fn several_vectors_give_the_nearest_element_to_their_sum() {
    let w = [0.3, -0.8, 1.7];
    let [a, b, c] = as_f32(w);
    for dtypes in MIXES {
        let bench = Bench::of_dtypes(dtypes, smooth);
        for (normalize, lambda) in [(false, 1.0), (true, 1.0), (false, 0.7), (true, -1.3)] {
            let method = method(Method::TaskArithmetic, |method| {
                method.normalize = Some(normalize);
                method.lambda = Some(lambda);
            });
            let (_, written) = bench.merge(&bench.recipe(method, bench.three(w)));
            for (name, _) in SHAPES {
                let sum = summed(&bench.deltas(name), &[a, b, c], normalize);
                let exact = added(&bench.elements("target", name), lambda, &sum);
                assert_nearest(&written, name, &exact, &format!("{dtypes:?} {normalize} {lambda}"));
            }
        }
    }
}

#[test]
fn each_vector_has_a_curve_and_factors_of_its_own() {
    let bench = Bench::of_dtypes(&[Dtype::BF16], smooth);
    let pattern = |tensors: &str, factor| Pattern { tensors: tensors.to_owned(), factor };
    let mut vectors = bench.three([0.5, 2.0, -1.0]);
    vectors[0].scaling.patterns = vec![pattern("*up_proj*", 0.25), pattern("*norm*", 0.0)];
    vectors[1].scaling.factors.mlp = 0.125;
    vectors[2].scaling.patterns = vec![pattern("*down_proj*", 3.0)];
    let (report, written) = bench.merge(&bench.recipe(MethodSpec::default(), vectors));
    for (name, c) in [(UP, [0.125, 0.25, -1.0]), (DOWN, [0.5, 0.25, -3.0]), (NORM, [0.0, 2.0, -1.0])] {
        let exact = added(&bench.elements("target", name), 1.0, &summed(&bench.deltas(name), &c, false));
        assert_nearest(&written, name, &exact, "own scaling");
        let found = report.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let coefficients = [found.coefficient, found.other_coefficients[0], found.other_coefficients[1]];
        assert_eq!(coefficients.map(f64::from), c);
    }
}

#[test]
fn weights_of_zero_give_the_targets_bits() {
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let mut bench = Bench::of_dtypes(&[dtype], smooth);
        let mut target = smooth(9, dtype);
        // A negative zero is lost by any addition that is really made.
        target.tensor_mut(NORM).bytes = encode(dtype, &[-0.0; 77]);
        bench.add("target", target);
        let expected = support::read_model(&bench.dir.path().join("target"));
        for name in Method::ALL.into_iter().filter(|name| name.uses_w()) {
            for rounding in [Rounding::Nearest, Rounding::Stochastic] {
                let vectors = match name {
                    Method::Linear | Method::Nuslerp => vec![bench.whole("one", 0.0), bench.whole("two", 0.0)],
                    Method::Slerp => vec![bench.whole("one", 0.0)],
                    _ => bench.three([0.0; 3]),
                };
                let mut recipe = bench.recipe(MethodSpec::new(name), vectors);
                recipe.output.rounding = rounding;
                let (report, written) = bench.merge(&recipe);
                assert!(written == expected, "{name} {rounding:?} {dtype}");
                assert_eq!((report.total().written(), report.total().updates), (0.0, 0));
            }
        }
        // A vector without weight beside one that has some.
        let both = bench.recipe(MethodSpec::default(), bench.three([0.0, 0.5, 0.0]));
        let alone = bench.recipe(MethodSpec::default(), vec![bench.vector("base", "two", 0.5)]);
        assert_eq!(bench.merge(&both).1, bench.merge(&alone).1);
    }
}

#[test]
fn what_no_vector_moves_keeps_its_bits() {
    // Vectors that cancel out or are zero, over zeros of either sign.
    let count = 1000;
    let model = |values: &dyn Fn(usize) -> f32| {
        let values: Vec<f32> = (0..count).map(values).collect();
        Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[count], &values))
    };
    let bench = Bench::new([
        ("base", model(&|i| i as f32)),
        ("up", model(&|i| i as f32 + (i % 2) as f32)),
        ("down", model(&|i| i as f32 - (i % 2) as f32)),
        ("target", model(&|i| if i % 3 == 0 { -0.0 } else { 0.0 })),
    ]);
    for name in [Method::TaskArithmetic, Method::Trim, Method::Breadcrumbs, Method::DareLinear] {
        let vectors = vec![bench.vector("base", "up", 0.5), bench.vector("base", "down", 0.5)];
        let (_, written) = bench.merge(&bench.recipe(MethodSpec::new(name), vectors));
        assert_eq!(written[NORM].2, bench.models["target"].tensor(NORM).bytes, "{name}");
    }
}

fn ranked(dtypes: &[Dtype], each: fn(u64, Dtype) -> Model, change: impl Fn(&mut Recipe), what: &str) {
    let bench = Bench::of_dtypes(dtypes, each);
    for name in [Method::Trim, Method::Ties, Method::Breadcrumbs, Method::BreadcrumbsTies] {
        let w = [0.3, -0.8, 1.7];
        let mut recipe = bench.recipe(MethodSpec::new(name), bench.three(w));
        change(&mut recipe);
        let method = &recipe.method;
        let (_, written) = bench.merge(&recipe);
        for (tensor, _) in SHAPES {
            let kept: Vec<Vec<f64>> = bench
                .deltas(tensor)
                .iter()
                .zip(recipe.vectors())
                .map(|(v, vector)| thinned(v, &method.rule_of(vector)))
                .collect();
            let c = as_f32(w);
            let elects = matches!(name, Method::Ties | Method::BreadcrumbsTies);
            let sum =
                if elects { elected(&kept, &c, method.normalize()) } else { summed(&kept, &c, method.normalize()) };
            let exact = added(&bench.elements("target", tensor), method.lambda(), &sum);
            assert_nearest(&written, tensor, &exact, &format!("{name} {what} {dtypes:?}"));
        }
    }
}

#[test]
fn ranks_are_those_of_a_plain_sort_at_every_density() {
    for (dtypes, each) in [
        (&[Dtype::BF16][..], coarse as fn(u64, Dtype) -> Model),
        (&[Dtype::F16], smooth),
        (&[Dtype::F32], smooth),
        (&[Dtype::BF16, Dtype::F32, Dtype::F16], coarse),
    ] {
        for density in [0.0, 1e-9, 0.37, 0.999, 1.0] {
            ranked(dtypes, each, |recipe| recipe.method.density = Some(density), &format!("density {density}"));
        }
    }
}

#[test]
fn each_vector_may_keep_another_share_in_another_way() {
    for each in [coarse, smooth] {
        let change = |recipe: &mut Recipe| {
            recipe.method.lambda = Some(0.7);
            recipe.vector.sparsify = Some(Sparsify::Breadcrumbs);
            recipe.vector.density = Some(0.5);
            recipe.vector.gamma = Some(0.1);
            recipe.others[0].sparsify = Some(Sparsify::Trim);
            recipe.others[0].density = Some(0.1);
            recipe.others[1].sparsify = Some(Sparsify::None);
        };
        ranked(&[Dtype::BF16], each, change, "own sparsify");
        let crossed = |recipe: &mut Recipe| {
            recipe.others.truncate(2);
            for (vector, (density, gamma)) in recipe.vectors_mut().zip([(0.9, 0.3), (0.2, 0.95), (0.5, 0.5)]) {
                (vector.sparsify, vector.density, vector.gamma) =
                    (Some(Sparsify::Breadcrumbs), Some(density), Some(gamma));
            }
        };
        ranked(&[Dtype::F32], each, crossed, "shares that do not fit");
    }
}

#[test]
fn rescaling_restores_the_sum_of_magnitudes() {
    for each in [coarse, smooth] {
        for normalize in [false, true] {
            let change = |recipe: &mut Recipe| {
                recipe.method.density = Some(0.3);
                recipe.method.rescale = Some(true);
                recipe.method.normalize = Some(normalize);
            };
            ranked(&[Dtype::BF16], each, change, "rescale");
            ranked(&[Dtype::F32, Dtype::F16], each, change, "rescale");
        }
    }
}

#[test]
fn equal_magnitudes_are_kept_in_the_order_of_their_indices() {
    // All 1000 of equal magnitude: TIES keeps the first 370, breadcrumbs all but the last 10 and the first.
    let model = |value: f32| {
        let values: Vec<f32> = (0..1000).map(|i| if i % 2 == 0 { value } else { -value }).collect();
        Model::new().with_tensor(Tensor::of(NORM, Dtype::BF16, &[1000], &values))
    };
    let bench = Bench::new([("base", model(0.0)), ("one", model(0.5)), ("target", model(0.0))]);
    for (name, kept) in [(Method::Trim, 0..370), (Method::Ties, 0..370), (Method::Breadcrumbs, 620..990)] {
        let spec = method(name, |method| method.density = Some(0.37));
        let (_, written) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
        let moved: Vec<usize> = decode(Dtype::BF16, &written[NORM].2)
            .iter()
            .enumerate()
            .filter(|(_, value)| **value != 0.0)
            .map(|(index, _)| index)
            .collect();
        assert_eq!(moved, kept.collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn ranks_are_exact_among_many_magnitudes_of_one_size() {
    // 50,000 different magnitudes between 1 and 1.006, about four of each: more than are counted unit by unit.
    let count = 200_000;
    let v: Vec<f32> = values(1, count, 1.0)
        .iter()
        .map(|noise| (1.0 + (noise.abs() * 1e6).rem_euclid(50_000.0).floor() * f32::EPSILON).copysign(*noise))
        .collect();
    let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(UP, Dtype::F32, &[400, 500], values));
    let zeros = vec![0.0; count];
    let bench = Bench::new([("base", model(&zeros)), ("one", model(&v)), ("target", model(&zeros))]);
    let resources = Resources { unit_bytes: 64 << 10, ..Resources::default() };
    for name in [Method::Trim, Method::Breadcrumbs] {
        for density in [0.1, 0.37, 0.5, 0.62] {
            let spec = method(name, |method| {
                method.density = Some(density);
                method.gamma = (name == Method::Breadcrumbs).then_some(0.2);
            });
            let recipe = bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]);
            let (_, written) = bench.try_merge(&recipe, &resources).unwrap();
            let expected = thinned(&bench.delta("base", "one", UP), &recipe.method.rule_of(&recipe.vector));
            assert!(numbers(Dtype::F32, &written[UP].2) == expected, "{name} {density}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn ranks_of_any_values_are_those_of_a_plain_sort(
        bits in proptest::collection::vec(
            prop_oneof![
                any::<u32>(),
                Just(0),
                Just(0x8000_0000),
                0_u32..4,
                Just(0x3f80_0000),
                (0_u32..8).prop_map(|low| 0x3f80_0000 + low),
            ],
            1..300,
        ),
        density in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
        gamma in 0.0..1.0,
    ) {
        let v: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).filter(|value| value.is_finite()).collect();
        let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[values.len()], values));
        let zeros = vec![0.0; v.len()];
        let bench = Bench::new([("base", model(&zeros)), ("one", model(&v)), ("target", model(&zeros))]);
        for name in [Method::Ties, Method::Breadcrumbs] {
            let spec = method(name, |method| {
                method.density = Some(density);
                method.gamma = (name == Method::Breadcrumbs).then_some(gamma);
            });
            let recipe = bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]);
            let (_, written) = bench.merge(&recipe);
            let expected = thinned(&bench.delta("base", "one", NORM), &recipe.method.rule_of(&recipe.vector));
            prop_assert_eq!(numbers(Dtype::F32, &written[NORM].2), expected);
        }
    }
}

#[test]
fn denormals_the_largest_numbers_and_single_elements_are_ranked_too() {
    let tiny = f32::from_bits(1);
    let cases: [(&[f32], f64, &[usize]); 6] = [
        (&[tiny, 0.0, -3.0 * tiny, 2.0 * tiny], 0.5, &[2, 3]),
        (&[0.0; 4], 0.5, &[]),
        (&[f32::MAX, -f32::MAX, 1.0, tiny], 0.5, &[0, 1]),
        (&[1.0], 1e-9, &[0]),
        (&[-0.0, 0.0, 0.0, tiny], 0.25, &[3]),
        (&[1.0, 1.0 + f32::EPSILON, 1.0, 1.0 - f32::EPSILON], 0.5, &[0, 1]),
    ];
    for (v, density, kept) in cases {
        let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[values.len()], values));
        let zeros = vec![0.0; v.len()];
        let bench = Bench::new([("base", model(&zeros)), ("one", model(v)), ("target", model(&zeros))]);
        let spec = method(Method::Ties, |method| method.density = Some(density));
        let (_, written) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
        let found = decode(Dtype::F32, &written[NORM].2);
        let expected: Vec<f32> = (0..v.len()).map(|i| if kept.contains(&i) { v[i] } else { 0.0 }).collect();
        assert_eq!(found, expected, "{v:?}");
    }
}

#[test]
fn stochastic_rounding_gives_one_of_the_two_neighbours_and_keeps_the_mean() {
    let bench = Bench::of_dtypes(&[Dtype::F32], smooth);
    let mut recipe =
        bench.recipe(method(Method::Ties, |method| method.density = Some(0.8)), bench.three([0.3, 0.4, 0.5]));
    recipe.output.dtype = OutputDtype::Bf16;
    recipe.output.rounding = Rounding::Stochastic;
    let (_, written) = bench.merge(&recipe);
    let c = as_f32([0.3, 0.4, 0.5]);
    let (mut error, mut variance) = (0.0, 0.0);
    for (tensor, _) in SHAPES {
        let kept: Vec<Vec<f64>> = bench.deltas(tensor).iter().map(|v| combining::trimmed(v, 0.8)).collect();
        let exact = added(&bench.elements("target", tensor), 1.0, &elected(&kept, &c, true));
        for (found, exact) in numbers(Dtype::BF16, &written[tensor].2).into_iter().zip(exact) {
            let step = (nearest(Dtype::BF16, exact).abs() / 128.0).max(f64::MIN_POSITIVE);
            assert!((found - exact).abs() < step, "{found} for {exact}");
            error += (found - exact) / step;
            variance += 0.25;
        }
    }
    // A variance of at most 1∕4 each: five standard errors.
    assert!(error.abs() < 5.0 * f64::sqrt(variance), "{error}");
}

#[test]
fn the_report_counts_the_whole_intended_change() {
    let bench = Bench::of_dtypes(&[Dtype::BF16], smooth);
    let w = [0.02, -0.05, 0.03];
    let spec = method(Method::Ties, |method| (method.density, method.normalize) = (Some(0.6), Some(false)));
    let (report, written) = bench.merge(&bench.recipe(spec, bench.three(w)));
    for tensor in &report.tensors {
        let kept: Vec<Vec<f64>> = bench.deltas(&tensor.name).iter().map(|v| combining::trimmed(v, 0.6)).collect();
        let intended = elected(&kept, &as_f32(w), false);
        let target = bench.elements("target", &tensor.name);
        let out = numbers(Dtype::BF16, &written[&tensor.name].2);
        let change: Vec<f64> = out.iter().zip(&target).map(|(out, target)| out - target).collect();
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs() + 1e-15;
        let found = &tensor.change;
        assert!(close(found.intended_sq, combining::dot(&intended, &intended)), "{}", tensor.name);
        assert!(close(found.vector_sq, combining::dot(&intended, &intended)));
        assert!(close(found.written_sq, combining::dot(&change, &change)));
        assert!(close(found.intended_written, combining::dot(&intended, &change)));
        let updates = intended.iter().filter(|value| **value != 0.0).count() as u64;
        let lost = intended.iter().zip(&change).filter(|(a, b)| **a != 0.0 && **b == 0.0).count() as u64;
        assert_eq!((found.updates, found.lost), (updates, lost));
    }
    assert!(report.total().lost > 20, "bf16 loses some of so small a step");
}

#[test]
fn an_update_far_below_its_weight_counts_as_lost() {
    // Below half a unit of the last place even of f64.
    let model = |value: f32| Model::new().with_tensor(Tensor::of(NORM, Dtype::F32, &[3], &[value; 3]));
    let bench = Bench::new([("base", model(0.0)), ("one", model(1e-20)), ("target", model(1.0))]);
    for spec in [MethodSpec::default(), method(Method::TaskArithmetic, |method| method.lambda = Some(2.0))] {
        let (report, _) = bench.merge(&bench.recipe(spec, vec![bench.vector("base", "one", 1.0)]));
        assert_eq!((report.total().updates, report.total().lost), (3, 3));
        assert!(report.total().intended() > 1e-20);
    }
}
