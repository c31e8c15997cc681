//! From which addresses somebody came in lately.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use doorward_model::Clock;

use crate::buckets::Buckets;
use crate::key::network;
use crate::limiter::nanos;

/// Addresses remembered at once.
const ADDRESSES: usize = 65_536;

/// Addresses, each remembered for a while; an IPv6 network of 64 bits counts as one.
pub struct Regulars {
    kept: Duration,
    addresses: Buckets<IpAddr>,
    clock: Arc<dyn Clock>,
}

impl Regulars {
    /// `kept`: how long an address is remembered after the last time.
    pub fn new(kept: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { kept, addresses: Buckets::new(ADDRESSES), clock }
    }

    /// Somebody came in from here.
    pub fn welcome(&self, ip: IpAddr) {
        let now = nanos(&*self.clock);
        let kept = u64::try_from(self.kept.as_nanos()).unwrap_or(u64::MAX);
        self.addresses.keep(&network(ip), now, now.saturating_add(kept));
    }

    /// Whether somebody came in from here lately.
    pub fn knows(&self, ip: IpAddr) -> bool {
        self.addresses.holds(&network(ip), nanos(&*self.clock))
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn an_address_is_known_for_a_while_and_memory_is_bounded() {
        let clock = Arc::new(Fixed::new(1));
        let regulars = Regulars::new(Duration::from_secs(10), clock.clone());
        let ip = |text: &str| text.parse::<IpAddr>().expect(text);
        regulars.welcome(ip("192.0.2.1"));
        regulars.welcome(ip("2001:db8::1"));
        clock.advance(Duration::from_secs(9));
        regulars.welcome(ip("192.0.2.1"));
        assert!(regulars.knows(ip("2001:db8::2")), "the same network");
        assert!(!regulars.knows(ip("192.0.2.2")));
        clock.advance(Duration::from_secs(1));
        assert!(!regulars.knows(ip("2001:db8::1")));
        assert!(regulars.knows(ip("::ffff:192.0.2.1")));
        clock.advance(Duration::from_secs(9));
        assert!(!regulars.knows(ip("192.0.2.1")));
        for number in 0..200_000_u32 {
            clock.advance(Duration::from_micros(10));
            regulars.welcome(IpAddr::V4(number.into()));
        }
        assert!(regulars.addresses.len() <= ADDRESSES);
        assert!(regulars.knows(IpAddr::V4(199_999.into())), "the latest is known");
    }
}
