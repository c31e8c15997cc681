//! The binary's own parts: configuration, wiring, commands. All crates meet here.

pub mod config;
