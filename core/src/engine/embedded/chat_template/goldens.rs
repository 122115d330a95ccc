//! Real templates against transformers' `apply_chat_template`: the same bytes, and the same refusals.

use std::path::Path;

use serde_json::Value as Json;

use super::*;
use crate::engine::ChatRole;

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/templates");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn messages(conversation: &Json) -> Vec<Message> {
    let messages = conversation.as_array().unwrap().iter();
    messages
        .map(|message| Message {
            role: match message["role"].as_str().unwrap() {
                "system" => ChatRole::System,
                "user" => ChatRole::User,
                _ => ChatRole::Assistant,
            },
            content: message["content"].as_str().unwrap().to_owned(),
        })
        .collect()
}

/// What is wrong with what became of a conversation; `None` where it is what transformers has.
fn difference(found: &Result<String, TemplateError>, expected: &Json) -> Option<String> {
    match (found, expected["text"].as_str(), expected["refused"].as_str()) {
        (Ok(found), Some(text), _) if found == text => None,
        (Err(TemplateError::Refused(found)), _, Some(message)) if found == message => None,
        (Err(TemplateError::Failed(_)), None, None) if expected["fails"] == true => None,
        _ => Some(format!("found {found:?}\nexpected {expected}")),
    }
}

#[test]
fn real_templates_come_out_as_from_transformers() {
    let expected: Json = serde_json::from_str(&read("expected.json")).unwrap();
    let date: jiff::civil::Date = expected["date"].as_str().unwrap().parse().unwrap();
    let conversations = expected["conversations"].as_object().unwrap();
    let templates = expected["templates"].as_object().unwrap();
    let (mut texts, mut refusals, mut wrong) = (0, 0, Vec::new());
    for (name, cases) in templates {
        let template = ChatTemplate::new(&read(&format!("{name}.jinja")), "<s>", "</s>").unwrap();
        for (label, conversation) in conversations {
            let found = template.render(&messages(conversation), date);
            let case = &cases[label];
            texts += usize::from(case["text"].is_string());
            refusals += usize::from(case["refused"].is_string());
            wrong.extend(difference(&found, case).map(|difference| format!("{name}, {label}: {difference}")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), texts + refusals, wrong.join("\n\n"));
    assert!(texts > 100 && refusals > 5, "{texts} texts, {refusals} refusals");
}

#[test]
fn what_templates_use_now_and_then_comes_out_as_from_transformers() {
    let expected: Json = serde_json::from_str(&read("expected.json")).unwrap();
    let date: jiff::civil::Date = expected["date"].as_str().unwrap().parse().unwrap();
    let said = messages(&expected["conversations"]["system and user"]);
    let snippets = expected["snippets"].as_array().unwrap();
    let mut wrong = Vec::new();
    for snippet in snippets {
        let source = snippet["source"].as_str().unwrap();
        let found = ChatTemplate::new(source, "<s>", "</s>").unwrap().render(&said, date);
        wrong.extend(difference(&found, snippet).map(|difference| format!("{source}\n{difference}")));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), snippets.len(), wrong.join("\n\n"));
}
