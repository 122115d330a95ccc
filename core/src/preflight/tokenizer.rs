//! Findings from tokenizers: the same row of the embeddings should be the same token in all three models.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Finding;
use super::words::{called, count, facts, grouped, named, short};
use crate::alignment::{Role, Triple};
use crate::checkpoint::{Checkpoint, OpenError};
use crate::error::chain;

/// Largest tokenizer file that is read, in bytes; Gemma 3's, the largest in use, has 33 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Tokens by id, each pair once. Two tokens may share an id.
#[derive(Debug, PartialEq, Eq)]
struct Vocabulary(Vec<(u64, String)>);

impl From<Vec<(u64, String)>> for Vocabulary {
    fn from(mut tokens: Vec<(u64, String)>) -> Self {
        tokens.sort_unstable();
        tokens.dedup();
        Self(tokens)
    }
}

/// Why a tokenizer cannot be compared.
#[derive(Debug, thiserror::Error)]
enum TokenizerError {
    #[error(transparent)]
    Path(#[from] OpenError),
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it is not a tokenizer file as the tokenizers library writes it")]
    Json(#[from] serde_json::Error),
}

impl Vocabulary {
    fn tokens(&self) -> HashSet<&str> {
        self.0.iter().map(|(_, token)| token.as_str()).collect()
    }
}

/// A tokenizer's file, read but not yet parsed: mostly the three are the same bytes.
struct Source {
    name: &'static str,
    bytes: Vec<u8>,
    /// `added_tokens.json` beside a `vocab.json`.
    added: Vec<u8>,
}

/// Compares the tokenizers of pre and post with target's.
pub(super) fn compare(triple: &Triple) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut absent = Vec::new();
    let mut sources: Vec<(Role, Source)> = Vec::new();
    for role in named(triple) {
        match source(triple.get(role)) {
            Ok(Some(source)) => sources.push((role, source)),
            Ok(None) => absent.push(called(triple, role)),
            Err((name, error)) => findings.push(unreadable(called(triple, role), name, &error)),
        }
    }
    if !absent.is_empty() {
        let (labels, verb) = (absent.join(", "), if absent.len() == 1 { "has" } else { "have" });
        findings.push(
            Finding::note("no-tokenizer", format!("{labels} {verb} no tokenizer.json or vocab.json"))
                .detail("Whether a row of the embeddings is the same token in all three cannot be checked"),
        );
    }
    let same_files = |a: &Source, b: &Source| a.name == b.name && a.bytes == b.bytes && a.added == b.added;
    if sources.windows(2).all(|pair| same_files(&pair[0].1, &pair[1].1)) {
        return findings;
    }
    let mut vocabularies = Vec::new();
    for (role, source) in sources {
        match source.vocabulary() {
            Ok(vocabulary) => vocabularies.push((role, vocabulary)),
            Err(error) => findings.push(unreadable(called(triple, role), source.name, &error)),
        }
    }
    // Everything is compared with target; without its tokenizer, post with pre.
    let Some((reference_role, reference)) = vocabularies.pop() else { return findings };
    for (role, vocabulary) in &vocabularies {
        findings.extend(differences(called(triple, *role), vocabulary, called(triple, reference_role), &reference));
    }
    findings
}

fn unreadable(role: &str, name: &str, error: &TokenizerError) -> Finding {
    Finding::warning("tokenizer-unreadable", format!("The {name} of {role} cannot be read"))
        .detail(chain(error))
        .action("Download the model again, or compare the tokenizers by hand")
}

fn differences(label: &str, own: &Vocabulary, against: &str, reference: &Vocabulary) -> Vec<Finding> {
    if own == reference {
        return Vec::new();
    }
    let mut differing: Vec<(u64, &str, &str)> = Vec::new();
    let mut rest = reference.0.as_slice();
    for (id, token) in &own.0 {
        rest = &rest[rest.partition_point(|(other, _)| other < id)..];
        let same_id = &rest[..rest.partition_point(|(other, _)| other <= id)];
        if let Some((_, other)) = same_id.first()
            && !same_id.iter().any(|(_, other)| other == token)
        {
            differing.push((*id, token, other));
        }
    }
    let mut findings = Vec::new();
    if !differing.is_empty() {
        let each: Vec<String> = differing
            .iter()
            .map(|(id, own, other)| format!("id {id} is `{}` in {label}, `{}` in {against}", short(own), short(other)))
            .collect();
        let share = format!("{} of {}", grouped(differing.len() as u64), count(own.0.len() as u64, "token id"));
        findings.push(
            Finding::warning("tokenizer-ids", format!("{share} of {label} stand for another token than in {against}"))
                .detail(facts(&each))
                .action("The vector would be added to the rows of other tokens; choose models with one tokenizer"),
        );
    }
    let (own, reference) = (own.tokens(), reference.tokens());
    let (here, there) = (own.difference(&reference).count() as u64, reference.difference(&own).count() as u64);
    if differing.is_empty() && here + there > 0 {
        let title = format!("{label} and {against} have the same token ids but for added tokens");
        let detail = format!("{} only in {label}, {} only in {against}", count(here, "token"), grouped(there));
        findings.push(Finding::note("tokenizer-added", title).detail(detail));
    }
    findings
}

fn source(checkpoint: &Checkpoint) -> Result<Option<Source>, (&'static str, TokenizerError)> {
    if checkpoint.is_single_file() {
        return Ok(None);
    }
    for name in ["tokenizer.json", "vocab.json"] {
        if !checkpoint.root().join(name).exists() {
            continue;
        }
        let load = |name: &str| -> Result<Vec<u8>, TokenizerError> { read(&checkpoint.sidecar(name)?) };
        let bytes = load(name).map_err(|error| (name, error))?;
        let has_added = name == "vocab.json" && checkpoint.root().join("added_tokens.json").exists();
        let added = if has_added {
            load("added_tokens.json").map_err(|error| ("added_tokens.json", error))?
        } else {
            Vec::new()
        };
        return Ok(Some(Source { name, bytes, added }));
    }
    Ok(None)
}

/// The whole file, unless it is too large or not a file at all: a pipe would never end.
fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    if metadata.len() > MAX_BYTES {
        return Err(TokenizerError::TooLarge);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Source {
    fn vocabulary(&self) -> Result<Vocabulary, TokenizerError> {
        if self.name == "vocab.json" {
            let Entries(mut tokens) = serde_json::from_slice(&self.bytes)?;
            if !self.added.is_empty() {
                let Entries(added) = serde_json::from_slice(&self.added)?;
                tokens.extend(added);
            }
            return Ok(tokens.into());
        }
        let file: TokenizerFile = serde_json::from_slice(&self.bytes)?;
        let Entries(mut tokens) = file.model.vocab;
        tokens.extend(file.added_tokens.unwrap_or_default().into_iter().map(|token| (token.id, token.content)));
        Ok(tokens.into())
    }
}

/// The parts of a `tokenizer.json` that say which id a token has.
#[derive(Deserialize)]
struct TokenizerFile {
    model: Model,
    added_tokens: Option<Vec<AddedToken>>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Entries,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
}

/// BPE, WordPiece and WordLevel store `{token: id}`, Unigram `[[token, score], …]` in the order of ids.
struct Entries(Vec<(u64, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map from token to id or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some((token, id)) = map.next_entry()? {
                    tokens.push((id, token));
                }
                Ok(Entries(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some((token, _score)) = list.next_element::<(String, IgnoredAny)>()? {
                    tokens.push((tokens.len() as u64, token));
                }
                Ok(Entries(tokens))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vocabulary(json: &str) -> Result<Vocabulary, TokenizerError> {
        Source { name: "tokenizer.json", bytes: json.as_bytes().to_vec(), added: Vec::new() }.vocabulary()
    }

    #[test]
    fn maps_lists_and_added_tokens_are_read() {
        let bpe = vocabulary(
            r#"{"added_tokens":[{"id":2,"content":"<eos>","special":true}],
                "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","b"]]}}"#,
        )
        .unwrap();
        let tokens =
            |list: [&str; 3]| list.iter().enumerate().map(|(id, &token)| (id as u64, token.to_owned())).collect();
        assert_eq!(bpe, Vocabulary(tokens(["a", "b", "<eos>"])));
        let unigram =
            vocabulary(r#"{"model":{"type":"Unigram","vocab":[["<unk>",0.0],["x",-1.5],["<unk>",0]]}}"#).unwrap();
        assert_eq!(unigram, Vocabulary(tokens(["<unk>", "x", "<unk>"])));
    }

    #[test]
    fn anything_else_is_an_error_and_no_panic() {
        let deep = format!(r#"{{"model":{{"vocab":{}}}}}"#, "[".repeat(100_000));
        for json in
            ["", "[]", "null", r#"{"model":{}}"#, r#"{"model":{"vocab":{"a":-1}}}"#, r#"{"model":{"vocab":7}}"#, &deep]
        {
            assert!(vocabulary(json).is_err(), "{}", short(json));
        }
    }
    proptest! {
        #[test]
        fn any_two_vocabularies_can_be_compared(
            a in prop::collection::vec((0_u64..6, "[a-c]{0,2}"), 0..8),
            b in prop::collection::vec((0_u64..6, "[a-c]{0,2}"), 0..8),
        ) {
            let (a, b) = (Vocabulary::from(a), Vocabulary::from(b));
            let findings = differences("pre", &a, "target", &b);
            // By the definition: an id that both use, with a token that the other does not give it.
            let differ = a.0.iter().any(|(id, token)| {
                b.0.iter().any(|(other, _)| other == id) && !b.0.contains(&(*id, token.clone()))
            });
            prop_assert_eq!(findings.iter().any(|finding| finding.code == "tokenizer-ids"), differ);
        }
    }
}
