//! How much of what a server says goes into the log: what it repeats without end must not
//! fill the disk.

use std::time::Duration;

/// How many lines a second go into the log.
const LOGGED_PER_SECOND: u32 = 10;

/// Counts what is logged within a second.
#[derive(Default)]
pub(crate) struct Meter {
    second: u64,
    logged: u32,
    left_out: u32,
}

impl Meter {
    /// Whether a line may be logged, and how many before it were not.
    pub(crate) fn admit(&mut self, now: Duration) -> Option<u32> {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.logged = 0;
        }
        if self.logged == LOGGED_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatter_is_counted_instead_of_logged() {
        let mut meter = Meter::default();
        let second = Duration::from_secs(1);
        let admitted = (0..100).filter(|_| meter.admit(second).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(meter.admit(second * 2), Some(90));
        assert_eq!(meter.admit(second * 2), Some(0));
    }
}
