//! What the Hub does not give, and lists that make no sense: each told apart, with what to do.

use mergescope_core::hub::{Access, HubError};
use serde_json::json;

use crate::fixture::{COMMIT, Client, FakeHub, Reply, files_below};

const LIST: &str = "/api/models/org/name/revision/main";

#[track_caller]
fn says(failure: &str, words: &[&str]) {
    for words in words {
        assert!(failure.contains(words), "{words:?} is missing: {failure}");
    }
}

#[test]
fn what_may_not_be_had_is_told_apart() {
    let hub = FakeHub::start();
    let open = hub.client();
    let with_token = hub.client_with(hub.access().with_token("hf_abc"));
    let gated = || Reply::error("401 Unauthorized", "GatedRepo", "Access to model org/name is restricted.");
    let check = |client: &Client, reply: Reply, words: &[&str]| {
        hub.on(LIST, [reply]);
        says(&client.failure("org/name"), words);
        assert!(files_below(&client.cache()).is_empty());
    };
    let page = format!("http://127.0.0.1:{}/org/name", hub.port);
    check(&open, gated(), &["org/name is gated", "accept its terms", &page, "then set HF_TOKEN"]);
    check(&with_token, gated(), &["org/name is gated", "with the account of your token"]);
    let forbidden = Reply::error("403 Forbidden", "GatedRepo", "You are not in the authorized list.");
    check(&with_token, forbidden, &["org/name is gated"]);
    // Without a token the Hub answers 401 for what does not exist.
    let missing = || Reply::error("401 Unauthorized", "RepoNotFound", "Repository not found");
    let host = format!("127.0.0.1:{} has no model org/name", hub.port);
    check(&open, missing(), &[&host, "check the name", "private or gated one, set HF_TOKEN"]);
    check(&with_token, missing(), &[&host, "this token may see"]);
    check(&open, Reply::error("401 Unauthorized", "", "Invalid username or password."), &[&host]);
    check(&open, Reply::error("404 Not Found", "", "Not found"), &[&host]);
    let invalid = Reply::error("401 Unauthorized", "", "Invalid credentials in Authorization header");
    check(&with_token, invalid, &["does not accept the token from HF_TOKEN"]);
    let right = Reply::error("403 Forbidden", "", "Token lacks the read permission");
    check(&with_token, right, &["does not let this token read org/name", "lacks the read permission"]);
}

#[test]
fn a_revision_that_is_none_is_no_missing_model() {
    let hub = FakeHub::start();
    let client = hub.client();
    for reply in [
        Reply::error("404 Not Found", "RevisionNotFound", "Invalid rev id: v9"),
        Reply::error("404 Not Found", "", "Invalid rev id: v9"),
    ] {
        hub.on("/api/models/org/name/revision/v9", [reply]);
        says(&client.failure("org/name@v9"), &["org/name has no revision `v9`", "branch, a tag or a whole commit"]);
    }
}

#[test]
fn a_hub_that_stays_broken_is_given_up_on() {
    let hub = FakeHub::start();
    let client = hub.client();
    for status in ["500 Internal Server Error", "429 Too Many Requests"] {
        hub.on(LIST, std::iter::repeat_n(Reply::error(status, "", "try later"), 4));
        hub.asked();
        says(&client.failure("org/name"), &[status, "try later", "(tried 4 times)"]);
        assert_eq!(hub.asked().len(), 4);
    }
    hub.on(LIST, [Reply::error("400 Bad Request", "", "no")]);
    hub.asked();
    says(&client.failure("org/name"), &["400 Bad Request: no"]);
    assert_eq!(hub.asked().len(), 1, "what would come to the same is not tried again");
}

#[test]
fn a_hub_that_is_not_there_says_so() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(Access::to(&format!("http://{gone}")));
    says(&client.failure("org/name"), &["127.0.0.1 cannot be reached", "check the connection", "tried 4 times"]);
}

#[test]
fn offline_nobody_is_asked() {
    let hub = FakeHub::start();
    let mut access = hub.access();
    access.offline = true;
    let client = hub.client_with(access);
    says(&client.failure("org/name"), &["HF_HUB_OFFLINE is set", "to download org/name"]);
    assert!(hub.asked().is_empty());
}

#[test]
fn paths_that_leave_the_folder_spoil_the_whole_list() {
    let hub = FakeHub::start();
    let sound = hub.listing();
    for path in ["../evil.safetensors", "/etc/config.json", "a/../../config.json", "..\\tokenizer.json", ""] {
        let client = hub.client();
        let mut listing = sound.clone();
        let siblings = listing["siblings"].as_array_mut().unwrap();
        siblings.push(json!({ "rfilename": path, "size": 5, "blobId": "a".repeat(40) }));
        hub.list(listing);
        let error = client.download("org/name").unwrap_err();
        assert!(matches!(&error, HubError::Path { path: found, .. } if found == path), "{path}: {error}");
        says(&error.to_string(), &["leads out of its folder", "nothing of it is taken"]);
        assert!(files_below(client.home.path()).is_empty());
    }
}

#[test]
fn a_name_that_only_some_systems_can_write_is_refused_where_it_is_needed() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.put("C:config.json", b"{}".to_vec());
    assert!(matches!(client.download("org/name"), Err(HubError::Path { .. })));
    hub.remove("C:config.json");
    hub.put("notes:old.pdf", b"x".to_vec());
    client.download("org/name").unwrap();
}

#[test]
fn lists_that_make_no_sense_are_refused() {
    let hub = FakeHub::start();
    let client = hub.client();
    let sha = |sha: &str| {
        let mut listing = hub.listing();
        listing["sha"] = json!(sha);
        listing
    };
    let sibling = |sibling: serde_json::Value| json!({ "sha": COMMIT, "siblings": [sibling] });
    let large = json!({ "rfilename": "model.safetensors", "lfs": { "sha256": "a".repeat(64), "size": u64::MAX } });
    for (listing, reason) in [
        (json!([]), "invalid"),
        (json!({ "siblings": [] }), "names no commit"),
        (sha("main"), "names no commit"),
        (sha("../../../../../../../../../../../../../.."), "names no commit"),
        (sibling(json!({ "rfilename": "model.safetensors", "size": 1 })), "no size or no hash of model.safetensors"),
        (sibling(json!({ "rfilename": "model.safetensors", "size": 1, "blobId": "../x" })), "no hash of model"),
        (sibling(json!({ "rfilename": "model.safetensors", "size": -1, "blobId": "a" })), "invalid"),
        (sibling(large), "more than"),
    ] {
        hub.list(listing.clone());
        let failure = client.failure("org/name");
        says(&failure, &["the list of files that 127.0.0.1", "is not what was expected", reason]);
    }
    hub.on(LIST, [Reply::Status("200 OK", String::new(), "<html>".to_owned())]);
    says(&client.failure("org/name"), &["is not what was expected"]);
    assert!(files_below(client.home.path()).is_empty());
}

#[test]
fn a_model_without_weights_that_can_be_read_is_refused() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.list(json!({ "sha": COMMIT, "siblings": [
        { "rfilename": "model.gguf", "size": 5, "blobId": "a".repeat(40) },
        { "rfilename": "config.json", "size": 5, "blobId": "b".repeat(40) },
    ] }));
    says(&client.failure("org/name"), &["org/name has no weights in safetensors", "among its 2 files"]);
}

#[test]
fn a_file_that_is_listed_and_missing_is_named() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on("config.json", [Reply::error("404 Not Found", "EntryNotFound", "Entry not found")]);
    says(&client.failure("org/name"), &["config.json", "404 Not Found: Entry not found"]);
}

#[test]
fn redirects_end_somewhere() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on("config.json", std::iter::repeat_n(Reply::redirect(&format!("/org/name/resolve/{COMMIT}/config.json")), 20));
    says(&client.failure("org/name"), &["leads from one address to the next"]);
    hub.on("config.json", [Reply::Status("302 Found", String::new(), String::new())]);
    says(&client.failure("org/name"), &["does not say to which"]);
}
