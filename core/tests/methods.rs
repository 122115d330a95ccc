//! Every method against what mergekit 0.1.5 wrote: `goldens/methods/README.md` says how.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a golden that cannot be read has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use half::bf16;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::mergekit::{at_hand, export, import};
use mergescope_core::recipe::{Method, MethodSpec, OutputDtype, Recipe, Rounding, VectorSpec};
use mergescope_core::scaling::Pattern;
use mergescope_core::stream::Resources;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    variant: String,
    dtype: String,
    out_dtype: String,
    expected: String,
    order_of_equals: Vec<String>,
    f64_sums_error: f64,
    yaml: String,
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/methods")
}

/// The models of a case, by the names that they have in its YAML.
struct Inputs(PathBuf);

impl Inputs {
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A vector from the base.
    fn vector(&self, name: &str, w: f64) -> VectorSpec {
        VectorSpec { w, ..VectorSpec::new(self.path("base"), self.path(name)) }
    }

    /// A whole model.
    fn model(&self, name: &str, w: f64) -> VectorSpec {
        VectorSpec { w, ..VectorSpec::new("", self.path(name)) }
    }

    fn recipe(&self, target: &str, method: MethodSpec, mut vectors: Vec<VectorSpec>) -> Recipe {
        let mut recipe = Recipe::new("", "", self.path(target));
        recipe.method = method;
        recipe.vector = vectors.remove(0);
        recipe.others = vectors;
        recipe
    }
}

/// The same vector with a coefficient for each pattern, the first that matches.
fn by_pattern(vector: VectorSpec, factors: &[(&str, f64)]) -> VectorSpec {
    let mut vector = VectorSpec { w: 1.0, ..vector };
    vector.scaling.patterns =
        factors.iter().map(|(tensors, factor)| Pattern { tensors: (*tensors).to_owned(), factor: *factor }).collect();
    vector
}

/// What the YAML of a case says, as a recipe.
fn recipe(name: &str, models: &Inputs) -> Recipe {
    let method = MethodSpec::new;
    let vectors = |weights: &[(&str, f64)]| -> Vec<VectorSpec> {
        weights.iter().map(|(name, w)| models.vector(name, *w)).collect()
    };
    let dense = |name: &str, w, density, gamma: Option<f64>| VectorSpec {
        density: Some(density),
        gamma,
        ..models.vector(name, w)
    };
    match name {
        "linear" => {
            models.recipe("one", method(Method::Linear), vec![models.model("one", 0.3), models.model("two", 0.9)])
        }
        "linear-base-last" => models.recipe(
            "base",
            MethodSpec { normalize: Some(false), ..method(Method::Linear) },
            vec![models.model("one", 1.0), models.model("two", -0.55), models.model("base", 0.4)],
        ),
        "linear-base-listed" => {
            let three =
                by_pattern(models.model("three", 1.0), &[("*layers.0.mlp*", 0.1), ("*layers.1.mlp*", 0.7), ("*", 0.2)]);
            models.recipe(
                "base",
                method(Method::Linear),
                vec![models.model("one", 0.3), models.model("base", 0.45), three],
            )
        }
        "task-arithmetic" => models.recipe(
            "base",
            MethodSpec { lambda: Some(0.7), ..method(Method::TaskArithmetic) },
            vectors(&[("one", 0.3), ("two", -0.8)]),
        ),
        "task-arithmetic-normalized" => {
            let one = by_pattern(
                models.vector("one", 1.0),
                &[("*layers.0.self_attn*", 0.2), ("*layers.1.self_attn*", 0.9), ("model.norm*", 0.0), ("*", 0.6)],
            );
            let three = by_pattern(models.vector("three", 1.0), &[("*layers.1.*", 0.4), ("*", 1.3)]);
            models.recipe(
                "base",
                MethodSpec { normalize: Some(true), ..method(Method::TaskArithmetic) },
                vec![one, models.vector("two", 0.45), three],
            )
        }
        "ties" => models.recipe(
            "base",
            MethodSpec { density: Some(0.2), ..method(Method::Ties) },
            vectors(&[("one", 1.0), ("two", 1.0)]),
        ),
        "ties-three" => models.recipe(
            "base",
            MethodSpec { normalize: Some(false), lambda: Some(0.7), ..method(Method::Ties) },
            vec![dense("one", 0.3, 0.5, None), dense("two", -0.5, 0.37, None), dense("three", 1.7, 1.0, None)],
        ),
        "ties-rescale" => models.recipe(
            "base",
            MethodSpec { density: Some(0.5), rescale: Some(true), ..method(Method::Ties) },
            vectors(&[("one", 0.3), ("two", 0.6), ("three", 0.4)]),
        ),
        "breadcrumbs" => models.recipe(
            "base",
            MethodSpec { density: Some(0.5), gamma: Some(0.1), ..method(Method::Breadcrumbs) },
            vectors(&[("one", 0.3), ("two", 0.6)]),
        ),
        "breadcrumbs-crossed" => models.recipe(
            "base",
            MethodSpec { normalize: Some(true), lambda: Some(0.7), ..method(Method::Breadcrumbs) },
            vec![
                dense("one", 0.3, 0.9, Some(0.3)),
                dense("two", 0.6, 0.2, Some(0.95)),
                dense("three", 0.4, 1.0, Some(0.5)),
            ],
        ),
        "breadcrumbs-ties" => models.recipe(
            "base",
            MethodSpec { density: Some(0.37), ..method(Method::BreadcrumbsTies) },
            vectors(&[("one", 1.0), ("two", 1.0)]),
        ),
        "breadcrumbs-ties-three" => models.recipe(
            "base",
            MethodSpec { normalize: Some(true), lambda: Some(0.7), ..method(Method::BreadcrumbsTies) },
            vec![
                dense("one", 0.7, 0.9, Some(0.05)),
                dense("two", -0.6, 0.5, Some(0.1)),
                dense("three", 0.4, 0.8, Some(0.1)),
            ],
        ),
        "slerp" => models.recipe("base", method(Method::Slerp), vec![models.model("one", 0.3)]),
        "slerp-gradient" => {
            let two = by_pattern(
                models.model("two", 1.0),
                &[
                    ("*layers.0.self_attn*", 0.0),
                    ("*layers.1.self_attn*", 1.0),
                    ("*layers.0.mlp*", 1.0),
                    ("*layers.1.mlp*", 0.0),
                    ("*", 0.5),
                ],
            );
            models.recipe("one", method(Method::Slerp), vec![two])
        }
        "nuslerp" => {
            models.recipe("one", method(Method::Nuslerp), vec![models.model("one", 0.4), models.model("two", 0.8)])
        }
        "nuslerp-base-dim0" => models.recipe(
            "base",
            MethodSpec { flatten: Some(false), row_wise: Some(true), ..method(Method::Nuslerp) },
            vectors(&[("one", 0.4), ("two", 0.6)]),
        ),
        "nuslerp-last-dim" => models.recipe(
            "one",
            MethodSpec { flatten: Some(false), ..method(Method::Nuslerp) },
            vec![models.model("one", 1.0), models.model("two", 3.0)],
        ),
        "model-stock" => models.recipe("base", method(Method::ModelStock), vectors(&[("one", 1.0), ("two", 1.0)])),
        "model-stock-three" => {
            models.recipe("base", method(Method::ModelStock), vectors(&[("one", 1.0), ("two", 1.0), ("three", 1.0)]))
        }
        "sce" => models.recipe("base", method(Method::Sce), vectors(&[("one", 1.0), ("two", 1.0)])),
        "sce-three" => models.recipe(
            "base",
            MethodSpec { select_topk: Some(0.37), ..method(Method::Sce) },
            vectors(&[("one", 1.0), ("two", 1.0), ("three", 1.0)]),
        ),
        "dare-ties-all" | "della-all" => {
            let name = if name.starts_with("dare") { Method::DareTies } else { Method::Della };
            models.recipe("base", method(name), vectors(&[("one", 0.3), ("two", 0.6)]))
        }
        // Densities by slice and the filter-wise model stock are not carried over.
        "ties-slices" | "model-stock-filter-wise" => Recipe::new("", "", ""),
        other => panic!("no test is written for {other}"),
    }
}

fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F32 => bytes.chunks(4).map(|raw| f64::from(f32::from_le_bytes(raw.try_into().unwrap()))).collect(),
        Dtype::BF16 => bytes.chunks(2).map(|raw| bf16::from_le_bytes(raw.try_into().unwrap()).to_f64()).collect(),
        other => panic!("no golden is {other}"),
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(goldens().join("cases.json")).unwrap()).unwrap();
    assert!(cases.len() >= 50, "the goldens are all there");
    cases
}

/// Merges recipes and holds the results against the goldens.
struct Comparison {
    out: tempfile::TempDir,
    merges: usize,
    compared: usize,
    skipped: usize,
    failed: Vec<String>,
}

impl Comparison {
    fn new() -> Self {
        Self { out: tempfile::tempdir().unwrap(), merges: 0, compared: 0, skipped: 0, failed: Vec::new() }
    }

    fn compare(&mut self, case: &Case, recipe: &Recipe) {
        self.merges += 1;
        let output = self.out.path().join(self.merges.to_string());
        merge(recipe, &output, &Resources::default(), &Control::new())
            .unwrap_or_else(|error| panic!("{case:?}: {error}"));

        let written = fs::read(output.join("model.safetensors")).unwrap();
        let expected = fs::read(goldens().join(&case.expected)).unwrap();
        let (written, expected) =
            (SafeTensors::deserialize(&written).unwrap(), SafeTensors::deserialize(&expected).unwrap());
        for (name, expected) in expected.tensors() {
            // Which of equal magnitudes comes first is libstdc++'s choice there.
            if case.order_of_equals.contains(&name) {
                self.skipped += 1;
                continue;
            }
            self.compared += 1;
            let written = written.tensor(&name).unwrap();
            assert_eq!((written.dtype(), written.shape()), (expected.dtype(), expected.shape()), "{name} of {case:?}");
            if written.data() == expected.data() {
                continue;
            }
            let (a, b) = (values(written.dtype(), written.data()), values(expected.dtype(), expected.data()));
            let largest = b.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
            // Sums over a tensor and functions of angles are f64 here and f32 in torch, in an order of its own: that moves f32
            // by a few of its 2⁻²⁴, and bf16 not at all.
            let allowed = if case.f64_sums_error > 0.0 { 6e-7 } else { 0.0 };
            if error.is_nan() || error > allowed {
                let differ = a.iter().zip(&b).filter(|(a, b)| a != b).count();
                self.failed.push(format!("{} {} {name}: {error:.2e} ({differ} of {})", case.name, case.dtype, a.len()));
            }
        }
    }

    #[track_caller]
    fn finish(&self) {
        let (failed, compared, skipped) = (&self.failed, self.compared, self.skipped);
        assert!(failed.is_empty(), "{} of {compared} ({skipped} skipped):\n{}", failed.len(), failed.join("\n"));
    }
}

#[test]
fn every_method_gives_what_mergekit_wrote() {
    let mut comparison = Comparison::new();
    for case in cases() {
        let mut recipe = recipe(&case.name, &Inputs(goldens().join("inputs").join(&case.variant)));
        if recipe.target.is_empty() {
            continue;
        }
        recipe.output.rounding = if case.dtype == "bfloat16" { Rounding::MergekitBf16 } else { Rounding::MergekitF32 };
        recipe.output.dtype = if case.out_dtype == "bfloat16" { OutputDtype::Bf16 } else { OutputDtype::F32 };
        comparison.compare(&case, &recipe);
    }
    comparison.finish();
}

#[test]
fn the_merge_files_of_the_goldens_give_what_mergekit_wrote_and_so_they_do_when_written_anew() {
    let mut comparison = Comparison::new();
    let mut not_carried = Vec::new();
    for case in cases() {
        let inputs = goldens().join("inputs").join(&case.variant);
        let yaml = case.yaml.replace('$', &format!("{}/", inputs.display()));
        let imported = import(&yaml, &inputs, &at_hand).unwrap_or_else(|error| panic!("{yaml}\n{error}"));
        if !imported.not_carried.is_empty() {
            not_carried.push(case.name);
            continue;
        }
        comparison.compare(&case, &imported.recipe);
        let exported = export(&imported.recipe, &at_hand).unwrap_or_else(|error| panic!("{yaml}\n{error}"));
        assert_eq!(exported.not_carried, [], "{yaml}");
        let again = import(&exported.yaml, &inputs, &at_hand).unwrap();
        assert_eq!(again.not_carried, [], "{}", exported.yaml);
        comparison.compare(&case, &again.recipe);
    }
    comparison.finish();
    not_carried.dedup();
    assert_eq!(not_carried, ["ties-slices", "model-stock-filter-wise"]);
}
