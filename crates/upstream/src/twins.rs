//! Further links to one server, for clients with other capabilities.
//!
//! A child process, and a stream of HTTP+SSE, learns once and for all what its client
//! can be asked. So that no server asks in vain, and none holds back what it could ask,
//! clients with equal capabilities share a link and others have another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::UpstreamError;
use crate::server::Server;

/// How many there may be of one server. Few kinds of clients exist, and each is a process.
const MOST: usize = 8;

/// The further links, by the capabilities they were opened with.
#[derive(Default)]
pub(crate) struct Twins {
    all: Mutex<HashMap<Box<str>, Arc<Server>>>,
}

impl Twins {
    /// The twin for these capabilities. Where there are too many, one that nobody uses
    /// makes room.
    pub(crate) fn of(&self, server: &Server, capabilities: &str) -> Result<Arc<Server>, UpstreamError> {
        let mut all = self.lock();
        if let Some(twin) = all.get(capabilities) {
            return Ok(Arc::clone(twin));
        }
        let mut unused = None;
        if all.len() >= MOST {
            let key = all.iter().find(|(_, twin)| !twin.is_busy()).map(|(key, _)| key.clone());
            let Some(key) = key else { return Err(UpstreamError::Busy { server: server.spec.id.clone() }) };
            unused = all.remove(&key);
        }
        let twin = Arc::new(server.twin(capabilities));
        all.insert(capabilities.into(), Arc::clone(&twin));
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

    pub(crate) async fn retire(&self) {
        for twin in self.snapshot() {
            twin.retire().await;
        }
    }

    pub(crate) fn session_count(&self) -> usize {
        self.snapshot().iter().map(|twin| twin.session_count()).sum()
    }

    fn snapshot(&self) -> Vec<Arc<Server>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Server>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
