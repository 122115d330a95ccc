//! A vector saved as a folder of its own, and what it can stand in for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::alignment::{Models, VectorPair};
use mergescope_core::checkpoint::{Checkpoint, CheckpointKind, Dtype};
use mergescope_core::error::chain;
use mergescope_core::merge::{MergeError, Provenance, SavedVector, VECTOR_FILE, merge, provenance, save_vector};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{Method, OutputDtype, Recipe, Rounding, VectorSpec};
use mergescope_core::stream::Resources;
use safetensors::SafeTensors;
use support::{Folders, Model, Size, decode, related};

struct Scene {
    folders: Folders,
    out: tempfile::TempDir,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Scene {
    fn new(dtype: Dtype) -> Self {
        let (pre, post, target) = related(Size::default(), dtype);
        Self { folders: Folders::write(&pre, &post, &target), out: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    fn save(&self, name: &str, dtype: OutputDtype) -> Result<SavedVector, MergeError> {
        let (pre, post) = (self.folders.pre(), self.folders.post());
        let models = Models::open(text(&self.folders.target()), [(text(&pre), text(&post))]).unwrap();
        let pair: &VectorPair = &models.vectors[0];
        let names = [text(&pre), text(&post)];
        save_vector(pair, names, dtype, &self.path(name), &Resources::default(), &Control::new())
    }

    /// target + w·v, with v from a saved folder or from pre and post.
    fn merged(&self, vector: Option<&Path>, name: &str) -> Result<Vec<(String, Vec<u8>)>, MergeError> {
        let (pre, post) = (self.folders.pre(), self.folders.post());
        let mut recipe = match vector {
            Some(folder) => Recipe::new("", text(folder), text(&self.folders.target())),
            None => Recipe::new(text(&pre), text(&post), text(&self.folders.target())),
        };
        recipe.vector.w = 0.7;
        let output = self.path(name);
        merge(&recipe, &output, &Resources::default(), &Control::new())?;
        Ok(tensors(&output.join("model.safetensors")))
    }
}

fn tensors(file: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    tensors.sort();
    tensors
}

#[test]
fn a_saved_vector_is_post_minus_pre_rounded_once() {
    let scene = Scene::new(Dtype::BF16);
    let saved = scene.save("v", OutputDtype::F32).unwrap();
    let open = Checkpoint::open(&scene.path("v")).unwrap();
    assert_eq!(open.kind(), CheckpointKind::Vector);
    let [pre, post] = [scene.folders.pre(), scene.folders.post()].map(|folder| {
        tensors(&folder.join("model.safetensors")).into_iter().collect::<std::collections::HashMap<_, _>>()
    });
    let written = tensors(&scene.path("v").join("vector.safetensors"));
    assert_eq!(written.len(), pre.len());
    for (name, bytes) in written {
        let (a, b) = (decode(Dtype::BF16, &pre[&name]), decode(Dtype::BF16, &post[&name]));
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (f64::from(*b) - f64::from(*a)) as f32).collect();
        assert_eq!(decode(Dtype::F32, &bytes), expected, "{name}");
    }
    assert!(saved.left_out.is_empty());
    assert!((saved.total().cosine() - 1.0).abs() < 1e-9);
}

#[test]
fn it_stands_in_for_pre_and_post() {
    for dtype in [Dtype::BF16, Dtype::F32] {
        let scene = Scene::new(dtype);
        scene.save("v", OutputDtype::F32).unwrap();
        let direct = scene.merged(None, "direct").unwrap();
        let through = scene.merged(Some(&scene.path("v")), "through").unwrap();
        let (mut elements, mut differ) = (0, 0);
        for ((name, direct), (other, through)) in direct.iter().zip(&through) {
            assert_eq!(name, other);
            let (a, b) = (decode(dtype, direct), decode(dtype, through));
            elements += a.len();
            differ += a.iter().zip(&b).filter(|(a, b)| a != b).count();
        }
        // v rounded to 24 bits moves a sum across the middle between two elements now and then, of f32 more often.
        let allowed = if dtype == Dtype::F32 { elements / 10 } else { elements / 1_000 };
        assert!(differ <= allowed, "{differ} of {elements} {dtype}");
    }
}

#[test]
fn it_says_where_it_comes_from_and_what_it_is_no_model_for() {
    let scene = Scene::new(Dtype::BF16);
    let saved = scene.save("v", OutputDtype::Bf16).unwrap();
    let folder = scene.path("v");
    let told: Provenance = provenance(&Checkpoint::open(&folder).unwrap()).unwrap();
    assert_eq!(told, saved.provenance);
    assert_eq!(told.post, text(&scene.folders.post()));
    assert_eq!(told.pre_fingerprint.len(), 64);
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("# post − pre") && card.contains("bf16"), "{card}");
    for file in ["vector.safetensors", "config.json", VECTOR_FILE] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert!(!folder.join("model.safetensors").exists(), "nothing loads it as a model");
}

#[test]
fn a_vector_of_another_architecture_is_refused_with_the_tensor() {
    let scene = Scene::new(Dtype::BF16);
    scene.save("v", OutputDtype::F32).unwrap();
    let wider = Model::qwen2(Size { hidden: 64, ..Size::default() }, Dtype::BF16, 5);
    let other = scene.path("wider");
    wider.write(&other);
    let mut recipe = Recipe::new("", text(&scene.path("v")), text(&other));
    recipe.vector.w = 1.0;
    let output = scene.path("out");
    let Err(error) = merge(&recipe, &output, &Resources::default(), &Control::new()) else { panic!("it fits nothing") };
    assert!(matches!(error, MergeError::Unfit { .. }), "{}", chain(&error));
    assert!(chain(&error).contains("shape"), "{}", chain(&error));
    assert!(!output.exists());
}

#[test]
fn vectors_and_models_are_not_taken_for_one_another() {
    let scene = Scene::new(Dtype::BF16);
    scene.save("v", OutputDtype::F32).unwrap();
    let [pre, post, target, v] = [scene.folders.pre(), scene.folders.post(), scene.folders.target(), scene.path("v")]
        .map(|path| text(&path).to_owned());
    let message = |recipe: &Recipe| {
        let output = scene.path("out");
        let error = merge(recipe, &output, &Resources::default(), &Control::new()).unwrap_err();
        assert!(!output.exists());
        chain(&error)
    };
    assert!(message(&Recipe::new(&*pre, &*v, &*target)).contains("leave out pre"));
    assert!(message(&Recipe::new(&*v, &*post, &*target)).contains("give it as post, without a pre"));
    assert!(message(&Recipe::new(&*pre, &*post, &*v)).contains("the target must be a model"));
    assert!(message(&Recipe::new("", &*post, &*target)).contains("give its pre too"));
    let mut averaged = Recipe::new("", &*v, &*target);
    averaged.method.name = Method::Linear;
    assert!(message(&averaged).contains("takes whole models"));
    let mut stepped = Recipe::new("", &*v, &*target);
    stepped.output.rounding = Rounding::MergekitBf16;
    assert!(message(&stepped).contains("mergekit knows no saved vectors"));
}

#[test]
fn saved_and_fresh_vectors_add_up() {
    let scene = Scene::new(Dtype::BF16);
    scene.save("v", OutputDtype::F32).unwrap();
    let target = text(&scene.folders.target()).to_owned();
    let mut both = Recipe::new(text(&scene.folders.pre()), text(&scene.folders.post()), &*target);
    both.vector.w = 0.5;
    both.others = vec![VectorSpec { w: -0.5, ..VectorSpec::new("", text(&scene.path("v"))) }];
    let output = scene.path("both");
    merge(&both, &output, &Resources::default(), &Control::new()).unwrap();
    // Half of v and half of v back: the target.
    let (written, target) =
        (tensors(&output.join("model.safetensors")), tensors(&scene.folders.target().join("model.safetensors")));
    assert!(written == target);
}

#[test]
fn nothing_is_written_where_something_is_or_inside_a_model() {
    let scene = Scene::new(Dtype::BF16);
    scene.save("v", OutputDtype::F32).unwrap();
    assert!(matches!(scene.save("v", OutputDtype::F32).unwrap_err(), MergeError::OutputExists { .. }));
    let (pre, post) = (scene.folders.pre(), scene.folders.post());
    let models = Models::open(text(&post), [(text(&pre), text(&post))]).unwrap();
    let inside = post.join("v");
    let error = save_vector(
        &models.vectors[0],
        [text(&pre), text(&post)],
        OutputDtype::F32,
        &inside,
        &Resources::default(),
        &Control::new(),
    );
    assert!(matches!(error.unwrap_err(), MergeError::OutputInsideInput { .. }));
    assert!(!inside.exists());
}
