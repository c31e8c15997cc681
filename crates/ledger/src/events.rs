//! Entries that are no calls: starts, reloads, requests that were refused before any decision. They
//! are read from the segments, newest first, and from nowhere else.

use std::path::Path;

use memchr::memmem;
use serde_json::Value;

use crate::error::LedgerError;
use crate::segment::{self, Lines};

/// How every such entry says what it is. Quotes within texts are escaped, so that no text can
/// pass for this.
const KIND: &[u8] = b",\"kind\":\"event\",";

/// The newest events of the log in `folder` that are `wanted`, no more than `limit`.
///
/// # Errors
/// When the log cannot be read.
pub fn events(
    folder: &Path,
    limit: usize,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<Value>, LedgerError> {
    let mut segments = segment::list(folder)?;
    segments.sort_by_key(|(first, _)| *first);
    let mut found = Vec::new();
    for (_, path) in segments.iter().rev() {
        if found.len() >= limit {
            break;
        }
        let mut within = Vec::new();
        let mut lines = Lines::open(path, 0)?;
        while let Some(line) = lines.next()? {
            if memmem::find(&line.entry, KIND).is_some()
                && let Ok(event) = serde_json::from_slice(&line.entry)
                && wanted(&event)
            {
                within.push(event);
            }
        }
        found.extend(within.into_iter().rev());
    }
    found.truncate(limit);
    Ok(found)
}
