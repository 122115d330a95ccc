//! `mergescope merge`: target + w·(post − pre), written.

use std::fmt::Write as _;
use std::path::Path;

use mergescope_core::merge::{
    MergeError, MergeOptions, MergeReport, Plan, Resume, check_inputs, check_output, finish_parts, merge_with, open,
    plan,
};
use mergescope_core::preflight::{Finding, Severity, preflight};
use mergescope_core::recipe::Recipe;
use mergescope_core::scaling::moving_tensors;
use serde_json::{Value, json};

use super::args::MergeArgs;
use super::exit::Exit;
use super::parts;
use super::preflight as findings;
use super::print::{self, Printer};
use super::progress::Job;
use super::report;
use crate::format;
use crate::past::{PastMerge, PastMerges};

/// Checks, merges and reports; with `--dry-run` checks and tells.
pub fn run(args: &MergeArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let recipe = recipe(args)?;
    let job = Job::begin();
    let models = open(&recipe)?;
    let plan = plan(&models, &recipe).map_err(MergeError::from)?;
    let mut warnings: Vec<Finding> = Vec::new();
    for vector in 0..models.vectors.len() {
        let triple = models.triple(vector);
        let found = preflight(&triple, &job.control)?.of_vector(vector);
        if !found.passes() {
            drop(job);
            // A script wants the findings as `preflight --json` has them; people read them in the error.
            printer.document(&findings::document(&triple, &found))?;
            return Err(MergeError::Unfit { findings: found.findings }.into());
        }
        warnings.extend(found.findings.into_iter().filter(|finding| finding.severity == Severity::Warning));
        if let Some(spec) = recipe.vectors().nth(vector) {
            let findings = spec.scaling.findings(moving_tensors(&found.alignment, &models.target));
            warnings.extend(findings.into_iter().map(|finding| finding.of_vector(vector)));
        }
    }
    // Before hours of work, not after.
    let words: String = warnings.iter().map(findings::finding_text).collect();
    if !words.is_empty() {
        printer.say(&words)?;
    }
    if args.dry_run {
        check_output(&args.out, &models, &plan)?;
        check_inputs(&recipe, &models, &job.control)?;
        drop(job);
        let free_bytes = args.out.ancestors().skip(1).find_map(|folder| {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            fs4::available_space(folder).ok()
        });
        printer.text(&plan_text(&plan, &args.out, free_bytes))?;
        printer.document(&plan_document(&plan, &recipe, &args.out, free_bytes, &warnings))?;
        return Ok(Exit::Done);
    }
    if let Some(part) = args.part {
        return parts::write(&recipe, args, part, job);
    }
    let resume = match (args.resume, args.anew) {
        (true, _) => Resume::Only,
        (_, true) => Resume::Never,
        _ => Resume::IfPossible,
    };
    let options = MergeOptions { resume, verify: args.verify.unwrap_or_default() };
    let resources = args.resources.resources();
    let report = match args.finish {
        true => finish_parts(&recipe, &args.out, options.verify, &resources, &job.control)?,
        false => merge_with(&recipe, &args.out, options, &resources, &job.control)?,
    };
    drop(job);
    if !report.was_done {
        remember(&report);
    }
    printer.text(&report::text(&report))?;
    printer.document(&report::document(&report, &warnings))?;
    Ok(Exit::Done)
}

/// Puts the merge among those of the past. That this fails is no reason to call the merge failed.
fn remember(report: &MergeReport) {
    let Some(past) = PastMerges::of_user() else { return };
    if let Err(error) = past.add(&PastMerge::new(report)) {
        print::note(&format!(
            "NOTE  The merge is not among those of the past: cannot write {}: {error}",
            past.file().display()
        ));
    }
}

/// What the flags and the recipe file say.
fn recipe(args: &MergeArgs) -> anyhow::Result<Recipe> {
    let mut recipe = args.recipe.recipe()?;
    args.method.apply(&mut recipe, args.recipe.w.is_some())?;
    if let Some(seed) = args.seed {
        recipe.output.seed = seed;
        if recipe.draws() {
            recipe.method.seed = seed;
        }
        for control in recipe.vectors_mut().filter_map(|vector| vector.control.as_mut()) {
            control.seed = seed;
        }
    }
    recipe.output.shard_bytes = args.shard_size.unwrap_or(recipe.output.shard_bytes);
    recipe.output.allow_nonfinite |= args.allow_nonfinite;
    Ok(recipe)
}

fn plan_text(plan: &Plan, output: &Path, free_bytes: Option<u64>) -> String {
    let moved = plan.tensors.iter().filter(|tensor| tensor.moving_elements > 0).count();
    let mut text = format!(
        "Would write {} of weights to {}: {} of {}, moved by the vector\n",
        format::bytes(plan.bytes()),
        print::line(&output.to_string_lossy()),
        format::count(moved as u64),
        format::plural(plan.tensors.len(), "tensor"),
    );
    for file in &plan.files.files {
        let _ = writeln!(text, "  {}  {}", file.name, format::bytes(file.bytes));
    }
    if let Some(free_bytes) = free_bytes {
        let _ = writeln!(text, "Free there: {}", format::bytes(free_bytes));
    }
    text.push_str("Nothing was written (--dry-run)\n");
    text
}

fn plan_document(plan: &Plan, recipe: &Recipe, output: &Path, free_bytes: Option<u64>, warnings: &[Finding]) -> Value {
    let files = plan.files.files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes }));
    let tensors = plan.tensors.iter().map(|tensor| {
        json!({
            "name": tensor.output.name,
            "dtype": mergescope_core::checkpoint::dtype_label(tensor.output.dtype),
            "shape": tensor.output.shape,
            "coefficient": tensor.coefficients.first(),
            "other_coefficients": tensor.coefficients.get(1..),
            "moving_elements": tensor.moving_elements,
        })
    });
    json!({
        "dry_run": true,
        "output": print::path(output),
        "bytes": plan.bytes(),
        "free_bytes": free_bytes,
        "files": files.collect::<Vec<_>>(),
        "tensors": tensors.collect::<Vec<_>>(),
        "warnings": warnings,
        "recipe": recipe,
    })
}
