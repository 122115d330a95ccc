//! A key that is shown to one host, and what hosts say without it.

use std::fmt;

use serde_json::Value;
use ureq::http::HeaderValue;

/// As much as is shown of what a server says, in characters.
const SHOWN_CHARS: usize = 300;

/// A key. What can be shown of it is that there is one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    text: String,
    header: HeaderValue,
}

impl Secret {
    /// The key in `text`; `None` where it holds characters that no key may have, or nothing.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut header = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| !text.is_empty())?;
        header.set_sensitive(true);
        Some(Self { text: text.to_owned(), header })
    }

    /// What stands in the header `Authorization`.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(the key)")
    }
}

/// `text` without the key, without control characters, and short.
pub(crate) fn clean(text: &str, key: Option<&Secret>) -> String {
    let text = match key {
        Some(key) => text.replace(&key.text, "(the key)"),
        None => text.to_owned(),
    };
    let mut shown: String = text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// What a server said, short and in one line: the message inside JSON, the kind of anything that is a page.
pub(crate) fn shown(text: &str, key: Option<&Secret>) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "(nothing)".to_owned();
    }
    if text.starts_with('<') {
        return "(a page in HTML, which no such server sends)".to_owned();
    }
    let message = serde_json::from_str::<Value>(text).ok().and_then(|value| message_in(&value));
    clean(message.as_deref().unwrap_or(text), key)
}

/// The message in what the servers' errors look like: `{"error": {"message"}}`, `{"error"}`, `{"message"}`, `{"detail"}`.
fn message_in(value: &Value) -> Option<String> {
    let error = value.get("error");
    let places = [error.and_then(|error| error.get("message")), error, value.get("message"), value.get("detail")];
    places.into_iter().flatten().find_map(|place| place.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_no_text() {
        let key = Secret::new(" hf_secret\n").unwrap();
        assert_eq!(key.header().to_str().unwrap(), "Bearer hf_secret");
        for shown in [
            format!("{key:?} {:?}", key.header()),
            clean("no hf_secret\u{7} here", Some(&key)),
            shown("{\"error\":\"hf_secret?\"}", Some(&key)),
        ] {
            assert!(!shown.contains("hf_secret") && !shown.contains('\u{7}'), "{shown}");
        }
        assert_eq!((Secret::new(" "), Secret::new("a\nb")), (None, None));
    }

    #[test]
    fn what_a_server_says_is_short_and_in_its_own_words() {
        assert_eq!(shown(r#"{"error":{"message":"full"}}"#, None), "full");
        assert_eq!(shown(r#"{"detail":"gone"}"#, None), "gone");
        assert_eq!(shown("  ", None), "(nothing)");
        assert_eq!(shown("<html>", None), "(a page in HTML, which no such server sends)");
        assert_eq!(shown(&"x".repeat(400), None).chars().count(), SHOWN_CHARS + 1);
    }
}
