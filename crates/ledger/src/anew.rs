//! A new log in place of one that does not hold, because people said so and why.
//!
//! What is there is set aside, never deleted. The first entry of the new log states the reason,
//! what was wrong, and how far the old log is known to have been signed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_model::{Clock, Random};

use crate::error::LedgerError;
use crate::memory::{self, Memory};
use crate::options::Options;
use crate::record::EventRecord;
use crate::recover::Recovery;
use crate::shared::Shared;

/// What a log consists of, in its folder.
const PARTS: [&str; 9] = [
    "segments",
    "checkpoints",
    "ledger.pub",
    "bookmark.json",
    "bundles",
    "payloads",
    "index.db",
    "index.db-wal",
    "index.db-shm",
];

/// Sets aside the log that is there and begins another.
///
/// # Errors
/// [`LedgerError::Holds`] where the log that is there would go on, and whatever keeps a log
/// from being opened for other reasons than its past.
pub(crate) fn begin(
    options: Options,
    lock: File,
    clock: Arc<dyn Clock>,
    random: &dyn Random,
    reason: &str,
) -> Result<(Arc<Shared>, Recovery), LedgerError> {
    let again = lock.try_clone().map_err(LedgerError::file("lock", &options.folder))?;
    let wrong = match Shared::open(options.clone(), again, Arc::clone(&clock), random) {
        Ok(_) => return Err(LedgerError::Holds(options.folder)),
        Err(error) if error.is_about_the_past() => error,
        Err(error) => return Err(error),
    };
    let known = memory::path(&options.keys, &options.folder, &options.origin);
    // What cannot be read is set aside with the rest.
    let before = Memory::load(&known).ok().flatten();
    let now = clock.now();
    let aside = set_aside(&options.folder, &known, &now.to_string().replace(':', "-"))?;
    let (shared, recovery) = Shared::open(options, lock, clock, random)?;
    let signed = before.map_or_else(
        || "keyDir did not know how far it was signed".to_owned(),
        |before| format!("keyDir knew {} signed entries, {}", before.entries, before.root_text()),
    );
    let detail = format!("{wrong}; {signed}; what was there is in {}", aside.display());
    shared.event(&EventRecord {
        kind: "new-log",
        time: now,
        reason,
        detail: Some(&detail),
        ..EventRecord::default()
    })?;
    Ok((shared, recovery))
}

/// Moves the parts of a log, and what is known of it, into a folder beside them.
fn set_aside(log: &Path, known: &Path, name: &str) -> Result<PathBuf, LedgerError> {
    let aside = log.join(format!("set-aside-{name}"));
    let made = fs::DirBuilder::new().mode(0o700).create(&aside);
    made.map_err(LedgerError::file("create", &aside))?;
    for part in PARTS {
        moved(&log.join(part), &aside.join(part))?;
    }
    // Keys may be on another disk: copied, so that this works as well.
    match fs::copy(known, aside.join("known.json")) {
        Ok(_) => fs::remove_file(known).map_err(LedgerError::file("remove", known))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(LedgerError::file("read", known)(error)),
    }
    Ok(aside)
}

fn moved(from: &Path, to: &Path) -> Result<(), LedgerError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LedgerError::file("set aside", from)(error))
        }
        _ => Ok(()),
    }
}
