//! How a link is opened, lost, and opened again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::{Known, PATIENCE, Server, micros};
use crate::backoff::{self, Crashes};
use crate::error::UpstreamError;
use crate::level::Told;
use crate::link::Link;
use crate::open::{self, OnEnd};
use crate::status::State;
use crate::stdio::process::End;

/// The attempts to open the link although nobody calls.
#[derive(Default)]
pub(super) struct Reopening {
    attempts: u32,
    not_before: Duration,
}

impl Server {
    /// The link, opened if need be for somebody who declares these capabilities.
    pub(super) async fn link(self: &Arc<Self>, declared: &str) -> Result<Arc<Link>, UpstreamError> {
        match self.open_link() {
            Some(link) => Ok(link),
            // On the heap: rare, and larger than all the rest of a call.
            None => Box::pin(self.link_anew(declared)).await,
        }
    }

    async fn link_anew(self: &Arc<Self>, declared: &str) -> Result<Arc<Link>, UpstreamError> {
        if self.is_retired.load(Ordering::Acquire) {
            return Err(self.unavailable());
        }
        if let Some(misfit) = self.spec.misfit() {
            return Err(misfit);
        }
        let wait = self.crashes().wait(self.hub.clock.elapsed());
        if wait > PATIENCE {
            return Err(UpstreamError::Restarting { server: self.spec.id.clone(), retry_in: wait });
        }
        self.hub.settle(declared);
        let server = Arc::clone(self);
        let opened = self.connecting.join(|| server.connect(wait, false));
        match tokio::time::timeout(self.spec.start_timeout + PATIENCE, opened).await {
            Ok(outcome) => outcome.unwrap_or_else(|| Err(self.unavailable())),
            Err(_) => Err(self.start_timed_out()),
        }
    }

    /// Opens a link after a delay. When `insisting`, tries again and again, later
    /// and later, until it is open or there have been too many crashes.
    async fn connect(
        self: Arc<Self>,
        mut delay: Duration,
        insisting: bool,
    ) -> Result<Arc<Link>, UpstreamError> {
        loop {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(link) = self.open_link() {
                return Ok(link);
            }
            if self.is_retired.load(Ordering::Acquire) {
                return Err(self.unavailable());
            }
            let error = match self.connect_once().await {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            self.hub.failed(&error);
            self.learn(None);
            // What never ran has not crashed: whoever needs it next is told the same at once.
            let has_run = self.is_child() && !matches!(error, UpstreamError::Start { .. });
            let again = has_run.then(|| self.crashes().note(self.hub.clock.elapsed(), Duration::ZERO));
            match again.flatten() {
                Some(next) if insisting => delay = next,
                _ => return Err(error),
            }
        }
    }

    async fn connect_once(self: &Arc<Self>) -> Result<Arc<Link>, UpstreamError> {
        self.hub.enter(State::Connecting);
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        // A further link is of the era of the first, whatever that is.
        let known =
            self.known().filter(|known| !known.is_makeshift || self.place != 0).map(|known| known.era);
        let opening = open::open(&self.hub, &self.client, &self.spec, &self.ring, known, self.on_end(serial));
        let (kind, handshake) = match tokio::time::timeout(self.spec.start_timeout, opening).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(self.start_timed_out()),
        };
        let now = self.hub.clock.elapsed();
        let link = Arc::new(Link {
            serial,
            since: now,
            handshake,
            kind,
            level: Told::default(),
            hub: Arc::clone(&self.hub),
            watcher: Mutex::default(),
            is_listening: AtomicBool::new(false),
        });
        self.learn(Some(Known::of(&link)));
        self.last_used.store(micros(now), Ordering::Relaxed);
        self.last_heard.store(micros(now), Ordering::Relaxed);
        self.link.store(Some(Arc::clone(&link)));
        if self.is_retired.load(Ordering::Acquire) {
            self.link.store(None);
            link.stop().await;
            return Err(self.unavailable());
        }
        // It may have ended between the handshake and now, unnoticed because it
        // was nobody's link yet.
        if link.is_closed() {
            self.take(serial);
            return Err(UpstreamError::Exited { server: self.spec.id.clone() });
        }
        if self.lists.are_known() {
            self.hub.all_changed();
        } else {
            self.hub.invalidate();
        }
        self.hub.succeeded();
        *self.reopening() = Reopening::default();
        link.watch();
        Ok(link)
    }

    /// What to do when link number `serial` ends by itself.
    fn on_end(self: &Arc<Self>, serial: u64) -> OnEnd {
        let server = Arc::downgrade(self);
        Arc::new(move |end| {
            if let Some(server) = Weak::upgrade(&server) {
                server.ended(serial, end);
            }
        })
    }

    fn ended(self: &Arc<Self>, serial: u64, end: End) {
        // A link that is not in force any more was ended on purpose.
        let (Some(link), End::Crashed(how)) = (self.take(serial), end) else { return };
        self.hub.trouble(State::Error, &how);
        if !self.is_child() {
            return;
        }
        let now = self.hub.clock.elapsed();
        let delay = self.crashes().note(now, now.saturating_sub(link.since));
        match delay {
            Some(delay) => {
                self.restarts.fetch_add(1, Ordering::Relaxed);
                let server = Arc::clone(self);
                self.connecting.begin(|| server.connect(delay, true));
            }
            None => self
                .hub
                .trouble(State::Error, "it crashed too often within a minute and is left alone for another"),
        }
    }

    /// Opens the link again although nobody calls, because somebody is subscribed.
    pub(super) fn reopen(self: &Arc<Self>) {
        let is_out = self.is_retired.load(Ordering::Acquire) || !self.spec.lacking.is_empty();
        if is_out || !self.hub.watch.is_wanted() {
            return;
        }
        let now = self.hub.clock.elapsed();
        let mut reopening = self.reopening();
        if now < reopening.not_before || !self.crashes().wait(now).is_zero() {
            return;
        }
        reopening.attempts += 1;
        reopening.not_before = now + self.hub.jittered(backoff::delay(reopening.attempts));
        drop(reopening);
        self.hub.settle("");
        let server = Arc::clone(self);
        self.connecting.begin(|| server.connect(Duration::ZERO, false));
    }

    /// The link in force, unless it is broken.
    pub(super) fn open_link(&self) -> Option<Arc<Link>> {
        self.link.load().as_ref().filter(|link| !link.is_closed()).map(Arc::clone)
    }

    /// Takes link number `serial` out of force; `None` when it no longer is.
    pub(super) fn take(&self, serial: u64) -> Option<Arc<Link>> {
        let current = self.link.load();
        let link = current.as_ref().filter(|link| link.serial == serial)?;
        let previous = self.link.compare_and_swap(&*current, None);
        previous.as_ref().filter(|previous| Arc::ptr_eq(previous, link)).map(Arc::clone)
    }

    fn start_timed_out(&self) -> UpstreamError {
        UpstreamError::Timeout { method: "initialize".into(), limit: self.spec.start_timeout }
    }

    fn reopening(&self) -> MutexGuard<'_, Reopening> {
        self.reopening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crashes(&self) -> MutexGuard<'_, Crashes> {
        self.crashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
