//! Merges of the past, in the window.

use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::past::{PastMerge, PastMerges};
use mergescope::window::engine::Engine;
use mergescope::window::{App, Tab};
use mergescope_core::analysis::AnalysisCache;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, ControlSpec};
use mergescope_core::stream::Resources;

use super::common::{TINY, Triple, setup_with, wait, wait_for_vector, window};
use super::{is_disabled, merge_into, written};

/// The real engine, with a list of the test's own.
struct Remembering(PastMerges);

impl Engine for Remembering {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn past(&self) -> Option<PastMerges> {
        Some(self.0.clone())
    }
}

/// The name of the check box of a merge, counted from the latest.
fn tick(harness: &Harness<'_, App>, position: usize) -> String {
    harness.get_all_by_role(Role::CheckBox).nth(position).unwrap().accesskit_node().label().unwrap()
}

#[test]
fn merges_of_the_past_are_listed_compared_and_opened_again() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let past = PastMerges::at(out.path().join("merges.jsonl"));
    let mut recipe = triple.recipe();
    for w in [0.25, 0.75] {
        recipe.vector.w = w;
        // Of noise one must be able to see that it was.
        recipe.vector.control = (w == 0.75).then_some(ControlSpec { kind: ControlKind::Noise, seed: 4 });
        let output = out.path().join(format!("w{w}"));
        let report = merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
        past.add(&PastMerge::new(&report)).unwrap();
    }
    std::fs::remove_dir_all(out.path().join("w0.25")).unwrap();

    let mut setup = setup_with(Remembering(past));
    recipe.vector.w = -1.0;
    recipe.vector.control = None;
    setup.recipe = Some(recipe);
    let mut harness = window(setup);
    harness.get_by_label("File").click();
    harness.run_steps(2);
    harness.get_by_label_contains("Merges of the past…").click();
    harness.run_steps(3);
    // The latest is chosen; ticking the other compares them.
    assert!(harness.query_by_label_contains("Lost updates").is_some());
    assert!(harness.query_by_label_contains("noise, seed 4").is_some());
    assert!(harness.query_by_label_contains("(gone)").is_some());
    let name = tick(&harness, 1);
    assert!(name.contains("w0.25"), "{name}");
    harness.get_by_label(&name).click();
    harness.run_steps(2);
    assert!(harness.query_by_label("vector.w").is_some(), "in what they differ");
    // Once in the list, once in the comparison.
    assert!(["0.25", "0.75"].iter().all(|w| harness.query_all_by_label(w).count() == 2));

    let newer = tick(&harness, 0);
    harness.get_by_label(&newer).click();
    harness.run_steps(2);
    assert!(is_disabled(&harness, "Show its results"), "what it wrote is gone");
    for role in ["pre", "post", "target"] {
        assert!(harness.query_by_label_contains(&format!("{role}: ")).is_some(), "the fingerprint of {role}");
    }
    harness.get_by_label("Open its recipe").click();
    wait(&mut harness, "the recipe is opened", |app| app.session().recipe.vector.w == 0.25);
    assert!(harness.query_by_label("Open its recipe").is_none(), "the dialog is closed");
}

#[test]
fn what_a_past_merge_wrote_is_shown_again() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let past = PastMerges::at(out.path().join("merges.jsonl"));
    let output = out.path().join("merged");
    let report = merge(&triple.recipe(), &output, &Resources::default(), &Control::new()).unwrap();
    past.add(&PastMerge::new(&report)).unwrap();
    let mut harness = window(setup_with(Remembering(past)));
    let show = |harness: &mut Harness<'_, App>| {
        harness.get_by_label("File").click();
        harness.run_steps(2);
        harness.get_by_label_contains("Merges of the past…").click();
        harness.run_steps(3);
        harness.get_by_label("Show its results").click();
        harness.run_steps(3);
    };
    show(&mut harness);
    assert_eq!(harness.state().tab(), Tab::Results);
    let shown = written(&harness).expect("its report is in Results");
    assert_eq!((&shown.report.tensors, &shown.report.output), (&report.tensors, &output));
    assert!(harness.query_by_label_contains("Chart: What was asked for").is_some());

    // A folder that holds another merge by now is not taken for this one.
    std::fs::remove_dir_all(&output).unwrap();
    let mut recipe = triple.recipe();
    recipe.vector.w = 1.5;
    merge(&recipe, &output, &Resources::default(), &Control::new()).unwrap();
    show(&mut harness);
    assert!(harness.query_by_label_contains("is of another merge").is_some());
}

#[test]
fn a_merge_in_the_window_is_remembered() {
    let triple = Triple::new(TINY);
    let out = tempfile::tempdir().unwrap();
    let past = PastMerges::at(out.path().join("merges.jsonl"));
    let mut setup = setup_with(Remembering(past.clone()));
    setup.recipe = Some(triple.recipe());
    let mut harness = window(setup);
    wait_for_vector(&mut harness);
    let output = out.path().join("merged");
    merge_into(&mut harness, out.path(), "merged");
    wait(&mut harness, "the merge ended", |app| app.session().end.is_some());
    let merges = past.load().unwrap();
    assert_eq!(merges.len(), 1);
    assert_eq!(merges[0].output, output);
    assert!(merges[0].is_there());
}

#[test]
fn without_any_merge_the_list_says_what_it_is_for() {
    let mut harness = window(setup_with(Remembering(PastMerges::at("/nowhere/merges.jsonl".into()))));
    harness.get_by_label("File").click();
    harness.run_steps(2);
    harness.get_by_label_contains("Merges of the past…").click();
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("No merge was made yet").is_some());
    harness.get_by_label("Close").click();
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("No merge was made yet").is_none());
}
