//! Too much from one address, before anybody knows who it is.

use std::net::IpAddr;
use std::sync::Arc;

use doorward_model::Clock;

use crate::buckets::Buckets;
use crate::key::network;
use crate::limiter::{Exceeded, nanos};
use crate::rate::{Per, Rate};

/// Addresses remembered at once.
const ADDRESSES: usize = 65_536;

/// One bucket for each address; an IPv6 network of 64 bits counts as one.
pub struct Flood {
    rate: Rate,
    buckets: Buckets<IpAddr>,
    clock: Arc<dyn Clock>,
}

impl Flood {
    /// The name in refusals.
    pub const NAME: &str = "unauthenticated requests";

    /// * `per_second`: requests kept up forever.
    /// * `burst`: requests at once after a pause.
    pub fn new(per_second: u32, burst: u32, clock: Arc<dyn Clock>) -> Self {
        Self { rate: Rate::new(per_second, Per::Second, burst), buckets: Buckets::new(ADDRESSES), clock }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Exceeded`] when there were too many; this one is not counted.
    pub fn take(&self, ip: IpAddr) -> Result<(), Exceeded> {
        self.buckets.take(&network(ip), self.rate, nanos(&*self.clock)).map_err(exceeded)
    }

    /// Whether [`take`](Self::take) would succeed. Counts nothing, so that those who
    /// can say who they are need not be counted.
    ///
    /// # Errors
    /// [`Exceeded`] when there were too many.
    pub fn check(&self, ip: IpAddr) -> Result<(), Exceeded> {
        self.buckets
            .wait(&network(ip), self.rate, nanos(&*self.clock))
            .map_or(Ok(()), |wait| Err(exceeded(wait)))
    }
}

fn exceeded(retry_after: std::time::Duration) -> Exceeded {
    Exceeded { name: Flood::NAME.to_owned(), retry_after }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorward_model::clock::Fixed;

    use super::*;

    #[test]
    fn each_address_has_its_own_allowance_and_gets_it_back_in_time() {
        let clock = Arc::new(Fixed::new(1));
        let flood = Flood::new(2, 3, clock.clone());
        let (one, other) =
            ("192.0.2.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address"));
        for _ in 0..3 {
            flood.check(one).and_then(|()| flood.take(one)).expect("within the burst");
        }
        let refused = flood.take(one).expect_err("over the burst");
        assert_eq!(refused.retry_after, Duration::from_millis(500));
        assert_eq!(flood.check(one), Err(refused));
        flood.take(other).expect("another address");
        flood.take("2001:db8::2".parse().expect("an address")).expect("the same network");
        clock.advance(Duration::from_millis(500));
        flood.take(one).expect("refilled");
        flood.take(one).expect_err("and empty again");
    }
}
