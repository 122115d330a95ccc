//! What merges would write, planned from headers: for the recipe as it is, and as a dialog would have it.

use mergescope_core::alignment::Models;
use mergescope_core::error::chain;
use mergescope_core::merge::Plan;
use mergescope_core::recipe::Recipe;
use mergescope_core::scaling::ScalingSpec;

use super::engine::Engine;

/// Plans that are kept: that of the recipe and that of a dialog, each before and after a change.
const KEPT: usize = 4;

/// Bytes of weights that a merge would write, or why it cannot be made.
pub type Planned = Result<u64, String>;

/// Plans of one set of models.
#[derive(Default)]
pub struct Plans {
    known: Vec<(Key, Planned)>,
}

/// What a plan depends on.
#[derive(PartialEq)]
struct Key {
    recipe: Recipe,
    is_plain: bool,
}

impl Key {
    /// Neither w nor how it is spread nor any number of the method changes what is written where, and each of them may be
    /// under the pointer: without them no drag plans thousands of tensors anew in every frame.
    fn new(recipe: &Recipe) -> Self {
        let is_plain = recipe.is_plain();
        let mut recipe = Recipe { inputs: None, ..recipe.clone() };
        for vector in recipe.vectors_mut() {
            (vector.w, vector.scaling) = (1.0, ScalingSpec::default());
            (vector.density, vector.gamma, vector.epsilon) = (None, None, None);
        }
        let method = &mut recipe.method;
        (method.density, method.gamma, method.epsilon) = (None, None, None);
        (method.lambda, method.select_topk, method.seed) = (None, None, 0);
        Self { recipe, is_plain }
    }
}

impl Plans {
    /// Forgets all: there are other models now.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// The plan of `recipe`, when it was made.
    pub fn get(&self, recipe: &Recipe) -> Option<&Planned> {
        let key = Key::new(recipe);
        self.known.iter().find(|(known, _)| *known == key).map(|(_, planned)| planned)
    }

    /// Plans `recipe`, whose parameters and curves are known to be sound, unless that was done.
    pub fn plan(&mut self, recipe: &Recipe, models: &Models, engine: &dyn Engine) -> Planned {
        if let Some(planned) = self.get(recipe) {
            return planned.clone();
        }
        let key = Key::new(recipe);
        // The curves are checked by themselves: here they would be kept with what they are no part of.
        let mut plain = recipe.clone();
        plain.vectors_mut().for_each(|vector| (vector.w, vector.scaling) = (1.0, ScalingSpec::default()));
        let plan = engine.plan(models, &plain);
        let planned = plan.as_ref().map(Plan::bytes).map_err(|error| chain(error));
        if self.known.len() >= KEPT {
            drop(self.known.remove(0));
        }
        self.known.push((key, planned.clone()));
        planned
    }
}
