//! Conversions: any model that opens becomes safetensors in the Hub's layout, its weights bit for bit.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mergescope_core::checkpoint::{Checkpoint, Dtype};
use mergescope_core::merge::{Converted, MergeError, convert};
use mergescope_core::progress::Control;
use mergescope_core::stream::Resources;
use support::{Model, Size, Tensor, read_model};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn converted(model: &Path, output: &Path, shard_bytes: u64) -> Result<Converted, MergeError> {
    // Units of one leaf, so that tensors are written in pieces.
    let resources = Resources { threads: 3, unit_bytes: 1, ..Resources::default() };
    let model = Arc::new(Checkpoint::open(model).unwrap());
    convert(&model, output, shard_bytes, &resources, &Control::new())
}

/// The tensors of a lone safetensors file, by the safetensors crate.
fn expected(file: &Path) -> support::Written {
    let dir = TempDir::new().unwrap();
    fs::copy(file, dir.path().join("model.safetensors")).unwrap();
    read_model(dir.path())
}

#[test]
fn pickles_and_gguf_files_become_the_same_tensors() {
    for (from, to) in [
        ("pickles/dtypes.bin", "pickles/dtypes.safetensors"),
        ("pickles/bin/pre", "pickles/safetensors/pre/model.safetensors"),
        ("pickles/bin/post", "pickles/safetensors/post/model.safetensors"),
        ("pickles/bin/target", "pickles/safetensors/target/model.safetensors"),
        ("gguf/llama-f16.gguf", "gguf/llama-f16.safetensors"),
        ("gguf/qwen2-bf16.gguf", "gguf/qwen2-bf16.safetensors"),
        ("gguf/qwen3-f32.gguf", "gguf/qwen3-f32.safetensors"),
    ] {
        let expected = expected(&golden(to));
        for shard_bytes in [u64::MAX, 200] {
            let dir = TempDir::new().unwrap();
            let output = dir.path().join("converted");
            let done = converted(&golden(from), &output, shard_bytes).unwrap();
            assert_eq!(done.tensors, expected.len());
            assert_eq!(done.weight_files.len() > 1, shard_bytes == 200);
            assert!(read_model(&output) == expected, "{from} in files of {shard_bytes}");
            assert_eq!(done.has_config, from.contains("bin/"));
            assert_eq!(output.join("config.json").is_file(), done.has_config);
            // Nothing else is left in the folder, or beside it.
            assert!(Checkpoint::open(&output).is_ok());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}

#[test]
fn everything_beside_the_weights_comes_along() {
    let dir = TempDir::new().unwrap();
    let nan = Tensor::of("model.extra.weight", Dtype::F32, &[2], &[f32::NAN, f32::INFINITY]);
    let files = ["tokenizer.json", "LICENSE", "README.md", "pytorch_model.bin", ".gitattributes"];
    let mut model = Model::qwen2(Size::default(), Dtype::BF16, 1).with_tensor(nan).with_shards(3);
    for name in files {
        model = model.with_file(name, name);
    }
    model.write(&dir.path().join("model"));
    let output = dir.path().join("converted");
    converted(&dir.path().join("model"), &output, u64::MAX).unwrap();
    assert!(read_model(&output) == read_model(&dir.path().join("model")), "bits that mean no number are kept too");
    let mut found: Vec<String> =
        fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, ["LICENSE", "README.md", "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read_to_string(output.join("README.md")).unwrap(), "README.md");
}

#[test]
fn nothing_is_overwritten_and_nothing_half_written_stays() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("converted");
    fs::create_dir(&output).unwrap();
    let model = golden("pickles/bin/pre");
    assert!(matches!(converted(&model, &output, u64::MAX), Err(MergeError::OutputExists { .. })));
    fs::remove_dir(&output).unwrap();

    let control = Control::new();
    control.cancel();
    let opened = Arc::new(Checkpoint::open(&model).unwrap());
    let error = convert(&opened, &output, u64::MAX, &Resources::default(), &control).unwrap_err();
    assert!(error.is_cancelled());

    // A model whose file changed since it was opened.
    let copy = dir.path().join("weights.bin");
    fs::copy(golden("pickles/dtypes.bin"), &copy).unwrap();
    let opened = Arc::new(Checkpoint::open(&copy).unwrap());
    fs::write(&copy, "short").unwrap();
    assert!(convert(&opened, &output, u64::MAX, &Resources::default(), &Control::new()).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the copy is there");
}
