//! `doorward audit`: what the log says, and whether it holds.

mod events;
mod log;
mod prove;
mod select;
mod tail;

pub(super) use select::{Period, duration};

use std::path::{Path, PathBuf};

use doorward_ledger::{Against, Index, Kept, Report, reindex, verify, verify_legacy};
use doorward_model::Seal;
use select::Selection;

use super::{Exit, Surroundings, load};
use crate::printable::printable;

/// What to ask the log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print records, newest first
    Log(log::Arguments),
    /// Print what is no call, newest first: starts, reloads, refused requests
    Events(events::Arguments),
    /// Count calls by status and server
    #[command(after_help = "Examples:\n  doorward audit stats\n  doorward audit stats --last 7d --json")]
    Stats(Stats),
    /// Check every hash, the order, the signed checkpoints, the index and the sealed payloads
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Build the index anew from the log, while no gateway runs
    #[command(
        after_help = "The index is what `audit log`, `audit stats` and `usage` find calls by. `audit verify` compares it with the log."
    )]
    Reindex,
    /// Prove one decision to somebody without the log
    Prove(prove::Arguments),
    /// Print records as calls end, until Ctrl-C
    Tail(tail::Arguments),
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  doorward audit verify
  doorward audit verify --anchor /mnt/elsewhere/checkpoints
  doorward audit verify --key 'doorward+1a2b3c4d+AQ…'
  doorward audit verify --legacy gateway-audit.db

The log is checked with the key in `keyDir`, and has to reach as far as `keyDir` knows that it was signed.
Exit status: 0 the log holds, 1 it does not.";

/// Arguments of `audit stats`.
#[derive(Debug, clap::Args)]
pub struct Stats {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// A copy of the checkpoints kept elsewhere; repeat for several
    #[arg(long)]
    anchor: Vec<PathBuf>,
    /// The public key that the log has to be signed with, or its file; instead of the one in `keyDir`
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Check the database of PetrefiedThunder/mcp-gateway instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["anchor", "key"])]
    legacy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    if let Command::Verify(Verify { legacy: Some(path), json, .. }) = command {
        return legacy(path, *json, world);
    }
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let config = loaded.config;
    let folder = config.audit.dir.clone();
    match command {
        Command::Log(arguments) => log::run(arguments, &config, world),
        Command::Events(arguments) => events::run(arguments, &config, world),
        Command::Stats(Stats { selection, json }) => {
            let stats = Index::open_caught_up(&folder)?.stats(&selection.filter(world.clock.now()))?;
            if *json {
                writeln!(world.out, "{}", serde_json::to_string_pretty(&stats.to_json())?)?;
                return Ok(Exit::Done);
            }
            writeln!(world.out, "\nTotal calls: {}", stats.total)?;
            for (title, counts) in [("By status:", &stats.by_status), ("By server:", &stats.by_server)] {
                writeln!(world.out, "\n{title}")?;
                for (key, count) in counts {
                    writeln!(world.out, "  {}: {count}", printable(key))?;
                }
            }
            Ok(Exit::Done)
        }
        Command::Verify(arguments) => {
            let mut audit = config.audit;
            audit.anchors.extend(arguments.anchor.iter().cloned());
            let key = arguments.key.as_deref().map(super::verify::key).transpose()?;
            // Where there is no key, none is made to look with.
            let has_key = audit.key_dir.join("seal.key").exists();
            let sealer = has_key.then(|| doorward_vault::open(&audit.key_dir, world.random)).transpose()?;
            let seal = sealer.as_ref().map(|sealer| sealer as &dyn Seal);
            let report = verify(&folder, &Against { key: key.as_deref(), seal, ..audit.against() })?;
            verified(&report, arguments.json, world)
        }
        Command::Tail(arguments) => tail::run(arguments, &folder, world),
        Command::Reindex => {
            let holder = format!("process {} (`doorward audit reindex`)", std::process::id());
            let calls = reindex(&folder, holder)?;
            writeln!(world.out, "✅ The index is built anew: {calls} calls.")?;
            Ok(Exit::Done)
        }
        Command::Prove(arguments) => prove::run(arguments, &config, world),
    }
}

fn verified(report: &Report, json: bool, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let exit = if report.is_valid() { Exit::Done } else { Exit::No };
    if json {
        let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
        let answer = serde_json::json!({
            "valid": report.is_valid(),
            "brokenAt": report.first_bad(),
            "checked": report.entries,
            "covered": report.covered,
            "checkpoints": report.checkpoints,
            "head": report.head,
            "index": report.index.as_ref().map(|index| serde_json::json!({
                "compared": index.calls, "agrees": index.differs.is_none(),
            })),
            "payloads": report.payloads.as_ref().map(|kept| serde_json::json!({
                "parts": kept.parts, "opened": kept.opened, "since": kept.since,
            })),
            "faults": faults,
        });
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(exit);
    }
    match report.first_bad() {
        None => {
            writeln!(world.out, "✅ Audit chain integrity verified.")?;
            writeln!(
                world.out,
                "{} entries, {} of them covered by {} signed checkpoints; head {}",
                report.entries, report.covered, report.checkpoints, report.head
            )?;
            match &report.index {
                Some(index) => writeln!(world.out, "the index agrees with the log: {} calls", index.calls)?,
                None => {
                    writeln!(world.out, "there is no index to compare; a gateway builds it at its start")?
                }
            }
            if let Some(kept) = report.payloads.as_ref().filter(|kept| kept.parts > 0 || kept.since.is_some())
            {
                writeln!(world.out, "{}", payloads(kept))?;
            }
        }
        Some(bad) => {
            let is_entry = report.faults.first().is_some_and(|fault| fault.entry.is_some());
            let what = if is_entry { "Chain broken at entry" } else { "The log does not hold" };
            writeln!(world.out, "❌ {what}: {}", printable(&bad))?;
            for fault in &report.faults {
                writeln!(world.err, "{}", printable(&fault.to_string()))?;
            }
        }
    }
    Ok(exit)
}

/// What was found of arguments, results and inputs that were kept whole.
fn payloads(kept: &Kept) -> String {
    let opened =
        if kept.opened { "are there and open" } else { "are there; without `seal.key` they were not opened" };
    let since =
        kept.since.as_ref().map(|day| format!("; retention has removed those before {}", printable(day)));
    format!("{} sealed arguments, results and inputs {opened}{}", kept.parts, since.unwrap_or_default())
}

fn legacy(path: &Path, json: bool, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let report = verify_legacy(path)?;
    if json {
        let answer = serde_json::json!({
            "valid": report.broken_at.is_none(), "brokenAt": report.broken_at, "checked": report.rows,
        });
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else if let Some(id) = &report.broken_at {
        writeln!(world.out, "❌ Chain broken at entry: {id}")?;
    } else {
        writeln!(world.out, "✅ Audit chain integrity verified.")?;
        writeln!(
            world.err,
            "{} rows. The chain of this format covers neither arguments nor responses, and has no signature.",
            report.rows
        )?;
    }
    Ok(if report.broken_at.is_none() { Exit::Done } else { Exit::No })
}
