//! Where replicas keep what they know together.
//!
//! Two homes for the same few things ([`Shared`](doorward_model::Shared)): the memory of a
//! process that is alone, and Redis for several.

mod memory;
mod redis;

pub use memory::Memory;
pub use redis::Redis;
