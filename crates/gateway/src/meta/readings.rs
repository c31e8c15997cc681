//! Who reads the log for callers, and how many at once: reading goes on when its caller has left,
//! and takes a thread that others need as well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many read at once.
const AT_ONCE: usize = 4;

/// How long it is good enough for a caller that only learns whether the log holds.
const LATELY: Duration = Duration::from_secs(10);

/// The turns to read the log.
pub(crate) struct Readings {
    turns: Arc<Semaphore>,
    verifications: Arc<Verifications>,
}

struct Verifications {
    one: Arc<Semaphore>,
    /// What the last one found, and when.
    last: Mutex<Option<(bool, Duration)>>,
}

/// A turn to read, for as long as it is held.
pub(super) struct Turn(#[allow(dead_code, reason = "held for its end")] Option<OwnedSemaphorePermit>);

/// The only turn to verify.
pub(super) struct Verification {
    of: Arc<Verifications>,
    _turn: Turn,
}

impl Default for Readings {
    fn default() -> Self {
        let one = Arc::new(Semaphore::new(1));
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            verifications: Arc::new(Verifications { one, last: Mutex::default() }),
        }
    }
}

impl Readings {
    /// Waits for a turn. Whoever leaves meanwhile has asked for nothing.
    pub(super) async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.turns).acquire_owned().await.ok())
    }

    /// The same, to verify.
    pub(super) async fn turn_to_verify(&self) -> Verification {
        let of = Arc::clone(&self.verifications);
        let _turn = Turn(Arc::clone(&of.one).acquire_owned().await.ok());
        Verification { of, _turn }
    }
}

impl Verification {
    /// What was found lately, if anything was.
    pub(super) fn lately(&self, now: Duration) -> Option<bool> {
        let last = *self.of.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(_, when)| now.saturating_sub(*when) < LATELY).map(|(is_valid, _)| is_valid)
    }

    /// Notes what was found, and ends the turn.
    pub(super) fn found(self, is_valid: bool, now: Duration) {
        *self.of.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((is_valid, now));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_verifies_and_the_others_hear_what_it_found_for_a_while() {
        let readings = Readings::default();
        let first = readings.turn_to_verify().await;
        assert_eq!(first.lately(Duration::ZERO), None);
        let waiting = readings.turn_to_verify();
        let mut waiting = std::pin::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        first.found(true, Duration::from_secs(5));
        let second = waiting.await;
        assert_eq!(second.lately(Duration::from_secs(14)), Some(true));
        assert_eq!(second.lately(Duration::from_secs(15)), None);
    }
}
