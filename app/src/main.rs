//! `mergescope`: the window, or with a subcommand the same work without one.

use std::process::ExitCode;

use mergescope::cli::{self, WindowStart};
use mergescope::{demo, window};

fn main() -> ExitCode {
    cli::run(open_window)
}

/// Opens the window and returns when it is closed.
fn open_window(start: WindowStart) -> anyhow::Result<()> {
    let WindowStart { recipe, report } = start;
    Ok(window::run(window::Options { recipe, report, demo: demo::folder() })?)
}
