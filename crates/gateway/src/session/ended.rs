//! Which sessions have ended: their tickets still open, and must not count.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward_model::Timestamp;
use doorward_model::endings::Earlier;

/// How many are known by name. Beyond that, whatever was opened before the oldest of them
/// counts as ended.
const MOST: usize = 50_000;

/// Sessions that have ended, by when they were opened.
#[derive(Debug, Default)]
pub(super) struct Ended {
    named: BTreeSet<(u64, u128)>,
    /// What was opened by then has ended, or is known otherwise.
    before: u64,
}

impl Ended {
    /// What an earlier process knew.
    pub(super) fn known(earlier: Earlier) -> Self {
        let named = earlier.ended.iter().map(|ended| (ended.opened.as_micros(), ended.id));
        Self { named: named.collect(), before: earlier.before.as_micros() }
    }

    pub(super) fn note(&mut self, opened: Timestamp, id: &str) {
        self.named.insert((opened.as_micros(), number(id)));
        if self.named.len() > MOST
            && let Some((opened, _)) = self.named.pop_first()
        {
            // What is noted last may have been opened before all others.
            self.before = self.before.max(opened);
        }
    }

    pub(super) fn has(&self, opened: Timestamp, id: &str) -> bool {
        let opened = opened.as_micros();
        opened <= self.before || self.named.contains(&(opened, number(id)))
    }

    /// Forgets those whose tickets are too old to open.
    pub(super) fn sweep(&mut self, now: Timestamp, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        let oldest = now.as_micros().saturating_sub(longest);
        self.named = self.named.split_off(&(oldest, 0));
    }
}

/// An id is 32 hex digits, and takes less room as a number.
pub(super) fn number(id: &str) -> u128 {
    u128::from_str_radix(id, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_what_is_older_counts_as_ended() {
        let at = |second: usize| Timestamp::from_micros(second as u64);
        let mut ended = Ended::default();
        for second in 1..=MOST {
            ended.note(at(second), "a");
        }
        assert!(ended.has(at(1), "a") && !ended.has(at(1), "b"));
        ended.note(at(MOST + 1), "a");
        assert!(ended.has(at(1), "a") && ended.has(at(1), "b"), "older than all that is known");
        assert!(!ended.has(at(2), "b") && ended.has(at(MOST + 1), "a"));
        assert_eq!(ended.named.len(), MOST);
        ended.note(at(1), "c");
        assert!(ended.has(at(1), "d") && !ended.has(at(2), "b"), "and it stays so");
        ended.before = 5;
        ended.note(at(1), "c");
        assert!(ended.has(at(5), "b"), "whatever is noted later");
        ended.sweep(at(1_000_010), Duration::from_secs(1));
        assert!(!ended.named.contains(&(9, 10)) && ended.named.contains(&(10, 10)));
    }
}
