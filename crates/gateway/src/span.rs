//! One call as a trace shows it, for whoever collects traces.
//!
//! A span says where a call went, what was decided and how long it took. It never
//! holds arguments, results, reasons, messages of errors, keys, or any name that a
//! caller made up: names come from definitions, as in the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_model::{
    CallId, CapabilityKind, Decision, Layer, Operation, Outcome, ServerId, Timestamp, Verdict,
};
use doorward_registry::Capability;
use doorward_wire::Revision;

use crate::gateway::Gateway;
use crate::pipeline::Asked;
use crate::receive::Carrier;
use crate::trace;

/// Where finished spans go. Called on the way of every call: it must not block.
pub trait Spans: Send + Sync + 'static {
    /// Whether a call of this trace is recorded. `parent` is what the caller has
    /// decided for its own span, where it has one.
    fn samples(&self, trace_id: &[u8; 16], parent: Option<bool>) -> bool;

    /// Takes a call that has ended, or drops it and counts that.
    fn record(&self, call: Box<CallSpan>);

    /// What has become of the spans so far.
    fn counts(&self) -> SpanCounts;
}

/// What has become of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Taken by the collector.
    pub exported: u64,
    /// Dropped because too many were waiting.
    pub queue_full: u64,
    /// Dropped because the collector could not be reached or did not want the batch.
    pub undelivered: u64,
    /// Refused by the collector out of a batch that it took.
    pub rejected: u64,
}

/// A call that has ended: the gateway's own span and, where the call was sent on,
/// the one around the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSpan {
    /// The call, as the log knows it.
    pub call: CallId,
    /// The trace it belongs to.
    pub trace_id: [u8; 16],
    /// The span of the caller, when it named one.
    pub parent: Option<[u8; 8]>,
    /// `tracestate` as received.
    pub trace_state: Option<String>,
    /// The gateway's own span.
    pub span: [u8; 8],
    /// When the request arrived.
    pub started: Timestamp,
    /// How long the gateway had it.
    pub duration: Duration,
    /// What was asked for.
    pub operation: Operation,
    /// The revision that the caller speaks.
    pub revision: &'static str,
    /// Whether the caller sits at the other end of a pipe (stdio).
    pub piped: bool,
    /// The server, once known.
    pub server: Option<ServerId>,
    /// The server's own name for the target, if the server defines one so named.
    pub target: Option<(CapabilityKind, Arc<str>)>,
    /// What was decided, and by which layer.
    pub verdict: Option<(Verdict, Layer)>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// How it ended; `cancelled` when nobody waited for the end.
    pub outcome: Outcome,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// The time at the server, if the call got so far.
    pub relay: Option<Relay>,
}

/// The part of a call that its server had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The span that the server's own spans hang below.
    pub span: [u8; 8],
    /// How long after the start of the call it was sent.
    pub after: Duration,
    /// How long the answer took.
    pub duration: Duration,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// Why a call failed, in words that are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server answered with this JSON-RPC error.
    Code(i32),
    /// Anything else.
    Word(&'static str),
}

impl CallSpan {
    /// How many spans this is: one, or two with the server's part.
    pub fn count(&self) -> u64 {
        1 + u64::from(self.relay.is_some())
    }
}

/// The span of a call under way. It ends when the call is dropped, however that
/// comes about, so that a cancelled call has a span as well.
pub(crate) struct OpenSpan<'a> {
    gateway: &'a Gateway,
    started: Duration,
    /// Never contended: a call is in one place at a time.
    draft: Mutex<Draft>,
}

struct Draft {
    span: Option<Box<CallSpan>>,
    sent: Option<Duration>,
}

/// Begins the span of a call, if anybody collects spans and wants this one. What is
/// decided here also goes to the server, in the flags of its `traceparent`.
pub(crate) fn open(asked: &mut Asked<'_>, operation: Operation) {
    let Some(spans) = &asked.gateway.spans else { return };
    let trace_id = asked.trace.id_bytes();
    let parent = asked.trace.parent_bytes();
    let wanted = spans.samples(&trace_id, parent.map(|_| asked.trace.sampled));
    asked.trace.sampled = wanted;
    if !wanted {
        return;
    }
    let incoming = asked.incoming;
    let span = CallSpan {
        call: asked.call,
        trace_id,
        parent,
        trace_state: asked.trace.state.clone(),
        span: trace::own_span(asked.call),
        started: incoming.received,
        duration: Duration::ZERO,
        operation,
        revision: Revision::as_str(incoming.revision),
        piped: matches!(incoming.arrival.carrier, Carrier::Connection(_)),
        server: None,
        target: None,
        verdict: None,
        rule: None,
        outcome: Outcome::Cancelled,
        failure: failure(Outcome::Cancelled, None),
        relay: None,
    };
    let draft = Mutex::new(Draft { span: Some(Box::new(span)), sent: None });
    asked.span = Some(OpenSpan { gateway: asked.gateway, started: incoming.started, draft });
}

impl OpenSpan<'_> {
    /// Adds where the call goes.
    pub(crate) fn placed(&self, server: &ServerId, capability: Option<&Arc<Capability>>) {
        self.change(|span| {
            span.server = Some(server.clone());
            span.target = capability.map(|capability| (capability.kind, Arc::clone(&capability.name)));
        });
    }

    /// Adds what was decided.
    pub(crate) fn decided(&self, decision: &Decision) {
        self.change(|span| {
            span.verdict = Some((decision.verdict, decision.layer));
            span.rule.clone_from(&decision.rule);
        });
    }

    /// The call leaves for its server.
    pub(crate) fn sent(&self) {
        self.draft().sent = Some(self.gateway.clock.elapsed());
    }

    /// The call is back.
    pub(crate) fn answered(&self) {
        let now = self.gateway.clock.elapsed();
        self.draft().close_relay(self.started, now);
    }

    /// Adds how the call ended; `code` is the error that the server answered with.
    pub(crate) fn ended(&self, outcome: Outcome, code: Option<i32>) {
        self.change(|span| {
            span.outcome = outcome;
            span.failure = failure(outcome, code);
            if let Some(relay) = &mut span.relay {
                relay.failure = span.failure;
            }
        });
    }

    /// The log could not be written. Whatever the server did, the caller got nothing.
    pub(crate) fn unrecorded(&self) {
        self.change(|span| {
            span.outcome = Outcome::Unknown;
            span.failure = Some(Failure::Word("unrecorded"));
        });
    }

    fn change(&self, change: impl FnOnce(&mut CallSpan)) {
        if let Some(span) = &mut self.draft().span {
            change(span);
        }
    }

    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    /// Turns the time since the call was sent into the server's part. Its failure is
    /// that of a call nobody waited for, until the end says otherwise.
    fn close_relay(&mut self, started: Duration, now: Duration) {
        let (Some(span), Some(sent)) = (&mut self.span, self.sent.take()) else { return };
        span.relay = Some(Relay {
            span: trace::relay_span(span.call),
            after: sent.saturating_sub(started),
            duration: now.saturating_sub(sent),
            failure: span.failure,
        });
    }
}

impl Drop for OpenSpan<'_> {
    fn drop(&mut self) {
        let now = self.gateway.clock.elapsed();
        let draft = self.draft.get_mut().unwrap_or_else(PoisonError::into_inner);
        draft.close_relay(self.started, now);
        if let (Some(spans), Some(mut span)) = (&self.gateway.spans, draft.span.take()) {
            span.duration = now.saturating_sub(self.started);
            spans.record(span);
        }
    }
}

fn failure(outcome: Outcome, code: Option<i32>) -> Option<Failure> {
    match outcome {
        Outcome::Success | Outcome::Pending => None,
        failed => Some(code.map_or(Failure::Word(failed.as_str()), Failure::Code)),
    }
}
