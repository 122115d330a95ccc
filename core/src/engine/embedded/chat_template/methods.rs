//! Methods of Python's strings that real templates call and minijinja-contrib does not have.

use minijinja::value::{Value, from_args};
use minijinja::{Error, ErrorKind, State};

/// Longest text that a method makes, in bytes. minijinja counts what its own filters make before they make it; what methods
/// make, it counts afterwards.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Calls a method of a value: one of those here, else of minijinja-contrib's.
pub(super) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.as_str().map(|text| of_text(text, method, args)) {
        Some(Ok(Some(found))) => Ok(found),
        Some(Err(error)) => Err(error),
        Some(Ok(None)) | None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let grows = match method {
        "replace" => {
            let (old, new, _): (&str, &str, Option<i32>) = from_args(args)?;
            text.matches(old).count().saturating_mul(new.len())
        }
        "format" => {
            let longest = args.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or_default();
            text.matches('{').count().saturating_mul(longest)
        }
        _ => 0,
    };
    bounded(text.len().saturating_add(grows))?;
    let part = || -> Result<&str, Error> { Ok(from_args::<(&str,)>(args)?.0) };
    let three = |a: &str, b: &str, c: &str| [a, b, c].into_iter().map(Value::from).collect::<Value>();
    Ok(Some(match method {
        "removeprefix" => Value::from(text.strip_prefix(part()?).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(part()?).unwrap_or(text)),
        "partition" => match text.split_once(separator(part()?)?) {
            Some((before, after)) => three(before, part()?, after),
            None => three(text, "", ""),
        },
        "rpartition" => match text.rsplit_once(separator(part()?)?) {
            Some((before, after)) => three(before, part()?, after),
            None => three("", "", text),
        },
        "rsplit" => {
            let (at, most): (&str, Option<i64>) = from_args(args)?;
            // Below 0 there is no limit.
            let parts = most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most + 1);
            let mut parts: Vec<Value> = text.rsplitn(parts, separator(at)?).map(Value::from).collect();
            parts.reverse();
            Value::from(parts)
        }
        "join" => {
            let mut joined = String::new();
            for (at, item) in from_args::<(&Value,)>(args)?.0.try_iter()?.enumerate() {
                let not_text = || Error::new(ErrorKind::InvalidOperation, "join takes strings alone");
                let item = item.as_str().ok_or_else(not_text)?;
                let before = if at > 0 { text } else { "" };
                bounded(joined.len() + before.len() + item.len())?;
                joined.push_str(before);
                joined.push_str(item);
            }
            Value::from(joined)
        }
        "index" | "rindex" => {
            let found = if method == "index" { text.find(part()?) } else { text.rfind(part()?) };
            let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
            Value::from(text[..found.ok_or_else(missing)?].chars().count())
        }
        _ => return Ok(None),
    }))
}

fn bounded(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_TEXT_BYTES { Err(ErrorKind::OutOfFuel.into()) } else { Ok(()) }
}

fn separator(text: &str) -> Result<&str, Error> {
    let empty = || Error::new(ErrorKind::InvalidOperation, "empty separator");
    (!text.is_empty()).then_some(text).ok_or_else(empty)
}
