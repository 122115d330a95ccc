//! From flags to the recipe and the resources that they stand for.

use mergescope_core::recipe::{Recipe, RecipeError};
use mergescope_core::stream::Resources;

use super::args::{RecipeArgs, ResourceArgs};

impl RecipeArgs {
    /// The recipe file, or a new recipe, with what the flags say.
    pub fn recipe(&self) -> Result<Recipe, RecipeError> {
        let mut recipe = match &self.file {
            Some(path) => Recipe::read(path)?,
            None => Recipe::new("", "", ""),
        };
        let models = [
            (&self.pre, &mut recipe.vector.pre),
            (&self.post, &mut recipe.vector.post),
            (&self.target, &mut recipe.target),
        ];
        for (given, model) in models {
            if let Some(given) = given {
                model.clone_from(given);
                // They are of the recipe's models, and this one is another.
                recipe.inputs = None;
            }
        }
        recipe.vector.w = self.w.unwrap_or(recipe.vector.w);
        recipe.output.dtype = self.dtype.unwrap_or(recipe.output.dtype);
        recipe.output.rounding = self.rounding.unwrap_or(recipe.output.rounding);
        Ok(recipe)
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
