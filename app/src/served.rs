//! What a server can answer for, and what is written for it to load: a merge or an adapter for each w.

use std::path::PathBuf;

use mergescope_core::adapter;
use mergescope_core::alignment::Role;
use mergescope_core::engine::EngineError;
use mergescope_core::engine::server::{Delivery, Prepare};
use mergescope_core::error::chain;
use mergescope_core::evaluate::sweep::{ArmModel, SweepSpec};
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;

use crate::format;

/// Which models of a sweep whatever answers can answer for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reach {
    /// All.
    #[default]
    All,
    /// The one that somebody has loaded on a server, at this w.
    Loaded(f64),
    /// The target with the vector at any w: a server with an adapter.
    Target,
}

impl Reach {
    /// That of a server that has `loaded_w` loaded, where that is all it answers with.
    pub fn of(delivery: Delivery, loaded_w: f64) -> Self {
        match delivery {
            Delivery::AsLoaded => Self::Loaded(loaded_w),
            Delivery::Sglang => Self::All,
            Delivery::VllmLora | Delivery::LlamaCppLora => Self::Target,
        }
    }

    /// Whether a model is among them.
    pub fn has(self, model: ArmModel) -> bool {
        match (self, model) {
            (Self::All, _) | (Self::Target, ArmModel::W(_) | ArmModel::Reference(Role::Target)) => true,
            (Self::Loaded(loaded), ArmModel::W(w)) => loaded == w,
            _ => false,
        }
    }

    /// What of a sweep is left out for that, in words; `None` where nothing is.
    pub fn left_out(self, spec: &SweepSpec) -> Option<String> {
        let mut names: Vec<String> =
            spec.references.iter().filter(|role| **role != Role::Target).map(|role| role.label().to_owned()).collect();
        names.extend((!spec.controls.is_empty()).then(|| "controls".to_owned()));
        match self {
            Self::Target if !names.is_empty() => Some(format!(
                "{} left out: a server with an adapter answers for its target alone, at any w",
                format::sentence(&format::list(names.iter().map(String::as_str)))
            )),
            Self::Loaded(w) => Some(format!(
                "Only w = {} is asked, which the server has loaded; load another there and say so to go on",
                format::w(w)
            )),
            _ => None,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use mergescope_core::evaluate::sweep::ControlArm;
    use mergescope_core::recipe::ControlKind;

    use super::*;

    #[test]
    fn an_adapter_reaches_its_target_at_every_w_and_nothing_else() {
        let reach = Reach::of(Delivery::LlamaCppLora, 0.0);
        assert!(reach.has(ArmModel::W(0.5)) && !reach.has(ArmModel::Reference(Role::Post)));
        let control = ControlArm { kind: ControlKind::Noise, seed: 0 };
        assert!(!reach.has(ArmModel::Control(control, 0.5)));
        let spec = SweepSpec { references: vec![Role::Post], controls: vec![control], ..SweepSpec::default() };
        assert!(reach.left_out(&spec).is_some_and(|words| words.starts_with("Post and controls left out")));
        assert_eq!(reach.left_out(&SweepSpec { references: Vec::new(), ..SweepSpec::default() }), None);
        assert_eq!(Reach::of(Delivery::Sglang, 0.0).left_out(&spec), None);
    }

    #[test]
    fn what_is_loaded_is_one_w() {
        let reach = Reach::of(Delivery::AsLoaded, 0.5);
        assert!(reach.has(ArmModel::W(0.5)) && !reach.has(ArmModel::W(0.0)));
        assert!(reach.left_out(&SweepSpec::default()).is_some_and(|words| words.contains("w = 0.50")));
    }
}
