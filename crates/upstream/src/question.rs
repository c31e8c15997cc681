//! A request that a server makes while it works on a call: it wants something of
//! whoever made the call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use doorward_model::json::{Document, Value};
use doorward_wire::abilities::{ELICIT, ROOTS, SAMPLE};
use doorward_wire::message::Request;
use doorward_wire::task::RELATED;
use doorward_wire::{RpcError, reply};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::inbound;

/// What a person who does not answer at all is taken to have said; the code is the one
/// that MCP gives to a sampling request that a user turned down.
const NOBODY_ANSWERED: i32 = -1;

/// How many questions of one session may be open. One is, until its answer is written: a server
/// that reads none is asked to wait for nobody.
const MOST: usize = 32;

/// A server's question. Dropping it tells the server that nobody answered.
#[derive(Debug)]
pub struct Question {
    /// The server's own id of the request, as JSON text.
    pub id: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// `params` as JSON text; empty where there are none.
    pub params: Bytes,
    /// The task that it is asked for, as the server calls it.
    pub(crate) task: Option<String>,
    reply: Option<oneshot::Sender<Bytes>>,
    withdrawn: watch::Receiver<bool>,
}

impl Question {
    /// The question in a server's request, and where the message that answers it comes
    /// out; `None` when it is another kind of request, or too many are open already. `open` is
    /// where its server can take it back.
    pub(crate) fn read(document: &Document, request: &Request<'_>, open: &Open) -> Option<(Self, Reply)> {
        if !matches!(request.method.as_ref(), ELICIT | SAMPLE | ROOTS) {
            return None;
        }
        let (withdrawn, place) = open.enter(request.id.raw())?;
        let (sender, message) = oneshot::channel();
        let question = Self {
            id: request.id.raw().to_owned(),
            method: request.method.clone().into_owned(),
            params: request.params.map(|params| document.slice(params)).unwrap_or_default(),
            task: request.params.and_then(|params| task(document, params)),
            reply: Some(sender),
            withdrawn,
        };
        Some((question, Reply { message, _place: place }))
    }

    /// Answers with a result, given as JSON text.
    pub fn answer(mut self, result: &str) {
        let message = reply::result(&self.id, result);
        self.send(message);
    }

    /// Answers with an error.
    pub fn refuse(mut self, error: &RpcError) {
        let message = reply::error(Some(&self.id), error);
        self.send(message);
    }

    /// Whether the server has taken it back: no answer is wanted any more, and none is sent.
    pub fn is_withdrawn(&self) -> bool {
        *self.withdrawn.borrow()
    }

    /// Waits until the server takes it back.
    pub async fn withdrawn(&self) {
        taken_back(self.withdrawn.clone()).await;
    }

    /// The same for somebody who does not have it.
    pub(crate) fn taken_back(&self) -> impl Future<Output = ()> + Send + use<> {
        taken_back(self.withdrawn.clone())
    }

    /// Leaves it without any answer, where another asks the same for the server.
    pub fn abandon(mut self) {
        self.reply = None;
    }

    fn send(&mut self, message: Bytes) {
        if let Some(reply) = self.reply.take().filter(|_| !self.is_withdrawn()) {
            // A link that has gone takes no answers.
            let _ = reply.send(message);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if self.reply.is_none() {
            return;
        }
        let message = if self.method == ELICIT {
            reply::result(&self.id, r#"{"action":"cancel"}"#)
        } else {
            let error = RpcError::answer(NOBODY_ANSWERED, "nobody answered");
            reply::error(Some(&self.id), &error)
        };
        self.send(message);
    }
}

/// The questions of one session that may still be answered, by the server's own ids.
pub(crate) struct Open {
    all: Mutex<Vec<(Box<str>, watch::Sender<bool>)>>,
    /// A place each, until its answer is written.
    places: Arc<Semaphore>,
}

impl Default for Open {
    fn default() -> Self {
        Self { all: Mutex::default(), places: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Open {
    fn enter(&self, id: &str) -> Option<(watch::Receiver<bool>, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, receiver) = watch::channel(false);
        let mut all = self.lock();
        all.retain(|(_, question)| !question.is_closed());
        all.push((id.into(), sender));
        Some((receiver, place))
    }

    /// The server takes back what it asked under this id.
    pub(crate) fn withdraw(&self, id: &str) {
        for (_, question) in self.lock().iter().filter(|(known, _)| **known == *id) {
            question.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Box<str>, watch::Sender<bool>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn taken_back(mut withdrawn: watch::Receiver<bool>) {
    if withdrawn.wait_for(|withdrawn| *withdrawn).await.is_err() {
        // The link has ended; whoever waits for the call hears of that.
        std::future::pending::<()>().await;
    }
}

/// The task that a question's `params` name. It stands deeper than a message is indexed.
fn task(document: &Document, params: Value<'_>) -> Option<String> {
    let related = params.get("_meta")?.get(RELATED)?;
    let related = inbound::parse(document.slice(related)).ok()?;
    Some(related.root().get("taskId")?.as_str()?.into_owned())
}

/// The message that will answer a question. Whoever holds it has yet to write it.
pub(crate) struct Reply {
    message: oneshot::Receiver<Bytes>,
    /// Held until the message is written.
    _place: OwnedSemaphorePermit,
}

impl Reply {
    /// Waits for it; every question is answered when it is dropped at the latest.
    pub(crate) async fn message(&mut self) -> Option<Bytes> {
        (&mut self.message).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use doorward_wire::message::Message;

    use super::*;
    use crate::inbound::parse;

    fn ask(method: &str) -> Option<(Question, Reply)> {
        ask_in(&Open::default(), method)
    }

    fn ask_in(open: &Open, method: &str) -> Option<(Question, Reply)> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"q","method":"{method}","params":{{"a":1}}}}"#);
        let document = parse(Bytes::from(text)).expect("valid");
        let Ok(Message::Request(request)) = Message::read(&document) else { panic!("a request") };
        Question::read(&document, &request, open)
    }

    #[tokio::test]
    async fn what_a_server_takes_back_is_not_answered() {
        let open = Open::default();
        let (question, mut reply) = ask_in(&open, ELICIT).expect("a question");
        open.withdraw("\"another\"");
        assert!(!question.is_withdrawn());
        open.withdraw("\"q\"");
        question.withdrawn().await;
        question.answer("{}");
        assert_eq!(reply.message().await, None);
        let (dropped, mut reply) = ask_in(&open, ELICIT).expect("a question");
        assert_eq!(open.lock().len(), 1, "what is over is forgotten");
        open.withdraw("\"q\"");
        drop(dropped);
        assert_eq!(reply.message().await, None);
    }

    #[tokio::test]
    async fn every_question_is_answered_even_if_by_nobody() {
        let mut answers = Vec::new();
        for method in [ELICIT, SAMPLE, ROOTS] {
            let (question, mut reply) = ask(method).expect("a question");
            assert_eq!(&question.params[..], br#"{"a":1}"#);
            drop(question);
            answers.push(reply.message().await.expect("answered"));
        }
        assert_eq!(answers[0], r#"{"jsonrpc":"2.0","id":"q","result":{"action":"cancel"}}"#);
        let nobody = r#"{"jsonrpc":"2.0","id":"q","error":{"code":-1,"message":"nobody answered"}}"#;
        assert!(answers[1..].iter().all(|answer| answer == nobody));
        let (question, mut reply) = ask(ROOTS).expect("a question");
        question.answer(r#"{"roots":[]}"#);
        assert_eq!(
            reply.message().await.as_deref(),
            Some(&br#"{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#[..])
        );
        let (question, mut reply) = ask(ELICIT).expect("a question");
        question.abandon();
        assert_eq!(reply.message().await, None);
        assert!(ask("ping").is_none());
    }

    #[tokio::test]
    async fn so_many_are_open_at_once_and_no_more_until_their_answers_are_written() {
        let open = Open::default();
        let all: Vec<_> = (0..MOST).map(|_| ask_in(&open, ROOTS).expect("a question")).collect();
        assert!(ask_in(&open, ROOTS).is_none());
        let (questions, mut replies): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        drop(questions);
        assert!(ask_in(&open, ROOTS).is_none(), "answered, and not written");
        assert!(replies.pop().expect("there are some").message().await.is_some());
        assert!(ask_in(&open, ROOTS).is_some());
    }
}
