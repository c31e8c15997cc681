//! Keeping the picture of what servers offer up to date.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use doorward_model::json::push_hex;
use doorward_model::{CapabilityKind, Catalog, ServerId};
use doorward_upstream::Event;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::gateway::Gateway;
use crate::news::{self, Extent};
use crate::session::news::Change;
use crate::session::replicas::Tidings;
use crate::snapshot::Snapshot;

/// Asks a server what it offers, unless that is known. A server that does not
/// answer leaves the picture as it is; its status says why.
pub(crate) async fn ensure(gateway: &Arc<Gateway>, server: &ServerId) {
    let is_stale = gateway.has_others && gateway.stale().contains(server);
    if is_stale || gateway.snapshot().registry.catalog(server).is_none() {
        refresh(gateway, server).await;
    }
}

/// Another replica heard that the lists of a server changed: they are asked for anew, and
/// nobody is shown the old ones meanwhile.
pub(crate) fn is_stale(gateway: &Arc<Gateway>, server: &ServerId) {
    if gateway.snapshot().registry.catalog(server).is_none() {
        return;
    }
    gateway.upstreams.invalidate(server);
    gateway.stale().insert(server.clone());
    let (gateway, server) = (Arc::clone(gateway), server.clone());
    tokio::spawn(async move { refresh(&gateway, &server).await });
}

/// What the list of a server is now.
pub(crate) fn change(snapshot: &Snapshot, server: &ServerId, kind: CapabilityKind) -> Option<Change> {
    let catalog = snapshot.registry.catalog(server)?;
    let mut state = digest::Context::new(&digest::SHA256);
    for definition in news::kinds(kind).iter().flat_map(|kind| catalog.of(*kind)) {
        // The length keeps the end of one from passing for the start of another.
        state.update(&(definition.raw.len() as u64).to_be_bytes());
        state.update(&definition.raw);
    }
    let mut text = String::new();
    push_hex(&mut text, state.finish().as_ref());
    Some(Change { topic: format!("{server}/{}", kind.list_member()), state: text })
}

/// How long a list waits for a server that has let one wait in vain.
const LATE_WITHIN: Duration = Duration::from_millis(500);

/// Asks several servers at once, and waits no longer than this. Those that are not ready by
/// then are missing from this list and announce themselves when they are.
pub(crate) async fn ensure_all(gateway: &Arc<Gateway>, servers: Vec<ServerId>, patience: Duration) {
    let each = servers.into_iter().map(|server| async move {
        let asking = {
            let (gateway, server) = (Arc::clone(gateway), server.clone());
            // A list that stops waiting must not stop the server from starting.
            tokio::spawn(async move { ensure(&gateway, &server).await })
        };
        let asked = &gateway.asking;
        if tokio::time::timeout(asked.patience(&server, patience), asking).await.is_err()
            && patience >= gateway.settings.list_wait
        {
            asked.in_vain(server);
        }
    });
    join_all(each).await;
}

/// The order in which servers were asked. Two answers of one server may come in any
/// order; the one that was asked for later is the newer.
#[derive(Default)]
pub(crate) struct Asking {
    asked: AtomicU64,
    /// Of each server, the number of the newest answer in the picture.
    learned: Mutex<HashMap<ServerId, u64>>,
    /// Servers that somebody has waited for in vain: one that hangs delays one list, and
    /// not each of them.
    late: Mutex<HashSet<ServerId>>,
}

impl Asking {
    /// The number of a question that begins now.
    fn begin(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// How long to wait for this server at most.
    fn patience(&self, server: &ServerId, patience: Duration) -> Duration {
        if self.late().contains(server) { patience.min(LATE_WITHIN) } else { patience }
    }

    /// Somebody has waited for this server as long as lists wait.
    fn in_vain(&self, server: ServerId) {
        self.late().insert(server);
    }

    fn late(&self) -> MutexGuard<'_, HashSet<ServerId>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer to this question is newer than any before it; then it is the
    /// one to beat.
    fn is_news(&self, server: &ServerId, question: u64) -> bool {
        self.late().remove(server);
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        match learned.get_mut(server) {
            Some(newest) if *newest > question => false,
            Some(newest) => {
                *newest = question;
                true
            }
            None => {
                learned.insert(server.clone(), question);
                true
            }
        }
    }
}

async fn refresh(gateway: &Arc<Gateway>, server: &ServerId) {
    let question = gateway.asking.begin();
    match gateway.upstreams.catalog(server).await {
        Ok(catalog) => {
            learn(gateway, server, question, catalog);
            // Not before: whoever asks meanwhile is not shown the old list.
            gateway.stale().remove(server);
        }
        Err(error) => {
            tracing::warn!(target: "doorward::upstream", %server, %error, "its catalog could not be read")
        }
    }
}

/// Puts a catalog into the picture, and tells whose lists are different by that.
fn learn(gateway: &Arc<Gateway>, server: &ServerId, question: u64, catalog: Arc<Catalog>) {
    let extent = Extent::Servers(HashSet::from([server.clone()]));
    gateway.rebuild(extent, |old| {
        // Here, where pictures are made one after the other.
        if !gateway.asking.is_news(server, question) {
            return None;
        }
        let mut catalogs = old.registry.catalogs().clone();
        // The server may have left the configuration while it was being asked.
        if old.registry.server(server.as_str()).is_some() {
            catalogs.insert(server.clone(), catalog);
        }
        Some(Snapshot::build(old.rulebook.clone(), catalogs))
    });
}

impl Gateway {
    /// Follows what servers report, until they are shut down.
    pub async fn follow(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::CatalogChanged(server, _) => {
                    // Only a picture that somebody has seen can be out of date.
                    if self.snapshot().registry.catalog(&server).is_some() {
                        let gateway = Arc::clone(&self);
                        gateway.let_others_know(server.as_str(), Tidings::Lists);
                        tokio::spawn(async move { refresh(&gateway, &server).await });
                    }
                }
                Event::ResourceUpdated(server, uri) => {
                    self.upstreams.seen(&server, &uri);
                    self.subscriptions.updated(&server, &uri);
                }
                Event::StateChanged(server, state) => {
                    tracing::info!(target: "doorward::upstream", %server, state = state.as_str(), "server state");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_that_was_asked_for_last_stays() {
        let asking = Asking::default();
        let [github, gitlab] = ["github", "gitlab"].map(|id| ServerId::try_from(id).expect("an id"));
        let (first, second, third) = (asking.begin(), asking.begin(), asking.begin());
        assert!(asking.is_news(&github, second), "nothing was known");
        assert!(!asking.is_news(&github, first), "overtaken");
        assert!(asking.is_news(&gitlab, first), "another server has an order of its own");
        assert!(asking.is_news(&github, third));
        assert!(!asking.is_news(&github, second));
        assert!(asking.is_news(&github, asking.begin()));
    }

    #[test]
    fn a_server_that_hangs_delays_one_list_only_until_it_answers() {
        let asking = Asking::default();
        let [slow, other] = ["slow", "other"].map(|id| ServerId::try_from(id).expect("an id"));
        let (whole, short) = (Duration::from_secs(20), Duration::from_millis(100));
        assert_eq!(asking.patience(&slow, whole), whole);
        asking.in_vain(slow.clone());
        assert_eq!(asking.patience(&slow, whole), LATE_WITHIN);
        assert_eq!(asking.patience(&slow, short), short);
        assert_eq!(asking.patience(&other, whole), whole);
        assert!(asking.is_news(&slow, asking.begin()));
        assert_eq!(asking.patience(&slow, whole), whole, "it has answered");
    }
}
