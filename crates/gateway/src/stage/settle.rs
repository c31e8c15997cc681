//! The end: what happened is recorded, and the caller gets its answer.

mod ended;
mod words;

use std::borrow::Cow;
use std::time::Duration;

use doorward_ledger::{Ledger, LedgerError, OutcomeRecord, Ticket};
use doorward_limit::Reservation;
use doorward_model::json::Value;
use doorward_model::{Decision, Layer, Outcome, Timestamp, Verdict};
use doorward_upstream::Scrubber;
use doorward_wire::{RpcError, error};

use crate::codes;
use crate::pipeline::Asked;
use crate::record;
use crate::stage::send::Answered;
use crate::stage::{Refusal, Refused, counted};
use ended::outcome_of;
pub(crate) use words::{RATE_LIMITED, coded, too_many, tool_failed};
use words::{unknown, why};

/// How a call ended, before it is put into an envelope.
#[derive(Debug)]
pub(crate) enum Settled {
    /// The server's result, JSON text in the caller's era.
    Result(String),
    /// An error, from the server or about it.
    Failed(RpcError),
    /// A tool call that has no answer of its server: what to say about it.
    Unavailable {
        /// In words.
        text: String,
        /// The stable word for it.
        code: Cow<'static, str>,
    },
    /// What the caller named does not exist for it.
    Unknown(RpcError),
    /// It is answered as if nothing but its integers had been looked at.
    Beyond(RpcError),
    /// A rule said no.
    Denied {
        /// The decision.
        decision: Decision,
        /// Why, in words.
        said: String,
        /// The id of its record, if it has one of its own.
        record: Option<String>,
    },
    /// Over a rate limit or a quota.
    Limited {
        /// The decision.
        decision: Decision,
        /// The id of its record, if it has one of its own.
        record: Option<String>,
        /// When there is room again.
        retry_after: Duration,
        /// The same as a time, for a quota.
        resets_at: Option<Timestamp>,
    },
}

/// Records the outcome and takes the answer apart.
pub(crate) async fn settle(answered: Answered<'_>) -> Settled {
    let (mut ready, sent, away) = answered.into_parts();
    let reservation = ready.reservation().take();
    let undone = reservation.filter(|reservation| counted::did_nothing(&sent, reservation.departure()));
    // Waited for at the end: a caller that leaves meanwhile must not spoil the record.
    let given_back = undone.map(Reservation::give_back);
    let (answer, ended) = outcome_of(sent, ready.permitted().resolved()).await;
    // Not before that: until then, whoever leaves leaves a call on record as cancelled.
    let ticket = ready.entry().take();
    let resolved = ready.permitted().resolved();
    let asked = resolved.asked();
    let gateway = asked.gateway;
    let upstream = answer.as_ref().map_or(away, |answer| answer.upstream_time);
    let duration = gateway.clock.elapsed().saturating_sub(asked.incoming.started);
    let tool = resolved.capability().map_or("", |capability| &capability.name);
    gateway.metrics.call(Some(&resolved.server().id), tool, Verdict::Allow, ended.outcome);
    if let Some(span) = &asked.span {
        span.ended(ended.outcome, ended.code);
    }
    let overhead = duration.saturating_sub(upstream);
    gateway.metrics.timing(&resolved.server().id, tool, resolved.operation(), overhead, upstream);
    let Some(ticket) = ticket else { return ended.settled };
    let mut outcome = record::outcome(ended.outcome);
    outcome.duration_us = micros(duration);
    outcome.upstream_us = micros(upstream);
    let error = ended.error.map(|error| masked(error, resolved.arguments()));
    outcome.error = error.as_deref();
    let code = ended.word.or_else(|| ended.code.map(|code| Cow::Owned(code.to_string())));
    outcome.code = code.as_deref();
    if let Some(answer) = &answer {
        outcome.upstream_status = answer.status;
        outcome.bytes_out = answer.bytes as u64;
        outcome.result = ended.recorded.as_deref();
    }
    outcome.bytes_in = asked.incoming.document.bytes().len() as u64;
    // The call has happened; an answer that cannot be recorded any more is still
    // withheld, because the caller would take it for a recorded one.
    let closed = (Closing { ledger: &gateway.ledger, ticket: Some(ticket), outcome }).close().await;
    if let Some(given_back) = given_back {
        given_back.await;
    }
    match closed {
        Ok(()) => ended.settled,
        Err(error) => Settled::Failed(unrecorded(asked, &error)),
    }
}

/// The end of a call on its way to the log. It has happened, so that it is recorded even if
/// the caller leaves while its answer waits for the disk.
struct Closing<'a> {
    ledger: &'a Ledger,
    ticket: Option<Ticket>,
    outcome: OutcomeRecord<'a>,
}

impl Closing<'_> {
    async fn close(mut self) -> Result<(), LedgerError> {
        let durable = match &self.ticket {
            Some(ticket) => self.ledger.before_answer(ticket).await,
            None => Ok(()),
        };
        durable.and(self.record())
    }

    fn record(&mut self) -> Result<(), LedgerError> {
        match self.ticket.take() {
            Some(ticket) => self.ledger.settle(ticket, &self.outcome),
            None => Ok(()),
        }
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.record() {
            tracing::error!(target: "doorward::ledger", %error, "the end of a call could not be recorded");
        }
    }
}

/// The words of an error for the record, which shows of secret-looking arguments no more
/// there than elsewhere: servers like to repeat what they were asked.
fn masked(error: String, arguments: Option<Value<'_>>) -> String {
    let secrets = arguments.map(doorward_ledger::secrets_in).unwrap_or_default();
    if secrets.is_empty() { error } else { Scrubber::new(&secrets).scrub_text(&error) }
}

/// Counts a refused call. What does not exist for its caller counts as what does not exist at all.
fn count(refused: &Refused<'_>, decision: &Decision, outcome: Outcome) {
    let (metrics, place) = (&refused.asked.gateway.metrics, &refused.place);
    if decision.verdict == Verdict::Hide || matches!(decision.layer, Layer::Scope | Layer::Exposure) {
        return metrics.call(None, "", Verdict::Hide, outcome);
    }
    let tool = if place.fingerprint.is_some() { place.target.as_str() } else { "" };
    let server = place.server.as_ref().map(|server| &server.id);
    metrics.call(server, tool, decision.verdict, outcome);
}

/// What a refused call is counted under where it has no record of its own.
fn counted_under(refused: &Refused<'_>, decision: &Decision, outcome: Outcome) -> String {
    let outcome = if decision.verdict == Verdict::Hide { "hidden" } else { outcome.as_str() };
    match &refused.place.server {
        Some(server) => format!("{outcome} on {}", server.id),
        None => outcome.to_owned(),
    }
}

/// Records a refusal, or counts it where its caller has had too many; yields the id of the record.
async fn record_refusal(
    refused: &Refused<'_>,
    decision: &Decision,
    outcome: Outcome,
) -> Result<Option<String>, LedgerError> {
    let (gateway, caller) = (refused.asked.gateway, refused.asked.caller);
    if !gateway.refusals.is_recorded(caller, counted_under(refused, decision, outcome)) {
        gateway.metrics.call_unrecorded();
        return Ok(None);
    }
    let duration = gateway.clock.elapsed().saturating_sub(refused.asked.incoming.started);
    let ticket = record::refusal(refused, decision, outcome, micros(duration), |record| {
        gateway.ledger.decide(record)
    })?;
    gateway.ledger.before_answer(&ticket).await?;
    Ok(Some(refused.asked.call.to_string()))
}

/// Records a refusal and words it.
pub(crate) async fn refuse(refused: Refused<'_>) -> Settled {
    let gateway = refused.asked.gateway;
    let (decision, outcome) = match &refused.refusal {
        Refusal::Invalid(error) => (Decision::deny(Layer::Exposure, error.message.clone()), Outcome::Denied),
        // No policy was asked, so the server may be one that must not show, in its caller's records
        // either: nothing tells it from a server that is not there.
        Refusal::Beyond(error) => (Decision::hide(Layer::Exposure, error.message.clone()), Outcome::Denied),
        Refusal::Unknown(decision) | Refusal::Denied(decision) => (decision.clone(), Outcome::Denied),
        Refusal::Limited { decision, .. } => (decision.clone(), Outcome::RateLimited),
        Refusal::Exhausted { decision, .. } => (decision.clone(), Outcome::QuotaExceeded),
        Refusal::Unrecorded(error) => return Settled::Failed(unrecorded(&refused.asked, error)),
    };
    if let Some(span) = &refused.asked.span {
        span.decided(&decision);
        span.ended(outcome, None);
    }
    count(&refused, &decision, outcome);
    let record = match record_refusal(&refused, &decision, outcome).await {
        Ok(record) => record,
        Err(error) => return Settled::Failed(unrecorded(&refused.asked, &error)),
    };
    match refused.refusal {
        Refusal::Invalid(error) => Settled::Failed(error),
        Refusal::Beyond(error) => Settled::Beyond(error),
        // That there is such a server shows no more than that there is such a tool.
        Refusal::Unknown(_) => match &refused.asked.incoming.unless_exact {
            Some(error) => Settled::Beyond(error.as_ref().clone()),
            None => Settled::Unknown(unknown(&refused)),
        },
        Refusal::Limited { retry_after, .. } => {
            Settled::Limited { decision, record, retry_after, resets_at: None }
        }
        Refusal::Exhausted { resets_at, .. } => {
            let left = resets_at.as_micros().saturating_sub(gateway.clock.now().as_micros());
            let retry_after = Duration::from_micros(left);
            Settled::Limited { decision, record, retry_after, resets_at: Some(resets_at) }
        }
        Refusal::Denied(_) => {
            let said = why(&refused.asked, &refused.place, &decision);
            Settled::Denied { decision, said, record }
        }
        Refusal::Unrecorded(error) => Settled::Failed(unrecorded(&refused.asked, &error)),
    }
}

fn unrecorded(asked: &Asked<'_>, error: &LedgerError) -> RpcError {
    if let Some(span) = &asked.span {
        span.unrecorded();
    }
    tracing::error!(target: "doorward::ledger", %error, "a call is refused because it cannot be recorded");
    RpcError {
        code: error::INTERNAL,
        message: "the audit log cannot be written, so nothing is relayed; see /readyz".to_owned(),
        data: Some(coded(codes::UNRECORDED)),
        status: 503,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
