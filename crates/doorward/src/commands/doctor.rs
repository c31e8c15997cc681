//! `doorward doctor`: what is wrong here, or soon will be.

use std::path::Path;
use std::time::Duration;

use super::layout::pad;
use super::unmatched::unmatched;
use super::{Exit, Surroundings, locate};
use crate::config::Config;
use crate::config::tree::Positions;
use crate::doctor::{self, Finding, Scope, Status};
use crate::printable::without_odd;
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  doorward doctor
  doorward doctor --offline
  doorward doctor --json | jq '.checks[] | select(.status != \"ok\")'

Looks at the configuration, the log, the disk, the port, certificates, every enabled server, the token issuer, the
shared store, limits and the clock. Nothing is written, no tool is called, and a running gateway is not disturbed;
servers with a `command` are started once more for a moment. Run it as the user, and with the environment, that the
gateway has.
Exit status: 0 nothing has failed, 1 a check has failed, 2 wrong usage.";

/// Arguments of `doorward doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Look at this machine only: reach no server, no issuer and no shared store
    #[arg(long)]
    offline: bool,
    /// How long each of them may take
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let path = locate(named, world)?;
    let shown = path.display().to_string();
    let mut found = Vec::new();
    let out = &mut *world.out;
    let mut say = |finding: Finding| {
        if !arguments.json {
            writeln!(out, "{}", line(&finding))?;
            out.flush()?;
        }
        found.push(finding);
        Ok(())
    };
    match Config::load(&path, world.variables) {
        Err(lints) => {
            for finding in doctor::configuration(&shown, &lints) {
                say(finding)?;
            }
            say(doctor::without_configuration())?;
        }
        Ok(loaded) => {
            for finding in doctor::configuration(&shown, &loaded.lints) {
                say(finding)?;
            }
            let scope =
                Scope { reaches_out: !arguments.offline, within: Duration::from_secs(arguments.timeout) };
            let surroundings = runtime::Surroundings::system();
            let names = unmatched(&loaded.config).located(&Positions::default());
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(doctor::examine(&loaded.config, &surroundings, scope, &mut say))?;
            for finding in doctor::names(&names) {
                say(finding)?;
            }
        }
    }
    let count = |status| found.iter().filter(|finding| finding.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    if arguments.json {
        let answer = serde_json::json!({
            "file": shown, "ok": failed == 0, "failed": failed, "warnings": warned, "checks": found,
        });
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::No })
}

fn line(finding: &Finding) -> String {
    let Finding { check, subject, status, message, remedy } = finding;
    let subject = subject.as_ref().map(|subject| format!("{subject}: ")).unwrap_or_default();
    let remedy = remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
    let said = format!("{subject}{message}{remedy}");
    // Servers and issuers have their words in it.
    format!("{} {} {}", pad(status.as_str(), 4), pad(check, 11), without_odd(&said))
}
