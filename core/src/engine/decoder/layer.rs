//! One layer of a decoder: attention and MLP around a residual stream.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops;

use super::config::{Activation, DecoderConfig, LayerConfig};
use super::load::Loader;
use super::matrix::Matrix;
use super::sequence::Sequence;
use super::{LoadError, Packed};

/// A root mean square norm, x / √(mean(x²) + ε) · weight (arXiv 1910.07467).
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    /// What Gemma adds one to has it added already.
    pub weight: Tensor,
    pub eps: f64,
}

impl Norm {
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(&x.contiguous()?, &self.weight, self.eps as f32)
    }
}

/// q, k and v of hidden states.
#[derive(Clone, Debug)]
enum Projections {
    Separate { q: Matrix, k: Matrix, v: Matrix },
    Fused(Matrix),
}

/// gate and up of hidden states.
#[derive(Clone, Debug)]
enum Gates {
    Separate { gate: Matrix, up: Matrix },
    Fused(Matrix),
}

#[derive(Clone, Debug)]
pub(super) struct Layer {
    number: usize,
    config: LayerConfig,
    /// Which of the decoder's rotations turns its heads.
    pub rotation: usize,
    input_norm: Norm,
    projections: Projections,
    head_norms: Option<(Norm, Norm)>,
    output: Matrix,
    attention_norm: Option<Norm>,
    mlp_input_norm: Norm,
    gates: Gates,
    down: Matrix,
    mlp_norm: Option<Norm>,
}

impl Layer {
    pub fn load(
        loader: &mut Loader<'_>,
        config: &DecoderConfig,
        number: usize,
        rotation: usize,
    ) -> std::result::Result<Self, LoadError> {
        let at = |name: &str| format!("layers.{number}.{name}");
        let (hidden, heads) = (config.hidden, config.heads * config.head_dim);
        let kv = config.kv_heads * config.head_dim;
        let mlp = config.intermediate;
        let projections = if config.fused {
            Projections::Fused(loader.matrix(&at("self_attn.qkv_proj"), heads + 2 * kv, hidden, config.qkv_bias)?)
        } else {
            Projections::Separate {
                q: loader.matrix(&at("self_attn.q_proj"), heads, hidden, config.qkv_bias)?,
                k: loader.matrix(&at("self_attn.k_proj"), kv, hidden, config.qkv_bias)?,
                v: loader.matrix(&at("self_attn.v_proj"), kv, hidden, config.qkv_bias)?,
            }
        };
        let head_norms = match config.norms_heads {
            true => {
                let query = loader.norm(&at("self_attn.q_norm"), config.head_dim)?;
                Some((query, loader.norm(&at("self_attn.k_norm"), config.head_dim)?))
            }
            false => None,
        };
        let gates = if config.fused {
            Gates::Fused(loader.matrix(&at("mlp.gate_up_proj"), 2 * mlp, hidden, config.mlp_bias)?)
        } else {
            Gates::Separate {
                gate: loader.matrix(&at("mlp.gate_proj"), mlp, hidden, config.mlp_bias)?,
                up: loader.matrix(&at("mlp.up_proj"), mlp, hidden, config.mlp_bias)?,
            }
        };
        // Where outputs are normed too, what is elsewhere the MLP's norm has another name and the attention's takes its place.
        let (attention_norm, mlp_input, mlp_norm) = match config.norms_outputs {
            true => {
                let attention = loader.norm(&at("post_attention_layernorm"), hidden)?;
                let mlp_input = loader.norm(&at("pre_feedforward_layernorm"), hidden)?;
                (Some(attention), mlp_input, Some(loader.norm(&at("post_feedforward_layernorm"), hidden)?))
            }
            false => (None, loader.norm(&at("post_attention_layernorm"), hidden)?, None),
        };
        Ok(Self {
            number,
            config: config.layers[number].clone(),
            rotation,
            input_norm: loader.norm(&at("input_layernorm"), hidden)?,
            projections,
            head_norms,
            output: loader.matrix(&at("self_attn.o_proj"), hidden, heads, config.o_bias)?,
            attention_norm,
            mlp_input_norm: mlp_input,
            gates,
            down: loader.matrix(&at("mlp.down_proj"), hidden, mlp, config.mlp_bias)?,
            mlp_norm,
        })
    }

    /// Hidden states of shape (tokens, hidden), the tokens of all sequences one after the other.
    pub fn forward(&self, config: &DecoderConfig, x: &Tensor, packed: &Packed<'_, '_>) -> Result<Tensor> {
        let attended = self.attention(config, &self.input_norm.forward(x)?, packed)?;
        let attended = match &self.attention_norm {
            Some(norm) => norm.forward(&attended)?,
            None => attended,
        };
        let x = (x + attended)?;
        let fed = self.mlp(config, &self.mlp_input_norm.forward(&x)?)?;
        let fed = match &self.mlp_norm {
            Some(norm) => norm.forward(&fed)?,
            None => fed,
        };
        x + fed
    }

    fn mlp(&self, config: &DecoderConfig, x: &Tensor) -> Result<Tensor> {
        let (gate, up) = match &self.gates {
            Gates::Separate { gate, up } => (gate.forward(x)?, up.forward(x)?),
            Gates::Fused(both) => {
                let both = both.forward(x)?;
                let half = both.dim(1)? / 2;
                (both.narrow(1, 0, half)?.contiguous()?, both.narrow(1, half, half)?.contiguous()?)
            }
        };
        let gate = match config.activation {
            Activation::Silu => ops::silu(&gate)?,
            Activation::Gelu => gate.gelu()?,
        };
        self.down.forward(&(gate * up)?)
    }

    fn attention(&self, config: &DecoderConfig, x: &Tensor, packed: &Packed<'_, '_>) -> Result<Tensor> {
        let tokens = x.dim(0)?;
        let (query_width, kv_width) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (q, k, v) = match &self.projections {
            Projections::Separate { q, k, v } => (q.forward(x)?, k.forward(x)?, v.forward(x)?),
            Projections::Fused(all) => {
                let all = all.forward(x)?;
                let part = |first, width| all.narrow(1, first, width)?.contiguous();
                (part(0, query_width)?, part(query_width, kv_width)?, part(query_width + kv_width, kv_width)?)
            }
        };
        let mut q = q.reshape((tokens, config.heads, config.head_dim))?;
        let mut k = k.reshape((tokens, config.kv_heads, config.head_dim))?;
        let v = v.reshape((tokens, config.kv_heads, config.head_dim))?;
        if let Some((query_norm, key_norm)) = &self.head_norms {
            q = query_norm.forward(&q)?;
            k = key_norm.forward(&k)?;
        }
        let (cos, sin) = &packed.turns[self.rotation];
        let q = rotate(&q, cos, sin)?;
        let k = rotate(&k, cos, sin)?;

        let mut attended = Vec::with_capacity(packed.steps.len());
        let mut first = 0;
        for step in packed.steps.iter() {
            let count = step.tokens.len();
            let part = |all: &Tensor| all.narrow(0, first, count)?.transpose(0, 1)?.contiguous();
            attended.push(self.attend(config, &part(&q)?, &part(&k)?, &part(&v)?, step.sequence)?);
            first += count;
        }
        let attended = if attended.len() == 1 { attended.swap_remove(0) } else { Tensor::cat(&attended, 0)? };
        self.output.forward(&attended)
    }

    /// Attention of one sequence: q of shape (heads, tokens, head dimensions), k and v likewise of key-value heads, to
    /// (tokens, heads · head dimensions).
    fn attend(
        &self,
        config: &DecoderConfig,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        sequence: &Sequence,
    ) -> Result<Tensor> {
        let (heads, tokens, head_dim) = q.dims3()?;
        let begin = sequence.length();
        // What the first of these tokens cannot see, none of them can.
        let from = self.config.window.map_or(0, |window| (begin + 1).saturating_sub(window));
        let (keys, values) = sequence.extend(self.number, k, v, from)?;
        let visible = begin + tokens - from;

        // The heads that share a key are rows of one product.
        let q = q.reshape((config.kv_heads, config.group() * tokens, head_dim))?;
        let scores = (q.matmul(&keys.transpose(1, 2)?)? * config.score_scale)?;
        let scores = match config.score_cap {
            Some(cap) => ((scores / cap)?.tanh()? * cap)?,
            None => scores,
        };
        let scores = match mask(begin, tokens, from, self.config.window) {
            Some(mask) => {
                let mask = Tensor::from_vec(mask, (1, tokens, visible), q.device())?;
                let scores = scores.reshape((heads, tokens, visible))?.broadcast_add(&mask)?;
                scores.reshape((config.kv_heads, config.group() * tokens, visible))?
            }
            None => scores,
        };
        let weights = ops::softmax_last_dim(&scores)?;
        let attended = weights.matmul(&values)?.reshape((heads, tokens, head_dim))?;
        attended.transpose(0, 1)?.reshape((tokens, heads * head_dim))
    }
}

/// 0 where a token may look and −∞ where not, (tokens × keys from `from` on); `None` where each may look everywhere.
fn mask(begin: usize, tokens: usize, from: usize, window: Option<usize>) -> Option<Vec<f32>> {
    // A single token sees all that its window has left.
    (tokens > 1).then(|| {
        let mut mask = Vec::with_capacity(tokens * (begin + tokens - from));
        for query in begin..begin + tokens {
            let first = window.map_or(0, |window| (query + 1).saturating_sub(window));
            let sees = |key: usize| key >= first && key <= query;
            mask.extend((from..begin + tokens).map(|key| if sees(key) { 0.0 } else { f32::NEG_INFINITY }));
        }
        mask
    })
}

/// Turns the first dimensions of heads of shape (tokens, heads, head dimensions), each with the one half of them further on.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    debug_assert_eq!(x.dtype(), DType::F32);
    let head_dim = x.dim(D::Minus1)?;
    let turning = 2 * cos.dim(D::Minus1)?;
    let turned = |x: &Tensor| candle_nn::rotary_emb::rope_thd(&x.contiguous()?.unsqueeze(0)?, cos, sin)?.squeeze(0);
    if turning == head_dim {
        return turned(x);
    }
    let rest = x.narrow(D::Minus1, turning, head_dim - turning)?;
    Tensor::cat(&[turned(&x.narrow(D::Minus1, 0, turning)?)?, rest], D::Minus1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: f32 = f32::NEG_INFINITY;

    #[test]
    fn a_token_sees_itself_and_what_came_before() {
        assert_eq!(mask(1, 2, 0, None), Some(vec![0.0, 0.0, NO, 0.0, 0.0, 0.0]));
        assert_eq!(mask(5, 1, 0, None), None);
    }

    #[test]
    fn a_window_counts_the_token_itself() {
        assert_eq!(mask(2, 2, 1, Some(2)), Some(vec![0.0, 0.0, NO, NO, 0.0, 0.0]));
    }
}
