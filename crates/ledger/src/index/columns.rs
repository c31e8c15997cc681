//! The members of entries that rows are made of.

use std::borrow::Cow;

use crate::entry::{Members, Raw};

/// One of these members.
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

const COLUMNS: usize = Column::Verdict as usize + 1;

impl Column {
    fn named(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"_prev" => Self::Previous,
            b"agent" => Self::Agent,
            b"arguments" => Self::Arguments,
            b"call" => Self::Call,
            b"client" => Self::Client,
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
