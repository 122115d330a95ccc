//! The folder of a sweep: its choices, its answers, and what they come to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use mergescope_core::alignment::Models;
use mergescope_core::evaluate::log::{Contents, SampleLog};
use mergescope_core::evaluate::questions::QuestionFile;
use mergescope_core::evaluate::sweep::{Sweep, SweepSpec, SweepTable};
use serde_json::{Value, json};

use crate::cli::{outside, print};
use crate::evaluate::{chart, page, tables, words};
use crate::report::svg::Theme;

/// The answers.
const LOG_FILE: &str = "samples.jsonl";
/// The choices.
const SPEC_FILE: &str = "sweep.toml";

/// The folder of the sweep: new, empty, or one of an earlier sweep of the same questions, and in none of the models. Nothing is
/// made.
pub fn place(given: Option<&Path>, spec: &SweepSpec, models: &Models) -> anyhow::Result<PathBuf> {
    let folder = match given {
        Some(folder) => folder.to_owned(),
        None => {
            let stem = Path::new(&spec.questions).file_stem().unwrap_or_default().to_string_lossy();
            PathBuf::from(format!("sweep-{stem}"))
        }
    };
    let models: Vec<_> =
        models.ids().map(|model| (format!("the model {model}"), models.get(model).root().to_owned())).collect();
    outside::real(&folder, &models)?;
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
    check_questions(&folder, spec)?;
    Ok(folder)
}

/// Refuses a folder that belongs to other questions: its tables would be replaced by those of these.
fn check_questions(folder: &Path, spec: &SweepSpec) -> anyhow::Result<()> {
    let path = folder.join(SPEC_FILE);
    // Without choices that can be read, nothing is known of earlier questions.
    let earlier = fs::read_to_string(&path).ok().and_then(|text| toml::from_str::<SweepSpec>(&text).ok());
    let Some(earlier) = earlier.filter(|earlier| !is_same_file(&earlier.questions, &spec.questions)) else {
        return Ok(());
    };
    bail!(
        "{} names other questions, {}, than {}; choose another folder with --out",
        path.display(),
        earlier.questions,
        spec.questions,
    )
}

/// Whether both are one file, or hold the same. Of one that is not there any more, its name is all there is to go by.
fn is_same_file(earlier: &str, now: &str) -> bool {
    let (earlier, now) = (Path::new(earlier), Path::new(now));
    if earlier == now {
        return true;
    }
    match (earlier.canonicalize(), now.canonicalize()) {
        (Ok(earlier), Ok(now)) if earlier == now => true,
        (Ok(earlier), Ok(now)) => {
            let content = |path: &Path| QuestionFile::read(path).ok().map(|file| file.fingerprint);
            content(&earlier).is_some_and(|earlier| content(&now) == Some(earlier))
        }
        _ => earlier.file_name() == now.file_name(),
    }
}

/// The answers that the folder has, for looking at; none where there is no folder yet.
pub fn earlier(folder: &Path) -> anyhow::Result<Contents> {
    let path = folder.join(LOG_FILE);
    if path.exists() { Ok(SampleLog::read(&path)?) } else { Ok(Contents::default()) }
}

/// Makes the folder, writes the choices down and opens the log.
pub fn begin(folder: &Path, spec: &SweepSpec) -> anyhow::Result<SampleLog> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // First the log, which nobody else may be writing to.
    let log = SampleLog::open(&folder.join(LOG_FILE))?;
    let text = toml::to_string_pretty(spec).context("the sweep cannot be written down")?;
    write(&folder.join(SPEC_FILE), &text)?;
    Ok(log)
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
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
    let mut paths = [LOG_FILE, SPEC_FILE].map(|name| folder.join(name).display().to_string()).to_vec();
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
