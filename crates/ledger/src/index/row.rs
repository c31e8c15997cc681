//! What the index answers with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use doorward_model::{CallId, Seal};
use rusqlite::Row;
use serde_json::{Value, json};

use super::cells;
use super::columns::{Column, Entry};
use super::feed::Kind;
use super::filter::Status;
use super::follow::kind;
use crate::error::LedgerError;
use crate::merkle::leaf_hash;
use crate::payload;
use crate::segment::Places;
use doorward_model::json::push_hex;

/// The columns that [`CallRow::read`] expects before [`cells::COLUMNS`], in order.
pub(super) const PLACE: &str = "seq, segment, offset, end_segment, end_offset";
/// How many those are.
const FIRST_CELL: usize = 5;

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the records, described there")]
pub struct CallRow {
    pub seq: u64,
    pub call: String,
    pub time: String,
    pub person: Option<String>,
    pub agent: Option<String>,
    pub grant: String,
    pub consumer: String,
    pub client: Option<String>,
    pub server: Option<String>,
    pub target: String,
    pub operation: String,
    pub origin: String,
    pub verdict: String,
    pub reasons: Vec<String>,
    pub layer: String,
    pub rule: Option<String>,
    pub outcome: Option<String>,
    pub duration_us: Option<u64>,
    pub upstream_us: Option<u64>,
    pub error: Option<String>,
    /// The stable code of the error.
    pub code: Option<String>,
    pub dlp: String,
    /// The preview; once revealed, what was kept of the arguments.
    pub args: Option<String>,
    /// Once revealed, what was kept of the result.
    pub response: Option<String>,
    pub fingerprint: Option<String>,
    pub trace: Option<String>,
    pub prev: String,
    pub hash: String,
}

impl CallRow {
    /// Reads a call from the log, from where its row says that it stands; the rest of the row is
    /// only what it was found by.
    ///
    /// # Errors
    /// [`LedgerError::IndexDiffers`] where the row says something else than the log.
    pub(super) fn read(row: &Row<'_>, places: &mut Places) -> Result<Self, LedgerError> {
        let seq: u64 = row.get(0)?;
        let mut entry_at = |segment: usize| match (row.get(segment)?, row.get(segment + 1)?) {
            (Some(segment), Some(offset)) => match places.read(segment, offset) {
                Ok(entry) => Ok(Some(entry)),
                Err(LedgerError::Index(_)) => Err(LedgerError::IndexDiffers(seq)),
                Err(error) => Err(error),
            },
            _ => Ok(None),
        };
        let bytes = entry_at(1)?.ok_or(LedgerError::IndexDiffers(seq))?;
        let end_bytes = entry_at(3)?;
        let entry = Entry::read(&bytes);
        let end = end_bytes.as_deref().map(Entry::read);
        let is_decision = matches!(kind(&entry), Some(Kind::Decision));
        let is_its_end =
            end.as_ref().is_none_or(|end| matches!(kind(end), Some(Kind::Outcome(of)) if of == seq));
        let is_at_its_place = entry.number(Column::Sequence) == i64::try_from(seq).ok();
        let cells = cells::of_call(&entry, end.as_ref());
        let differing = cells::differing(&cells, row, FIRST_CELL)?;
        if !is_decision || !is_its_end || !is_at_its_place || differing.is_some() {
            return Err(LedgerError::IndexDiffers(seq));
        }
        let last = end.as_ref().unwrap_or(&entry);
        let maybe = |column| entry.text(column).map(Cow::into_owned);
        let text = |column| maybe(column).unwrap_or_default();
        let count = |column| last.number(column).and_then(|number| u64::try_from(number).ok());
        let mut hash = String::new();
        push_hex(&mut hash, &leaf_hash(entry.bytes()));
        Ok(Self {
            seq,
            call: text(Column::Call),
            time: text(Column::Time),
            person: maybe(Column::Person),
            agent: maybe(Column::Agent),
            grant: text(Column::Grant),
            consumer: text(Column::Consumer),
            client: maybe(Column::Client),
            server: maybe(Column::Server),
            target: text(Column::Target),
            operation: text(Column::Operation),
            origin: text(Column::Origin),
            verdict: text(Column::Verdict),
            reasons: entry
                .value(Column::Reasons)
                .and_then(|reasons| serde_json::from_str(&reasons.json()).ok())
                .unwrap_or_default(),
            layer: text(Column::Layer),
            rule: maybe(Column::Rule),
            outcome: last.text(Column::Outcome).map(Cow::into_owned),
            duration_us: count(Column::Duration),
            upstream_us: end.as_ref().and_then(|_| count(Column::Upstream)),
            error: last.text(Column::Error).map(Cow::into_owned),
            code: end.as_ref().and_then(|end| end.text(Column::Code)).map(Cow::into_owned),
            dlp: end.as_ref().and_then(|end| end.text(Column::Dlp)).unwrap_or("none".into()).into_owned(),
            args: entry
                .value(Column::Arguments)
                .and_then(|arguments| arguments.get("preview")?.text())
                .map(Cow::into_owned),
            response: None,
            fingerprint: maybe(Column::Fingerprint),
            trace: maybe(Column::Trace),
            prev: text(Column::Previous),
            hash,
        })
    }

    /// Puts in what was kept of the call apart from the log. It shows what the caller
    /// sent and received: ask first whether the reader may see it.
    ///
    /// # Errors
    /// [`LedgerError::Payload`] where it was altered or sealed with another key.
    pub fn reveal(&mut self, log: &Path, seal: &dyn Seal) -> Result<(), LedgerError> {
        let Some(call) = CallId::parse(&self.call) else { return Ok(()) };
        let kept = payload::read(log, seal, call)?;
        self.args = kept.arguments.or(self.args.take());
        self.response = kept.result;
        Ok(())
    }

    /// The older word for the end of the call.
    pub fn status(&self) -> Status {
        Status::of(self.outcome.as_deref())
    }

    /// `allow`, `deny` or `error`: verdict and outcome in one word.
    pub fn decision(&self) -> &'static str {
        match (self.verdict.as_str(), self.outcome.as_deref()) {
            ("error", _) | ("allow", Some("upstream_error" | "timeout" | "unknown")) => "error",
            ("allow", _) => "allow",
            _ => "deny",
        }
    }

    /// Milliseconds from receipt to answer, rounded.
    pub fn latency_ms(&self) -> u64 {
        (self.duration_us.unwrap_or(0) + 500) / 1_000
    }

    /// The row as JSON: the members of older records first, then ours.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.call,
            "timestamp": self.time,
            "consumerId": self.consumer,
            "apiKeyId": self.grant,
            "serverId": self.server.as_deref().unwrap_or("unknown"),
            "tool": self.target,
            "args": self.args.as_deref().unwrap_or("{}"),
            "response": self.response.as_deref().unwrap_or(""),
            "latencyMs": self.latency_ms(),
            "status": self.status().as_str(),
            "error": self.error.as_ref().or(self.reasons.first()),
            "prevHash": self.prev,
            "hash": self.hash,
            "seq": self.seq,
            "person": self.person,
            "agent": self.agent,
            "client": self.client,
            "decision": self.decision(),
            "operation": self.operation,
            "origin": self.origin,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "layer": self.layer,
            "rule": self.rule,
            "outcome": self.outcome,
            "durationUs": self.duration_us,
            "upstreamUs": self.upstream_us,
            "errorCode": self.code,
            "dlp": self.dlp,
            "fingerprint": self.fingerprint,
            "trace": self.trace,
        })
    }
}

/// How many calls there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// All of them.
    pub total: u64,
    /// By the older word for the end.
    pub by_status: BTreeMap<String, u64>,
    /// By server.
    pub by_server: BTreeMap<String, u64>,
    /// By verdict.
    pub by_verdict: BTreeMap<String, u64>,
}

impl Stats {
    pub(super) fn add(&mut self, verdict: &str, outcome: Option<&str>, server: String, count: u64) {
        self.total += count;
        *self.by_status.entry(Status::of(outcome).as_str().to_owned()).or_default() += count;
        *self.by_server.entry(server).or_default() += count;
        *self.by_verdict.entry(verdict.to_owned()).or_default() += count;
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "total": self.total, "byStatus": self.by_status, "byServer": self.by_server, "byVerdict": self.by_verdict,
        })
    }
}
