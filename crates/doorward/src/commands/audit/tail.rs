//! `doorward audit tail`: records as calls end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use doorward_ledger::{Filter, Index};

use super::log::line;
use super::select::Selection;
use crate::commands::{Exit, Surroundings};

/// Arguments of `audit tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  doorward audit tail\n  doorward audit tail --status denied --json")]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// A text in a reason or in the error, whatever the case; repeat for several
    #[arg(long, value_name = "TEXT")]
    reason: Vec<String>,
    /// Print JSON, one record a line
    #[arg(long)]
    json: bool,
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

pub(super) fn run(
    arguments: &Arguments,
    folder: &Path,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let began = world.clock.now();
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
            reasons: arguments.reason.clone(),
            ..arguments.selection.filter(began)
        };
        let mut rows = Vec::new();
        for ended in shown.under_way.difference(&now.under_way) {
            rows.extend(index.query(&between(*ended, ended + 1))?);
        }
        let news = index.query(&between(shown.until, now.until))?;
        rows.extend(news.into_iter().rev().filter(|row| !now.under_way.contains(&row.seq)));
        for row in &rows {
            if arguments.json {
                writeln!(world.out, "{}", row.to_json())?;
            } else {
                writeln!(world.out, "{}", line(row))?;
            }
        }
        world.out.flush()?;
        shown = now;
    }
}
