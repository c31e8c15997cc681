//! The only door out: HTTP connections, address checks, limits.
//!
//! Whoever wants to speak to the outside asks a [`Client`] for a [`Door`] to one
//! origin. A door keeps connections alive, checks every address at the moment it
//! is dialled, verifies certificates always, follows no redirect, and asks no
//! proxy of the environment. It knows nothing of MCP.

mod body;
mod client;
mod connect;
mod door;
mod error;
mod link;
mod names;
mod pool;
mod reach;
mod target;
mod tls;

pub use body::Body;
pub use client::{Client, Settings};
pub use door::{Door, Outgoing, Replay, Response};
pub use error::EgressError;
pub use names::{Names, Resolving};
pub use reach::{Reach, Rules, is_public};
pub use target::{InvalidUrl, Target};
