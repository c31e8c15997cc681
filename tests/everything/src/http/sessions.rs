//! Sessions over HTTP: who they are, and the streams they have open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::guard::text;
use super::reply::{Reply, empty, events, json, refusal};
use super::stream::{Reading, Stream, read_event_id};
use crate::legacy::Session;
use crate::out::{Item, Out};
use crate::revision::Revision;
use crate::rpc::{Fault, Incoming, answer};
use crate::server::Everything;
use crate::task::lock;

pub const SESSION: &str = "mcp-session-id";

/// All open sessions.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Arc<Connected>>>);

/// A session and its streams; the first is the one that belongs to no call.
struct Connected {
    session: Arc<Session>,
    streams: Mutex<Vec<Arc<Stream>>>,
}

impl Sessions {
    pub async fn post(&self, server: &Arc<Everything>, headers: &HeaderMap, message: Value) -> Reply {
        if message["method"] == "initialize" && !headers.contains_key(SESSION) {
            return match Incoming::read(message) {
                Ok(Incoming::Request { id, params, .. }) => self.open(server, &id, &params),
                Ok(_) => refusal(&Value::Null, Fault::invalid_request("initialize needs an id")),
                Err(fault) => refusal(&Value::Null, fault),
            };
        }
        let connected = match self.find(headers) {
            Ok(connected) => connected,
            Err(reply) => return *reply,
        };
        let batches = connected.session.revision == Revision::V2025_03_26;
        let messages = match message {
            Value::Array(messages) if batches && !messages.is_empty() => {
                let messages: Result<Vec<_>, _> = messages.into_iter().map(Incoming::read).collect();
                messages.map(|messages| (messages, true))
            }
            message => Incoming::read(message).map(|message| (vec![message], false)),
        };
        match messages {
            Ok((messages, batch)) => connected.receive(server, messages, batch).await,
            Err(fault) => refusal(&Value::Null, fault),
        }
    }

    fn open(&self, server: &Arc<Everything>, id: &Value, params: &Value) -> Reply {
        let (out, items) = Out::channel();
        let (session, result) = match Session::open(server, params, out) {
            Ok(opened) => opened,
            Err(fault) => return refusal(id, fault.at(400)),
        };
        let mut reply = json(200, &answer(id, Ok(result)));
        let name = HeaderValue::from_str(&session.id).expect("our ids are ASCII");
        reply.headers_mut().insert(SESSION, name);
        let streams = Mutex::new(vec![Stream::record(0, items)]);
        lock(&self.0).insert(session.id.clone(), Arc::new(Connected { session, streams }));
        reply
    }

    /// The stream that belongs to no call, or the rest of any stream.
    pub fn get(&self, headers: &HeaderMap) -> Reply {
        let connected = match self.find(headers) {
            Ok(connected) => connected,
            Err(reply) => return *reply,
        };
        let resumed = match headers.get("last-event-id") {
            None => Some((0, None)),
            Some(id) => id.to_str().ok().and_then(read_event_id).map(|(number, seen)| (number, Some(seen))),
        };
        let stream = resumed.and_then(|(number, seen)| Some((connected.stream(number)?, seen)));
        let Some((stream, seen)) = stream else {
            return refusal(&Value::Null, Fault::invalid_request("Unknown event"));
        };
        let (feed, reply) = events();
        let seen = seen.unwrap_or_else(|| stream.sent());
        let reading = Reading { seen, first: false, primed: false };
        tokio::spawn(async move { stream.send(reading, feed).await });
        reply
    }

    pub fn delete(&self, headers: &HeaderMap) -> Reply {
        match self.find(headers) {
            Ok(connected) => {
                lock(&self.0).remove(&connected.session.id);
                connected.session.end();
                empty(204)
            }
            Err(reply) => *reply,
        }
    }

    /// The session that the headers name, if they speak its revision.
    fn find(&self, headers: &HeaderMap) -> Result<Arc<Connected>, Box<Reply>> {
        let refuse = |fault: Fault| Box::new(refusal(&Value::Null, fault));
        let version = text(headers, "mcp-protocol-version");
        if version.is_some_and(|version| Revision::legacy(version).is_none()) {
            return Err(refuse(Fault::new(-32000, "Bad Request: Unsupported protocol version").at(400)));
        }
        let Some(id) = text(headers, SESSION) else {
            return Err(refuse(Fault::new(-32000, "Bad Request: Mcp-Session-Id header is required").at(400)));
        };
        let Some(connected) = lock(&self.0).get(id).map(Arc::clone) else {
            return Err(refuse(Fault::new(-32001, "Session not found").at(404)));
        };
        let revision = connected.session.revision;
        if revision >= Revision::V2025_06_18 && version != Some(revision.as_str()) {
            let message = format!("Bad Request: MCP-Protocol-Version has to be {}", revision.as_str());
            return Err(refuse(Fault::new(-32000, message).at(400)));
        }
        Ok(connected)
    }
}

impl Connected {
    async fn receive(&self, server: &Arc<Everything>, messages: Vec<Incoming>, batch: bool) -> Reply {
        let asks = messages.iter().any(|message| matches!(message, Incoming::Request { .. }));
        let (out, items) = Out::channel();
        for message in messages {
            self.session.receive(server, message, out.clone());
        }
        drop(out);
        if !asks {
            return empty(202);
        }
        let stream = self.new_stream(items);
        if !batch && let Some(answer) = stream.answer_at_once().await {
            let message = serde_json::from_str(&answer).expect("we wrote it");
            return json(200, &message);
        }
        let (feed, reply) = events();
        let primed = self.session.revision >= Revision::V2025_11_25;
        let reading = Reading { seen: 0, first: true, primed };
        tokio::spawn(async move { stream.send(reading, feed).await });
        reply
    }

    fn new_stream(&self, items: UnboundedReceiver<Item>) -> Arc<Stream> {
        let mut streams = lock(&self.streams);
        let stream = Stream::record(streams.len(), items);
        streams.push(Arc::clone(&stream));
        stream
    }

    fn stream(&self, number: usize) -> Option<Arc<Stream>> {
        lock(&self.streams).get(number).map(Arc::clone)
    }
}
