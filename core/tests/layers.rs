//! Layers compared with one another, against sums in f64.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{LayerProducts, LayerProductsError, MAX_LAYERS, layer_products};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::{Part, place};
use mergescope_core::progress::Control;
use mergescope_core::stream::{Resources, StreamError};
use support::{Folders, Model, Size, Tensor, decode, related, values};

fn compared(folders: &Folders, resources: &Resources) -> LayerProducts {
    let triple = folders.open();
    layer_products(&triple, &Alignment::new(&triple), resources, &Control::new()).unwrap()
}

/// Models of f32 tensors: pre is zero, post is the given deltas, and target is pre.
fn with_deltas(deltas: &[(String, Vec<f32>)]) -> Folders {
    let model = |scale: f32| {
        deltas.iter().fold(Model::new(), |model, (name, delta)| {
            let delta: Vec<f32> = delta.iter().map(|value| value * scale).collect();
            model.with_tensor(Tensor::of(name, Dtype::F32, &[1, delta.len()], &delta))
        })
    };
    Folders::write(&model(0.0), &model(1.0), &model(0.0))
}

fn up(layer: u32) -> String {
    format!("model.layers.{layer}.mlp.up_proj.weight")
}

#[test]
fn every_product_agrees_with_a_sum_in_f64() {
    let size = Size { layers: 4, hidden: 96, ffn: 200, ..Size::default() };
    for dtype in [Dtype::BF16, Dtype::F32, Dtype::F8_E5M2] {
        let (pre, post, target) = related(size, dtype);
        let products = compared(&Folders::write(&pre, &post, &target), &Resources::default());
        assert_eq!(products.layers, [0, 1, 2, 3]);
        let parts: Vec<Part> = products.parts.iter().map(|(part, _)| *part).collect();
        assert_eq!(parts, [Part::Q, Part::K, Part::V, Part::O, Part::Gate, Part::Up, Part::Down, Part::Norm]);
        for (part, matrix) in &products.parts {
            for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                let (mut expected, mut scale) = (0.0, 0.0);
                for tensor in &pre.tensors {
                    let here = place(&tensor.name);
                    if here.part != *part || here.layer != Some(i) {
                        continue;
                    }
                    let there = tensor.name.replace(&format!(".{i}."), &format!(".{j}."));
                    let delta = |name: &str| -> Vec<f64> {
                        let [a, b] = [&pre, &post].map(|model| decode(dtype, &model.tensor(name).bytes));
                        a.iter().zip(b).map(|(a, b)| f64::from(b) - f64::from(*a)).collect()
                    };
                    for (a, b) in delta(&tensor.name).into_iter().zip(delta(&there)) {
                        expected += a * b;
                        scale += (a * b).abs();
                    }
                }
                let found = matrix[(i * 4 + j) as usize];
                assert!((found - expected).abs() <= 1e-12 * scale, "{part} {i} {j}: {found} {expected}");
            }
        }
    }
}

#[test]
fn a_planted_cosine_is_read_off() {
    // Three layers: b makes an angle of cosine 0.3 with a, c is −a.
    let count = 50_000;
    let a = values(1, count, 1.0);
    let noise = values(2, count, 1.0);
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let along = dot(&a, &noise) / dot(&a, &a);
    let across: Vec<f64> = a.iter().zip(&noise).map(|(a, n)| f64::from(*n) - along * f64::from(*a)).collect();
    let length = (dot(&a, &a) / across.iter().map(|x| x * x).sum::<f64>()).sqrt();
    let sine = (1.0 - 0.3_f64 * 0.3).sqrt();
    let b = a.iter().zip(&across).map(|(a, x)| (0.3 * f64::from(*a) + sine * length * x) as f32).collect();
    let c = a.iter().map(|a| -a).collect();
    let products = compared(&with_deltas(&[(up(0), a), (up(1), b), (up(2), c)]), &Resources::default());
    let cosines = products.cosine(|_| true);
    let expected = [1.0, 0.3, -1.0, 0.3, 1.0, -0.3, -1.0, -0.3, 1.0];
    for (found, expected) in cosines.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{cosines:?}");
    }
}

#[test]
fn the_products_do_not_depend_on_threads_units_or_memory() {
    let size = Size { layers: 5, hidden: 128, ffn: 320, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let folders = Folders::write(&pre.with_shards(3), &post, &target.with_shards(4));
    let one = compared(&folders, &Resources { threads: 1, ..Resources::default() });
    for (threads, memory_bytes) in [(4, 1 << 30), (3, 1)] {
        let other = compared(&folders, &Resources { threads, memory_bytes, ..Resources::default() });
        assert_eq!(one.parts, other.parts);
    }
}

#[test]
fn parts_are_picked_one_by_one_or_together() {
    // Alike in up, opposite and twice as long in down.
    let down = |layer| format!("model.layers.{layer}.mlp.down_proj.weight");
    let deltas = [(up(0), vec![1.0, 0.0]), (up(1), vec![1.0, 0.0])];
    let others = [(down(0), vec![0.0, 2.0]), (down(1), vec![0.0, -2.0])];
    let products = compared(&with_deltas(&[deltas, others].concat()), &Resources::default());
    assert_eq!(products.cosine(|part| part == Part::Up), [1.0; 4]);
    assert_eq!(products.cosine(|part| part == Part::Down), [1.0, -1.0, -1.0, 1.0]);
    assert!((products.cosine(|_| true)[1] - (1.0 - 4.0) / 5.0).abs() < 1e-15);
    assert!(products.cosine(|part| part == Part::Q).iter().all(|cosine| cosine.is_nan()));
}

#[test]
fn a_layer_without_the_part_or_without_movement_has_no_cosine() {
    let q = "model.layers.0.self_attn.q_proj.weight".to_owned();
    let deltas = [(up(0), vec![1.0, 1.0]), (up(3), vec![0.0, 0.0]), (up(7), vec![1.0, 1.0]), (q, vec![1.0])];
    let products = compared(&with_deltas(&deltas), &Resources::default());
    assert_eq!(products.layers, [0, 3, 7], "numbers may have gaps");
    let cosines = products.cosine(|part| part == Part::Up);
    let shown: Vec<Option<f64>> = cosines.into_iter().map(|cosine| (!cosine.is_nan()).then_some(cosine)).collect();
    let (one, none) = (Some(1.0), None);
    assert!(shown[2].is_some_and(|cosine| (cosine - 1.0).abs() < 1e-12));
    assert_eq!([shown[0], shown[1], shown[4], shown[5], shown[8]], [one, none, none, none, one]);
    let q = products.cosine(|part| part == Part::Q);
    assert!(q[0] == 1.0 && q[1..].iter().all(|cosine| cosine.is_nan()), "only layer 0 has it");
}

#[test]
fn experts_are_compared_with_the_same_expert_of_other_layers() {
    let expert = |layer, expert| format!("model.layers.{layer}.mlp.experts.{expert}.up_proj.weight");
    let deltas = [
        (expert(0, 0), vec![1.0, 0.0]),
        (expert(0, 1), vec![0.0, 1.0]),
        (expert(1, 0), vec![1.0, 0.0]),
        (expert(1, 1), vec![0.0, -1.0]),
    ];
    let products = compared(&with_deltas(&deltas), &Resources::default());
    assert_eq!(products.parts, [(Part::Expert, vec![2.0, 0.0, 0.0, 2.0])]);
}

#[test]
fn one_layer_no_layer_and_a_zero_vector_are_no_trouble() {
    let one = compared(&with_deltas(&[(up(0), vec![1.0, 2.0])]), &Resources::default());
    assert_eq!(one.cosine(|_| true), [1.0]);
    let none = compared(&with_deltas(&[("model.norm.weight".to_owned(), vec![1.0])]), &Resources::default());
    assert_eq!((none.layers.len(), none.cosine(|_| true).len()), (0, 0));
    let (pre, _, target) = related(Size::default(), Dtype::BF16);
    let zero = compared(&Folders::write(&pre, &pre, &target), &Resources::default());
    assert!(zero.parts.iter().all(|(_, products)| products.iter().all(|product| *product == 0.0)));
    assert!(zero.cosine(|_| true).iter().all(|cosine| cosine.is_nan()), "no direction, no cosine");
}

#[test]
fn nan_counts_as_no_change() {
    let deltas = [(up(0), vec![1.0, f32::NAN, 1.0]), (up(1), vec![1.0, 5.0, 1.0])];
    let model = |with: bool| {
        deltas.iter().fold(Model::new(), |model, (name, delta)| {
            let delta = if with { delta.clone() } else { vec![0.0; 3] };
            model.with_tensor(Tensor::of(name, Dtype::F32, &[3], &delta))
        })
    };
    // A target of NaN is no business of v.
    let target = Model::new().with_tensor(Tensor::of(&up(0), Dtype::F32, &[3], &[f32::NAN; 3]));
    let target = target.with_tensor(model(false).tensor(&up(1)).clone());
    let products = compared(&Folders::write(&model(false), &model(true), &target), &Resources::default());
    assert_eq!(products.parts, [(Part::Up, vec![2.0, 2.0, 2.0, 27.0])]);
    assert_eq!(products.left_out, 1);
}

#[test]
fn names_that_ask_for_too_many_layers_are_refused() {
    let deltas: Vec<_> = (0..=MAX_LAYERS as u32).map(|layer| (up(layer), vec![1.0])).collect();
    let triple = with_deltas(&deltas).open();
    let error = layer_products(&triple, &Alignment::new(&triple), &Resources::default(), &Control::new()).unwrap_err();
    assert!(matches!(error, LayerProductsError::TooManyLayers { found } if found == MAX_LAYERS + 1));
    assert!(error.to_string().contains("1025 layers"), "{error}");
}

#[test]
fn it_can_be_cancelled() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let triple = folders.open();
    let control = Control::new();
    control.cancel();
    let error = layer_products(&triple, &Alignment::new(&triple), &Resources::default(), &control).unwrap_err();
    assert!(matches!(error, LayerProductsError::Stream(StreamError::Cancelled(_))));
}
