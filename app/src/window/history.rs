//! Undo and redo of the recipe.
//!
//! 1. A step is recorded when the recipe differs from the last one recorded and nothing is being dragged or typed, so
//!    that one drag of the slider is one step.
//! 2. Several changes of w alone within a second are one step, so that holding an arrow key is one too.

use mergescope_core::recipe::Recipe;

/// Steps that are kept.
const MAX_STEPS: usize = 200;
/// Changes of w closer together than this are one step.
const COALESCE_SECS: f64 = 1.0;

/// The recipes before and after the current one.
#[derive(Clone, Debug)]
pub struct History {
    past: Vec<Recipe>,
    current: Recipe,
    future: Vec<Recipe>,
    /// When the last step that changed w alone was recorded.
    last_w_secs: Option<f64>,
}

impl History {
    /// A history that begins with `recipe`.
    pub fn new(recipe: Recipe) -> Self {
        Self { past: Vec::new(), current: recipe, future: Vec::new(), last_w_secs: None }
    }

    /// Records `recipe` as a step if it is new.
    pub fn record(&mut self, recipe: &Recipe, now_secs: f64) {
        if *recipe == self.current {
            return;
        }
        let mut with_this_w = self.current.clone();
        with_this_w.vectors_mut().zip(recipe.vectors()).for_each(|(vector, now)| vector.w = now.w);
        let only_w = with_this_w == *recipe;
        let same_step = only_w && self.last_w_secs.is_some_and(|last| now_secs - last < COALESCE_SECS);
        if same_step {
            self.current = recipe.clone();
        } else {
            self.past.push(std::mem::replace(&mut self.current, recipe.clone()));
            if self.past.len() > MAX_STEPS {
                self.past.remove(0);
            }
        }
        self.future.clear();
        self.last_w_secs = only_w.then_some(now_secs);
    }

    /// Whether there is a step to take back.
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is a step to make again.
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// The recipe before the last step.
    pub fn undo(&mut self) -> Option<&Recipe> {
        let previous = self.past.pop()?;
        self.future.push(std::mem::replace(&mut self.current, previous));
        self.last_w_secs = None;
        Some(&self.current)
    }

    /// The recipe that was taken back last.
    pub fn redo(&mut self) -> Option<&Recipe> {
        let next = self.future.pop()?;
        self.past.push(std::mem::replace(&mut self.current, next));
        self.last_w_secs = None;
        Some(&self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_w(w: f64) -> Recipe {
        let mut recipe = Recipe::new("a", "b", "c");
        recipe.vector.w = w;
        recipe
    }

    #[test]
    fn steps_are_taken_back_and_made_again() {
        let mut history = History::new(with_w(0.5));
        history.record(&with_w(0.6), 0.0);
        history.record(&Recipe::new("x", "b", "c"), 5.0);
        assert_eq!(history.undo(), Some(&with_w(0.6)));
        assert_eq!(history.undo(), Some(&with_w(0.5)));
        assert_eq!(history.undo(), None);
        assert_eq!(history.redo(), Some(&with_w(0.6)));
        history.record(&with_w(0.9), 9.0);
        assert!(!history.can_redo(), "a new step leaves no other future");
    }

    #[test]
    fn a_held_key_is_one_step() {
        let mut history = History::new(with_w(0.5));
        for (step, w) in [0.51, 0.52, 0.53].into_iter().enumerate() {
            history.record(&with_w(w), step as f64 * 0.1);
        }
        assert_eq!(history.undo(), Some(&with_w(0.5)));
        assert!(!history.can_undo());
    }

    #[test]
    fn the_same_recipe_is_no_step() {
        let mut history = History::new(with_w(0.5));
        history.record(&with_w(0.5), 0.0);
        assert!(!history.can_undo());
    }
}
