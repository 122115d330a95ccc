//! Several vectors with planted cosines, conflicts and supports, whatever the resources.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;

use mergescope_core::alignment::Role;
use mergescope_core::alignment::VectorPair;
use mergescope_core::analysis::{Absence, VectorComparison, VectorsError, compare_vectors};
use mergescope_core::checkpoint::{Checkpoint, Dtype};
use mergescope_core::layout::Part;
use mergescope_core::progress::Control;
use mergescope_core::stream::{Resources, StreamError};
use support::{Model, Size, Tensor, decode, values};
use tempfile::TempDir;

const UP: &str = "model.layers.0.mlp.up_proj.weight";
const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

/// Models in a temporary folder, each opened once.
struct Models {
    dir: TempDir,
    opened: Vec<Arc<Checkpoint>>,
}

impl Models {
    fn write(models: &[&Model]) -> Self {
        let dir = TempDir::new().unwrap();
        let opened = models.iter().enumerate().map(|(index, model)| {
            let path = dir.path().join(index.to_string());
            model.write(&path);
            open(&path)
        });
        let opened = opened.collect();
        Self { dir, opened }
    }

    /// All models after the first as vectors from the first.
    fn vectors(&self) -> Vec<VectorPair> {
        let pair = |post: &Arc<Checkpoint>| VectorPair { pre: self.opened[0].clone(), post: post.clone() };
        self.opened[1..].iter().map(pair).collect()
    }

    fn compare(&self, resources: &Resources) -> VectorComparison {
        compare_vectors(&self.vectors(), resources, &Control::new()).unwrap()
    }
}

fn open(path: &Path) -> Arc<Checkpoint> {
    Arc::new(Checkpoint::open(path).unwrap())
}

fn model(values: &[f32]) -> Model {
    Model::new().with_tensor(Tensor::of(UP, Dtype::F32, &[1, values.len()], values))
}

#[test]
fn a_planted_cosine_is_read_off() {
    // b = 0.3 a + √(1 − 0.3²) c, where a = (x, x) and c = (x, −x) are orthogonal and equally long.
    let x = values(1, 15_000, 1.0);
    let a = [&x[..], &x[..]].concat();
    let c: Vec<f32> = x.iter().copied().chain(x.iter().map(|x| -x)).collect();
    let b: Vec<f32> = a.iter().zip(&c).map(|(a, c)| 0.3 * a + 0.91_f32.sqrt() * c).collect();
    let zero = model(&vec![0.0; a.len()]);
    let found = Models::write(&[&zero, &model(&a), &model(&b)]).compare(&Resources::default());
    let sums = found.sums(0, 1, |_| true);
    assert!((sums.cosine() - 0.3).abs() < 1e-6, "{}", sums.cosine());
    assert_eq!((found.sums(0, 0, |_| true).cosine(), found.sums(1, 0, |_| true).cosine()), (1.0, sums.cosine()));
}

#[test]
fn planted_conflicts_and_supports_are_counted() {
    // Of 1,000 elements a moves the first 600, b the last 700: both 300, either 1,000. Every fourth is opposed.
    let pre = values(3, 1000, 1.0).into_iter().map(f32::round).collect::<Vec<_>>();
    let step = |from: usize, to: usize, sign: fn(usize) -> f32| -> Vec<f32> {
        pre.iter().enumerate().map(|(i, pre)| pre + if (from..to).contains(&i) { 2.0 * sign(i) } else { 0.0 }).collect()
    };
    let a = step(0, 600, |i| if i % 2 == 0 { 1.0 } else { -1.0 });
    let b = step(300, 1000, |i| if (i % 2 == 0) == (i % 4 != 2) { 1.0 } else { -1.0 });
    let found = Models::write(&[&model(&pre), &model(&a), &model(&b)]).compare(&Resources::default());
    let sums = found.sums(0, 1, |_| true);
    assert_eq!((sums.left_moved, sums.right_moved, sums.both_moved, sums.opposed), (600, 700, 300, 75));
    assert_eq!((sums.support_overlap(), sums.sign_conflict_share()), (0.3, 0.25));
    assert_eq!((sums.left_sq, sums.right_sq, sums.product), (2400.0, 2800.0, 4.0 * 150.0));
    let reversed = found.sums(1, 0, |_| true);
    assert_eq!((reversed.left_moved, reversed.right_moved, reversed.support_overlap()), (700, 600, 0.3));
}

#[test]
fn three_vectors_agree_with_a_sum_in_f64_per_tensor_part_and_layer() {
    let size = Size { hidden: 96, ffn: 200, ..Size::default() };
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F8_E4M3, Dtype::F64] {
        let pre = Model::qwen2(size, dtype, 1);
        let posts = [pre.tuned(2, 0.3), pre.tuned(3, 0.2), pre.tuned(4, 0.1)];
        let found = Models::write(&[&pre, &posts[0], &posts[1], &posts[2]]).compare(&Resources::default());
        assert!(found.left_out.is_empty() && found.vectors == 3);
        assert_eq!(found.tensors.len(), pre.tensors.len());
        let mut in_layer_one = 0.0;
        for tensor in &found.tensors {
            let of = |model: &Model| decode(dtype, &model.tensor(&tensor.name).bytes);
            let base = of(&pre);
            let v = posts.each_ref().map(|post| -> Vec<f64> {
                of(post).iter().zip(&base).map(|(post, pre)| f64::from(*post) - f64::from(*pre)).collect()
            });
            for (pair, (a, b)) in tensor.pairs.iter().zip([(0, 1), (0, 2), (1, 2)]) {
                let both = || v[a].iter().zip(&v[b]);
                let product: f64 = both().map(|(a, b)| a * b).sum();
                assert!((pair.product - product).abs() <= 1e-12 * (pair.left_sq + pair.right_sq), "{}", tensor.name);
                assert_eq!(pair.opposed, both().filter(|(a, b)| *a * *b < 0.0).count() as u64);
                assert_eq!(pair.both_moved, both().filter(|(a, b)| **a != 0.0 && **b != 0.0).count() as u64);
                if (a, b) == (1, 2) && tensor.place.layer == Some(1) {
                    in_layer_one += product;
                }
            }
        }
        let layer = found.sums(1, 2, |place| place.layer == Some(1));
        assert!((layer.product - in_layer_one).abs() <= 1e-12 * (layer.left_sq + layer.right_sq));
        let mut parts = 0.0;
        for part in Part::ALL {
            parts += found.sums(0, 2, |place| place.part == part).left_sq;
        }
        let total = found.sums(0, 2, |_| true).left_sq;
        assert!((parts - total).abs() <= 1e-12 * total);
    }
}

#[test]
fn the_numbers_do_not_depend_on_threads_units_or_memory() {
    let size = Size { hidden: 128, ffn: 320, ..Size::default() };
    let pre = Model::qwen2(size, Dtype::BF16, 1);
    let models = Models::write(&[&pre, &pre.tuned(2, 0.1).with_shards(3), &pre.tuned(3, 0.1)]);
    let one = models.compare(&Resources { threads: 1, ..Resources::default() });
    assert!(one.tensors.iter().any(|tensor| tensor.shape.iter().product::<u64>() > 32_768), "larger than a unit");
    for (threads, unit_bytes, memory_bytes) in [(4, 64 << 10, 1 << 30), (4, 8 << 20, 1 << 30), (3, 8 << 20, 1)] {
        let other = models.compare(&Resources { threads, memory_bytes, unit_bytes, ..Resources::default() });
        assert_eq!(one.tensors, other.tensors);
    }
}

#[test]
fn a_shared_pre_is_read_once() {
    let pre = Model::qwen2(Size::default(), Dtype::BF16, 1);
    let models = Models::write(&[&pre, &pre.tuned(2, 0.1), &pre.tuned(3, 0.1)]);
    let shared = models.compare(&Resources::default());
    let apart: Vec<VectorPair> = models
        .vectors()
        .into_iter()
        .map(|pair| VectorPair { pre: open(&models.dir.path().join("0")), post: pair.post })
        .collect();
    let apart = compare_vectors(&apart, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(shared.tensors, apart.tensors);
    let bytes = models.opened[0].total_bytes();
    assert_eq!((shared.bytes_read, apart.bytes_read), (3 * bytes, 4 * bytes));
}

#[test]
fn tensors_that_not_all_have_are_named_with_the_reason() {
    let pre = Model::qwen2(Size::default(), Dtype::BF16, 1);
    let a = pre.tuned(2, 0.1).without_tensor(DOWN);
    let b = pre
        .tuned(3, 0.1)
        .with_tensor(Tensor::of(UP, Dtype::BF16, &[4, 4], &[0.0; 16]))
        .with_tensor(Tensor::of("extra.weight", Dtype::F32, &[1], &[1.0]))
        .with_tensor(Tensor::of("model.norm.weight", Dtype::I32, &[32], &[1.0; 32]));
    let found = Models::write(&[&pre, &a, &b]).compare(&Resources::default());
    assert_eq!(found.tensors.len(), pre.tensors.len() - 3);
    let reason = |name: &str| {
        let left_out = found.left_out.iter().find(|left_out| left_out.name == name).unwrap();
        (left_out.vector, left_out.role, left_out.absence.clone())
    };
    assert_eq!(found.left_out.len(), 4);
    assert_eq!(reason(DOWN), (0, Role::Post, Absence::Missing));
    assert_eq!(reason("extra.weight"), (0, Role::Pre, Absence::Missing));
    assert_eq!(reason(UP), (1, Role::Post, Absence::Shape { found: vec![4, 4], expected: vec![48, 32] }));
    assert_eq!(reason("model.norm.weight"), (1, Role::Post, Absence::Dtype(Dtype::I32)));
    let words: Vec<String> = found.left_out.iter().map(ToString::to_string).collect();
    assert!(words.iter().any(|words| words == &format!("`{DOWN}` is missing in post of vector 0")), "{words:?}");
}

#[test]
fn a_vector_of_nothing_has_no_cosine_and_no_support() {
    let pre = Model::qwen2(Size::default(), Dtype::BF16, 1);
    let found = Models::write(&[&pre, &pre, &pre.tuned(2, 0.1)]).compare(&Resources::default());
    let sums = found.sums(0, 1, |_| true);
    assert!(sums.cosine().is_nan() && sums.sign_conflict_share().is_nan());
    assert_eq!(sums.support_overlap(), 0.0);
    assert!(found.sums(0, 0, |_| true).support_overlap().is_nan());
    assert_eq!(found.sums(0, 7, |_| true), Default::default());
}

#[test]
fn nan_is_left_out_for_all_and_counted() {
    let pre = model(&[1.0, 2.0, 3.0]);
    let models = Models::write(&[&pre, &model(&[2.0, f32::NAN, 4.0]), &model(&[2.0, 5.0, 2.0])]);
    let found = models.compare(&Resources::default());
    assert_eq!(found.tensors[0].left_out, 1);
    let sums = found.sums(0, 1, |_| true);
    assert_eq!((sums.left_sq, sums.right_sq, sums.product), (2.0, 2.0, 0.0));
    assert_eq!((sums.both_moved, sums.opposed), (2, 1));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let pre = Model::qwen2(Size::default(), Dtype::BF16, 1);
    let other = model(&[1.0]);
    let models = Models::write(&[&pre, &pre.tuned(2, 0.1), &other]);
    let vectors = models.vectors();
    let error = compare_vectors(&vectors[..1], &Resources::default(), &Control::new()).unwrap_err();
    assert!(matches!(error, VectorsError::TooFew { given: 1 }));
    let error = compare_vectors(&vectors, &Resources::default(), &Control::new()).unwrap_err();
    assert!(matches!(error, VectorsError::NothingShared { first: Some(_) }));
    assert!(error.to_string().contains("of vector 1"), "{error}");
    let control = Control::new();
    control.cancel();
    let ended = compare_vectors(&[vectors[0].clone(), vectors[0].clone()], &Resources::default(), &control);
    assert!(matches!(ended, Err(VectorsError::Stream(StreamError::Cancelled(_)))));
}
