//! Chat templates: from a conversation to the text that a model was trained on.
//!
//! A template is a program in Jinja that comes with a model. It can compute text and nothing else, and is stopped when it
//! computes for too long. What it may use follows transformers' `apply_chat_template`.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize as _;
use serde_json::ser::Formatter;

use crate::engine::Message;

/// What a template may use up: minijinja counts one for each instruction and for each 64 bytes that it makes or reads.
const LEAST_FUEL: u64 = 1_000_000;
/// Largest template that is read, in bytes.
pub(super) const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Why a conversation cannot be put into a template.
#[derive(Debug, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("the model's chat template has {0} bytes; at most {MAX_TEMPLATE_BYTES} are read")]
    TooLarge(usize),
    #[error("the model's chat template cannot be read: {0}; send the prompt as raw text instead")]
    Syntax(String),
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
    #[error("the model's chat template fails: {0}; send the prompt as raw text instead")]
    Failed(String),
    #[error("the model's chat template was stopped: it computes without end")]
    Endless,
}

/// A chat template with the special tokens that it may name.
#[derive(Clone, Debug)]
pub(super) struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Takes a template and the tokens that begin and end a text.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLarge(source.len()));
        }
        // transformers marks what the assistant says; nothing is marked here.
        let source = ["{%- ", "{% ", "{%-", "{%"].iter().fold(source.to_owned(), |text, open| {
            let text = text.replace(&format!("{open}generation"), &format!("{open}if true"));
            text.replace(&format!("{open}endgeneration"), &format!("{open}endif"))
        });
        Ok(Self { source, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The conversation as text, up to where the assistant begins. `date` is what the template takes for today.
    pub fn render(&self, messages: &[Message], date: jiff::civil::Date) -> Result<String, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| TemplateError::Syntax(error.to_string()))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let said: usize = messages.iter().map(|message| message.content.len()).sum();
        environment.set_fuel(Some(LEAST_FUEL + said as u64));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
        });
        environment.add_function("strftime_now", move |format: String| -> Result<String, Error> {
            jiff::fmt::strtime::format(format.as_bytes(), date.at(0, 0, 0, 0))
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        environment.add_template("chat", &self.source).map_err(|error| TemplateError::Syntax(described(&error)))?;
        let template = environment.get_template("chat").map_err(|error| TemplateError::Syntax(described(&error)))?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.name(), content => message.content.as_str() })
            .collect();
        let context = context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        match template.render(context) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(TemplateError::Endless),
            Err(error) if raised(&error) => Err(TemplateError::Refused(detail(&error))),
            Err(error) => Err(TemplateError::Failed(described(&error))),
        }
    }
}

/// Marks what a template itself objects to.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

fn raised(error: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(found) = source {
        if found.is::<Raised>() {
            return true;
        }
        source = found.source();
    }
    false
}

fn detail(error: &Error) -> String {
    error.detail().map_or_else(|| error.to_string(), str::to_owned)
}

fn described(error: &Error) -> String {
    match error.line() {
        Some(line) => format!("{} in line {line}", detail(error)),
        None => detail(error),
    }
}

/// `json.dumps(value, ensure_ascii=False)` of Python, which is what transformers has for `tojson`; with `indent`, that too.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut json = Vec::new();
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter)).map_err(failed)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Python)).map_err(failed)?,
    }
    String::from_utf8(json).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// A space after each comma and colon.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ChatRole;

    fn said(role: ChatRole, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
        ChatTemplate::new(source, "<s>", "</s>").unwrap().render(messages, jiff::civil::date(2026, 3, 9))
    }

    #[test]
    fn messages_tokens_and_the_assistant_prompt() {
        let source = "{{ bos_token }}{% for message in messages %}\n[{{ message['role'] }}] {{ message.content | trim }}{{ eos_token }}\n{% endfor %}\n{% if add_generation_prompt %}[assistant]{% endif %}";
        let text = render(source, &[said(ChatRole::System, " Be brief. "), said(ChatRole::User, "1+1?")]).unwrap();
        assert_eq!(text, "<s>[system] Be brief.</s>\n[user] 1+1?</s>\n[assistant]");
    }

    #[test]
    fn methods_of_python_strings_and_generation_blocks() {
        let source = "{% set text = messages[0].content %}{% if text.startswith('a') %}{%- generation %}{{ text.split('|')[-1].strip() }}{%- endgeneration %}{% endif %}";
        assert_eq!(render(source, &[said(ChatRole::User, "a| b ")]).unwrap(), "b");
    }

    #[test]
    fn json_is_that_of_python() {
        let source = "{{ {'a': [1, '<日本>'], 'b': none} | tojson }}";
        assert_eq!(render(source, &[]).unwrap(), r#"{"a": [1, "<日本>"], "b": null}"#);
    }

    #[test]
    fn today_is_what_it_is_told() {
        assert_eq!(render("{{ strftime_now('%d %b %Y') }}", &[]).unwrap(), "09 Mar 2026");
    }

    #[test]
    fn what_a_template_objects_to_is_said_in_its_words() {
        let error = render("{{ raise_exception('System role not supported') }}", &[]).expect_err("it raises");
        assert!(matches!(&error, TemplateError::Refused(message) if message == "System role not supported"), "{error}");
    }

    #[test]
    fn a_template_without_end_is_stopped() {
        let loops =
            "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a * b %}{% endfor %}{% endfor %}";
        assert!(matches!(render(loops, &[]), Err(TemplateError::Endless)));
        let grows = "{% macro f(n) %}{{ 'x' * 100000000 }}{% endmacro %}{% for a in range(99) %}{{ f(a) }}{% endfor %}";
        assert!(render(grows, &[]).is_err());
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let error = render("\n{% if %}", &[]).expect_err("no condition").to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
