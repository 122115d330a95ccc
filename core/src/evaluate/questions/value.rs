//! Values of a record as text.

use serde_json::{Map, Value};

/// The value at `name`: a field of that name, else a path like `choices.text` into an object.
pub(super) fn lookup<'a>(record: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = record.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    lookup(record.get(first)?.as_object()?, rest)
}

/// A string, number or truth value as text, and a list of one as its item; nothing for what is null or empty.
pub(super) fn text_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(items) if items.len() == 1 && !items[0].is_array() => return text_of(&items[0]),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The items of a list, also of one that a table's cell holds as JSON.
pub(super) fn list_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(text_of).collect(),
        Value::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str::<Vec<Value>>(text).ok()?.iter().map(text_of).collect()
        }
        _ => None,
    }
}

/// Any value as a prompt has it: strings as they are, null as nothing, lists and objects as JSON.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// At most `count` characters, with an ellipsis where some are left out.
pub(super) fn clipped(text: &str, count: usize) -> String {
    match text.char_indices().nth(count) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
