//! Where answers are kept: one folder for each question file asked of the same models.

use std::path::{Path, PathBuf};

use mergescope_core::recipe::Recipe;

use crate::format;

/// The answers, in that folder.
const LOG_FILE: &str = "samples.jsonl";
/// Longest part of a folder's name that comes from the question file, in characters.
const MAX_STEM: usize = 40;

/// The folder for a question file and a recipe's models, below `parent`. w, prompts and all else are told apart within the log.
pub fn folder(parent: &Path, questions: &str, recipe: &Recipe) -> PathBuf {
    let stem = Path::new(questions).file_stem().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| if letter.is_alphanumeric() || matches!(letter, '-' | '_') { letter } else { '-' };
    let stem: String = stem.chars().map(plain).take(MAX_STEM).collect();
    let vectors = std::iter::once(&recipe.vector).chain(&recipe.others);
    let models = vectors.flat_map(|vector| [vector.pre.as_str(), vector.post.as_str()]);
    let names = models.chain([recipe.target.as_str(), questions]);
    // Two that share a folder by chance share no key.
    let hash = format::short_hash(&names.collect::<Vec<_>>().join("\0"));
    parent.join(format!("{stem}-{hash}"))
}

/// The log in a folder.
pub fn log(folder: &Path) -> PathBuf {
    folder.join(LOG_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_questions_to_the_same_models_share_a_folder() {
        let recipe = Recipe::new("pre", "post", "target");
        let mut stronger = recipe.clone();
        stronger.vector.w = 2.0;
        let of = |questions: &str, recipe: &Recipe| folder(Path::new("/data"), questions, recipe);
        let first = of("/日本語/問題 1.jsonl", &recipe);
        assert_eq!(first, of("/日本語/問題 1.jsonl", &stronger));
        assert_ne!(first, of("/other/問題 1.jsonl", &recipe));
        assert_ne!(first, of("/日本語/問題 1.jsonl", &Recipe::new("pre", "post", "other")));
        assert!(first.to_string_lossy().starts_with("/data/問題-1-"), "{}", first.display());
    }
}
