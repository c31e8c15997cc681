//! What a package is made of: the program under both of its names, manual pages, completions, unit, and a list of what is
//! in the program.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::sbom;
use crate::shell::{cargo, root, run};

/// Arguments of `cargo xtask package`.
#[derive(Args)]
pub struct Package {
    /// The folder to write to
    #[arg(long, default_value = "target/package")]
    out: PathBuf,
    /// How the program is built
    #[arg(long, default_value = "dist")]
    profile: String,
}

impl Package {
    /// Builds the program and gathers everything around it.
    pub fn run(&self) -> anyhow::Result<()> {
        let out = root().join(&self.out);
        run(cargo().args(["build", "--locked", "-p", "doorward", "--profile", &self.profile]))?;
        let metadata = metadata()?;
        let target = metadata["target_directory"].as_str().context("cargo names its target folder")?;
        let built = PathBuf::from(target).join(&self.profile);
        let program = built.join("doorward");
        for folder in ["bin", "share/man/man1", "share/completions", "lib/systemd/system"] {
            fs::create_dir_all(out.join(folder))?;
        }
        for name in ["doorward", "mcp-gateway"] {
            let program = built.join(name);
            fs::copy(&program, out.join("bin").join(name)).with_context(|| program.display().to_string())?;
        }
        run(Command::new(&program).arg("manual").arg(out.join("share/man/man1")))?;
        for (shell, name) in [("bash", "doorward"), ("zsh", "_doorward"), ("fish", "doorward.fish")] {
            let file = File::create(out.join("share/completions").join(name))?;
            run(Command::new(&program).args(["completions", shell]).stdout(file))?;
        }
        let unit = "doorward.service";
        fs::copy(root().join("packaging").join(unit), out.join("lib/systemd/system").join(unit))?;
        let lock = fs::read_to_string(root().join("Cargo.lock"))?;
        let parts = sbom::cyclonedx(&metadata, &lock)?;
        fs::write(
            out.join("share/doorward.cdx.json"),
            format!("{}\n", serde_json::to_string_pretty(&parts)?),
        )?;
        println!("{}", out.display());
        Ok(())
    }
}

/// What Cargo knows of the workspace, for the system that this is run on.
fn metadata() -> anyhow::Result<Value> {
    let host = crate::shell::output("rustc", &["-vV"]).context("rustc answers")?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names its host")?;
    let asked = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host];
    let output = cargo().args(asked).current_dir(root()).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
