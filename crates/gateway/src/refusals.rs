//! What known callers are refused: how much of it gets an entry of its own in the log, and
//! the sums of the rest.
//!
//! A caller that tries again and again fills no disk with it. The first refusals of each
//! minute are recorded as ever; the others are only counted, and once a minute one entry says
//! how many there were, of whom, and why. A call that is let through is always recorded.

use std::sync::Arc;
use std::time::Duration;

use doorward_ledger::EventRecord;
use doorward_model::{Caller, Clock};

use crate::gateway::Gateway;
use crate::ration::{Bounds, Ration};
use crate::session::principal;

/// At 900 bytes an entry, one caller fills no more than 52 MB a day.
const ENTRIES: Bounds = Bounds { window: Duration::from_secs(60), each: 40, all: 1_000, told_apart: 1_024 };

/// The reason of the entry that sums up.
const LEFT_OUT: &str = "calls_left_out";

/// The refusals of known callers.
pub(crate) struct Refusals {
    /// Whether every one is recorded.
    all: bool,
    entries: Ration<Whose>,
}

/// A caller, and the name that people know it by.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Whose {
    consumer: String,
    principal: String,
}

impl Refusals {
    pub(crate) fn new(all: bool, clock: &Arc<dyn Clock>) -> Self {
        Self { all, entries: Ration::new(ENTRIES, clock) }
    }

    /// Whether this refused call gets an entry of its own; if not, it is counted under `reason`.
    pub(crate) fn is_recorded(&self, caller: &Caller, reason: String) -> bool {
        self.all || self.has_entry(caller, reason)
    }

    /// The same for what is no call.
    pub(crate) fn has_entry(&self, caller: &Caller, reason: String) -> bool {
        let whose = Whose { consumer: caller.consumer().to_owned(), principal: principal(caller) };
        self.entries.has_entry(whose, reason)
    }
}

/// Leaves one entry for each caller whose refusals did not all get their own, if their time is
/// over, or at once if nothing will follow.
pub(crate) fn sum_up(gateway: &Gateway, at_once: bool) {
    for left_out in gateway.refusals.entries.end_window(at_once) {
        let consumer = left_out.whose.map_or("other callers".into(), |whose| format!("{:?}", whose.consumer));
        let detail = format!("{consumer}: {}", left_out.detail);
        gateway.refused(EventRecord { reason: LEFT_OUT, detail: Some(&detail), ..EventRecord::default() });
    }
}

#[cfg(test)]
mod tests {
    use crate::callers::caller;
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn each_caller_has_entries_of_its_own_and_the_rest_is_summed_up_by_caller_and_reason() {
        let fixed = Arc::new(Fixed::new(1));
        let clock: Arc<dyn Clock> = fixed.clone();
        let refusals = Refusals::new(false, &clock);
        let (one, other) = (caller("one"), caller("other"));
        let entries = |caller: &Caller, reason: &str, count| {
            (0..count).filter(|_| refusals.is_recorded(caller, reason.to_owned())).count()
        };
        assert_eq!(entries(&one, "denied on github", 30), 30);
        assert_eq!(entries(&one, "rate_limited on github", 170), 10);
        assert_eq!(entries(&one, "denied on github", 5), 0);
        assert_eq!(entries(&other, "hidden", 40), 40, "another caller");
        fixed.advance(Duration::from_secs(59));
        assert_eq!(refusals.entries.end_window(false), []);
        fixed.advance(Duration::from_secs(1));
        let left_out = refusals.entries.end_window(false);
        let told: Vec<_> = left_out.iter().map(|left_out| left_out.detail.as_str()).collect();
        assert_eq!(told, ["165: 5 denied on github, 160 rate_limited on github"]);
        assert_eq!(entries(&one, "hidden", 1), 1, "a new minute");
    }
}
