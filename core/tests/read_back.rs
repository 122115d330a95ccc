//! Report and card have the hash of every file, and what was written is read back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mergescope_core::adapter::{ADAPTER_REPORT_FILE, AdapterSpec, Ranks, export};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::merge::{
    FileReport, MergeOptions, MergeReport, REPORT_FILE, Verify, convert, merge, merge_with, save_vector,
};
use mergescope_core::progress::{Control, Stage};
use mergescope_core::recipe::{OutputDtype, Recipe};
use mergescope_core::stream::Resources;
use support::{Folders, Size, related};

fn folders() -> Folders {
    let size = Size { hidden: 64, ffn: 256, vocab: 500, layers: 3, ..Size::default() };
    let (pre, post, target) = related(size, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target.with_file("tokenizer.json", "{\"a\": 1}"));
    let templates = folders.target().join("additional_chat_templates");
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("x.jinja"), "{{ x }}").unwrap();
    folders
}

/// In shards of 100 kB.
fn recipe(folders: &Folders) -> Recipe {
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
    recipe.output.shard_bytes = 100_000;
    recipe
}

/// The hash of each file in a folder, by the blake3 crate over the whole file.
fn hashes(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
            found.insert(name, blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string());
        }
    }
    found
}

fn told(report: &MergeReport) -> BTreeMap<String, String> {
    report.files.iter().map(|file| (file.name.clone(), file.blake3.clone())).collect()
}

#[test]
fn report_and_card_have_the_hash_of_every_file() {
    let folders = folders();
    let output = folders.dir.path().join("merged");
    let report = merge(&recipe(&folders), &output, &Resources::default(), &Control::new()).unwrap();
    let mut expected = hashes(&output);
    expected.remove(REPORT_FILE).unwrap();
    assert!(expected.len() > 6, "several shards, and files beside them: {expected:?}");
    assert_eq!(told(&report), expected);
    assert_eq!(report.verified, Verify::Memory);
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    assert!(bytes > report.bytes_written);

    let stored: MergeReport = serde_json::from_slice(&fs::read(output.join(REPORT_FILE)).unwrap()).unwrap();
    assert_eq!(stored.files, report.files);
    let card = fs::read_to_string(output.join("README.md")).unwrap();
    expected.remove("README.md").unwrap();
    for (name, hash) in &expected {
        let size = fs::metadata(output.join(name)).unwrap().len();
        assert!(card.contains(&format!("| {name} | {size} | `{hash}` |")), "{name} is not in:\n{card}");
    }
}

#[test]
fn neither_threads_nor_memory_nor_the_way_of_reading_change_a_hash() {
    let folders = folders();
    let mut all = Vec::new();
    for (threads, memory_bytes, verify) in
        [(1, 1 << 14, Verify::Memory), (4, 1 << 20, Verify::Memory), (2, 256 << 20, Verify::Disk)]
    {
        let output = folders.dir.path().join(format!("merged-{threads}"));
        let resources = Resources { threads, memory_bytes, ..Resources::default() };
        let options = MergeOptions { verify, ..MergeOptions::default() };
        let report = merge_with(&recipe(&folders), &output, options, &resources, &Control::new()).unwrap();
        let is_told = cfg!(target_os = "linux") || verify != Verify::Disk;
        assert!(!is_told || report.verified == verify);
        all.push(report.files);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn vectors_conversions_and_adapters_are_read_back_too() {
    let folders = folders();
    let recipe = recipe(&folders);
    let (resources, control) = (Resources::default(), Control::new());
    let path = |name: &str| folders.dir.path().join(name);
    let models = mergescope_core::merge::open(&recipe).unwrap();
    let hashes_of = |files: &[FileReport]| -> BTreeMap<String, String> {
        files.iter().map(|file| (file.name.clone(), file.blake3.clone())).collect()
    };
    let card = |folder: &Path| fs::read_to_string(folder.join("README.md")).unwrap();

    let names = [recipe.vector.pre.as_str(), recipe.vector.post.as_str()];
    let vector = path("vector");
    let saved = save_vector(&models.vectors[0], names, OutputDtype::F32, &vector, &resources, &control).unwrap();
    assert_eq!(hashes_of(&saved.files), hashes(&vector));
    let weights = saved.files.iter().find(|file| file.name.ends_with(".safetensors")).unwrap();
    assert!(card(&vector).contains(&format!("`{}`", weights.blake3)));

    let copy = path("copy");
    let converted = convert(&models.target, &copy, 100_000, &resources, &control).unwrap();
    assert!(converted.weight_files.len() > 1);
    assert_eq!(hashes_of(&converted.files), hashes(&copy));

    for ranks in [Ranks::Uniform, Ranks::PerTensor] {
        let adapter = path(&format!("adapter-{}", ranks.label()));
        let spec = AdapterSpec { rank: 4, energy: Some(0.5), ranks, ..AdapterSpec::default() };
        let report = export(&Recipe { adapter: Some(spec), ..recipe.clone() }, &adapter, &resources, &control).unwrap();
        let mut expected = hashes(&adapter);
        expected.remove(ADAPTER_REPORT_FILE).unwrap();
        assert_eq!(hashes_of(&report.files), expected);
        assert!(card(&adapter).contains(&format!("`{}`", report.files[0].blake3)));
    }
}

#[test]
fn reading_back_can_be_left_out() {
    let folders = folders();
    let output = folders.dir.path().join("merged");
    let options = MergeOptions { verify: Verify::None, ..MergeOptions::default() };
    let report = merge_with(&recipe(&folders), &output, options, &Resources::default(), &Control::new()).unwrap();
    let mut expected = hashes(&output);
    expected.remove(REPORT_FILE).unwrap();
    assert_eq!((told(&report), report.verified), (expected, Verify::None), "the hashes are of what was meant");
}

#[test]
fn it_is_a_stage_of_its_own_which_can_be_cancelled() {
    let folders = folders();
    let output = folders.dir.path().join("merged");
    let slot: Arc<Mutex<Option<Control>>> = Arc::default();
    let control = Control::with_observer({
        let slot = slot.clone();
        move |progress| {
            if progress.stage == Stage::Verifying {
                assert!(progress.total_bytes > 0);
                slot.lock().unwrap().as_ref().unwrap().cancel();
            }
        }
    });
    *slot.lock().unwrap() = Some(control.clone());
    let ended = merge(&recipe(&folders), &output, &Resources::default(), &control).unwrap_err();
    assert!(ended.is_cancelled() && !output.exists(), "{ended}");
    let left = fs::read_dir(folders.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with('.')).count(), 0);
}
