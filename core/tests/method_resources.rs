//! Every method gives the same bytes and the same report whatever the resources and however the inputs are cut.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use combining::{Bench, coarse, method, smooth};
use mergescope_core::checkpoint::{Dtype, ReadPath};
use mergescope_core::merge::TensorReport;
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, MethodSpec, Parameter, Rounding, VectorSpec};
use mergescope_core::stream::Resources;
use support::{Model, Tensor, Written};

/// Threads, bytes of a unit, bytes of memory.
const RESOURCES: [(usize, u64, u64); 7] = [
    (1, 8 << 20, 1 << 30),
    (2, 8 << 20, 1 << 30),
    (5, 8 << 20, 1 << 30),
    (1, 16 << 10, 1 << 30),
    (2, 48 << 10, 1 << 30),
    (5, 16 << 10, 1 << 30),
    (3, 8 << 20, 1),
];

/// The same models in one file each and in several.
fn benches(each: impl Fn(u64, Dtype) -> Model) -> [Bench; 2] {
    // A matrix of four leaves whose rows cross the ends of units, and a long vector.
    let larger = |seed: u64, dtype| {
        let model = each(seed, dtype);
        let more = support::values(seed + 900, 37 * 997, 0.05);
        let long = support::values(seed + 950, 20_000, 0.05);
        model
            .with_tensor(Tensor::of("model.layers.1.mlp.gate_proj.weight", dtype, &[37, 997], &more))
            .with_tensor(Tensor::of("model.layers.1.input_layernorm.weight", dtype, &[20_000], &long))
    };
    let dtypes = [Dtype::BF16, Dtype::F32];
    let whole = Bench::of_dtypes(&dtypes, larger);
    let sharded = Bench::of_dtypes(&dtypes, |seed, dtype| larger(seed, dtype).with_shards(3));
    [whole, sharded]
}

type Outcome = (Written, Vec<TensorReport>);

fn assert_one_outcome(
    benches: &[Bench; 2],
    what: &str,
    spec: &MethodSpec,
    vectors: impl Fn(&Bench) -> Vec<VectorSpec>,
    rounding: Rounding,
) {
    let mut seen: Option<Outcome> = None;
    for bench in benches {
        for (threads, unit_bytes, memory_bytes) in RESOURCES {
            let mut recipe = bench.recipe(spec.clone(), vectors(bench));
            recipe.output.rounding = rounding;
            let resources = Resources { threads, unit_bytes, memory_bytes, read_path: ReadPath::Positional };
            let (report, written) = bench.try_merge(&recipe, &resources).unwrap();
            let outcome = (written, report.tensors);
            let first = seen.get_or_insert_with(|| outcome.clone());
            assert!(
                *first == outcome,
                "{what} {rounding:?}: {threads} threads, units of {unit_bytes}, {memory_bytes} bytes"
            );
        }
    }
}

#[test]
fn every_method_gives_the_same_bytes_whatever_the_resources() {
    let benches = benches(smooth);
    for name in Method::ALL {
        let mut specs = vec![method(name, |method| {
            if name.uses(Parameter::Density) {
                method.density = Some(0.37);
            }
            if name.uses(Parameter::Rescale) {
                method.rescale = Some(true);
            }
            if name == Method::Sce {
                method.select_topk = Some(0.3);
            }
        })];
        if name == Method::Nuslerp {
            specs.push(method(name, |method| method.flatten = Some(false)));
            specs.push(method(name, |method| (method.flatten, method.row_wise) = (Some(false), Some(true))));
        }
        for spec in &specs {
            let vectors = |bench: &Bench| match name {
                Method::Linear => vec![bench.whole("one", 0.3), bench.whole("three", 0.5)],
                Method::Slerp => vec![bench.whole("three", 0.4)],
                Method::Nuslerp => vec![bench.vector("base", "one", 0.3), bench.vector("other-base", "three", 0.5)],
                _ => bench.three([0.3, -0.8, 1.7]),
            };
            // One seed for what is dropped and how it is rounded, where both draw.
            let rounding = if name == Method::DareTies { Rounding::Stochastic } else { Rounding::Nearest };
            assert_one_outcome(&benches, name.label(), spec, vectors, rounding);
        }
    }
}

#[test]
fn ties_among_equals_and_controls_do_not_depend_on_the_resources() {
    let benches = benches(coarse);
    let spec = method(Method::Ties, |method| method.density = Some(0.37));
    assert_one_outcome(&benches, "ties", &spec, |bench| bench.three([0.3, -0.8, 1.7]), Rounding::Nearest);
    let spec = method(Method::Breadcrumbs, |method| (method.density, method.gamma) = (Some(0.5), Some(0.2)));
    assert_one_outcome(&benches, "breadcrumbs", &spec, |bench| bench.three([0.3, -0.8, 1.7]), Rounding::Nearest);
    for kind in [ControlKind::ShuffleSigns, ControlKind::Noise] {
        let vectors = |bench: &Bench| {
            let mut vectors = bench.three([0.3, -0.8, 1.7]);
            vectors.iter_mut().take(2).for_each(|vector| vector.control = Some(ControlSpec { kind, seed: 4 }));
            vectors
        };
        let spec = method(Method::Ties, |method| method.density = Some(0.2));
        assert_one_outcome(&benches, kind.label(), &spec, vectors, Rounding::Nearest);
    }
}

#[test]
fn mergekits_steps_do_not_depend_on_the_resources_either() {
    let benches = benches(smooth);
    for name in [Method::Ties, Method::Della, Method::Sce, Method::ModelStock] {
        let vectors = |bench: &Bench| vec![bench.vector("base", "one", 0.3), bench.vector("base", "two", 0.6)];
        let spec = method(name, |method| {
            if name.uses(Parameter::Density) {
                method.density = Some(0.4);
            }
        });
        for rounding in [Rounding::MergekitF32, Rounding::MergekitBf16] {
            let mut seen: Option<Outcome> = None;
            for bench in &benches {
                for (threads, unit_bytes, memory_bytes) in RESOURCES {
                    let mut recipe = bench.recipe(spec.clone(), vectors(bench));
                    // mergekit adds to the base model.
                    recipe.target = bench.path("base");
                    recipe.output.rounding = rounding;
                    let resources = Resources { threads, unit_bytes, memory_bytes, read_path: ReadPath::Mapped };
                    let (report, written) = bench.try_merge(&recipe, &resources).unwrap();
                    let outcome = (written, report.tensors);
                    assert!(*seen.get_or_insert_with(|| outcome.clone()) == outcome, "{name} {rounding:?}");
                }
            }
        }
    }
}
