//! The end of a rank is the one that sorting finds, and finding it takes one pass over the weights.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod combining;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use combining::{Bench, method};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::merge::merge;
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::{Method, Recipe};
use mergescope_core::stream::Resources;
use support::{Model, Tensor, decode, read_model, values};

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

/// 32 units of one leaf each, 64 stretches of 4,096 elements.
const ELEMENTS: usize = 262_144;
const STRETCH: usize = ELEMENTS / 64;
/// Of which the sample takes the first.
const SAMPLED: usize = 1024;

/// One vector v over zeros, and a target of zeros.
fn bench(dtype: Dtype, v: &[f32]) -> Bench {
    let model = |elements: &[f32]| Model::new().with_tensor(Tensor::of(NAME, dtype, &[64, STRETCH], elements));
    let zeros = vec![0.0; ELEMENTS];
    Bench::new([("pre", model(&zeros)), ("post", model(v)), ("target", model(&zeros))])
}

/// The merged tensor, and how many passes were made over the weights before the one that writes.
fn merged(bench: &Bench, recipe: &Recipe, unit_bytes: u64) -> (Vec<f32>, usize) {
    let passes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&passes);
    let control = Control::with_observer(move |progress| {
        seen.fetch_add(usize::from(progress.stage == Stage::Measuring && progress.done_bytes == 0), Ordering::Relaxed);
    });
    let folder = tempfile::tempdir_in(bench.dir.path()).unwrap();
    let output = folder.path().join("merged");
    // Each unit as large as a leaf, or one unit for all.
    let resources = Resources { threads: 2, unit_bytes, ..Resources::default() };
    merge(recipe, &output, &resources, &control).unwrap();
    let (dtype, _, bytes) = &read_model(&output)[NAME];
    (decode(*dtype, bytes), passes.load(Ordering::Relaxed))
}

/// The recipe that keeps that share of the largest elements of v, and what it comes to.
fn trimmed(bench: &Bench, v: &[f32], dtype: Dtype, density: f64) -> (Recipe, Vec<f32>) {
    let spec = method(Method::Ties, |method| method.density = Some(density));
    let recipe = bench.recipe(spec, vec![bench.vector("pre", "post", 1.0)]);
    let v = decode(dtype, &Tensor::of(NAME, dtype, &[v.len()], v).bytes);
    let mut order: Vec<usize> = (0..v.len()).collect();
    // A stable sort: of equals the first are kept.
    order.sort_by(|a, b| v[*b].abs().total_cmp(&v[*a].abs()));
    let mut kept = vec![0.0; v.len()];
    for index in &order[..(density * v.len() as f64) as usize] {
        kept[*index] = v[*index];
    }
    (recipe, kept)
}

#[test]
fn one_pass_finds_where_a_rank_ends() {
    for dtype in [Dtype::BF16, Dtype::F32] {
        let v = values(7, ELEMENTS, 3e-4);
        let bench = bench(dtype, &v);
        for density in [0.05, 0.5, 0.9] {
            let (recipe, expected) = trimmed(&bench, &v, dtype, density);
            for unit_bytes in [1, 8 << 20] {
                let (found, passes) = merged(&bench, &recipe, unit_bytes);
                assert!(found == expected, "{dtype} {density}, units of {unit_bytes}");
                assert_eq!(passes, 1, "{dtype} {density}, units of {unit_bytes}");
            }
        }
    }
}

#[test]
fn what_a_sample_suggests_decides_nothing() {
    // Wherever the sample looks elements are a thousand times as large as elsewhere.
    let mut v = values(9, ELEMENTS, 3e-4);
    for stretch in v.chunks_mut(STRETCH) {
        stretch[..SAMPLED].iter_mut().for_each(|value| *value *= 1000.0);
    }
    for dtype in [Dtype::BF16, Dtype::F32] {
        let bench = bench(dtype, &v);
        let (recipe, expected) = trimmed(&bench, &v, dtype, 0.5);
        let (found, passes) = merged(&bench, &recipe, 1);
        assert!(found == expected, "{dtype}");
        assert_eq!(passes, 2, "the rank ends elsewhere, which is counted once more");
        let (found, passes) = merged(&bench, &recipe, 8 << 20);
        assert!(found == expected && passes == 1, "a tensor in one unit needs no sample");
    }
}

#[test]
fn of_equals_across_units_the_first_are_kept() {
    let v: Vec<f32> = (0..ELEMENTS).map(|i| if i % 3 == 0 { 0.5 } else { 0.25 }).collect();
    let bench = bench(Dtype::BF16, &v);
    for density in [0.2, 0.5, 0.999] {
        let (recipe, expected) = trimmed(&bench, &v, Dtype::BF16, density);
        let (found, passes) = merged(&bench, &recipe, 1);
        assert!(found == expected && passes == 1, "{density}");
    }
}
