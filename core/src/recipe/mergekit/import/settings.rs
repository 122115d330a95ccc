//! Parameters: what mergekit takes them to be, and what of them a recipe can say.

use super::{Import, Model};
use crate::recipe::mergekit::MergekitError;
use crate::recipe::mergekit::schema::{Entry, Inputs, Setting};
use crate::recipe::mergekit::weights::{SliceWeights, Weighted, Weights};
use crate::recipe::mergekit::yaml::{Scalar, Spot, shortened};
use crate::recipe::nearest::{did_you_mean, nearest};
use crate::recipe::{Method, Parameter, Recipe};

/// Parameters of mergekit 0.1.5 that no method here has.
const FOREIGN_PARAMETERS: [&str; 8] =
    ["normalize_weights", "eps", "r", "alpha", "max_iter", "tol", "scale", "filter_wise"];

/// mergekit's name of a parameter; of the seed there is none.
fn key_of(parameter: Parameter) -> Option<&'static str> {
    match parameter {
        Parameter::Flatten => Some("nuslerp_flatten"),
        Parameter::RowWise => Some("nuslerp_row_wise"),
        Parameter::Seed => None,
        other => Some(other.label()),
    }
}

/// Whether each model may have its own; the others are of a slice or the whole file.
fn is_of_model(key: &str) -> bool {
    matches!(key, "weight" | "density" | "gamma" | "epsilon")
}

impl Import<'_> {
    /// Names parameters that nobody knows, and those without effect.
    pub(super) fn check_parameters(&mut self) {
        let method = self.method;
        let mut of_models = Vec::new();
        let mut of_all = vec![&self.config.parameters];
        match &self.config.inputs {
            Inputs::Models(models) => of_models.extend(models.iter().map(|model| &model.parameters)),
            Inputs::Slices(slices) => {
                of_all.extend(slices.iter().map(|slice| &slice.parameters));
                of_models.extend(slices.iter().flat_map(|slice| &slice.sources).map(|source| &source.parameters));
            }
        }
        let names: Vec<(Scalar, bool)> = of_all
            .into_iter()
            .map(|parameters| (parameters, false))
            .chain(of_models.into_iter().map(|parameters| (parameters, true)))
            .flat_map(|(parameters, own)| parameters.0.iter().map(move |(name, _)| (name.clone(), own)))
            .collect();
        let keys: Vec<&str> = Parameter::ALL.into_iter().filter_map(key_of).collect();
        for (name, own) in names {
            let key = name.text.as_str();
            let used = match key {
                "weight" => method.uses_w() && method != Method::Slerp,
                "t" => method == Method::Slerp,
                "filter_wise" => method == Method::ModelStock,
                // A mask in eight bits, or in more: the same mask.
                "int8_mask" => continue,
                key => {
                    Parameter::ALL.into_iter().any(|parameter| key_of(parameter) == Some(key) && method.uses(parameter))
                }
            };
            if used && own && !is_of_model(key) {
                self.notes.push(format!(
                    "{}: `{key}` of a model has no effect, here as in mergekit: it is looked for in the slice and in the whole file",
                    name.spot
                ));
            } else if !used
                && (keys.contains(&key) || matches!(key, "weight" | "t") || FOREIGN_PARAMETERS.contains(&key))
            {
                self.notes.push(format!("{}: `{key}` has no effect with {method}, here as in mergekit", name.spot));
            } else if !used {
                let known = keys.iter().copied().chain(["weight", "t", "int8_mask"]);
                let why = format!("no parameter of mergekit{}", did_you_mean(key, known));
                self.lose(name.spot, format!("`{}`", shortened(key)), why);
            }
        }
    }

    /// Points to the key that may have been meant for a parameter that is missing.
    pub(super) fn misspelt(&self, key: &str, model: Option<&Model>, whose: &str) -> Option<MergekitError> {
        let known = || Parameter::ALL.into_iter().filter_map(key_of).chain(["weight", "t", "int8_mask"]);
        let mut levels = vec![&self.config.parameters];
        match &self.config.inputs {
            Inputs::Models(models) => {
                levels.extend(model.and_then(|model| Some(&models[*model.positions.first()?].parameters)));
            }
            Inputs::Slices(slices) => {
                for (index, slice) in slices.iter().enumerate() {
                    levels.push(&slice.parameters);
                    levels
                        .extend(model.and_then(|model| Some(&slice.sources[*model.positions.get(index)?].parameters)));
                }
            }
        }
        // The model's own come last, and are the likelier ones.
        let names = levels.into_iter().rev().flat_map(|parameters| parameters.0.iter().map(|(name, _)| name));
        let is_meant =
            |name: &&Scalar| !known().any(|known| known == name.text) && nearest(&name.text, known()) == Some(key);
        if let Some(name) = names.into_iter().find(is_meant) {
            let word = shortened(&name.text);
            let message =
                format!("`{word}` is no parameter of mergekit; did you mean `{key}`, which is missing{whose}?");
            return Some(MergekitError::at(name.spot, message));
        }
        let tables = self.config.unknown.iter().filter(|unknown| unknown.meant == Some("parameters"));
        // The model's own table stands near its name.
        let line = model.map_or(0, |model| model.reference.spot.line);
        let table = tables.min_by_key(|unknown| unknown.key.spot.line.abs_diff(line))?;
        let lost = table.lost();
        let message = format!("`{key}` is missing{whose}: {} is {}", lost.what, lost.why);
        Some(MergekitError::at(table.key.spot, message))
    }

    /// A parameter by slice, as mergekit looks for it.
    pub(super) fn weights(&self, key: &str, model: Option<&Model>) -> Result<Option<(Spot, Weights)>, MergekitError> {
        let mut spot = None;
        let mut slices = Vec::new();
        let mut slice_of = |settings: [Option<&Setting>; 3], layers| -> Result<(), MergekitError> {
            let mut entries = Vec::new();
            for setting in settings.into_iter().flatten() {
                spot.get_or_insert(setting.spot);
                for entry in &setting.entries {
                    entries.push(weighted(entry, key)?);
                    if entry.filter.is_none() {
                        slices.push(SliceWeights { layers, entries });
                        return Ok(());
                    }
                }
            }
            slices.push(SliceWeights { layers, entries });
            Ok(())
        };
        let of_all = self.config.parameters.get(key);
        match &self.config.inputs {
            Inputs::Models(models) => {
                let own = model.and_then(|model| models[*model.positions.first()?].parameters.get(key));
                slice_of([own, None, of_all], self.layers)?;
            }
            Inputs::Slices(groups) => {
                for (index, slice) in groups.iter().enumerate() {
                    let own = model.and_then(|model| slice.sources[*model.positions.get(index)?].parameters.get(key));
                    let layers = slice.sources[0].layers.map(|(_, first, end)| end - first);
                    slice_of([own, slice.parameters.get(key), of_all], layers)?;
                }
            }
        }
        Ok(spot.map(|spot| (spot, Weights { slices })))
    }

    /// A parameter that a recipe has once for all tensors.
    pub(super) fn only(&mut self, key: &str, model: Option<&Model>) -> Result<Option<(Spot, f64)>, MergekitError> {
        let Some((spot, weights)) = self.weights(key, model)? else { return Ok(None) };
        let value = weights.only_value();
        if value.is_none() {
            let first = weights.slices.first().and_then(|slice| slice.entries.last()?.points.first().copied());
            let kept = first.map_or_else(String::new, |value| format!("; left out, it is {value} everywhere"));
            let why =
                format!("a recipe has one {key} for all tensors of a model, and here it differs between them{kept}");
            self.lose(spot, format!("`{key}`"), why);
            return Ok(first.map(|value| (spot, value)));
        }
        Ok(value.map(|value| (spot, value)))
    }

    pub(super) fn method_parameters(&mut self, recipe: &mut Recipe, models: &[Model]) -> Result<(), MergekitError> {
        let method = self.method;
        for parameter in Parameter::ALL {
            let Some(key) = key_of(parameter) else { continue };
            if is_of_model(key) || !method.uses(parameter) {
                continue;
            }
            let Some((spot, value)) = self.only(key, None)? else { continue };
            let truth = value != 0.0;
            match parameter {
                Parameter::Rescale => recipe.method.rescale = Some(truth),
                Parameter::Normalize => recipe.method.normalize = Some(truth),
                Parameter::Flatten => recipe.method.flatten = Some(truth),
                Parameter::RowWise => recipe.method.row_wise = Some(truth),
                Parameter::Lambda => recipe.method.lambda = Some(value),
                Parameter::SelectTopk => {
                    in_range(spot, key, value, value > 0.0 && value <= 1.0, "it must be above 0 and at most 1")?;
                    recipe.method.select_topk = Some(value);
                }
                _ => {}
            }
        }
        for parameter in [Parameter::Density, Parameter::Gamma, Parameter::Epsilon] {
            if !method.uses(parameter) {
                continue;
            }
            let key = parameter.label();
            let mut values = Vec::new();
            for vector in recipe.vectors() {
                let model = models.iter().find(|model| self.model(&model.reference) == vector.post);
                values.push(self.only(key, model)?);
            }
            for (spot, value) in values.iter().flatten() {
                let expected = "it is a share, from 0 to 1; mergekit takes it and does something else than is said";
                in_range(*spot, key, *value, (0.0..=1.0).contains(value), expected)?;
            }
            let values: Vec<Option<f64>> = values.into_iter().map(|value| value.map(|(_, value)| value)).collect();
            let same = values.iter().all(|value| *value == values[0]);
            if same {
                match parameter {
                    Parameter::Density => recipe.method.density = values[0],
                    Parameter::Gamma => recipe.method.gamma = values[0],
                    _ => recipe.method.epsilon = values[0],
                }
                continue;
            }
            for (vector, value) in recipe.vectors_mut().zip(values) {
                match parameter {
                    Parameter::Density => vector.density = value,
                    Parameter::Gamma => vector.gamma = value,
                    _ => vector.epsilon = value,
                }
            }
        }
        if method == Method::ModelStock
            && let Some((spot, value)) = self.only("filter_wise", None)?
            && value != 0.0
        {
            self.lose(
                spot,
                "`filter_wise`",
                "model stock works out one weight for a tensor here, not one for each row",
            );
        }
        Ok(())
    }
}

fn weighted(entry: &Entry, key: &str) -> Result<Weighted, MergekitError> {
    let number = |scalar: &Scalar| {
        let text = shortened(&scalar.text);
        match scalar.number() {
            Some(value) if (value as f32).is_finite() => Ok(value),
            Some(_) => {
                let message = format!("`{key}` is {text}, which is too large for a float32; say a smaller number");
                Err(MergekitError::at(scalar.spot, message))
            }
            None => Err(MergekitError::at(scalar.spot, format!("`{key}` is a number, and here is `{text}`"))),
        }
    };
    let points = entry.values.iter().map(number).collect::<Result<_, _>>()?;
    Ok(Weighted { filter: entry.filter.clone(), points })
}

fn in_range(spot: Spot, key: &str, value: f64, is_in: bool, expected: &str) -> Result<(), MergekitError> {
    if is_in { Ok(()) } else { Err(MergekitError::at(spot, format!("`{key}` is {value}; {expected}"))) }
}
