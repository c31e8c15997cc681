//! The whole product in one test binary.

#![allow(clippy::panic, clippy::disallowed_methods, reason = "tests may fail loudly, run programs and wait")]

mod bad_input;
mod clients;
mod crash;
mod decisions;
mod doors;
mod eras;
mod list_changed;
mod property;
mod records;
mod reload;
mod rmcp;
mod secrets;
mod surfaces;
mod tidy;
mod world;
