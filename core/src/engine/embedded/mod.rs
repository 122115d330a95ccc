//! The decoder that is part of this program, as an engine: weights are merged while they load, and no file is written.

mod answer;
mod batch;
mod chat_template;
mod sampler;
mod text;
mod weights;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, DType, Device};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::engine::decoder::{Decoder, DecoderConfig, Kept, LoadError, Loader, Precision, Step, Wanted, builder};
use crate::engine::{EVALUATION_DAY, Engine, EngineError, Event, LogLikelihood, ModelChoice, Prompt, Request};
use crate::hub;
use crate::merge::Merged;
use crate::progress::{Control, Stage};
use crate::recipe::Recipe;
use crate::stream::Resources;

use batch::{Limits, failed};
use text::TextModel;
pub use text::{has_chat_template, text_fingerprint};
use weights::Backend;
pub(crate) use weights::Weights;

/// A conversation by a chat template, for [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn render_chat_template(source: &str, messages: &[crate::engine::Message]) -> Option<String> {
    let template = chat_template::ChatTemplate::new(source, "<s>", "</s>").ok()?;
    template.render(messages, jiff::civil::date(2025, 1, 31)).ok()
}

/// What the embedded engine runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA card; needs a program built with the feature `cuda`.
    Cuda,
    /// Apple's graphics; needs a program built with the feature `metal`.
    Metal,
}

impl Accelerator {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Metal];

    /// Whether this program was built with what it needs.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }

    /// Its name on the command line and in logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }
}

/// How the embedded engine works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The number format of weights in memory.
    pub precision: Precision,
    /// Where it runs.
    pub accelerator: Accelerator,
    /// Most answers that are made at the same time.
    pub batch: usize,
    /// Most bytes that keys and values of all answers take together; one answer is always let in.
    pub cache_bytes: u64,
}

impl EmbeddedOptions {
    /// What numbers depend on beside the weights; see [`Engine::identity`]. Accelerators add up in other orders than the
    /// processor does, and in 16 bits with other roundings.
    pub fn identity(&self) -> String {
        let on = match self.accelerator {
            Accelerator::Cpu => String::new(),
            other => format!(" on {}", other.label()),
        };
        format!("embedded {}{on}", self.precision.label())
    }
}

impl Default for EmbeddedOptions {
    /// f32 on the processor, 32 answers at a time, 2 GiB.
    fn default() -> Self {
        Self { precision: Precision::F32, accelerator: Accelerator::Cpu, batch: 32, cache_bytes: 2 << 30 }
    }
}

/// A model that can answer.
struct Loaded {
    decoder: Decoder,
    text: TextModel,
}

/// Answers with a decoder in this process.
pub struct EmbeddedEngine {
    options: EmbeddedOptions,
    device: Device,
    loaded: Option<Loaded>,
    /// The models of the last recipe, open.
    merged: Option<Arc<Merged>>,
    /// Weights of the last model, of which the next may take over what is the same.
    kept: Kept,
}

impl EmbeddedEngine {
    /// An engine without a model.
    ///
    /// # Errors
    /// When this program was built without what the accelerator needs, or the machine has none.
    pub fn new(options: EmbeddedOptions) -> Result<Self, EngineError> {
        let device = match options.accelerator {
            Accelerator::Cpu => Device::Cpu,
            Accelerator::Cuda => Device::new_cuda(0).map_err(|error| {
                EngineError::caused("no NVIDIA card can be used (it needs a build with `--features cuda`)", error)
            })?,
            Accelerator::Metal => Device::new_metal(0).map_err(|error| {
                EngineError::caused("Metal cannot be used (it needs a build with `--features metal`)", error)
            })?,
        };
        Ok(Self { options, device, loaded: None, merged: None, kept: Kept::default() })
    }

    /// The text that the loaded model is given for a prompt today, for people to look at.
    ///
    /// # Errors
    /// When no model is loaded, or its chat template refuses the conversation.
    pub fn rendered(&self, prompt: &Prompt) -> Result<String, EngineError> {
        let loaded = self.loaded.as_ref().ok_or(EngineError::NothingLoaded)?;
        loaded.text.rendered(prompt, None).map_err(EngineError::failed)
    }

    /// Tensors that the last load made anew; the others were taken over from the model before.
    pub fn last_loaded(&self) -> usize {
        self.kept.made
    }

    /// The models of a recipe, opened and checked if those of the last one were others.
    fn merged(&mut self, recipe: &Recipe, control: &Control) -> Result<Arc<Merged>, EngineError> {
        let names = |recipe: &Recipe| -> Vec<String> {
            let vectors = recipe.vectors().flat_map(|vector| [vector.pre.clone(), vector.post.clone()]);
            vectors.chain([recipe.target.clone()]).collect()
        };
        let again = self.merged.take().filter(|merged| names(merged.recipe()) == names(recipe));
        let merged = match again.map(|merged| merged.with(recipe, control)) {
            Some(Ok(merged)) => merged,
            // A file that changed is opened anew.
            Some(Err(crate::merge::MergeError::InputChanged { .. })) | None => {
                Merged::new(recipe, &Resources::default(), control)?
            }
            Some(Err(error)) => return Err(error.into()),
        };
        let merged = Arc::new(merged);
        self.merged = Some(merged.clone());
        Ok(merged)
    }

    fn weights(&mut self, choice: &ModelChoice, control: &Control) -> Result<Weights, EngineError> {
        match choice {
            ModelChoice::Alone(path) => {
                let checkpoint = Checkpoint::open(Path::new(&hub::resolve(path))).map_err(EngineError::failed)?;
                Ok(Weights::Alone(Arc::new(checkpoint)))
            }
            ModelChoice::Merged(recipe) => self.merged(recipe, control).map(Weights::Merged),
        }
    }
}

/// Loads a decoder, taking over from `kept` what is the same.
pub(crate) fn load_decoder(
    weights: &Weights,
    precision: Precision,
    kept: &mut Kept,
    device: &Device,
    control: &Control,
) -> Result<Decoder, EngineError> {
    let checkpoint = weights.checkpoint();
    let label = checkpoint.label();
    let config = checkpoint.config().ok_or_else(|| {
        EngineError::failed(format!("{label} has no config.json, which says how its weights are put together"))
    })?;
    let config = DecoderConfig::new(config).map_err(|error| EngineError::failed(format!("{label}: {error}")))?;

    if kept.is_empty() && matches!(device, Device::Cpu) {
        check_memory(checkpoint, &label, precision)?;
    }
    control.begin(Stage::Loading, weights.bytes());
    let failure = Mutex::new(None);
    let backend = Backend { weights, control, failure: &failure };
    let identity = |name: &str| weights.identity(name);
    let mut loader = Loader::new(builder(backend, device), &identity, kept, precision, &config);
    Decoder::load(config, &mut loader, device).map_err(|error| {
        let own = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        own.unwrap_or_else(|| match error {
            LoadError::Candle(error) => EngineError::caused(format!("{label} cannot be loaded"), error),
            error => EngineError::failed(format!("{label}: {error}")),
        })
    })
}

/// Refuses a model that the machine has no memory for: the system would end the program, and say nothing.
fn check_memory(checkpoint: &Checkpoint, label: &str, precision: Precision) -> Result<(), EngineError> {
    let available = sysinfo::System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.available_memory()
    });
    let needed = (checkpoint.parameters() as f64 * precision.bytes_per_parameter()) as u64;
    // 0 where the system does not say.
    if available == 0 || needed <= available {
        return Ok(());
    }
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    Err(EngineError::failed(format!(
        "{label} takes about {} of memory in {}, and {} are free; choose a smaller number format (bf16 halves f32, q8_0 halves it \
         again), or ask a server",
        gigabytes(needed),
        precision.label(),
        gigabytes(available),
    )))
}

impl Engine for EmbeddedEngine {
    fn chats(&self) -> bool {
        self.loaded.as_ref().is_none_or(|loaded| loaded.text.chats())
    }

    fn identity(&self) -> String {
        self.options.identity()
    }

    fn load(&mut self, model: &ModelChoice, control: &Control) -> Result<(), EngineError> {
        // Its decoder holds weights that may have to go before others come.
        self.loaded = None;
        let weights = self.weights(model, control)?;
        let decoder = load_decoder(&weights, self.options.precision, &mut self.kept, &self.device, control)?;
        let text = TextModel::open(weights.checkpoint(), &decoder.config().end_tokens).map_err(EngineError::failed)?;
        self.loaded = Some(Loaded { decoder, text });
        Ok(())
    }

    fn generate(
        &mut self,
        requests: &[Request],
        control: &Control,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let loaded = self.loaded.as_ref().ok_or(EngineError::NothingLoaded)?;
        let limits = Limits { batch: self.options.batch, cache_bytes: self.options.cache_bytes };
        batch::answer(&loaded.decoder, &loaded.text, requests, limits, control, on_event)
    }

    fn log_likelihoods(
        &mut self,
        prompt: &Prompt,
        continuations: &[String],
        control: &Control,
    ) -> Result<Option<Vec<LogLikelihood>>, EngineError> {
        let loaded = self.loaded.as_ref().ok_or(EngineError::NothingLoaded)?;
        let day = Some(EVALUATION_DAY);
        let tokens = |more: &str| loaded.text.tokens(prompt, day, more).map_err(EngineError::failed);
        let alone = tokens("")?;
        let wholes: Vec<Vec<u32>> =
            continuations.iter().map(|continuation| tokens(continuation)).collect::<Result<_, _>>()?;
        // The last token of the prompt may have grown together with the first of the continuation.
        let shared_with = |whole: &[u32]| {
            let shared = alone.iter().zip(whole).take_while(|(a, b)| a == b).count();
            shared.min(whole.len().saturating_sub(1))
        };
        let longest = wholes.iter().map(Vec::len).max().unwrap_or(0);
        let shared_by_all = wholes.iter().map(|whole| shared_with(whole)).min().unwrap_or(1);
        if shared_by_all == 0 || longest > loaded.decoder.config().context {
            return Err(EngineError::failed("the prompt is empty, or longer than the model's context"));
        }
        // What all begin with is read once. Its last token says what comes first, and is read with each.
        let begun = shared_by_all - 1;
        let mut beginning = loaded.decoder.sequence(longest).map_err(failed)?;
        if begun > 0 {
            let mut steps = [Step { sequence: &mut beginning, tokens: &alone[..begun] }];
            loaded.decoder.forward(&mut steps, Wanted::Last).map_err(failed)?;
        }
        let mut found = Vec::with_capacity(continuations.len());
        for whole in wholes {
            control.check()?;
            let shared = shared_with(&whole);
            let mut sequence = beginning.fork(whole.len()).map_err(failed)?;
            let mut steps = [Step { sequence: &mut sequence, tokens: &whole[begun..whole.len() - 1] }];
            let logits = loaded.decoder.forward(&mut steps, Wanted::All).map_err(failed)?;
            let rows = logits.narrow(0, shared - 1 - begun, whole.len() - shared).map_err(failed)?;
            let rows = candle_nn::ops::log_softmax(&rows.to_dtype(DType::F32).map_err(failed)?, D::Minus1);
            let rows = rows.and_then(|rows| rows.to_vec2::<f32>()).map_err(failed)?;
            let each = rows.iter().zip(&whole[shared..]).map(|(row, token)| f64::from(row[*token as usize]));
            found.push(LogLikelihood { sum: each.sum(), tokens: whole.len() - shared });
        }
        Ok(Some(found))
    }
}
