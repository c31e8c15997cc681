//! Keeping the picture of what servers offer up to date.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorward_model::{Catalog, ServerId};
use doorward_upstream::Event;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::gateway::Gateway;
use crate::news::Extent;
use crate::snapshot::Snapshot;

/// Asks a server what it offers, unless that is known. A server that does not
/// answer leaves the picture as it is; its status says why.
pub(crate) async fn ensure(gateway: &Arc<Gateway>, server: &ServerId) {
    if gateway.snapshot().registry.catalog(server).is_none() {
        refresh(gateway, server).await;
    }
}

/// Asks several servers at once, and waits no longer than this.
pub(crate) async fn ensure_all(gateway: &Arc<Gateway>, servers: Vec<ServerId>, patience: Duration) {
    if servers.is_empty() {
        return;
    }
    let asking = servers.into_iter().map(|server| {
        let gateway = Arc::clone(gateway);
        // A list that stops waiting must not stop the server from starting.
        tokio::spawn(async move { ensure(&gateway, &server).await })
    });
    // Servers that are not ready by then are missing from this list and announce
    // themselves when they are.
    let _ = tokio::time::timeout(patience, join_all(asking)).await;
}

async fn refresh(gateway: &Arc<Gateway>, server: &ServerId) {
    match gateway.upstreams.catalog(server).await {
        Ok(catalog) => learn(gateway, server, catalog),
        Err(error) => {
            tracing::warn!(target: "doorward::upstream", %server, %error, "its catalog could not be read")
        }
    }
}

/// Puts a catalog into the picture, and tells whose lists are different by that.
fn learn(gateway: &Arc<Gateway>, server: &ServerId, catalog: Arc<Catalog>) {
    let extent = Extent::Servers(HashSet::from([server.clone()]));
    gateway.rebuild(extent, |old| {
        let mut catalogs = old.registry.catalogs().clone();
        // The server may have left the configuration while it was being asked.
        if old.registry.server(server.as_str()).is_some() {
            catalogs.insert(server.clone(), catalog);
        }
        Snapshot::build(old.rulebook.clone(), catalogs)
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
