//! What a merge wrote, for people and for machines.

use std::fmt::Write as _;

use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{ChangeSums, MergeReport};
use mergescope_core::preflight::Finding;
use serde_json::{Value, json};

use super::print;
use super::table::{Align, Table};
use crate::format;

/// The report as text: a row a layer, the total, and where it is.
pub fn text(report: &MergeReport) -> String {
    // Of several vectors or a method there is no one w; the share of the intended change says the same.
    let plain = report.recipe.is_plain();
    let mut table = Table::new(&[
        ("layer", Align::Right),
        (if plain { "intended ‖w·v‖" } else { "intended change" }, Align::Right),
        ("written", Align::Right),
        (if plain { "effective w" } else { "of it written" }, Align::Right),
        ("lost updates", Align::Right),
        ("cosine", Align::Right),
    ]);
    let mut row = |name: String, change: &ChangeSums| {
        table.row([
            name,
            format::norm(change.intended()),
            format::norm(change.written()),
            format::fixed(change.effective_w(), 4),
            format::percent(change.lost_share()),
            format::fixed(change.cosine(), 6),
        ]);
    };
    for entry in report.layers() {
        row(layer_label(entry.layer), &entry.change);
    }
    let total = report.total();
    row("total".to_owned(), &total);

    let mut text = format!("{}\n", table.render());
    if total.overflowed + total.clipped > 0 {
        let _ = writeln!(
            text,
            "WARNING  {} values became infinite, {} were held at the largest value of the dtype; a wider --dtype has room",
            format::count(total.overflowed),
            format::count(total.clipped),
        );
    }
    if !report.left_out.is_empty() {
        let _ = writeln!(
            text,
            "NOTE  Not carried over, too large for a tokenizer or config: {}",
            report.left_out.iter().map(|file| print::name(file)).collect::<Vec<_>>().join(", ")
        );
    }
    let secs = report.elapsed.as_secs_f64();
    let speed = if secs > 0.0 { format::speed(report.bytes_written as f64 / secs) } else { format::NONE.to_owned() };
    let _ = writeln!(
        text,
        "Written: {} ({} of weights, {}, {speed})",
        print::line(&report.output.to_string_lossy()),
        format::bytes(report.bytes_written),
        format::duration(report.elapsed),
    );
    text
}

/// The heading of a layer's row.
pub fn layer_label(layer: Option<u32>) -> String {
    layer.map_or_else(|| "other".to_owned(), |layer| layer.to_string())
}

/// The report as JSON; `warnings` are what preflight had to say.
pub fn document(report: &MergeReport, warnings: &[Finding]) -> Value {
    let layers = report.layers();
    let layers = layers.iter().map(|entry| json!({ "layer": entry.layer, "change": change(&entry.change) }));
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
            "change": change(&tensor.change),
        })
    });
    json!({
        "output": print::path(&report.output),
        "bytes_written": report.bytes_written,
        "elapsed_secs": report.elapsed.as_secs_f64(),
        "total": change(&report.total()),
        "layers": layers.collect::<Vec<_>>(),
        "tensors": tensors.collect::<Vec<_>>(),
        "left_out": report.left_out,
        "warnings": warnings,
        "recipe": report.recipe,
    })
}

/// The numbers that follow from the sums; `null` where there is none.
fn change(change: &ChangeSums) -> Value {
    json!({
        "intended": change.intended(),
        "written": change.written(),
        "effective_w": change.effective_w(),
        "lost_share": change.lost_share(),
        "cosine": change.cosine(),
        "updates": change.updates,
        "lost": change.lost,
        "overflowed": change.overflowed,
        "clipped": change.clipped,
    })
}
