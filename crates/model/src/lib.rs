//! The words every other crate speaks: who calls, what is called, what was
//! decided, what happened, and the strict reading of the bytes in between.
//!
//! Nothing here does I/O, waits, reads a clock or draws a random number.

pub mod caller;
pub mod catalog;
pub mod clock;
pub mod counts;
pub mod decision;
pub mod departure;
pub mod endings;
pub mod glob;
pub mod id;
pub mod json;
pub mod map;
pub mod operation;
pub mod outcome;
pub mod room;
pub mod seal;
pub mod secret;
pub mod shared;
pub mod time;

pub use caller::{Agent, Caller, ClientLabel, Grant, GrantKind, Person, domain, domain_of};
pub use catalog::{Audience, Catalog, Definition, Gap};
pub use clock::{Clock, Random};
pub use counts::{Counted, Counter, Counting, Counts, Uncounted};
pub use decision::{Decision, Layer, Verdict};
pub use departure::Departure;
pub use endings::Endings;
pub use id::{CallId, InvalidServerId, ServerId};
pub use map::Map;
pub use operation::{CapabilityKind, Operation};
pub use outcome::Outcome;
pub use room::{NoRoom, Room, Space};
pub use seal::{Seal, SealError};
pub use secret::Secret;
pub use shared::{LogBounds, Reach, Shared};
pub use time::Timestamp;
