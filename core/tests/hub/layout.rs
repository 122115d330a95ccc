//! What lies in the cache after a download, and how it is found there.

use std::fs;

use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::hub::{Download, Environment, HubError, cached_models};

use crate::fixture::{COMMIT, Client, FakeHub, bytes, files_below, safetensors};

const NEEDED: [&str; 5] =
    ["README.md", "additional_chat_templates/tools.jinja", "config.json", "model.safetensors", "tokenizer.json"];

fn environment(client: &Client) -> Environment {
    Environment { hub_cache: Some(client.cache()), ..Environment::default() }
}

#[test]
fn a_model_lies_in_the_hubs_own_layout_and_is_found_and_opened() {
    let hub = FakeHub::start();
    let client = hub.client();
    let snapshot = client.download("org/name").unwrap();
    assert_eq!(snapshot, client.repo().join("snapshots").join(COMMIT));
    let mut expected: Vec<String> = NEEDED.iter().map(|path| format!("snapshots/{COMMIT}/{path}")).collect();
    expected.extend(NEEDED.iter().map(|path| format!("blobs/{}", hub.etag(path))));
    expected.push("refs/main".to_owned());
    expected.sort();
    assert_eq!(files_below(&client.repo()), expected);
    for path in NEEDED {
        assert_eq!(fs::read(snapshot.join(path)).unwrap(), hub.get(path), "{path}");
    }
    assert_eq!(fs::read_to_string(client.repo().join("refs/main")).unwrap(), COMMIT);
    let locks = client.cache().join(".locks/models--org--name");
    assert!(locks.join(format!("{}.lock", hub.etag("model.safetensors"))).is_file());

    let environment = environment(&client);
    assert_eq!(environment.resolve("org/name"), snapshot);
    assert_eq!(environment.resolve(&format!("org/name@{COMMIT}")), snapshot);
    let listed = cached_models(&client.cache());
    assert_eq!((listed[0].id.as_str(), listed[0].bytes), ("org/name", hub.get("model.safetensors").len() as u64));
    let model = Checkpoint::open(&environment.resolve("org/name")).unwrap();
    assert_eq!((model.label().as_str(), model.tensors().len()), ("org/name", 1));
}

#[cfg(unix)]
#[test]
fn files_are_relative_links_so_that_the_cache_can_be_moved() {
    let hub = FakeHub::start();
    let client = hub.client();
    let snapshot = client.download("org/name").unwrap();
    let link = |path: &str| fs::read_link(snapshot.join(path)).unwrap().to_string_lossy().into_owned();
    assert_eq!(link("config.json"), format!("../../blobs/{}", hub.etag("config.json")));
    let template = "additional_chat_templates/tools.jinja";
    assert_eq!(link(template), format!("../../../blobs/{}", hub.etag(template)));
    let moved = client.home.path().join("moved");
    fs::rename(client.cache(), &moved).unwrap();
    let model = moved.join("models--org--name/snapshots").join(COMMIT);
    assert_eq!(fs::read(model.join("config.json")).unwrap(), hub.get("config.json"));
}

#[test]
fn what_is_needed_is_told_with_its_size_before_anything_is_downloaded() {
    let hub = FakeHub::start();
    let client = hub.client();
    let download = client.look("org/name").unwrap();
    let paths: Vec<&str> = download.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, NEEDED);
    let total: usize = NEEDED.iter().map(|path| hub.get(path).len()).sum();
    assert_eq!((download.total_bytes(), download.missing_bytes()), (total as u64, total as u64));
    assert_eq!(
        (download.host.as_str(), download.commit.as_str()),
        (format!("127.0.0.1:{}", hub.port).as_str(), COMMIT)
    );
    assert!(download.free_bytes.is_some_and(|free| free > 0));
    assert!(!client.cache().exists(), "looking writes nothing");
    let asked = hub.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/api/models/org/name/revision/main?blobs=true");
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let hub = FakeHub::start();
    let client = hub.client();
    for (name, asked) in [
        ("org/name@v1.0", "/api/models/org/name/revision/v1.0?blobs=true".to_owned()),
        ("org/name@refs/pr/3", "/api/models/org/name/revision/refs%2Fpr%2F3?blobs=true".to_owned()),
        (&format!("org/name@{COMMIT}"), format!("/api/models/org/name/revision/{COMMIT}?blobs=true")),
    ] {
        hub.asked();
        let snapshot = client.download(name).unwrap();
        assert_eq!(hub.asked()[0].path, asked);
        assert_eq!(environment(&client).resolve(name), snapshot, "{name}");
    }
    let references: Vec<String> = files_below(&client.repo().join("refs"));
    assert_eq!(references, ["refs/pr/3", "v1.0"], "a commit needs no reference");
    assert_eq!(environment(&client).lasting("org/name@v1.0"), "org/name@v1.0");
}

#[test]
fn what_is_there_is_not_downloaded_again() {
    let hub = FakeHub::start();
    let client = hub.client();
    client.download("org/name").unwrap();
    hub.asked();
    assert_eq!(client.look("org/name").unwrap().missing_bytes(), 0);
    client.download("org/name").unwrap();
    assert!(hub.asked().iter().all(|asked| asked.path.starts_with("/api/")), "only the list is asked for");

    // A later commit shares what did not change.
    hub.put("config.json", b"{}".to_vec());
    let mut listing = hub.listing();
    listing["sha"] = serde_json::json!("f".repeat(40));
    hub.list(listing);
    let download = client.look("org/name").unwrap();
    assert_eq!(download.missing_bytes(), 2);
    let later = client.download("org/name").unwrap();
    assert_eq!(hub.asked().iter().filter(|asked| asked.path.contains("/resolve/")).count(), 1);
    assert_eq!(environment(&client).resolve("org/name"), later, "main is the later one now");
    assert_eq!(fs::read(later.join("config.json")).unwrap(), b"{}");
}

#[test]
fn a_snapshot_that_lacks_files_is_filled_up() {
    let hub = FakeHub::start();
    let client = hub.client();
    let snapshot = client.download("org/name").unwrap();
    fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    fs::remove_file(client.blob(&hub.etag("tokenizer.json"))).unwrap();
    // A blob that was cut by something else than this program.
    fs::write(client.blob(&hub.etag("config.json")), b"{").unwrap();
    hub.asked();
    client.download("org/name").unwrap();
    for path in NEEDED {
        assert_eq!(fs::read(snapshot.join(path)).unwrap(), hub.get(path), "{path}");
    }
    assert_eq!(hub.asked().iter().filter(|asked| asked.path.contains("/resolve/")).count(), 2);
}

#[test]
fn shards_come_with_their_index_and_empty_files_without_a_question() {
    let hub = FakeHub::start();
    let client = hub.client();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let map = serde_json::json!({ "weight_map": { "model.norm.weight": shards[0], "lm_head.weight": shards[1] } });
    hub.put("model.safetensors.index.json", map.to_string().into_bytes());
    hub.put(shards[0], safetensors("model.norm.weight", 50));
    hub.put(shards[1], safetensors("lm_head.weight", 200_000));
    hub.put("consolidated.safetensors", bytes(10, 1));
    hub.put("LICENSE", Vec::new());
    let snapshot = client.download("org/name").unwrap();
    assert!(!snapshot.join("consolidated.safetensors").exists() && !snapshot.join("model.safetensors").exists());
    assert_eq!(fs::read(snapshot.join("LICENSE")).unwrap(), b"");
    assert!(hub.asked().iter().all(|asked| !asked.path.ends_with("/LICENSE")));
    assert_eq!(Checkpoint::open(&snapshot).unwrap().tensors().len(), 2);
}

#[test]
fn a_disk_without_room_is_refused_with_both_numbers() {
    let hub = FakeHub::start();
    let client = hub.client();
    let download = Download { free_bytes: Some(1000), ..client.look("org/name").unwrap() };
    let error = download.check_room().unwrap_err();
    assert!(matches!(error, HubError::DiskFull { available_bytes: 1000, .. }));
    let needed = download.missing_bytes().to_string();
    assert!(error.to_string().contains(&needed) && error.to_string().contains("1000 are free"), "{error}");
    // What is there already needs no room.
    client.download("org/name").unwrap();
    let there = Download { free_bytes: Some(0), ..client.look("org/name").unwrap() };
    assert!(there.check_room().is_ok());
}
