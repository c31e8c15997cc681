//! The end: what happened is recorded, and the caller gets its answer.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use doorward_ledger::{Ledger, LedgerError, OutcomeRecord, Ticket};
use doorward_limit::Reservation;
use doorward_model::json::{Value, push_string, quoted};
use doorward_model::{CapabilityKind, Decision, Layer, Operation, Outcome, Timestamp, Verdict};
use doorward_upstream::{Answer, Scrubber, UpstreamError};
use doorward_wire::adapt::{self, Completeness};
use doorward_wire::{Era, RpcError, error, level};

use crate::ask::{Failure, Fault, Sent};
use crate::codes;
use crate::pipeline::Asked;
use crate::record;
use crate::rename;
use crate::reply::Reply;
use crate::stage::resolve::Resolved;
use crate::stage::send::Answered;
use crate::stage::{Refusal, Refused, counted};
use crate::tasks::{self, Sought};

/// JSON-RPC code of a refusal where no tool result can carry it. Outside the range
/// that JSON-RPC and MCP reserve.
const POLICY_DENIED: i32 = -31_403;
/// JSON-RPC code of a call over a rate limit or a quota.
pub(crate) const RATE_LIMITED: i32 = -31_429;

/// How a call ended, before it is put into an envelope.
#[derive(Debug)]
pub(crate) enum Settled {
    /// The server's result, JSON text in the caller's era.
    Result(String),
    /// An error, from the server or about it.
    Failed(RpcError),
    /// What the caller named does not exist for it.
    Unknown(RpcError),
    /// It is answered as if nothing but its integers had been looked at.
    Beyond(RpcError),
    /// A rule said no.
    Denied {
        /// The decision.
        decision: Decision,
        /// The id of its record.
        record: String,
    },
    /// Over a rate limit or a quota.
    Limited {
        /// The decision.
        decision: Decision,
        /// The id of its record.
        record: String,
        /// When there is room again.
        retry_after: Duration,
        /// The same as a time, for a quota.
        resets_at: Option<Timestamp>,
    },
}

/// Records the outcome and takes the answer apart.
pub(crate) async fn settle(answered: Answered<'_>) -> Settled {
    let (mut ready, sent) = answered.into_parts();
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
    let upstream = answer.as_ref().map_or(Duration::ZERO, |answer| answer.upstream_time);
    let duration = gateway.clock.elapsed().saturating_sub(asked.incoming.started);
    let tool = resolved.capability().map_or("", |capability| &capability.name);
    gateway.metrics.call(Some(&resolved.server().id), tool, Verdict::Allow, ended.outcome);
    if let Some(span) = &asked.span {
        span.ended(ended.outcome, ended.code);
    }
    let overhead = duration.saturating_sub(upstream);
    gateway.metrics.timing(&resolved.server().id, overhead.as_secs_f64(), upstream.as_secs_f64());
    let Some(ticket) = ticket else { return ended.settled };
    let mut outcome = record::outcome(ended.outcome);
    outcome.duration_us = micros(duration);
    outcome.upstream_us = micros(upstream);
    let error = ended.error.map(|error| masked(error, resolved.arguments()));
    outcome.error = error.as_deref();
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

/// How a call ended, and the answer where its server gave one.
async fn outcome_of(sent: Result<Sent, UpstreamError>, resolved: &Resolved<'_>) -> (Option<Answer>, Ended) {
    let asked = resolved.asked();
    match sent {
        Ok(Sent::Answer(answer)) => {
            let mut ended = ended(&answer, resolved);
            if let (Settled::Result(text), Outcome::Success | Outcome::ToolError) =
                (&ended.settled, ended.outcome)
                && tasks::sought(resolved) == Sought::Extension
            {
                // On the heap: rare, and every call would have room for it.
                let kept = Box::pin(tasks::kept(resolved, text)).await;
                ended.settled = Settled::Result(kept);
            }
            (Some(answer), ended)
        }
        Ok(Sent::Subscribed) => (None, subscribed()),
        Ok(Sent::Asks(result, answer)) => (answer, asks(result)),
        Ok(Sent::Suspended(result)) => (None, asks(result)),
        Ok(Sent::Unanswered(error)) => (None, unanswered(error, asked, resolved.operation())),
        Ok(Sent::Gone) => (None, gone(EXPIRED, codes::EXPIRED, asked, resolved.operation())),
        Ok(Sent::Elsewhere) => (None, gone(ELSEWHERE, codes::ELSEWHERE, asked, resolved.operation())),
        Ok(Sent::Failed(failure)) => (None, failed(failure, asked.era(), resolved.operation())),
        Err(error) => (None, failed(Failure::from(&error), asked.era(), resolved.operation())),
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

/// How an answered call ended.
struct Ended {
    outcome: Outcome,
    settled: Settled,
    error: Option<String>,
    /// The code of the error that the server answered with.
    code: Option<i32>,
    /// What the record digests and, where so configured, keeps.
    recorded: Option<Bytes>,
}

fn ended(answer: &Answer, resolved: &Resolved<'_>) -> Ended {
    let (asked, operation) = (resolved.asked(), resolved.operation());
    let server = &resolved.server().id;
    let root = answer.message.root();
    if let Some(result) = root.get("result") {
        let is_task = match adapt::completeness(result) {
            Completeness::Complete | Completeness::InputRequired => tasks::is_core(resolved, result),
            Completeness::Task
                if asked.abilities.has_tasks() || tasks::sought(resolved) == Sought::Extension =>
            {
                true
            }
            Completeness::Task | Completeness::Other => {
                return broken("the server answers in a way that was not asked for", asked, operation);
            }
        };
        let is_error = result.get("isError").and_then(Value::as_bool) == Some(true);
        let outcome =
            if is_error && operation == Operation::ToolsCall { Outcome::ToolError } else { Outcome::Success };
        let cacheable =
            matches!(operation, Operation::ResourcesRead | Operation::SkillsGet | Operation::DirectoryRead);
        let mut text = adapt::result_for(asked.era(), result, cacheable);
        let revision = asked.incoming.revision;
        if level::differs(result, revision) {
            text = Cow::Owned(level::result(operation, &text, revision).into_owned());
        }
        let text = rename::outward(&asked.incoming.arrival.surface, server, operation, text);
        if is_task {
            let text = tasks::begun(resolved, answer, &text);
            return Ended {
                outcome: Outcome::Pending,
                settled: Settled::Result(text),
                error: None,
                code: None,
                recorded: Some(answer.message.slice(result)),
            };
        }
        return Ended {
            outcome,
            settled: Settled::Result(text.into_owned()),
            error: None,
            code: None,
            recorded: Some(answer.message.slice(result)),
        };
    }
    let Some(error) = root.get("error") else {
        return broken("the server's answer holds neither result nor error", asked, operation);
    };
    let code = error.get("code").and_then(Value::as_i64);
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let code = translated(
        code.and_then(|code| i32::try_from(code).ok()).unwrap_or(error::INTERNAL),
        asked.era(),
        operation,
    );
    let mut failure = match code {
        error::MISSING_CAPABILITY => RpcError::bad_request(code, message.as_ref()),
        _ => RpcError::answer(code, message.as_ref()),
    };
    failure.data = error.get("data").map(|data| data.raw().to_owned());
    Ended {
        outcome: Outcome::UpstreamError,
        error: Some(format!("{code}: {message}")),
        code: Some(code),
        settled: Settled::Failed(failure),
        recorded: Some(answer.message.slice(error)),
    }
}

/// A server's error code in the era of the client.
fn translated(code: i32, era: Era, operation: Operation) -> i32 {
    match (code, era, operation) {
        (error::RESOURCE_NOT_FOUND, Era::Modern, _) => error::INVALID_PARAMS,
        (error::INVALID_PARAMS, Era::Legacy, Operation::ResourcesRead | Operation::ResourcesSubscribe) => {
            error::RESOURCE_NOT_FOUND
        }
        // What only makes sense between the gateway and its server.
        (error::HEADER_MISMATCH | error::UNSUPPORTED_VERSION, _, _) => error::INTERNAL,
        // What a server lacks, only a client of its era can mend.
        (error::MISSING_CAPABILITY, Era::Legacy, _) => error::INTERNAL,
        (code, _, _) => code,
    }
}

/// There is no more to it.
fn subscribed() -> Ended {
    let settled = Settled::Result("{}".to_owned());
    Ended { outcome: Outcome::Success, settled, error: None, code: None, recorded: None }
}

/// The call ends here, and is made again.
fn asks(result: String) -> Ended {
    Ended {
        outcome: Outcome::InputRequired,
        recorded: Some(Bytes::from(result.clone())),
        settled: Settled::Result(result),
        error: None,
        code: None,
    }
}

/// What the server needed to know, the client did not say.
fn unanswered(failure: RpcError, asked: &Asked<'_>, operation: Operation) -> Ended {
    let settled = match operation {
        // What the client could declare, it must hear as an error.
        Operation::ToolsCall if failure.code != error::MISSING_CAPABILITY => {
            unavailable(&failure.message, codes::UNANSWERED, asked.era(), operation)
        }
        _ => Settled::Failed(failure.clone()),
    };
    Ended {
        outcome: Outcome::UpstreamError,
        settled,
        error: Some(failure.message),
        code: None,
        recorded: None,
    }
}

/// The client came back too late. The call is not made anew: it may have acted already.
const EXPIRED: &str = "the interaction has expired: make the call again from the start, without requestState";
const ELSEWHERE: &str = "the interaction goes on at another replica of the gateway, which cannot be reached: \
    make the call again in a moment";

fn gone(text: &'static str, code: &'static str, asked: &Asked<'_>, operation: Operation) -> Ended {
    let settled = match operation {
        Operation::ToolsCall => unavailable(text, code, asked.era(), operation),
        _ => Settled::Failed(RpcError::answer(error::INVALID_PARAMS, text)),
    };
    Ended { outcome: Outcome::Timeout, settled, error: Some(text.to_owned()), code: None, recorded: None }
}

fn broken(text: &str, asked: &Asked<'_>, operation: Operation) -> Ended {
    Ended {
        outcome: Outcome::UpstreamError,
        settled: unavailable(text, codes::BROKEN, asked.era(), operation),
        error: Some(text.to_owned()),
        code: None,
        recorded: None,
    }
}

fn failed(Failure { text, fault, code: word }: Failure, era: Era, operation: Operation) -> Ended {
    let outcome = if fault == Fault::Timeout { Outcome::Timeout } else { Outcome::UpstreamError };
    let (settled, code) = match fault {
        Fault::NotOffered => {
            (Settled::Failed(RpcError::answer(error::METHOD_NOT_FOUND, text.as_str())), None)
        }
        Fault::Refused(code) => {
            let code = translated(code, era, operation);
            (Settled::Failed(RpcError::answer(code, text.as_str())), Some(code))
        }
        Fault::Timeout | Fault::Server => (unavailable(&text, &word, era, operation), None),
    };
    Ended { outcome, settled, error: Some(text), code, recorded: None }
}

/// A tool call fails in words that a model can act on; everything else as an error.
fn unavailable(text: &str, code: &str, era: Era, operation: Operation) -> Settled {
    let data = coded(code);
    if operation == Operation::ToolsCall {
        let meta = format!(r#","_meta":{{"dev.doorward/error":{data}}}"#);
        Settled::Result(error_result(text, era, &meta))
    } else {
        Settled::Failed(RpcError::answer(error::INTERNAL, text).with_data(data))
    }
}

/// The stable word for what went wrong, as an object.
fn coded(code: &str) -> String {
    format!(r#"{{"code":{}}}"#, quoted(code))
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

/// Records a refusal and words it.
pub(crate) async fn refuse(refused: Refused<'_>) -> Settled {
    let gateway = refused.asked.gateway;
    let duration = gateway.clock.elapsed().saturating_sub(refused.asked.incoming.started);
    let (decision, outcome) = match &refused.refusal {
        Refusal::Invalid(error) | Refusal::Beyond(error) => {
            (Decision::deny(doorward_model::Layer::Exposure, error.message.clone()), Outcome::Denied)
        }
        Refusal::Unknown(decision) | Refusal::Denied(decision) => (decision.clone(), Outcome::Denied),
        Refusal::Limited { decision, .. } => (decision.clone(), Outcome::RateLimited),
        Refusal::Exhausted { decision, .. } => (decision.clone(), Outcome::QuotaExceeded),
        Refusal::Unrecorded(error) => return Settled::Failed(unrecorded(&refused.asked, error)),
    };
    if let Some(span) = &refused.asked.span {
        span.decided(&decision);
        span.ended(outcome, None);
    }
    let recorded = record::refusal(&refused, &decision, outcome, micros(duration), |record| {
        gateway.ledger.decide(record)
    });
    count(&refused, &decision, outcome);
    let ticket = match recorded {
        Ok(ticket) => ticket,
        Err(error) => return Settled::Failed(unrecorded(&refused.asked, &error)),
    };
    if let Err(error) = gateway.ledger.before_answer(&ticket).await {
        return Settled::Failed(unrecorded(&refused.asked, &error));
    }
    let record = refused.asked.call.to_string();
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
        Refusal::Denied(_) => Settled::Denied { decision, record },
        Refusal::Unrecorded(error) => Settled::Failed(unrecorded(&refused.asked, &error)),
    }
}

/// The words for what does not exist; the same for what is hidden or out of reach.
fn unknown(refused: &Refused<'_>) -> RpcError {
    let name = &refused.place.offered;
    match refused.place.kind {
        Some(CapabilityKind::Prompt) => RpcError::unknown_prompt(name),
        Some(CapabilityKind::Resource | CapabilityKind::ResourceTemplate) => {
            RpcError::unknown_resource(name, refused.asked.era())
        }
        Some(CapabilityKind::Tool) | None => RpcError::unknown_tool(name),
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

impl Settled {
    /// Puts the end of a call into an envelope.
    pub(crate) fn into_reply(self, id: &str, era: Era, operation: Operation) -> Reply {
        match self {
            Self::Result(result) => Reply::result(id, &result),
            Self::Failed(error) | Self::Unknown(error) => Reply::error(Some(id), &error),
            Self::Beyond(error) => Reply::error(None, &error),
            Self::Denied { decision, record } => denied(id, era, operation, &decision, &record),
            Self::Limited { decision, record, retry_after, resets_at } => {
                let error = RpcError {
                    code: RATE_LIMITED,
                    message: decision.reasons.first().cloned().unwrap_or_default(),
                    data: Some(decision_json(&decision, &record, resets_at)),
                    status: 429,
                };
                Reply { retry_after: Some(retry_after), ..Reply::error(Some(id), &error) }
            }
        }
    }
}

fn denied(id: &str, era: Era, operation: Operation, decision: &Decision, record: &str) -> Reply {
    let reason = decision.reasons.first().map_or("denied", String::as_str);
    let text = format!("[POLICY DENIED] {reason}");
    let data = decision_json(decision, record, None);
    if operation != Operation::ToolsCall {
        return Reply::error(Some(id), &RpcError::answer(POLICY_DENIED, text).with_data(data));
    }
    let meta = format!(r#","_meta":{{"dev.doorward/decision":{data}}}"#);
    Reply::result(id, &error_result(&text, era, &meta))
}

/// A tool result that says what went wrong; `more` is JSON text of further members.
fn error_result(text: &str, era: Era, more: &str) -> String {
    let complete = if era == Era::Modern { r#""resultType":"complete","# } else { "" };
    let text = quoted(text);
    format!(r#"{{{complete}"content":[{{"type":"text","text":{text}}}],"isError":true{more}}}"#)
}

/// What a refused caller may know of the decision.
fn decision_json(decision: &Decision, record: &str, resets_at: Option<Timestamp>) -> String {
    let mut out = format!(r#"{{"verdict":"{}","reasons":["#, decision.verdict);
    for (at, reason) in decision.reasons.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(&mut out, reason);
    }
    out.push_str(r#"],"rule":"#);
    match &decision.rule {
        Some(rule) => push_string(&mut out, rule),
        None => out.push_str("null"),
    }
    out.push_str(r#","record":"#);
    push_string(&mut out, record);
    if let Some(at) = resets_at {
        out.push_str(r#","resets_at":"#);
        push_string(&mut out, &at.to_string());
    }
    out.push('}');
    out
}
