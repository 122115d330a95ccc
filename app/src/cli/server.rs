//! From flags to a server that answers, and the folders that it is to load.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mergescope_core::adapter;
use mergescope_core::engine::server::{Delivery, KeyVariable, PathMapping, Prepare, Server, ServerSpec, ServerUrl};
use mergescope_core::engine::{Engine, EngineError};
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;

use super::args::{EngineArgs, ServerArgs};
use crate::format;

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
    let prepare = prepare(spec.delivery, folder);
    Ok(Box::new(Server::connect(spec, recipe.clone(), prepare, control)?))
}

impl ServerArgs {
    /// What the flags say of a server; `None` where they name none.
    fn spec(&self) -> anyhow::Result<Option<ServerSpec>> {
        let Some(url) = &self.server else { return Ok(None) };
        let mut spec = ServerSpec::new(ServerUrl::parse(url)?);
        spec.model.clone_from(&self.server_model);
        spec.key_env = self.server_key_env.as_deref().map(KeyVariable::parse).transpose()?;
        spec.delivery = self.server_delivery.unwrap_or_default();
        spec.lora_id = self.server_lora_id.unwrap_or(spec.lora_id);
        spec.concurrency = self.server_concurrency.unwrap_or(spec.concurrency);
        spec.idle_timeout_secs = self.server_timeout.unwrap_or(spec.idle_timeout_secs);
        for mapping in &self.server_path {
            let (local, there) =
                mapping.split_once('=').with_context(|| format!("--server-path {mapping}: write it as LOCAL=THERE"))?;
            spec.paths.push(PathMapping { local: PathBuf::from(local), server: there.to_owned() });
        }
        spec.check()?;
        Ok(Some(spec))
    }
}

/// Writes what a server is to load, one folder for each recipe; one that is there already is taken as it is.
fn prepare(delivery: Delivery, folder: PathBuf) -> Prepare {
    Box::new(move |recipe: &Recipe, control: &Control| {
        let failed =
            |source: std::io::Error| EngineError::caused(format!("{} cannot be made", folder.display()), source);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let place = folder.join(folder_name(delivery, recipe));
        if place.exists() {
            return Ok(place);
        }
        match delivery {
            Delivery::VllmLora => {
                adapter::export(recipe, &place, &Resources::default(), control)
                    .map_err(|error| EngineError::failed(mergescope_core::error::chain(&error)))?;
            }
            _ => {
                merge(recipe, &place, &Resources::default(), control)?;
            }
        }
        Ok(place)
    })
}

/// A name that tells one recipe from every other.
fn folder_name(delivery: Delivery, recipe: &Recipe) -> String {
    let hash = format::short_hash(&format!("{recipe:?}"));
    let kind = if delivery == Delivery::VllmLora { "adapter" } else { "merged" };
    format!("{kind}-w{}-{hash}", format::w_in_name(recipe.vector.w))
}
