//! From flags to an engine and to how it chooses tokens.

use mergescope_core::engine::{EmbeddedEngine, EmbeddedOptions, EngineError, Sampling};

use super::args::{EngineArgs, SamplingArgs};

/// Tokens of an answer where nobody says more.
pub const MAX_TOKENS: u32 = 512;

impl EngineArgs {
    /// The engine that is part of this program.
    pub fn embedded(&self) -> Result<EmbeddedEngine, EngineError> {
        let default = EmbeddedOptions::default();
        EmbeddedEngine::new(EmbeddedOptions {
            precision: self.precision.unwrap_or(default.precision),
            accelerator: self.device.unwrap_or(default.accelerator),
            batch: self.batch.map_or(default.batch, usize::from),
            ..default
        })
    }
}

impl SamplingArgs {
    /// What the flags say, over `default`.
    pub fn sampling(&self, default: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k: self.top_k.unwrap_or(default.top_k),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            seed: self.seed.unwrap_or(default.seed),
        }
    }
}
