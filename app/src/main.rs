//! `mergescope`: the window, or with a subcommand the same work without one.

use std::process::ExitCode;

use mergescope::cli::{self, WindowStart};

fn main() -> ExitCode {
    cli::run(open_window)
}

/// Opens the window and returns when it is closed.
fn open_window(_start: WindowStart) -> anyhow::Result<()> {
    anyhow::bail!("this build has no window; without one: mergescope demo --no-window")
}
