//! What the methods of a merge file are in a recipe: target, pre and post, w and scaling.

use super::{Import, Model};
use crate::recipe::mergekit::MergekitError;
use crate::recipe::mergekit::compile::{Compiled, compile};
use crate::recipe::mergekit::yaml::shortened;
use crate::recipe::{Method, MethodSpec, Recipe, VectorSpec};
use crate::scaling::ScalingSpec;

impl Import<'_> {
    pub(super) fn recipe(&mut self) -> Result<Recipe, MergekitError> {
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
            return Err(self.misspelt(key, model, &whose).unwrap_or_else(|| {
                MergekitError::at(spot, format!("there is no `{key}`{whose}; say it under parameters"))
            }));
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

    /// target + w·post − w·pre, which some write with `linear`: read as what it means, so that there is a vector to look at and
    /// a w to turn, and not as an average of whole models.
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
        self.spelt_out = Some(target.reference.clone());
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
            let names: Vec<String> =
                others.iter().map(|model| format!("`{}`", shortened(&model.reference.spec()))).collect();
            let found = match names.as_slice() {
                [] => "there is none; list the one to go to".to_owned(),
                names => format!("there are {}: {}; list the one to go to", names.len(), names.join(", ")),
            };
            let base = shortened(&base.spec());
            let message =
                format!("slerp goes from base_model, `{base}`, to one other model, and beside `{base}` {found}");
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
}

/// All of it, where a method works out the weights itself.
fn whole() -> Compiled {
    Compiled { w: 1.0, scaling: ScalingSpec::default(), guessed: false, differing: Vec::new() }
}
