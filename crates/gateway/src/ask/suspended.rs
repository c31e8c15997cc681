//! Clients of the modern era in front of a server of the legacy era: when the server
//! asks, its call is suspended, and goes on when the client makes the call again.
//!
//! A suspended call lives in the memory of this process, for a bounded time and in bounded
//! number. One that is gone is never made anew by itself: it may have acted already. Its
//! name begins with the replica that has it; no other goes on with it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::{Document, Value, push_hex, push_string};
use doorward_upstream::{Answer, Question, UpstreamError};
use doorward_wire::error::METHOD_NOT_FOUND;
use doorward_wire::{Abilities, RpcError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::state::{self, Resume};
use super::{AskLimits, Sent, broken, evidence, reread};
use crate::pipeline::Asked;
use crate::session::principal;
use crate::session::replicas::Tidings;
use crate::stage::resolve::Resolved;
use crate::stage::send::Outgoing;

/// How many messages of a call may wait to be passed on.
const WAITING: usize = 16;

/// The calls that wait for their clients to come back.
#[derive(Default)]
pub(crate) struct Suspended {
    calls: Mutex<HashMap<String, Call>>,
}

struct Call {
    owner: String,
    /// On the gateway's clock.
    until: Duration,
    /// Dropped first, so that the server hears that nobody answered before it hears
    /// that nobody waits.
    open: Vec<(String, Question)>,
    flight: Flight,
}

/// A call under way at its server, apart from the request that began it.
struct Flight {
    answer: oneshot::Receiver<Result<Answer, UpstreamError>>,
    questions: mpsc::Receiver<Question>,
    notes: mpsc::Receiver<Bytes>,
    task: JoinHandle<()>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Suspended {
    /// Ends what nobody came back to.
    pub(crate) fn sweep(&self, now: Duration) {
        let mut ended = Vec::new();
        self.lock().retain(|_, call| {
            let is_due = call.until <= now;
            if is_due {
                ended.push(std::mem::take(&mut call.open));
            }
            !is_due
        });
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends one that its client wanted to go on with elsewhere, and will begin anew.
    pub(crate) fn end(&self, name: &str) {
        let ended = self.lock().remove(name);
        // Apart, so that nothing is held while the server is told.
        drop(ended);
    }

    fn take(&self, name: &str, now: Duration) -> Option<Call> {
        self.lock().remove(name).filter(|call| call.until > now)
    }

    /// Keeps a call; gives it back when there are too many.
    fn keep(&self, name: String, call: Call, limits: &AskLimits) -> bool {
        let mut calls = self.lock();
        let mine = calls.values().filter(|other| other.owner == call.owner).count();
        if calls.len() >= limits.suspended || mine >= limits.suspended_each {
            return false;
        }
        calls.insert(name, call);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a call, or goes on with a suspended one, until it is answered or asks.
pub(super) async fn relay(resolved: &Resolved<'_>, outgoing: Outgoing) -> Result<Sent, UpstreamError> {
    let asked = resolved.asked();
    let gateway = asked.gateway;
    let resumed = match resolved.round().and_then(|round| round.resume.as_ref()) {
        Some(Resume::Suspended(name)) => match gateway.suspended.take(name, gateway.clock.elapsed()) {
            Some(call) => Some(call),
            None if gateway.has_others && !name.starts_with(&*gateway.replica) => {
                gateway.let_others_know(name, Tidings::Dropped);
                return Ok(Sent::Elsewhere);
            }
            None => return Ok(Sent::Gone),
        },
        _ => None,
    };
    let is_resumed = resumed.is_some();
    let (mut flight, mut open) = match resumed {
        Some(Call { flight, open, .. }) => (flight, open),
        None => (begin(resolved, outgoing), Vec::new()),
    };
    let responses = resolved.round().and_then(|round| round.responses);
    open = answer(resolved, open, responses.filter(|_| is_resumed));
    let limit = gateway.upstreams.timeout(&resolved.server().id).unwrap_or_default();
    let mut rest = pin!(sleep(limit));
    let mut gathered = pin!(sleep(gateway.settings.asks.gather));
    loop {
        tokio::select! {
            biased;
            answer = &mut flight.answer => {
                // What was said before the answer is heard before it.
                while let Ok(note) = flight.notes.try_recv() {
                    pass_on(asked, note, is_resumed).await;
                }
                let gone = || UpstreamError::Unavailable { server: resolved.server().id.clone() };
                return answer.unwrap_or_else(|_| Err(gone())).map(Sent::Answer);
            }
            Some(note) = flight.notes.recv() => pass_on(asked, note, is_resumed).await,
            Some(question) = flight.questions.recv() => {
                if let Some(question) = offered(&asked.abilities, question) {
                    let taken = open.iter().map(|(key, _)| key.as_str());
                    open.push((key(&question, taken), question));
                    gathered.set(sleep(gateway.settings.asks.gather));
                }
                rest.set(sleep(limit));
            }
            () = &mut gathered, if !open.is_empty() => return suspend(resolved, flight, open),
            () = &mut rest, if open.is_empty() => {
                let method = resolved.operation().as_str();
                return Err(UpstreamError::Timeout { method: method.into(), limit });
            }
        }
    }
}

/// Sets the call in motion, so that it can outlive this request.
fn begin(resolved: &Resolved<'_>, outgoing: Outgoing) -> Flight {
    let asked = resolved.asked();
    let (upstreams, server) = (asked.gateway.upstreams.clone(), resolved.server().id.clone());
    let longest = asked.gateway.settings.asks.longest;
    let (answered, answer) = oneshot::channel();
    let (ask, questions) = mpsc::channel(WAITING);
    let (notify, notes) = mpsc::channel(WAITING);
    let owned = outgoing.owned(resolved);
    let task = tokio::spawn(async move {
        let mut call = owned.call();
        call.questions = Some(ask);
        call.notify = Some(notify);
        call.deadline = Some(longest);
        // Whoever waited has left, and aborts this.
        let _ = answered.send(upstreams.call(&server, call).await);
    });
    Flight { answer, questions, notes, task }
}

/// Hands the client's answers to the server; what it left out stays open.
fn answer(
    resolved: &Resolved<'_>,
    open: Vec<(String, Question)>,
    responses: Option<Value<'_>>,
) -> Vec<(String, Question)> {
    let mut left = Vec::new();
    for (key, question) in open {
        match responses.and_then(|responses| responses.get(&key)).filter(|response| response.is_object()) {
            Some(response) => {
                evidence::note(resolved, &question.method, evidence::gist(response.raw()));
                question.answer(response.raw());
            }
            None => left.push((key, question)),
        }
    }
    left
}

/// The question, unless the client never offered to answer it.
pub(crate) fn offered(abilities: &Abilities, question: Question) -> Option<Question> {
    let text = std::str::from_utf8(&question.params).unwrap_or_default();
    let params = reread(if text.is_empty() { "{}" } else { text });
    if abilities.allow(&question.method, params.as_ref().map(Document::root)) {
        return Some(question);
    }
    question.refuse(&RpcError::answer(METHOD_NOT_FOUND, "the client did not offer to answer that"));
    None
}

/// A key for a question: the server's own id, which says most to whoever reads it.
pub(crate) fn key<'k>(question: &Question, taken: impl Iterator<Item = &'k str> + Clone) -> String {
    let id = question.id.trim_matches('"');
    let plain: String =
        id.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(64).collect();
    let is_free = !plain.is_empty() && taken.clone().all(|other| other != plain);
    if is_free { plain } else { format!("{plain}_{}", taken.count()) }
}

/// Keeps the call until the client comes back with the answers.
fn suspend(
    resolved: &Resolved<'_>,
    flight: Flight,
    open: Vec<(String, Question)>,
) -> Result<Sent, UpstreamError> {
    let gateway = resolved.asked().gateway;
    let mut bytes = [0; 16];
    gateway.random.fill(&mut bytes);
    let mut name = format!("{}-", gateway.replica);
    push_hex(&mut name, &bytes);
    let Some(state) = state::seal(resolved, &Resume::Suspended(name.clone())) else {
        return Err(broken(resolved, "its call cannot be suspended"));
    };
    let mut result = String::from(r#"{"resultType":"input_required","inputRequests":{"#);
    for (at, (key, question)) in open.iter().enumerate() {
        if at > 0 {
            result.push(',');
        }
        push_string(&mut result, key);
        result.push_str(r#":{"method":"#);
        push_string(&mut result, &question.method);
        evidence::note(resolved, &question.method, "asked");
        if let Ok(params) = std::str::from_utf8(&question.params)
            && !params.is_empty()
        {
            result.push_str(r#","params":"#);
            result.push_str(&for_modern(params));
        }
        result.push('}');
    }
    result.push_str(r#"},"requestState":"#);
    push_string(&mut result, &state);
    result.push('}');
    let limits = &gateway.settings.asks;
    let until = gateway.clock.elapsed() + limits.patience;
    let call = Call { owner: principal(resolved.asked().caller), until, open, flight };
    if !gateway.suspended.keep(name, call, limits) {
        return Err(UpstreamError::Busy { server: resolved.server().id.clone() });
    }
    Ok(Sent::Asks(result, None))
}

/// The `params` of a legacy request without what only makes sense where it came from.
pub(crate) fn for_modern(params: &str) -> String {
    const LEGACY_ONLY: [&str; 3] = ["_meta", "task", "elicitationId"];
    match reread(params) {
        Some(document) => doorward_wire::adapt::splice(document.root(), &LEGACY_ONLY, "").into_owned(),
        None => "{}".to_owned(),
    }
}

/// Passes a notification of the call on. After a suspension, progress belongs to the
/// request that is waiting now.
async fn pass_on(asked: &Asked<'_>, note: Bytes, is_resumed: bool) {
    let Some(notify) = &asked.notify else { return };
    let note = if is_resumed { retold(asked, &note) } else { Some(note) };
    if let Some(note) = note {
        // A client that has gone does not need to be told.
        let _ = notify.send(note).await;
    }
}

/// The notification under the progress token of the request that is waiting now.
fn retold(asked: &Asked<'_>, note: &Bytes) -> Option<Bytes> {
    let document = reread(std::str::from_utf8(note).ok()?)?;
    let token = document.root().get("params").and_then(|params| params.get("progressToken"));
    let Some(old) = token else { return Some(note.clone()) };
    let own = asked.meta.progress_token?;
    let (text, span) = (std::str::from_utf8(note).ok()?, old.span());
    Some(Bytes::from(format!("{}{}{}", &text[..span.start], own.raw(), &text[span.end..])))
}
