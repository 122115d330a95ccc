//! `mergescope recipe`: recipes as files, without merging anything.

mod check;
mod convert;

use super::args::RecipeCommand;
use super::exit::Exit;

/// Does what the subcommand says.
pub fn run(command: &RecipeCommand) -> anyhow::Result<Exit> {
    match command {
        RecipeCommand::Check(args) => check::run(args),
        RecipeCommand::Import(args) => convert::import(args),
        RecipeCommand::Export(args) => convert::export(args),
    }
}
