//! The two mergekit modes against what mergekit 0.1.5 wrote: `goldens/make_goldens.py` says how.

#![allow(clippy::unwrap_used, reason = "a golden that cannot be read has failed")]

use std::fs;
use std::path::Path;

use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, Recipe, Rounding};
use mergescope_core::stream::Resources;
use safetensors::SafeTensors;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Case {
    variant: String,
    mode: String,
    w: f64,
    out_dtype: String,
    expected: String,
}

#[test]
fn both_modes_are_bit_equal_to_mergekit() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(goldens.join("cases.json")).unwrap()).unwrap();
    assert!(cases.len() >= 40, "the goldens are all there");
    let out = tempfile::tempdir().unwrap();
    for (number, case) in cases.iter().enumerate() {
        let inputs = goldens.join("inputs").join(&case.variant);
        let model = |role: &str| inputs.join(role).to_str().unwrap().to_owned();
        let mut recipe = Recipe::new(model("pre"), model("post"), model("target"));
        recipe.vector.w = case.w;
        recipe.output.rounding =
            if case.mode.starts_with("mergekit-bf16") { Rounding::MergekitBf16 } else { Rounding::MergekitF32 };
        recipe.output.dtype = match case.out_dtype.as_str() {
            "float32" => OutputDtype::F32,
            "float16" => OutputDtype::F16,
            "bfloat16" => OutputDtype::Bf16,
            other => panic!("no test is written for {other}"),
        };
        let output = out.path().join(number.to_string());
        merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();

        let written = fs::read(output.join("model.safetensors")).unwrap();
        let expected = fs::read(goldens.join(&case.expected)).unwrap();
        let (written, expected) =
            (SafeTensors::deserialize(&written).unwrap(), SafeTensors::deserialize(&expected).unwrap());
        let mut names = expected.names();
        names.sort_unstable();
        let mut found = written.names();
        found.sort_unstable();
        assert_eq!(names, found, "{case:?}");
        for name in names {
            let (a, b) = (written.tensor(name).unwrap(), expected.tensor(name).unwrap());
            assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{name} of {case:?}");
            assert!(a.data() == b.data(), "{name} of {case:?} differs in its bits");
        }
    }
}
