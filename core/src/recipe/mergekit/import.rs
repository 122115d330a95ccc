//! From a merge file to a recipe.

use std::path::Path;

use super::compile::{Compiled, compile};
use super::schema::{Config, Entry, Input, Inputs, ModelRef, Setting, Slice};
use super::weights::{SliceWeights, Weighted, Weights};
use super::yaml::{self, Scalar, Spot, shortened};
use super::{MergekitError, ModelFacts, NotCarried};
use crate::checkpoint::Dtype;
use crate::hub;
use crate::recipe::nearest::did_you_mean;
use crate::recipe::{Method, MethodSpec, OutputDtype, OutputSpec, Parameter, Recipe, Rounding, VectorSpec};

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
const FOREIGN_METHODS: [&str; 8] =
    ["passthrough", "multislerp", "karcher", "nearswap", "arcee_fusion", "ram", "ramplus_tl", "core_space"];

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

/// Reads a merge file. Paths of models that are not absolute are relative to `folder`; `facts` says what is known of a model.
pub fn import(
    text: &str,
    folder: &Path,
    facts: &dyn Fn(&str) -> Option<ModelFacts>,
) -> Result<Imported, MergekitError> {
    let config = Config::read(yaml::parse(text)?)?;
    let method = method(&config.method)?;
    let mut import = Import {
        config,
        method,
        folder,
        models: Vec::new(),
        layers: None,
        facts: None,
        notes: Vec::new(),
        not_carried: Vec::new(),
    };
    import.not_carried.append(&mut import.config.unknown);
    import.collect_models()?;
    let base = import.config.base.clone().or_else(|| import.models.first().map(|model| model.reference.clone()));
    if let Some(base) = base {
        import.look_up(&base, facts)?;
    }
    import.check_parameters();
    let mut recipe = import.recipe()?;
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

    /// Names parameters that nobody knows, and those without effect.
    fn check_parameters(&mut self) {
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

    /// A parameter by slice, as mergekit looks for it.
    fn weights(&self, key: &str, model: Option<&Model>) -> Result<Option<(Spot, Weights)>, MergekitError> {
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
    fn only(&mut self, key: &str, model: Option<&Model>) -> Result<Option<(Spot, f64)>, MergekitError> {
        let Some((spot, weights)) = self.weights(key, model)? else { return Ok(None) };
        let value = weights.only_value();
        if value.is_none() {
            let first = weights.slices.first().and_then(|slice| slice.entries.last()?.points.first().copied());
            let kept = first.map_or_else(String::new, |value| format!("; with --lossy it is {value} everywhere"));
            let why =
                format!("a recipe has one {key} for all tensors of a model, and here it differs between them{kept}");
            self.lose(spot, format!("`{key}`"), why);
            return Ok(first.map(|value| (spot, value)));
        }
        Ok(value.map(|value| (spot, value)))
    }

    fn recipe(&mut self) -> Result<Recipe, MergekitError> {
        let models = std::mem::take(&mut self.models);
        let mut recipe = match self.method {
            Method::Linear => self.linear(&models)?,
            Method::Slerp => self.slerp(&models)?,
            Method::Nuslerp => self.nuslerp(&models)?,
            _ => self.task_vectors(&models)?,
        };
        self.method_parameters(&mut recipe, &models)?;
        self.models = models;
        if let Err(error) = recipe.check_method() {
            return Err(MergekitError::at(self.config.method.spot, error.to_string()));
        }
        Ok(recipe)
    }

    /// w and scaling of a model, from `weight` or `t`.
    fn compiled(&mut self, key: &str, model: Option<&Model>) -> Result<Compiled, MergekitError> {
        let spot = model.map_or(self.config.method.spot, |model| model.reference.spot);
        let whose = model.map_or_else(String::new, |model| format!(" for `{}`", shortened(&model.reference.spec())));
        let Some((spot, weights)) = self.weights(key, model)? else {
            return Err(MergekitError::at(spot, format!("there is no `{key}`{whose}; say it under parameters")));
        };
        let compiled = compile(&weights, self.facts.as_ref())
            .map_err(|reason| MergekitError::at(spot, format!("`{key}`{whose} cannot be carried over: {reason}")))?;
        if compiled.guessed {
            let note = format!(
                "{spot}: the base is not at hand, so names of tensors are taken to be those of Llama and Qwen \
                 (model.layers.0., model.embed_tokens, model.norm, lm_head)"
            );
            self.notes.push(note);
        }
        if let Some(first) = compiled.differing.first() {
            let why = format!(
                "no curve and patterns give each tensor its own; `{first}` and {} more would differ",
                compiled.differing.len() - 1
            );
            self.lose(spot, format!("`{key}`{whose}"), why);
        }
        Ok(compiled)
    }

    fn vector(&mut self, pre: &str, model: &Model) -> Result<VectorSpec, MergekitError> {
        let Compiled { w, scaling, .. } =
            if self.method.uses_w() { self.compiled("weight", Some(model))? } else { whole() };
        Ok(VectorSpec { w, scaling, ..VectorSpec::new(pre, self.model(&model.reference)) })
    }

    /// Methods that add or combine model − base_model.
    fn task_vectors(&mut self, models: &[Model]) -> Result<Recipe, MergekitError> {
        let Some(base) = self.config.base.clone() else {
            let message = format!("{} needs `base_model`, which task vectors begin at; say it", self.method);
            return Err(MergekitError::at(self.config.method.spot, message));
        };
        let mut models: Vec<&Model> = models.iter().filter(|model| !self.is_base(&model.reference)).collect();
        let pre = self.model(&base);
        let mut target = pre.clone();
        if self.method == Method::TaskArithmetic && models.len() > 1 && self.adds_plainly()? {
            let mut adds_whole = |model: &&Model| Ok(self.value_of("weight", model)? == Some(1.0));
            let position =
                models.iter().map(&mut adds_whole).collect::<Result<Vec<_>, _>>()?.into_iter().position(|whole| whole);
            if let Some(position) = position {
                let model = models.remove(position);
                target = self.model(&model.reference);
                self.notes.push(format!(
                    "{}: base_model + 1·(`{name}` − base_model) is `{name}`, so it is the target that the other models' \
                     vectors are added to, and what is not weights comes from it",
                    model.reference.spot,
                    name = shortened(&model.reference.spec())
                ));
            }
        }
        let vectors = models.into_iter().map(|model| self.vector(&pre, model)).collect::<Result<Vec<_>, _>>()?;
        self.assemble(target, vectors)
    }

    fn value_of(&self, key: &str, model: &Model) -> Result<Option<f64>, MergekitError> {
        Ok(self.weights(key, Some(model))?.and_then(|(_, weights)| weights.only_value()))
    }

    /// Whether the sum is added as it is.
    fn adds_plainly(&self) -> Result<bool, MergekitError> {
        let said = |key| Ok(self.weights(key, None)?.map(|(_, weights)| weights.only_value()));
        Ok(matches!(said("lambda")?, None | Some(Some(1.0))) && matches!(said("normalize")?, None | Some(Some(0.0))))
    }

    fn linear(&mut self, models: &[Model]) -> Result<Recipe, MergekitError> {
        if let Some(recipe) = self.linear_as_vectors(models)? {
            return Ok(recipe);
        }
        let target = models.first().map(|model| self.model(&model.reference)).unwrap_or_default();
        let mut vectors = models.iter().map(|model| self.vector("", model)).collect::<Result<Vec<_>, _>>()?;
        match self.config.base.clone() {
            Some(base) if !models.iter().any(|model| model.reference.is_same(&base)) => {
                // To mergekit it is one more model, with the weight of the whole file.
                let model = Model { reference: base, positions: Vec::new() };
                vectors.push(self.vector("", &model)?);
                let target = self.model(&model.reference);
                self.assemble(target, vectors)
            }
            Some(base) => {
                let target = self.model(&base);
                self.assemble(target, vectors)
            }
            None => self.assemble(target, vectors),
        }
    }

    /// target + w·post − w·pre, which some write with `linear`.
    fn linear_as_vectors(&mut self, models: &[Model]) -> Result<Option<Recipe>, MergekitError> {
        let normalize = self.weights("normalize", None)?.map(|(_, weights)| weights.only_value());
        if normalize != Some(Some(0.0)) || models.len() < 3 || models.len().is_multiple_of(2) {
            return Ok(None);
        }
        let mut left = Vec::new();
        for model in models {
            match self.weights("weight", Some(model))? {
                Some((_, weights)) => left.push((model, weights)),
                None => return Ok(None),
            }
        }
        let Some(position) = left.iter().position(|(_, weights)| weights.only_value() == Some(1.0)) else {
            return Ok(None);
        };
        let (target, _) = left.remove(position);
        let mut pairs = Vec::new();
        while !left.is_empty() {
            let (model, weights) = left.remove(0);
            let Some(other) = left.iter().position(|(_, other)| other.is_negative_of(&weights)) else {
                return Ok(None);
            };
            let (other, _) = left.remove(other);
            // What is added is post, and what is taken away is pre.
            let points = weights.slices.iter().flat_map(|slice| slice.entries.iter().flat_map(|entry| &entry.points));
            let is_post = points.copied().find(|value| *value != 0.0).is_none_or(|value| value > 0.0);
            pairs.push(if is_post { (other, model) } else { (model, other) });
        }
        self.method = Method::TaskArithmetic;
        let mut vectors = Vec::new();
        for (pre, post) in pairs {
            let pre = self.model(&pre.reference);
            vectors.push(self.vector(&pre, post)?);
        }
        self.notes.push(format!(
            "{}: weights of 1, +w and −w that are not normalised are `{}` + w·(post − pre), and are read as that; mergekit's \
             steps would round otherwise in the last bit",
            target.reference.spot,
            shortened(&target.reference.spec())
        ));
        let target = self.model(&target.reference);
        self.assemble(target, vectors).map(Some)
    }

    fn slerp(&mut self, models: &[Model]) -> Result<Recipe, MergekitError> {
        let Some(base) = self.config.base.clone() else {
            let message = "slerp needs `base_model`, where t = 0 is; say it";
            return Err(MergekitError::at(self.config.method.spot, message));
        };
        let others: Vec<&Model> = models.iter().filter(|model| !self.is_base(&model.reference)).collect();
        let [other] = others.as_slice() else {
            let message = format!("slerp takes base_model and one other model; the file has {}", others.len());
            return Err(MergekitError::at(self.config.method.spot, message));
        };
        let Compiled { w, scaling, .. } = self.compiled("t", None)?;
        let vector = VectorSpec { w, scaling, ..VectorSpec::new("", self.model(&other.reference)) };
        let target = self.model(&base);
        self.assemble(target, vec![vector])
    }

    fn nuslerp(&mut self, models: &[Model]) -> Result<Recipe, MergekitError> {
        let others: Vec<&Model> = models.iter().filter(|model| !self.is_base(&model.reference)).collect();
        let base = self.config.base.clone().map(|base| self.model(&base));
        let pre = base.clone().unwrap_or_default();
        let target = base.or_else(|| models.first().map(|model| self.model(&model.reference))).unwrap_or_default();
        let vectors = others.into_iter().map(|model| self.vector(&pre, model)).collect::<Result<Vec<_>, _>>()?;
        self.assemble(target, vectors)
    }

    fn assemble(&self, target: String, vectors: Vec<VectorSpec>) -> Result<Recipe, MergekitError> {
        let mut vectors = vectors.into_iter();
        let Some(vector) = vectors.next() else {
            let message = "there is no model beside base_model; list what is merged into it";
            return Err(MergekitError::at(self.config.method.spot, message));
        };
        let method = MethodSpec::new(self.method);
        Ok(Recipe { target, method, vector, others: vectors.collect(), ..Recipe::new("", "", "") })
    }

    fn method_parameters(&mut self, recipe: &mut Recipe, models: &[Model]) -> Result<(), MergekitError> {
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

    /// dtype and out_dtype.
    fn output(&mut self, recipe: &mut Recipe, facts: &dyn Fn(&str) -> Option<ModelFacts>) -> Result<(), MergekitError> {
        let computed = self.config.dtype.as_ref().map(float_of).transpose()?;
        let written = self.config.out_dtype.as_ref().map(float_of).transpose()?;
        let dtype = match written.or(computed) {
            None => OutputDtype::Target,
            Some((_, Float::F16)) => OutputDtype::F16,
            Some((_, Float::Bf16)) => OutputDtype::Bf16,
            Some((_, Float::F32)) => OutputDtype::F32,
            Some((spot, Float::F64)) => {
                self.lose(spot, "float64", "Mergescope writes float32 at most; with --lossy it is that");
                OutputDtype::F32
            }
        };
        let as_vectors = self.method.label() != self.config.method.text;
        let rounding = match computed {
            // mergekit's steps are those of another method.
            _ if as_vectors => Rounding::Nearest,
            Some((_, Float::F32)) => Rounding::MergekitF32,
            Some((_, Float::Bf16)) => Rounding::MergekitBf16,
            Some((spot, float)) => {
                self.notes.push(format!(
                    "{spot}: mergekit would compute in {}; here the result is computed exactly and rounded once",
                    float.label()
                ));
                Rounding::Nearest
            }
            None => {
                let mut models: Vec<&str> =
                    recipe.vectors().flat_map(|vector| [vector.pre.as_str(), &vector.post]).collect();
                models.push(&recipe.target);
                models.retain(|model| !model.is_empty());
                let dtypes: Vec<Option<Dtype>> =
                    models.into_iter().map(|model| facts(model).and_then(|facts| facts.dtype)).collect();
                match dtypes.first() {
                    Some(Some(Dtype::F32)) if dtypes.iter().all(|dtype| *dtype == dtypes[0]) => Rounding::MergekitF32,
                    Some(Some(Dtype::BF16)) if dtypes.iter().all(|dtype| *dtype == dtypes[0]) => Rounding::MergekitBf16,
                    _ => {
                        self.notes.push(
                            "there is no dtype: mergekit would compute in the models' own; here the result is computed \
                             exactly and rounded once"
                                .to_owned(),
                        );
                        Rounding::Nearest
                    }
                }
            }
        };
        recipe.output = OutputSpec { dtype, rounding, ..OutputSpec::default() };
        if self.method.uses(Parameter::Seed) {
            self.notes.push(format!(
                "{} keeps elements at random: with the same probabilities as mergekit, but not the same elements",
                self.method
            ));
        }
        Ok(())
    }

    /// What is not weights.
    fn surroundings(&mut self, recipe: &Recipe) {
        let from_target = format!("what is not weights comes from the target, {}", recipe.target);
        if let Some(tokenizer) = &self.config.tokenizer {
            let spot = tokenizer.spot;
            let source = tokenizer.source.spec();
            let is_target = match source.as_str() {
                "union" => false,
                "base" => {
                    let base = self.config.base.as_ref().or(self.models.first().map(|model| &model.reference));
                    base.is_some_and(|base| self.model(base) == recipe.target)
                }
                _ => self.model(&tokenizer.source) == recipe.target,
            };
            let more = tokenizer.more.clone();
            if !is_target {
                let what = format!("the tokenizer of `{}`", shortened(&source));
                self.lose(spot, what, format!("{from_target}, and its vocabulary is kept"));
            }
            if let Some(key) = more {
                self.lose(
                    spot,
                    format!("`{key}` of the tokenizer"),
                    "the target's tokenizer and rows are kept as they are",
                );
            }
        }
        if let Some(template) = &self.config.chat_template {
            let spot = template.spot;
            self.lose(spot, "`chat_template`", format!("{from_target}; change it there, or in the merged model"));
        }
    }
}

/// All of it, where a method works out the weights itself.
fn whole() -> Compiled {
    Compiled { w: 1.0, scaling: crate::scaling::ScalingSpec::default(), guessed: false, differing: Vec::new() }
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

fn weighted(entry: &Entry, key: &str) -> Result<Weighted, MergekitError> {
    let number = |scalar: &Scalar| {
        let message = || format!("`{key}` is a number, and here is `{}`", shortened(&scalar.text));
        scalar.number().ok_or_else(|| MergekitError::at(scalar.spot, message()))
    };
    let points = entry.values.iter().map(number).collect::<Result<_, _>>()?;
    Ok(Weighted { filter: entry.filter.clone(), points })
}

fn in_range(spot: Spot, key: &str, value: f64, is_in: bool, expected: &str) -> Result<(), MergekitError> {
    if is_in { Ok(()) } else { Err(MergekitError::at(spot, format!("`{key}` is {value}; {expected}"))) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    const ALL: [Self; 4] = [Self::F16, Self::Bf16, Self::F32, Self::F64];

    fn label(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

fn float_of(word: &Scalar) -> Result<(Spot, Float), MergekitError> {
    let name = word.text.as_str();
    let short = match name {
        "bf16" => Some(Float::Bf16),
        "fp16" | "f16" | "half" => Some(Float::F16),
        "fp32" | "f32" | "float" => Some(Float::F32),
        _ => None,
    };
    match Float::ALL.into_iter().find(|float| float.label() == name) {
        Some(float) => Ok((word.spot, float)),
        None => {
            let meant = match short {
                Some(float) => format!("; write {}", float.label()),
                None => did_you_mean(name, Float::ALL.map(Float::label)),
            };
            let message =
                format!("`{}` is no dtype{meant} (there are float16, bfloat16, float32, float64)", shortened(name));
            Err(MergekitError::at(word.spot, message))
        }
    }
}
