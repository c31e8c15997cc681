//! An open link to a server, of whichever kind it turned out to be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::Document;
use doorward_wire::Era;

use crate::call::Call;
use crate::duplex::Listener;
use crate::envelope;
use crate::error::UpstreamError;
use crate::handshake::Handshake;
use crate::http::legacy::Legacy;
use crate::http::modern::Modern;
use crate::http::sse::Stream;
use crate::hub::Hub;
use crate::level::{self, Told};
use crate::stdio::process::Process;
use crate::task::AbortOnDrop;
use crate::watcher;

/// An open link.
pub(crate) struct Link {
    /// Tells this link from the ones before it.
    pub(crate) serial: u64,
    /// When it was opened, on the gateway's clock.
    pub(crate) since: Duration,
    pub(crate) handshake: Handshake,
    pub(crate) kind: Kind,
    /// What the one session of a link that has just one was told.
    pub(crate) level: Told,
    pub(crate) hub: Arc<Hub>,
    /// Keeps it subscribed to what is wanted.
    pub(crate) watcher: Mutex<Option<AbortOnDrop>>,
    /// Whether a stream of the stateless era is open, or about to be again.
    pub(crate) is_listening: AtomicBool,
}

/// How a link carries its messages.
pub(crate) enum Kind {
    Modern(Modern),
    Legacy(Legacy),
    Stdio(Process),
    Sse(Stream),
}

impl Link {
    /// Makes a call. Dropping the future withdraws it, in the way of the era.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<(Document, Option<u16>), UpstreamError> {
        // A legacy server over HTTP gets a session first, a child reads what came before, and
        // then comes the same question.
        if !matches!(self.kind, Kind::Legacy(_) | Kind::Stdio(_)) && !call.leaves() {
            return Err(UpstreamError::Unavailable { server: self.hub.server.clone() });
        }
        match &self.kind {
            Kind::Modern(link) => link.call(call).await.map(|(document, status)| (document, Some(status))),
            // The larger states on the heap: every call has room for the largest of these.
            Kind::Legacy(link) => {
                Box::pin(link.call(call)).await.map(|(document, status)| (document, Some(status)))
            }
            Kind::Stdio(Process { duplex, .. }) | Kind::Sse(Stream { duplex, .. }) => {
                let listener = Listener {
                    notify: call.notify.as_ref(),
                    progress_token: call.progress_token,
                    questions: call.questions.as_ref(),
                    task: call.task,
                    logs: call.logs,
                    owner: call.affinity,
                    caller: call.caller,
                    departure: call.departure,
                };
                if self.handshake.logs && self.era() == Era::Legacy && self.level.must_be_said(call.logs) {
                    let said = level::said(call.logs);
                    let write = |id| envelope::legacy(id, &said);
                    Box::pin(duplex.request(Listener::default(), write)).await?;
                }
                let write = |id| match self.era() {
                    Era::Modern => envelope::modern(id, call, &self.hub.settings.client_info),
                    Era::Legacy => envelope::legacy(id, call),
                };
                Box::pin(duplex.request(listener, write)).await.map(|document| (document, None))
            }
        }
    }

    /// Subscribes to what is wanted, from now on.
    pub(crate) fn watch(self: &Arc<Self>) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher::start(self);
    }

    /// Whether all calls travel in one session, whose capabilities were settled when it
    /// was opened.
    pub(crate) fn is_one_session(&self) -> bool {
        self.era() == Era::Legacy && matches!(self.kind, Kind::Stdio(_) | Kind::Sse(_))
    }

    /// Whether the server may offer something else to clients with other capabilities: it
    /// learns of them before it is asked for its lists.
    pub(crate) fn tells_clients_apart(&self) -> bool {
        match &self.kind {
            Kind::Modern(_) => false,
            Kind::Legacy(link) => !link.is_stateless(),
            Kind::Stdio(_) | Kind::Sse(_) => self.is_one_session(),
        }
    }

    /// Whether the server waits for an answer in the one session of its link.
    pub(crate) fn is_asking(&self) -> bool {
        match &self.kind {
            Kind::Modern(_) | Kind::Legacy(_) => false,
            Kind::Stdio(process) => process.duplex.is_asking(),
            Kind::Sse(stream) => stream.duplex.is_asking(),
        }
    }

    pub(crate) fn era(&self) -> Era {
        self.handshake.revision.era()
    }

    /// Whether nothing can be sent over it any more.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.kind {
            Kind::Modern(_) | Kind::Legacy(_) => false,
            Kind::Stdio(process) => process.duplex.is_closed(),
            Kind::Sse(stream) => stream.duplex.is_closed(),
        }
    }

    /// Whether the end of the server would be noticed without asking.
    pub(crate) fn is_watched(&self) -> bool {
        match &self.kind {
            Kind::Modern(_) => self.is_listening.load(Ordering::Relaxed),
            Kind::Legacy(link) => link.is_watched(),
            Kind::Sse(stream) => stream.reader.is_running(),
            Kind::Stdio(_) => true,
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Stdio(process) => Some(process.pid),
            Kind::Modern(_) | Kind::Legacy(_) | Kind::Sse(_) => None,
        }
    }

    /// How many sessions the link keeps with the server.
    pub(crate) fn session_count(&self) -> usize {
        match &self.kind {
            Kind::Modern(_) => 0,
            Kind::Legacy(link) => link.session_count(),
            Kind::Stdio(_) | Kind::Sse(_) => 1,
        }
    }

    /// Ends the sessions of one affinity. Where all share one, it goes on.
    pub(crate) fn end(&self, affinity: &str, capabilities: &str) {
        if let Kind::Legacy(link) = &self.kind {
            link.end(affinity, capabilities);
        }
    }

    /// The roots of a client have changed. In a session that all calls share, they are those of
    /// everybody with its capabilities.
    pub(crate) fn roots_changed(&self, affinity: &str, capabilities: &str) {
        let is_shared = self.is_one_session() && self.hub.capabilities() == capabilities;
        match &self.kind {
            Kind::Legacy(link) => link.roots_changed(affinity, capabilities),
            Kind::Stdio(Process { duplex, .. }) | Kind::Sse(Stream { duplex, .. }) if is_shared => {
                duplex.send_quietly(Bytes::from_static(envelope::ROOTS_CHANGED));
            }
            Kind::Modern(_) | Kind::Stdio(_) | Kind::Sse(_) => {}
        }
    }

    /// Closes what has been idle for long.
    pub(crate) fn sweep(&self) {
        match &self.kind {
            Kind::Modern(link) => link.prune(),
            Kind::Legacy(link) => link.sweep(),
            Kind::Stdio(_) | Kind::Sse(_) => {}
        }
    }

    /// Ends it: sessions are closed, a child is stopped with all it has started.
    pub(crate) async fn stop(&self) {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        match &self.kind {
            Kind::Modern(_) => {}
            Kind::Legacy(link) => link.stop().await,
            Kind::Stdio(process) => process.stop().await,
            Kind::Sse(stream) => stream.duplex.close(),
        }
    }
}
