//! Removing payloads after their time, a day at once.
//!
//! The log says so first: what is gone without such an entry was taken by somebody else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward_model::Timestamp;

use crate::canonical::first;
use crate::error::LedgerError;
use crate::payload;

/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// The first day, such as `2026-11-21`, whose payloads are kept at this time.
pub(crate) fn first_kept(now: Timestamp, days: u32) -> String {
    let age = Duration::from_secs(u64::from(days).saturating_mul(DAY));
    let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    let then = Timestamp::from_micros(now.as_micros().saturating_sub(micros)).to_string();
    first(&then, "2026-11-21".len()).to_owned()
}

/// The folders of the days before this one.
pub(crate) fn before(log: &Path, day: &str) -> Result<Vec<PathBuf>, LedgerError> {
    let folder = payload::folder(log);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LedgerError::file("read", &folder)(error)),
    };
    let is_before = |name: &str| {
        name.len() == day.len() && name < day && name.starts_with(|it: char| it.is_ascii_digit())
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> =
        paths.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_before)).collect();
    found.sort();
    Ok(found)
}
