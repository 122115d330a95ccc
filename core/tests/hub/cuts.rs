//! Connections that break, servers that lose count, and bytes that are not the model's.

use std::fs;

use mergescope_core::hub::HubError;
use mergescope_core::progress::Control;

use crate::fixture::{Client, FakeHub, Reply, bytes, files_below};

const WEIGHTS: &str = "model.safetensors";

/// What the cache has of the weights' bytes, whole or not.
fn partial(client: &Client, hub: &FakeHub) -> Option<Vec<u8>> {
    fs::read(client.blob(&format!("{}.incomplete", hub.etag(WEIGHTS)))).ok()
}

#[track_caller]
fn is_whole(client: &Client, hub: &FakeHub) {
    let blob = client.blob(&hub.etag(WEIGHTS));
    assert!(fs::read(blob).is_ok_and(|found| found == hub.get(WEIGHTS)), "the weights are what they should be");
    assert_eq!(partial(client, hub), None);
}

/// Nothing that could be taken for the model is there.
#[track_caller]
fn nothing_is_there(client: &Client, hub: &FakeHub) {
    let files = files_below(&client.repo());
    assert!(!files.iter().any(|path| path.starts_with("snapshots") || path.starts_with("refs")), "{files:?}");
    assert!(!client.blob(&hub.etag(WEIGHTS)).exists());
}

#[test]
fn a_cut_connection_is_gone_on_from_where_it_broke() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on(WEIGHTS, [Reply::Cut(1000), Reply::Cut(0), Reply::Cut(500)]);
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
    let ranges: Vec<Option<String>> = hub.asked_for(WEIGHTS).into_iter().map(|asked| asked.range).collect();
    let range = |from: u64| Some(format!("bytes={from}-"));
    assert_eq!(ranges, [None, range(1000), range(1000), range(1500)]);
}

#[test]
fn tries_are_counted_anew_after_a_connection_that_was_worth_it() {
    let hub = FakeHub::start();
    let client = hub.client();
    // Six cuts, with three tries after the first.
    let cuts = [Reply::Cut(10), Reply::Cut(10), Reply::Cut(1 << 20), Reply::Cut(10), Reply::Cut(10), Reply::Cut(10)];
    hub.on(WEIGHTS, cuts);
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
}

#[test]
fn what_an_earlier_download_left_is_gone_on_from() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on(WEIGHTS, std::iter::repeat_n(Reply::Cut(100_000), 4));
    let failure = client.failure("org/name");
    assert!(failure.contains("broke off") && failure.ends_with("(tried 4 times)"), "{failure}");
    nothing_is_there(&client, &hub);
    assert_eq!(partial(&client, &hub).unwrap(), hub.get(WEIGHTS)[..400_000]);
    let download = client.look("org/name").unwrap();
    let weights = download.files.iter().find(|file| file.path == WEIGHTS).unwrap();
    assert_eq!(weights.present_bytes, 400_000, "what is there already is told");
    hub.asked();
    client.download("org/name").unwrap();
    assert_eq!(hub.asked_for(WEIGHTS)[0].range.as_deref(), Some("bytes=400000-"));
    is_whole(&client, &hub);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on(WEIGHTS, [Reply::Cut(200_000), Reply::NoRange]);
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
    assert_eq!(hub.asked_for(WEIGHTS).len(), 2);
}

#[test]
fn a_range_that_begins_elsewhere_is_not_taken() {
    let hub = FakeHub::start();
    let client = hub.client();
    let other = Reply::Status(
        "206 Partial Content",
        "Content-Range: bytes 0-9/3000000\r\n".to_owned(),
        "0123456789".to_owned(),
    );
    hub.on(WEIGHTS, [Reply::Cut(1000), other]);
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
}

#[test]
fn wrong_bytes_are_an_error_that_names_the_file_and_leave_nothing() {
    let hub = FakeHub::start();
    for path in [WEIGHTS, "tokenizer.json"] {
        let client = hub.client();
        hub.on(path, [Reply::Other(bytes(hub.get(path).len(), 99))]);
        let failure = client.failure("org/name");
        assert!(failure.starts_with(&format!("{path} came with the wrong bytes")), "{failure}");
        assert!(failure.contains(&hub.etag(path)) && failure.contains("download it again"), "{failure}");
        let left = files_below(&client.repo());
        assert!(!left.iter().any(|name| name.contains(&hub.etag(path)) || name.starts_with("snapshots")), "{left:?}");
        client.download("org/name").unwrap();
        is_whole(&client, &hub);
    }
}

#[test]
fn a_partial_file_that_was_spoilt_is_found_out_and_begun_anew_the_next_time() {
    let hub = FakeHub::start();
    let client = hub.client();
    fs::create_dir_all(client.repo().join("blobs")).unwrap();
    let left = client.blob(&format!("{}.incomplete", hub.etag(WEIGHTS)));
    fs::write(&left, bytes(1000, 55)).unwrap();
    assert!(matches!(client.download("org/name"), Err(HubError::WrongHash { file, .. }) if file == WEIGHTS));
    assert!(!left.exists());
    client.download("org/name").unwrap();
    // One that is longer than the file cannot be its beginning.
    fs::remove_file(client.blob(&hub.etag(WEIGHTS))).unwrap();
    fs::write(&left, bytes(4_000_000, 55)).unwrap();
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
}

#[test]
fn a_partial_file_that_only_lacked_its_name_is_verified_without_a_question() {
    let hub = FakeHub::start();
    let client = hub.client();
    fs::create_dir_all(client.repo().join("blobs")).unwrap();
    fs::write(client.blob(&format!("{}.incomplete", hub.etag(WEIGHTS))), hub.get(WEIGHTS)).unwrap();
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
    assert!(hub.asked_for(WEIGHTS).is_empty());
}

#[test]
fn a_file_of_another_size_is_refused_before_it_is_taken() {
    let hub = FakeHub::start();
    let client = hub.client();
    let size = hub.get(WEIGHTS).len();
    for length in [size - 1, size + 1, 10] {
        hub.on(WEIGHTS, [Reply::Other(bytes(length, 1))]);
        let failure = client.failure("org/name");
        let expected = format!("{WEIGHTS} came with {length} bytes, and the Hub says {size}");
        assert!(failure.starts_with(&expected), "{failure}");
        nothing_is_there(&client, &hub);
        assert_eq!(partial(&client, &hub), None);
    }
    let client = hub.client();
    // Without its length the server cannot be held to it before it has sent too much.
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", 40_001, "x".repeat(40_001));
    hub.on("tokenizer.json", [Reply::Status("200 OK", "Transfer-Encoding: chunked\r\nX: ".to_owned(), chunked)]);
    let failure = client.failure("org/name");
    assert!(failure.contains("tokenizer.json came with"), "{failure}");
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
}

#[test]
fn a_server_that_is_busy_is_asked_again_after_the_wait_it_asks_for() {
    let hub = FakeHub::start();
    let client = hub.client();
    let busy = Reply::Status("429 Too Many Requests", "Retry-After: 0\r\n".to_owned(), String::new());
    let broken = Reply::Status("503 Service Unavailable", String::new(), "<html>busy</html>".to_owned());
    hub.on("/api/models/org/name/revision/main", [busy.clone(), broken.clone()]);
    hub.on(WEIGHTS, [broken, busy]);
    client.download("org/name").unwrap();
    is_whole(&client, &hub);
}

#[test]
fn progress_takes_back_what_has_to_be_done_again() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on(WEIGHTS, std::iter::repeat_n(Reply::Cut(1000), 4));
    client.failure("org/name");
    hub.on(WEIGHTS, [Reply::NoRange]);
    let control = Control::new();
    let download = client.look("org/name").unwrap();
    client.hub.fetch(&download, &control).unwrap();
    assert_eq!(control.snapshot().done_bytes, download.total_bytes());
    assert_eq!(control.snapshot().total_bytes, download.total_bytes());
}
