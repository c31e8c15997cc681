//! What is subscribed to at one server: which resources, on whose behalf, and what
//! has been said of them.
//!
//! Any number of holders share one subscription at the server. This is only the
//! account; the [`watcher`](crate::watcher) of each link makes it true there. The
//! account outlives links, so that whoever opens the next one knows what to renew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::error::UpstreamError;

/// Most resources subscribed to at one server.
const MOST: usize = 10_000;

/// What the server said about a resource that somebody waits to be subscribed to.
pub(crate) type Verdict = Result<(), UpstreamError>;

/// The account of one server.
pub(crate) struct Watch {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    wanted: HashMap<Arc<str>, Want>,
    /// How often a session was lost, and with it all that was subscribed to in it.
    lost: u64,
}

#[derive(Default)]
struct Want {
    holders: usize,
    /// Whether the link of the moment is subscribed to it.
    is_active: bool,
    /// Whether any link ever was: from then on, gaps are made up for.
    was_active: bool,
    /// An update was announced that nobody has looked at yet.
    is_announced: bool,
    waiting: Vec<oneshot::Sender<Verdict>>,
}

/// One holder's share in a subscription. Ends when dropped.
#[must_use = "a subscription ends when dropped"]
pub struct Subscription {
    watch: Arc<Watch>,
    uri: Arc<str>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Subscription").field(&self.uri).finish()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        let Some(want) = state.wanted.get_mut(&self.uri) else { return };
        want.holders -= 1;
        if want.holders == 0 {
            state.wanted.remove(&self.uri);
            drop(state);
            self.watch.tell();
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Watch {
    /// Takes a share in the subscription to `uri`; what the server says of it comes
    /// through the receiver. `None` when there are too many resources already.
    pub(crate) fn want(self: &Arc<Self>, uri: &str) -> Option<(Subscription, oneshot::Receiver<Verdict>)> {
        let (sender, verdict) = oneshot::channel();
        let uri: Arc<str> = uri.into();
        let mut state = self.state();
        if state.wanted.len() >= MOST && !state.wanted.contains_key(&uri) {
            return None;
        }
        let want = state.wanted.entry(Arc::clone(&uri)).or_default();
        want.holders += 1;
        if want.is_active {
            // Just made, so that the receiver is there.
            let _ = sender.send(Ok(()));
        } else {
            want.waiting.push(sender);
        }
        drop(state);
        self.tell();
        Some((Subscription { watch: Arc::clone(self), uri }, verdict))
    }

    /// Whether anything is subscribed to.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.state().wanted.is_empty()
    }

    /// Notifies of each change of the account.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Everything wanted, sorted, and whether somebody waits for the verdict.
    pub(crate) fn wanted(&self) -> Vec<(Arc<str>, bool)> {
        let state = self.state();
        let mut wanted: Vec<_> =
            state.wanted.iter().map(|(uri, want)| (Arc::clone(uri), !want.waiting.is_empty())).collect();
        wanted.sort();
        wanted
    }

    /// The link of the moment is subscribed to nothing: it is new, or its session is.
    pub(crate) fn start_over(&self) {
        self.state().wanted.values_mut().for_each(|want| want.is_active = false);
    }

    /// What the server said about `uri`. Says whether an update may have been missed
    /// in a `gap`, and is to be announced.
    pub(crate) fn settle(&self, uri: &str, verdict: &Verdict, gap: bool) -> bool {
        let mut state = self.state();
        let Some(want) = state.wanted.get_mut(uri) else { return false };
        for waiting in want.waiting.drain(..) {
            // Whoever stopped waiting has dropped its share.
            let _ = waiting.send(verdict.clone());
        }
        want.is_active = verdict.is_ok();
        let is_missed = want.is_active && want.was_active && gap && !want.is_announced;
        want.was_active |= want.is_active;
        want.is_announced |= is_missed;
        is_missed
    }

    /// The server's session is gone, with all subscriptions in it.
    pub(crate) fn session_lost(&self) {
        self.state().lost += 1;
        self.tell();
    }

    /// A number that is another one after each loss of a session.
    pub(crate) fn losses(&self) -> u64 {
        self.state().lost
    }

    /// What is to be announced when the server says that `uri` was updated: what is
    /// subscribed to, if it is that or holds it, and was not announced just before.
    pub(crate) fn heard(&self, uri: &str) -> Vec<Arc<str>> {
        let mut state = self.state();
        let concerned = state.wanted.iter_mut().filter(|(wanted, _)| is_part_of(uri, wanted));
        let mut news: Vec<_> = concerned
            .filter_map(|(wanted, want)| {
                (!std::mem::replace(&mut want.is_announced, true)).then(|| Arc::clone(wanted))
            })
            .collect();
        news.sort_by_key(|wanted| std::cmp::Reverse(wanted.len()));
        news
    }

    /// What is to be announced when anything may have been missed.
    pub(crate) fn missed(&self) -> Vec<Arc<str>> {
        let mut state = self.state();
        let due = state.wanted.iter_mut().filter(|(_, want)| want.was_active && !want.is_announced);
        let mut missed: Vec<_> = due
            .map(|(uri, want)| {
                want.is_announced = true;
                Arc::clone(uri)
            })
            .collect();
        missed.sort();
        missed
    }

    /// Somebody takes note of an announced update: the next one is announced again.
    pub(crate) fn seen(&self, uri: &str) {
        if let Some(want) = self.state().wanted.get_mut(uri) {
            want.is_announced = false;
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a URI is another one, or of a part of what that names: a server may report the change
/// of a part.
fn is_part_of(uri: &str, whole: &str) -> bool {
    let Some(rest) = uri.strip_prefix(whole).filter(|_| !whole.is_empty()) else { return false };
    rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '#', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(uris: Vec<Arc<str>>) -> String {
        uris.join(" ")
    }

    #[test]
    fn holders_share_a_subscription_until_the_last_one_leaves() {
        let watch = Arc::new(Watch::default());
        let mut changes = watch.changes();
        let (first, mut verdict) = watch.want("a:b").expect("room");
        assert!(changes.has_changed().expect("open"));
        changes.mark_unchanged();
        assert!(verdict.try_recv().is_err(), "nobody has asked the server");
        assert!(!watch.settle("a:b", &Ok(()), false), "the first time, nothing can have been missed");
        assert!(matches!(verdict.try_recv(), Ok(Ok(()))));
        let (second, mut verdict) = watch.want("a:b").expect("room");
        assert!(matches!(verdict.try_recv(), Ok(Ok(()))), "it is subscribed to already");
        drop(first);
        assert!(watch.is_wanted());
        changes.mark_unchanged();
        drop(second);
        assert!(!watch.is_wanted() && changes.has_changed().expect("open"));
        assert_eq!(names(watch.heard("a:b")), "");
    }

    #[test]
    fn an_update_is_announced_once_until_somebody_looks() {
        let watch = Arc::new(Watch::default());
        let held = ["a:b", "a:b/c", "other:x"].map(|uri| watch.want(uri).expect("room").0);
        assert_eq!(names(watch.heard("a:b/c/d")), "a:b/c a:b", "parts of what is subscribed to count");
        assert_eq!(names(watch.heard("a:b/c")), "");
        watch.seen("a:b");
        assert_eq!(names(watch.heard("a:b#part")), "a:b");
        assert_eq!(names(watch.heard("a:bc")), "");
        drop(held);
    }

    #[test]
    fn a_gap_is_made_up_for_where_there_was_something_to_miss() {
        let watch = Arc::new(Watch::default());
        let held = ["a:1", "a:2"].map(|uri| watch.want(uri).expect("room").0);
        watch.settle("a:1", &Ok(()), false);
        assert_eq!(names(watch.missed()), "a:1");
        watch.seen("a:1");
        watch.start_over();
        assert!(watch.settle("a:1", &Ok(()), true));
        assert!(!watch.settle("a:2", &Ok(()), true));
        drop(held);
    }

    #[test]
    fn what_a_uri_is_a_part_of() {
        let uri = "file:///a/b?c";
        for whole in [uri, "file:///a/b", "file:///a/", "file:///a", "file:///", "file://", "file:/", "file:"]
        {
            assert!(is_part_of(uri, whole), "{whole}");
        }
        for other in ["file:///a/b?", "file:///a/b?cd", "file:///b", "fil", "", "a"] {
            assert!(!is_part_of(uri, other), "{other}");
        }
    }

    #[test]
    fn a_uri_of_nothing_but_parts_is_heard_at_once() {
        let watch = Arc::new(Watch::default());
        let held = watch.want("a:b").expect("room");
        let uri = format!("a:b{}", "/".repeat(4 << 20));
        assert_eq!(names(watch.heard(&uri)), "a:b");
        drop(held);
    }
}
