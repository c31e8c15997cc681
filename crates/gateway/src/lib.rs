//! The data plane: the only door in.
//!
//! A call walks eight stages, each asking one question and yielding proof that it
//! was asked (`pipeline.rs` is the whole walk on one screen). Lists ask the same
//! questions of every capability, so a list never shows what a call would hide.

mod allowance;
mod answer;
mod ask;
mod batch;
mod bounds;
#[cfg(test)]
mod callers;
mod catalogs;
mod codes;
mod condition;
mod costly;
pub mod door;
mod exact;
mod gateway;
mod handle;
mod mailbox;
mod meta;
mod method;
mod metrics;
mod news;
mod ops;
mod pipeline;
mod ration;
mod receive;
mod record;
mod refusals;
mod rename;
mod reply;
mod session;
mod shares;
mod skills;
mod snapshot;
mod span;
mod stage;
mod standing;
mod standpoint;
mod streams;
mod subscriptions;
mod surface;
mod tasks;
mod trace;
mod turned_away;
mod uri;
mod view;

pub use ask::AskLimits;
pub use gateway::{Gateway, Parts, Settings};
pub use receive::{Arrival, Carrier, Connection};
pub use reply::Reply;
pub use session::SessionLimits;
pub use snapshot::{Rulebook, Snapshot};
pub use span::{CallSpan, Failure, Relay, SpanCounts, Spans};
pub use streams::StreamLimits;
pub use surface::Surface;
