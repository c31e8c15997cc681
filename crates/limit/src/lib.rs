//! Is there allowance left?
//!
//! Rate limits as token buckets: a bucket holds `burst` units and regains `max` of
//! them each period. A call takes one unit from every bucket that speaks of it, or
//! from none.

mod bucket;
mod key;
mod limiter;

pub use key::{InvalidKey, KeyTemplate};
pub use limiter::{Exceeded, Limiter, Per, RateLimit, Subject};
