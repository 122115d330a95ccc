//! Pictures of the real window, drawn without a display into `screenshots/` at the root of the repository.
//!
//! `cargo test -p mergescope --features snapshots --test snapshots` compares; `UPDATE_SNAPSHOTS=1` writes those anew that differ
//! by more than rasterisers do, `UPDATE_SNAPSHOTS=force` all of them.
//! It needs a graphics adapter; Mesa's software one (`mesa-vulkan-drivers`) is enough.

#![allow(clippy::unwrap_used, reason = "a test that cannot be prepared should say so and stop")]

#[path = "../common/mod.rs"]
mod common;
mod still;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::answering::{Script, Scripted};
use common::hub::FakeHub;
use common::{FakePicker, Shape, setup_with, wait, wait_for_charts, window_in};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};
use mergescope::window::session::End;
use mergescope::window::{App, Setup};
use mergescope_core::hub::{Access, Hub};
use mergescope_core::progress::Stage;
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, Recipe, VectorSpec};
use mergescope_core::scaling::{Between, Curve, Keep, Pattern, Point, ScalingSpec};
use still::StillEngine;

/// As deep as a real model, and small.
const DEEP: Shape = Shape { layers: 24, hidden: 64, inner: 160, vocabulary: 512 };

fn picture(harness: &mut Harness<'_, App>, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../screenshots");
    // Software rasterisers differ a little in how they blend the edges of letters.
    let options = SnapshotOptions::new().output_path(folder).threshold(2.0).max_failed_pixels(60usize);
    harness.remove_cursor();
    harness.run_steps(4);
    harness.snapshot_options(name, &options);
}

/// A place with a name that stays the same, so that pictures do too.
fn stage(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join("mergescope-pictures").join(name);
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn deep_recipe(folder: &Path) -> Recipe {
    common::write_triple(folder, DEEP);
    let path = |role: &str| folder.join(role).to_string_lossy().into_owned();
    Recipe::new(path("pre"), path("post"), path("target"))
}

fn setup() -> Setup {
    setup_with(StillEngine::default())
}

/// A window with three models and the charts of their vector.
fn measured(theme: Theme, recipe: Recipe) -> Harness<'static, App> {
    measured_by(StillEngine::default(), theme, recipe)
}

fn measured_by(engine: StillEngine, theme: Theme, recipe: Recipe) -> Harness<'static, App> {
    let mut harness = window_in(theme, Setup { recipe: Some(recipe), ..setup_with(engine) });
    wait_for_charts(&mut harness);
    harness
}

#[test]
fn vector() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "vector-dark"), (Theme::Light, "vector-light")] {
        let folder = stage(name);
        let mut harness = measured(theme, deep_recipe(&folder));
        picture(&mut harness, name);
        harness.set_size([1920.0, 1080.0].into());
        picture(&mut harness, &format!("{name}-1920"));
        results.extend_harness(&mut harness);
    }
}

#[test]
fn results() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "results-dark"), (Theme::Light, "results-light")] {
        let folder = stage(name);
        let mut harness = measured(theme, deep_recipe(&folder));
        merge(&mut harness, &folder);
        wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(End::Merged(_))));
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

#[test]
fn adapter() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "adapter-dark"), (Theme::Light, "adapter-light")] {
        let folder = stage(name);
        let mut harness = measured(theme, deep_recipe(&folder));
        harness.get_by_label("File").click();
        harness.run_steps(3);
        harness.get_by_label_contains("Export adapter…").click();
        harness.run_steps(3);
        common::fill(&mut harness, "Folder", &folder.to_string_lossy());
        common::fill(&mut harness, "Name", "adapter");
        harness.get_by_label("Rank").set_value_accesskit(4.0);
        harness.get_by_role_and_label(eframe::egui::accesskit::Role::CheckBox, "norm").click();
        harness.run_steps(3);
        if theme == Theme::Light {
            picture(&mut harness, "adapter-dialog-light");
        }
        harness.get_by_label("Export").click();
        wait(&mut harness, "the adapter is written", |app| matches!(app.session().end, Some(End::Exported(_))));
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

fn merge(harness: &mut Harness<'_, App>, folder: &Path) {
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    common::fill(harness, "Folder", &folder.to_string_lossy());
    common::fill(harness, "Name", "merged-w0.50");
    harness.get_by_label("Merge").click();
    harness.run_steps(2);
}

/// A window on the Scaling tab.
fn scaling_in(theme: Theme, recipe: Recipe, scaling: ScalingSpec) -> Harness<'static, App> {
    let mut recipe = recipe;
    recipe.vector.scaling = scaling;
    let mut harness = measured(theme, recipe);
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    harness
}

/// A curve that was drawn by hand, half of it for one projection, and norms that stay the target's.
fn drawn() -> ScalingSpec {
    let points = [(0, 0.2), (6, 0.35), (14, 0.6), (19, 1.1), (23, 0.7)];
    let points = points.map(|(layer, value)| Point { layer, value }).into();
    ScalingSpec {
        curve: Curve::Points { points, between: Between::Smooth },
        patterns: vec![Pattern { tensors: "*.down_proj.*".into(), factor: 0.5 }],
        keep: Keep { norm: true, ..Keep::default() },
        ..ScalingSpec::default()
    }
}

#[test]
fn scaling() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "scaling-dark"), (Theme::Light, "scaling-light")] {
        let folder = stage(name);
        let mut harness = scaling_in(theme, deep_recipe(&folder), drawn());
        harness.get_by_label("Value of layer 19").focus();
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

/// post − pre and target − pre, put together by TIES.
fn two_vectors(folder: &Path) -> Recipe {
    let mut recipe = deep_recipe(folder);
    recipe.method.name = Method::Ties;
    recipe.method.density = Some(0.2);
    recipe.vector.scaling = drawn();
    let mut other = VectorSpec::new(recipe.vector.pre.clone(), recipe.target.clone());
    other.w = 0.25;
    recipe.others.push(other);
    recipe
}

#[test]
fn several_vectors() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "vectors-dark"), (Theme::Light, "vectors-light")] {
        let folder = stage(name);
        let mut harness = measured(theme, two_vectors(&folder));
        harness.get_by_label("Scaling").click();
        harness.run_steps(3);
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

#[test]
fn methods() {
    let folder = stage("methods-light");
    let mut harness = measured(Theme::Light, two_vectors(&folder));
    harness.get_by_label("Scaling").click();
    harness.run_steps(3);
    harness.get_by_label_contains("Method:").click();
    picture(&mut harness, "methods-light");
}

#[test]
fn narrow_vectors() {
    let folder = stage("vectors-narrow-dark");
    let mut recipe = two_vectors(&folder);
    recipe.vector.control = Some(ControlSpec { kind: ControlKind::ShuffleSigns, seed: 7 });
    let mut harness = measured(Theme::Dark, recipe);
    harness.get_by_label("Scaling").click();
    harness.set_size([760.0, 600.0].into());
    picture(&mut harness, "vectors-narrow-dark");
}

#[test]
fn results_of_a_control() {
    let folder = stage("vectors-results-dark");
    let mut recipe = two_vectors(&folder);
    recipe.vector.control = Some(ControlSpec { kind: ControlKind::Noise, seed: 7 });
    let mut harness = measured(Theme::Dark, recipe);
    merge(&mut harness, &folder);
    wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(End::Merged(_))));
    picture(&mut harness, "vectors-results-dark");
}

#[test]
fn scaling_with_patterns() {
    let folder = stage("scaling-patterns-light");
    let pattern = |tensors: &str, factor| Pattern { tensors: tensors.into(), factor };
    let spec = ScalingSpec {
        curve: Curve::Last { count: 16, inside: 1.0, outside: -0.25 },
        patterns: vec![
            pattern("*.layers.[0-3].mlp.*", 0.25),
            pattern("*.down_proj.*", 0.5),
            pattern("*.o_projection.*", 0.0),
        ],
        keep: Keep { layers: vec![[20, 21].into()], ..Keep::default() },
        ..ScalingSpec::default()
    };
    let mut harness = scaling_in(Theme::Light, deep_recipe(&folder), spec);
    picture(&mut harness, "scaling-patterns-light");
}

#[test]
fn scaling_of_experts() {
    let folder = stage("scaling-experts-dark");
    let recipe = deep_recipe(&folder);
    common::add_experts(&folder, DEEP, 8, common::Experts::Apart);
    let curve = Curve::Bump { centre: 15.0, width: 9.0, base: 0.25, peak: 1.0 };
    let spec = ScalingSpec { curve, keep: Keep { router: true, ..Keep::default() }, ..ScalingSpec::default() };
    picture(&mut scaling_in(Theme::Dark, recipe, spec), "scaling-experts-dark");
}

#[test]
fn scaling_table() {
    let folder = stage("scaling-table-dark");
    let mut harness = scaling_in(Theme::Dark, deep_recipe(&folder), drawn());
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    picture(&mut harness, "scaling-table-dark");
}

#[test]
fn narrow_scaling() {
    let folder = stage("scaling-narrow-light");
    let curve = Curve::Lines { alpha: 0.25, beta: 0.75 };
    let mut harness = scaling_in(Theme::Light, deep_recipe(&folder), ScalingSpec { curve, ..ScalingSpec::default() });
    harness.set_size([760.0, 600.0].into());
    picture(&mut harness, "scaling-narrow-light");
}

#[test]
fn merge_dialog() {
    let folder = stage("dialog-dark");
    let mut harness = measured(Theme::Dark, deep_recipe(&folder));
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    picture(&mut harness, "dialog-dark");
}

#[test]
fn merging() {
    let mut results = SnapshotResults::new();
    for (theme, name, stage_of_merge) in
        [(Theme::Light, "merging-light", Stage::Merging), (Theme::Dark, "reading-back-dark", Stage::Verifying)]
    {
        let folder = stage(name);
        let engine = StillEngine { halts: Some(stage_of_merge), ..StillEngine::default() };
        let mut harness = measured_by(engine, theme, deep_recipe(&folder));
        merge(&mut harness, &folder);
        wait(&mut harness, "progress arrives", |app| {
            let progress = app.session().writing.as_ref().and_then(|writing| writing.progress);
            progress.is_some_and(|progress| progress.done_bytes > 0)
        });
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

#[test]
fn download_dialog() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Light, "download-light"), (Theme::Dark, "download-dark")] {
        let (hub, folder) = (FakeHub::start(), stage(name));
        let engine = StillEngine {
            hub: Some(Hub::new(Access::to(&hub.server.url), folder.join("hub"))),
            ..StillEngine::default()
        };
        let mut harness = measured_by(engine, theme, deep_recipe(&folder));
        common::type_into(&mut harness, "Post model", "simplescaling/s1-32B");
        common::wait_for_label(&mut harness, "Not on this computer");
        harness.get_by_label("Download…").click();
        harness.run_steps(3);
        common::wait_for_label(&mut harness, "huggingface.co");
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

#[test]
fn mismatch() {
    let folder = stage("mismatch-dark");
    let mut recipe = deep_recipe(&folder);
    let other = folder.join("other");
    common::write_triple(&other, Shape { inner: 192, ..DEEP });
    recipe.target = other.join("target").to_string_lossy().into_owned();
    let mut harness = window_in(Theme::Dark, Setup { recipe: Some(recipe), ..setup() });
    wait(&mut harness, "the models are compared", |app| app.session().preflight().done().is_some());
    picture(&mut harness, "mismatch-dark");
}

#[test]
fn start() {
    let folder = stage("assets").join("demo");
    match mergescope::demo::folder() {
        // A copy, so that the picture does not depend on where the sources are.
        Some(demo) => ["pre", "post", "target"].iter().for_each(|model| copy(&demo.join(model), &folder.join(model))),
        None => common::write_triple(&folder, common::TINY),
    }
    let mut harness = window_in(Theme::Dark, Setup { demo: Some(folder), ..setup() });
    wait_for_charts(&mut harness);
    picture(&mut harness, "start-dark");
}

/// A window on the Try tab with a deep model, whose models answer by `script`.
fn trying(theme: Theme, name: &str, w: f64, script: Script) -> Harness<'static, App> {
    let folder = stage(name);
    let mut recipe = deep_recipe(&folder);
    recipe.vector.w = w;
    let engine = Scripted(Arc::new(Script { says: script.says.or(Some(said)), ..script }));
    let mut harness = window_in(theme, Setup { recipe: Some(recipe), ..setup_with(engine) });
    wait_for_charts(&mut harness);
    harness.get_by_label("Try").click();
    harness.run_steps(3);
    common::fill(&mut harness, "Prompt", "問題:15と38と7と24の合計は?\n答え:");
    harness
}

/// What the demo's models say, or would if they were better at it.
fn said(w: Option<f64>) -> String {
    let text = match w.unwrap_or(0.0) {
        w if w <= 0.0 => "82です。",
        w if w < 0.5 => "15+38=53、53+7=60、60+24=84。よって84。",
        w if w <= 1.0 => "15+38=53、53+7=60、60+24=84。",
        _ => "15+38=53、53+7=60、60+24=84、84+24=108、108+24=132、132+24=156",
    };
    text.chars().map(String::from).collect::<Vec<_>>().join("|")
}

fn answer(harness: &mut Harness<'_, App>, button: &str) {
    harness.get_by_label(button).click();
    harness.run_steps(2);
    wait(harness, "the answers come", |app| app.try_view().run.as_ref().is_some_and(|run| !run.is_under_way()));
}

#[test]
fn try_tab() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "try-dark"), (Theme::Light, "try-light")] {
        let script = Script { has_template: true, ..Script::default() };
        let mut harness = trying(theme, name, 0.25, script);
        answer(&mut harness, "Run both");
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

#[test]
fn try_strip() {
    let mut harness = trying(Theme::Light, "try-strip-light", 0.25, Script::default());
    answer(&mut harness, "Strip of w");
    picture(&mut harness, "try-strip-light");
}

#[test]
fn try_narrow() {
    let mut harness = trying(Theme::Light, "try-narrow-light", 0.25, Script::default());
    answer(&mut harness, "Run both");
    harness.set_size([900.0, 700.0].into());
    picture(&mut harness, "try-narrow-light");
}

#[test]
fn try_loading() {
    let script = Script::default();
    script.loading_halts.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut harness = trying(Theme::Dark, "try-loading-dark", 0.25, script);
    harness.get_by_label("Run both").click();
    wait(&mut harness, "progress arrives", |app| {
        let progress = app.try_view().run.as_ref().and_then(|run| run.progress);
        progress.is_some_and(|progress| progress.done_bytes > 0)
    });
    harness.get_by_label("More choices").click();
    harness.run_steps(3);
    picture(&mut harness, "try-loading-dark");
}

#[test]
fn answerer() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "answerer-dark"), (Theme::Light, "answerer-light")] {
        let mut harness = trying(theme, name, 0.25, Script::default());
        let open = |harness: &mut Harness<'_, App>| {
            harness.get_by_label("More choices").click();
            harness.run_steps(3);
            harness.get_by_label("Change…").click();
            harness.run_steps(4);
        };
        open(&mut harness);
        if theme == Theme::Dark {
            picture(&mut harness, "answerer-program-dark");
        }
        harness.get_by_label("a server").click();
        harness.run_steps(3);
        common::fill(&mut harness, "Address", "gpu-box.local:30000");
        harness.get_by_label("List models").click();
        wait(&mut harness, "the models are listed", |_| true);
        common::wait_for_label(&mut harness, "The server answers");
        harness.get_by_label_contains("Delivery: ").click();
        harness.run_steps(3);
        harness.get_by_label("a merge for each w (SGLang)").click();
        harness.run_steps(3);
        common::fill(&mut harness, "Folder for the server", "/mnt/shared/merges");
        common::fill(&mut harness, "Folder as the server sees it", "/data/merges");
        picture(&mut harness, name);
        harness.get_by_label("Use it").click();
        harness.run_steps(4);
        answer(&mut harness, "Run both");
        if theme == Theme::Light {
            picture(&mut harness, "answerer-try-light");
        }
        results.extend_harness(&mut harness);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn tables() {
    let folder = stage("tables-light");
    let mut harness = measured(Theme::Light, deep_recipe(&folder));
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    picture(&mut harness, "table-light");
}

#[test]
fn experts() {
    let folder = stage("experts-dark");
    let recipe = deep_recipe(&folder);
    common::add_experts(&folder, DEEP, 24, common::Experts::Apart);
    let mut harness = measured(Theme::Dark, recipe);
    harness.get_by_label("Show the experts one by one").click();
    harness.run_steps(3);
    picture(&mut harness, "experts-dark");
}

#[test]
fn spectrum() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [(Theme::Dark, "spectrum-dark"), (Theme::Light, "spectrum-light")] {
        let folder = stage(name);
        let mut harness = measured(theme, deep_recipe(&folder));
        harness.get_by_label("Spectrum").click();
        harness.run_steps(2);
        wait(&mut harness, "the spectrum is measured", |app| {
            let measured = app.session().vector().done().unwrap();
            let mut names = measured.analysis.tensors.iter().map(|tensor| &tensor.name);
            names.any(|name| app.session().details().spectrum(name).done().is_some())
        });
        picture(&mut harness, name);
        results.extend_harness(&mut harness);
    }
}

#[test]
fn narrow_vector() {
    let folder = stage("vector-narrow-light");
    let mut harness = measured(Theme::Light, deep_recipe(&folder));
    harness.set_size([900.0, 700.0].into());
    picture(&mut harness, "vector-narrow-light");
}

#[test]
fn narrow() {
    let folder = stage("narrow-dark");
    let mut harness = measured(Theme::Dark, deep_recipe(&folder));
    harness.set_size([760.0, 600.0].into());
    harness.run_steps(2);
    merge(&mut harness, &folder);
    wait(&mut harness, "the merge ends", |app| matches!(app.session().end, Some(End::Merged(_))));
    picture(&mut harness, "narrow-dark");
}

#[test]
fn palette() {
    let folder = stage("palette-dark");
    let mut harness = measured(Theme::Dark, deep_recipe(&folder));
    harness.get_by_label("Find a command").click();
    harness.run_steps(4);
    picture(&mut harness, "palette-dark");
}

#[test]
fn japanese() {
    let folder = stage("日本語のモデル");
    let mut harness = measured(Theme::Light, deep_recipe(&folder));
    harness.get_by_label("Merge…").click();
    harness.run_steps(3);
    common::fill(&mut harness, "Name", "推論ベクトル、強さ0.50");
    picture(&mut harness, "japanese-light");
}

/// A window on the demo's models and questions below `folder`, where answers are kept too.
fn demo_sweep(theme: Theme, folder: &Path) -> Harness<'static, App> {
    let engine = StillEngine { sweeps: Some(folder.join("sweeps")), ..StillEngine::default() };
    let picker = Arc::new(FakePicker(Some(folder.join("published.csv"))));
    let mut harness = window_in(theme, Setup { demo: Some(folder.join("demo")), picker, ..setup_with(engine) });
    wait_for_charts(&mut harness);
    harness.get_by_label("Evaluate").click();
    harness.run_steps(3);
    wait(&mut harness, "the questions are read", |app| app.evaluation().prepared.is_some());
    harness
}

/// Runs what is missing.
fn run_sweep(harness: &mut Harness<'_, App>) {
    harness.get_by_label("Run").click();
    harness.run_steps(2);
    let deadline = std::time::Instant::now() + Duration::from_secs(1800);
    while harness.state().evaluation().is_running() {
        assert!(std::time::Instant::now() < deadline, "the run does not end");
        std::thread::sleep(Duration::from_millis(50));
        harness.step();
    }
    harness.run_steps(3);
}

#[test]
fn evaluate_more() {
    let folder = stage("evaluate-more");
    let demo = mergescope::demo::folder().unwrap();
    ["pre", "post", "target"].iter().for_each(|model| copy(&demo.join(model), &folder.join("demo").join(model)));
    copy(&demo.with_file_name("questions"), &folder.join("questions"));
    let mut harness = demo_sweep(Theme::Light, &folder);
    harness.get_by_label("More choices").click();
    harness.run_steps(4);
    picture(&mut harness, "evaluate-more-light");
}

#[test]
fn evaluate() {
    let mut results = SnapshotResults::new();
    let folder = stage("evaluate");
    let demo = mergescope::demo::folder().unwrap();
    ["pre", "post", "target"].iter().for_each(|model| copy(&demo.join(model), &folder.join("demo").join(model)));
    copy(&demo.with_file_name("questions"), &folder.join("questions"));
    let mut harness = demo_sweep(Theme::Light, &folder);
    picture(&mut harness, "evaluate-empty");
    run_sweep(&mut harness);
    picture(&mut harness, "evaluate-light");
    harness.get_by_label_contains(" mended · ").click();
    picture(&mut harness, "evaluate-items");
    harness.get_by_label("Back to the chart").click();
    harness.run_steps(2);
    harness.set_size([760.0, 600.0].into());
    picture(&mut harness, "evaluate-narrow");
    results.extend_harness(&mut harness);
    drop(harness);
    // The answers are there, and nothing is asked again.
    let mut harness = demo_sweep(Theme::Dark, &folder);
    picture(&mut harness, "evaluate-dark");
    // arXiv 2508.02913 on AIME24, correct of 30 in either language.
    let published = "arm,w,right,n\nJapanese,0,4,30\nJapanese,1,10,30\nEnglish,0,7,30\nEnglish,1,16,30\n";
    std::fs::write(folder.join("published.csv"), published).unwrap();
    harness.get_by_label("More choices").click();
    harness.run_steps(3);
    harness.get_by_label("Import results…").click();
    harness.run_steps(3);
    wait(&mut harness, "the results are read", |app| {
        app.evaluation().table().is_some_and(|table| table.arms.iter().any(|arm| arm.arm.is_none()))
    });
    picture(&mut harness, "evaluate-imported-dark");
    results.extend_harness(&mut harness);
}
