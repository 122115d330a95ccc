//! How findings speak of names, numbers and of values that a stranger's file holds.

use serde_json::Value;

use crate::alignment::{Role, Triple};
use crate::checkpoint::CheckpointKind;

/// Names shown before the rest is only counted.
const SHOWN_NAMES: usize = 3;

/// Characters shown of a value or a token that a file holds.
const SHOWN_CHARS: usize = 60;

/// The models that a person named: a saved vector has no pre, and a vector that is being saved no target.
pub(super) fn named(triple: &Triple) -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(|&role| triple.get(role).kind() != CheckpointKind::Zeros)
}

/// What a model is called. Zeros are called as what they stand for.
pub(super) fn called(triple: &Triple, role: Role) -> &'static str {
    match (role, triple.get(role).kind()) {
        (Role::Pre, CheckpointKind::Zeros) => called(triple, Role::Post),
        (Role::Target, CheckpointKind::Zeros) => Role::Post.label(),
        (_, CheckpointKind::Vector) => "the vector",
        _ => role.label(),
    }
}

/// "1 tensor", "12 tensors", "18,867 tensors".
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// 18867 → "18,867".
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "`a`, `b`, `c` and 4 more".
pub(super) fn examples<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN_NAMES).map(|name| format!("`{}`", short(name.as_ref()))).collect();
    match names.len().saturating_sub(SHOWN_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), grouped(more as u64)),
    }
}

/// "a; b; c; and 4 more", for facts that are longer than a name.
pub(super) fn facts(facts: &[String]) -> String {
    let shown = facts.iter().take(SHOWN_NAMES).cloned().collect::<Vec<_>>().join("; ");
    match facts.len().saturating_sub(SHOWN_NAMES) {
        0 => shown,
        more => format!("{shown}; and {} more", grouped(more as u64)),
    }
}

/// Text from a file on one line, cut where it gets long.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    // Quotes are harmless between backticks.
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// A JSON value as a person would write it: `10000`, `silu`, `none`, `{"factor":8.0}`.
pub(super) fn value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => short(text),
        Some(Value::Number(number)) => match number.as_f64() {
            // 10000.0 and 10000 are the same setting; so are 1e-06 and 0.000001.
            Some(number) if number.abs() < 1e-3 && number != 0.0 => format!("{number:e}"),
            Some(number) => number.to_string(),
            None => number.to_string(),
        },
        Some(other) => short(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_read_well() {
        assert_eq!(count(1, "tensor"), "1 tensor");
        assert_eq!(count(18_867, "tensor"), "18,867 tensors");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(examples(&["a", "b", "c", "d", "e"]), "`a`, `b`, `c` and 2 more");
        assert_eq!(examples(&["a"]), "`a`");
    }

    #[test]
    fn text_from_files_stays_short_and_on_one_line() {
        assert_eq!(short("a\n\u{1b}[31m\"b\""), "a\\n\\u{1b}[31m\"b\"");
        assert_eq!(short(&"あ".repeat(1000)).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(value(Some(&json!(10000.0))), "10000");
        assert_eq!(value(Some(&json!(0.000001))), "1e-6");
        assert_eq!(value(None), "none");
    }
}
