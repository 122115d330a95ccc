//! `mergescope merge --part`: some of the weight files of a merge that many machines share.

use mergescope_core::merge::{Part, PartReport, merge_part};
use mergescope_core::recipe::Recipe;
use serde_json::{Value, json};

use super::args::MergeArgs;
use super::exit::Exit;
use super::print::{self, Printer};
use super::progress::Job;
use crate::format;

/// Writes one part and says what there is of the others.
pub fn write(recipe: &Recipe, args: &MergeArgs, part: Part, job: Job) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let resources = args.resources.resources();
    let report = merge_part(recipe, &args.out, part, args.anew, &resources, &job.control)?;
    drop(job);
    printer.text(&text(&report))?;
    printer.document(&document(&report))?;
    Ok(Exit::Done)
}

fn text(report: &PartReport) -> String {
    let PartReport { part, .. } = report;
    let output = print::line(&report.output.to_string_lossy());
    let files = format!(
        "{} of {}, {}",
        format::count(report.files.len() as u64),
        format::plural(report.files_in_all, "weight file"),
        format::bytes(report.bytes_written)
    );
    let mut text = if report.was_done {
        format!("Part {part} of {output} was written already: {files}. There was nothing to do\n")
    } else if report.files.is_empty() {
        let are = format::plural(report.files_in_all, "weight file");
        format!("Part {part} of {output} has no weight file: there are fewer of them ({are}) than parts\n")
    } else {
        format!("Part {part} of {output} is written: {files}, {}\n", format::duration(report.elapsed))
    };
    if report.resumed_bytes > 0 && !report.was_done {
        let there = format::bytes(report.resumed_bytes);
        text += &format!("Of these, {there} were there already, from a run that was interrupted\n");
    }
    text += &match report.missing.len() {
        0 if report.is_finished => "All parts were put together before".to_owned(),
        0 => "All parts are written: run the same command with --finish in the place of --part".to_owned(),
        count => format!(
            "Not written yet: {} of {}",
            format::count(count as u64),
            format::plural(part.of() as usize, "part")
        ),
    };
    text
}

fn document(report: &PartReport) -> Value {
    json!({
        "part": report.part.number(),
        "of": report.part.of(),
        "output": print::path(&report.output),
        "files": report.files,
        "files_in_all": report.files_in_all,
        "bytes_written": report.bytes_written,
        "resumed_bytes": report.resumed_bytes,
        "was_done": report.was_done,
        "missing": report.missing,
        "elapsed_secs": report.elapsed.as_secs_f64(),
    })
}
