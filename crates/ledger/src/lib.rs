//! What happened?
//!
//! An append-only log of everything that was decided, and of how it ended. Each
//! entry is a leaf of a Merkle tree (RFC 9162) and names the hash of the entry
//! before it; signed checkpoints fix the tree. Queries are answered from an index
//! that is built behind the log and can be thrown away.
//!
//! The log never forgets a call that reached a server: a decision is written
//! before anything is sent, and a decision whose end was never written is closed
//! as `unknown` at the next start.

mod anchors;
mod anew;
mod bundles;
mod canonical;
mod checkpoint;
mod ends;
mod entry;
mod error;
mod events;
mod evidence;
mod expiry;
mod index;
mod inspect;
mod kept;
mod keys;
mod known;
mod legacy;
mod log;
mod memory;
mod merkle;
mod notes;
mod options;
mod payload;
mod preview;
mod promises;
mod record;
mod recover;
mod reindex;
mod secrets;
mod segment;
mod shapes;
mod shared;
mod verify;
mod whole;
mod writer;

pub use bundles::bundle;
pub use canonical::as_recorded;
pub use checkpoint::{Checkpoint, is_origin, is_verifier_key};
pub use error::LedgerError;
pub use events::events;
pub use evidence::{Evidence, Included, evidence, is_anchored};
pub use index::compare::Compared;
pub use index::{
    CallRow, Dimensions, Filter, Index, NO_AGENT, NO_PERSON, Recorded, SHORTEST_START, Stats, Status, Sum,
    UnknownStatus, Usage,
};
pub use inspect::{Inspection, holder, inspect};
pub use kept::Kept;
pub use legacy::{LegacyReport, verify_legacy};
pub use log::{Ledger, Ticket};
pub use merkle::{
    Hash, Tree, consistency_holds, consistency_ranges, inclusion_holds, inclusion_ranges, leaf_hash, roots,
};
pub use options::{Capture, Durability, Options};
pub use preview::secrets_in;
pub use record::{DecisionRecord, EventRecord, OutcomeRecord};
pub use recover::Recovery;
pub use reindex::reindex;
pub use secrets::{KnownSecrets, Secrets};
pub use verify::{Against, Fault, Report, verify};
