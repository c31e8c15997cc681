//! The binary's own parts: configuration, wiring, commands. All crates meet here.

pub mod capacity;
pub mod cli;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod explain;
pub mod forward;
pub mod init;
pub mod logging;
pub mod printable;
pub mod prove;
pub mod runtime;
pub mod selftest;
pub mod system;
pub mod telemetry;
