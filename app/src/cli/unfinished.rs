//! `mergescope unfinished`: what merges left that were interrupted.

use anyhow::Context as _;
use mergescope_core::merge::{Partial, partials};
use serde_json::{Value, json};

use super::args::UnfinishedArgs;
use super::exit::Exit;
use super::print::{self, Printer};
use super::table::{Align, Table};
use crate::format;

/// Lists them, or removes those that are dead.
pub fn run(args: &UnfinishedArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let found = partials(&args.folder).with_context(|| format!("cannot list {}", args.folder.display()))?;
    let document: Vec<Value> = found.iter().map(entry).collect();
    if found.is_empty() {
        printer.text("Nothing was interrupted here")?;
    } else {
        printer.text(&table(&found).render())?;
    }
    let mut removed = 0;
    if args.remove {
        for partial in found.into_iter().filter(|partial| !partial.is_alive) {
            partial.remove()?;
            removed += 1;
        }
        printer.text(&format!("Removed {}", format::plural(removed, "unfinished merge")))?;
    }
    printer.document(&json!({ "unfinished": document, "removed": removed }))?;
    Ok(Exit::Done)
}

fn table(found: &[Partial]) -> Table {
    let mut table = Table::new(&[
        ("output", Align::Left),
        ("written", Align::Right),
        ("of", Align::Right),
        ("", Align::Left),
        ("target", Align::Left),
        ("folder", Align::Left),
    ]);
    for partial in found {
        table.row([
            partial.output_name(),
            known(partial, partial.done_bytes),
            known(partial, partial.total_bytes),
            state(partial),
            partial.recipe.as_ref().map_or_else(String::new, |recipe| recipe.target.clone()),
            partial.folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        ]);
    }
    table
}

/// Bytes, where a journal tells them.
fn known(partial: &Partial, bytes: u64) -> String {
    if partial.recipe.is_some() { format::bytes(bytes) } else { format::NONE.to_owned() }
}

fn state(partial: &Partial) -> String {
    let word = match (partial.is_alive, partial.recipe.is_some()) {
        (true, _) => "under way",
        (false, true) => "interrupted",
        // Conversions, vectors and adapters keep no journal.
        (false, false) => "interrupted; cannot be gone on with",
    };
    match &partial.parts {
        None => word.to_owned(),
        Some(parts) if partial.is_alive => format!("{word}, {} of {} parts written", parts.done.len(), parts.of),
        Some(parts) => format!("{} of {} parts written", parts.done.len(), parts.of),
    }
}

fn entry(partial: &Partial) -> Value {
    json!({
        "output": partial.output_name(),
        "folder": print::path(&partial.folder),
        "under_way": partial.is_alive,
        "done_bytes": partial.done_bytes,
        "total_bytes": partial.total_bytes,
        "parts": partial.parts,
        "recipe": partial.recipe,
    })
}
