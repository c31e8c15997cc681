//! Which sessions have ended, kept where the next process finds it.
//!
//! A client carries all that its session needs, sealed, so that a session outlives the process.
//! That one has ended must outlive it as well.

use std::fmt;

use crate::time::Timestamp;

/// Keeps which sessions have ended.
pub trait Endings: Send + Sync + fmt::Debug + 'static {
    /// Those that ended before this process began.
    fn earlier(&self) -> Earlier;

    /// This one has ended. Known to the next process once this returns, unless the machine
    /// itself stops.
    ///
    /// # Errors
    /// When it cannot be written.
    fn note(&self, ended: EndedSession) -> std::io::Result<()>;
}

/// A session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedSession {
    /// When it was opened.
    pub opened: Timestamp,
    /// Its id.
    pub id: u128,
}

/// What an earlier process knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// The sessions that had ended, the one that was opened first before all others.
    pub ended: Vec<EndedSession>,
    /// Whatever was opened until then counts as ended, too.
    pub before: Timestamp,
}
