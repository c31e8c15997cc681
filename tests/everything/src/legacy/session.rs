//! One client, from `initialize` to the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use super::{dispatch, notices};
use crate::downlevel;
use crate::log_level::LogLevel;
use crate::out::Out;
use crate::revision::Revision;
use crate::rpc::{self, Fault, Incoming};
use crate::seal::unguessable;
use crate::server::{Everything, INSTRUCTIONS, implementation};
use crate::task::lock;

/// A session.
pub struct Session {
    pub id: String,
    pub revision: Revision,
    /// What the client declared.
    pub capabilities: Value,
    pub log_level: Mutex<LogLevel>,
    /// The resources it subscribed to.
    pub watched: Mutex<BTreeSet<String>>,
    /// Where messages go that belong to no call.
    pub general: Out,
    asked: Mutex<HashMap<String, oneshot::Sender<Result<Value, Fault>>>>,
    questions: AtomicU64,
    running: Mutex<HashMap<String, AbortHandle>>,
    notices: Mutex<Option<AbortHandle>>,
}

impl Session {
    /// Opens a session; `params` are those of `initialize`. Also returns its result.
    pub fn open(server: &Arc<Everything>, params: &Value, general: Out) -> Result<(Arc<Self>, Value), Fault> {
        let requested = params["protocolVersion"].as_str();
        let requested = requested.ok_or_else(|| Fault::invalid("protocolVersion is missing"))?;
        if !params["capabilities"].is_object() || !params["clientInfo"]["name"].is_string() {
            return Err(Fault::invalid("capabilities or clientInfo is missing"));
        }
        let revision = Revision::legacy(requested).unwrap_or(Revision::V2025_11_25);
        let session = Arc::new(Self {
            id: unguessable(),
            revision,
            capabilities: params["capabilities"].clone(),
            log_level: Mutex::new(LogLevel::DEBUG),
            watched: Mutex::default(),
            general,
            asked: Mutex::default(),
            questions: AtomicU64::new(0),
            running: Mutex::default(),
            notices: Mutex::default(),
        });
        let notices = tokio::spawn(notices::forward(Arc::clone(server), Arc::downgrade(&session)));
        *lock(&session.notices) = Some(notices.abort_handle());
        let result = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": downlevel::capabilities(revision),
            "serverInfo": downlevel::implementation(revision, implementation()),
            "instructions": INSTRUCTIONS,
        });
        Ok((session, result))
    }

    /// Takes a message. The answer to a request goes to `out`, sooner or later.
    pub fn receive(
        self: &Arc<Self>,
        server: &Arc<Everything>,
        message: Incoming,
        out: Out,
    ) -> Option<JoinHandle<()>> {
        match message {
            Incoming::Request { id, method, params } => {
                let key = id.to_string();
                if lock(&self.running).get(&key).is_some_and(|running| !running.is_finished()) {
                    out.answer(&id, Err(Fault::invalid_request("This id is in use").at(200)));
                    return None;
                }
                let (server, session) = (Arc::clone(server), Arc::clone(self));
                let work = tokio::spawn(async move {
                    let result = dispatch::dispatch(&server, &session, &method, &params, &out).await;
                    out.answer(&id, result.map_err(|fault| fault.at(200)));
                });
                lock(&self.running).insert(key, work.abort_handle());
                return Some(work);
            }
            Incoming::Notification { method, params } => {
                if method == "notifications/cancelled"
                    && let Some(running) = lock(&self.running).remove(&params["requestId"].to_string())
                {
                    running.abort();
                }
            }
            Incoming::Answer { id, result } => {
                if let Some(asked) = id.as_str().and_then(|id| lock(&self.asked).remove(id)) {
                    // Whoever asked may have been cancelled since.
                    asked.send(result).ok();
                }
            }
        }
        None
    }

    /// Asks the client something, and waits for what it says.
    pub async fn ask(
        &self,
        server: &Everything,
        out: &Out,
        method: &str,
        params: &Value,
    ) -> Result<Value, Fault> {
        let id = format!("s-{}", self.questions.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        lock(&self.asked).insert(id.clone(), sender);
        let taken_back = server.taking_back.notified();
        out.say(rpc::request(&id, method, params));
        tokio::select! {
            answer = receiver => answer.unwrap_or_else(|_| Err(Fault::new(-32603, "The session ended"))),
            () = taken_back => {
                // An answer that comes all the same is nobody's.
                lock(&self.asked).remove(&id);
                out.say(rpc::notification("notifications/cancelled", json!({ "requestId": id })));
                Ok(json!({"action": "taken back"}))
            }
        }
    }

    /// Stops all that runs.
    pub fn end(&self) {
        lock(&self.running).drain().for_each(|(_, running)| running.abort());
        if let Some(notices) = lock(&self.notices).take() {
            notices.abort();
        }
        lock(&self.asked).clear();
    }
}
