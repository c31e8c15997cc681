//! `cargo xtask test`: every test there is.

use clap::Args;

use crate::fuzz::Fuzz;
use crate::shell::{cargo, output, run};
use crate::soak::Soak;
use crate::{check, ecosystem};

/// Seconds that each fuzz target gets here; `cargo xtask fuzz` gives it more.
const FUZZED: u32 = 30;

/// Run every test.
#[derive(Args)]
pub struct Test {
    /// Leave out the checks of formatting and lints
    #[arg(long)]
    only_tests: bool,
    /// What to hand on to the test runner
    #[arg(last = true)]
    runner: Vec<String>,
}

impl Test {
    pub fn run(self) -> anyhow::Result<()> {
        println!("Servers and clients that the tests speak to:");
        let node = [ecosystem::NODE_SERVERS, ecosystem::NODE_CLIENTS].concat();
        ecosystem::node("node", &node)?;
        ecosystem::node("agents", ecosystem::AGENTS)?;
        ecosystem::node_without_optional("servers", ecosystem::SERVERS)?;
        ecosystem::node("node22", ecosystem::NODE_22)?;
        ecosystem::node("conformance", ecosystem::CONFORMANCE)?;
        ecosystem::python("time-server", ecosystem::PYTHON_SERVER)?;
        ecosystem::python("servers-python-1", ecosystem::PYTHON_SERVER_1)?;
        ecosystem::python("servers-python-2", ecosystem::PYTHON_SERVERS)?;
        ecosystem::python("python-sdk-1", ecosystem::PYTHON_CLIENT_1)?;
        ecosystem::python("python-sdk-2", ecosystem::PYTHON_CLIENT_2)?;
        ecosystem::redis()?;
        ecosystem::faketime()?;
        ecosystem::chromium()?;
        ecosystem::postgres()?;
        ecosystem::git()?;
        if !self.only_tests {
            check::check()?;
        }
        // Tests run the programs of the workspace, and a test runner builds only some of them.
        run(cargo().args(["build", "--workspace", "--bins", "--profile", "ci"]))?;
        let has_nextest = output("cargo", &["nextest", "--version"]).is_some();
        let mut tests = cargo();
        if has_nextest {
            tests.args(["nextest", "run", "--workspace", "--cargo-profile", "ci"]);
        } else {
            tests.args(["test", "--workspace", "--profile", "ci"]);
        }
        run(tests.args(&self.runner).env("DOORWARD_ECOSYSTEM", ecosystem::folder()))?;
        // Whoever asks for certain tests asks for no more.
        if !self.runner.is_empty() {
            return Ok(());
        }
        println!("Half a minute under load:");
        Soak::short().run()?;
        println!("Random bytes:");
        Fuzz::all(FUZZED).run()
    }
}
