//! A call as people name it: by its id, or by the number of its entry.

use std::fmt;
use std::str::FromStr;

use doorward_ledger::{Index, LedgerError, Recorded};
use doorward_model::CallId;

/// Which call is meant.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// The one of this id.
    Id(CallId),
    /// The one whose decision is this entry.
    Entry(u64),
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entry = || text.parse().ok().map(Self::Entry);
        CallId::parse(text).map(Self::Id).or_else(entry).ok_or("a call is named by its id or its number")
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Entry(entry) => entry.fmt(f),
        }
    }
}

impl Which {
    /// What the log says of it; `None` when it has no such call.
    pub(super) fn find(self, index: &Index) -> Result<Option<Recorded>, LedgerError> {
        match self {
            Self::Id(call) => index.recorded(call),
            Self::Entry(entry) => index.recorded_at(entry),
        }
    }
}
