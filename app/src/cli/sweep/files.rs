//! The folder of a sweep: its choices, its answers, and what they come to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::sweep::{Sweep, SweepSpec, SweepTable};
use serde_json::{Value, json};

use crate::cli::print;
use crate::evaluate::{chart, page, tables, words};
use crate::report::svg::Theme;

/// The answers.
pub const LOG_FILE: &str = "samples.jsonl";
/// The choices.
pub const SPEC_FILE: &str = "sweep.toml";

/// The folder of the sweep, made: new, empty, or one of an earlier sweep.
pub fn folder(given: Option<&Path>, spec: &SweepSpec) -> anyhow::Result<PathBuf> {
    let folder = match given {
        Some(folder) => folder.to_owned(),
        None => {
            let stem = Path::new(&spec.questions).file_stem().unwrap_or_default().to_string_lossy();
            PathBuf::from(format!("sweep-{stem}"))
        }
    };
    if folder.exists() && !folder.join(LOG_FILE).exists() {
        ensure!(folder.is_dir(), "{} exists and is not a folder; choose another with --out", folder.display());
        let mut entries =
            fs::read_dir(&folder).with_context(|| format!("{} cannot be looked into", folder.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} exists and holds no sweep ({LOG_FILE}); choose a new folder with --out",
            folder.display()
        );
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    // Whole or not at all: a reader never sees half of it.
    let staging = path.with_extension("part");
    fs::write(&staging, text)
        .and_then(|()| fs::rename(&staging, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Writes what the answers come to beside them; gives the paths.
pub fn files(
    sweep: &Sweep,
    table: &SweepTable,
    log: &SampleLog,
    engine: &str,
    folder: &Path,
    theme: Theme,
) -> anyhow::Result<Vec<String>> {
    let document = format!("{:#}\n", document(sweep, table, engine, folder));
    let contents = log.contents();
    let written = [
        ("sweep.svg", chart::sweep(table).to_svg(theme)),
        ("sweep.csv", tables::arms(table).to_csv()),
        ("questions.csv", tables::matrix(sweep, table, contents, engine).to_csv()),
        ("report.html", page::page(sweep, table, contents, engine, theme)),
        ("sweep.json", document),
    ];
    let mut paths = vec![folder.join(LOG_FILE).display().to_string()];
    for (name, text) in written {
        let path = folder.join(name);
        write(&path, &text)?;
        paths.push(path.display().to_string());
    }
    Ok(paths)
}

/// All of it for machines.
pub fn document(sweep: &Sweep, table: &SweepTable, engine: &str, folder: &Path) -> Value {
    let sentences: Vec<String> = words::conclusion(table).iter().map(words::Sentence::text).collect();
    json!({
        "folder": print::path(folder),
        "engine": engine,
        "max_tokens": sweep.max_tokens(),
        "sampling": sweep.spec().sampling,
        "table": table,
        "conclusion": sentences,
        "spec": sweep.spec(),
        "recipe": sweep.recipe(),
    })
}
