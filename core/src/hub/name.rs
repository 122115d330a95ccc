//! Names of models on the Hub, and of their revisions. They come from people and files, and become parts of paths and
//! addresses: only what the Hub allows gets that far.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

/// Longest name of an organisation or a model, in bytes; the Hub's own limit is 96.
const MAX_NAME_BYTES: usize = 200;

/// Longest name of a revision, in bytes.
const MAX_REVISION_BYTES: usize = 250;

/// The revision that is meant where none is named.
pub const MAIN: &str = "main";

/// `org/name[@revision]`: a model on the Hub. A revision is a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubName {
    id: String,
    revision: Option<String>,
}

/// A text is no name of a model on the Hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no name of a model on the Hub; write ORG/NAME, such as Qwen/Qwen2.5-0.5B, or ORG/NAME@REVISION with a branch, tag or commit"
)]
pub struct HubNameError {
    text: String,
}

impl HubName {
    /// Takes `org/name` or `org/name@revision`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, HubNameError> {
        let name = Self::parse_cached(text.trim()).filter(|name| name.id.contains('/'));
        name.ok_or_else(|| HubNameError { text: text.trim().chars().take(MAX_NAME_BYTES).collect() })
    }

    /// The same for what may lie in a cache: there, models of the Hub's first years have no organisation.
    pub(super) fn parse_cached(text: &str) -> Option<Self> {
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        let mut parts = id.split('/');
        let fits = parts.by_ref().take(2).all(is_part) && parts.next().is_none();
        let fits = fits && revision.is_none_or(is_revision);
        fits.then(|| Self { id: id.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// `org/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The revision, where one is named.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The revision that is meant.
    pub fn revision_or_main(&self) -> &str {
        self.revision().unwrap_or(MAIN)
    }

    /// The name of its folder in a cache: `models--org--name`.
    pub(super) fn folder(&self) -> String {
        format!("models--{}", self.id.replace('/', "--"))
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)?;
        match &self.revision {
            Some(revision) => write!(formatter, "@{revision}"),
            None => Ok(()),
        }
    }
}

impl FromStr for HubName {
    type Err = HubNameError;

    fn from_str(text: &str) -> Result<Self, HubNameError> {
        Self::parse(text)
    }
}

/// Whether it could be `org/name[@revision]` of a model on the Hub.
pub fn is_hub_id(spec: &str) -> bool {
    HubName::parse(spec).is_ok_and(|name| name.to_string() == spec)
}

/// A name as the Hub allows it for an organisation or a model.
fn is_part(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bounded = name.len() <= MAX_NAME_BYTES;
    bounded && is_plain(name) && name.bytes().all(allowed) && !name.contains("--") && !name.contains("..")
}

/// A name as git allows it for a branch or a tag, but for letters beyond ASCII; `refs/pr/1` is one too.
fn is_revision(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    let part =
        |part: &str| is_plain(part) && part.bytes().all(allowed) && !part.starts_with('.') && !part.ends_with('.');
    name.len() <= MAX_REVISION_BYTES && !name.contains("..") && name.split('/').all(part)
}

/// Whether it is the whole name of a commit: SHA-1 or SHA-256 in hexadecimal.
pub(super) fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && is_lower_hex(name)
}

/// Whether it holds hexadecimal digits alone, without capitals.
pub(super) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether it is one component of a path, and neither `.` nor `..`, on any system.
pub(super) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.contains(['\\', '/', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_taken_with_and_without_a_revision() {
        for (text, id, revision) in [
            ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None),
            (" org/name@v1.0 ", "org/name", Some("v1.0")),
            ("org/name@refs/pr/3", "org/name", Some("refs/pr/3")),
            (
                "org/name@0123456789012345678901234567890123456789",
                "org/name",
                Some("0123456789012345678901234567890123456789"),
            ),
        ] {
            let name = HubName::parse(text).unwrap();
            assert_eq!((name.id(), name.revision()), (id, revision));
            assert_eq!(name.to_string(), text.trim());
        }
        assert_eq!(HubName::parse("org/name").unwrap().revision_or_main(), "main");
        assert_eq!(HubName::parse("org/name@x").unwrap().folder(), "models--org--name");
        assert_eq!(HubName::parse_cached("gpt2").map(|name| name.folder()).as_deref(), Some("models--gpt2"));
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_one_looks_like() {
        for text in [
            "",
            "gpt2",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b@..",
            "a/b@../c",
            "a/b@/c",
            "a/b@c/",
            "a/b@c//d",
            "a/b@c\\d",
            "a/b@.x",
            "a/b@x@y",
            "a/b c",
            "a--b/c",
            "/a/b",
            "a/b\u{e9}",
            "./a",
            "C:/x",
            "a/b@x:y",
        ] {
            assert!(HubName::parse(text).unwrap_err().to_string().contains("write ORG/NAME"), "{text}");
            assert!(!is_hub_id(text), "{text}");
        }
        assert!(!is_hub_id(" org/name") && is_hub_id("org/name@v1"));
        assert!(HubName::parse(&format!("a/{}", "b".repeat(201))).is_err());
    }

    proptest! {
        /// Whatever is taken for a name leads into one folder of the cache, and to one place on the Hub.
        #[test]
        fn no_name_leads_anywhere_else(text in "[a-c./@~\\\\:%?# -]{0,14}") {
            if let Some(name) = HubName::parse_cached(&text) {
                prop_assert!(is_plain(&name.folder()));
                prop_assert!(name.id().split('/').all(is_plain) && !name.id().contains(['%', '?', '#', ' ', '~']));
                let revision = name.revision_or_main();
                prop_assert!(revision.split('/').all(is_plain) && !revision.contains(['%', '?', ' ', '~', '\\', ':']));
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
