//! `doorward audit events`: what the log has besides calls, newest first.

use doorward_ledger::events;
use doorward_model::Timestamp;
use serde_json::Value;

use super::select::Period;
use crate::commands::layout::pad;
use crate::commands::{Exit, Surroundings};
use crate::config::Config;
use crate::printable::printable;

const EXAMPLES: &str = "\
Examples:
  doorward audit events
  doorward audit events --event refused --last 24h
  doorward audit events --event reloaded --json

A line has the time, what happened, the address, the reason, and more about it. For a refused key that is why it was
refused, and its id where the configuration knows it: `key_disabled: ana`.";

/// Arguments of `audit events`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What happened: started, stopped, reloaded, refused, recovered, …; repeat for several
    #[arg(long)]
    event: Vec<String>,
    #[command(flatten)]
    period: Period,
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let (from, to) = arguments.period.bounds(world.clock.now());
    let is_wanted = |event: &Value| {
        let time = event["time"].as_str().and_then(|time| Timestamp::parse(time).ok()).unwrap_or_default();
        let is_named = |name: &String| event["event"] == name.as_str();
        from.is_none_or(|from| from <= time)
            && to.is_none_or(|to| time < to)
            && (arguments.event.is_empty() || arguments.event.iter().any(is_named))
    };
    let found = events(&config.audit.dir, arguments.limit, is_wanted)?;
    if arguments.json {
        writeln!(world.out, "{}", serde_json::to_string_pretty(&found)?)?;
        return Ok(Exit::Done);
    }
    for event in &found {
        writeln!(world.out, "{}", line(event))?;
    }
    Ok(Exit::Done)
}

fn line(event: &Value) -> String {
    let text = |key: &str| printable(event[key].as_str().unwrap_or_default()).into_owned();
    let words = [text("time"), pad(&text("event"), 10), pad(&text("ip"), 15), text("reason"), text("detail")];
    let line = words.join(" | ");
    line.trim_end_matches([' ', '|']).to_owned()
}
