//! Who is subscribed to which resource.
//!
//! One entry a client and resource. It holds a share in the subscription at the
//! server, which ends with the last share. What the rules allowed once they can forbid
//! later: a new configuration ends what it no longer allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorward_model::{CapabilityKind, Operation, ServerId, Timestamp, Verdict};
use doorward_policy::{Arguments, Inquiry, Target};
use doorward_upstream::Subscription;

use crate::mailbox::Mailbox;
use crate::snapshot::Snapshot;
use crate::standpoint::Standpoint;

/// All subscriptions of clients.
#[derive(Default)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    holders: HashMap<ServerId, HashMap<Arc<str>, Vec<Holder>>>,
}

struct Holder {
    number: u64,
    mailbox: Arc<Mailbox>,
    /// The resource in the client's words.
    offered: Arc<str>,
    standpoint: Arc<Standpoint>,
    /// Its share in the subscription at the server, as soon as that has agreed.
    share: Option<Subscription>,
}

/// One client's subscription to one resource. Ends when dropped.
#[must_use = "a subscription ends when dropped"]
pub(crate) struct Held {
    all: Arc<Subscriptions>,
    server: ServerId,
    uri: Arc<str>,
    number: u64,
}

impl Subscriptions {
    /// Enters a subscription, before the server is asked: what it says right after it has
    /// agreed is not to be lost.
    pub(crate) fn hold(
        self: &Arc<Self>,
        server: &ServerId,
        uri: &str,
        offered: &str,
        mailbox: &Arc<Mailbox>,
        standpoint: &Arc<Standpoint>,
    ) -> Held {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let uri: Arc<str> = uri.into();
        let holder = Holder {
            number,
            mailbox: Arc::clone(mailbox),
            offered: if *uri == *offered { Arc::clone(&uri) } else { offered.into() },
            standpoint: Arc::clone(standpoint),
            share: None,
        };
        let of_server = state.holders.entry(server.clone()).or_default();
        of_server.entry(Arc::clone(&uri)).or_default().push(holder);
        drop(state);
        Held { all: Arc::clone(self), server: server.clone(), uri, number }
    }

    /// Tells whoever is subscribed to it that a resource was updated.
    pub(crate) fn updated(&self, server: &ServerId, uri: &str) {
        let state = self.state();
        let holders = state.holders.get(server).and_then(|of_server| of_server.get(uri));
        for holder in holders.into_iter().flatten() {
            holder.mailbox.updated(&holder.offered);
        }
    }

    /// Whoever reads this mailbox looks from elsewhere now.
    pub(crate) fn moved(&self, mailbox: &Arc<Mailbox>, standpoint: &Arc<Standpoint>) {
        let mut state = self.state();
        let holders = state.holders.values_mut().flat_map(HashMap::values_mut).flatten();
        for holder in holders.filter(|holder| Arc::ptr_eq(&holder.mailbox, mailbox)) {
            holder.standpoint = Arc::clone(standpoint);
        }
    }

    /// Ends what the rules in force no longer allow.
    pub(crate) fn revise(&self, snapshot: &Snapshot, time: Timestamp) {
        let mut ended = Vec::new();
        let mut state = self.state();
        for (server, of_server) in &mut state.holders {
            for (uri, holders) in of_server.iter_mut() {
                let (kept, gone) = std::mem::take(holders)
                    .into_iter()
                    .partition(|holder| is_allowed(snapshot, server, uri, &holder.standpoint, time));
                *holders = kept;
                ended.extend::<Vec<_>>(gone);
            }
            of_server.retain(|_, holders| !holders.is_empty());
        }
        state.holders.retain(|_, of_server| !of_server.is_empty());
        drop(state);
        for holder in ended {
            holder.mailbox.forget(&holder.offered);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The server has agreed.
    pub(crate) fn attach(&self, share: Subscription) {
        let mut state = self.all.state();
        let holders = state.holders.get_mut(&self.server).and_then(|of_server| of_server.get_mut(&self.uri));
        if let Some(holder) = holders.into_iter().flatten().find(|holder| holder.number == self.number) {
            holder.share = Some(share);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.all.state();
        let Some(of_server) = state.holders.get_mut(&self.server) else { return };
        let Some(holders) = of_server.get_mut(&self.uri) else { return };
        let place = holders.iter().position(|holder| holder.number == self.number);
        let ended = place.map(|place| holders.swap_remove(place));
        let is_last =
            |ended: &Holder| !holders.iter().any(|other| Arc::ptr_eq(&other.mailbox, &ended.mailbox));
        let forgotten = ended.as_ref().filter(|ended| is_last(ended));
        let forgotten = forgotten.map(|ended| (Arc::clone(&ended.mailbox), Arc::clone(&ended.offered)));
        if holders.is_empty() {
            of_server.remove(&self.uri);
        }
        if of_server.is_empty() {
            state.holders.remove(&self.server);
        }
        drop(state);
        if let Some((mailbox, offered)) = forgotten {
            mailbox.forget(&offered);
        }
    }
}

/// Whether these rules would allow the subscription today.
fn is_allowed(snapshot: &Snapshot, id: &ServerId, uri: &str, from: &Standpoint, time: Timestamp) -> bool {
    let kind = CapabilityKind::Resource;
    let (Some(server), Some(facts)) = (snapshot.registry.server(id.as_str()), snapshot.server_facts(id))
    else {
        return false;
    };
    let listing = snapshot.registry.listing(id, &from.declared);
    let capability = listing.and_then(|listing| listing.named(kind, uri));
    let context = from.context(time);
    let inquiry = Inquiry {
        operation: Operation::ResourcesSubscribe,
        server: facts,
        target: Target::new(kind, uri),
        arguments: Arguments::Known(None),
        caller: &from.caller,
        definition: capability.and_then(|capability| snapshot.definition_facts(capability)),
        session: None,
        context: &context,
        limits: &[],
    };
    snapshot.reaches(&from.caller, server)
        && server.offers(kind, uri)
        && snapshot.rulebook.policy.decide(&inquiry).decision.verdict == Verdict::Allow
}
