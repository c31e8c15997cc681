//! How many refusals get an entry of their own in the log, and the count of all others.
//!
//! A refusal costs its sender little, but its entry stays in the log for ever. So within a
//! window of time, each sender gets a fixed number of entries, and so do all together. The
//! others are counted, and each window ends with one entry a sender that says how many were
//! left out and why. Memory is bounded: senders beyond a number are counted together.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_model::Clock;

/// How many entries there may be.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Time over which entries are counted.
    pub(crate) window: Duration,
    /// Entries of one sender in a window.
    pub(crate) each: u32,
    /// Entries of all senders together in a window.
    pub(crate) all: u32,
    /// Senders that are told apart in a window. The others are counted together.
    pub(crate) told_apart: usize,
}

/// The entries of one window, by sender.
pub(crate) struct Ration<K> {
    bounds: Bounds,
    window: Mutex<Window<K>>,
    clock: Arc<dyn Clock>,
}

struct Window<K> {
    began: Duration,
    entries: u32,
    senders: HashMap<K, Tally>,
    others: Tally,
}

/// What became of the refusals of one sender.
#[derive(Default)]
struct Tally {
    entries: u32,
    left_out: BTreeMap<Cow<'static, str>, u64>,
}

/// Refusals that got no entry of their own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOut<K> {
    /// Whose they were; `None` where senders were too many to tell apart.
    pub(crate) whose: Option<K>,
    /// How many, and why each was refused: `70: 69 flood, 1 unauthenticated`.
    pub(crate) detail: String,
}

impl<K: Hash + Ord> Ration<K> {
    pub(crate) fn new(bounds: Bounds, clock: &Arc<dyn Clock>) -> Self {
        let window = Mutex::new(Window::new(clock.elapsed()));
        Self { bounds, window, clock: Arc::clone(clock) }
    }

    /// Whether this refusal gets an entry of its own; if not, it is counted.
    pub(crate) fn has_entry(&self, whose: K, reason: impl Into<Cow<'static, str>>) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let Window { entries, senders, others, .. } = &mut *window;
        let tally = if senders.len() < self.bounds.told_apart || senders.contains_key(&whose) {
            senders.entry(whose).or_default()
        } else {
            others
        };
        let has = *entries < self.bounds.all && tally.entries < self.bounds.each;
        if has {
            *entries += 1;
            tally.entries += 1;
        } else {
            *tally.left_out.entry(reason.into()).or_default() += 1;
        }
        has
    }

    /// Ends the window if its time is over, or at once if nothing will follow. Yields
    /// what got no entry in it.
    pub(crate) fn end_window(&self, at_once: bool) -> Vec<LeftOut<K>> {
        let now = self.clock.elapsed();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if !at_once && now.saturating_sub(window.began) < self.bounds.window {
            return Vec::new();
        }
        let ended = std::mem::replace(&mut *window, Window::new(now));
        drop(window);
        let each = ended.senders.into_iter().map(|(whose, tally)| (Some(whose), tally));
        let mut left_out: Vec<_> = each
            .chain([(None, ended.others)])
            .filter(|(_, tally)| !tally.left_out.is_empty())
            .map(|(whose, tally)| LeftOut { whose, detail: tally.detail() })
            .collect();
        left_out.sort_by(|one, other| one.whose.cmp(&other.whose));
        left_out
    }

    /// How many senders are told apart at the moment.
    #[cfg(test)]
    pub(crate) fn senders(&self) -> usize {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).senders.len()
    }
}

impl<K> Window<K> {
    fn new(began: Duration) -> Self {
        Self { began, entries: 0, senders: HashMap::new(), others: Tally::default() }
    }
}

impl Tally {
    fn detail(&self) -> String {
        let all: u64 = self.left_out.values().sum();
        let each: Vec<_> = self.left_out.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        format!("{all}: {}", each.join(", "))
    }
}
