//! Tiny checkpoints on disk, built in code so that each test shows what is special about its files.
//!
//! The weights are written by the safetensors crate, an implementation that shares nothing with the reader under test.

#![allow(dead_code, reason = "each test file uses its own share of these helpers")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot write its files has failed")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use mergescope_core::alignment::Triple;
use mergescope_core::checkpoint::{Checkpoint, Dtype};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// A tensor of `values`, each rounded to the nearest of `dtype`.
    pub fn of(name: &str, dtype: Dtype, shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "as many values as {name} has elements");
        Self::raw(name, dtype, shape, encode(dtype, values))
    }

    /// A tensor of the given bytes.
    pub fn raw(name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }
}

/// A model folder to be written.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub tensors: Vec<Tensor>,
    pub config: Option<Value>,
    pub files: Vec<(String, Vec<u8>)>,
    /// Number of weight files; with more than one there is an index. 0 means 1.
    pub shards: usize,
}

impl Model {
    /// A folder with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A Qwen2 model whose weights follow from `seed`.
    pub fn qwen2(size: Size, dtype: Dtype, seed: u64) -> Self {
        let mut model = Self::new().with_config(qwen2_config(size));
        for (position, (name, shape)) in qwen2_tensors(size).into_iter().enumerate() {
            let count = shape.iter().product();
            let values = values(seed.wrapping_mul(1_000_003).wrapping_add(position as u64), count, 0.02);
            model.tensors.push(Tensor::of(&name, dtype, &shape, &values));
        }
        model
    }

    /// This model after a step of training: every float value x becomes x + `step` · noise of standard deviation 0.02.
    pub fn tuned(&self, seed: u64, step: f32) -> Self {
        let mut model = self.clone();
        for (position, tensor) in model.tensors.iter_mut().enumerate() {
            let seed = seed.wrapping_mul(7_000_003).wrapping_add(position as u64);
            let mut changed = decode(tensor.dtype, &tensor.bytes);
            for (value, noise) in changed.iter_mut().zip(values(seed, tensor.shape.iter().product(), 0.02)) {
                *value += step * noise;
            }
            tensor.bytes = encode(tensor.dtype, &changed);
        }
        model
    }

    pub fn with_tensor(mut self, tensor: Tensor) -> Self {
        self.tensors.retain(|other| other.name != tensor.name);
        self.tensors.push(tensor);
        self
    }

    pub fn without_tensor(mut self, name: &str) -> Self {
        let before = self.tensors.len();
        self.tensors.retain(|tensor| tensor.name != name);
        assert_ne!(before, self.tensors.len(), "{name} was there");
        self
    }

    pub fn with_config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// Sets one field of `config.json`.
    pub fn with_setting(mut self, key: &str, value: Value) -> Self {
        self.config.get_or_insert_with(|| json!({}))[key] = value;
        self
    }

    pub fn with_file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), bytes.into()));
        self
    }

    pub fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.iter().find(|tensor| tensor.name == name).expect("a tensor of that name")
    }

    pub fn tensor_mut(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of that name")
    }

    /// Writes everything into `folder`, which is made if need be.
    pub fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        if let Some(config) = &self.config {
            fs::write(folder.join("config.json"), serde_json::to_vec_pretty(config).unwrap()).unwrap();
        }
        for (name, bytes) in &self.files {
            fs::write(folder.join(name), bytes).unwrap();
        }
        if self.shards <= 1 {
            write_safetensors(&folder.join("model.safetensors"), &self.tensors);
            return;
        }
        let mut weight_map = BTreeMap::new();
        let each = self.tensors.len().div_ceil(self.shards).max(1);
        for (number, tensors) in self.tensors.chunks(each).enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, self.tensors.len().div_ceil(each));
            write_safetensors(&folder.join(&name), tensors);
            weight_map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        }
        let total: usize = self.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
}

/// Writes one safetensors file.
pub fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).expect("bytes fit the shape");
        (tensor.name.as_str(), view)
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

/// Tensors by name: dtype, shape and bytes.
pub type Written = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// All tensors of a folder, read by the safetensors crate through the index if there is one.
pub fn read_model(folder: &Path) -> Written {
    let index = fs::read(folder.join("model.safetensors.index.json")).ok();
    let files: Vec<String> = match index {
        None => vec!["model.safetensors".to_owned()],
        Some(index) => {
            let index: Value = serde_json::from_slice(&index).unwrap();
            let mut files: Vec<String> = index["weight_map"]
                .as_object()
                .unwrap()
                .values()
                .map(|file| file.as_str().unwrap().to_owned())
                .collect();
            files.sort();
            files.dedup();
            files
        }
    };
    let mut tensors = Written::new();
    for file in files {
        let bytes = fs::read(folder.join(file)).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            tensors.insert(name, (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()));
        }
    }
    tensors
}

/// A safetensors file with any header at all: its length, the JSON, then `data_bytes` zeros.
pub fn hostile_safetensors(json: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

/// The proportions of a small model.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub ffn: usize,
    pub vocab: usize,
    pub tied: bool,
}

impl Default for Size {
    /// Two layers, about 10,000 parameters.
    fn default() -> Self {
        Self { layers: 2, hidden: 32, heads: 4, kv_heads: 2, ffn: 48, vocab: 40, tied: true }
    }
}

/// Names and shapes of a Qwen2 model.
pub fn qwen2_tensors(size: Size) -> Vec<(String, Vec<usize>)> {
    let Size { layers, hidden, heads, kv_heads, ffn, vocab, tied } = size;
    let kv = hidden / heads * kv_heads;
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocab, hidden])];
    for layer in 0..layers {
        let in_layer: [(&str, Vec<usize>); 12] = [
            ("self_attn.q_proj.weight", vec![hidden, hidden]),
            ("self_attn.q_proj.bias", vec![hidden]),
            ("self_attn.k_proj.weight", vec![kv, hidden]),
            ("self_attn.k_proj.bias", vec![kv]),
            ("self_attn.v_proj.weight", vec![kv, hidden]),
            ("self_attn.v_proj.bias", vec![kv]),
            ("self_attn.o_proj.weight", vec![hidden, hidden]),
            ("mlp.gate_proj.weight", vec![ffn, hidden]),
            ("mlp.up_proj.weight", vec![ffn, hidden]),
            ("mlp.down_proj.weight", vec![hidden, ffn]),
            ("input_layernorm.weight", vec![hidden]),
            ("post_attention_layernorm.weight", vec![hidden]),
        ];
        tensors.extend(in_layer.map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
    }
    tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !tied {
        tensors.push(("lm_head.weight".to_owned(), vec![vocab, hidden]));
    }
    tensors
}

/// The `config.json` of such a model.
pub fn qwen2_config(size: Size) -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "intermediate_size": size.ffn,
        "max_position_embeddings": 256,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": size.tied,
        "torch_dtype": "bfloat16",
        "use_sliding_window": false,
        "vocab_size": size.vocab,
    })
}

/// `count` values with standard deviation `scale`, the same on every machine.
pub fn values(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = move || {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 40) as f32 / (1_u64 << 24) as f32
    };
    // Twelve uniform values have variance 1: a normal distribution, near enough.
    (0..count).map(|_| scale * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

/// `values` as little-endian elements of `dtype`, rounded to nearest, ties to even.
pub fn encode(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let each = |element: fn(f32) -> Vec<u8>| values.iter().flat_map(|&value| element(value)).collect();
    match dtype {
        Dtype::F64 => each(|value| f64::from(value).to_le_bytes().to_vec()),
        Dtype::F32 => each(|value| value.to_le_bytes().to_vec()),
        Dtype::F16 => each(|value| f16::from_f32(value).to_le_bytes().to_vec()),
        Dtype::BF16 => each(|value| bf16::from_f32(value).to_le_bytes().to_vec()),
        Dtype::F8_E4M3 => each(|value| vec![nearest_f8(value, e4m3)]),
        Dtype::F8_E5M2 => each(|value| vec![nearest_f8(value, e5m2)]),
        Dtype::I64 => each(|value| (value as i64).to_le_bytes().to_vec()),
        Dtype::I32 => each(|value| (value as i32).to_le_bytes().to_vec()),
        Dtype::U8 => each(|value| vec![value as u8]),
        Dtype::BOOL => each(|value| vec![u8::from(value != 0.0)]),
        other => panic!("no values of {other} are needed by a test"),
    }
}

/// Little-endian elements of `dtype` as f32; the reverse of [`encode`].
pub fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&chunk| f64::from_le_bytes(chunk) as f32).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&chunk| f16::from_le_bytes(chunk).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&chunk| bf16::from_le_bytes(chunk).to_f32()).collect(),
        Dtype::F8_E4M3 => bytes.iter().map(|&code| e4m3(code)).collect(),
        Dtype::F8_E5M2 => bytes.iter().map(|&code| e5m2(code)).collect(),
        Dtype::I64 => bytes.as_chunks().0.iter().map(|&chunk| i64::from_le_bytes(chunk) as f32).collect(),
        Dtype::I32 => bytes.as_chunks().0.iter().map(|&chunk| i32::from_le_bytes(chunk) as f32).collect(),
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&byte| f32::from(byte)).collect(),
        other => panic!("no values of {other} are needed by a test"),
    }
}

/// OCP E4M3: bias 7, no infinity, NaN only where all of exponent and mantissa is set.
pub fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let size = match exponent {
        15 if mantissa == 7.0 => f32::NAN,
        0 => mantissa / 8.0 * 2.0_f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { size } else { -size }
}

/// OCP E5M2: the upper byte of an f16.
pub fn e5m2(code: u8) -> f32 {
    f16::from_bits(u16::from(code) << 8).to_f32()
}

/// By trying all codes: slow, and plainly right. Past the largest value it saturates.
fn nearest_f8(value: f32, decode: fn(u8) -> f32) -> u8 {
    let distance = |code: u8| (decode(code) - value).abs();
    (0..=u8::MAX)
        .filter(|&code| decode(code).is_finite() && decode(code).is_sign_negative() == value.is_sign_negative())
        .min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))))
        .expect("zero is a code")
}

/// Three models in a temporary folder that is removed with this value.
pub struct Folders {
    pub dir: TempDir,
}

impl Folders {
    /// Writes the three to `pre`, `post` and `target`.
    pub fn write(pre: &Model, post: &Model, target: &Model) -> Self {
        let folders = Self { dir: TempDir::new().unwrap() };
        pre.write(&folders.pre());
        post.write(&folders.post());
        target.write(&folders.target());
        folders
    }

    pub fn pre(&self) -> PathBuf {
        self.dir.path().join("pre")
    }

    pub fn post(&self) -> PathBuf {
        self.dir.path().join("post")
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    /// Opens all three.
    pub fn open(&self) -> Triple {
        let open = |path: PathBuf| Arc::new(Checkpoint::open(&path).expect("the checkpoint opens"));
        Triple { pre: open(self.pre()), post: open(self.post()), target: open(self.target()) }
    }
}

/// A pre, its post (tuned a little) and a target (tuned a little otherwise): what an ordinary merge is given.
pub fn related(size: Size, dtype: Dtype) -> (Model, Model, Model) {
    let pre = Model::qwen2(size, dtype, 1);
    let post = pre.tuned(2, 0.05);
    let target = pre.tuned(3, 0.05);
    (pre, post, target)
}
