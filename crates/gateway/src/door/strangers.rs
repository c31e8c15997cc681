//! Requests turned away before any decision: how many of them an address may make, and
//! how many of them get an entry of their own in the log.
//!
//! A request that is refused costs little; its entry in the log stays for ever, and
//! looking at a credential may cost a signature check. So both are rationed by address
//! (of IPv6 by the network of 64 bits, all of which one host has).
//!
//! Credentials that open nothing are counted apart from everything else that is
//! refused. Only they can exhaust the allowance for credentials: a page in a browser,
//! which sends requests from its user's own address but no credential, locks nobody out.
//! When that allowance is used up, credentials from the address are not looked at, with
//! one exception: where somebody came in within the last ten minutes, whoever is known
//! by heart still comes in, at the price of one hash. So a neighbour behind the same
//! address, or a program gone wrong on the same machine, does not lock out those who work
//! from there. What remains: a caller's first request from an address that is being
//! abused at that moment, and a token that was not seen for a minute, wait until the
//! abuse stops; and from an address with regulars, keys can be guessed as fast as they
//! can be sent. Keys made by `doorward keys create` have 256 random bits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use doorward_limit::{Exceeded, Flood, Regulars, network};
use doorward_model::Clock;

use crate::ration::{Bounds, LeftOut, Ration};

/// Refusals a second that an address may go on with. A client that lost its key and
/// tries again stays far below.
const PER_SECOND: u32 = 20;
/// Refusals at once: a page of tools, each trying its old key when the key has changed.
const BURST: u32 = 60;
/// How long an address counts as one from which somebody came in.
const REGULAR_FOR: Duration = Duration::from_secs(600);
/// At 250 bytes an entry, one stranger fills no more than 50 MB a day.
const ENTRIES: Bounds = Bounds { window: Duration::from_secs(10), each: 20, all: 500, told_apart: 256 };

/// What is remembered of those who were turned away.
pub(crate) struct Strangers {
    /// Refused before any credential mattered: wrong place, or nothing presented.
    requests: Flood,
    /// Credentials that opened nothing.
    credentials: Flood,
    regulars: Regulars,
    entries: Ration<IpAddr>,
}

impl Strangers {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            requests: Flood::new(PER_SECOND, BURST, Arc::clone(clock)),
            credentials: Flood::new(PER_SECOND, BURST, Arc::clone(clock)),
            regulars: Regulars::new(REGULAR_FOR, Arc::clone(clock)),
            entries: Ration::new(ENTRIES, clock),
        }
    }

    /// Counts a request that is refused whatever credential it has.
    ///
    /// # Errors
    /// [`Exceeded`] when the address had too many of them.
    pub(crate) fn refused(&self, ip: IpAddr) -> Result<(), Exceeded> {
        self.requests.take(ip)
    }

    /// Counts a credential that opened nothing.
    ///
    /// # Errors
    /// [`Exceeded`] when the address had too many of them.
    pub(crate) fn unknown(&self, ip: IpAddr) -> Result<(), Exceeded> {
        self.credentials.take(ip)
    }

    /// Whether credentials from this address are looked at.
    ///
    /// # Errors
    /// [`Exceeded`] when too many opened nothing.
    pub(crate) fn may_present(&self, ip: IpAddr) -> Result<(), Exceeded> {
        self.credentials.check(ip)
    }

    /// Somebody came in from here.
    pub(crate) fn came_in(&self, ip: IpAddr) {
        self.regulars.welcome(ip);
    }

    /// Whether somebody came in from here lately.
    pub(crate) fn has_regulars(&self, ip: IpAddr) -> bool {
        self.regulars.knows(ip)
    }

    /// Whether this refusal gets an entry of its own; if not, it is counted.
    pub(crate) fn has_entry(&self, ip: IpAddr, reason: &'static str) -> bool {
        self.entries.has_entry(network(ip), reason)
    }

    /// Ends the window if its time is over, or at once if nothing will follow. Yields
    /// what got no entry in it.
    pub(crate) fn end_window(&self, at_once: bool) -> Vec<LeftOut<IpAddr>> {
        self.entries.end_window(at_once)
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;

    use super::*;

    fn strangers() -> (Arc<Fixed>, Strangers) {
        let fixed = Arc::new(Fixed::new(1));
        let clock: Arc<dyn Clock> = fixed.clone();
        (fixed, Strangers::new(&clock))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn what_has_no_credential_does_not_use_up_the_allowance_of_what_has_one() {
        let (clock, strangers) = strangers();
        let here = ip("192.0.2.1");
        let refused = (0..100).filter(|_| strangers.refused(here).is_ok()).count();
        assert_eq!(refused, 60);
        assert!(strangers.may_present(here).is_ok());
        let unknown = (0..100).filter(|_| strangers.unknown(here).is_ok()).count();
        assert_eq!(unknown, 60);
        let exceeded = strangers.may_present(here).expect_err("used up");
        assert_eq!(exceeded.retry_after, Duration::from_millis(50));
        clock.advance(Duration::from_secs(1));
        assert_eq!((0..100).filter(|_| strangers.unknown(here).is_ok()).count(), 20);
    }

    #[test]
    fn entries_are_rationed_by_address_and_the_rest_is_counted() {
        let (clock, strangers) = strangers();
        let entries =
            |from: &str, reason, count| (0..count).filter(|_| strangers.has_entry(ip(from), reason)).count();
        assert_eq!(entries("192.0.2.1", "unauthenticated", 25), 20);
        assert_eq!(entries("192.0.2.1", "flood", 7), 0);
        assert_eq!(entries("2001:db8::1", "foreign", 15), 15);
        assert_eq!(entries("2001:db8::2", "foreign", 15), 5, "the same network");
        assert_eq!(entries("192.0.2.2", "foreign", 1), 1);
        clock.advance(Duration::from_secs(9));
        assert_eq!(strangers.end_window(false), []);
        clock.advance(Duration::from_secs(1));
        let left_out =
            |network, detail: &str| LeftOut { whose: Some(ip(network)), detail: detail.to_owned() };
        assert_eq!(
            strangers.end_window(false),
            [
                left_out("192.0.2.1", "12: 7 flood, 5 unauthenticated"),
                left_out("2001:db8::", "10: 10 foreign"),
            ]
        );
        assert_eq!(entries("192.0.2.1", "flood", 1), 1, "a new window");
        assert_eq!(strangers.end_window(true), []);
    }

    #[test]
    fn however_many_addresses_take_part_entries_and_memory_are_bounded() {
        let (clock, strangers) = strangers();
        let from = |number: u32| IpAddr::V4(number.into());
        let with_entry = (0..100_000).filter(|number| strangers.has_entry(from(*number), "foreign")).count();
        // Each of those told apart has one, and those counted together share one ration.
        assert_eq!(with_entry, ENTRIES.told_apart + ENTRIES.each as usize);
        assert_eq!(strangers.entries.senders(), ENTRIES.told_apart);
        clock.advance(ENTRIES.window);
        let expected = LeftOut { whose: None, detail: "99724: 99724 foreign".to_owned() };
        assert_eq!(strangers.end_window(false), [expected]);
        let with_entry =
            (0..100_000).filter(|number| strangers.has_entry(from(*number % 100), "foreign")).count();
        assert_eq!(with_entry, ENTRIES.all as usize);
        let left_out = strangers.end_window(true);
        assert_eq!(left_out.len(), 100);
    }
}
