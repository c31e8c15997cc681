//! Taking entries from the segments into the index.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value};
use rusqlite::{Connection, Transaction, params};

use crate::canonical::push_hex;
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
    document: Document,
    hash: String,
    outcome: Option<Document>,
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
        let mut late: Vec<(u64, Document)> = Vec::new();
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
            let limits = Limits { numbers: Numbers::Exact, index_depth: 2, ..Limits::default() };
            let document = Document::parse(Bytes::from(line.entry), &limits)
                .map_err(|error| LedgerError::Index(format!("entry {next}: {error}")))?;
            let root = document.root();
            match root.get("kind").and_then(Value::as_str).as_deref() {
                Some("decision") => {
                    decisions.insert(next, Pending { document, hash, outcome: None });
                }
                Some("outcome") => {
                    let of = root.get("of").and_then(Value::as_i64).and_then(|of| u64::try_from(of).ok());
                    match of.and_then(|of| decisions.get_mut(&of)) {
                        Some(decision) => decision.outcome = Some(document),
                        None => late.extend(of.map(|of| (of, document))),
                    }
                }
                _ => {}
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

/// The members of an entry that have a column, found in one pass.
struct Columns<'a>([Option<Value<'a>>; COLUMNS]);

const COLUMNS: usize = 22;

/// Where a member is kept.
fn column(name: &str) -> Option<usize> {
    Some(match name {
        "call" => 0,
        "time" => 1,
        "person" => 2,
        "person_email" => 3,
        "agent" => 4,
        "grant" => 5,
        "consumer" => 6,
        "client" => 7,
        "server" => 8,
        "target" => 9,
        "operation" => 10,
        "origin" => 11,
        "verdict" => 12,
        "reasons" => 13,
        "layer" => 14,
        "rule" => 15,
        "outcome" => 16,
        "duration_us" => 17,
        "error" => 18,
        "fingerprint" => 19,
        "trace" => 20,
        "_prev" => 21,
        _ => return None,
    })
}

impl<'a> Columns<'a> {
    fn of(entry: Value<'a>) -> Self {
        let mut found = [None; COLUMNS];
        for (key, value) in entry.members() {
            if let Some(at) = column(&key) {
                found[at] = Some(value);
            }
        }
        Self(found)
    }

    fn value(&self, name: &str) -> Option<Value<'a>> {
        column(name).and_then(|at| self.0[at])
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.value(name).and_then(Value::as_str)
    }
}

fn insert(transaction: &Transaction<'_>, sequence: u64, pending: &Pending) -> Result<(), LedgerError> {
    let root = pending.document.root();
    let columns = Columns::of(root);
    let text = |name: &str| columns.text(name);
    let end = pending.outcome.as_ref().map(Document::root);
    let ended = |name: &str| end.and_then(|end| end.get(name)).or_else(|| columns.value(name));
    let domain = text("person_email").and_then(|email| Some(email.rsplit_once('@')?.1.to_lowercase()));
    let preview =
        root.get("arguments").and_then(|arguments| arguments.get("preview")).and_then(Value::as_str);
    let reasons = columns.value("reasons").map_or("[]", Value::raw);
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
            ended("outcome").and_then(Value::as_str),
            ended("duration_us").and_then(Value::as_i64),
            end.and_then(|end| end.get("upstream_us")).and_then(Value::as_i64),
            ended("error").and_then(Value::as_str),
            end.and_then(|end| end.get("dlp")).and_then(Value::as_str).unwrap_or("none".into()),
            preview,
            text("fingerprint"),
            text("trace"),
            text("_prev"),
            pending.hash,
        ])?;
    Ok(())
}

fn update(transaction: &Transaction<'_>, of: u64, outcome: &Document) -> Result<(), LedgerError> {
    let root = outcome.root();
    let text = |key: &str| root.get(key).and_then(Value::as_str);
    let number = |key: &str| root.get(key).and_then(Value::as_i64);
    transaction
        .prepare_cached(
            "UPDATE calls SET outcome = ?2, duration_us = ?3, upstream_us = ?4, error = ?5, dlp = ?6 WHERE seq = ?1",
        )?
        .execute(params![
            of,
            text("outcome"),
            number("duration_us"),
            number("upstream_us"),
            text("error"),
            text("dlp").unwrap_or("none".into()),
        ])?;
    Ok(())
}
