//! The doorward program: hands the real world to the command that was asked for.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::process::ExitCode;

use clap::Parser;
use doorward::cli::{Cli, Command};
use doorward::commands::{Exit, Surroundings, run};
use doorward::explain::code_of;
use doorward::init;
use doorward::system::{self, SystemClock, SystemRandom};

/// The system's allocator costs a governed call about a tenth more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = system::keep_memory_private() {
        let _ = writeln!(stderr(), "core dumps cannot be switched off: {error}");
        return Exit::No.into();
    }
    if init::is_first() && matches!(cli.command, Some(Command::Serve(_))) {
        return init::run_worker().unwrap_or_else(|error| {
            let _ = writeln!(stderr(), "the gateway cannot be started: {error}");
            Exit::No.into()
        });
    }
    let surroundings = Surroundings {
        variables: &variable,
        clock: &SystemClock::default(),
        random: &SystemRandom,
        confirm: &confirm,
        out: &mut stdout(),
        err: &mut stderr(),
    };
    match run(cli, surroundings) {
        Ok(exit) => exit.into(),
        // `doorward … | head` is no failure of ours.
        Err(error) if is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            // There is nobody left to tell if this fails, too.
            let code = code_of(&error).map(|code| format!(" [{code}]")).unwrap_or_default();
            let _ = writeln!(stderr(), "{error:#}{code}");
            Exit::No.into()
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Asks on the terminal. Where nobody can answer, whoever wrote the script has.
fn confirm(question: &str) -> bool {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return true;
    }
    let mut answer = String::new();
    let asked = write!(stderr(), "{question} [Y/n] ").and_then(|()| stdin().read_line(&mut answer));
    asked.is_ok_and(|length| length > 0) && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
