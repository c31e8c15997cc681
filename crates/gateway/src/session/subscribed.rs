//! What a session is to hear of: the resources it is subscribed to, and from where its
//! client looks at the gateway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use doorward_wire::reply;

use super::Session;
use crate::gateway::Gateway;
use crate::mailbox::{Mailbox, changed_method};
use crate::news::told_apart;
use crate::standpoint::{Credential, Standpoint};
use crate::subscriptions::Held;

/// What one session is to hear of.
#[derive(Default)]
pub(crate) struct Subscribed {
    mailbox: OnceLock<Arc<Mailbox>>,
    /// The last change of the world before the session was there.
    since: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// From where the client was seen to speak last.
    standpoint: Option<Arc<Standpoint>>,
    /// By URI, in the client's words.
    subscriptions: HashMap<String, Held>,
    is_over: bool,
}

impl Subscribed {
    /// It is there from now on.
    pub(crate) fn begins(&self, since: u64) {
        self.since.store(since, Ordering::Relaxed);
    }

    /// The last change of the world before it was there.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// The client speaks from here; yields from where it spoke before.
    fn seen(&self, standpoint: &Arc<Standpoint>) -> Option<Arc<Standpoint>> {
        self.state().standpoint.replace(Arc::clone(standpoint))
    }

    /// Keeps a subscription. One to the same resource gives way.
    pub(crate) fn subscribe(&self, uri: String, held: Held) {
        let mut state = self.state();
        if state.is_over {
            drop(state);
            return drop(held);
        }
        let earlier = state.subscriptions.insert(uri, held);
        drop(state);
        // Only now: while both were held, the server was not told of an end.
        drop(earlier);
    }

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(&self, uri: &str) {
        let ended = self.state().subscriptions.remove(uri);
        drop(ended);
    }

    /// Whether one more subscription is within the bound.
    pub(crate) fn has_room(&self, uri: &str, limit: usize) -> bool {
        let state = self.state();
        state.subscriptions.len() < limit || state.subscriptions.contains_key(uri)
    }

    /// Ends everything, with the session.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        let ended = std::mem::take(&mut state.subscriptions);
        drop(state);
        drop(ended);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.end();
    }
}

impl Gateway {
    /// The session's client speaks from here. Where it may do something else there than before,
    /// it is told so, and what it may no longer hear of ends.
    pub(crate) fn sees(&self, session: &Arc<Session>, standpoint: Standpoint) {
        let now = Arc::new(standpoint);
        let Some(before) = session.news.seen(&now).filter(|before| !before.has_the_rights_of(&now)) else {
            return;
        };
        let rules = || (self.snapshot(), self.clock.now());
        if let Some(mailbox) = session.mailbox() {
            self.subscriptions.moved(mailbox, || session.standpoint(), rules);
        }
        let (snapshot, time) = rules();
        for kind in told_apart(&before, &now, &snapshot, time) {
            self.tell_session(session, reply::notification(changed_method(kind), None), None);
        }
    }

    /// Where the updates of what a session is subscribed to go.
    pub(crate) fn mailbox_of(&self, session: &Arc<Session>) -> Arc<Mailbox> {
        let made = || Arc::new(Mailbox::of_session(self.news.clone(), Arc::downgrade(session)));
        Arc::clone(session.news.mailbox.get_or_init(made))
    }
}

impl Session {
    /// What its updates go through, if it was ever subscribed to anything.
    pub(crate) fn mailbox(&self) -> Option<&Arc<Mailbox>> {
        self.news.mailbox.get()
    }

    /// From where the session looks at the gateway.
    pub(crate) fn standpoint(&self) -> Arc<Standpoint> {
        let mut state = self.news.state();
        let standpoint = state.standpoint.get_or_insert_with(|| {
            Arc::new(Standpoint {
                caller: Arc::clone(&self.owner),
                credential: Credential::Elsewhere,
                surface: self.opening.surface.clone(),
                ip: None,
                origin: "mcp",
                client: self.opening.client.clone(),
                declared: self.opening.abilities.declared(),
            })
        });
        Arc::clone(standpoint)
    }
}
