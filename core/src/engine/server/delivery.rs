//! How w reaches a server: which weights answer from now on, and what requests must say for it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::Served;
use super::spec::Delivery;
use super::{Server, paths};
use crate::engine::{EngineError, ModelChoice};
use crate::hub;
use crate::progress::Control;
use crate::recipe::{Recipe, VectorSpec};

/// SGLang's answer to new weights.
#[derive(Deserialize)]
struct Updated {
    success: bool,
    #[serde(default)]
    message: String,
}

/// One of llama.cpp's adapters.
#[derive(Deserialize)]
struct LlamaCppAdapter {
    id: u32,
    #[serde(default)]
    path: String,
}

impl Server {
    /// Makes `model` the one that the server answers with.
    pub(super) fn deliver(&mut self, model: &ModelChoice, control: &Control) -> Result<Served, EngineError> {
        match self.link.spec.delivery {
            Delivery::AsLoaded => self.link.models(control).map(|_| self.as_it_is()),
            Delivery::Sglang => self.update_weights(model, control),
            Delivery::VllmLora => self.load_adapter(model, control),
            Delivery::LlamaCppLora => self.scale_adapter(model, control),
        }
    }

    /// What the server was started with.
    fn as_it_is(&self) -> Served {
        Served { model: self.model.clone(), extra: Map::new() }
    }

    /// SGLang: a whole model in the place of the one before.
    fn update_weights(&mut self, model: &ModelChoice, control: &Control) -> Result<Served, EngineError> {
        let path = match model {
            ModelChoice::Merged(recipe) => self.prepared(recipe, control)?,
            ModelChoice::Alone(name) => {
                let folder = hub::resolve(name);
                // What is not here may yet be in the server's own cache.
                let elsewhere = hub::is_hub_id(name) && !folder.exists();
                match paths::on_server(&folder, &self.link.spec.paths) {
                    _ if elsewhere => name.clone(),
                    Ok(path) => path,
                    // Where the server cannot reach it, a copy goes where merges go: with nothing added it is the same model.
                    Err(_) => self.prepared(&alone(&self.recipe, name), control)?,
                }
            }
        };
        // Cached prefixes were computed with the weights before.
        let body = json!({ "model_path": path, "flush_cache": true });
        let updated: Updated =
            self.link.change("/update_weights_from_disk", &body, control, |client, call| client.json(call))?;
        if !updated.success {
            let said = self.link.client.clean(&updated.message);
            return Err(EngineError::failed(format!("SGLang did not take the weights in {path}: {said}")));
        }
        Ok(self.as_it_is())
    }

    /// vLLM: an adapter in the place of the one before; none at w = 0.
    fn load_adapter(&mut self, model: &ModelChoice, control: &Control) -> Result<Served, EngineError> {
        self.unload_adapter(control)?;
        let Some(recipe) = self.beside_target(model)? else {
            self.link.models(control)?;
            return Ok(self.as_it_is());
        };
        let recipe = recipe.clone();
        let path = self.prepared(&recipe, control)?;
        // A name that came before can be answered from prefixes cached for the adapter that had it (vLLM #42125).
        self.adapters_loaded += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("mergescope-{now:x}-{}-{}", std::process::id(), self.adapters_loaded);
        let body = json!({ "lora_name": name, "lora_path": path });
        self.link.change("/v1/load_lora_adapter", &body, control, |client, call| client.send(call).map(|_| ()))?;
        self.adapter = Some(name.clone());
        Ok(Served { model: name, extra: Map::new() })
    }

    /// Frees vLLM of the adapter that was loaded last. That it cannot be is no harm but its memory: no other has its name.
    pub(super) fn unload_adapter(&mut self, control: &Control) -> Result<(), EngineError> {
        if let Some(name) = self.adapter.take() {
            let body = json!({ "lora_name": name });
            let unloaded = self
                .link
                .change("/v1/unload_lora_adapter", &body, control, |client, call| client.send(call).map(|_| ()));
            if let Err(error @ EngineError::Cancelled(_)) = unloaded {
                self.adapter = Some(name);
                return Err(error);
            }
        }
        Ok(())
    }

    /// llama.cpp: the adapter that it was started with, scaled by w in each request, and by 0 for the target alone: what a
    /// request leaves out has the scale that the server was started with.
    fn scale_adapter(&mut self, model: &ModelChoice, control: &Control) -> Result<Served, EngineError> {
        let w = match self.beside_target(model)? {
            Some(recipe) => self.scale_of(recipe)?,
            None => 0.0,
        };
        let id = self.link.spec.lora_id;
        let adapters: Vec<LlamaCppAdapter> = self.link.question("/lora-adapters", control)?;
        if !adapters.iter().any(|adapter| adapter.id == id) {
            let has =
                adapters.iter().map(|adapter| format!("{} ({})", adapter.id, self.link.client.clean(&adapter.path)));
            let has = if adapters.is_empty() { "none".to_owned() } else { has.collect::<Vec<_>>().join(", ") };
            return Err(EngineError::failed(format!(
                "the server has no adapter with the number {id} (lora_id); it has: {has}; start it with `--lora` and the adapter as GGUF"
            )));
        }
        let mut extra = Map::new();
        extra.insert("lora".to_owned(), json!([{ "id": id, "scale": w }]));
        // What is cached of a prompt was computed at another w.
        extra.insert("cache_prompt".to_owned(), Value::Bool(false));
        Ok(Served { model: self.model.clone(), extra })
    }

    /// w of a recipe that the adapter in llama.cpp stands for.
    fn scale_of(&self, recipe: &Recipe) -> Result<f64, EngineError> {
        if !recipe.is_plain() || recipe.vector.control.is_some() {
            return Err(EngineError::failed(
                "an adapter in llama.cpp holds one vector as it is; for several vectors, other methods and controls use SGLang or the decoder of this program",
            ));
        }
        let same = Recipe {
            vector: VectorSpec { w: self.recipe.vector.w, ..recipe.vector.clone() },
            output: self.recipe.output.clone(),
            adapter: self.recipe.adapter.clone(),
            inputs: self.recipe.inputs.clone(),
            ..recipe.clone()
        };
        if same != self.recipe {
            return Err(EngineError::failed(
                "the adapter in llama.cpp holds the vector of the recipe that is evaluated; this is another, with other models or another curve, for which the server would have to be started anew",
            ));
        }
        if !recipe.vector.w.is_finite() {
            return Err(EngineError::failed(format!("w is {}; it must be a number", recipe.vector.w)));
        }
        Ok(recipe.vector.w)
    }

    /// What is added to the target that the server was started with, or nothing. Refuses every other model.
    fn beside_target<'a>(&self, model: &'a ModelChoice) -> Result<Option<&'a Recipe>, EngineError> {
        let (name, recipe) = match model {
            ModelChoice::Alone(name) => (name, None),
            ModelChoice::Merged(recipe) => (&recipe.target, Some(recipe.as_ref())),
        };
        if !is_same_model(name, &self.recipe.target) {
            return Err(EngineError::failed(format!(
                "a server with an adapter can answer for its target {} alone, at any w, and not for {name}; start a server with that model and evaluate it as loaded",
                self.recipe.target
            )));
        }
        let adds = |recipe: &&Recipe| recipe.vector.w != 0.0 || recipe.others.iter().any(|vector| vector.w != 0.0);
        Ok(recipe.filter(adds))
    }

    /// The folder that the caller has for a recipe, as the server names it.
    fn prepared(&mut self, recipe: &Recipe, control: &Control) -> Result<String, EngineError> {
        let folder = (self.prepare)(recipe, control)?;
        control.check()?;
        paths::on_server(&folder, &self.link.spec.paths)
    }
}

/// The recipe that adds nothing to the model of that name, which has the shape of the others.
fn alone(recipe: &Recipe, name: &str) -> Recipe {
    let mut alone = Recipe { target: name.to_owned(), adapter: None, inputs: None, ..recipe.clone() };
    for vector in alone.vectors_mut() {
        (vector.w, vector.control) = (0.0, None);
    }
    alone
}

/// Whether two names in recipes are of one model.
fn is_same_model(one: &str, other: &str) -> bool {
    let folder = |name: &str| {
        let path = hub::resolve(name);
        path.canonicalize().unwrap_or(path)
    };
    one == other || folder(one) == folder(other)
}
