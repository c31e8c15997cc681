//! Questions: what a server wants to know of whoever made a call, before it answers.
//!
//! The two eras ask in ways that have nothing in common. A server of the legacy era
//! sends a request and goes on waiting; one of the stateless era ends the call with
//! `input_required`, and the client makes the call again. Either reaches either client:
//!
//! | client, server | |
//! |---|---|
//! | legacy, legacy | the request goes on to the client, on the stream of its call ([`rounds`]) |
//! | legacy, modern | the gateway asks the client and makes the call again itself ([`rounds`]) |
//! | modern, legacy | the server's call is suspended until the client comes back ([`suspended`]) |
//! | modern, modern | the answer goes on, its `requestState` sealed ([`state`]) |
//!
//! A client may come back to another replica than the one where its call is suspended
//! ([`elsewhere`]). Each repetition by a client is a call of its own: identified, decided, limited and
//! recorded like any other. Only quotas count what is sent to a server: a suspended call that
//! goes on was counted when it was, and a round that ended with a modern server's question is
//! given back.

pub(crate) mod client;
mod course;
pub(crate) mod elsewhere;
pub(crate) mod evidence;
mod letters;
mod link;
mod rounds;
pub(crate) mod state;
mod suspended;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::ServerId;
use doorward_model::json::{Document, Value, push_string};
use doorward_upstream::{Answer, Call, Round, UpstreamError};
use doorward_wire::adapt::{self, Completeness};
use doorward_wire::{Era, RpcError};

use crate::stage::resolve::Resolved;
use crate::stage::send::Outgoing;

pub(crate) use client::Questions;
pub(crate) use course::{for_modern, key, offered};
pub(crate) use suspended::Suspended;

/// How many questions one call may ask. Each of them may be put to a person, and is on record.
pub(crate) const MOST: usize = 256;
/// What becomes of a call that asks more.
const ENDLESS: &str = "it asks and asks, and never answers";

/// Bounds on questions.
#[derive(Clone, Copy, Debug)]
pub struct AskLimits {
    /// How long a person may take to answer, and a suspended call waits to be made again.
    pub patience: Duration,
    /// How long a call may take in all, questions included.
    pub longest: Duration,
    /// How often one call of a legacy client is made again for a server of the modern era.
    pub rounds: usize,
    /// Suspended calls in all.
    pub suspended: usize,
    /// Suspended calls of one principal.
    pub suspended_each: usize,
    /// How long the gateway waits whether a server has more to ask, once it has asked.
    pub gather: Duration,
}

impl Default for AskLimits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10 * 60),
            longest: Duration::from_secs(60 * 60),
            rounds: 8,
            suspended: 1_000,
            suspended_each: 50,
            gather: Duration::from_millis(30),
        }
    }
}

/// What came of a call that was sent.
pub(crate) enum Sent {
    /// The server's answer.
    Answer(Answer),
    /// The server has agreed to a subscription.
    Subscribed,
    /// The client is to answer questions and make the call again: an
    /// `InputRequiredResult`, JSON text. With it, what the server said, if it said that.
    Asks(String, Option<Answer>),
    /// The same, while the server's call waits for the answers.
    Suspended(String),
    /// The client could not, or would not, answer what the call cannot do without.
    Unanswered(RpcError),
    /// The suspended call that the client wanted to go on with is gone.
    Gone,
    /// It is suspended at another replica, which cannot be reached.
    Elsewhere,
    /// It failed after it had begun: there was no place for it to wait in, or another replica
    /// went on with it.
    Failed(Failure),
}

/// How a call failed, in words that can travel.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For whoever called.
    pub text: String,
    pub fault: Fault,
    /// The stable word for it.
    pub code: Cow<'static, str>,
}

/// What kind of failure it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There was no answer in time.
    Timeout,
    /// The server has no such thing.
    NotOffered,
    /// The server said no, with this code.
    Refused(i32),
    /// Anything else.
    Server,
}

impl From<&UpstreamError> for Failure {
    fn from(error: &UpstreamError) -> Self {
        let fault = match error {
            UpstreamError::Timeout { .. } => Fault::Timeout,
            UpstreamError::NotOffered { .. } => Fault::NotOffered,
            UpstreamError::Refused { code, .. } => Fault::Refused(*code),
            _ => Fault::Server,
        };
        Self { text: error.to_string(), fault, code: error.code().into() }
    }
}

/// Sends a call to its server and sees to what the server asks.
pub(crate) async fn relay(resolved: &Resolved<'_>, outgoing: Outgoing) -> Result<Sent, UpstreamError> {
    let asked = resolved.asked();
    if asked.era() == Era::Legacy {
        return rounds::relay(resolved, &outgoing).await;
    }
    // A server that is known to be modern asks by answering. Any other may need the
    // call to outlive this request.
    let server = &resolved.server().id;
    // One that is suspended is not made anew, whatever its client says of itself by now.
    let is_direct = !state::is_suspended(resolved.round())
        && (!asked.abilities.can_be_asked() || asked.gateway.upstreams.era(server) == Some(Era::Modern));
    let sent = if is_direct {
        let answer = asked.gateway.upstreams.call(server, outgoing.call(resolved)).await?;
        match answered_ahead(resolved, &answer) {
            // On the heap: rare, and every call would have room for it.
            Some(next) => Sent::Answer(Box::pin(again(resolved, &outgoing, next)).await?),
            None => Sent::Answer(answer),
        }
    } else {
        Box::pin(suspended::relay(resolved, outgoing)).await?
    };
    let Sent::Answer(answer) = sent else { return Ok(sent) };
    if let Some(asks) = link::asked(resolved, &answer) {
        return Ok(asks);
    }
    match result_that_asks(&answer) {
        Some(result) => {
            let text = passed_on(resolved, result)?;
            Ok(Sent::Asks(text, Some(answer)))
        }
        None => Ok(Sent::Answer(answer)),
    }
}

/// What a call takes along that is made again.
struct Next {
    responses: String,
    state: Option<String>,
}

/// What a client has answered ahead, if its server asks just that.
fn answered_ahead(resolved: &Resolved<'_>, answer: &Answer) -> Option<Next> {
    let round = resolved.round().filter(|round| round.resume == state::Resume::Unasked)?;
    let (given, result) = (round.responses?, result_that_asks(answer)?);
    let entries = entries(result);
    let is_answered = |(key, entry): &(String, Entry)| {
        given.get(key).is_some_and(Value::is_object)
            && resolved.asked().abilities.allow(&entry.method(), entry.params())
    };
    if entries.is_empty() || entries.len() > MOST || !entries.iter().all(is_answered) {
        return None;
    }
    for (key, entry) in &entries {
        let response = given.get(key).map_or("", Value::raw);
        evidence::note(resolved, &entry.method(), evidence::gist(response));
    }
    let keys: Vec<_> = entries.into_iter().map(|(key, _)| key).collect();
    let state = result.get("requestState").and_then(Value::as_str).map(Cow::into_owned);
    Some(Next { responses: round.to(&keys), state })
}

/// Makes the call again with what was asked.
async fn again(resolved: &Resolved<'_>, outgoing: &Outgoing, next: Next) -> Result<Answer, UpstreamError> {
    let round = Round { responses: &next.responses, state: next.state.as_deref() };
    let call = Call { round: Some(round), ..outgoing.call(resolved) };
    resolved.asked().gateway.upstreams.call(&resolved.server().id, call).await
}

/// The result, if it asks for input.
fn result_that_asks(answer: &Answer) -> Option<Value<'_>> {
    let result = answer.message.root().get("result")?;
    (adapt::completeness(result) == Completeness::InputRequired).then_some(result)
}

/// What a modern server asks, for a modern client: as it is, but for its state.
fn passed_on(resolved: &Resolved<'_>, result: Value<'_>) -> Result<String, UpstreamError> {
    let entries = entries(result);
    bounded(entries.len(), &resolved.server().id)?;
    let mut keys = Vec::new();
    for (key, entry) in entries {
        keys.push(key);
        let (method, params) = (entry.method(), entry.params());
        if !resolved.asked().abilities.allow(&method, params) {
            return Err(broken(resolved, "it asked for what the client did not offer"));
        }
        evidence::note(resolved, &method, "asked");
    }
    let own = result.get("requestState").and_then(Value::as_str);
    let resume = state::Resume::Server { state: own.map(Cow::into_owned), asked: keys };
    let Some(state) = state::seal(resolved, &resume) else {
        return Err(broken(resolved, "the state it wants to have back is too long"));
    };
    let mut sealed = String::from(r#""requestState":"#);
    push_string(&mut sealed, &state);
    Ok(adapt::splice(result, &["requestState"], &sealed).into_owned())
}

/// One of the requests in an `InputRequiredResult`, or the `params` of any other.
pub(crate) struct Entry(Document);

impl Entry {
    pub(crate) fn method(&self) -> String {
        self.0.root().get("method").and_then(Value::as_str).unwrap_or_default().into_owned()
    }

    pub(crate) fn params(&self) -> Option<Value<'_>> {
        self.0.root().get("params")
    }
}

/// What a result asks for, by key.
pub(crate) fn entries(result: Value<'_>) -> Vec<(String, Entry)> {
    let Some(requests) = result.get("inputRequests") else { return Vec::new() };
    let read = |raw: &str| reread(raw).map(Entry);
    reread(requests.raw())
        .map(|requests| {
            let entries = requests.root().members();
            entries.filter_map(|(key, entry)| Some((key.into_owned(), read(entry.raw())?))).collect()
        })
        .unwrap_or_default()
}

/// Reads again what was indexed less deeply than is needed here.
pub(crate) fn reread(text: &str) -> Option<Document> {
    let limits = doorward_model::json::Limits {
        numbers: doorward_model::json::Numbers::Exact,
        ..doorward_model::json::Limits::default()
    };
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &limits).ok()
}

fn broken(resolved: &Resolved<'_>, detail: &'static str) -> UpstreamError {
    UpstreamError::Protocol { server: resolved.server().id.clone(), detail, cause: None }
}

/// Whether a call may have asked so much.
pub(crate) fn bounded(asked: usize, server: &ServerId) -> Result<(), UpstreamError> {
    if asked > MOST { Err(endless(server)) } else { Ok(()) }
}

/// What becomes of a call of this server that asks without end.
pub(crate) fn endless(server: &ServerId) -> UpstreamError {
    UpstreamError::Protocol { server: server.clone(), detail: ENDLESS, cause: None }
}
