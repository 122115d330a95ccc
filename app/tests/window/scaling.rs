//! The Scaling tab, as a person uses it.

use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers, Pos2, Vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::window::session::MergeEnd;
use mergescope::window::{App, Setup, Tab};
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::scaling::{Curve, ScalingSpec};
use mergescope_core::stream::Resources;

use super::common::{FakePicker, Shape, TINY, Triple, setup, wait, wait_for_charts, window};
use super::{copied, merge_into};

/// Six layers, so that there is room between points.
const SIX: Shape = Shape { layers: 6, ..TINY };

/// A window on the Scaling tab with everything about the vector at hand.
fn scaling(triple: &Triple) -> Harness<'static, App> {
    scaling_with(Setup { recipe: Some(triple.recipe()), ..setup() })
}

fn scaling_with(setup: Setup) -> Harness<'static, App> {
    let mut harness = window(setup);
    wait_for_charts(&mut harness);
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    assert_eq!(harness.state().tab(), Tab::Scaling);
    harness
}

fn spec<'a>(harness: &'a Harness<'_, App>) -> &'a ScalingSpec {
    &harness.state().session().recipe.vector.scaling
}

fn values(harness: &Harness<'_, App>) -> Vec<f64> {
    spec(harness).curve.values(6).expect("a sound curve")
}

fn choose(harness: &mut Harness<'_, App>, menu: &str, entry: &str) {
    harness.get_by_label_contains(menu).click();
    harness.run_steps(3);
    let is_button = |node: &egui_kittest::Node<'_>| node.accesskit_node().role() == Role::Button;
    let entries: Vec<_> = harness.get_all_by_label(entry).filter(is_button).collect();
    entries.last().expect("the menu has this entry").click();
    harness.run_steps(3);
}

fn undo(harness: &mut Harness<'_, App>) {
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(2);
}

/// Drags from one place to another in steps, as a hand does.
fn drag(harness: &mut Harness<'_, App>, from: Pos2, to: Pos2) {
    harness.hover_at(from);
    harness.run_steps(1);
    harness.drag_at(from);
    harness.run_steps(1);
    for step in 1..=4 {
        harness.hover_at(from + (to - from) * (step as f32 / 4.0));
        harness.run_steps(1);
    }
    harness.drop_at(to);
    harness.run_steps(3);
}

#[test]
fn a_curve_is_chosen_and_its_numbers_are_typed() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    choose(&mut harness, "Curve:", "LiNeS");
    assert_eq!(spec(&harness).curve, Curve::Lines { alpha: 0.5, beta: 0.5 });
    harness.get_by_label("Curve, β").set_value_accesskit(1.0);
    harness.run_steps(3);
    assert_eq!(values(&harness)[5], 1.5);
    choose(&mut harness, "Curve:", "First layers");
    harness.get_by_label("Curve, In these").set_value_accesskit(0.25);
    harness.run_steps(3);
    assert_eq!(values(&harness), [0.25, 0.25, 0.0, 0.0, 0.0, 0.0]);
    harness.get_by_label("Reset").click();
    harness.run_steps(3);
    assert_eq!(*spec(&harness), ScalingSpec::default());
}

#[test]
fn a_point_is_dragged_and_the_numbers_of_the_vector_follow() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    let kept = |harness: &Harness<'_, App>| {
        harness.get_by_label_contains("bf16 keeps").accesskit_node().value().expect("it has words")
    };
    let before = kept(&harness);
    let at = harness.get_by_label("Value of layer 5").rect().center();
    drag(&mut harness, at, at + Vec2::new(0.0, 60.0));
    let after = values(&harness);
    assert!(matches!(spec(&harness).curve, Curve::Points { .. }), "a flat curve that is dragged becomes free");
    assert!(after[5] < 0.9 && after[0] == 1.0 && after[2] > after[3], "{after:?}");
    assert_ne!(kept(&harness), before);
    // One drag is one step.
    undo(&mut harness);
    assert_eq!(*spec(&harness), ScalingSpec::default());
    assert_eq!(kept(&harness), before);
}

#[test]
fn a_click_adds_a_point_and_delete_takes_it_away() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    let chart = harness.get_by_label_contains("Chart: how much of v each layer gets").rect();
    let at = chart.left_top() + Vec2::new(chart.width() * 0.42, chart.height() * 0.75);
    harness.hover_at(at);
    harness.run_steps(1);
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run_steps(3);
    let points = |harness: &Harness<'_, App>| match &spec(harness).curve {
        Curve::Points { points, .. } => points.len(),
        other => panic!("{other} has no points"),
    };
    assert_eq!(points(&harness), 3);
    let layer = (1..5).find(|layer| harness.query_by_label(&format!("Value of layer {layer}")).is_some());
    let name = format!("Value of layer {}", layer.expect("the point is on a layer between the ends"));
    harness.get_by_label(&name).focus();
    harness.run_steps(2);
    harness.key_press(Key::Delete);
    harness.run_steps(3);
    assert_eq!(points(&harness), 2);
}

#[test]
fn the_keyboard_moves_points_and_twenty_steps_are_undone() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    harness.get_by_label("Value of layer 0").focus();
    harness.run_steps(2);
    let mut expected = vec![1.0];
    for step in 0..20 {
        harness.key_press(if step % 4 == 3 { Key::PageUp } else { Key::ArrowDown });
        harness.run_steps(2);
        expected.push(values(&harness)[0]);
    }
    assert_eq!(expected[4], 1.07, "three steps down, ten up");
    for step in (0..20).rev() {
        undo(&mut harness);
        assert_eq!(values(&harness)[0], expected[step], "after undoing step {}", step + 1);
    }
    assert_eq!(*spec(&harness), ScalingSpec::default());
    // Sideways: the point keeps behind its neighbour.
    harness.get_by_label("Value of layer 0").focus();
    harness.run_steps(2);
    for _ in 0..9 {
        harness.key_press(Key::ArrowRight);
        harness.run_steps(2);
    }
    assert!(
        harness.query_by_label("Value of layer 4").is_some() && harness.query_by_label("Value of layer 0").is_none()
    );
}

#[test]
fn the_table_takes_numbers_and_copies_them() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    choose(&mut harness, "Curve:", "Linear");
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    harness.get_by_label("Layer 2").set_value_accesskit(0.125);
    harness.run_steps(3);
    assert_eq!(spec(&harness).curve, Curve::Layers { values: vec![1.0, 1.0, 0.125, 1.0, 1.0, 1.0] });
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    let csv = copied(&harness).expect("something was copied");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "layer,curve,coefficient_attention,coefficient_mlp,coefficient_norm");
    assert_eq!(lines[3], "2,0.125,0.0625,0.0625,0.0625");
}

#[test]
fn factors_switches_and_patterns_decide_on_tensors() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    harness.get_by_label("Factor of MLP").set_value_accesskit(0.5);
    harness.get_by_label("Keep the target's Norms").click();
    harness.run_steps(3);
    assert_eq!((spec(&harness).factors.mlp, spec(&harness).keep.norm), (0.5, true));
    assert!(harness.query_by_label_contains("13 · as in target").is_some(), "two norms a layer and the last");
    harness.get_by_label("Add a name pattern…").click();
    harness.run_steps(3);
    let matched = |harness: &Harness<'_, App>, text: &str| harness.query_all_by_label(text).count() > 0;
    assert!(matched(&harness, "6"), "one down projection a layer");
    harness.get_by_label("Pattern 1").focus();
    harness.run_steps(2);
    harness.get_by_label("Pattern 1").type_text("x");
    harness.run_steps(3);
    assert!(matched(&harness, "none"), "{:?}", spec(&harness).patterns);
    harness.get_by_label("Remove pattern 1").click();
    harness.run_steps(3);
    assert!(spec(&harness).patterns.is_empty());
}

#[test]
fn values_come_from_a_file_and_a_bad_one_is_named() {
    let triple = Triple::new(SIX);
    let file = triple.root.path().join("values.txt");
    std::fs::write(&file, "0 0.2 0.4 0.6 0.8 1").unwrap();
    let picker = std::sync::Arc::new(FakePicker(Some(file.clone())));
    let mut harness = scaling_with(Setup { recipe: Some(triple.recipe()), picker, ..setup() });
    let load = |harness: &mut Harness<'_, App>, what: &str, done: &dyn Fn(&App) -> bool| {
        harness.get_by_label("From file…").click();
        harness.run_steps(2);
        wait(harness, what, done);
    };
    load(&mut harness, "the values are read", &|app| {
        matches!(app.session().recipe.vector.scaling.curve, Curve::Layers { .. })
    });
    assert_eq!(values(&harness), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    std::fs::write(&file, "0 0.2").unwrap();
    load(&mut harness, "the failure is shown", &|app| {
        app.session().notice.as_ref().is_some_and(|notice| notice.is_error)
    });
    let notice = &harness.state().session().notice.as_ref().expect("a notice").text;
    assert!(notice.contains("2 values, and the model has 6 layers"), "{notice}");
    assert_eq!(values(&harness)[1], 0.2, "the curve stays as it was");
}

#[test]
fn the_window_writes_what_its_recipe_writes() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    choose(&mut harness, "Curve:", "Bump");
    harness.get_by_label("Factor of Attention").set_value_accesskit(0.3);
    harness.get_by_label("Keep the target's Embeddings").click();
    harness.run_steps(3);
    let out = tempfile::tempdir().unwrap();
    merge_into(&mut harness, out.path(), "window");
    wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(MergeEnd::Written(_))));
    let recipe = &harness.state().session().recipe;
    merge(recipe, &out.path().join("engine"), &Resources::default(), &Control::new()).unwrap();
    let read = |name: &str| std::fs::read(out.path().join(name).join("model.safetensors")).unwrap();
    assert_eq!(read("window"), read("engine"));
    assert_ne!(
        read("window"),
        std::fs::read(std::path::Path::new(&triple.path("target")).join("model.safetensors")).unwrap()
    );
}

#[test]
fn a_curve_for_another_depth_says_so_and_stops_the_merge() {
    let triple = Triple::new(SIX);
    let mut recipe = triple.recipe();
    recipe.vector.scaling.curve = Curve::Layers { values: vec![1.0; 4] };
    let harness = scaling_with(Setup { recipe: Some(recipe), ..setup() });
    let said = harness.query_all_by_label_contains("the curve has 4 values, and the model has 6 layers").count();
    assert_eq!(said, 2, "in the tab, and above the button");
    assert!(harness.get_by_label("Merge…").accesskit_node().is_disabled());
}
