//! Streams of the modern era that wait for news: `subscriptions/listen`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use doorward_model::{Caller, CapabilityKind, ServerId};
use doorward_wire::{Era, reply};
use tokio::sync::mpsc;

use crate::catalogs;
use crate::gateway::Gateway;
use crate::surface::Surface;

/// How many notifications may wait for a slow listener before it is let go.
const OUTBOX: usize = 64;

/// What one listener asked to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
}

impl Wants {
    fn hears(self, kind: CapabilityKind) -> bool {
        match kind {
            CapabilityKind::Tool => self.tools,
            CapabilityKind::Prompt => self.prompts,
            CapabilityKind::Resource | CapabilityKind::ResourceTemplate => self.resources,
        }
    }
}

struct Listener {
    caller: Arc<Caller>,
    surface: Surface,
    wants: Wants,
    /// The id of the listen request as written, which tags every notification.
    id: String,
    outbox: mpsc::Sender<Bytes>,
}

/// All open listen streams.
#[derive(Default)]
pub(crate) struct Streams {
    open: Mutex<Vec<Listener>>,
}

impl Streams {
    /// Opens a stream.
    pub(crate) fn listen(
        &self,
        caller: Arc<Caller>,
        surface: Surface,
        wants: Wants,
        id: &str,
    ) -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
        let (outbox, stream) = mpsc::channel(OUTBOX);
        let listener = Listener { caller, surface, wants, id: id.to_owned(), outbox: outbox.clone() };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|listener| !listener.outbox.is_closed());
        open.push(listener);
        (outbox, stream)
    }

    fn notify(&self, kind: CapabilityKind, concerns: impl Fn(&Caller, &Surface) -> bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|listener| {
            if !listener.wants.hears(kind) || !concerns(&listener.caller, &listener.surface) {
                return !listener.outbox.is_closed();
            }
            let params =
                format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}"#, listener.id);
            // A listener that does not keep up loses its stream and knows by that
            // that it has missed something.
            listener.outbox.try_send(reply::notification(changed_method(kind), Some(&params))).is_ok()
        });
    }

    /// Ends every stream with the result that says it ended in order.
    pub(crate) fn close_all(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in open.drain(..) {
            let result = format!(
                r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}"#,
                listener.id
            );
            // Whoever does not read any more does not need to be told.
            let _ = listener.outbox.try_send(reply::result(&listener.id, &result));
        }
    }
}

/// The notification that a list of this kind changed.
pub(crate) fn changed_method(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool => "notifications/tools/list_changed",
        CapabilityKind::Prompt => "notifications/prompts/list_changed",
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => "notifications/resources/list_changed",
    }
}

impl Gateway {
    /// Tells everybody whose view includes `server` (every view, for `None`) that
    /// its list of this kind changed.
    pub(crate) fn announce(&self, kind: CapabilityKind, server: Option<&ServerId>) {
        let snapshot = self.snapshot();
        let concerns = |caller: &Caller, surface: &Surface| match (server, surface) {
            (None, Surface::Gateway) => false,
            (None, _) => true,
            (Some(_), Surface::Gateway) => false,
            (Some(server), Surface::Server(own)) if own != server => false,
            (Some(server), _) => {
                snapshot
                    .registry
                    .server(server.as_str())
                    .is_some_and(|server| snapshot.reaches(caller, server))
                    && snapshot.rulebook.policy.may_allow(caller, server)
            }
        };
        self.streams.notify(kind, concerns);
        let message = reply::notification(changed_method(kind), None);
        let change = server.and_then(|server| catalogs::change(&snapshot, server, kind)).map(Arc::new);
        for session in self.sessions.all() {
            if session.opening.revision.era() == Era::Legacy
                && concerns(session.owner(), &session.opening.surface)
            {
                self.tell_session(&session, message.clone(), change.as_ref());
            }
        }
    }

    /// Tells everybody that any list may have changed.
    pub(crate) fn announce_all(&self) {
        for kind in [CapabilityKind::Tool, CapabilityKind::Prompt, CapabilityKind::Resource] {
            self.announce(kind, None);
        }
    }
}
