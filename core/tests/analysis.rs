//! The measured vector against sums in f64, whatever the resources.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{
    AnalysisCache, Group, LogHistogram, OutOfRange, Overview, RoundingPreview, Sums, VectorAnalysis, expert_cells,
    measure,
};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::Part;
use mergescope_core::progress::Control;
use mergescope_core::recipe::OutputSpec;
use mergescope_core::stream::Resources;
use support::{Folders, Model, Size, Tensor, decode, related, values};

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
            let mut sums = [0.0_f64; 7];
            let (mut max, mut zeros, mut same, mut opposite) = (0.0_f64, 0, 0, 0);
            for i in 0..a.len() {
                let p = f64::from(a[i]);
                let (v, u) = (f64::from(b[i]) - p, f64::from(t[i]) - p);
                for (sum, product) in sums.iter_mut().zip([p * p, p * v, p * u, v * v, v * u, u * u, v]) {
                    *sum += product;
                }
                max = max.max(v.abs());
                zeros += u64::from(v == 0.0);
                same += u64::from(v * u > 0.0);
                opposite += u64::from(v * u < 0.0);
            }
            let (g, sum_v) = (tensor.sums.gram, tensor.sums.sum);
            for (found, sum) in [g.pre_pre, g.pre_v, g.pre_u, g.v_v, g.v_u, g.u_u, sum_v].into_iter().zip(sums) {
                assert!((found - sum).abs() <= 1e-12 * sum.abs().max(sums[0]), "{}: {found} {sum}", tensor.name);
            }
            let counts = (tensor.sums.zeros, tensor.sums.same_sign, tensor.sums.opposite_sign);
            assert_eq!((tensor.sums.max_abs, counts), (max, (zeros, same, opposite)), "{} {dtype}", tensor.name);
            assert_eq!(tensor.sums.elements, a.len() as u64);
            for (histogram, magnitudes) in [
                (&tensor.vector_histogram, a.iter().zip(&b).map(|(a, b)| (b - a).abs()).collect::<Vec<f32>>()),
                (&tensor.pre_histogram, a.iter().map(|a| a.abs()).collect()),
            ] {
                assert_eq!(histogram.total(), magnitudes.iter().filter(|&&magnitude| magnitude != 0.0).count() as u64);
                for bin in histogram.bins() {
                    let within = |magnitude: &&f32| (bin.low..bin.high).contains(&f64::from(**magnitude));
                    assert_eq!(bin.count, magnitudes.iter().filter(within).count() as u64, "{bin:?}");
                }
            }
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

/// One tensor of f32 in layer 0.
fn one_tensor(values: &[f32]) -> Model {
    Model::new().with_tensor(Tensor::of("model.layers.0.mlp.up_proj.weight", Dtype::F32, &[1, values.len()], values))
}

#[test]
fn planted_zeros_and_sign_conflicts_are_counted() {
    // Of ten elements v moves three; of those target − pre moves two the same way and one the other.
    let count = 10 * 7_000;
    let pre = values(1, count, 0.02);
    let moved = |i: usize, steps: [f32; 3]| pre[i] + steps.get(i % 10).copied().unwrap_or(0.0);
    let post: Vec<f32> = (0..count).map(|i| moved(i, [0.5, -0.5, 0.25])).collect();
    let target: Vec<f32> = (0..count).map(|i| moved(i, [0.125, -0.125, -0.5])).collect();
    let folders = Folders::write(&one_tensor(&pre), &one_tensor(&post), &one_tensor(&target));
    let sums = measured(&folders, &Resources::default()).tensors[0].sums;
    assert_eq!((sums.zero_share(), sums.updates()), (0.7, 21_000));
    assert_eq!((sums.same_sign, sums.opposite_sign), (14_000, 7_000));
    assert!((sums.sign_agreement() - 2.0 / 3.0).abs() < 1e-15);
}

#[test]
fn swapped_pre_and_post_turn_the_vector_round() {
    // The target lies further along v: swapped, v points away from it.
    let (a, b, c) = ([1.0, 2.0], [1.5, 2.0], [2.0, 2.0]);
    let of = |pre: &[f32], post: &[f32]| {
        let folders = Folders::write(&one_tensor(pre), &one_tensor(post), &one_tensor(&c));
        measured(&folders, &Resources::default()).tensors[0].sums
    };
    let (right, swapped) = (of(&a, &b), of(&b, &a));
    assert_eq!((right.gram.cos_vector_target(), swapped.gram.cos_vector_target()), (1.0, -1.0));
    assert_eq!((right.sign_agreement(), swapped.sign_agreement()), (1.0, 0.0));
    assert_eq!((right.mean(), swapped.mean()), (0.25, -0.25));
    assert_eq!(right.gram.norm(), swapped.gram.norm());
}

#[test]
fn layers_parts_and_totals_are_sums_of_their_tensors() {
    let (pre, post, target) = related(Size { layers: 3, ..Size::default() }, Dtype::BF16);
    let analysis = measured(&Folders::write(&pre, &post, &target), &Resources::default());
    let overview = Overview::new(&analysis);
    let groups: Vec<Group> = overview.groups.iter().map(|group| group.group).collect();
    assert_eq!(
        groups,
        [Group::Layer(0), Group::Layer(1), Group::Layer(2), Group::Beside(Part::Embed), Group::Beside(Part::Norm)]
    );
    assert_eq!((overview.layers().len(), overview.beside().len()), (3, 2));
    let close = |a: &Sums, b: &Sums| {
        assert_eq!((a.elements, a.zeros, a.same_sign, a.max_abs), (b.elements, b.zeros, b.same_sign, b.max_abs));
        assert!((a.gram.v_v / b.gram.v_v - 1.0).abs() < 1e-14 && (a.gram.pre_pre / b.gram.pre_pre - 1.0).abs() < 1e-14);
    };
    for group in &overview.groups {
        let tensors = analysis.tensors.iter().filter(|tensor| Group::of(tensor.place) == group.group);
        close(&group.all, &tensors.map(|tensor| &tensor.sums).sum());
        let cells: f64 = group.cells.iter().map(|cell| group.share(cell.row.part)).sum();
        assert!((cells - 1.0).abs() < 1e-14, "squares add up");
    }
    for (part, sums) in &overview.parts {
        let tensors = analysis.tensors.iter().filter(|tensor| tensor.place.part == *part);
        close(sums, &tensors.map(|tensor| &tensor.sums).sum());
    }
    close(&overview.total, &analysis.total());
    // Weight and bias of a projection share a cell.
    assert_eq!(overview.groups[0].cell(Part::Q).unwrap().tensors.len(), 2);
    assert!(expert_cells(&analysis).is_empty());
}

#[test]
fn experts_are_one_cell_together_and_one_each() {
    let name = |expert, projection| format!("model.layers.0.mlp.experts.{expert}.{projection}_proj.weight");
    let model = |step: f32| {
        let tensors = (0..3).flat_map(|expert| ["gate", "up"].map(move |projection| (expert, projection)));
        tensors.fold(Model::new(), |model, (expert, projection)| {
            model.with_tensor(Tensor::of(&name(expert, projection), Dtype::F32, &[1], &[step * (expert + 1) as f32]))
        })
    };
    let analysis = measured(&Folders::write(&model(1.0), &model(2.0), &model(1.0)), &Resources::default());
    let overview = Overview::new(&analysis);
    let cell = overview.groups[0].cell(Part::Expert).unwrap();
    assert_eq!((cell.tensors.len(), cell.sums.gram.v_v), (6, 2.0 * (1.0 + 4.0 + 9.0)));
    let experts = expert_cells(&analysis);
    let found: Vec<_> = experts.iter().map(|cell| (cell.row.expert, cell.tensors.len(), cell.sums.gram.v_v)).collect();
    assert_eq!(found, [(Some(0), 2, 2.0), (Some(1), 2, 8.0), (Some(2), 2, 18.0)]);
}

/// Experts of each projection in [`mixture`], and their shapes: larger than a leaf of 8,192 elements, and no multiple of it.
const EXPERTS: usize = 5;
const PROJECTIONS: [(&str, [usize; 2]); 2] = [("down_proj", [90, 100]), ("gate_up_proj", [110, 90])];

/// A layer of experts beside a router, each projection in one tensor or each expert in tensors of its own.
fn mixture(seed: u64, step: f32, fused: bool) -> Model {
    let weights = |seed| {
        let base = values(seed, EXPERTS * 9_900, 0.02);
        base.iter().zip(values(seed + 100, base.len(), 0.02)).map(|(x, noise)| x + step * noise).collect::<Vec<_>>()
    };
    let mut model = Model::new();
    for (seed, (projection, [rows, cols])) in (seed..).zip(PROJECTIONS) {
        let weights = &weights(seed)[..EXPERTS * rows * cols];
        let tensor = |of: &str, shape: &[usize], weights: &[f32]| {
            Tensor::of(&format!("model.layers.0.mlp.experts.{of}"), Dtype::BF16, shape, weights)
        };
        if fused {
            model.tensors.push(tensor(projection, &[EXPERTS, rows, cols], weights));
        } else {
            let experts = weights.chunks_exact(rows * cols).enumerate();
            model.tensors.extend(
                experts
                    .map(|(expert, weights)| tensor(&format!("{expert}.{projection}.weight"), &[rows, cols], weights)),
            );
        }
    }
    model.with_tensor(Tensor::of("model.layers.0.mlp.gate.weight", Dtype::BF16, &[5, 9], &values(seed, 45, step)))
}

fn mixtures(fused: bool) -> Folders {
    let [pre, post, target] = [0.0, 0.01, 0.3].map(|step| mixture(1, step, fused));
    Folders::write(&pre, &post, &target)
}

#[test]
fn experts_of_a_stack_are_measured_as_if_they_were_stored_apart() {
    let [fused, apart] = [true, false].map(|fused| measured(&mixtures(fused), &Resources::default()));
    assert_eq!(fused.tensors.len(), apart.tensors.len());
    let preview = [&fused, &apart].map(|analysis| RoundingPreview::thorough(analysis, &OutputSpec::default()));
    for expert in 0..EXPERTS {
        for (projection, [rows, cols]) in PROJECTIONS {
            let positions = [
                fused.position(&format!("model.layers.0.mlp.experts.{projection}[{expert}]")).unwrap(),
                apart.position(&format!("model.layers.0.mlp.experts.{expert}.{projection}.weight")).unwrap(),
            ];
            let [slice, alone] = [&fused.tensors[positions[0]], &apart.tensors[positions[1]]];
            assert_eq!((slice.place, slice.dtype, &slice.shape), (alone.place, alone.dtype, &alone.shape));
            assert_eq!(
                (slice.place.expert, slice.shape.as_slice()),
                (Some(expert as u32), &[rows as u64, cols as u64][..])
            );
            assert_eq!(slice.sums, alone.sums);
            assert_eq!(slice.vector_histogram, alone.vector_histogram);
            assert_eq!(slice.pre_histogram, alone.pre_histogram);
            let [a, b] = [0, 1].map(|of| preview[of].survival([(positions[of], 0.5)]));
            assert!((a.value - b.value).abs() <= a.margin + b.margin, "{a:?} {b:?}");
            assert!(slice.sample.len() > 7_000, "an expert has a sample of its own");
        }
    }
    let cells = [&fused, &apart].map(expert_cells);
    assert_eq!(cells[0].len(), EXPERTS);
    for (slices, alone) in cells[0].iter().zip(&cells[1]) {
        assert_eq!((slices.row, slices.tensors.len(), slices.sums), (alone.row, alone.tensors.len(), alone.sums));
    }
    let [folded, expected] = [&fused, &apart].map(|analysis| {
        let overview = Overview::new(analysis);
        overview.groups[0].cell(Part::Expert).unwrap().sums
    });
    assert_eq!((folded.elements, folded.zeros, folded.max_abs), (expected.elements, expected.zeros, expected.max_abs));
    assert!((folded.gram.v_v / expected.gram.v_v - 1.0).abs() < 1e-14);
    assert_eq!(fused.bytes_read, apart.bytes_read);
}

#[test]
fn experts_of_a_stack_do_not_depend_on_threads_or_units_either() {
    let folders = mixtures(true);
    let one = measured(&folders, &Resources { threads: 1, ..Resources::default() });
    for (threads, unit_bytes) in [(4, 1), (4, 4 << 20), (3, 20_000)] {
        let other = measured(&folders, &Resources { threads, unit_bytes, ..Resources::default() });
        assert_eq!(one.tensors, other.tensors);
    }
}

#[test]
fn only_a_stack_of_experts_is_divided() {
    let kept = [
        // A matrix of one expert, of a shared one, a bias of each expert, and three dimensions of no expert.
        ("model.layers.0.mlp.experts.1.up_proj.weight", vec![2, 3, 4]),
        ("model.layers.0.mlp.shared_expert.up_proj.weight", vec![6, 4]),
        ("model.layers.0.mlp.experts.down_proj_bias", vec![3, 8]),
        ("model.layers.0.conv1d.weight", vec![3, 2, 4]),
        ("model.layers.0.mlp.experts.gate_proj", vec![3, 0, 4]),
    ];
    let model = |seed| {
        kept.iter().fold(Model::new(), |model, (name, shape)| {
            model.with_tensor(Tensor::of(name, Dtype::F32, shape, &values(seed, shape.iter().product(), 1.0)))
        })
    };
    let analysis = measured(&Folders::write(&model(1), &model(2), &model(3)), &Resources::default());
    assert_eq!(analysis.tensors.len(), kept.len());
    assert!(kept.iter().all(|(name, _)| analysis.position(name).is_some()));
}

#[test]
fn a_stack_that_differs_in_shape_takes_no_part() {
    let name = "model.layers.0.mlp.experts.up_proj";
    let stack = |experts: usize| {
        let stack = Tensor::of(name, Dtype::F32, &[experts, 4, 6], &values(1, experts * 24, 1.0));
        one_tensor(&[1.0]).with_tensor(stack)
    };
    for [pre, post] in [[3, 4], [4, 3], [3, 3]] {
        let analysis = measured(&Folders::write(&stack(pre), &stack(post), &stack(4)), &Resources::default());
        assert_eq!(analysis.tensors.len(), 1);
        assert_eq!((analysis.position(name), analysis.position(&format!("{name}[0]"))), (None, None));
    }
}

#[test]
fn more_experts_than_any_model_has_are_not_told_apart() {
    let name = "model.layers.0.mlp.experts.up_proj";
    let count = 200_000;
    let model = |seed| {
        let small = Tensor::of("model.layers.1.mlp.experts.up_proj", Dtype::F8_E4M3, &[2, 1, 1], &[0.5; 2]);
        let stack = Tensor::raw(name, Dtype::F8_E4M3, &[count, 1, 1], vec![seed; count]);
        Model::new().with_tensor(stack).with_tensor(small)
    };
    let analysis = measured(&Folders::write(&model(0), &model(8), &model(0)), &Resources::default());
    let found: Vec<_> = analysis.tensors.iter().map(|tensor| (tensor.shape.as_slice(), tensor.place.expert)).collect();
    assert_eq!(found, [(&[count as u64, 1, 1][..], None), (&[2, 1, 1], None)], "neither it nor the others");
    assert_eq!(analysis.position(&format!("{name}[7]")), Some(0), "what is known of an expert is the stack");
}

#[test]
fn a_stack_stays_whole_when_another_tensor_bears_the_name_of_an_expert() {
    let [taken, free] = ["model.layers.0.mlp.experts.up_proj", "model.layers.1.mlp.experts.up_proj"];
    let model = |seed| {
        let stack = |name: &str| Tensor::of(name, Dtype::F32, &[3, 2, 2], &values(seed, 12, 1.0));
        let alone = |name: &str| Tensor::of(name, Dtype::F32, &[4], &values(seed + 10, 4, 1.0));
        // The other stack has no expert 3.
        let literal = [alone(&format!("{taken}[2]")), alone(&format!("{free}[3]"))];
        Model::new()
            .with_tensor(stack(taken))
            .with_tensor(stack(free))
            .with_tensor(literal[0].clone())
            .with_tensor(literal[1].clone())
    };
    let analysis = measured(&Folders::write(&model(1), &model(2), &model(3)), &Resources::default());
    let names: Vec<&str> = analysis.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut expected = vec![taken.to_owned(), format!("{taken}[2]")];
    expected.extend((0..4).map(|expert| format!("{free}[{expert}]")));
    assert_eq!(names, expected, "each once");
    let shape = |name: &str| analysis.tensors[analysis.position(name).unwrap()].shape.clone();
    assert_eq!(shape(&format!("{taken}[2]")), [4], "the tensor that is called so");
    assert_eq!(shape(&format!("{taken}[1]")), [3, 2, 2], "what is known of an expert is the stack");
}

#[test]
fn a_second_opening_takes_the_analysis_from_the_cache() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let cache = AnalysisCache::at(folders.dir.path().join("cache"));
    let run = || {
        let triple = folders.open();
        let (alignment, resources, control) = (Alignment::new(&triple), Resources::default(), Control::new());
        let analysis = cache.measure(&triple, &alignment, &resources, &control).unwrap();
        (analysis, cache.layer_products(&triple, &alignment, &resources, &control).unwrap())
    };
    let (first, first_products) = run();
    assert!(!first.cached && !first_products.cached);
    let (second, second_products) = run();
    assert!(second.cached && second_products.cached);
    assert_eq!((&first.tensors, &first_products.parts), (&second.tensors, &second_products.parts));
    // Another target: v stays, how it lies to the target does not.
    pre.tuned(9, 0.05).write(&folders.target());
    let (third, third_products) = run();
    assert!(!third.cached && third_products.cached);
    assert_ne!(first.tensors, third.tensors);
    // A byte that no fingerprint looks at.
    let mut changed = post;
    let bytes = &mut changed.tensor_mut("model.layers.1.mlp.up_proj.weight").bytes;
    let at = bytes.len() / 4;
    bytes[at] ^= 1;
    std::thread::sleep(std::time::Duration::from_millis(20));
    changed.write(&folders.post());
    let (fourth, fourth_products) = run();
    assert!(!fourth.cached && !fourth_products.cached);
}

#[cfg(unix)]
#[test]
fn a_model_changed_with_its_time_set_back_is_measured_again() {
    let (pre, mut post, target) = related(Size::default(), Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let cache = AnalysisCache::at(folders.dir.path().join("cache"));
    let run = || {
        let triple = folders.open();
        cache.measure(&triple, &Alignment::new(&triple), &Resources::default(), &Control::new()).unwrap()
    };
    run();
    assert!(run().cached);
    let file = folders.post().join("model.safetensors");
    let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
    let bytes = &mut post.tensor_mut("model.layers.1.mlp.up_proj.weight").bytes;
    let at = bytes.len() / 4;
    bytes[at] ^= 1;
    post.write(&folders.post());
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
    assert!(!run().cached);
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
fn a_vector_whose_squares_leave_f64_is_said_to_be_so() {
    let model = |values: &[f64]| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Model::new().with_tensor(Tensor::raw(
            "model.layers.0.mlp.up_proj.weight",
            Dtype::F64,
            &[1, values.len()],
            bytes,
        ))
    };
    let of = |pre: [f64; 3], post: [f64; 3]| {
        let analysis = measured(&Folders::write(&model(&pre), &model(&post), &model(&[1.0; 3])), &Resources::default());
        analysis.total()
    };
    let small = of([0.0; 3], [1e-170, 0.0, -1e-170]);
    assert_eq!((small.out_of_range(), small.updates(), small.max_abs), (Some(OutOfRange::Small), 2, 1e-170));
    let large = of([1.0, 2.0, 3.0], [1e170, 2.0, -1e300]);
    assert_eq!((large.out_of_range(), large.updates(), large.max_abs), (Some(OutOfRange::Large), 2, 1e300));
    assert_eq!((large.left_out, large.zeros), (0, 1), "numbers all the same");
    for sums in [small, large] {
        assert!(sums.gram.cos_vector_target().is_nan() && sums.gram.relative_norm().is_nan());
    }
    assert_eq!(of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).out_of_range(), None, "a vector of zeros");
    assert_eq!(of([0.0; 3], [1e-120, 1e120, 0.0]).out_of_range(), None);
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
