//! Keeping the picture of what servers offer up to date.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use doorward_model::json::push_hex;
use doorward_model::{Audience, CapabilityKind, Catalog, ServerId};
use doorward_upstream::Event;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::gateway::Gateway;
use crate::news::{self, Extent};
use crate::session::news::Change;
use crate::session::replicas::Tidings;
use crate::snapshot::Snapshot;

/// Asks a server what it offers to clients that declare these capabilities, unless that is
/// known. A server that does not answer leaves the picture as it is; its status says why.
pub(crate) async fn ensure(gateway: &Arc<Gateway>, server: &ServerId, declared: &str) {
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
        runtime.spawn(async move { refresh(&gateway, &server).await });
    }
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

/// How long a list waits for a server that has let one wait in vain.
const LATE_WITHIN: Duration = Duration::from_millis(500);

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

/// The order in which servers were asked. Two answers of one server may come in any
/// order; the one that was asked for later is the newer.
#[derive(Default)]
pub(crate) struct Asking {
    asked: AtomicU64,
    /// Of each server and audience, the number of the newest answer in the picture.
    learned: Mutex<HashMap<ServerId, Learned>>,
    /// Servers that announce changes, and whether one has since they were asked last.
    announced: Mutex<HashMap<ServerId, bool>>,
    /// How many servers have taken another's place, of which the picture still is.
    replaced: AtomicUsize,
    /// Servers that somebody has waited for in vain: one that hangs delays one list, and
    /// not each of them.
    late: Mutex<HashSet<ServerId>>,
}

#[derive(Default)]
struct Learned {
    newest: Vec<(Audience, u64)>,
    /// What was asked for earlier was asked of another server with this id.
    from: u64,
    /// Whether all that is in the picture is of that other one.
    is_replaced: bool,
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
    fn is_news(&self, server: &ServerId, audience: &Audience, question: u64) -> bool {
        self.late().remove(server);
        let mut learned = self.learned();
        let Learned { newest: learned, from, .. } = learned.entry(server.clone()).or_default();
        let is_older = |(known, newest): &(Audience, u64)| known == audience && *newest > question;
        if question < *from || learned.iter().any(is_older) {
            return false;
        }
        learned.retain(|(known, _)| known != audience);
        // Of those that are long forgotten, so is the order.
        if learned.len() >= AUDIENCES {
            learned.remove(0);
        }
        learned.push((audience.clone(), question));
        true
    }

    /// These ids name other servers from now on: what their predecessors still answer is not
    /// about them, nor is what the picture has of some of them.
    pub(crate) fn replaced<'s>(&self, servers: impl Iterator<Item = (&'s ServerId, bool)>) {
        let from = self.begin();
        let mut learned = self.learned();
        for (server, is_replaced) in servers {
            learned.insert(server.clone(), Learned { newest: Vec::new(), from, is_replaced });
        }
        self.count_replaced(&learned);
    }

    /// Whether this server has taken another's place, of which the picture still is.
    pub(crate) fn is_replaced(&self, server: &ServerId) -> bool {
        self.replaced.load(Ordering::Acquire) > 0
            && self.learned().get(server).is_some_and(|learned| learned.is_replaced)
    }

    fn all_replaced(&self) -> Vec<ServerId> {
        let learned = self.learned();
        let replaced = learned.iter().filter(|(_, learned)| learned.is_replaced);
        replaced.map(|(server, _)| server.clone()).collect()
    }

    /// Everything in the picture of a server was asked for with this question.
    fn is_caught_up(&self, server: &ServerId, question: u64) {
        let mut learned = self.learned();
        if let Some(learned) = learned.get_mut(server).filter(|learned| question >= learned.from) {
            learned.is_replaced = false;
        }
        self.count_replaced(&learned);
    }

    fn count_replaced(&self, learned: &HashMap<ServerId, Learned>) {
        let count = learned.values().filter(|learned| learned.is_replaced).count();
        self.replaced.store(count, Ordering::Release);
    }

    fn learned(&self) -> MutexGuard<'_, HashMap<ServerId, Learned>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server announced a change; says whether nobody looks after its announcements yet.
    fn announced(&self, server: &ServerId) -> bool {
        self.announcements().insert(server.clone(), true).is_none()
    }

    /// Whether a server announced a change since this was asked last.
    fn is_announced(&self, server: &ServerId) -> bool {
        self.announcements().get_mut(server).is_some_and(std::mem::take)
    }

    /// Ends looking after the announcements of a server, unless there is another.
    fn is_quiet(&self, server: &ServerId) -> bool {
        let mut announced = self.announcements();
        let is_quiet = announced.get(server) != Some(&true);
        if is_quiet {
            announced.remove(server);
        }
        is_quiet
    }

    fn announcements(&self) -> MutexGuard<'_, HashMap<ServerId, bool>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how many audiences of a server the order of answers is remembered.
const AUDIENCES: usize = 32;

/// Asks a server anew what it offers to everyone whose list of it is known.
async fn refresh(gateway: &Arc<Gateway>, server: &ServerId) {
    let snapshot = gateway.snapshot();
    let known = snapshot.registry.listings(server).iter().map(|listing| match listing.audience() {
        Audience::Everybody => Arc::default(),
        Audience::Declaring(these) => Arc::clone(these),
    });
    if let Some(question) = ask(gateway, server, known.collect()).await {
        // Not before: whoever asks meanwhile is not shown the old list.
        gateway.stale().remove(server);
        gateway.asking.is_caught_up(server, question);
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
    let question = gateway.asking.begin();
    let each = declared.iter().map(|declared| gateway.upstreams.catalog(server, declared));
    let mut heard = Vec::new();
    for answer in join_all(each).await {
        match answer {
            Ok(catalog) => heard.push(catalog),
            Err(error) => {
                tracing::warn!(target: "doorward::upstream", %server, %error, "its catalog could not be read");
            }
        }
    }
    let is_whole = heard.len() == declared.len();
    if !heard.is_empty() {
        learn(gateway, server, question, heard);
    }
    is_whole.then_some(question)
}

/// Puts catalogs into the picture, and tells whose lists are different by that.
fn learn(gateway: &Arc<Gateway>, server: &ServerId, question: u64, heard: Vec<(Audience, Arc<Catalog>)>) {
    let extent = Extent::Servers(HashSet::from([server.clone()]));
    gateway.rebuild(extent, |old| {
        let mut catalogs = old.registry.catalogs().clone();
        let mut has_news = false;
        for (audience, catalog) in heard {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_that_was_asked_for_last_stays() {
        let asking = Asking::default();
        let [github, gitlab] = ["github", "gitlab"].map(|id| ServerId::try_from(id).expect("an id"));
        let (first, second, third) = (asking.begin(), asking.begin(), asking.begin());
        let (all, able) = (Audience::Everybody, Audience::Declaring("{}".into()));
        assert!(asking.is_news(&github, &all, second), "nothing was known");
        assert!(!asking.is_news(&github, &all, first), "overtaken");
        assert!(asking.is_news(&github, &able, first), "another audience has an order of its own");
        assert!(asking.is_news(&gitlab, &all, first), "and another server");
        assert!(asking.is_news(&github, &all, third));
        assert!(!asking.is_news(&github, &all, second));
        assert!(asking.is_news(&github, &all, asking.begin()));
    }

    #[test]
    fn what_another_server_of_that_name_still_says_is_not_listened_to() {
        let asking = Asking::default();
        let [github, gitlab] = ["github", "gitlab"].map(|id| ServerId::try_from(id).expect("an id"));
        let early = asking.begin();
        assert!(!asking.is_replaced(&github));
        let gitea = ServerId::try_from("gitea").expect("an id");
        asking.replaced([(&github, true), (&gitea, false)].into_iter());
        assert!(asking.is_replaced(&github) && !asking.is_replaced(&gitlab));
        assert!(!asking.is_replaced(&gitea), "nothing is known of it");
        assert!(!asking.is_news(&gitea, &Audience::Everybody, early));
        assert!(!asking.is_news(&github, &Audience::Everybody, early));
        assert!(asking.is_news(&gitlab, &Audience::Everybody, early));
        asking.is_caught_up(&github, early);
        assert!(asking.is_replaced(&github), "that was about the other one");
        let late = asking.begin();
        assert!(asking.is_news(&github, &Audience::Everybody, late));
        asking.is_caught_up(&github, late);
        assert!(!asking.is_replaced(&github) && asking.all_replaced().is_empty());
    }

    #[test]
    fn one_looks_after_a_server_that_announces_changes_until_it_is_quiet() {
        let asking = Asking::default();
        let server = ServerId::try_from("chatty").expect("an id");
        assert!(asking.announced(&server));
        assert!(asking.is_announced(&server) && !asking.is_announced(&server));
        assert!(!asking.announced(&server), "it is looked after");
        assert!(!asking.is_quiet(&server));
        assert!(asking.is_announced(&server) && asking.is_quiet(&server));
        assert!(asking.announced(&server));
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
        assert!(asking.is_news(&slow, &Audience::Everybody, asking.begin()));
        assert_eq!(asking.patience(&slow, whole), whole, "it has answered");
    }
}
