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
    /// agreed is not to be lost. From where its client looks is asked in one breath with that,
    /// so that no move is missed in between.
    pub(crate) fn hold(
        self: &Arc<Self>,
        server: &ServerId,
        uri: &str,
        offered: &str,
        mailbox: &Arc<Mailbox>,
        standpoint: impl FnOnce() -> Arc<Standpoint>,
    ) -> Held {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let uri: Arc<str> = uri.into();
        let holder = Holder {
            number,
            mailbox: Arc::clone(mailbox),
            offered: if *uri == *offered { Arc::clone(&uri) } else { offered.into() },
            standpoint: standpoint(),
            share: None,
        };
        let of_server = state.holders.entry(server.clone()).or_default();
        of_server.entry(Arc::clone(&uri)).or_default().push(holder);
        drop(state);
        Held { all: Arc::clone(self), server: server.clone(), uri, number }
    }

    /// Tells whoever is subscribed to it that a resource was updated.
    pub(crate) fn updated(&self, server: &ServerId, uri: &str) {
        let concerned: Vec<_> = {
            let state = self.state();
            let holders = state.holders.get(server).and_then(|of_server| of_server.get(uri));
            let each = holders.into_iter().flatten();
            each.map(|holder| (Arc::clone(&holder.mailbox), Arc::clone(&holder.offered))).collect()
        };
        // Apart: the session that is told may be gone with that, and end what it holds.
        for (mailbox, offered) in concerned {
            mailbox.updated(&offered);
        }
    }

    /// Whoever reads this mailbox looks from elsewhere now. What these rules do not allow from
    /// there ends; they are asked for once all who hold something know where they are, so that
    /// those that come later find them there.
    pub(crate) fn moved(
        &self,
        mailbox: &Arc<Mailbox>,
        standpoint: impl FnOnce() -> Arc<Standpoint>,
        rules: impl FnOnce() -> (Arc<Snapshot>, Timestamp),
    ) {
        let mut state = self.state();
        let standpoint = standpoint();
        let (snapshot, time) = rules();
        let ended = state.end_where(|server, uri, holder| {
            if !Arc::ptr_eq(&holder.mailbox, mailbox) {
                return false;
            }
            holder.standpoint = Arc::clone(&standpoint);
            !is_allowed(&snapshot, server, uri, &standpoint, time)
        });
        drop(state);
        forget(ended);
    }

    /// Ends what the rules in force no longer allow.
    pub(crate) fn revise(&self, snapshot: &Snapshot, time: Timestamp) {
        let is_over = |server: &ServerId, uri: &str, holder: &mut Holder| {
            !is_allowed(snapshot, server, uri, &holder.standpoint, time)
        };
        let ended = self.state().end_where(is_over);
        forget(ended);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out what is over.
    fn end_where(&mut self, mut is_over: impl FnMut(&ServerId, &str, &mut Holder) -> bool) -> Vec<Holder> {
        let mut ended = Vec::new();
        self.holders.retain(|server, of_server| {
            of_server.retain(|uri, holders| {
                ended.extend(holders.extract_if(.., |holder| is_over(server, uri, holder)));
                !holders.is_empty()
            });
            !of_server.is_empty()
        });
        ended
    }
}

/// Takes back what was noted for those that have ended. Apart, so that nothing is held while
/// servers are told.
fn forget(ended: Vec<Holder>) {
    for holder in ended {
        holder.mailbox.forget(&holder.offered);
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

    /// Ends it unless the rules in force allow it.
    pub(crate) fn revise(&self, snapshot: &Snapshot, time: Timestamp) {
        self.end_unless(|from| is_allowed(snapshot, &self.server, &self.uri, from, time));
    }

    fn end_unless(&self, is_allowed: impl Fn(&Standpoint) -> bool) {
        let mut state = self.all.state();
        let Some(of_server) = state.holders.get_mut(&self.server) else { return };
        let Some(holders) = of_server.get_mut(&self.uri) else { return };
        let is_over = |holder: &Holder| holder.number == self.number && !is_allowed(&holder.standpoint);
        let place = holders.iter().position(is_over);
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

impl Drop for Held {
    fn drop(&mut self) {
        self.end_unless(|_| false);
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::{Context, Poll, Waker};

    use doorward_model::{Caller, ClientLabel, Grant, GrantKind};

    use super::*;
    use crate::standpoint::Credential;
    use crate::surface::Surface;

    fn standpoint() -> Arc<Standpoint> {
        let grant = Grant {
            id: "ana".to_owned(),
            kind: GrantKind::Key,
            issuer: None,
            roles: Vec::new(),
            servers: None,
            scopes: Vec::new(),
            claims: Default::default(),
            expires_at: None,
            rate_limit: None,
        };
        Arc::new(Standpoint {
            caller: Arc::new(Caller { grant, person: None, agent: None }),
            credential: Credential::Elsewhere,
            surface: Surface::Aggregate,
            ip: None,
            origin: "mcp",
            client: ClientLabel::default(),
            declared: "".into(),
        })
    }

    /// Whether whoever reads this mailbox is told of an update.
    fn is_told(mailbox: &Arc<Mailbox>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(mailbox.read().poll_next(&mut cx), Poll::Ready(Some(_)))
    }

    #[test]
    fn one_subscription_is_judged_without_the_others() {
        let all = Arc::new(Subscriptions::default());
        let wiki = ServerId::try_from("wiki").expect("an id");
        let mailboxes: Vec<Arc<Mailbox>> = (0..3).map(|_| Arc::default()).collect();
        let hold = |mailbox| all.hold(&wiki, "wiki://one", "gw+wiki+wiki://one", mailbox, standpoint);
        let held: Vec<_> = mailboxes.iter().map(hold).collect();
        let judged = Cell::new(0);
        held[1].end_unless(|_| {
            judged.set(judged.get() + 1);
            false
        });
        assert_eq!(judged.get(), 1);
        all.updated(&wiki, "wiki://one");
        assert_eq!(mailboxes.iter().map(is_told).collect::<Vec<_>>(), [true, false, true]);
        held[1].end_unless(|_| panic!("it has ended"));
        drop(held);
        assert!(all.state().holders.is_empty());
    }
}
