//! The token is shown to the Hub's own address and to nobody else.

use mergescope_core::error::chain;
use mergescope_core::hub::HubName;
use mergescope_core::progress::Control;

use crate::fixture::{COMMIT, FakeHub, Reply};

const TOKEN: &str = "hf_notForYourEyes";

#[test]
fn the_token_goes_to_the_hub_and_not_to_where_it_leads() {
    let (hub, elsewhere) = (FakeHub::start(), FakeHub::start());
    let client = hub.client_with(hub.access().with_token(TOKEN));
    let weights = format!("http://127.0.0.1:{}/cdn/resolve/{COMMIT}/model.safetensors?signature=abc", elsewhere.port);
    hub.on("model.safetensors", [Reply::redirect(&weights), Reply::redirect(&weights)]);
    elsewhere.on("model.safetensors", [Reply::Cut(5000)]);
    // To another path of its own it is shown.
    hub.on("config.json", [Reply::redirect(&format!("/org/renamed/resolve/{COMMIT}/config.json"))]);
    client.download("org/name").unwrap();
    let expected = Some(format!("Bearer {TOKEN}"));
    let asked = hub.asked();
    assert!(asked.iter().all(|asked| asked.authorization == expected), "{asked:?}");
    assert!(asked.iter().any(|asked| asked.path.starts_with("/org/renamed/")));
    let asked = elsewhere.asked();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
    let ranges: Vec<_> = asked.iter().map(|asked| asked.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=5000-")], "a range goes where the file is");
}

#[test]
fn a_host_of_the_same_name_at_another_port_is_another() {
    let (hub, elsewhere) = (FakeHub::start(), FakeHub::start());
    let client = hub.client_with(hub.access().with_token(TOKEN));
    hub.on(
        "/api/models/org/name/revision/main",
        [Reply::redirect(&format!("http://127.0.0.1:{}/api/models/org/name/revision/main", elsewhere.port))],
    );
    client.look("org/name").unwrap();
    assert_eq!(elsewhere.asked()[0].authorization, None);
}

#[test]
fn without_a_token_none_is_sent() {
    let hub = FakeHub::start();
    hub.client().download("org/name").unwrap();
    assert!(hub.asked().iter().all(|asked| asked.authorization.is_none()));
}

#[test]
fn a_token_is_in_no_error_and_in_nothing_that_is_shown() {
    let (hub, elsewhere) = (FakeHub::start(), FakeHub::start());
    let client = hub.client_with(hub.access().with_token(TOKEN));
    let name = HubName::parse("org/name").unwrap();
    let download = client.look("org/name").unwrap();
    let said = format!("what is {TOKEN}? https://user:{TOKEN}@host");
    for status in
        ["401 Unauthorized", "403 Forbidden", "404 Not Found", "400 Bad Request", "500 Internal Server Error", "200 OK"]
    {
        for code in ["", "GatedRepo", "RepoNotFound", "RevisionNotFound", "EntryNotFound"] {
            let reply = || Reply::error(status, code, &said);
            hub.on("/api/models/org/name/revision/main", std::iter::repeat_n(reply(), 4));
            hub.on("config.json", std::iter::repeat_n(reply(), 4));
            let errors = [
                client.hub.look(&name, &Control::new()).expect_err("the list is refused"),
                client.hub.fetch(&download, &Control::new()).expect_err("the file is refused"),
            ];
            for error in errors {
                for shown in [chain(&error), format!("{error:?}")] {
                    assert!(!shown.contains(TOKEN), "{status} {code}: {shown}");
                }
            }
        }
    }
    for shown in [format!("{:?}", client.hub), format!("{download:?}")] {
        assert!(!shown.contains(TOKEN), "{shown}");
    }
    // Nor is the address that the Hub leads to, which may hold a key to the file.
    let signed = format!("http://127.0.0.1:{}/cdn/resolve/x/config.json?signature=geheim", elsewhere.port);
    hub.on("config.json", std::iter::repeat_n(Reply::redirect(&signed), 4));
    elsewhere.on("config.json", std::iter::repeat_n(Reply::error("403 Forbidden", "", "expired"), 4));
    let error = client.hub.fetch(&download, &Control::new()).expect_err("it expired");
    assert!(error.to_string().contains("expired") && !format!("{error} {error:?}").contains("geheim"), "{error:?}");
}
