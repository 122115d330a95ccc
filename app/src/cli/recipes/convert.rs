//! `mergescope recipe import` and `export`: merge files of mergekit to recipes and back.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use mergescope_core::recipe::Recipe;
use mergescope_core::recipe::file::{self, FileFormat, folder_of, format_of, read_text, replace};
use mergescope_core::recipe::mergekit::{self, Exported, Imported, ModelFacts, NotCarried};

use crate::cli::args::ConvertArgs;
use crate::cli::exit::Exit;
use crate::cli::print::{self, Printer};
use crate::format;

/// A merge file as a recipe.
pub fn import(args: &ConvertArgs) -> anyhow::Result<Exit> {
    let path = &args.file;
    let text = read_text(path)?;
    anyhow::ensure!(
        format_of(path, &text) == FileFormat::Mergekit,
        "{} is no merge file of mergekit (YAML with merge_method); a recipe needs no import",
        path.display()
    );
    let known = |model: &str| facts(model, args.layers);
    let Imported { recipe, notes, not_carried } = file::import(&text, path, &known)?;
    // Models beside the recipe that is written are named from there.
    let folder = args.output.as_deref().map_or_else(|| Path::new(".").to_owned(), folder_of);
    finish(args, "a recipe", &notes, &not_carried, &recipe.to_toml_in(&folder))
}

/// A recipe as a merge file.
pub fn export(args: &ConvertArgs) -> anyhow::Result<Exit> {
    let recipe = Recipe::read(&args.file)?;
    let Exported { yaml, notes, not_carried } = mergekit::export(&recipe, &|model| facts(model, args.layers))
        .with_context(|| format!("{} cannot be written as a merge file of mergekit", args.file.display()))?;
    finish(args, "a merge file of mergekit", &notes, &not_carried, &yaml)
}

/// What is known of a model, with the number of layers that the person says where it is not at hand.
fn facts(model: &str, layers: Option<u32>) -> Option<ModelFacts> {
    mergekit::at_hand(model).or_else(|| layers.map(ModelFacts::of_layers))
}

/// Tells what was understood, refuses to lose anything unasked, and writes.
fn finish(
    args: &ConvertArgs,
    what: &str,
    notes: &[String],
    not_carried: &[NotCarried],
    text: &str,
) -> anyhow::Result<Exit> {
    let mut words = String::new();
    for note in notes {
        let _ = writeln!(words, "NOTE  {}", print::line(note));
    }
    for lost in not_carried {
        let _ = writeln!(words, "NOT CARRIED OVER  {}", print::line(&lost.to_string()));
    }
    if !words.is_empty() {
        print::note(&words);
    }
    anyhow::ensure!(
        not_carried.is_empty() || args.lossy,
        "{} has no word for {}, and nothing was written; --lossy leaves {} out",
        what,
        format::plural(not_carried.len(), "thing"),
        if not_carried.len() == 1 { "it" } else { "them" },
    );
    let printer = Printer::new(false);
    match &args.output {
        None => printer.text(text)?,
        Some(path) => {
            anyhow::ensure!(
                args.force || !path.exists(),
                "{} exists; choose another name, or say --force",
                path.display()
            );
            replace(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
            printer.text(&format!("Written: {}", print::line(&path.to_string_lossy())))?;
        }
    }
    Ok(Exit::Done)
}
