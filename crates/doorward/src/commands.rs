//! What the program does, one file a command.
//!
//! A command gets everything from outside as [`Surroundings`] and answers with an
//! [`Exit`]. What people asked for goes to `out`, what they should know besides to `err`.

pub mod audit;
pub mod call;
pub mod check;
pub mod completions;
pub mod debug;
pub mod doctor;
pub mod edit;
pub mod explain;
pub mod init;
pub mod keys;
pub mod layout;
pub mod manual;
pub mod policy;
pub mod selftest;
pub mod serve;
pub mod servers;
mod socket;
mod unmatched;
pub mod usage;
pub mod verify;
pub mod which;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use doorward_model::{Clock, Random};

use crate::cli::{Cli, Command};
use crate::config::{BASE_DIR, COMPAT, Config, Lint, Loaded, Variables, find};
use crate::printable::without_odd;
use crate::runtime;

/// The world as a command sees it.
pub struct Surroundings<'a> {
    /// The environment.
    pub variables: &'a Variables<'a>,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Chance.
    pub random: &'a dyn Random,
    /// Asks a question that is answered by yes or no.
    pub confirm: &'a dyn Fn(&str) -> bool,
    /// For what was asked for.
    pub out: &'a mut dyn Write,
    /// For everything else.
    pub err: &'a mut dyn Write,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// The answer is no.
    No,
    /// It was asked wrongly.
    Usage,
    /// The gateway could not be reached.
    Unreachable,
    /// A proof holds, and its verdict was not reached again.
    NotRepeated,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotRepeated => 4,
        })
    }
}

/// Runs the command that was asked for.
///
/// # Errors
/// Whatever kept it from answering, to be shown to people.
pub fn run(cli: Cli, world: Surroundings<'_>) -> anyhow::Result<Exit> {
    // An option stands before the variable of the same meaning.
    let base_dir = cli.base_dir.as_ref().map(|folder| runtime::absolute(folder).display().to_string());
    let variables = |name: &str| match name {
        COMPAT if cli.compat => Some("1".to_owned()),
        BASE_DIR if base_dir.is_some() => base_dir.clone(),
        name => (world.variables)(name),
    };
    let mut world = Surroundings {
        variables: &variables,
        clock: world.clock,
        random: world.random,
        confirm: world.confirm,
        out: &mut *world.out,
        err: &mut *world.err,
    };
    let named = cli.config.as_deref();
    match cli.command {
        None => {
            write!(world.out, "{}", Cli::command().render_long_help())?;
            Ok(Exit::Done)
        }
        Some(Command::Init(arguments)) => init::run(&arguments, named, &mut world),
        Some(Command::Check(arguments)) => check::run(&arguments, named, &mut world),
        Some(Command::Doctor(arguments)) => doctor::run(&arguments, named, &mut world),
        Some(Command::Debug(command)) => debug::run(&command, named, &mut world),
        Some(Command::Explain(arguments)) => explain::run(&arguments, &mut world),
        Some(Command::Selftest(arguments)) => selftest::run(&arguments, named, &mut world),
        Some(Command::SelftestServer(arguments)) => selftest::serve(&arguments),
        Some(Command::Keys(command)) => keys::run(&command, named, &mut world),
        Some(Command::Servers(command)) => servers::run(&command, named, &mut world),
        Some(Command::Serve(arguments)) => serve::run(&arguments, named, &mut world),
        Some(Command::Call(arguments)) => call::run(&arguments, named, &mut world),
        Some(Command::Policy(command)) => policy::run(&command, named, &mut world),
        Some(Command::Audit(command)) => audit::run(&command, named, &mut world),
        Some(Command::Verify(arguments)) => verify::run(&arguments, &mut world),
        Some(Command::Usage(arguments)) => usage::run(&arguments, named, &mut world),
        Some(Command::TrialCompile) => trial(&mut world),
        Some(Command::Completions(arguments)) => completions::run(&arguments, &mut world),
        Some(Command::Manual(arguments)) => manual::run(&arguments, &mut world),
        Some(Command::Version) => {
            writeln!(world.out, "doorward {}", env!("CARGO_PKG_VERSION"))?;
            Ok(Exit::Done)
        }
    }
}

/// What a trial compilation does in its child process: reads a Rego source from
/// standard input and compiles it, or dies of it.
fn trial(world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let source = serde_json::from_reader(std::io::stdin().lock())?;
    match doorward_policy::trial_compile(&source) {
        Ok(()) => Ok(Exit::Done),
        Err(errors) => {
            writeln!(world.err, "{}", serde_json::to_string(&errors)?)?;
            Ok(Exit::No)
        }
    }
}

/// Finds the configuration.
fn locate(named: Option<&Path>, world: &Surroundings<'_>) -> anyhow::Result<PathBuf> {
    Ok(find::find(named, Path::new(""), world.variables)?)
}

/// Finds and loads the configuration; `None` if it is not valid, and people were told why.
fn load(named: Option<&Path>, world: &mut Surroundings<'_>) -> anyhow::Result<Option<Loaded>> {
    let path = locate(named, world)?;
    match Config::load(&path, world.variables) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(lints) => {
            for lint in lints.iter().filter(|lint| lint.is_error()) {
                writeln!(world.err, "{}", located(&path, lint))?;
            }
            Ok(None)
        }
    }
}

/// `gateway.yaml:12:3: error: … [server-id]`.
fn located(path: &Path, lint: &Lint) -> String {
    let gap = if lint.line.is_some() { "" } else { " " };
    let file = lint.file.clone().unwrap_or_else(|| path.display().to_string());
    without_odd(&format!("{file}:{gap}{lint} [{}]", lint.code)).into_owned()
}
