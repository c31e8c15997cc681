//! The real clock and the real source of chance. Everything else takes them as arguments.

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use doorward_model::{Clock, Random, Timestamp};

/// Keeps the memory of this process, which holds keys and other people's data, out of core dumps
/// and from other processes of the same user. What it starts makes no core dumps either, as the
/// secrets of servers stand in their environment.
///
/// # Errors
/// When the system refuses.
pub fn keep_memory_private() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

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

/// Bytes drawn at once: the library's work is by the draw, not by the byte, and each
/// call takes ten.
const DRAWN: usize = 256;

thread_local! {
    /// Drawn and not handed out, behind the number of those that were.
    static STORE: RefCell<(usize, [u8; DRAWN])> = const { RefCell::new((DRAWN, [0; DRAWN])) };
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let draw = |bytes: &mut [u8]| {
            rand::fill(bytes).expect("the library aborts rather than run out of randomness");
        };
        // What becomes a key never lies about in a store.
        if bytes.len() > 16 {
            return draw(bytes);
        }
        STORE.with_borrow_mut(|(used, store)| {
            if *used + bytes.len() > DRAWN {
                draw(store);
                *used = 0;
            }
            let next = &mut store[*used..*used + bytes.len()];
            bytes.copy_from_slice(next);
            next.fill(0);
            *used += bytes.len();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_is_handed_out_twice() {
        let draws: BTreeSet<[u8; 10]> = (0..1_000)
            .map(|_| {
                let mut bytes = [0; 10];
                SystemRandom.fill(&mut bytes);
                bytes
            })
            .collect();
        assert_eq!(draws.len(), 1_000);
        assert!(!draws.contains(&[0; 10]));
    }
}
