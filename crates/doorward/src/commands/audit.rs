//! `doorward audit`: what the log says, and whether it holds.

mod prove;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use doorward_ledger::{Against, CallRow, Filter, Index, Report, Status, verify, verify_legacy};
use doorward_model::{Outcome, Timestamp};

use super::layout::pad;
use super::{Exit, Surroundings, load};
use crate::printable::printable;

/// What to ask the log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print records, newest first
    #[command(after_help = LOG_EXAMPLES)]
    Log(Log),
    /// Count calls by status and server
    #[command(
        after_help = "Examples:\n  doorward audit stats\n  doorward audit stats --from 2026-11-01 --json"
    )]
    Stats(Selection),
    /// Check every hash, the order and the signed checkpoints
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Prove one decision to somebody without the log
    Prove(prove::Arguments),
    /// Print records as calls end, until Ctrl-C
    #[command(after_help = "Examples:\n  doorward audit tail\n  doorward audit tail --status denied --json")]
    Tail(Selection),
}

const LOG_EXAMPLES: &str = "\
Examples:
  doorward audit log --limit 50
  doorward audit log --consumer agent-1 --server github --tool 'delete_*' --status denied
  doorward audit log --from 2026-11-20T08:00:00Z --to 2026-11-21 --domain corp.example --json
  doorward audit log --limit 1 --full --json";

const VERIFY_EXAMPLES: &str = "\
Examples:
  doorward audit verify
  doorward audit verify --anchor /mnt/elsewhere/checkpoints
  doorward audit verify --key 'doorward+1a2b3c4d+AQ…'
  doorward audit verify --legacy gateway-audit.db

The log is checked with the key in `keyDir`, and has to reach as far as `keyDir` knows that it was signed.
Exit status: 0 the log holds, 1 it does not.";

/// Which calls.
#[derive(Debug, Default, clap::Args)]
pub struct Selection {
    /// Consumer, exactly
    #[arg(long)]
    consumer: Option<String>,
    /// Person; repeat for several
    #[arg(long)]
    person: Vec<String>,
    /// Agent; `unknown` for none
    #[arg(long)]
    agent: Vec<String>,
    /// Domain of the person's address; `(none)` for none
    #[arg(long)]
    domain: Vec<String>,
    /// Server id or glob
    #[arg(long)]
    server: Vec<String>,
    /// Tool name, glob or server__tool
    #[arg(long)]
    tool: Vec<String>,
    /// success, error, denied or rate-limited
    #[arg(long)]
    status: Option<Status>,
    /// allow, deny, hide or approval_required
    #[arg(long)]
    verdict: Vec<String>,
    /// How it ended
    #[arg(long, value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str)))]
    outcome: Vec<String>,
    /// What guardrails did
    #[arg(long)]
    dlp: Vec<String>,
    /// Not before this time, inclusive (RFC 3339 or a date)
    #[arg(long, value_parser = Timestamp::parse)]
    from: Option<Timestamp>,
    /// Not after this time, inclusive
    #[arg(long, value_parser = Timestamp::parse)]
    to: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `audit log`.
#[derive(Debug, clap::Args)]
pub struct Log {
    #[command(flatten)]
    selection: Selection,
    /// How many records
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only records before this sequence number: where the last page ended
    #[arg(long)]
    before: Option<u64>,
    /// Show whole arguments and results, where they were kept (`audit.capture: full`)
    #[arg(long)]
    full: bool,
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

impl Selection {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            consumer: self.consumer.clone(),
            persons: self.person.clone(),
            agents: self.agent.clone(),
            domains: self.domain.clone(),
            servers: self.server.clone(),
            tools: self.tool.clone(),
            status: self.status,
            verdicts: self.verdict.clone(),
            outcomes: self.outcome.clone(),
            dlp: self.dlp.clone(),
            from: self.from,
            to: self.to,
            before: None,
            since: None,
            limit: 0,
        }
    }
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
        Command::Log(arguments) => {
            let filter =
                Filter { limit: arguments.limit, before: arguments.before, ..arguments.selection.filter() };
            let mut rows = Index::open_caught_up(&folder)?.query(&filter)?;
            if arguments.full {
                reveal(&mut rows, &folder, &config.audit.key_dir, world)?;
            }
            print(&rows, arguments.selection.json, world)?;
            Ok(Exit::Done)
        }
        Command::Stats(selection) => {
            let stats = Index::open_caught_up(&folder)?.stats(&selection.filter())?;
            if selection.json {
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
            let report = verify(&folder, &Against { key: key.as_deref(), ..audit.against() })?;
            verified(&report, arguments.json, world)
        }
        Command::Tail(selection) => tail(&folder, selection, world),
        Command::Prove(arguments) => prove::run(arguments, &config, world),
    }
}

/// Puts into rows what was kept of their calls, sealed, apart from the log.
fn reveal(rows: &mut [CallRow], folder: &Path, keys: &Path, world: &Surroundings<'_>) -> anyhow::Result<()> {
    let sealer = doorward_vault::open(keys, world.random)?;
    for row in rows {
        row.reveal(folder, &sealer)?;
    }
    Ok(())
}

fn print(rows: &[CallRow], json: bool, world: &mut Surroundings<'_>) -> anyhow::Result<()> {
    if json {
        let rows: Vec<_> = rows.iter().map(CallRow::to_json).collect();
        writeln!(world.out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    for row in rows {
        writeln!(world.out, "{}", line(row))?;
    }
    Ok(())
}

/// One record as the older program prints it. Names came from outside: what could
/// drive a terminal is shown as an escape.
fn line(row: &CallRow) -> String {
    let icon = match row.status() {
        Status::Success => "✅",
        Status::Denied => "🚫",
        Status::RateLimited => "⏱️",
        Status::Error => "❌",
    };
    let shown = |text: &str, width| pad(&printable(text), width);
    format!(
        "{icon} {} | {} | {} | {} | {}ms",
        row.time,
        shown(&row.consumer, 15),
        shown(row.server.as_deref().unwrap_or("unknown"), 15),
        shown(&row.target, 20),
        row.latency_ms()
    )
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

/// How often the index is looked at.
const PACE: Duration = Duration::from_millis(300);
/// More than there can be to print at one look.
const ALL: usize = usize::MAX;

/// What of the log has been printed.
struct Shown {
    /// Everything before this entry has been, save what is under way.
    until: u64,
    /// Calls under way before it; each is printed when it ends.
    under_way: BTreeSet<u64>,
}

impl Shown {
    /// Everything that has ended by now, where nothing before `since` is under way.
    fn now(index: &Index, since: u64) -> anyhow::Result<Self> {
        let newest = index.query(&Filter { limit: 1, ..Filter::default() })?;
        let until = newest.first().map_or(0, |row| row.seq + 1);
        // Asked for second: what begins in between is looked at the next time.
        let outcomes = vec!["pending".to_owned()];
        let (since, before) = (Some(since), Some(until));
        let open = index.query(&Filter { outcomes, since, before, limit: ALL, ..Filter::default() })?;
        Ok(Self { until, under_way: open.iter().map(|row| row.seq).collect() })
    }
}

fn tail(folder: &Path, selection: &Selection, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let index = Index::open_caught_up(folder)?;
    let mut shown = Shown::now(&index, 0)?;
    loop {
        std::thread::sleep(PACE);
        let since = shown.under_way.first().copied().unwrap_or(shown.until);
        let now = Shown::now(&index, since)?;
        let between = |since, before| Filter {
            since: Some(since),
            before: Some(before),
            limit: ALL,
            ..selection.filter()
        };
        let mut rows = Vec::new();
        for ended in shown.under_way.difference(&now.under_way) {
            rows.extend(index.query(&between(*ended, ended + 1))?);
        }
        let news = index.query(&between(shown.until, now.until))?;
        rows.extend(news.into_iter().rev().filter(|row| !now.under_way.contains(&row.seq)));
        for row in &rows {
            if selection.json {
                writeln!(world.out, "{}", row.to_json())?;
            } else {
                writeln!(world.out, "{}", line(row))?;
            }
        }
        world.out.flush()?;
        shown = now;
    }
}
