//! The index: what the log says, as rows that can be searched.
//!
//! A projection and nothing more: it is built behind the writer, from what that hands
//! over or from the segments, and can be deleted at any time. A row holds what calls are found by, how they
//! ended, and where in the log both stand. Whatever is shown of a call is read from there.

mod cells;
pub(crate) mod columns;
pub(crate) mod compare;
pub(crate) mod feed;
mod filter;
mod follow;
mod recorded;
mod row;
#[cfg(test)]
mod tests;
mod usage;

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params_from_iter};

pub use filter::{Filter, NO_AGENT, NO_PERSON, Status, UnknownStatus};
pub use recorded::{Recorded, SHORTEST_START};
pub use row::{CallRow, Stats};
use usage::Counted;
pub use usage::{Dimensions, Sum, Usage};

use crate::error::LedgerError;
use crate::merkle::Hash;
use crate::segment::{self, Places};
use feed::Feed;
use follow::Follower;

const FILE: &str = "index.db";
/// How long a reader waits for the index to follow the log: a second in all.
const CATCH_UP_LOOKS: usize = 50;
const CATCH_UP_PACE: Duration = Duration::from_millis(20);
/// Goes up when the table changes; an index of another version is built anew.
const VERSION: i64 = 5;
/// Rows that a start compares with the log.
pub(crate) const SAMPLE: usize = 200;

const SCHEMA: &str = "
CREATE TABLE calls(
    seq INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    end_segment INTEGER, end_offset INTEGER,
    time TEXT NOT NULL, consumer TEXT NOT NULL, person TEXT, domain TEXT, agent TEXT,
    server TEXT, target TEXT NOT NULL, verdict TEXT NOT NULL,
    outcome TEXT, duration_us INTEGER, upstream_us INTEGER, error TEXT, code TEXT, dlp TEXT NOT NULL
);
CREATE TABLE position(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, head TEXT NOT NULL
);
INSERT INTO position VALUES (1, 0, 0, 0, '0000000000000000000000000000000000000000000000000000000000000000');
";

/// The index of one log.
pub struct Index {
    log: PathBuf,
    database: Connection,
    follower: Option<Follower>,
}

impl Index {
    /// Opens the index for writing. One that cannot be read, is of another version, or
    /// tells of another log than this one with its `entries` and the hash of the last,
    /// is thrown away and begun anew: after a power cut it may be ahead of the log.
    pub(crate) fn open(log: &Path, entries: u64, last: &Hash) -> Result<Self, LedgerError> {
        let path = log.join(FILE);
        match Self::resume(log, &path, entries, last) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(target: "doorward::ledger", %error, "the index cannot be used and is built anew");
            }
        }
        Self::begin(log)
    }

    /// Throws away the index that is there and begins another.
    pub(crate) fn begin(log: &Path) -> Result<Self, LedgerError> {
        let path = log.join(FILE);
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            // What is not there need not be removed.
            let _ = std::fs::remove_file(name);
        }
        let database = open_for_owner(&path)?;
        prepare(&database)?;
        database.execute_batch(SCHEMA)?;
        database.pragma_update(None, "user_version", VERSION)?;
        Ok(Self { log: log.to_path_buf(), follower: Some(Follower::new(log, &database)?), database })
    }

    fn resume(log: &Path, path: &Path, entries: u64, last: &Hash) -> Result<Option<Self>, LedgerError> {
        if !path.exists() {
            return Ok(None);
        }
        let database = open_for_owner(path)?;
        if database.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? != VERSION {
            return Ok(None);
        }
        prepare(&database)?;
        let follower = Follower::new(log, &database)?;
        let fits = follower.fits(entries, last)?;
        Ok(fits.then_some(Self { log: log.to_path_buf(), database, follower: Some(follower) }))
    }

    /// Opens the index of a log that another process may be writing.
    ///
    /// # Errors
    /// When there is none.
    pub fn open_read_only(log: &Path) -> Result<Self, LedgerError> {
        let path = log.join(FILE);
        let database =
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|_| {
                LedgerError::Index(format!("{} does not exist; no gateway has run here", path.display()))
            })?;
        database.busy_timeout(Duration::from_secs(5))?;
        Ok(Self { log: log.to_path_buf(), database, follower: None })
    }

    /// The same, once the gateway that writes the log has taken in what was written
    /// before this was asked; it follows within a moment. Where no gateway runs, the
    /// index stays as the last one left it.
    ///
    /// # Errors
    /// When there is no index.
    pub fn open_caught_up(log: &Path) -> Result<Self, LedgerError> {
        let index = Self::open_read_only(log)?;
        let written = segment::count(log)?;
        for _ in 0..CATCH_UP_LOOKS {
            if index.entries()? >= written {
                break;
            }
            std::thread::sleep(CATCH_UP_PACE);
        }
        Ok(index)
    }

    /// How many entries of the log it has taken in.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn entries(&self) -> Result<u64, LedgerError> {
        Ok(self.database.query_row("SELECT next FROM position", [], |row| row.get(0))?)
    }

    /// How many entries it has taken in as the one who writes it, and how many calls those are.
    pub(crate) fn taken_in(&self) -> (u64, u64) {
        self.follower.as_ref().map_or((0, 0), Follower::taken_in)
    }

    /// What of it is not as the log says, found in a few rows and their number; `None` where
    /// nothing is. [`compare`] looks at everything.
    ///
    /// * `remembered`: how many calls the first so many entries are, as `keyDir` knows.
    /// * `places`: chooses the rows.
    pub(crate) fn sampled(
        &self,
        remembered: Option<(u64, u64)>,
        mut places: impl FnMut() -> u64,
    ) -> Result<Option<String>, LedgerError> {
        let (entries, all) = self.taken_in();
        if let Some((until, calls)) = remembered.filter(|(until, _)| *until <= entries) {
            let sql = "SELECT count(*) FROM calls WHERE seq < ?1";
            let found: u64 = self.database.query_row(sql, [until], |row| row.get(0))?;
            if found != calls {
                return Ok(Some(format!("it has {found} of {calls} calls")));
            }
        }
        let sql = format!("{} WHERE seq >= ?1 ORDER BY seq LIMIT 1", select());
        let mut statement = self.database.prepare(&sql)?;
        let mut log = Places::new(&self.log);
        for _ in 0..SAMPLE.min(usize::try_from(all).unwrap_or(SAMPLE)) {
            let mut rows = statement.query([places() % entries.max(1)])?;
            let Some(row) = rows.next()? else { continue };
            match CallRow::read(row, &mut log) {
                Ok(_) => {}
                Err(LedgerError::IndexDiffers(entry)) => {
                    return Ok(Some(format!("entry {entry} is another")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes in everything up to the entry with this number; where it can, from `feed`.
    pub(crate) fn follow(&mut self, written: u64, feed: &Feed) -> Result<(), LedgerError> {
        match &mut self.follower {
            Some(follower) => follower.follow(&mut self.database, written, feed),
            None => Ok(()),
        }
    }

    /// Calls that match, newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn query(&self, filter: &Filter) -> Result<Vec<CallRow>, LedgerError> {
        let (condition, values) = filter.sql();
        let limit = filter.limit.min(1_000_000);
        // Reasons stand in the log alone, so that only reading on tells how many rows are enough.
        let most = if filter.reasons.is_empty() { limit } else { 1_000_000 };
        let sql = format!("{} WHERE {condition} ORDER BY seq DESC LIMIT {most}", select());
        let mut statement = self.database.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut places = Places::new(&self.log);
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let row = CallRow::read(row, &mut places)?;
            if filter.admits(&row) {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Counts of the calls that match.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn stats(&self, filter: &Filter) -> Result<Stats, LedgerError> {
        let (condition, values) = filter.sql();
        let sql = format!(
            "SELECT verdict, outcome, coalesce(server, 'unknown'), count(*) FROM calls WHERE {condition} GROUP BY 1, 2, 3"
        );
        let mut statement = self.database.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut stats = Stats::default();
        while let Some(row) = rows.next()? {
            let (verdict, outcome): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            stats.add(&verdict, outcome.as_deref(), row.get(2)?, row.get(3)?);
        }
        Ok(stats)
    }

    /// Usage of the calls that match; refused calls are counted apart.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn usage(&self, filter: &Filter) -> Result<Usage, LedgerError> {
        let (condition, values) = filter.sql();
        let sql = format!(
            "SELECT outcome, coalesce(server, 'unknown'), target, coalesce(duration_us, 0), consumer, person, time \
             FROM calls WHERE {condition}"
        );
        let mut statement = self.database.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut usage = Usage::default();
        while let Some(row) = rows.next()? {
            usage.add(Counted {
                outcome: row.get(0)?,
                server: row.get(1)?,
                tool: row.get(2)?,
                duration_us: row.get(3)?,
                consumer: row.get(4)?,
                person: row.get(5)?,
                time: row.get(6)?,
            });
        }
        usage.finish();
        Ok(usage)
    }
}

/// Everything that [`CallRow::read`] wants.
fn select() -> String {
    format!("SELECT {}, {} FROM calls", row::PLACE, cells::COLUMNS)
}

/// Opens the database for its owner alone; the files beside it get the same mode.
fn open_for_owner(path: &Path) -> Result<Connection, LedgerError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    // One that an earlier version left may be readable by others.
    let private = file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    private.map_err(LedgerError::file("open", path))?;
    Ok(Connection::open(path)?)
}

fn prepare(database: &Connection) -> Result<(), LedgerError> {
    database.busy_timeout(Duration::from_secs(5))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // A projection may lose its last moments to a power cut; it takes them in again.
    database.pragma_update(None, "synchronous", "OFF")?;
    // A batch stays in memory until it is committed, and many fit into the log before
    // they are moved to their place.
    database.pragma_update(None, "cache_size", -8_000)?;
    database.pragma_update(None, "wal_autocheckpoint", 8_000)?;
    Ok(())
}
