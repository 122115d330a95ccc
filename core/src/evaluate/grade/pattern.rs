//! Patterns: those that graders have, and one that a person gives.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Longest pattern that is taken, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// Most memory that a compiled pattern may take, in bytes.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// A pattern that is part of this program.
#[expect(clippy::expect_used, reason = "each is a constant, and tests use each")]
pub(super) fn known(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this program is valid")
}

/// A person's pattern, in the syntax of the `regex` crate: no look-around and no back-references, so that the time of a
/// search grows only with the length of the text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Regex);

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("the pattern has {found} bytes; it may have {MAX_PATTERN_BYTES}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// It is not valid, or grows too large when counted repetitions are written out.
    #[error("the pattern {pattern:?} cannot be used: {reason}")]
    Invalid {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is longer than [`MAX_PATTERN_BYTES`], not valid, or too large when compiled.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong { found: pattern.len() });
        }
        RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().map(Self).map_err(|error| {
            let reason = match &error {
                regex::Error::CompiledTooBig(_) => "it is too large; use smaller counts in {…}".to_owned(),
                // The crate draws a picture over several lines, of which the last says what is wrong.
                other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            };
            PatternError::Invalid { pattern: pattern.to_owned(), reason }
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(pattern: String) -> Result<Self, PatternError> {
        Self::new(&pattern)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_cannot_be_used_says_why() {
        let refused = |pattern: &str| Pattern::new(pattern).unwrap_err().to_string();
        assert_eq!(refused("答え(:"), "the pattern \"答え(:\" cannot be used: unclosed group");
        assert!(refused("(?=x)").contains("look-around"), "{}", refused("(?=x)"));
        assert!(refused(r"\w{1000}{1000}").contains("too large"));
        assert_eq!(refused(&"x".repeat(5_000)), "the pattern has 5000 bytes; it may have 4096");
    }
}
