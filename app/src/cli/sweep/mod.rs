//! `mergescope sweep`: the same questions at several w, and what the answers support.

pub mod files;
mod spec;
pub mod text;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use mergescope_core::alignment::Role;
use mergescope_core::engine::Engine;
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::log::import::{self, ImportedArm};
use mergescope_core::evaluate::sweep::{ArmModel, Sweep, SweepError, SweepEvent};
use mergescope_core::merge::open;

use super::args::SweepArgs;
use super::exit::{Exit, Usage};
use super::print::{self, Printer, note};
use super::progress::{Job, SweepBar};
use super::server;
use crate::evaluate::failures::Failures;
use crate::evaluate::pace::Pace;
use crate::format;

/// What asks for answers again that ended in an error.
const AGAIN: &str = "the same command";

/// Asks what is missing, then tells what all of it comes to.
pub fn run(args: &SweepArgs) -> anyhow::Result<Exit> {
    run_in_settings(args).map_err(server::error_in_flags)
}

/// The same with errors that name the engine's settings.
fn run_in_settings(args: &SweepArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let mut recipe = args.models.recipe()?;
    args.method.apply(&mut recipe, false)?;
    let spec = spec::spec(args)?;
    let only = spec::only(args, &spec)?;
    if args.server.is_as_loaded() && only.as_ref().is_none_or(|only| only.len() != 1) {
        let message = "a server as it was loaded has one w; say with --only which it is, and run again for each of the \
                       others (or let --server-delivery bring it there)";
        return Err(Usage(message.to_owned()).into());
    }
    let reach = args.server.reach();
    let wanted = |model: ArmModel| match (&only, model) {
        (None, model) => reach.has(model),
        (Some(only), ArmModel::W(w)) => only.contains(&w),
        (Some(_), _) => false,
    };
    if let Some(words) = reach.left_out(&spec) {
        note(&format!("NOTE  {words}"));
    }
    let imported = imported(&args.import)?;
    let job = Job::begin();
    let sweep = Sweep::open(&recipe, &spec, &job.control)?;
    let models = open(&recipe)?;
    let folder = files::place(args.out.as_deref(), &spec, &models)?;
    if args.server.server.is_none() {
        check_chat_template(args, &sweep, &wanted)?;
    }
    // What follows is lines of text, which a bar would run into.
    job.hide();
    if asks_the_same(&sweep) {
        note("NOTE  Every question gets the same prompt: the template has no field in it, such as {question}");
    }
    if args.dry_run {
        // Also what the flags say of an engine is checked; a server is not asked.
        let identity = match args.server.spec()? {
            Some(_) => None,
            None => Some(args.engine.embedded()?.identity()),
        };
        drop(job);
        let log = files::earlier(&folder)?;
        let pace = Pace::of(&sweep, &wanted, &log, identity.as_deref(), at_once(args));
        printer.text(&text::plan_text(&sweep, &wanted, &pace))?;
        printer.document(&text::plan_document(&sweep, &wanted, &pace))?;
        return Ok(Exit::Done);
    }
    let mut engine = server::engine(&args.engine, &args.server, &recipe, &folder.join("served"), &job.control)?;
    let mut log = files::begin(&folder, &spec)?;
    if let Some(first) = log.contents().damaged().first() {
        let lines = format::plural(log.contents().damaged_count() as usize, "line");
        note(&format!(
            "NOTE  {lines} of the log cannot be used and count as not asked; the first is line {}: {}",
            first.line,
            print::line(&first.reason)
        ));
    }
    let identity = engine.identity();
    let before = Pace::of(&sweep, &wanted, log.contents(), Some(&identity), at_once(args));
    printer.text(&format!("{}{}\n", text::heading(&sweep, &identity), before.text()))?;
    let result = ask(&sweep, &wanted, &mut *engine, &mut log, &job);
    drop(job);

    let after = Pace::of(&sweep, &wanted, log.contents(), Some(&identity), at_once(args));
    let failures = Failures::of(&sweep, &wanted, log.contents(), &identity);
    // All that was asked for came to nothing, which is a failure, whatever the folder has from before.
    let nothing_came = result.is_ok() && before.open() > 0 && after.there == before.there && failures.count() > 0;
    if nothing_came && sweep.progress(log.contents(), &identity).answered == 0 {
        bail!("no answer came; {}", failures.text(AGAIN));
    }
    let table = sweep.table(log.contents(), &identity, &imported);
    let files = files::files(&sweep, &table, &log, &identity, &folder, args.theme)?;
    printer.text(&text::report(&table))?;
    printer.text(&format!("\nWritten: {}", files.join(", ")))?;
    printer.document(&files::document(&sweep, &table, &identity, &folder))?;
    if let Err(error) = result {
        note("What was answered is kept; the same command goes on from there");
        return Err(error.into());
    }
    ensure!(!nothing_came, "no answer came this time; {}", failures.text(AGAIN));
    if failures.count() > 0 {
        note(&format!("NOTE  {}", server::in_flags(&failures.text(AGAIN))));
    }
    Ok(Exit::Done)
}

/// How many answers the engine makes at the same time.
fn at_once(args: &SweepArgs) -> usize {
    /// What engine and server settle on where nobody says.
    const BATCH: u16 = 32;
    const CONCURRENCY: u16 = 8;
    match &args.server.server {
        Some(_) => args.server.server_concurrency.unwrap_or(CONCURRENCY).into(),
        None => args.engine.batch.unwrap_or(BATCH).into(),
    }
}

/// Refuses conversations for a model that cannot have any, before all of them end in an error.
fn check_chat_template(args: &SweepArgs, sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool) -> anyhow::Result<()> {
    // All w have the target's.
    let is_asked = |role: Role| role == Role::Target || wanted(ArmModel::Reference(role));
    let Some(role) = sweep.without_chat_template().iter().find(|role| is_asked(**role)) else { return Ok(()) };
    let recipe = sweep.recipe();
    let model = match role {
        Role::Pre => &recipe.vector.pre,
        Role::Post => &recipe.vector.post,
        Role::Target => &recipe.target,
    };
    let or_else = if *role == Role::Target { "" } else { ", or leave it out with --reference" };
    let remedy = match (&args.asking.template, &args.asking.system) {
        (Some(_), _) => "add --raw, so that --template is text that the model goes on with",
        (None, Some(_)) => "put the instructions into a raw template, such as --template '…\\n{question}' --raw",
        (None, None) => "give a raw template, such as --template '{question}' --raw",
    };
    bail!("{} {model} has no chat template to put the questions into; {remedy}{or_else}", role.label())
}

/// Whether questions that differ are asked alike, as by a template without a field.
fn asks_the_same(sweep: &Sweep) -> bool {
    let prompts = sweep.arms(None).first().map(|arm| &sweep.asked(*arm).prompts);
    prompts.is_some_and(|prompts| prompts.len() > 1 && prompts.iter().all(|prompt| *prompt == prompts[0]))
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
        let found = std::fs::metadata(path).with_context(|| format!("cannot read the results {}", path.display()))?;
        // A pipe would be waited for without end.
        ensure!(found.is_file(), "cannot read the results {}: it is not a file", path.display());
        all.extend(import::read(path)?);
    }
    Ok(all)
}
