//! The key is shown to the server and to nobody else.

use std::error::Error;

use mergescope_core::engine::Engine as _;
use mergescope_core::engine::server::{KeyVariable, ServerSpec};

use crate::fixture::{Fixture, answer, connect, failure, generate_one, never, status_reply, stream};

/// A variable that Cargo sets for every test; what it holds stands for a key.
const VARIABLE: &str = "CARGO_MANIFEST_DIR";

fn with_key(fixture: &Fixture) -> (ServerSpec, String) {
    let variable = KeyVariable::parse(VARIABLE).unwrap();
    (ServerSpec { key_env: Some(variable), ..fixture.spec() }, std::env::var(VARIABLE).unwrap())
}

#[test]
fn the_key_goes_with_every_question_and_is_nowhere_else() {
    let fixture = Fixture::start();
    let (spec, key) = with_key(&fixture);
    fixture.on("/v1/completions", vec![answer("2")]);
    let mut server = fixture.engine_with(spec.clone());
    generate_one(&mut server).unwrap();
    let asked = fixture.asked();
    assert_eq!(asked[0].authorization, Some(format!("Bearer {key}")));
    for shown in [format!("{spec:?}"), toml::to_string(&spec).unwrap(), server.identity()] {
        assert!(!shown.contains(&key), "{shown}");
    }
    assert_eq!(server.identity(), format!("server http://127.0.0.1:{} m, as loaded", fixture.port));
}

#[test]
fn without_a_key_none_is_sent() {
    let fixture = Fixture::start();
    fixture.on("/v1/completions", vec![answer("2")]);
    generate_one(&mut fixture.engine()).unwrap();
    assert_eq!(fixture.asked()[0].authorization, None);
}

#[test]
fn a_server_that_repeats_the_key_does_not_get_it_shown() {
    let fixture = Fixture::start();
    let (spec, key) = with_key(&fixture);
    let mut server = fixture.engine_with(spec.clone());
    let said = serde_json::json!({ "error": { "message": format!("Incorrect API key: {key}.") } }).to_string();
    for reply in [
        status_reply("401 Unauthorized", "", &said),
        status_reply("400 Bad Request", "", &format!("what is {key}?")),
        stream(&format!("data: {said}\n\n")),
        stream(&format!("data: {{\"choices\":[{{\"text\":\"\",\"finish_reason\":\"{key}\"}}]}}\n\n")),
        stream(&format!("data: {key}\n\n")),
        stream(&format!("data: {{\"choices\":\"{key}\"}}\n\n")),
    ] {
        fixture.on("/v1/completions", vec![reply]);
        let message = failure(&mut server);
        assert!(message.contains("(the key)") && !message.contains(&key), "{message}");
    }
    fixture.on("/v1/models", vec![status_reply("401 Unauthorized", "", &said)]);
    let refused = connect(spec, never()).err().expect("unauthorised");
    let mut causes: Vec<String> = vec![format!("{refused:?}"), refused.to_string()];
    let mut cause = refused.source();
    while let Some(error) = cause {
        causes.extend([format!("{error:?}"), error.to_string()]);
        cause = error.source();
    }
    assert!(causes.iter().all(|text| !text.contains(&key)), "{causes:?}");
    assert!(refused.to_string().ends_with("check the key in CARGO_MANIFEST_DIR"), "{refused}");
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let fixture = Fixture::start();
    let variable = KeyVariable::parse("MERGESCOPE_NO_SUCH_VARIABLE").unwrap();
    let spec = ServerSpec { key_env: Some(variable), ..fixture.spec() };
    let refused = connect(spec, never()).err().expect("no key").to_string();
    assert!(refused.contains("the environment variable MERGESCOPE_NO_SUCH_VARIABLE"), "{refused}");
    assert!(fixture.asked().is_empty());
}
