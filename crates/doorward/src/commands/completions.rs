//! `doorward completions`: a script for the shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Exit, Surroundings};
use crate::cli::Cli;

const EXAMPLES: &str = "\
Examples:
  doorward completions bash > ~/.local/share/bash-completion/completions/doorward
  doorward completions zsh > ~/.zfunc/_doorward";

/// Arguments of `doorward completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "doorward", &mut script);
    world.out.write_all(&script)?;
    Ok(Exit::Done)
}
