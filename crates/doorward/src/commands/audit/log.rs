//! `doorward audit log`: records, newest first, one line each.

use std::path::Path;

use doorward_ledger::{CallRow, Filter, Index, Status};

use super::select::Selection;
use crate::commands::layout::pad;
use crate::commands::{Exit, Surroundings};
use crate::config::Config;
use crate::printable::printable;

const EXAMPLES: &str = "\
Examples:
  doorward audit log --limit 50
  doorward audit log --consumer agent-1 --server github --tool 'delete_*' --status denied
  doorward audit log --from 2026-11-20T08:00:00Z --to 2026-11-21 --domain corp.example --json
  doorward audit log --last 24h --decision deny --reason 'over the limit'
  doorward audit log --limit 1 --full

A line has the time, the consumer, the server, the tool, how long the call took, the id of the call, the person and
the key, and the reason of a refusal or the error. `--full` adds arguments and results, where they were kept
(`audit.capture: full`); otherwise the preview of the arguments.";

/// Arguments of `audit log`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// A text in a reason or in the error, whatever the case; repeat for several
    #[arg(long, value_name = "TEXT")]
    reason: Vec<String>,
    /// How many records
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only records before this sequence number: where the last page ended
    #[arg(long)]
    before: Option<u64>,
    /// Show arguments and results
    #[arg(long)]
    full: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let folder = &config.audit.dir;
    let filter = Filter {
        limit: arguments.limit,
        before: arguments.before,
        reasons: arguments.reason.clone(),
        ..arguments.selection.filter(world.clock.now())
    };
    let mut rows = Index::open_caught_up(folder)?.query(&filter)?;
    if arguments.full {
        reveal(&mut rows, folder, &config.audit.key_dir, world)?;
    }
    if arguments.json {
        let rows: Vec<_> = rows.iter().map(CallRow::to_json).collect();
        writeln!(world.out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(Exit::Done);
    }
    for row in &rows {
        writeln!(world.out, "{}", line(row))?;
        let shown = [("arguments", &row.args), ("result", &row.response)];
        for (what, text) in shown.into_iter().filter(|_| arguments.full) {
            if let Some(text) = text {
                writeln!(world.out, "   {what}: {}", printable(text))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Puts into rows what was kept of their calls, sealed, apart from the log.
fn reveal(rows: &mut [CallRow], folder: &Path, keys: &Path, world: &Surroundings<'_>) -> anyhow::Result<()> {
    let sealer = doorward_vault::open(keys, world.random)?;
    for row in rows {
        row.reveal(folder, &sealer)?;
    }
    Ok(())
}

/// One record: first what the older program prints, then the id, who called by which key, and
/// why it was refused or failed. Names came from outside: what could drive a terminal is shown
/// as an escape.
pub(super) fn line(row: &CallRow) -> String {
    let icon = match row.status() {
        Status::Success => "✅",
        Status::Denied => "🚫",
        Status::RateLimited => "⏱️",
        Status::Error => "❌",
    };
    let shown = |text: &str, width| pad(&printable(text), width);
    let mut line = format!(
        "{icon} {} | {} | {} | {} | {}ms | {} | {}",
        row.time,
        shown(&row.consumer, 15),
        shown(row.server.as_deref().unwrap_or("unknown"), 15),
        shown(&row.target, 20),
        row.latency_ms(),
        row.call,
        printable(&who(row)),
    );
    let why = row.error.as_deref().map(|error| match &row.code {
        Some(code) => format!("{error} [{code}]"),
        None => error.to_owned(),
    });
    let why = why.or_else(|| (row.decision() == "deny").then(|| row.reasons.join("; ")));
    if let Some(why) = why.filter(|why| !why.is_empty()) {
        line.push_str(" | ");
        line.push_str(&printable(&why));
    }
    line
}

/// `ana@corp.example by key-1`.
fn who(row: &CallRow) -> String {
    match &row.person {
        Some(person) => format!("{person} by {}", row.grant),
        None => format!("by {}", row.grant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> CallRow {
        CallRow {
            call: "019a2b3c-4d5e-7f60-8123-456789abcdef".to_owned(),
            time: "2026-11-21T10:00:00.000000Z".to_owned(),
            consumer: "agent-1".to_owned(),
            server: Some("git".to_owned()),
            target: "status".to_owned(),
            grant: "key-1".to_owned(),
            verdict: "allow".to_owned(),
            outcome: Some("success".to_owned()),
            duration_us: Some(12_400),
            ..CallRow::default()
        }
    }

    #[test]
    fn a_line_begins_as_the_older_program_prints_it_and_goes_on_with_id_person_key_and_reason() {
        let begins = |icon: &str| {
            format!(
                "{icon} 2026-11-21T10:00:00.000000Z | agent-1         | git             | status               | \
                 12ms | 019a2b3c-4d5e-7f60-8123-456789abcdef | "
            )
        };
        let cases = [
            (row(), format!("{}by key-1", begins("✅"))),
            (
                CallRow {
                    person: Some("ana@corp.example".to_owned()),
                    verdict: "deny".to_owned(),
                    outcome: Some("denied".to_owned()),
                    reasons: vec!["no \u{1b}rule".to_owned(), "second".to_owned()],
                    ..row()
                },
                format!("{}ana@corp.example by key-1 | no \\u{{1b}}rule; second", begins("🚫")),
            ),
            (
                CallRow {
                    outcome: Some("timeout".to_owned()),
                    error: Some("too slow".to_owned()),
                    code: Some("upstream-timeout".to_owned()),
                    ..row()
                },
                format!("{}by key-1 | too slow [upstream-timeout]", begins("❌")),
            ),
        ];
        for (row, expected) in cases {
            assert_eq!(line(&row), expected);
        }
    }
}
