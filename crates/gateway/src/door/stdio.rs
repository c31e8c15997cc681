//! The stdio door: one client, one connection, the same pipeline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use doorward_model::Caller;
use doorward_wire::RpcError;
use doorward_wire::error::PARSE_ERROR;
use doorward_wire::lines::{Framer, Line};
use doorward_wire::message::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::batch;
use crate::gateway::Gateway;
use crate::method::{self, Listening};
use crate::pipeline::Asked;
use crate::receive::{self, Arrival, Carrier, Incoming};
use crate::reply::Reply;
use crate::session::Session;
use crate::session::stream::Event;
use crate::surface::Surface;

/// Messages that may wait for a client that reads slowly.
const OUTBOX: usize = 256;

/// Serves one client until it closes its end.
///
/// # Errors
/// When reading or writing fails.
pub async fn serve_stdio(
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    surface: Surface,
    mut input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> std::io::Result<()> {
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let writer = tokio::spawn(write(output, messages));
    let mut client = Client {
        outbox,
        session: Arc::default(),
        calls: JoinSet::new(),
        streams: JoinSet::new(),
        listens: HashMap::new(),
    };
    let mut framer = Framer::new(gateway.settings.max_body).within(&gateway.settings.room);
    let mut buffer = vec![0; 64 << 10];
    let mut lines = Vec::new();
    let ended = loop {
        let read = match input.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(read) => read,
            // A client that broke off is gone as well, and leaves as much to clear away.
            Err(error) => break Err(error),
        };
        framer.push(&buffer[..read], &mut lines);
        for line in lines.drain(..) {
            match line {
                Line::Text(line) if line.iter().all(u8::is_ascii_whitespace) => {}
                Line::Text(line) => client.take(&gateway, &caller, &surface, line).await,
                Line::TooLong => {
                    let error =
                        RpcError::bad_request(PARSE_ERROR, "the message is larger than this gateway accepts");
                    client.say(Reply::error(None, &error).body).await;
                }
                Line::NoRoom => client.say(Reply::overloaded().body).await,
            }
        }
        while client.calls.try_join_next().is_some() {}
        while client.streams.try_join_next().is_some() {}
    };
    // The client is gone. What it still waited for is answered into the log; news
    // that nobody will read ends here.
    client.streams.abort_all();
    while client.calls.join_next().await.is_some() {}
    let session = client.session.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(session) = session {
        gateway.end_session(&session).await;
    }
    drop(client);
    let written = writer.await.map_err(std::io::Error::other)?;
    ended.and(written)
}

/// The one client of this door.
struct Client {
    outbox: mpsc::Sender<Bytes>,
    session: Arc<Mutex<Option<Arc<Session>>>>,
    calls: JoinSet<()>,
    streams: JoinSet<()>,
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

    async fn take(&mut self, gateway: &Arc<Gateway>, caller: &Arc<Caller>, surface: &Surface, line: Bytes) {
        let arrival = Arrival {
            surface: surface.clone(),
            origin: "stdio",
            ip: None,
            carrier: Carrier::Connection(Arc::clone(&self.session)),
            can_stream: true,
        };
        if batch::is_one(&line) {
            return self.say(batch::answer(gateway, caller, &arrival, line).await.body).await;
        }
        let (received, started) = (gateway.clock.now(), gateway.clock.elapsed());
        let incoming = match receive::receive(line, arrival, gateway, received, started) {
            Ok(incoming) => incoming,
            Err(unreadable) => {
                return self.say(Reply::error(unreadable.id.as_deref(), &unreadable.error).body).await;
            }
        };
        let method = match Message::read(&incoming.document) {
            Ok(Message::Request(request)) if incoming.listens => {
                let id = request.id.raw().to_owned();
                return self.listen(gateway, caller, id, incoming);
            }
            Ok(Message::Notification(notification)) if incoming.session.is_none() => {
                // A modern client ends a subscription so, as it cannot hang up.
                let id = notification.params.and_then(|params| params.get("requestId"));
                if let Some(id) = id.filter(|_| notification.method == "notifications/cancelled")
                    && let Some(stream) = self.listens.remove(id.raw())
                {
                    stream.abort();
                }
                None
            }
            Ok(Message::Request(request)) => Some(request.method.into_owned()),
            _ => None,
        };
        let work = Arc::clone(gateway).answer(Arc::clone(caller), incoming, Some(self.outbox.clone()), None);
        match method.as_deref() {
            // What follows `initialize` needs the session that it opens.
            Some("initialize") => {
                let reply = work.await;
                self.say(reply.body).await;
                let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(session) = session {
                    self.relay_news(gateway.news(&session).await);
                }
            }
            Some(_) => {
                let outbox = self.outbox.clone();
                self.calls.spawn(async move {
                    let reply = work.await;
                    if !reply.body.is_empty() {
                        // As above.
                        let _ = outbox.send(reply.body).await;
                    }
                });
            }
            None => {
                work.await;
            }
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

async fn write(
    mut output: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
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
