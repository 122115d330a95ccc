//! The Scaling tab, as a person uses it.

use eframe::egui::accesskit::Role;
use eframe::egui::{Event, Key, Modifiers, Pos2, Vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::window::session::End;
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

pub(super) fn choose(harness: &mut Harness<'_, App>, menu: &str, entry: &str) {
    harness.get_by_label_contains(menu).click();
    harness.run_steps(3);
    let is_button = |node: &egui_kittest::Node<'_>| node.accesskit_node().role() == Role::Button;
    let entries: Vec<_> = harness.get_all_by_label(entry).filter(is_button).collect();
    entries.last().expect("the menu has this entry").click();
    harness.run_steps(3);
}

pub(super) fn undo(harness: &mut Harness<'_, App>) {
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
        harness.get_by_label_contains("keeps ").accesskit_node().value().expect("it has words")
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
    assert_eq!(
        lines[0],
        "layer,curve,w_curve,coefficient_q,coefficient_k,coefficient_v,coefficient_o,coefficient_gate,coefficient_up,\
         coefficient_down,coefficient_norm,coefficient_embed"
    );
    assert_eq!(lines[3], format!("2,0.125,0.0625{},", ",0.0625".repeat(8)));
    assert_eq!(lines[7..], ["embed,,,,,,,,,,,0.5", "norm,,,,,,,,,,0.5,"], "embeddings and final norm get w as it is");
    // A pattern tells the tensors of a part apart: then both ends are there.
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    harness.get_by_label("Add a name pattern…").click();
    harness.run_steps(3);
    super::fill(&mut harness, "Pattern 1", "*.input_layernorm.*");
    harness.get_by_label("Factor of pattern 1").set_value_accesskit(3.0);
    harness.run_steps(3);
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    let csv = copied(&harness).expect("something was copied");
    assert!(csv.lines().next().unwrap().contains(",coefficient_norm_least,coefficient_norm_most,"), "{csv}");
    assert!(csv.lines().nth(3).unwrap().ends_with(",0.0625,0.1875,"), "{csv}");
}

fn press(harness: &mut Harness<'_, App>, key: Key) {
    harness.key_press(key);
    harness.run_steps(3);
}

fn paste(harness: &mut Harness<'_, App>, text: &str) {
    harness.event(Event::Paste(text.to_owned()));
    harness.run_steps(3);
}

fn focused(harness: &Harness<'_, App>) -> String {
    let layers = (0..6).map(|layer| format!("Value of layer {layer}"));
    let is_focused =
        |name: &String| harness.query_by_label(name).is_some_and(|handle| handle.accesskit_node().is_focused());
    layers.filter(is_focused).collect()
}

#[test]
fn the_keyboard_adds_points_takes_them_away_and_goes_from_end_to_end() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    choose(&mut harness, "Curve:", "Linear");
    harness.get_by_label("Value of layer 5").focus();
    harness.run_steps(2);
    press(&mut harness, Key::ArrowDown);
    assert_eq!(spec(&harness).curve, Curve::Linear { first: 1.0, last: 0.99 }, "a line stays a line");
    press(&mut harness, Key::Home);
    assert_eq!(focused(&harness), "Value of layer 0");
    press(&mut harness, Key::Insert);
    assert_eq!(focused(&harness), "Value of layer 2");
    press(&mut harness, Key::PageDown);
    press(&mut harness, Key::ArrowRight);
    assert_eq!(focused(&harness), "Value of layer 3");
    assert!(matches!(&spec(&harness).curve, Curve::Points { points, .. } if points.len() == 3), "{:?}", spec(&harness));
    assert_eq!(values(&harness)[3], 0.9);
    press(&mut harness, Key::End);
    assert_eq!(focused(&harness), "Value of layer 5");
    press(&mut harness, Key::Delete);
    assert_eq!(focused(&harness), "Value of layer 3", "the focus goes to the one before");
    assert_eq!(values(&harness)[5], 0.9);
}

#[test]
fn the_axis_makes_room_for_a_point_that_is_dragged_beyond_it() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    let chart = harness.get_by_label_contains("Chart: how much of v each layer gets").rect();
    let at = harness.get_by_label("Value of layer 5").rect().center();
    drag(&mut harness, at, Pos2::new(at.x, chart.bottom() + 30.0));
    let low = values(&harness)[5];
    assert!((-0.5..-0.05).contains(&low), "{low}");
    let chart = harness.get_by_label_contains("Chart: how much of v each layer gets").rect();
    let at = harness.get_by_label("Value of layer 5").rect().center();
    assert!(chart.contains(at), "the point can be taken again");
    drag(&mut harness, at, Pos2::new(at.x, chart.top() - 30.0));
    assert!(values(&harness)[5] > 1.5, "{:?}", values(&harness));
}

#[test]
fn a_column_of_numbers_is_pasted() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    paste(&mut harness, "0\n0.1\n0.2\n0.3\n0.4\n0.5\n");
    assert_eq!(values(&harness), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    paste(&mut harness, "1\n2\n");
    let notice = harness.state().session().notice.clone().expect("a notice");
    assert!(notice.is_error && notice.text.contains("2 values, and the model has 6 layers"), "{notice:?}");
    assert_eq!(values(&harness)[5], 0.5, "the curve stays as it was");
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    harness.get_by_label("Layer 3").focus();
    harness.run_steps(3);
    paste(&mut harness, "1,25\n1.5\n".replace(',', ".").as_str());
    assert_eq!(values(&harness), [0.0, 0.1, 0.2, 1.25, 1.5, 0.5]);
    paste(&mut harness, "1\n2\n3\n4\n");
    let notice = harness.state().session().notice.clone().expect("a notice");
    assert!(notice.text.contains("4 values do not fit below layer 3, where there are 3 layers"), "{notice:?}");
}

#[test]
fn what_is_pasted_into_a_pattern_is_no_curve() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    harness.get_by_label("Add a name pattern…").click();
    harness.run_steps(3);
    harness.get_by_label("Pattern 1").focus();
    harness.run_steps(2);
    paste(&mut harness, "1 2");
    assert_eq!(spec(&harness).curve, Curve::Flat);
    assert!(spec(&harness).patterns[0].tensors.contains("1 2"));
}

#[test]
fn layers_and_names_are_kept_as_in_the_target() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    super::fill(&mut harness, "Layers to keep", "0-1, 5");
    assert_eq!(spec(&harness).keep.layers, [[0, 1].into(), [5, 5].into()]);
    assert!(harness.query_by_label("27 tensors").is_some(), "nine in each layer");
    super::fill(&mut harness, "Layers to keep", "0-1, 9");
    assert!(harness.query_by_label("Layer 9 does not exist: the last is 5").is_some());
    assert_eq!(spec(&harness).keep.layers, [[0, 1].into(), [5, 5].into()], "until it can be read, nothing changes");
    super::fill(&mut harness, "Layers to keep", "2");
    harness.get_by_label("Keep tensors by name…").click();
    harness.run_steps(3);
    assert_eq!(spec(&harness).keep.tensors, ["*.self_attn.*"]);
    assert_eq!(harness.query_all_by_label("24").count(), 2, "four in each of six layers: beside attention, and here");
    super::fill(&mut harness, "Pattern to keep 1", "self_attn");
    assert!(harness.query_by_label("No tensor has such a name; put * for what may differ").is_some());
    harness.get_by_label("Remove pattern to keep 1").click();
    harness.run_steps(3);
    assert_eq!((spec(&harness).keep.layers.len(), spec(&harness).keep.tensors.len()), (1, 0));
}

#[test]
fn patterns_change_places_and_one_that_comes_too_late_says_so() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    for (number, pattern) in [(1, "*.mlp.*"), (2, "*.down_proj.*")] {
        harness.get_by_label("Add a name pattern…").click();
        harness.run_steps(3);
        super::fill(&mut harness, &format!("Pattern {number}"), pattern);
    }
    let late = "Patterns above decide on all of these; move it up";
    assert!(harness.query_by_label(late).is_some() && harness.query_by_label("0 of 6").is_some());
    harness.get_by_label("Move up pattern 2").click();
    harness.run_steps(3);
    let order: Vec<&str> = spec(&harness).patterns.iter().map(|pattern| pattern.tensors.as_str()).collect();
    assert_eq!(order, ["*.down_proj.*", "*.mlp.*"]);
    assert!(harness.query_by_label(late).is_none() && harness.query_by_label("12 of 18").is_some());
    harness.get_by_label("Move down pattern 1").click();
    harness.run_steps(3);
    assert_eq!(spec(&harness).patterns[0].tensors, "*.mlp.*");
}

/// What a person does to the window.
type Edit<'a> = &'a dyn Fn(&mut Harness<'_, App>);

#[test]
fn twenty_edits_of_every_kind_are_undone_and_made_again() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    let mut steps = vec![spec(&harness).clone()];
    let edits: [Edit<'_>; 20] = [
        &|h| choose(h, "Curve:", "Linear"),
        &|h| h.get_by_label("Curve, Last layer").set_value_accesskit(0.5),
        &|h| {
            let at = h.get_by_label("Value of layer 0").rect().center();
            drag(h, at, at + Vec2::new(0.0, 40.0));
        },
        &|h| choose(h, "Curve:", "Free"),
        &|h| h.get_by_label("Value of layer 5").set_value_accesskit(1.25),
        &|h| {
            h.get_by_label("Value of layer 0").focus();
            h.run_steps(2);
            press(h, Key::Insert);
        },
        &|h| press(h, Key::ArrowUp),
        &|h| press(h, Key::ArrowRight),
        &|h| choose(h, "Between points:", "Smooth"),
        &|h| {
            h.get_by_label("Value of layer 3").focus();
            h.run_steps(2);
            press(h, Key::Delete);
        },
        &|h| choose(h, "Curve:", "Bump"),
        &|h| h.get_by_label("Curve, Width").set_value_accesskit(3.0),
        &|h| h.get_by_label("Factor of MLP").set_value_accesskit(0.5),
        &|h| h.get_by_label("Keep the target's Norms").click(),
        &|h| h.get_by_label("Add a name pattern…").click(),
        &|h| h.get_by_label("Factor of pattern 1").set_value_accesskit(0.25),
        &|h| h.get_by_label("Keep tensors by name…").click(),
        &|h| h.get_by_label("Remove pattern 1").click(),
        &|h| paste(h, "0 0.2 0.4 0.6 0.8 1"),
        &|h| h.get_by_label("Reset").click(),
    ];
    for (number, edit) in (1..).zip(edits) {
        edit(&mut harness);
        harness.run_steps(3);
        assert_ne!(steps.last(), Some(spec(&harness)), "edit {number} changes something");
        steps.push(spec(&harness).clone());
    }
    for (number, step) in steps.iter().enumerate().rev().skip(1) {
        undo(&mut harness);
        assert_eq!(spec(&harness), step, "after undoing edit {}", number + 1);
    }
    for (number, step) in steps.iter().enumerate().skip(1) {
        harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
        harness.run_steps(2);
        assert_eq!(spec(&harness), step, "after making edit {number} again");
    }
}

#[test]
fn what_is_kept_is_held_against_the_mean_that_was_asked_for() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    assert!(harness.query_by_label_contains("bf16 keeps 0.").is_some());
    choose(&mut harness, "Curve:", "Last layers");
    let of = |harness: &Harness<'_, App>| {
        let node = harness.get_by_label_contains("keeps ").accesskit_node().value().expect("it has words");
        let (kept, asked) = node.trim_start_matches("keeps ").split_once(" of ").expect("both");
        [kept, asked].map(|number| number.parse::<f64>().expect("a number"))
    };
    choose(&mut harness, "Curve:", "Linear");
    harness.get_by_label("Curve, First layer").set_value_accesskit(0.5);
    harness.run_steps(3);
    let [kept, asked] = of(&harness);
    assert!((kept - asked).abs() < 0.02 && asked < 0.49, "{kept} of {asked}");
    harness.get_by_label("Vector").click();
    harness.run_steps(3);
    let said = "At w = 0.50, spread as 0.25 to 0.50 over the tensors (";
    let words = harness.get_by_label_contains("The vector is ").accesskit_node().value().expect("it has words");
    assert!(words.contains(said), "{words}");
    let out = tempfile::tempdir().unwrap();
    merge_into(&mut harness, out.path(), "merged");
    wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(End::Merged(_))));
    let said = format!("of the vector in it, where {asked:.3} was asked for in the mean of what w comes to");
    assert!(harness.query_by_label_contains(&said).is_some(), "{said}");
    assert!(harness.query_by_label_contains("+ (0.25 to 0.50)·v is in").is_some());
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
    wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(End::Merged(_))));
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

#[test]
fn a_curve_of_a_model_of_another_depth_is_stretched_over_the_layers() {
    let triple = Triple::new(TINY);
    let mut recipe = triple.recipe();
    recipe.vector.scaling.curve = Curve::Layers { values: vec![0.0, 0.25, 0.5, 0.75, 1.0] };
    let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
    super::wait_for_vector(&mut harness);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num2);
    harness.run_steps(3);
    assert!(harness.query_all_by_label_contains("give one value for each layer").next().is_some());
    harness.get_by_label("Stretch the curve over 3 layers").click();
    harness.run_steps(3);
    let curve = harness.state().session().recipe.vector.scaling.curve.clone();
    assert_eq!(curve, Curve::Layers { values: vec![0.0, 0.5, 1.0] });
    wait(&mut harness, "it can be merged", |app| app.session().merge_obstacle().is_none());
}

#[test]
fn a_click_beside_a_menu_closes_it_and_leaves_the_curve_alone() {
    let triple = Triple::new(SIX);
    let mut harness = scaling(&triple);
    let before = spec(&harness).clone();
    let chart = harness.get_by_label_contains("Chart: how much of v each layer gets").rect();
    let at = chart.left_top() + Vec2::new(chart.width() * 0.42, chart.height() * 0.75);
    harness.get_by_label("File").click();
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("Save recipe as…").is_some());
    harness.hover_at(at);
    harness.run_steps(1);
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("Save recipe as…").is_none(), "the menu is closed");
    assert_eq!(*spec(&harness), before);
    // The next click is meant for the chart.
    harness.hover_at(at);
    harness.run_steps(1);
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run_steps(3);
    assert_ne!(*spec(&harness), before);
}
