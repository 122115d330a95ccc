//! What the window asks of the engine, behind a trait so that tests can be slow or fail on purpose.

use std::path::{Path, PathBuf};

use mergescope_core::adapter::{self, AdapterError, AdapterPlan, AdapterReport};
use mergescope_core::alignment::{Alignment, Models, Triple, VectorPair};
use mergescope_core::analysis::{
    self, AnalysisCache, LayerProducts, LayerProductsError, Spectrum, SpectrumError, VectorAnalysis,
};
use mergescope_core::checkpoint::{Checkpoint, OpenError};
use mergescope_core::engine::server::{self, Server, ServerSpec};
use mergescope_core::engine::{self, EmbeddedEngine, EmbeddedOptions, EngineError};
use mergescope_core::hub::{self, CachedModel, Download, Hub, HubError, HubName};
use mergescope_core::merge::{self, MergeError, MergeReport, Plan, PlanError, SavedVector};
use mergescope_core::preflight::{self, Preflight, PreflightError};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{OutputDtype, Recipe};
use mergescope_core::stream::{Resources, StreamError};

use crate::past::PastMerges;
use crate::served;

/// Which engine answers prompts.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineChoice {
    /// The decoder that is part of this program.
    Embedded(EmbeddedOptions),
    /// A server.
    Server(Box<ServerChoice>),
}

/// A server, and what it is to answer for.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerChoice {
    /// Where it is and how it is asked; with the name of a model there.
    pub spec: ServerSpec,
    /// What is tried or evaluated, at w = 0: models alone answer elsewhere where they are others.
    pub recipe: Recipe,
    /// Where merges and adapters are written for it.
    pub folder: PathBuf,
}

impl EngineChoice {
    /// How many answers it makes at the same time.
    pub fn at_once(&self) -> usize {
        match self {
            Self::Embedded(options) => options.batch,
            Self::Server(server) => server.spec.concurrency,
        }
    }

    /// What numbers depend on beside the weights, as [`engine::Engine::identity`] will say it. Nobody is asked for it.
    pub fn identity(&self) -> String {
        match self {
            Self::Embedded(options) => options.identity(),
            Self::Server(server) => server.spec.identity(server.spec.model.as_deref().unwrap_or_default()),
        }
    }
}

impl Default for EngineChoice {
    /// The decoder, as it comes.
    fn default() -> Self {
        Self::Embedded(EmbeddedOptions::default())
    }
}

/// The work that the window starts. Every method but those that plan may take long and runs off the window's thread.
pub trait Engine: Send + Sync {
    /// Opens the model that a person's words stand for.
    fn open(&self, spec: &str) -> Result<Checkpoint, OpenError> {
        Checkpoint::open(&hub::resolve(spec))
    }

    /// Says whether three models fit together.
    fn preflight(&self, triple: &Triple, control: &Control) -> Result<Preflight, PreflightError> {
        preflight::preflight(triple, control)
    }

    /// Measures the vector.
    fn measure(
        &self,
        triple: &Triple,
        alignment: &Alignment,
        control: &Control,
    ) -> Result<VectorAnalysis, StreamError> {
        let resources = self.resources();
        match self.cache() {
            Some(cache) => cache.measure(triple, alignment, &resources, control),
            None => analysis::measure(triple, alignment, &resources, control),
        }
    }

    /// Compares v between the layers.
    fn layer_products(
        &self,
        triple: &Triple,
        alignment: &Alignment,
        control: &Control,
    ) -> Result<LayerProducts, LayerProductsError> {
        let resources = self.resources();
        match self.cache() {
            Some(cache) => cache.layer_products(triple, alignment, &resources, control),
            None => analysis::layer_products(triple, alignment, &resources, control),
        }
    }

    /// Measures the singular values of v of one tensor, by its name in the target.
    fn spectrum(
        &self,
        triple: &Triple,
        alignment: &Alignment,
        name: &str,
        control: &Control,
    ) -> Result<Spectrum, SpectrumError> {
        analysis::spectrum(triple, alignment, name, &self.resources(), control)
    }

    /// Where measurements are kept between sessions; `None` to measure anew each time.
    fn cache(&self) -> Option<AnalysisCache> {
        AnalysisCache::user()
    }

    /// Plans the output from headers alone, or says why this recipe cannot be merged.
    fn plan(&self, models: &Models, recipe: &Recipe) -> Result<Plan, PlanError> {
        merge::plan(models, recipe)
    }

    /// Writes the merged model.
    fn merge(&self, recipe: &Recipe, output: &Path, control: &Control) -> Result<MergeReport, MergeError> {
        merge::merge(recipe, output, &self.resources(), control)
    }

    /// Plans an adapter from headers alone, or says why this recipe has none.
    fn plan_adapter(&self, triple: &Triple, recipe: &Recipe) -> Result<AdapterPlan, AdapterError> {
        adapter::plan(triple, recipe)
    }

    /// Writes w·v as an adapter.
    fn export_adapter(&self, recipe: &Recipe, output: &Path, control: &Control) -> Result<AdapterReport, AdapterError> {
        adapter::export(recipe, output, &self.resources(), control)
    }

    /// Writes a vector, whose models have those names.
    fn save_vector(
        &self,
        pair: &VectorPair,
        names: [&str; 2],
        dtype: OutputDtype,
        output: &Path,
        control: &Control,
    ) -> Result<SavedVector, MergeError> {
        merge::save_vector(pair, names, dtype, output, &self.resources(), control)
    }

    /// What answers prompts. It is asked for on the thread that will own it, once for each choice.
    fn answering(&self, choice: &EngineChoice, control: &Control) -> Result<Box<dyn engine::Engine>, EngineError> {
        Ok(match choice {
            EngineChoice::Embedded(options) => Box::new(EmbeddedEngine::new(*options)?),
            EngineChoice::Server(choice) => {
                let ServerChoice { spec, recipe, folder } = (**choice).clone();
                let prepare = served::prepare(spec.delivery, folder);
                Box::new(Server::connect(spec, recipe, prepare, control)?)
            }
        })
    }

    /// The names of the models that a server has.
    fn model_names(&self, spec: ServerSpec, control: &Control) -> Result<Vec<String>, EngineError> {
        server::model_names(spec, control)
    }

    /// Whether a model has a chat template.
    fn has_chat_template(&self, model: &Checkpoint) -> bool {
        engine::has_chat_template(model)
    }

    /// Where merges are remembered; `None` to remember none.
    fn past(&self) -> Option<PastMerges> {
        None
    }

    /// The folder below which answers of sweeps are kept; `None` where there is none.
    fn sweeps(&self) -> Option<PathBuf> {
        None
    }

    /// Models in the local Hub cache.
    fn cached_models(&self) -> Vec<CachedModel> {
        hub::cache_dir().map(|cache| hub::cached_models(&cache)).unwrap_or_default()
    }

    /// The model on the Hub that a person's words stand for, where they stand for nothing on this computer.
    fn absent(&self, spec: &str) -> Option<HubName> {
        hub::absent(spec)
    }

    /// Asks the Hub what a model is made of.
    fn look(&self, name: &HubName, control: &Control) -> Result<Download, HubError> {
        Hub::of_process()?.look(name, control)
    }

    /// Downloads a model into the cache.
    fn fetch(&self, download: &Download, control: &Control) -> Result<PathBuf, HubError> {
        Hub::of_process()?.fetch(download, control)
    }

    /// Free bytes on the disk that holds `folder`, or the nearest folder above it that exists.
    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        folder.ancestors().find(|ancestor| ancestor.is_dir()).and_then(|existing| fs4::available_space(existing).ok())
    }

    /// Threads and memory that the work may use.
    fn resources(&self) -> Resources {
        Resources::default()
    }
}

/// The engine as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreEngine;

impl Engine for CoreEngine {
    fn past(&self) -> Option<PastMerges> {
        PastMerges::of_user()
    }

    fn sweeps(&self) -> Option<PathBuf> {
        eframe::storage_dir("mergescope").map(|folder| folder.join("sweeps"))
    }
}
