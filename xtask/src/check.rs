//! What can be checked without running anything, and writing it anew.

use crate::shell::{cargo, run};

/// Formatting and lints.
pub fn check() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--profile", "ci", "--", "-D", "warnings"]))
}

/// Writes generated files anew; a test compares them.
pub fn bless() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all"]))?;
    run(cargo().args(["test", "--workspace", "--profile", "ci", "--", "generated"]).env("BLESS", "1"))
}
