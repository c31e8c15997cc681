//! `doorward usage`: calls, errors and time, by server and tool.

use std::path::Path;

use doorward_ledger::{Filter, Index};

use super::{Exit, Surroundings, load};
use crate::printable::printable;

/// Arguments of `doorward usage`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  doorward usage\n  doorward usage agent-1 --json")]
pub struct Arguments {
    /// Only this consumer
    consumer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let filter = Filter { consumer: arguments.consumer.clone(), ..Filter::default() };
    let usage = Index::open_caught_up(&loaded.config.audit.dir)?.usage(&filter)?;
    if arguments.json {
        writeln!(world.out, "{}", serde_json::to_string_pretty(&usage.to_json())?)?;
        return Ok(Exit::Done);
    }
    let [p50, p95, p99] = usage.percentiles_ms;
    writeln!(world.out, "\nTotal calls: {}", usage.calls)?;
    writeln!(world.out, "Total errors: {}", usage.errors)?;
    writeln!(world.out, "Denied: {}", usage.denied)?;
    writeln!(world.out, "Rate limited: {}", usage.limited)?;
    writeln!(world.out, "Average latency: {}ms (p50 {p50} · p95 {p95} · p99 {p99})", usage.average_ms)?;
    for (title, counts) in [("By server:", &usage.by_server), ("By tool:", &usage.by_tool)] {
        writeln!(world.out, "\n{title}")?;
        for (key, count) in counts {
            writeln!(world.out, "  {}: {count}", printable(key))?;
        }
    }
    Ok(Exit::Done)
}
