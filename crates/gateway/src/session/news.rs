//! What a session is to hear of: its mailbox, and the resources it is subscribed to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Session;
use crate::mailbox::Mailbox;
use crate::standpoint::Standpoint;
use crate::subscriptions::Held;

/// The news of one session.
#[derive(Default)]
pub(crate) struct SessionNews {
    mailbox: Arc<Mailbox>,
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

impl SessionNews {
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// The client speaks from here.
    pub(crate) fn seen(&self, standpoint: Standpoint) {
        self.state().standpoint = Some(Arc::new(standpoint));
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
        self.mailbox.close(None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionNews {
    fn drop(&mut self) {
        self.end();
    }
}

impl Session {
    /// From where the session looks at the gateway.
    pub(crate) fn standpoint(&self) -> Arc<Standpoint> {
        let mut state = self.news.state();
        let standpoint = state.standpoint.get_or_insert_with(|| {
            Arc::new(Standpoint {
                caller: Arc::clone(&self.owner),
                surface: self.opening.surface.clone(),
                ip: None,
                origin: "mcp",
                client: self.opening.client.clone(),
            })
        });
        Arc::clone(standpoint)
    }
}
