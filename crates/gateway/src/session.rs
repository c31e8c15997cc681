//! Sessions of the legacy era: opened by `initialize`, bound to their principal,
//! capped, and ended by silence, because most clients never say goodbye.

mod ended;
mod farewell;
mod life;
pub(crate) mod news;
pub(crate) mod replicas;
pub(crate) mod stream;
mod subscribed;
mod table;
#[cfg(test)]
mod tests;
mod ticket;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_model::{Caller, ClientLabel, GrantKind, LogBounds, Timestamp};
use doorward_wire::log::Level;
use doorward_wire::{Abilities, Revision};
use tokio::sync::{Notify, oneshot};

use crate::ask::Questions;
use crate::surface::Surface;

pub(crate) use farewell::Farewells;
use news::Unkept;
use subscribed::Subscribed;
pub(crate) use table::Sessions;
pub(crate) use ticket::{abilities, client_info};

/// Bounds on sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Sessions in all.
    pub total: usize,
    /// Sessions of one principal; its longest idle one makes room.
    pub each: usize,
    /// Requests under way in one session.
    pub requests: usize,
    /// A session this long without a message ends.
    pub idle: Duration,
    /// A process that does not know a session takes it up no longer than this after it
    /// was opened.
    pub longest: Duration,
    /// How much of what was said on its streams is kept for a client that lost its
    /// connection.
    pub events: LogBounds,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            total: 10_000,
            each: 1_000,
            requests: 1_000,
            idle: Duration::from_secs(30 * 60),
            longest: Duration::from_secs(7 * 86_400),
            events: LogBounds { entries: 256, bytes: 4 << 20, keep: Duration::from_secs(5 * 60) },
        }
    }
}

/// What `initialize` settled.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The endpoint it was sent to; the session is good for no other.
    pub surface: Surface,
    /// The revision agreed on.
    pub revision: Revision,
    /// What the client calls itself.
    pub client: ClientLabel,
    /// `clientInfo`, JSON text: as sent, unless that was very long.
    pub client_info: String,
    /// What the client can be asked.
    pub abilities: Abilities,
}

/// One session.
pub struct Session {
    /// What records and the links to servers know it by.
    pub id: Box<str>,
    /// What the client sends back in `Mcp-Session-Id`.
    pub(crate) ticket: Box<str>,
    /// What `initialize` settled.
    pub opening: Opening,
    opened: Timestamp,
    owner: Arc<Caller>,
    pub(crate) principal: Box<str>,
    last_used: AtomicU64,
    /// Whether it was used since the other replicas were told.
    newly_used: AtomicBool,
    state: Mutex<State>,
    /// Who reads each of its streams, by the turn in which they came.
    readers: Mutex<HashMap<String, u64>>,
    turns: AtomicU64,
    /// How far what belongs to no request has been read.
    read_to: AtomicU64,
    /// Told whenever something was said on a stream.
    wake: Notify,
    is_over: AtomicBool,
    /// What the client has been asked and has not answered.
    pub(crate) questions: Questions,
    /// What it is to hear of.
    pub(crate) news: Subscribed,
    /// What it is to be told, and nobody has kept yet.
    pub(crate) unkept: Unkept,
}

#[derive(Default)]
struct State {
    log_level: Option<Level>,
    /// Requests being worked on, by their id as written.
    running: HashMap<String, oneshot::Sender<()>>,
}

impl Session {
    fn new(
        id: Box<str>,
        ticket: Box<str>,
        opened: Timestamp,
        opening: Opening,
        owner: Arc<Caller>,
        now: Duration,
    ) -> Self {
        Self {
            id,
            ticket,
            opening,
            opened,
            principal: principal(&owner).into(),
            owner,
            last_used: AtomicU64::new(now.as_secs()),
            newly_used: AtomicBool::new(false),
            state: Mutex::default(),
            readers: Mutex::default(),
            turns: AtomicU64::new(0),
            read_to: AtomicU64::new(0),
            wake: Notify::new(),
            is_over: AtomicBool::new(false),
            questions: Questions::default(),
            news: Subscribed::default(),
            unkept: Unkept::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn used(&self, now: Duration) {
        self.last_used.store(now.as_secs(), Ordering::Relaxed);
        self.newly_used.store(true, Ordering::Relaxed);
    }

    /// Whether it was used since this was last asked, or is in use.
    fn is_newly_used(&self) -> bool {
        self.newly_used.swap(false, Ordering::Relaxed) || self.is_busy()
    }

    /// Whether anything is under way.
    fn is_busy(&self) -> bool {
        let is_read = !self.readers.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        is_read || !self.state().running.is_empty()
    }

    /// Whether nothing has happened for so long, and nothing is under way.
    fn is_idle(&self, now: Duration, limit: Duration) -> bool {
        now.as_secs().saturating_sub(self.last_used()) > limit.as_secs() && !self.is_busy()
    }

    /// Who opened it.
    pub fn owner(&self) -> &Arc<Caller> {
        &self.owner
    }

    /// The level set by `logging/setLevel`.
    pub fn log_level(&self) -> Option<Level> {
        self.state().log_level
    }

    /// Sets the level.
    pub fn set_log_level(&self, level: Level) {
        self.state().log_level = Some(level);
    }

    /// Notes a request, so that it can be cancelled.
    ///
    /// # Errors
    /// When one of this id is running already, or too many are.
    pub fn begin(self: &Arc<Self>, id: &str, most: usize) -> Result<Running, &'static str> {
        let (cancel, cancelled) = oneshot::channel();
        let mut state = self.state();
        if state.running.contains_key(id) {
            return Err("a request with this id is still running; use another id");
        }
        if state.running.len() >= most {
            return Err(
                "too many requests of this session are still running; wait for one of them and try again",
            );
        }
        state.running.insert(id.to_owned(), cancel);
        drop(state);
        Ok(Running { session: Arc::clone(self), id: id.into(), cancelled })
    }

    /// Cancels a running request; `false` when it runs elsewhere or not at all.
    pub fn cancel(&self, id: &str) -> bool {
        let cancel = self.state().running.remove(id);
        // The request may have been answered this instant.
        cancel.is_some_and(|cancel| cancel.send(()).is_ok())
    }

    /// Ends what it has under way: requests, and streams.
    fn finish(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake.notify_waiters();
        for (_, cancel) in self.state().running.drain() {
            // As above.
            let _ = cancel.send(());
        }
    }
}

/// A request under way, until it is dropped: answered, or given up with whoever worked on it.
#[must_use = "a request is no longer under way when this is dropped"]
pub struct Running {
    session: Arc<Session>,
    id: Box<str>,
    cancelled: oneshot::Receiver<()>,
}

impl Running {
    /// Comes back when it is cancelled.
    pub async fn cancelled(&mut self) {
        if (&mut self.cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancelled.close();
        let mut state = self.session.state();
        // Once it was cancelled, its id may be another request's.
        if state.running.get(&*self.id).is_some_and(oneshot::Sender::is_closed) {
            state.running.remove(&*self.id);
        }
    }
}

/// Who a caller is, beyond the credential of the moment: a token that was renewed makes
/// nobody else of its bearer. Another key does, and so does another issuer, even if both use the
/// same subject.
pub(crate) fn principal(caller: &Caller) -> String {
    let kind = caller.grant.kind;
    let key = if kind == GrantKind::Key { caller.grant.id.as_str() } else { "" };
    let person = caller.person.as_ref().map_or("", |person| &person.id);
    let agent = caller.agent.as_ref().map_or("", |agent| &agent.id);
    let issuer = caller.grant.issuer.as_deref().unwrap_or_default();
    // Quoted, so that no id can pose as two.
    format!("{}\0{issuer:?}\0{key:?}\0{person:?}\0{agent:?}", kind.as_str())
}
