//! Whose lists have changed.
//!
//! Whatever changes the world (a server that offers something else, a configuration)
//! leaves a step: how it was before and after. A moment later, everybody's lists before
//! and after are compared, and those are told who were listed something else. All steps
//! of a burst are told of at once, each kind of list once.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_model::{Caller, CapabilityKind, ClientLabel, ServerId, Timestamp};
use doorward_wire::reply;

use crate::catalogs;
use crate::gateway::Gateway;
use crate::mailbox::{LISTS, changed_method};
use crate::session::news::Change;
use crate::snapshot::Snapshot;
use crate::standpoint::Standpoint;
use crate::streams::Wants;
use crate::surface::Surface;
use crate::view::View;

/// How long changes are gathered before anybody is told.
const GATHER: Duration = Duration::from_millis(50);

/// The steps that nobody has been told of yet.
#[derive(Default)]
pub(crate) struct Unsaid {
    steps: Mutex<Vec<Step>>,
    /// How many steps there ever were.
    count: AtomicU64,
}

/// One change of the world. Each is looked at by itself: who asked in between has seen
/// what was there only then.
struct Step {
    number: u64,
    before: Arc<Snapshot>,
    after: Arc<Snapshot>,
    extent: Extent,
}

/// What may be different.
pub(crate) enum Extent {
    /// What these servers offer.
    Servers(HashSet<ServerId>),
    /// Anything.
    All,
}

impl Extent {
    fn holds(&self, server: &ServerId) -> bool {
        match self {
            Self::Servers(these) => these.contains(server),
            Self::All => true,
        }
    }
}

impl Gateway {
    /// The number of the last step: who comes now was there for none of those before.
    pub(crate) fn steps(&self) -> u64 {
        self.unsaid.count.load(Ordering::Acquire)
    }

    /// Tells everybody whose lists are different by this step, soon. Steps come in order.
    pub(crate) fn stepped(self: &Arc<Self>, before: Arc<Snapshot>, after: Arc<Snapshot>, extent: Extent) {
        // Without a runtime nobody can be listening.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut unsaid = self.unsaid.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.unsaid.count.fetch_add(1, Ordering::AcqRel) + 1;
        unsaid.push(Step { number, before, after, extent });
        if unsaid.len() > 1 {
            return;
        }
        drop(unsaid);
        // A gateway that is stopped is not kept for the sake of its news.
        let gateway = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep(GATHER).await;
            let Some(gateway) = gateway.upgrade() else { return };
            let steps =
                std::mem::take(&mut *gateway.unsaid.steps.lock().unwrap_or_else(PoisonError::into_inner));
            let comparing = Arc::clone(&gateway);
            let compared = tokio::task::spawn_blocking(move || comparing.tell(&steps)).await;
            // Servers that have come into view announce themselves once they are known.
            for (declared, servers) in compared.unwrap_or_default() {
                catalogs::ensure_all(&gateway, servers, &declared, gateway.settings.start_wait).await;
            }
        });
    }

    /// Tells whom it concerns; returns the servers that have come into somebody's view and
    /// were never asked what they offer to clients that declare what that one does.
    fn tell(&self, steps: &[Step]) -> HashMap<Arc<str>, Vec<ServerId>> {
        let mut comparison =
            Comparison { steps, time: self.clock.now(), known: HashMap::new(), unknown: HashMap::new() };
        for listener in self.streams.all() {
            if listener.wants.any() {
                let changed =
                    comparison.changed(&listener.standpoint, listener.wants, listener.mailbox.since());
                if !changed.is_empty() {
                    listener.mailbox.changed(changed);
                }
            }
        }
        for session in self.sessions.all() {
            let standpoint = session.standpoint();
            for kind in comparison.changed(&standpoint, Wants::ALL, session.news.since()) {
                let change = comparison.change(&standpoint, kind, session.news.since());
                let message = reply::notification(changed_method(kind), None);
                self.tell_session(&session, message, change.map(Arc::new).as_ref());
            }
        }
        comparison.unknown
    }
}

/// What of everybody's lists is different.
struct Comparison<'a> {
    steps: &'a [Step],
    time: Timestamp,
    /// Those who stand at one place have one view.
    known: HashMap<Spot, [bool; 3]>,
    unknown: HashMap<Arc<str>, Vec<ServerId>>,
}

/// A standpoint, for comparison. A caller is the same if it is the same object, which
/// the cache of credentials makes it for most.
#[derive(PartialEq, Eq, Hash)]
struct Spot {
    /// The first step that it was there for.
    first: usize,
    caller: *const Caller,
    surface: Surface,
    ip: Option<IpAddr>,
    origin: &'static str,
    client: ClientLabel,
    declared: Arc<str>,
}

impl Comparison<'_> {
    /// The kinds whose lists look different from here, of those that are wanted.
    fn changed(&mut self, standpoint: &Standpoint, wants: Wants, since: u64) -> Vec<CapabilityKind> {
        if standpoint.surface == Surface::Gateway {
            return Vec::new();
        }
        let first = self.steps.partition_point(|step| step.number <= since);
        let spot = Spot {
            first,
            caller: Arc::as_ptr(&standpoint.caller),
            surface: standpoint.surface.clone(),
            ip: standpoint.ip,
            origin: standpoint.origin,
            client: standpoint.client.clone(),
            declared: Arc::clone(&standpoint.declared),
        };
        let differs = match self.known.get(&spot) {
            Some(differs) => *differs,
            None => {
                let differs = self.compare(standpoint, first);
                self.known.insert(spot, differs);
                differs
            }
        };
        let changed = LISTS.into_iter().zip(differs).filter(|(kind, differs)| *differs && wants.hears(*kind));
        changed.map(|(kind, _)| kind).collect()
    }

    /// What changed, as every replica sees it; `None` where that depends on more than on what
    /// servers offer.
    fn change(&self, standpoint: &Standpoint, kind: CapabilityKind, since: u64) -> Option<Change> {
        let first = self.steps.partition_point(|step| step.number <= since);
        let steps = self.steps.get(first..)?;
        let mut servers = Vec::new();
        for step in steps {
            let Extent::Servers(these) = &step.extent else { return None };
            servers.extend(these);
        }
        servers.sort();
        servers.dedup();
        let after = &steps.last()?.after;
        let declared = &standpoint.declared;
        let changes: Vec<_> =
            servers.iter().filter_map(|server| catalogs::change(after, server, declared, kind)).collect();
        let topics: Vec<_> = changes.iter().map(|change| &*change.topic).collect();
        let states: Vec<_> = changes.iter().map(|change| &*change.state).collect();
        Some(Change { topic: topics.join(" "), state: states.join(" ") })
    }

    fn compare(&mut self, standpoint: &Standpoint, first: usize) -> [bool; 3] {
        let mut differs = [false; 3];
        for step in self.steps.iter().skip(first) {
            let before = View::from(standpoint, &step.before, self.time);
            let after = View::from(standpoint, &step.after, self.time);
            let seen: HashSet<_> = before.servers().map(|server| &server.id).collect();
            for server in after.servers() {
                let declared = &standpoint.declared;
                if !seen.contains(&server.id) && step.after.registry.listing(&server.id, declared).is_none() {
                    let unknown = self.unknown.entry(Arc::clone(declared)).or_default();
                    if !unknown.contains(&server.id) {
                        unknown.push(server.id.clone());
                    }
                }
            }
            // What the gateway has only forgotten is as it was, as far as anybody knows.
            let is_concerned = |server: &ServerId| {
                let is_known =
                    |snapshot: &Snapshot| snapshot.registry.listing(server, &standpoint.declared).is_some();
                let is_gone = step.after.registry.server(server.as_str()).is_none();
                step.extent.holds(server) && (is_gone || is_known(&step.after) || !is_known(&step.before))
            };
            for (kind, differs) in LISTS.into_iter().zip(&mut differs) {
                *differs |= kinds(kind).iter().any(|kind| {
                    !listed(&before, &is_concerned, *kind).eq(listed(&after, &is_concerned, *kind))
                });
            }
        }
        differs
    }
}

/// The kinds whose lists look different from two standpoints on one world.
pub(crate) fn told_apart(
    one: &Standpoint,
    other: &Standpoint,
    snapshot: &Snapshot,
    time: Timestamp,
) -> Vec<CapabilityKind> {
    if one.surface == Surface::Gateway {
        return Vec::new();
    }
    let (one, other) = (View::from(one, snapshot, time), View::from(other, snapshot, time));
    let all = |_: &ServerId| true;
    let differs = |kind: &CapabilityKind| {
        kinds(*kind).iter().any(|kind| !listed(&one, &all, *kind).eq(listed(&other, &all, *kind)))
    };
    LISTS.into_iter().filter(differs).collect()
}

/// What one notification is about.
pub(crate) fn kinds(kind: CapabilityKind) -> &'static [CapabilityKind] {
    match kind {
        CapabilityKind::Tool => &[CapabilityKind::Tool],
        CapabilityKind::Prompt => &[CapabilityKind::Prompt],
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => {
            &[CapabilityKind::Resource, CapabilityKind::ResourceTemplate]
        }
    }
}

/// What is listed of the servers that are concerned.
fn listed<'v>(
    view: &'v View<'v>,
    is_concerned: &'v impl Fn(&ServerId) -> bool,
    kind: CapabilityKind,
) -> impl Iterator<Item = (&'v ServerId, &'v str, &'v [u8])> {
    let servers = view.servers().filter(|server| is_concerned(&server.id));
    servers.flat_map(move |server| {
        let listed = view.of_server(server, kind);
        listed.map(|listed| (&listed.server.id, &*listed.exposed, &*listed.raw))
    })
}
