//! Taking entries from the segments into the index.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Statement, Transaction, params};

use crate::canonical::push_hex;
use crate::entry::{Members, Raw};
use crate::error::LedgerError;
use crate::merkle::{Hash, leaf_hash};
use crate::segment::{self, Lines};

/// Entries in one transaction.
const BATCH: u64 = 4_000;

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
    decision: Row,
    hash: String,
    outcome: Option<Row>,
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
        let mut late: Vec<(u64, Row)> = Vec::new();
        // The decision just read, whose hash the next entry names.
        let mut unnamed: Option<u64> = None;
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
            if next + 1 == until {
                push_hex(&mut head, &leaf_hash(&line.entry));
            }
            let row = Row::of(line.entry);
            if let Some(decision) = unnamed.take().and_then(|of| decisions.get_mut(&of)) {
                decision.hash = row.text(Column::Previous).unwrap_or_default().into_owned();
            }
            match row.text(Column::Kind).as_deref() {
                Some("decision") => {
                    decisions.insert(next, Pending { decision: row, hash: String::new(), outcome: None });
                    unnamed = Some(next);
                }
                Some("outcome") => {
                    let of = row.number(Column::Of).and_then(|of| u64::try_from(of).ok());
                    match of.and_then(|of| decisions.get_mut(&of)) {
                        Some(decision) => decision.outcome = Some(row),
                        None => late.extend(of.map(|of| (of, row))),
                    }
                }
                Some(_) => {}
                None => return Err(LedgerError::Index(format!("entry {next} cannot be read"))),
            }
            next += 1;
            offset = line.end;
        }
        if let Some(decision) = unnamed.and_then(|of| decisions.get_mut(&of)) {
            decision.hash.clone_from(&head);
        }
        let transaction = database.transaction()?;
        let mut statement = transaction.prepare_cached(INSERT)?;
        for (sequence, pending) in &decisions {
            insert(&mut statement, *sequence, pending)?;
        }
        drop(statement);
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

/// The members of entries that the index looks at, in the order in which they stand.
#[derive(Clone, Copy)]
enum Column {
    Previous,
    Agent,
    Arguments,
    Call,
    Client,
    Consumer,
    Dlp,
    Duration,
    Error,
    Fingerprint,
    Grant,
    Kind,
    Layer,
    Of,
    Operation,
    Origin,
    Outcome,
    Person,
    Email,
    Reasons,
    Rule,
    Server,
    Target,
    Time,
    Trace,
    Upstream,
    Verdict,
}

/// What the members are called.
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

/// An entry, and where in it the members are that have a column.
struct Row {
    entry: Vec<u8>,
    at: [(u32, u32); NAMES.len()],
}

impl Row {
    fn of(entry: Vec<u8>) -> Self {
        let mut at = [(0, 0); NAMES.len()];
        let mut names = NAMES.iter().enumerate().peekable();
        for (key, value) in Members::of(&entry) {
            // Both lists are sorted, so one pass over both finds what they share.
            while names.next_if(|(_, name)| name.as_bytes() < key).is_some() {}
            if let Some((column, _)) = names.next_if(|(_, name)| name.as_bytes() == key) {
                at[column] = value.span();
            }
        }
        Self { entry, at }
    }

    fn value(&self, column: Column) -> Option<Raw<'_>> {
        Raw::at(&self.entry, self.at[column as usize])
    }

    fn text(&self, column: Column) -> Option<Cow<'_, str>> {
        self.value(column).and_then(Raw::text)
    }

    fn number(&self, column: Column) -> Option<i64> {
        self.value(column).and_then(Raw::number)
    }
}

const INSERT: &str = "INSERT OR REPLACE INTO calls VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27)";

fn insert(statement: &mut Statement<'_>, sequence: u64, pending: &Pending) -> Result<(), LedgerError> {
    let row = &pending.decision;
    let text = |column| row.text(column);
    let end = pending.outcome.as_ref();
    let ended = |column| end.and_then(|end| end.value(column)).or_else(|| row.value(column));
    let domain = text(Column::Email).and_then(|email| Some(email.rsplit_once('@')?.1.to_lowercase()));
    let preview = row.value(Column::Arguments).and_then(|it| it.get("preview")).and_then(Raw::text);
    let reasons = row.value(Column::Reasons).map_or("[]".into(), Raw::json);
    statement.execute(params![
        sequence,
        text(Column::Call),
        text(Column::Time),
        text(Column::Person),
        domain,
        text(Column::Agent),
        text(Column::Grant),
        text(Column::Consumer),
        text(Column::Client),
        text(Column::Server),
        text(Column::Target),
        text(Column::Operation),
        text(Column::Origin),
        text(Column::Verdict),
        reasons,
        text(Column::Layer),
        text(Column::Rule),
        ended(Column::Outcome).and_then(Raw::text),
        ended(Column::Duration).and_then(Raw::number),
        end.and_then(|end| end.number(Column::Upstream)),
        ended(Column::Error).and_then(Raw::text),
        end.and_then(|end| end.text(Column::Dlp)).unwrap_or("none".into()),
        preview,
        text(Column::Fingerprint),
        text(Column::Trace),
        text(Column::Previous),
        pending.hash,
    ])?;
    Ok(())
}

fn update(transaction: &Transaction<'_>, of: u64, outcome: &Row) -> Result<(), LedgerError> {
    transaction
        .prepare_cached(
            "UPDATE calls SET outcome = ?2, duration_us = ?3, upstream_us = ?4, error = ?5, dlp = ?6 WHERE seq = ?1",
        )?
        .execute(params![
            of,
            outcome.text(Column::Outcome),
            outcome.number(Column::Duration),
            outcome.number(Column::Upstream),
            outcome.text(Column::Error),
            outcome.text(Column::Dlp).unwrap_or("none".into()),
        ])?;
    Ok(())
}
