//! Putting a question to a client of the legacy era: a request on the stream of its call,
//! answered by a message of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use doorward_model::json::{Document, Value};
use doorward_upstream::Question;
use doorward_wire::error::METHOD_NOT_FOUND;
use doorward_wire::message::{Body, Message};
use doorward_wire::{RpcError, level, own, reply};
use tokio::sync::{mpsc, oneshot};

use super::{evidence, reread};
use crate::answer::code;
use crate::pipeline::Asked;
use crate::stage::resolve::Resolved;

/// The questions that one session's client has not answered yet.
#[derive(Default)]
pub(crate) struct Questions {
    open: Mutex<HashMap<String, oneshot::Sender<Document>>>,
    serial: AtomicU64,
}

impl Questions {
    /// Takes a client's answer to the question with this id, as written; one that nobody
    /// waits for any more is ignored. `false` when it was not asked here.
    pub(crate) fn answered(&self, id: &str, answer: Document) -> bool {
        let waiting = self.lock().remove(id);
        // Whoever asked may have stopped waiting this instant.
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// No two replicas ask under one id.
    fn ask(&self, replica: &str) -> (String, oneshot::Receiver<Document>) {
        let id = format!("\"q-{replica}-{}\"", self.serial.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, answer) = oneshot::channel();
        self.lock().insert(id.clone(), sender);
        (id, answer)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Document>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a client's answer is not one.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// It never offered to answer this.
    NotOffered,
    /// It, or the person in front of it, took too long or is gone.
    Silent,
    /// It answered with an error.
    Refused(RpcError),
}

/// What came of a question that its server took back, or whose call ended first.
pub(crate) const WITHDRAWN: &str = "withdrawn";

/// Passes a server's question on to the client, and its answer back.
pub(super) async fn relay(resolved: &Resolved<'_>, question: Question) {
    let params = std::str::from_utf8(&question.params).unwrap_or_default();
    let mut unanswered = Unanswered(Some((resolved, question.method.clone())));
    let answer = tokio::select! {
        answer = put(resolved, &question.method, params) => answer,
        () = question.withdrawn() => return question.abandon(),
    };
    unanswered.0 = None;
    give(question, answer);
}

/// A question that is being put. Dropped, it was taken back, or the call is over.
struct Unanswered<'a>(Option<(&'a Resolved<'a>, String)>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some((resolved, method)) = self.0.take() {
            evidence::note(resolved, &method, WITHDRAWN);
        }
    }
}

/// Gives a server what its question was answered with.
pub(crate) fn give(question: Question, answer: Result<String, NoAnswer>) {
    match answer {
        Ok(result) => question.answer(&result),
        Err(NoAnswer::NotOffered) => {
            question.refuse(&RpcError::answer(METHOD_NOT_FOUND, "the client did not offer to answer that"));
        }
        Err(NoAnswer::Refused(error)) => question.refuse(&error),
        // Dropped, which says so.
        Err(NoAnswer::Silent) => {}
    }
}

/// Asks the client; `params` and the result are JSON text.
pub(super) async fn put(resolved: &Resolved<'_>, method: &str, params: &str) -> Result<String, NoAnswer> {
    let answer = ask(resolved.asked(), method, params).await;
    evidence::note(resolved, method, how(&answer));
    answer
}

/// What came of a question, for the log.
pub(crate) fn how(answer: &Result<String, NoAnswer>) -> &'static str {
    match answer {
        Ok(result) => evidence::gist(result),
        Err(NoAnswer::NotOffered) => "not offered",
        Err(NoAnswer::Silent) => "nobody answered",
        Err(NoAnswer::Refused(_)) => "refused",
    }
}

/// The same without a word in the log.
pub(crate) async fn ask(asked: &Asked<'_>, method: &str, params: &str) -> Result<String, NoAnswer> {
    let document = reread(if params.is_empty() { "{}" } else { params });
    if !asked.abilities.allow(method, document.as_ref().map(Document::root)) {
        return Err(NoAnswer::NotOffered);
    }
    let (Some(session), Some(stream)) = (&asked.incoming.session, &asked.notify) else {
        return Err(NoAnswer::NotOffered);
    };
    let (id, answer) = session.questions.ask(&asked.gateway.replica);
    let mut open = Open { questions: &session.questions, stream, id, is_answered: false };
    let mut message = reply::request(&open.id, method, None);
    if !params.is_empty() {
        let revision = asked.incoming.revision;
        // Its own id will do for a URL as well: both are this session's, and given once.
        let params = level::question(method, params, revision, open.id.trim_matches('"'));
        message = reply::request(&open.id, method, Some(&params.ok_or(NoAnswer::NotOffered)?));
    }
    stream.send(message).await.map_err(|_| NoAnswer::Silent)?;
    let patience = asked.gateway.settings.asks.patience;
    let Ok(Ok(answer)) = tokio::time::timeout(patience, answer).await else { return Err(NoAnswer::Silent) };
    open.is_answered = true;
    read(&answer)
}

fn read(answer: &Document) -> Result<String, NoAnswer> {
    let Ok(Message::Response(response)) = Message::read(answer) else { return Err(NoAnswer::Silent) };
    match response.body {
        Body::Result(result) => Ok(result.raw().to_owned()),
        Body::Error(error) => {
            // It answers for itself, not for the gateway.
            let other = own::error(error).and_then(|error| reread(&error));
            let error = other.as_ref().map_or(error, Document::root);
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            let mut refused = RpcError::answer(code(error).unwrap_or(-1), message);
            refused.data = error.get("data").map(|data| data.raw().to_owned());
            Err(NoAnswer::Refused(refused))
        }
    }
}

/// A question that waits. Dropped unanswered, it is taken back: the person need not answer.
struct Open<'a> {
    questions: &'a Questions,
    stream: &'a mpsc::Sender<Bytes>,
    id: String,
    is_answered: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.questions.lock().remove(&self.id);
        let params = format!(r#"{{"requestId":{}}}"#, self.id);
        // A client that does not read its stream will not see the question either.
        let _ = self.stream.try_send(reply::notification("notifications/cancelled", Some(&params)));
    }
}
