//! Everything that the log says of one call: its decision and its outcome, as written.

use std::path::Path;

use doorward_model::{CallId, Seal, Timestamp};

use super::filter::Filter;
use super::{CallRow, Index};
use crate::error::LedgerError;
use crate::payload;
use crate::segment::Places;

/// The shortest start of an id that calls are found by, in hexadecimal digits: it tells the
/// minute.
pub const SHORTEST_START: usize = 8;
/// Digits of an id that are the millisecond.
const MILLIS_DIGITS: usize = 12;

/// One call, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its row.
    pub row: CallRow,
    /// The entry of its decision.
    pub decision: Vec<u8>,
    /// The entry of its outcome; `None` for a call that ended with its decision, or has not
    /// ended.
    pub outcome: Option<Vec<u8>>,
}

impl Recorded {
    /// The input document of the call, where it was kept.
    ///
    /// # Errors
    /// When it is there and cannot be opened.
    pub fn input(&self, log: &Path, seal: &dyn Seal) -> Result<Option<String>, LedgerError> {
        let Some(call) = CallId::parse(&self.row.call) else { return Ok(None) };
        Ok(payload::read(log, seal, call)?.input)
    }
}

impl Index {
    /// The call of this id; `None` when the log has none.
    ///
    /// # Errors
    /// When index or log cannot be read.
    pub fn recorded(&self, call: CallId) -> Result<Option<Recorded>, LedgerError> {
        // The id begins with the millisecond in which the call was received.
        let millis = call.as_bytes()[..6].iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let (from, to) = (millis.saturating_mul(1_000), millis.saturating_add(1).saturating_mul(1_000));
        let (from, to) = (Some(Timestamp::from_micros(from)), Some(Timestamp::from_micros(to)));
        let rows = self.query(&Filter { from, to, limit: 1_000_000, ..Filter::default() })?;
        let id = call.to_string();
        rows.into_iter().find(|row| row.call == id).map(|row| self.entries_of(row)).transpose()
    }

    /// The calls whose ids start like this: at least [`SHORTEST_START`] hexadecimal digits, in
    /// lower case and with the dashes of an id. They hold the time, so that few calls are looked at.
    ///
    /// # Errors
    /// When index or log cannot be read.
    pub fn starting_with(&self, start: &str) -> Result<Vec<CallRow>, LedgerError> {
        let digits: String = start.chars().filter(|c| *c != '-').take(MILLIS_DIGITS).collect();
        if digits.len() < SHORTEST_START {
            return Ok(Vec::new());
        }
        let bound = |fill: &str| {
            let rest = fill.repeat(MILLIS_DIGITS - digits.len());
            u64::from_str_radix(&format!("{digits}{rest}"), 16).ok()
        };
        let (Some(first), Some(last)) = (bound("0"), bound("f")) else { return Ok(Vec::new()) };
        let from = Some(Timestamp::from_micros(first.saturating_mul(1_000)));
        let to = Some(Timestamp::from_micros(last.saturating_add(1).saturating_mul(1_000)));
        let mut rows = self.query(&Filter { from, to, limit: 1_000_000, ..Filter::default() })?;
        rows.retain(|row| row.call.starts_with(start));
        Ok(rows)
    }

    /// The call whose decision is this entry; `None` when that is none.
    ///
    /// # Errors
    /// When index or log cannot be read.
    pub fn recorded_at(&self, sequence: u64) -> Result<Option<Recorded>, LedgerError> {
        let (since, before) = (Some(sequence), Some(sequence.saturating_add(1)));
        let rows = self.query(&Filter { since, before, limit: 1, ..Filter::default() })?;
        rows.into_iter().next().map(|row| self.entries_of(row)).transpose()
    }

    fn entries_of(&self, row: CallRow) -> Result<Recorded, LedgerError> {
        let sql = "SELECT segment, offset, end_segment, end_offset FROM calls WHERE seq = ?1";
        let place = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let (segment, offset, end_segment, end_offset): (u64, u64, Option<u64>, Option<u64>) =
            self.database.query_row(sql, [row.seq], place)?;
        let mut places = Places::new(&self.log);
        let decision = places.read(segment, offset)?;
        let outcome = match end_segment.zip(end_offset) {
            Some((segment, offset)) => Some(places.read(segment, offset)?),
            None => None,
        };
        Ok(Recorded { row, decision, outcome })
    }
}
