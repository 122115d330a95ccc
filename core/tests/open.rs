//! Checkpoints on disk: what opens, and what is refused with which words.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod support;

use std::fs;
use std::path::Path;

use mergescope_core::checkpoint::{Checkpoint, Dtype, ReadError, ReadPath};
use mergescope_core::error::chain;
use serde_json::{Value, json};
use support::{Model, Size, Tensor, hostile_safetensors, qwen2_tensors};
use tempfile::TempDir;

/// The whole message with which a path is refused.
#[track_caller]
fn refusal(path: &Path) -> String {
    chain(&Checkpoint::open(path).expect_err("it is refused"))
}

#[track_caller]
fn assert_refused(path: &Path, words: &str) {
    let message = refusal(path);
    assert!(message.contains(words), "`{words}` in: {message}");
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn tiny() -> Model {
    Model::qwen2(Size::default(), Dtype::BF16, 1)
}

/// A model in two shards and its index, which the test may spoil.
fn sharded(spoil: impl FnOnce(&mut Value)) -> TempDir {
    let dir = folder();
    tiny().with_shards(2).write(dir.path());
    let path = dir.path().join("model.safetensors.index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    spoil(&mut index);
    fs::write(&path, index.to_string()).unwrap();
    dir
}

#[test]
fn one_file_and_several_shards_hold_the_same_model() {
    let dir = folder();
    let model = tiny();
    model.write(&dir.path().join("one"));
    model.clone().with_shards(3).write(&dir.path().join("three"));

    let one = Checkpoint::open(&dir.path().join("one")).unwrap();
    let three = Checkpoint::open(&dir.path().join("three")).unwrap();
    assert_eq!(one.tensors().len(), qwen2_tensors(Size::default()).len());
    assert_eq!(three.shard_paths().count(), 3);
    for tensor in &model.tensors {
        for (checkpoint, read_path) in [(&one, ReadPath::Positional), (&three, ReadPath::Mapped)] {
            let info = checkpoint.tensor(&tensor.name).unwrap();
            let mut bytes = vec![0; info.bytes as usize];
            checkpoint.read_by(read_path, info, 0, &mut bytes).unwrap();
            assert_eq!(bytes, tensor.bytes, "{}", tensor.name);
        }
    }
    let fingerprint = |checkpoint: &Checkpoint| checkpoint.fingerprint(|| Ok::<(), ReadError>(())).unwrap();
    assert_eq!(fingerprint(&one), fingerprint(&three));
    assert_eq!(one.label(), "one");
}

#[test]
fn every_dtype_is_listed() {
    let dir = folder();
    let all = [
        (Dtype::BOOL, 2),
        (Dtype::U8, 2),
        (Dtype::I8, 2),
        (Dtype::I16, 4),
        (Dtype::U16, 4),
        (Dtype::I32, 8),
        (Dtype::U32, 8),
        (Dtype::I64, 16),
        (Dtype::U64, 16),
        (Dtype::F4, 1),
        (Dtype::F8_E4M3, 2),
        (Dtype::F8_E5M2, 2),
        (Dtype::F8_E8M0, 2),
        (Dtype::F16, 4),
        (Dtype::BF16, 4),
        (Dtype::F32, 8),
        (Dtype::F64, 16),
        (Dtype::C64, 16),
    ];
    let mut model = Model::new();
    for (dtype, bytes) in all {
        model = model.with_tensor(Tensor::raw(&dtype.to_string(), dtype, &[2], vec![0; bytes]));
    }
    model.write(dir.path());
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(opened.tensors().len(), all.len());
    assert_eq!(opened.total_bytes(), all.iter().map(|&(_, bytes)| bytes as u64).sum::<u64>());
}

#[test]
fn a_lone_weight_file_opens_without_its_folder() {
    let dir = folder();
    let path = dir.path().join("weights.safetensors");
    support::write_safetensors(&path, &tiny().tensors);
    fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    let opened = Checkpoint::open(&path).unwrap();
    assert!(opened.is_single_file() && opened.config().is_none());
    assert_eq!(opened.label(), "weights.safetensors");
    assert!(opened.sidecars().unwrap().is_empty());
}

#[test]
fn the_files_of_a_folder_stand_for_the_folder() {
    let dir = folder();
    tiny().write(dir.path());
    assert!(!Checkpoint::open(&dir.path().join("model.safetensors")).unwrap().is_single_file());
    let dir = sharded(|_| ());
    assert_eq!(Checkpoint::open(&dir.path().join("model.safetensors.index.json")).unwrap().shard_paths().count(), 2);
}

#[test]
fn sidecars_are_everything_but_weights_and_what_a_merge_writes_anew() {
    let dir = folder();
    let mut model = tiny();
    for name in ["tokenizer.json", "LICENSE", "README.md", "mergescope.toml", "pytorch_model.bin", ".gitattributes"] {
        model = model.with_file(name, "x");
    }
    model.write(dir.path());
    assert_eq!(Checkpoint::open(dir.path()).unwrap().sidecars().unwrap(), ["LICENSE", "config.json", "tokenizer.json"]);
}

#[test]
fn a_path_to_nothing_is_told() {
    let dir = folder();
    assert_refused(&dir.path().join("absent"), "does not exist; check the path");
    assert_refused(Path::new(""), "no model is named; say its folder, or its name on the Hub");
    assert_refused(dir.path(), "holds no weights (0 files); a model folder has model.safetensors");
    fs::write(dir.path().join("notes.txt"), "hello").unwrap();
    assert_refused(
        &dir.path().join("notes.txt"),
        "is not a checkpoint; choose a model folder, or a .safetensors, .bin or .gguf file",
    );
}

#[test]
fn a_truncated_shard_is_told_with_its_file() {
    let dir = sharded(|_| ());
    let path = dir.path().join("model-00002-of-00002.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_refused(dir.path(), "model-00002-of-00002.safetensors");
    assert_refused(dir.path(), "it is truncated; download it again");
    fs::write(&path, &bytes[..5]).unwrap();
    assert_refused(dir.path(), "it has 5 bytes, too few for a safetensors file");
}

#[test]
fn headers_that_lie_are_refused_before_memory_is_taken() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    for (bytes, words) in [
        ((1_u64 << 60).to_le_bytes().to_vec(), "declares a header of 1152921504606846976 bytes"),
        (50_000_000_u64.to_le_bytes().to_vec(), "should have 50000000 bytes but the file ends after 8"),
        (
            hostile_safetensors(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
                6,
            ),
            "tensor `b` begins at byte 2 of the data where 4 was expected: ranges overlap or leave a gap",
        ),
        (
            hostile_safetensors(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4),
            "whose size overflows",
        ),
        (
            hostile_safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4),
            "needs 8 bytes but its range holds 4",
        ),
        (hostile_safetensors(&"[".repeat(100_000), 0), "not valid safetensors JSON"),
        (hostile_safetensors("\u{0}\u{1}", 0), "not valid safetensors JSON"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_refused(dir.path(), words);
    }
}

#[test]
fn an_index_may_only_name_files_of_its_folder() {
    for (name, words) in [
        ("../outside.safetensors", "`../outside.safetensors` leads out of the model folder"),
        ("sub/../../outside.safetensors", "leads out of the model folder"),
        ("/etc/passwd", "`/etc/passwd` leads out of the model folder"),
        ("..\\outside.safetensors", "leads out of the model folder"),
        ("", "leads out of the model folder"),
    ] {
        let dir = sharded(|index| index["weight_map"]["model.norm.weight"] = json!(name));
        assert_refused(dir.path(), words);
    }
}

#[cfg(unix)]
#[test]
fn a_link_may_not_lead_out_of_the_folder() {
    let (dir, outside) = (folder(), folder());
    tiny().write(outside.path());
    tiny().write(dir.path());
    let secret = outside.path().join("secret.txt");
    fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, dir.path().join("LICENSE")).unwrap();
    // Weights open; what a merge would copy is refused.
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert!(chain(&opened.sidecars().unwrap_err()).contains("`LICENSE` leads out of the model folder"));

    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    assert_refused(dir.path(), "`model.safetensors` leads out of the model folder");
}

#[test]
fn an_index_that_does_not_match_its_shards_is_refused() {
    let dir = sharded(|index| index["weight_map"]["model.norm.weight"] = json!("model-00003-of-00003.safetensors"));
    assert_refused(dir.path(), "should hold `model-00003-of-00003.safetensors`, which is missing; download it again");
    let dir = sharded(|index| index["weight_map"]["no.such.weight"] = json!("model-00001-of-00002.safetensors"));
    assert_refused(
        dir.path(),
        "places tensor `no.such.weight` in `model-00001-of-00002.safetensors`, which does not hold it",
    );
    let dir = sharded(|index| index["weight_map"] = json!({}));
    assert_refused(dir.path(), "names no tensor");
    for index in [json!([]), json!({"weight_map": {"a": 1}}), json!(null)] {
        let dir = sharded(|old| *old = index);
        assert_refused(dir.path(), "is not a valid index");
    }
}

#[test]
fn one_shard_of_several_asks_for_its_folder() {
    let dir = sharded(|_| ());
    assert_refused(&dir.path().join("model-00001-of-00002.safetensors"), "is one shard of several; choose its folder");
    fs::remove_file(dir.path().join("model.safetensors.index.json")).unwrap();
    assert_refused(dir.path(), "but no model.safetensors.index.json; download the index too");
}

#[test]
fn files_that_are_not_what_their_names_say_are_refused() {
    let dir = folder();
    let gguf = dir.path().join("model-q4.gguf");
    fs::write(&gguf, b"GGUF\x03\0\0\0").unwrap();
    assert_refused(dir.path(), "its header does not end where it should: the file is truncated");
    // Known by how it begins, whatever its name.
    for name in ["weights", "weights.bin"] {
        let renamed = dir.path().join(name);
        fs::copy(&gguf, &renamed).unwrap();
        assert_refused(&renamed, "its header does not end where it should");
        fs::remove_file(&renamed).unwrap();
    }
    fs::write(&gguf, "hello, this is no model").unwrap();
    assert_refused(&gguf, "it is no GGUF file");

    let dir = folder();
    fs::write(dir.path().join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    assert_refused(dir.path(), "its zip archive is damaged (it is too short); download it again");
    fs::write(dir.path().join("pytorch_model.bin"), b"hello").unwrap();
    assert_refused(dir.path(), "it is no PyTorch checkpoint");
}

#[test]
fn quantised_checkpoints_are_refused_by_config_and_by_names() {
    let codes = |name: &str| Model::new().with_tensor(Tensor::of(name, Dtype::I32, &[4], &[1.0; 4]));
    let f8 = |name: &str| Tensor::of(name, Dtype::F8_E4M3, &[2, 2], &[1.0, 0.5, -2.0, 3.0]);
    // As fp8 checkpoints come: from compressed-tensors, ModelOpt, ComfyUI and DeepSeek's own code.
    let with_scale = |name: &str| {
        let scale = Tensor::of(&format!("layers.0.up.{name}"), Dtype::F32, &[1], &[0.01]);
        Model::new().with_tensor(f8("layers.0.up.weight")).with_tensor(scale)
    };
    for (model, words) in [
        (tiny().with_setting("quantization_config", json!({"quant_method": "gptq", "bits": 4})), "is quantised (gptq)"),
        (tiny().with_setting("quantization_config", json!({"quant_method": "awq"})), "is quantised (awq)"),
        (tiny().with_setting("quantization_config", json!({"load_in_4bit": true})), "is quantised (unknown)"),
        (codes("model.layers.0.self_attn.q_proj.qweight"), "is quantised (GPTQ or AWQ)"),
        (codes("model.layers.0.self_attn.q_proj.SCB"), "is quantised (bitsandbytes 8-bit)"),
        (
            codes("model.layers.0.self_attn.q_proj.weight")
                .with_tensor(f8("model.layers.0.mlp.up_proj.weight"))
                .with_tensor(Tensor::of("model.layers.0.mlp.up_proj.weight_scale_inv", Dtype::F32, &[1, 1], &[0.5])),
            "is quantised (fp8 with block scales)",
        ),
        (with_scale("weight_scale"), "is quantised (fp8 or int8 with scales)"),
        (with_scale("input_scale"), "is quantised (fp8 with scales, `layers.0.up.input_scale`)"),
        (with_scale("scale_weight"), "is quantised (fp8 with scales, `layers.0.up.scale_weight`)"),
        (with_scale("scale"), "is quantised (fp8 with scales, `layers.0.up.scale`)"),
        (
            Model::new().with_tensor(Tensor::of("experts.gate_up_proj_blocks", Dtype::U8, &[4, 1], &[7.0; 4])),
            "is quantised (`experts.gate_up_proj_blocks` is packed in u8)",
        ),
        (codes("model.layers.0.self_attn.q_proj.weight.absmax"), "is quantised (bitsandbytes 4-bit)"),
        (codes("model.layers.0.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4"), "is quantised (bitsandbytes"),
        (
            Model::new().with_tensor(Tensor::of("h.0.fc.weight", Dtype::U8, &[4, 1], &[7.0; 4])),
            "is quantised (`h.0.fc.weight` is packed in u8)",
        ),
    ] {
        let dir = folder();
        model.write(dir.path());
        assert_refused(dir.path(), words);
        assert_refused(dir.path(), "take the unquantised checkpoint");
    }
}

#[test]
fn eight_bit_floats_without_scales_are_plain_numbers() {
    let dir = folder();
    let f8 = |name: &str, dtype| Tensor::of(name, dtype, &[2, 2], &[1.0, 0.5, -2.0, 3.0]);
    // A scale that belongs to something else than 8-bit weights says nothing of them.
    let model = Model::new()
        .with_tensor(f8("layers.0.up.weight", Dtype::F8_E4M3))
        .with_tensor(f8("layers.0.down.weight", Dtype::F8_E5M2))
        .with_tensor(Tensor::of("vision.logit_scale", Dtype::F32, &[1], &[2.0]));
    model.write(dir.path());
    assert_eq!(Checkpoint::open(dir.path()).unwrap().tensors().len(), 3);
}

#[test]
fn an_adapter_is_not_a_model() {
    let dir = folder();
    fs::write(dir.path().join("adapter_config.json"), "{}").unwrap();
    let lora = [Tensor::of("base_model.model.layers.0.q_proj.lora_A.weight", Dtype::F32, &[2], &[1.0, 2.0])];
    support::write_safetensors(&dir.path().join("adapter_model.safetensors"), &lora);
    assert_refused(dir.path(), "is a LoRA adapter, not a whole model; merge it into its base model first");
    assert_refused(&dir.path().join("adapter_model.safetensors"), "is a LoRA adapter");
}

#[test]
fn a_config_that_is_none_is_refused() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    for (config, words) in [
        ("[1, 2]", "it should hold a JSON object"),
        ("{", "it is not valid JSON"),
        (deep.as_str(), "it is not valid JSON"),
        ("", "it is not valid JSON"),
    ] {
        let dir = folder();
        tiny().write(dir.path());
        fs::write(dir.path().join("config.json"), config).unwrap();
        assert_refused(dir.path(), words);
    }
    // Nested, but within reason.
    let dir = folder();
    tiny().write(dir.path());
    fs::write(dir.path().join("config.json"), format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100))).unwrap();
    assert!(Checkpoint::open(dir.path()).unwrap().config().is_some());
}

/// `models--org--name` whose files are links into `blobs`, as huggingface_hub writes it.
#[cfg(unix)]
fn hub_repo(cache: &Path, commits: &[&str]) -> std::path::PathBuf {
    let repo = cache.join("models--org--some-name");
    fs::create_dir_all(repo.join("blobs")).unwrap();
    for commit in commits {
        let snapshot = repo.join("snapshots").join(commit);
        tiny().write(&snapshot);
        for file in ["config.json", "model.safetensors"] {
            let blob = format!("{commit}-{file}");
            fs::rename(snapshot.join(file), repo.join("blobs").join(&blob)).unwrap();
            std::os::unix::fs::symlink(Path::new("../../blobs").join(&blob), snapshot.join(file)).unwrap();
        }
    }
    fs::create_dir_all(repo.join("refs")).unwrap();
    repo
}

#[cfg(unix)]
#[test]
fn a_repository_in_the_hub_cache_opens_at_its_main_revision() {
    let dir = folder();
    let repo = hub_repo(dir.path(), &["aaa", "bbb"]);
    assert_refused(&repo, "has 2 downloaded revisions and none is main");
    fs::write(repo.join("refs/main"), "bbb").unwrap();
    let opened = Checkpoint::open(&repo).unwrap();
    assert_eq!(opened.root(), repo.join("snapshots/bbb"));
    assert_eq!(opened.label(), "org/some-name");
    assert_eq!(opened.sidecars().unwrap(), ["config.json"]);
    assert_eq!(Checkpoint::open(&repo.join("snapshots/aaa")).unwrap().label(), "org/some-name");

    // A reference is a file's content and may not lead elsewhere.
    fs::write(repo.join("refs/main"), "../..").unwrap();
    assert_refused(&repo, "none is main");
}

#[cfg(unix)]
#[test]
fn a_repository_in_the_hub_cache_may_not_link_into_another() {
    let dir = folder();
    let repo = hub_repo(dir.path(), &["aaa"]);
    fs::create_dir_all(dir.path().join("models--other--name/blobs")).unwrap();
    let foreign = dir.path().join("models--other--name/blobs/x");
    fs::copy(repo.join("snapshots/aaa/model.safetensors"), &foreign).unwrap();
    fs::remove_file(repo.join("snapshots/aaa/model.safetensors")).unwrap();
    std::os::unix::fs::symlink(&foreign, repo.join("snapshots/aaa/model.safetensors")).unwrap();
    assert_refused(&repo, "`model.safetensors` leads out of the model folder");
}

#[test]
fn a_file_that_changes_after_opening_is_noticed() {
    let dir = folder();
    tiny().write(dir.path());
    let opened = Checkpoint::open(dir.path()).unwrap();
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let message = chain(&opened.read(&opened.tensors()[0], 0, &mut [0; 2]).unwrap_err());
    assert!(message.contains("the file changed after it was opened; open the model again"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_never_waited_for() {
    let dir = folder();
    tiny().write(dir.path());
    let pipe = |name: &str| {
        let path = dir.path().join(name);
        fs::remove_file(&path).ok();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    assert_refused(&pipe("weights.safetensors"), "is neither a file nor a folder");
    assert_refused(&pipe("anything"), "is neither a file nor a folder");
    pipe("config.json");
    assert_refused(dir.path(), "config.json");
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_a_missing_file() {
    for name in ["config.json", "model.safetensors"] {
        let dir = folder();
        tiny().write(dir.path());
        fs::remove_file(dir.path().join(name)).unwrap();
        std::os::unix::fs::symlink("no-such-blob", dir.path().join(name)).unwrap();
        assert_refused(dir.path(), &format!("should hold `{name}`, which is missing; download it again"));
    }
}
