//! A log that nobody keeps (`audit.enabled: false`): what a former process left of it is deleted
//! before it is opened, and what this one wrote when it ends. Never touches another log.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

use crate::config::audit::Audit;

/// The file that the holder of a log has locked.
const LOCK: &str = "lock";

/// Deletes what is left of such a log, unless another gateway has it open.
///
/// # Errors
/// When it cannot be deleted.
pub(super) fn begin(audit: &Audit) -> anyhow::Result<()> {
    if !audit.is_passing {
        return Ok(());
    }
    tracing::warn!(target: "doorward::ledger", "`audit.enabled` is false: records are deleted when the gateway ends");
    match File::open(audit.dir.join(LOCK)) {
        // Held until all of it is gone, so that nobody opens half of it.
        Ok(lock) if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() => remove(&audit.dir),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => remove(&audit.dir),
        Err(error) => Err(error).context(audit.dir.display().to_string()),
    }
}

/// Deletes the log of a gateway that has closed it.
pub(super) fn end(audit: &Audit) {
    if audit.is_passing
        && let Err(error) = remove(&audit.dir)
    {
        tracing::error!(target: "doorward::ledger", %error, "the records could not be deleted");
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context(folder.display().to_string()),
        _ => Ok(()),
    }
}
