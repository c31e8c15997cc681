//! The whole product in one test binary.

mod bad_input;
mod clients;
mod decisions;
mod eras;
mod property;
mod reload;
mod secrets;
mod tidy;
mod world;
