//! Matrices that hidden states are multiplied by, in the number format of the engine.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{CpuStorage, DType, Device, Module as _, Result, Storage, Tensor};
use serde::{Deserialize, Serialize};

use super::kernel;
use super::weights::{Q8, Weights as InMemory};

/// The number format that weights are held in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits: 4 bytes a parameter, and the reference for all others.
    #[default]
    F32,
    /// 16 bits, as most models are written: 2 bytes a parameter. Hidden states stay in f32 on a processor, and are rounded to
    /// bf16 before each matrix on an accelerator.
    Bf16,
    /// 8 bits with a scale for each 32 weights: about 1 byte a parameter. A fast preview: its rounding can hide a small step in
    /// w.
    Q8_0,
}

impl Precision {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Q8_0];

    /// Its name in recipes, on the command line and in logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes that a parameter takes in memory, roughly.
    pub fn bytes_per_parameter(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::Bf16 => 2.0,
            Self::Q8_0 => 34.0 / 32.0,
        }
    }

    /// The format of an embedding table, of which rows are taken and nothing is multiplied.
    pub(crate) fn table(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 | Self::Q8_0 => DType::BF16,
        }
    }
}

/// A matrix of shape (out, in), and what is added to the product.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    weights: Weights,
    bias: Option<Tensor>,
    columns: usize,
}

#[derive(Clone, Debug)]
enum Weights {
    /// f32 or bf16.
    Dense(Tensor),
    Q8(Arc<Q8>),
    /// 8 bits on an accelerator.
    Quantised(Arc<QMatMul>),
}

impl Matrix {
    /// Puts weights of shape (out, in) into a format.
    pub fn new(weights: Tensor, precision: Precision) -> Result<Self> {
        let columns = weights.dim(1)?;
        let on_processor = matches!(weights.device(), Device::Cpu);
        let weights = match precision {
            Precision::F32 => Weights::Dense(weights),
            Precision::Bf16 => Weights::Dense(weights.to_dtype(DType::BF16)?),
            // Rows that do not divide into groups stay as exact as the target is.
            Precision::Q8_0 if !columns.is_multiple_of(Q8::GROUP) => Weights::Dense(weights),
            Precision::Q8_0 if on_processor => {
                let weights = weights.to_dtype(DType::F32)?.contiguous()?;
                Weights::Q8(Arc::new(kernel::with_slice(&weights, Q8::new)?))
            }
            Precision::Q8_0 => {
                let tensor = QTensor::quantize(&weights, GgmlDType::Q8_0)?;
                Weights::Quantised(Arc::new(QMatMul::QTensor(Arc::new(tensor))))
            }
        };
        Ok(Self { weights, bias: None, columns })
    }

    /// The same with a bias of shape (out).
    pub fn with_bias(mut self, bias: Option<Tensor>) -> Self {
        self.bias = bias;
        self
    }

    /// x of shape (tokens, in) → (tokens, out), in f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = match &self.weights {
            Weights::Q8(weights) => kernel::product(x, InMemory::Q8(weights), self.columns)?,
            Weights::Quantised(weights) => weights.forward(x)?,
            Weights::Dense(weights) => self.dense(x, weights)?,
        };
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }

    fn dense(&self, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let (storage, layout) = weights.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::BF16(all)), Some((first, end))) => {
                kernel::product(x, InMemory::Bf16(&all[first..end]), self.columns)
            }
            (Storage::Cpu(CpuStorage::F32(all)), Some((first, end))) if kernel::is_by_rows(x)? => {
                kernel::product(x, InMemory::F32(&all[first..end]), self.columns)
            }
            _ if weights.dtype() == DType::F32 => x.matmul(&weights.t()?),
            _ => x.to_dtype(weights.dtype())?.matmul(&weights.t()?)?.to_dtype(DType::F32),
        }
    }
}
