//! The log: who holds it, whether its end fits its last checkpoint, and how far the index is behind.

use std::path::Path;

use doorward_gateway::door;
use doorward_ledger::{Against, Index, Inspection, LedgerError, inspect, verify};
use doorward_model::Timestamp;

use super::{Finding, data};
use crate::config::Config;
use crate::runtime;

/// A log up to this size, in bytes, is read as a whole; of a larger one, only its end.
const SMALL: u64 = 64 << 20;
/// More entries than this are not taken in within a moment.
const BEHIND: u64 = 10_000;

/// The process that has the log open.
pub(super) struct Holder {
    /// What it calls itself.
    pub(super) name: String,
    /// Its number, where that is known.
    pub(super) pid: Option<u32>,
}

impl Holder {
    /// Whether it listens on a port.
    pub(super) fn listens(&self) -> bool {
        !self.name.contains("--stdio")
    }
}

/// Finds the holder by the system's list of locks, or at its socket.
pub(super) async fn holder(config: &Config) -> Option<Holder> {
    let name = doorward_ledger::holder(&config.audit.dir);
    let stream = door::connect(runtime::socket_folder(config)).await;
    let peer = stream.ok().map(|stream| stream.peer_cred().ok().and_then(|peer| peer.pid()));
    let pid = peer.flatten().and_then(|pid| u32::try_from(pid).ok());
    match (name, peer) {
        (None, None) => None,
        (name, _) => Some(Holder { name: name.unwrap_or_else(|| "a gateway".to_owned()), pid }),
    }
}

/// What is found, and when the last checkpoint was signed.
pub(super) fn check(config: &Config, is_held: bool) -> (Vec<Finding>, Option<Timestamp>) {
    let audit = &config.audit;
    match inspect(&audit.dir, &audit.log_keys, &audit.origin, &audit.anchors) {
        Ok(None) => (vec![Finding::ok("ledger", "there is no log yet; the first start begins one")], None),
        Ok(Some(found)) => {
            let signed = found.checkpoint.as_ref().and_then(|it| Timestamp::parse(&it.time).ok());
            let is_small = size(&audit.dir) <= SMALL;
            let fault = if is_small { fault(config, &found) } else { None };
            let whole = fault.unwrap_or_else(|| holds(&found, is_small, is_held));
            (vec![whole, index(config, found.entries)], signed)
        }
        Err(error) => (vec![broken(&error)], None),
    }
}

/// What is wrong with any entry; `None` if nothing is.
fn fault(config: &Config, found: &Inspection) -> Option<Finding> {
    let report = match verify(
        &config.audit.dir,
        &Against { index: data::is_own(&config.audit.dir), payloads: false, ..config.audit.against() },
    ) {
        Ok(report) => report,
        Err(error) => return Some(broken(&error)),
    };
    let fault = report.faults.first()?;
    let message = format!("of {} entries, not all hold: {fault}", found.entries);
    Some(Finding::fail("ledger", message, "keep a copy, and run `doorward audit verify`"))
}

/// What was read, and what the next start has to put right.
fn holds(found: &Inspection, was_read: bool, is_held: bool) -> Finding {
    let (entries, from) = (found.entries, found.from);
    let covered = match &found.checkpoint {
        Some(checkpoint) => format!("a checkpoint of {} covers {}", checkpoint.time, checkpoint.size),
        None => "no checkpoint is signed yet".to_owned(),
    };
    let read = if was_read {
        "all of them were read and hold".to_owned()
    } else {
        format!("those from {from} on were read and fit it (`doorward audit verify` reads all)")
    };
    let message = format!("{entries} entries; {covered}; {read}");
    if !is_held && found.unfinished_bytes > 0 {
        let message = format!("{message}; the last process left {} unfinished bytes", found.unfinished_bytes);
        return Finding::warn(
            "ledger",
            message,
            "start the gateway: it sets them aside and says so in the log",
        );
    }
    if !is_held && found.open > 0 {
        let message = format!("{message}; {} calls have no outcome", found.open);
        return Finding::warn("ledger", message, "start the gateway: it closes them as `unknown`");
    }
    Finding::ok("ledger", message)
}

/// Bytes of all segments.
fn size(log: &Path) -> u64 {
    let entries = std::fs::read_dir(log.join("segments")).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

fn broken(error: &LedgerError) -> Finding {
    let remedy = match error {
        LedgerError::OtherKey(_) | LedgerError::Key(_) => {
            "put the key and `audit.origin` back that signed it"
        }
        LedgerError::OtherSecret(_) | LedgerError::MissingKey(_) => "put the key back from a copy",
        error if error.is_about_the_past() => {
            "keep a copy, and run `doorward audit verify`; put the log back, or start once with `--new-log REASON`"
        }
        _ => "let the user that runs the gateway read the log",
    };
    Finding::fail("ledger", format!("{error} [{}]", error.code()), remedy)
}

fn index(config: &Config, entries: u64) -> Finding {
    let folder = &config.audit.dir;
    if !data::is_own(folder) {
        let message = "not looked at: reading it as another user could lock the gateway out of it";
        return Finding::warn("index", message, "run this as the user that runs the gateway");
    }
    let rebuilt = "it is built anew at the next start; evidence and bills are in the log";
    match Index::open_read_only(folder).and_then(|index| index.entries()) {
        Ok(next) => match entries.saturating_sub(next) {
            0 => Finding::ok("index", "it has taken in the whole log"),
            behind @ 1..BEHIND => Finding::ok("index", format!("{behind} entries behind the log")),
            behind => Finding::warn(
                "index",
                format!("{behind} entries behind the log: queries do not see the newest calls"),
                "a running gateway catches up; without one, start it",
            ),
        },
        Err(error) => Finding::warn("index", error.to_string(), rebuilt),
    }
}
