//! What is painted, as far as only the eye would notice: overlaps, numbers that are missing, frames of two minds.

use eframe::egui::accesskit::Role;
use eframe::egui::{Rect, Shape, epaint::ClippedShape};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, Node};
use mergescope::curve_edit::Kind;
use mergescope::vector::Metric;
use mergescope::window::{App, Setup};
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, MethodSpec, Recipe, Sparsify, VectorSpec};
use mergescope_core::scaling::{Curve, Keep, Pattern, ScalingSpec};

use super::common::{Shape as ModelShape, TINY, Triple, setup, wait_for_charts, window};
use super::vector::{charted, choose};

/// A model whose cells are wide enough for numbers.
const SIX: ModelShape = ModelShape { layers: 6, ..TINY };
/// A model whose cells are only just wide enough for numbers.
const TWELVE: ModelShape = ModelShape { layers: 12, ..TINY };
/// As deep as a real model.
const DEEP: ModelShape = ModelShape { layers: 24, ..TINY };

/// Every line of text that the last frame painted, and where it can be seen.
fn texts(harness: &Harness<'_, App>) -> Vec<(String, Rect)> {
    let mut found = Vec::new();
    for ClippedShape { clip_rect, shape, .. } in &harness.output().shapes {
        collect(shape, *clip_rect, &mut found);
    }
    found
}

fn collect(shape: &Shape, clip_rect: Rect, found: &mut Vec<(String, Rect)>) {
    match shape {
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| collect(shape, clip_rect, found)),
        Shape::Text(text) => {
            for row in &text.galley.rows {
                let rect = row.rect_without_leading_space().translate(text.pos.to_vec2()).intersect(clip_rect);
                if rect.is_positive() && !row.text().trim().is_empty() {
                    found.push((row.text(), rect));
                }
            }
        }
        _ => {}
    }
}

/// The numbers in the cells of the layer × part chart.
fn cells(harness: &Harness<'_, App>) -> Vec<(String, Rect)> {
    let grid = harness.get_by_label_contains("Chart: layer × part").rect();
    texts(harness).into_iter().filter(|(_, rect)| grid.contains_rect(*rect)).collect()
}

/// The numbers at the ends of its colours, and in its cells.
fn numbers(harness: &Harness<'_, App>) -> (Vec<String>, Vec<String>) {
    let grid = harness.get_by_label_contains("Chart: layer × part").rect();
    let ends = texts(harness).into_iter().filter(|(_, rect)| {
        let is_above = rect.bottom() <= grid.top() && rect.top() > grid.top() - 40.0;
        is_above && rect.center().x > grid.center().x && rect.right() <= grid.right() + 2.0
    });
    let words = |found: Vec<(String, Rect)>| found.into_iter().map(|(text, _)| text).collect();
    (words(ends.collect()), words(cells(harness)))
}

#[test]
fn every_cell_that_is_large_enough_shows_its_number_whole() {
    let triple = Triple::new(TWELVE);
    let mut harness = charted(&triple);
    for metric in Metric::ALL {
        choose(&mut harness, "Cells show:", metric.label());
        harness.remove_cursor();
        harness.run_steps(3);
        let measured = harness.state().session().vector().done().expect("it was measured");
        let groups = &measured.overview.groups;
        let values = groups.iter().flat_map(|group| &group.cells).filter(|cell| match metric {
            // Nothing of a part that did not move can survive.
            Metric::RoundingSurvival => cell.sums.updates() > 0,
            metric => metric.of(&cell.sums).is_finite(),
        });
        let cells = cells(&harness);
        assert_eq!(cells.len(), values.count(), "{metric:?}: {cells:?}");
        // Neighbours in a row tell how wide a cell is.
        let row: Vec<Rect> =
            cells.iter().map(|(_, rect)| *rect).filter(|rect| rect.top() == cells[0].1.top()).collect();
        let width = row[1].center().x - row[0].center().x;
        for (text, rect) in &cells {
            assert!(rect.width() + 6.0 <= width, "{metric:?}: {text} touches the edges of its cell");
        }
    }
}

#[test]
fn a_frame_shows_the_numbers_of_one_metric() {
    let triple = Triple::new(SIX);
    let mut harness = charted(&triple);
    let before = numbers(&harness);
    assert!(before.0.iter().any(|end| end.ends_with('%')), "{:?}", before.0);
    harness.get_by_label_contains("Cells show:").click();
    harness.run_steps(3);
    let is_button = |node: &Node<'_>| node.accesskit_node().role() == Role::Button;
    harness.get_all_by_label(Metric::Rms.label()).find(is_button).expect("the menu is open").click();
    let mut frames = Vec::new();
    for _ in 0..6 {
        harness.step();
        frames.push(numbers(&harness));
    }
    let after = frames[5].clone();
    assert!(after.0 != before.0 && after.1 != before.1, "{after:?}");
    assert!(frames.iter().all(|frame| *frame == before || *frame == after), "{frames:#?}");
}

#[test]
fn a_zero_vector_has_neither_colours_nor_numbers_at_its_axis() {
    let triple = Triple::new(SIX);
    let mut same = triple.recipe();
    same.vector.post = same.vector.pre.clone();
    let mut harness = window(Setup { recipe: Some(same), ..setup() });
    wait_for_charts(&mut harness);
    let (ends, cells) = numbers(&harness);
    assert!(ends.is_empty(), "{ends:?}");
    assert!(cells.iter().all(|cell| cell == "0"), "{cells:?}");
    let bars = harness.get_by_label_contains("Chart: how far each layer moved").rect();
    let inside: Vec<String> = texts(&harness)
        .into_iter()
        .filter(|(_, rect)| {
            bars.y_range().contains(rect.center().y) && rect.right() < bars.right() && rect.left() > 300.0
        })
        .map(|(text, _)| text)
        .collect();
    assert_eq!(inside, ["v is zero: nothing moved"]);
}

/// Whether no two lines of text share a place, and none passes the right margin of a window this wide and high.
#[track_caller]
pub fn check_texts(harness: &Harness<'_, App>, width: f32, height: f32) {
    let texts = texts(harness);
    for (position, (text, rect)) in texts.iter().enumerate() {
        let margin = if rect.top() > 80.0 && rect.bottom() < height - 24.0 { 24.0 } else { 12.0 };
        assert!(rect.right() <= width + 0.5 - margin, "{text} passes the margin: {rect:?}");
        for (other, other_rect) in &texts[position + 1..] {
            let shared = rect.shrink(1.0).intersect(other_rect.shrink(1.0));
            assert!(!shared.is_positive(), "{text} and {other} overlap at {shared:?}");
        }
    }
}

#[test]
fn nothing_overlaps_or_passes_the_margin_in_the_smallest_window() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    harness.set_size([760.0, 600.0].into());
    harness.run_steps(4);
    for findings_are_open in [false, true] {
        if findings_are_open {
            harness.get_by_label("Findings").click();
            harness.remove_cursor();
            harness.run_steps(4);
        }
        check_texts(&harness, 760.0, 600.0);
    }
}

/// Recipes with the most to say about their vectors, method and controls.
fn combined(triple: &Triple) -> Vec<Recipe> {
    let mut ties = triple.recipe();
    ties.others.push(VectorSpec::new(triple.path("pre"), triple.path("target")));
    ties.method.name = Method::Ties;
    (ties.method.density, ties.vector.sparsify) = (Some(0.25), Some(Sparsify::Della));
    ties.vector.scaling.curve = Curve::Bump { centre: 15.0, width: 9.0, base: 0.25, peak: 1.0 };
    let mut out_of_range = ties.clone();
    out_of_range.method.density = Some(1.4);
    let mut many = ties.clone();
    many.vector.control = Some(ControlSpec { kind: ControlKind::PermuteLayers, seed: 1234 });
    many.others.extend([ties.vector.clone(), ties.vector.clone(), ties.vector.clone()]);
    many.method = MethodSpec { seed: 123_456, ..MethodSpec::new(Method::BreadcrumbsTies) };
    let mut linear = triple.recipe();
    linear.method.name = Method::Linear;
    let mut whole = linear.clone();
    whole.vector.pre.clear();
    let mut stock = ties.clone();
    (stock.method, stock.vector.sparsify) = (MethodSpec::new(Method::ModelStock), None);
    vec![ties, out_of_range, many, linear, whole, stock]
}

#[test]
fn nothing_overlaps_or_is_cut_with_several_vectors_and_methods() {
    let triple = Triple::new(DEEP);
    for recipe in combined(&triple) {
        let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
        super::common::wait_for_vector(&mut harness);
        super::common::wait(&mut harness, "all is compared", |app| {
            app.session().preflights().all(|preflight| preflight.done().is_some())
        });
        for (width, height) in [(1280.0, 800.0), (760.0, 600.0)] {
            harness.set_size([width, height].into());
            for tab in ["Scaling", "Vector", "Results"] {
                harness.get_by_label(tab).click();
                harness.run_steps(3);
                harness.remove_cursor();
                harness.run_steps(3);
                check_scaling(&harness, width, height);
                let bottom = harness.get_by_label("Merge…").rect().bottom();
                assert!(bottom < height - 24.0 && harness.get_by_label("w slider").rect().bottom() < bottom);
            }
        }
    }
}

/// Scalings with the most to say: every kind of curve, and one with patterns, complaints and things that are kept.
fn scalings() -> Vec<ScalingSpec> {
    let kinds = Kind::ALL.map(|kind| kind.curve(&Curve::Linear { first: -0.25, last: 1.0 }, 24));
    let mut all: Vec<ScalingSpec> =
        kinds.into_iter().map(|curve| ScalingSpec { curve, ..ScalingSpec::default() }).collect();
    let pattern = |tensors: &str| Pattern { tensors: tensors.into(), factor: 0.125 };
    all.push(ScalingSpec {
        curve: Curve::Lines { alpha: 0.1234, beta: 0.5678 },
        patterns: ["*.mlp.*", "*.layers.[0-9].mlp.down_proj.weight", "*.nothing.*"].map(pattern).into(),
        keep: Keep { norm: true, layers: vec![[3, 11].into()], tensors: vec!["*.nothing.*".into()], ..Keep::default() },
        ..ScalingSpec::default()
    });
    all
}

#[test]
fn nothing_overlaps_or_is_cut_in_the_scaling_tab() {
    let triple = Triple::new(DEEP);
    let scalings = scalings();
    for (position, scaling) in scalings.iter().enumerate() {
        let mut recipe = triple.recipe();
        recipe.vector.scaling = scaling.clone();
        let mut harness = window(Setup { recipe: Some(recipe), ..setup() });
        wait_for_charts(&mut harness);
        harness.get_by_label("Scaling").click();
        // Kinds differ in the row of their numbers, which has least room in the smallest window.
        let says_most = position + 1 == scalings.len();
        let sizes = [(760.0, 600.0), (900.0, 700.0), (1100.0, 700.0), (1280.0, 800.0)];
        for (width, height) in sizes.into_iter().take(if says_most { sizes.len() } else { 1 }) {
            harness.set_size([width, height].into());
            harness.remove_cursor();
            harness.run_steps(3);
            check_scaling(&harness, width, height);
            if says_most {
                for _ in ["the table", "the charts again"] {
                    harness.get_by_label("Table").click();
                    harness.remove_cursor();
                    harness.run_steps(3);
                    check_scaling(&harness, width, height);
                }
            }
        }
    }
}

/// Whether nothing overlaps, and no words end with … that do not ask for more.
#[track_caller]
fn check_scaling(harness: &Harness<'_, App>, width: f32, height: f32) {
    check_texts(harness, width, height);
    let cut = texts(harness).into_iter().filter(|(text, rect)| {
        let asks = ["Save recipe…", "From file…", "Add a name pattern…", "Keep tensors by name…", "none; 0–3, 20 …"]
            .contains(&text.as_str());
        let is_content = rect.left() > 300.0 && rect.top() > 80.0;
        text.ends_with('…') && !asks && (is_content || text.contains("keeps") || text.starts_with("Shape"))
    });
    let cut: Vec<_> = cut.collect();
    assert!(cut.is_empty(), "at {width} × {height}: {cut:?}");
}

#[test]
fn w_and_the_button_stay_where_they_are() {
    let triple = Triple::new(TINY);
    let mut harness = window(setup());
    let places = |harness: &Harness<'_, App>| ["w slider", "Merge…"].map(|label| harness.get_by_label(label).rect());
    harness.run_steps(2);
    let before = places(&harness);
    for (field, role) in [("Pre model", "pre"), ("Post model", "post"), ("Target model", "target")] {
        super::common::type_into(&mut harness, field, &triple.path(role));
    }
    for _ in 0..100 {
        harness.step();
        assert_eq!(places(&harness), before);
        if harness.query_by_label("Findings").is_some() && harness.query_by_label_contains("Writes ").is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the models were not compared");
}
