//! What happened, shown to somebody who has neither the log nor a gateway.
//!
//! A [proof](Proof) is one text: a call's decision and outcome as the log has them, the paths
//! that lead from them to a signed checkpoint, the policies that were in force and what they
//! were asked. [`verify`] needs it and the log's public key, and nothing else: no file, no
//! network, no clock. `docs/reference/proof.md` says it well enough for another program.

mod place;
mod proof;
mod reached;
mod verify;

pub use proof::{FORMAT, LIMITS, Proof, Unprovable};
pub use reached::Reached;
pub use verify::{Flaw, Verified, verify};
