//! What the replicas of one gateway know together, and how they speak to each other.
//!
//! Values, logs and one channel. A process that is alone keeps them in its memory, so that
//! nobody else has to know whether it is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// An answer that may be elsewhere.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unshared>> + Send + 'a>>;

/// Who hears what is told. An empty message means that some may have been missed.
pub type Ear = Box<dyn Fn(Bytes) + Send + Sync>;

/// State that outlives a process and is the same for all replicas.
pub trait Shared: Send + Sync + fmt::Debug + 'static {
    /// What stands there.
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Bytes>>;

    /// Writes a value that is kept for so long, or removes it; yields what stood there.
    fn set<'a>(&'a self, key: &'a str, value: Option<Bytes>, keep: Duration) -> Later<'a, Option<Bytes>>;

    /// Writes a value unless one stands there; yields that one.
    fn claim<'a>(&'a self, key: &'a str, value: Bytes, keep: Duration) -> Later<'a, Option<Bytes>>;

    /// Adds to a log; yields the place, which is later than all earlier ones, even of a
    /// log that was lost.
    fn append<'a>(&'a self, log: &'a str, entry: Bytes, bounds: LogBounds) -> Later<'a, u64>;

    /// What a log holds from this place on, in order.
    fn read<'a>(&'a self, log: &'a str, from: u64) -> Later<'a, Vec<(u64, Bytes)>>;

    /// Tells all other replicas, and this one too; yields how many listen, this one included.
    fn tell(&self, message: Bytes) -> Later<'_, usize>;

    /// From now on, `ear` hears what is told.
    fn hear(&self, ear: Ear);

    /// How it is doing.
    fn reach(&self) -> Reach;
}

/// How far what is written reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This process.
    Alone,
    /// All replicas.
    Together,
    /// Nobody, at the moment, and why.
    Lost(String),
}

impl Reach {
    /// Whether there could be others.
    pub fn has_others(&self) -> bool {
        *self != Self::Alone
    }
}

/// How much of a log is kept: its newest entries, within all of these. The newest one is kept
/// whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct LogBounds {
    /// Entries.
    pub entries: usize,
    /// The bytes of those before the newest: where it is long, whoever reads on from one of them
    /// is to find both.
    pub bytes: usize,
    /// Time since the last one.
    pub keep: Duration,
}

/// The shared state cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared state cannot be reached: {0}")]
pub struct Unshared(pub String);
