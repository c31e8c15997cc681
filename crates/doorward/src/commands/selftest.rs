//! `doorward selftest`: does this gateway keep what it promises?

use std::path::Path;

use super::layout::pad;
use super::{Exit, Surroundings, load};
use crate::config::Config;
use crate::config::find::{self, NotFound};
use crate::selftest::{self, Answer, Effort, Outcome, dummy};

const EXAMPLES: &str = "\
Examples:
  doorward selftest
  doorward selftest --calls 5000
  doorward selftest --config production.yaml --json

Starts a gateway of this program in a folder of its own, on a port that the system chooses, with a server that notes
what it receives, and puts its posture to the test over HTTP. The log and the servers of the configuration are not
touched; its policies, where there is one, are examined in a second gateway of the same kind.
Exit status: 0 nothing has failed, 1 something has, 2 wrong usage.";

/// Arguments of `doorward selftest`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// How many calls are made where many are
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    calls: u32,
    /// Print the answers as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let config = match find::find(named, Path::new(""), world.variables) {
        // Nobody named one; whoever did has policies, and they are not passed over.
        Err(NotFound::Usual) => None,
        _ => match load(named, world)? {
            Some(loaded) => Some(loaded.config),
            None => return Ok(Exit::No),
        },
    };
    let mut answers = Vec::new();
    let out = &mut *world.out;
    let mut say = |answer: Answer| {
        if !arguments.json {
            writeln!(out, "{}", line(&answer))?;
            out.flush()?;
        }
        answers.push(answer);
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(ask(config.as_ref(), Effort { calls: arguments.calls as usize }, &mut say))?;
    let count = |outcome| answers.iter().filter(|answer| answer.outcome == outcome).count();
    let (passed, failed) = (count(Outcome::Pass), count(Outcome::Fail));
    if arguments.json {
        let answer =
            serde_json::json!({"ok": failed == 0, "passed": passed, "failed": failed, "answers": answers});
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(world.out, "{passed} passed, {failed} failed")?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::No })
}

async fn ask(
    config: Option<&Config>,
    effort: Effort,
    say: &mut dyn FnMut(Answer) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    selftest::ask_all(&program, effort, say).await?;
    if let Some(config) = config {
        for answer in selftest::theirs(config, &program).await? {
            say(answer)?;
        }
    }
    Ok(())
}

/// What the child of a test does: serves as its server.
pub(super) fn serve(arguments: &dummy::Arguments) -> anyhow::Result<Exit> {
    dummy::serve(arguments, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(Exit::Done)
}

fn line(answer: &Answer) -> String {
    let Answer { question, asks, outcome, evidence } = answer;
    format!("{} {} {asks}\n{:28}{evidence}", pad(outcome.as_str(), 6), pad(question, 20), "")
}
