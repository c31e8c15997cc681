//! The manual pages, one a command, made of what `--help` says. For those who package.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Exit, Surroundings};
use crate::cli::Cli;

/// Arguments of `doorward manual`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  doorward manual /usr/local/share/man/man1")]
pub struct Arguments {
    /// The folder to write them to; made where it does not exist
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&arguments.folder)?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &arguments.folder)?;
    writeln!(world.out, "{}", arguments.folder.join("doorward.1").display())?;
    Ok(Exit::Done)
}
