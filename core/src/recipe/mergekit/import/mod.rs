//! From a merge file to a recipe.

mod output;
mod readings;
mod settings;

use std::path::Path;

use super::experts::{are_stacked, by_whole_tensors};
use super::schema::{Config, Input, Inputs, ModelRef, Slice, Unknown};
use super::yaml::{self, Scalar, Spot, shortened};
use super::{MergekitError, ModelFacts, NotCarried};
use crate::hub;
use crate::recipe::nearest::did_you_mean;
use crate::recipe::{Method, Recipe};

/// A merge file as a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The recipe, without what could not be carried over.
    pub recipe: Recipe,
    /// How the file was understood where it could be understood in several ways, and what has no effect.
    pub notes: Vec<String>,
    /// What the recipe does not say. Where there is any, the recipe gives another model.
    pub not_carried: Vec<NotCarried>,
}

/// Methods of mergekit 0.1.5 that a recipe does not have.
const FOREIGN_METHODS: [&str; 7] =
    ["passthrough", "multislerp", "karcher", "nearswap", "arcee_fusion", "ram", "ramplus_tl"];

/// Reads a merge file. Paths of models that are not absolute are relative to `folder`; `facts` says what is known of a model.
pub fn import(
    text: &str,
    folder: &Path,
    facts: &dyn Fn(&str) -> Option<ModelFacts>,
) -> Result<Imported, MergekitError> {
    read(text, folder, facts).map_err(|error| match is_recipe(text) {
        true => {
            MergekitError::anywhere("this is a recipe in TOML and no merge file; give it a name that ends in .toml")
        }
        false => error,
    })
}

/// Whether lines of a text are those of a recipe.
fn is_recipe(text: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("version").is_some_and(|rest| rest.trim_start().starts_with('='))
            || matches!(line.trim(), "[vector]" | "[[vector]]")
    })
}

fn read(text: &str, folder: &Path, facts: &dyn Fn(&str) -> Option<ModelFacts>) -> Result<Imported, MergekitError> {
    let config = Config::read(yaml::parse(text)?)?;
    let method = method(&config.method)?;
    let mut import = Import {
        config,
        method,
        folder,
        models: Vec::new(),
        layers: None,
        facts: None,
        spelt_out: None,
        notes: Vec::new(),
        not_carried: Vec::new(),
    };
    import.not_carried.extend(import.config.unknown.iter().map(Unknown::lost));
    import.collect_models()?;
    let base = import.config.base.clone().or_else(|| import.models.first().map(|model| model.reference.clone()));
    if let Some(base) = base {
        import.look_up(&base, facts)?;
    }
    import.check_parameters();
    let mut recipe = import.recipe()?;
    import.check_experts(&recipe);
    import.output(&mut recipe, facts)?;
    import.surroundings(&recipe);
    Ok(Imported { recipe, notes: import.notes, not_carried: import.not_carried })
}

fn method(word: &Scalar) -> Result<Method, MergekitError> {
    let name = word.text.as_str();
    let carried = || Method::ALL.into_iter().filter(|method| *method != Method::Trim);
    if let Some(method) = carried().find(|method| method.label() == name) {
        return Ok(method);
    }
    let names: Vec<&str> = carried().map(Method::label).collect();
    let message = if name == "passthrough" {
        "passthrough stacks layers of models into one of another depth; a recipe gives a model of the target's shape"
            .to_owned()
    } else if FOREIGN_METHODS.contains(&name) {
        format!("Mergescope does not have mergekit's method {name}; it has {}", names.join(", "))
    } else {
        let meant = did_you_mean(name, names.iter().copied());
        format!("`{}` is no merge method{meant} (there are {})", shortened(name), names.join(", "))
    };
    Err(MergekitError::at(word.spot, message))
}

/// A model of the file, once, with what each slice says about it.
struct Model {
    reference: ModelRef,
    /// Its place in the models, or in the sources of each slice.
    positions: Vec<usize>,
}

struct Import<'a> {
    config: Config,
    method: Method,
    folder: &'a Path,
    /// In the order of the file.
    models: Vec<Model>,
    /// Layers of the output, where they are known.
    layers: Option<u32>,
    /// Of the base.
    facts: Option<ModelFacts>,
    /// The target of a `linear` merge of weights 1, +w and −w.
    spelt_out: Option<ModelRef>,
    notes: Vec<String>,
    not_carried: Vec<NotCarried>,
}

impl Import<'_> {
    /// Checks that every slice has the same models, and that slices follow each other.
    fn collect_models(&mut self) -> Result<(), MergekitError> {
        let groups: Vec<&[Input]> = match &self.config.inputs {
            Inputs::Models(models) => vec![models],
            Inputs::Slices(slices) => {
                self.layers = Some(layers_of(slices)?);
                slices.iter().map(|slice| slice.sources.as_slice()).collect()
            }
        };
        for (position, input) in groups[0].iter().enumerate() {
            let reference = &input.model;
            if let Some(lora) = &reference.lora {
                let message = format!(
                    "`{}` is to be put on top of the model as an adapter; merge it into its base model first (PEFT: \
                     `merge_and_unload()`), then name the result. A folder with + in its name is written as \
                     `model: {{model: {{path: …}}}}`",
                    shortened(lora)
                );
                return Err(MergekitError::at(reference.spot, message));
            }
            if groups[0][..position].iter().any(|other| other.model.is_same(reference)) {
                let message = format!("`{}` is listed twice; say it once", shortened(&reference.spec()));
                return Err(MergekitError::at(reference.spot, message));
            }
            let mut positions = vec![position];
            for group in &groups[1..] {
                let Some(position) = group.iter().position(|input| input.model.is_same(reference)) else {
                    let message = format!(
                        "a slice lacks `{}`; a recipe merges the same models in every layer, so list them in every slice",
                        shortened(&reference.spec())
                    );
                    return Err(MergekitError::at(group[0].model.spot, message));
                };
                positions.push(position);
            }
            self.models.push(Model { reference: reference.clone(), positions });
        }
        if let Some(group) = groups.iter().find(|group| group.len() != groups[0].len()) {
            let message =
                "this slice has models that the first has not; a recipe merges the same models in every layer";
            return Err(MergekitError::at(group[0].model.spot, message));
        }
        Ok(())
    }

    /// Finds out how many layers the base has, and whether slices take all of them.
    fn look_up(&mut self, base: &ModelRef, facts: &dyn Fn(&str) -> Option<ModelFacts>) -> Result<(), MergekitError> {
        self.facts = facts(&self.model(base)).filter(|facts| facts.layers > 0);
        let Some(known) = &self.facts else { return Ok(()) };
        match (self.layers, &self.config.inputs) {
            (Some(layers), Inputs::Slices(slices)) if layers != known.layers => {
                let message = format!(
                    "the slices have {layers} layers together, and the model has {}; a recipe gives a model of the target's \
                     depth, so let the last layer_range end at {}",
                    known.layers, known.layers
                );
                Err(MergekitError::at(slices[slices.len() - 1].spot, message))
            }
            _ => {
                self.layers = Some(known.layers);
                Ok(())
            }
        }
    }

    /// Names what mergekit takes from the experts of a layer together.
    fn check_experts(&mut self, recipe: &Recipe) {
        if self.facts.as_ref().is_some_and(|facts| are_stacked(&facts.tensors))
            && let Some(why) = by_whole_tensors(recipe)
        {
            let method = &self.config.method;
            let (spot, what) = (method.spot, format!("the experts under `{}`", self.method));
            self.lose(spot, what, why);
        }
    }

    /// A model as a recipe names it.
    fn model(&self, reference: &ModelRef) -> String {
        hub::beside(&reference.spec(), self.folder)
    }

    fn is_base(&self, reference: &ModelRef) -> bool {
        self.config.base.as_ref().is_some_and(|base| base.is_same(reference))
    }

    fn lose(&mut self, spot: Spot, what: impl Into<String>, why: impl Into<String>) {
        self.not_carried.push(NotCarried { place: spot.to_string(), what: what.into(), why: why.into() });
    }
}

/// Layers of all slices together.
fn layers_of(slices: &[Slice]) -> Result<u32, MergekitError> {
    let mut next = 0;
    for slice in slices {
        let mut end = next;
        for (position, source) in slice.sources.iter().enumerate() {
            let Some((spot, first, last)) = source.layers else { continue };
            if first != next || (position > 0 && last != end) {
                let message = format!(
                    "layers {first} to {} would become layers {next} and following of the output: stacking or moving layers \
                     gives a model of another shape, which a recipe cannot say; let each slice begin where the last one ended",
                    last - 1
                );
                return Err(MergekitError::at(spot, message));
            }
            end = last;
        }
        next = end;
    }
    Ok(next)
}
