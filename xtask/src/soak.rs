//! `cargo xtask soak`: what takes long. Load for ten minutes, slow neighbours, cold starts, and the
//! tests of faults with all their repetitions.

mod load;
mod neighbours;
mod place;
mod report;
mod startup;

use clap::{Args, ValueEnum};
use load::Load;
use report::Report;

use crate::ecosystem;
use crate::shell::{cargo, run};

/// What takes long: load, slow neighbours, cold starts, faults with all their repetitions
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask soak\n  cargo xtask soak load --seconds 30 --rate 300 --profile ci\n  cargo xtask soak neighbours startup"
)]
pub struct Soak {
    /// Which parts; all when left out
    parts: Vec<Part>,
    #[command(flatten)]
    load: Load,
    /// Build profile of Doorward: dist (what we ship), release or ci
    #[arg(long, default_value = "dist")]
    profile: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A steady load with sessions, reloads and a server that is killed: nothing is lost, nothing grows
    Load,
    /// Calls beside a slow server, and beside a collector that hangs
    Neighbours,
    /// Cold starts with fifty servers, and memory while nobody calls
    Startup,
    /// Every failing write and sync, ten thousand children, fifty thousand sessions, twenty kills
    Faults,
}

/// The tests that do more where they may take long.
const REPEATED: &str = "test(faults::) | test(crash::) | test(full_disk::) | test(children_that_come_and_go)";

impl Soak {
    /// What every run of the tests has time for.
    pub fn short() -> Self {
        Self { parts: vec![Part::Load], load: Load::short(), profile: "ci".to_owned() }
    }

    pub fn run(self) -> anyhow::Result<()> {
        let mut report = Report::default();
        let is_wanted = |part| self.parts.is_empty() || self.parts.contains(&part);
        if is_wanted(Part::Startup) {
            report.part("Cold starts");
            startup::run(&self.profile, &mut report)?;
        }
        if is_wanted(Part::Neighbours) {
            report.part("Neighbours");
            neighbours::run(&self.profile, &mut report)?;
        }
        if is_wanted(Part::Load) {
            report.part("Load");
            self.load.run(&self.profile, &mut report)?;
        }
        if is_wanted(Part::Faults) {
            faults()?;
        }
        report.close()
    }
}

/// The tests of faults, each with all its repetitions; they print what they have measured.
fn faults() -> anyhow::Result<()> {
    ecosystem::redis()?;
    ecosystem::faketime()?;
    let mut tests = cargo();
    tests.args(["nextest", "run", "--workspace", "--cargo-profile", "ci", "--success-output", "final"]);
    run(tests.args(["--test-threads", "1", "-E", REPEATED]).env("DOORWARD_FULL", "1"))
}
