//! The measured vector against sums in f64, whatever the resources.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{LogHistogram, VectorAnalysis, measure};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::progress::Control;
use mergescope_core::stream::Resources;
use support::{Folders, Model, Size, Tensor, decode, related};

fn measured(folders: &Folders, resources: &Resources) -> VectorAnalysis {
    let triple = folders.open();
    measure(&triple, &Alignment::new(&triple), resources, &Control::new()).unwrap()
}

#[test]
fn every_inner_product_agrees_with_a_sum_in_f64() {
    let size = Size { hidden: 96, ffn: 200, ..Size::default() };
    for dtype in [Dtype::BF16, Dtype::F32, Dtype::F8_E4M3] {
        let (pre, post, target) = related(size, dtype);
        let analysis = measured(&Folders::write(&pre, &post, &target), &Resources::default());
        assert_eq!(analysis.tensors.len(), target.tensors.len());
        for tensor in &analysis.tensors {
            let [a, b, t] = [&pre, &post, &target].map(|model| decode(dtype, &model.tensor(&tensor.name).bytes));
            let mut sums = [0.0_f64; 6];
            let (mut max, mut zeros) = (0.0_f64, 0);
            for i in 0..a.len() {
                let p = f64::from(a[i]);
                let (v, u) = (f64::from(b[i]) - p, f64::from(t[i]) - p);
                for (sum, product) in sums.iter_mut().zip([p * p, p * v, p * u, v * v, v * u, u * u]) {
                    *sum += product;
                }
                max = max.max(v.abs());
                zeros += u64::from(v == 0.0);
            }
            let g = tensor.sums.gram;
            for (found, sum) in [g.pre_pre, g.pre_v, g.pre_u, g.v_v, g.v_u, g.u_u].into_iter().zip(sums) {
                assert!((found - sum).abs() <= 1e-12 * sum.abs().max(sums[0]), "{}: {found} {sum}", tensor.name);
            }
            assert_eq!((tensor.sums.max_abs, tensor.sums.zeros), (max, zeros), "{} {dtype}", tensor.name);
        }
    }
}

#[test]
fn the_numbers_do_not_depend_on_threads_units_or_memory() {
    let size = Size { hidden: 128, ffn: 320, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target.with_shards(4));
    let one = measured(&folders, &Resources { threads: 1, ..Resources::default() });
    for (threads, unit_bytes, memory_bytes) in [(4, 64 << 10, 1 << 30), (4, 8 << 20, 1 << 30), (3, 8 << 20, 1)] {
        let other = measured(&folders, &Resources { threads, memory_bytes, unit_bytes, ..Resources::default() });
        assert_eq!(one.tensors, other.tensors);
    }
}

#[test]
fn norms_and_cosines_follow_from_the_inner_products() {
    let model = |values: [f32; 2]| {
        Model::new().with_tensor(Tensor::of("model.layers.0.mlp.up_proj.weight", Dtype::F32, &[1, 2], &values))
    };
    let folders = Folders::write(&model([3.0, 4.0]), &model([3.0, 5.0]), &model([4.0, 5.0]));
    let total = measured(&folders, &Resources::default()).total().gram;
    assert_eq!((total.norm(), total.relative_norm(), total.pre_norm()), (1.0, 0.2, 5.0));
    assert!((total.cos_vector_target() - 0.5_f64.sqrt()).abs() < 1e-15);
    assert!((total.cos_pre_post() - 29.0 / (5.0 * 34.0_f64.sqrt())).abs() < 1e-15);
}

#[test]
fn a_zero_vector_is_zero_and_not_nan() {
    let (pre, _, target) = related(Size::default(), Dtype::BF16);
    let analysis = measured(&Folders::write(&pre, &pre, &target), &Resources::default());
    let total = analysis.total().gram;
    assert_eq!((total.norm(), total.relative_norm()), (0.0, 0.0));
    assert!(total.cos_vector_target().is_nan(), "no direction, no cosine");
    assert!(
        analysis.tensors.iter().all(|tensor| tensor.sums.zeros == tensor.sums.elements && tensor.sums.max_abs == 0.0)
    );
}

#[test]
fn nan_is_counted_and_left_out() {
    let (pre, mut post, target) = related(Size::default(), Dtype::BF16);
    let name = "model.layers.0.mlp.up_proj.weight";
    post.tensor_mut(name).bytes[..2].copy_from_slice(&[0xc0, 0x7f]);
    let analysis = measured(&Folders::write(&pre, &post, &target), &Resources::default());
    let tensor = analysis.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let sums = tensor.sums;
    assert_eq!((sums.nonfinite, sums.left_out), ([0, 1, 0], 1));
    assert!(sums.gram.norm() > 0.0 && sums.max_abs.is_finite());
    assert!(sums.zeros < sums.elements);
    let histograms = [&tensor.vector_histogram, &tensor.pre_histogram].map(LogHistogram::total);
    assert_eq!(histograms[0], sums.updates(), "every update has a magnitude");
    assert!(histograms[1] <= sums.finite());
}
