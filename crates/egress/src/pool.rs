//! Connections to one origin that wait for their next request.

use std::sync::Mutex;
use std::time::Duration;

use crate::link::Link;

/// Idle connections, the most recently used one last.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
    capacity: usize,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    /// When the connection is too old to be trusted, on the client's clock.
    until: Duration,
}

impl Pool {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), capacity }
    }

    /// The most recently used connection that is neither closed nor too old.
    pub(crate) fn take(&self, now: Duration) -> Option<Link> {
        let mut idle = self.lock();
        while let Some(mut last) = idle.pop() {
            if last.until > now && !last.link.has_ended() {
                return Some(last.link);
            }
        }
        None
    }

    /// Keeps a connection until `until`, unless enough are kept already.
    pub(crate) fn keep(&self, mut link: Link, until: Duration) {
        if link.has_ended() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.capacity {
            idle.push(Idle { link, until });
        }
    }

    /// Closes what is closed, or too old.
    pub(crate) fn prune(&self, now: Duration) {
        self.lock().retain_mut(|idle| idle.until > now && !idle.link.has_ended());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A list of connections has no invariant that a panic could have broken.
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
