//! Entries as canonical JSON (RFC 8785): keys in order, no white space, one spelling.
//!
//! `_prev` and `_seq` sort before every letter, so the part of an entry that depends
//! on its place in the log comes first and the rest can be written beforehand: a
//! [`Draft`].

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use doorward_model::json::{push_hex, push_ip, push_number, push_string};
use doorward_model::{CallId, Timestamp};

use crate::index::columns::Column;
use crate::index::feed::{Kind, Marks};
use crate::merkle::Hash;
use crate::options::Capture;
use crate::payload::LONGEST_INPUT;
use crate::preview;
use crate::record::{DecisionRecord, EventRecord, OutcomeRecord};

/// Longest text taken over from outside, in characters.
const LONGEST: usize = 1_024;
/// Of lists, no more than this many items are taken over.
const MOST: usize = 32;

/// An entry without what depends on its place.
#[derive(Debug)]
pub(crate) struct Draft {
    pub text: String,
    /// Where in it the members are that the index wants.
    pub marks: Marks,
}

impl Draft {
    fn new(kind: Kind, capacity: usize) -> Self {
        Self { text: String::with_capacity(capacity), marks: Marks::new(kind) }
    }
}

/// An object being written; the caller keeps the keys in order.
struct Object<'a>(&'a mut String, &'a mut Marks);

impl Object<'_> {
    /// Writes a member that the index wants.
    fn indexed(&mut self, column: Column, key: &str, write: impl FnOnce(&mut String)) {
        self.key(key);
        let start = self.0.len();
        write(self.0);
        self.1.mark(column, start, self.0.len());
    }

    fn indexed_text(&mut self, column: Column, key: &str, text: &str) {
        self.indexed(column, key, |out| push_string(out, cut(text)));
    }

    fn indexed_number(&mut self, column: Column, key: &str, number: u64) {
        self.indexed(column, key, |out| push_number(out, number));
    }

    fn indexed_time(&mut self, time: Timestamp) {
        self.indexed(Column::Time, "time", |out| push_plain(out, &time.to_ascii()));
    }

    fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        push_string(self.0, cut(text));
    }

    fn maybe(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => {
                self.key(key);
                self.0.push_str("null");
            }
        }
    }

    fn maybe_indexed(&mut self, column: Column, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.indexed_text(column, key, text),
            None => self.maybe(key, None),
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        push_number(self.0, number);
    }

    fn plain(&mut self, key: &str, ascii: &[u8]) {
        self.key(key);
        push_plain(self.0, ascii);
    }

    fn address(&mut self, key: &str, ip: IpAddr) {
        self.key(key);
        self.0.push('"');
        push_ip(self.0, ip);
        self.0.push('"');
    }
}

/// Text that needs no escapes.
fn push_plain(out: &mut String, ascii: &[u8]) {
    out.push('"');
    out.push_str(std::str::from_utf8(ascii).unwrap_or_default());
    out.push('"');
}

fn cut(text: &str) -> &str {
    first(text, LONGEST)
}

/// Texts as a list of a record has them: no more than the first so many, each no longer
/// than so much.
pub fn as_recorded(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().take(MOST).map(|text| cut(text))
}

/// The first so many characters of a text.
pub(crate) fn first(text: &str, characters: usize) -> &str {
    if text.len() <= characters {
        return text;
    }
    match text.char_indices().nth(characters) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// Writes a decision.
pub(crate) fn decision(record: &DecisionRecord<'_>, salt: &hmac::Key, capture: Capture) -> Draft {
    let mut draft = Draft::new(Kind::Decision, 1_024);
    let mut object = Object(&mut draft.text, &mut draft.marks);
    object.maybe_indexed(Column::Agent, "agent", record.agent);
    if let Some(arguments) = record.arguments {
        object.key("arguments");
        preview::write(object.0, arguments, (record.call, salt), capture, record.secrets);
    }
    object.text("bundle", record.bundle);
    object.plain("call", &record.call.to_ascii());
    if !record.client.name.is_empty() {
        object.text("client", &record.client.name);
        object.text("client_version", &record.client.version);
    }
    object.indexed_text(Column::Consumer, "consumer", record.consumer);
    if let Some((_, duration_us, error)) = record.terminal {
        object.indexed_number(Column::Duration, "duration_us", duration_us);
        if let Some(error) = error {
            object.indexed_text(Column::Error, "error", error);
        }
    }
    if !record.evaluator.is_empty() {
        object.text("evaluator", record.evaluator);
    }
    object.maybe("fingerprint", record.fingerprint);
    object.text("grant", record.grant);
    object.text("grant_kind", record.grant_kind);
    object.text("input", record.input_digest);
    if capture == Capture::Full && record.input.is_some_and(|input| input.len() <= LONGEST_INPUT) {
        object.key("input_kept");
        object.0.push_str("true");
    }
    if let Some(ip) = record.ip {
        object.address("ip", ip);
    }
    object.text("kind", "decision");
    object.text("layer", record.layer);
    if !record.limits.is_empty() {
        object.key("limits");
        pairs(object.0, record.limits, |out, number| push_number(out, *number));
    }
    object.text("operation", record.operation);
    object.text("origin", record.origin);
    if let Some((outcome, ..)) = record.terminal {
        object.indexed_text(Column::Outcome, "outcome", outcome.as_str());
    }
    object.maybe_indexed(Column::Person, "person", record.person);
    object.maybe_indexed(Column::Email, "person_email", record.email);
    object.key("reasons");
    object.0.push('[');
    for (at, reason) in as_recorded(record.reasons).enumerate() {
        if at > 0 {
            object.0.push(',');
        }
        push_string(object.0, reason);
    }
    object.0.push(']');
    object.maybe("rule", record.rule);
    object.maybe_indexed(Column::Server, "server", record.server);
    if let Some(session) = record.session {
        // Enough to tell sessions apart, too little to be one.
        object.text("session", first(session, 8));
    }
    if !record.shadow.is_empty() {
        object.key("shadow");
        pairs(object.0, record.shadow, |out, verdict| push_string(out, cut(verdict)));
    }
    object.indexed_text(Column::Target, "target", record.target);
    object.indexed_time(record.received);
    object.maybe("trace", record.trace_id);
    object.indexed_text(Column::Verdict, "verdict", record.verdict);
    draft
}

/// An object of pairs, sorted by key.
fn pairs<T>(out: &mut String, pairs: &[(String, T)], write: impl Fn(&mut String, &T)) {
    let mut sorted: Vec<_> = pairs.iter().take(MOST).map(|(key, value)| (cut(key), value)).collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, key);
        out.push(':');
        write(out, value);
    }
    out.push('}');
}

/// Writes an outcome of the decision with this sequence number.
///
/// `kept` says whether the result was kept as well, apart from the log.
pub(crate) fn outcome(
    (of, call): (u64, CallId),
    time: Timestamp,
    record: &OutcomeRecord<'_>,
    kept: bool,
) -> Draft {
    let mut draft = Draft::new(Kind::Outcome(of), 384);
    let mut object = Object(&mut draft.text, &mut draft.marks);
    object.number("bytes_in", record.bytes_in);
    object.number("bytes_out", record.bytes_out);
    object.plain("call", &call.to_ascii());
    if let Some(code) = record.code {
        object.indexed_text(Column::Code, "code", code);
    }
    object.indexed_text(Column::Dlp, "dlp", record.dlp);
    object.indexed_number(Column::Duration, "duration_us", record.duration_us);
    if let Some(error) = record.error {
        object.indexed_text(Column::Error, "error", error);
    }
    object.text("kind", "outcome");
    object.number("of", of);
    object.indexed_text(Column::Outcome, "outcome", record.outcome.as_str());
    if let Some(result) = record.result {
        let hash = digest(&SHA256, result);
        object.key("result");
        object.0.push_str("\"sha256:");
        push_hex(object.0, hash.as_ref());
        object.0.push('"');
        if kept {
            object.key("result_kept");
            object.0.push_str("true");
        }
    }
    object.plain("time", &time.to_ascii());
    if let Some(status) = record.upstream_status {
        object.number("upstream_status", u64::from(status));
    }
    object.indexed_number(Column::Upstream, "upstream_us", record.upstream_us);
    draft
}

/// Writes an event.
pub(crate) fn event(record: &EventRecord<'_>) -> Draft {
    let mut draft = Draft::new(Kind::Event, 256);
    let mut object = Object(&mut draft.text, &mut draft.marks);
    if let Some(detail) = record.detail {
        object.text("detail", detail);
    }
    object.text("event", record.kind);
    object.maybe("grant", record.grant);
    if let Some(ip) = record.ip {
        object.address("ip", ip);
    }
    object.text("kind", "event");
    object.text("reason", record.reason);
    object.plain("time", &record.time.to_ascii());
    draft
}

/// Appends the whole entry to `line`: its place, then `rest`.
pub(crate) fn place(line: &mut Vec<u8>, previous: &Hash, sequence: u64, rest: &str) {
    let mut head = String::with_capacity(112);
    head.push_str("{\"_prev\":\"");
    push_hex(&mut head, previous);
    head.push_str("\",\"_seq\":");
    push_number(&mut head, sequence);
    head.push(',');
    line.extend_from_slice(head.as_bytes());
    line.extend_from_slice(rest.as_bytes());
    line.push(b'}');
}
