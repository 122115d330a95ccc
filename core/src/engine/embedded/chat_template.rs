//! Chat templates: from a conversation to the text that a model was trained on.
//!
//! A template is a program in Jinja that comes with a model. It can compute text and nothing else, and is stopped when it
//! computes for too long. What it may use follows transformers' `apply_chat_template`.

mod json;
mod methods;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::engine::Message;

/// What a template may use up: minijinja counts one for each instruction and for each 64 bytes that it makes or reads. Those
/// of real models take some hundreds for a message.
const LEAST_FUEL: u64 = 200_000;
/// What it may use up for each message.
const FUEL_OF_A_MESSAGE: u64 = 5_000;
/// Stack that a template runs on, in bytes. Lists within lists, as deep as the fuel allows, are walked and freed by recursion.
const STACK_BYTES: usize = 256 << 20;
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
        let failed = |error: &dyn std::fmt::Display| TemplateError::Failed(error.to_string());
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES);
            let running = thread.spawn_scoped(scope, || self.run(messages, date)).map_err(|error| failed(&error))?;
            running.join().unwrap_or_else(|_| Err(failed(&"it made the program that runs it fail")))
        })
    }

    fn run(&self, messages: &[Message], date: jiff::civil::Date) -> Result<String, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| TemplateError::Syntax(error.to_string()))?);
        environment.set_unknown_method_callback(methods::call);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let said: usize = messages.iter().map(|message| message.content.len()).sum();
        // A template passes over what was said some times, at a 64th for each byte.
        environment.set_fuel(Some(LEAST_FUEL + FUEL_OF_A_MESSAGE * messages.len() as u64 + said as u64 / 4));
        environment.add_filter("tojson", json::to_json);
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
            // Not the same as undefined: templates ask whether it is none.
            tools => Value::from(()),
            documents => Value::from(()),
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

#[cfg(test)]
mod goldens;

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
    fn a_template_that_asks_for_too_much_memory_is_stopped() {
        let doubling = "{% set n = namespace(s='x' * 1000) %}{% for a in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s|length }}";
        let squaring =
            "{% set s = 'x' * 3000 %}{% set s = s.replace('x', s) %}{% set s = s.replace('x', s) %}{{ s|length }}";
        let filtered =
            "{% set s = 'x' * 3000 %}{% set s = s.replace('x', s) %}{% set s = s|replace('x', s) %}{{ s|length }}";
        let joined = "{% set s = 'x' * 3000 %}{% set s = s.join(s) %}{% set s = s.join(s) %}{{ s|length }}";
        let joined_long = "{% set s = 'x' * 9000000 %}{{ s.join('x'.split('') * 9999)|length }}";
        let joined_often = "{% set s = 'x' * 9000000 %}{{ ''.join([s] * 90000)|length }}";
        let formatted = "{% set s = 'x' * 9000000 %}{{ ('{0}' * 90000).format(s)|length }}";
        let wide = "{{ '%4000000000d'|format(1) }}{{ '{:>4000000000}'.format('x') }}";
        let indented = "{{ 'a\nb'|indent(4000000000) }}";
        let list = "{{ (range(99999)|list * 99999)|length }}";
        let nested = "{% set n = namespace(x=[]) %}{% for a in range(90000) %}{% set n.x = [[[[[[[[[[[[[[[[[[[[n.x]]]]]]]]]]]]]]]]]]]] %}{% endfor %}";
        let written = "{% set n = namespace(x=[]) %}{% for a in range(5000) %}{% set n.x = [[[[[[[[[[[[[[[[[[[[n.x]]]]]]]]]]]]]]]]]]]] %}{% endfor %}{{ n.x|tojson }}{{ n.x }}";
        for source in [
            doubling,
            squaring,
            filtered,
            joined,
            joined_long,
            joined_often,
            formatted,
            wide,
            indented,
            list,
            nested,
            written,
        ] {
            let found = render(source, &[]);
            assert!(found.is_err(), "{source}: {} bytes", found.map_or(0, |text| text.len()));
        }
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let error = render("\n{% if %}", &[]).expect_err("no condition").to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
