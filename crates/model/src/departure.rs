//! The moment from which a call may have been done.

use std::sync::atomic::{AtomicU8, Ordering};

const HERE: u8 = 0;
const LEFT: u8 = 1;
const CALLED_OFF: u8 = 2;

/// Whether a request has begun to leave for its server. Settled once: either it leaves, or it
/// is called off and then never does, whoever asks first and from wherever.
#[derive(Debug, Default)]
pub struct Departure(AtomicU8);

impl Departure {
    /// The request begins to leave now, or has before. If not, it was called off, and must not.
    #[must_use = "what was called off must not be sent"]
    pub fn leave(&self) -> bool {
        self.settle(LEFT)
    }

    /// From now on it does not leave. If not, it has left.
    #[must_use = "it may have left before"]
    pub fn call_off(&self) -> bool {
        self.settle(CALLED_OFF)
    }

    fn settle(&self, end: u8) -> bool {
        match self.0.compare_exchange(HERE, end, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(settled) => settled == end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_or_it_does_not() {
        let departure = Departure::default();
        assert!(departure.leave() && departure.leave() && !departure.call_off());
        let departure = Departure::default();
        assert!(departure.call_off() && departure.call_off() && !departure.leave());
    }
}
