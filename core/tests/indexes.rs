//! Indexes and names of weight files as they are found in the wild: what is clear opens, the rest is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mergescope_core::checkpoint::{Checkpoint, Dtype};
use mergescope_core::error::chain;
use serde_json::{Value, json};
use support::{Model, Size, Tensor, write_safetensors};
use tempfile::TempDir;

fn tiny() -> Model {
    Model::qwen2(Size::default(), Dtype::BF16, 1)
}

/// Writes the tiny model's tensors in two files of these names, and gives which tensor is where.
fn shards(folder: &Path, names: [&str; 2]) -> BTreeMap<String, String> {
    let model = tiny();
    let (first, second) = model.tensors.split_at(9);
    let mut weight_map = BTreeMap::new();
    for (name, tensors) in names.into_iter().zip([first, second]) {
        write_safetensors(&folder.join(name), tensors);
        weight_map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), name.to_owned())));
    }
    weight_map
}

fn write_index(folder: &Path, name: &str, index: &Value) {
    fs::write(folder.join(name), index.to_string()).unwrap();
}

#[track_caller]
fn assert_opens(path: &Path) -> Checkpoint {
    let opened = Checkpoint::open(path).unwrap();
    assert_eq!(opened.tensors().len(), tiny().tensors.len());
    opened
}

#[track_caller]
fn assert_refused(path: &Path, words: &str) {
    let message = chain(&Checkpoint::open(path).expect_err("it is refused"));
    assert!(message.contains(words), "`{words}` in: {message}");
}

#[test]
fn an_index_needs_neither_metadata_nor_names_of_a_certain_form() {
    for names in [
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ["model-1-of-2.safetensors", "model-2-of-2.safetensors"],
        ["part_a.safetensors", "b.st.safetensors"],
        ["diffusion model (1).safetensors", "重み.safetensors"],
    ] {
        let dir = TempDir::new().unwrap();
        let weight_map = shards(dir.path(), names);
        for index in [
            json!({ "weight_map": weight_map }),
            json!({ "metadata": {}, "weight_map": weight_map }),
            json!({ "metadata": null, "weight_map": weight_map, "format": "pt", "extra": [1, { "a": null }] }),
            json!({ "metadata": { "total_size": "about 1e9", "mergekit_version": "0.1.5" }, "weight_map": weight_map }),
        ] {
            write_index(dir.path(), "model.safetensors.index.json", &index);
            assert_eq!(assert_opens(dir.path()).shard_paths().count(), 2);
        }
    }
}

#[test]
fn a_file_may_be_named_with_a_dot_before_it() {
    let dir = TempDir::new().unwrap();
    let mut weight_map = shards(dir.path(), ["a.safetensors", "b.safetensors"]);
    weight_map.values_mut().for_each(|name| *name = format!("./{name}"));
    write_index(dir.path(), "model.safetensors.index.json", &json!({ "weight_map": weight_map }));
    assert_opens(dir.path());
}

#[test]
fn tensors_that_an_index_leaves_out_are_read_and_those_that_are_absent_refused() {
    let dir = TempDir::new().unwrap();
    let mut weight_map = shards(dir.path(), ["a.safetensors", "b.safetensors"]);
    weight_map.remove("model.norm.weight");
    write_index(dir.path(), "model.safetensors.index.json", &json!({ "weight_map": weight_map }));
    assert_opens(dir.path());
    weight_map.insert("lm_head.weight".to_owned(), "a.safetensors".to_owned());
    write_index(dir.path(), "model.safetensors.index.json", &json!({ "weight_map": weight_map }));
    assert_refused(dir.path(), "places tensor `lm_head.weight` in `a.safetensors`, which does not hold it");
}

#[test]
fn mistrals_own_files_open_and_stand_back_behind_the_others() {
    let dir = TempDir::new().unwrap();
    write_safetensors(&dir.path().join("consolidated.safetensors"), &tiny().tensors);
    assert_opens(dir.path());

    // Sharded, with an index of their own.
    let sharded = TempDir::new().unwrap();
    let names = ["consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors"];
    let weight_map = shards(sharded.path(), names);
    write_index(sharded.path(), "consolidated.safetensors.index.json", &json!({ "weight_map": weight_map }));
    assert_eq!(assert_opens(sharded.path()).shard_paths().count(), 2);
    assert_refused(&sharded.path().join(names[0]), "is one shard of several; choose its folder");

    for dir in [dir, sharded] {
        let lone = [Tensor::of("lone.weight", Dtype::F32, &[1], &[1.0])];
        write_safetensors(&dir.path().join("model.safetensors"), &lone);
        assert_eq!(Checkpoint::open(dir.path()).unwrap().tensors().len(), 1);
    }
}

#[test]
fn a_whole_file_beside_an_index_is_taken_where_nothing_else_can_be_meant() {
    let dir = TempDir::new().unwrap();
    let model = tiny();
    write_safetensors(&dir.path().join("model.safetensors"), &model.tensors);
    fs::write(dir.path().join("config.json"), model.config.as_ref().unwrap().to_string()).unwrap();
    let index = "model.safetensors.index.json";

    // An index that names the file itself.
    let weight_map: BTreeMap<_, _> = model.tensors.iter().map(|tensor| (&tensor.name, "model.safetensors")).collect();
    write_index(dir.path(), index, &json!({ "weight_map": weight_map }));
    assert_opens(dir.path());
    // One that was left behind when the shards were put together.
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let weight_map = shards(dir.path(), names);
    write_index(dir.path(), index, &json!({ "weight_map": weight_map }));
    fs::remove_file(dir.path().join(names[1])).unwrap();
    assert!(assert_opens(dir.path()).shard_paths().all(|path| path.ends_with("model.safetensors")));

    // Both are whole.
    shards(dir.path(), names);
    assert_refused(
        dir.path(),
        "holds a whole model in `model.safetensors`, and another in the files that `model.safetensors.index.json` names",
    );
    assert_refused(dir.path(), "choose one of these two files");
    assert_eq!(assert_opens(&dir.path().join("model.safetensors")).shard_paths().count(), 1);
    assert_eq!(assert_opens(&dir.path().join(index)).shard_paths().count(), 2);
}
