//! A decoder on candle: Llama and those that differ from it in flags.
//!
//! Tokens of several sequences go through every matrix together; attention is each sequence's own. Hidden states, norms,
//! rotations, scores and logits are f32 whatever format the weights have.

mod config;
#[cfg(test)]
mod goldens;
mod kernel;
mod layer;
mod load;
mod matrix;
mod rope;
mod sequence;
mod weights;

use candle_core::{DType, Device, Result, Tensor};

pub(crate) use config::{DecoderConfig, token_ids};
use layer::{Layer, Norm};
pub(crate) use load::{Kept, LoadError, Loader, TensorIdentity, builder};
pub(crate) use matrix::Matrix;
pub use matrix::Precision;
use rope::{Frequencies, RopeSpec};
pub(crate) use sequence::Sequence;

/// More of one sequence: tokens that come behind those it has.
pub(crate) struct Step<'a> {
    pub sequence: &'a mut Sequence,
    pub tokens: &'a [u32],
}

/// Which logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those behind the last token of each step.
    Last,
    /// Those behind every token.
    All,
}

/// What the layers of one pass share.
pub(super) struct Packed<'p, 'a> {
    pub steps: &'p [Step<'a>],
    /// Cosines and sines of every token, (tokens, pairs), for each rotation.
    pub turns: Vec<(Tensor, Tensor)>,
}

/// A model that predicts the next token.
pub(crate) struct Decoder {
    config: DecoderConfig,
    table: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    head: Matrix,
    /// Rotations that differ, each with the frequencies of a short sequence.
    rotations: Vec<(RopeSpec, Frequencies)>,
    device: Device,
}

impl Decoder {
    /// Loads all weights.
    pub fn load(
        config: DecoderConfig,
        loader: &mut Loader<'_>,
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let mut rotations: Vec<(RopeSpec, Frequencies)> = Vec::new();
        let mut layers = Vec::with_capacity(config.layers.len());
        let table = loader.table(&config)?;
        for (number, layer) in config.layers.iter().enumerate() {
            let known = rotations.iter().position(|(spec, _)| *spec == layer.rope);
            let rotation = known.unwrap_or_else(|| {
                rotations.push((layer.rope.clone(), layer.rope.frequencies(0)));
                rotations.len() - 1
            });
            layers.push(Layer::load(loader, &config, number, rotation)?);
        }
        let norm = loader.norm("norm", config.hidden)?;
        let head = loader.head(&config)?;
        Ok(Self { config, table, layers, norm, head, rotations, device: device.clone() })
    }

    /// Its shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// An empty text of at most `most` tokens.
    pub fn sequence(&self, most: usize) -> Result<Sequence> {
        Sequence::new(&self.config, most, &self.device)
    }

    /// Continues sequences, at least one token each; gives logits of shape (steps or tokens, vocabulary).
    pub fn forward(&self, steps: &mut [Step<'_>], wanted: Wanted) -> Result<Tensor> {
        let tokens: Vec<u32> = steps.iter().flat_map(|step| step.tokens).copied().collect();
        for step in steps.iter_mut() {
            step.sequence.reserve(step.tokens.len())?;
        }
        let turns = self.rotations.iter().map(|rotation| self.turns(rotation, steps)).collect::<Result<_>>()?;
        let ids = Tensor::from_slice(&tokens, tokens.len(), &self.device)?;
        let mut x = self.table.index_select(&ids, 0)?.to_dtype(DType::F32)?;
        if self.config.embedding_scale != 1.0 {
            x = (x * self.config.embedding_scale)?;
        }
        let packed = Packed { steps, turns };
        for layer in &self.layers {
            x = layer.forward(&self.config, &x, &packed)?;
        }
        let mut last = Vec::with_capacity(steps.len());
        let mut end = 0_u32;
        for step in steps.iter_mut() {
            step.sequence.advance(step.tokens.len());
            end += step.tokens.len() as u32;
            last.push(end - 1);
        }
        if wanted == Wanted::Last && last.len() < tokens.len() {
            x = x.index_select(&Tensor::from_slice(&last, last.len(), &self.device)?, 0)?;
        }
        let logits = self.head.forward(&self.norm.forward(&x)?)?;
        match self.config.logit_cap {
            Some(cap) => (logits / cap)?.tanh()? * cap,
            None => Ok(logits),
        }
    }

    /// Cosines and sines of all tokens, one sequence after the other.
    fn turns(&self, (spec, short): &(RopeSpec, Frequencies), steps: &[Step<'_>]) -> Result<(Tensor, Tensor)> {
        let positions = |step: &Step<'_>| -> Vec<usize> {
            let begin = step.sequence.length();
            (begin..begin + step.tokens.len()).collect()
        };
        let regime = |step: &Step<'_>| spec.regime(step.sequence.length() + step.tokens.len());
        if steps.iter().all(|step| regime(step) == spec.regime(0)) {
            let all: Vec<usize> = steps.iter().flat_map(positions).collect();
            return short.turns(&all, &self.device);
        }
        let mut cos = Vec::with_capacity(steps.len());
        let mut sin = Vec::with_capacity(steps.len());
        for step in steps {
            let frequencies = spec.frequencies(step.sequence.length() + step.tokens.len());
            let (c, s) = frequencies.turns(&positions(step), &self.device)?;
            cos.push(c);
            sin.push(s);
        }
        Ok((Tensor::cat(&cos, 0)?, Tensor::cat(&sin, 0)?))
    }
}
