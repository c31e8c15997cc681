//! The stdio door: one client, one connection, the same pipeline.
//!
//! What the client presented is judged anew with each of its messages: it may stay for days, and
//! its key may be revoked, or be good for less, in between.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use doorward_identity::Presented;
use doorward_ledger::EventRecord;
use doorward_model::json::Document;
use doorward_model::{Caller, Secret};
use doorward_wire::RpcError;
use doorward_wire::error::{INVALID_REQUEST, PARSE_ERROR};
use doorward_wire::lines::{Framer, Line};
use doorward_wire::message::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::batch;
use crate::gateway::Gateway;
use crate::method::{self, Listening};
use crate::pipeline::Asked;
use crate::receive::{self, Arrival, Carrier, Connection, Incoming};
use crate::reply::Reply;
use crate::session::principal;
use crate::session::stream::Event;
use crate::surface::Surface;
use crate::turned_away::Reason;

/// Messages that may wait for a client that reads slowly.
const OUTBOX: usize = 256;

/// Serves one client, which has presented this, until it closes its end or would not be let in
/// any more.
///
/// # Errors
/// When reading or writing fails; [`io::ErrorKind::PermissionDenied`] when what was presented is
/// no longer accepted.
pub async fn serve_stdio(
    gateway: Arc<Gateway>,
    key: Option<Secret>,
    surface: Surface,
    mut input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let writer = tokio::spawn(write(output, messages));
    let mut client = Client {
        outbox,
        surface,
        connection: Arc::new(Connection::new(key)),
        known: None,
        calls: JoinSet::new(),
        streams: JoinSet::new(),
        running: HashMap::new(),
        listens: HashMap::new(),
    };
    let mut framer = Framer::new(gateway.settings.max_body).within(&gateway.settings.room);
    let mut buffer = vec![0; 64 << 10];
    let mut lines = Vec::new();
    let ended = 'client: loop {
        let ended = match input.read(&mut buffer).await {
            Ok(0) => {
                // Its last line counts, though it lacks its end.
                lines.extend(framer.finish());
                Some(Ok(()))
            }
            Ok(read) => {
                framer.push(&buffer[..read], &mut lines);
                None
            }
            // A client that broke off is gone as well, and leaves as much to clear away.
            Err(error) => Some(Err(error)),
        };
        for line in lines.drain(..) {
            match line {
                Line::Text(line) if line.iter().all(u8::is_ascii_whitespace) => {}
                Line::Text(line) => match client.caller(&gateway).await {
                    Some(caller) => client.take(&gateway, &caller, line).await,
                    None => break 'client Err(client.turn_away(&gateway, line).await),
                },
                Line::TooLong => {
                    gateway.turned_away(Reason::TooLarge, None);
                    let error =
                        RpcError::bad_request(PARSE_ERROR, "the message is larger than this gateway accepts");
                    client.say(Reply::error(None, &error).body).await;
                }
                Line::NoRoom => {
                    gateway.turned_away(Reason::Overloaded, None);
                    client.say(Reply::overloaded().body).await;
                }
            }
        }
        while client.calls.try_join_next().is_some() {}
        while client.streams.try_join_next().is_some() {}
        if let Some(ended) = ended {
            break ended;
        }
    };
    // The client is gone. What it still waited for is answered into the log; news
    // that nobody will read ends here.
    client.streams.abort_all();
    while client.calls.join_next().await.is_some() {}
    let session = client.connection.session().take();
    if let Some(session) = session {
        gateway.end_session(&session).await;
    }
    drop(client);
    let written = writer.await.map_err(io::Error::other)?;
    ended.and(written)
}

/// The one client of this door.
struct Client {
    outbox: mpsc::Sender<Bytes>,
    surface: Surface,
    connection: Arc<Connection>,
    /// Who it was when it was last asked.
    known: Option<Arc<Caller>>,
    calls: JoinSet<()>,
    streams: JoinSet<()>,
    /// The calls of the modern era, by the id of the request; those of the legacy era are known
    /// to their session.
    running: HashMap<String, AbortHandle>,
    /// Those of the streams that the client has asked for, by the id of the request.
    listens: HashMap<String, AbortHandle>,
}

impl Client {
    async fn say(&self, message: Bytes) {
        if !message.is_empty() {
            // Whoever stopped reading does not need to be told.
            let _ = self.outbox.send(message).await;
        }
    }

    /// Who the client is today; `None` when it would not be let in, or is somebody else by now.
    async fn caller(&mut self, gateway: &Gateway) -> Option<Arc<Caller>> {
        let caller = gateway.at_stdio(self.connection.key.as_ref(), &self.surface).await.ok()?;
        let is_known =
            |known: &Arc<Caller>| Arc::ptr_eq(known, &caller) || principal(known) == principal(&caller);
        // What this connection holds, its session first of all, is the former one's.
        if !self.known.as_ref().is_none_or(is_known) {
            return None;
        }
        self.known = Some(Arc::clone(&caller));
        Some(caller)
    }

    /// Why what the client presented opens nothing any more; `None` when it opens the gateway for
    /// somebody else.
    async fn account(&self, gateway: &Gateway) -> Option<String> {
        let presented = Presented { bearer: self.connection.key.as_ref().map(Secret::expose) };
        let snapshot = gateway.snapshot();
        let authenticator = &snapshot.rulebook.authenticator;
        let refused = authenticator.identify(presented).await.err()?;
        Some(authenticator.account(presented, refused))
    }

    /// Answers a message of a client that is not let in any more.
    async fn turn_away(&self, gateway: &Gateway, line: Bytes) -> io::Error {
        const WHY: &str = "the key or token of this connection is no longer accepted";
        let account = self.account(gateway).await;
        let detail = account.as_deref();
        let event = EventRecord { detail, ..EventRecord::default() };
        gateway.turned_away_as(Reason::Unauthenticated, None, event);
        let document = Document::parse(line, &gateway.settings.json).ok();
        let id = document.as_ref().and_then(|document| match Message::read(document) {
            Ok(Message::Request(request)) => Some(request.id.raw()),
            _ => None,
        });
        let error = RpcError { code: INVALID_REQUEST, message: WHY.to_owned(), data: None, status: 401 };
        self.say(Reply::error(id, &error).body).await;
        tracing::warn!(target: "doorward::identity", reason = account, "{WHY}: it is closed");
        io::Error::new(io::ErrorKind::PermissionDenied, WHY)
    }

    async fn take(&mut self, gateway: &Arc<Gateway>, caller: &Arc<Caller>, line: Bytes) {
        let arrival = Arrival {
            surface: self.surface.clone(),
            origin: "stdio",
            ip: None,
            carrier: Carrier::Connection(Arc::clone(&self.connection)),
            can_stream: true,
        };
        if batch::is_one(&line) {
            let reply = batch::answer(Arc::clone(gateway), Arc::clone(caller), arrival, line).await;
            return self.say(reply.body).await;
        }
        let (received, started) = (gateway.clock.now(), gateway.clock.elapsed());
        let incoming = match receive::receive(line, arrival, gateway, received, started) {
            Ok(incoming) => incoming,
            Err(unreadable) => {
                gateway.turned_away(unreadable.reason(), None);
                return self.say(unreadable.reply().body).await;
            }
        };
        let is_modern = incoming.session.is_none();
        let asked = match Message::read(&incoming.document) {
            Ok(Message::Request(request)) if incoming.listens => {
                let id = request.id.raw().to_owned();
                return self.listen(gateway, caller, id, incoming);
            }
            Ok(Message::Notification(notification)) if is_modern => {
                // A modern client takes a request back so, as it cannot hang up.
                let id = notification.params.and_then(|params| params.get("requestId"));
                if let Some(id) = id.filter(|_| notification.method == "notifications/cancelled") {
                    self.take_back(id.raw());
                }
                None
            }
            Ok(Message::Request(request)) => Some((request.method.into_owned(), request.id.raw().to_owned())),
            _ => None,
        };
        let work = Arc::clone(gateway).answer(Arc::clone(caller), incoming, Some(self.outbox.clone()), None);
        match asked {
            // What follows `initialize` needs the session that it opens.
            Some((method, _)) if method == "initialize" => {
                let reply = work.await;
                self.say(reply.body).await;
                let session = self.connection.session().clone();
                if let Some(session) = session {
                    self.relay_news(gateway.news(&session).await);
                }
            }
            Some((_, id)) => {
                let outbox = self.outbox.clone();
                let call = self.calls.spawn(async move {
                    let reply = work.await;
                    if !reply.body.is_empty() {
                        // As above.
                        let _ = outbox.send(reply.body).await;
                    }
                });
                if is_modern {
                    // Looked through seldom enough to cost a call nothing.
                    if self.running.len() > 2 * self.calls.len() + 16 {
                        self.running.retain(|_, call| !call.is_finished());
                    }
                    self.running.insert(id, call);
                }
            }
            None => {
                work.await;
            }
        }
    }

    /// Ends what was asked under this id: a call is withdrawn from its server and recorded as
    /// cancelled when it is dropped.
    fn take_back(&mut self, id: &str) {
        for work in [self.listens.remove(id), self.running.remove(id)].into_iter().flatten() {
            work.abort();
        }
    }

    /// Passes on what belongs to no request.
    fn relay_news(&mut self, mut news: mpsc::Receiver<Event>) {
        let outbox = self.outbox.clone();
        self.streams.spawn(async move {
            while let Some(event) = news.recv().await {
                if !event.data.is_empty() && outbox.send(event.data).await.is_err() {
                    break;
                }
            }
        });
    }

    /// Opens a `subscriptions/listen`, which may take a moment.
    fn listen(&mut self, gateway: &Arc<Gateway>, caller: &Arc<Caller>, id: String, incoming: Incoming) {
        let (gateway, caller, outbox) = (Arc::clone(gateway), Arc::clone(caller), self.outbox.clone());
        let stream = self.streams.spawn(async move {
            let opened = match Message::read(&incoming.document) {
                Ok(Message::Request(request)) => {
                    match Asked::new(&gateway, &caller, &incoming, request, None) {
                        Ok(asked) => method::listen(&asked).await,
                        Err(reply) => Err(reply),
                    }
                }
                _ => return,
            };
            match opened {
                Ok(stream) => pass_on(stream, outbox).await,
                // Whoever stopped reading does not need to be told.
                Err(reply) => drop(outbox.send(reply.body).await),
            }
        });
        self.listens.retain(|_, stream| !stream.is_finished());
        self.listens.insert(id, stream);
    }
}

async fn pass_on(mut stream: Listening, outbox: mpsc::Sender<Bytes>) {
    while let Some(message) = stream.next().await {
        if outbox.send(message).await.is_err() {
            break;
        }
    }
}

async fn write(mut output: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        output.write_all(&message).await?;
        output.write_all(b"\n").await?;
        // Flushed once nothing else is waiting.
        if messages.is_empty() {
            output.flush().await?;
        }
    }
    output.flush().await
}
