//! How soon something that failed is tried again.

use std::collections::VecDeque;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// The least that a server may ask for between two streams.
const SOONEST: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_secs(60);

/// So many crashes within [`WINDOW`] and a child is left alone for as long.
const ENOUGH: usize = 5;

/// Doubles from half a second to half a minute.
pub(crate) fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST)
}

/// How soon a stream is opened again whose server says how soon it may be: neither at once nor
/// never, whatever it says.
pub(crate) fn wanted(retry: Duration) -> Duration {
    retry.clamp(SOONEST, LONGEST)
}

/// The recent crashes of one child.
#[derive(Debug, Default)]
pub(crate) struct Crashes {
    recent: VecDeque<Duration>,
    in_a_row: u32,
}

impl Crashes {
    /// Notes a crash at `now` after the child ran for `ran`, and says how long to
    /// wait before the next start; `None` when it has crashed too often.
    pub(crate) fn note(&mut self, now: Duration, ran: Duration) -> Option<Duration> {
        if ran >= WINDOW {
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        self.recent.push_back(now);
        self.recent.retain(|at| *at + WINDOW > now);
        if self.is_too_often(now) { None } else { Some(delay(self.in_a_row)) }
    }

    /// How long from `now` until a start is allowed; zero when it is.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let Some(last) = self.recent.back() else { return Duration::ZERO };
        let until = if self.is_too_often(*last) { WINDOW } else { delay(self.in_a_row) };
        (*last + until).saturating_sub(now)
    }

    fn is_too_often(&self, now: Duration) -> bool {
        self.recent.iter().filter(|at| **at + WINDOW > now).count() >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_double_up_to_half_a_minute() {
        let delays: Vec<_> = (1..=9).map(|failures| delay(failures).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn what_a_server_wants_is_bounded() {
        for (said, heard) in [(0, 100), (99, 100), (500, 500), (30_000, 30_000), (u64::MAX, 30_000)] {
            assert_eq!(wanted(ms(said)), ms(heard));
        }
    }

    #[test]
    fn five_crashes_within_a_minute_are_enough_for_a_minute() {
        let mut crashes = Crashes::default();
        assert_eq!(crashes.wait(ms(0)), ms(0));
        assert_eq!(crashes.note(ms(1000), ms(10)), Some(ms(500)));
        assert_eq!(crashes.wait(ms(1100)), ms(400));
        assert_eq!(crashes.wait(ms(1500)), ms(0));
        for (at, expected) in [(2000, Some(1000)), (3000, Some(2000)), (5000, Some(4000)), (9000, None)] {
            assert_eq!(crashes.note(ms(at), ms(10)), expected.map(ms));
        }
        assert_eq!(crashes.wait(ms(9000)), ms(60_000));
        assert_eq!(crashes.wait(ms(69_000)), ms(0));
        assert_eq!(crashes.note(ms(200_000), ms(120_000)), Some(ms(500)), "it had run well before");
    }
}
