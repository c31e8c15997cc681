//! A server with everything MCP has, for tests: the other side of the wire.
//!
//! It exposes what the public conformance suite asks for, in both eras, over
//! HTTP (one URL) and stdio. It shares no code with the gateway, framing
//! included, so that a mistake of one is not the mistake of both, and it is
//! strict where a lenient server would hide what the gateway got wrong.
//!
//! Every tool is written once, as a function from arguments and answers to the
//! next [step](play::Step). How a question travels is the era's business:
//! [`legacy`] sends a request and waits, [`modern`] returns it and is called again.

#![allow(clippy::disallowed_methods, reason = "a server of its own, with a clock of its own")]

mod capability;
mod change;
mod completion;
mod downlevel;
pub mod http;
mod legacy;
mod log_level;
mod modern;
mod out;
mod perform;
mod play;
mod prompts;
mod resources;
mod revision;
mod rpc;
mod seal;
mod server;
mod skills;
pub mod stdio;
mod task;
mod tools;

pub use revision::Eras;
pub use server::Everything;
