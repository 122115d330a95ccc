//! What is written for a server to load: a merge or an adapter for each w.

use std::path::PathBuf;

use mergescope_core::adapter;
use mergescope_core::engine::EngineError;
use mergescope_core::engine::server::{Delivery, Prepare};
use mergescope_core::error::chain;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;

use crate::format;

/// Writes what a server is to load into `folder`, one folder for each recipe; one that is there already is taken as it is.
pub fn prepare(delivery: Delivery, folder: PathBuf) -> Prepare {
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
                    .map_err(|error| EngineError::failed(chain(&error)))?;
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
