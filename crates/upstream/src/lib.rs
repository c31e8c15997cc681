//! Who answers? Links to servers, of every transport and era.
//!
//! A caller says which server and what to ask ([`Call`]) and gets the server's
//! answer ([`Answer`]), whether that takes a child process, a session, or a POST.
//! Links are opened when first needed, watched, and opened again when they break.
//! Nothing here decides whether a call may be made, and nothing is sent twice
//! that could act twice.

mod askers;
mod backoff;
mod breaker;
mod call;
mod duplex;
mod envelope;
mod error;
mod flight;
mod handshake;
mod http;
mod hub;
mod inbound;
mod level;
mod link;
mod listening;
mod listing;
mod lists;
mod makers;
mod meant;
mod meter;
mod open;
mod question;
mod scrub;
mod server;
mod settings;
mod spec;
mod status;
mod stdio;
mod task;
mod twins;
mod upstreams;
mod watch;
mod watcher;

pub use call::{Answer, Call, Round};
pub use error::{Cause, UpstreamError};
pub use question::Question;
pub use scrub::Scrubber;
pub use settings::{Listing, Settings, inherited};
pub use spec::{Credential, Protocol, ServerSpec, Transport, is_reserved_header};
pub use status::{Event, State, Status};
pub use upstreams::Upstreams;
pub use watch::Subscription;
