//! Where replicas keep what they know together.
//!
//! Two homes for the same few things ([`Shared`](doorward_model::Shared)): the memory of a
//! process that is alone, and Redis for several. Counts that must not be wrong
//! ([`Counts`](doorward_model::Counts)) are kept in a file of a process that is alone, and in
//! Redis for several. Which sessions have ended ([`Endings`](doorward_model::Endings)) a process
//! that is alone keeps in a file as well; several find it in what they share.

mod endings;
mod memory;
mod probe;
mod redis;
mod tally;

pub use endings::EndedSessions;
pub use memory::Memory;
pub use probe::{Probed, probe};
pub use redis::Redis;
pub use tally::Tally;
