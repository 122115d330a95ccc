//! `mergescope history`: merges of the past, their recipes, and what differs between two.

use std::path::Path;

use anyhow::Context as _;
use mergescope_core::recipe::{Difference, differences};
use serde_json::{Value, json};

use super::args::{HistoryArgs, HistoryCommand};
use super::exit::Exit;
use super::print::{self, Printer};
use super::table::{Align, Table};
use crate::format;
use crate::past::{PastMerge, PastMerges};

/// Lists them, or does what the subcommand says.
pub fn run(args: &HistoryArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let past = PastMerges::of_user().context("this system names no folder for a program's data")?;
    let merges = past.load().with_context(|| format!("cannot read {}", past.file().display()))?;
    match &args.command {
        None => {
            printer.text(&list(&merges))?;
            let entries = merges.iter().enumerate();
            printer.document(&json!({ "merges": entries.map(|(at, merge)| entry(at, merge)).collect::<Vec<_>>() }))?;
        }
        Some(HistoryCommand::Show { number, out }) => {
            let merge = nth(&merges, *number)?;
            match out {
                Some(path) => write_new(path, &merge.recipe.to_toml())?,
                None => printer.text(&merge.recipe.to_toml())?,
            }
            printer.document(&entry(*number - 1, merge))?;
        }
        Some(HistoryCommand::Diff { left, right }) => {
            let found = differences(&nth(&merges, *left)?.recipe, &nth(&merges, *right)?.recipe);
            printer.text(&differences_text(&found, [*left, *right]))?;
            printer.document(&json!({ "left": left, "right": right, "differences": found }))?;
        }
        Some(HistoryCommand::Clear) => {
            past.clear().with_context(|| format!("cannot remove {}", past.file().display()))?;
            printer.text(&format!("Forgot {}; what they wrote stays\n", format::plural(merges.len(), "merge")))?;
            printer.document(&json!({ "forgotten": merges.len() }))?;
        }
    }
    Ok(Exit::Done)
}

fn nth(merges: &[PastMerge], number: usize) -> anyhow::Result<&PastMerge> {
    let found = number.checked_sub(1).and_then(|at| merges.get(at));
    found.with_context(|| format!("there is no merge {number}; `mergescope history` lists {}", merges.len()))
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("cannot write {}; nothing that exists is overwritten", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn list(merges: &[PastMerge]) -> String {
    if merges.is_empty() {
        return "No merge was made yet\n".to_owned();
    }
    let mut table = Table::new(&[
        ("", Align::Right),
        ("ended", Align::Left),
        ("method", Align::Left),
        ("w", Align::Right),
        ("written to", Align::Left),
    ]);
    for (at, merge) in merges.iter().enumerate() {
        let gone = if merge.is_there() { "" } else { " (gone)" };
        table.row([
            (at + 1).to_string(),
            merge.ended(),
            merge.recipe.method.name.label().to_owned(),
            format::w(merge.recipe.vector.w),
            format!("{}{gone}", print::line(&merge.output.to_string_lossy())),
        ]);
    }
    table.render()
}

fn differences_text(found: &[Difference], [left, right]: [usize; 2]) -> String {
    if found.is_empty() {
        return format!("The recipes of {left} and {right} are the same\n");
    }
    let (left, right) = (left.to_string(), right.to_string());
    let mut table = Table::new(&[("", Align::Left), (left.as_str(), Align::Left), (right.as_str(), Align::Left)]);
    for Difference { key, left, right } in found {
        let shown = |value: &Option<String>| value.as_deref().map_or(format::NONE.to_owned(), print::line);
        table.row([print::line(key), shown(left), shown(right)]);
    }
    table.render()
}

fn entry(at: usize, merge: &PastMerge) -> Value {
    json!({
        "number": at + 1,
        "ended_unix_secs": merge.ended_unix_secs,
        "output": print::path(&merge.output),
        "is_there": merge.is_there(),
        "bytes_written": merge.bytes_written,
        "elapsed_secs": merge.elapsed_secs,
        "effective_w": merge.recipe.is_plain().then(|| merge.total.effective_w()),
        "lost_share": merge.total.lost_share(),
        "cosine": merge.total.cosine(),
        "recipe": merge.recipe,
    })
}
