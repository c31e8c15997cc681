//! Keeping the picture of what servers offer up to date.

mod asking;

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::digest;
use doorward_model::json::push_hex;
use doorward_model::{Audience, CapabilityKind, Catalog, ServerId};
use doorward_upstream::{Event, State};
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub(crate) use asking::Asking;

use crate::gateway::Gateway;
use crate::news::{self, Extent};
use crate::session::news::Change;
use crate::session::replicas::Tidings;
use crate::snapshot::Snapshot;

/// Asks a server what it offers to clients that declare these capabilities, unless that is
/// known. A server that does not answer leaves the picture as it is; its status says why.
pub(crate) async fn ensure(gateway: &Arc<Gateway>, server: &ServerId, declared: &str) {
    // Without its secrets it is not started, and there is nobody to ask.
    let snapshot = gateway.snapshot();
    if snapshot.registry.server(server.as_str()).is_none_or(|server| !server.lacking.is_empty()) {
        return;
    }
    let is_stale = gateway.has_others && gateway.stale().contains(server);
    if is_stale || gateway.asking.is_replaced(server) {
        refresh(gateway, server).await;
    }
    if gateway.snapshot().registry.listing(server, declared).is_none() {
        ask(gateway, server, vec![declared.into()]).await;
    }
}

/// Another replica heard that the lists of a server changed: they are asked for anew, and
/// nobody is shown the old ones meanwhile.
pub(crate) fn is_stale(gateway: &Arc<Gateway>, server: &ServerId) {
    if gateway.snapshot().registry.listings(server).is_empty() {
        return;
    }
    gateway.upstreams.invalidate(server);
    gateway.stale().insert(server.clone());
    let (gateway, server) = (Arc::clone(gateway), server.clone());
    tokio::spawn(async move { refresh(&gateway, &server).await });
}

/// Asks the servers that have taken another's place what they offer, so that whoever was told of
/// the other's lists is told of theirs.
pub(crate) fn catch_up(gateway: &Arc<Gateway>, runtime: &Handle) {
    for server in gateway.asking.all_replaced() {
        let gateway = Arc::clone(gateway);
        runtime.spawn(async move {
            refresh(&gateway, &server).await;
            forget_replaced(&gateway, &[server]);
        });
    }
}

/// Takes out of the picture what others with these ids have offered, who are not there any more:
/// nobody is to be listed what no call can reach.
pub(crate) fn forget_replaced(gateway: &Arc<Gateway>, servers: &[ServerId]) {
    let replaced: Vec<_> = servers.iter().filter(|server| gateway.asking.is_replaced(server)).collect();
    if replaced.is_empty() {
        return;
    }
    let extent = Extent::Servers(replaced.iter().map(|server| (*server).clone()).collect());
    gateway.rebuild(extent, |old| {
        let mut catalogs = old.registry.catalogs().clone();
        for server in replaced {
            // Here, where pictures are made one after the other.
            let heard = gateway.asking.forgotten(server);
            catalogs.forget(server, |audience| heard.contains(audience));
        }
        Some(Snapshot::build(old.rulebook.clone(), catalogs))
    });
}

/// What the list of a server is now, for clients that declare these capabilities.
pub(crate) fn change(
    snapshot: &Snapshot,
    server: &ServerId,
    declared: &str,
    kind: CapabilityKind,
) -> Option<Change> {
    let catalog = &snapshot.registry.listing(server, declared)?.catalog;
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

/// Asks several servers at once, and waits no longer than this. Those that are not ready by
/// then are missing from this list and announce themselves when they are.
pub(crate) async fn ensure_all(
    gateway: &Arc<Gateway>,
    servers: Vec<ServerId>,
    declared: &Arc<str>,
    patience: Duration,
) {
    let each = servers.into_iter().map(|server| async move {
        let asking = {
            let (gateway, server, declared) = (Arc::clone(gateway), server.clone(), Arc::clone(declared));
            // A list that stops waiting must not stop the server from starting.
            tokio::spawn(async move { ensure(&gateway, &server, &declared).await })
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

/// Asks a server anew what it offers to everyone whose list of it is known.
async fn refresh(gateway: &Arc<Gateway>, server: &ServerId) {
    if let Some(question) = ask(gateway, server, known(&gateway.snapshot(), server)).await {
        // Not before: whoever asks meanwhile is not shown the old list.
        gateway.stale().remove(server);
        gateway.asking.is_caught_up(server, question);
    }
}

/// What those declare whose list of a server is known.
fn known(snapshot: &Snapshot, server: &ServerId) -> Vec<Arc<str>> {
    let known = snapshot.registry.listings(server).iter().map(|listing| match listing.audience() {
        Audience::Everybody => Arc::default(),
        Audience::Declaring(these) => Arc::clone(these),
    });
    known.collect()
}

/// How soon a list that is not whole is asked for again, the first time and at most.
const COMPLETE_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(300));

/// Asks a server again for as long as one of its lists is not whole: soon, and then later and
/// later. A child that was stopped is not started for that.
async fn complete(gateway: Weak<Gateway>, server: ServerId) {
    let (mut pause, most) = COMPLETE_AGAIN;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(most);
        let Some(gateway) = gateway.upgrade() else { return };
        let state = gateway.upstreams.state(&server);
        if matches!(state, Some(State::Connected | State::Degraded)) {
            ask_in(&gateway, &server, known(&gateway.snapshot(), &server), Patience::Whole).await;
        }
        let snapshot = gateway.snapshot();
        let is_partial = snapshot.registry.listings(&server).iter().any(|it| it.catalog.is_partial());
        if !is_partial {
            gateway.asking.partial().remove(&server);
            return;
        }
    }
}

/// How soon a server that goes on announcing changes is asked again, the first time and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Asks a server anew for as long as it announces changes: at once, and then later and later, as
/// there are servers that announce one whenever they are asked.
async fn keep_up(gateway: Arc<Gateway>, server: ServerId) {
    let (mut pause, most) = ASK_AGAIN;
    loop {
        if gateway.asking.is_announced(&server) {
            gateway.let_others_know(server.as_str(), Tidings::Lists);
            refresh(&gateway, &server).await;
        }
        tokio::time::sleep(pause).await;
        if gateway.asking.is_quiet(&server) {
            return;
        }
        pause = (pause * 2).min(most);
    }
}

/// Asks a server what it offers to clients that declare each of these, and learns it all at
/// once: what changed for several is one change. The number of the question, if all of it was
/// answered.
async fn ask(gateway: &Arc<Gateway>, server: &ServerId, declared: Vec<Arc<str>>) -> Option<u64> {
    let answered = ask_in(gateway, server, declared, Patience::Part).await;
    if answered.is_partial && gateway.asking.completes(server) {
        tokio::spawn(complete(Arc::downgrade(gateway), server.clone()));
    }
    answered.whole
}

/// How long an answer is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until there is a part of it that is worth showing.
    Part,
    /// Until it is whole, or has failed.
    Whole,
}

/// What came of a question.
struct Answered {
    /// Its number, if it was answered for everybody.
    whole: Option<u64>,
    /// Whether lists are missing that may be there the next time.
    is_partial: bool,
}

async fn ask_in(
    gateway: &Arc<Gateway>,
    server: &ServerId,
    declared: Vec<Arc<str>>,
    patience: Patience,
) -> Answered {
    let question = gateway.asking.begin();
    let each = declared.iter().map(|declared| async {
        match patience {
            Patience::Part => gateway.upstreams.catalog_soon(server, declared).await,
            Patience::Whole => gateway.upstreams.catalog(server, declared).await,
        }
    });
    let mut heard = Vec::new();
    for answer in join_all(each).await {
        match answer {
            Ok(catalog) => heard.push(catalog),
            Err(error) => {
                tracing::warn!(target: "doorward::upstream", %server, %error, "its catalog could not be read");
            }
        }
    }
    let whole = (heard.len() == declared.len()).then_some(question);
    let is_partial = heard.iter().any(|(_, catalog)| catalog.is_partial());
    if !heard.is_empty() {
        learn(gateway, server, question, heard);
    }
    Answered { whole, is_partial }
}

/// Puts catalogs into the picture, and tells whose lists are different by that.
fn learn(gateway: &Arc<Gateway>, server: &ServerId, question: u64, heard: Vec<(Audience, Arc<Catalog>)>) {
    let extent = Extent::Servers(HashSet::from([server.clone()]));
    gateway.rebuild(extent, |old| {
        let mut catalogs = old.registry.catalogs().clone();
        let mut has_news = false;
        let is_replaced = gateway.asking.is_replaced(server);
        for (audience, catalog) in heard {
            let catalog = match catalogs.of(server).iter().find(|(known, _)| *known == audience) {
                Some((_, earlier)) if catalog.is_partial() && !is_replaced => {
                    Arc::new(catalog.completed(earlier))
                }
                _ => catalog,
            };
            // Here, where pictures are made one after the other.
            if gateway.asking.is_news(server, &audience, question)
                && !catalogs.holds(server, &audience, &catalog)
            {
                has_news = true;
                catalogs.learn(server.clone(), audience, catalog);
            }
        }
        // The server may have left the configuration while it was being asked.
        catalogs.retain(|id| old.registry.server(id.as_str()).is_some());
        has_news.then(|| Snapshot::build(old.rulebook.clone(), catalogs))
    });
}

impl Gateway {
    /// Follows what servers report, until they are shut down.
    pub async fn follow(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::CatalogChanged(server, _) => {
                    // Only a picture that somebody has seen can be out of date.
                    if !self.snapshot().registry.listings(&server).is_empty()
                        && self.asking.announced(&server)
                    {
                        tokio::spawn(keep_up(Arc::clone(&self), server));
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
