//! The server by itself, over stdio: what the conformance suite cannot ask for,
//! because each of its parts knows one era.

#![allow(clippy::panic, clippy::disallowed_methods, reason = "tests may fail loudly and run programs")]

mod client;
mod eras;
mod interaction;
mod levels;
mod notices;
mod tasks;
