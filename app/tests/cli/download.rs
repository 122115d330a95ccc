//! `download`: shown first, asked about, verified, and found by every other command afterwards.

use std::fs;
use std::path::PathBuf;

use support::Folders;

use crate::hub::{COMMIT, FakeHub, total_bytes};
use crate::{Ran, fitting, mergescope, names, support};

/// Runs the program with a Hub and a cache of the test's own.
fn run_with(folders: &Folders, hub: &FakeHub, args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = mergescope(folders.dir.path(), args.iter().copied());
    for name in ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", folders.dir.path().join("hf")).env("HF_ENDPOINT", &hub.server.url);
    command.envs(variables.iter().copied());
    Ran::of(&mut command)
}

fn snapshot(folders: &Folders) -> PathBuf {
    folders.dir.path().join("hf/hub/models--org--name/snapshots").join(COMMIT)
}

#[test]
fn a_model_is_downloaded_and_then_found_by_its_name() {
    let (folders, hub) = (fitting(), FakeHub::start());
    let ran = run_with(&folders, &hub, &["download", "org/name", "--yes"], &[]).ends_with_code(0);
    let path = snapshot(&folders);
    let first = format!("org/name at commit {COMMIT} on {}", hub.host());
    ran.says(&[
        &first,
        "model.safetensors",
        "3 files, 40.",
        "to download to",
        "free",
        "verified",
        &path.to_string_lossy(),
    ]);
    assert_eq!(names(&path), ["config.json", "model.safetensors", "tokenizer.json"]);
    run_with(&folders, &hub, &["inspect", "org/name"], &[])
        .ends_with_code(0)
        .says(&["org/name\n", "architecture  qwen2"]);
    // Again: nothing is to be agreed to.
    let ran = run_with(&folders, &hub, &["download", "org/name"], &[]).ends_with_code(0);
    ran.says(&["nothing to download", "All of it is in the cache"]);
    let weights = format!("GET /org/name/resolve/{COMMIT}/model.safetensors");
    assert_eq!(hub.server.asked(&weights).len(), 1);
}

#[test]
fn a_dry_run_tells_sizes_and_downloads_nothing() {
    let (folders, hub) = (fitting(), FakeHub::start());
    let ran = run_with(&folders, &hub, &["download", "org/name@v1.0", "--dry-run", "--json"], &[]).ends_with_code(0);
    let document = ran.json();
    assert_eq!(document["bytes"], total_bytes());
    assert_eq!(document["missing_bytes"], total_bytes());
    assert_eq!((&document["revision"], &document["commit"]), (&"v1.0".into(), &COMMIT.into()));
    assert_eq!(document["files"].as_array().unwrap().len(), 3);
    assert!(document["path"].is_null() && document["dry_run"] == true);
    assert!(!folders.dir.path().join("hf").exists());
    let ran = run_with(&folders, &hub, &["download", "org/name", "--dry-run"], &[]).ends_with_code(0);
    ran.says(&["Nothing was downloaded (--dry-run)"]);
}

#[test]
fn without_a_terminal_nothing_is_downloaded_until_somebody_said_yes() {
    let (folders, hub) = (fitting(), FakeHub::start());
    let ran = run_with(&folders, &hub, &["download", "org/name"], &[]).ends_with_code(2);
    ran.says(&["model.safetensors"]).complains(&["are to be downloaded from 127.0.0.1", "say --yes to agree"]);
    assert!(!folders.dir.path().join("hf").exists());
    let ran = run_with(&folders, &hub, &["download", "org/name", "--yes", "--json"], &[]).ends_with_code(0);
    assert_eq!(ran.json()["path"], snapshot(&folders).to_string_lossy().into_owned());
}

#[test]
fn a_model_that_is_not_here_is_told_with_the_command_that_downloads_it() {
    let (folders, hub) = (fitting(), FakeHub::start());
    for name in ["org/name", "org/name@v1.0"] {
        let words = format!("download it with `mergescope download {name}`");
        run_with(&folders, &hub, &["inspect", name], &[]).ends_with_code(1).fails_saying(&[&words]);
        let merge = ["merge", "--pre", "pre", "--post", name, "--target", "target", "--out", "out"];
        run_with(&folders, &hub, &merge, &[]).ends_with_code(1).fails_saying(&[&words]);
        fs::write(
            folders.dir.path().join("recipe.toml"),
            format!("version = 1\ntarget = '{name}'\n[vector]\npre = 'pre'\npost = 'post'\nw = 0.5\n"),
        )
        .unwrap();
        run_with(&folders, &hub, &["recipe", "check", "recipe.toml"], &[]).ends_with_code(1).says(&[&words]);
    }
    assert!(!folders.dir.path().join("hf").exists(), "nobody asked for a download");
    run_with(&folders, &hub, &["download", "org/name@v1.0", "-y"], &[]).ends_with_code(0);
    run_with(&folders, &hub, &["inspect", "org/name@v1.0"], &[]).ends_with_code(0);
}

#[test]
fn what_cannot_be_downloaded_is_one_line_without_the_token() {
    let (folders, hub) = (fitting(), FakeHub::start());
    let token = [("HF_TOKEN", "hf_geheim")];
    let fails = |args: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]| {
        let ran = run_with(&folders, &hub, args, variables).ends_with_code(code).fails_saying(words);
        assert!(!ran.stderr.contains("hf_geheim"));
    };
    fails(&["download", "org/gated"], &token, 1, &["org/gated is gated", "accept its terms on http://127.0.0.1"]);
    fails(&["download", "org/gated"], &[], 1, &["then set HF_TOKEN"]);
    fails(&["download", "org/other"], &token, 1, &["has no model org/other", "check the name"]);
    fails(&["download", "org/name@v9"], &[], 1, &["org/name has no revision `v9`"]);
    fails(&["download", "org/name"], &[("HF_HUB_OFFLINE", "1")], 1, &["HF_HUB_OFFLINE is set"]);
    fails(&["download", "org/name"], &[("HF_ENDPOINT", "http://me:hf_geheim@host")], 1, &["HF_ENDPOINT is not"]);
    fails(&["download", "no name"], &[], 2, &["is no name of a model on the Hub; write ORG/NAME"]);
    if cfg!(not(feature = "tls")) {
        let words = ["huggingface.co is reached by https", "--features tls", "hf download org/name"];
        fails(&["download", "org/name"], &[("HF_ENDPOINT", "")], 1, &words);
    }
}

#[test]
fn a_revision_stays_in_what_is_written() {
    let (folders, hub) = (fitting(), FakeHub::start());
    // As it lies in the cache after a download.
    let repo = folders.dir.path().join("hf/hub/models--org--tuned");
    let tagged = repo.join("snapshots").join("c".repeat(40));
    fs::create_dir_all(repo.join("snapshots")).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::rename(folders.dir.path().join("target"), &tagged).unwrap();
    fs::write(repo.join("refs/v2.0"), "c".repeat(40)).unwrap();
    let models = ["--pre", "pre", "--post", "post", "--target", "org/tuned@v2.0", "--out"];
    run_with(&folders, &hub, &[&["merge"], &models[..], &["merged"]].concat(), &[]).ends_with_code(0);
    let recipe = fs::read_to_string(folders.dir.path().join("merged/mergescope.toml")).unwrap();
    assert!(recipe.contains("target = \"org/tuned@v2.0\""), "{recipe}");
    run_with(&folders, &hub, &[&["lora"], &models[..], &["adapter"]].concat(), &[]).ends_with_code(0);
    let config = fs::read_to_string(folders.dir.path().join("adapter/adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&"org/tuned".into(), &"v2.0".into()));
    // And through a merge file of mergekit, there and back.
    run_with(&folders, &hub, &["recipe", "export", "merged/mergescope.toml", "-o", "merge.yaml", "--lossy"], &[])
        .ends_with_code(0);
    assert!(fs::read_to_string(folders.dir.path().join("merge.yaml")).unwrap().contains("org/tuned@v2.0"));
    let back = run_with(&folders, &hub, &["recipe", "import", "merge.yaml"], &[]).ends_with_code(0);
    back.says(&["\"org/tuned@v2.0\""]);
    assert!(hub.server.asked("GET /api/models/org/tuned/revision/v2.0?blobs=true").is_empty(), "nobody is asked");
}
