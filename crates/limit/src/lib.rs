//! Is there allowance left? Rate limits, as token buckets in memory, and quotas, which are
//! counted one by one.
//!
//! A bucket holds up to `burst` calls and is refilled at a steady rate; so 60 a
//! minute with a burst of 120 lets 120 calls through at once and then exactly one
//! a second. A call that several limits speak of takes from all of them or, when
//! one is empty, from none.
//!
//! Nothing waits for a rate limit, and nothing is remembered for longer than it matters: a
//! full bucket is the same as no bucket. A quota waits for whoever keeps its counts
//! ([`doorward_model::Counts`]), and only a call that it speaks of waits with it.

mod buckets;
mod flood;
mod key;
mod limiter;
mod quota;
mod rate;
mod regulars;
mod requests;
mod window;

pub use flood::Flood;
pub use key::{InvalidKey, KeyTemplate, Subject, network};
pub use limiter::{Exceeded, Limiter};
pub use quota::{Claim, GivenBack, Quota, Quotas, Reservation, Unreserved};
pub use rate::{Per, RateLimit};
pub use regulars::Regulars;
pub use requests::{RequestRate, Requests};
pub use window::Window;
