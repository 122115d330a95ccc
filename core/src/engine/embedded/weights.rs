//! Where a decoder's weights come from: a model as it stands, or one that is merged while it loads.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use crate::checkpoint::{Checkpoint, Dtype, TensorInfo, takes_part};
use crate::engine::EngineError;
use crate::engine::decoder::TensorIdentity;
use crate::merge::Merged;
use crate::numeric::{BLOCK, decode};
use crate::progress::Control;
use crate::stream::{self, Resources, StreamError};

/// Tensors by name, with the bytes that a file has or would have.
#[derive(Clone)]
pub(crate) enum Weights {
    Alone(Arc<Checkpoint>),
    Merged(Arc<Merged>),
}

impl Weights {
    /// The model whose config and tokenizer go with them.
    pub fn checkpoint(&self) -> &Arc<Checkpoint> {
        match self {
            Self::Alone(checkpoint) => checkpoint,
            Self::Merged(merged) => &merged.models().target,
        }
    }

    /// What decides the bytes of a tensor; `None` where there is none of that name.
    pub fn identity(&self, name: &str) -> Option<TensorIdentity> {
        match self {
            Self::Alone(checkpoint) => Some(checkpoint.identity(checkpoint.tensor(name)?)),
            // Its tensors are the target's, in the same order.
            Self::Merged(merged) => Some(merged.identity(merged.models().target.position(name)?)),
        }
    }

    /// Bytes that all tensors have together.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Alone(checkpoint) => checkpoint.total_bytes(),
            Self::Merged(merged) => merged.plan().bytes(),
        }
    }

    /// The dtype and bytes of a tensor.
    fn read(&self, name: &str, info: &TensorInfo, control: &Control) -> Result<(Dtype, Vec<u8>), EngineError> {
        match self {
            Self::Alone(checkpoint) => {
                let mut bytes = vec![0; info.bytes as usize];
                let unit = Resources::default().unit_bytes as usize;
                let places: Vec<_> = bytes.chunks_mut(unit).map(Mutex::new).collect();
                let threads = Resources::default().threads;
                let read = stream::run(
                    places.len(),
                    threads,
                    control,
                    || (),
                    |(), index| {
                        let mut place = places[index].lock().unwrap_or_else(PoisonError::into_inner);
                        checkpoint.read(info, (index * unit) as u64, &mut place).map_err(StreamError::from)
                    },
                );
                read.map_err(|error| match error {
                    StreamError::Cancelled(cancelled) => cancelled.into(),
                    error => EngineError::caused(format!("cannot load `{name}`"), error),
                })?;
                drop(places);
                Ok((info.dtype, bytes))
            }
            Self::Merged(merged) => {
                let position = merged.models().target.position(name).unwrap_or(0);
                let bytes = merged.tensor(position, control)?;
                Ok((merged.plan().tensors[position].output.dtype, bytes))
            }
        }
    }
}

/// Weights as candle asks for them: each tensor once, in f32.
pub(super) struct Backend<'a> {
    pub weights: &'a Weights,
    pub control: &'a Control,
    /// What went wrong, since candle's error keeps its words alone.
    pub failure: &'a Mutex<Option<EngineError>>,
}

impl SimpleBackend for Backend<'_> {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if *tensor.shape() == shape {
            return Ok(tensor);
        }
        let (expected, found) = (shape.dims().to_vec(), tensor.dims().to_vec());
        Err(self.fail(EngineError::failed(format!(
            "tensor `{name}` has the shape {found:?}, and config.json asks for {expected:?}; they do not belong together"
        ))))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let checkpoint = self.weights.checkpoint();
        let Some(info) = checkpoint.tensor(name) else {
            return Err(self.fail(EngineError::failed(format!("the model has no tensor `{name}`"))));
        };
        if !takes_part(info.dtype) {
            let message = format!("tensor `{name}` is stored as {}, which are no weights", info.dtype);
            return Err(self.fail(EngineError::failed(message)));
        }
        let (stored, bytes) = self.weights.read(name, info, self.control).map_err(|error| self.fail(error))?;
        self.control.advance(bytes.len() as u64, None);
        let shape: Vec<usize> = info.shape.iter().map(|&dim| dim as usize).collect();
        Tensor::from_vec(widened(stored, &bytes), shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.weights.checkpoint().tensor(name).is_some()
    }
}

impl Backend<'_> {
    fn fail(&self, error: EngineError) -> candle_core::Error {
        let words = error.to_string();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        candle_core::Error::Msg(words)
    }
}

/// Elements as f32: exact, but for those of f64.
fn widened(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let width = (dtype.bitsize() / 8).max(1);
    let mut out = Vec::with_capacity(bytes.len() / width);
    let mut wide = [0.0; BLOCK];
    for block in bytes.chunks(BLOCK * width) {
        let wide = &mut wide[..block.len() / width];
        decode(dtype, block, wide);
        out.extend(wide.iter().map(|value| *value as f32));
    }
    out
}
