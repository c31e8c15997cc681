//! Taking entries into the index: from memory, or from the segments.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memchr::memchr;
use rusqlite::{Connection, Statement, ToSql, Transaction, params, params_from_iter};

use crate::error::LedgerError;
use crate::index::cells;
use crate::index::columns::{Column, Entry};
use crate::index::feed::{Briefs, Feed, Kind, Next, Position};
use crate::merkle::{Hash, leaf_hash};
use crate::segment::{self, Lines};
use doorward_model::json::push_hex;

/// Bytes of the log that are taken in at once. Every entry fits.
const CHUNK: usize = segment::LONGEST_LINE;

/// Where the index has got to.
pub(super) struct Follower {
    log: PathBuf,
    next: u64,
    segment: u64,
    offset: u64,
    /// The hash of the entry before `next`, hexadecimal.
    head: String,
    /// How many rows there are.
    calls: u64,
    /// Room for what is taken in, used again and again.
    chunk: Vec<u8>,
    briefs: Briefs,
}

/// A decision on its way into the table, with its outcome if that came along.
struct Pending<'a> {
    segment: u64,
    offset: u64,
    decision: Entry<'a>,
    outcome: Option<Outcome<'a>>,
}

/// An outcome, and the segment and the offset where it stands.
struct Outcome<'a> {
    segment: u64,
    offset: u64,
    entry: Entry<'a>,
}

/// Rows on their way into the table. Most calls end soon after they began; those cost
/// one row and no update.
#[derive(Default)]
struct Batch<'a> {
    decisions: Vec<(u64, Pending<'a>)>,
    late: Vec<(u64, Outcome<'a>)>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, sequence: u64, kind: Kind, segment: u64, offset: u64, entry: Entry<'a>) {
        match kind {
            Kind::Decision => {
                self.decisions.push((sequence, Pending { segment, offset, decision: entry, outcome: None }));
            }
            Kind::Outcome(of) => {
                let outcome = Outcome { segment, offset, entry };
                match self.decisions.binary_search_by_key(&of, |(decision, _)| *decision) {
                    Ok(at) => self.decisions[at].1.outcome = Some(outcome),
                    Err(_) => self.late.push((of, outcome)),
                }
            }
            Kind::Event => {}
        }
    }

    /// Puts the rows into the table, and how far they go.
    fn store(&self, database: &mut Connection, end: &Position, head: &str) -> Result<(), LedgerError> {
        let transaction = database.transaction()?;
        let mut statement = transaction.prepare_cached(INSERT)?;
        for (sequence, pending) in &self.decisions {
            insert(&mut statement, *sequence, pending)?;
        }
        drop(statement);
        for (of, outcome) in &self.late {
            update(&transaction, *of, outcome)?;
        }
        transaction
            .prepare_cached("UPDATE position SET next = ?1, segment = ?2, offset = ?3, head = ?4")?
            .execute(params![end.next, end.segment, end.offset, head])?;
        transaction.commit()?;
        Ok(())
    }
}

impl Follower {
    pub(super) fn new(log: &Path, database: &Connection) -> Result<Self, LedgerError> {
        let sql = "SELECT next, segment, offset, head FROM position";
        let (next, segment, offset, head) =
            database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let calls = database.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))?;
        let (log, chunk, briefs) = (log.to_path_buf(), Vec::new(), Briefs::default());
        Ok(Self { log, next, segment, offset, head, calls, chunk, briefs })
    }

    /// How many entries were taken in, and how many calls those are.
    pub(super) fn taken_in(&self) -> (u64, u64) {
        (self.next, self.calls)
    }

    /// Whether the entries taken in are the first of a log that has so many, the last
    /// of which has this hash.
    pub(super) fn fits(&self, entries: u64, last: &Hash) -> Result<bool, LedgerError> {
        if self.next >= entries {
            return Ok(self.next == entries && self.head == hex(last));
        }
        let mut line = Lines::open(&segment::path(&self.log, self.segment), self.offset)?.next()?;
        if line.is_none() {
            line = Lines::open(&segment::path(&self.log, self.next), 0)?.next()?;
        }
        let prefix = format!("{{\"_prev\":\"{}\",\"_seq\":{},", self.head, self.next);
        Ok(line.is_some_and(|line| line.entry.starts_with(prefix.as_bytes())))
    }

    /// Takes in the entries before `written`, and what else was handed over.
    pub(super) fn follow(
        &mut self,
        database: &mut Connection,
        written: u64,
        feed: &Feed,
    ) -> Result<(), LedgerError> {
        while self.next < written {
            let mut briefs = std::mem::take(&mut self.briefs);
            let done = match feed.take(self.next, &mut briefs) {
                Next::Handed(end) => self.take_over(database, &briefs, end),
                Next::Read(until) => self.read(database, until.min(written)),
            };
            briefs.clear();
            self.briefs = briefs;
            done?;
        }
        Ok(())
    }

    /// Takes in what was handed over.
    fn take_over(
        &mut self,
        database: &mut Connection,
        briefs: &Briefs,
        end: Position,
    ) -> Result<(), LedgerError> {
        let mut batch = Batch::default();
        for (sequence, (kind, segment, offset, entry)) in (self.next..).zip(briefs.iter()) {
            batch.add(sequence, kind, segment, offset, entry);
        }
        let head = hex(&end.head);
        batch.store(database, &end, &head)?;
        self.calls += batch.decisions.len() as u64;
        (self.next, self.segment, self.offset, self.head) = (end.next, end.segment, end.offset, head);
        Ok(())
    }

    /// Reads entries before `until`, as many as are taken in at once.
    fn read(&mut self, database: &mut Connection, until: u64) -> Result<(), LedgerError> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(CHUNK, 0);
        self.chunk = self.take_in(database, until, chunk)?;
        Ok(())
    }

    /// Takes in as many entries before `until` as fit into `chunk`, and gives it back.
    fn take_in(
        &mut self,
        database: &mut Connection,
        until: u64,
        mut chunk: Vec<u8>,
    ) -> Result<Vec<u8>, LedgerError> {
        let path = segment::path(&self.log, self.segment);
        let file = File::open(&path).map_err(LedgerError::file("open", &path))?;
        let read = file.read_at(&mut chunk, self.offset).map_err(LedgerError::file("read", &path))?;
        let mut rest = &chunk[..read];
        let (mut next, mut offset, mut last) = (self.next, self.offset, &rest[..0]);
        let mut batch = Batch::default();
        while next < until
            && let Some(end) = memchr(b'\n', rest)
        {
            last = &rest[..end];
            rest = &rest[end + 1..];
            let entry = Entry::read(last);
            let kind =
                kind(&entry).ok_or_else(|| LedgerError::Index(format!("entry {next} cannot be read")))?;
            batch.add(next, kind, self.segment, offset, entry);
            next += 1;
            offset += last.len() as u64 + 1;
        }
        if next == self.next {
            // The end of a segment; the next one begins with the next entry.
            if self.offset == 0 {
                return Err(LedgerError::Index(format!("entry {next} is not where it should be")));
            }
            (self.segment, self.offset) = (next, 0);
            return Ok(chunk);
        }
        let end = Position { next, segment: self.segment, offset, head: leaf_hash(last) };
        let head = hex(&end.head);
        batch.store(database, &end, &head)?;
        self.calls += batch.decisions.len() as u64;
        drop(batch);
        (self.next, self.offset, self.head) = (next, offset, head);
        Ok(chunk)
    }
}

fn hex(hash: &Hash) -> String {
    let mut text = String::with_capacity(64);
    push_hex(&mut text, hash);
    text
}

/// What an entry is to the index; `None` for what is no entry.
pub(super) fn kind(entry: &Entry<'_>) -> Option<Kind> {
    Some(match entry.text(Column::Kind)?.as_ref() {
        "decision" => Kind::Decision,
        "outcome" => match entry.number(Column::Of).and_then(|of| u64::try_from(of).ok()) {
            Some(of) => Kind::Outcome(of),
            None => Kind::Event,
        },
        _ => Kind::Event,
    })
}

const INSERT: &str = "INSERT OR REPLACE INTO calls VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)";

fn insert(statement: &mut Statement<'_>, sequence: u64, pending: &Pending<'_>) -> Result<(), LedgerError> {
    let outcome = pending.outcome.as_ref();
    let place = params![
        sequence,
        pending.segment,
        pending.offset,
        outcome.map(|outcome| outcome.segment),
        outcome.map(|outcome| outcome.offset),
    ];
    let cells = cells::of_call(&pending.decision, outcome.map(|outcome| &outcome.entry));
    let cells = cells.iter().map(|cell| cell as &dyn ToSql);
    statement.execute(params_from_iter(place.iter().copied().chain(cells)))?;
    Ok(())
}

fn update(transaction: &Transaction<'_>, of: u64, outcome: &Outcome<'_>) -> Result<(), LedgerError> {
    let place = params![of, outcome.segment, outcome.offset];
    let cells = cells::of_outcome(&outcome.entry);
    let cells = cells.iter().map(|cell| cell as &dyn ToSql);
    transaction
        .prepare_cached(
            "UPDATE calls SET end_segment = ?2, end_offset = ?3, outcome = ?4, duration_us = ?5, upstream_us = ?6, error = ?7, code = ?8, dlp = ?9 WHERE seq = ?1",
        )?
        .execute(params_from_iter(place.iter().copied().chain(cells)))?;
    Ok(())
}
