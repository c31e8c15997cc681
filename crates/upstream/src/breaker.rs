//! A circuit breaker: whoever calls a server that lets everybody wait in vain is told so at
//! once, and one call at a time finds out whether it is back.
//!
//! Only silence counts. What cannot be reached fails at once anyway, and a child that crashes
//! has its own pauses ([`Crashes`](crate::backoff::Crashes)).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// So many calls in a row without an answer in time, and the circuit opens.
const ENOUGH: u32 = 5;

/// How long after the last of them a call may try again.
const REST: Duration = Duration::from_secs(10);

/// The circuit to one server.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Calls in a row that were not answered in time.
    in_vain: AtomicU32,
    /// While it is open, when the next call may try, in µs of the gateway's clock.
    not_before: AtomicU64,
}

impl Breaker {
    /// Whether a call may be made now; if not, when to come back. The first that may while the
    /// circuit is open is the one that tries: the others wait for what comes of it.
    pub(crate) fn admit(&self, now: Duration) -> Result<(), Duration> {
        if self.in_vain.load(Ordering::Relaxed) < ENOUGH {
            return Ok(());
        }
        let not_before = self.not_before.load(Ordering::Acquire);
        let wait = Duration::from_micros(not_before).saturating_sub(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        // Should nobody ever hear of it, another one may try after the same time.
        let tries =
            self.not_before.compare_exchange(not_before, after(now), Ordering::AcqRel, Ordering::Relaxed);
        if tries.is_ok() { Ok(()) } else { Err(REST) }
    }

    /// The server answered: the circuit is closed. Yields whether it was open.
    pub(crate) fn answered(&self) -> bool {
        // A look is cheaper than a write, and nearly always enough.
        self.in_vain.load(Ordering::Relaxed) != 0 && self.in_vain.swap(0, Ordering::AcqRel) >= ENOUGH
    }

    /// A call was not answered in time. Yields whether this has opened the circuit.
    pub(crate) fn was_silent(&self, now: Duration) -> bool {
        // First the time, so that nobody sees an open circuit without one.
        self.not_before.fetch_max(after(now), Ordering::AcqRel);
        let before = self.in_vain.fetch_add(1, Ordering::AcqRel);
        before + 1 == ENOUGH
    }
}

fn after(now: Duration) -> u64 {
    u64::try_from((now + REST).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_opens_it_and_an_answer_closes_it() {
        let breaker = Breaker::default();
        for round in 1..ENOUGH {
            assert!(!breaker.was_silent(s(1)), "{round}");
            assert_eq!(breaker.admit(s(1)), Ok(()));
        }
        assert!(!breaker.answered(), "it was never open");
        for _ in 1..ENOUGH {
            assert!(!breaker.was_silent(s(2)));
        }
        assert!(breaker.was_silent(s(2)), "five in a row");
        assert_eq!(breaker.admit(s(5)), Err(s(7)));
        assert!(!breaker.was_silent(s(4)), "one that was under way: no news");
        assert_eq!(breaker.admit(s(12)), Err(s(2)), "but silence is as long as its last call");
        assert!(breaker.answered(), "one that was under way as well");
        assert_eq!(breaker.admit(s(12)), Ok(()));
    }

    #[test]
    fn one_call_at_a_time_finds_out_whether_it_is_back() {
        let breaker = Breaker::default();
        for _ in 0..ENOUGH {
            breaker.was_silent(s(0));
        }
        assert_eq!(breaker.admit(s(10)), Ok(()), "the one that tries");
        assert_eq!(breaker.admit(s(10)), Err(s(10)), "the others wait for it");
        breaker.was_silent(s(15));
        assert_eq!(breaker.admit(s(20)), Err(s(5)), "it was as before");
        assert_eq!(breaker.admit(s(25)), Ok(()));
        assert_eq!(breaker.admit(s(35)), Ok(()), "nobody heard what came of it");
        assert!(breaker.answered());
        assert_eq!((breaker.admit(s(35)), breaker.admit(s(35))), (Ok(()), Ok(())));
    }
}
