//! The audit database of PetrefiedThunder/mcp-gateway, as its own verifier reads it.
//!
//! Its chain covers seven of a row's thirteen fields; that the chain holds says
//! nothing about the arguments, the response, the latency or the error.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, OpenFlags};

use crate::error::LedgerError;

/// What a check of a legacy database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyReport {
    /// Rows that were read.
    pub rows: u64,
    /// The id of the first row that does not hold.
    pub broken_at: Option<String>,
}

const GENESIS: &str = "genesis";

/// Checks the chain of a legacy database, `hash = SHA-256(id|timestamp|consumer|server|tool|status|prev)`.
///
/// # Errors
/// When the file cannot be read or holds no such table.
pub fn verify_legacy(path: &Path) -> Result<LegacyReport, LedgerError> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = database.prepare(
        "SELECT id, timestamp, consumer_id, server_id, tool, status, prev_hash, hash FROM audit_log ORDER BY rowid",
    )?;
    let mut rows = statement.query([])?;
    let mut report = LegacyReport { rows: 0, broken_at: None };
    let mut previous = GENESIS.to_owned();
    while let Some(row) = rows.next()? {
        let text = |at: usize| row.get::<_, String>(at);
        let (stored_previous, stored) = (text(6)?, text(7)?);
        let fields = [text(0)?, text(1)?, text(2)?, text(3)?, text(4)?, text(5)?, previous.clone()];
        let hash = row_hash(&fields);
        report.rows += 1;
        if stored_previous != previous || stored != hash {
            report.broken_at = Some(text(0)?);
            return Ok(report);
        }
        previous = stored;
    }
    Ok(report)
}

fn row_hash(fields: &[String; 7]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, fields.join("|").as_bytes()).as_ref() {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_the_original() {
        let text = |text: &str| text.to_owned();
        let fields = [
            text("00000000-0000-4000-8000-000000000000"),
            text("2026-01-01T00:00:00.000Z"),
            text("agent-prod"),
            text("mcp-fred"),
            text("get_series"),
            text("success"),
            text(GENESIS),
        ];
        assert_eq!(row_hash(&fields), "934cc7700e8568518e70497166bf86dd5c7b758f6da41243a4ee0a74f2464919");
    }

    #[test]
    fn a_row_that_was_changed_breaks_the_chain_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway-audit.db");
        let database = Connection::open(&path).expect("a database");
        database
            .execute_batch("CREATE TABLE audit_log(id TEXT PRIMARY KEY, timestamp TEXT, consumer_id TEXT, api_key_id TEXT, server_id TEXT, tool TEXT, args TEXT, response TEXT, latency_ms INTEGER, status TEXT, error TEXT, prev_hash TEXT, hash TEXT)")
            .expect("a table");
        let mut previous = GENESIS.to_owned();
        for at in 0..5 {
            let text = |text: &str| text.to_owned();
            let fields = [
                format!("id-{at}"),
                text("t"),
                text("c"),
                text("s"),
                text("tool"),
                text("success"),
                previous.clone(),
            ];
            let hash = row_hash(&fields);
            database
                .execute(
                    "INSERT INTO audit_log VALUES (?1, 't', 'c', 'k', 's', 'tool', '{}', '', 1, 'success', NULL, ?2, ?3)",
                    (&fields[0], &previous, &hash),
                )
                .expect("a row");
            previous = hash;
        }
        assert_eq!(verify_legacy(&path).expect("readable"), LegacyReport { rows: 5, broken_at: None });
        database.execute("UPDATE audit_log SET status = 'denied' WHERE id = 'id-2'", []).expect("changed");
        assert_eq!(verify_legacy(&path).expect("readable").broken_at.as_deref(), Some("id-2"));
    }
}
