//! `mergescope sweep`: the same questions at several w, and what the answers support.

pub mod files;
mod spec;
pub mod text;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use mergescope_core::engine::Engine;
use mergescope_core::engine::server::Delivery;
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::log::import::{self, ImportedArm};
use mergescope_core::evaluate::sweep::{ArmModel, Sweep, SweepError, SweepEvent, SweepSpec};

use super::args::SweepArgs;
use super::exit::Exit;
use super::print::{Printer, note};
use super::progress::{Job, SweepBar};
use super::server;

/// Asks what is missing, then tells what all of it comes to.
pub fn run(args: &SweepArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let mut recipe = args.models.recipe()?;
    args.method.apply(&mut recipe, false)?;
    let spec = spec::spec(args)?;
    let imported = imported(&args.import)?;
    let job = Job::begin();
    let sweep = Sweep::open(&recipe, &spec, &job.control)?;
    if args.dry_run {
        drop(job);
        printer.text(&text::plan_text(&sweep))?;
        printer.document(&text::plan_document(&sweep))?;
        return Ok(Exit::Done);
    }
    let folder = files::folder(args.out.as_deref(), &spec)?;
    let mut engine = server::engine(&args.engine, &args.server, &recipe, &folder.join("served"), &job.control)?;
    let mut log = SampleLog::open(&folder.join(files::LOG_FILE))?;
    files::write(&folder.join(files::SPEC_FILE), &toml_text(&spec)?)?;
    let identity = engine.identity();
    printer.text(&text::heading(&sweep, &identity))?;

    let only = args.only.as_deref().map(spec::grid).transpose()?;
    let as_loaded =
        args.server.server.is_some() && args.server.server_delivery.unwrap_or_default() == Delivery::AsLoaded;
    ensure!(
        !as_loaded || only.as_ref().is_some_and(|only| only.len() == 1),
        "a server as it was loaded has one w; say with --only which it is, and run again for each of the others \
         (or let --server-delivery bring it there)"
    );
    let wanted = |model: ArmModel| match (&only, model) {
        (None, _) => true,
        (Some(only), ArmModel::W(w)) => only.contains(&w),
        (Some(_), _) => false,
    };
    let result = ask(&sweep, &wanted, &mut *engine, &mut log, &job);
    drop(job);

    let table = sweep.table(log.contents(), &identity, &imported);
    let files = files::files(&sweep, &table, &log, &identity, &folder, args.theme)?;
    printer.text(&text::report(&table))?;
    printer.text(&format!("\nWritten: {}", files.join(", ")))?;
    printer.document(&files::document(&sweep, &table, &identity, &folder))?;
    if let Err(error) = result {
        note("What was answered is kept; the same command goes on from there");
        return Err(error.into());
    }
    Ok(Exit::Done)
}

/// Asks those models that are wanted for what the log does not have, with a bar.
pub fn ask(
    sweep: &Sweep,
    wanted: &dyn Fn(ArmModel) -> bool,
    engine: &mut dyn Engine,
    log: &mut SampleLog,
    job: &Job,
) -> Result<(), SweepError> {
    let bar = SweepBar::begin(job);
    sweep.run_only(wanted, engine, log, &job.control, &mut |event| match event {
        SweepEvent::Loading { model } => bar.loading(&model.label()),
        SweepEvent::Asking { model } => bar.asking(&model.label()),
        SweepEvent::Answered { progress } => bar.answered(&progress),
        SweepEvent::Done { .. } => {}
    })
}

fn imported(paths: &[PathBuf]) -> anyhow::Result<Vec<ImportedArm>> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(import::read(path)?);
    }
    Ok(all)
}

fn toml_text(spec: &SweepSpec) -> anyhow::Result<String> {
    toml::to_string_pretty(spec).context("the sweep cannot be written down")
}
