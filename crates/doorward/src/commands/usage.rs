//! `doorward usage`: calls, errors and time, by server and tool.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use doorward_ledger::{Dimensions, Filter, Index, Sum, Usage};

use super::audit::Period;
use super::{Exit, Surroundings, load};
use crate::config::Config;
use crate::printable::printable;

const EXAMPLES: &str = "\
Examples:
  doorward usage
  doorward usage agent-1 --last 7d --json
  doorward usage --from 2026-11-01 --to 2026-12-01 --csv > november.csv

`metering` in the configuration says which numbers are reported.";

/// Arguments of `doorward usage`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only this consumer
    consumer: Option<String>,
    #[command(flatten)]
    period: Period,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print one line for each server and tool, as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let usage = counted(arguments, &loaded.config, world)?;
    let dimensions = loaded.config.metering.dimensions();
    if arguments.json {
        writeln!(world.out, "{}", serde_json::to_string_pretty(&usage.to_json(dimensions))?)?;
    } else if arguments.csv {
        write_csv(&usage, dimensions, world)?;
    } else {
        write_text(&usage, dimensions, world)?;
    }
    Ok(Exit::Done)
}

fn counted(arguments: &Arguments, config: &Config, world: &mut Surroundings<'_>) -> anyhow::Result<Usage> {
    if !config.metering.enabled {
        writeln!(world.err, "`metering.enabled` is false: usage is not reported")?;
        return Ok(Usage::default());
    }
    let (from, to) = arguments.period.bounds(world.clock.now());
    let filter = Filter { consumer: arguments.consumer.clone(), from, to, ..Filter::default() };
    Ok(Index::open_caught_up(&config.audit.dir)?.usage(&filter)?)
}

fn write_text(usage: &Usage, dimensions: Dimensions, world: &mut Surroundings<'_>) -> anyhow::Result<()> {
    let Sum { calls, errors, denied, limited, average_ms, percentiles_ms: [p50, p95, p99], last, .. } =
        &usage.all;
    let out = &mut world.out;
    writeln!(out)?;
    if dimensions.calls {
        writeln!(out, "Total calls: {calls}")?;
    }
    if dimensions.errors {
        writeln!(out, "Total errors: {errors}")?;
    }
    if dimensions.calls {
        writeln!(out, "Denied: {denied}")?;
        writeln!(out, "Rate limited: {limited}")?;
    }
    if dimensions.latency {
        writeln!(out, "Average latency: {average_ms}ms (p50 {p50} · p95 {p95} · p99 {p99})")?;
    }
    if !dimensions.calls {
        return Ok(());
    }
    writeln!(out, "Last call: {}", last.as_deref().unwrap_or("none"))?;
    let by_server = owned(usage.by_server());
    let by_tool = owned(usage.by_tool());
    for (title, counts) in [
        ("By server:", &by_server),
        ("By tool:", &by_tool),
        ("By consumer:", &usage.by_consumer),
        ("By person:", &usage.by_person),
    ] {
        writeln!(out, "\n{title}")?;
        let mut most_first: Vec<_> = counts.iter().collect();
        most_first.sort_by_key(|(_, count)| Reverse(**count));
        for (name, count) in most_first {
            writeln!(out, "  {}: {count}", printable(name))?;
        }
    }
    Ok(())
}

fn write_csv(usage: &Usage, dimensions: Dimensions, world: &mut Surroundings<'_>) -> anyhow::Result<()> {
    let mut table = csv::Writer::from_writer(&mut world.out);
    let head = reported(&Sum::default(), dimensions).map(|(name, _)| name.to_owned());
    table.write_record(["server".to_owned(), "tool".to_owned()].into_iter().chain(head))?;
    for ((server, tool), sum) in &usage.by_server_tool {
        let numbers = reported(sum, dimensions).map(|(_, number)| number);
        table.write_record([cell(server), cell(tool)].into_iter().chain(numbers))?;
    }
    table.flush()?;
    Ok(())
}

fn owned(counts: BTreeMap<&str, u64>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// The columns of the numbers that are reported, and what stands in them.
fn reported(sum: &Sum, dimensions: Dimensions) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let Dimensions { calls, latency, errors } = dimensions;
    let [p50, p95, p99] = sum.percentiles_ms.map(|ms| ms.to_string());
    let columns = [
        (calls, "calls", sum.calls.to_string()),
        (errors, "errors", sum.errors.to_string()),
        (calls, "denied", sum.denied.to_string()),
        (calls, "rate_limited", sum.limited.to_string()),
        (latency, "average_ms", sum.average_ms.to_string()),
        (latency, "p50_ms", p50),
        (latency, "p95_ms", p95),
        (latency, "p99_ms", p99),
        (calls, "last_call", sum.last.clone().unwrap_or_default()),
    ];
    columns.into_iter().filter(|(is_reported, ..)| *is_reported).map(|(_, name, number)| (name, number))
}

/// A name that a spreadsheet does not take for a formula: whoever calls a tool that is not there
/// chooses its name.
fn cell(name: &str) -> String {
    let name = printable(name);
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{name}") } else { name.into_owned() }
}
