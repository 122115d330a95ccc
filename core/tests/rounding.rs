//! What rounding would leave, previewed on samples, against real merges; and the closed forms for any w.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{Change, Estimate, FULL_SAMPLE, Overview, RoundingPreview, VectorAnalysis, measure};
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

fn spec(dtype: OutputDtype, rounding: Rounding) -> OutputSpec {
    OutputSpec { dtype, rounding, ..OutputSpec::default() }
}

const STEPPED: [Rounding; 2] = [Rounding::MergekitF32, Rounding::MergekitBf16];
const WRITTEN: [OutputDtype; 3] = [OutputDtype::Bf16, OutputDtype::F16, OutputDtype::F32];

#[test]
fn mergekit_modes_are_previewed_by_their_own_steps() {
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let (pre, _, target) = related(Size::default(), dtype);
        let folders = Folders::write(&pre, &pre.tuned(2, 0.004), &target);
        let analysis = measured(&folders);
        for (rounding, written) in STEPPED.into_iter().flat_map(|mode| WRITTEN.map(|written| (mode, written))) {
            let output = spec(written, rounding);
            let preview = RoundingPreview::new(&analysis, &output);
            // Some of them are no bf16, and in one mode rounded to one before anything is multiplied with them.
            for w in [-1.0, -0.25, 1e-7, 0.05, 0.3, 1.0] {
                let report = merged(&folders, w, &output);
                let context = format!("{dtype} in {rounding:?} as {written:?} at w = {w}");
                for (position, tensor) in analysis.tensors.iter().enumerate() {
                    let change = &report.tensors.iter().find(|other| other.name == tensor.name).unwrap().change;
                    let found = preview.survival([(position, w as f32)]);
                    assert_eq!(found.margin, 0.0, "a count is no estimate");
                    let counted = (found.value * change.updates as f64).round() as u64;
                    assert_eq!(counted, change.updates - change.lost, "{} of {context}", tensor.name);
                }
                let effect = preview.effect((0..analysis.tensors.len()).map(|at| (at, w as f32)));
                let expected = report.total().effective_w();
                assert!((effect.effective_w.value - expected).abs() < 1e-9 * expected.abs().max(1.0), "{context}");
            }
        }
    }
}

#[test]
fn mergekit_modes_of_a_large_tensor_are_estimated_within_the_margin() {
    let folders = subtle(60_000, 0.3);
    let analysis = measured(&folders);
    assert!(!analysis.tensors[0].sample.is_complete());
    for (rounding, written) in STEPPED.into_iter().flat_map(|mode| WRITTEN.map(|written| (mode, written))) {
        let output = spec(written, rounding);
        let preview = RoundingPreview::thorough(&analysis, &output);
        for w in [-0.3, 1e-7, 0.05, 0.25, 1.0] {
            let report = merged(&folders, w, &output).total();
            let (counted, context) = (1.0 - report.lost_share(), format!("{rounding:?} as {written:?} at w = {w}"));
            let found = preview.survival([(0, w as f32)]);
            assert!(found.margin > 0.0 && found.margin <= 0.010_1, "{found:?}, {context}");
            assert!((found.value - counted).abs() <= 1.5 * found.margin, "{found:?} for {counted}, {context}");
            let effect = preview.effect([(0, w as f32)]).effective_w;
            assert!((effect.value - report.effective_w()).abs() <= 2.0 * effect.margin, "{effect:?}, {context}");
        }
    }
}

#[test]
fn the_steps_of_bf16_change_elements_even_where_w_is_next_to_nothing() {
    let folders = subtle(9_000, 0.0);
    let analysis = measured(&folders);
    let survival = |written, rounding, w: f64| {
        let output = spec(written, rounding);
        let lost = merged(&folders, w, &output).total().lost_share();
        let found = RoundingPreview::new(&analysis, &output).survival([(0, w as f32)]).value;
        assert!((found + lost - 1.0).abs() < 1e-12, "{found} and {lost} at w = {w}");
        found
    };
    let steps = |written, w| survival(written, Rounding::MergekitBf16, w);
    assert!(survival(OutputDtype::Bf16, Rounding::Nearest, 1e-7) == 0.0 && steps(OutputDtype::Bf16, 1e-7) > 0.01);
    // Nor does a longer output help: it is the steps that round.
    assert_eq!(steps(OutputDtype::F32, 0.05), steps(OutputDtype::Bf16, 0.05));
}

#[test]
fn models_in_f64_are_sampled_to_the_last_bit() {
    // v is a hair beside the weights, which f32 would not show.
    let (pre, step) = (values(1, 2_000, 0.02), values(2, 2_000, 1e-10));
    let model = |scale: f64| {
        let values = pre.iter().zip(&step).map(|(pre, step)| f64::from(*pre) / 3.0 + scale * f64::from(*step));
        let bytes = values.flat_map(f64::to_le_bytes).collect();
        Model::new().with_tensor(Tensor::raw(UP, Dtype::F64, &[20, 100], bytes))
    };
    let folders = Folders::write(&model(0.0), &model(1.0), &model(-0.7));
    let analysis = measured(&folders);
    let outputs = [OutputDtype::F32, OutputDtype::Target].map(|written| Rounding::ALL.map(|mode| spec(written, mode)));
    for output in outputs.concat() {
        // At the first hardly an update is as large as the last bit of an f64.
        for w in [1e-9, -3.0, 0.3, 1.0, 20.0] {
            let report = merged(&folders, w, &output).total();
            let preview = RoundingPreview::new(&analysis, &output);
            if output.rounding != Rounding::Stochastic {
                let found = preview.survival([(0, w as f32)]).value;
                assert!((found + report.lost_share() - 1.0).abs() < 1e-12, "{:?} at {w}", output.rounding);
                let (effect, expected) = (preview.effect([(0, w as f32)]).effective_w.value, report.effective_w());
                assert!((effect - expected).abs() <= 1e-9 * expected.abs(), "{:?} at {w}", output.rounding);
            }
        }
    }
}

#[test]
fn a_longer_output_keeps_more_and_stochastic_rounding_keeps_the_mean() {
    let folders = subtle(60_000, 0.0);
    let analysis = measured(&folders);
    let at = |output: &OutputSpec| {
        let preview = RoundingPreview::new(&analysis, output);
        (preview.survival([(0, 0.1)]).value, preview.effect([(0, 0.1)]).effective_w.value)
    };
    let [bf16, f16, f32] = WRITTEN.map(|written| at(&spec(written, Rounding::Nearest)));
    assert!(bf16.0 < 0.6 && bf16.0 < f16.0 && f16.0 < f32.0, "{bf16:?} {f16:?} {f32:?}");
    assert!(f32.0 > 0.999 && (f32.1 - 0.1).abs() < 1e-4, "{f32:?}");
    let stochastic = at(&spec(OutputDtype::Bf16, Rounding::Stochastic));
    assert!(stochastic.0.is_nan() && (stochastic.1 - 0.1).abs() < 1e-7, "{stochastic:?}");
}

#[test]
fn updates_beyond_the_output_type_are_counted() {
    // f16 ends at 65,504, e4m3 at 448: of these sums a good part is beyond.
    for (dtype, written, scale) in [
        (Dtype::F32, OutputDtype::F16, 50_000.0),
        (Dtype::BF16, OutputDtype::F16, 50_000.0),
        (Dtype::F8_E4M3, OutputDtype::Target, 250.0),
        (Dtype::F8_E5M2, OutputDtype::Target, 40_000.0),
    ] {
        let count = 9_000;
        let model = |seed| Model::new().with_tensor(Tensor::of(UP, dtype, &[90, 100], &values(seed, count, scale)));
        let folders = Folders::write(&model(1), &model(2), &model(3));
        let analysis = measured(&folders);
        assert!(analysis.tensors[0].sample.is_complete());
        let overflowing = |rounding, w: f64| {
            let output = spec(written, rounding);
            let report = merged(&folders, w, &output).total();
            let effect = RoundingPreview::new(&analysis, &output).effect([(0, w as f32)]);
            let survival = RoundingPreview::new(&analysis, &output).survival([(0, w as f32)]).value;
            if rounding != Rounding::Stochastic {
                assert!((survival + report.lost_share() - 1.0).abs() < 1e-12, "{dtype} {rounding:?}: {survival}");
                let expected = report.effective_w();
                assert!((effect.effective_w.value - expected).abs() < 1e-9, "{dtype} {rounding:?}: {effect:?}");
            }
            assert!(effect.effective_w.value.is_finite() && effect.overflowing.margin == 0.0);
            (effect.overflowing.value * report.updates as f64, (report.overflowed + report.clipped) as f64)
        };
        for rounding in Rounding::ALL {
            let (found, counted) = overflowing(rounding, 1.0);
            // Elements that v does not move are not among the updates: few, for so wide a vector.
            assert!(counted > 100.0 && found <= counted + 1e-6 && found > 0.97 * counted, "{found} {counted}");
        }
    }
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let analysis = measured(&Folders::write(&pre, &post, &target));
    let preview = RoundingPreview::new(&analysis, &spec(OutputDtype::F16, Rounding::Nearest));
    assert_eq!(preview.effect([(0, 1.0)]).overflowing, Estimate { value: 0.0, margin: 0.0 });
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
    let folders = Folders::write(&pre, &model(&post), &pre);
    let analysis = measured(&folders);
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

    // The modes that round on the way look at fewer updates, and their margin says so.
    let output = spec(OutputDtype::Bf16, Rounding::MergekitBf16);
    let (few, all) = (RoundingPreview::new(&analysis, &output), RoundingPreview::thorough(&analysis, &output));
    let lost = merged(&folders, 0.25, &output).total().lost_share();
    let [few, all] = [few, all].map(|preview| preview.cell_survival(cell, 0.25));
    assert!(few.margin > 1.4 * all.margin && few.margin < 0.01, "{few:?} {all:?}");
    for found in [few, all] {
        assert!((found.value + lost - 1.0).abs() < 1.5 * found.margin, "{found:?}, lost {lost}");
    }
}
