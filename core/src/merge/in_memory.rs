//! What a merge would write, made tensor by tensor without a file.

use std::sync::{Mutex, PoisonError};

use super::make::{Buffers, Maker, units_of};
use super::measure::{self, Measured};
use super::plan::{Plan, PlannedTensor, plan};
use super::weights::Weights;
use super::{MergeError, check_inputs, check_unchanged, open, refuse_unfit};
use crate::alignment::Models;
use crate::checkpoint::byte_count;
use crate::progress::Control;
use crate::recipe::Recipe;
use crate::scaling::ScalingSpec;
use crate::stream::{self, Resources};

/// A merged model of which no byte is written: every tensor has the very bytes that [`merge`](super::merge) would write.
pub struct Merged {
    models: Models,
    recipe: Recipe,
    plan: Plan,
    measured: Measured,
    resources: Resources,
}

impl Merged {
    /// Opens and checks the models of a recipe and measures what its method has to know, as a merge does.
    ///
    /// # Errors
    /// Those of [`merge`](super::merge), apart from what concerns its output.
    pub fn new(recipe: &Recipe, resources: &Resources, control: &Control) -> Result<Self, MergeError> {
        let models = open(recipe)?;
        let plan = plan(&models, recipe)?;
        refuse_unfit(&models, control)?;
        check_inputs(recipe, &models, control)?;
        Self::of(models, plan, recipe.clone(), resources, control)
    }

    /// The same models with another recipe of them, without checking them again.
    ///
    /// # Errors
    /// When the recipe cannot be planned, or weights cannot be read.
    pub fn with(&self, recipe: &Recipe, control: &Control) -> Result<Self, MergeError> {
        check_unchanged(&self.models)?;
        let plan = plan(&self.models, recipe)?;
        Self::of(self.models.clone(), plan, recipe.clone(), &self.resources, control)
    }

    fn of(
        models: Models,
        plan: Plan,
        recipe: Recipe,
        resources: &Resources,
        control: &Control,
    ) -> Result<Self, MergeError> {
        let weights = Weights::new(&models, &plan, &recipe, resources.read_path, control);
        let measured = measure::measure(weights, &recipe, resources)?;
        Ok(Self { models, recipe, plan, measured, resources: *resources })
    }

    /// The models that it is made from.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The recipe that it follows.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Its tensors.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The bytes of the tensor at `position` in the plan, little-endian, in the dtype that it would be written in.
    ///
    /// # Errors
    /// When weights cannot be read, changed since they were opened, hold what is refused, or when it is cancelled.
    pub fn tensor(&self, position: usize, control: &Control) -> Result<Vec<u8>, MergeError> {
        let weights = Weights::new(&self.models, &self.plan, &self.recipe, self.resources.read_path, control);
        let maker = Maker::new(weights, &self.recipe, &self.measured, position..position + 1);
        let planned = &self.plan.tensors[position];
        let units: Vec<_> = units_of(planned, position, weights.unit_elements(&self.resources)).collect();

        let bytes = byte_count(planned.output.dtype, &planned.output.shape).unwrap_or(0);
        // A tensor of the target's shape, whose bytes were found in a file.
        let mut out = vec![0; bytes as usize];
        let mut rest = out.as_mut_slice();
        let mut places = Vec::with_capacity(units.len());
        for unit in &units {
            let (place, behind) = rest.split_at_mut(unit.bytes_of(planned).1 as usize);
            places.push(Mutex::new(place));
            rest = behind;
        }
        stream::run(units.len(), self.resources.threads, control, Buffers::default, |buffers, index| {
            maker.make(&units[index], buffers)?;
            let bytes = buffers.output(units[index].bytes_of(planned).1);
            places[index].lock().unwrap_or_else(PoisonError::into_inner).copy_from_slice(bytes);
            Ok::<_, MergeError>(())
        })?;
        drop(places);
        Ok(out)
    }

    /// What decides the bytes of the tensor at `position`: the same for two recipes, or two values of w, that leave it the
    /// same.
    pub fn identity(&self, position: usize) -> blake3::Hash {
        let planned = &self.plan.tensors[position];
        let target = self.identity_of(planned, 0);
        if !planned.moves() && planned.output.dtype == self.models.target.tensors()[planned.reads[0].tensor].dtype {
            return target;
        }
        let mut hasher = blake3::Hasher::new();
        for read in 0..planned.reads.len() {
            hasher.update(self.identity_of(planned, read).as_bytes());
        }
        hasher.update(planned.output.dtype.to_string().as_bytes());
        if planned.moves() {
            hasher.update(&self.choices(planned));
        }
        hasher.finalize()
    }

    fn identity_of(&self, planned: &PlannedTensor, read: usize) -> blake3::Hash {
        let read = planned.reads[read];
        let model = self.models.get(read.model);
        model.identity(&model.tensors()[read.tensor])
    }

    /// Every choice that a moved tensor depends on; of w and the scaling, the coefficients that came of them.
    fn choices(&self, planned: &PlannedTensor) -> Vec<u8> {
        let mut recipe = self.recipe.clone();
        for vector in recipe.vectors_mut() {
            vector.w = 0.0;
            vector.scaling = ScalingSpec::default();
        }
        let sources: Vec<_> = planned.sources.iter().map(|source| source.map(|found| found.elements)).collect();
        let vectors: Vec<_> = recipe.vectors().collect();
        format!("{:?} {:?} {:?} {sources:?} {:?}", recipe.method, vectors, recipe.output, planned.coefficients)
            .into_bytes()
    }
}
