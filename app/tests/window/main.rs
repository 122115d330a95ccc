//! What a person does in the window, by the names that a screen reader would read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be prepared should say so and stop")]

mod answerer;
#[path = "../common/mod.rs"]
mod common;
mod downloads;
mod drawing;
mod evaluate_tab;
mod past;
mod scaling;
mod try_tab;
mod unfinished;
mod vector;
mod vectors;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{
    FakePicker, Shape, TINY, Triple, Uncached, fill, setup, setup_with, type_into, wait, wait_for_label,
    wait_for_vector, window,
};
use eframe::egui::{DroppedFile, Event, Key, Modifiers, OutputCommand};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::window::engine::Engine;
use mergescope::window::session::{End, Stage, Written};
use mergescope::window::{App, Setup, Tab};
use mergescope_core::alignment::{Alignment, Triple as Models};
use mergescope_core::analysis::{AnalysisCache, VectorAnalysis};
use mergescope_core::merge::{MergeError, MergeReport};
use mergescope_core::progress::{Cancelled, Control, Stage as Work};
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::StreamError;

fn is_disabled(harness: &Harness<'_, App>, label: &str) -> bool {
    harness.get_by_label(label).accesskit_node().is_disabled()
}

fn w(harness: &Harness<'_, App>) -> f64 {
    harness.state().session().recipe.vector.w
}

fn written<'a>(harness: &'a Harness<'_, App>) -> Option<&'a Written> {
    match &harness.state().session().end {
        Some(End::Merged(written)) => Some(written),
        _ => None,
    }
}

/// A window on a tiny triple, measured.
fn ready(triple: &Triple) -> Harness<'static, App> {
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup() });
    wait_for_vector(&mut harness);
    harness
}

/// Opens the merge dialog, fills it and presses Merge.
fn merge_into(harness: &mut Harness<'_, App>, parent: &Path, name: &str) {
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    fill(harness, "Folder", &parent.to_string_lossy());
    fill(harness, "Name", name);
    harness.get_by_label("Merge").click();
    harness.run_steps(2);
}

#[test]
fn three_typed_paths_become_a_measured_vector() {
    let triple = Triple::new(TINY);
    let mut harness = window(setup());
    assert!(harness.query_by_label("Choose three models to begin").is_some());
    assert!(is_disabled(&harness, "Merge…"));
    for (field, role) in [("Pre model", "pre"), ("Post model", "post"), ("Target model", "target")] {
        type_into(&mut harness, field, &triple.path(role));
    }
    wait_for_vector(&mut harness);
    assert!(harness.query_by_label_contains("These three fit together").is_some());
    assert!(harness.query_all_by_label_contains("Qwen2 · 3 layers").count() == 3);
    assert!(harness.query_by_label_contains("The vector is ").is_some());
    assert!(harness.query_by_label_contains("Chart: how far each layer moved").is_some());
    assert!(!is_disabled(&harness, "Merge…"));
}

#[test]
fn a_path_that_is_no_model_says_what_to_do() {
    let mut harness = window(setup());
    type_into(&mut harness, "Pre model", "/nowhere/at all");
    wait(&mut harness, "the error is shown", |app| {
        app.session().slots.iter().any(|slot| matches!(slot.state, mergescope::window::session::SlotState::Failed(_)))
    });
    assert!(harness.query_by_label_contains("/nowhere/at all does not exist; check the path").is_some());
    assert!(harness.query_by_label_contains("1 model could not be opened, 2 more to choose").is_some());
}

#[test]
fn a_mismatch_shows_its_finding_and_disables_merge() {
    let triple = Triple::new(TINY);
    let other = Triple::new(Shape { inner: 48, ..TINY });
    let recipe = Recipe::new(triple.path("pre"), triple.path("post"), other.path("target"));
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    wait(&mut harness, "the models are compared", |app| app.session().preflight().done().is_some());
    assert!(harness.query_by_label_contains("These three do not fit together").is_some());
    let Stage::Done(preflight) = harness.state().session().preflight() else { unreachable!("it is done") };
    let title = preflight.findings[0].title.clone();
    assert!(harness.query_by_label_contains(&title).is_some(), "{title}");
    assert!(is_disabled(&harness, "Merge…"));
}

#[test]
fn w_follows_the_slider_and_the_number_field() {
    let mut harness = window(setup());
    harness.get_by_label("w slider").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.51);
    harness.key_press(Key::ArrowLeft);
    harness.key_press(Key::ArrowLeft);
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.49);
    harness.get_by_label("w slider").set_value_accesskit(-1.0);
    harness.run_steps(2);
    assert_eq!(w(&harness), -1.0);
    harness.get_by_label("w").click();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.get_by_label("w").type_text("0,75");
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.75);
}

#[test]
fn undo_and_redo_step_through_the_recipe() {
    let mut harness = window(setup());
    harness.get_by_label("w slider").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    type_into(&mut harness, "Target model", "/tmp/none");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(2);
    assert_eq!((w(&harness), harness.state().session().recipe.target.as_str()), (0.51, ""));
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.5);
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.51);
}

#[test]
fn a_merge_shows_the_engines_numbers() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    let out = tempfile::tempdir().unwrap();
    merge_into(&mut harness, out.path(), "merged");
    wait(&mut harness, "the merge ends", |app| app.session().end.is_some() && app.session().writing.is_none());
    assert_eq!(harness.state().tab(), Tab::Results);
    let report = &written(&harness).expect("a model was written").report;
    assert!(out.path().join("merged/model.safetensors").is_file());
    assert!(report.output.ends_with("merged"));
    assert!(harness.query_by_label_contains("Chart: What was asked for, and what was written, 4 bars").is_some());
    let total = report.total();
    let sentence = format!("The written change has {:.3} of the vector in it", total.effective_w());
    assert!(harness.query_by_label_contains(&sentence).is_some(), "{sentence}");
    // The table begins with the largest intended change.
    let largest = report.tensors.iter().max_by(|a, b| a.change.intended_sq.total_cmp(&b.change.intended_sq));
    let largest = largest.expect("there are tensors");
    assert!(harness.query_by_label(&largest.name).is_some(), "{}", largest.name);
    let cosine = format!("{:.4}", largest.change.cosine());
    assert!(harness.query_all_by_label(&cosine).count() > 0, "{cosine}");
    // Sorting by name brings the first tensor up.
    harness.get_by_label("Sort by Tensor").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("model.embed_tokens.weight").is_some());

    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    let csv = copied(&harness).expect("something was copied");
    assert_eq!(csv.lines().count(), 1 + written(&harness).map_or(0, |written| written.report.tensors.len()));
}

fn copied(harness: &Harness<'_, App>) -> Option<String> {
    let commands = &harness.output().platform_output.commands;
    commands.iter().find_map(|command| match command {
        OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    })
}

#[test]
fn an_output_that_exists_is_refused_in_the_dialog() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    fill(&mut harness, "Folder", &triple.root.path().to_string_lossy());
    fill(&mut harness, "Name", "target");
    assert!(harness.query_by_label_contains("exists already: choose another name").is_some());
    assert!(is_disabled(&harness, "Merge"));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(harness.query_by_label("Name").is_none(), "Escape closes the dialog");
}

/// Merges at a pace of its own until it is cancelled.
struct SlowEngine;

impl Engine for SlowEngine {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn merge(&self, _: &Recipe, _: &Path, control: &Control) -> Result<MergeReport, MergeError> {
        control.begin(Work::Merging, 1_000_000_000);
        while !control.is_cancelled() {
            std::thread::sleep(Duration::from_millis(5));
            control.advance(1_000_000, Some(1));
        }
        Err(Cancelled.into())
    }
}

#[test]
fn a_merge_can_be_watched_and_cancelled() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup_with(SlowEngine) });
    wait_for_vector(&mut harness);
    let out = tempfile::tempdir().unwrap();
    merge_into(&mut harness, out.path(), "merged");
    wait(&mut harness, "progress arrives", |app| {
        app.session()
            .writing
            .as_ref()
            .and_then(|writing| writing.progress)
            .is_some_and(|progress| progress.done_bytes > 0)
    });
    assert!(harness.query_by_label("Merging · layer 2 of 3").is_some());
    assert!(harness.query_by_label("Progress").is_some());
    assert!(harness.query_by_label_contains("of 1.00").is_some());
    assert!(harness.query_by_label("Merge…").is_none(), "progress takes the button's place");
    // Everything else stays usable.
    harness.get_by_label("w slider").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.51);
    harness.get_by_label("Cancel").click();
    wait(&mut harness, "the merge ends", |app| app.session().writing.is_none());
    assert!(harness.query_by_label("Merge cancelled: nothing was written").is_some());
    assert!(harness.query_by_label("Merge…").is_some());
}

/// Panics when it should measure.
struct PanickingEngine;

impl Engine for PanickingEngine {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn measure(&self, _: &Models, _: &Alignment, _: &Control) -> Result<VectorAnalysis, StreamError> {
        panic!("a wire came loose");
    }
}

#[test]
fn a_panic_is_that_jobs_error() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup_with(PanickingEngine) });
    wait(&mut harness, "the panic is shown", |app| matches!(app.session().vector(), Stage::Failed(_)));
    assert!(harness.query_by_label("The vector could not be measured").is_some());
    assert!(harness.query_by_label_contains("a wire came loose").is_some());
    assert!(!is_disabled(&harness, "Merge…"), "the rest still works");
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }
    fn bytes(&self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

#[test]
fn a_dropped_folder_goes_where_it_is_dropped() {
    let triple = Triple::new(TINY);
    let mut harness = window(setup());
    let field = harness.get_by_label("Target model").rect().center();
    harness.hover_at(field);
    harness.run_steps(1);
    harness.input_mut().dropped_files.push(Arc::new(Dropped(triple.path("target").into())));
    harness.run_steps(2);
    assert_eq!(harness.state().session().recipe.target, triple.path("target"));
    // Beside the fields, the first empty one takes it.
    harness.hover_at([900.0, 400.0].into());
    harness.run_steps(1);
    harness.input_mut().dropped_files.push(Arc::new(Dropped(triple.path("pre").into())));
    harness.run_steps(2);
    assert_eq!(harness.state().session().recipe.vector.pre, triple.path("pre"));
}

fn browse(harness: &mut Harness<'_, App>) {
    harness.get_by_label("Choose the pre model").click();
    harness.run_steps(3);
    harness.get_by_label("Browse…").click();
    harness.run_steps(3);
}

#[test]
fn browse_takes_the_folder_that_was_picked() {
    let triple = Triple::new(TINY);
    let picker = Arc::new(FakePicker(Some(triple.path("pre").into())));
    let mut harness = window(Setup { picker, ..setup() });
    browse(&mut harness);
    let wanted = triple.path("pre");
    wait(&mut harness, "the folder is taken", |app| app.session().recipe.vector.pre == wanted);
}

#[test]
fn without_a_file_dialog_the_field_says_so() {
    let mut harness = window(setup());
    browse(&mut harness);
    wait(&mut harness, "the hint is shown", |app| app.session().slots[0].hint.is_some());
    assert!(harness.query_by_label("No file dialog is available here: type or paste a path").is_some());
}

#[test]
fn the_palette_finds_and_does() {
    let mut harness = window(setup());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    harness.get_by_label("Command name").type_text("resu");
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().tab(), Tab::Results);
    assert!(harness.query_by_label("Command name").is_none());
    assert!(harness.query_by_label("Nothing has been merged yet").is_some());
}

#[test]
fn a_recipe_is_saved_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let picker = Arc::new(FakePicker(Some(file.clone())));
    let mut harness = window(Setup { picker, ..setup() });
    harness.get_by_label("w slider").set_value_accesskit(1.25);
    harness.run_steps(2);
    assert!(harness.query_by_label("Unsaved recipe •").is_some());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    wait(&mut harness, "the recipe is saved", |app| app.session().file.is_some());
    assert_eq!(Recipe::read(&file).unwrap().vector.w, 1.25);
    assert!(harness.query_by_label("mine.toml").is_some());
    harness.get_by_label("w slider").set_value_accesskit(0.0);
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::O);
    wait(&mut harness, "the recipe is opened", |app| app.session().recipe.vector.w == 1.25);
}

#[test]
fn first_start_opens_on_the_demo_and_says_what_to_do() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { demo: Some(triple.root.path().to_owned()), ..setup() });
    wait_for_vector(&mut harness);
    assert_eq!(harness.state().session().recipe.vector.post, triple.path("post"));
    assert!(harness.query_by_label_contains("Press Merge… to write the new model").is_some());
    harness.get_by_label("Hide the first steps").click();
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("Press Merge… to write the new model").is_none());
}

#[test]
fn nothing_is_repainted_while_nothing_happens() {
    let triple = Triple::new(TINY);
    let mut harness = vector::charted(&triple);
    harness.event(Event::PointerGone);
    harness.run();
    let delays: Vec<Duration> = harness.output().viewport_output.values().map(|output| output.repaint_delay).collect();
    assert!(delays.iter().all(|delay| *delay == Duration::MAX), "{delays:?}");
}

#[test]
fn a_narrow_window_still_has_everything() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    harness.set_size([760.0, 600.0].into());
    harness.run_steps(3);
    for label in ["Merge…", "w slider", "Save PNG", "Target model"] {
        let rect = harness.get_by_label(label).rect();
        assert!(rect.right() <= 760.0 && rect.bottom() <= 600.0, "{label} at {rect:?}");
    }
}

#[test]
fn enter_in_the_merge_dialog_merges_unless_something_stands_in_the_way() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    fill(&mut harness, "Folder", "/nowhere/at all");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("is not a folder").is_some(), "the dialog is still there");
    let out = tempfile::tempdir().unwrap();
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    fill(&mut harness, "Name", "merged");
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    wait(&mut harness, "the merge ends", |app| app.session().end.is_some() && app.session().writing.is_none());
    assert!(out.path().join("merged/model.safetensors").is_file());
}

#[test]
fn a_dialog_takes_what_is_typed_at_the_end_of_its_field() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    let name = |harness: &Harness<'_, App>| harness.get_by_label("Name").accesskit_node().value().unwrap_or_default();
    let before = name(&harness);
    harness.event(Event::Text("-new".to_owned()));
    harness.run_steps(2);
    assert_eq!(name(&harness), before + "-new");
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(harness.query_by_label("Name").is_none(), "Escape closes the dialog while its field has the focus");
}

#[test]
fn a_typed_path_is_saved_with_enter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("typed.toml");
    let mut harness = window(setup());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::S);
    wait_for_label(&mut harness, "Path");
    harness.run_steps(2);
    // Nobody clicks into the field.
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.event(Event::Text(file.to_string_lossy().into_owned()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("Path").is_none());
    assert_eq!(Recipe::read(&file).unwrap(), harness.state().session().recipe);
}

fn has_words(harness: &Harness<'_, App>, words: &str) -> bool {
    harness.query_all_by_label_contains(words).count() > 0
}

#[test]
fn news_go_by_themselves_and_errors_with_the_next_work() {
    let triple = Triple::new(TINY);
    let mut harness = vector::charted(&triple);
    harness.event(Event::PointerGone);
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(2);
    assert!(has_words(&harness, "Copied 5 rows"));
    let time = |harness: &Harness<'_, App>| harness.ctx.input(|input| input.time);
    let start = time(&harness);
    while has_words(&harness, "Copied 5 rows") {
        harness.step();
        assert!(time(&harness) < start + 20.0, "it stays");
    }
    assert!(time(&harness) > start + 5.0, "it went too soon to be read");
    assert!(has_words(&harness, "Vector measured · "));
    harness.run();
    let delays: Vec<Duration> = harness.output().viewport_output.values().map(|output| output.repaint_delay).collect();
    assert!(delays.iter().all(|delay| *delay == Duration::MAX), "{delays:?}");

    // Norms are no matrices.
    vector::press(&mut harness, "Chart: layer × part", &[Key::ArrowDown; 7]);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    vector::choose(&mut harness, "Table of:", "Spectrum");
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(2);
    let error = "“Spectrum” has no numbers yet";
    assert!(has_words(&harness, error));
    let start = time(&harness);
    while time(&harness) < start + 20.0 {
        harness.step();
    }
    assert!(has_words(&harness, error), "nobody may have seen it yet");
    let other = Triple::new(TINY);
    type_into(&mut harness, "Post model", &other.path("post"));
    assert!(!has_words(&harness, error), "it is not about these models");
}

/// Knows the vector from before.
struct CachedEngine;

impl Engine for CachedEngine {
    fn measure(
        &self,
        triple: &Models,
        alignment: &Alignment,
        control: &Control,
    ) -> Result<VectorAnalysis, StreamError> {
        Ok(VectorAnalysis { cached: true, ..Uncached.measure(triple, alignment, control)? })
    }

    fn cache(&self) -> Option<AnalysisCache> {
        None
    }
}

#[test]
fn a_vector_from_the_cache_claims_no_reading() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup_with(CachedEngine) });
    wait_for_vector(&mut harness);
    assert!(has_words(&harness, "its numbers come from the cache"));
    assert!(!has_words(&harness, " read in "));
}

#[test]
fn the_tab_key_goes_the_way_one_reads() {
    let triple = Triple::new(TINY);
    let mut harness = ready(&triple);
    harness.get_by_label("Table").focus();
    harness.run_steps(2);
    for label in ["Copy CSV", "Save PNG"] {
        harness.key_press(Key::Tab);
        harness.run_steps(2);
        assert!(harness.get_by_label(label).is_focused(), "{label}");
    }
}
