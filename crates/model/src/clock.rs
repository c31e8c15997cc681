//! Time and chance as arguments, so that a test moves both by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Timestamp;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time, UTC.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point, never running backwards: for durations.
    fn elapsed(&self) -> Duration;
}

/// Where unpredictable bytes come from.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`. Must be cryptographically strong outside tests.
    fn fill(&self, bytes: &mut [u8]);
}

/// A clock and a source of chance for tests: moved by hand, the same each run.
#[derive(Debug)]
pub struct Fixed {
    micros: AtomicU64,
    state: AtomicU64,
}

impl Fixed {
    /// Starts at 2026-11-21T10:00:00Z; `seed` fixes every byte drawn.
    pub fn new(seed: u64) -> Self {
        Self { micros: AtomicU64::new(1_795_255_200_000_000), state: AtomicU64::new(seed) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

impl Random for Fixed {
    /// SplitMix64: repeatable, and good for nothing but tests.
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let drawn = (z ^ (z >> 31)).to_be_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}
