//! In which order servers were asked what they offer, and what of the picture is out of date.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_model::{Audience, ServerId};

/// How long a list waits for a server that has let one wait in vain.
const LATE_WITHIN: Duration = Duration::from_millis(500);

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
    /// Servers whose lists are asked for again and again until they are whole.
    partial: Mutex<HashSet<ServerId>>,
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
    pub(super) fn begin(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// How long to wait for this server at most.
    pub(super) fn patience(&self, server: &ServerId, patience: Duration) -> Duration {
        if self.late().contains(server) { patience.min(LATE_WITHIN) } else { patience }
    }

    /// Somebody has waited for this server as long as lists wait.
    pub(super) fn in_vain(&self, server: ServerId) {
        self.late().insert(server);
    }

    fn late(&self) -> MutexGuard<'_, HashSet<ServerId>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer to this question is newer than any before it; then it is the
    /// one to beat.
    pub(super) fn is_news(&self, server: &ServerId, audience: &Audience, question: u64) -> bool {
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

    pub(super) fn all_replaced(&self) -> Vec<ServerId> {
        let learned = self.learned();
        let replaced = learned.iter().filter(|(_, learned)| learned.is_replaced);
        replaced.map(|(server, _)| server.clone()).collect()
    }

    /// What the other one offered is out of the picture; says to whom this one has said what it
    /// offers.
    pub(super) fn forgotten(&self, server: &ServerId) -> Vec<Audience> {
        let mut learned = self.learned();
        let heard = learned.get_mut(server).map(|learned| {
            learned.is_replaced = false;
            learned.newest.iter().map(|(audience, _)| audience.clone()).collect()
        });
        self.count_replaced(&learned);
        heard.unwrap_or_default()
    }

    /// Begins to look after what this server's lists lack; says whether nobody does yet.
    pub(super) fn completes(&self, server: &ServerId) -> bool {
        self.partial().insert(server.clone())
    }

    pub(super) fn partial(&self) -> MutexGuard<'_, HashSet<ServerId>> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything in the picture of a server was asked for with this question.
    pub(super) fn is_caught_up(&self, server: &ServerId, question: u64) {
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
    pub(super) fn announced(&self, server: &ServerId) -> bool {
        self.announcements().insert(server.clone(), true).is_none()
    }

    /// Whether a server announced a change since this was asked last.
    pub(super) fn is_announced(&self, server: &ServerId) -> bool {
        self.announcements().get_mut(server).is_some_and(std::mem::take)
    }

    /// Ends looking after the announcements of a server, unless there is another.
    pub(super) fn is_quiet(&self, server: &ServerId) -> bool {
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
