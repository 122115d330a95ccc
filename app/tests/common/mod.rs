//! What the window's tests share: models made on the spot, engines that are slow or fail, and waiting for workers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod answering;
pub mod http;
pub mod hub;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use half::bf16;
use mergescope::window::engine::Engine;
use mergescope::window::picker::{PickRequest, Picker};
use mergescope::window::{App, Setup};
use mergescope_core::analysis::AnalysisCache;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Longest wait for a worker.
const DEADLINE: Duration = Duration::from_secs(60);

/// The shape of a made-up model.
#[derive(Clone, Copy)]
pub struct Shape {
    pub layers: usize,
    pub hidden: usize,
    pub inner: usize,
    pub vocabulary: usize,
}

pub const TINY: Shape = Shape { layers: 3, hidden: 16, inner: 32, vocabulary: 64 };

/// Three folders: pre, post and target of a made-up Qwen2.
pub struct Triple {
    pub root: tempfile::TempDir,
}

impl Triple {
    pub fn new(shape: Shape) -> Self {
        let root = tempfile::tempdir().unwrap();
        write_triple(root.path(), shape);
        Self { root }
    }

    pub fn path(&self, role: &str) -> String {
        self.root.path().join(role).to_string_lossy().into_owned()
    }

    pub fn recipe(&self) -> mergescope_core::recipe::Recipe {
        mergescope_core::recipe::Recipe::new(self.path("pre"), self.path("post"), self.path("target"))
    }
}

/// Writes pre, post and target below `root`: small steps from pre that grow towards two thirds of the depth.
///
/// In deep models, neighbouring layers step alike, and early and late ones against each other.
pub fn write_triple(root: &Path, shape: Shape) {
    for (role, name) in ["pre", "post", "target"].into_iter().enumerate() {
        write_model(&root.join(name), shape, |tensor, layer, position, element| {
            let base = noise(tensor, element, 0) * 0.02 + if tensor.contains("norm") { 1.0 } else { 0.0 };
            let depth = layer.map_or(0.3, |layer| (layer as f32 + 0.5) / shape.layers as f32);
            let bump = (-((depth - 0.75) / 0.2).powi(2)).exp() + 0.35 * (-(depth / 0.12).powi(2)).exp();
            let part = [0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.0][position % 7];
            base + match role {
                0 => 0.0,
                1 => step(tensor, layer, shape.layers, element) * 0.0012 * part * (0.25 + bump),
                _ => noise(tensor, element, 2) * 0.0007,
            }
        });
    }
}

/// Layers from which on a made-up model is deep.
const DEEP: usize = 8;

/// An element of v, as large as noise, and in deep models correlated between layers.
fn step(tensor: &str, layer: Option<usize>, layers: usize, element: usize) -> f32 {
    let Some(layer) = layer.filter(|_| layers >= DEEP) else { return noise(tensor, element, 1) };
    let part = tensor.splitn(4, '.').last().unwrap();
    // Weights of the noise of this layer and of its neighbours, and of noise that early and late layers share.
    let own: f32 = [0.2, 0.5, 1.0, 0.5, 0.2]
        .iter()
        .zip(2 + layer as u64..)
        .map(|(weight, s)| weight * noise(part, element, s))
        .sum();
    let shared = if layer < layers / 5 {
        0.7
    } else if layer >= layers * 2 / 3 {
        -0.7
    } else {
        0.0
    };
    (own + shared * noise(part, element, 1)) / 1.4
}

/// Writes a model folder whose elements are `value(tensor, layer, position in the layer, element)`.
pub fn write_model(folder: &Path, shape: Shape, value: impl Fn(&str, Option<usize>, usize, usize) -> f32) {
    std::fs::create_dir_all(folder).unwrap();
    let Shape { layers, hidden, inner, vocabulary } = shape;
    let mut tensors: Vec<(String, Option<usize>, usize, Vec<usize>)> =
        vec![("model.embed_tokens.weight".into(), None, 0, vec![vocabulary, hidden])];
    for layer in 0..layers {
        let parts = [
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![hidden / 2, hidden]),
            ("self_attn.v_proj", vec![hidden / 2, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
        ];
        for (position, (part, dims)) in parts.into_iter().enumerate() {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), Some(layer), position, dims));
        }
    }
    tensors.push(("model.norm.weight".into(), None, 0, vec![hidden]));
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, layer, position, dims)| {
            let count: usize = dims.iter().product();
            let elements = (0..count).map(|element| bf16::from_f32(value(&name, layer, position, element)));
            let bytes = elements.flat_map(bf16::to_le_bytes).collect();
            (name, dims, bytes)
        })
        .collect();
    let views: BTreeMap<String, TensorView<'_>> = bytes
        .iter()
        .map(|(name, dims, bytes)| (name.clone(), TensorView::new(Dtype::BF16, dims.clone(), bytes).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    let config = serde_json::json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": vocabulary, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "rope_theta": 1e6,
        "max_position_embeddings": 1024, "bos_token_id": 0, "eos_token_id": 0
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// How the weights of experts are stored.
#[derive(Clone, Copy, PartialEq)]
pub enum Experts {
    /// In tensors of their own.
    Apart,
    /// All of a projection in one tensor [experts, rows, columns].
    Stacked,
}

/// Adds `experts` experts and a router to each layer of the models below `root`, in a second weight file.
pub fn add_experts(root: &Path, shape: Shape, experts: usize, stored: Experts) {
    for (role, name) in ["pre", "post", "target"].into_iter().enumerate() {
        let folder = root.join(name);
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for layer in 0..shape.layers {
            let mut names = vec![(format!("model.layers.{layer}.mlp.gate.weight"), 0, vec![experts, shape.hidden])];
            for expert in 0..experts {
                for (part, dims) in [
                    ("gate_proj", vec![shape.inner / 4, shape.hidden]),
                    ("up_proj", vec![shape.inner / 4, shape.hidden]),
                    ("down_proj", vec![shape.hidden, shape.inner / 4]),
                ] {
                    names.push((format!("model.layers.{layer}.mlp.experts.{expert}.{part}.weight"), expert, dims));
                }
            }
            for (tensor, expert, dims) in names {
                let value = |element: usize| {
                    let base = noise(&tensor, element, 0) * 0.02;
                    let step = if role == 1 { noise(&tensor, element, 1) * 0.0002 * (1 + expert) as f32 } else { 0.0 };
                    bf16::from_f32(base + step)
                };
                let bytes: Vec<u8> = (0..dims.iter().product()).map(value).flat_map(bf16::to_le_bytes).collect();
                match tensor.split_once(&format!(".experts.{expert}.")) {
                    Some((layer, part)) if stored == Experts::Stacked => {
                        let name = format!("{layer}.experts.{}", part.trim_end_matches(".weight"));
                        push_to_stack(&mut tensors, name, dims, bytes);
                    }
                    _ => tensors.push((tensor, dims, bytes)),
                }
            }
        }
        std::fs::rename(folder.join("model.safetensors"), folder.join("model-00001-of-00002.safetensors")).unwrap();
        let second = "model-00002-of-00002.safetensors";
        let views = tensors
            .iter()
            .map(|(name, dims, bytes)| (name.clone(), TensorView::new(Dtype::BF16, dims.clone(), bytes).unwrap()));
        safetensors::serialize_to_file(views, None, &folder.join(second)).unwrap();
        let first = std::fs::read(folder.join("model-00001-of-00002.safetensors")).unwrap();
        let known = safetensors::SafeTensors::deserialize(&first).unwrap();
        let mut map: BTreeMap<&str, &str> =
            known.names().into_iter().map(|name| (name, "model-00001-of-00002.safetensors")).collect();
        map.extend(tensors.iter().map(|(name, ..)| (name.as_str(), second)));
        let index = serde_json::json!({ "metadata": {}, "weight_map": map });
        std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
}

/// Adds a bias to each q, k and v of the models below `root`, as Qwen2 has them.
pub fn add_biases(root: &Path, shape: Shape) {
    for (role, name) in ["pre", "post", "target"].into_iter().enumerate() {
        rewrite(&root.join(name), |tensors| {
            for layer in 0..shape.layers {
                for (part, rows) in [("q", shape.hidden), ("k", shape.hidden / 2), ("v", shape.hidden / 2)] {
                    let name = format!("model.layers.{layer}.self_attn.{part}_proj.bias");
                    let values = (0..rows).map(|row| bf16::from_f32(noise(&name, row, role as u64)));
                    tensors.insert(name.clone(), (vec![rows], values.flat_map(bf16::to_le_bytes).collect()));
                }
            }
        });
    }
}

/// Makes every element of a tensor NaN.
pub fn spoil(model: &Path, tensor: &str) {
    rewrite(model, |tensors| {
        let (_, bytes) = tensors.get_mut(tensor).unwrap();
        bytes.as_chunks_mut().0.fill(bf16::NAN.to_le_bytes());
    });
}

/// Writes a model of one file again, with its tensors changed: shapes and elements in bf16 by name.
fn rewrite(model: &Path, change: impl Fn(&mut BTreeMap<String, (Vec<usize>, Vec<u8>)>)) {
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> =
        tensors.into_iter().map(|(name, tensor)| (name, (tensor.shape().to_vec(), tensor.data().to_vec()))).collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dims, bytes))| (name.clone(), TensorView::new(Dtype::BF16, dims.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &path).unwrap();
}

/// Adds one more matrix to the stack of that name.
fn push_to_stack(tensors: &mut Vec<(String, Vec<usize>, Vec<u8>)>, name: String, dims: Vec<usize>, bytes: Vec<u8>) {
    match tensors.iter_mut().find(|(known, ..)| *known == name) {
        Some((_, dims, all)) => {
            dims[0] += 1;
            all.extend(bytes);
        }
        None => tensors.push((name, [vec![1], dims].concat(), bytes)),
    }
}

/// A fixed stand-in for normal noise, about −2…2.
fn noise(tensor: &str, element: usize, stream: u64) -> f32 {
    let mut state = tensor
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ stream, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    state = state.wrapping_add((element as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut sum = 0.0;
    for _ in 0..3 {
        state ^= state >> 30;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 27;
        sum += (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    }
    sum * 2.0
}

/// A picker that answers at once, with what it was given.
pub struct FakePicker(pub Option<PathBuf>);

impl Picker for FakePicker {
    fn pick(&self, _request: &PickRequest) -> Option<PathBuf> {
        self.0.clone()
    }
}

/// The real engine, which measures anew each time.
pub struct Uncached;

impl Engine for Uncached {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }
}

/// A setup with the real engine, no demo and no file dialog.
pub fn setup() -> Setup {
    setup_with(Uncached)
}

pub fn setup_with(engine: impl Engine + 'static) -> Setup {
    Setup { engine: Arc::new(engine), picker: Arc::new(FakePicker(None)), recipe: None, report: None, demo: None }
}

pub fn window(setup: Setup) -> Harness<'static, App> {
    window_in(eframe::egui::Theme::Dark, setup)
}

pub fn window_in(theme: eframe::egui::Theme, setup: Setup) -> Harness<'static, App> {
    Harness::builder()
        .with_theme(theme)
        .with_size([1280.0, 800.0])
        .with_max_steps(40)
        .build_eframe(move |context| App::new(&context.egui_ctx, context.storage, setup))
}

/// Steps until `done`, which workers bring about.
#[track_caller]
pub fn wait(harness: &mut Harness<'_, App>, what: &str, done: impl Fn(&App) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done(harness.state()) {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
        harness.step();
    }
    harness.run_steps(3);
}

/// Steps until something of that name is shown, which a file dialog or a worker brings about.
#[track_caller]
pub fn wait_for_label(harness: &mut Harness<'_, App>, label: &str) {
    let deadline = Instant::now() + DEADLINE;
    while harness.query_by_label(label).is_none() {
        assert!(Instant::now() < deadline, "waited in vain for {label:?}");
        std::thread::sleep(Duration::from_millis(5));
        harness.step();
    }
}

/// Waits until the vector has been measured.
#[track_caller]
pub fn wait_for_vector(harness: &mut Harness<'_, App>) {
    wait(harness, "the vector is measured", |app| app.session().vector().done().is_some());
}

/// Waits until everything about the vector is there: the preview of rounding and the comparison of layers too.
#[track_caller]
pub fn wait_for_charts(harness: &mut Harness<'_, App>) {
    wait_for_vector(harness);
    wait(harness, "the preview of rounding is prepared", |app| app.session().details().preview.done().is_some());
    wait(harness, "the layers are compared", |app| app.session().details().layer_products.done().is_some());
}

/// Types `text` into the field of that name.
pub fn fill(harness: &mut Harness<'_, App>, field: &str, text: &str) {
    harness.get_by_label(field).focus();
    harness.run_steps(2);
    harness.key_press_modifiers(eframe::egui::Modifiers::COMMAND, eframe::egui::Key::A);
    harness.run_steps(1);
    harness.get_by_label(field).type_text(text);
    harness.run_steps(2);
}

/// Types `text` into the field of that name and presses Enter.
pub fn type_into(harness: &mut Harness<'_, App>, field: &str, text: &str) {
    fill(harness, field, text);
    harness.key_press(eframe::egui::Key::Enter);
    harness.run_steps(2);
}
