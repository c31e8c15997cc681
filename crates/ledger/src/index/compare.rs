//! The index held against the log, row by row, while the log is read from its beginning.
//!
//! What waits in memory are the calls whose outcome has not been read yet.

use std::collections::BTreeMap;

use rusqlite::{Rows, Statement};

use super::cells::{self, ALL, Cell, OF_DECISION};
use super::columns::{Column, Entry};
use super::feed::Kind;
use super::follow::kind;
use super::{FILE, Index};
use crate::error::LedgerError;

/// What the comparison of an index found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many calls were compared.
    pub calls: u64,
    /// The entry and what is wrong with its row, of the first that differs.
    pub differs: Option<(u64, String)>,
}

/// A comparison under way.
pub(crate) struct Comparison<'a> {
    rows: Rows<'a>,
    /// Entries that the index has taken in.
    until: u64,
    /// What the rows say of the end of calls that have none in the log so far.
    open: BTreeMap<u64, Vec<Cell<'static>>>,
    found: Compared,
}

/// The first cell in what [`rows`] selects.
const FIRST_CELL: usize = 1;

/// All rows of an index in their order; `None` where there is no index.
pub(crate) fn rows(index: &Index) -> Result<(u64, Statement<'_>), LedgerError> {
    // One look at it: a gateway goes on writing meanwhile.
    index.database.execute_batch("BEGIN")?;
    let sql = format!("SELECT seq, {} FROM calls ORDER BY seq", cells::COLUMNS);
    Ok((index.entries()?, index.database.prepare(&sql)?))
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(until: u64, statement: &'a mut Statement<'_>) -> Result<Self, LedgerError> {
        let (open, found) = (BTreeMap::new(), Compared::default());
        Ok(Self { rows: statement.query([])?, until, open, found })
    }

    /// Compares an entry; each has to pass, in order.
    pub(crate) fn pass(&mut self, sequence: u64, entry: &[u8]) -> Result<(), LedgerError> {
        if sequence >= self.until || self.found.differs.is_some() {
            return Ok(());
        }
        let entry = Entry::read(entry);
        match kind(&entry) {
            Some(Kind::Decision) => self.decision(sequence, &entry),
            Some(Kind::Outcome(of)) => {
                let stored = self.open.remove(&of);
                if stored.is_some_and(|stored| stored != cells::of_outcome(&entry)) {
                    self.differs(of, "its outcome is another");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn decision(&mut self, sequence: u64, entry: &Entry<'_>) -> Result<(), LedgerError> {
        self.found.calls += 1;
        let ends_itself = entry.value(Column::Outcome).is_some();
        let expected = cells::of_call(entry, None);
        let expected = &expected[..if ends_itself { ALL } else { OF_DECISION }];
        let wrong = match self.rows.next()? {
            None => Some("it is missing".to_owned()),
            Some(row) => {
                let there: u64 = row.get(0)?;
                if there != sequence {
                    Some(if there > sequence { "it is missing" } else { "there is no call" }.to_owned())
                } else if let Some(column) = cells::differing(expected, row, FIRST_CELL)? {
                    Some(format!("its {column} is another"))
                } else {
                    if !ends_itself {
                        let end = cells::kept(row, FIRST_CELL + OF_DECISION, ALL - OF_DECISION)?;
                        self.open.insert(sequence, end);
                    }
                    None
                }
            }
        };
        if let Some(wrong) = wrong {
            self.differs(sequence, &wrong);
        }
        Ok(())
    }

    fn differs(&mut self, sequence: u64, wrong: &str) {
        self.found.differs = Some((sequence, wrong.to_owned()));
    }

    /// What was found, once all entries have passed.
    pub(crate) fn end(mut self) -> Result<Compared, LedgerError> {
        if self.found.differs.is_some() {
            return Ok(self.found);
        }
        if let Some(row) = self.rows.next()? {
            let sequence = row.get(0)?;
            self.differs(sequence, "there is no call");
        }
        let ended = |end: &Vec<Cell<'_>>| end.first() != Some(&Cell::Null);
        if let Some((sequence, _)) = self.open.iter().find(|(_, end)| ended(end)) {
            let sequence = *sequence;
            self.differs(sequence, "it has not ended");
        }
        Ok(self.found)
    }
}

/// The name of the index, for people.
pub(crate) fn name() -> &'static str {
    FILE
}
