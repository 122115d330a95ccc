//! From flags to the recipe and the resources that they stand for.

use anyhow::Context as _;
use mergescope_core::recipe::file::Opened;
use mergescope_core::recipe::{ControlSpec, Recipe, RecipeError, VectorSpec};
use mergescope_core::stream::Resources;

use super::args::{MethodArgs, ModelArgs, RecipeArgs, ResourceArgs};
use super::print;

impl RecipeArgs {
    /// The recipe file, or a new recipe, with what the flags say.
    pub fn recipe(&self) -> Result<Recipe, RecipeError> {
        let mut recipe = self.models.recipe()?;
        recipe.vector.w = self.w.unwrap_or(recipe.vector.w);
        Ok(recipe)
    }
}

impl ModelArgs {
    /// The recipe file, or a new recipe, with what the flags say.
    pub fn recipe(&self) -> Result<Recipe, RecipeError> {
        let mut recipe = match &self.file {
            Some(path) => {
                let Opened { recipe, notes, .. } = Recipe::open(path)?;
                notes.iter().for_each(|note| print::note(&format!("NOTE  {}", print::line(note))));
                recipe
            }
            None => Recipe::new("", "", ""),
        };
        let models = [
            (&self.pre, &mut recipe.vector.pre),
            (&self.post, &mut recipe.vector.post),
            (&self.target, &mut recipe.target),
        ];
        for (given, model) in models {
            if let Some(given) = given {
                model.clone_from(named(given));
                // They are of the recipe's models, and this one is another.
                recipe.inputs = None;
            }
        }
        if let Some(vector) = &self.vector {
            recipe.vector.pre.clear();
            recipe.vector.post.clone_from(vector);
            recipe.inputs = None;
        }
        recipe.output.dtype = self.dtype.unwrap_or(recipe.output.dtype);
        recipe.output.rounding = self.rounding.unwrap_or(recipe.output.rounding);
        Ok(recipe)
    }
}

/// Stands for no model where one could be named.
const NO_MODEL: &str = "none";
/// Stands for no coefficient.
const NO_W: &str = "-";

/// A model as it stands in a recipe.
fn named(given: &String) -> &String {
    static NOTHING: String = String::new();
    if given == NO_MODEL { &NOTHING } else { given }
}

impl MethodArgs {
    /// Puts what the flags say into a recipe; `w` is whether -w was among them.
    pub fn apply(&self, recipe: &mut Recipe, w: bool) -> anyhow::Result<()> {
        if let Some(name) = self.method.filter(|name| *name != recipe.method.name) {
            // What the recipe said for its own method was not meant for this one.
            recipe.method.name = name;
            recipe.forget_unused();
        }
        let name = recipe.method.name;
        anyhow::ensure!(
            !w || name.uses_w(),
            "-w has no effect with {name}, which weighs the vectors itself; leave it out"
        );
        for vector in recipe.vectors_mut() {
            // A flag is about every vector.
            vector.density = vector.density.filter(|_| self.density.is_none());
            vector.gamma = vector.gamma.filter(|_| self.gamma.is_none());
            vector.epsilon = vector.epsilon.filter(|_| self.epsilon.is_none());
        }
        let method = &mut recipe.method;
        method.density = self.density.or(method.density);
        method.gamma = self.gamma.or(method.gamma);
        method.epsilon = self.epsilon.or(method.epsilon);
        method.rescale = self.rescale.or(method.rescale);
        method.normalize = self.normalize.or(method.normalize);
        method.lambda = self.lambda.or(method.lambda);
        method.select_topk = self.select_topk.or(method.select_topk);
        if let Some(kind) = self.control {
            let seed = recipe.vector.control.map_or(0, |control| control.seed);
            recipe.vector.control = Some(ControlSpec { kind, seed });
        }
        for vector in self.also.chunks(3) {
            let [pre, post, w] = vector else { continue };
            let mut other = VectorSpec::new(named(pre), post);
            match (w == NO_W, name.uses_w()) {
                (true, false) => {}
                (true, true) => anyhow::bail!("--also {pre} {post} {w}: {name} needs a number for W"),
                (false, false) => anyhow::bail!(
                    "--also {pre} {post} {w}: W has no effect with {name}, which weighs the vectors itself; write - for it"
                ),
                (false, true) => {
                    let number = w.replace('−', "-").parse();
                    other.w = number.with_context(|| format!("--also {pre} {post} {w}: W is a number"))?;
                }
            }
            recipe.others.push(other);
            recipe.inputs = None;
        }
        Ok(())
    }
}

impl ResourceArgs {
    /// The default, with what the flags say.
    pub fn resources(&self) -> Resources {
        let default = Resources::default();
        Resources {
            threads: self.threads.map_or(default.threads, usize::from),
            memory_bytes: self.memory.unwrap_or(default.memory_bytes),
            ..default
        }
    }
}
