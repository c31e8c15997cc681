//! Connections to one origin that wait for their next request.

use std::sync::Mutex;
use std::time::Duration;

use crate::connect::Sender;

/// Idle connections, the most recently used one last.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
    capacity: usize,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    /// When the connection is too old to be trusted, on the client's clock.
    until: Duration,
}

impl Pool {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), capacity }
    }

    /// The most recently used connection that is neither closed nor too old.
    pub(crate) fn take(&self, now: Duration) -> Option<Sender> {
        let mut idle = self.lock();
        while let Some(last) = idle.pop() {
            if last.until > now && !last.sender.is_closed() {
                return Some(last.sender);
            }
        }
        None
    }

    /// Keeps a connection until `until`, unless enough are kept already.
    pub(crate) fn keep(&self, sender: Sender, until: Duration) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.capacity {
            idle.push(Idle { sender, until });
        }
    }

    /// Closes what is closed, or too old.
    pub(crate) fn prune(&self, now: Duration) {
        self.lock().retain(|idle| idle.until > now && !idle.sender.is_closed());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A list of connections has no invariant that a panic could have broken.
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
