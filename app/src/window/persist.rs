//! What survives closing the window, beside its size and place.

use std::path::PathBuf;

use mergescope_core::recipe::Recipe;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answerer::AnswererSettings;
use super::evaluation::Settings as EvaluationSettings;
use super::try_tab::SavedTry;

/// Key in the storage.
const KEY: &str = "mergescope";
/// Key of the Try tab, apart from the rest: neither is lost with the other.
const TRY_KEY: &str = "mergescope try";

/// Key of what answers.
const ANSWERER_KEY: &str = "mergescope answerer";

/// Key of the Evaluate tab's choices.
const EVALUATE_KEY: &str = "mergescope evaluate";

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// The last recipe.
    pub recipe: Option<Recipe>,
    /// Its file.
    pub file: Option<PathBuf>,
    /// Models used before.
    pub recent: Vec<String>,
    /// Recipes and merge files opened or saved before.
    pub recent_files: Vec<PathBuf>,
    /// Whether the dark or the light theme was chosen; the system's otherwise.
    pub dark: Option<bool>,
    /// The position of the vector that was shown.
    pub shown: usize,
    /// Where the last folder was written to.
    pub output_parent: Option<PathBuf>,
}

impl Saved {
    /// Reads it; whatever cannot be read counts as nothing remembered.
    pub fn load(storage: &dyn eframe::Storage) -> Self {
        eframe::get_value(storage, KEY).unwrap_or_default()
    }

    /// Writes it.
    pub fn store(&self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, KEY, self);
    }
}

/// Reads what was asked on the Try tab; whatever cannot be read counts as nothing.
pub fn load_try(storage: &dyn eframe::Storage) -> SavedTry {
    eframe::get_value(storage, TRY_KEY).unwrap_or_default()
}

/// Writes it.
pub fn store_try(saved: &SavedTry, storage: &mut dyn eframe::Storage) {
    eframe::set_value(storage, TRY_KEY, saved);
}

/// Reads the choices of the Evaluate tab; `None` where there are none that can be read.
pub fn load_evaluation(storage: &dyn eframe::Storage) -> Option<EvaluationSettings> {
    json(storage, EVALUATE_KEY)
}

/// Writes them.
pub fn store_evaluation(settings: &EvaluationSettings, storage: &mut dyn eframe::Storage) {
    store_json(storage, EVALUATE_KEY, settings);
}

/// Reads what answers; `None` where nothing can be read.
pub fn load_answerer(storage: &dyn eframe::Storage) -> Option<AnswererSettings> {
    json(storage, ANSWERER_KEY)
}

/// Writes it.
pub fn store_answerer(settings: &AnswererSettings, storage: &mut dyn eframe::Storage) {
    store_json(storage, ANSWERER_KEY, settings);
}

/// Reads a value as JSON, in which every optional part may be left out.
fn json<T: DeserializeOwned>(storage: &dyn eframe::Storage, key: &str) -> Option<T> {
    let text: String = eframe::get_value(storage, key)?;
    serde_json::from_str(&text).ok()
}

fn store_json<T: Serialize>(storage: &mut dyn eframe::Storage, key: &str, value: &T) {
    if let Ok(text) = serde_json::to_string(value) {
        eframe::set_value(storage, key, &text);
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::recipe::{ControlKind, ControlSpec, Method, Sparsify, VectorSpec};
    use mergescope_core::scaling::Curve;

    use super::*;

    #[derive(Default)]
    struct Memory(std::collections::BTreeMap<String, String>);

    impl eframe::Storage for Memory {
        fn get_string(&self, key: &str) -> Option<String> {
            self.0.get(key).cloned()
        }
        fn set_string(&mut self, key: &str, value: String) {
            self.0.insert(key.to_owned(), value);
        }
        fn remove_string(&mut self, key: &str) {
            self.0.remove(key);
        }
        fn flush(&mut self) {}
    }

    #[test]
    fn what_is_stored_comes_back() {
        let mut recipe = Recipe::new("日本語/pre", "post", "target");
        recipe.vector.w = -0.25;
        let saved = Saved { recipe: Some(recipe), recent: vec!["a".into()], dark: Some(false), ..Saved::default() };
        let mut storage = Memory::default();
        saved.store(&mut storage);
        assert_eq!(Saved::load(&storage), saved);
    }

    #[test]
    fn several_vectors_with_a_method_come_back() {
        let mut recipe = Recipe::new("pre", "post", "target");
        recipe.method.name = Method::Ties;
        (recipe.method.density, recipe.method.normalize) = (Some(0.2), Some(false));
        let mut other = VectorSpec::new("", "saved");
        other.control = Some(ControlSpec { kind: ControlKind::PermuteLayers, seed: 7 });
        (other.sparsify, other.density) = (Some(Sparsify::Dare), Some(0.5));
        other.scaling.curve = Curve::Lines { alpha: 0.5, beta: 0.25 };
        recipe.others = vec![other, VectorSpec::new("a", "b")];
        let saved = Saved { recipe: Some(recipe), shown: 1, ..Saved::default() };
        let mut storage = Memory::default();
        saved.store(&mut storage);
        assert_eq!(Saved::load(&storage), saved);
    }

    #[test]
    fn what_was_asked_comes_back_with_its_answers() {
        use crate::window::try_tab::{Entry, Said, Settings, Transcript};
        let mut settings = Settings { prompt: "問題:1+1?\n\"答え\":".into(), raw: true, ..Settings::default() };
        settings.sampling.temperature = 0.7;
        let said = Said {
            title: "w = 0.25".into(),
            w: vec![0.25],
            is_loaded: false,
            text: "2。\n".into(),
            tokens: 2,
            speed: Some(12.5),
            finish: "stop".into(),
        };
        let recipe = Recipe::new("pre", "post", "target");
        let mut transcript = Transcript::default();
        transcript.add(Entry {
            settings: settings.clone(),
            raw: true,
            engine: "embedded f32".into(),
            recipe,
            answers: vec![said],
        });
        let saved = SavedTry { settings, transcript };
        let mut storage = Memory::default();
        store_try(&saved, &mut storage);
        assert_eq!(load_try(&storage), saved);
    }

    #[test]
    fn choices_of_a_sweep_come_back() {
        let mut settings = EvaluationSettings::default();
        settings.choose_questions(std::path::Path::new("/日本語/問題.jsonl"));
        settings.spec.limit = Some(24);
        let mut storage = Memory::default();
        assert_eq!(load_evaluation(&storage), None);
        store_evaluation(&settings, &mut storage);
        assert_eq!(load_evaluation(&storage), Some(settings));
    }

    #[test]
    fn what_answers_comes_back() {
        use mergescope_core::engine::server::{Delivery, ServerSpec, ServerUrl};

        use crate::window::answerer::{By, ServerSettings};
        let mut spec = ServerSpec::new(ServerUrl::parse("localhost:8000").unwrap());
        (spec.model, spec.delivery) = (Some("m".into()), Delivery::Sglang);
        let server = Some(ServerSettings { spec, loaded_w: 0.5, folder: "/日本語".into() });
        let settings = AnswererSettings { by: By::Server, server, ..AnswererSettings::default() };
        let mut storage = Memory::default();
        assert_eq!(load_answerer(&storage), None);
        store_answerer(&settings, &mut storage);
        assert_eq!(load_answerer(&storage), Some(settings));
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        let mut storage = Memory::default();
        eframe::Storage::set_string(&mut storage, KEY, "(recipe: 7".to_owned());
        assert_eq!(Saved::load(&storage), Saved::default());
    }
}
