//! Checkpoints on disk: what opens, and what is refused with which words.

mod support;

use mergescope_core::checkpoint::{Checkpoint, Dtype};
use support::{Model, Size, qwen2_tensors};
use tempfile::TempDir;

#[test]
fn one_file_and_several_shards_hold_the_same_model() {
    let dir = TempDir::new().unwrap();
    let model = Model::qwen2(Size::default(), Dtype::BF16, 1);
    model.write(&dir.path().join("one"));
    model.clone().with_shards(3).write(&dir.path().join("three"));

    let one = Checkpoint::open(&dir.path().join("one")).unwrap();
    let three = Checkpoint::open(&dir.path().join("three")).unwrap();
    assert_eq!(one.tensors().len(), qwen2_tensors(Size::default()).len());
    assert_eq!(three.shard_paths().count(), 3);
    for tensor in &model.tensors {
        for checkpoint in [&one, &three] {
            let info = checkpoint.tensor(&tensor.name).unwrap();
            let mut bytes = vec![0; info.bytes as usize];
            checkpoint.read(info, 0, &mut bytes).unwrap();
            assert_eq!(bytes, tensor.bytes, "{}", tensor.name);
        }
    }
    assert_eq!(one.fingerprint().unwrap(), three.fingerprint().unwrap());
}
