//! What `analyze` is asked by, what it refuses, and what it leaves untouched.

use super::*;

#[test]
fn a_recipe_says_models_w_and_output_and_flags_override_it() {
    let folders = fitting();
    let toml = "version = 1\ntarget = \"target\"\n[vector]\npre = \"pre\"\npost = \"post\"\nw = 0.75\n[output]\ndtype = \"f32\"\n";
    fs::write(folders.dir.path().join("recipe.toml"), toml).unwrap();
    let provenance = |args: &[&str]| -> Value {
        let output = run(folders.dir.path(), &[&["--json", "--recipe", "recipe.toml"], args].concat());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["provenance"].take()
    };
    let found = provenance(&[]);
    assert_eq!((&found["w"], &found["dtype"]), (&json!(0.75), &json!("f32")));
    assert_eq!(found["post"], folders.dir.path().join("post").to_str().unwrap(), "relative to the recipe");
    assert_eq!(found["fingerprints"]["pre"].as_str().unwrap().len(), 64);
    let found = provenance(&["-w", "-1", "--dtype", "bf16"]);
    assert_eq!((&found["w"], &found["dtype"]), (&json!(-1.0), &json!("bf16")));
}

#[test]
fn what_exists_is_refused_and_left_as_it_is() {
    let folders = fitting();
    let folder = folders.dir.path();
    fs::write(folder.join("page.html"), "mine").unwrap();
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/note.txt"), "mine").unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    fails(&folders, &["--html", "page.html"], 1, &["page.html", "never overwritten", "choose another name"]);
    fails(&folders, &["--svg", "full"], 1, &["full", "not empty"]);
    fails(&folders, &["--csv", "page.html"], 1, &["page.html", "not a folder"]);
    fails(&folders, &["--csv", "pre/tables"], 1, &["inside pre"]);
    fails(&folders, &["--csv", "page.html/tables"], 1, &["page.html/tables cannot be written", "not a folder"]);
    fails(&folders, &["--html", &"a".repeat(300)], 1, &["cannot be written"]);
    fails(&folders, &["--html", "nowhere/page.html"], 1, &["no folder nowhere"]);
    fails(&folders, &["--spectrum", "no.such.tensor", "--svg", "charts"], 1, &["no.such.tensor"]);
    assert_eq!(fs::read_to_string(folder.join("page.html")).unwrap(), "mine");
    assert_eq!(files(&folder.join("full")), [("note.txt".to_owned(), b"mine".to_vec())]);
    assert!(!folder.join("charts").exists() && !folder.join("pre/tables").exists());
    analyze(&folders, &["--csv", "empty", "--svg", "new/below"]);
    assert!(folder.join("empty/layers.csv").is_file() && folder.join("new/below/layers.svg").is_file());
    let names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}

#[test]
fn an_output_inside_a_model_to_compare_with_is_refused() {
    let folders = fitting();
    let folder = folders.dir.path();
    for name in ["other-pre", "other-post"] {
        fs::create_dir(folder.join(name)).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(folder.join("pre").join(file), folder.join(name).join(file)).unwrap();
        }
    }
    let other = ["--other", "other-pre", "other-post"];
    for output in [["--csv", "other-post/tables"], ["--svg", "other-pre/charts"], ["--html", "other-post/page.html"]] {
        fails(&folders, &[&other[..], &output].concat(), 1, &["lies inside other-p", "given with --other"]);
    }
    assert!(!folder.join("cache").exists(), "nothing was measured");
}

#[test]
fn a_vector_of_another_architecture_is_refused_before_anything_is_measured() {
    let folders = fitting();
    let other = Model { config: Some(json!({})), ..Model::new() };
    let other = other.with_tensor(Tensor::of("transformer.wte.weight", Dtype::BF16, &[4], &[1.0; 4]));
    other.write(&folders.dir.path().join("other"));
    fails(&folders, &["--other", "other", "other"], 1, &["no tensor is in all models", "one architecture"]);
    assert!(!folders.dir.path().join("cache").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_fails_takes_nothing_away_from_the_result() {
    let folders = fitting();
    // As long as a path may be, so that the folder can be made and no file in it.
    let mut deep = folders.dir.path().canonicalize().unwrap();
    while deep.as_os_str().len() < 4065 {
        let room = 4065 - deep.as_os_str().len() - 1;
        // A name of 201 bytes leaves room for another.
        deep.push("d".repeat(if room > 250 { 200 } else { room }));
    }
    fs::create_dir_all(&deep).unwrap();
    let tables = deep.join("t");
    let args = [&MODELS[..], &["--json", "--csv", tables.to_str().unwrap(), "--html", "page.html"]].concat();
    let output = run(folders.dir.path(), &args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Written: page.html") && said.contains("cannot be written"), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["tensors"].as_array().unwrap().len(), 26);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0, "nothing is left behind");
}

#[test]
#[cfg(unix)]
fn a_link_is_followed_or_said_to_lead_nowhere() {
    let folders = fitting();
    let folder = folders.dir.path();
    std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
    fails(&folders, &["--csv", "dangling"], 1, &["dangling is a link to something that does not exist"]);
    fs::create_dir(folder.join("empty")).unwrap();
    std::os::unix::fs::symlink("empty", folder.join("link")).unwrap();
    analyze(&folders, &["--csv", "link"]);
    assert!(folder.join("link").is_symlink() && folder.join("empty/layers.csv").is_file());
}

#[test]
fn outputs_that_are_in_each_others_way_are_refused_before_anything_is_measured() {
    let folders = fitting();
    let folder = folders.dir.path();
    fs::create_dir(folder.join("empty")).unwrap();
    fails(&folders, &["--svg", "x", "--html", "x"], 1, &["--svg and --html are both x"]);
    fails(&folders, &["--svg", "x", "--html", "./a/../x"], 1, &["no folder"]);
    fails(&folders, &["--svg", "x", "--html", "empty/../x"], 1, &["--svg and --html are both x"]);
    fails(&folders, &["--svg", "x", "--csv", "x/csv"], 1, &["x/csv, given with --csv, lies inside x"]);
    fails(&folders, &["--csv", "a/../x", "--svg", "x/y"], 1, &["x/y, given with --svg, lies inside a/../x"]);
    fails(&folders, &["--csv", "empty", "--html", "empty/page.html"], 1, &["empty/page.html", "lies inside empty"]);
    assert!(!folder.join("x").exists() && !folder.join("cache").exists());
    assert_eq!(files(&folder.join("empty")), []);
    // However it is spelled, one folder holds both.
    analyze(&folders, &["--csv", "x", "--svg", "./x"]);
    assert!(folder.join("x/layers.csv").is_file() && folder.join("x/layers.svg").is_file());
}

#[test]
fn models_that_do_not_fit_end_with_3() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let wide = Tensor::of("model.norm.weight", Dtype::BF16, &[64], &[1.0; 64]);
    let folders = Folders::write(&pre, &post, &target.with_tensor(wide));
    fails(&folders, &["--svg", "charts"], 3, &["do not fit together"]);
    assert!(!folders.dir.path().join("charts").exists());
}
