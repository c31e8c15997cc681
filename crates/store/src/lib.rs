//! Where replicas keep what they know together.
//!
//! Two homes for the same few things ([`Shared`](doorward_model::Shared)): the memory of a
//! process that is alone, and Redis for several. Counts that must not be wrong
//! ([`Counts`](doorward_model::Counts)) are kept in a file of a process that is alone, and in
//! Redis for several.

mod memory;
mod probe;
mod redis;
mod tally;

pub use memory::Memory;
pub use probe::{Probed, probe};
pub use redis::Redis;
pub use tally::Tally;
