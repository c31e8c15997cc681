//! The clock: tokens, grants and certificates end by it, and records carry it.
//!
//! No machine knows by itself whether its clock is right. What can be said: whether it goes
//! evenly, whether the log has seen later times, and what peers say who are asked anyway.

use std::time::Duration;

use doorward_model::{Clock, Timestamp};

use super::Finding;

const CHECK: &str = "clock";
const REMEDY: &str = "set it, and keep it synchronized (chrony, systemd-timesyncd)";
/// Before this program was written, no clock that shows it is right.
const EARLIEST: &str = "2026-01-01";
/// How far wall clock and steady clock may come apart while this runs.
const UNEVEN: Duration = Duration::from_millis(500);
/// Peers tell whole seconds, and take their time.
const SKEWED: Duration = Duration::from_secs(5);

/// What a peer's clock showed.
pub(super) struct Skew {
    pub(super) peer: String,
    /// What it showed.
    pub(super) theirs: Timestamp,
    /// What ours showed then.
    pub(super) ours: Timestamp,
}

/// Both clocks at one moment.
pub(super) struct Clocks {
    wall: Timestamp,
    steady: Duration,
}

impl Clocks {
    pub(super) fn start(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), steady: clock.elapsed() }
    }

    /// Judges by how the clocks went meanwhile, the log's last signature and what peers say.
    pub(super) fn finish(self, clock: &dyn Clock, signed: Option<Timestamp>, skews: &[Skew]) -> Finding {
        let now = clock.now();
        let steady = clock.elapsed().saturating_sub(self.steady);
        let expected = self.wall.plus(steady);
        if Timestamp::parse(EARLIEST).is_ok_and(|earliest| now < earliest) {
            return Finding::fail(CHECK, format!("it shows {now}, which is long past"), REMEDY);
        }
        if let Some(signed) = signed.filter(|signed| between(*signed, now) > SKEWED && *signed > now) {
            let message = format!("it shows {now}, but the log was signed at {signed} already");
            return Finding::fail(CHECK, message, REMEDY);
        }
        if between(expected, now) > UNEVEN {
            let message = format!("it was set by {} ms while this ran", between(expected, now).as_millis());
            return Finding::warn(CHECK, message, "see what sets it in leaps");
        }
        if let Some(skew) = skews.iter().find(|skew| between(skew.theirs, skew.ours) > SKEWED) {
            let (apart, peer) = (between(skew.theirs, skew.ours).as_secs(), &skew.peer);
            let message = format!("it is {apart} s from that of {peer}; one of the two is wrong");
            return Finding::warn(CHECK, message, REMEDY);
        }
        let steady = steady.as_millis();
        let peers: Vec<_> = skews.iter().map(|skew| skew.peer.as_str()).collect();
        Finding::ok(
            CHECK,
            if peers.is_empty() {
                format!(
                    "it shows {now} and went evenly for {steady} ms; nobody was asked whether it is right"
                )
            } else {
                format!("it went evenly for {steady} ms and agrees with {}", peers.join(", "))
            },
        )
    }
}

fn between(one: Timestamp, other: Timestamp) -> Duration {
    Duration::from_micros(one.as_micros().abs_diff(other.as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use std::cell::Cell;

    /// A clock whose hands are moved one by one.
    struct Hands {
        wall: std::sync::Mutex<Cell<u64>>,
    }

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.wall.lock().expect("unpoisoned").get())
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_clock_is_judged_by_what_can_be_known() {
        let start = Timestamp::parse("2026-11-21T10:00:00Z").expect("a time");
        let hands = Hands { wall: std::sync::Mutex::new(Cell::new(start.as_micros())) };
        let run = |moved: i64, signed: Option<Duration>, skew: Option<u64>| {
            hands.wall.lock().expect("unpoisoned").set(start.as_micros());
            let clocks = Clocks::start(&hands);
            let moved = start.as_micros().saturating_add_signed(moved * 1_000);
            hands.wall.lock().expect("unpoisoned").set(moved);
            let signed = signed.map(|after| start.plus(after));
            let theirs = |secs| Timestamp::from_micros(moved + secs * 1_000_000);
            let skews: Vec<_> = skew
                .map(|secs| Skew { peer: "redis".into(), theirs: theirs(secs), ours: hands.now() })
                .into_iter()
                .collect();
            clocks.finish(&hands, signed, &skews)
        };
        let cases = [
            (run(0, None, None), Status::Ok, "nobody was asked"),
            (run(0, Some(Duration::ZERO), Some(1)), Status::Ok, "agrees with redis"),
            (run(900, None, None), Status::Warn, "set by 900 ms"),
            (run(-900, None, None), Status::Warn, "set by 900 ms"),
            (run(0, Some(Duration::from_secs(60)), None), Status::Fail, "signed at"),
            (run(0, None, Some(60)), Status::Warn, "60 s from that of redis"),
            (run(-40_000_000_000, None, None), Status::Fail, "long past"),
        ];
        for (found, status, words) in cases {
            assert_eq!(found.status, status, "{found:?}");
            assert!(found.message.contains(words), "{found:?}");
        }
    }
}
