//! Further links to one server, for clients with other capabilities.
//!
//! A child process, and a stream of HTTP+SSE, learns once and for all what its client
//! can be asked. So that no server asks in vain, and none holds back what it could ask,
//! clients with equal capabilities share a link and others have another. While a server
//! waits for an answer on one, new calls take another: on a stream that all share, the next
//! question could not be told from the first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::UpstreamError;
use crate::server::Server;

/// How many there may be of one server: each is a process.
const MOST: usize = 16;

/// The further links, each with the capabilities it was opened with.
#[derive(Default)]
pub(crate) struct Twins {
    /// How many there have been.
    serial: AtomicU64,
    all: Mutex<Vec<Arc<Server>>>,
}

impl Twins {
    /// A twin with these capabilities: the one at `place`, while it is there.
    pub(crate) fn of(
        &self,
        server: &Server,
        capabilities: &str,
        place: Option<u64>,
    ) -> Result<Arc<Server>, UpstreamError> {
        let mut all = self.lock();
        if let Some(twin) = all.iter().find(|twin| Some(twin.place) == place) {
            return Ok(Arc::clone(twin));
        }
        let has = |twin: &&Arc<Server>| twin.hub.capabilities() == capabilities;
        if let Some(twin) = all.iter().filter(has).find(|twin| !twin.is_asking()) {
            return Ok(Arc::clone(twin));
        }
        let mut unused = None;
        if all.len() >= MOST {
            let unneeded = all.iter().enumerate().filter(|(_, twin)| twin.is_unneeded());
            match unneeded.min_by_key(|(_, twin)| twin.last_used()).map(|(at, _)| at) {
                Some(at) => unused = Some(all.swap_remove(at)),
                // To be told so is better than to wait for somebody else's user, or to end what
                // somebody else is about to use.
                None => return Err(UpstreamError::Busy { server: server.spec.id.clone() }),
            }
        }
        let twin = Arc::new(server.twin(capabilities, self.serial.fetch_add(1, Ordering::Relaxed) + 1));
        all.push(Arc::clone(&twin));
        drop(all);
        if let Some(unused) = unused {
            tokio::spawn(async move { unused.retire().await });
        }
        Ok(twin)
    }

    pub(crate) fn sweep(&self) {
        for twin in self.snapshot() {
            twin.sweep();
        }
    }

    pub(crate) fn invalidate(&self) {
        for twin in self.snapshot() {
            twin.invalidate();
        }
    }

    pub(crate) fn roots_changed(&self, affinity: &str, capabilities: &str) {
        for twin in self.snapshot() {
            twin.roots_changed(affinity, capabilities);
        }
    }

    pub(crate) fn leave_streams(&self) {
        for twin in self.snapshot() {
            twin.leave_stream();
        }
    }

    pub(crate) async fn retire(&self) {
        for twin in self.snapshot() {
            twin.retire().await;
        }
    }

    pub(crate) fn session_count(&self) -> usize {
        self.snapshot().iter().map(|twin| twin.session_count()).sum()
    }

    fn snapshot(&self) -> Vec<Arc<Server>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
