//! `doorward debug`: one call looked at closely, and what the gateway writes into its log.

mod level;
mod rules;
mod shown;
mod trace;

use std::path::Path;

use super::{Exit, Surroundings};

/// What to look at.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show how one call went: its stages, what each policy said, what the server did
    Trace(trace::Arguments),
    /// Say how much the running gateway writes about one server
    Level(level::Arguments),
}

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    match command {
        Command::Trace(arguments) => trace::run(arguments, named, world),
        Command::Level(arguments) => level::run(arguments, named, world),
    }
}
