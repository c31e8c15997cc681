//! The whole product in one test binary.

#![allow(clippy::panic, clippy::disallowed_methods, reason = "tests may fail loudly, run programs and wait")]

mod agents;
mod attacks;
mod audiences;
mod bad_input;
#[cfg(target_os = "linux")]
mod browsers;
mod capture;
mod checked;
mod clients;
mod conformance;
mod conversations;
mod core_tasks;
mod crash;
mod debug;
mod decisions;
mod demo;
mod doctor;
mod documented;
mod doors;
mod elsewhere;
mod eras;
mod error_codes;
mod exact_numbers;
mod faults;
mod forward;
mod full_disk;
mod issuers;
mod list_changed;
mod offers;
mod oidc;
mod orchestrated;
mod packaging;
mod pages;
mod partial;
mod program;
mod proof;
mod property;
mod questions;
mod quotas;
mod quotas_kept;
mod rationed;
mod records;
mod refusals;
mod reload;
mod replicas;
mod resume;
mod rights;
mod rmcp;
mod secrets;
mod selftest;
#[cfg(target_os = "linux")]
mod servers;
mod sessions;
mod skills;
mod subscriptions;
mod surfaces;
mod tasks;
mod tasks_elsewhere;
mod telemetry;
mod theirs;
mod tidy;
mod told;
mod tolerance;
mod world;
