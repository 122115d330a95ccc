//! What a generation depends on, as one short name.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{Prompt, Sampling};
use crate::recipe::{OutputSpec, Recipe};

/// Comes before what is hashed. Another number makes all keys new.
const DOMAIN: &str = "mergescope sample 2\n";

/// Everything that the model which answers is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ModelParts<'a> {
    /// [`Checkpoint::fingerprint`](crate::checkpoint::Checkpoint::fingerprint) of every model that takes part, in the order of
    /// the recipe; of a model alone, its own.
    pub weights: &'a [String],
    /// [`text_fingerprint`](crate::engine::text_fingerprint) of the model whose tokenizer and config it has.
    pub text: &'a str,
    /// What the weights are made by; `None` for a model alone. How its models are called, where files are split and which
    /// inputs it was last run with do not count.
    #[serde(serialize_with = "without_names")]
    pub recipe: Option<&'a Recipe>,
    /// The scaling coefficient, where there is one.
    pub w: Option<f64>,
}

impl ModelParts<'_> {
    /// One short name for all of it.
    pub fn key(&self) -> ModelKey {
        ModelKey(hash("model", self).to_hex().to_string())
    }
}

/// A model as one short name: made once, and used for each of its many answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelKey(String);

/// Everything that a generation depends on.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct KeyParts<'a> {
    /// Who answers.
    pub model: &'a ModelKey,
    /// What the model is given.
    pub prompt: &'a Prompt,
    /// How tokens are chosen, the seed included.
    pub sampling: &'a Sampling,
    /// After so many tokens the answer is cut off.
    pub max_tokens: usize,
    /// The answer ends before any of these.
    pub stop: &'a [String],
    /// [`Engine::identity`](crate::engine::Engine::identity).
    pub engine: &'a str,
    /// Which of several samples of the question it is, from 0.
    pub sample: u32,
}

/// A recipe without what changes no number: names of models, files of the output.
fn without_names<S: serde::Serializer>(recipe: &Option<&Recipe>, serializer: S) -> Result<S::Ok, S::Error> {
    let recipe = recipe.map(|recipe| {
        let mut recipe = recipe.clone();
        recipe.target.clear();
        for vector in recipe.vectors_mut() {
            vector.pre.clear();
            vector.post.clear();
        }
        recipe.inputs = None;
        recipe.output.shard_bytes = OutputSpec::default().shard_bytes;
        recipe
    });
    recipe.serialize(serializer)
}

impl KeyParts<'_> {
    /// The key of the sample.
    pub fn key(&self) -> SampleKey {
        SampleKey(hash("sample", self))
    }
}

/// blake3 over the parts as JSON with sorted names and no spaces.
#[expect(clippy::expect_used, reason = "strings, numbers, lists and structs of them all have a JSON form")]
fn hash(of: &str, parts: &impl Serialize) -> blake3::Hash {
    let value = serde_json::to_value(parts).expect("the parts of a key have a JSON form");
    let mut text = format!("{DOMAIN}{of}\n");
    write_canonical(&value, &mut text);
    blake3::hash(text.as_bytes())
}

/// JSON in one way of writing it: names sorted, no spaces, one zero.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            for (index, (name, value)) in entries.into_iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Number(number) if number.as_f64() == Some(0.0) && number.is_f64() => out.push_str("0.0"),
        other => out.push_str(&other.to_string()),
    }
}

/// What a generation depends on, as 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SampleKey(blake3::Hash);

impl fmt::Display for SampleKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0.to_hex())
    }
}

impl From<SampleKey> for String {
    fn from(key: SampleKey) -> Self {
        key.0.to_hex().to_string()
    }
}

impl TryFrom<String> for SampleKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        blake3::Hash::from_hex(&text).map(Self).map_err(|_| "a key has 64 hex digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given {
        weights: Vec<String>,
        recipe: Recipe,
        prompt: Prompt,
        sampling: Sampling,
        stop: Vec<String>,
    }

    fn given() -> Given {
        Given {
            weights: ["aa", "bb", "cc"].map(str::to_owned).to_vec(),
            recipe: Recipe::new("models/pre", "models/post", "models/target"),
            prompt: Prompt::Raw("問題:29と5の合計は?\n答え:".to_owned()),
            sampling: Sampling::default(),
            stop: vec!["\n".to_owned()],
        }
    }

    fn model(given: &Given) -> ModelParts<'_> {
        ModelParts { weights: &given.weights, text: "dd", recipe: Some(&given.recipe), w: Some(0.5) }
    }

    fn parts<'a>(given: &'a Given, model: &'a ModelKey) -> KeyParts<'a> {
        KeyParts {
            model,
            prompt: &given.prompt,
            sampling: &given.sampling,
            max_tokens: 100,
            stop: &given.stop,
            engine: "embedded f32",
            sample: 0,
        }
    }

    #[test]
    fn everything_that_changes_a_number_changes_the_key() {
        let plain = given();
        let by = |model: ModelParts<'_>| parts(&plain, &model.key()).key();
        let key = by(model(&plain));
        let mut others = vec![
            by(ModelParts { recipe: None, ..model(&plain) }),
            by(ModelParts { w: Some(0.75), ..model(&plain) }),
            by(ModelParts { w: None, ..model(&plain) }),
            by(ModelParts { text: "ee", ..model(&plain) }),
            by(ModelParts { weights: &plain.weights[..2], ..model(&plain) }),
        ];
        let mut changed = given();
        changed.recipe.vector.w = 0.25;
        others.push(by(model(&changed)));
        let name = model(&plain).key();
        assert_eq!(key, parts(&given(), &name).key());
        others.extend([
            KeyParts { max_tokens: 101, ..parts(&plain, &name) }.key(),
            KeyParts { stop: &[], ..parts(&plain, &name) }.key(),
            KeyParts { engine: "embedded bf16", ..parts(&plain, &name) }.key(),
            KeyParts { sample: 1, ..parts(&plain, &name) }.key(),
            KeyParts { prompt: &Prompt::Chat(Vec::new()), ..parts(&plain, &name) }.key(),
            KeyParts { sampling: &Sampling { seed: 1, ..Sampling::default() }, ..parts(&plain, &name) }.key(),
            key,
        ]);
        let count = others.len();
        others.sort_by_key(SampleKey::to_string);
        others.dedup();
        assert_eq!(others.len(), count);
    }

    #[test]
    fn what_changes_no_number_does_not_change_the_key() {
        let (plain, mut moved) = (given(), given());
        moved.recipe.target = "elsewhere/target".to_owned();
        moved.recipe.vector.pre = "org/pre".to_owned();
        moved.recipe.output.shard_bytes = 1_000_000;
        assert_eq!(model(&plain).key(), model(&moved).key());
        let (zero, minus_zero) =
            (ModelParts { w: Some(0.0), ..model(&plain) }, ModelParts { w: Some(-0.0), ..model(&plain) });
        assert_eq!(zero.key(), minus_zero.key());
    }

    #[test]
    fn names_are_sorted_at_every_depth() {
        let canonical = |json: &str| {
            let mut out = String::new();
            write_canonical(&serde_json::from_str(json).unwrap(), &mut out);
            out
        };
        assert_eq!(
            canonical(r#"{"b": [1, {"d": null, "c": "é\n"}], "a": -0.0, "e": {}}"#),
            r#"{"a":0.0,"b":[1,{"c":"é\n","d":null}],"e":{}}"#
        );
    }

    #[test]
    fn keys_are_those_of_earlier_versions() {
        // Should this fail, logs of people start anew: change it on purpose only, and say so in the changelog.
        let plain = given();
        let name = ModelParts { recipe: None, w: None, ..model(&plain) }.key();
        let alone = parts(&plain, &name).key().to_string();
        assert_eq!(alone, "49a1136fa6ba24d2eaa79613820f1dd4bb66f69dd42c2f7bb2f26756fd09fe93");
    }

    #[test]
    fn a_key_is_64_hex_digits() {
        let plain = given();
        let text = parts(&plain, &model(&plain).key()).key().to_string();
        assert_eq!(text.len(), 64);
        let read: SampleKey = serde_json::from_str(&format!("{text:?}")).unwrap();
        assert_eq!(read.to_string(), text);
        for bad in ["", "12", &"g".repeat(64)] {
            assert!(serde_json::from_str::<SampleKey>(&format!("{bad:?}")).is_err());
        }
    }
}
