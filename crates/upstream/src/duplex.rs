//! Requests and answers over one two-way stream: stdio, and HTTP+SSE.
//!
//! Everybody's requests travel together and are told apart by ids of the link's
//! own, so that no caller can ever receive what was meant for another. Whoever
//! stops waiting withdraws the request; an answer that comes later finds nobody
//! and is dropped.

mod late;
mod unreadable;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use doorward_model::json::Document;
use doorward_model::{Caller, Departure};
use doorward_wire::error::METHOD_NOT_FOUND;
use doorward_wire::log::Logs;
use tokio::sync::{mpsc, oneshot};

use crate::askers::{Askers, Entrant};
use crate::envelope;
use crate::error::{Cause, UpstreamError};
use crate::http::post::Post;
use crate::hub::Hub;
use crate::inbound::{self, Inbound};
use crate::listening::Listens;
use crate::makers::Makers;
use crate::meter::Meter;
use crate::question::Question;
use crate::stdio::queue::{Queue, Request};
use late::Late;

/// A two-way stream with the requests that wait for answers on it.
pub(crate) struct Duplex {
    hub: Arc<Hub>,
    outlet: Outlet,
    ids: AtomicU64,
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    askers: Arc<Askers>,
    makers: Makers,
    /// How much of what cannot be read is logged.
    unreadable: Mutex<Meter>,
    /// The subscriptions on the stream, which wait for no answer.
    pub(crate) listens: Listens,
}

/// Where messages go out.
#[derive(Clone)]
pub(crate) enum Outlet {
    /// To the task that writes to a child's standard input.
    Pipe(Queue),
    /// To the address that the server named for its session.
    Post(Arc<Post>),
}

struct Waiting {
    answer: oneshot::Sender<Result<Document, UpstreamError>>,
    notify: Option<mpsc::Sender<Bytes>>,
    /// What its listener has yet to take, if there was ever too much at once.
    late: Option<Arc<Late>>,
    progress_token: Option<String>,
    logs: Logs,
}

impl Waiting {
    /// Passes a notification on. One slow listener must not hold up everybody's answers.
    fn tell(&mut self, message: Bytes, is_progress: bool) {
        match (&self.late, &self.notify) {
            (Some(late), _) => late.add(message, is_progress),
            (None, Some(notify)) => self.late = Late::pass_on(notify, message, is_progress),
            (None, None) => {}
        }
    }

    /// Hands over the answer, behind what was said before it.
    fn answer(self, document: Document) {
        let Self { answer, late, .. } = self;
        match late {
            // Nobody may be waiting any more.
            None => drop(answer.send(Ok(document))),
            Some(late) => {
                tokio::spawn(async move {
                    late.over().await;
                    drop(answer.send(Ok(document)));
                });
            }
        }
    }
}

/// Who is to hear of a request's notifications, and of the server's questions.
#[derive(Default)]
pub(crate) struct Listener<'a> {
    pub(crate) notify: Option<&'a mpsc::Sender<Bytes>>,
    pub(crate) progress_token: Option<&'a str>,
    pub(crate) questions: Option<&'a mpsc::Sender<Question>>,
    pub(crate) task: Option<&'a str>,
    pub(crate) logs: Logs,
    /// Whom the request is made for; empty for the gateway itself.
    pub(crate) owner: &'a str,
    /// Who makes it; `None` for the gateway itself.
    pub(crate) caller: Option<&'a Arc<Caller>>,
    /// Told when the request begins to be written to a child.
    pub(crate) departure: Option<&'a Arc<Departure>>,
}

impl Duplex {
    pub(crate) fn new(hub: Arc<Hub>, outlet: Outlet) -> Self {
        let askers = Arc::new(Askers::new(hub.timeout));
        Self {
            hub,
            outlet,
            ids: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            askers,
            makers: Makers::default(),
            unreadable: Mutex::default(),
            listens: Listens::default(),
        }
    }

    /// Sends the request that `write` makes for an id and waits for its answer.
    /// Dropping the future withdraws the request.
    pub(crate) async fn request(
        &self,
        listener: Listener<'_>,
        write: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Document, UpstreamError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let Listener { owner, caller, questions, task, departure, .. } = listener;
        if let Some(caller) = caller {
            self.makers.note(caller);
        }
        let present = self.askers.enter(id, Entrant { owner, questions, task }).await;
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            answer: sender,
            notify: listener.notify.cloned(),
            late: None,
            progress_token: listener.progress_token.map(str::to_owned),
            logs: listener.logs,
        };
        match self.lock().as_mut() {
            None => return Err(self.exited()),
            Some(all) if all.len() >= self.hub.settings.max_in_flight => {
                return Err(UpstreamError::Busy { server: self.hub.server.clone() });
            }
            Some(all) => all.insert(id, waiting),
        };
        let mut ticket = Ticket { duplex: self, id, way: Way::Here };
        let message = Bytes::from(one_line(write(id)));
        present.leaves();
        match &self.outlet {
            Outlet::Pipe(queue) => {
                let request = Request::new(id, message, departure);
                ticket.way = Way::Queued(Arc::clone(&request));
                queue.request(request).await.map_err(|_| self.exited())?;
            }
            Outlet::Post(post) => {
                // Set before the message leaves: a withdrawal too many is ignored, one too
                // few leaves the server working for nobody.
                ticket.way = Way::Sent;
                post.send(message).await?;
            }
        }
        answer.await.unwrap_or_else(|_| Err(self.exited()))
    }

    /// Sends a message, and waits until there is room for it.
    pub(crate) async fn send(&self, message: Vec<u8>) -> Result<(), UpstreamError> {
        let message = Bytes::from(one_line(message));
        self.outlet.send(message).await.map_err(|error| error.unwrap_or_else(|| self.exited()))
    }

    /// What the gateway says of itself.
    pub(crate) fn client_info(&self) -> &str {
        &self.hub.settings.client_info
    }

    /// Sends a message that nobody answers, or whose answer is of no interest.
    pub(crate) fn send_quietly(&self, message: Bytes) {
        match &self.outlet {
            Outlet::Pipe(queue) => queue.send_quietly(message),
            Outlet::Post(post) => post.send_quietly(message),
        }
    }

    /// Tells the server that nobody waits for its answer any more.
    fn withdraw(&self, id: u64) {
        let message = envelope::cancelled(id);
        match &self.outlet {
            Outlet::Pipe(queue) => queue.withdraw(message),
            Outlet::Post(post) => post.send_quietly(message),
        }
    }

    /// Takes note of a request that was called off before it left.
    pub(crate) fn called_off(&self, id: u64) {
        let error = UpstreamError::Unavailable { server: self.hub.server.clone() };
        self.fail(|all| all.remove(&id).map(|waiting| (id, waiting)), error);
    }

    /// Whether the server waits for an answer.
    pub(crate) fn is_asking(&self) -> bool {
        self.askers.is_asking()
    }

    /// The next id, for a request that is sent quietly.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a message of the server.
    pub(crate) fn receive(&self, bytes: Bytes) {
        let document = match inbound::read(&self.hub, bytes.clone()) {
            Ok(document) => document,
            Err(error) => {
                // Servers greet, and print what they should have logged.
                tracing::debug!(server = %self.hub.server, "the server wrote something that is no JSON");
                let detail = "its answer is not the JSON that every reader reads alike";
                return self.not_an_answer(&bytes, detail, Some(Cause::new(error)));
            }
        };
        match inbound::sort(&document) {
            Some(Inbound::Response { id: Some(id), .. }) => {
                if self.listens.end(id) {
                    return;
                }
                let waiting = self.lock().as_mut().and_then(|all| all.remove(&id));
                self.askers.ended(id);
                match waiting {
                    Some(waiting) => waiting.answer(document),
                    None => tracing::debug!(server = %self.hub.server, id, "an answer nobody waits for"),
                }
            }
            Some(Inbound::Response { id: None, .. }) => {
                self.not_an_answer(&bytes, "it answered a request that nobody made", None);
            }
            Some(Inbound::Request { request, reply }) => {
                match Question::read(&document, &request, &self.askers.questions) {
                    Some((question, mut reply)) => {
                        let (outlet, askers) = (self.outlet.clone(), Arc::clone(&self.askers));
                        // What a task asks says so, and is not taken for another's.
                        let is_anybodys = question.task.is_none();
                        if is_anybodys {
                            askers.asked();
                        }
                        tokio::spawn(async move {
                            let message = reply.message().await;
                            if is_anybodys {
                                askers.answered();
                            }
                            if let Some(message) = message {
                                outlet.reply(message).await;
                            }
                            // Not before: until then it is one of those that are open.
                            drop(reply);
                        });
                        self.askers.ask(question);
                    }
                    None => self.send_quietly(reply),
                }
            }
            Some(Inbound::Progress { token, id: Some(id) }) => {
                if let Some(all) = self.lock().as_mut()
                    && let Some(waiting) = all.get_mut(&id)
                    && let Some(own) = &waiting.progress_token
                {
                    let message = inbound::with_token(&document, token, own);
                    waiting.tell(message, true);
                }
            }
            Some(Inbound::Cancelled(id)) => {
                // Only servers without sessions have subscriptions, and only others ask.
                if !inbound::number(id).is_some_and(|id| self.listens.end(id)) {
                    self.askers.withdraw(id.raw());
                }
            }
            Some(Inbound::Acknowledged { id, uris }) => {
                if let Some(id) = id {
                    self.listens.acknowledged(id, uris);
                }
            }
            Some(Inbound::Changed(_) | Inbound::Updated(_))
                if !self.listens.hears(inbound::subscription(&document)) => {}
            Some(news) if inbound::announce(&self.hub, &news) => {}
            Some(Inbound::Log(level)) => self.pass_on(document.bytes(), |waiting| waiting.logs.want(&level)),
            Some(Inbound::Notification) => self.pass_on(document.bytes(), |_| true),
            Some(_) => {}
            None => {
                if self.is_logged() {
                    tracing::warn!(server = %self.hub.server, "the server sent JSON that is no message");
                }
                self.not_an_answer(&bytes, "its answer is no JSON-RPC response", None);
            }
        }
    }

    /// Log messages and the like name no request: they belong to a call only when
    /// it is the only one, and nobody else has made any.
    fn pass_on(&self, message: &Bytes, wanted: impl FnOnce(&Waiting) -> bool) {
        if self.makers.are_several() {
            return;
        }
        let mut all = self.lock();
        let Some(all) = all.as_mut().filter(|all| all.len() == 1) else { return };
        if let Some(only) = all.values_mut().next().filter(|only| wanted(only)) {
            only.tell(message.clone(), false);
        }
    }

    /// Fails all that wait, at once, and everything that is yet to come.
    pub(crate) fn close(&self) {
        self.lock().take();
        self.listens.end_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none()
    }

    /// What an end of a subscription before it began means.
    pub(crate) fn refused(&self) -> UpstreamError {
        if self.is_closed() {
            return self.exited();
        }
        UpstreamError::Refused {
            server: self.hub.server.clone(),
            code: METHOD_NOT_FOUND,
            message: "the server refuses subscriptions/listen".to_owned(),
        }
    }

    fn exited(&self) -> UpstreamError {
        UpstreamError::Exited { server: self.hub.server.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// `Err(None)`: the stream is gone.
    async fn send(&self, message: Bytes) -> Result<(), Option<UpstreamError>> {
        match self {
            Self::Pipe(queue) => queue.send(message).await.map_err(|_| None),
            Self::Post(post) => post.send(message).await.map_err(Some),
        }
    }

    /// Sends what a question was answered with. A link that has gone takes no answers.
    async fn reply(&self, message: Bytes) {
        match self {
            Self::Pipe(queue) => drop(queue.send(message).await),
            Self::Post(post) => post.say(message).await,
        }
    }
}

/// A request that waits. Ends by its answer, or by being dropped.
struct Ticket<'a> {
    duplex: &'a Duplex,
    id: u64,
    way: Way,
}

/// How far a request has come.
enum Way {
    Here,
    /// It waits for a child to read it, unless the child has it.
    Queued(Arc<Request>),
    Sent,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let unanswered = self.duplex.lock().as_mut().and_then(|all| all.remove(&self.id)).is_some();
        match &self.way {
            Way::Here => {}
            // The server never hears of it, and asks nothing on its account.
            Way::Queued(request) if request.take_back() => self.duplex.askers.ended(self.id),
            Way::Queued(_) | Way::Sent if unanswered => self.duplex.withdraw(self.id),
            Way::Queued(_) | Way::Sent => {}
        }
    }
}

/// The message without line ends. Inside strings JSON has none, so that all there
/// are stand between values, where a space means the same.
fn one_line(mut message: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Some(next) = memchr::memchr2(b'\n', b'\r', &message[at..]) {
        at += next;
        message[at] = b' ';
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line(b"{\r\n \"a\": \"\\n\"\n}".to_vec()), b"{   \"a\": \"\\n\" }");
        assert_eq!(one_line(b"{}".to_vec()), b"{}");
    }
}
