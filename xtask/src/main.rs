//! The chores of the project: `cargo xtask demo · test · check · bless · bench · streams · soak · fuzz · package`.

#![allow(clippy::disallowed_methods, reason = "chores run programs and wait; the bans are for the product")]

mod bench;
mod check;
mod demo;
mod ecosystem;
mod fuzz;
mod package;
mod sbom;
mod shell;
mod soak;
mod streams;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of the project")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build Doorward, start it with three real servers, show a governed call, and keep serving
    Demo(demo::Demo),
    /// Run every test; installs what the tests need
    Test(test::Test),
    /// Formatting, lints and generated files, without running tests
    Check,
    /// Write generated files anew (schemas, snapshots)
    Bless,
    /// Measure: calls/s, latency, CPU per call and memory, beside a floor
    Bench(bench::Bench),
    /// Measure what open listen streams cost
    Streams(streams::Streams),
    /// What takes long: load, slow neighbours, cold starts, faults with all their repetitions
    Soak(soak::Soak),
    /// Gather what a package is made of: program, manual, completions, unit, list of parts
    Package(package::Package),
    /// Let random bytes loose on everything that reads bytes from outside
    Fuzz(fuzz::Fuzz),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Demo(demo) => demo.run(),
        Chore::Test(test) => test.run(),
        Chore::Check => check::check(),
        Chore::Bless => check::bless(),
        Chore::Bench(bench) => bench.run(),
        Chore::Streams(streams) => streams.run(),
        Chore::Soak(soak) => soak.run(),
        Chore::Package(package) => package.run(),
        Chore::Fuzz(fuzz) => fuzz.run(),
    }
}
