//! The gateway: what all calls share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_ledger::{EventRecord, Ledger};
use doorward_model::json::Limits;
use doorward_model::json::push_hex;
use doorward_model::{Caller, Clock, Counts, Endings, NoRoom, Random, Room, Seal, ServerId, Shared};
use doorward_upstream::Upstreams;
use doorward_wire::message::Message;
use tokio::sync::{mpsc, watch};

use crate::ask::{AskLimits, Suspended};
use crate::catalogs::{self, Asking};
use crate::costly::Costly;
use crate::door::Strangers;
use crate::meta::Readings;
use crate::method;
use crate::metrics::Metrics;
use crate::news::{Extent, Unsaid};
use crate::pipeline::Asked;
use crate::receive::Incoming;
use crate::refusals::{self, Refusals};
use crate::reply::Reply;
use crate::session::news::{self, Queue};
use crate::session::replicas::{self, Tidings};
use crate::session::{Farewells, SessionLimits, Sessions};
use crate::shares::Shares;
use crate::snapshot::{Rulebook, Snapshot};
use crate::span::Spans;
use crate::streams::{StreamLimits, Streams};
use crate::subscriptions::Subscriptions;
use crate::tasks::Awaited;

/// How often it is asked what has waited too long, or would not be let in any more.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What does not change while the gateway runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Version of the program, for `serverInfo`.
    pub version: String,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// Bounds on the JSON of a request.
    pub json: Limits,
    /// Bounds on sessions.
    pub sessions: SessionLimits,
    /// Bounds on streams for news.
    pub streams: StreamLimits,
    /// Bounds on what servers may ask.
    pub asks: AskLimits,
    /// Entries on one page of a list.
    pub page: usize,
    /// How long a list waits for servers that are still starting; what comes later is announced.
    pub list_wait: Duration,
    /// How long other things wait for them.
    pub start_wait: Duration,
    /// Connections at once; more wait in the listen queue.
    pub connections: usize,
    /// Where messages must find room; without it they are put off.
    pub room: Arc<Room>,
    /// How long calls under way may take to finish at shutdown.
    pub drain: Duration,
    /// Whether every refused call is recorded, or only the first ones of each minute.
    pub records_all_refusals: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            max_body: 4 << 20,
            json: Limits::default(),
            sessions: SessionLimits::default(),
            streams: StreamLimits::default(),
            asks: AskLimits::default(),
            page: 500,
            list_wait: Duration::from_secs(2),
            start_wait: Duration::from_secs(20),
            connections: 20_000,
            room: Room::new(usize::MAX),
            drain: Duration::from_secs(10),
            records_all_refusals: false,
        }
    }
}

/// What a gateway is made of.
pub struct Parts {
    /// See [`Settings`].
    pub settings: Settings,
    /// The configuration in force.
    pub rulebook: Rulebook,
    /// Links to servers.
    pub upstreams: Upstreams,
    /// The log.
    pub ledger: Ledger,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Seals what clients carry for the gateway.
    pub seal: Arc<dyn Seal>,
    /// What all replicas know.
    pub shared: Arc<dyn Shared>,
    /// Where the next process finds which sessions have ended; `None` where replicas share it.
    pub endings: Option<Arc<dyn Endings>>,
    /// What quotas have counted.
    pub counts: Arc<dyn Counts>,
    /// Who collects spans, if anybody does.
    pub spans: Option<Arc<dyn Spans>>,
}

/// The gateway. Shared by every connection.
pub struct Gateway {
    pub(crate) settings: Settings,
    snapshot: ArcSwap<Snapshot>,
    /// Told of each new snapshot.
    replaced: watch::Sender<()>,
    /// Held while a new snapshot is built, so that two changes do not lose each other.
    building: Mutex<()>,
    pub(crate) asking: Asking,
    pub(crate) upstreams: Upstreams,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) seal: Arc<dyn Seal>,
    pub(crate) shared: Arc<dyn Shared>,
    pub(crate) endings: Option<Arc<dyn Endings>>,
    pub(crate) counts: Arc<dyn Counts>,
    /// Whether there may be other replicas.
    pub(crate) has_others: bool,
    /// What the others know this one by.
    pub(crate) replica: Box<str>,
    /// Servers whose lists changed, as another replica heard.
    stale: Mutex<HashSet<ServerId>>,
    pub(crate) news: Queue,
    pub(crate) suspended: Suspended,
    pub(crate) awaited: Awaited,
    pub(crate) farewells: Farewells,
    pub(crate) sessions: Sessions,
    pub(crate) streams: Arc<Streams>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) unsaid: Unsaid,
    pub(crate) metrics: Metrics,
    pub(crate) strangers: Strangers,
    pub(crate) refusals: Refusals,
    pub(crate) readings: Readings,
    pub(crate) shares: Shares,
    pub(crate) costly: Costly,
    pub(crate) spans: Option<Arc<dyn Spans>>,
}

impl Gateway {
    /// Puts the parts together. Nothing listens yet. Must be called within a Tokio runtime.
    pub fn new(parts: Parts) -> Arc<Self> {
        let snapshot = Snapshot::build(parts.rulebook, Default::default());
        let started = parts.clock.now().as_micros() as f64 / 1e6;
        let mut bytes = [0; 8];
        parts.random.fill(&mut bytes);
        let mut replica = String::new();
        push_hex(&mut replica, &bytes);
        let (news, to_deliver) = mpsc::unbounded_channel();
        let earlier = parts.endings.as_ref().map(|endings| endings.earlier()).unwrap_or_default();
        let gateway = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            replaced: watch::Sender::default(),
            building: Mutex::new(()),
            asking: Asking::default(),
            sessions: Sessions::after(earlier, parts.settings.sessions),
            streams: Arc::default(),
            subscriptions: Arc::default(),
            unsaid: Unsaid::default(),
            metrics: Metrics::new(started, parts.spans.clone()),
            strangers: Strangers::new(&parts.clock),
            refusals: Refusals::new(parts.settings.records_all_refusals, &parts.clock),
            readings: Readings::default(),
            shares: Shares::of(Arc::clone(&parts.settings.room)),
            costly: Costly::default(),
            settings: parts.settings,
            upstreams: parts.upstreams,
            ledger: parts.ledger,
            clock: parts.clock,
            random: parts.random,
            seal: parts.seal,
            has_others: parts.shared.reach().has_others(),
            replica: replica.into(),
            stale: Mutex::default(),
            shared: parts.shared,
            endings: parts.endings,
            counts: parts.counts,
            news,
            suspended: Suspended::default(),
            awaited: Awaited::default(),
            farewells: Farewells::default(),
            spans: parts.spans,
        });
        tokio::spawn(news::deliver(Arc::downgrade(&gateway), to_deliver));
        replicas::listen(&gateway);
        gateway
    }

    /// The world in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Hears whenever the world in force is replaced.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    pub(crate) fn stale(&self) -> MutexGuard<'_, HashSet<ServerId>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Links to servers.
    pub fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// How long calls under way may take to finish at shutdown.
    pub fn drain(&self) -> Duration {
        self.settings.drain
    }

    /// Leaves an entry about something that was turned away before any decision.
    pub(crate) fn refused(&self, event: EventRecord<'_>) {
        let event = EventRecord { kind: "refused", time: self.clock.now(), ..event };
        if let Err(error) = self.ledger.event(&event) {
            tracing::error!(target: "doorward::ledger", %error, "an event could not be recorded");
        }
    }

    /// Leaves the sums of what callers were refused that has no entry of its own, if they are
    /// due, or at once if nothing will follow.
    pub fn sum_up_refusals(&self, at_once: bool) {
        refusals::sum_up(self, at_once);
    }

    /// Puts a new configuration in force, in which these ids name other servers than before. Calls
    /// under way finish in the old world.
    pub fn install(self: &Arc<Self>, rulebook: Rulebook, others: &HashSet<ServerId>) {
        self.rebuild(Extent::All, |old| {
            let mut catalogs = old.registry.catalogs().clone();
            catalogs.retain(|id| rulebook.servers.iter().any(|server| server.id == *id));
            self.asking.replaced(others.iter().map(|id| (id, !old.registry.listings(id).is_empty())));
            Some(Snapshot::build(rulebook, catalogs))
        });
        self.subscriptions.revise(&self.snapshot(), self.clock.now());
        // Without a runtime nobody can be listening.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(Arc::clone(self).review());
            catalogs::catch_up(self, &runtime);
        }
    }

    /// Starts servers, or connects to them, without waiting for it: by asking what they offer.
    pub fn start(self: &Arc<Self>, servers: &[ServerId]) {
        for server in servers {
            let (gateway, server) = (Arc::clone(self), server.clone());
            tokio::spawn(async move { catalogs::ensure(&gateway, &server, "").await });
        }
    }

    /// Replaces the world by what `build` makes of the old one, if that is anything, and tells
    /// whom that concerns.
    pub(crate) fn rebuild(
        self: &Arc<Self>,
        extent: Extent,
        build: impl FnOnce(&Snapshot) -> Option<Snapshot>,
    ) {
        let _one_at_a_time = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot.load();
        let Some(next) = build(&before) else { return };
        let known = before.registry.problems();
        for problem in next.registry.problems().iter().filter(|problem| !known.contains(problem)) {
            if problem.is_mended() {
                tracing::info!(target: "doorward::registry", "{problem}");
            } else {
                tracing::warn!(target: "doorward::registry", "{problem}");
            }
        }
        let next = Arc::new(next);
        let before = self.snapshot.swap(Arc::clone(&next));
        self.stepped(before, next, extent);
        self.replaced.send_replace(());
    }

    /// Answers one message.
    pub async fn answer(
        self: Arc<Self>,
        caller: Arc<Caller>,
        incoming: Incoming,
        notify: Option<mpsc::Sender<bytes::Bytes>>,
        hung_up: Option<mpsc::Sender<Duration>>,
    ) -> Reply {
        let message = match Message::read(&incoming.document) {
            Ok(message) => message,
            Err(malformed) => return Reply::error(malformed.id.map(|id| id.raw()), &malformed.error),
        };
        match message {
            Message::Request(request) => {
                self.metrics.came(&request.method);
                let id = request.id;
                let asked = match Asked::new(&self, &caller, &incoming, request, notify) {
                    Ok(mut asked) => {
                        asked.hung_up = hung_up;
                        asked
                    }
                    Err(reply) => return reply,
                };
                let reply = method::request(asked).await;
                match self.shares.keep(&caller, reply.body) {
                    Ok(body) => Reply { body, ..reply },
                    Err(NoRoom) => Reply::withheld(id.raw()),
                }
            }
            Message::Notification(notification) => {
                self.metrics.came(&notification.method);
                method::notification(&self, &incoming, &notification);
                Reply::accepted()
            }
            Message::Response(response) => {
                self.metrics.answered();
                let id = response.id.map(|id| id.raw().to_owned());
                if let (Some(id), Some(session)) = (id, incoming.session) {
                    let answer = incoming.document.bytes().clone();
                    if !session.questions.answered(&id, incoming.document)
                        && let Err(error) =
                            self.tell_others(&session.id, Tidings::Answered(&id, answer)).await
                    {
                        return Reply::later(None, &error);
                    }
                }
                Reply::accepted()
            }
        }
    }

    /// Notes that the configuration was read again, and whether what it says is in force now.
    pub fn reloaded(&self, is_in_force: bool) {
        self.metrics.reloaded(is_in_force, self.clock.now().as_micros() as f64 / 1e6);
    }

    /// Sweeps every so often, until it is dropped.
    pub async fn keep_sweeping(self: Arc<Self>) {
        let mut due = tokio::time::interval(SWEEP_EVERY);
        loop {
            due.tick().await;
            Arc::clone(&self).sweep().await;
        }
    }

    /// Ends what has waited too long (sessions, calls and tasks that nobody came back to), and what
    /// listens with a credential that has ended.
    pub async fn sweep(self: Arc<Self>) {
        self.sum_up_refusals(false);
        self.suspended.sweep(self.clock.elapsed());
        self.awaited.sweep(self.clock.elapsed());
        Arc::clone(&self).review().await;
        self.sweep_sessions().await;
    }
}
