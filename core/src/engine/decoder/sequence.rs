//! The text that one request has so far: its keys and values, layer by layer.

use candle_core::{DType, Device, Result, Tensor};

use super::config::DecoderConfig;

/// Tokens that a cache has room for at first; it doubles when they are used up.
const FIRST_ROOM: usize = 64;

/// Keys and values of one layer, (key-value heads, room, head dimensions) each; written in place.
#[derive(Debug)]
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

/// One text that a decoder continues.
///
/// It owns its cache, so that texts of any lengths go through the matrices together and none is padded: what a text gets
/// does not depend on those beside it, up to the order in which a product adds.
#[derive(Debug)]
pub(crate) struct Sequence {
    layers: Vec<LayerCache>,
    length: usize,
    room: usize,
    /// Most tokens that it will have.
    most: usize,
}

impl Sequence {
    /// An empty text that will have at most `most` tokens.
    pub fn new(config: &DecoderConfig, most: usize, device: &Device) -> Result<Self> {
        let room = FIRST_ROOM.min(most.max(1));
        let layers = (0..config.layers.len())
            .map(|_| LayerCache::new(config.kv_heads, room, config.head_dim, device))
            .collect::<Result<_>>()?;
        Ok(Self { layers, length: 0, room, most })
    }

    /// Bytes that caches of so many tokens take.
    pub fn bytes(config: &DecoderConfig, tokens: usize) -> u64 {
        let vectors = 2 * config.layers.len() as u64 * config.kv_heads as u64;
        vectors * tokens as u64 * config.head_dim as u64 * size_of::<f32>() as u64
    }

    /// Tokens so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The same text again, which can go on in another way.
    pub fn fork(&self, most: usize) -> Result<Self> {
        let mut fork =
            Self { layers: Vec::with_capacity(self.layers.len()), length: self.length, room: self.room, most };
        fork.room = (2 * self.length).clamp(FIRST_ROOM, most.max(self.length).max(FIRST_ROOM));
        for layer in &self.layers {
            fork.layers.push(layer.with_room(fork.room, self.length)?);
        }
        Ok(fork)
    }

    /// Makes room for `more` tokens.
    pub(super) fn reserve(&mut self, more: usize) -> Result<()> {
        let needed = self.length + more;
        if needed <= self.room {
            return Ok(());
        }
        self.room = (self.room * 2).min(self.most).max(needed);
        for layer in &mut self.layers {
            *layer = layer.with_room(self.room, self.length)?;
        }
        Ok(())
    }

    /// Puts keys and values of shape (key-value heads, tokens, head dimensions) behind those of a layer, and gives all of
    /// them from `from` on.
    pub(super) fn extend(&self, layer: usize, keys: &Tensor, values: &Tensor, from: usize) -> Result<(Tensor, Tensor)> {
        let cache = &self.layers[layer];
        let end = self.length + keys.dim(1)?;
        cache.keys.slice_set(keys, 1, self.length)?;
        cache.values.slice_set(values, 1, self.length)?;
        Ok((cache.keys.narrow(1, from, end - from)?, cache.values.narrow(1, from, end - from)?))
    }

    /// Counts tokens that every layer has seen.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}

impl LayerCache {
    fn new(kv_heads: usize, room: usize, head_dim: usize, device: &Device) -> Result<Self> {
        let empty = || Tensor::zeros((kv_heads, room, head_dim), DType::F32, device);
        Ok(Self { keys: empty()?, values: empty()? })
    }

    /// The first `length` tokens, with room for more.
    fn with_room(&self, room: usize, length: usize) -> Result<Self> {
        let (kv_heads, _, head_dim) = self.keys.dims3()?;
        let larger = Self::new(kv_heads, room, head_dim, self.keys.device())?;
        if length > 0 {
            larger.keys.slice_set(&self.keys.narrow(1, 0, length)?.contiguous()?, 1, 0)?;
            larger.values.slice_set(&self.values.narrow(1, 0, length)?.contiguous()?, 1, 0)?;
        }
        Ok(larger)
    }
}
