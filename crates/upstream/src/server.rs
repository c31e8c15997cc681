//! One server: the calls to it, what is known of it, and the care that is taken of its link.

mod catalogs;
mod connecting;
mod extended;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use doorward_egress::Client;
use doorward_wire::Era;

use crate::backoff::Crashes;
use crate::breaker::Breaker;
use crate::call::{Answer, Call};
use crate::envelope::wants_progress;
use crate::error::UpstreamError;
use crate::flight::Flight;
use crate::hub::Hub;
use crate::link::{Kind, Link};
use crate::lists::Lists;
use crate::spec::{ServerSpec, Transport};
use crate::status::{State, Status};
use crate::stdio::stderr::Ring;
use crate::twins::Twins;
use crate::watch::Subscription;
pub(crate) use catalogs::Hurry;
use connecting::Reopening;
use extended::Patience;

/// How long a caller waits for a crashed child to be started again; beyond that
/// it is told when to come back.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a twin is kept without a call.
const TWIN_IDLE: Duration = Duration::from_secs(300);

/// What was used so lately is likely to be used again: it makes room for nobody.
pub(crate) const LATELY: Duration = Duration::from_secs(60);

/// One server and all that is known of it.
pub(crate) struct Server {
    pub(crate) spec: ServerSpec,
    /// Which of the links to one server this is; the first is 0.
    pub(crate) place: u64,
    pub(crate) hub: Arc<Hub>,
    pub(crate) ring: Arc<Ring>,
    client: Client,
    link: ArcSwapOption<Link>,
    connecting: Flight<Result<Arc<Link>, UpstreamError>>,
    lists: Lists,
    breaker: Breaker,
    crashes: Mutex<Crashes>,
    reopening: Mutex<Reopening>,
    known: Mutex<Option<Known>>,
    serials: AtomicU64,
    restarts: AtomicU32,
    in_flight: AtomicUsize,
    /// When the last call began, and when the server was last heard of, in µs.
    last_used: AtomicU64,
    last_heard: AtomicU64,
    /// Until when what a call has made is to be found again, in µs.
    kept_until: AtomicU64,
    is_checking: AtomicBool,
    is_retired: AtomicBool,
    twins: Twins,
    /// Of a twin: the last change of the first link's lists that it knows of.
    followed: AtomicU64,
}

/// What the last link has shown of the server, until that turns out to be wrong.
#[derive(Clone, Copy)]
struct Known {
    era: Era,
    /// Whether that is to be found out again when the link is opened anew.
    is_makeshift: bool,
    /// Whether it may offer something else to clients with other capabilities.
    tells_clients_apart: bool,
    /// Whether these have a link of their own.
    is_one_session: bool,
}

impl Known {
    fn of(link: &Link) -> Self {
        Self {
            era: link.era(),
            is_makeshift: link.handshake.is_makeshift(),
            tells_clients_apart: link.tells_clients_apart(),
            is_one_session: link.is_one_session(),
        }
    }
}

impl Server {
    pub(crate) fn new(spec: ServerSpec, hub: Arc<Hub>, client: Client) -> Self {
        Self {
            spec,
            place: 0,
            hub,
            ring: Arc::default(),
            client,
            link: ArcSwapOption::empty(),
            connecting: Flight::new(),
            lists: Lists::default(),
            breaker: Breaker::default(),
            crashes: Mutex::default(),
            reopening: Mutex::default(),
            known: Mutex::default(),
            serials: AtomicU64::new(1),
            restarts: AtomicU32::new(0),
            in_flight: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
            last_heard: AtomicU64::new(0),
            kept_until: AtomicU64::new(0),
            is_checking: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            twins: Twins::default(),
            followed: AtomicU64::new(0),
        }
    }

    /// Makes a call, unless the server has let too many wait in vain.
    pub(crate) async fn answer(self: &Arc<Self>, call: Call<'_>) -> Result<Answer, UpstreamError> {
        if let Err(retry_in) = self.breaker.admit(self.hub.clock.elapsed()) {
            return Err(UpstreamError::Silent { server: self.spec.id.clone(), retry_in });
        }
        // Whoever brings a time of its own waits for more than the server.
        let is_telling = call.deadline.is_none();
        let outcome = self.call(call).await;
        match &outcome {
            Ok(_) if self.breaker.answered() => tracing::info!(server = %self.spec.id, "it answers again"),
            Err(UpstreamError::Timeout { .. }) if is_telling => self.was_silent(),
            _ => {}
        }
        outcome
    }

    /// A call was not answered in time.
    pub(crate) fn was_silent(&self) {
        if self.breaker.was_silent(self.hub.clock.elapsed()) {
            let what = "it let several calls in a row wait in vain; for a while only one at a time tries";
            self.hub.trouble(State::Degraded, what);
            self.leave_stream();
            self.twins.leave_streams();
        }
    }

    /// Ends the one stream on which all answers come, which may be dead without anybody having
    /// said so: whoever tries next opens another.
    pub(crate) fn leave_stream(&self) {
        if let Some(link) = self.open_link().filter(|link| matches!(link.kind, Kind::Sse(_)))
            && let Some(silent) = self.take(link.serial)
        {
            tokio::spawn(async move { silent.stop().await });
        }
    }

    /// Makes a call, opening the link first if need be. The deadline counts from
    /// the moment there is a link.
    async fn call(self: &Arc<Self>, call: Call<'_>) -> Result<Answer, UpstreamError> {
        let _busy = Busy::enter(self);
        let link = self.link(call.capabilities).await?;
        if call.capabilities != self.hub.capabilities() && link.is_one_session() {
            let twin = self.twins.of(self, call.capabilities, call.place)?;
            // On the heap, because a call of a call has no size.
            return Box::pin(async move { twin.call(call).await }).await;
        }
        let started = self.hub.clock.elapsed();
        let limit = call.deadline.unwrap_or(self.spec.timeout);
        let outcome = match self.spec.max_timeout.filter(|max| *max > limit) {
            Some(most) if wants_progress(&call) => {
                extended::within(Patience { limit, most }, &link, call.clone()).await
            }
            _ => self.within(limit, &link, &call).await,
        };
        match outcome {
            Ok((message, status)) => {
                let now = self.hub.clock.elapsed();
                self.last_heard.store(micros(now), Ordering::Relaxed);
                if let Some(keeps) = call.keeps {
                    self.kept_until.fetch_max(micros(now + keeps), Ordering::Relaxed);
                }
                self.hub.succeeded();
                let bytes = message.bytes().len();
                let upstream_time = now.saturating_sub(started);
                let took_us = micros(upstream_time);
                tracing::debug!(server = %self.spec.id, method = call.method, took_us, bytes, status, "answered");
                Ok(Answer { message, status, bytes, upstream_time, place: self.place })
            }
            Err(error) => {
                let took_us = micros(self.hub.clock.elapsed().saturating_sub(started));
                let (method, code) = (call.method, error.code());
                tracing::debug!(server = %self.spec.id, method, took_us, code, "not answered");
                self.note(&link, &error).await;
                Err(error)
            }
        }
    }

    /// Takes a share in the subscription to a resource, once the server has agreed.
    pub(crate) async fn subscribe(self: &Arc<Self>, uri: &str) -> Result<Subscription, UpstreamError> {
        let _busy = Busy::enter(self);
        let link = self.link("").await?;
        let server = || self.spec.id.clone();
        if !link.handshake.subscribes {
            return Err(UpstreamError::NotOffered { server: server(), what: "resource subscriptions" });
        }
        let Some((subscription, verdict)) = self.hub.watch.want(uri) else {
            return Err(UpstreamError::Busy { server: server() });
        };
        match tokio::time::timeout(self.spec.timeout, verdict).await {
            Ok(verdict) => verdict.unwrap_or_else(|_| Err(self.unavailable()))?,
            Err(_) => {
                let method = "resources/subscribe".into();
                return Err(UpstreamError::Timeout { method, limit: self.spec.timeout });
            }
        }
        Ok(subscription)
    }

    /// The era of the link, as far as there is one, or of the last one.
    pub(crate) fn known_era(&self) -> Option<Era> {
        match self.link.load().as_ref() {
            Some(link) => Some(link.era()),
            None => self.known().map(|known| known.era),
        }
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.link.load().as_ref().is_some_and(|link| link.is_asking())
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Whether something that a call has made here is to be found again.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept_until.load(Ordering::Relaxed) > micros(self.hub.clock.elapsed())
    }

    /// When the last call began, on the gateway's clock.
    pub(crate) fn last_used(&self) -> Duration {
        Duration::from_micros(self.last_used.load(Ordering::Relaxed))
    }

    /// Whether nobody would miss what it has.
    pub(crate) fn is_unneeded(&self) -> bool {
        !self.is_busy() && !self.is_kept() && self.last_used() + LATELY <= self.hub.clock.elapsed()
    }

    /// This server once more, with a link of its own.
    pub(crate) fn twin(&self, capabilities: &str, place: u64) -> Self {
        let mut spec = self.spec.clone();
        // It serves fewer callers than the first, so that it is stopped earlier.
        spec.idle_timeout = Some(spec.idle_timeout.unwrap_or(TWIN_IDLE).min(TWIN_IDLE));
        let twin = Self::new(spec, Arc::new(self.hub.twin(capabilities)), self.client.clone());
        twin.learn(self.known());
        // Whoever it is made for is about to call.
        twin.last_used.store(micros(self.hub.clock.elapsed()), Ordering::Relaxed);
        Self { place, ..twin }
    }

    pub(crate) fn status(&self) -> Status {
        let link = self.link.load();
        let link = link.as_ref().filter(|link| !link.is_closed());
        Status {
            state: self.hub.state(),
            last_error: self.hub.last_error(),
            last_ok_at: self.hub.last_ok(),
            era: link.map(|link| link.era()),
            protocol_version: link.map(|link| link.handshake.revision.as_str().into()),
            pid: link.and_then(|link| link.pid()),
            uptime: self.hub.uptime().filter(|_| link.is_some()),
            restarts: self.restarts.load(Ordering::Relaxed),
        }
    }

    /// How many sessions are open with the server.
    pub(crate) fn session_count(&self) -> usize {
        self.link.load().as_ref().map_or(0, |link| link.session_count()) + self.twins.session_count()
    }

    /// Ends the sessions of one affinity.
    pub(crate) fn end(&self, affinity: &str, capabilities: &str) {
        if let Some(link) = self.open_link() {
            link.end(affinity, capabilities);
        }
    }

    /// The roots of a client have changed.
    pub(crate) fn roots_changed(&self, affinity: &str, capabilities: &str) {
        if let Some(link) = self.open_link() {
            link.roots_changed(affinity, capabilities);
        }
        self.twins.roots_changed(affinity, capabilities);
    }

    /// Looks after the link: ends what is idle, asks after what is silent.
    pub(crate) fn sweep(self: &Arc<Self>) {
        self.twins.sweep();
        let Some(link) = self.open_link() else { return self.reopen() };
        link.sweep();
        let now = self.hub.clock.elapsed();
        let since = |at: &AtomicU64| now.saturating_sub(Duration::from_micros(at.load(Ordering::Relaxed)));
        if link.pid().is_some() {
            let is_idle = self.spec.idle_timeout.is_some_and(|limit| since(&self.last_used) >= limit);
            // Whoever is subscribed to something waits for it.
            if is_idle && !self.is_kept() && !self.hub.watch.is_wanted() {
                self.stop_idle(&link);
            }
        } else if !link.is_watched()
            && self.hub.settings.health_every.is_some_and(|limit| since(&self.last_heard) >= limit)
            && !self.is_checking.swap(true, Ordering::AcqRel)
        {
            let server = Arc::clone(self);
            tokio::spawn(async move { server.check(&link).await });
        }
    }

    /// Asks whether the server still is there.
    async fn check(self: Arc<Self>, link: &Arc<Link>) {
        let method = match link.era() {
            Era::Modern => "server/discover",
            Era::Legacy => "ping",
        };
        let call = Call { method, ..Call::default() };
        match self.within(self.spec.timeout, link, &call).await {
            Ok(_) => self.hub.succeeded(),
            Err(error) => {
                self.hub.failed(&error);
                if is_another(&error)
                    && let Some(stale) = self.take(link.serial)
                {
                    self.learn(None);
                    tokio::spawn(async move { stale.stop().await });
                }
            }
        }
        self.last_heard.store(micros(self.hub.clock.elapsed()), Ordering::Relaxed);
        self.is_checking.store(false, Ordering::Release);
    }

    /// Takes the server out of service for good and ends its link.
    pub(crate) async fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        self.hub.enter(State::Disabled);
        Box::pin(self.twins.retire()).await;
        // A link that is being opened right now sees that the server is retired.
        if let Some(link) = self.link.swap(None) {
            link.stop().await;
        }
    }

    async fn within(
        &self,
        limit: Duration,
        link: &Link,
        call: &Call<'_>,
    ) -> Result<(doorward_model::json::Document, Option<u16>), UpstreamError> {
        match tokio::time::timeout(limit, link.call(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UpstreamError::Timeout { method: call.method.to_owned().into(), limit }),
        }
    }

    /// Draws the consequences of a failed request. What one caller was told may be about what that
    /// caller has sent: whether the server has become another one, it is asked in the gateway's
    /// own name. Waits for that a little, so that the next caller finds out anew.
    async fn note(self: &Arc<Self>, link: &Arc<Link>, error: &UpstreamError) {
        self.hub.failed(error);
        if is_another(error) && !self.is_checking.swap(true, Ordering::AcqRel) {
            let (server, link) = (Arc::clone(self), Arc::clone(link));
            let checked = tokio::spawn(async move { server.check(&link).await });
            let _ = tokio::time::timeout(PATIENCE, checked).await;
        }
    }

    fn stop_idle(self: &Arc<Self>, link: &Arc<Link>) {
        let Some(taken) = self.take(link.serial) else { return };
        // Somebody may have got hold of the link just before it was taken.
        if self.is_busy() {
            self.link.store(Some(taken));
            return;
        }
        self.hub.enter(State::Registered);
        tokio::spawn(async move { taken.stop().await });
    }

    fn learn(&self, known: Option<Known>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn known(&self) -> Option<Known> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_child(&self) -> bool {
        matches!(self.spec.transport, Transport::Stdio { .. })
    }

    fn unavailable(&self) -> UpstreamError {
        UpstreamError::Unavailable { server: self.spec.id.clone() }
    }
}

/// Whether this is a status that no server of an era gives to a proper request of that era: it may
/// have become another server.
fn is_another(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Status { status: 400 | 404 | 405, .. })
}

/// Counts a request for as long as it lives.
struct Busy<'a>(&'a Server);

impl<'a> Busy<'a> {
    fn enter(server: &'a Server) -> Self {
        server.in_flight.fetch_add(1, Ordering::AcqRel);
        server.last_used.store(micros(server.hub.clock.elapsed()), Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
