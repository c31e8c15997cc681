//! The whole product in one test binary.

#![allow(clippy::panic, clippy::disallowed_methods, reason = "tests may fail loudly, run programs and wait")]

mod bad_input;
mod capture;
mod clients;
mod crash;
mod decisions;
mod eras;
mod full_disk;
mod program;
mod property;
mod reload;
mod secrets;
mod telemetry;
mod tidy;
mod world;
