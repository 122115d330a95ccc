//! Every instruction set gives the same bits: weights, the report's sums, and every number of an analysis.

use std::fs;

use mergescope_core::checkpoint::Dtype;
use serde_json::Value;

use super::support::{Folders, Size, related};
use super::{Ran, mergescope};

/// What a command wrote and told on an instruction set; `best` is what the processor has.
fn on(set: &str, folders: &Folders, args: &[&str]) -> Ran {
    let mut command = mergescope(folders.dir.path(), args.iter().copied());
    Ran::of(command.env("MERGESCOPE_SIMD", set)).ends_with_code(0)
}

const MODELS: [&str; 6] = ["--pre", "pre", "--post", "post", "--target", "target"];

/// The weights, and what the report says of each tensor.
fn merged(set: &str, folders: &Folders, more: &[&str]) -> (Vec<u8>, Value) {
    let output = folders.dir.path().join("merged");
    on(set, folders, &[&["merge", "--out", "merged"][..], &MODELS, more].concat());
    let weights = fs::read(output.join("model.safetensors")).unwrap();
    let report: Value = serde_json::from_slice(&fs::read(output.join("mergescope-report.json")).unwrap()).unwrap();
    fs::remove_dir_all(output).unwrap();
    (weights, report["tensors"].clone())
}

/// Numbers of every element of an analysis, without what tells of this run alone.
fn analysed(set: &str, folders: &Folders) -> Value {
    let mut told = on(set, folders, &[&["analyze", "--no-cache", "--json"][..], &MODELS].concat()).json();
    told.as_object_mut().unwrap().remove("elapsed_secs");
    told
}

#[test]
fn weights_sums_and_measurements_are_the_same_on_all_of_them() {
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let (pre, post, target) = related(Size { hidden: 72, ffn: 200, vocab: 301, ..Size::default() }, dtype);
        let folders = Folders::write(&pre, &post, &target);
        let merges: [&[&str]; 9] = [
            &["-w", "0.3"],
            &["-w", "-0.5", "--dtype", "bf16"],
            &["-w", "0.7", "--rounding", "stochastic", "--dtype", "bf16"],
            &["-w", "1.1", "--dtype", "f32"],
            &["-w", "0.5", "--method", "ties", "--density", "0.3"],
            &["-w", "0.5", "--method", "dare_ties", "--density", "0.4"],
            &["-w", "0.5", "--method", "della", "--density", "0.5"],
            &["-w", "0.5", "--method", "breadcrumbs", "--density", "0.7"],
            &["-w", "0.5", "--control", "noise"],
        ];
        for more in merges {
            let best = merged("best", &folders, more);
            for set in ["scalar", "v3"] {
                let (weights, report) = merged(set, &folders, more);
                assert!(weights == best.0, "{dtype:?} {more:?} on {set}: other weights");
                assert_eq!(report, best.1, "{dtype:?} {more:?} on {set}");
            }
        }
        let best = analysed("best", &folders);
        for set in ["scalar", "v3"] {
            assert_eq!(analysed(set, &folders), best, "{dtype:?} on {set}");
        }
    }
}
