//! An engine whose answers are the same on every computer and in every run.

use std::path::Path;
use std::time::Duration;

use mergescope::window::engine::{CoreEngine, Engine};
use mergescope_core::adapter::{AdapterError, AdapterReport};
use mergescope_core::alignment::{Alignment, Triple as Models};
use mergescope_core::analysis::{AnalysisCache, VectorAnalysis};
use mergescope_core::hub::{CachedModel, Download, Hub, HubError, HubName, RemoteFile};
use mergescope_core::merge::{MergeError, MergeReport};
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::{Resources, StreamError};

/// The engine with everything that differs from one computer or run to the next held still.
#[derive(Default)]
pub struct StillEngine {
    /// The stage in which a merge stops at seven tenths until it is cancelled.
    pub halts: Option<Stage>,
    /// Who is asked for models that are not here.
    pub hub: Option<Hub>,
    /// Where answers are kept.
    pub sweeps: Option<std::path::PathBuf>,
}

impl Engine for StillEngine {
    fn measure(
        &self,
        triple: &Models,
        alignment: &Alignment,
        control: &Control,
    ) -> Result<VectorAnalysis, StreamError> {
        let mut analysis = CoreEngine.measure(triple, alignment, control)?;
        analysis.elapsed = Duration::from_millis(200);
        Ok(analysis)
    }

    fn merge(&self, recipe: &Recipe, output: &Path, control: &Control) -> Result<MergeReport, MergeError> {
        if let Some(stage) = self.halts {
            control.begin(stage, 2_460_000);
            std::thread::sleep(Duration::from_millis(50));
            control.advance(1_750_000, Some(16));
            while !control.is_cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let mut report = CoreEngine.merge(recipe, output, control)?;
        report.elapsed = Duration::from_millis(300);
        Ok(report)
    }

    fn export_adapter(&self, recipe: &Recipe, output: &Path, control: &Control) -> Result<AdapterReport, AdapterError> {
        let mut report = CoreEngine.export_adapter(recipe, output, control)?;
        report.elapsed = Duration::from_millis(900);
        Ok(report)
    }

    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn cached_models(&self) -> Vec<CachedModel> {
        Vec::new()
    }

    fn absent(&self, spec: &str) -> Option<HubName> {
        self.hub.as_ref().and_then(|_| spec.parse().ok())
    }

    /// What a Hub says that has a small model for any name, told as if it were a large one of the real Hub.
    fn look(&self, name: &HubName, control: &Control) -> Result<Download, HubError> {
        let mut download = self.hub.as_ref().unwrap().look(&"org/name".parse().unwrap(), control)?;
        (download.name, download.host) = (name.clone(), "huggingface.co".to_owned());
        (download.cache, download.free_bytes) = ("/data/huggingface/hub".into(), self.free_bytes(Path::new("/")));
        let shard = download.files.remove(1);
        let shards = (1..=14).map(|number| {
            let mut file: RemoteFile = shard.clone();
            file.path = format!("model-{number:05}-of-00014.safetensors");
            file.bytes = if number == 14 { 2_123_983_264 } else { 4_876_059_352 };
            file.present_bytes = if number < 3 { file.bytes } else { 0 };
            file
        });
        download.files.splice(1..1, shards);
        Ok(download)
    }

    fn sweeps(&self) -> Option<std::path::PathBuf> {
        self.sweeps.clone()
    }

    fn free_bytes(&self, _folder: &Path) -> Option<u64> {
        Some(79_400_000_000)
    }

    fn resources(&self) -> Resources {
        Resources { threads: 2, memory_bytes: 256 << 20, ..Resources::default() }
    }
}
