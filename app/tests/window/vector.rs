//! The Vector tab, as a person uses it.

use std::time::Duration;

use eframe::egui::Key;
use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use mergescope::vector::{Metric, Scale};
use mergescope::window::engine::Engine;
use mergescope::window::session::Stage;
use mergescope::window::{App, Setup};
use mergescope_core::alignment::{Alignment, Triple as Models};
use mergescope_core::analysis::{AnalysisCache, LayerProducts, LayerProductsError};
use mergescope_core::layout::Part;
use mergescope_core::progress::{Cancelled, Control, Stage as Work};

use super::common::{
    Experts, Shape, TINY, Triple, add_biases, add_experts, fill, setup, setup_with, spoil, type_into, wait,
    wait_for_charts, wait_for_vector, window,
};
use super::copied;

/// Presses a key with the focus on the first widget whose name contains `label`.
pub(super) fn press(harness: &mut Harness<'_, App>, label: &str, keys: &[Key]) {
    harness.get_by_label_contains(label).focus();
    harness.run_steps(2);
    for key in keys {
        harness.key_press(*key);
        harness.run_steps(2);
    }
}

/// Chooses an entry of a menu of values.
pub(super) fn choose(harness: &mut Harness<'_, App>, menu: &str, entry: &str) {
    harness.get_by_label_contains(menu).click();
    harness.run_steps(3);
    let is_button = |node: &egui_kittest::Node<'_>| node.accesskit_node().role() == Role::Button;
    let entries: Vec<_> = harness.get_all_by_label(entry).filter(is_button).collect();
    entries.last().expect("the menu has this entry").click();
    harness.run_steps(3);
}

fn has(harness: &Harness<'_, App>, words: &str) -> bool {
    harness.query_all_by_label_contains(words).count() > 0
}

/// The name of the layer × part chart, which says what the cell of the keyboard holds.
fn grid(harness: &Harness<'_, App>) -> String {
    harness.get_by_label_contains("Chart: layer × part").accesskit_node().label().unwrap_or_default()
}

/// A window on a tiny triple with everything about the vector at hand.
pub(super) fn charted(triple: &Triple) -> Harness<'static, App> {
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup() });
    wait_for_charts(&mut harness);
    harness
}

fn copy_csv(harness: &mut Harness<'_, App>) -> String {
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    copied(harness).expect("something was copied")
}

#[test]
fn tables_and_csv_are_those_of_the_chosen_chart() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    for name in ["Layer", "‖pre‖", "2", "embed", "norm"] {
        assert!(harness.query_all_by_label(name).count() > 0, "{name}");
    }
    let csv = copy_csv(&mut harness);
    assert!(csv.starts_with("layer,elements,norm,"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 5, "three layers, embeddings and the final norm");

    choose(&mut harness, "Table of:", "Layer × part");
    let csv = copy_csv(&mut harness);
    assert!(csv.starts_with("layer,q,k,v,o,gate,up,down,norm,embed\n"), "{csv}");
    let measured = harness.state().session().vector().done().expect("it was measured");
    let gate = measured.overview.groups[1].cell(Part::Gate).expect("there is a gate").sums.gram.relative_norm();
    let row: Vec<&str> = csv.lines().nth(2).expect("layer 1").split(',').collect();
    assert_eq!(row[5].parse(), Ok(gate), "the CSV holds the number in full");

    choose(&mut harness, "Table of:", "Do layers move alike?");
    let csv = copy_csv(&mut harness);
    assert!(csv.starts_with("layer,0,1,2\n0,1,"), "{csv}");
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    assert!(has(&harness, "Chart: layer × layer cosine, all parts"));
}

#[test]
fn figures_of_the_summary_lead_to_their_charts() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    harness.get_by_label("w slider").set_value_accesskit(0.1);
    harness.run_steps(3);
    // The figure after “would lose” comes from the cells in rounding survival.
    let preview = harness.state().session().details().preview.done().expect("it was prepared");
    let tensors = harness.state().session().vector().done().expect("it was measured").analysis.tensors.len();
    let lost = 1.0 - preview.survival((0..tensors).map(|tensor| (tensor, 0.1))).value;
    let figure = mergescope::format::percent(lost);
    harness.query_all_by_label(&figure).next().expect("the summary names it").click();
    harness.run_steps(3);
    assert!(grid(&harness).starts_with("Chart: layer × part, Rounding survival"), "{}", grid(&harness));
}

#[test]
fn cells_are_reached_by_keyboard_and_open_their_page() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    press(&mut harness, "Chart: layer × part", &[Key::ArrowRight, Key::ArrowDown, Key::ArrowDown]);
    let measured = harness.state().session().vector().done().expect("it was measured");
    let v = measured.overview.groups[1].cell(Part::V).expect("there is a v").sums.gram.relative_norm();
    let words = format!("Layer 1, v: {}", mergescope::format::percent(v));
    assert!(grid(&harness).ends_with(&words), "{} should end with {words}", grid(&harness));
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("Layer 1, v").is_some());
    assert!(harness.query_by_label("8 × 16, bf16").is_some());
    // Beyond the layers lie embeddings and the final norm; their columns are whole.
    press(&mut harness, "Chart: layer × part", &[Key::ArrowRight, Key::ArrowRight, Key::Enter]);
    assert!(harness.query_by_label("Embeddings").is_some());
}

#[test]
fn a_click_on_a_cell_opens_its_page_and_its_tensors_can_be_chosen() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    // The lowest row is norm, and its cells hold two tensors each.
    let rect = harness.get_by_label_contains("Chart: layer × part").rect();
    let at = eframe::egui::pos2(rect.left() + 20.0, rect.bottom() - 6.0);
    harness.hover_at(at);
    harness.run_steps(1);
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run_steps(4);
    assert!(harness.query_by_label("Layer 0, norm").is_some());
    assert!(harness.query_by_label("32 elements").is_some());
    choose(&mut harness, "Tensor: All 2 tensors together", "model.layers.0.post_attention_layernorm.weight");
    assert!(harness.query_by_label("16, bf16").is_some());
    harness.get_by_label("Spectrum").click();
    harness.run_steps(3);
    assert!(has(&harness, "This tensor is no matrix"));
}

#[test]
fn figures_lead_to_a_chart_that_shows_them_whatever_it_showed_before() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    choose(&mut harness, "Part:", "o");
    choose(&mut harness, "Show:", "RMS per element");
    choose(&mut harness, "Parts:", "gate");
    assert!(has(&harness, "Chart: layer × layer cosine, o;") && has(&harness, "root mean square"));
    let figure = |harness: &Harness<'_, App>, words: &str| {
        let is_link = |node: &egui_kittest::Node<'_>| node.accesskit_node().role() == Role::Link;
        let label = harness.query_all_by_label_contains(words).find(is_link).expect("the summary names it");
        label.accesskit_node().label().expect("a link has words")
    };
    let cosines = figure(&harness, "within ±");
    harness.get_by_label(&cosines).click();
    harness.run_steps(3);
    assert!(has(&harness, "Chart: layer × layer cosine, all parts together;"));
    let measured = harness.state().session().vector().done().expect("it was measured");
    let size = mergescope::format::percent(measured.overview.total.gram.relative_norm());
    let is_link = |node: &egui_kittest::Node<'_>| node.accesskit_node().role() == Role::Link;
    harness.query_all_by_label(&size).find(is_link).expect("the summary names it").click_accesskit();
    harness.run_steps(3);

    assert!(has(&harness, "‖v‖ ∕ ‖pre‖ in %") && has(&harness, "Chart: how far each layer moved, 5 bars"));
}

#[test]
fn the_cosines_are_read_by_keyboard() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    press(&mut harness, "Chart: layer × layer cosine", &[Key::ArrowRight, Key::ArrowDown, Key::ArrowDown]);
    assert!(has(&harness, "Layers 2 and 1: cosine "));
}

#[test]
fn weight_and_bias_share_a_cell_and_the_matrix_has_the_spectrum() {
    let triple = Triple::new(TINY);
    add_biases(triple.root.path(), TINY);
    let mut harness = charted(&triple);
    press(&mut harness, "Chart: layer × part", &[Key::Enter]);
    assert!(harness.query_by_label("Layer 0, q").is_some() && has(&harness, "All 2 tensors together"));
    harness.get_by_label("Spectrum").click();
    harness.run_steps(3);
    wait(&mut harness, "the spectrum of the weight is measured", |app| {
        app.session().details().spectrum("model.layers.0.self_attn.q_proj.weight").done().is_some()
    });
    assert!(has(&harness, "Chart: spectrum, 16 singular values"));
}

#[test]
fn what_is_no_number_is_said_and_not_taken_for_zero() {
    let triple = Triple::new(TINY);
    spoil(&triple.root.path().join("post"), "model.layers.1.mlp.up_proj.weight");
    let mut harness = charted(&triple);
    assert!(has(&harness, " entries are NaN or infinite: 512 in post; they are left out of sums and counts."));
    let counts = harness.query_all_by_label("512").next().expect("the figure is a link");
    counts.click();
    harness.run_steps(3);
    assert!(grid(&harness).starts_with("Chart: layer × part, NaN or infinite"), "{}", grid(&harness));
    press(&mut harness, "Chart: layer × part", &[Key::ArrowRight]);
    for _ in 0..5 {
        harness.key_press(Key::ArrowDown);
        harness.run_steps(2);
    }
    let all = format!("Layer 1, up: {}", mergescope::format::percent(1.0));
    assert!(grid(&harness).ends_with(&all), "{}", grid(&harness));
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("32 × 16, bf16; 512 NaN or infinite").is_some());
    assert!(has(&harness, "Chart: sizes of pre; no element is finite here"));
    harness.get_by_label("Spectrum").click();
    harness.run_steps(3);
    assert!(has(&harness, "No element of this tensor is finite"));
    choose(&mut harness, "Cells show:", Metric::RelativeNorm.label());
    assert!(grid(&harness).ends_with("Layer 1, up: –"), "{}", grid(&harness));
}

#[test]
fn the_table_of_a_spectrum_can_have_it_measured() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    choose(&mut harness, "Table of:", "Sizes of w·v and pre");
    let csv = copy_csv(&mut harness);
    assert!(csv.starts_with("low,high,"), "{csv}");
    choose(&mut harness, "Table of:", "Spectrum");
    wait(&mut harness, "the spectrum is measured", |app| {
        let measured = app.session().vector().done().expect("it was measured");
        let mut names = measured.analysis.tensors.iter().map(|tensor| &tensor.name);
        names.any(|name| app.session().details().spectrum(name).done().is_some())
    });
    assert!(has(&harness, "Layer 2, up: model.layers.2.mlp.up_proj.weight"), "the table says what it is of");
    assert!(copy_csv(&mut harness).starts_with("rank,singular_value,"));
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    assert!(has(&harness, "Chart: spectrum"), "the page shows what the table did");
}

#[test]
fn other_models_have_their_own_numbers_on_the_open_page() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    press(&mut harness, "Chart: layer × part", &[Key::ArrowRight; 6]);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("Final norm").is_some(), "the last of all tensors");
    // Fewer tensors, and other shapes.
    let smaller = Triple::new(Shape { layers: 1, hidden: 32, ..TINY });
    for (field, role) in [("Pre model", "pre"), ("Post model", "post"), ("Target model", "target")] {
        type_into(&mut harness, field, &smaller.path(role));
    }
    wait_for_charts(&mut harness);
    harness.run_steps(3);
    assert!(harness.query_by_label("Final norm").is_some(), "a cell that both have stays open");
    assert!(harness.query_by_label("32, bf16").is_some());
    // And back, with the page of a cell whose numbers differ.
    press(&mut harness, "Chart: layer × part", &[Key::ArrowDown; 6]);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    let norm = |app: &App| {
        let measured = app.session().vector().done().expect("it was measured");
        mergescope::format::norm(measured.overview.groups[0].cell(Part::Down).expect("a down").sums.gram.norm())
    };
    assert!(harness.query_by_label("Layer 0, down").is_some());
    let before = norm(harness.state());
    assert!(harness.query_by_label(&before).is_some());
    for (field, role) in [("Pre model", "pre"), ("Post model", "post"), ("Target model", "target")] {
        type_into(&mut harness, field, &triple.path(role));
    }
    wait_for_charts(&mut harness);
    harness.run_steps(3);
    let after = norm(harness.state());
    assert_ne!(before, after);
    assert!(harness.query_by_label("Layer 0, down").is_some());
    assert!(harness.query_by_label(&after).is_some() && harness.query_by_label(&before).is_none());
}

#[test]
fn a_zero_vector_says_so_in_every_chart() {
    let triple = Triple::new(TINY);
    let mut same = triple.recipe();
    same.vector.post = same.vector.pre.clone();
    let mut harness = window(Setup { recipe: Some(same), ..setup() });
    wait_for_charts(&mut harness);
    for words in [
        "The vector is zero: pre and post hold the same weights",
        "v is zero: nothing moved",
        "v is zero here: there is nothing to compare",
        "Chart: sizes of pre; v is zero here",
    ] {
        assert!(has(&harness, words), "{words}");
    }
    assert!(!has(&harness, "NaN"));
}

#[test]
fn metrics_and_scales_are_picked() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    for metric in Metric::ALL {
        choose(&mut harness, "Cells show:", metric.label());
        assert!(grid(&harness).contains(metric.label()), "{}", grid(&harness));
        let has_scale = harness.query_by_label_contains("Colour scale:").is_some();
        assert_eq!(has_scale, metric.scale() == Scale::Amount, "{metric:?}");
    }
    choose(&mut harness, "Cells show:", Metric::Norm.label());
    choose(&mut harness, "Colour scale:", "Log");
    assert!(harness.query_by_label("Colour scale: Log").is_some());
    choose(&mut harness, "Show:", "RMS per element");
    assert!(has(&harness, "root mean square of an element of v"));
    choose(&mut harness, "Parts:", "gate");
    assert!(has(&harness, "Chart: how far each layer moved, 3 bars"));
    choose(&mut harness, "Part:", "q");
    assert!(has(&harness, "Chart: layer × layer cosine, q;"));
    choose(&mut harness, "Part:", "MLP");
    assert!(has(&harness, "Chart: layer × layer cosine, gate, up, down and experts together;"));
}

#[test]
fn the_slider_moves_what_depends_on_w() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    choose(&mut harness, "Cells show:", Metric::RoundingSurvival.label());
    let kept = |harness: &Harness<'_, App>| {
        harness.get_by_label_contains("bf16 keeps").accesskit_node().value().expect("it has words")
    };
    let mut seen = Vec::new();
    for w in [0.02, 0.2, 1.0] {
        harness.get_by_label("w slider").set_value_accesskit(w);
        harness.run_steps(3);
        let threshold = harness.get_by_label_contains("Chart: sizes of w·v").accesskit_node().label();
        assert!(threshold.is_some_and(|label| label.contains("bf16 sees w·v from")));
        seen.push((grid(&harness), kept(&harness)));
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2], "{seen:?}");
    let at = |text: &str| text.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
    assert!((at(&seen[2].1).expect("a number") - 1.0).abs() < 0.01, "{seen:?}");
    harness.get_by_label("w slider").set_value_accesskit(0.0);
    harness.run_steps(3);
    assert!(has(&harness, "At w = 0 nothing is added"));
    assert!(has(&harness, "Chart: sizes of pre; at w = 0 nothing is added"));
}

#[test]
fn another_output_dtype_prepares_another_preview() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    let before = harness.state().session().details().preview_number();
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    choose(&mut harness, "Dtype", "f32");
    let out = tempfile::tempdir().unwrap();
    fill(&mut harness, "Folder", &out.path().to_string_lossy());
    fill(&mut harness, "Name", "merged");
    harness.get_by_label("Merge").click();
    wait(&mut harness, "another preview is prepared", |app| {
        app.session().details().preview_number() > before && app.session().details().preview.done().is_some()
    });
    assert!(has(&harness, "f32 keeps 0.500"));
}

#[test]
fn a_spectrum_is_measured_when_it_is_asked_for() {
    let triple = Triple::new(TINY);
    let mut harness = charted(&triple);
    harness.get_by_label("Spectrum").click();
    // So small a matrix needs no further question.
    harness.run_steps(2);
    wait(&mut harness, "the spectrum is measured", |app| {
        let measured = app.session().vector().done().expect("it was measured");
        let names = measured.analysis.tensors.iter().map(|tensor| &tensor.name);
        names.into_iter().any(|name| app.session().details().spectrum(name).done().is_some())
    });
    assert!(has(&harness, "Chart: spectrum, 16 singular values"));
    assert!(has(&harness, "Effective rank"));
    let csv = copy_csv(&mut harness);
    assert!(csv.starts_with("rank,singular_value,energy_kept\n1,"), "{csv}");
    assert_eq!(csv.lines().count(), 17);
    let kept: f64 = csv.lines().last().and_then(|line| line.rsplit(',').next()).unwrap().parse().unwrap();
    assert!((kept - 1.0).abs() < 1e-9, "all singular values hold all of ‖v‖²");
}

/// A window on the page of the last of five experts in layer 0.
fn on_the_last_expert(triple: &Triple, stored: Experts) -> Harness<'static, App> {
    add_experts(triple.root.path(), TINY, 5, stored);
    let mut harness = charted(triple);
    harness.get_by_label("Show the experts one by one").click();
    harness.run_steps(3);
    // Below router and expert follow the five experts.
    press(&mut harness, "Chart: layer × part", &[Key::ArrowDown; 30]);
    assert!(grid(&harness).contains("Layer 0, expert 4: "), "{}", grid(&harness));
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    harness
}

#[test]
fn experts_fold_into_one_row_that_opens() {
    let triple = Triple::new(TINY);
    let mut harness = on_the_last_expert(&triple, Experts::Apart);
    assert!(harness.query_by_label("384 elements").is_some());
    choose(&mut harness, "Tensor: All 3 tensors together", "model.layers.0.mlp.experts.4.up_proj.weight");
    assert!(has(&harness, "8 × 16, bf16"));
    harness.get_by_label("Fold the experts").click();
    harness.run_steps(3);
    press(&mut harness, "Chart: layer × part", &[Key::ArrowDown]);
    assert!(grid(&harness).contains("Layer 0, expert: "), "{}", grid(&harness));
}

#[test]
fn experts_in_one_tensor_open_as_if_they_were_stored_apart() {
    let triple = Triple::new(TINY);
    let mut harness = on_the_last_expert(&triple, Experts::Stacked);
    let name = "model.layers.0.mlp.experts.up_proj[4]";
    choose(&mut harness, "Tensor: All 3 tensors together", name);
    assert!(has(&harness, "8 × 16, bf16"), "the shape is that of the expert's matrix");
    harness.get_by_label("Spectrum").click();
    harness.run_steps(2);
    let is_done = |app: &App| app.session().details().spectrum(name).done().is_some();
    wait(&mut harness, "the spectrum of the expert is measured", is_done);
    assert!(has(&harness, "Chart: spectrum, 8 singular values"));
}

/// Cannot compare layers.
struct FailingComparison;

impl Engine for FailingComparison {
    fn layer_products(&self, _: &Models, _: &Alignment, _: &Control) -> Result<LayerProducts, LayerProductsError> {
        Err(LayerProductsError::TooManyLayers { found: 5_000 })
    }
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }
}

#[test]
fn a_comparison_that_fails_says_so_and_leaves_the_rest() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup_with(FailingComparison) });
    wait_for_vector(&mut harness);
    wait(&mut harness, "the failure is shown", |app| {
        matches!(app.session().details().layer_products, Stage::Failed(_))
    });
    assert!(has(&harness, "The layers could not be compared"));
    assert!(has(&harness, "5000 layers"));
    assert!(harness.query_by_label("Try again").is_some());
    assert!(has(&harness, "Chart: layer × part"));
    assert!(has(&harness, "Chart: how far each layer moved"));
}

/// Compares layers for as long as it may.
struct SlowComparison;

impl Engine for SlowComparison {
    fn layer_products(
        &self,
        _: &Models,
        _: &Alignment,
        control: &Control,
    ) -> Result<LayerProducts, LayerProductsError> {
        control.begin(Work::Measuring, 1_000_000);
        while !control.is_cancelled() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(LayerProductsError::Stream(Cancelled.into()))
    }
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }
}

#[test]
fn a_comparison_can_be_stopped_and_started_again() {
    let triple = Triple::new(TINY);
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup_with(SlowComparison) });
    wait_for_vector(&mut harness);
    assert!(harness.query_by_label("Comparing progress").is_some());
    harness.get_by_label("Stop comparing").click();
    harness.run_steps(2);
    wait(&mut harness, "it stops", |app| app.session().details().comparison_stopped);
    assert!(harness.query_by_label("Comparing was stopped").is_some());
    harness.get_by_label("Compare the layers").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Comparing progress").is_some());
}
