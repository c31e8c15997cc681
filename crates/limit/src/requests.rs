//! How many requests one caller may make that are no calls: lists, pings, new sessions.
//!
//! No policy is asked about them and nothing is recorded of them, so that nothing else holds
//! back a client that sends them without end.

use std::num::NonZeroU32;
use std::sync::Arc;

use doorward_model::Clock;

use crate::buckets::Buckets;
use crate::limiter::{Exceeded, nanos};
use crate::rate::{Per, Rate};

/// Callers remembered at once.
const CALLERS: usize = 65_536;

/// What one caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// Requests a second that can be kept up.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

/// One bucket for each caller. Meant to outlive a reload that leaves the rate as it was.
pub struct Requests {
    rate: Option<RequestRate>,
    buckets: Buckets<String>,
    clock: Arc<dyn Clock>,
}

impl Requests {
    /// The name in refusals.
    pub const NAME: &str = "requestLimit";

    /// Without a rate nobody is limited.
    pub fn new(rate: Option<RequestRate>, clock: Arc<dyn Clock>) -> Self {
        Self { rate, buckets: Buckets::new(CALLERS), clock }
    }

    /// The rate as configured.
    pub fn rate(&self) -> Option<RequestRate> {
        self.rate
    }

    /// Counts a request of this caller.
    ///
    /// # Errors
    /// [`Exceeded`] when there were too many; this one is not counted.
    pub fn take(&self, caller: impl FnOnce() -> String) -> Result<(), Exceeded> {
        let Some(RequestRate { per_second, burst }) = self.rate else { return Ok(()) };
        let rate = Rate::new(per_second.get(), Per::Second, burst.get());
        let taken = self.buckets.take(&caller(), rate, nanos(&*self.clock));
        taken.map_err(|retry_after| Exceeded { name: Self::NAME.to_owned(), retry_after })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorward_model::clock::Fixed;

    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not zero")
    }

    #[test]
    fn each_caller_has_its_own_allowance_and_gets_it_back_in_time() {
        let clock = Arc::new(Fixed::new(1));
        let rate = RequestRate { per_second: number(2), burst: number(3) };
        let requests = Requests::new(Some(rate), clock.clone());
        let take = |caller: &str| requests.take(|| caller.to_owned());
        for _ in 0..3 {
            take("one").expect("within the burst");
        }
        let refused = take("one").expect_err("over the burst");
        assert_eq!(
            (refused.name.as_str(), refused.retry_after),
            ("requestLimit", Duration::from_millis(500))
        );
        take("other").expect("another caller");
        clock.advance(Duration::from_millis(500));
        take("one").expect("refilled");
        take("one").expect_err("and empty again");
    }

    #[test]
    fn without_a_rate_nobody_is_limited() {
        let requests = Requests::new(None, Arc::new(Fixed::new(1)));
        let takes = (0..100_000).filter(|_| requests.take(|| "one".to_owned()).is_ok());
        assert_eq!(takes.count(), 100_000);
    }
}
