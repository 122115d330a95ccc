//! Weights by name, into the shapes that a decoder wants; what has not changed since the last time is kept.

use std::collections::HashMap;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;

use super::config::DecoderConfig;
use super::layer::Norm;
use super::matrix::{Matrix, Precision};

/// What identifies the bytes of a tensor.
pub(crate) type TensorIdentity = blake3::Hash;

/// Weights in the form that products take, by the tensor's name.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    tensors: HashMap<String, (TensorIdentity, Form)>,
    /// Tensors that the last model did not find here.
    pub made: usize,
}

impl Kept {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

#[derive(Clone, Debug)]
enum Form {
    Matrix(Matrix),
    Tensor(Tensor),
}

/// Why a decoder cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "the model has no tensor `{name}`, which its config.json asks for; it may be incomplete, or not what it says"
    )]
    Missing { name: String },
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Loads the parts of one decoder.
pub(crate) struct Loader<'a> {
    builder: VarBuilder<'a>,
    /// What identifies a tensor; `None` where the model has none of that name.
    identity: &'a dyn Fn(&str) -> Option<TensorIdentity>,
    /// What the names of layers begin with, such as `model.`.
    prefix: String,
    kept: &'a mut Kept,
    precision: Precision,
    adds_one: bool,
    eps: f64,
}

impl<'a> Loader<'a> {
    pub fn new(
        builder: VarBuilder<'a>,
        identity: &'a dyn Fn(&str) -> Option<TensorIdentity>,
        kept: &'a mut Kept,
        precision: Precision,
        config: &DecoderConfig,
    ) -> Self {
        // Multimodal models have their text decoder under a name of its own.
        let prefixes = ["model.", "language_model.model.", "model.language_model.", ""];
        let found = prefixes.into_iter().find(|prefix| identity(&format!("{prefix}embed_tokens.weight")).is_some());
        let prefix = found.unwrap_or("model.").to_owned();
        kept.made = 0;
        let (adds_one, eps) = (config.norm_adds_one, config.rms_eps);
        Self { builder, identity, prefix, kept, precision, adds_one, eps }
    }

    /// The name of the output embedding, if the model has one.
    pub fn head_name(&self) -> Option<String> {
        let names = ["lm_head.weight".to_owned(), "language_model.lm_head.weight".to_owned()];
        names.into_iter().find(|name| (self.identity)(name).is_some())
    }

    /// The input embedding, (vocabulary, hidden).
    pub fn table(&mut self, config: &DecoderConfig) -> Result<Tensor, LoadError> {
        let name = format!("{}embed_tokens.weight", self.prefix);
        let dtype = self.precision.table();
        self.tensor(&name, &[config.vocab, config.hidden], "table", |tensor| tensor.to_dtype(dtype))
    }

    /// The output embedding: its own, or the input embedding as a matrix.
    pub fn head(&mut self, config: &DecoderConfig) -> Result<Matrix, LoadError> {
        let own = self.head_name();
        let tied = config.tied.unwrap_or(config.tied_by_default || own.is_none());
        let name = match own {
            _ if tied => format!("{}embed_tokens.weight", self.prefix),
            Some(own) => own,
            None => return Err(LoadError::Missing { name: "lm_head.weight".to_owned() }),
        };
        if tied && self.precision != Precision::Q8_0 {
            // One table in memory serves both ends.
            return Ok(Matrix::new(self.table(config)?, self.precision)?);
        }
        self.weights(&name, config.vocab, config.hidden)
    }

    /// A matrix of shape (out, in) by the name of its module.
    pub fn matrix(&mut self, module: &str, out: usize, columns: usize, bias: bool) -> Result<Matrix, LoadError> {
        let module = format!("{}{module}", self.prefix);
        let weights = self.weights(&format!("{module}.weight"), out, columns)?;
        let bias = match bias {
            true => Some(self.tensor(&format!("{module}.bias"), &[out], "", Ok)?),
            false => None,
        };
        Ok(weights.with_bias(bias))
    }

    /// A norm of so many dimensions by the name of its module.
    pub fn norm(&mut self, module: &str, dimensions: usize) -> Result<Norm, LoadError> {
        let name = format!("{}{module}.weight", self.prefix);
        let adds_one = self.adds_one;
        let weight =
            self.tensor(&name, &[dimensions], "", |tensor| if adds_one { tensor + 1.0 } else { Ok(tensor) })?;
        Ok(Norm { weight, eps: self.eps })
    }

    fn weights(&mut self, name: &str, out: usize, columns: usize) -> Result<Matrix, LoadError> {
        let precision = self.precision;
        let form =
            self.form(name, &[out, columns], "matrix", |tensor| Ok(Form::Matrix(Matrix::new(tensor, precision)?)))?;
        match form {
            Form::Matrix(matrix) => Ok(matrix),
            Form::Tensor(tensor) => Ok(Matrix::new(tensor, precision)?),
        }
    }

    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        purpose: &str,
        make: impl FnOnce(Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor, LoadError> {
        match self.form(name, shape, purpose, |tensor| make(tensor).map(Form::Tensor))? {
            Form::Tensor(tensor) => Ok(tensor),
            Form::Matrix(_) => Err(LoadError::Missing { name: name.to_owned() }),
        }
    }

    /// A tensor in one form, kept from the last time or made anew. One tensor may be wanted in two forms.
    fn form(
        &mut self,
        name: &str,
        shape: &[usize],
        purpose: &str,
        make: impl FnOnce(Tensor) -> candle_core::Result<Form>,
    ) -> Result<Form, LoadError> {
        let identity = (self.identity)(name).ok_or_else(|| LoadError::Missing { name: name.to_owned() })?;
        let key = format!("{name} {purpose}");
        if let Some((kept, form)) = self.kept.tensors.get(&key)
            && *kept == identity
        {
            return Ok(form.clone());
        }
        // Gone before its successor comes, so that the two are never in memory together.
        self.kept.tensors.remove(&key);
        let tensor = self.builder.get_with_hints(Shape::from(shape), name, candle_nn::Init::Const(0.0))?;
        let form = make(tensor)?;
        self.kept.made += 1;
        self.kept.tensors.insert(key, (identity, form.clone()));
        Ok(form)
    }
}

/// Builds on f32 tensors of `backend`.
pub(crate) fn builder<'a>(backend: impl candle_nn::var_builder::SimpleBackend + 'a, device: &Device) -> VarBuilder<'a> {
    VarBuilder::from_backend(Box::new(backend), DType::F32, device.clone())
}
