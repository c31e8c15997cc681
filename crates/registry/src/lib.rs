//! What can be called?
//!
//! A [`Registry`] is an immutable picture: the servers of the configuration and
//! whatever each of them offered when last asked. Names offered to clients are a
//! pure function of it. When anything changes, a new picture is built; nobody
//! ever sees half of one.

pub mod capability;
mod catalogs;
pub mod fingerprint;
mod mend;
mod mirrored;
pub mod name;
mod picture;
mod problem;
pub mod server;

pub use capability::{Capability, TaskSupport};
pub use catalogs::Catalogs;
pub use mirrored::Mirrored;
pub use picture::{Listing, Registry};
pub use problem::{Problem, Trouble};
pub use server::Server;
