//! Singular values of planted matrices, found in full and by streaming, whatever the resources.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{Spectrum, SpectrumError, SpectrumOptions, measure, spectrum, spectrum_with};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::progress::Control;
use mergescope_core::stream::{Resources, StreamError};
use support::{Folders, Model, Tensor, values};

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

/// Never in full, whatever the size.
const STREAMED: SpectrumOptions = SpectrumOptions { full_side: 0, values: 64, passes: 10 };

fn f64_tensor(name: &str, shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::raw(name, Dtype::F64, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Models of one tensor: pre, and post = pre + v.
fn planted(rows: usize, cols: usize, pre: &[f64], v: &[f64]) -> Folders {
    let post: Vec<f64> = pre.iter().zip(v).map(|(pre, v)| pre + v).collect();
    let model = |values: &[f64]| Model::new().with_tensor(f64_tensor(NAME, &[rows, cols], values));
    Folders::write(&model(pre), &model(&post), &model(pre))
}

fn found(folders: &Folders, options: &SpectrumOptions, resources: &Resources) -> Result<Spectrum, SpectrumError> {
    let triple = folders.open();
    spectrum_with(&triple, &Alignment::new(&triple), NAME, options, resources, &Control::new())
}

fn normal(seed: u64, count: usize) -> Vec<f64> {
    values(seed, count, 1.0).into_iter().map(f64::from).collect()
}

/// `count` orthonormal vectors of that length, by Gram and Schmidt in f64: the reference shares nothing with the engine.
fn orthonormal(seed: u64, length: usize, count: usize) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for index in 0..count {
        let mut vector = normal(seed * 1000 + index as u64, length);
        for _ in 0..2 {
            for other in &basis {
                let part: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= part * b);
            }
        }
        let norm = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
        basis.push(vector.into_iter().map(|a| a / norm).collect());
    }
    basis
}

/// Σ σ_i u_i v_iᵀ, row-major.
fn matrix(left: &[Vec<f64>], sigma: &[f64], right: &[Vec<f64>]) -> Vec<f64> {
    let mut out = Vec::new();
    for row in 0..left[0].len() {
        let mut line = vec![0.0; right[0].len()];
        for ((u, sigma), v) in left.iter().zip(sigma).zip(right) {
            line.iter_mut().zip(v).for_each(|(out, v)| *out += sigma * u[row] * v);
        }
        out.extend(line);
    }
    out
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "σ_{index} is {expected}, found {found}");
    }
}

#[test]
fn planted_singular_values_are_found_both_ways_and_in_both_shapes() {
    // Decaying over six orders of magnitude.
    let sigma: Vec<f64> = (0..60).map(|i| 10.0 * 0.8_f64.powi(i)).collect();
    for (rows, cols) in [(60, 200), (200, 60), (90, 100)] {
        let v = matrix(&orthonormal(1, rows, 60), &sigma, &orthonormal(2, cols, 60));
        let folders = planted(rows, cols, &vec![0.0; rows * cols], &v);
        let full = found(&folders, &SpectrumOptions::default(), &Resources::default()).unwrap();
        assert!(full.complete && full.error == 0.0);
        assert_eq!((full.rows, full.cols), (rows as u64, cols as u64));
        close(&full.singular_values[..60], &sigma, 1e-12);
        assert!(full.singular_values[60..].iter().all(|&rest| rest < 1e-12));
        let energy: f64 = sigma.iter().map(|s| s * s).sum();
        assert!((full.energy - energy).abs() < 1e-11);

        let options = SpectrumOptions { values: 12, ..STREAMED };
        let some = found(&folders, &options, &Resources::default()).unwrap();
        assert!(!some.complete && some.error > 0.0 && some.error < 0.02 * sigma[11], "error {}", some.error);
        close(&some.singular_values, &sigma[..12], some.error);
        let (low, high) = (some.effective_rank.low, some.effective_rank.high);
        let truth = full.effective_rank.low;
        assert!(low <= truth * 1.001 && truth <= high * 1.001, "{low} {truth} {high}");
        assert!((some.stable_rank / full.stable_rank - 1.0).abs() < 1e-3);
        assert!(some.overlap.is_none(), "pre is zero");
    }
}

#[test]
fn a_flat_spectrum_is_found_within_the_error_that_is_stated() {
    // The hardest case: noise, whose values lie close together.
    let (rows, cols) = (300, 700);
    let folders = planted(rows, cols, &vec![0.0; rows * cols], &normal(9, rows * cols));
    let full = found(&folders, &SpectrumOptions::default(), &Resources::default()).unwrap();
    let some = found(&folders, &SpectrumOptions { values: 20, ..STREAMED }, &Resources::default()).unwrap();
    close(&some.singular_values, &full.singular_values[..20], some.error);
    assert!(some.error < 0.02 * some.singular_values[19], "the error {} is of use", some.error);
    let slack = 1e-9 * full.singular_values[0];
    assert!(some.singular_values.iter().zip(&full.singular_values).all(|(some, full)| *some <= full + slack));
}

#[test]
fn a_delta_of_rank_three_has_rank_three() {
    // Small integers: post − pre is exact in bf16.
    let (rows, cols) = (128, 320);
    let digits = |seed, count| values(seed, count, 1.0).into_iter().map(f32::round).collect::<Vec<_>>();
    let (left, right) = (digits(1, rows * 3), digits(2, cols * 3));
    let v: Vec<f32> =
        (0..rows * cols).map(|at| (0..3).map(|i| left[at / cols * 3 + i] * right[at % cols * 3 + i]).sum()).collect();
    let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(NAME, Dtype::BF16, &[rows, cols], values));
    let zero = model(&vec![0.0; rows * cols]);
    let folders = Folders::write(&zero, &model(&v), &zero);
    for options in [SpectrumOptions::default(), STREAMED] {
        let found = found(&folders, &options, &Resources::default()).unwrap();
        assert_eq!(found.rank(), 3, "{:?}", found.singular_values);
        assert_eq!(found.complete, options.full_side > 0);
        assert!(found.error <= 1e-6 * found.singular_values[0]);
        assert!(found.energy_kept(3).unwrap() > 1.0 - 1e-12);
        assert!(found.energy_kept(2).unwrap() < 0.9);
        assert_eq!((found.rank_for(1.0), found.rank_for(0.0)), (Some(3), Some(0)));
        let Spectrum { effective_rank, stable_rank, .. } = found;
        assert!(effective_rank.low > 2.0 && effective_rank.high < 3.01, "{effective_rank:?}");
        assert!(stable_rank > 1.5 && stable_rank < 3.0);
    }
}

#[test]
fn equal_values_are_as_many_ranks() {
    let (rows, cols) = (64, 64);
    let identity: Vec<f64> = (0..rows * cols).map(|at| if at / cols == at % cols { 0.5 } else { 0.0 }).collect();
    let folders = planted(rows, cols, &identity, &identity);
    for options in [SpectrumOptions::default(), STREAMED, SpectrumOptions { values: 10, ..STREAMED }] {
        let found = found(&folders, &options, &Resources::default()).unwrap();
        assert!(found.singular_values.iter().all(|value| (value - 0.5).abs() < 1e-12));
        for rank in [found.effective_rank.low, found.effective_rank.high, found.stable_rank] {
            assert!((rank - 64.0).abs() < 1e-6, "{rank}");
        }
        assert_eq!(found.energy_kept(0), Some(0.0));
        assert!((found.energy_kept(8).unwrap() - 0.125).abs() < 1e-12);
    }
    let some = found(&folders, &SpectrumOptions { values: 10, ..STREAMED }, &Resources::default()).unwrap();
    assert_eq!((some.rank_for(0.15), some.rank_for(0.5)), (Some(10), None));
    assert_eq!(some.energy_kept(11), None);
}

#[test]
fn overlap_is_one_along_pre_and_chance_off_it() {
    let (rows, cols) = (150, 260);
    let (left, right) = (orthonormal(3, rows, 120), orthonormal(4, cols, 120));
    // Sixteen strong directions, then many weak ones.
    let sigma: Vec<f64> = (0..120).map(|i| if i < 16 { 50.0 - i as f64 } else { 0.5 }).collect();
    let pre = matrix(&left, &sigma, &right);
    let along = matrix(&left[..16], &(0..16).map(|i| 1.0 + 0.1 * f64::from(i)).collect::<Vec<_>>(), &right[..16]);
    let beside = matrix(&left[16..40], &[1.0; 24], &right[16..40]);
    let noise: Vec<f64> = normal(5, rows * cols);
    for options in [SpectrumOptions::default(), SpectrumOptions { values: 24, ..STREAMED }] {
        let overlap = |v: &[f64]| {
            let folders = planted(rows, cols, &pre, v);
            found(&folders, &options, &Resources::default()).unwrap().overlap.expect("neither is zero")
        };
        let same = overlap(&along);
        assert!(same.k == 16 && same.left > 1.0 - 1e-6 && same.right > 1.0 - 1e-6, "{same:?}");
        assert_eq!((same.left_chance, same.right_chance), (16.0 / 150.0, 16.0 / 260.0));
        let none = overlap(&beside);
        assert!(none.left < 1e-6 && none.right < 1e-6, "{none:?}");
        let chance = overlap(&noise);
        assert!((chance.left - chance.left_chance).abs() < 0.05, "{chance:?}");
        assert!((chance.right - chance.right_chance).abs() < 0.05, "{chance:?}");
    }
}

#[test]
fn a_stored_vector_of_low_rank_is_compared_without_the_noise_of_its_rounding() {
    // v lies in the first three directions of pre; bf16 adds a little of all others.
    let size = 64;
    let (left, right) = (orthonormal(3, size, size), orthonormal(4, size, size));
    let sigma: Vec<f64> = (0..size).map(|i| if i < 3 { 8.0 - i as f64 } else { 0.5 }).collect();
    let to_f32 = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let pre = to_f32(matrix(&left, &sigma, &right));
    let step = to_f32(matrix(&left[..3], &[1.0; 3], &right[..3]));
    let post: Vec<f32> = pre.iter().zip(&step).map(|(pre, step)| pre + step).collect();
    let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(NAME, Dtype::BF16, &[size, size], values));
    let folders = Folders::write(&model(&pre), &model(&post), &model(&pre));
    let overlap = found(&folders, &SpectrumOptions::default(), &Resources::default()).unwrap().overlap.unwrap();
    assert!(overlap.k == 3 && overlap.left > 0.95 && overlap.right > 0.95, "{overlap:?}");
}

#[test]
fn a_zero_vector_has_rank_zero_and_no_nan() {
    let pre = normal(1, 40 * 70);
    let folders = planted(40, 70, &pre, &vec![0.0; 40 * 70]);
    for options in [SpectrumOptions::default(), STREAMED] {
        let found = found(&folders, &options, &Resources::default()).unwrap();
        assert_eq!((found.rank(), found.energy, found.error, found.stable_rank), (0, 0.0, 0.0, 0.0));
        assert!(found.singular_values.iter().all(|&value| value == 0.0));
        assert_eq!((found.effective_rank.low, found.effective_rank.high), (0.0, 0.0));
        assert_eq!((found.energy_kept(1), found.rank_for(0.9)), (None, Some(0)));
        assert!(found.overlap.is_none());
    }
}

#[test]
fn one_row_has_one_singular_value_its_norm() {
    for (rows, cols) in [(1, 500), (500, 1)] {
        let v = normal(3, 500);
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let folders = planted(rows, cols, &normal(4, 500), &v);
        for options in [SpectrumOptions::default(), STREAMED] {
            let found = found(&folders, &options, &Resources::default()).unwrap();
            close(&found.singular_values, &[norm], 1e-6 * norm);
            assert!((found.stable_rank - 1.0).abs() < 1e-6);
            let overlap = found.overlap.unwrap();
            assert_eq!(overlap.k, 1);
            let whole = if rows == 1 { overlap.left } else { overlap.right };
            assert!((whole - 1.0).abs() < 1e-12, "a line is all of its space");
        }
    }
}

#[test]
fn the_numbers_do_not_depend_on_threads_or_units() {
    // Larger than a block of rows, which has 262,144 elements.
    let (rows, cols) = (700, 900);
    let pre = normal(1, rows * cols);
    let sigma: Vec<f64> = (0..30).map(|i| 100.0 * 0.9_f64.powi(i)).collect();
    let mut v = matrix(&orthonormal(5, rows, 30), &sigma, &orthonormal(6, cols, 30));
    v.iter_mut().zip(normal(2, rows * cols)).for_each(|(v, noise)| *v += 0.05 * noise);
    let folders = planted(rows, cols, &pre, &v);
    for options in [SpectrumOptions::default(), SpectrumOptions { values: 20, ..STREAMED }] {
        let by = |threads, unit_bytes| {
            found(&folders, &options, &Resources { threads, unit_bytes, ..Resources::default() }).unwrap()
        };
        let one = by(1, 4 << 20);
        for other in [by(4, 4 << 20), by(3, 1)] {
            close(&other.singular_values, &one.singular_values, 1e-12 * one.singular_values[0]);
            assert!((other.energy - one.energy).abs() <= 1e-12 * one.energy);
            assert!((other.error - one.error).abs() <= 1e-9 * one.singular_values[0]);
            let (a, b) = (other.overlap.unwrap(), one.overlap.unwrap());
            assert!((a.left - b.left).abs() < 1e-9 && (a.right - b.right).abs() < 1e-9);
        }
    }
}

#[test]
fn little_memory_streams_and_less_is_refused_in_words() {
    // In full this takes more than the 4 MiB that are used in any case.
    let (rows, cols) = (600, 900);
    let sigma: Vec<f64> = (0..40).map(|i| 10.0 * 0.7_f64.powi(i)).collect();
    let v = matrix(&orthonormal(5, rows, 40), &sigma, &orthonormal(6, cols, 40));
    let folders = planted(rows, cols, &vec![0.0; rows * cols], &v);
    let tiny = Resources { memory_bytes: 1, threads: 4, ..Resources::default() };
    let refused = found(&folders, &SpectrumOptions::default(), &tiny).unwrap_err();
    assert!(matches!(refused, SpectrumError::Memory { given_bytes, needed_bytes, .. } if needed_bytes > given_bytes));
    assert!(refused.to_string().contains(NAME) && refused.to_string().contains("600 × 900"), "{refused}");
    let some = Resources { memory_bytes: 8 << 20, ..tiny };
    let found = found(&folders, &SpectrumOptions { values: 8, ..SpectrumOptions::default() }, &some).unwrap();
    assert!(!found.complete);
    close(&found.singular_values, &sigma[..8], found.error);
    assert!(found.error < 0.05 * sigma[7], "{}", found.error);
}

#[test]
fn an_iteration_that_outgrows_its_memory_begins_anew_from_what_it_has() {
    let (rows, cols) = (500, 600);
    let sigma: Vec<f64> = (0..200).map(|i| 10.0 * 0.98_f64.powi(i)).collect();
    let v = matrix(&orthonormal(5, rows, 200), &sigma, &orthonormal(6, cols, 200));
    let folders = planted(rows, cols, &vec![0.0; rows * cols], &v);
    // A block of rows takes 6.5 MB, a block of vectors 0.35 MB: two of these fit in the basis.
    let short = Resources { memory_bytes: 8_700_000, threads: 2, ..Resources::default() };
    let errors = [short, Resources::default()].map(|resources| {
        let some = found(&folders, &SpectrumOptions { values: 64, ..STREAMED }, &resources).unwrap();
        close(&some.singular_values, &sigma[..64], some.error);
        some.error
    });
    assert!(errors[1] < errors[0] && errors[0] < 0.1 * sigma[63], "{errors:?}");
}

#[test]
fn a_cancelled_spectrum_ends() {
    let folders = planted(30, 40, &normal(1, 1200), &normal(2, 1200));
    let triple = folders.open();
    let control = Control::new();
    control.cancel();
    for options in [SpectrumOptions::default(), STREAMED] {
        let alignment = Alignment::new(&triple);
        let ended = spectrum_with(&triple, &alignment, NAME, &options, &Resources::default(), &control);
        assert!(matches!(ended, Err(SpectrumError::Stream(StreamError::Cancelled(_)))));
    }
}

#[test]
fn nan_is_taken_as_zero_and_counted() {
    let (pre, mut v) = (normal(1, 600), normal(2, 600));
    let expected = {
        let mut without = v.clone();
        without[17] = 0.0;
        found(&planted(20, 30, &pre, &without), &SpectrumOptions::default(), &Resources::default()).unwrap()
    };
    v[17] = f64::NAN;
    let found = found(&planted(20, 30, &pre, &v), &SpectrumOptions::default(), &Resources::default()).unwrap();
    assert_eq!((found.left_out, expected.left_out), (1, 0));
    close(&found.singular_values, &expected.singular_values, 1e-12);
}

#[test]
fn energy_is_that_of_the_measured_vector_in_every_dtype() {
    for dtype in [Dtype::F64, Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F8_E4M3] {
        let (pre, post, target) = support::related(support::Size::default(), dtype);
        let triple = Folders::write(&pre, &post, &target);
        let triple = triple.open();
        let alignment = Alignment::new(&triple);
        let analysis = measure(&triple, &alignment, &Resources::default(), &Control::new()).unwrap();
        for tensor in analysis.tensors.iter().filter(|tensor| tensor.shape.len() == 2) {
            let found = spectrum(&triple, &alignment, &tensor.name, &Resources::default(), &Control::new()).unwrap();
            let (energy, squares) = (tensor.sums.gram.v_v, found.singular_values.iter().map(|s| s * s).sum::<f64>());
            assert!((found.energy - energy).abs() <= 1e-12 * energy, "{dtype} {}", tensor.name);
            assert!((squares - energy).abs() <= 1e-12 * energy, "{dtype} {}", tensor.name);
        }
    }
}

#[test]
fn rows_that_not_all_have_take_no_part() {
    let name = "model.embed_tokens.weight";
    let model = |rows: usize, seed| Model::new().with_tensor(f64_tensor(name, &[rows, 12], &normal(seed, rows * 12)));
    let folders = Folders::write(&model(40, 1), &model(36, 2), &model(50, 3));
    let triple = folders.open();
    let found = spectrum(&triple, &Alignment::new(&triple), name, &Resources::default(), &Control::new()).unwrap();
    assert_eq!((found.rows, found.cols, found.singular_values.len()), (36, 12, 12));
}

#[test]
fn an_expert_is_chosen_from_its_stack() {
    let name = "model.layers.0.mlp.experts.down_proj";
    let (pre, post) = (normal(1, 3 * 8 * 10), normal(2, 3 * 8 * 10));
    let model = |values: &[f64]| Model::new().with_tensor(f64_tensor(name, &[3, 8, 10], values));
    let folders = Folders::write(&model(&pre), &model(&post), &model(&pre));
    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    let of = |name: &str| spectrum(&triple, &alignment, name, &Resources::default(), &Control::new());
    let (pre, post) = (&pre[160..], &post[160..]);
    let alone: Vec<f64> = post.iter().zip(pre).map(|(post, pre)| post - pre).collect();
    let alone = found(&planted(8, 10, &[0.0; 80], &alone), &SpectrumOptions::default(), &Resources::default()).unwrap();
    let chosen = of(&format!("{name}[2]")).unwrap();
    assert_eq!((chosen.name, chosen.rows, chosen.cols), (format!("{name}[2]"), 8, 10));
    close(&chosen.singular_values, &alone.singular_values, 1e-12);
    for wrong in ["", "[3]"] {
        let error = of(&format!("{name}{wrong}")).unwrap_err();
        assert!(error.to_string().contains("from 0 to 2"), "{error}");
    }
}

#[test]
fn everything_measured_is_found_by_its_own_name() {
    let name = "model.layers.0.mlp.experts.up_proj";
    let tensor = |name: &str, shape: &[usize], seed| f64_tensor(name, shape, &normal(seed, shape.iter().product()));
    let model = |seed| {
        let stack = Model::new().with_tensor(tensor(name, &[3, 6, 7], seed));
        // A tensor that is called what an expert would be comes first.
        stack.with_tensor(tensor(NAME, &[4, 5], seed)).with_tensor(tensor(&format!("{NAME}[1]"), &[2, 9], seed))
    };
    let folders = Folders::write(&model(1), &model(2), &model(1));
    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    let analysis = measure(&triple, &alignment, &Resources::default(), &Control::new()).unwrap();
    assert_eq!(analysis.tensors.len(), 5);
    for entry in &analysis.tensors {
        let found = spectrum(&triple, &alignment, &entry.name, &Resources::default(), &Control::new()).unwrap();
        assert_eq!((&found.name, vec![found.rows, found.cols]), (&entry.name, entry.shape.clone()));
        assert!((found.energy / entry.sums.gram.v_v - 1.0).abs() < 1e-12, "{}", entry.name);
    }
}

#[test]
fn what_has_no_spectrum_is_said() {
    let (pre, post, target) = support::related(support::Size::default(), Dtype::BF16);
    let target = target.with_tensor(Tensor::of("only.here", Dtype::BF16, &[4, 4], &[0.0; 16]));
    let folders = Folders::write(&pre, &post, &target);
    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    let error = |name: &str| spectrum(&triple, &alignment, name, &Resources::default(), &Control::new()).unwrap_err();
    assert!(matches!(error("model.norm.weight"), SpectrumError::NoMatrix { shape, .. } if shape == [32]));
    assert!(matches!(error("no.such.tensor"), SpectrumError::Unknown { name } if name == "no.such.tensor"));
    assert!(matches!(error("no.such.tensor[0]"), SpectrumError::Unknown { name } if name == "no.such.tensor[0]"));
    assert!(matches!(error("only.here"), SpectrumError::Still { .. }));
    assert!(matches!(error(&format!("{NAME}[0]")), SpectrumError::NoStack { name, .. } if name == NAME));
}

/// Times for the sizes of real models; run by hand with `--ignored --nocapture`.
#[test]
#[ignore = "measures time"]
fn times() {
    for (rows, cols) in [(896, 4864), (27_648, 5120), (5120, 27_648)] {
        let model = |values: &[f32]| Model::new().with_tensor(Tensor::of(NAME, Dtype::BF16, &[rows, cols], values));
        let folders = {
            // Of coprime periods, so that no two rows are alike.
            let pre: Vec<f32> = values(1, 1 << 20, 0.02).into_iter().cycle().take(rows * cols).collect();
            let noise = values(2, 1_000_003, 0.001).into_iter().cycle();
            let post: Vec<f32> = pre.iter().zip(noise).map(|(pre, noise)| pre + noise).collect();
            let target = model(&pre);
            Folders::write(&target, &model(&post), &target)
        };
        let triple = folders.open();
        let found = spectrum(&triple, &Alignment::new(&triple), NAME, &Resources::default(), &Control::new()).unwrap();
        eprintln!(
            "{rows} × {cols}: {:?}, error {:e} of σ₁ {:e} … {:e}, ranks {:?} {}",
            found.elapsed,
            found.error,
            found.singular_values[0],
            found.singular_values.last().unwrap(),
            found.effective_rank,
            found.stable_rank
        );
    }
}

#[test]
fn a_vector_whose_squares_leave_f64_has_no_spectrum_and_no_false_one() {
    let unit = normal(1, 40 * 60);
    let scaled = |scale: f64| -> Vec<f64> { unit.iter().map(|value| value * scale).collect() };
    let zeros = vec![0.0; unit.len()];
    let dense = SpectrumOptions::default();
    let streamed = SpectrumOptions { values: 4, ..STREAMED };
    for options in [dense, streamed] {
        let of = |pre: &[f64], v: &[f64]| found(&planted(40, 60, pre, v), &options, &Resources::default());
        for scale in [1e-170, 1e-300, 1e170, 1e300] {
            let error = of(&zeros, &scaled(scale)).unwrap_err();
            assert!(matches!(error, SpectrumError::OutOfRange { .. }), "{scale}: {error}");
            // Only the overlap needs pre.
            if scale < 1.0 {
                assert!(of(&scaled(scale), &unit).unwrap().overlap.is_none());
            }
        }
        let expected = of(&zeros, &unit).unwrap();
        for scale in [(-400_f64).exp2(), 400_f64.exp2()] {
            let found = of(&zeros, &scaled(scale)).unwrap();
            for (found, expected) in found.singular_values.iter().zip(&expected.singular_values).take(4) {
                assert!((found / scale / expected - 1.0).abs() < 1e-6, "{found} at {scale}");
            }
            assert!((found.effective_rank.high / expected.effective_rank.high - 1.0).abs() < 1e-6);
        }
        let zero = of(&unit, &zeros).unwrap();
        assert!(zero.is_zero() && !expected.is_zero());
        assert_eq!((zero.energy, zero.rank(), zero.rank_for(0.99)), (0.0, 0, Some(0)));
        let one = found(&planted(1, 1, &[0.0], &[3.0]), &options, &Resources::default()).unwrap();
        assert_eq!((one.rank(), one.rank_for(0.99), one.energy_kept(1)), (1, Some(1), Some(1.0)));
    }
}
