//! What rounding would leave, previewed on samples, against real merges; and the closed forms for any w.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{Change, FULL_SAMPLE, Overview, RoundingPreview, VectorAnalysis, measure};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::Part;
use mergescope_core::merge::{MergeReport, merge};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, OutputSpec, Recipe, Rounding};
use mergescope_core::stream::Resources;
use safetensors::SafeTensors;
use support::{Folders, Model, Size, Tensor, decode, related, values};

const UP: &str = "model.layers.0.mlp.up_proj.weight";

fn measured(folders: &Folders) -> VectorAnalysis {
    let triple = folders.open();
    measure(&triple, &Alignment::new(&triple), &Resources::default(), &Control::new()).unwrap()
}

fn merged(folders: &Folders, w: f64, output: &OutputSpec) -> MergeReport {
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
    recipe.vector.w = w;
    recipe.output = output.clone();
    let out = folders.dir.path().join("merged");
    let _ = fs::remove_dir_all(&out);
    merge(&recipe, &out, &Resources::default(), &Control::new()).unwrap()
}

/// One tensor of `count` elements in bf16 whose updates are small enough for rounding to matter; `zero_share` of them
/// are zero.
fn subtle(count: usize, zero_share: f64) -> Folders {
    let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(UP, Dtype::BF16, &[count / 100, 100], values));
    let pre = values(1, count, 0.02);
    let chance = values(3, count, 1.0);
    let mut spread = chance.clone();
    spread.sort_by(f32::total_cmp);
    let bound = spread[((count as f64 * zero_share) as usize).min(count - 1)];
    let step = values(2, count, 1e-4);
    let post: Vec<f32> = (0..count).map(|i| if chance[i] < bound { pre[i] } else { pre[i] + step[i] }).collect();
    let target: Vec<f32> = pre.iter().zip(values(4, count, 1e-3)).map(|(pre, other)| pre + other).collect();
    Folders::write(&model(&pre), &model(&post), &model(&target))
}

const WS: [f64; 8] = [-1.0, -0.25, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0];

#[test]
fn survival_of_a_small_tensor_is_the_exact_count_of_a_merge() {
    let (pre, _, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &pre.tuned(2, 0.004), &target);
    let analysis = measured(&folders);
    let output = OutputSpec::default();
    let preview = RoundingPreview::new(&analysis, &output);
    for w in WS {
        let report = merged(&folders, w, &output);
        for (position, tensor) in analysis.tensors.iter().enumerate() {
            assert!(tensor.sample.is_complete());
            let change = &report.tensors.iter().find(|other| other.name == tensor.name).unwrap().change;
            let found = preview.survival([(position, w as f32)]);
            assert_eq!(found.margin, 0.0, "a count is no estimate");
            let survived = change.updates - change.lost;
            let counted = (found.value * change.updates as f64).round();
            assert_eq!(counted as u64, survived, "{} at w = {w}", tensor.name);
        }
        let all = preview.survival((0..analysis.tensors.len()).map(|position| (position, w as f32)));
        assert!((all.value - (1.0 - report.total().lost_share())).abs() < 1e-12);
        let effect = preview.effect((0..analysis.tensors.len()).map(|at| (at, w as f32)));
        assert!((effect.effective_w.value - report.total().effective_w()).abs() < 1e-9, "w = {w}");
        assert!((effect.cosine - report.total().cosine()).abs() < 1e-9, "w = {w}");
    }
}

#[test]
fn updates_lost_to_a_shorter_output_are_counted_as_such() {
    // f32 models written as bf16: hardly an element equals the target's, and yet most updates leave no trace.
    let (pre, _, target) = related(Size::default(), Dtype::F32);
    let folders = Folders::write(&pre, &pre.tuned(2, 0.002), &target);
    let analysis = measured(&folders);
    let output = OutputSpec { dtype: OutputDtype::Bf16, ..OutputSpec::default() };
    let preview = RoundingPreview::new(&analysis, &output);
    for w in WS {
        let lost = merged(&folders, w, &output).total().lost_share();
        let survival = preview.survival((0..analysis.tensors.len()).map(|position| (position, w as f32)));
        assert!((survival.value - (1.0 - lost)).abs() < 1e-12, "w = {w}: {survival:?}, lost {lost}");
        assert!(lost > 0.3 || w.abs() == 1.0, "w = {w}: lost {lost}");
    }
}

#[test]
fn survival_of_a_large_tensor_is_estimated_to_within_a_point() {
    for zero_share in [0.0, 0.7, 0.95] {
        let folders = subtle(400_000, zero_share);
        let analysis = measured(&folders);
        let tensor = &analysis.tensors[0];
        assert_eq!((tensor.sample.len() as u64, tensor.sample.is_complete()), (FULL_SAMPLE, false));
        let output = OutputSpec::default();
        let preview = RoundingPreview::new(&analysis, &output);
        for w in WS {
            let report = merged(&folders, w, &output).total();
            let found = preview.survival([(0, w as f32)]);
            let counted = 1.0 - report.lost_share();
            assert!(found.margin > 0.0 && found.margin <= 0.010_1, "{found:?}");
            // Thrice the half width: a sample that is off by as much is no bad luck.
            assert!((found.value - counted).abs() <= 1.5 * 0.01, "{found:?} for {counted} at w = {w}");
            let effect = preview.effect((0..analysis.tensors.len()).map(|at| (at, w as f32))).effective_w;
            assert!(effect.margin > 0.0 && effect.margin < 0.05 * w.abs().max(0.25), "{effect:?}");
            assert!((effect.value - report.effective_w()).abs() <= 2.0 * effect.margin, "{effect:?} at w = {w}");
        }
    }
}

#[test]
fn other_outputs_are_previewed_as_they_would_be_written() {
    let folders = subtle(60_000, 0.0);
    let analysis = measured(&folders);
    let at = |output: &OutputSpec| {
        let preview = RoundingPreview::new(&analysis, output);
        (
            preview.survival([(0, 0.1)]).value,
            preview.effect((0..analysis.tensors.len()).map(|at| (at, 0.1))).effective_w.value,
        )
    };
    let spec = |dtype, rounding| OutputSpec { dtype, rounding, ..OutputSpec::default() };
    let (bf16, f32) = (spec(OutputDtype::Bf16, Rounding::Nearest), spec(OutputDtype::F32, Rounding::Nearest));
    assert!(at(&bf16).0 < 0.6, "{:?}", at(&bf16));
    assert!(at(&f32).0 > 0.999 && (at(&f32).1 - 0.1).abs() < 1e-4, "{:?}", at(&f32));
    let f16 = spec(OutputDtype::F16, Rounding::Nearest);
    assert!(at(&bf16).0 < at(&f16).0 && at(&f16).0 < at(&f32).0);
    let stochastic = at(&spec(OutputDtype::Bf16, Rounding::Stochastic));
    assert!(stochastic.0.is_nan() && (stochastic.1 - 0.1).abs() < 1e-7, "{stochastic:?}");
}

#[test]
fn w_zero_and_a_zero_vector_have_no_survival() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let analysis = measured(&Folders::write(&pre, &post, &target));
    let preview = RoundingPreview::new(&analysis, &OutputSpec::default());
    assert!(preview.survival([(0, 0.0)]).value.is_nan());
    assert_eq!(preview.effect((0..analysis.tensors.len()).map(|at| (at, 0.0))).effective_w.value, 0.0);
    let zero = measured(&Folders::write(&pre, &pre, &target));
    let preview = RoundingPreview::new(&zero, &OutputSpec::default());
    assert!(preview.survival([(0, 1.0)]).value.is_nan());
    assert!(preview.effect((0..zero.tensors.len()).map(|at| (at, 1.0))).effective_w.value.is_nan());
}

#[test]
fn closed_forms_agree_with_merges_at_five_values_of_w() {
    let size = Size { hidden: 96, ffn: 200, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let analysis = measured(&folders);
    let output = OutputSpec { dtype: OutputDtype::F32, ..OutputSpec::default() };
    for w in [-0.5, 0.25, 0.5, 1.0, 1.7] {
        let report = merged(&folders, w, &output);
        let file = fs::read(folders.dir.path().join("merged/model.safetensors")).unwrap();
        let written = SafeTensors::deserialize(&file).unwrap();
        let (mut merged_sq, mut target_sq, mut product) = (0.0, 0.0, 0.0);
        for tensor in &analysis.tensors {
            let merged = decode(Dtype::F32, written.tensor(&tensor.name).unwrap().data());
            for (t, m) in decode(Dtype::BF16, &target.tensor(&tensor.name).bytes).into_iter().zip(merged) {
                let (t, m) = (f64::from(t), f64::from(m));
                (merged_sq, target_sq, product) = (merged_sq + m * m, target_sq + t * t, product + t * m);
            }
        }
        let change = Change::of(analysis.tensors.iter().map(|tensor| (&tensor.sums.gram, w as f32)));
        let cosine = product / (merged_sq * target_sq).sqrt();
        assert!((change.cos_target() - cosine).abs() < 1e-6, "w = {w}: {} {cosine}", change.cos_target());
        assert!((change.norm() / report.total().written() - 1.0).abs() < 1e-5, "w = {w}");
        assert!((change.relative() - report.total().written() / target_sq.sqrt()).abs() < 1e-6 * change.relative());
        let merged_norm = (change.target_sq + 2.0 * change.target_change + change.change_sq).sqrt();
        assert!((merged_norm / merged_sq.sqrt() - 1.0).abs() < 1e-6, "w = {w}");
    }
}

#[test]
fn a_cell_of_many_tensors_survives_as_they_do_one_by_one() {
    const EXPERTS: usize = 48;
    let model = |value: &dyn Fn(u64, usize) -> Vec<f32>| {
        let name = |expert| format!("model.layers.0.mlp.experts.{expert}.up_proj.weight");
        // Each is larger than its sample.
        let tensors = (0..EXPERTS).map(|expert| (name(expert), value(expert as u64, 24_000)));
        tensors.fold(Model::new(), |model, (name, values)| {
            model.with_tensor(Tensor::of(&name, Dtype::BF16, &[200, 120], &values))
        })
    };
    let pre = |expert: u64, count| values(100 + expert, count, 0.02);
    let post = |expert: u64, count| {
        // Experts move by different amounts.
        let step = values(300 + expert, count, 2e-5 * (4 + expert) as f32);
        pre(expert, count).iter().zip(step).map(|(pre, step)| pre + step).collect()
    };
    let pre = model(&pre);
    let analysis = measured(&Folders::write(&pre, &model(&post), &pre));
    assert!(analysis.tensors.iter().all(|tensor| !tensor.sample.is_complete()));
    let preview = RoundingPreview::new(&analysis, &OutputSpec::default());
    let overview = Overview::new(&analysis);
    let cell = overview.groups[0].cell(Part::Expert).unwrap();
    for w in WS {
        let together = preview.cell_survival(cell, w as f32);
        let one_by_one = preview.survival((0..EXPERTS).map(|tensor| (tensor, w as f32)));
        assert!((together.value - one_by_one.value).abs() < 3e-4, "at {w}: {together:?}, not {one_by_one:?}");
        // Never more certain, and not much less: the shares of the experts differ.
        let (least, most) = (one_by_one.margin, 1.6 * one_by_one.margin + 2e-4);
        assert!((least..most).contains(&together.margin), "at {w}: {together:?} against {one_by_one:?}");
    }
    assert!(preview.cell_survival(cell, 0.0).value.is_nan());
}
