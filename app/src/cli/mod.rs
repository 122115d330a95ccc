//! The command line: arguments to recipes, results to text or JSON, errors to words and exit codes.

mod analyze;
mod args;
mod bench;
mod convert;
mod demo;
mod download;
mod engine;
mod exit;
mod history;
mod inspect;
mod lora;
mod merge;
mod outside;
mod parts;
mod preflight;
mod print;
mod progress;
mod recipe;
mod recipes;
mod report;
mod save_vector;
mod server;
mod size;
mod sweep;
mod table;
mod try_prompt;
mod unfinished;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use mergescope_core::error::chain;
use mergescope_core::merge::MergeReport;
use mergescope_core::recipe::Recipe;

use args::{Cli, Command};
use exit::Exit;

/// What the window shows when it opens.
#[derive(Debug, Default)]
pub struct WindowStart {
    /// The recipe; otherwise the last one, otherwise the demo's.
    pub recipe: Option<Recipe>,
    /// A merge that was just made.
    pub report: Option<MergeReport>,
}

/// What to do about the first argument that is no UTF-8, which clap does not name.
fn not_utf8() -> Option<String> {
    let argument = std::env::args_os().find(|argument| argument.to_str().is_none())?;
    let argument = argument.to_string_lossy();
    Some(format!(
        "{argument} is not UTF-8, in which recipes and reports name models and files; rename it, or name it by way of a link"
    ))
}

/// Reads the arguments and does what they say. `window` opens the window and returns when it is closed.
pub fn run(window: impl FnOnce(WindowStart) -> anyhow::Result<()>) -> ExitCode {
    #[cfg(unix)]
    survive_file_limits();
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let Some(argument) = not_utf8().filter(|_| error.kind() == ErrorKind::InvalidUtf8) else { error.exit() };
            print::note(&format!("error: {}", print::error_line(&argument)));
            return ExitCode::from(Exit::WrongUsage.code());
        }
    };
    let result = match command {
        None => open(window),
        Some(Command::Demo(args)) => demo::run(&args, window),
        Some(Command::Download(args)) => download::run(&args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Preflight(args)) => preflight::run(&args),
        Some(Command::Analyze(args)) => analyze::run(&args),
        Some(Command::Merge(args)) => merge::run(&args),
        Some(Command::Sweep(args)) => sweep::run(&args),
        Some(Command::Try(args)) => try_prompt::run(&args),
        Some(Command::SaveVector(args)) => save_vector::run(&args),
        Some(Command::History(args)) => history::run(&args),
        Some(Command::Recipe(command)) => recipes::run(&command),
        Some(Command::Convert(args)) => convert::run(&args),
        Some(Command::Lora(args)) => lora::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Unfinished(args)) => unfinished::run(&args),
    };
    let exit = result.unwrap_or_else(|error| {
        print::note(&format!("error: {}", print::error_line(&chain(error.as_ref()))));
        Exit::of(&error)
    });
    exit.into()
}

/// Has a write beyond the size that a file may have fail, as on a full disk, instead of ending the process without a word.
#[cfg(unix)]
fn survive_file_limits() {
    // A handler that only remembers; where it cannot be set, the process ends as it would without.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
}

fn open(window: impl FnOnce(WindowStart) -> anyhow::Result<()>) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        has_display(),
        "there is no display to open a window on; without one, use `mergescope merge` (see `mergescope --help`)"
    );
    window(WindowStart::default())?;
    Ok(Exit::Done)
}

/// Whether a window can be expected to open. Windows and macOS do not say.
fn has_display() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(all(unix, not(target_os = "macos"))) || set("DISPLAY") || set("WAYLAND_DISPLAY")
}
