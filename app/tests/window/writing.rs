//! Adapters, saved vectors and merge files, as a person writes and reads them.

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{Event, Key, Modifiers, OutputCommand};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::window::picker::{PickFor, PickRequest, Picker};
use mergescope::window::session::End;
use mergescope::window::{App, Setup, Tab};
use mergescope_core::adapter::{self, AdapterPart, AdapterSpec};
use mergescope_core::merge::{merge, save_vector};
use mergescope_core::progress::Control;
use mergescope_core::recipe::mergekit::{self, at_hand};
use mergescope_core::recipe::{Method, OutputDtype, Recipe, VectorSpec};
use mergescope_core::stream::Resources;

use super::common::{FakePicker, Shape, TINY, Triple, fill, setup, wait, wait_for_label, wait_for_vector, window};
use super::{is_disabled, ready};

/// Gives the command of that name in the File menu.
#[track_caller]
fn in_file_menu(harness: &mut Harness<'_, App>, label: &str) {
    open_file_menu(harness);
    harness.get_by_label_contains(label).click();
    harness.run_steps(3);
}

#[track_caller]
fn open_file_menu(harness: &mut Harness<'_, App>) {
    harness.get_by_label("File").click();
    harness.run_steps(3);
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn an_adapter_is_exported_with_what_the_dialog_says() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let mut harness = ready(&triple);
    in_file_menu(&mut harness, "Export adapter…");
    assert!(harness.query_by_label("Export w·v as a low-rank adapter").is_some());
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    fill(&mut harness, "Name", "adapter");
    harness.get_by_label("Rank").set_value_accesskit(3.0);
    harness.get_by_label("mlp").click();
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("Factors of 12 tensors").is_some(), "q, k, v and o of three layers");
    assert!(harness.query_by_label_contains("not among the parts chosen").is_some());
    harness.get_by_label("Export").click();
    harness.run_steps(2);
    wait(&mut harness, "the adapter is written", |app| matches!(app.session().end, Some(End::Exported(_))));
    assert_eq!(harness.state().tab(), Tab::Results);

    // The library writes the same bytes from the recipe that the window now has.
    let recipe = harness.state().session().recipe.clone();
    let spec = AdapterSpec { rank: 3, parts: vec![AdapterPart::Attention], ..AdapterSpec::default() };
    assert_eq!(recipe.adapter, Some(spec));
    let engine = out.path().join("engine");
    let report = adapter::export(&recipe, &engine, &Resources::default(), &Control::new()).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        assert_eq!(bytes(&out.path().join("adapter").join(file)), bytes(&engine.join(file)), "{file}");
    }

    // What it keeps and what it leaves out is shown.
    let kept = mergescope::format::percent(report.total().share().unwrap());
    assert!(harness.query_by_label_contains(&format!("It holds {kept} of ‖w·v‖²")).is_some());
    assert!(harness.query_by_label_contains("Left out: ").is_some());
    assert!(harness.query_by_label("Chart: What the adapter holds, 4 bars").is_some());
    assert!(harness.query_by_label("model.layers.0.self_attn.q_proj.weight").is_some(), "a row a tensor");
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    let copied = harness.output().platform_output.commands.iter().find_map(|command| match command {
        OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    });
    let csv = copied.expect("the numbers are in the clipboard");
    assert_eq!(csv.lines().count(), 1 + report.tensors.len() + report.left_out.len());
    assert!(csv.contains("model.layers.1.mlp.up_proj.weight,left out"), "{csv}");
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Layer 2").is_some());
}

#[test]
fn an_adapter_by_energy_offers_what_goes_with_it() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    in_file_menu(&mut harness, "Export adapter…");
    assert!(harness.query_by_label("Ranks").is_none(), "without energy all ranks are the same");
    harness.get_by_label("as few as keep").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Ranks").is_some());
    // No part chosen makes no adapter, and that is said before anything is written.
    for part in ["attention", "mlp"] {
        harness.get_by_label(part).click();
        harness.run_steps(3);
    }
    assert!(harness.query_by_label_contains("No part of the model goes into the adapter").is_some());
    assert!(is_disabled(&harness, "Export"));
}

#[test]
fn several_vectors_make_no_adapter_and_the_menu_says_so() {
    let triple = Triple::new(TINY);
    let mut recipe = triple.recipe();
    recipe.others.push(VectorSpec::new(triple.path("pre"), triple.path("target")));
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait(&mut harness, "everything fits", |app| app.session().merge_obstacle().is_none());
    let obstacle = harness.state().session().adapter_obstacle().unwrap();
    assert!(obstacle.contains("An adapter holds one vector"), "{obstacle}");
    open_file_menu(&mut harness);
    let item = harness.get_by_label_contains("Export adapter…");
    assert!(item.accesskit_node().is_disabled());
}

#[test]
fn a_saved_vector_stands_in_for_pre_and_post() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let mut harness = ready(&triple);
    in_file_menu(&mut harness, "Save vector…");
    assert!(harness.query_by_label("Save v = post − pre as a folder of its own").is_some());
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    fill(&mut harness, "Name", "v");
    harness.get_by_label("Save").click();
    harness.run_steps(2);
    wait(&mut harness, "the vector is saved", |app| matches!(app.session().end, Some(End::Saved(_))));
    assert_eq!(harness.state().tab(), Tab::Results);
    assert!(harness.query_by_label_contains("v = post − pre is in ").is_some());

    let pair = harness.state().session().shown_pair().unwrap();
    let names = [triple.path("pre"), triple.path("post")];
    let engine = out.path().join("engine");
    let (resources, control) = (Resources::default(), Control::new());
    save_vector(&pair, [&names[0], &names[1]], OutputDtype::F32, &engine, &resources, &control).unwrap();
    for file in ["vector.safetensors", "vector.toml"] {
        assert_eq!(bytes(&out.path().join("v").join(file)), bytes(&engine.join(file)), "{file}");
    }

    let before = harness.state().session().recipe.clone();
    harness.get_by_label("Use it as the vector").click();
    harness.run_steps(3);
    let recipe = harness.state().session().recipe.clone();
    assert_eq!(
        (recipe.vector.pre.as_str(), recipe.vector.post.as_str()),
        ("", &*out.path().join("v").to_string_lossy())
    );
    wait(&mut harness, "it fits the target", |app| app.session().merge_obstacle().is_none());
    // f32 holds every difference of two bf16 numbers that differ by less than 2¹⁶: the merge is the same.
    let written = |recipe: &Recipe, name: &str| {
        let folder = out.path().join(name);
        merge(recipe, &folder, &Resources::default(), &Control::new()).unwrap();
        bytes(&folder.join("model.safetensors"))
    };
    assert_eq!(written(&recipe, "by-vector"), written(&before, "by-models"));
    // It is a saved vector by now, and there is nothing to save.
    open_file_menu(&mut harness);
    assert!(harness.get_by_label_contains("Save vector…").accesskit_node().is_disabled());
    assert!(harness.state().session().vector_obstacle().unwrap().contains("a saved vector already"));
}

#[test]
fn a_vector_can_be_saved_without_a_target() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let recipe = Recipe::new(triple.path("pre"), triple.path("post"), "");
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait(&mut harness, "pre and post are open", |app| app.session().vector_obstacle().is_none());
    in_file_menu(&mut harness, "Save vector…");
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    fill(&mut harness, "Name", "v");
    harness.get_by_label("Save").click();
    wait(&mut harness, "the vector is saved", |app| matches!(app.session().end, Some(End::Saved(_))));
    assert!(out.path().join("v/vector.safetensors").is_file());
}

/// A picker that answers every question about a merge file with one path.
struct MergeFiles(std::path::PathBuf);

impl Picker for MergeFiles {
    fn pick(&self, request: &PickRequest) -> Option<std::path::PathBuf> {
        matches!(request.purpose, PickFor::SaveMergeFile(_)).then(|| self.0.clone())
    }
}

#[test]
fn a_recipe_is_shown_as_a_merge_file_and_saved() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("merge.yaml");
    let mut recipe = triple.recipe();
    recipe.method.name = Method::Ties;
    recipe.method.density = Some(0.5);
    // The vector of mergekit is model − base.
    recipe.target = triple.path("pre");
    let picker = Arc::new(MergeFiles(file.clone()));
    let mut harness = window(Setup { recipe: Some(recipe.clone()), picker, ..setup() });
    wait_for_vector(&mut harness);
    in_file_menu(&mut harness, "Export for mergekit…");
    let shown = harness.get_by_label("Merge file").accesskit_node().value().unwrap();
    let expected = mergekit::export(&recipe, &at_hand).unwrap();
    assert_eq!(shown, expected.yaml);
    assert!(expected.not_carried.is_empty() && shown.contains("merge_method: ties"), "{shown}");
    harness.get_by_label("Save…").click();
    harness.run_steps(2);
    wait(&mut harness, "the file is there", |_| file.is_file());
    assert_eq!(String::from_utf8(bytes(&file)).unwrap(), expected.yaml);
}

#[test]
fn what_mergekit_has_no_word_for_is_listed_before_a_file_is_written() {
    let triple = Triple::new(TINY);
    let mut recipe = triple.recipe();
    recipe.output.rounding = mergescope_core::recipe::Rounding::Stochastic;
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait_for_vector(&mut harness);
    in_file_menu(&mut harness, "Export for mergekit…");
    assert!(harness.query_by_label("A merge file has no word for").is_some());
    assert!(harness.query_by_label_contains("`stochastic`").is_some());
    assert!(harness.query_by_label("Save without them…").is_some());
    // What it cannot say at all is refused in words.
    harness.get_by_label("Cancel").click();
    harness.run_steps(2);
    harness.state_mut().take_events();
    let mut recipe = triple.recipe();
    recipe.method.name = Method::Trim;
    recipe.method.density = Some(0.5);
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    in_file_menu(&mut harness, "Export for mergekit…");
    assert!(harness.query_by_label_contains("Mergekit has no method that trims").is_some());
}

#[test]
fn a_merge_file_is_opened_after_saying_what_is_lost() {
    let triple = Triple::new(TINY);
    let file = triple.root.path().join("theirs.yml");
    let text = "merge_method: task_arithmetic\nbase_model: pre\ndtype: float32\nchat_template: auto\nmodels:\n  \
                - model: post\n    parameters: {weight: 0.75}\n";
    std::fs::write(&file, text).unwrap();
    let mut harness = window(Setup { picker: Arc::new(FakePicker(Some(file.clone()))), ..setup() });
    in_file_menu(&mut harness, "Open recipe or merge file…");
    wait_for_label(&mut harness, "Take theirs.yml as a recipe");
    assert!(harness.query_by_label("A recipe has no word for").is_some());
    assert!(harness.query_by_label_contains("chat_template").is_some());
    assert_eq!(harness.state().session().recipe.vector.post, "", "nothing is taken before it was agreed to");
    harness.get_by_label("Open without them").click();
    harness.run_steps(3);
    wait_for_vector(&mut harness);
    let recipe = &harness.state().session().recipe;
    assert_eq!((recipe.vector.w, &recipe.vector.post), (0.75, &triple.path("post")));
    assert_eq!(harness.state().session().file, None, "a merge file is never written over");
    assert_eq!(bytes(&file), text.as_bytes());
}

#[test]
fn gradients_of_models_that_are_elsewhere_go_by_the_layers_one_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gradient.yaml");
    let text = "merge_method: task_arithmetic\nbase_model: some-org/base\ndtype: bfloat16\nmodels:\n  \
                - model: some-org/tuned\n    parameters: {weight: [0, 0.5, 1]}\n";
    std::fs::write(&file, text).unwrap();
    let mut harness = window(Setup { picker: Arc::new(FakePicker(Some(file))), ..setup() });
    in_file_menu(&mut harness, "Open recipe or merge file…");
    wait_for_label(&mut harness, "Layers");
    assert!(harness.query_by_label_contains("how many layers there are is not known").is_some());
    harness.get_by_label("Layers").set_value_accesskit(5.0);
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("how many layers there are is not known").is_none());
    harness.get_by_label("Open").click();
    harness.run_steps(3);
    let recipe = &harness.state().session().recipe;
    assert_eq!(recipe.target, "some-org/base");
    assert_ne!(recipe.vector.scaling, Default::default());
}

#[test]
fn files_opened_before_are_in_a_menu() {
    let triple = Triple::new(TINY);
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = triple.recipe();
    for (name, w) in [("first.toml", 0.25), ("second.toml", 0.75)] {
        recipe.vector.w = w;
        recipe.save(&folder.path().join(name)).unwrap();
    }
    let picker = Arc::new(FakePicker(Some(folder.path().join("first.toml"))));
    let mut harness = window(Setup { picker, ..setup() });
    open_file_menu(&mut harness);
    assert!(is_disabled(&harness, "Open recent"));
    harness.get_by_label_contains("Open recipe or merge file…").click();
    wait(&mut harness, "the recipe is opened", |app| app.session().recipe.vector.w == 0.25);
    assert_eq!(harness.state().session().recent_files, [folder.path().join("first.toml")]);
    harness.get_by_label("w slider").set_value_accesskit(1.0);
    harness.run_steps(3);
    open_file_menu(&mut harness);
    harness.get_by_label_contains("Open recent").click();
    harness.run_steps(3);
    harness.get_by_label(&mergescope::format::path(&folder.path().join("first.toml"))).click();
    wait(&mut harness, "it is opened again", |app| app.session().recipe.vector.w == 0.25);
}

#[test]
fn the_papers_recipes_are_in_a_menu() {
    let mut harness = window(setup());
    open_file_menu(&mut harness);
    harness.get_by_label_contains("Recipes of the papers").click();
    harness.run_steps(3);
    harness.get_by_label_contains("arXiv 2508.02913").click();
    harness.run_steps(3);
    assert_eq!(harness.state().session().recipe.target, "AXCXEPT/EZO-Qwen2.5-32B-Instruct");
    assert_eq!(harness.state().session().file, None);
}

#[test]
fn an_export_that_is_cancelled_leaves_nothing() {
    // Large enough that the decomposition takes a while.
    let triple = Triple::new(Shape { layers: 6, hidden: 256, inner: 512, vocabulary: 64 });
    let out = tempfile::tempdir().unwrap();
    let mut harness = ready(&triple);
    in_file_menu(&mut harness, "Export adapter…");
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    fill(&mut harness, "Name", "adapter");
    harness.get_by_label("Export").click();
    harness.run_steps(2);
    wait(&mut harness, "it has begun", |app| app.session().writing.is_some());
    assert_eq!(harness.state().session().merge_obstacle().as_deref(), Some("An adapter is being exported"));
    harness.get_by_label("Cancel").click();
    harness.run_steps(2);
    wait(&mut harness, "it has stopped", |app| app.session().writing.is_none());
    assert!(matches!(harness.state().session().end, Some(End::Cancelled(_))));
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn keys_in_the_palette_change_nothing_behind_it() {
    let triple = Triple::new(TINY);
    let mut recipe = triple.recipe();
    recipe.method.name = Method::Ties;
    recipe.method.density = Some(0.5);
    let mut harness = window(Setup { recipe: Some(recipe.clone()), ..setup() });
    wait_for_vector(&mut harness);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num2);
    harness.run_steps(3);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    for _ in 0..12 {
        harness.key_press(Key::ArrowDown);
        harness.run_steps(1);
    }
    for _ in 0..3 {
        harness.key_press(Key::ArrowUp);
        harness.run_steps(1);
    }
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    assert_eq!(harness.state().session().recipe, recipe);
}

#[test]
fn enter_takes_what_was_typed_in_the_same_frame() {
    let mut harness = window(setup());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    harness.event(Event::Text("scaling".to_owned()));
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().tab(), Tab::Scaling);
    assert!(harness.query_by_label("Command name").is_none());
}

#[test]
fn a_file_that_is_there_is_replaced_by_a_click_alone() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes.txt");
    std::fs::write(&notes, "important").unwrap();
    let mut harness = window(setup());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    wait_for_label(&mut harness, "Path");
    fill(&mut harness, "Path", &notes.to_string_lossy());
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("notes.txt is there already").is_some());
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "important");
    harness.get_by_label("Replace").click();
    harness.run_steps(3);
    assert!(Recipe::read(&notes).is_ok());
}

#[test]
fn a_recipe_with_a_typo_is_explained_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("typo.toml");
    std::fs::write(&file, "version = 1\ntarget = \"t\"\n[vector]\npre = \"a\"\npost = \"b\"\nv = 0.5\n").unwrap();
    let mut harness = window(Setup { picker: Arc::new(FakePicker(Some(file))), ..setup() });
    in_file_menu(&mut harness, "Open recipe or merge file…");
    wait_for_label(&mut harness, "This cannot be read");
    assert!(harness.query_by_label_contains("line 6, column 1").is_some());
    harness.get_by_label("Close").click();
    harness.run_steps(2);
    assert!(harness.query_by_label("This cannot be read").is_none());
}

#[test]
fn an_energy_that_the_rank_cannot_hold_is_said() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let mut recipe = triple.recipe();
    recipe.adapter = Some(AdapterSpec { rank: 1, energy: Some(0.99), ..AdapterSpec::default() });
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait_for_vector(&mut harness);
    in_file_menu(&mut harness, "Export adapter…");
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    harness.get_by_label("Export").click();
    harness.run_steps(2);
    wait(&mut harness, "the adapter is written", |app| matches!(app.session().end, Some(End::Exported(_))));
    assert!(harness.query_by_label_contains("would take more than rank 1 to hold the 99").is_some());
}

#[test]
fn models_that_fit_in_the_wrong_places_are_no_good_verdict() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let harness = ready(&triple);
    let pair = harness.state().session().shown_pair().unwrap();
    let vector = out.path().join("v");
    let (resources, control) = (Resources::default(), Control::new());
    save_vector(&pair, ["pre", "post"], OutputDtype::F32, &vector, &resources, &control).unwrap();
    let mut recipe = triple.recipe();
    recipe.vector.pre = vector.to_string_lossy().into_owned();
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait(&mut harness, "it is refused", |app| app.session().misuse().is_some());
    assert!(harness.query_by_label_contains("cannot be merged like this").is_some());
    assert!(harness.query_by_label_contains("fit together").is_none());
}
