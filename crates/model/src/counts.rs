//! Counting that must not be wrong: units of counters that outlive the process.
//!
//! What is counted by mistake costs somebody a call; what is not counted costs whoever set
//! the limit. So when in doubt, a unit stays taken.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::time::Timestamp;

/// A counter, and how far it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Names it: its kind, `/`, and whose it is.
    pub name: String,
    /// How far it may go.
    pub most: u32,
    /// From then on it is of no use.
    pub ends: Timestamp,
}

/// What came of counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whether every counter went one further. If not, none did.
    pub fits: bool,
    /// How far each is now, in the order they were named.
    pub used: Vec<u64>,
}

/// The answer of whoever keeps the counters.
pub type Counting<'a> = Pin<Box<dyn Future<Output = Result<Counted, Uncounted>> + Send + 'a>>;

/// Counters that outlive the process and are the same for all replicas.
pub trait Counts: Send + Sync + fmt::Debug + 'static {
    /// Moves each of these counters one further, or, when one of them has gone as far as it
    /// may, none. `now` is the time of the call that is counted.
    ///
    /// # Errors
    /// When that is not known to be kept; it may have been, all the same.
    fn take<'a>(&'a self, counters: &'a [Counter], now: Timestamp) -> Counting<'a>;

    /// Moves each of them one back. That begins at once and goes on even if nobody waits for
    /// it; if it cannot be done, the units stay taken.
    fn give_back(&self, counters: &[Counter]) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The counters cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Uncounted {
    /// What is the matter, for whoever calls.
    pub what: &'static str,
    /// Why, for the log.
    pub cause: String,
}
