//! Several vectors, methods and controls, as a person uses them.

use std::path::Path;
use std::process::Command;

use eframe::egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::window::session::End;
use mergescope::window::{App, Setup, Tab};
use mergescope_core::alignment::VectorPair;
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::merge::save_vector;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, Method, OutputDtype, Recipe, VectorSpec};
use mergescope_core::stream::Resources;

use super::common::{FakePicker, TINY, Triple, setup, type_into, wait, wait_for_vector, window};
use super::scaling::{choose, undo};
use super::{is_disabled, merge_into, ready};

fn recipe<'a>(harness: &'a Harness<'_, App>) -> &'a Recipe {
    &harness.state().session().recipe
}

/// post − pre and target − pre onto target.
fn two(triple: &Triple) -> Recipe {
    let mut recipe = triple.recipe();
    recipe.others.push(VectorSpec::new(triple.path("pre"), triple.path("target")));
    recipe
}

#[track_caller]
fn wait_until_ready(harness: &mut Harness<'_, App>) {
    wait(harness, "everything fits", |app| app.session().merge_obstacle().is_none());
}

fn palette(harness: &mut Harness<'_, App>, query: &str) {
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    harness.get_by_label("Command name").type_text(query);
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

/// Merges in the window, and by the command line from the recipe that the window saves; both must write the same bytes.
#[track_caller]
fn merges_alike(harness: &mut Harness<'_, App>, out: &Path, name: &str) -> Vec<u8> {
    wait_until_ready(harness);
    merge_into(harness, out, name);
    let wanted = out.join(name);
    wait(
        harness,
        "the merge ends",
        |app| matches!(&app.session().end, Some(End::Merged(written)) if written.report.output == wanted),
    );
    let file = out.join(format!("{name}.toml"));
    recipe(harness).save(&file).unwrap();
    let by_command = out.join(format!("{name}-by-command"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_mergescope"));
    command.args(["merge", "--recipe"]).arg(&file).arg("--out").arg(&by_command).env("XDG_DATA_HOME", out.join("data"));
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    // All that is written but the report, which says how long it took.
    for file in ["model.safetensors", "config.json", "README.md", "mergescope.toml"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&wanted) == read(&by_command), "{name}: the window and the command line write the same {file}");
    }
    std::fs::read(wanted.join("model.safetensors")).unwrap()
}

#[test]
fn a_second_vector_is_added_by_mouse_and_merged() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    assert!(harness.query_by_label("Vector 1: post − pre").is_none(), "one vector needs no list");
    harness.get_by_label("Add a vector").click();
    harness.run_steps(3);
    assert_eq!(harness.state().session().shown(), 1);
    assert_eq!(recipe(&harness).others[0].pre, triple.path("pre"), "it goes out from the same model");
    assert!(is_disabled(&harness, "Merge…"));
    type_into(&mut harness, "Post model", &triple.path("target"));
    wait_for_vector(&mut harness);
    harness.get_by_label("w slider").set_value_accesskit(0.25);
    harness.run_steps(2);
    assert_eq!((recipe(&harness).vector.w, recipe(&harness).others[0].w), (0.5, 0.25), "each has a w of its own");
    assert!(harness.query_by_label("Vector 2: target − pre").is_some());
    let out = tempfile::tempdir().unwrap();
    merges_alike(&mut harness, out.path(), "two");
    assert_eq!(harness.state().tab(), Tab::Results);
    assert!(harness.query_by_label_contains("target + 2 vectors is in ").is_some());
    assert!(harness.query_by_label_contains("Of the intended change ").is_some());
    assert!(harness.query_by_label("Sort by Share written").is_some(), "there is no one effective w");
    // A click on the first shows its models and its w again.
    harness.get_by_label("Vector 1: post − pre").click();
    harness.run_steps(3);
    assert_eq!(harness.get_by_label("w slider").accesskit_node().numeric_value(), Some(0.5));
    assert_eq!(harness.state().session().slots[1].text, triple.path("post"));
}

#[test]
fn a_second_vector_is_added_by_keyboard() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    palette(&mut harness, "add a vector");
    assert_eq!(harness.state().session().count(), 2);
    type_into(&mut harness, "Post model", &triple.path("target"));
    wait_for_vector(&mut harness);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::PageUp);
    harness.run_steps(3);
    assert_eq!(harness.state().session().shown(), 0);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::PageDown);
    harness.run_steps(3);
    assert_eq!(harness.state().session().shown(), 1);
    palette(&mut harness, "method: ties");
    assert_eq!(recipe(&harness).method.name, Method::Ties);
    palette(&mut harness, "move this vector up");
    assert_eq!(harness.state().session().shown(), 0);
    assert_eq!(recipe(&harness).vector.post, triple.path("target"));
    let out = tempfile::tempdir().unwrap();
    merges_alike(&mut harness, out.path(), "keyboard");
}

/// A window on the Scaling tab with two vectors.
fn scaling_of(recipe: Recipe) -> Harness<'static, App> {
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait_for_vector(&mut harness);
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    harness
}

fn set(harness: &mut Harness<'_, App>, field: &str, value: f64) {
    harness.get_by_label(field).set_value_accesskit(value);
    harness.run_steps(3);
}

#[test]
fn every_method_that_adds_vectors_writes_what_the_engine_writes() {
    let triple = Triple::new(TINY);
    let mut harness = scaling_of(two(&triple));
    let out = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    let methods = [
        ("Trim", Method::Trim),
        ("TIES", Method::Ties),
        ("DARE", Method::DareLinear),
        ("DARE, then TIES", Method::DareTies),
        ("DELLA, then TIES", Method::Della),
        ("DELLA", Method::DellaLinear),
        ("Breadcrumbs", Method::Breadcrumbs),
        ("Breadcrumbs, then TIES", Method::BreadcrumbsTies),
        ("SCE", Method::Sce),
        ("Model stock", Method::ModelStock),
        ("NuSLERP", Method::Nuslerp),
        ("Task arithmetic", Method::TaskArithmetic),
    ];
    for (name, method) in methods {
        choose(&mut harness, "Method:", name);
        assert_eq!(recipe(&harness).method.name, method);
        if harness.query_by_label("Method, density").is_some() {
            set(&mut harness, "Method, density", 0.4);
        }
        if harness.query_by_label("Method, seed").is_some() {
            set(&mut harness, "Method, seed", 7.0);
        }
        written.push(merges_alike(&mut harness, out.path(), method.label()));
        harness.get_by_label("Scaling").click();
        harness.run_steps(3);
    }
    for (position, bytes) in written.iter().enumerate() {
        assert!(!written[position + 1..].contains(bytes), "{} writes what another wrote", methods[position].0);
    }
}

#[test]
fn whole_models_are_averaged_once_pre_is_left_out() {
    let triple = Triple::new(TINY);
    let mut harness = scaling_of(two(&triple));
    choose(&mut harness, "Method:", "Linear");
    let said = "linear takes whole models; leave out pre";
    wait(&mut harness, "the engine is asked", |app| app.session().merge_obstacle().is_some_and(|it| it == said));
    assert!(harness.query_by_label(said).is_some(), "above the button");
    harness.get_by_label("Leave it out").click();
    harness.run_steps(3);
    assert!(recipe(&harness).vectors().all(VectorSpec::stands_alone));
    assert!(harness.query_by_label("Pre model").is_none() && harness.query_by_label("Whole model").is_some());
    let out = tempfile::tempdir().unwrap();
    merges_alike(&mut harness, out.path(), "linear");
    assert!(harness.query_by_label_contains("The average of 2 models is in ").is_some());
    harness.get_by_label("Vector").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("post is a whole model").is_some(), "there is no vector to look at");
    // One model alone: from the target towards it.
    harness.get_by_label("Remove vector 2").click();
    harness.run_steps(3);
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    choose(&mut harness, "Method:", "SLERP");
    merges_alike(&mut harness, out.path(), "slerp");
    // Back to vectors, pre is asked for again.
    palette(&mut harness, "method: task");
    assert_eq!(harness.state().session().merge_obstacle().as_deref(), Some("Choose the pre model first"));
    assert!(harness.query_by_label("Pre model").is_some());
}

#[test]
fn a_saved_vector_stands_for_pre_and_post() {
    let triple = Triple::new(TINY);
    let open = |role: &str| std::sync::Arc::new(Checkpoint::open(Path::new(&triple.path(role))).unwrap());
    let pair = VectorPair { pre: open("pre"), post: open("post") };
    let folder = triple.root.path().join("vector");
    let names = [triple.path("pre"), triple.path("post")];
    let names = [names[0].as_str(), names[1].as_str()];
    save_vector(&pair, names, OutputDtype::F32, &folder, &Resources::default(), &Control::new()).unwrap();

    let mut harness = ready(&triple);
    let out = tempfile::tempdir().unwrap();
    let usual = merges_alike(&mut harness, out.path(), "usual");
    type_into(&mut harness, "Post model", &folder.to_string_lossy());
    wait(&mut harness, "the vector is open", |app| {
        app.session().merge_obstacle().is_some_and(|obstacle| obstacle.contains("is a saved vector"))
    });
    assert!(harness.query_by_label("Not needed: Post is a saved vector already").is_some());
    harness.get_by_label("Leave it out").click();
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("Saved vector of post − pre · 29 tensors · f32").is_some());
    assert!(harness.query_by_label("Pre model").is_none());
    wait_for_vector(&mut harness);
    assert!(harness.query_by_label_contains("These two fit together").is_some());
    let saved = merges_alike(&mut harness, out.path(), "saved");
    assert!(saved == usual, "the same vector writes the same model");
}

#[test]
fn a_control_is_never_taken_for_the_vector() {
    let triple = Triple::new(TINY);
    let mut harness = scaling_of(triple.recipe());
    let kept = |harness: &Harness<'_, App>| harness.query_by_label_contains("bf16 keeps").is_some();
    wait(&mut harness, "the preview is there", |app| app.session().details().preview.done().is_some());
    assert!(kept(&harness));
    let out = tempfile::tempdir().unwrap();
    let mut written = vec![merges_alike(&mut harness, out.path(), "real")];
    for kind in ["Shuffled signs", "Permuted layers", "Noise"] {
        harness.get_by_label("Scaling").click();
        harness.run_steps(3);
        choose(&mut harness, "Control:", kind);
        assert!(!kept(&harness), "what w·v alone would leave is not foretold");
        let badge = format!("⚠ Control in use: {}", kind.to_lowercase());
        assert!(harness.query_by_label(&badge).is_some(), "{badge} in the left column");
        written.push(merges_alike(&mut harness, out.path(), kind));
        let badge = format!("Written with a control, {}, in place of the real vector", kind.to_lowercase());
        assert!(harness.query_by_label_contains(&badge).is_some(), "{badge} in Results");
    }
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    set(&mut harness, "Control, seed", 5.0);
    assert_eq!(
        recipe(&harness).vector.control.map(|control| (control.kind, control.seed)),
        Some((ControlKind::Noise, 5))
    );
    written.push(merges_alike(&mut harness, out.path(), "other seed"));
    for (position, bytes) in written.iter().enumerate() {
        assert!(!written[position + 1..].contains(bytes));
    }
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    choose(&mut harness, "Control:", "None");
    assert!(kept(&harness));
}

#[test]
fn a_density_out_of_range_says_where_and_what_to_do() {
    let triple = Triple::new(TINY);
    let mut harness = scaling_of(two(&triple));
    assert!(harness.query_by_label("Method, density").is_none(), "task arithmetic keeps everything");
    choose(&mut harness, "Method:", "TIES");
    wait_until_ready(&mut harness);
    set(&mut harness, "Method, density", 1.4);
    assert_eq!(recipe(&harness).method.density, Some(1.4));
    let said = "density of vector 1 is 1.4; it is the share that is kept, from 0 to 1";
    let is_said = |harness: &Harness<'_, App>| harness.query_all_by_label_contains(said).count();
    assert_eq!(is_said(&harness), 2, "below the field, and above the button");
    assert_eq!(harness.state().session().merge_obstacle().as_deref(), Some(said));
    assert!(is_disabled(&harness, "Merge…"));
    set(&mut harness, "Method, density", 0.2);
    assert!(is_said(&harness) == 0 && !is_disabled(&harness, "Merge…"));
    // Of one vector alone.
    harness.get_by_label("Vector 2: target − pre").click();
    harness.run_steps(3);
    set(&mut harness, "Vector 2, density", -0.1);
    assert_eq!(harness.query_all_by_label_contains("density of vector 2 is -0.1").count(), 2);
    assert_eq!(recipe(&harness).vector.density, None);
    // The default is no choice.
    set(&mut harness, "Vector 2, density", 0.2);
    assert_eq!(recipe(&harness).others[0].density, None);
    set(&mut harness, "Method, density", 1.0);
    assert_eq!(recipe(&harness).method.density, None);
}

#[test]
fn a_vector_is_thinned_out_in_a_way_of_its_own() {
    let triple = Triple::new(TINY);
    let mut harness = scaling_of(two(&triple));
    choose(&mut harness, "Kept of vector 1:", "At random");
    set(&mut harness, "Vector 1, density", 0.5);
    assert!(harness.query_by_label("Method, seed").is_some(), "something is drawn");
    set(&mut harness, "Method, seed", 3.0);
    let out = tempfile::tempdir().unwrap();
    merges_alike(&mut harness, out.path(), "own");
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    choose(&mut harness, "Method:", "Model stock");
    assert_eq!(recipe(&harness).vector.sparsify, None, "what has no effect is forgotten");
    assert!(harness.query_by_label_contains("Model stock needs no w").is_some());
    assert!(is_disabled(&harness, "w slider"));
    wait_until_ready(&mut harness);
}

#[test]
fn every_step_is_undone_and_made_again() {
    let triple = Triple::new(TINY);
    let mut harness = scaling_of(triple.recipe());
    let mut steps = vec![recipe(&harness).clone()];
    type Edit<'a> = &'a dyn Fn(&mut Harness<'_, App>);
    let target = triple.path("target");
    let edits: [Edit<'_>; 12] = [
        &|h| h.get_by_label("Add a vector").click(),
        &|h| type_into(h, "Post model", &target),
        &|h| h.get_by_label("w slider").set_value_accesskit(0.75),
        &|h| choose(h, "Method:", "TIES"),
        &|h| h.get_by_label("Method, density").set_value_accesskit(0.3),
        &|h| {
            // One drag of a number is one step.
            let at = h.get_by_label("Method, lambda").rect().center();
            h.hover_at(at);
            h.drag_at(at);
            for step in 1..=4 {
                h.hover_at(at + eframe::egui::vec2(10.0 * step as f32, 0.0));
                h.run_steps(1);
            }
            h.drop_at(at + eframe::egui::vec2(40.0, 0.0));
        },
        &|h| h.get_by_label("Method, normalize").click(),
        &|h| choose(h, "Control:", "Noise"),
        &|h| choose(h, "Kept of vector 2:", "All"),
        &|h| palette(h, "move this vector up"),
        &|h| choose(h, "Method:", "DARE"),
        &|h| h.get_by_label("Remove vector 1").click(),
    ];
    for (number, edit) in (1..).zip(edits) {
        edit(&mut harness);
        harness.run_steps(8);
        assert_ne!(steps.last(), Some(recipe(&harness)), "edit {number} changes something");
        steps.push(recipe(&harness).clone());
    }
    for (number, step) in steps.iter().enumerate().rev().skip(1) {
        undo(&mut harness);
        assert_eq!(recipe(&harness), step, "after undoing edit {}", number + 1);
    }
    for (number, step) in steps.iter().enumerate().skip(1) {
        harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
        harness.run_steps(2);
        assert_eq!(recipe(&harness), step, "after making edit {number} again");
    }
}

#[test]
fn the_vector_that_is_shown_is_removed() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(two(&triple)), ..setup() });
    wait_for_vector(&mut harness);
    harness.get_by_label("Vector 2: target − pre").click();
    harness.run_steps(2);
    wait_for_vector(&mut harness);
    harness.get_by_label("Remove vector 2").click();
    harness.run_steps(3);
    let session = harness.state().session();
    assert_eq!((session.count(), session.shown()), (1, 0));
    assert_eq!(session.slots[1].text, triple.path("post"));
    assert!(session.vector().done().is_some(), "what was measured of the other is still there");
    assert!(harness.query_by_label("Remove vector 1").is_none(), "the last one stays");
    undo(&mut harness);
    let session = harness.state().session();
    assert_eq!((session.count(), session.shown()), (2, 1), "what comes back is shown");
    wait_until_ready(&mut harness);
    // The first one goes, the one that is shown stays.
    harness.get_by_label("Remove vector 1").click();
    harness.run_steps(3);
    let session = harness.state().session();
    assert_eq!((session.count(), session.shown()), (1, 0));
    assert_eq!(session.recipe.vector.post, triple.path("target"));
}

#[test]
fn recipes_with_several_vectors_are_opened_and_saved() {
    let triple = Triple::new(TINY);
    let file = triple.root.path().join("several.toml");
    let mut wanted = two(&triple);
    wanted.method.name = Method::Ties;
    (wanted.method.density, wanted.others[0].density) = (Some(0.2), Some(0.6));
    std::fs::write(&file, wanted.to_toml()).unwrap();
    let picker = std::sync::Arc::new(FakePicker(Some(file.clone())));
    let mut harness = window(Setup { picker, ..setup() });
    harness.key_press_modifiers(Modifiers::COMMAND, Key::O);
    wait(&mut harness, "the recipe is opened", |app| app.session().count() == 2);
    assert_eq!(*recipe(&harness), wanted);
    wait_until_ready(&mut harness);
    assert!(harness.query_by_label_contains("These fit together").is_some());
    harness.get_by_label("Vector 2: target − pre").click();
    harness.run_steps(2);
    harness.get_by_label("w slider").set_value_accesskit(-0.5);
    harness.run_steps(3);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    wait(&mut harness, "the recipe is saved", |app| !app.session().is_changed());
    let saved = Recipe::read(&file).unwrap();
    wanted.others[0].w = -0.5;
    assert_eq!(saved, wanted);
}

#[test]
fn findings_say_which_vector_they_are_about() {
    let triple = Triple::new(TINY);
    let other = Triple::new(super::common::Shape { inner: 48, ..TINY });
    let mut recipe = triple.recipe();
    recipe.others.push(VectorSpec::new(other.path("pre"), other.path("post")));
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait(&mut harness, "the models are compared", |app| {
        app.session().preflights().all(|preflight| preflight.done().is_some())
    });
    assert!(harness.query_by_label_contains("These do not fit together").is_some());
    assert!(harness.query_by_label("Vector 2").is_some(), "above its findings");
    let obstacle = harness.state().session().merge_obstacle().unwrap();
    assert_eq!(obstacle, "The models of vector 2 do not fit together: see the findings");
    wait_for_vector(&mut harness);
    assert!(harness.query_by_label_contains("The vector is ").is_some(), "the first one is measured all the same");
}

#[test]
fn predictions_of_one_vector_alone_say_so() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(two(&triple)), ..setup() });
    wait_for_vector(&mut harness);
    wait(&mut harness, "the preview is there", |app| app.session().details().preview.done().is_some());
    assert!(harness.query_by_label_contains("bf16 keeps").is_none());
    let words = harness.get_by_label_contains("The vector is ").accesskit_node().value().expect("it has words");
    assert!(words.contains("is of this vector alone at w = 0.50, before the other vector"), "{words}");
    assert!(!words.contains("bf16 would lose"), "{words}");
}

#[test]
fn two_vectors_that_are_called_alike_are_told_apart_by_their_folders() {
    let (triple, other) = (Triple::new(TINY), Triple::new(TINY));
    let mut recipe = triple.recipe();
    recipe.others.push(VectorSpec::new(other.path("pre"), other.path("post")));
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait_until_ready(&mut harness);
    for (number, triple) in [(1, &triple), (2, &other)] {
        let folder = triple.root.path().file_name().unwrap().to_string_lossy().into_owned();
        let name = harness.state().session().vector_name(number - 1);
        assert_eq!(name, format!("{folder}/post − {folder}/pre"));
    }
}
