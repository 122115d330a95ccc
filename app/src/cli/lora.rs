//! `mergescope lora`: w·v as a low-rank adapter, written.

use std::fmt::Write as _;
use std::path::Path;

use mergescope_core::adapter::{
    ADAPTER_REPORT_FILE, AdapterPart, AdapterPlan, AdapterReport, AdapterSpec, Content, Fate, Kept, check_output,
    export, plan,
};
use mergescope_core::alignment::{Models, Triple};
use mergescope_core::merge::{MergeError, check_inputs};
use mergescope_core::preflight::{Finding, Severity, preflight};
use mergescope_core::recipe::Recipe;
use serde_json::{Value, json};

use super::args::LoraArgs;
use super::exit::Exit;
use super::preflight as findings;
use super::print::{self, Printer};
use super::progress::Job;
use super::report::{layer_label, read_back};
use super::table::{Align, Table};
use crate::format;

/// Checks, decomposes, writes and reports; with `--dry-run` checks and tells.
pub fn run(args: &LoraArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let recipe = recipe(args)?;
    let job = Job::begin();
    let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
    let found = preflight(&triple, &job.control)?;
    if !found.passes() {
        drop(job);
        // A script wants the findings as `preflight --json` has them; people read them in the error.
        printer.document(&findings::document(&triple, &found))?;
        return Err(MergeError::Unfit { findings: found.findings }.into());
    }
    let warnings: Vec<Finding> =
        found.findings.into_iter().filter(|finding| finding.severity == Severity::Warning).collect();
    let words: String = warnings.iter().map(findings::finding_text).collect();
    if !words.is_empty() {
        printer.say(&words)?;
    }
    if args.dry_run {
        let plan = plan(&triple, &recipe)?;
        let most_bytes = check_output(&args.out, &triple, &recipe, &plan)?;
        check_inputs(&recipe, &Models::from(&triple), &job.control)?;
        drop(job);
        printer.text(&plan_text(&plan, &args.out, most_bytes))?;
        printer.document(&plan_document(&plan, &recipe, &args.out, most_bytes, &warnings))?;
        return Ok(Exit::Done);
    }
    let report = export(&recipe, &args.out, &args.resources.resources(), &job.control)?;
    drop(job);
    printer.text(&text(&report))?;
    let mut document = report.document();
    document["warnings"] = json!(warnings);
    printer.document(&document)?;
    Ok(Exit::Done)
}

/// What the flags and the recipe file say.
fn recipe(args: &LoraArgs) -> anyhow::Result<Recipe> {
    let mut recipe = args.recipe.recipe()?;
    recipe.output.allow_nonfinite |= args.allow_nonfinite;
    let given = recipe.adapter.take().unwrap_or_default();
    let energy = match args.energy {
        Some(energy) => Some(energy),
        // A rank alone asks for that rank, whatever a recipe says of energy.
        None if args.rank.is_some() => None,
        None => given.energy,
    };
    recipe.adapter = Some(AdapterSpec {
        rank: args.rank.unwrap_or(given.rank),
        energy,
        ranks: args.ranks.unwrap_or(given.ranks),
        content: if args.vector_alone { Content::Vector } else { given.content },
        parts: if args.parts.is_empty() { given.parts } else { parts(&args.parts) },
    });
    Ok(recipe)
}

/// Each part once, in one order.
fn parts(given: &[AdapterPart]) -> Vec<AdapterPart> {
    AdapterPart::ALL.into_iter().filter(|part| given.contains(part)).collect()
}

/// The report as text: a row a layer and a part, what is left out, and where it is.
fn text(report: &AdapterReport) -> String {
    let total = report.total();
    let mut text = String::new();
    let columns = |first| {
        Table::new(&[
            (first, Align::Right),
            ("tensors", Align::Right),
            ("ranks", Align::Right),
            ("‖w·v‖", Align::Right),
            ("of all ‖w·v‖²", Align::Right),
            ("kept", Align::Right),
        ])
    };
    let row = |table: &mut Table, name: String, ranks: String, kept: &Kept| {
        table.row([
            name,
            format::count(kept.tensors),
            ranks,
            format::norm(kept.energy.sqrt()),
            format::percent(kept.energy / total.energy),
            percent(kept.share()),
        ]);
    };
    let mut layers = columns("layer");
    for (layer, kept) in report.layers() {
        row(&mut layers, layer_label(layer), ranks(report, |place| place.layer == layer), &kept);
    }
    row(&mut layers, "total".to_owned(), ranks(report, |_| true), &total);
    let mut parts = columns("part");
    for (part, kept) in report.parts() {
        row(&mut parts, part.to_string(), ranks(report, |place| place.part == part), &kept);
    }
    let _ = writeln!(text, "{}\n{}", layers.render(), parts.render());

    let omissions = report.omissions();
    if !omissions.is_empty() {
        let _ = writeln!(text, "Left out, {} of all ‖w·v‖²:", format::percent(total.left_out / total.energy));
        let mut table = Table::new(&[
            ("part", Align::Left),
            ("tensors", Align::Right),
            ("of all ‖w·v‖²", Align::Right),
            ("why", Align::Left),
        ]);
        for (reason, part, count, energy) in omissions {
            let share = format::percent(energy / total.energy);
            table.row([part.to_string(), format::count(count), share, reason.label().to_owned()]);
        }
        let _ = writeln!(text, "{}", table.render());
    }
    let nonfinite: u64 = report.tensors.iter().map(|tensor| tensor.nonfinite).sum();
    if nonfinite > 0 {
        let _ =
            writeln!(text, "WARNING  {} elements are NaN or infinite and were taken as 0", format::count(nonfinite));
    }
    if let Some(warning) = report.warning() {
        let _ = writeln!(text, "WARNING  {warning}");
    }
    let _ = writeln!(
        text,
        "Kept: {} of the energy of the tensors in it, {} of all that v moves",
        percent(total.of_those_in_it().share()),
        percent(total.share()),
    );
    let _ = writeln!(
        text,
        "Written: {} (r = {}, {}, {})",
        print::line(&report.output.to_string_lossy()),
        report.rank,
        format::bytes(report.bytes_written),
        format::duration(report.elapsed),
    );
    text.push_str(&read_back("", report.files.len(), ADAPTER_REPORT_FILE));
    text
}

/// The ranks of some tensors, from the lowest to the highest.
fn ranks(report: &AdapterReport, takes: impl Fn(mergescope_core::layout::Place) -> bool) -> String {
    let ranks = || report.tensors.iter().filter(|tensor| takes(tensor.place)).filter_map(|tensor| tensor.rank());
    match (ranks().min(), ranks().max()) {
        (Some(low), Some(high)) if low < high => format!("{low}–{high}"),
        (Some(rank), _) => rank.to_string(),
        _ => format::NONE.to_owned(),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| format::NONE.to_owned(), format::percent)
}

fn plan_text(plan: &AdapterPlan, output: &Path, most_bytes: u64) -> String {
    let mut text = format!(
        "Would write an adapter of at most {} to {}: factors of {}, {} whole\n",
        format::bytes(most_bytes),
        print::line(&output.to_string_lossy()),
        format::plural(plan.factored().count(), "tensor"),
        format::count(plan.copied() as u64),
    );
    for (reason, part, count) in plan.omissions() {
        let _ = writeln!(text, "  Left out: {} {part}, {}", format::count(count), reason.label());
    }
    text.push_str("Nothing was written (--dry-run)\n");
    text
}

fn plan_document(plan: &AdapterPlan, recipe: &Recipe, output: &Path, most_bytes: u64, warnings: &[Finding]) -> Value {
    let tensors = plan.tensors.iter().map(|tensor| {
        let (module, reason) = match &tensor.fate {
            Fate::Factored { module, .. } | Fate::Copied { module, .. } => (Some(module), None),
            Fate::LeftOut(reason) => (None, Some(reason)),
        };
        json!({
            "name": tensor.name,
            "module": module,
            "whole": matches!(tensor.fate, Fate::Copied { .. }),
            "coefficient": tensor.coefficient,
            "left_out": reason,
        })
    });
    json!({
        "dry_run": true,
        "output": print::path(output),
        "most_bytes": most_bytes,
        "tensors": tensors.collect::<Vec<_>>(),
        "warnings": warnings,
        "recipe": recipe,
    })
}
