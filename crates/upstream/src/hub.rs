//! What the parts of one server's link share: its name, its state, and where
//! news of it goes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use doorward_model::{CapabilityKind, Clock, Random, ServerId, Timestamp};
use doorward_wire::lines::{Framer, MAX_LINE};
use doorward_wire::sse::Decoder;
use tokio::sync::mpsc;

use crate::error::UpstreamError;
use crate::scrub::Scrubber;
use crate::settings::Settings;
use crate::status::{Event, State};
use crate::watch::Watch;

/// The common ground of one server's link.
pub(crate) struct Hub {
    pub(crate) server: ServerId,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pub(crate) scrubber: Arc<Scrubber>,
    /// How long the server has for a request.
    pub(crate) timeout: Duration,
    /// What a session that all calls share is opened with, once that is settled.
    capabilities: OnceLock<Box<str>>,
    /// What is subscribed to.
    pub(crate) watch: Arc<Watch>,
    is_twin: bool,
    events: mpsc::UnboundedSender<Event>,
    /// Counts everything that makes a list of capabilities stale.
    changes: AtomicU64,
    /// The kinds, a bit each, whose change was announced and not yet looked at.
    announced: AtomicU8,
    /// When the server last answered, in µs since 1970; 0 is never.
    last_ok: AtomicU64,
    health: Mutex<Health>,
    /// The state in `health` once more: each call looks at it, few change it.
    state_now: AtomicU8,
}

struct Health {
    state: State,
    /// The last thing that went wrong, until the server answers again.
    last_error: Option<String>,
    /// Since when it has answered, on the gateway's clock; `None` while it cannot be reached.
    up_since: Option<Duration>,
}

impl Hub {
    pub(crate) fn new(
        server: ServerId,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        scrubber: Arc<Scrubber>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            server,
            settings,
            clock,
            random,
            scrubber,
            timeout: Duration::from_secs(30),
            capabilities: OnceLock::new(),
            watch: Arc::default(),
            is_twin: false,
            events,
            changes: AtomicU64::new(0),
            announced: AtomicU8::new(0),
            last_ok: AtomicU64::new(0),
            health: Mutex::new(Health { state: State::Registered, last_error: None, up_since: None }),
            state_now: AtomicU8::new(State::Registered as u8),
        }
    }

    /// Turns the bytes of a stream into events.
    pub(crate) fn decoder(&self) -> Decoder {
        self.decoder_of(self.settings.max_answer)
    }

    /// The same, into events of at most so many bytes.
    pub(crate) fn decoder_of(&self, longest: usize) -> Decoder {
        let decoder = Decoder::new(longest.min(self.settings.max_answer));
        match &self.settings.egress.room {
            Some(room) => decoder.within(room),
            None => decoder,
        }
    }

    /// Turns what a child prints into lines.
    pub(crate) fn framer(&self) -> Framer {
        let framer = Framer::new(self.settings.max_answer.min(MAX_LINE));
        match &self.settings.egress.room {
            Some(room) => framer.within(room),
            None => framer,
        }
    }

    /// The same, of a server for which this is subscribed to already.
    pub(crate) fn watching(self, watch: Arc<Watch>) -> Self {
        Self { watch, ..self }
    }

    /// The same, of a server that has so long for a request.
    pub(crate) fn answering_within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The common ground of another link to the same server, opened with these
    /// capabilities. How it is doing is no news about the server; what it offers is.
    pub(crate) fn twin(&self, capabilities: &str) -> Self {
        let twin = Self::new(
            self.server.clone(),
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
            Arc::clone(&self.scrubber),
            self.events.clone(),
        );
        twin.settle(capabilities);
        Self { is_twin: true, timeout: self.timeout, ..twin }
    }

    /// A session that all calls share is opened with these capabilities from now on, unless
    /// that was settled before: whoever needs the first one gets it as it should be.
    pub(crate) fn settle(&self, capabilities: &str) {
        self.capabilities.get_or_init(|| capabilities.into());
    }

    /// What a session that all calls share is opened with: a JSON object, or empty for none.
    pub(crate) fn capabilities(&self) -> &str {
        self.capabilities.get().map_or("", |capabilities| capabilities)
    }

    pub(crate) fn state(&self) -> State {
        self.health().state
    }

    /// How long it has answered without a break.
    pub(crate) fn uptime(&self) -> Option<Duration> {
        let since = self.health().up_since?;
        Some(self.clock.elapsed().saturating_sub(since))
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.health().last_error.clone()
    }

    pub(crate) fn last_ok(&self) -> Option<Timestamp> {
        match self.last_ok.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }

    /// The server answered.
    pub(crate) fn succeeded(&self) {
        self.last_ok.store(self.clock.now().as_micros(), Ordering::Relaxed);
        self.enter(State::Connected);
    }

    /// The server did not answer as it should. What a caller did wrong is no
    /// news about the server.
    pub(crate) fn failed(&self, error: &UpstreamError) {
        let state = match error {
            UpstreamError::AuthRequired { .. } => State::AuthRequired,
            UpstreamError::Timeout { .. }
            | UpstreamError::Status { .. }
            | UpstreamError::Protocol { .. }
            | UpstreamError::TooLarge { .. } => State::Degraded,
            UpstreamError::Unreachable { .. }
            | UpstreamError::Start { .. }
            | UpstreamError::Exited { .. }
            | UpstreamError::Configuration { .. } => State::Error,
            UpstreamError::Unavailable { .. }
            | UpstreamError::NotOffered { .. }
            | UpstreamError::Refused { .. }
            | UpstreamError::Restarting { .. }
            | UpstreamError::Silent { .. }
            | UpstreamError::NoRoom { .. }
            | UpstreamError::Busy { .. } => return,
        };
        self.trouble(state, &error.in_full());
    }

    /// Enters `state` because of `what`, a text that may hold secrets.
    pub(crate) fn trouble(&self, state: State, what: &str) {
        let what = self.scrubber.scrub_text(what);
        tracing::warn!(server = %self.server, state = state.as_str(), "{what}");
        self.health().last_error = Some(what);
        self.enter(state);
    }

    pub(crate) fn enter(&self, state: State) {
        if self.state_now.load(Ordering::Relaxed) == state as u8 {
            return;
        }
        let mut health = self.health();
        // Nothing leads back from there: what a link still says is of the past.
        if health.state == state || health.state == State::Disabled {
            return;
        }
        health.state = state;
        match state {
            State::Connected => {
                health.last_error = None;
                health.up_since.get_or_insert_with(|| self.clock.elapsed());
            }
            // It is there, and has answered others.
            State::Degraded => {}
            State::Registered | State::Connecting | State::AuthRequired | State::Error | State::Disabled => {
                health.up_since = None
            }
        }
        self.state_now.store(state as u8, Ordering::Relaxed);
        drop(health);
        self.tell(Event::StateChanged(self.server.clone(), state));
    }

    /// What the server offers of this kind may have changed. Said once until
    /// somebody looks: a server that repeats itself fills no queue.
    pub(crate) fn catalog_changed(&self, kind: CapabilityKind) {
        self.invalidate();
        let bit = 1 << kind as u8;
        if self.announced.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.tell(Event::CatalogChanged(self.server.clone(), kind));
        }
    }

    /// Everything it offers may have changed, because the link was down.
    pub(crate) fn all_changed(&self) {
        for kind in [CapabilityKind::Tool, CapabilityKind::Resource, CapabilityKind::Prompt] {
            self.catalog_changed(kind);
        }
    }

    /// The stream was interrupted: whatever could be said on it may have been missed.
    pub(crate) fn interrupted(&self) {
        self.all_changed();
        for uri in self.watch.missed() {
            self.announce_update(&uri);
        }
    }

    /// The session was lost, and with it whatever was to be said in it.
    pub(crate) fn session_lost(&self) {
        self.all_changed();
        self.watch.session_lost();
    }

    /// The server says that a resource was updated. That concerns whoever subscribed
    /// to it; said once until somebody looks, as with lists.
    pub(crate) fn resource_updated(&self, uri: &str) {
        for uri in self.watch.heard(uri) {
            self.announce_update(&uri);
        }
    }

    pub(crate) fn announce_update(&self, uri: &str) {
        self.tell(Event::ResourceUpdated(self.server.clone(), uri.to_owned()));
    }

    pub(crate) fn invalidate(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that is another one after each change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// As [`changes`](Self::changes), by somebody who looks at the lists now: what
    /// changes from here on is announced again.
    pub(crate) fn changes_seen(&self) -> u64 {
        self.announced.store(0, Ordering::Release);
        self.changes()
    }

    /// The first id of a request. Replicas share sessions, in which no two requests may have
    /// the same, so they begin far apart.
    pub(crate) fn first_id(&self) -> u64 {
        if self.settings.shared.is_none() {
            return 1;
        }
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        // Below 2^53, since servers read numbers as they like.
        u64::from(u32::from_be_bytes(bytes) >> 4) << 24 | 1
    }

    /// A delay of three to five quarters of `delay`, so that those who lost the same
    /// server do not all come back at the same moment.
    pub(crate) fn jittered(&self, delay: Duration) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        delay * 3 / 4 + delay * u32::from(byte[0]) / 512
    }

    fn tell(&self, event: Event) {
        if self.is_twin && !matches!(event, Event::CatalogChanged(..)) {
            return;
        }
        // Nobody listening is the listener's choice.
        let _ = self.events.send(event);
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn a_change_is_announced_once_until_somebody_looks() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let server = ServerId::try_from("a").expect("valid");
        let fixed = Arc::new(Fixed::new(1));
        let scrubber = Arc::new(Scrubber::new([]));
        let hub = Hub::new(server.clone(), Arc::default(), fixed.clone(), fixed, scrubber, events);
        let mut count = || std::iter::from_fn(|| heard.try_recv().ok()).count();
        let before = hub.changes();
        for _ in 0..100 {
            hub.catalog_changed(CapabilityKind::Tool);
            hub.catalog_changed(CapabilityKind::Prompt);
        }
        assert_eq!(count(), 2);
        assert_ne!(hub.changes_seen(), before);
        hub.catalog_changed(CapabilityKind::Tool);
        assert_eq!(count(), 1);
    }
}
