//! Sessions of the legacy era: opened by `initialize`, bound to their principal,
//! capped, and ended by silence, because most clients never say goodbye.

mod ended;
mod life;
mod news;
mod table;
#[cfg(test)]
mod tests;
mod ticket;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_model::{Caller, ClientLabel, GrantKind, Timestamp};
use doorward_wire::log::Level;
use doorward_wire::{Abilities, Revision};
use tokio::sync::oneshot;

use crate::ask::Questions;
use crate::surface::Surface;

use news::SessionNews;
pub(crate) use table::Sessions;
pub(crate) use ticket::{abilities, client_info};

/// Bounds on sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Sessions in all.
    pub total: usize,
    /// Sessions of one principal; its longest idle one makes room.
    pub each: usize,
    /// A session this long without a message ends.
    pub idle: Duration,
    /// A process that does not know a session takes it up no longer than this after it
    /// was opened.
    pub longest: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            total: 10_000,
            each: 1_000,
            idle: Duration::from_secs(30 * 60),
            longest: Duration::from_secs(7 * 86_400),
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
    principal: Box<str>,
    last_used: AtomicU64,
    state: Mutex<State>,
    /// What the client has been asked and has not answered.
    pub(crate) questions: Questions,
    /// What it is to hear of.
    pub(crate) news: SessionNews,
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
            state: Mutex::default(),
            questions: Questions::default(),
            news: SessionNews::default(),
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
    }

    /// Whether nothing has happened for so long, and nothing is under way.
    fn is_idle(&self, now: Duration, limit: Duration) -> bool {
        if now.as_secs().saturating_sub(self.last_used()) <= limit.as_secs() {
            return false;
        }
        self.state().running.is_empty() && !self.news.mailbox().is_read()
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

    /// Notes a request, so that it can be cancelled; `None` when the id is already running.
    pub fn begin(&self, id: &str) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        let mut state = self.state();
        if state.running.contains_key(id) {
            return None;
        }
        state.running.insert(id.to_owned(), cancel);
        Some(cancelled)
    }

    /// Forgets a request that was answered.
    pub fn end(&self, id: &str) {
        self.state().running.remove(id);
    }

    /// Cancels a running request; an unknown id is no error.
    pub fn cancel(&self, id: &str) {
        if let Some(cancel) = self.state().running.remove(id) {
            // The request may have been answered this instant.
            let _ = cancel.send(());
        }
    }

    /// Cancels everything that is running.
    fn cancel_all(&self) {
        for (_, cancel) in self.state().running.drain() {
            // As above.
            let _ = cancel.send(());
        }
    }
}

/// Who a caller is, beyond the credential of the moment: a token that was renewed makes
/// nobody else of its bearer, another key does.
pub(crate) fn principal(caller: &Caller) -> String {
    let kind = caller.grant.kind;
    let key = if kind == GrantKind::Key { caller.grant.id.as_str() } else { "" };
    let person = caller.person.as_ref().map_or("", |person| &person.id);
    let agent = caller.agent.as_ref().map_or("", |agent| &agent.id);
    // Quoted, so that no id can pose as two.
    format!("{}\0{key:?}\0{person:?}\0{agent:?}", kind.as_str())
}
