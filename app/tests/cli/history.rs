//! Merges of the past.

use serde_json::json;

use super::{fitting, run, run_merge};

#[test]
fn merges_are_remembered_with_their_recipes_and_compared() {
    let folders = fitting();
    run(&folders, ["history"]).ends_with_code(0).says(&["No merge was made yet"]);
    run_merge(&folders, &["-w", "0.25", "--out", "first"]).ends_with_code(0);
    run_merge(&folders, &["-w", "0.75", "--dtype", "f32", "--out", "second"]).ends_with_code(0);
    run_merge(&folders, &["--out", "third", "--dry-run"]).ends_with_code(0);

    let listed = run(&folders, ["history"]).ends_with_code(0).says(&["task_arithmetic", "second", "first"]);
    assert!(listed.stdout.find("second") < listed.stdout.find("first"), "the latest first");
    run(&folders, ["history", "diff", "2", "1"]).ends_with_code(0).says(&["vector.w", "0.25", "0.75", "output.dtype"]);
    let found = run(&folders, ["history", "diff", "1", "1", "--json"]).ends_with_code(0).json();
    assert_eq!(found["differences"], json!([]));

    run(&folders, ["history", "show", "2", "-o", "again.toml"]).ends_with_code(0);
    run(&folders, ["merge", "--recipe", "again.toml", "--out", "again"]).ends_with_code(0);
    let weights = |name: &str| std::fs::read(folders.dir.path().join(name).join("model.safetensors")).unwrap();
    assert!(weights("first") == weights("again"));

    std::fs::remove_dir_all(folders.dir.path().join("again")).unwrap();
    run(&folders, ["history"]).ends_with_code(0).says(&["(gone)"]);
    run(&folders, ["history", "show", "9"]).ends_with_code(1).fails_saying(&["there is no merge 9", "lists 3"]);
    run(&folders, ["history", "show", "1", "-o", "again.toml"])
        .ends_with_code(1)
        .fails_saying(&["nothing that exists"]);
    run(&folders, ["history", "clear"]).ends_with_code(0).says(&["Forgot 3 merges; what they wrote stays"]);
    run(&folders, ["history", "--json"]).ends_with_code(0);
    std::fs::remove_dir_all(super::data_folder(folders.dir.path())).unwrap();
}
