//! Logits against those of Python transformers, and against themselves on every other path.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::engine::EngineError;
use crate::engine::embedded::Weights;
use crate::progress::Control;

/// Most that a logit may differ from transformers' after all layers.
const TOLERANCE: f32 = 1e-4;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/decoders");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 15, "{} cases", cases.len());
    cases
}

fn open(folder: &Path, precision: Precision) -> Decoder {
    let weights = Weights::Alone(std::sync::Arc::new(Checkpoint::open(folder).unwrap()));
    load(&weights, precision, &mut Kept::default()).unwrap()
}

fn load(weights: &Weights, precision: Precision, kept: &mut Kept) -> std::result::Result<Decoder, EngineError> {
    crate::engine::embedded::load_decoder(weights, precision, kept, &Device::Cpu, &Control::new())
}

/// Texts with the logits that transformers has behind each of their tokens.
fn expected(folder: &Path) -> Vec<(Vec<u32>, Vec<Vec<f32>>)> {
    let bytes = std::fs::read(folder.join("logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    (0..2)
        .map(|text| {
            let tokens = file.tensor(&format!("tokens.{text}")).unwrap();
            let tokens = tokens.data().as_chunks().0.iter().map(|raw| i64::from_le_bytes(*raw) as u32).collect();
            let logits = file.tensor(&format!("logits.{text}")).unwrap();
            let vocab = logits.shape()[1];
            let values: Vec<f32> = logits.data().as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
            (tokens, values.chunks(vocab).map(<[f32]>::to_vec).collect())
        })
        .collect()
}

fn largest_difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn all_logits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut sequence = decoder.sequence(tokens.len()).unwrap();
    let mut steps = [Step { sequence: &mut sequence, tokens }];
    decoder.forward(&mut steps, Wanted::All).unwrap().to_vec2().unwrap()
}

#[test]
fn logits_are_those_of_transformers() {
    for folder in cases() {
        let decoder = open(&folder, Precision::F32);
        for (tokens, expected) in expected(&folder) {
            let found = all_logits(&decoder, &tokens);
            let difference = largest_difference(&found, &expected);
            assert!(difference < TOLERANCE, "{}: {difference} over {} tokens", folder.display(), tokens.len());
        }
    }
}

#[test]
fn token_by_token_gives_the_logits_of_the_whole() {
    for folder in cases() {
        // A stretch that follows the length turns earlier tokens otherwise, here as in transformers.
        if folder.ends_with("llama-dynamic") || folder.ends_with("phi3") {
            continue;
        }
        let decoder = open(&folder, Precision::F32);
        let (tokens, expected) = expected(&folder).remove(0);
        let mut sequence = decoder.sequence(tokens.len()).unwrap();
        let (first, rest) = tokens.split_at(5);
        let mut found = Vec::new();
        for tokens in std::iter::once(first).chain(rest.chunks(1)) {
            let mut steps = [Step { sequence: &mut sequence, tokens }];
            found.extend(decoder.forward(&mut steps, Wanted::All).unwrap().to_vec2::<f32>().unwrap());
        }
        let difference = largest_difference(&found, &expected);
        assert!(difference < TOLERANCE, "{}: {difference}", folder.display());
    }
}

#[test]
fn a_ragged_batch_gives_each_text_what_it_gets_alone() {
    for folder in cases() {
        let decoder = open(&folder, Precision::F32);
        let texts = expected(&folder);
        let mut sequences: Vec<Sequence> =
            texts.iter().map(|(tokens, _)| decoder.sequence(tokens.len()).unwrap()).collect();
        let mut steps: Vec<Step<'_>> =
            sequences.iter_mut().zip(&texts).map(|(sequence, (tokens, _))| Step { sequence, tokens }).collect();
        let found: Vec<Vec<f32>> = decoder.forward(&mut steps, Wanted::Last).unwrap().to_vec2().unwrap();
        let alone: Vec<Vec<f32>> =
            texts.iter().map(|(tokens, _)| all_logits(&decoder, tokens).pop().unwrap()).collect();
        let difference = largest_difference(&found, &alone);
        assert!(difference < 1e-5, "{}: {difference}", folder.display());
    }
}

#[test]
fn a_fork_goes_on_as_the_text_itself_would() {
    let folder = cases().remove(0);
    let decoder = open(&folder, Precision::F32);
    let (tokens, _) = expected(&folder).remove(0);
    let expected = all_logits(&decoder, &tokens).pop().unwrap();
    let mut shared = decoder.sequence(9).unwrap();
    decoder.forward(&mut [Step { sequence: &mut shared, tokens: &tokens[..9] }], Wanted::Last).unwrap();
    let mut fork = shared.fork(200).unwrap();
    // What another fork says is not heard here.
    let mut other = shared.fork(200).unwrap();
    decoder.forward(&mut [Step { sequence: &mut other, tokens: &[5, 6, 7] }], Wanted::Last).unwrap();
    let logits = decoder.forward(&mut [Step { sequence: &mut fork, tokens: &tokens[9..] }], Wanted::Last).unwrap();
    assert!(largest_difference(&logits.to_vec2().unwrap(), &[expected]) < 1e-5);
}

#[test]
fn fewer_bits_change_logits_a_little() {
    let folder = cases().into_iter().find(|folder| folder.ends_with("qwen2-untied")).unwrap();
    let (tokens, expected) = expected(&folder).remove(0);
    let largest = expected.iter().flatten().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    for (precision, share) in [(Precision::Bf16, 0.03), (Precision::Q8_0, 0.06)] {
        let found = all_logits(&open(&folder, precision), &tokens);
        let difference = largest_difference(&found, &expected);
        assert!(difference > 0.0 && difference < share * largest, "{precision:?}: {difference} of {largest}");
    }
}

#[test]
fn a_model_that_lacks_a_tensor_is_refused_by_its_name() {
    let folder = cases().into_iter().find(|folder| folder.ends_with("llama")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("model.safetensors"), copy.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let refused = |config: String| {
        std::fs::write(copy.path().join("config.json"), config).unwrap();
        let weights = Weights::Alone(std::sync::Arc::new(Checkpoint::open(copy.path()).unwrap()));
        load(&weights, Precision::F32, &mut Kept::default()).err().expect("does not fit").to_string()
    };
    let message = refused(config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"));
    assert!(message.contains("model.layers.3."), "{message}");
    let message = refused(config.replace("\"hidden_size\": 32", "\"hidden_size\": 64"));
    assert!(message.contains("has the shape [61, 32], and config.json asks for [61, 64]"), "{message}");
}
