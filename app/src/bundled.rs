//! The recipes of both papers, which come with the program. Their models are named by Hub id.

use std::path::Path;

use mergescope_core::recipe::{Recipe, RecipeError};

/// A recipe that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct BundledRecipe {
    /// Its name in a menu.
    pub title: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its file, below `assets/recipes`.
    pub file: &'static str,
    text: &'static str,
}

/// All of them.
pub const RECIPES: [BundledRecipe; 3] = [
    BundledRecipe {
        title: "arXiv 2508.02913 · English reasoning for a Japanese 32B",
        about: "EZO + w·(s1-32B − Qwen2.5-32B); the paper tries w = 0.25, 0.50, 0.75 and 1.00",
        file: "japanese-reasoning-32b.toml",
        text: include_str!("../../assets/recipes/japanese-reasoning-32b.toml"),
    },
    BundledRecipe {
        title: "arXiv 2509.01363 · GRPO − SFT, 1.5B",
        about: "What reinforcement learning on GSM8K added, put onto another model of 1.5B; w = 1, or −1 to take it out",
        file: "reasoning-vectors-qwen2.5-1.5b.toml",
        text: include_str!("../../assets/recipes/reasoning-vectors-qwen2.5-1.5b.toml"),
    },
    BundledRecipe {
        title: "arXiv 2509.01363 · GRPO − SFT, 7B",
        about: "The same for 7B",
        file: "reasoning-vectors-qwen2.5-7b.toml",
        text: include_str!("../../assets/recipes/reasoning-vectors-qwen2.5-7b.toml"),
    },
];

impl BundledRecipe {
    /// The recipe.
    pub fn recipe(&self) -> Result<Recipe, RecipeError> {
        Recipe::from_toml(self.text, Path::new(self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_a_sound_recipe_that_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/recipes");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, RECIPES.map(|recipe| recipe.file));
        for bundled in RECIPES {
            let recipe = bundled.recipe().unwrap();
            assert!(recipe.target.contains('/') && recipe.check_method().is_ok(), "{}", bundled.file);
        }
    }
}
