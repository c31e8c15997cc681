//! Messages that belong to no request, on their way to the sessions they are for.
//!
//! Whoever has news does not wait for it to be kept: one task sees to that. Until then each
//! message waits once, however often it is said, and each session waits once: while the shared
//! state is away, what waits takes no more room than what its sessions may hear of.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Session;
use crate::gateway::Gateway;

/// How long to wait when the shared state cannot be reached.
const AGAIN: Duration = Duration::from_millis(200);

/// The sessions that something waits for.
pub(crate) type Queue = mpsc::UnboundedSender<Arc<Session>>;

/// A change that every replica sees by itself.
#[derive(PartialEq, Eq)]
pub(crate) struct Change {
    /// What changed.
    pub topic: String,
    /// A digest of what it is now.
    pub state: String,
}

/// What waits to be kept for one session.
#[derive(Default)]
pub(crate) struct Unkept(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// In the order in which they were said first.
    messages: VecDeque<Bytes>,
    /// What each tells of.
    reasons: HashMap<Bytes, Reasons>,
    /// Whether the session is in the queue.
    is_queued: bool,
}

/// Why something is said.
#[derive(Default)]
struct Reasons {
    /// The last change of each topic: where several replicas see one, one tells it.
    changes: Vec<Arc<Change>>,
    /// Whether it is said whatever others have told.
    is_certain: bool,
}

impl Reasons {
    fn add(&mut self, change: Option<Arc<Change>>) {
        let Some(change) = change else {
            self.is_certain = true;
            return;
        };
        self.changes.retain(|before| before.topic != change.topic);
        self.changes.push(change);
    }
}

impl Unkept {
    /// Notes a message; whether its session is to be queued for it.
    fn note(&self, message: Bytes, change: Option<Arc<Change>>) -> bool {
        let mut waiting = self.waiting();
        match waiting.reasons.get_mut(&message) {
            Some(reasons) => reasons.add(change),
            None => {
                waiting.messages.push_back(message.clone());
                waiting.reasons.entry(message).or_default().add(change);
            }
        }
        !std::mem::replace(&mut waiting.is_queued, true)
    }

    /// Nobody asks after this any more.
    pub(crate) fn forget(&self, message: &Bytes) {
        let mut waiting = self.waiting();
        if waiting.reasons.remove(message).is_some() {
            waiting.messages.retain(|other| other != message);
        }
    }

    /// All that waits; what is said from now on queues the session anew.
    fn take(&self) -> Vec<(Bytes, Reasons)> {
        let Waiting { messages, mut reasons, .. } = std::mem::take(&mut *self.waiting());
        let with_reasons = |message| {
            let its = reasons.remove(&message).unwrap_or_default();
            (message, its)
        };
        messages.into_iter().map(with_reasons).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Has a message delivered that belongs to no request.
    pub(crate) fn tell(self: &Arc<Self>, queue: &Queue, message: Bytes, change: Option<Arc<Change>>) {
        if self.unkept.note(message, change) {
            // The task that hears it lives as long as the gateway.
            let _ = queue.send(Arc::clone(self));
        }
    }
}

impl Gateway {
    /// Sends a message that belongs to no request.
    pub(crate) fn tell_session(&self, session: &Arc<Session>, message: Bytes, change: Option<&Arc<Change>>) {
        session.tell(&self.news, message, change.cloned());
    }
}

/// Delivers news for as long as the gateway lives.
pub(crate) async fn deliver(gateway: Weak<Gateway>, mut queue: mpsc::UnboundedReceiver<Arc<Session>>) {
    while let Some(session) = queue.recv().await {
        for (message, reasons) in session.unkept.take() {
            let mut is_new = reasons.is_certain || reasons.changes.is_empty();
            for change in &reasons.changes {
                let Some(gateway) = gateway.upgrade() else { return };
                // All of them, so that none is told again by another replica.
                is_new |= !gateway.is_known_already(&session, &change.topic, &change.state).await;
            }
            if !is_new {
                continue;
            }
            loop {
                let Some(gateway) = gateway.upgrade() else { return };
                if session.is_over() || gateway.deliver_news(&session, message.clone()).await {
                    break;
                }
                drop(gateway);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(state: &str) -> Option<Arc<Change>> {
        Some(Arc::new(Change { topic: "github".to_owned(), state: state.to_owned() }))
    }

    #[test]
    fn a_message_waits_once_and_in_its_order_with_the_change_that_all_of_it_is_about() {
        let unkept = Unkept::default();
        let [tools, prompts, updated] = ["tools", "prompts", "updated"].map(Bytes::from);
        assert!(unkept.note(tools.clone(), change("1")), "the first queues its session");
        assert!(!unkept.note(prompts.clone(), change("1")), "which is queued now");
        assert!(!unkept.note(updated.clone(), None));
        assert!(!unkept.note(tools.clone(), change("1")));
        assert!(!unkept.note(prompts.clone(), change("2")));
        let states = |reasons: &Reasons| {
            let states: Vec<_> = reasons.changes.iter().map(|change| change.state.clone()).collect();
            (states.join(" "), reasons.is_certain)
        };
        let taken: Vec<_> =
            unkept.take().iter().map(|(message, reasons)| (message.clone(), states(reasons))).collect();
        let expected = [
            (tools.clone(), ("1".to_owned(), false)),
            (prompts, ("2".to_owned(), false)),
            (updated.clone(), (String::new(), true)),
        ];
        assert_eq!(taken, expected, "of a topic, what it came to be");
        assert!(unkept.note(updated.clone(), None), "what is said now queues it anew");
        assert!(!unkept.note(tools.clone(), None));
        unkept.forget(&updated);
        assert_eq!(unkept.take().len(), 1);
        assert!(unkept.take().is_empty());
    }
}
