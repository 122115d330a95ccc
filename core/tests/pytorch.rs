//! PyTorch checkpoints (`pytorch_model.bin`): what opens, what is refused, and that they merge like the same models as
//! safetensors. `goldens/make_pickle_goldens.py` writes the files, with PyTorch.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::checkpoint::{Checkpoint, Dtype, ReadError, ReadPath};
use mergescope_core::error::chain;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, Recipe};
use mergescope_core::stream::Resources;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/pickles").join(name)
}

/// Every tensor by name: dtype, shape and bytes.
fn tensors(model: &Checkpoint, read_path: ReadPath) -> BTreeMap<String, (Dtype, Vec<u64>, Vec<u8>)> {
    let read = |tensor: &mergescope_core::checkpoint::TensorInfo| {
        let mut bytes = vec![0; tensor.bytes as usize];
        model.read_by(read_path, tensor, 0, &mut bytes).unwrap();
        (tensor.name.clone(), (tensor.dtype, tensor.shape.clone(), bytes))
    };
    model.tensors().iter().map(read).collect()
}

#[track_caller]
fn assert_same_tensors(pickle: &Path, safetensors: &Path) {
    let [a, b] = [pickle, safetensors].map(|path| Checkpoint::open(path).unwrap());
    for read_path in [ReadPath::Positional, ReadPath::Mapped] {
        assert_eq!(tensors(&a, read_path), tensors(&b, read_path));
    }
    let fingerprint = |model: &Checkpoint| model.fingerprint(|| Ok::<(), ReadError>(())).unwrap();
    assert_eq!(fingerprint(&a), fingerprint(&b));
}

#[track_caller]
fn assert_refused(path: &Path, words: &str) {
    let message = chain(&Checkpoint::open(path).expect_err("it is refused"));
    assert!(message.contains(words), "`{words}` in: {message}");
}

#[test]
fn every_dtype_view_and_parameter_reads_as_the_same_bytes() {
    assert_same_tensors(&golden("dtypes.bin"), &golden("dtypes.safetensors"));
    let opened = Checkpoint::open(&golden("dtypes.bin")).unwrap();
    assert!(opened.is_single_file() && opened.config().is_none());
    assert_eq!(opened.tensor("rows").unwrap().shape, [2, 3]);
}

#[test]
fn what_a_trainer_calls_state_dict_is_the_model() {
    assert_same_tensors(&golden("nested.bin"), &golden("dtypes.safetensors"));
}

#[test]
fn a_folder_in_one_file_in_shards_and_with_tied_weights_holds_the_same_model() {
    for model in ["pre", "post", "target"] {
        assert_same_tensors(&golden("bin").join(model), &golden("safetensors").join(model));
    }
    let post = Checkpoint::open(&golden("bin/post")).unwrap();
    assert_eq!(post.shard_paths().count(), 2);
    assert_eq!(Checkpoint::open(&golden("bin/post/pytorch_model.bin.index.json")).unwrap().tensors(), post.tensors());
    // With its config beside it, the file stands for the folder.
    let target = Checkpoint::open(&golden("bin/target/pytorch_model.bin")).unwrap();
    assert!(!target.is_single_file() && target.config().is_some());
    assert_eq!(target.sidecars().unwrap(), ["config.json"]);
}

/// Merges three models of a folder; gives every file that was written.
fn merged(models: &[&Path; 3], dtype: OutputDtype) -> BTreeMap<String, Vec<u8>> {
    let [pre, post, target] = models.map(|path| path.to_str().unwrap());
    let mut recipe = Recipe::new(pre, post, target);
    recipe.vector.w = 0.7;
    recipe.output.dtype = dtype;
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("merged");
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(&output).unwrap().map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn a_merge_of_pickles_is_that_of_the_same_models_as_safetensors() {
    let all = |kind: &str| ["pre", "post", "target"].map(|model| golden(kind).join(model));
    let (pickles, safetensors) = (all("bin"), all("safetensors"));
    for dtype in [OutputDtype::Target, OutputDtype::F32] {
        let expected = merged(&safetensors.each_ref().map(PathBuf::as_path), dtype);
        // Pickles alone, and one of them beside two others.
        let mixed = [&*pickles[0], &*safetensors[1], &*safetensors[2]];
        for models in [pickles.each_ref().map(PathBuf::as_path), mixed] {
            let written = merged(&models, dtype);
            // Weights in safetensors, and none of the pickles: only what names the inputs differs.
            assert_eq!(written.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            assert!(written.keys().all(|name| !name.ends_with(".bin")));
            for name in ["model.safetensors", "config.json"] {
                assert!(written[name] == expected[name], "{name} differs");
            }
        }
    }
}

#[test]
fn what_is_more_than_tensors_one_after_another_is_refused_by_name() {
    for (name, words) in [
        ("not_contiguous", "tensor `b.weight` of shape [3, 2] is a view whose elements do not lie one after another"),
        ("expanded", "tensor `a.weight` of shape [4, 3] is a view"),
        ("legacy", "the format that PyTorch wrote before 1.6"),
        ("protocol_4", "its pickle has an instruction (0x95 at byte 2)"),
        ("training_state", "it holds more than tensors (model, epoch)"),
        ("a_list", "it holds no dictionary of tensors"),
        ("conjugated", "is to be conjugated or negated when it is used"),
        ("compressed", "is compressed, so that tensors cannot be read where they lie"),
        ("big_endian", "it was written on a big-endian machine"),
        ("short_storage", "tensor `a.weight` needs 24 bytes of `plain/data/0`, which has 20"),
        ("bare_pickle", "it is no PyTorch checkpoint"),
    ] {
        assert_refused(&golden("refused").join(name).with_extension("bin"), words);
    }
}

#[test]
fn a_pickle_that_would_call_something_is_refused_and_says_what() {
    for (name, words) in [
        (
            "os_system",
            "asks for `posix.system`, which no dictionary of tensors needs; it is refused, and nothing of it was run",
        ),
        ("builtins_eval", "asks for `__builtin__.eval`"),
        ("numpy", "asks for `numpy"),
        ("whole_module", "asks for `torch.nn.modules.linear.Linear`"),
        ("sparse", "asks for `torch._utils._rebuild_sparse_tensor`"),
        ("quantised", "asks for `torch._utils._rebuild_qtensor`"),
    ] {
        assert_refused(&golden("refused").join(name).with_extension("bin"), words);
    }
}

/// A model folder with these files, each a copy of a golden.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, from) in files {
        fs::copy(golden(from), dir.path().join(name)).unwrap();
    }
    dir
}

#[test]
fn safetensors_are_taken_where_both_are_there() {
    let pickle = ("pytorch_model.bin", "refused/os_system.bin");
    let dir = folder(&[pickle, ("model.safetensors", "dtypes.safetensors")]);
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert!(opened.shard_paths().all(|path| path.ends_with("model.safetensors")));
    assert!(opened.sidecars().unwrap().is_empty());
    // Asked for by name it is what is asked for.
    assert_refused(&dir.path().join("pytorch_model.bin"), "posix.system");
}

#[test]
fn what_trainers_leave_is_no_model() {
    let state = [("training_args.bin", "refused/a_list.bin"), ("optimizer.pt", "refused/a_list.bin")];
    assert_refused(folder(&state).path(), "holds no weights (2 files)");
    let beside = [state[0], state[1], ("model.pth", "dtypes.bin")];
    assert_same_tensors(folder(&beside).path(), &golden("dtypes.safetensors"));
}

#[test]
fn shards_need_their_index() {
    let names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    let shards = names.map(|name| (name, ["bin/post", name].join("/")));
    let shards = shards.each_ref().map(|(name, from)| (*name, from.as_str()));
    let dir = folder(&shards);
    assert_refused(dir.path(), "but no pytorch_model.bin.index.json; download the index too");
    fs::copy(golden("bin/post/pytorch_model.bin.index.json"), dir.path().join("pytorch_model.bin.index.json")).unwrap();
    assert_refused(&dir.path().join(names[0]), "is one shard of several; choose its folder");
    fs::remove_file(dir.path().join(names[1])).unwrap();
    assert_refused(dir.path(), "should hold `pytorch_model-00002-of-00002.bin`, which is missing");
    fs::write(dir.path().join(names[1]), "version https://git-lfs.github.com/spec/v1\noid sha256:00\n").unwrap();
    assert_refused(dir.path(), "it is a Git LFS pointer, not the weights themselves");
}

#[test]
fn a_file_that_was_cut_off_or_changes_is_noticed() {
    let dir = folder(&[("pytorch_model.bin", "dtypes.bin")]);
    let path = dir.path().join("pytorch_model.bin");
    let opened = Checkpoint::open(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(opened.changed_shard(), Some(path.as_path()));
    let message = chain(&opened.read(&opened.tensors()[0], 0, &mut [0; 1]).unwrap_err());
    assert!(message.contains("the file changed after it was opened"), "{message}");
    assert_refused(&path, "the archive's end is missing: the file is truncated");
}
