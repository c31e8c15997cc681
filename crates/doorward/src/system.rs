//! The real clock and the real source of chance. Everything else takes them as arguments.

use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use doorward_model::{Clock, Random, Timestamp};

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where the system's clock is read")]
impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where the system's clock is read")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The machine's cryptographic source of chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::fill(bytes).expect("the library aborts rather than run out of randomness");
    }
}
