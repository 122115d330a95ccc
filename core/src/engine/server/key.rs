//! Where a server's key stands, in a form that cannot hold a secret.

use serde::{Deserialize, Serialize};

/// The name of an environment variable that holds a key: capital letters, digits and underscores, which no key in use
/// consists of, so that a key cannot stand here by mistake and be stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyVariable(String);

impl KeyVariable {
    /// Takes what a person typed.
    ///
    /// # Errors
    /// When it is no such name. The error does not repeat it, since it might be a key.
    pub fn parse(text: &str) -> Result<Self, KeyVariableError> {
        let text = text.trim();
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let begins_well = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if begins_well && text.len() <= 128 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyVariableError)
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyVariable {
    type Error = KeyVariableError;

    fn try_from(text: String) -> Result<Self, KeyVariableError> {
        Self::parse(&text)
    }
}

impl From<KeyVariable> for String {
    fn from(variable: KeyVariable) -> Self {
        variable.0
    }
}

/// Why a text is no name of an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key is told by the name of the environment variable that holds it, in capital letters, digits and underscores, such as OPENAI_API_KEY; never write the key itself here"
)]
pub struct KeyVariableError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_place_of_its_variable_is_refused_without_repeating_it() {
        assert_eq!(KeyVariable::parse(" OPENAI_API_KEY ").unwrap().name(), "OPENAI_API_KEY");
        for text in ["sk-abc123", "hf_AbCdEf", "", "1KEY", "A B", "KEY="] {
            let refused = KeyVariable::parse(text).unwrap_err().to_string();
            assert!(text.is_empty() || !refused.contains(text), "{refused}");
        }
    }
}
