//! From a recipe to a merge file.

mod names;
mod write;

use self::names::Names;
use super::experts::{are_stacked, by_whole_tensors};
use super::filters::filtered;
use super::weights::Weighted;
use super::{MergekitError, ModelFacts, NotCarried};
use crate::layout::place;
use crate::recipe::{Method, Parameter, Recipe, Rounding, Sparsify, VectorSpec};
use crate::scaling::Scaling;

/// A recipe as a merge file.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The merge file.
    pub yaml: String,
    /// Where the file means the same and may round in another way.
    pub notes: Vec<String>,
    /// What the file does not say. Where there is any, mergekit makes another model of it.
    pub not_carried: Vec<NotCarried>,
}

/// Writes a recipe as a merge file; `facts` says what is known of a model.
pub fn export(recipe: &Recipe, facts: &dyn Fn(&str) -> Option<ModelFacts>) -> Result<Exported, MergekitError> {
    recipe.check_method().map_err(|error| MergekitError::anywhere(error.to_string()))?;
    let known = facts(&recipe.target).filter(|facts| facts.layers > 0);
    let mut export =
        Export { recipe, names: Names::of(recipe, known.as_ref())?, notes: Vec::new(), not_carried: Vec::new() };
    let file = export.file()?;
    let yaml = export.write(&file, known.as_ref());
    Ok(Exported { yaml, notes: export.notes, not_carried: export.not_carried })
}

/// Parameters by name.
type Settings = Vec<(&'static str, Vec<Weighted>)>;

/// A merge file, before it is text.
struct File {
    method: Method,
    base: Option<String>,
    models: Vec<(String, Settings)>,
    parameters: Settings,
}

struct Export<'a> {
    recipe: &'a Recipe,
    names: Names,
    notes: Vec<String>,
    not_carried: Vec<NotCarried>,
}

impl Export<'_> {
    fn lose(&mut self, place: impl Into<String>, what: impl Into<String>, why: impl Into<String>) {
        self.not_carried.push(NotCarried { place: place.into(), what: what.into(), why: why.into() });
    }

    /// What a message calls a vector.
    fn key(&self, vector: usize) -> String {
        if self.recipe.others.is_empty() { "vector".to_owned() } else { format!("vector {}", vector + 1) }
    }

    fn file(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        let method = recipe.method.name;
        if method == Method::Trim {
            return Err(MergekitError::anywhere(
                "mergekit has no method that trims and adds without electing signs; use ties, or task_arithmetic without density",
            ));
        }
        self.check();
        let mut file = match method {
            Method::Linear => self.averaged()?,
            Method::Slerp => self.slerp()?,
            Method::Nuslerp => self.between_two()?,
            Method::TaskArithmetic => self.added()?,
            _ => self.combined()?,
        };
        self.parameters(&mut file);
        for (position, (model, _)) in file.models.iter().enumerate() {
            if file.models[..position].iter().any(|(other, _)| other == model) {
                let message =
                    format!("{model} would be listed twice, which mergekit refuses; add its vectors up to one");
                return Err(MergekitError::anywhere(message));
            }
        }
        Ok(file)
    }

    /// Names what a merge file has no place for, and what mergekit cannot do to a vector.
    fn check(&mut self) {
        // Whoever adds a field decides here what becomes of it.
        let Recipe { version: _, target: _, method, vector: _, others: _, output: _, adapter, inputs } = self.recipe;
        if adapter.is_some() {
            self.notes.push("what an adapter holds is no part of a merge file".to_owned());
        }
        if inputs.is_some() {
            let note = "mergekit does not check that the models are those that the recipe was made with";
            self.notes.push(note.to_owned());
        }
        let method = method.name;
        if self.names.are_real
            && are_stacked(&self.names.all)
            && let Some(why) = by_whole_tensors(self.recipe)
        {
            self.lose("method", format!("the experts under `{method}`"), why);
        }
        for (index, vector) in self.recipe.vectors().enumerate() {
            let key = self.key(index);
            let VectorSpec { pre: _, post: _, w: _, sparsify, density: _, gamma: _, epsilon: _, control, scaling } =
                vector;
            if let &Some(sparsify) = sparsify
                && sparsify != method.sparsify()
            {
                let why = format!("with {method} every vector has the same ({})", method.sparsify().label());
                self.lose(format!("{key}.sparsify"), format!("`{}`", sparsify.label()), why);
            }
            if let Some(control) = control {
                let why = "mergekit has no controls; the file is of the vector itself";
                self.lose(format!("{key}.control"), format!("`{}`", control.kind.label()), why);
            }
            if !self.names.are_real {
                self.check_usual_names(&key, scaling);
            }
        }
    }

    /// The coefficient of every tensor.
    fn coefficients(&self, vector: &VectorSpec) -> Result<Vec<f64>, MergekitError> {
        let scaling = Scaling::new(vector.w, &vector.scaling, self.names.layers)
            .map_err(|error| MergekitError::anywhere(error.to_string()))?;
        Ok(self.names.all.iter().map(|name| vector.w * scaling.share(name, place(name))).collect())
    }

    /// A coefficient for each tensor as a setting.
    fn setting(&mut self, key: &str, values: &[f64]) -> Result<Vec<Weighted>, MergekitError> {
        let tensors: Vec<(&str, f64)> =
            self.names.merged.iter().map(String::as_str).zip(values.iter().copied()).collect();
        let found = filtered(&tensors, self.names.layers.max(1));
        if !self.names.layers_known && found.entries.iter().any(|entry| entry.points.len() > 1) {
            return Err(MergekitError::anywhere("the number of layers is not known; say how many (--layers)"));
        }
        if let Some(&first) = found.differing.first() {
            let (first, merged) = (&self.names.all[first], &self.names.merged[first]);
            let cause = match first == merged {
                true => "no filter tells it from others".to_owned(),
                false => format!("mergekit 0.1.5 has it in one tensor with other experts of its layer, `{merged}`"),
            };
            let why = format!("{cause}; {} more would get another weight too", found.differing.len() - 1);
            let what = format!("the weight of `{first}`");
            self.lose(format!("{key}.scaling"), what, why);
        }
        Ok(found.entries)
    }

    fn weight(&mut self, index: usize, vector: &VectorSpec) -> Result<Vec<Weighted>, MergekitError> {
        let values = self.coefficients(vector)?;
        let key = self.key(index);
        self.setting(&key, &values)
    }

    /// target + Σ w·(post − pre).
    fn added(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_saved_vectors()?;
        let pre = &recipe.vector.pre;
        if recipe.vectors().any(|vector| vector.pre != *pre) {
            return self.spelt_out();
        }
        let mut models = Vec::new();
        if recipe.target != *pre {
            self.refuse_normalize("the target would count as one of the vectors");
            models.push((recipe.target.clone(), vec![("weight", one(1.0))]));
        }
        let lambda = if recipe.target == *pre { 1.0 } else { self.folded_lambda() };
        for (index, vector) in recipe.vectors().enumerate() {
            let values: Vec<f64> = self.coefficients(vector)?.into_iter().map(|value| value * lambda).collect();
            let key = self.key(index);
            let weight = self.setting(&key, &values)?;
            models.push((vector.post.clone(), vec![("weight", weight)]));
        }
        Ok(File { method: Method::TaskArithmetic, base: Some(pre.clone()), models, parameters: Vec::new() })
    }

    /// The same where vectors begin at several models: target + Σ w·post − Σ w·pre.
    fn spelt_out(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_normalize("weights of +w and −w have no sum to divide by");
        let lambda = self.folded_lambda();
        let mut sums: Vec<(String, Vec<f64>)> = vec![(recipe.target.clone(), vec![1.0; self.names.all.len()])];
        let mut add = |model: &str, values: &[f64], sign: f64| {
            let position = sums.iter().position(|(other, _)| other == model).unwrap_or_else(|| {
                sums.push((model.to_owned(), vec![0.0; values.len()]));
                sums.len() - 1
            });
            for (sum, value) in sums[position].1.iter_mut().zip(values) {
                *sum += sign * lambda * value;
            }
        };
        for vector in recipe.vectors() {
            let values = self.coefficients(vector)?;
            add(&vector.post, &values, 1.0);
            add(&vector.pre, &values, -1.0);
        }
        let mut models = Vec::new();
        for (model, values) in sums {
            let weight = self.setting("vector", &values)?;
            models.push((model, vec![("weight", weight)]));
        }
        let steps = match recipe.output.rounding {
            Rounding::MergekitBf16 => {
                "whose steps in bfloat16 are others: up to a quarter of the elements differ, most by a last bit"
            }
            Rounding::MergekitF32 => {
                "whose steps in float32 are others: more elements differ in the last bit than when it is rounded once"
            }
            Rounding::Nearest | Rounding::Stochastic => "",
        };
        let comma = if steps.is_empty() { "" } else { ", " };
        self.notes.push(format!(
            "the vectors begin at several models, and mergekit knows one base: written as a linear merge with weights of +w and \
             −w{comma}{steps}"
        ));
        let parameters = vec![("normalize", flag(false))];
        Ok(File { method: Method::Linear, base: None, models, parameters })
    }

    fn folded_lambda(&mut self) -> f64 {
        let lambda = self.recipe.method.lambda();
        if lambda != 1.0 {
            self.notes.push(format!(
                "lambda {lambda} is multiplied into the weights, since mergekit's would scale the target too"
            ));
        }
        lambda
    }

    fn refuse_normalize(&mut self, why: &str) {
        if self.recipe.method.normalize() {
            self.lose("method.normalize", "`true`", why);
        }
    }

    fn refuse_saved_vectors(&self) -> Result<(), MergekitError> {
        match self.recipe.vectors().find(|vector| vector.stands_alone()) {
            Some(vector) => Err(MergekitError::anywhere(format!(
                "{} is a saved vector, and mergekit merges models alone; name the two models that it is the difference of",
                vector.post
            ))),
            None => Ok(()),
        }
    }

    /// Methods that thin out, elect or weigh model − base_model, and add that to the base.
    fn combined(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        let method = recipe.method.name;
        self.refuse_saved_vectors()?;
        if let Some(vector) = recipe.vectors().find(|vector| vector.pre != recipe.target) {
            return Err(MergekitError::anywhere(format!(
                "mergekit adds what {method} makes to the model that the vectors begin at, and here that is {}, and the target \
                 is {}; only task_arithmetic and linear can say that",
                vector.pre, recipe.target
            )));
        }
        let mut models = Vec::new();
        for (index, vector) in recipe.vectors().enumerate() {
            let mut settings = Vec::new();
            if method.uses_w() {
                settings.push(("weight", self.weight(index, vector)?));
            }
            let rule = recipe.method.rule_of(vector);
            if method.sparsify() != Sparsify::None {
                for (parameter, value) in [
                    (Parameter::Density, rule.density),
                    (Parameter::Gamma, rule.gamma),
                    (Parameter::Epsilon, rule.epsilon),
                ] {
                    if method.sparsify().uses(parameter) {
                        settings.push((parameter.label(), one(value)));
                    }
                }
            }
            models.push((vector.post.clone(), settings));
        }
        Ok(File { method, base: Some(recipe.target.clone()), models, parameters: Vec::new() })
    }

    fn averaged(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_vectors()?;
        let mut models = Vec::new();
        for (index, vector) in recipe.vectors().enumerate() {
            models.push((vector.post.clone(), vec![("weight", self.weight(index, vector)?)]));
        }
        let listed = recipe.vectors().any(|vector| vector.post == recipe.target);
        let base = (recipe.vector.post != recipe.target && listed).then(|| recipe.target.clone());
        if !listed {
            let why = format!(
                "mergekit takes what is not weights from one of the models that it averages, here from {}",
                recipe.vector.post
            );
            self.lose("target", format!("`{}`", recipe.target), why);
        }
        Ok(File { method: Method::Linear, base, models, parameters: Vec::new() })
    }

    fn refuse_vectors(&self) -> Result<(), MergekitError> {
        match self.recipe.vectors().find(|vector| !vector.stands_alone()) {
            Some(vector) => Err(MergekitError::anywhere(format!(
                "{} takes whole models in mergekit, and here it has the vector from {} to {}",
                self.recipe.method.name, vector.pre, vector.post
            ))),
            None => Ok(()),
        }
    }

    fn slerp(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_vectors()?;
        let t = self.weight(0, &recipe.vector)?;
        let models = [&recipe.target, &recipe.vector.post].map(|model| (model.clone(), Vec::new())).to_vec();
        Ok(File { method: Method::Slerp, base: Some(recipe.target.clone()), models, parameters: vec![("t", t)] })
    }

    fn between_two(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        let whole = recipe.vectors().all(VectorSpec::stands_alone);
        if !whole && recipe.vectors().any(|vector| vector.pre != recipe.target) {
            return Err(MergekitError::anywhere(
                "nuslerp of vectors adds them in mergekit to the model that they begin at; make that the target",
            ));
        }
        if whole && recipe.target != recipe.vector.post {
            let why = format!("mergekit takes what is not weights from the first model, {}", recipe.vector.post);
            self.lose("target", format!("`{}`", recipe.target), why);
        }
        let mut models = Vec::new();
        for (index, vector) in recipe.vectors().enumerate() {
            models.push((vector.post.clone(), vec![("weight", self.weight(index, vector)?)]));
        }
        let base = (!whole).then(|| recipe.target.clone());
        Ok(File { method: Method::Nuslerp, base, models, parameters: Vec::new() })
    }

    /// What the method says for all models, where it is said.
    fn parameters(&mut self, file: &mut File) {
        let spec = &self.recipe.method;
        if file.method != spec.name {
            return;
        }
        let says = |parameter| spec.name.uses(parameter);
        let folded = file.method == Method::TaskArithmetic && file.base.as_deref() != Some(&self.recipe.target);
        let mut parameters = Vec::new();
        if let Some(value) = spec.normalize
            && says(Parameter::Normalize)
            && !folded
        {
            parameters.push(("normalize", flag(value)));
        }
        if let Some(value) = spec.rescale
            && says(Parameter::Rescale)
        {
            parameters.push(("rescale", flag(value)));
        }
        if let Some(value) = spec.lambda
            && !folded
        {
            parameters.push(("lambda", one(value)));
        }
        if let Some(value) = spec.select_topk {
            parameters.push(("select_topk", one(value)));
        }
        if let Some(value) = spec.flatten {
            parameters.push(("nuslerp_flatten", flag(value)));
        }
        if let Some(value) = spec.row_wise {
            parameters.push(("nuslerp_row_wise", flag(value)));
        }
        if spec.name.uses(Parameter::Seed) {
            self.notes.push(format!(
                "{} keeps elements at random: mergekit does so with the same probabilities, but not the same elements",
                spec.name
            ));
        }
        file.parameters.append(&mut parameters);
    }
}

fn one(value: f64) -> Vec<Weighted> {
    vec![Weighted { filter: None, points: vec![value] }]
}

/// mergekit takes 1 for true and 0 for false.
fn flag(value: bool) -> Vec<Weighted> {
    one(f64::from(u8::from(value)))
}
