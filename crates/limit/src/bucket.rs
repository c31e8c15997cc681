//! One token bucket, as a single number: the generic cell rate algorithm.
//!
//! The number is the time at which the bucket will be full again. Taking a unit
//! moves it one interval into the future; a call that would move it further than
//! `burst` intervals ahead of now has to wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How fast a bucket refills, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Time for one unit.
    pub interval: u64,
    /// Units that fit.
    pub burst: u64,
}

impl Pace {
    pub(crate) fn new(max: u32, period: Duration, burst: u32) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self { interval: (period / u64::from(max.max(1))).max(1), burst: u64::from(burst.max(1)) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a unit, or says how long there will be none.
    pub(crate) fn take(&self, pace: Pace, now: u64) -> Result<(), Duration> {
        let ahead = pace.interval.saturating_mul(pace.burst);
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = seen.max(now).saturating_add(pace.interval);
            if next.saturating_sub(now) > ahead {
                return Err(Duration::from_nanos(next - now - ahead));
            }
            match self.full_at.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }

    /// Puts a unit back that was taken for a call another limit refused.
    pub(crate) fn give_back(&self, pace: Pace) {
        // The only error is that the closure declined, and it never does.
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(full_at.saturating_sub(pace.interval)));
    }

    /// Whether nothing is missing: such a bucket need not be remembered.
    pub(crate) fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }

    pub(crate) fn full_at(&self) -> u64 {
        self.full_at.load(Ordering::Relaxed)
    }
}
