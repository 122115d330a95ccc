//! `mergescope demo`: the whole job on the models that come with the program.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mergescope_core::analysis::{Gram, Sums, VectorAnalysis, measure};
use mergescope_core::engine::{EmbeddedEngine, EmbeddedOptions, Engine as _};
use mergescope_core::evaluate::sweep::{ControlArm, Sweep, SweepSpec};
use mergescope_core::merge::{MergeError, check_output, merge, open, plan};
use mergescope_core::preflight::preflight;
use mergescope_core::recipe::{ControlKind, Recipe};
use mergescope_core::stream::Resources;

use super::args::DemoArgs;
use super::exit::Exit;
use super::print::{Printer, note};
use super::progress::Job;
use super::sweep::{self, files, text};
use super::table::{Align, Table, bar};
use super::{WindowStart, has_display, preflight as findings, report};
use crate::report::svg::Theme;
use crate::{demo, format};

/// The values of w that the demo is asked at.
const SWEPT: [f64; 7] = [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5];

/// Characters of the longest bar.
const BAR_CELLS: usize = 24;

/// Preflight, norms by layer, merge, report, a sweep over questions, and the window if there is a display.
pub fn run(args: &DemoArgs, window: impl FnOnce(WindowStart) -> anyhow::Result<()>) -> anyhow::Result<Exit> {
    let printer = Printer::new(false);
    let folder = demo::folder().context(
        "the demo's models (assets/demo) are neither above the program nor above this folder; \
         run it in a checkout of the project",
    )?;
    let mut recipe = demo::recipe(&folder);
    recipe.vector.w = args.w;
    let output = args.out.clone().unwrap_or_else(|| new_folder(args.w));
    let resources = Resources::default();
    let w = format::w(args.w);

    let job = Job::begin();
    let models = open(&recipe)?;
    let triple = models.triple(0);
    // Nobody should wait for a measurement to hear that the folder is taken.
    check_output(&output, &models, &plan(&models, &recipe).map_err(MergeError::from)?)?;
    printer.text(&format!("1. The three models of {}\n\n{}", folder.display(), findings::models_text(&triple)))?;
    let found = preflight(&triple, &job.control)?;
    printer.text(&format!("\n2. Do they fit together?\n\n{}", findings::text(&found)))?;
    if !found.passes() {
        return Err(MergeError::Unfit { findings: found.findings }.into());
    }
    let analysis = measure(&triple, &found.alignment, &resources, &job.control)?;
    printer.text(&format!("\n3. The vector v = post − pre, layer by layer\n\n{}", norms_text(&analysis)))?;
    let merged = merge(&recipe, &output, &resources, &job.control)?;
    printer.text(&format!("\n4. The merged model target + {w}·v, as written\n\n{}", report::text(&merged)))?;
    printer.text("\n5. Does it answer better, and is that more than luck?\n")?;
    sweep_demo(&recipe, &folder, &output, &printer, &job)?;
    drop(job);
    printer.text(&format!("\nThe same without the demo:\n\n{}", commands(&recipe, &folder)))?;

    if args.no_window {
        return Ok(Exit::Done);
    }
    if !has_display() {
        note("\nNo display here, so no window opens");
        return Ok(Exit::Done);
    }
    let start = WindowStart { recipe: Some(recipe), report: Some(merged) };
    if let Err(error) = window(start) {
        // The job is done, and its result stands.
        note(&format!("\nThe window could not be opened: {}", mergescope_core::error::chain(error.as_ref())));
    }
    Ok(Exit::Done)
}

/// The sweep over the demo's Japanese questions, of which training saw none; half of them choose w.
fn sweep_demo(recipe: &Recipe, demo: &Path, output: &Path, printer: &Printer, job: &Job) -> anyhow::Result<()> {
    let spec = SweepSpec {
        questions: demo::questions(demo).to_string_lossy().into_owned(),
        w: SWEPT.to_vec(),
        controls: vec![ControlArm { kind: ControlKind::ShuffleSigns, seed: 0 }],
        ..SweepSpec::default()
    };
    let folder = beside(output);
    let sweep = Sweep::open(recipe, &spec, &job.control)?;
    let mut engine = EmbeddedEngine::new(EmbeddedOptions::default())?;
    let folder = files::place(Some(&folder), &spec, &open(recipe)?)?;
    let mut log = files::begin(&folder, &spec)?;
    job.hide();
    printer.text(&text::heading(&sweep, &engine.identity()))?;
    sweep::ask(&sweep, &|_| true, &mut engine, &mut log, job)?;
    let table = sweep.table(log.contents(), &engine.identity(), &[]);
    let written = files::files(&sweep, &table, &log, &engine.identity(), &folder, Theme::Auto)?;
    printer.text(&text::report(&table))?;
    printer.text(&format!("\nWritten: {}", written.join(", ")))
}

/// Where the answers go: a new folder beside the merged model.
fn beside(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{name}-sweep"))
}

/// A folder among the temporary files that does not exist yet: `mergescope-demo-w0.50`, or the same with a number.
fn new_folder(w: f64) -> PathBuf {
    // A name is for typing too: a hyphen, not a minus sign.
    let base = std::env::temp_dir().join(format!("mergescope-demo-w{}", format::w_in_name(w)));
    let numbered = (2..=u32::MAX).map(|number| PathBuf::from(format!("{}-{number}", base.display())));
    std::iter::once(base.clone()).chain(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or(base)
}

fn norms_text(analysis: &VectorAnalysis) -> String {
    let of_layer = |layer| {
        let tensors = analysis.tensors.iter().filter(|tensor| tensor.place.layer == layer);
        (layer, tensors.map(|tensor| &tensor.sums).sum::<Sums>().gram)
    };
    let layers: Vec<(Option<u32>, Gram)> = (0..analysis.layers()).map(Some).chain([None]).map(of_layer).collect();
    let longest = layers.iter().map(|(_, gram)| gram.relative_norm()).fold(0.0, f64::max);
    let mut table =
        Table::new(&[("layer", Align::Right), ("‖v‖", Align::Right), ("‖v‖ ∕ ‖pre‖", Align::Right), ("", Align::Left)]);
    for (layer, gram) in layers {
        let share = gram.relative_norm();
        table.row([
            report::layer_label(layer),
            format::norm(gram.norm()),
            format::percent(share),
            bar(share / longest, BAR_CELLS),
        ]);
    }
    table.render()
}

/// The commands that make the same model and ask the same questions, for this program as it was called.
fn commands(recipe: &Recipe, demo: &Path) -> String {
    let quoted = |path: &str| if path.contains(' ') { format!("'{path}'") } else { path.to_owned() };
    let [pre, post, target] = [&recipe.vector.pre, &recipe.vector.post, &recipe.target].map(|path| quoted(path));
    let questions = quoted(&demo::questions(demo).to_string_lossy());
    let program = std::env::args().next().unwrap_or_else(|| "mergescope".to_owned());
    let models = format!("--pre {pre} --post {post} --target {target}");
    let grid: Vec<String> = SWEPT.iter().map(f64::to_string).collect();
    format!(
        "  {program} merge {models} -w {} --out NEW_FOLDER\n  {program} sweep {models} -w {} --split 0.5 --controls shuffle-signs --questions {questions}",
        recipe.vector.w,
        grid.join(","),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_is_new_and_says_what_it_is() {
        let path = new_folder(-0.25);
        assert!(!path.exists());
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("mergescope-demo-w-0.25"), "{path:?}");
    }
}
