//! What a recorder says unasked: its open streams, and who is subscribed to what.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Said, status};

/// The news of one recorder.
#[derive(Default)]
pub struct News(Mutex<State>);

#[derive(Default)]
struct State {
    announces: bool,
    streams: Vec<Stream>,
    /// What was subscribed to in a session.
    subscribed: BTreeSet<String>,
    honours: Option<Vec<String>>,
    /// Sessions up to this number are forgotten.
    lost: usize,
    /// `capabilities` and `instructions` instead of the usual ones.
    declared: Option<(Value, String)>,
}

struct Stream {
    sender: UnboundedSender<Bytes>,
    /// The id and the resources of a `subscriptions/listen`.
    listening: Option<(Value, Vec<String>)>,
}

impl News {
    pub fn announce(&self) {
        self.state().announces = true;
    }

    pub fn announces(&self) -> bool {
        self.state().announces
    }

    pub fn declare(&self, capabilities: Value, instructions: &str) {
        self.state().declared = Some((capabilities, instructions.to_owned()));
    }

    pub fn declared(&self) -> Option<(Value, String)> {
        self.state().declared.clone()
    }

    pub fn honour_only(&self, uris: &[&str]) {
        self.state().honours = Some(uris.iter().map(|uri| (*uri).to_owned()).collect());
    }

    /// Closes all streams and forgets all sessions up to this number.
    pub fn lose(&self, sessions: usize) {
        let mut state = self.state();
        state.streams.clear();
        state.subscribed.clear();
        state.lost = sessions;
    }

    /// Whether the session with this id is forgotten.
    pub fn has_lost(&self, session: &str) -> bool {
        let number = session.rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| number < self.state().lost)
    }

    pub fn listeners(&self) -> usize {
        self.state().streams.iter().filter(|stream| !stream.sender.is_closed()).count()
    }

    /// What is subscribed to: in the session, or by the stream opened last.
    pub fn subscribed(&self) -> Vec<String> {
        let state = self.state();
        let open = state.streams.iter().rev().find(|stream| !stream.sender.is_closed());
        match open.and_then(|stream| stream.listening.as_ref()) {
            Some((_, uris)) => uris.clone(),
            None => state.subscribed.iter().cloned().collect(),
        }
    }

    /// Opens a stream, if there are any.
    pub fn listen(&self, request: &Value) -> Option<Response<Said>> {
        let mut state = self.state();
        if !state.announces {
            return None;
        }
        let mut first = Bytes::from_static(b":\n\n");
        let mut listening = None;
        if request.is_object() {
            let mut notifications = request["params"]["notifications"].clone();
            let mut uris = Vec::new();
            if let Some(wanted) = notifications["resourceSubscriptions"].as_array() {
                uris = wanted.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                uris.retain(|uri| state.honours.as_ref().is_none_or(|honours| honours.contains(uri)));
                notifications["resourceSubscriptions"] = json!(uris);
            }
            let params = json!({"notifications": notifications, "_meta": {"io.modelcontextprotocol/subscriptionId": request["id"]}});
            let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params});
            first = format!("data: {acknowledged}\n\n").into();
            listening = Some((request["id"].clone(), uris));
        }
        let (sender, news) = unbounded_channel();
        state.streams.push(Stream { sender, listening });
        let mut response = Response::new(Said { whole: Some(first), news: Some(news) });
        response.headers_mut().insert("content-type", "text/event-stream".parse().expect("a header"));
        Some(response)
    }

    /// Answers `resources/subscribe` and `resources/unsubscribe`.
    pub fn subscribe(&self, message: &Value) -> Option<Value> {
        let uri = message["params"]["uri"].as_str()?.to_owned();
        let mut state = self.state();
        match message["method"].as_str()? {
            _ if !state.announces => None,
            "resources/subscribe"
                if state.honours.as_ref().is_some_and(|honours| !honours.contains(&uri)) =>
            {
                Some(json!({"error": {"code": -32602, "message": format!("Unknown resource: {uri}")}}))
            }
            "resources/subscribe" => {
                state.subscribed.insert(uri);
                Some(json!({"result": {}}))
            }
            "resources/unsubscribe" => {
                state.subscribed.remove(&uri);
                Some(json!({"result": {}}))
            }
            _ => None,
        }
    }

    /// Says this on every open stream.
    pub fn say(&self, message: &Value) {
        for stream in &self.state().streams {
            // A stream that has ended hears nothing.
            let _ = stream.sender.send(format!("data: {message}\n\n").into());
        }
    }

    /// Tells whoever is subscribed to it that a resource was updated.
    pub fn update(&self, uri: &str) {
        let state = self.state();
        for stream in &state.streams {
            let mut params = json!({ "uri": uri });
            match &stream.listening {
                Some((_, uris)) if !uris.iter().any(|held| held == uri) => continue,
                Some((id, _)) => params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": id}),
                None if !state.subscribed.contains(uri) => continue,
                None => {}
            }
            let message =
                json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params});
            // As above.
            let _ = stream.sender.send(format!("data: {message}\n\n").into());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }
}

/// What is said in a forgotten session.
pub fn forgotten() -> Response<Said> {
    status(StatusCode::NOT_FOUND)
}
