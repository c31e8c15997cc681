//! Taking entries from the segments into the index.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, params};

use crate::canonical::push_hex;
use crate::entry::{Members, Raw};
use crate::error::LedgerError;
use crate::merkle::{Hash, leaf_hash};
use crate::segment::{self, Lines};

/// Entries in one transaction.
const BATCH: u64 = 20_000;

/// Where the index has got to.
pub(super) struct Follower {
    log: PathBuf,
    next: u64,
    segment: u64,
    offset: u64,
    /// The hash of the entry before `next`, hexadecimal.
    head: String,
}

/// A decision on its way into the table, with its outcome if that came along.
struct Pending {
    entry: Vec<u8>,
    hash: String,
    outcome: Option<Vec<u8>>,
}

impl Follower {
    pub(super) fn new(log: &Path, database: &Connection) -> Result<Self, LedgerError> {
        let sql = "SELECT next, segment, offset, head FROM position";
        let (next, segment, offset, head) =
            database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(Self { log: log.to_path_buf(), next, segment, offset, head })
    }

    /// Whether the entries taken in are the first of a log that has so many, the last
    /// of which has this hash.
    pub(super) fn fits(&self, entries: u64, last: &Hash) -> Result<bool, LedgerError> {
        if self.next >= entries {
            let mut hash = String::new();
            push_hex(&mut hash, last);
            return Ok(self.next == entries && self.head == hash);
        }
        let mut line = Lines::open(&segment::path(&self.log, self.segment), self.offset)?.next()?;
        if line.is_none() {
            line = Lines::open(&segment::path(&self.log, self.next), 0)?.next()?;
        }
        let prefix = format!("{{\"_prev\":\"{}\",\"_seq\":{},", self.head, self.next);
        Ok(line.is_some_and(|line| line.entry.starts_with(prefix.as_bytes())))
    }

    /// Takes in the entries before `written`.
    pub(super) fn follow(&mut self, database: &mut Connection, written: u64) -> Result<(), LedgerError> {
        while self.next < written {
            self.batch(database, written.min(self.next + BATCH))?;
        }
        Ok(())
    }

    fn batch(&mut self, database: &mut Connection, until: u64) -> Result<(), LedgerError> {
        let (mut next, mut segment, mut offset) = (self.next, self.segment, self.offset);
        // Most calls end within the batch they began in; those cost one row and no update.
        let mut decisions: BTreeMap<u64, Pending> = BTreeMap::new();
        let mut late: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut head = String::new();
        let mut lines = Lines::open(&segment::path(&self.log, segment), offset)?;
        while next < until {
            let Some(line) = lines.next()?.filter(|line| line.complete) else {
                // The end of a segment; the next one begins with the next entry.
                if offset == 0 {
                    return Err(LedgerError::Index(format!("entry {next} is not where it should be")));
                }
                (segment, offset) = (next, 0);
                lines = Lines::open(&segment::path(&self.log, segment), 0)?;
                continue;
            };
            // Only decisions become rows, and only rows carry their hash; beside them,
            // the last entry is remembered by its own.
            let last = next + 1 == until;
            let mut hash = String::new();
            if last || !is_outcome(&line.entry) {
                push_hex(&mut hash, &leaf_hash(&line.entry));
            }
            if last {
                head.clone_from(&hash);
            }
            let entry = line.entry;
            let columns = Columns::of(&entry);
            match columns.text("kind").as_deref() {
                Some("decision") => {
                    decisions.insert(next, Pending { entry, hash, outcome: None });
                }
                Some("outcome") => {
                    let of = columns.number("of").and_then(|of| u64::try_from(of).ok());
                    match of.and_then(|of| decisions.get_mut(&of)) {
                        Some(decision) => decision.outcome = Some(entry),
                        None => late.extend(of.map(|of| (of, entry))),
                    }
                }
                Some(_) => {}
                None => return Err(LedgerError::Index(format!("entry {next} cannot be read"))),
            }
            next += 1;
            offset = line.end;
        }
        let transaction = database.transaction()?;
        for (sequence, pending) in &decisions {
            insert(&transaction, *sequence, pending)?;
        }
        for (of, outcome) in &late {
            update(&transaction, *of, outcome)?;
        }
        transaction
            .prepare_cached("UPDATE position SET next = ?1, segment = ?2, offset = ?3, head = ?4")?
            .execute(params![next, segment, offset, head])?;
        transaction.commit()?;
        (self.next, self.segment, self.offset, self.head) = (next, segment, offset, head);
        Ok(())
    }
}

/// Whether an entry is an outcome, told from its beginning: keys are sorted, and
/// the sizes that only outcomes have follow the place in the log.
fn is_outcome(entry: &[u8]) -> bool {
    const PLACE: usize = r#"{"_prev":"","_seq":"#.len() + 64;
    let behind = entry.get(PLACE..).unwrap_or_default();
    let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
    behind[digits..].starts_with(b",\"bytes_in\":")
}

/// The members of an entry that the index looks at, found in one pass.
struct Columns<'a>([Option<Raw<'a>>; NAMES.len()]);

const NAMES: [&str; 27] = [
    "_prev",
    "agent",
    "arguments",
    "call",
    "client",
    "consumer",
    "dlp",
    "duration_us",
    "error",
    "fingerprint",
    "grant",
    "kind",
    "layer",
    "of",
    "operation",
    "origin",
    "outcome",
    "person",
    "person_email",
    "reasons",
    "rule",
    "server",
    "target",
    "time",
    "trace",
    "upstream_us",
    "verdict",
];

impl<'a> Columns<'a> {
    fn of(entry: &'a [u8]) -> Self {
        let mut found = [None; NAMES.len()];
        for (key, value) in Members::of(entry) {
            if let Ok(at) = NAMES.binary_search_by(|name| name.as_bytes().cmp(key)) {
                found[at] = Some(value);
            }
        }
        Self(found)
    }

    fn value(&self, name: &str) -> Option<Raw<'a>> {
        NAMES.binary_search(&name).ok().and_then(|at| self.0[at])
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.value(name).and_then(Raw::text)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.value(name).and_then(Raw::number)
    }
}

fn insert(transaction: &Transaction<'_>, sequence: u64, pending: &Pending) -> Result<(), LedgerError> {
    let columns = Columns::of(&pending.entry);
    let text = |name: &str| columns.text(name);
    let end = pending.outcome.as_deref().map(Columns::of);
    let ended = |name: &str| end.as_ref().and_then(|end| end.value(name)).or_else(|| columns.value(name));
    let domain = text("person_email").and_then(|email| Some(email.rsplit_once('@')?.1.to_lowercase()));
    let preview = columns.value("arguments").and_then(|it| it.get("preview")).and_then(Raw::text);
    let reasons = columns.value("reasons").map_or("[]".into(), Raw::json);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO calls VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27)",
        )?
        .execute(params![
            sequence,
            text("call"),
            text("time"),
            text("person"),
            domain,
            text("agent"),
            text("grant"),
            text("consumer"),
            text("client"),
            text("server"),
            text("target"),
            text("operation"),
            text("origin"),
            text("verdict"),
            reasons,
            text("layer"),
            text("rule"),
            ended("outcome").and_then(Raw::text),
            ended("duration_us").and_then(Raw::number),
            end.as_ref().and_then(|end| end.number("upstream_us")),
            ended("error").and_then(Raw::text),
            end.as_ref().and_then(|end| end.text("dlp")).unwrap_or("none".into()),
            preview,
            text("fingerprint"),
            text("trace"),
            text("_prev"),
            pending.hash,
        ])?;
    Ok(())
}

fn update(transaction: &Transaction<'_>, of: u64, outcome: &[u8]) -> Result<(), LedgerError> {
    let columns = Columns::of(outcome);
    transaction
        .prepare_cached(
            "UPDATE calls SET outcome = ?2, duration_us = ?3, upstream_us = ?4, error = ?5, dlp = ?6 WHERE seq = ?1",
        )?
        .execute(params![
            of,
            columns.text("outcome"),
            columns.number("duration_us"),
            columns.number("upstream_us"),
            columns.text("error"),
            columns.text("dlp").unwrap_or("none".into()),
        ])?;
    Ok(())
}
