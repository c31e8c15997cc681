//! The members of entries that rows are made of.

use std::borrow::Cow;

use crate::entry::{Members, Raw};

/// The members, in the order in which they stand in an entry.
#[derive(Clone, Copy)]
pub(super) enum Column {
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

/// What they are called.
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

/// An entry, and where in it those members are.
pub(super) struct Entry {
    bytes: Vec<u8>,
    at: [(u32, u32); NAMES.len()],
}

impl Entry {
    pub(super) fn read(bytes: Vec<u8>) -> Self {
        let mut at = [(0, 0); NAMES.len()];
        let mut names = NAMES.iter().enumerate().peekable();
        for (key, value) in Members::of(&bytes) {
            // Both lists are sorted, so one pass over both finds what they share.
            while names.next_if(|(_, name)| name.as_bytes() < key).is_some() {}
            if let Some((column, _)) = names.next_if(|(_, name)| name.as_bytes() == key) {
                at[column] = value.span();
            }
        }
        Self { bytes, at }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn value(&self, column: Column) -> Option<Raw<'_>> {
        Raw::at(&self.bytes, self.at[column as usize])
    }

    pub(super) fn text(&self, column: Column) -> Option<Cow<'_, str>> {
        self.value(column).and_then(Raw::text)
    }

    pub(super) fn number(&self, column: Column) -> Option<i64> {
        self.value(column).and_then(Raw::number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_stand_in_the_order_of_entries() {
        assert!(NAMES.is_sorted());
        assert_eq!(NAMES[Column::Verdict as usize], "verdict");
        assert_eq!(NAMES[Column::Email as usize], "person_email");
    }
}
