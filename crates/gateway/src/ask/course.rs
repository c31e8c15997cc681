//! The call of a legacy server under way, apart from the request that began it: what it says,
//! what it asks and how it ends, one step after the other.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::ServerId;
use doorward_model::json::{Document, Value, push_string};
use doorward_upstream::{Answer, Question, UpstreamError, Upstreams};
use doorward_wire::abilities::Abilities;
use doorward_wire::error::METHOD_NOT_FOUND;
use doorward_wire::{RpcError, adapt};
use futures_util::future::select_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::{bounded, evidence, reread};
use crate::gateway::Gateway;
use crate::stage::resolve::Resolved;
use crate::stage::send::Outgoing;

/// How many messages of a call may wait to be passed on.
const WAITING: usize = 16;

/// A call under way at its server.
pub(super) struct Flight {
    server: ServerId,
    method: &'static str,
    answer: oneshot::Receiver<Result<Answer, UpstreamError>>,
    questions: mpsc::Receiver<Question>,
    notes: mpsc::Receiver<Bytes>,
    task: JoinHandle<()>,
    /// How many questions it has asked.
    asked: usize,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Flight {
    /// Sets the call in motion, so that it can outlive this request.
    pub(super) fn begin(resolved: &Resolved<'_>, outgoing: Outgoing) -> Self {
        let asked = resolved.asked();
        let (upstreams, server) = (asked.gateway.upstreams.clone(), resolved.server().id.clone());
        let longest = asked.gateway.settings.asks.longest;
        let (answered, answer) = oneshot::channel();
        let (ask, questions) = mpsc::channel(WAITING);
        let (notify, notes) = mpsc::channel(WAITING);
        let owned = outgoing.owned(resolved);
        let of = server.clone();
        let task = tokio::spawn(async move {
            let mut call = owned.call();
            call.questions = Some(ask);
            call.notify = Some(notify);
            call.deadline = Some(longest);
            // Whoever waited has left, and aborts this.
            let _ = answered.send(upstreams.call(&of, call).await);
        });
        let method = resolved.operation().as_str();
        Self { server, method, answer, questions, notes, task, asked: 0 }
    }
}

/// Questions that wait for an answer, by key.
pub(super) type Open = Vec<(String, Question)>;

/// What a client answered: a question's method, and what that amounts to.
pub(super) type Given = Vec<(String, &'static str)>;

/// Hands a client's answers to the server; what it left out stays open.
pub(super) fn answer(open: Open, responses: Option<Value<'_>>) -> (Open, Given) {
    let (mut left, mut given) = (Vec::new(), Vec::new());
    for (key, question) in open.into_iter().filter(|(_, question)| !question.is_withdrawn()) {
        match responses.and_then(|responses| responses.get(&key)).filter(|response| response.is_object()) {
            Some(response) => {
                given.push((question.method.clone(), evidence::gist(response.raw())));
                question.answer(response.raw());
            }
            None => left.push((key, question)),
        }
    }
    (left, given)
}

/// What a call does next.
pub(super) enum Step {
    /// It says something: a notification.
    Said(Bytes),
    /// It waits for answers.
    Asks,
    /// It is over.
    Ended(Result<Answer, UpstreamError>),
}

/// A call that somebody waits for.
pub(super) struct Course {
    /// Dropped first, so that the server hears that nobody answered before it hears
    /// that nobody waits.
    open: Open,
    flight: Flight,
    upstreams: Upstreams,
    landed: Option<Result<Answer, UpstreamError>>,
    /// How long the server may take, the time of its questions apart.
    limit: Duration,
    rest: Pin<Box<Sleep>>,
    /// How long to wait whether there is more that it asks.
    gather: Duration,
    gathered: Pin<Box<Sleep>>,
}

impl Course {
    pub(super) fn new(gateway: &Gateway, flight: Flight, open: Open) -> Self {
        let upstreams = gateway.upstreams.clone();
        let limit = upstreams.timeout(&flight.server).unwrap_or_default();
        let gather = gateway.settings.asks.gather;
        let (rest, gathered) = (Box::pin(sleep(limit)), Box::pin(sleep(gather)));
        Self { open, flight, upstreams, landed: None, limit, rest, gather, gathered }
    }

    /// Waits for what comes next. Nothing is lost if that is given up.
    pub(super) async fn step(&mut self, abilities: &Abilities) -> Step {
        loop {
            if let Some(answer) = self.landed.take() {
                // What was said before the answer is heard before it.
                let Ok(note) = self.flight.notes.try_recv() else { return Step::Ended(answer) };
                self.landed = Some(answer);
                return Step::Said(note);
            }
            tokio::select! {
                biased;
                answer = &mut self.flight.answer => {
                    let gone = || UpstreamError::Unavailable { server: self.flight.server.clone() };
                    self.landed = Some(answer.unwrap_or_else(|_| Err(gone())));
                }
                Some(note) = self.flight.notes.recv() => return Step::Said(note),
                Some(question) = self.flight.questions.recv() => {
                    self.flight.asked += 1;
                    if let Err(error) = bounded(self.flight.asked, &self.flight.server) {
                        return Step::Ended(Err(error));
                    }
                    if let Some(question) = offered(abilities, question) {
                        let taken = self.open.iter().map(|(key, _)| key.as_str());
                        self.open.push((key(&question, taken), question));
                        self.gathered.set(sleep(self.gather));
                    }
                    self.rest.set(sleep(self.limit));
                }
                () = any_withdrawn(&self.open), if !self.open.is_empty() => {
                    self.open.retain(|(_, question)| !question.is_withdrawn());
                    self.rest.set(sleep(self.limit));
                }
                () = &mut self.gathered, if !self.open.is_empty() => return Step::Asks,
                () = &mut self.rest, if self.open.is_empty() => {
                    self.upstreams.was_silent(&self.flight.server);
                    let (method, limit) = (self.flight.method.into(), self.limit);
                    return Step::Ended(Err(UpstreamError::Timeout { method, limit }));
                }
            }
        }
    }

    /// What it asks, as the `inputRequests` of a result: JSON text.
    pub(super) fn requests(&self) -> String {
        let mut out = String::from("{");
        for (at, (key, question)) in self.open.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_string(&mut out, key);
            out.push_str(r#":{"method":"#);
            push_string(&mut out, &question.method);
            if let Ok(params) = std::str::from_utf8(&question.params)
                && !params.is_empty()
            {
                out.push_str(r#","params":"#);
                out.push_str(&for_modern(params));
            }
            out.push('}');
        }
        out.push('}');
        out
    }

    /// The server it is made at.
    pub(super) fn server(&self) -> &ServerId {
        &self.flight.server
    }

    /// What has to be kept until somebody waits for it again.
    pub(super) fn into_parts(self) -> (Open, Flight) {
        (self.open, self.flight)
    }
}

/// Waits until the server takes one of these back.
async fn any_withdrawn(open: &Open) {
    select_all(open.iter().map(|(_, question)| Box::pin(question.withdrawn()))).await;
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

/// The `params` of a legacy request without what only makes sense where it came from.
pub(crate) fn for_modern(params: &str) -> String {
    const LEGACY_ONLY: [&str; 3] = ["_meta", "task", "elicitationId"];
    match reread(params) {
        Some(document) => adapt::splice(document.root(), &LEGACY_ONLY, "").into_owned(),
        None => "{}".to_owned(),
    }
}
