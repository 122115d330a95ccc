//! From flags to a server that answers.

use std::path::Path;

use anyhow::anyhow;
use mergescope_core::engine::Engine;
use mergescope_core::engine::server::{Delivery, KeyVariable, Server, ServerSpec, ServerUrl};
use mergescope_core::error::chain;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;

use super::args::{EngineArgs, ServerArgs};
use crate::served::{self, Reach};

/// The engine that the flags ask for: a server, or the one that is part of this program. `folder` is where folders for a
/// server go, if the flags do not say.
pub fn engine(
    engine: &EngineArgs,
    server: &ServerArgs,
    recipe: &Recipe,
    folder: &Path,
    control: &Control,
) -> anyhow::Result<Box<dyn Engine>> {
    let Some(spec) = server.spec()? else { return Ok(Box::new(engine.embedded()?)) };
    let folder = server.server_folder.clone().unwrap_or_else(|| folder.to_owned());
    let prepare = served::prepare(spec.delivery, folder);
    Ok(Box::new(Server::connect(spec, recipe.clone(), prepare, control)?))
}

/// Settings by the names that the engine has for them, and the flags that they are here.
const FLAGS: [(&str, &str); 4] = [
    ("or name the one to ask", "or name one with --server-model"),
    ("name the environment variable that holds its key", "name the variable that holds its key with --server-key-env"),
    ("told to be the question; choose it among", "told to be the question; name it with --question-field, one of"),
    ("told to be the answer; choose it among", "told to be the answer; name it with --answer-field, one of"),
];

/// A message in which settings have the names of flags.
pub fn in_flags(message: &str) -> String {
    FLAGS.iter().fold(message.to_owned(), |message, (setting, flag)| message.replace(setting, flag))
}

/// The same for an error; one that names no setting stays what it is.
pub fn error_in_flags(error: anyhow::Error) -> anyhow::Error {
    let message = chain(error.as_ref());
    let told = in_flags(&message);
    if told == message { error } else { anyhow!(told) }
}

impl ServerArgs {
    /// Whether a server answers with whatever somebody has loaded there.
    pub fn is_as_loaded(&self) -> bool {
        self.server.is_some() && self.server_delivery.unwrap_or_default() == Delivery::AsLoaded
    }

    /// Which models of a sweep can answer. Of a server as it was loaded `--only` says which w that is.
    pub fn reach(&self) -> Reach {
        let delivery = self.server_delivery.unwrap_or_default();
        if self.server.is_none() || delivery == Delivery::AsLoaded {
            return Reach::All;
        }
        Reach::of(delivery, 0.0)
    }

    /// What the flags say of a server; `None` where they name none.
    pub fn spec(&self) -> anyhow::Result<Option<ServerSpec>> {
        let Some(url) = &self.server else { return Ok(None) };
        let mut spec = ServerSpec::new(ServerUrl::parse(url)?);
        spec.model.clone_from(&self.server_model);
        spec.key_env = self.server_key_env.as_deref().map(KeyVariable::parse).transpose()?;
        spec.delivery = self.server_delivery.unwrap_or_default();
        spec.lora_id = self.server_lora_id.unwrap_or(spec.lora_id);
        spec.concurrency = self.server_concurrency.map_or(spec.concurrency, usize::from);
        spec.idle_timeout_secs = self.server_timeout.unwrap_or(spec.idle_timeout_secs);
        spec.paths.extend(self.server_path.iter().cloned());
        spec.check()?;
        Ok(Some(spec))
    }
}
