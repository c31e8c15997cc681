//! The members of entries that rows are made of.

use std::borrow::Cow;

use crate::entry::{Members, Raw};

/// One of these members. Those that a row holds itself come first.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Agent,
    Code,
    Consumer,
    Dlp,
    Duration,
    Error,
    Outcome,
    Person,
    Email,
    Server,
    Target,
    Time,
    Upstream,
    Verdict,
    Previous,
    Arguments,
    Call,
    Client,
    Fingerprint,
    Grant,
    Kind,
    Layer,
    Of,
    Operation,
    Origin,
    Reasons,
    Rule,
    Sequence,
    Trace,
}

/// How many a row holds itself.
pub(crate) const IN_ROW: usize = Column::Verdict as usize + 1;
const COLUMNS: usize = Column::Trace as usize + 1;

impl Column {
    fn named(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"_prev" => Self::Previous,
            b"_seq" => Self::Sequence,
            b"agent" => Self::Agent,
            b"arguments" => Self::Arguments,
            b"call" => Self::Call,
            b"client" => Self::Client,
            b"code" => Self::Code,
            b"consumer" => Self::Consumer,
            b"dlp" => Self::Dlp,
            b"duration_us" => Self::Duration,
            b"error" => Self::Error,
            b"fingerprint" => Self::Fingerprint,
            b"grant" => Self::Grant,
            b"kind" => Self::Kind,
            b"layer" => Self::Layer,
            b"of" => Self::Of,
            b"operation" => Self::Operation,
            b"origin" => Self::Origin,
            b"outcome" => Self::Outcome,
            b"person" => Self::Person,
            b"person_email" => Self::Email,
            b"reasons" => Self::Reasons,
            b"rule" => Self::Rule,
            b"server" => Self::Server,
            b"target" => Self::Target,
            b"time" => Self::Time,
            b"trace" => Self::Trace,
            b"upstream_us" => Self::Upstream,
            b"verdict" => Self::Verdict,
            _ => return None,
        })
    }
}

/// An entry, and where in it those members are.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    bytes: &'a [u8],
    at: [(u32, u32); COLUMNS],
}

impl<'a> Entry<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut at = [(0, 0); COLUMNS];
        for (key, value) in Members::of(bytes) {
            if let Some(column) = Column::named(key) {
                at[column as usize] = value.span();
            }
        }
        Self { bytes, at }
    }

    /// Of an entry only the members that a row holds, one behind the other from
    /// `start` on, each so long; those of no length are not there.
    pub(super) fn of_row(bytes: &'a [u8], start: usize, lengths: &[u16; IN_ROW]) -> Self {
        let mut at = [(0, 0); COLUMNS];
        let mut begin = u32::try_from(start).unwrap_or(u32::MAX);
        for (at, length) in at.iter_mut().zip(lengths) {
            let end = begin.saturating_add(u32::from(*length));
            *at = (begin, end);
            begin = end;
        }
        Self { bytes, at }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn value(&self, column: Column) -> Option<Raw<'a>> {
        Raw::at(self.bytes, self.at[column as usize])
    }

    pub(super) fn text(&self, column: Column) -> Option<Cow<'a, str>> {
        self.value(column).and_then(Raw::text)
    }

    pub(super) fn number(&self, column: Column) -> Option<i64> {
        self.value(column).and_then(Raw::number)
    }
}
