//! All servers of one gateway.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_egress::Client;
use doorward_model::json::Numbers;
use doorward_model::{Audience, Catalog, Clock, Map, Random, ServerId};
use doorward_wire::Era;
use tokio::sync::mpsc;

use crate::call::{Answer, Call};
use crate::error::UpstreamError;
use crate::hub::Hub;
use crate::scrub::Scrubber;
use crate::server::{Hurry, Server};
use crate::settings::Settings;
use crate::spec::ServerSpec;
use crate::status::{Event, State, Status};
use crate::task::AbortOnDrop;
use crate::watch::{Subscription, Watch};

/// The links to all servers. Cheap to clone; the links end with the last clone,
/// in good order only after [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

struct Inner {
    servers: ArcSwap<Map<ServerId, Arc<Server>>>,
    /// Held while the set of servers is changed.
    changing: Mutex<()>,
    settings: Arc<Settings>,
    client: Client,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    events: mpsc::UnboundedSender<Event>,
    sweeper: Mutex<Option<AbortOnDrop>>,
}

impl Upstreams {
    /// No servers yet. Must be called within a Tokio runtime; the receiver yields
    /// what servers do without being asked.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            servers: ArcSwap::default(),
            changing: Mutex::default(),
            client: Client::new(settings.egress.clone(), Arc::clone(&clock)),
            settings: Arc::new(settings),
            clock,
            random,
            events,
            sweeper: Mutex::default(),
        });
        let every = inner.settings.sweep_every;
        let swept = Arc::downgrade(&inner);
        let sweeper = AbortOnDrop::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(inner) = swept.upgrade() else { return };
                for server in inner.servers.load().values() {
                    server.sweep();
                }
            }
        });
        *inner.sweeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(sweeper);
        (Self { inner }, receiver)
    }

    /// Makes these the servers. A server whose specification is unchanged keeps
    /// its link; others are ended in the background, and new ones are started when
    /// first needed. Of two specifications with one id the later holds.
    ///
    /// Returns the ids of those that are new, or another than before.
    pub fn configure(&self, specs: Vec<ServerSpec>) -> HashSet<ServerId> {
        let inner = &self.inner;
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.servers.load_full();
        let mut after = Map::with_capacity_and_hasher(specs.len(), Default::default());
        for spec in specs {
            let server = match before.get(&spec.id).filter(|server| server.spec == spec) {
                Some(server) => Arc::clone(server),
                None => {
                    // What is subscribed to does not depend on how the server is reached.
                    let replaced = before.get(&spec.id);
                    let watch = replaced.map(|server| Arc::clone(&server.hub.watch)).unwrap_or_default();
                    Arc::new(inner.server(spec, watch))
                }
            };
            after.insert(server.spec.id.clone(), server);
        }
        let after = Arc::new(after);
        inner.servers.store(Arc::clone(&after));
        let is_new = |(id, server): &(&ServerId, &Arc<Server>)| {
            !before.get(*id).is_some_and(|known| Arc::ptr_eq(known, server))
        };
        let others: HashSet<_> = after.iter().filter(is_new).map(|(id, _)| id.clone()).collect();
        for (id, server) in before.iter() {
            if !after.get(id).is_some_and(|kept| Arc::ptr_eq(kept, server)) {
                let server = Arc::clone(server);
                tokio::spawn(async move { server.retire().await });
            }
        }
        others
    }

    /// Makes a call. Dropping the future withdraws it: the server is told, and a
    /// late answer is dropped.
    ///
    /// # Errors
    /// [`UpstreamError`]. An error the server itself answered with is an
    /// [`Answer`].
    pub async fn call(&self, server: &ServerId, call: Call<'_>) -> Result<Answer, UpstreamError> {
        self.server(server)?.answer(call).await
    }

    /// A caller that gave a [`Call::deadline`] of its own found that the server itself kept it
    /// waiting for too long.
    pub fn was_silent(&self, server: &ServerId) {
        if let Ok(server) = self.server(server) {
            server.was_silent();
        }
    }

    /// What a server offers to clients that declare these capabilities (a JSON object, empty
    /// for none), and who else is offered the same: all pages of all lists that it says it
    /// has. Kept until the server announces a change or its link is opened anew. Waits for each
    /// list until it is there or has failed, and says what is missing in the end.
    ///
    /// # Errors
    /// [`UpstreamError`], when no list at all was answered.
    pub async fn catalog(
        &self,
        server: &ServerId,
        declared: &str,
    ) -> Result<(Audience, Arc<Catalog>), UpstreamError> {
        self.server(server)?.catalog(declared, Hurry::None).await
    }

    /// The same, or what there is of it after [`Listing::patience`](crate::Listing::patience).
    ///
    /// # Errors
    /// [`UpstreamError`], when no list at all was answered.
    pub async fn catalog_soon(
        &self,
        server: &ServerId,
        declared: &str,
    ) -> Result<(Audience, Arc<Catalog>), UpstreamError> {
        self.server(server)?.catalog(declared, Hurry::Some).await
    }

    /// Ends the sessions that servers keep for calls of this affinity, whose client has
    /// these capabilities, in the background.
    pub fn end(&self, affinity: &str, capabilities: &str) {
        for server in self.inner.servers.load().values() {
            server.end(affinity, capabilities);
        }
    }

    /// The roots of a client have changed, whose calls are of this affinity and who has these
    /// capabilities: the servers that have a session with it are told.
    pub fn roots_changed(&self, affinity: &str, capabilities: &str) {
        for server in self.inner.servers.load().values() {
            server.roots_changed(affinity, capabilities);
        }
    }

    /// What a server offers may have changed: it is asked anew when somebody wants to know.
    pub fn invalidate(&self, server: &ServerId) {
        if let Ok(server) = self.server(server) {
            server.invalidate();
        }
    }

    /// Subscribes to a resource, and keeps it so for as long as the share lives: over
    /// the ends of sessions, streams and processes. All holders of one resource share
    /// one subscription at the server. From then on there is an
    /// [`Event::ResourceUpdated`] for each update, and one more whenever any may have
    /// been missed.
    ///
    /// # Errors
    /// [`UpstreamError::NotOffered`] when the server has no subscriptions,
    /// [`UpstreamError::Refused`] when it says no to this one, or any other.
    pub async fn subscribe(&self, server: &ServerId, uri: &str) -> Result<Subscription, UpstreamError> {
        self.server(server)?.subscribe(uri).await
    }

    /// Takes note of an [`Event::ResourceUpdated`]: the next one is announced again.
    pub fn seen(&self, server: &ServerId, uri: &str) {
        if let Ok(server) = self.server(server) {
            server.hub.watch.seen(uri);
        }
    }

    /// The state of a server; `None` when there is none of this id.
    pub fn state(&self, server: &ServerId) -> Option<State> {
        self.server(server).ok().map(|server| server.hub.state())
    }

    /// How a server is doing; `None` when there is none of this id.
    pub fn status(&self, server: &ServerId) -> Option<Status> {
        self.server(server).ok().map(|server| server.status())
    }

    /// How long one request to a server may take.
    pub fn timeout(&self, server: &ServerId) -> Option<Duration> {
        self.server(server).ok().map(|server| server.spec.timeout)
    }

    /// The era a server speaks, as far as that is known without asking.
    pub fn era(&self, server: &ServerId) -> Option<Era> {
        self.server(server).ok().and_then(|server| server.known_era())
    }

    /// How integers in arguments for this server are to be read.
    pub fn numbers(&self, server: &ServerId) -> Option<Numbers> {
        self.server(server).ok().map(|server| server.spec.numbers)
    }

    /// The last 64 KiB a managed child has printed on its standard error, without
    /// its secrets.
    pub fn stderr(&self, server: &ServerId) -> Option<String> {
        self.server(server).ok().map(|server| server.hub.scrubber.scrub_text(&server.ring.text()))
    }

    /// How many sessions are open with a server.
    pub fn session_count(&self, server: &ServerId) -> Option<usize> {
        self.server(server).ok().map(|server| server.session_count())
    }

    /// The ids of all servers, sorted.
    pub fn ids(&self) -> Vec<ServerId> {
        let mut ids: Vec<_> = self.inner.servers.load().keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Ends all links: sessions are closed, children stopped with everything they
    /// have started. Returns when that is done.
    pub async fn shutdown(&self) {
        self.inner.sweeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ending = tokio::task::JoinSet::new();
        for server in self.inner.servers.load_full().values() {
            let server = Arc::clone(server);
            ending.spawn(async move { server.retire().await });
        }
        while ending.join_next().await.is_some() {}
    }

    fn server(&self, id: &ServerId) -> Result<Arc<Server>, UpstreamError> {
        let found = self.inner.servers.load().get(id).map(Arc::clone);
        found.ok_or_else(|| UpstreamError::Unavailable { server: id.clone() })
    }
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstreams").field(&self.ids()).finish()
    }
}

impl Inner {
    fn server(&self, spec: ServerSpec, watch: Arc<Watch>) -> Server {
        let scrubber = Arc::new(Scrubber::new(spec.secrets()));
        let hub = Hub::new(
            spec.id.clone(),
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
            scrubber,
            self.events.clone(),
        );
        let hub = hub.watching(watch).answering_within(spec.timeout);
        if let Some(misfit) = spec.misfit() {
            hub.failed(&misfit);
        }
        Server::new(spec, Arc::new(hub), self.client.clone())
    }
}
