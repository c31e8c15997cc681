//! stdio: both eras on one pair of pipes, a message a line.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::AbortHandle;

use crate::legacy::Session;
use crate::modern::{self, Meta, is_modern};
use crate::out::{Item, Out};
use crate::revision::Revision;
use crate::rpc::{Fault, Incoming};
use crate::server::Everything;

/// Serves one client until its end of the pipe is closed.
pub async fn serve(
    server: Arc<Everything>,
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) {
    let (out, items) = Out::channel();
    let writer = tokio::spawn(write(items, output));
    let mut client = Client { server, out, session: None, running: HashMap::new() };
    let mut lines = input.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(message) => client.receive(message).await,
            Err(_) => client.out.answer(&Value::Null, Err(Fault::parse())),
        }
    }
    client.end();
    drop(client);
    // What is still running keeps its end; nobody reads it any more.
    writer.abort();
}

async fn write(mut items: UnboundedReceiver<Item>, mut output: impl AsyncWrite + Unpin) {
    while let Some(item) = items.recv().await {
        let (Item::Say(message) | Item::Answer { message, .. }) = item else { continue };
        let line = format!("{message}\n");
        if output.write_all(line.as_bytes()).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

struct Client {
    server: Arc<Everything>,
    out: Out,
    session: Option<Arc<Session>>,
    /// Modern requests by id.
    running: HashMap<String, AbortHandle>,
}

impl Client {
    async fn receive(&mut self, message: Value) {
        if let Value::Array(messages) = message {
            return self.receive_batch(messages).await;
        }
        let modern = self.server.eras.modern() && is_modern(&message["params"]);
        let message = match Incoming::read(message) {
            Ok(message) => message,
            Err(fault) => return self.out.answer(&Value::Null, Err(fault)),
        };
        match (message, &self.session) {
            (Incoming::Request { id, method, params }, _) if modern => self.respond(id, method, params),
            (Incoming::Request { id, method, params }, None) => self.open(&id, &method, &params),
            (Incoming::Notification { method, params }, session) => {
                let running = self.running.remove(&params["requestId"].to_string());
                match (running.filter(|_| method == "notifications/cancelled"), session) {
                    (Some(running), _) => running.abort(),
                    (None, Some(session)) => {
                        let message = Incoming::Notification { method, params };
                        session.receive(&self.server, message, self.out.clone());
                    }
                    (None, None) => {}
                }
            }
            (message, Some(session)) => drop(session.receive(&self.server, message, self.out.clone())),
            (Incoming::Answer { .. }, None) => {}
        }
    }

    /// The first request of a session, or one that came too early.
    fn open(&mut self, id: &Value, method: &str, params: &Value) {
        let eras = self.server.eras;
        let result = match method {
            "initialize" if eras.legacy() => {
                Session::open(&self.server, params, self.out.clone()).map(|(session, result)| {
                    self.session = Some(session);
                    result
                })
            }
            "initialize" => {
                let requested = params["protocolVersion"].as_str().unwrap_or_default();
                Err(Fault::unsupported_version(requested, &modern::supported(&self.server)))
            }
            "ping" if eras.legacy() => Ok(serde_json::json!({})),
            _ if eras.legacy() => Err(Fault::unknown_method(method)),
            _ => Meta::read(params).and(Err(Fault::unknown_method(method))),
        };
        self.out.answer(id, result);
    }

    fn respond(&mut self, id: Value, method: String, params: Value) {
        let meta = Meta::read(&params).and_then(|meta| meta.check_version(&self.server).map(|()| meta));
        let meta = match meta {
            Ok(meta) => meta,
            Err(fault) => return self.out.answer(&id, Err(fault)),
        };
        let key = id.to_string();
        let (server, out) = (Arc::clone(&self.server), self.out.clone());
        let work = tokio::spawn(async move {
            modern::respond(server, id, &method, params, meta, out).await;
        });
        self.running.retain(|_, running| !running.is_finished());
        self.running.insert(key, work.abort_handle());
    }

    /// Only one revision had batches; its answers come in one as well.
    async fn receive_batch(&mut self, messages: Vec<Value>) {
        let batches = |session: &&Arc<Session>| session.revision == Revision::V2025_03_26;
        let Some(session) = self.session.as_ref().filter(batches) else {
            return self.out.answer(&Value::Null, Err(Fault::invalid_request("There are no batches")));
        };
        let (session, server, out) = (Arc::clone(session), Arc::clone(&self.server), self.out.clone());
        let (sink, mut items) = Out::channel();
        for message in messages {
            match Incoming::read(message) {
                Ok(message) => drop(session.receive(&server, message, sink.clone())),
                Err(fault) => sink.answer(&Value::Null, Err(fault)),
            }
        }
        drop(sink);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            while let Some(item) = items.recv().await {
                match item {
                    Item::Answer { message, .. } => answers.push(message),
                    other => out.send(other),
                }
            }
            if !answers.is_empty() {
                out.say(answers.into());
            }
        });
    }

    fn end(&mut self) {
        self.running.drain().for_each(|(_, running)| running.abort());
        if let Some(session) = self.session.take() {
            session.end();
        }
    }
}
