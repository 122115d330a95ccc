//! What a merge wrote, for people and for machines.

use std::fmt::Write as _;

use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{ChangeSums, MergeReport, REPORT_FILE, TensorReport, Verify};
use mergescope_core::preflight::Finding;
use mergescope_core::scaling::Spread;
use serde_json::{Value, json};

use super::print;
use super::table::{Align, Table};
use crate::format;

/// The report as text: a row a layer, the total, and where it is.
pub fn text(report: &MergeReport) -> String {
    // Of several vectors or a method there is no one w; the share of the intended change says the same.
    let plain = report.recipe.is_plain();
    let asked = report.asked();
    // One w for all of it is no column.
    let is_spread = asked.is_some_and(|asked| asked.differs());
    let intended = if plain { "intended ‖w·v‖" } else { "intended change" };
    let mut columns = vec![("layer", Align::Right), (intended, Align::Right), ("written", Align::Right)];
    columns.extend(is_spread.then_some(("w asked for", Align::Right)));
    let effective = if plain { "effective w" } else { "of it written" };
    columns.extend([(effective, Align::Right), ("lost updates", Align::Right), ("cosine", Align::Right)]);
    let mut table = Table::new(&columns);
    let mut row = |name: String, change: &ChangeSums, asked: Option<Spread>| {
        let mut cells = vec![name, format::norm(change.intended()), format::norm(change.written())];
        let mean = || asked.map_or_else(|| format::NONE.to_owned(), |asked| format::fixed(asked.mean, 4));
        cells.extend(is_spread.then(mean));
        cells.push(format::fixed(change.effective_w(), 4));
        cells.push(format::percent(change.lost_share()));
        cells.push(format::fixed(change.cosine(), 6));
        table.row(cells);
    };
    for entry in report.layers() {
        row(layer_label(entry.layer), &entry.change, entry.asked);
    }
    let total = report.total();
    row("total".to_owned(), &total, asked);

    let mut text = format!("{}\n", table.render());
    if total.overflowed + total.clipped > 0 {
        let _ = writeln!(
            text,
            "WARNING  {} values became infinite, {} were held at the largest value of the dtype; a wider --dtype has room",
            format::count(total.overflowed),
            format::count(total.clipped),
        );
    }
    if let Some(asked) = asked.filter(Spread::differs) {
        let _ = writeln!(
            text,
            "w = {} came to {} to {} from tensor to tensor; what was asked for is their mean, weighted by ‖v‖²",
            format::w(report.recipe.vector.w),
            format::significant(asked.least.into()),
            format::significant(asked.most.into()),
        );
    }
    if !report.left_out.is_empty() {
        let _ = writeln!(
            text,
            "NOTE  Not carried over, too large for a tokenizer or config: {}",
            report.left_out.iter().map(|file| print::name(file)).collect::<Vec<_>>().join(", ")
        );
    }
    if report.was_done {
        let output = print::line(&report.output.to_string_lossy());
        let _ = writeln!(
            text,
            "{output} was written already, by this very merge. There was nothing to do; its files were not read again"
        );
        return text;
    }
    let secs = report.elapsed.as_secs_f64();
    // Of a merge that was interrupted the time is that of its end alone.
    let is_known = secs > 0.0 && report.resumed_bytes == 0;
    let speed =
        if is_known { format!(", {}", format::speed(report.bytes_written as f64 / secs)) } else { String::new() };
    let _ = writeln!(
        text,
        "Written: {} ({} of weights, {}{speed})",
        print::line(&report.output.to_string_lossy()),
        format::bytes(report.bytes_written),
        format::duration(report.elapsed),
    );
    text.push_str(&match report.verified {
        Verify::None => {
            format!("Nothing was read back (--verify none); BLAKE3 of each file as it was meant in {REPORT_FILE}\n")
        }
        Verify::Memory => read_back("", report.files.len(), REPORT_FILE),
        Verify::Disk => read_back(" from the disk", report.files.len(), REPORT_FILE),
    });
    if report.resumed_bytes > 0 {
        let there = format::bytes(report.resumed_bytes);
        let _ = writeln!(text, "Of these, {there} were there already, from a run that was interrupted");
    }
    text
}

/// That so many files were read back, and where their hashes are.
pub fn read_back(from: &str, files: usize, hashes: &str) -> String {
    let files = format::plural(files, "file");
    format!("Read back{from}: {files}, as they were meant; BLAKE3 of each in {hashes}\n")
}

/// The heading of a layer's row.
pub fn layer_label(layer: Option<u32>) -> String {
    layer.map_or_else(|| "other".to_owned(), |layer| layer.to_string())
}

/// The report as JSON; `warnings` are what preflight had to say.
pub fn document(report: &MergeReport, warnings: &[Finding]) -> Value {
    let layers = report.layers();
    let layers =
        layers.iter().map(|entry| json!({ "layer": entry.layer, "change": change(&entry.change, entry.asked) }));
    let plain = report.recipe.is_plain();
    let asked_of =
        |tensor: &TensorReport| plain.then(|| Spread::of([(tensor.coefficient, tensor.change.vector_sq)])).flatten();
    let tensors = report.tensors.iter().map(|tensor| {
        json!({
            "name": tensor.name,
            "layer": tensor.place.layer,
            "part": tensor.place.part,
            "expert": tensor.place.expert,
            "dtype": dtype_label(tensor.dtype),
            "shape": tensor.shape,
            "coefficient": tensor.coefficient,
            "other_coefficients": tensor.other_coefficients,
            "change": change(&tensor.change, asked_of(tensor)),
        })
    });
    json!({
        "output": print::path(&report.output),
        "bytes_written": report.bytes_written,
        "was_done": report.was_done,
        "resumed_bytes": report.resumed_bytes,
        "elapsed_secs": report.elapsed.as_secs_f64(),
        "total": change(&report.total(), report.asked()),
        "layers": layers.collect::<Vec<_>>(),
        "tensors": tensors.collect::<Vec<_>>(),
        "files": report.files,
        "verified": report.verified,
        "left_out": report.left_out,
        "warnings": warnings,
        "recipe": report.recipe,
    })
}

/// The numbers that follow from the sums; `null` where there is none.
fn change(change: &ChangeSums, asked: Option<Spread>) -> Value {
    json!({
        "intended": change.intended(),
        "written": change.written(),
        "asked_w": asked.map(|asked| asked.mean),
        "effective_w": change.effective_w(),
        "lost_share": change.lost_share(),
        "cosine": change.cosine(),
        "updates": change.updates,
        "lost": change.lost,
        "overflowed": change.overflowed,
        "clipped": change.clipped,
    })
}
