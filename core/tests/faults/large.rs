//! Models of very many tensors and files.

use std::time::{Duration, Instant};

use mergescope_core::checkpoint::Dtype;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;
use serde_json::json;

use crate::support::{Folders, Model, Tensor, values};

/// A mixture of that many experts' tensors, in that many files.
fn mixture(tensors: usize, shards: usize, seed: u64) -> Model {
    let config =
        json!({ "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 100 });
    let mut model = Model::new().with_config(config).with_shards(shards);
    for number in 0..tensors {
        let (layer, expert, part) = (number % 100, number / 300, ["up", "gate", "down"][number / 100 % 3]);
        let name = format!("model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight");
        let values = values(seed * 1_000_003 + number as u64, 8, 0.02);
        model.tensors.push(Tensor::of(&name, Dtype::BF16, &[2, 4], &values));
    }
    model
}

/// Time to open, check, merge and report that many tensors, and that all are written.
fn time(tensors: usize) -> Duration {
    let folders = Folders::write(&mixture(tensors, 8, 1), &mixture(tensors, 8, 2), &mixture(tensors, 8, 3));
    let name = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let recipe = Recipe::new(name(folders.pre()), name(folders.post()), name(folders.target()));
    let began = Instant::now();
    let report = merge(&recipe, &folders.dir.path().join("merged"), &Resources::default(), &Control::new()).unwrap();
    let took = began.elapsed();
    assert_eq!(report.tensors.len(), tensors);
    assert!(report.total().cosine() > 0.99);
    took
}

#[test]
fn a_hundred_thousand_tensors_take_no_more_time_each_than_a_few() {
    let (few, many) = (time(5_000), time(100_000));
    #[expect(clippy::print_stderr, reason = "the figures are what the test is for")]
    {
        eprintln!("5,000 tensors: {few:?}; 100,000: {many:?}");
    }
    // 20 times as many; quadratic work would take 400 times as long.
    assert!(many < few * 80, "{few:?} and {many:?}");
}
