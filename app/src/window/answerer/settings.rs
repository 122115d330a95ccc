//! The choice of what answers, as it is kept.

use std::path::PathBuf;

use mergescope_core::engine::server::{Delivery, ServerSpec};
use mergescope_core::engine::{Accelerator, EmbeddedOptions, Precision};
use mergescope_core::recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::format;
use crate::served::Reach;
use crate::window::engine::{EngineChoice, ServerChoice};

/// Who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The decoder that is part of this program.
    #[default]
    Program,
    /// A server.
    Server,
}

/// Who answers, and how; what was said of the one stays while the other answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswererSettings {
    /// Who answers. A server that was never set up does not.
    pub by: By,
    /// The number format of weights in memory.
    pub precision: Precision,
    /// What the decoder runs on.
    pub accelerator: Accelerator,
    /// The server that was set up last.
    pub server: Option<ServerSettings>,
}

/// A server, and what is done for it on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSettings {
    /// Where it is and how it is asked; its model has a name.
    pub spec: ServerSpec,
    /// The w of the model that somebody has loaded there, where nothing else is delivered.
    pub loaded_w: f64,
    /// Where merges and adapters are written for it.
    pub folder: PathBuf,
}

impl ServerSettings {
    /// The model's name on the server.
    pub fn model(&self) -> &str {
        self.spec.model.as_deref().unwrap_or_default()
    }

    /// What becomes of w, in a sentence.
    pub fn delivery_words(&self) -> String {
        match self.spec.delivery {
            Delivery::AsLoaded => "The server answers with what it has loaded: no w reaches it.".to_owned(),
            Delivery::Sglang => {
                let folder = format::path(&self.folder);
                format!("A merge for each w is written to {folder}, loaded by SGLang, and stays there.")
            }
            Delivery::VllmLora => {
                let folder = format::path(&self.folder);
                format!(
                    "An adapter for each w is written to {folder}, loaded by vLLM, and stays there. An adapter approximates the \
                     merge."
                )
            }
            Delivery::LlamaCppLora => {
                "llama.cpp scales the adapter that it was started with by w. An adapter approximates the merge."
                    .to_owned()
            }
        }
    }
}

impl AnswererSettings {
    /// The server, where one answers.
    pub fn server(&self) -> Option<&ServerSettings> {
        self.server.as_ref().filter(|_| self.by == By::Server)
    }

    /// The w of the model that somebody has loaded on the server, where no other reaches it.
    pub fn loaded_w(&self) -> Option<f64> {
        let server = self.server().filter(|server| server.spec.delivery == Delivery::AsLoaded)?;
        Some(server.loaded_w)
    }

    /// Which models of a sweep it can answer for.
    pub fn reach(&self) -> Reach {
        self.server().map_or(Reach::All, |server| Reach::of(server.spec.delivery, server.loaded_w))
    }

    /// What answers for `recipe`, whatever its w.
    pub fn choice(&self, recipe: &Recipe) -> EngineChoice {
        let Some(server) = self.server() else {
            let (precision, accelerator) = (self.precision, self.accelerator);
            return EngineChoice::Embedded(EmbeddedOptions { precision, accelerator, ..EmbeddedOptions::default() });
        };
        // What says nothing about who answers must not make another engine of it.
        let mut recipe = Recipe { inputs: None, adapter: None, ..recipe.clone() };
        recipe.vectors_mut().for_each(|vector| vector.w = 0.0);
        EngineChoice::Server(Box::new(ServerChoice {
            spec: server.spec.clone(),
            recipe,
            folder: server.folder.clone(),
        }))
    }

    /// What has to be known of its answers, in a few words: that they are a preview. `None` for all else.
    pub fn remark(&self) -> Option<&'static str> {
        (self.server().is_none() && self.precision == Precision::Q8_0)
            .then_some("Weights in 8 bits: a fast preview, which can hide a small step in w.")
    }

    /// What it is called: `f32`, `bf16 on cuda`, `localhost:8000`.
    pub fn name(&self) -> String {
        match self.server() {
            Some(server) => server.spec.url.host().to_owned(),
            None if self.accelerator == Accelerator::Cpu => self.precision.label().to_owned(),
            None => format!("{} on {}", self.precision.label(), self.accelerator.label()),
        }
    }

    /// Whether it is something else than what comes with the program.
    pub fn is_set_apart(&self) -> bool {
        self.by != By::default() || self.precision != Precision::default() || self.accelerator != Accelerator::default()
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::engine::server::ServerUrl;

    use super::*;

    fn with_server(delivery: Delivery) -> AnswererSettings {
        let mut spec = ServerSpec::new(ServerUrl::parse("localhost:8000").unwrap());
        (spec.model, spec.delivery) = (Some("m".to_owned()), delivery);
        let server = ServerSettings { spec, loaded_w: 0.5, folder: "/served".into() };
        AnswererSettings { by: By::Server, server: Some(server), ..AnswererSettings::default() }
    }

    #[test]
    fn a_moved_w_leaves_the_engine_in_its_place_and_another_curve_does_not() {
        let mut recipe = Recipe::new("pre", "post", "target");
        let settings = with_server(Delivery::LlamaCppLora);
        let before = settings.choice(&recipe);
        recipe.vector.w = 0.75;
        assert_eq!(settings.choice(&recipe), before);
        recipe.target = "other".to_owned();
        assert_ne!(settings.choice(&recipe), before);
    }

    #[test]
    fn a_server_that_is_set_up_but_not_chosen_does_not_answer() {
        let mut settings = with_server(Delivery::AsLoaded);
        assert_eq!((settings.loaded_w(), settings.name()), (Some(0.5), "localhost:8000".to_owned()));
        settings.by = By::Program;
        settings.precision = Precision::Bf16;
        assert_eq!((settings.loaded_w(), settings.name()), (None, "bf16".to_owned()));
        assert_eq!(settings.choice(&Recipe::new("a", "b", "c")).identity(), "embedded bf16");
        assert_eq!(with_server(Delivery::Sglang).loaded_w(), None);
    }

    #[test]
    fn the_identity_is_the_one_that_a_server_gives_itself() {
        let identity = |delivery| with_server(delivery).choice(&Recipe::new("a", "b", "c")).identity();
        assert_eq!(identity(Delivery::Sglang), "server http://localhost:8000 m");
        assert_eq!(identity(Delivery::VllmLora), "server http://localhost:8000 m, adapter in vLLM");
    }
}
