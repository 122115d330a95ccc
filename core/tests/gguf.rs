//! GGUF files of plain floats: read as the tensors of transformers that they were made from. `goldens/make_gguf_goldens.py`
//! writes the files, with llama.cpp's own package.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::checkpoint::{Checkpoint, Dtype, ReadError, ReadPath};
use mergescope_core::error::chain;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;
use support::{Model, Tensor, Written, read_model};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/gguf").join(name)
}

/// The tensors that a file should be read as.
fn expected(name: &str) -> Written {
    let dir = TempDir::new().unwrap();
    fs::copy(golden(name).with_extension("safetensors"), dir.path().join("model.safetensors")).unwrap();
    read_model(dir.path())
}

#[track_caller]
fn assert_refused(path: &Path, words: &str) {
    let message = chain(&Checkpoint::open(path).expect_err("it is refused"));
    assert!(message.contains(words), "`{words}` in: {message}");
}

#[test]
fn names_shapes_and_the_order_of_rows_become_those_of_transformers() {
    for name in ["llama-f16", "qwen2-bf16", "qwen3-f32"] {
        let opened = Checkpoint::open(&golden(name).with_extension("gguf")).unwrap();
        let expected = expected(name);
        assert_eq!(opened.tensors().len(), expected.len(), "{name}");
        for tensor in opened.tensors() {
            let (dtype, shape, bytes) = &expected[&tensor.name];
            let found: Vec<usize> = tensor.shape.iter().map(|dim| *dim as usize).collect();
            assert_eq!((tensor.dtype, &found), (*dtype, shape), "{} of {name}", tensor.name);
            // Whole, and in pieces that begin and end within rows.
            for (read_path, piece) in [(ReadPath::Positional, bytes.len()), (ReadPath::Mapped, 7)] {
                let mut read = vec![0; bytes.len()];
                for (number, buffer) in read.chunks_mut(piece).enumerate() {
                    opened.read_by(read_path, tensor, (number * piece) as u64, buffer).unwrap();
                }
                assert!(read == *bytes, "{} of {name} by {piece} bytes", tensor.name);
            }
        }
    }
}

#[test]
fn a_fingerprint_is_that_of_the_same_weights_as_safetensors() {
    for name in ["llama-f16", "qwen2-bf16"] {
        let fingerprint = |extension: &str| {
            let opened = Checkpoint::open(&golden(name).with_extension(extension)).unwrap();
            opened.fingerprint(|| Ok::<(), ReadError>(())).unwrap()
        };
        assert_eq!(fingerprint("gguf"), fingerprint("safetensors"));
    }
}

#[test]
fn a_merge_of_a_gguf_file_is_that_of_the_same_model_as_safetensors() {
    let dir = TempDir::new().unwrap();
    let tensors = expected("llama-f16");
    let named = |(name, (dtype, shape, bytes)): (&String, &(Dtype, Vec<usize>, Vec<u8>))| Tensor {
        name: name.clone(),
        dtype: *dtype,
        shape: shape.clone(),
        bytes: bytes.clone(),
    };
    let mut pre = Model::new();
    pre.tensors = tensors.iter().map(named).collect();
    pre.tuned(2, 0.05).write(&dir.path().join("post"));
    pre.tuned(3, 0.05).write(&dir.path().join("target"));

    let merged = |pre: PathBuf, output: &str| {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut recipe = Recipe::new(path(&pre), path(&dir.path().join("post")), path(&dir.path().join("target")));
        recipe.vector.w = 0.7;
        // Units of one leaf, on several threads, which begin and end within rows.
        let resources = Resources { threads: 3, unit_bytes: 1, ..Resources::default() };
        merge(&recipe, &dir.path().join(output), &resources, &Control::new()).unwrap();
        fs::read(dir.path().join(output).join("model.safetensors")).unwrap()
    };
    let from_gguf = merged(golden("llama-f16.gguf"), "a");
    assert!(from_gguf == merged(golden("llama-f16.safetensors"), "b"));
}

#[test]
fn a_file_stands_alone_and_in_a_folder_takes_the_config_beside_it() {
    let lone = Checkpoint::open(&golden("qwen2-bf16.gguf")).unwrap();
    assert!(lone.is_single_file() && lone.config().is_none());

    let dir = TempDir::new().unwrap();
    fs::copy(golden("qwen2-bf16.gguf"), dir.path().join("ggml-model-bf16.gguf")).unwrap();
    fs::write(dir.path().join("config.json"), r#"{"model_type": "qwen2"}"#).unwrap();
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(opened.config().unwrap().model_type(), Some("qwen2"));
    assert_eq!(opened.sidecars().unwrap(), ["config.json"]);
    fs::copy(golden("qwen2-bf16.gguf"), dir.path().join("another.gguf")).unwrap();
    assert_refused(dir.path(), "holds another.gguf, ggml-model-bf16.gguf; choose one of these files");
}

#[test]
fn what_cannot_be_undone_is_refused() {
    for (name, words) in [
        ("refused-quantised", "tensor `output.weight` is quantised (Q8_0): its numbers are codes and cannot be added"),
        ("refused-split", "it is one of 3 files of a model; put them together first"),
        ("refused-gemma2", "its architecture is `gemma2`"),
        ("refused-experts", "tensor `blk.0.ffn_gate_exps.weight` is none that a dense llama model has"),
    ] {
        assert_refused(&golden(name).with_extension("gguf"), words);
    }
}

/// The golden with the bytes at `at` replaced.
fn spoilt(at: usize, bytes: &[u8]) -> (TempDir, PathBuf) {
    let mut file = fs::read(golden("llama-f16.gguf")).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, file).unwrap();
    (dir, path)
}

#[test]
fn headers_that_lie_are_refused_before_memory_is_taken() {
    for (at, bytes, words) in [
        (4, &[0, 0, 0, 3][..], "it was written for big-endian machines"),
        (4, &[1, 0, 0, 0], "it has version 1 of GGUF; versions 2 and 3 are read"),
        (8, &[0xff; 8], "its header makes no sense"),
        (16, &[0xff; 8], "its header makes no sense"),
        // The length of the first key.
        (24, &[0xff; 8], "its header makes no sense at byte 32"),
    ] {
        let (_dir, path) = spoilt(at, bytes);
        assert_refused(&path, words);
    }
    let (_dir, path) = spoilt(4, &[3, 0, 0, 0]);
    let whole = fs::read(&path).unwrap();
    for length in [5, 200, 1000, whole.len() - 100] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_refused(&path, "truncated; download it again");
    }
}

#[test]
fn rows_of_unknown_heads_are_not_guessed() {
    let whole = fs::read(golden("llama-f16.gguf")).unwrap();
    let key = b"llama.attention.head_count";
    let at = whole.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    assert_eq!(whole[at..at + 4], [4, 0, 0, 0], "the number of heads lies there");
    for (heads, words) in [(3, "since they are not those of 3 heads"), (16, "of 16 heads"), (0, "of 0 heads")] {
        let (_dir, path) = spoilt(at, &[heads, 0, 0, 0]);
        assert_refused(&path, words);
    }
}
