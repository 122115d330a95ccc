//! Tokens per second of the embedded engine, of candle-transformers and of Python transformers, in turns, on one model of
//! the shape of Qwen2.5-0.5B with random weights.
//!
//!     cargo run --release --manifest-path core/benches/engines/Cargo.toml -- [PYTHON]
//!
//! PYTHON is an interpreter with torch and transformers; without it that column is left out. Ratios within one run mean
//! something; the numbers themselves are this machine's at this moment.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen2;
use half::bf16;
use mergescope_core::engine::{
    EmbeddedEngine, EmbeddedOptions, Engine, Event, ModelChoice, Precision, Prompt, Request, Sampling,
};
use mergescope_core::progress::Control;
use safetensors::tensor::{Dtype, TensorView};

/// Tokens of a prompt.
const PROMPT: usize = 512;
/// Tokens of the prompts before answers.
const CONTEXT: usize = 128;
/// Tokens of an answer.
const ANSWER: usize = 48;
/// Times that each is measured; the best counts, since whatever else runs only takes time away.
const TURNS: usize = 3;

const VOCAB: usize = 151_936;
const HIDDEN: usize = 896;
const INTERMEDIATE: usize = 4864;
const LAYERS: usize = 24;
const HEADS: usize = 14;
const KV_HEADS: usize = 2;

fn main() -> Result<()> {
    let python = std::env::args().nth(1);
    let folder = tempfile::tempdir()?;
    write_model(folder.path())?;
    println!("Qwen2.5-0.5B shape: a prompt of {PROMPT} tokens; answers of {ANSWER} tokens to {CONTEXT}; best of {TURNS}\n");

    let mut rows: Vec<(String, Speed)> = Vec::new();
    for turn in 0..TURNS {
        let mut add = |name: String, speed: Speed| {
            eprintln!("turn {} of {TURNS}: {name} {:.1} {:.1} {:.1}", turn + 1, speed.prompt, speed.answer, speed.eight);
            match rows.iter_mut().find(|(known, _)| *known == name) {
                Some((_, best)) => *best = best.best(speed),
                None => rows.push((name, speed)),
            }
        };
        for precision in [Precision::F32, Precision::Bf16, Precision::Q8_0] {
            add(format!("mergescope {}", precision.label()), ours(folder.path(), precision)?);
        }
        add("candle-transformers f32".to_owned(), candle(folder.path())?);
        if let Some(python) = &python {
            for dtype in ["float32", "bfloat16"] {
                add(format!("transformers {dtype}"), transformers(python, folder.path(), dtype)?);
            }
        }
    }
    let base = rows[0].1;
    println!("{:<26} {:>12} {:>7} {:>12} {:>7} {:>14} {:>7}", "", "prompt", "", "answer", "", "8 answers", "");
    for (name, speed) in rows {
        let cell = |value: f64, base: f64| {
            if value > 0.0 {
                format!("{value:>10.1}/s {:>6.2}×", value / base)
            } else {
                format!("{:>12} {:>7}", "–", "")
            }
        };
        println!(
            "{name:<26} {} {} {:>2}{}",
            cell(speed.prompt, base.prompt),
            cell(speed.answer, base.answer),
            "",
            cell(speed.eight, base.eight)
        );
    }
    println!("\nTokens per second; × is against mergescope f32 in this run");
    Ok(())
}

/// Tokens per second; 0 where it was not measured.
#[derive(Clone, Copy, Debug)]
struct Speed {
    prompt: f64,
    answer: f64,
    /// Of eight answers made together.
    eight: f64,
}

impl Speed {
    fn best(self, other: Self) -> Self {
        Self {
            prompt: self.prompt.max(other.prompt),
            answer: self.answer.max(other.answer),
            eight: self.eight.max(other.eight),
        }
    }
}

fn ours(folder: &Path, precision: Precision) -> Result<Speed> {
    let mut engine = EmbeddedEngine::new(EmbeddedOptions { precision, ..EmbeddedOptions::default() })?;
    engine.load(&ModelChoice::Alone(folder.display().to_string()), &Control::new())?;
    // Prompts that share no beginning, so that nothing is computed once for all.
    let request = |number: usize, length: usize, max_tokens| Request {
        prompt: Prompt::Raw((0..length).map(|at| format!("t{} ", (at * 7 + number * 31) % 100)).collect()),
        sampling: Sampling::default(),
        max_tokens,
        stop: Vec::new(),
        day: None,
    };
    let mut timed = |count: usize, length: usize, max_tokens| -> Result<f64> {
        let requests: Vec<Request> = (0..count).map(|number| request(number, length, max_tokens)).collect();
        let began = Instant::now();
        let mut tokens = 0;
        engine.generate(&requests, &Control::new(), &mut |event| {
            if let Event::Finished { result: Ok(completion), .. } = event {
                tokens += completion.tokens;
            }
        })?;
        ensure!(tokens == count * max_tokens, "{tokens} tokens of {}", count * max_tokens);
        Ok(began.elapsed().as_secs_f64())
    };
    let prompt = timed(1, PROMPT, 1)?;
    let first = timed(1, CONTEXT, 1)?;
    let answer = timed(1, CONTEXT, ANSWER + 1)? - first;
    let firsts = timed(8, CONTEXT, 1)?;
    let eight = timed(8, CONTEXT, ANSWER + 1)? - firsts;
    let per_second = |tokens: usize, secs: f64| tokens as f64 / secs.max(1e-9);
    Ok(Speed {
        prompt: per_second(PROMPT, prompt),
        answer: per_second(ANSWER, answer),
        eight: per_second(8 * ANSWER, eight),
    })
}

fn candle(folder: &Path) -> Result<Speed> {
    let device = Device::Cpu;
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    // It refuses null here.
    config["sliding_window"] = (1 << 20).into();
    let config: qwen2::Config = serde_json::from_value(config)?;
    // SAFETY: nobody else writes to this temporary file.
    let weights =
        unsafe { VarBuilder::from_mmaped_safetensors(&[folder.join("model.safetensors")], DType::F32, &device)? };
    let mut model = qwen2::ModelForCausalLM::new(&config, weights)?;
    let read = |model: &mut qwen2::ModelForCausalLM, length: u32| -> Result<(u32, f64)> {
        model.clear_kv_cache();
        let tokens: Vec<u32> = (0..length).map(|at| (at * 7) % 100).collect();
        let began = Instant::now();
        let logits = model.forward(&Tensor::new(tokens, &device)?.unsqueeze(0)?, 0)?;
        let next = logits.flatten_all()?.argmax(0)?.to_scalar::<u32>()?;
        Ok((next, began.elapsed().as_secs_f64()))
    };
    let (_, prompt) = read(&mut model, PROMPT as u32)?;
    let (mut next, _) = read(&mut model, CONTEXT as u32)?;
    let began = Instant::now();
    for at in 0..ANSWER {
        let logits = model.forward(&Tensor::new(&[next], &device)?.unsqueeze(0)?, CONTEXT + at)?;
        next = logits.flatten_all()?.argmax(0)?.to_scalar::<u32>()?;
    }
    let answer = began.elapsed().as_secs_f64();
    Ok(Speed { prompt: PROMPT as f64 / prompt, answer: ANSWER as f64 / answer, eight: 0.0 })
}

fn transformers(python: &str, folder: &Path, dtype: &str) -> Result<Speed> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("transformers_speed.py");
    let arguments = [PROMPT.to_string(), CONTEXT.to_string(), ANSWER.to_string(), dtype.to_owned()];
    let output = Command::new(python).arg(script).arg(folder).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<f64> = serde_json::from_slice(&output.stdout).context("three numbers")?;
    let [prompt, answer, eight] = found.as_slice() else { anyhow::bail!("three numbers expected") };
    Ok(Speed { prompt: *prompt, answer: *answer, eight: *eight })
}

/// A model of random weights with a tokenizer of hundred words and no end token.
fn write_model(folder: &Path) -> Result<()> {
    let config = serde_json::json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_word_embeddings": true, "hidden_act": "silu", "use_sliding_window": false, "sliding_window": null,
        "max_window_layers": LAYERS, "torch_dtype": "bfloat16",
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let vocab: serde_json::Map<String, serde_json::Value> =
        (0..100).map(|word| (format!("t{word}"), word.into())).chain([("[UNK]".to_owned(), 100.into())]).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string())?;

    let kv = KV_HEADS * HIDDEN / HEADS;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut add =
            |name: &str, shape: &[usize]| shapes.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        for (name, out) in [("q", HIDDEN), ("k", kv), ("v", kv)] {
            add(&format!("self_attn.{name}_proj.weight"), &[out, HIDDEN]);
            add(&format!("self_attn.{name}_proj.bias"), &[out]);
        }
        add("self_attn.o_proj.weight", &[HIDDEN, HIDDEN]);
        add("mlp.gate_proj.weight", &[INTERMEDIATE, HIDDEN]);
        add("mlp.up_proj.weight", &[INTERMEDIATE, HIDDEN]);
        add("mlp.down_proj.weight", &[HIDDEN, INTERMEDIATE]);
        add("input_layernorm.weight", &[HIDDEN]);
        add("post_attention_layernorm.weight", &[HIDDEN]);
    }
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.07
    };
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let one = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
            let bytes = (0..count).flat_map(|_| bf16::from_f32(random() + one).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = data
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::BF16, shape.clone(), bytes)?)))
        .collect::<Result<_>>()?;
    let bytes = safetensors::serialize(views, None)?;
    std::fs::File::create(folder.join("model.safetensors"))?.write_all(&bytes)?;
    Ok(())
}
